"""One image through the seven steps of a network: every number that the page shows, by NumPy, beside Keras's own."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from cnn_tuner.explain import words
from cnn_tuner.explain.feature_maps import activity
from cnn_tuner.explain.parts import (
    Answer,
    Convolution,
    Detail,
    Dropout,
    Explanation,
    Flattening,
    FullConnection,
    Output,
    Padding,
    Pooling,
    Products,
    Relu,
    StepView,
)
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Output as TaskOutput
from cnn_tuner.spaces.architecture import Architecture, Layer, padding_pixels

BENT_SHARE = 0.1  # of a map's values that are negative, so that a picture shows what ReLU does
MOST_CHANNELS = 3  # of a patch that are shown each by itself: those of a colour image


def explain(
    model: keras.Model, architecture: Architecture, image: np.ndarray, class_names: Sequence[str] = ()
) -> Explanation:
    """Leads one image through a model.

    Args:
        model: as `cnn_tuner.models.builder.build` makes it of `architecture`, trained or not.
        architecture: the network.
        image: (H, W, C) uint8.
        class_names: of the classes, labels or targets; without them they are called "class 0" and so on.

    Raises:
        ValueError: the image has another shape.
    """
    if image.shape != architecture.image_shape:
        raise ValueError(f"image: must be {architecture.image_shape}, got {image.shape}")
    scaled, *activations, last = _activations(model, architecture, image)
    answer = make_answer(architecture.output, last, class_names)
    units = answer.names[-len(last) :]  # the one unit of a binary task stands for its second class
    views: list[StepView] = []
    inputs, channel, places = scaled, 0, None
    for layer, outputs in zip(architecture.layers, activations, strict=True):
        keras_layer = model.get_layer(layer.name)
        detail = _detail(layer, keras_layer, inputs, outputs, channel, places)
        if isinstance(detail, Convolution):
            views += [_view(1, layer, inputs, outputs, detail), _padding_view(layer, inputs, detail)]
            channel = detail.filter
        elif isinstance(detail, FullConnection) and layer.kind == "output":
            activation, logits = layer.settings["activation"], _logits(keras_layer, inputs)
            last_view = Output(units, activation, logits, outputs, last, detail)
            views.append(_view(7, layer, inputs, outputs, last_view))
        else:
            views.append(_view(layer.step, layer, inputs, outputs, detail))
        if isinstance(detail, Flattening):
            places = detail.places
        elif isinstance(detail, FullConnection):
            places = None
        inputs = outputs
    return Explanation(image, scaled, tuple(views), answer, architecture.params, architecture.macs)


def _activations(model: keras.Model, architecture: Architecture, image: np.ndarray) -> list[np.ndarray]:
    """What every layer of one image gives, float32 without the batch: the scaling's first, the model's own last."""
    names = ["scaling", *(layer.name for layer in architecture.layers)]
    inside = keras.Model(model.inputs[0], [*(model.get_layer(name).output for name in names), model.outputs[0]])
    found = inside(image[None], training=False)
    return [keras.ops.convert_to_numpy(keras.ops.cast(each, "float32"))[0] for each in found]


def _view(step: int, layer: Layer, inputs: np.ndarray, outputs: np.ndarray, detail: Detail) -> StepView:
    sentences = words.sentences(layer, inputs, outputs, detail)
    kind = "padding" if isinstance(detail, Padding) else layer.kind
    return StepView(step, kind, layer, inputs, outputs, detail, tuple(sentences))


def _detail(
    layer: Layer,
    keras_layer: keras.layers.Layer,
    inputs: np.ndarray,
    outputs: np.ndarray,
    channel: int,
    places: np.ndarray | None,
) -> Detail:
    """What a step did; `channel` is the filter that the last convolution was explained by."""
    channel = channel if inputs.ndim == 3 else -1
    match layer.kind:
        case "convolution":
            return convolution(layer, *_weights(keras_layer), inputs, outputs)
        case "relu":
            return Relu(int((inputs < 0).sum()), float(inputs.min()), bent_map(inputs, channel))
        case "pooling":
            return pooling(layer, inputs, outputs, channel)
        case "dropout":
            return dropout(float(layer.settings["rate"]), int(keras_layer.seed), inputs, channel)
        case "flatten":
            places = np.stack(np.unravel_index(np.arange(inputs.size), inputs.shape), axis=1)
            return Flattening(int((inputs == 0).sum()), places)
    if layer.kind == "output":
        return full_connection(*_weights(keras_layer), inputs, _deciding(_logits(keras_layer, inputs)), places)
    return full_connection(*_weights(keras_layer), inputs, int(outputs.argmax()), places)


def _weights(layer: keras.layers.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias, float64: the sums below are exact to the last digit that is shown."""
    kernel, bias = layer.get_weights()
    return kernel.astype(np.float64), bias.astype(np.float64)


def bent_map(inputs: np.ndarray, channel: int) -> int:
    """Map `channel` if ReLU changes some of it, else the one that shows best what ReLU does; -1 once flattened."""
    if channel < 0 or (inputs[..., channel] < 0).mean() >= BENT_SHARE:
        return channel
    both = np.maximum(inputs, 0).std(axis=(0, 1)) * np.minimum(inputs, 0).std(axis=(0, 1))
    return int(both.argmax()) if both.any() else channel


def convolution(
    layer: Layer, kernel: np.ndarray, bias: np.ndarray, inputs: np.ndarray, outputs: np.ndarray
) -> Convolution:
    """The most active filter at the place where it answers most.

    kernel: (k, k, C, filters); bias: (filters,); inputs: (H, W, C); outputs: (H', W', filters).
    """
    chosen = int(activity(outputs).argmax())
    row, column = np.unravel_index(int(outputs[..., chosen].argmax()), outputs.shape[:2])
    return convolution_at(layer, kernel[..., chosen], float(bias[chosen]), inputs, (int(row), int(column), chosen))


def convolution_at(
    layer: Layer, kernel: np.ndarray, bias: float, inputs: np.ndarray, place: tuple[int, int, int]
) -> Convolution:
    """What the filter with `kernel` (k, k, C) calculates at `place`: row, column, filter."""
    row, column, chosen = place
    size, strides = layer.settings["kernel_size"], layer.settings["strides"]
    high, wide = _padding(layer)
    top, left = row * strides, column * strides
    window = (slice(top, top + size), slice(left, left + size))
    patch = np.pad(inputs.astype(np.float64), (high, wide, (0, 0)))[window]
    is_padding = np.pad(np.zeros(inputs.shape[:2], bool), (high, wide), constant_values=True)[window]
    sums = (patch * kernel).sum(axis=(0, 1))
    channels = range(len(sums)) if len(sums) <= MOST_CHANNELS else [int(np.abs(sums).argmax())]
    shown = tuple(Products(c, patch[..., c], is_padding, kernel[..., c]) for c in channels)
    value = float(sums.sum() + bias)
    return Convolution(chosen, row, column, top - high[0], left - wide[0], shown, sums, bias, value)


def _padding(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    """The zeros before and after the height and the width."""
    of = layer.settings
    high, wide = (
        padding_pixels(side, of["kernel_size"], of["strides"], of["padding"]) for side in layer.input_shape[:2]
    )
    return high, wide


def _padding_view(layer: Layer, inputs: np.ndarray, detail: Convolution) -> StepView:
    high, wide = _padding(layer)
    strongest = max(detail.shown, key=lambda products: abs(products.total)).channel
    padding = Padding(layer.settings["padding"], high, wide, strongest)
    return _view(2, layer, inputs, np.pad(inputs, (high, wide, (0, 0))), padding)


def pooling(layer: Layer, inputs: np.ndarray, outputs: np.ndarray, channel: int) -> Pooling:
    """Which place of the map (H, W, C) each value of the output (H', W', C) came from; of equal ones the first."""
    size, strides = layer.settings["pool_size"], layer.settings["strides"]
    windows = np.lib.stride_tricks.sliding_window_view(inputs, (size, size, 1))[::strides, ::strides, ..., 0]
    inside = windows.reshape(*windows.shape[:3], -1).argmax(axis=-1)
    rows = np.arange(windows.shape[0])[:, None, None] * strides + inside // size
    columns = np.arange(windows.shape[1])[None, :, None] * strides + inside % size
    row, column = map(int, np.unravel_index(int(outputs[..., channel].argmax()), outputs.shape[:2]))
    won = divmod(int(inside[row, column, channel]), size)
    return Pooling(rows * inputs.shape[1] + columns, channel, row, column, windows[row, column, channel], won)


def dropout(rate: float, seed: int, inputs: np.ndarray, channel: int) -> Dropout:
    """One draw, as training makes one for each batch; NumPy's, so that Keras's own random state stays as it is."""
    return Dropout(rate, np.random.default_rng(seed).random(inputs.shape) < rate, channel)


def full_connection(
    weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, unit: int, places: np.ndarray | None
) -> FullConnection:
    """What `unit` calculates from `inputs` (values,); weights: (values, units)."""
    products = inputs.astype(np.float64) * weights[:, unit]
    order = np.argsort(-np.abs(products), kind="stable")
    value = float(products.sum() + bias[unit])
    return FullConnection(unit, weights[:, unit], products, float(bias[unit]), value, order, places)


def _logits(layer: keras.layers.Layer, inputs: np.ndarray) -> np.ndarray:
    kernel, bias = _weights(layer)
    return np.asarray(inputs.astype(np.float64) @ kernel + bias)


def _deciding(logits: np.ndarray) -> int:
    """The unit that the answer is read from: the largest, or the only one."""
    return int(logits.argmax())


def make_answer(output: TaskOutput, values: np.ndarray, class_names: Sequence[str] = ()) -> Answer:
    """What the numbers (units,) of the model's end mean."""
    names = tuple(class_names) or words.class_names(output)
    if output.task == "regression":
        return Answer(output.task, names, tuple(map(float, values)), tuple(range(len(values))))
    predicted = scores.predicted(output.task, values[None])[0]
    if output.task == "multilabel":
        return Answer(output.task, names, tuple(map(float, values)), tuple(map(int, np.flatnonzero(predicted))))
    both = (1 - float(values[0]), float(values[0])) if output.task == "binary" else tuple(map(float, values))
    return Answer(output.task, names, both, (int(predicted),))
