"""The layers of a `.keras` file as arithmetic: which shapes they have and which weights they need, nothing built."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from cnn_tuner.data.files import shown
from cnn_tuner.export.checks.container import refused

MAX_ELEMENTS = 2**28  # of one layer's output for one image
ACTIVATIONS = ("linear", "sigmoid", "softmax", "relu")
Shape = tuple[int, ...]


def check_layers(path: Path, config: Any) -> list[Shape]:
    """Goes through the layers of a functional model, which must be a chain, as those of our models are.

    Returns:
        The shapes of the weights that its layers need.

    Raises:
        VerificationError: it is no chain, or a layer's output is too large.
        Exception: a layer's description lacks something.
    """
    layers = config["config"]["layers"]
    if config["class_name"] != "Functional" or layers[0]["class_name"] != "InputLayer":
        raise refused(path, "is no model of cnn_tuner: it must be a functional model that begins with its input")
    batch, *sides = layers[0]["config"]["batch_shape"]
    shape, before = tuple(map(int, sides)), layers[0]["config"]["name"]
    _check_shape(path, before, shape)
    if batch is not None or len(shape) != 3:
        raise refused(path, f"its input must be any number of images, is {[batch, *sides]}")
    weights: list[Shape] = []
    for layer in layers[1:]:
        name = layer["config"]["name"]
        _check_place(path, layer, before, shape)
        _check_settings(path, layer)
        needed, shape = _step(layer["class_name"], layer["config"], shape)
        _check_shape(path, name, shape)
        weights += needed
        before = name
    return weights


def _check_shape(path: Path, name: str, shape: Shape) -> None:
    if not shape or min(shape) < 1 or math.prod(shape) > MAX_ELEMENTS:
        raise refused(path, f"layer {shown(name)} gives {list(shape)} for an image; allowed are {MAX_ELEMENTS:,}")


def _check_place(path: Path, layer: Any, before: str, shape: Shape) -> None:
    """A layer takes what the one before it gives, and is built for just that."""
    name = shown(str(layer["config"]["name"]))
    calls = layer["inbound_nodes"]
    history = [tensor["config"]["keras_history"] for call in calls for tensor in call["args"]]
    if len(calls) != 1 or history != [[before, 0, 0]] or set(calls[0]["kwargs"]) - {"training", "mask"}:
        raise refused(path, f"layer {name} does not take the output of the layer before it: our models are chains")
    built = layer.get("build_config") or {}
    if built and built != {"input_shape": [None, *shape]}:
        raise refused(path, f"layer {name} is built for {built}, but gets {list(shape)}")


def _check_settings(path: Path, layer: Any) -> None:
    settings = layer["config"]
    name = shown(str(settings["name"]))
    if settings.get("activation", "linear") not in ACTIVATIONS:
        raise refused(path, f"layer {name} has the activation {shown(str(settings['activation']))}")
    for key in ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "quantization_config", "noise_shape"):
        if settings.get(key) is not None:
            raise refused(path, f"layer {name} has a {key}, which our models have not")
    if settings.get("data_format", "channels_last") != "channels_last" or settings.get("groups", 1) != 1:
        raise refused(path, f"layer {name} has channels first, or groups, which our models have not")
    if any(int(rate) != 1 for rate in settings.get("dilation_rate", ())):
        raise refused(path, f"layer {name} is dilated, which those of our models are not")


def _step(kind: str, settings: Any, shape: Shape) -> tuple[list[Shape], Shape]:
    """The weights that a layer needs for an input of `shape`, and the shape of its output."""
    match kind:
        case "Conv2D":
            filters, kernel = int(settings["filters"]), tuple(map(int, settings["kernel_size"]))
            weights = [(*kernel, shape[2], filters), *([(filters,)] if settings["use_bias"] else [])]
            return weights, (*_slid(shape, kernel, settings), filters)
        case "MaxPooling2D":
            return [], (*_slid(shape, tuple(map(int, settings["pool_size"])), settings), shape[2])
        case "Flatten":
            return [], (math.prod(shape),)
        case "Dense":
            units = int(settings["units"])
            weights = [(shape[-1], units), *([(units,)] if settings["use_bias"] else [])]
            return weights, (*shape[:-1], units)
    return [], shape


def _slid(shape: Shape, window: Shape, settings: Any) -> Shape:
    """Height and width after a window was slid over them."""
    strides = tuple(map(int, settings["strides"]))
    if min(*window, *strides) < 1:
        return (0, 0)
    if settings["padding"] == "same":
        return tuple(math.ceil(side / step) for side, step in zip(shape[:2], strides, strict=True))
    return tuple((side - size) // step + 1 for side, size, step in zip(shape[:2], window, strides, strict=True))
