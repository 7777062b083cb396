"""An Architecture as a compiled Keras model: raw uint8 images in, predictions in the labels' own terms out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from cnn_tuner import steps
from cnn_tuner.architecture import Architecture, Layer
from cnn_tuner.records import Precision
from cnn_tuner.space import Point
from cnn_tuner.tasks import TASKS, Output


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
def _computing_in(precision: Precision | None) -> Iterator[None]:
    """While inside, layers are made to compute in `precision`; their weights are float32 in any case."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(before if precision is None else POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build(architecture: Architecture, seed: int, precision: Precision | None = None) -> keras.Model:
    """The model of an architecture, not compiled.

    Args:
        architecture: what to build.
        seed: decides the initial weights and dropout; every whole number >= 0 is a seed, 0 too.
        precision: in which layers compute, None for Keras's own setting; the last one computes in float32 in any case.

    Returns:
        A model from (N, H, W, C) uint8 to (N, units) float32. Scaling pixels to [0, 1] is part of it.
    """
    with _computing_in(precision):
        return _build(architecture, seed)


def _build(architecture: Architecture, seed: int) -> keras.Model:
    inputs = keras.Input(architecture.image_shape, dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255, name="scaling")(inputs)
    for index, layer in enumerate(architecture.layers):
        x = _keras_layer(layer, layer_seed(seed, index))(x)
    if architecture.output.scale:
        x = keras.layers.Rescaling(
            list(architecture.output.scale), offset=list(architecture.output.offset), dtype="float32", name="unit"
        )(x)
    return keras.Model(inputs, x, name="cnn")


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


def compile_model(model: keras.Model, values: Point, output: Output, steps_per_execution: int = 1) -> None:
    """Gives the model its optimizer, and the loss and metrics of its task."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=float(values["learning_rate"])),
        loss=TASKS[output.task].loss,
        metrics=_metrics(output),
        steps_per_execution=steps_per_execution,
        jit_compile=False,  # XLA trains several times slower on CPUs
    )
