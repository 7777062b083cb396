"""A compiled network that can be trained, set up for a job or kept from the one before."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from cnn_tuner.models import builder
from cnn_tuner.models.optimizers import Course, averages, averaging_optimizer
from cnn_tuner.runs.records import Job
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.recipe import STEPS_AT_ONCE, Recipe, divisor, recipe_of, steps_of_epoch
from cnn_tuner.training.batches import Data
from cnn_tuner.training.state import Progress, of_network

MACS_AT_ONCE = 1.5e9  # about a quarter of a second of training on two cores: how long a request to stop may wait


Start = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]  # variables of a model and its optimizer, the course


@dataclass(frozen=True)
class Network:
    """A compiled model that can be trained: by which jobs, in epochs of so many batches, `at_once` in a row.

    `start` is where it began, if that was kept.
    """

    serves: str
    model: keras.Model
    recipe: Recipe
    steps: int
    at_once: int
    start: Start | None = None

    @property
    def course(self) -> Course:
        """Of its learning rate."""
        course: Course = self.model.optimizer._learning_rate
        return course


class KeptNetwork:
    """The network that was trained last: a job that trains it on needs neither to build nor to trace it again.

    To set up a network of `seven_steps` takes longer than one of its first epochs. With `begins_again` where a network
    began is kept, too, so that jobs of the same network can be trained from there, on other images.
    """

    def __init__(self, is_own_process: bool = False) -> None:
        self._network: Network | None = None
        self._is_own_process = is_own_process
        self.begins_again = False

    def take(self, job: Job, progress: Progress) -> Network | None:
        """Hands over the network that takes a job up, if it may; every other one is freed."""
        network, self._network = self._network, None
        if network is not None and network.serves == _served(job):
            if progress.epochs_done:
                return network
            if network.start is not None:
                _begin(network, network.start)
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


def _served(job: Job) -> str:
    """The same for jobs whose network is traced the same. Its course does not count: a variable holds it."""
    return json.dumps([*of_network(job), job.epoch_steps, job.with_val], sort_keys=True)


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def steps_per_execution(steps: int, macs_of_batch: int) -> int:
    """How many batches run before Python is asked again: a divisor of `steps`, so that epochs end where they should."""
    return divisor(steps, max(1, min(STEPS_AT_ONCE, int(MACS_AT_ONCE / macs_of_batch))))


def steps_of(job: Job, data: Data) -> int:
    """The batches of an epoch."""
    steps = steps_of_epoch(data.images(job.with_val), job.values)
    return steps if job.epoch_steps is None else min(steps, job.epoch_steps)


def with_start(network: Network) -> Network:
    """The same, which knows that it begins where it stands now."""
    model = network.model
    start = values_of(model.variables), values_of(model.optimizer.variables), network.course.place.numpy()
    return replace(network, start=start)


def _begin(network: Network, start: Start) -> None:
    variables, optimizer, place = start
    assign(network.model.variables, variables)
    assign(network.model.optimizer.variables, optimizer)
    network.course.place.assign(place)


def set_up(job: Job, data: Data) -> Network:
    """The network of a job, with its initial weights."""
    plan = architecture.build(job.values, job.image_shape, job.output)
    recipe, steps = recipe_of(job.values), steps_of(job, data)
    built = builder.build(plan, job.seed, job.precision, recipe)
    at_once = steps_per_execution(steps, plan.macs * recipe.batch_size)
    optimizer = averaging_optimizer(recipe, job.course_steps)
    builder.compile_model(built, recipe, job.output, at_once, optimizer=optimizer, metric=job.objective.metric)
    built.optimizer.build(built.trainable_variables)  # made while fit traces a step, they have it traced twice
    return Network(_served(job), built, recipe, steps, at_once)


def take_up(network: Network, job: Job, progress: Progress) -> None:
    """Brings a network where the job takes it up."""
    if progress.epochs_done:
        assign(network.model.variables, progress.variables)
        assign(network.model.optimizer.variables, progress.optimizer)
        if progress.course:
            network.course.place.assign(np.array(progress.course, np.float32))
        else:
            network.course.begin_at_peak(int(network.model.optimizer.iterations.numpy()), job.course_steps)


def averaged_model(job: Job, progress: Progress) -> keras.Model:
    """The network of a trained job with the average of its weights, computing in float32, not compiled."""
    recipe, plan = recipe_of(job.values), architecture.build(job.values, job.image_shape, job.output)
    built = builder.build(plan, job.seed, "float32")
    optimizer = averaging_optimizer(recipe, job.course_steps)
    optimizer.build(built.trainable_variables)
    assign(optimizer.variables, progress.optimizer)
    assign(built.trainable_variables, values_of(averages(optimizer)))
    return built
