"""A SearchSpace as KerasTuner's HyperParameters, conditions included."""

from __future__ import annotations

import copy
from contextlib import ExitStack

import keras_tuner

from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace, Value


class SharedHyperParameters(keras_tuner.HyperParameters):
    """Hyperparameters whose copies share the definitions and have values of their own.

    KerasTuner copies both for every trial, which takes a driver of thousands of trials hundreds of megabytes.
    """

    def copy(self) -> SharedHyperParameters:
        shared = copy.copy(self)
        shared.values = dict(self.values)
        return shared


def declare(space: SearchSpace, hp: keras_tuner.HyperParameters, defaults: Point | None = None) -> Point:
    """Registers every hyperparameter of `space` in `hp` and returns the values of the active ones.

    `defaults`: a point, whose values are KerasTuner's defaults; the first of each choice where it has none.
    """
    by_name = {parameter.name: parameter for parameter in space.parameters}
    point = {p.name: _declare_one(p, by_name, hp, (defaults or {}).get(p.name)) for p in space.parameters}
    return {name: value for name, value in point.items() if value is not None}


def point_of(space: SearchSpace, hp: keras_tuner.HyperParameters) -> Point:
    """The values in `hp` of those that are active; what is not registered there becomes it.

    Where all are, KerasTuner is told of no conditions again: while a tuner is made it builds the points that bring each
    of them about, whether they can be trained or not.
    """
    defaults = {each.name: each.default for each in hp.space}
    if not all(parameter.name in defaults for parameter in space.parameters):
        return declare(space, hp)
    point: Point = {}
    for parameter in space.parameters:  # parents stand before their children
        if space.is_active(parameter, point):
            point[parameter.name] = hp.values.get(parameter.name, defaults[parameter.name])
    return point


def from_space(space: SearchSpace) -> keras_tuner.HyperParameters:
    """KerasTuner's view of `space`, for its oracles."""
    hp = SharedHyperParameters()
    declare(space, hp)
    return hp


def _declare_one(
    parameter: Parameter, by_name: dict[str, Parameter], hp: keras_tuner.HyperParameters, default: Value | None
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
        return _register(parameter, hp, default)


def _register(parameter: Parameter, hp: keras_tuner.HyperParameters, default: Value | None) -> int | float | str | None:
    if parameter.is_fixed:
        return hp.Fixed(parameter.name, parameter.values[0])
    if parameter.is_continuous:
        sampling = "log" if parameter.is_log else "linear"
        return hp.Float(parameter.name, parameter.low, parameter.high, sampling=sampling, default=default)
    return hp.Choice(parameter.name, list(parameter.values), default=default)
