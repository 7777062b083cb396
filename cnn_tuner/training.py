"""Trains one job: the only place that fits a model.

The order of the data in epoch e depends on the job's seed and e alone, and a job leaves its whole training state
behind (weights, optimizer with its step count, random state of dropout), so that training 3 epochs and then 6 more
gives what training 9 at once gives.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnn_tuner import architecture, model
from cnn_tuner.data.dataset import Part
from cnn_tuner.records import Epoch, Job, Result, Status

EVALUATION_BATCH = 256  # images at once where nothing is learned
STEPS_AT_ONCE = 32
MACS_AT_ONCE = 1.5e9  # about a quarter of a second of training on two cores: how long a request to stop may wait


def make_repeatable() -> None:
    """Has a GPU use kernels that give the same result each time. Those of the CPU do, for one number of threads."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


class Data:
    """The training and validation part as tensors, made once for all jobs. The test part never comes here."""

    def __init__(self, train: Part, val: Part) -> None:
        self.x, self.y = tf.convert_to_tensor(train.x), tf.convert_to_tensor(train.y)
        self.val = tf.data.Dataset.from_tensor_slices((val.x, val.y)).batch(EVALUATION_BATCH).prefetch(2)

    @property
    def images(self) -> int:
        """How many images are trained on."""
        return int(self.x.shape[0])

    def batches(self, seed: int, batch_size: int, initial_epoch: int) -> tf.data.Dataset:
        """Batches without end, from `initial_epoch` (counted from 0) on: each epoch is one shuffled pass."""

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            places = tf.random.experimental.stateless_shuffle(tf.range(self.images), seed=tf.stack([seed, epoch]))
            batches = tf.data.Dataset.from_tensor_slices(places).batch(batch_size)
            return batches.map(lambda at: (tf.gather(self.x, at), tf.gather(self.y, at)))

        return tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max).flat_map(one_epoch).prefetch(2)


class _StopRequestedError(Exception):
    """Raised inside `fit` to leave it at the next batch."""


@dataclass
class _Progress:
    """What a trial has reached: its training state after the last whole epoch, and its best weights."""

    epochs_done: int = 0
    score: float | None = None
    best_epoch: int | None = None
    best_loss: float = math.inf
    variables: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)


class _Recorder(keras.callbacks.Callback):
    """Keeps what each epoch reached, and ends training when it is asked to or nothing gets better."""

    def __init__(
        self,
        job: Job,
        progress: _Progress,
        on_epoch: Callable[[Epoch], None],
        should_stop: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.job, self.progress = job, progress
        self.on_epoch, self.should_stop = on_epoch, should_stop
        self.epochs: list[Epoch] = []
        self.message = ""
        self._epoch_started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.should_stop():
            raise _StopRequestedError

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        score = metrics[self.job.objective.name]
        if not (math.isfinite(metrics["loss"]) and math.isfinite(score)):
            self.message = f"the loss was no longer finite in epoch {epoch + 1}; a smaller learning rate may help"
            self.model.stop_training = True
            return
        self._keep(epoch + 1, score, metrics["val_loss"])
        record = Epoch(epoch + 1, metrics, time.monotonic() - self._epoch_started)
        self.epochs.append(record)
        self.on_epoch(record)
        if self.should_stop():
            raise _StopRequestedError
        if self.job.patience is not None and epoch + 1 - (self.progress.best_epoch or 0) >= self.job.patience:
            self.model.stop_training = True

    def _keep(self, epochs_done: int, score: float, val_loss: float) -> None:
        # On few images many epochs have the same accuracy; of those the one that is surest of its answers is the best.
        progress = self.progress
        progress.epochs_done = epochs_done
        progress.variables = _values(self.model.variables)
        progress.optimizer = _values(self.model.optimizer.variables)
        is_tie = score == progress.score and val_loss < progress.best_loss
        if is_tie or self.job.objective.is_better(score, progress.score):
            progress.score, progress.best_epoch, progress.best_loss = score, epochs_done, val_loss
            progress.best_weights = _values(self.model.weights)


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _save_state(path: Path, progress: _Progress) -> None:
    """Writes the state of a trial, aside first: a reader never meets half of it."""
    facts = {name: getattr(progress, name) for name in ("epochs_done", "score", "best_epoch", "best_loss")}
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
    for kind in ("variables", "optimizer", "best_weights"):
        arrays |= {f"{kind}_{i}": value for i, value in enumerate(getattr(progress, kind))}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _load_state(path: Path) -> _Progress:
    with np.load(path, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))

        def of(kind: str) -> list[np.ndarray]:
            count = sum(name.rsplit("_", 1)[0] == kind for name in arrays.files)
            return [arrays[f"{kind}_{i}"] for i in range(count)]

        return _Progress(**facts, variables=of("variables"), optimizer=of("optimizer"), best_weights=of("best_weights"))


def _steps_per_execution(steps: int, macs_of_batch: int) -> int:
    """How many batches run before Python is asked again: a divisor of `steps`, so that epochs end where they should."""
    most = max(1, min(STEPS_AT_ONCE, int(MACS_AT_ONCE / macs_of_batch)))
    return next(n for n in range(min(most, steps), 0, -1) if steps % n == 0)


def _prepare(job: Job, data: Data) -> tuple[keras.Model, _Progress, int]:
    """The compiled model, in the state where the job takes it up, and the number of batches of an epoch."""
    plan = architecture.build(job.values, job.image_shape, job.output)
    batch_size = int(job.values["batch_size"])
    steps = math.ceil(data.images / batch_size)
    built = model.build(plan, job.seed)
    model.compile_model(built, job.values, job.output, _steps_per_execution(steps, plan.macs * batch_size))
    if job.initial_epoch == 0:
        return built, _Progress(), steps
    progress = _load_state(Path(job.state_file))
    built.optimizer.build(built.trainable_variables)
    _assign(built.variables, progress.variables)
    _assign(built.optimizer.variables, progress.optimizer)
    return built, progress, steps


def train(job: Job, data: Data, on_epoch: Callable[[Epoch], None], should_stop: Callable[[], bool]) -> Result:
    """Trains one job and leaves its state in `job.state_file`.

    Args:
        job: what to train, from which epoch to which.
        data: the training and validation part.
        on_epoch: told each epoch when it has ended.
        should_stop: asked after each execution of batches; when true, the epoch under way is dropped and what was
            reached before it counts.

    Returns:
        The result. A failure of the trial is a result too: a loss that is not finite, memory that runs out.

    Raises:
        OSError: the state could not be written.
    """
    started = time.monotonic()
    keras.utils.clear_session()
    try:
        built, progress, steps = _prepare(job, data)
        recorder = _Recorder(job, progress, on_epoch, should_stop)
        stopped = _fit(built, job, data, recorder, steps)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        return _failed(job, started, f"out of memory: {str(error).splitlines()[0] if str(error) else 'MemoryError'}")
    except (tf.errors.OpError, ValueError, ArithmeticError) as error:
        return _failed(job, started, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    if progress.score is None and not stopped:
        return _failed(job, started, recorder.message)
    if recorder.epochs:
        _save_state(Path(job.state_file), progress)
    status: Status = "stopped" if stopped else "completed"
    seconds = time.monotonic() - started
    epochs = tuple(recorder.epochs)
    return Result(
        job.trial, status, progress.score, progress.best_epoch, epochs, seconds, recorder.message, job.attempt
    )


def _fit(built: keras.Model, job: Job, data: Data, recorder: _Recorder, steps: int) -> bool:
    """Fits until the job's last epoch; whether it was stopped by request."""
    if recorder.should_stop():
        return True
    try:
        built.fit(
            data.batches(job.seed, int(job.values["batch_size"]), job.initial_epoch),
            steps_per_epoch=steps,
            initial_epoch=job.initial_epoch,
            epochs=job.epochs,
            validation_data=data.val,
            callbacks=[recorder],
            shuffle=False,
            verbose=0,
        )
    except _StopRequestedError:
        return True
    return False


def _failed(job: Job, started: float, message: str) -> Result:
    return Result(job.trial, "failed", None, None, (), time.monotonic() - started, message, job.attempt)


def load_best(job: Job) -> keras.Model:
    """The model of a trained job with the weights of its best epoch, compiled.

    Raises:
        FileNotFoundError: the job left no state.
    """
    plan = architecture.build(job.values, job.image_shape, job.output)
    built = model.build(plan, job.seed)
    model.compile_model(built, job.values, job.output)
    built.set_weights(_load_state(Path(job.state_file)).best_weights)
    return built


def evaluate(built: keras.Model, part: Part) -> dict[str, float]:
    """The loss and metrics of a compiled model on one part."""
    data = tf.data.Dataset.from_tensor_slices((part.x, part.y)).batch(EVALUATION_BATCH)
    return {name: float(value) for name, value in built.evaluate(data, verbose=0, return_dict=True).items()}
