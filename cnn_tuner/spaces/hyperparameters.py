"""A SearchSpace as KerasTuner's HyperParameters, conditions included."""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from typing import Any

import keras_tuner

from cnn_tuner.errors import SpaceError
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace, Value


class SharedHyperParameters(keras_tuner.HyperParameters):
    """Hyperparameters whose copies share the definitions and have values of their own.

    KerasTuner copies both for every trial, which takes a driver of thousands of trials hundreds of megabytes.
    """

    def copy(self) -> SharedHyperParameters:
        shared = copy.copy(self)
        shared.values = dict(self.values)
        return shared


def declare(space: SearchSpace, hp: keras_tuner.HyperParameters) -> Point:
    """Registers every hyperparameter of `space` in `hp` and returns the values of the active ones."""
    by_name = {parameter.name: parameter for parameter in space.parameters}
    point = {p.name: _declare_one(p, by_name, hp) for p in space.parameters}
    return {name: value for name, value in point.items() if value is not None}


def from_space(space: SearchSpace) -> keras_tuner.HyperParameters:
    """KerasTuner's view of `space`, for its oracles."""
    hp = SharedHyperParameters()
    declare(space, hp)
    return hp


def _declare_one(
    parameter: Parameter, by_name: dict[str, Parameter], hp: keras_tuner.HyperParameters
) -> int | float | str | None:
    # A child is active only where its parent is, which KerasTuner knows only if every condition up to the root is said.
    conditions: list[tuple[str, tuple[Value, ...]]] = []
    child = parameter
    while child.parent is not None:
        conditions.append((child.parent, child.parent_values))
        child = by_name[child.parent]
    with ExitStack() as scopes:
        for parent, values in reversed(conditions):
            scopes.enter_context(hp.conditional_scope(parent, list(values)))
        return _register(parameter, hp)


def _register(parameter: Parameter, hp: keras_tuner.HyperParameters) -> int | float | str | None:
    if parameter.is_fixed:
        return hp.Fixed(parameter.name, parameter.values[0])
    if parameter.is_continuous:
        sampling = "log" if parameter.is_log else "linear"
        return hp.Float(parameter.name, parameter.low, parameter.high, sampling=sampling)
    return hp.Choice(parameter.name, list(parameter.values))


MOST_WHOLE = 1000  # values of one whole number; of more, as many from one end to the other


def parameter_of(hp: Any, parent: str | None = None, parent_values: tuple[Value, ...] = ()) -> Parameter:
    """A hyperparameter of KerasTuner as one of a space.

    Raises:
        SpaceError: it is of a kind that is not known here.
    """
    settings = hp.get_config()
    kind, name = type(hp).__name__, str(hp.name)
    if kind == "Fixed":
        return Parameter(name, (hp.value,), parent=parent, parent_values=parent_values)
    if kind == "Boolean":
        return Parameter(name, (False, True), parent=parent, parent_values=parent_values)
    if kind == "Choice":
        return Parameter(name, tuple(hp.values), parent=parent, parent_values=parent_values)
    if kind not in ("Int", "Float"):
        raise SpaceError(f"hyperparameter {name}: of the kind {kind}; known are Choice, Int, Float, Boolean, Fixed")
    low, high = settings["min_value"], settings["max_value"]
    is_log = settings.get("sampling") == "log"
    step = settings.get("step")
    if kind == "Float" and step is None:
        return Parameter(name, (), float(low), float(high), is_log, parent, parent_values)
    values = _stepped(low, high, step, is_log, kind == "Int")
    return Parameter(name, values, parent=parent, parent_values=parent_values)


def _stepped(low: float, high: float, step: float | None, is_log: bool, is_whole: bool) -> tuple[Value, ...]:
    """The values from one end to the other, by equal steps, or factors."""
    if is_log and step is not None:
        found = [low * step**n for n in range(int(math.log(high / low, step) + 1e-8) + 1)]
    elif is_log:
        found = [low * (high / low) ** (n / (MOST_WHOLE - 1)) for n in range(MOST_WHOLE)]
    else:
        by = 1 if step is None else step
        found = [low + by * n for n in range(int((high - low) / by + 1e-8) + 1)]
    if is_whole:
        found = sorted({round(value) for value in found})
    if len(found) > MOST_WHOLE:
        found = [found[n * (len(found) - 1) // (MOST_WHOLE - 1)] for n in range(MOST_WHOLE)]
    return tuple(found)
