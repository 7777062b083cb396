"""Samplers by name: where an oracle that promotes takes its new points from.

A sampler keeps nothing that decides what it draws: the same evidence and random generator give the same point.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from cnn_tuner.errors import UsageError
from cnn_tuner.spaces.tree import Point, SearchSpace

DEFAULT = "tpe"


@dataclass(frozen=True)
class Evidence:
    """What was learned so far, a bounded part of it. Points by a key that is theirs alone.

    `best` are the best of all `results`, from the best on; `others` is a choice of the rest, those that failed and
    those under way included.
    """

    results: int
    best: dict[str, Point]
    others: dict[str, Point]


Ask = Callable[[], Evidence]


class Sampler(Protocol):
    """Draws the next point. It asks for the evidence only if it `learns`: to gather it takes some time."""

    learns: bool

    def propose(self, evidence: Ask, is_new: Callable[[Point], bool], rng: random.Random) -> Point | None:
        """A point for which `is_new` holds, or None to have one drawn at random."""


class RandomSampler:
    """Learns nothing."""

    learns = False

    def __init__(self, space: SearchSpace) -> None: ...

    def propose(self, evidence: Ask, is_new: Callable[[Point], bool], rng: random.Random) -> Point | None:
        return None


# Module and class; the module is imported when it is asked for.
SAMPLERS = {"tpe": ("tpe", "TPESampler"), "random": ("samplers", "RandomSampler")}


def check_name(name: str, where: str = "--sampler") -> None:
    """Raises UsageError when no sampler has this name."""
    if name not in SAMPLERS:
        raise UsageError(f"{where}: unknown: {name!r}; choices: {', '.join(SAMPLERS)}")


def create(name: str | None, space: SearchSpace) -> Sampler:
    """The sampler called `name`, or the default, for one search."""
    name = DEFAULT if name is None else name
    check_name(name)
    module, kind = SAMPLERS[name]
    sampler: Sampler = getattr(import_module(f"cnn_tuner.oracles.{module}"), kind)(space)
    return sampler
