"""What the steps of a network do, in sentences: in general for who meets them first, and for one image in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cnn_tuner.explain.parts import (
    Convolution,
    Detail,
    Dropout,
    Flattening,
    FullConnection,
    Output,
    Padding,
    Pooling,
    Relu,
)
from cnn_tuner.metrics.tasks import Output as TaskOutput
from cnn_tuner.spaces.architecture import Layer

# What each step is for, told where an image meets it first.
IDEAS = {
    1: "A kernel is a small grid of weights. It slides over the map, and at each place every number of the patch under "
    "it is multiplied by the weight above it; the sum is one value of a new map. It is large where the patch looks "
    "like the kernel. Each filter has a kernel of its own, learned in training, and so each makes a map of its own.",
    2: "At the border a kernel would hang over the edge. Padding decides what happens there: same lays zeros around "
    "the map first, so that the kernel has as many places as the map has values (without strides); valid adds nothing, "
    "and the map shrinks. Keras pads before it convolves: this is the map that the kernel of step 1 slides over.",
    3: "Every negative value becomes 0, every other stays as it is. Without this bend, any number of convolutions in a "
    "row could do no more than a single, larger one.",
    4: "A window slides over each map, and of each window only the largest value goes on. The map becomes smaller, and "
    "what was found often stays found when the image moves by a pixel.",
    5: "While a network is trained, a share of the values, drawn anew for each batch, is set to 0, so that it learns "
    "not to rely on single ones. When it predicts, nothing is dropped.",
    6: "Full connection takes a vector, not maps: the values are written in one row. None changes.",
    7: "Each unit is connected to every value of the vector: it multiplies each by a weight of its own and adds up the "
    "products and a bias. The last layer has a unit for each thing that can be answered.",
}
ACTIVATIONS = {
    "softmax": "Softmax makes them probabilities: e to the power of each, divided by the sum of all, so that they add "
    "up to 1.",
    "sigmoid": "Sigmoid makes each a probability by itself: 1 / (1 + e to the power of minus the value).",
    "linear": "They are the answer as they are: a linear activation changes nothing.",
}


def class_names(output: TaskOutput) -> tuple[str, ...]:
    """Names for classes, labels or targets that have none."""
    word = {"multilabel": "label", "regression": "target"}.get(output.task, "class")
    return tuple(f"{word} {i}" for i in range(2 if output.task == "binary" else output.units))


def decimals(*arrays: np.ndarray | float) -> int:
    """With how many places these numbers are written, so that the largest shows three digits or so."""
    largest = max((float(np.abs(np.asarray(array)).max(initial=0)) for array in arrays), default=0.0)
    return next((places for least, places in ((1000, 0), (100, 1), (0.1, 2), (0.01, 3)) if largest >= least), 4)


def number(value: float, places: int = 2) -> str:
    """`0.35`, with a proper minus sign; never `-0.00`."""
    text = f"{value:.{places}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("-", "\N{MINUS SIGN}")


def shape(sizes: Sequence[int]) -> str:
    """`28 x 28 x 1`, with a proper sign."""
    return " \N{MULTIPLICATION SIGN} ".join(f"{size:,}" for size in sizes)


def share(part: int, whole: int, word: str = "value") -> str:
    """`12 of 64 values (19 %)`."""
    return f"{part:,} of {count(whole, word)} ({100 * part / whole:.0f} %)"


def count(amount: int, word: str) -> str:
    """`1 kernel`, `2 kernels`."""
    return f"{amount:,} {word}{'' if amount == 1 else 's'}"


def settings(layer: Layer, kind: str) -> str:
    """A step's arguments in a few words."""
    of = layer.settings
    match kind:
        case "convolution":
            return f"{count(of['filters'], 'filter')} of {shape((of['kernel_size'],) * 2)}, strides {of['strides']}"
        case "padding":
            return str(of["padding"])
        case "pooling":
            return f"{shape((of['pool_size'],) * 2)}, strides {of['strides']}"
        case "dropout":
            return f"rate {of['rate']:g}"
        case "dense":
            return count(of["units"], "unit")
        case "output":
            return f"{count(of['units'], 'unit')}, {of['activation']}"
    return ""


def params(layer: Layer) -> str:
    """How the number of a layer's parameters comes about; "0" where there are none."""
    of = layer.settings
    if layer.kind == "convolution":
        weights = shape((of["kernel_size"], of["kernel_size"], layer.input_shape[2], of["filters"]))
        return f"{weights} weights + {of['filters']:,} biases = {layer.params:,}"
    if layer.kind in ("dense", "output"):
        weights = shape((layer.input_shape[0], of["units"]))
        return f"{weights} weights + {count(of['units'], 'bias').replace('biass', 'biases')} = {layer.params:,}"
    return "0"


def sentences(layer: Layer, inputs: np.ndarray, outputs: np.ndarray, detail: Detail) -> list[str]:
    """What the step did with this image."""
    match detail:
        case Convolution():
            return _convolution(layer, detail)
        case Padding():
            return _padding(layer, detail)
        case Relu():
            return _relu(inputs, detail)
        case Pooling():
            return _pooling(layer, detail)
        case Dropout():
            return _dropout(detail)
        case Flattening():
            return _flattening(inputs, detail)
        case FullConnection():
            return _full_connection(outputs, detail)
        case Output():
            return _output(detail)


def _convolution(layer: Layer, detail: Convolution) -> list[str]:
    of, channels = layer.settings, layer.input_shape[2]
    height, width, _ = layer.output_shape
    step = "1 pixel" if of["strides"] == 1 else f"{of['strides']} pixels"
    each = "" if channels == 1 else f", and through all {channels} channels of its input at once"
    return [
        f"Each of the {count(of['filters'], 'kernel')} moves {step} at a time{each}: "
        f"{shape((height, width))} places, one value each.",
        f"Filter {detail.filter} is the most active: its values differ most after ReLU. The largest stands at row "
        f"{detail.row}, column {detail.column}; there it calculated:",
    ]


def _padding(layer: Layer, detail: Padding) -> list[str]:
    before, after = shape(layer.input_shape[:2]), shape(layer.output_shape[:2])
    strides = layer.settings["strides"]
    because = "" if strides == 1 else f", since the kernel moves {strides} pixels at a time"
    if detail.mode == "valid":
        becomes = "keeps" if before == after else "becomes"
        return [f"valid: no zeros are added. The map of {before} {becomes} {after}{because}."]
    (top, bottom), (left, right) = detail.height, detail.width
    if detail.zeros == 0:
        zeros = "no zeros are needed here"
    elif len({top, bottom, left, right}) == 1:
        zeros = f"{count(top, 'row')} or {'column' if top == 1 else 'columns'} of zeros on every side"
    else:
        zeros = f"zeros: {top} above, {bottom} below, {left} left and {right} right"
    change = f"keeps its {before}" if before == after else f"of {before} becomes {after}{because}"
    return [f"same: {zeros}. The map {change}."]


def _relu(inputs: np.ndarray, detail: Relu) -> list[str]:
    if detail.negative == 0:
        return ["No value was negative: nothing changed."]
    places = decimals(detail.lowest)
    return [
        f"{share(detail.negative, inputs.size)} were negative and became 0; the lowest was "
        f"{number(detail.lowest, places)}. The others went on unchanged."
    ]


def _pooling(layer: Layer, detail: Pooling) -> list[str]:
    of = layer.settings
    size, strides = of["pool_size"], of["strides"]
    places = decimals(detail.window)
    row, column = detail.row * strides + detail.winner[0], detail.column * strides + detail.winner[1]
    overlap = " Windows overlap, so that a value can win more than once." if strides < size else ""
    gone = layer.input_shape[0] * layer.input_shape[1] - len(np.unique(detail.winners[..., detail.channel]))
    return [
        f"Windows of {shape((size, size))}, {strides} pixel{'s' * (strides > 1)} apart: of each map, "
        f"{shape(layer.input_shape[:2])} values become {shape(layer.output_shape[:2])}.{overlap}",
        f"In map {detail.channel}, {share(gone, layer.input_shape[0] * layer.input_shape[1])} won nowhere. In "
        f"the outlined window {number(float(detail.window.max()), places)} won, at row {row}, column {column}.",
    ]


def _dropout(detail: Dropout) -> list[str]:
    dropped = int(detail.is_dropped.sum())
    return [
        f"A draw with this layer's seed drops {share(dropped, detail.is_dropped.size)}; the rate is "
        f"{detail.rate:g}. Those that stay are multiplied by 1 / (1 \N{MINUS SIGN} {detail.rate:g}) = "
        f"{detail.scale:.4g}, so that the sum stays the same on average.",
        "For this answer nothing was dropped: all values went on unchanged.",
    ]


def _flattening(inputs: np.ndarray, detail: Flattening) -> list[str]:
    height, width, channels = inputs.shape
    order = ", then those of row 0, column 1, and so on" if height * width > 1 else ""
    return [
        f"{count(channels, 'map')} of {shape((height, width))} become one vector of {inputs.size:,} values: the "
        f"{channels:,} channels of row 0, column 0 first{order}.",
        f"{share(detail.zeros, inputs.size)} are 0.",
    ]


def _full_connection(outputs: np.ndarray, detail: FullConnection) -> list[str]:
    above = int((outputs > 0).sum())
    return [
        f"{share(above, outputs.size, 'unit')} have a value above 0. Unit {detail.unit} has the largest, "
        f"{number(detail.value, decimals(detail.value))}."
    ]


def _output(detail: Output) -> list[str]:
    units = len(detail.logits)
    first = "One unit gives one value." if units == 1 else f"{units:,} units give {units:,} values."
    told = [f"{first} {ACTIVATIONS[detail.activation]}"]
    if detail.activation == "linear" and not np.allclose(detail.values, detail.scores):
        told = [f"{first} They are scaled to the unit of the targets that the network was trained on."]
    return told
