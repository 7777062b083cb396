"""How one point of a search space is trained: optimizer, learning rate and its schedule, regularisation, augmentation.

A `Recipe` is to the training what an `Architecture` is to the network: plain data made from a point's values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from cnn_tuner.spaces.tree import Point

BATCH_SIZE = 32  # of a point that does not say it: Keras's own
STEPS_AT_ONCE = 32  # batches at most that run before Python is asked again: a divisor of an epoch's
FEW_AT_ONCE = 16  # to have at least so many, an epoch may leave out its last batches, which are others each time


@dataclass(frozen=True)
class Augmentation:
    """Random changes of the images, anew in every epoch and only while training.

    shift: by at most this share of the side; rotate: by at most so many degrees; zoom: in or out by at most this share;
    erase: the share of images of which a random rectangle is erased (Zhong et al., 2017, arxiv.org/abs/1708.04896).
    """

    flip: str = "none"
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a point is trained.

    schedule: "constant"; "cosine", down to a hundredth (Loshchilov and Hutter, 2017, arxiv.org/abs/1608.03983); or
    "one_cycle", up from a 25th and down to a 10,000th (Smith and Topin, 2018, arxiv.org/abs/1708.07120).
    warmup: the share of the schedule in which the learning rate grows from 0; "one_cycle" has its own.
    weight_decay: decoupled from the gradient, so that "adam" with it is AdamW (arxiv.org/abs/1711.05101).
    label_smoothing: the share of each label that is spread over all classes while training; nothing for regression.
    class_weights: what has all classes count alike, however many images each has: "balanced" weighs the loss of each
        image, "sampled" draws as many images of each; nothing where an image may have several labels, or for
        regression.
    """

    learning_rate: float
    batch_size: int
    optimizer: str = "adam"
    schedule: str = "constant"
    warmup: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def is_scheduled(self) -> bool:
        """Whether the learning rate changes, so that its length in epochs matters."""
        return self.decays or self.warmup > 0

    @property
    def decays(self) -> bool:
        """Whether the learning rate ends near 0: training beyond the schedule's end changes little."""
        return self.schedule != "constant"


def steps_of_epoch(images: int, values: Point) -> int:
    """The batches of an epoch of so many images: as many as have a divisor that lets many run at once.

    Of 37 batches each would run by itself, and small networks wait for Python.
    """
    steps = math.ceil(images / int(values.get("batch_size", BATCH_SIZE)))
    if steps < FEW_AT_ONCE:
        return steps
    return next(n for n in range(steps, 0, -1) if at_once(n, STEPS_AT_ONCE) >= min(FEW_AT_ONCE, n // 4))


def at_once(steps: int, most: int) -> int:
    """The largest divisor of an epoch's steps that is not over `most`.

    Never all of them: of a network's first epoch the first execution compiles, what follows tells how long it takes.
    """
    return next(n for n in range(max(1, min(most, steps // 2)), 0, -1) if steps % n == 0)


def recipe_of(values: Point) -> Recipe:
    """The recipe of a point. What the point does not name is as Recipe says."""
    return Recipe(**_known(Recipe, values), augmentation=Augmentation(**_known(Augmentation, values)))


def _known(kind: type[Recipe] | type[Augmentation], values: Point) -> dict[str, Any]:
    return {each.name: values[each.name] for each in fields(kind) if each.name in values}
