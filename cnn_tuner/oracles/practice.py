"""The points that a search tries first: networks of good practice, brought into its space.

A search of minutes has some ten points; drawn at random, most of them are poor in every run, and now and then all are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.spaces.architecture import build
from cnn_tuner.spaces.auto import MOST_FILTERS, blocks_of, most_filters
from cnn_tuner.spaces.rules import Start
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace, Value

SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06)  # of a network's width: the largest that is allowed
UNITS = 256  # in a dense layer behind as many filters as few images can train, or more
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
    """A network and how it is trained.

    It is as wide as lets a final training show it each image so many times: `passes`. The last block has the most
    filters, each block before those of the next over `growth`.
    """

    passes: float
    convolutions: int
    last_convolutions: int  # in the last block
    growth: int
    more_blocks: int  # than the images' size asks for
    dropout: float
    dense_dropout: float
    learning_rate: float
    batch_size: int

    def wanted(self, name: str, blocks: int, filters: float) -> Value:
        """The value of the hyperparameter `name` in a network of so many blocks, with so many filters in the last."""
        place, _, kind = name.rpartition(".")
        number = int(place.rpartition("_")[2]) if place else 0  # of a block or a dense layer
        kind = f"dense_{kind}" if place.startswith("dense") and kind == "dropout" else kind
        own: dict[str, Value] = {
            "blocks": blocks,
            "filters": filters / self.growth ** (blocks - number),
            "units": min(1.0, filters / MOST_FILTERS) * UNITS,
            "convolutions": self.last_convolutions if number == blocks else self.convolutions,
            "dropout": self.dropout,
            "dense_dropout": self.dense_dropout,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
        }
        return (own | COMMON).get(kind, 0)


# Noise enough for some ten epochs: see benchmarks/recipe.md. A search cannot tell, whose first epochs are best without.
PRACTICES = (
    Practice(10, 1, 1, 2, 0, 0.1, 0.3, 0.002, 64),
    Practice(10, 2, 2, 2, 0, 0.1, 0.3, 0.003, 32),
    Practice(10, 1, 1, 2, 0, 0.2, 0.4, 0.003, 64),
)


@dataclass(frozen=True)
class Setting:
    """Where points are wanted for: the space, the images, and what can be trained.

    image_shape: (H, W, C); images: for training; work: multiply-adds for one image in all of a final training;
    why_infeasible: why a point cannot be trained, or None.
    """

    space: SearchSpace
    image_shape: tuple[int, int, int]
    output: Output
    images: int
    why_infeasible: Callable[[Point], str | None]
    work: float = math.inf


def first_points(setting: Setting) -> tuple[Point, ...]:
    """Distinct feasible points as near as can be to those that the space names, or else to those of good practice for
    such images, in order.
    """
    named: list[tuple[Practice, Start | None]] = [(PRACTICES[0], start) for start in setting.space.start]
    found: list[Point] = []
    for practice, start in named or [(practice, None) for practice in PRACTICES]:
        point = point_of(setting, practice, start)
        if point is not None and point not in found:
            found.append(point)
    return tuple(found)


def point_of(setting: Setting, practice: Practice, start: Start | None = None) -> Point | None:
    """The widest feasible one that is trained for as many passes as is asked for, or else the narrowest that there is.

    What `start` names is not made narrower for the sake of the passes.
    """
    widths = (brought_into(setting, practice, share, start) for share in SHARES)
    feasible = [point for point in widths if setting.why_infeasible(point) is None]
    if math.isinf(setting.work) or start is not None:
        return next(iter(feasible), None)
    passes = (setting.work / build(point, setting.image_shape, setting.output).macs for point in feasible)
    enough = (point for point, each in zip(feasible, passes, strict=True) if each >= practice.passes)
    return next(enough, feasible[-1] if feasible else None)


def brought_into(setting: Setting, practice: Practice, share: float, start: Start | None = None) -> Point:
    """The point of a space with what `start` names, and the rest as `practice` has it, of a share of the width."""
    start = Start() if start is None else start
    blocks = max(LEAST_BLOCKS, blocks_of(setting.image_shape)) + practice.more_blocks
    filters = share * most_filters(setting.images)
    point: Point = {}
    for parameter in setting.space.parameters:  # parents stand before their children
        if setting.space.is_active(parameter, point):
            there = int(point.get("blocks", blocks))  # as many as the space has
            wanted = start.wanted(parameter.name)
            if wanted is None:
                wanted = practice.wanted(parameter.name, there, filters)
            elif parameter.name.endswith((".filters", ".units")) and not isinstance(wanted, str):
                wanted *= share
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
