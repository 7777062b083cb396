"""Runs of every task as they are when they have ended, written by hand: nothing is trained."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from toys import NAMES, SPACE, toy_config, toy_dataset, toy_space

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.intervals import measure_intervals
from cnn_tuner.metrics.tasks import TASKS, choose_objective
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.records import Epoch, Finalist, JobRecord, Result, Trial, Winner
from cnn_tuner.runs.store import RunStore

SCRIPT, UMLAUT = "<script>alert(1)</script>", 'größe "eins"'
HOSTILE = (SCRIPT, UMLAUT, "a|b `c`\nd", "@blue {x|y}")


def hostile_names(task: str) -> tuple[str, ...]:
    return HOSTILE[: len(NAMES[task])]


def answers(dataset: Dataset, seed: int = 0) -> np.ndarray:
    """Scores (N, units) that are mostly right."""
    rng = np.random.default_rng(seed)
    y = dataset.test.y
    if dataset.task == "multiclass":
        logits = rng.normal(0, 1, (len(y), len(dataset.class_names))) + 2.5 * np.eye(len(dataset.class_names))[y]
        return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    if dataset.task == "regression":
        return (y + rng.normal(0, 10, y.shape)).astype(np.float32)
    return np.clip(0.2 + 0.6 * y + rng.normal(0, 0.25, y.shape), 0.01, 0.99).astype(np.float32)


def begun_run(folder: Path, task: str = "multiclass", names: tuple[str, ...] = (), cost: str | None = None) -> RunStore:
    """A run without a trial."""
    objective = choose_objective(task, None)
    dataset = replace(toy_dataset(task), class_names=names or NAMES[task])
    config = toy_config(SPACE, dataset, objective=objective.name, direction=objective.direction, cost=cost)
    source = config.data.model_copy(update={"source": "npz:/Users/somebody/photos/arrays.npz"})
    command = "cnn-tuner tune --data npz:/Users/somebody/photos/arrays.npz --runs /srv/secret/runs"
    run = RunStore.create(folder, "toy", config.model_copy(update={"data": source, "command": command}))
    with run.at_work(command, {"python": "3.11.7", "keras": "3.12.0"}):
        run.note_workers("1 worker process, 1 thread each, float32; as asked")
    return run


def add_trials(run: RunStore, count: int, fails: tuple[int, ...] = ()) -> list[Trial]:
    """Searches `count` points in three epochs each; those in `fails` fail."""
    rng, space, objective = random.Random(0), toy_space(), run.config.objective
    own, sign = objective.name.removeprefix("val_"), 1 if objective.direction == "max" else -1
    began = run.sessions()[0]["started_at"]
    for number in range(1, count + 1):
        values = space.sample(rng)
        params = 100 * int(values["block_1.filters"]) + 10 * number
        trial = Trial(number, values, number, params, 1000, started_at=began + number)
        run.start_job(JobRecord(number, number, {"id": str(number)}, 0, 3, "float32", started_at=began + number), trial)
        best = 0.5 + 0.02 * int(values["block_1.filters"]) + 0.002 * number
        told = {own: best, f"val_{own}": best, "loss": 1.0, "val_loss": 1.2}
        epochs = tuple(Epoch(n, {k: v - sign * 0.1 / n for k, v in told.items()}, 0.5) for n in (1, 2, 3))
        score = epochs[-1].metrics[objective.name]
        if number in fails:
            message = "out of memory at /Users/somebody/runs/toy/job-1.npz <b>"
            run.end_job(
                Result(number, "failed", None, None, (), 0.5, message), replace(trial, status="failed", message=message)
            )
            continue
        ended = replace(trial, status="completed", score=score, best_epoch=3, seconds=1.5, epochs_done=3)
        run.end_job(Result(number, "completed", score, 3, epochs, 1.5), ended)
    return run.trials()


def add_winner(run: RunStore, has_evaluation: bool = True, has_export: bool = True) -> Winner:
    """Crowns the best trial after a final training with two seeds."""
    best = run.best_trial()
    number = run.last_job() + 1
    own, loss = run.config.objective.name, {"loss": float("nan"), "val_loss": 0.9}
    run.start_job(JobRecord(number, best.number, None, 3, 5, "float32"))
    epochs = tuple(Epoch(n, {own.removeprefix("val_"): best.score, own: best.score, **loss}, 0.5) for n in (4, 5))
    run.end_job(Result(number, "completed", best.score, 5, epochs, 1.0))
    task = run.config.data.task
    dataset = replace(toy_dataset(task), class_names=run.config.data.class_names)
    found = answers(dataset)
    intervals = measure_intervals(task, dataset.test.y, found)
    finalists = (
        Finalist(best.number, best.params, best.score, (best.score, best.score - 0.01)),
        Finalist(1, 400, best.score - 0.05, (best.score - 0.02,)),
    )
    winner = Winner(
        *(best.number, 5, 5, best.score, best.score, best.score),
        scores.measure(task, dataset.test.y, found),
        *(len(dataset.test), best.params, best.macs, 1.0),
        job=number,
        test_intervals={name: (each.low, each.high) for name, each in intervals.items()},
        finalists=finalists if best.number != 1 else finalists[:1],
    )
    run.set_winner(winner)
    run.set_search_ended(True)
    run.set_crowned()
    if has_evaluation:
        evaluation.save(evaluation.evaluate(task, dataset.test, found), run.evaluation)
    if has_export:
        export = run.folder / "export" / "toy" / "1"
        export.mkdir(parents=True)
        (export / "saved_model.pb").write_bytes(b"x" * 2000)
    return winner


def finished_run(
    folder: Path, task: str = "multiclass", trials: int = 12, names: tuple[str, ...] = (), cost: str | None = None
) -> RunStore:
    """A run with everything: trials, one of which failed where there are several, a winner, its export."""
    assert task in TASKS
    run = begun_run(folder, task, names, cost)
    add_trials(run, trials, fails=(2,) if trials > 1 else ())
    add_winner(run)
    return run
