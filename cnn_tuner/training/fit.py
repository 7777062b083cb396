"""Trains one job: the only place that fits a model.

The order of the data in epoch e depends on the job's seed and e alone, and a job leaves its whole training state
behind (weights, optimizer with its step count, random state of dropout), so that training 3 epochs and then 6 more
gives what training 9 at once gives, and so does a job that was killed and is run again.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Part
from cnn_tuner.data.shared import opened
from cnn_tuner.models import builder
from cnn_tuner.models.latency import measure_latency
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.recipe import recipe_of
from cnn_tuner.training.state import Progress, identity, load_state, save_state, take_up

if TYPE_CHECKING:
    from cnn_tuner.executors.base import Settings, Train

EVALUATION_BATCH = 256  # images at once where nothing is learned
STEPS_AT_ONCE = 32
STOPWATCH_SECONDS = 0.05  # between two readings
SAVE_SECONDS = 30.0  # between two states of a job under way: what a power failure may cost, and an epoch
MOST_SAVING = 50  # of the time at most one part in so many goes into saving
TENSOR_ALIGNMENT = 64  # bytes: what TensorFlow's kernels expect
MACS_AT_ONCE = 1.5e9  # about a quarter of a second of training on two cores: how long a request to stop may wait


def make_repeatable() -> None:
    """Has a GPU use kernels that give the same result each time. Those of the CPU do, for one number of threads."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


class Data:
    """The training and validation part as tensors, made once for all jobs. The test part never comes here.

    Arrays that are mapped from files (see `cnn_tuner.data.shared`) stay there: nothing is copied.
    """

    def __init__(self, train: Part, val: Part) -> None:
        self._train, self._val = train, val  # the tensors point into their arrays
        self.x, self.y, val_x, val_y = (_tensor(array) for part in (train, val) for array in (part.x, part.y))
        places = tf.data.Dataset.range(len(val)).batch(EVALUATION_BATCH)
        self.val = _uncopied(places.map(lambda at: (tf.gather(val_x, at), tf.gather(val_y, at))).prefetch(2))

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

        return _uncopied(tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max).flat_map(one_epoch).prefetch(2))


def _tensor(array: np.ndarray) -> tf.Tensor:
    """A tensor that uses the array's own memory where that may be shared (NumPy hands out no read-only array)."""
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.convert_to_tensor(array)


def _uncopied(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without the rewriting of the pipeline, which would copy the images into it as a constant."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


def open_trainer(settings: Settings) -> Train:
    """What trains jobs in this process, by the data in `settings.folder`. Called before TensorFlow has done anything.

    See `cnn_tuner.executors.base.load_trainer`.
    """
    data, kept = _open(settings), KeptNetwork(settings.is_own_process)
    return lambda job, on_epoch, should_stop: train(job, data, on_epoch, should_stop, kept)


def open_stopwatch(settings: Settings) -> Train:
    """As `open_trainer`, for jobs that only measure how fast they train."""
    data = _open(settings)
    return lambda job, on_epoch, should_stop: measure(job, data, on_epoch, should_stop)


def _open(settings: Settings) -> Data:
    if settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave room for whoever shares it
    make_repeatable()
    tf.matmul(tf.zeros((64, 64)), tf.zeros((64, 64)))  # starts its threads: their stacks count as memory
    return Data(*opened(Path(settings.folder)))


@dataclass(frozen=True)
class Network:
    """A compiled model that can be trained, `identity` says by which trial's jobs, in epochs of so many batches."""

    identity: str
    model: keras.Model
    steps: int


class KeptNetwork:
    """The network that was trained last: a job that trains it on needs neither to build nor to trace it again.

    To set up a network of `seven_steps` takes longer than one of its first epochs.
    """

    def __init__(self, is_own_process: bool = False) -> None:
        self._network: Network | None = None
        self._is_own_process = is_own_process

    def take(self, job: Job, progress: Progress) -> Network | None:
        """Hands over the network that takes a job up after at least an epoch; every other one is freed."""
        network, self._network = self._network, None
        if network is not None and network.identity == identity(job) and progress.epochs_done:
            return network
        del network
        keras.utils.clear_session()
        if self._is_own_process:
            # Later collections pass over what now is left: what TensorFlow loaded, and what it keeps of each network.
            # To look at all of it for every job took half a second at first and twice that after 70 jobs; the memory
            # that a worker holds after as many jobs is the same.
            gc.freeze()
        return None

    def keep(self, network: Network) -> None:
        """Takes back a network that stands where its job ended."""
        self._network = network


class _StopRequestedError(Exception):
    """Raised inside `fit` to leave it at the next batch."""


class _Recorder(keras.callbacks.Callback):
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
            raise _StopRequestedError

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
            raise _StopRequestedError
        if self.job.patience is not None and epoch + 1 - (self.progress.best_epoch or 0) >= self.job.patience:
            self.model.stop_training = True
        elif epoch + 1 < self.job.epochs:
            self._save_now_and_then()

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


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _steps_per_execution(steps: int, macs_of_batch: int) -> int:
    """How many batches run before Python is asked again: a divisor of `steps`, so that epochs end where they should."""
    most = max(1, min(STEPS_AT_ONCE, int(MACS_AT_ONCE / macs_of_batch)))
    return next(n for n in range(min(most, steps), 0, -1) if steps % n == 0)


def _set_up(job: Job, data: Data) -> Network:
    """The network of a job, with its initial weights."""
    plan = architecture.build(job.values, job.image_shape, job.output)
    recipe = recipe_of(job.values)
    steps = math.ceil(data.images / recipe.batch_size)
    built = builder.build(plan, job.seed, job.precision, recipe)
    at_once = _steps_per_execution(steps, plan.macs * recipe.batch_size)
    builder.compile_model(built, recipe, job.output, at_once, job.schedule_epochs * steps)
    built.optimizer.build(built.trainable_variables)  # made while fit traces a step, they have it traced twice
    return Network(identity(job), built, steps)


def _take_up(network: Network, progress: Progress) -> None:
    """Brings a network where the job takes it up. One that was kept stands there, if nothing was lost in between."""
    if progress.epochs_done:
        _assign(network.model.variables, progress.variables)
        _assign(network.model.optimizer.variables, progress.optimizer)


def train(
    job: Job,
    data: Data,
    on_epoch: Callable[[Epoch], None],
    should_stop: Callable[[], bool],
    kept: KeptNetwork | None = None,
) -> Result:
    """Trains one job and leaves its state in `job.state_file`.

    Args:
        job: what to train, from which epoch to which.
        data: the training and validation part.
        on_epoch: told each epoch when it has ended, those of an earlier attempt at once.
        should_stop: asked after each execution of batches; when true, the epoch under way is dropped and what was
            reached before it counts.
        kept: where the network of the job before is found, and this one's is left.

    Returns:
        The result. A failure of the trial is a result too: a loss that is not finite, memory that runs out.

    Raises:
        OSError: the state could not be written.
    """
    kept = KeptNetwork() if kept is None else kept
    progress = take_up(job)
    network = kept.take(job, progress)
    recorder = _Recorder(job, progress, on_epoch, should_stop)
    for epoch in progress.epochs:
        on_epoch(epoch)
    latency = _latency(job)
    most = job.max_latency_seconds
    if latency is not None and most is not None and latency > most:
        over = f"one image takes {1000 * latency:.3g} ms, over the limit of {1000 * most:.3g} ms"
        return replace(_failed(recorder, over), latency_seconds=latency)
    return replace(_trained(job, data, recorder, network, kept), latency_seconds=latency)


def _trained(job: Job, data: Data, recorder: _Recorder, network: Network | None, kept: KeptNetwork) -> Result:
    progress = recorder.progress
    try:
        stopped = not progress.has_ended and _fit(job, data, recorder, network, kept)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        return _failed(recorder, f"out of memory: {str(error).splitlines()[0] if str(error) else 'MemoryError'}")
    except (tf.errors.OpError, ValueError, ArithmeticError) as error:
        return _failed(recorder, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    if progress.score is None and not stopped:
        return _failed(recorder, progress.message)
    recorder.save(has_ended=not stopped)
    return Result(
        job.number,
        "stopped" if stopped else "completed",
        progress.score,
        progress.best_epoch,
        tuple(progress.epochs),
        recorder.seconds(),
        progress.message,
        job.attempt,
    )


def _latency(job: Job) -> float | None:
    """What one image takes, by the model that computes in float32 as the exported one does."""
    if not job.measures_latency:
        return None
    built = builder.build(architecture.build(job.values, job.image_shape, job.output), job.seed, "float32")
    seconds = measure_latency(built)
    keras.utils.clear_session()
    return seconds


def _fit(job: Job, data: Data, recorder: _Recorder, network: Network | None, kept: KeptNetwork) -> bool:
    """Fits until the job's last epoch; whether it was stopped by request."""
    if recorder.should_stop():
        return True
    network = _set_up(job, data) if network is None else network
    _take_up(network, recorder.progress)
    first = recorder.progress.epochs_done
    try:
        network.model.fit(
            data.batches(job.seed, int(job.values["batch_size"]), first),
            steps_per_epoch=network.steps,
            initial_epoch=first,
            epochs=job.epochs,
            validation_data=data.val,
            callbacks=[recorder],
            shuffle=False,
            verbose=0,
        )
    except _StopRequestedError:
        return True
    kept.keep(network)
    return False


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
            raise _StopRequestedError

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._images += self.params["steps"] * self.batch_size


def measure(job: Job, data: Data, on_epoch: Callable[[Epoch], None], should_stop: Callable[[], bool]) -> Result:
    """Trains a job's network until it is asked to stop, and tells how far it is: the metric `images` of an "epoch".

    `seconds` of such an epoch is the time (monotonic) at which it was told.
    """
    keras.utils.clear_session()
    network = _set_up(job, data)
    batch_size = int(job.values["batch_size"])
    stopwatch = _Stopwatch(batch_size, on_epoch, should_stop)
    batches = data.batches(job.seed, batch_size, 0)
    with suppress(_StopRequestedError):
        network.model.fit(
            batches, steps_per_epoch=network.steps, epochs=10**9, callbacks=[stopwatch], shuffle=False, verbose=0
        )
    return Result(job.number, "stopped", None, None, (), 0.0)


def _failed(recorder: _Recorder, message: str) -> Result:
    job, epochs = recorder.job, tuple(recorder.progress.epochs)
    return Result(job.number, "failed", None, None, epochs, recorder.seconds(), message, job.attempt)


def load_best(job: Job) -> keras.Model:
    """The model of a trained job with the weights of its best epoch, compiled, computing in float32.

    Raises:
        FileNotFoundError: the job left no state.
    """
    plan = architecture.build(job.values, job.image_shape, job.output)
    built = builder.build(plan, job.seed, "float32")
    builder.compile_model(built, recipe_of(job.values), job.output)
    built.set_weights(load_state(Path(job.state_file), job).best_weights)
    return built


def evaluate(built: keras.Model, part: Part) -> dict[str, float]:
    """The loss and metrics of a compiled model on one part."""
    data = tf.data.Dataset.from_tensor_slices((part.x, part.y)).batch(EVALUATION_BATCH)
    return {name: float(value) for name, value in built.evaluate(data, verbose=0, return_dict=True).items()}
