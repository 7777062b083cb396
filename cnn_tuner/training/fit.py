"""Trains one job: the only place that fits a model.

The order of the data in epoch e depends on the job's seed and e alone, and a job leaves its whole training state
behind (weights, optimizer with its step count, random state of dropout), so that training 3 epochs and then 6 more
gives what training 9 at once gives, and so does a job that was killed and is run again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Images, Part, pieces
from cnn_tuner.data.shared import opened
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import TASKS, Output
from cnn_tuner.models.latency import measure_latency
from cnn_tuner.runs.config import BACKWARDS
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.spaces.recipe import BATCH_SIZE
from cnn_tuner.training import devices, network
from cnn_tuner.training.batches import EVALUATION_BATCH, Data
from cnn_tuner.training.folds import train_folds
from cnn_tuner.training.network import KeptNetwork, Network, Networks
from cnn_tuner.training.recorder import Recorder, StopRequestedError
from cnn_tuner.training.seven_steps import SevenSteps, steps_of
from cnn_tuner.training.state import load_state, take_up

if TYPE_CHECKING:
    from cnn_tuner.executors.base import Settings, Train


def open_trainer(settings: Settings) -> Train:
    """What trains jobs in this process, by the data in `settings.folder`. Called before TensorFlow has done anything.

    See `cnn_tuner.executors.base.load_trainer`.
    """
    devices.set_up(settings)
    kept = KeptNetwork(networks_of(settings), settings.is_own_process)
    data = Data(*opened(Path(settings.folder)))
    return lambda job, on_epoch, should_stop: train(job, data, on_epoch, should_stop, kept)


def networks_of(settings: Settings) -> Networks:
    """What builds the networks that are trained with these settings."""
    if not settings.networks:
        return SevenSteps()
    from cnn_tuner.training import custom

    return custom.unpacked(settings.networks)


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
        kept: what builds networks, where the one of the job before is found, and this one's is left; None: the seven
            steps, and nothing is kept.

    Returns:
        The result. A failure of the trial is a result too: a loss that is not finite, memory that runs out.

    Raises:
        OSError: the state could not be written.
    """
    kept = KeptNetwork(SevenSteps()) if kept is None else kept
    kept.begins_again = job.folds > 0
    by_class = TASKS[job.output.task].has_classes
    if not job.folds:
        return _train(job, data.redrawn(job.split, by_class), on_epoch, should_stop, kept)
    latency = _latency(job, kept.networks)
    if (over := _over_the_limit(job, latency)) is not None:
        return Result(job.number, "failed", None, None, (), 0.0, over, job.attempt, latency_seconds=latency)
    parts = [data.redrawn(number, by_class) for number in range(job.folds)]
    # As many batches in each fold, so that what is traced for one serves all.
    steps = min(steps_of(job, part) for part in parts)
    even = replace(job, epoch_steps=steps, measures_latency=False)
    found = train_folds(even, on_epoch, lambda one, tell: _train(one, parts[one.split], tell, should_stop, kept))
    return replace(found, latency_seconds=latency)


def _train(
    job: Job, data: Data, on_epoch: Callable[[Epoch], None], should_stop: Callable[[], bool], kept: KeptNetwork
) -> Result:
    progress = take_up(job)
    found = kept.take(job, progress)
    recorder = Recorder(job, progress, on_epoch, should_stop, _validation_share(job, data))
    if job.grows and not progress.epochs_done:
        return _failed(recorder, "the training that it goes on with was lost")
    for epoch in progress.epochs:
        on_epoch(epoch)
    latency = _latency(job, kept.networks)
    if (over := _over_the_limit(job, latency)) is not None:
        return replace(_failed(recorder, over), latency_seconds=latency)
    return replace(_trained(job, data, recorder, found, kept), latency_seconds=latency)


def _validation_share(job: Job, data: Data) -> float:
    """How long an epoch's validation is expected to take, in the time of its batches."""
    images = min(data.images(job.with_val), steps_of(job, data) * int(job.values.get("batch_size", BATCH_SIZE)))
    return 0.0 if job.with_val else (data.images(with_val=True) - data.images()) / images / BACKWARDS


def _trained(job: Job, data: Data, recorder: Recorder, found: Network | None, kept: KeptNetwork) -> Result:
    progress = recorder.progress
    try:
        stopped = not progress.has_ended and _fit(job, data, recorder, found, kept)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        return _failed(recorder, f"out of memory: {str(error).splitlines()[0] if str(error) else 'MemoryError'}")
    except OSError:  # the state could not be written
        raise
    except kept.networks.failures as error:
        return _failed(recorder, _reason(error))
    if (not progress.epochs_done and not stopped) or progress.message:
        return _failed(recorder, progress.message)
    recorder.save(has_ended=not stopped)
    params, macs = (recorder.network.size if recorder.network is not None else None) or (None, None)
    return Result(
        job.number,
        "stopped" if stopped else "completed",
        progress.score,
        progress.epochs_done or None,
        tuple(progress.epochs),
        recorder.seconds(),
        progress.message,
        job.attempt,
        params=params,
        macs=macs,
    )


def _reason(error: Exception) -> str:
    """In one line; of images that could not be read, what was raised there and not TensorFlow's first line."""
    raised = re.search(r"^(?:[\w.]+\.)?(?:BrokenImageError|DataError|OSError): (.+)$", str(error), re.MULTILINE)
    told = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    return raised[1].strip() if raised and isinstance(error, tf.errors.OpError) else told


def _over_the_limit(job: Job, latency: float | None) -> str | None:
    """Why a model that takes so long for one image is refused; None where it is not."""
    most = job.max_latency_seconds
    if latency is None or most is None or latency <= most:
        return None
    return f"one image takes {1000 * latency:.3g} ms, over the limit of {1000 * most:.3g} ms"


def _latency(job: Job, networks: Networks) -> float | None:
    """What one image takes, by the model that computes in float32 as the exported one does."""
    if not job.measures_latency:
        return None
    seconds = measure_latency(networks.untrained(job))
    keras.utils.clear_session()
    return seconds


def _fit(job: Job, data: Data, recorder: Recorder, found: Network | None, kept: KeptNetwork) -> bool:
    """Fits until the job's last epoch; whether it was stopped by request."""
    if recorder.should_stop():
        return True
    networks = kept.networks
    taken = networks.set_up(job, data) if found is None else found
    if kept.begins_again and found is None:
        taken = network.with_start(taken)
    if not recorder.progress.epochs_done:
        networks.begin(taken, job, data)
    network.take_up(taken, job, recorder.progress)
    first, recorder.network = recorder.progress.epochs_done, taken
    try:
        taken.model.fit(
            networks.batches(job, data, taken, first),
            steps_per_epoch=taken.steps,
            initial_epoch=first,
            epochs=job.epochs,
            validation_data=None if job.with_val else networks.validation(data, taken),
            callbacks=[*taken.callbacks, recorder],
            shuffle=False,
            verbose=0,
            **taken.fit,
        )
    except StopRequestedError:
        return True
    kept.keep(taken)
    return False


def _failed(recorder: Recorder, message: str) -> Result:
    job, epochs = recorder.job, tuple(recorder.progress.epochs)
    return Result(job.number, "failed", None, None, epochs, recorder.seconds(), message, job.attempt)


def load_best(job: Job, networks: Networks | None = None) -> keras.Model:
    """The model of a trained job as it was validated, compiled, computing in float32.

    `networks` built it; None: the seven steps.

    Raises:
        FileNotFoundError: the job left no state.
    """
    # Of several folds the state is the first one's, whose epochs may have fewer batches than the job says.
    networks = SevenSteps() if networks is None else networks
    return networks.trained(job, load_state(Path(job.state_file), job, grows=job.folds > 0))


def outcomes(job: Job, part: Part, networks: Networks | None = None) -> np.ndarray | None:
    """What each image of a part (N,) adds to the objective of a trained job; see `cnn_tuner.metrics.scores.of_each`."""
    return scores.of_each(job.objective.metric, part.y, job.output.task, predict(load_best(job, networks), part.x))


def evaluate(built: keras.Model, part: Part, output: Output, answers: np.ndarray | None = None) -> dict[str, float]:
    """The loss and metrics of a compiled model on one part, and those that count classes alike.

    A regression's loss is that of standardised targets. `answers` are the model's, where they are known.
    """
    if answers is None:
        answers = predict(built, part.x)
    places = tf.data.Dataset.range(len(part)).batch(EVALUATION_BATCH)
    data = places.map(lambda at: (_images_at(part.x, at), tf.gather(part.y, at)))
    found = {name: float(value) for name, value in built.evaluate(data, verbose=0, return_dict=True).items()}
    if output.scale:
        found["loss"] = float((((answers - part.y) / np.array(output.scale)) ** 2).mean())
    if TASKS[output.task].has_classes:
        counts = scores.class_counts(output.task, part.y, answers)
        found |= {name: float(metric(counts)) for name, metric in scores.BY_CLASS.items()}
    return found


def predict(built: keras.Model, images: Images) -> np.ndarray:
    """The scores (N, units) of images (N, H, W, C) uint8, which are taken into memory a few at a time."""
    found = [built.predict(piece, batch_size=EVALUATION_BATCH, verbose=0) for piece in pieces(images, EVALUATION_BATCH)]
    return np.concatenate(found)


def _images_at(images: Images, places: tf.Tensor) -> tf.Tensor:
    found = tf.numpy_function(lambda at: images[at], [places], tf.uint8)
    found.set_shape((None, *images.shape[1:]))
    return found
