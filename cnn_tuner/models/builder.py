"""An Architecture as a compiled Keras model: raw uint8 images in, predictions in the labels' own terms out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from cnn_tuner.metrics.tasks import BY_CLASS, TASKS, Output
from cnn_tuner.models import steps
from cnn_tuner.models.class_metrics import ClassMetric
from cnn_tuner.models.optimizers import make_optimizer
from cnn_tuner.runs.records import Precision
from cnn_tuner.spaces.architecture import Architecture, Layer
from cnn_tuner.spaces.recipe import Recipe


def layer_seed(seed: int, index: int) -> int:
    """The seed of layer `index` of a model with this seed: independent streams, whatever the other layers are."""
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(index,)).generate_state(1)[0])


def _keras_layer(layer: Layer, seed: int) -> keras.layers.Layer:
    match layer.kind:
        case "convolution":
            return steps.convolution(**layer.settings, seed=seed, name=layer.name)
        case "relu":
            return steps.relu(layer.name)
        case "pooling":
            return steps.pooling(**layer.settings, name=layer.name)
        case "dropout":
            return steps.dropout(**layer.settings, seed=seed, name=layer.name)
        case "flatten":
            return steps.flatten(layer.name)
        case "dense":
            return steps.full_connection(**layer.settings, seed=seed, name=layer.name)
        case "output":
            return steps.output(**layer.settings, seed=seed, name=layer.name)
    raise ValueError(f"no step builds a layer of kind {layer.kind!r}")


POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@contextmanager
def computing_in(precision: Precision | None) -> Iterator[None]:
    """While inside, layers are made to compute in `precision`; their weights are float32 in any case."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(before if precision is None else POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(
    architecture: Architecture, seed: int, precision: Precision | None = None, recipe: Recipe | None = None
) -> keras.Model:
    """The model of an architecture, not compiled.

    Args:
        architecture: what to build.
        seed: decides the initial weights and dropout; every whole number >= 0 is a seed, 0 too.
        precision: in which layers compute, None for Keras's own setting; the last one computes in float32 in any case.
        recipe: for a model to be trained: its label smoothing. The weights are those of one without.

    Returns:
        A model from (N, H, W, C) uint8 to (N, units) float32. Scaling pixels to [0, 1] is part of it.
    """
    with computing_in(precision):
        return _build(architecture, seed, recipe)


def _build(architecture: Architecture, seed: int, recipe: Recipe | None) -> keras.Model:
    inputs = keras.Input(architecture.image_shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255, name="scaling")(inputs)
    for index, layer in enumerate(architecture.layers):
        x = _keras_layer(layer, layer_seed(seed, index))(x)
    output = architecture.output
    if output.scale:
        x = keras.layers.Rescaling(list(output.scale), offset=list(output.offset), dtype="float32", name="unit")(x)
    if recipe is not None and output.scale:
        return StandardizingModel(inputs, x, name="cnn", scale=output.scale)
    if recipe is not None and recipe.label_smoothing > 0 and output.task != "regression":
        return SmoothingModel(inputs, x, name="cnn", task=output.task, share=recipe.label_smoothing)
    return keras.Model(inputs, x, name="cnn")


class StandardizingModel(keras.Model):
    """A regression whose loss is that of standardised targets: their unit and their spread change nothing.

    What it predicts, and its metrics, are in the targets' own unit. Without this the gradients of targets of millions
    overflow, those of millionths vanish, and of several targets only the largest are learned.
    """

    def __init__(self, *args: Any, scale: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.target_scale = np.asarray(scale, np.float32)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        # Only differences count: y / s - p / s is (y - m) / s - (p - m) / s.
        return super().compute_loss(x, y / self.target_scale, y_pred / self.target_scale, sample_weight, training)


class SmoothingModel(keras.Model):
    """A classifier that is trained on smoothed labels and evaluated on the labels as they are.

    Smoothing (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567) mixes each label with the uniform distribution,
    and so its loss is the mixture of two losses. Keras's own smoothing would change the validation loss too, and
    trials of different smoothing could not be compared by it.
    """

    def __init__(self, *args: Any, task: str, share: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task, self.share = task, share

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return (1 - self.share) * loss + self.share * self._uniform_loss(y_pred, sample_weight) if training else loss

    def _uniform_loss(self, y_pred: Any, sample_weight: Any) -> Any:
        if self.task == "multiclass":
            uniform = keras.ops.full_like(y_pred, 1 / y_pred.shape[-1])
            losses = keras.losses.categorical_crossentropy(uniform, y_pred)
        else:
            losses = keras.losses.binary_crossentropy(keras.ops.full_like(y_pred, 0.5), y_pred)
        return keras.ops.mean(losses if sample_weight is None else losses * sample_weight)


def _metrics(output: Output) -> list[keras.metrics.Metric]:
    make = {
        "binary": lambda: [keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
        "multiclass": lambda: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        "multilabel": lambda: [
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.AUC(multi_label=True, num_labels=output.units, name="auc"),
        ],
        "regression": lambda: [
            keras.metrics.MeanAbsoluteError(name="mae"),
            keras.metrics.RootMeanSquaredError(name="rmse"),
        ],
    }
    return list(make[output.task]())


def compile_model(
    model: keras.Model,
    recipe: Recipe,
    output: Output,
    steps_per_execution: int = 1,
    schedule_steps: int | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    metric: str = "",
) -> None:
    """Gives the model its optimizer, and the loss and metrics of its task; `metric` may be one of `tasks.BY_CLASS`.

    `optimizer` None makes one of the recipe, of Keras's own parts: `schedule_steps` are then the batches over which
    the learning rate runs its course, None keeps it constant.
    """
    model.compile(
        optimizer=make_optimizer(recipe, schedule_steps) if optimizer is None else optimizer,
        loss=TASKS[output.task].loss,
        metrics=[*_metrics(output), *([ClassMetric(metric, output)] if metric in BY_CLASS else [])],
        steps_per_execution=steps_per_execution,
        jit_compile=False,  # XLA trains several times slower on CPUs
    )
