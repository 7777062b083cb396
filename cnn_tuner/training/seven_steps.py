"""The networks of the seven steps, as a point of a search space describes them."""

from __future__ import annotations

import keras
import tensorflow as tf

from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.models import builder
from cnn_tuner.models.optimizers import averages, averaging_optimizer
from cnn_tuner.runs.records import Job
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.recipe import recipe_of, steps_of_epoch
from cnn_tuner.training.batches import Data
from cnn_tuner.training.network import Network, assign, served, steps_per_execution, values_of
from cnn_tuner.training.state import Progress
from cnn_tuner.training.whitening import pays, whiten


class SevenSteps:
    """Builds them, and has them learn by their recipe. See `cnn_tuner.training.network.Networks`."""

    failures = (tf.errors.OpError, ValueError, ArithmeticError)

    def set_up(self, job: Job, data: Data) -> Network:
        plan = architecture.build(job.values, job.image_shape, job.output)
        recipe, steps = recipe_of(job.values), steps_of(job, data)
        built = builder.build(plan, job.seed, job.precision, recipe)
        at_once = steps_per_execution(steps, plan.macs * recipe.batch_size)
        optimizer = averaging_optimizer(recipe, job.course_steps)
        builder.compile_model(built, recipe, job.output, at_once, optimizer=optimizer, metric=job.objective.metric)
        built.optimizer.build(built.trainable_variables)  # made while fit traces a step, they have it traced twice
        return Network(served(job), built, steps, at_once)

    def begin(self, network: Network, job: Job, data: Data) -> None:
        if pays(data.train_images):
            whiten(network.model, data.train_images, job.seed)

    def batches(self, job: Job, data: Data, network: Network, first: int) -> tf.data.Dataset:
        recipe = recipe_of(job.values)
        weights = recipe.class_weights if TASKS[job.output.task].has_classes else "none"
        return data.batches(
            job.seed, recipe.batch_size, first, recipe.augmentation, job.with_val, network.steps, weights
        )

    def validation(self, data: Data, network: Network) -> tf.data.Dataset:
        return data.val

    def untrained(self, job: Job) -> keras.Model:
        return builder.build(architecture.build(job.values, job.image_shape, job.output), job.seed, "float32")

    def trained(self, job: Job, progress: Progress) -> keras.Model:
        recipe, built = recipe_of(job.values), self.untrained(job)
        optimizer = averaging_optimizer(recipe, job.course_steps)
        optimizer.build(built.trainable_variables)
        assign(optimizer.variables, progress.optimizer)
        assign(built.trainable_variables, values_of(averages(optimizer)))
        builder.compile_model(built, recipe, job.output)
        return built


def steps_of(job: Job, data: Data) -> int:
    """The batches of an epoch."""
    steps = steps_of_epoch(data.images(job.with_val), job.values)
    return steps if job.epoch_steps is None else min(steps, job.epoch_steps)
