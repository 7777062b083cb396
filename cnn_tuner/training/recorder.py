"""Keeps what each epoch of a job reached, and ends its training when it is asked to or nothing gets better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import keras

from cnn_tuner.runs.records import Epoch, Job
from cnn_tuner.training.network import values_of
from cnn_tuner.training.state import Progress, save_state

SAVE_SECONDS = 30.0  # between two states of a job under way: what a power failure may cost, and an epoch
MOST_SAVING = 50  # of the time at most one part in so many goes into saving


class StopRequestedError(Exception):
    """Raised inside `fit` to leave it at the next batch."""


class Recorder(keras.callbacks.Callback):
    """Keeps what each epoch reached, and ends training when it is asked to or nothing gets better."""

    def __init__(
        self,
        job: Job,
        progress: Progress,
        on_epoch: Callable[[Epoch], None],
        should_stop: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.job, self.progress = job, progress
        self.on_epoch, self.should_stop = on_epoch, should_stop
        self._started = time.monotonic()
        self._earlier_seconds = progress.seconds
        self._epoch_started = self._saved_at = self._started
        self._save_every = SAVE_SECONDS

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.should_stop():
            raise StopRequestedError

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.on_train_batch_end(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        score = metrics[self.job.objective.name]
        if not (math.isfinite(metrics["loss"]) and math.isfinite(score)):
            self.progress.message = (
                f"the loss was no longer finite in epoch {epoch + 1}; a smaller learning rate may help"
            )
            self.model.stop_training = True
            return
        self._keep(epoch + 1, score, metrics["val_loss"])
        if epoch + 1 > self.job.initial_epoch:  # earlier ones are trained again only where their state was lost
            record = Epoch(epoch + 1, metrics, time.monotonic() - self._epoch_started)
            self.progress.epochs.append(record)
            self.on_epoch(record)
        if self.should_stop():
            raise StopRequestedError
        if self.job.patience is not None and epoch + 1 - (self.progress.best_epoch or 0) >= self.job.patience:
            self.model.stop_training = True
        elif epoch + 1 < self.job.epochs:
            self._save_now_and_then()

    def _keep(self, epochs_done: int, score: float, val_loss: float) -> None:
        # On few images many epochs have the same accuracy; of those the one that is surest of its answers is the best.
        progress = self.progress
        progress.epochs_done = epochs_done
        progress.variables = values_of(self.model.variables)
        progress.optimizer = values_of(self.model.optimizer.variables)
        is_tie = score == progress.score and val_loss < progress.best_loss
        if is_tie or self.job.objective.is_better(score, progress.score):
            progress.score, progress.best_epoch, progress.best_loss = score, epochs_done, val_loss
            progress.best_weights = values_of(self.model.weights)

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at < self._save_every:
            return
        started = time.monotonic()
        self.save()
        self._saved_at = time.monotonic()
        self._save_every = max(SAVE_SECONDS, MOST_SAVING * (self._saved_at - started))

    def save(self, has_ended: bool = False) -> None:
        """Writes the training state, if the job has trained at all."""
        self.progress.seconds, self.progress.has_ended = self.seconds(), has_ended
        if self.progress.epochs:
            save_state(self.job, self.progress)

    def seconds(self) -> float:
        """How long the job has been trained, in earlier attempts too."""
        return self._earlier_seconds + time.monotonic() - self._started
