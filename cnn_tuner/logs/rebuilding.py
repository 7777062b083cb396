"""A run's TensorBoard logs, written again from its store: it is the truth, they are an export of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from cnn_tuner.logs import best as best_logs
from cnn_tuner.logs.trials import RunLogs, has_curve, trial_run
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.runs.pareto import front
from cnn_tuner.runs.records import JobRecord
from cnn_tuner.runs.store import RunStore


def logs_of(run: RunStore, folder: Path) -> RunLogs:
    """The logs of a run in a folder, with nothing written yet."""
    config = run.config
    metrics = ("loss", *TASKS[config.data.task].metrics)
    return RunLogs(folder, config.search_space(), config.objective, config.measures_latency, metrics)


def rebuild(run: RunStore) -> None:
    """Writes the logs of a run anew and puts them in the place of what was there.

    Raises:
        OSError: they cannot be written; what was there stays.
    """
    aside = run.tensorboard.with_name(f".{run.tensorboard.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    logs = logs_of(run, aside)
    try:
        _write(run, logs)
    except BaseException:
        logs.close()
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(run.tensorboard, ignore_errors=True)
    aside.rename(run.tensorboard)


def _write(run: RunStore, logs: RunLogs) -> None:
    config, jobs, trials = run.config, run.jobs(), run.trials()
    logs.begin(min((session["started_at"] for session in run.sessions()), default=0.0))
    searched = [job for job in jobs if job.suggestion is not None]
    trained_on = {job.trial for job in searched if job.initial_epoch}
    for job in searched:
        if not has_curve(job.trial, job.trial in trained_on):
            continue
        ends_at = job.started_at
        for epoch in run.epochs(job.number):
            ends_at += epoch.seconds
            logs.epoch(trial_run(job.trial), epoch, ends_at)
    for trial in trials:
        if trial.status != "running" or trial.score is not None:
            logs.trial_ended(trial)
    _write_progress(run, logs, [job for job in searched if job.ended is not None])
    if config.search.cost is not None:
        logs.front(front(trials, config.objective, config.search.cost), config.search.cost)
    write_best(run, logs)
    logs.close()


def write_best(run: RunStore, logs: RunLogs) -> None:
    """Writes the run of the best model anew, if there is a winner."""
    winner = run.winner()
    for job in run.jobs():
        if winner is not None and job.number == winner.job:
            best_logs.write(run, logs, job)


def _write_progress(run: RunStore, logs: RunLogs, ended: list[JobRecord]) -> None:
    best: float | None = None
    for count, job in enumerate(sorted(ended, key=lambda job: job.ended or 0), 1):
        if job.score is not None and run.config.objective.is_better(job.score, best):
            best = job.score
        if best is not None:
            ended_at = job.started_at + job.seconds
            seconds = run.active_seconds_at(ended_at)
            logs.progress(count, best, seconds, run.config.search.budget_seconds, ended_at)
