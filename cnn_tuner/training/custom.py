"""Networks of a person's own, trained as they were compiled: with their optimizer, loss, metrics and callbacks.

What the search adds: what is validated and exported is the average of the weights over the last steps, and a learning
rate that was left constant falls to nothing in the final training, whose end is known.
"""

from __future__ import annotations

import math
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import keras
import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import image_bytes
from cnn_tuner.export.checks.operations import ALLOWED
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.models import builder
from cnn_tuner.models.custom import METRIC_NAMES, CustomModels, graph_of, hyperparameters, macs_of, operations_of
from cnn_tuner.models.optimizers import GivenCourse, averages, averaging
from cnn_tuner.runs.records import Job
from cnn_tuner.spaces.recipe import BATCH_SIZE, Recipe, steps_of_epoch
from cnn_tuner.training.batches import Data
from cnn_tuner.training.network import Network, assign, served, steps_per_execution, values_of
from cnn_tuner.training.seven_steps import steps_of
from cnn_tuner.training.state import Progress

MOST_SHOWN = 2**28  # bytes of images, as float32, that a hypermodel's own `fit` is shown


class CustomNetworks:
    """Builds them, and has them learn. See `cnn_tuner.training.network.Networks`."""

    failures = (Exception,)  # of a person's losses, metrics and callbacks, which may raise anything

    def __init__(self, models: CustomModels) -> None:
        self.models = models

    def set_up(self, job: Job, data: Data) -> Network:
        model, hp = self.models.build(job.values, job.seed, job.precision), hyperparameters(job.values)
        fitting = self.models.fitting(hp, model, lambda: self._shown(model, data))
        known = int(job.values.get("batch_size", BATCH_SIZE))  # by which the job counts batches
        counted = steps_of(job, data)
        images = data.images(job.with_val)
        if job.epoch_steps is not None:
            images = min(images, job.epoch_steps * known)
        steps = steps_of_epoch(images, {"batch_size": fitting.batch_size})
        course_steps = math.ceil(job.course_steps * (steps / counted))
        graph = graph_of(model)
        self.models.check_operations(operations_of(graph) - ALLOWED)
        macs, has_averages = macs_of(graph), self._prepare(model, course_steps)
        at_once = steps_per_execution(steps, max(1, macs) * fitting.batch_size)
        model.steps_per_execution = at_once
        return Network(
            served(job),
            model,
            steps,
            at_once,
            has_averages=has_averages,
            metric_names=METRIC_NAMES,
            callbacks=fitting.callbacks,
            fit=fitting.arguments,
            size=(model.count_params(), macs),
            batch_size=fitting.batch_size,
            batches_each=steps / counted,
        )

    def _prepare(self, model: keras.Model, course_steps: int) -> bool:
        """Gives its optimizer a rate that may fall and an average of the weights; whether the latter is ours."""
        has_averages = not model.optimizer.use_ema
        rate, model.optimizer = _rate(model.optimizer), averaging(model.optimizer)
        model.optimizer.learning_rate = GivenCourse(rate, course_steps)
        model.optimizer.build(model.trainable_variables)
        return has_averages

    def _shown(self, model: keras.Model, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Training images and labels, as a hypermodel's own `fit` may want to see them: all, or what memory bears."""
        y = data.y.numpy()
        places = spread(y, max(1, MOST_SHOWN // (4 * image_bytes(data.train_images))), self.models.output.task)
        found, labels = self.models.adapted(model, data.train_images[places], y[places])
        return np.asarray(found), np.asarray(labels)

    def begin(self, network: Network, job: Job, data: Data) -> None:
        """Its weights are as it was built."""

    def batches(self, job: Job, data: Data, network: Network, first: int) -> tf.data.Dataset:
        found = data.batches(job.seed, network.batch_size, first, None, job.with_val, network.steps)
        return found.map(lambda images, labels: self.models.adapted(network.model, images, labels))

    def validation(self, data: Data, network: Network) -> tf.data.Dataset:
        return data.val.map(lambda images, labels: self.models.adapted(network.model, images, labels))

    def untrained(self, job: Job) -> keras.Model:
        return self.models.served(self.models.build(job.values, job.seed))

    def trained(self, job: Job, progress: Progress) -> keras.Model:
        keras.utils.clear_session(free_memory=False)  # names count from the beginning: the same network, the same bytes
        model = self.models.build(job.values, job.seed)
        assign(model.variables, progress.variables)
        if self._prepare(model, 0):
            assign(model.optimizer.variables, progress.optimizer)
            assign(model.trainable_variables, values_of(averages(model.optimizer)))
        found = self.models.served(model)
        builder.compile_model(found, Recipe(0.001, BATCH_SIZE), self.models.output)
        return found


def spread(y: np.ndarray, most: int, task: str) -> np.ndarray:
    """The places of at most so many labels, evenly spread, and of one of each class besides."""
    if len(y) <= most:
        return np.arange(len(y))
    firsts = np.array([], int)
    if TASKS[task].has_classes:
        firsts = np.unique(y.reshape(-1), return_index=True)[1]
    elif task == "multilabel":
        firsts = y.argmax(axis=0)
    return np.union1d(np.linspace(0, len(y) - 1, most).astype(int), firsts)


def _rate(optimizer: keras.optimizers.Optimizer) -> Any:
    """Its learning rate: a number, or a schedule."""
    rate = optimizer._learning_rate
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError("the learning rate is a function; a search follows a number or a schedule of Keras")
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else float(np.asarray(rate))


def packed(models: CustomModels) -> bytes:
    """What another process makes them of, whose code may be a script's or a notebook's.

    Code that is not installed goes along: another machine has no such file, and this one need not run it again.
    """
    module = sys.modules.get(models.module)
    is_local = module is not None and models.module != "__main__" and not _is_installed(module)
    if is_local:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(models))
    finally:
        if is_local:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(module: ModuleType) -> bool:
    """Whether it is of an installed package, or of Python itself."""
    file = getattr(module, "__file__", None)
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return file is None or any(Path(file).is_relative_to(place) for place in places if place)


def unpacked(content: bytes) -> CustomNetworks:
    """The networks of what this very program packed; never of what came from anywhere else."""
    return CustomNetworks(cloudpickle.loads(content))
