"""A compiled network that can be trained, set up for a job or kept from the one before."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from cnn_tuner.models.optimizers import Course
from cnn_tuner.runs.records import Job
from cnn_tuner.spaces.recipe import STEPS_AT_ONCE, at_once
from cnn_tuner.training.batches import Data
from cnn_tuner.training.state import Progress, of_network

MACS_AT_ONCE = 1.5e9  # about a quarter of a second of training on two cores: how long a request to stop may wait


Start = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]  # variables of a model and its optimizer, the course


@dataclass(frozen=True)
class Network:
    """A compiled model that can be trained: by which jobs, in epochs of so many batches, `at_once` in a row.

    start: where it began, if that was kept. has_averages: whether what is validated and exported is the average of its
    weights. Of a person's own: `batch_size`, and how many of its batches are one as jobs count them (`batches_each`);
    metric_names: of those that it calls otherwise than they are called here; callbacks, fit: for Keras's `fit`;
    size: its parameters and multiply-adds for one image, which are not known before it is built.
    """

    serves: str
    model: keras.Model
    steps: int
    at_once: int
    start: Start | None = None
    has_averages: bool = True
    batch_size: int = 0
    batches_each: float = 1.0
    metric_names: Mapping[str, str] = field(default_factory=dict)
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    fit: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def course_steps(self, job: Job) -> int:
        """How many batches a job's learning rate takes for its course; 0: no end is in sight."""
        return math.ceil(job.course_steps * self.batches_each)

    @property
    def course(self) -> Course:
        """Of its learning rate."""
        course: Course = self.model.optimizer._learning_rate
        return course


class Networks(Protocol):
    """What builds the networks of jobs, and has them learn: the seven steps, or a person's own."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The exceptions by which a trial has failed, where every other one ends the search."""

    def set_up(self, job: Job, data: Data) -> Network:
        """The network of a job, with its initial weights.

        Raises:
            ValueError: it cannot be built or trained.
        """

    def begin(self, network: Network, job: Job, data: Data) -> None:
        """What is to be done with it before it learns for the first time."""

    def batches(self, job: Job, data: Data, network: Network, first: int) -> tf.data.Dataset:
        """What it learns from, from epoch `first` (counted from 0) on."""

    def validation(self, data: Data, network: Network) -> tf.data.Dataset:
        """What it is validated on, as it takes it."""

    def untrained(self, job: Job) -> keras.Model:
        """From images (N, H, W, C) uint8 to scores (N, units), in float32: as it is exported."""

    def trained(self, job: Job, progress: Progress) -> keras.Model:
        """The same with the weights that are validated, compiled with the loss and the metrics of the job's task."""


class KeptNetwork:
    """What builds networks, and the one that was trained last: a job that trains it on need not build and trace it.

    To set up a network of `seven_steps` takes longer than one of its first epochs. With `begins_again` where a network
    began is kept, too, so that jobs of the same network can be trained from there, on other images.
    """

    def __init__(self, networks: Networks, is_own_process: bool = False) -> None:
        self.networks = networks
        self._network: Network | None = None
        self._is_own_process = is_own_process
        self.begins_again = False

    def take(self, job: Job, progress: Progress) -> Network | None:
        """Hands over the network that takes a job up, if it may; every other one is freed."""
        network, self._network = self._network, None
        if network is not None and network.serves == served(job):
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


def served(job: Job) -> str:
    """The same for jobs whose network is traced the same. Its course does not count: a variable holds it."""
    return json.dumps([*of_network(job), job.epoch_steps, job.with_val], sort_keys=True)


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def steps_per_execution(steps: int, macs_of_batch: int) -> int:
    """How many batches run before Python is asked again: a divisor of `steps`, so that epochs end where they should."""
    return at_once(steps, min(STEPS_AT_ONCE, int(MACS_AT_ONCE / macs_of_batch)))


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


def take_up(network: Network, job: Job, progress: Progress) -> None:
    """Brings a network where the job takes it up."""
    if progress.epochs_done:
        assign(network.model.variables, progress.variables)
        assign(network.model.optimizer.variables, progress.optimizer)
        if progress.course:
            network.course.place.assign(np.array(progress.course, np.float32))
        else:
            network.course.begin_at_peak(int(network.model.optimizer.iterations.numpy()), network.course_steps(job))
