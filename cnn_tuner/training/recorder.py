"""Follows a job's training: keeps what each epoch reached, keeps to the time, and ends when it is asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import keras
import numpy as np

from cnn_tuner.models.optimizers import averages
from cnn_tuner.runs.records import Epoch, Job
from cnn_tuner.training.network import Network, assign, values_of
from cnn_tuner.training.state import Progress, save_state

SAVE_SECONDS = 30.0  # between two states of a job under way: what a power failure may cost, and an epoch
MOST_SAVING = 50  # of the time at most one part in so many goes into saving
LOOK_SECONDS = 2.0  # between two looks at how the time goes
RESERVE = 0.01  # of the time that is left is not planned with


class StopRequestedError(Exception):
    """Raised inside `fit` to leave it at the next batch."""


class Recorder(keras.callbacks.Callback):
    """The callback of a job's `fit`. What is validated is the average of the weights, where the network keeps one.

    `validation_share`: of the time of an epoch's batches its validation is expected to take.
    """

    def __init__(
        self,
        job: Job,
        progress: Progress,
        on_epoch: Callable[[Epoch], None],
        should_stop: Callable[[], bool],
        validation_share: float = math.inf,
    ) -> None:
        super().__init__()
        self.job, self.progress = job, progress
        self.on_epoch, self.should_stop = on_epoch, should_stop
        self.network: Network | None = None
        self._started = time.monotonic()
        self._earlier_seconds = progress.seconds
        self._epoch_started = self._saved_at = self._started
        self._save_every = SAVE_SECONDS
        self._steps = 0  # of its network so far
        self._last_step = 0  # of its course, where it has all the time that it needs
        self._is_first = True
        self._pace = _Pace(validation_share)
        self._weights: list[np.ndarray] = []  # set aside while their average is validated

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_started = time.monotonic()
        self._steps = int(self.model.optimizer.iterations.numpy())
        self._epoch_steps = self._steps
        if self.network is not None:
            begun = self._steps - (epoch - self.job.initial_epoch) * self.network.steps
            self._last_step = begun + self.network.course_steps(self.job)
        self._pace.begin(self._steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.should_stop():
            raise StopRequestedError
        self._steps = self._epoch_steps + batch + 1
        self._pace.note(self._steps)
        network = self.network
        if network is None or not network.course.end:
            return
        if self._steps >= network.course.end:
            self.model.stop_training = True
        elif self.job.seconds is not None and self._pace.is_due():
            self._keep_to_the_time(network, self.job.seconds)

    def _keep_to_the_time(self, network: Network, seconds: float) -> None:
        """Moves the end of the course to where the time will be over, no further than where it was to be at first."""
        left = (1 - RESERVE) * (seconds - self._own_seconds()) - self._pace.rest_seconds
        steps = left / (self._pace.step_seconds + self._pace.rest_seconds / network.steps)
        end = self._steps + max(1, int(steps) // network.at_once) * network.at_once
        end = min(end, max(self._last_step, self._steps + 1))
        if end < network.course.end or end > 1.01 * network.course.end:
            network.course.move_end(self._steps, end)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._pace.pause()
        if not self._has_averages:
            return
        self._weights = values_of(self.model.trainable_variables)
        assign(self.model.trainable_variables, values_of(averages(self.model.optimizer)))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        if self._has_averages:
            assign(self.model.trainable_variables, self._weights)

    @property
    def _has_averages(self) -> bool:
        return self.network is None or self.network.has_averages

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.should_stop():
            raise StopRequestedError

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        names = {} if self.network is None else self.network.metric_names
        metrics = {names.get(name, name): float(value) for name, value in (logs or {}).items()}
        score = None if self.job.with_val else metrics[self.job.objective.name]
        if not (math.isfinite(metrics["loss"]) and (score is None or math.isfinite(score))):
            self.progress.message = (
                f"the loss was no longer finite in epoch {epoch + 1}; a smaller learning rate may help"
            )
            self.model.stop_training = True
            return
        self._pace.resume(self._steps - self._epoch_steps)
        self._keep(epoch + 1, score)
        if epoch + 1 > self.job.initial_epoch:  # earlier ones are trained again only where their state was lost
            record = Epoch(epoch + 1, metrics, self._epoch_seconds())
            self.progress.epochs.append(record)
            self.on_epoch(record)
        if self.should_stop():
            raise StopRequestedError
        if self._has_no_time_for_more():
            self.model.stop_training = True
        if epoch + 1 < self.job.epochs and not self.model.stop_training:
            self._save_now_and_then()

    def _has_no_time_for_more(self) -> bool:
        """Whether a training without an end in sight would take longer than it may, with one more epoch like this."""
        seconds, network = self.job.seconds, self.network
        if seconds is None or network is None or network.course.end:
            return False
        last = self.progress.epochs[-1].seconds if self.progress.epochs else math.inf
        return self._own_seconds() + min(last, self._pace.seconds(network.steps)) > seconds

    def _epoch_seconds(self) -> float:
        """Of the epoch that ends; of the first as its batches tell: to compile is the job's."""
        seconds = time.monotonic() - self._epoch_started
        self._is_first, was_first = False, self._is_first
        return min(seconds, self._pace.seconds(self._steps - self._epoch_steps)) if was_first else seconds

    def _keep(self, epochs_done: int, score: float | None) -> None:
        progress = self.progress
        progress.epochs_done, progress.score = epochs_done, score
        progress.variables = values_of(self.model.variables)
        progress.optimizer = values_of(self.model.optimizer.variables)
        if self.network is not None:
            progress.course = self.network.course.place.numpy().tolist()

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at < self._save_every:
            return
        started = time.monotonic()
        self.save()
        self._saved_at = time.monotonic()
        self._save_every = max(SAVE_SECONDS, MOST_SAVING * (self._saved_at - started))

    def save(self, has_ended: bool = False) -> None:
        """Writes the training state, if the job has trained at all."""
        self.progress.seconds, self.progress.has_ended, self.progress.goal = self.seconds(), has_ended, self.job.epochs
        if self.progress.epochs:
            save_state(self.job, self.progress)

    def seconds(self) -> float:
        """How long the job has been trained, in earlier attempts too."""
        return self._earlier_seconds + self._own_seconds()

    def _own_seconds(self) -> float:
        return time.monotonic() - self._started


class _Pace:
    """How long a batch takes, and an epoch beside its batches.

    The first execution, which compiles, is left out; the first validation, which does so too, takes no more than a
    share of what the batches of its epoch take.
    """

    def __init__(self, validation_share: float) -> None:
        self.rest_seconds = 0.0  # of an epoch, validation for the most part
        self._first_share: float | None = validation_share
        self._trained_seconds, self._trained_steps = 0.0, 0
        self._last: tuple[float, int] | None = None
        self._paused_at = self._looked_at = 0.0

    def begin(self, steps: int) -> None:
        self._last = None if self._last is None else (time.monotonic(), steps)

    def note(self, steps: int) -> None:
        now = time.monotonic()
        if self._last is not None:
            self._trained_seconds += now - self._last[0]
            self._trained_steps += steps - self._last[1]
        self._last = (now, steps)

    def pause(self) -> None:
        self._paused_at = time.monotonic()

    def resume(self, steps: int) -> None:
        """Ends an epoch of so many batches."""
        self.rest_seconds = time.monotonic() - self._paused_at if self._paused_at else 0.0
        if self._first_share is not None and self._trained_steps:
            self.rest_seconds = min(self.rest_seconds, self._first_share * steps * self.step_seconds)
        self._first_share = None

    @property
    def step_seconds(self) -> float:
        return self._trained_seconds / max(1, self._trained_steps)

    def seconds(self, steps: int) -> float:
        """Of so many batches and what an epoch takes beside them; infinity where nothing is known."""
        return steps * self.step_seconds + self.rest_seconds if self._trained_steps else math.inf

    def is_due(self) -> bool:
        """Whether it is time for another look, and something is known."""
        now = time.monotonic()
        if not self._trained_steps or now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        return True
