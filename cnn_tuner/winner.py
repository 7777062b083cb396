"""What follows a search: the best trial trained to the end, evaluated once on the test part, exported and verified."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from cnn_tuner import scores, training
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.errors import SearchError
from cnn_tuner.executors.executor import Executor
from cnn_tuner.export import saved_model
from cnn_tuner.export.verify import Measured, verify
from cnn_tuner.observer import Observer
from cnn_tuner.records import EpochEnded, Event, JobDone, Result, Trial, Winner
from cnn_tuner.search import job_of
from cnn_tuner.store import RunStore
from cnn_tuner.tensorboard import BEST, RunLogs


@dataclass(frozen=True)
class Export:
    """A SavedModel that was verified: its folder, and the largest difference of a score by kind of file."""

    path: Path
    differences: dict[str, float]


def train_to_the_end(
    store: RunStore, executor: Executor, logs: RunLogs, observer: Observer, is_stopping: Callable[[], bool]
) -> Result:
    """Trains the best trial on, from where the search left it, until its objective has stopped improving.

    At most to `final_epochs`, and no longer than the search's `epochs` without a better objective. Since the trial is
    continued, what the search measured is the least that it reaches.

    Raises:
        SearchError: no trial has a score.
    """
    best = store.best_trial()
    if best is None:
        raise SearchError(f"{store.folder}: no trial completed an epoch, so there is nothing to export")
    for epoch in best.epochs:
        logs.epoch(BEST, epoch)
    settings = store.config.search
    reached = Result(best.number, best.status, best.score, best.best_epoch, (), 0.0)
    if is_stopping() or len(best.epochs) >= settings.final_epochs:
        return reached
    observer.phase(f"training trial {best.number} to the end", settings.final_epochs)
    executor.submit(job_of(store, best, settings.final_epochs, patience=settings.epochs))
    if is_stopping():  # asked for while the job was on its way: it has not heard
        executor.stop()
    result = _wait(executor, logs, observer)
    if result.score is None:  # it failed, or was stopped at once: what the search left is still there
        return reached
    store.end_final_training(result)
    return result


def _wait(executor: Executor, logs: RunLogs, observer: Observer) -> Result:
    while True:
        event: Event = executor.next_event()
        match event:
            case EpochEnded(trial, _, epoch):
                logs.epoch(BEST, epoch)
                observer.epoch_ended(trial, epoch)
            case JobDone(result):
                return result
            case _:
                return Result(event.trial, "failed", None, None, (), 0.0, event.reason)


def crown(store: RunStore, dataset: Dataset, result: Result, observer: Observer) -> Winner:
    """Saves the best model as `best.keras` and evaluates it on the test part, once: a run has one winner."""
    observer.phase("evaluating on the test part")
    started = time.monotonic()
    trials = {trial.number: trial for trial in store.trials()}
    trial = trials[result.trial]
    model = training.load_best(job_of(store, trial, len(trial.epochs)))
    found = predict(model, dataset.test.x)
    test = scores.measure(dataset.task, dataset.test.y, found)
    np.save(store.test_scores, found)
    _save_keras(model, store.best_model)
    winner = _winner(trial, result, test, len(dataset.test), time.monotonic() - started)
    store.set_winner(winner)
    return winner


def _winner(trial: Trial, result: Result, test: dict[str, float], test_images: int, seconds: float) -> Winner:
    if result.score is None or result.best_epoch is None or trial.score is None:
        raise SearchError(f"trial {trial.number} has no score")
    return Winner(
        trial.number,
        len(trial.epochs),
        result.best_epoch,
        trial.score,
        result.score,
        test,
        test_images,
        trial.params,
        trial.macs,
        result.seconds + seconds,
    )


def _save_keras(model: keras.Model, path: Path) -> None:
    aside = path.with_name(f".{path.name}.tmp.keras")
    model.save(aside)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The scores (N, units) of images (N, H, W, C) uint8."""
    found: np.ndarray = model.predict(images, batch_size=training.EVALUATION_BATCH, verbose=0)
    return found


def export(store: RunStore, dataset: Dataset, observer: Observer) -> Export:
    """Writes the winner as the next version of `export/<data>/<n>/`, once a new process has proved what it predicts.

    Raises:
        SearchError: the run has no winner yet.
        VerificationError: it does not predict what was measured; nothing is left behind.
    """
    if not store.best_model.is_file():
        raise SearchError(f"{store.folder}: has no best.keras to export")
    observer.phase("exporting, and verifying in a new process")
    model = keras.saving.load_model(store.best_model, compile=False, safe_mode=True)
    folder = store.folder / "export" / dataset.name
    aside = folder / f".{os.getpid()}"
    live = np.load(store.test_scores, allow_pickle=False)
    measured = Measured(dataset.task, dataset.class_names, dataset.test.x, live)
    try:
        saved_model.write(model, dataset.task, dataset.class_names, aside)
        differences = verify(measured, {"saved_model": aside, "keras": store.best_model})
        return Export(saved_model.publish(aside, folder), differences)
    finally:
        saved_model.discard(aside)
