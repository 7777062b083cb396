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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from cnn_tuner.errors import InfeasibleError, SpaceError
from cnn_tuner.space import Point, SearchSpace
from cnn_tuner.space_file import Limits
from cnn_tuner.tasks import TASKS, Output

FLOAT32_BYTES = 4
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

    `settings` are the arguments of the step's function in `cnn_tuner.steps`. `macs` counts multiply-adds for one
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
    """A function from a point to the reason why it cannot be trained, or None when it can."""

    def reason(values: Point) -> str | None:
        try:
            fit(space, values, image_shape, output)
        except InfeasibleError as error:
            return str(error)
        return None

    return reason


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


def check_feasible(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> float:
    """The share of a space's points, drawn at random, that can be trained on images of this shape.

    Raises:
        SpaceError: none can; the message tells the commonest reason.
    """
    reason, rng = why_infeasible(space, image_shape, output), random.Random(0)
    reasons = Counter(reason(space.sample(rng)) for _ in range(FEASIBILITY_DRAWS))
    feasible = reasons.pop(None, 0)
    if feasible == 0:
        height, width, channels = image_shape
        [(commonest, _)] = reasons.most_common(1)
        raise SpaceError(f"{space.place}: no feasible point for images of {height}x{width}x{channels}: {commonest}")
    return feasible / FEASIBILITY_DRAWS
