"""Search spaces: a YAML file becomes a validated SearchSpace, a tree of hyperparameters.

Knows nothing of Keras, KerasTuner or images. Whether a point can be built is `cnn_tuner.spaces.architecture`'s to say.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from cnn_tuner.errors import SpaceError, UsageError
from cnn_tuner.spaces.rules import (
    Augmentation,
    Limits,
    Range,
    SearchDefaults,
    SpaceFile,
    Start,
    Training,
    Values,
    parse,
)

Value = int | float | str
Point = dict[str, Value]


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter: a tuple of values in order, or a continuous range (`low`, `high`, `is_log`).

    It is active when it has no parent, or when its parent is active and has one of `parent_values`.
    """

    name: str
    values: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    parent: str | None = None
    parent_values: tuple[Value, ...] = ()

    @property
    def is_continuous(self) -> bool:
        return not self.values

    @property
    def is_fixed(self) -> bool:
        return len(self.values) == 1

    def at(self, share: float) -> Value:
        """The value at `share` (0 to 1) of the range, by equal steps of the values or of the (log) range."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.is_log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def other_than(self, value: Value, rng: random.Random) -> Value:
        """A value drawn at random that is not `value`."""
        return self.at(rng.random()) if self.is_continuous else rng.choice([v for v in self.values if v != value])

    def allows(self, value: Value) -> bool:
        """Whether this hyperparameter may have `value`."""
        if not self.is_continuous:
            return value in self.values
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def describe(self) -> str:
        """The values as a person reads them: `16, 32, 64` or `0.0005 to 0.005 (log)`."""
        if self.is_continuous:
            return f"{self.low:g} to {self.high:g}{' (log)' if self.is_log else ''}"
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in self.values)


@dataclass(frozen=True)
class Size:
    """How many points a space has; `continuous` names the hyperparameters that are not counted."""

    points: int
    continuous: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.points:,}" if self.points < 10**7 else f"{self.points:.1e}"
        return " x ".join([text, *self.continuous])


@dataclass(frozen=True)
class SearchSpace:
    """What may vary: hyperparameters in the order in which data meets them, limits and the search's defaults.

    `start` are points that a search is to try first, as the file names them.
    `source` is the YAML text, `place` the file or the name that messages begin with. `hypermodel` names what builds its
    networks, where they are a person's own; nothing is known of those before they are built.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    limits: Limits
    defaults: SearchDefaults
    source: str
    place: str
    start: tuple[Start, ...] = ()
    hypermodel: str = ""

    @cached_property
    def _children(self) -> dict[str | None, list[Parameter]]:
        children: dict[str | None, list[Parameter]] = {}
        for parameter in self.parameters:
            children.setdefault(parameter.parent, []).append(parameter)
        return children

    def _active_children(self, parent: str | None, value: Value | None) -> list[Parameter]:
        return [p for p in self._children.get(parent, []) if p.parent is None or value in p.parent_values]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that decides which points exist: equal text, equal space."""
        facts = [[p.name, p.values, p.low, p.high, p.is_log, p.parent, p.parent_values] for p in self.parameters]
        text = json.dumps([facts, self.limits.model_dump()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def size(self) -> Size:
        """The number of distinct points, limits aside; a continuous hyperparameter counts once."""
        continuous = tuple(p.name for p in self.parameters if p.is_continuous)
        return Size(self._count(None, None), continuous)

    def _count(self, parent: str | None, value: Value | None) -> int:
        counts = (
            sum(self._count(p.name, v) for v in p.values) if p.values else 1
            for p in self._active_children(parent, value)
        )
        return math.prod(counts)

    def is_finite(self) -> bool:
        return not any(p.is_continuous for p in self.parameters)

    def sample(self, rng: random.Random) -> Point:
        """A point drawn at random: every active hyperparameter, each independently and evenly (log: evenly in log)."""
        point: Point = {}
        for parameter in self.parameters:  # parents stand before their children
            if self.is_active(parameter, point):
                point[parameter.name] = parameter.at(rng.random())
        return point

    def is_active(self, parameter: Parameter, point: Point) -> bool:
        """Whether a point that has the values of `parameter`'s parents has one of its own."""
        return parameter.parent is None or point.get(parameter.parent) in parameter.parent_values

    def contains(self, point: Point) -> bool:
        """Whether `point` is one of this space: its active hyperparameters, each with a value it may have."""
        active = [p for p in self.parameters if self.is_active(p, point)]
        own = {name for name in point if not name.startswith("tuner/")}
        return own == {p.name for p in active} and all(p.allows(point[p.name]) for p in active)

    def points(self) -> Iterator[Point]:
        """Every point of a finite space, each once, the last hyperparameter changing fastest."""
        yield from self._extend({}, 0)

    def _extend(self, point: Point, index: int) -> Iterator[Point]:
        if index == len(self.parameters):
            yield dict(point)
            return
        parameter = self.parameters[index]
        if not self.is_active(parameter, point):
            yield from self._extend(point, index + 1)
            return
        for value in parameter.values:
            yield from self._extend(point | {parameter.name: value}, index + 1)

    def neighbour(self, point: Point, rng: random.Random) -> Point:
        """`point` with another value of one active hyperparameter, and what that makes active drawn too."""
        free = [p for p in self.parameters if p.name in point and not p.is_fixed]
        changed = rng.choice(free).name if free else None
        near: Point = {}
        for parameter in self.parameters:
            if self.is_active(parameter, near):
                if parameter.name == changed:
                    near[changed] = parameter.other_than(point[changed], rng)
                elif parameter.name in point:
                    near[parameter.name] = point[parameter.name]
                else:
                    near[parameter.name] = parameter.at(rng.random())
        return near

    def within(self, limits: Limits) -> SearchSpace:
        """This space with those of `limits` that are set in the place of its own."""
        given = {name: value for name, value in limits.model_dump().items() if value is not None}
        return replace(self, limits=self.limits.model_copy(update=given)) if given else self

    def to_dict(self) -> dict[str, Any]:
        """The space as the data of a file; written as YAML, `from_text` reads it back."""
        return dict(_read_yaml_text(self.source, self.name))


def _parameter(name: str, spec: Values | Range, parent: str | None = None, when: Sequence[Value] = ()) -> Parameter:
    if isinstance(spec, Range):
        return Parameter(name, (), spec.min, spec.max, spec.is_log, parent, tuple(when))
    return Parameter(name, spec, parent=parent, parent_values=tuple(when))


def _block_parameters(file: SpaceFile, index: int) -> Iterator[Parameter]:
    """The hyperparameters of block `index` (from 1), active when the point has that many blocks."""
    prefix = f"block_{index}."
    condition = _condition("blocks", file.blocks, index)
    block = file.block
    for name in ("convolutions", "filters", "kernel_size", "strides", "padding", "pool_size"):
        yield _parameter(prefix + name, getattr(block, name), *condition)
    if block.pool_strides:
        is_pooled = _condition(prefix + "pool_size", block.pool_size, 2)
        yield _parameter(prefix + "pool_strides", block.pool_strides, *(is_pooled or condition))
    yield _parameter(prefix + "dropout", block.dropout, *condition)


def _condition(parent: str, values: Values, least: int) -> tuple[str, list[Value]] | tuple[()]:
    """Parent and its values of at least `least`."""
    return _where(parent, values, [value for value in values if int(value) >= least])


def _where(parent: str, values: Values, when: list[Value]) -> tuple[str, list[Value]] | tuple[()]:
    """Parent and those of its values that have a child active; nothing where all have, and so no condition is left."""
    return () if len(when) == len(values) else (parent, when)


def _parameters(file: SpaceFile) -> Iterator[Parameter]:
    yield _parameter("blocks", file.blocks)
    for index in range(1, max(int(n) for n in file.blocks) + 1):
        yield from _block_parameters(file, index)
    yield _parameter("dense_layers", file.dense.layers)
    for index in range(1, max(int(n) for n in file.dense.layers) + 1):
        condition = _condition("dense_layers", file.dense.layers, index)
        yield _parameter(f"dense_{index}.units", file.dense.units, *condition)
        yield _parameter(f"dense_{index}.dropout", file.dense.dropout, *condition)
    training = file.training
    warming = [schedule for schedule in training.schedule if schedule != "one_cycle"]  # which has a warm-up of its own
    for name in Training.model_fields:
        if getattr(training, name) is None:
            continue
        if name != "warmup":
            yield _parameter(name, getattr(training, name))
        elif warming:
            yield _parameter(name, training.warmup, *_where("schedule", training.schedule, warming))
    for name in Augmentation.model_fields:
        yield _parameter(name, getattr(file.augmentation, name))


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that reads 1e-3 as the number it looks like, and refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, takes 1e-3 for a word: its numbers need a point.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _read_yaml_text(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date or a number that only looks like one
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SpaceError(f"{where}: {place}not valid YAML: {problem}") from error
    if not isinstance(data, dict):
        raise SpaceError(f"{where}: must be a mapping of keys to values, got {type(data).__name__}")
    return data


def from_text(text: str, where: str) -> SearchSpace:
    """The space that the YAML `text` describes; `where` names its file in messages.

    Raises:
        SpaceError: a rule is broken; the message says file, key, rule, value and choices.
    """
    file = parse(_read_yaml_text(text, where), where)
    name = Path(where).stem
    return SearchSpace(
        name, file.description, tuple(_parameters(file)), file.limits, file.search, text, where, file.start
    )


def of_hypermodel(name: str, parameters: Sequence[Parameter], place: str) -> SearchSpace:
    """The space of a person's own networks, which a function called `name` builds."""
    about = f"The hyperparameters of {name}."
    return SearchSpace(name, about, tuple(parameters), Limits(), SearchDefaults(), "", place or name, hypermodel=name)


AUTO = "auto"  # the name of the space that is made for a run's images: see `cnn_tuner.spaces.auto`


def shipped_folder() -> Path:
    """Where the shipped spaces are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def shipped_names() -> list[str]:
    """The names of the shipped spaces, e.g. `quick`."""
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))


def load(name_or_path: str) -> SearchSpace:
    """A shipped space by its name, or any space by its file's path.

    Raises:
        UsageError: there is no such space.
        SpaceError: the file breaks a rule.
    """
    if name_or_path == AUTO:
        raise UsageError(
            "--space: auto is made for the images of a run, by cnn-tuner tune and plan; "
            "a run's own lies in its folder as space.yaml"
        )
    if name_or_path in shipped_names():
        path = shipped_folder() / f"{name_or_path}.yaml"
    else:
        path = Path(name_or_path)
        with suppress(RuntimeError):  # a user that does not exist: then it is no such file
            path = path.expanduser()
    if not path.is_file():
        choices = ", ".join([AUTO, *shipped_names()])
        raise UsageError(f"--space: no such space or file: {name_or_path!r}; choices: {choices}, or a path")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read: {error}") from error
    return from_text(text, name_or_path)
