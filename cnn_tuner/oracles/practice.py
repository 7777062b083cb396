"""The points that a search tries first: networks of good practice, brought into its space.

A search of minutes has some ten points; drawn at random, most of them are poor in every run, and now and then all are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from cnn_tuner.spaces.auto import blocks_of
from cnn_tuner.spaces.rules import Start
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace, Value

SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)  # of a network's width: the largest that the limits allow
UNITS = 256
LEAST_BLOCKS = 2  # where the space has them: one is too few for anything
COMMON: dict[str, Value] = {
    "kernel_size": 3,
    "strides": 1,
    "padding": "same",
    "pool_size": 2,
    "pool_strides": 2,
    "dense_layers": 1,
    "optimizer": "adam",
    "schedule": "one_cycle",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "flip": "none",
}  # what is not named here is to be 0: what moves or erases parts of images


@dataclass(frozen=True)
class Practice:
    """A network and how it is trained. `filters` are those of the last block, half as many in each block before."""

    filters: int
    convolutions: int
    dropout: float
    dense_dropout: float
    learning_rate: float
    batch_size: int
    share: float = 1.0  # of its filters and units

    def wanted(self, name: str, blocks: int) -> Value:
        """The value of the hyperparameter `name` in a network of so many blocks."""
        place, _, kind = name.rpartition(".")
        number = int(place.rpartition("_")[2]) if place else 0  # of a block or a dense layer
        kind = f"dense_{kind}" if place.startswith("dense") and kind == "dropout" else kind
        own: dict[str, Value] = {
            "blocks": blocks,
            "filters": self.share * self.filters / 2 ** (blocks - number),
            "units": self.share * UNITS,
            "convolutions": self.convolutions,
            "dropout": self.dropout,
            "dense_dropout": self.dense_dropout,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
        }
        return (own | COMMON).get(kind, 0)


# Noise enough for some ten epochs: see benchmarks/recipe.md. A search cannot tell, whose first epochs are best without.
PRACTICES = (
    Practice(64, 1, 0.1, 0.3, 0.002, 64),
    Practice(64, 2, 0.1, 0.3, 0.003, 32),
    Practice(64, 1, 0.2, 0.4, 0.003, 64),
)


def first_points(
    space: SearchSpace, image_shape: tuple[int, int, int], why_infeasible: Callable[[Point], str | None]
) -> tuple[Point, ...]:
    """Distinct feasible points of `space` as near as can be to those that it names, or else to those of good practice
    for such images, in order.
    """
    blocks = max(LEAST_BLOCKS, blocks_of(image_shape))
    asked = [(PRACTICES[0], start) for start in space.start] or [(practice, Start()) for practice in PRACTICES]
    found: list[Point] = []
    for practice, start in asked:
        points = (brought_into(space, replace(practice, share=share), blocks, start) for share in SHARES)
        point = next((point for point in points if why_infeasible(point) is None), None)
        if point is not None and point not in found:
            found.append(point)
    return tuple(found)


def brought_into(space: SearchSpace, practice: Practice, blocks: int, start: Start | None = None) -> Point:
    """The point of a space with what `start` names, and the rest as `practice` has it in a network of so many blocks.

    Its share makes both narrower.
    """
    start = Start() if start is None else start
    point: Point = {}
    for parameter in space.parameters:  # parents stand before their children
        if space.is_active(parameter, point):
            there = int(point.get("blocks", blocks))  # as many as the space has
            wanted = start.wanted(parameter.name)
            if wanted is None:
                wanted = practice.wanted(parameter.name, there)
            elif parameter.name.endswith((".filters", ".units")) and not isinstance(wanted, str):
                wanted *= practice.share
            point[parameter.name] = nearest(parameter, wanted)
    return point


def nearest(parameter: Parameter, wanted: Value) -> Value:
    """The value that is nearest to `wanted`, by ratio where neither is 0; the first one where only words are there."""
    if isinstance(wanted, str):
        return wanted if parameter.allows(wanted) else parameter.at(0.0)
    if parameter.is_continuous:
        return min(max(wanted, parameter.low), parameter.high)
    return min(parameter.values, key=lambda value: _distance(value, wanted))


def _distance(value: Value, wanted: float) -> tuple[float, float]:
    if isinstance(value, str):
        return (math.inf, 0.0)
    by_ratio = abs(math.log(value / wanted)) if value > 0 and wanted > 0 else 0.0 if value == wanted else math.inf
    return by_ratio, abs(value - wanted)
