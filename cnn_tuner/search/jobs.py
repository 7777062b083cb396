"""The jobs that train a trial: their seeds, what each does, whom an event means, and what the trial is afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cnn_tuner.runs.records import TRUNK, Event, Job, JobDone, JobRecord, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces.recipe import steps_of_epoch

MAX_ATTEMPTS = 2  # of a job that the machine lost


def trial_seed(run_seed: int, number: int) -> int:
    """The seed of a trial: of its own, and the same whichever trials ran before or beside it."""
    return int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def replicate_seed(trial: Trial, replicate: int) -> int:
    """The seed with which a trial is trained once more in the final training; 0 and all below are the trial's own."""
    if replicate <= 0:
        return trial.seed
    return int(np.random.SeedSequence([trial.seed, replicate]).generate_state(1)[0])


def next_job(store: RunStore, trial: Trial, record: JobRecord) -> Job:
    """The job that trains a trial on in the search, or to the end of its course, as its record says.

    A refit takes as many batches as its twin, which are fewer epochs of more images.
    """
    config = store.config
    is_final = record.suggestion is None
    before = _trained_before(store, trial, record)
    train, val, _ = config.data.images
    has_course = is_final and record.replicate != TRUNK
    own_epochs = record.epochs - record.initial_epoch
    course_steps = own_epochs * steps_of_epoch(train, trial.values) if has_course else 0
    epochs, most = record.epochs, config.search.epoch_images
    if record.is_refit:
        epochs = record.initial_epoch + math.ceil(course_steps / steps_of_epoch(train + val, trial.values))
    return Job(
        record.number,
        trial.number,
        trial.values,
        config.data.image_shape,
        config.output,
        config.objective,
        epochs,
        replicate_seed(trial, record.replicate),
        str(store.state_file(record.number)),
        initial_epoch=record.initial_epoch,
        initial_state=None if before is None else str(store.state_file(before)),
        precision=record.precision,
        attempt=record.losses + 1,
        course_steps=course_steps,
        epoch_steps=None if is_final or most is None else steps_of_epoch(min(train, most), trial.values),
        with_val=record.is_refit,
        split=max(0, record.replicate) if config.redraws_val else 0,
        folds=0 if is_final else config.data.folds,
        grows=record.grows,
        measures_latency=config.measures_latency and trial.latency_seconds is None,
        max_latency_seconds=config.search.max_latency_seconds,
    )


def _trained_before(store: RunStore, trial: Trial, record: JobRecord) -> int | None:
    """The job that left what this one goes on with; None where it begins anew."""
    if record.suggestion is None and not record.grows:
        return None
    trunk = store.final_jobs(trial.number).get(TRUNK) if record.grows and record.replicate != TRUNK else None
    if trunk is not None and (epochs := store.epochs(trunk.number)) and epochs[-1].number == record.initial_epoch:
        return trunk.number
    return trial.state_job


def job_meant(event: Event | None, under_way: Mapping[int, Job]) -> Job | None:
    """The job under way that an event speaks of; None if it speaks of an earlier attempt, or there is no event."""
    if event is None:
        return None
    number, attempt = (
        (event.result.job, event.result.attempt) if isinstance(event, JobDone) else (event.job, event.attempt)
    )
    job = under_way.get(number)
    return job if job is not None and job.attempt == attempt else None


def before_job(trial: Trial, job: JobRecord) -> Trial:
    """A trial as it was before a job that was stopped and goes on: the job tells all that it trains once more."""
    if trial.state_job != job.number:
        return trial
    return replace(trial, status="running", epochs_done=job.initial_epoch, seconds=trial.seconds - job.seconds)


def after_job(trial: Trial, result: Result) -> Trial:
    """A trial after one more of its jobs. What it had reached before a job that failed still counts."""
    kept = tuple(epoch for epoch in trial.epochs if epoch.number <= trial.epochs_done)
    seconds = trial.seconds + result.seconds
    if result.params is not None and result.macs is not None:
        trial = replace(trial, params=result.params, macs=result.macs)
    if result.latency_seconds is not None:
        trial = replace(trial, latency_seconds=result.latency_seconds)
    if result.status == "failed" and trial.score is not None:
        message = f"trained on from epoch {trial.epochs_done} it failed: {result.message}"
        return replace(trial, status="completed", seconds=seconds, message=message, epochs=kept)
    has_state = bool(result.epochs) and result.status != "failed"
    if result.status == "stopped" and not has_state:  # while it trained again what a lost state had held
        return replace(trial, status="stopped", seconds=seconds, message=result.message, epochs=kept)
    return replace(
        trial,
        status=result.status,
        score=result.score,
        best_epoch=result.best_epoch,
        seconds=seconds,
        message=result.message,
        epochs_done=result.epochs[-1].number if has_state else trial.epochs_done,
        state_job=result.job if has_state else trial.state_job,
        epochs=(*kept, *result.epochs),
    )
