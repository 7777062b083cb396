"""One image on its way through a network, as plain values: what each step was given, did and handed on.

Rows, columns, channels, filters and units are counted from 0, as NumPy counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_tuner.spaces.architecture import Layer


@dataclass(frozen=True)
class Products:
    """One channel of a patch under one kernel: (k, k) each, `is_padding` where the patch holds zeros of the padding."""

    channel: int
    patch: np.ndarray
    is_padding: np.ndarray
    kernel: np.ndarray

    @property
    def products(self) -> np.ndarray:
        """Patch times kernel, number by number, (k, k)."""
        return self.patch * self.kernel

    @property
    def total(self) -> float:
        return float(self.products.sum())


@dataclass(frozen=True)
class Convolution:
    """What one filter calculated at one place.

    `row` and `column` are the place in its map; `top` and `left` that of the patch in the input, negative where it
    begins in the padding. `shown` are all channels of the input if there are at most three, else the one whose sum
    is the largest in size; `channel_sums` (C,) are the sums of all. `value` is their total with the bias.
    """

    filter: int
    row: int
    column: int
    top: int
    left: int
    shown: tuple[Products, ...]
    channel_sums: np.ndarray
    bias: float
    value: float


@dataclass(frozen=True)
class Padding:
    """The zeros around a convolution's input: (before, after) of its height and of its width; `channel` is drawn."""

    mode: str
    height: tuple[int, int]
    width: tuple[int, int]
    channel: int

    @property
    def zeros(self) -> int:
        """How many rows and columns of zeros there are."""
        return sum((*self.height, *self.width))


@dataclass(frozen=True)
class Relu:
    """How many values were negative, and the lowest. `channel` is the map that is drawn; -1 once flattened."""

    negative: int
    lowest: float
    channel: int


@dataclass(frozen=True)
class Pooling:
    """Which values won.

    `winners` (H', W', C) are the places in the map from which each value came, row times width plus column. `window`
    (p, p) is the one at `row` and `column` of map `channel` of the output, with its winner at `winner` (row, column).
    """

    winners: np.ndarray
    channel: int
    row: int
    column: int
    window: np.ndarray
    winner: tuple[int, int]


@dataclass(frozen=True)
class Dropout:
    """What one draw with the layer's seed would set to 0 while training; `is_dropped` has the shape of the values."""

    rate: float
    is_dropped: np.ndarray
    channel: int

    @property
    def scale(self) -> float:
        """What the values that stay are multiplied by while training, so that their sum stays the same on average."""
        return 1 / (1 - self.rate)


@dataclass(frozen=True)
class Flattening:
    """(H, W, C) as one vector, row by row, channels last: value i is at row, column and channel `places[i]`."""

    zeros: int
    places: np.ndarray


@dataclass(frozen=True)
class FullConnection:
    """What one unit calculated: `products` (inputs,) are input times weight, and `value` their sum with the bias.

    `unit` is the one with the largest value or, of the last layer, the one that the answer is read from. `order` has
    the inputs whose products are the largest in size first. `sources` says where each input comes from.
    """

    unit: int
    weights: np.ndarray
    products: np.ndarray
    bias: float
    value: float
    order: np.ndarray
    places: np.ndarray | None = None


@dataclass(frozen=True)
class Output:
    """The last layer: `logits` (units,) before its activation and `scores` (units,) after it, and what units stand for.

    `values` are those in the labels' own unit: the scores themselves, but for a regression whose targets were scaled.
    """

    names: tuple[str, ...]
    activation: str
    logits: np.ndarray
    scores: np.ndarray
    values: np.ndarray
    connection: FullConnection


Detail = Convolution | Padding | Relu | Pooling | Dropout | Flattening | FullConnection | Output


@dataclass(frozen=True)
class StepView:
    """One step for one image: the layer with shapes and costs, what came in and out, and what it did.

    `inputs` and `outputs` are (H, W, C) or, once flattened, (values,) float32. A padding is a step of its own here,
    though Keras makes it a part of the convolution that follows: its outputs are the padded map.
    """

    step: int
    kind: str
    layer: Layer
    inputs: np.ndarray
    outputs: np.ndarray
    detail: Detail
    sentences: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.layer.name


@dataclass(frozen=True)
class Answer:
    """What the network says of the image.

    `names` and `values` have an entry a class (both classes of a binary task), label or target; `chosen` are those
    that it decides for: one class, any number of labels, all targets.
    """

    task: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    chosen: tuple[int, ...]

    @property
    def text(self) -> str:
        """`7 (98.2 %)`."""
        if self.task == "regression":
            return ", ".join(f"{name} {value:.6g}" for name, value in zip(self.names, self.values, strict=True))
        return ", ".join(f"{self.names[i]} ({100 * self.values[i]:.1f} %)" for i in self.chosen) or "none of the labels"


@dataclass(frozen=True)
class Explanation:
    """An image (H, W, C) uint8, the same scaled to [0, 1], and every step that it took."""

    image: np.ndarray
    scaled: np.ndarray
    views: tuple[StepView, ...]
    answer: Answer
    params: int
    macs: int


@dataclass(frozen=True)
class Subject:
    """What is explained, in words: the image, the network, and what the image really shows where that is known."""

    image: str
    network: str
    is_trained: bool
    truth: str | None = None
