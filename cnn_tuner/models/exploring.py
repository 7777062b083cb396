"""The search space of a hypermodel: which hyperparameters it asks for, and under which values of others.

A hyperparameter shows only where it is asked for, so that networks are built: as it is by default, and with each other
value of each hyperparameter that may bring further ones about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import keras_tuner

from cnn_tuner.errors import UsageError
from cnn_tuner.models.custom import CustomModels, hyperparameters
from cnn_tuner.spaces.hyperparameters import parameter_of
from cnn_tuner.spaces.tree import Parameter, Point, Value

MOST_BUILDS = 60  # networks that are built to find them all
MOST_VALUES = 8  # of a number of more values only the first and the last are looked at


@dataclass(frozen=True)
class Explored:
    """A hypermodel's space: its hyperparameters, the point to begin with, and the parameters of its largest network."""

    parameters: tuple[Parameter, ...]
    start: Point
    largest_params: int


@dataclass(frozen=True)
class _Attempt:
    """Values to build a network with: what was changed last, to what, and what had been asked for before that.

    `between` are further values of what was changed, to be looked at if it makes a difference.
    """

    values: Point = field(default_factory=dict)
    changed: str = ""
    to: Value = ""
    before: frozenset[str] = frozenset()
    between: tuple[Value, ...] = ()


@dataclass
class _Found:
    """A hyperparameter: whether it was given a default, whether it is there by default, what of others changes that."""

    hp: Any
    has_default: bool
    is_default: bool
    changes: dict[str, list[Value]] = field(default_factory=dict)


def explore(models: CustomModels, part: Any) -> Explored:
    """Builds some networks of a hypermodel, and says which space they are of. `part`: see `CustomModels.fitting`.

    Raises:
        UsageError: it cannot be built as it is by default, or asks for nothing.
        SpaceError: a hyperparameter is of a kind that is not known here.
    """
    found: dict[str, _Found] = {}
    left = deque([_Attempt()])
    largest, builds = 0, 0
    while left and builds < MOST_BUILDS:
        attempt, builds = left.popleft(), builds + 1
        hp = hyperparameters(attempt.values)
        try:
            model = models.built(hp, seed=0)
            models.fitting(hp, model, part, is_tried=True)
        except ValueError as error:
            if not attempt.changed:
                raise UsageError(f"hypermodel {error}") from error
            continue  # trials of such points fail, and say why
        largest = max(largest, model.count_params())
        del model
        names = frozenset(each.name for each in hp.space)
        if attempt.between and names != attempt.before:  # so that it matters how many
            values, changed = attempt.values, attempt.changed
            left.extend(_Attempt(values | {changed: v}, changed, v, attempt.before) for v in attempt.between)
        for name in (attempt.before - names) if attempt.changed else ():
            if found[name].is_default:
                found[name].changes.setdefault(attempt.changed, []).append(attempt.to)
        for each in hp.space:
            if each.name not in found:
                found[each.name] = _Found(each, each.name not in hp.without_default, is_default=not attempt.changed)
                scope = {str(condition.name): condition.values[0] for condition in each.conditions}
                values = attempt.values | scope
                left.extend(replace(one, values=values | {each.name: one.to}, before=names) for one in _others(each))
            if not found[each.name].is_default and each.name not in attempt.before:
                found[each.name].changes.setdefault(attempt.changed, []).append(attempt.to)
    parameters = tuple(_in_order([_parameter(each, found) for each in found.values()]))
    if all(parameter.is_fixed for parameter in parameters):
        raise UsageError(f"hypermodel {models.name}: asks for no hyperparameter, so that there is nothing to search")
    return Explored(parameters, _start(models, part, parameters, found), largest)


def _start(models: CustomModels, part: Any, parameters: tuple[Parameter, ...], found: dict[str, _Found]) -> Point:
    """The point that a person would begin with: their defaults, and the middle of what has none.

    There KerasTuner takes the first value, which of a range is its end: a learning rate that hardly learns, the
    narrowest layers.
    """
    values: Point = {}
    for each in parameters:
        if each.parent is None or values.get(each.parent) in each.parent_values:
            known = found[each.name]
            values[each.name] = known.hp.default if known.has_default else _middle(each, known.hp)
    for point in (values, {}):
        hp = hyperparameters(point)
        try:
            models.fitting(hp, models.built(hp, seed=0), part)
        except ValueError:
            continue
        return {each.name: hp.values[each.name] for each in parameters if each.name in hp.values}
    raise UsageError(f"hypermodel {models.name}: can no longer be built as it is by default")


def _middle(parameter: Parameter, hp: Any) -> Value:
    if parameter.is_continuous:
        return parameter.at(0.5)
    is_ordered = getattr(hp, "ordered", True)  # Choice alone may not be
    return parameter.values[(len(parameter.values) - 1) // 2 if is_ordered else 0]


def _others(hp: Any) -> list[_Attempt]:
    """The values beside the default one with which others may be asked for; of a number's only the ends at first."""
    values = [value for value in parameter_of(hp).values if value != hp.default]
    if isinstance(hp, (keras_tuner.engine.hyperparameters.Boolean, keras_tuner.engine.hyperparameters.Choice)):
        return [_Attempt(changed=hp.name, to=value) for value in values]
    if not isinstance(hp, keras_tuner.engine.hyperparameters.Int):
        return []
    between = tuple(values[1:-1]) if len(values) < MOST_VALUES else ()
    ends = values if len(values) <= 2 else [values[0], values[-1]]
    return [_Attempt(changed=hp.name, to=end, between=between) for end in ends]


def _parameter(known: _Found, found: dict[str, _Found]) -> Parameter:
    """With the condition that KerasTuner was told of, or the one under which it was met alone."""
    hp = known.hp
    if hp.conditions:
        last = hp.conditions[-1]
        return parameter_of(hp, str(last.name), tuple(last.values))
    if len(known.changes) != 1:
        return parameter_of(hp)
    [(parent, changing)] = known.changes.items()
    values = parameter_of(found[parent].hp).values
    if len(values) > MOST_VALUES:
        return parameter_of(hp)
    return parameter_of(hp, parent, tuple(value for value in values if (value in changing) != known.is_default))


def _in_order(parameters: list[Parameter]) -> Iterator[Parameter]:
    """Parents before their children."""
    told: set[str] = set()
    left = list(parameters)
    while left:
        free = [each for each in left if each.parent is None or each.parent in told]
        free = free or [replace(left[0], parent=None, parent_values=())]  # two that wait for each other
        yield from free
        told |= {each.name for each in free}
        left = [each for each in left if each.name not in told]


def is_hypermodel(value: Any) -> bool:
    """Whether KerasTuner takes it for one."""
    return isinstance(value, keras_tuner.HyperModel) or callable(value)
