"""One point of a search space as a network: every layer's shape, parameters and multiply-adds, by arithmetic.

No model is built here. This is where "does it fit" is answered, before anything is trained.

Shapes and paddings follow Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
https://arxiv.org/abs/1603.07285; receptive fields follow Araujo et al., "Computing Receptive Fields of
Convolutional Neural Networks", https://distill.pub/2019/computing-receptive-fields.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cnn_tuner.errors import InfeasibleError, SpaceError
from cnn_tuner.metrics.tasks import TASKS, Output
from cnn_tuner.spaces.rules import Limits
from cnn_tuner.spaces.tree import Point, SearchSpace, Value

FLOAT32_BYTES = 4
BLOCK_VALUES = ("convolutions", "filters", "kernel_size", "strides", "padding", "pool_size", "pool_strides")
FEASIBILITY_DRAWS = 2000  # a space that allows fewer than about one in a thousand is called infeasible
Shape = tuple[int, ...]

STEPS = {
    1: "convolution",
    2: "padding",
    3: "ReLU",
    4: "max pooling",
    5: "dropout",
    6: "flattening",
    7: "full connection",
}


@dataclass(frozen=True)
class Layer:
    """One layer. Shapes are those of one image, without the batch: (H, W, C), or (units,) once flattened.

    `settings` are the arguments of the step's function in `cnn_tuner.models.steps`. `macs` counts multiply-adds for one
    image, biases left out. `receptive_field` is the side, in pixels of the input image, of the square that one output
    value sees; None once flattened, where every value sees the whole image.
    """

    step: int
    kind: str
    name: str
    settings: Mapping[str, Any]
    input_shape: Shape
    output_shape: Shape
    params: int = 0
    macs: int = 0
    receptive_field: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A feasible network: its layers in the order in which an image meets them."""

    image_shape: tuple[int, int, int]
    output: Output
    layers: tuple[Layer, ...]

    @property
    def params(self) -> int:
        """Trainable parameters, weights and biases."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """The largest input plus output of one layer in float32 for one image: what inference keeps at once."""
        sizes = (math.prod(layer.input_shape) + math.prod(layer.output_shape) for layer in self.layers)
        return FLOAT32_BYTES * max(sizes)


def output_side(side: int, window: int, strides: int, padding: str) -> int:
    """How many places a window of `window` pixels takes along `side` pixels; 0 when it does not fit."""
    if padding == "same":
        return math.ceil(side / strides)
    return max(0, (side - window) // strides + 1)


def padding_pixels(side: int, window: int, strides: int, padding: str) -> tuple[int, int]:
    """The zeros that a convolution adds before and after a side of `side` pixels.

    TensorFlow puts the odd one after (https://www.tensorflow.org/api_docs/python/tf/nn, "Notes on padding").
    """
    if padding == "valid":
        return 0, 0
    total = max((math.ceil(side / strides) - 1) * strides + window - side, 0)
    return total // 2, total - total // 2


@dataclass
class _Builder:
    """Adds layers one after the other and follows the shape, the receptive field and the distance of places."""

    shape: Shape
    layers: list[Layer] = field(default_factory=list)
    receptive_field: int = 1
    jump: int = 1  # pixels of the image between neighbouring places of the map

    def add(self, step: int, kind: str, name: str, shape: Shape | None = None, **settings: Any) -> None:
        """A layer that changes no more than the shape."""
        self._append(Layer(step, kind, name, settings, self.shape, self.shape if shape is None else shape))

    def convolution(self, name: str, filters: int, kernel_size: int, strides: int, padding: str) -> None:
        channels = self.shape[2]
        shape = self._slide(name, f"{kernel_size}x{kernel_size} kernel", kernel_size, strides, padding)
        kernel = kernel_size * kernel_size * channels * filters
        self._see(kernel_size, strides)
        settings = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
        places = shape[0] * shape[1]
        out = (*shape, filters)
        self._append(Layer(1, "convolution", name, settings, self.shape, out, kernel + filters, kernel * places))

    def pooling(self, name: str, pool_size: int, strides: int) -> None:
        shape = self._slide(name, f"{pool_size}x{pool_size} pool", pool_size, strides, "valid")
        self._see(pool_size, strides)
        self.add(4, "pooling", name, (*shape, self.shape[2]), pool_size=pool_size, strides=strides)

    def dense(self, kind: str, name: str, units: int, **settings: Any) -> None:
        (inputs,) = self.shape
        params, macs = (inputs + 1) * units, inputs * units
        self._append(Layer(7, kind, name, {"units": units, **settings}, self.shape, (units,), params, macs))

    def _slide(self, name: str, what: str, window: int, strides: int, padding: str) -> tuple[int, int]:
        height, width = (output_side(side, window, strides, padding) for side in self.shape[:2])
        if height < 1 or width < 1:
            raise InfeasibleError(f"{name}: a {what} does not fit on a {self.shape[0]}x{self.shape[1]} map")
        return height, width

    def _see(self, window: int, strides: int) -> None:
        self.receptive_field += (window - 1) * self.jump
        self.jump *= strides

    def _append(self, layer: Layer) -> None:
        sees = self.receptive_field if len(layer.output_shape) == 3 else None
        self.layers.append(Layer(**{**vars(layer), "receptive_field": sees}))
        self.shape = layer.output_shape


def _add_block(builder: _Builder, name: str, values: Point) -> None:
    """Steps 1 to 5. Of several convolutions the first takes the strides, so that the others work on the smaller map."""

    def of(key: str) -> Any:
        return values[f"{name}.{key}"]

    for index in range(1, of("convolutions") + 1):
        strides = of("strides") if index == 1 else 1
        conv = f"{name}_conv_{index}"
        builder.convolution(conv, of("filters"), of("kernel_size"), strides, of("padding"))
        builder.add(3, "relu", f"{name}_relu_{index}")
    if of("pool_size") > 1:
        pool_strides = values.get(f"{name}.pool_strides", of("pool_size"))
        builder.pooling(f"{name}_pool", of("pool_size"), int(pool_strides))
    if of("dropout") > 0:
        builder.add(5, "dropout", f"{name}_dropout", rate=of("dropout"))


def _add_full_connection(builder: _Builder, values: Point, output: Output) -> None:
    for index in range(1, int(values["dense_layers"]) + 1):
        name = f"dense_{index}"
        builder.dense("dense", name, int(values[f"{name}.units"]))
        builder.add(7, "relu", f"{name}_relu")
        rate = values[f"{name}.dropout"]
        if float(rate) > 0:
            builder.add(7, "dropout", f"{name}_dropout", rate=rate)
    builder.dense("output", "output", output.units, activation=TASKS[output.task].activation)


def build(values: Point, image_shape: tuple[int, int, int], output: Output) -> Architecture:
    """The network that a point of a search space describes.

    Args:
        values: every active hyperparameter by name, as `SearchSpace.sample` gives them.
        image_shape: (H, W, C) of one image.
        output: the task and the number of units of the last layer.

    Raises:
        InfeasibleError: a kernel or a pool is larger than the map it meets.
    """
    builder = _Builder(image_shape)
    for index in range(1, int(values["blocks"]) + 1):
        _add_block(builder, f"block_{index}", values)
    builder.add(6, "flatten", "flatten", (math.prod(builder.shape),))
    _add_full_connection(builder, values, output)
    return Architecture(image_shape, output, tuple(builder.layers))


def check_limits(architecture: Architecture, limits: Limits) -> None:
    """Raises InfeasibleError when the network costs more than `limits` allow."""
    for name, allowed in limits.model_dump().items():
        cost = getattr(architecture, name.removeprefix("max_"))
        if allowed is not None and cost > allowed:
            raise InfeasibleError(f"{name}: {cost:,} is over the limit of {allowed:,}")


def fit(space: SearchSpace, values: Point, image_shape: tuple[int, int, int], output: Output) -> Architecture:
    """`build`, within the limits of `space`.

    Raises:
        InfeasibleError: it cannot be built or breaks a limit; the message says where.
    """
    architecture = build(values, image_shape, output)
    check_limits(architecture, space.limits)
    return architecture


def why_infeasible(
    space: SearchSpace, image_shape: tuple[int, int, int], output: Output
) -> Callable[[Point], str | None]:
    """A function from a point to the reason why it cannot be trained, or None when it can.

    Of a person's own networks it knows of no reason.
    """

    def reason(values: Point) -> str | None:
        if space.hypermodel:
            return None
        try:
            fit(space, values, image_shape, output)
        except InfeasibleError as error:
            return str(error)
        return None

    return reason


def kind_of_reason(reason: str | None) -> str:
    """Why a point is infeasible, without the size of its map or its cost, which differ from point to point; "" if not.

    `block_2_conv: a 5x5 kernel does not fit`, `max_params: over the limit of 20,000`.
    """
    if reason is None:
        return ""
    place, _, what = reason.partition(": ")
    if place.startswith("max_"):
        return f"{place}: over the limit of {what.rpartition(' ')[2]}"
    layer = place.rsplit("_", 1)[0] if place[-1].isdigit() else place  # of several convolutions any
    return f"{layer}: {what.partition(' does not fit')[0]} does not fit"


def sample_feasible(
    space: SearchSpace, image_shape: tuple[int, int, int], output: Output, count: int, seed: int
) -> list[Point]:
    """`count` points drawn at random, each feasible.

    Raises:
        SpaceError: there is no feasible point.
    """
    check_feasible(space, image_shape, output)
    reason, rng = why_infeasible(space, image_shape, output), random.Random(seed)
    points = filter(lambda point: reason(point) is None, iter(lambda: space.sample(rng), None))
    return list(islice(points, count))


def check_feasible(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> None:
    """Draws points of a space until one can be trained on images of this shape.

    Raises:
        SpaceError: none can; the message tells the limits that no point keeps, or else the commonest reason.
    """
    reason, rng = why_infeasible(space, image_shape, output), random.Random(0)
    points, reasons = [], []
    for _ in range(FEASIBILITY_DRAWS):
        points.append(space.sample(rng))
        told = reason(points[-1])
        if told is None:
            return
        reasons.append(told)
    height, width, channels = image_shape
    [(kind, _)] = Counter(map(kind_of_reason, reasons)).most_common(1)
    commonest = next(text for text in reasons if kind_of_reason(text) == kind)
    why = "; ".join(_limits_of_none(space.limits, points, image_shape, output)) or commonest
    raise SpaceError(f"{space.place}: no feasible point for images of {height}x{width}x{channels}: {why}")


def feasible_share(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> float:
    """The share of a space's points, drawn at random, that can be trained on images of this shape.

    Raises:
        SpaceError: none can, as told by `check_feasible`.
    """
    check_feasible(space, image_shape, output)
    reason, rng = why_infeasible(space, image_shape, output), random.Random(0)
    return sum(reason(space.sample(rng)) is None for _ in range(FEASIBILITY_DRAWS)) / FEASIBILITY_DRAWS


def _limits_of_none(
    limits: Limits, points: Sequence[Point], image_shape: tuple[int, int, int], output: Output
) -> Iterator[str]:
    """The limits that no network of these points keeps, each with the least that one costs."""
    networks = []
    for point in points:
        with suppress(InfeasibleError):
            networks.append(build(point, image_shape, output))
    for name, allowed in limits.model_dump().items():
        costs = [getattr(network, name.removeprefix("max_")) for network in networks]
        if allowed is not None and costs and min(costs) > allowed:
            yield f"{name}: {min(costs):,} at least are over the limit of {allowed:,}"


def largest_params(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> int:
    """A number of parameters that no point of `space` exceeds, by arithmetic: every hyperparameter at its costliest.

    The costliest values need not go together (a kernel that has many weights leaves a smaller map), so that the
    largest network may have fewer.
    """
    values = {p.name: p.values or (p.low, p.high) for p in space.parameters}
    largest, weights = 0, 0
    height, width, channels = image_shape
    for index in range(1, int(max(values["blocks"])) + 1):
        block = {name: values.get(f"block_{index}.{name}", ()) for name in BLOCK_VALUES}
        filters, kernel = int(max(block["filters"])), int(max(block["kernel_size"])) ** 2
        more = int(max(block["convolutions"])) - 1
        weights += (kernel * channels + 1) * filters + more * (kernel * filters + 1) * filters
        height, width, channels = _largest_side(height, block), _largest_side(width, block), filters
        if index in values["blocks"]:
            largest = max(largest, weights + _largest_full_connection(height * width * channels, values, output))
    limit = space.limits.max_params
    return largest if limit is None else min(largest, limit)


def _largest_side(side: int, block: dict[str, tuple[Value, ...]]) -> int:
    """The largest map that a block can leave of one of `side`."""
    padding = "same" if "same" in block["padding"] else "valid"
    for index in range(int(min(block["convolutions"]))):
        strides = int(min(block["strides"])) if index == 0 else 1
        side = output_side(side, int(min(block["kernel_size"])), strides, padding)
    pools = [int(size) for size in block["pool_size"]]
    left = [
        side if size == 1 else output_side(side, size, int(strides), "valid")
        for size in pools
        for strides in (block["pool_strides"] or (size,))
    ]
    return max(1, *left)


def _largest_full_connection(inputs: int, values: dict[str, tuple[Value, ...]], output: Output) -> int:
    units = int(max(values.get("dense_1.units", (0,))))
    found = []
    for layers in map(int, values["dense_layers"]):
        last = units if layers else inputs
        hidden = (inputs + 1) * units + (layers - 1) * (units + 1) * units if layers else 0
        found.append(hidden + (last + 1) * output.units)
    return max(found)
