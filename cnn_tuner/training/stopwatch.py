"""How fast a network trains: jobs that only measure, for the choice of workers and precision."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from cnn_tuner.data.shared import opened
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.training import devices
from cnn_tuner.training.batches import Data
from cnn_tuner.training.recorder import StopRequestedError
from cnn_tuner.training.seven_steps import SevenSteps

if TYPE_CHECKING:
    from cnn_tuner.executors.base import Settings, Train

STOPWATCH_SECONDS = 0.05  # between two readings


def open_stopwatch(settings: Settings) -> Train:
    """What measures jobs in this process, by the data in `settings.folder`. Called before TensorFlow has done anything.

    See `cnn_tuner.executors.base.load_trainer`.
    """
    devices.set_up(settings)
    data = Data(*opened(Path(settings.folder)))
    return lambda job, on_epoch, should_stop: measure(job, data, on_epoch, should_stop)


class _Stopwatch(keras.callbacks.Callback):
    """Tells every moment how many images were trained on so far, until it is asked to stop."""

    def __init__(self, batch_size: int, on_epoch: Callable[[Epoch], None], should_stop: Callable[[], bool]) -> None:
        super().__init__()
        self.batch_size, self.on_epoch, self.should_stop = batch_size, on_epoch, should_stop
        self._told_at, self._told, self._images = 0.0, 0, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        # `batch` is the last one of an execution, counted from 0.
        now, images = time.monotonic(), self._images + (batch + 1) * self.batch_size
        if now - self._told_at >= STOPWATCH_SECONDS:
            self._told_at, self._told = now, self._told + 1
            self.on_epoch(Epoch(self._told, {"images": float(images)}, now))
        if self.should_stop():
            raise StopRequestedError

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._images += self.params["steps"] * self.batch_size


def measure(job: Job, data: Data, on_epoch: Callable[[Epoch], None], should_stop: Callable[[], bool]) -> Result:
    """Trains a job's network until it is asked to stop, and tells how far it is: the metric `images` of an "epoch".

    `seconds` of such an epoch is the time (monotonic) at which it was told.
    """
    keras.utils.clear_session()
    steps = SevenSteps()
    network = steps.set_up(job, data)
    batch_size = int(job.values["batch_size"])
    stopwatch = _Stopwatch(batch_size, on_epoch, should_stop)
    batches = steps.batches(job, data, network, 0)
    with suppress(StopRequestedError):
        network.model.fit(
            batches, steps_per_epoch=network.steps, epochs=10**9, callbacks=[stopwatch], shuffle=False, verbose=0
        )
    return Result(job.number, "stopped", None, None, (), 0.0)
