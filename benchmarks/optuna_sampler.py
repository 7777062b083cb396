"""Optuna's TPE as a sampler of this project's oracles, to compare it with ours: `benchmarks/replay.py` plays it.

Ours are told the order of the points, no scores; Optuna's TPE looks at nothing but their order either. An infeasible or
known point is asked for again, at most ASKED times.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import optuna

from cnn_tuner.oracles.samplers import Ask, Evidence
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace

ASKED = 30


class OptunaSampler:
    """Multivariate TPE, whose groups are the hyperparameters that are active together, as its documentation advises
    for conditional spaces; all else is as it comes.
    """

    learns = True

    def __init__(self, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._space = space

    def propose(self, evidence: Ask, is_new: Callable[[Point], bool], rng: random.Random) -> Point | None:
        known = evidence()
        if not known.results:
            return None
        sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=rng.getrandbits(32))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(list(map(self._told, *zip(*self._ranked(known), strict=True))))
        for _ in range(ASKED):
            trial = study.ask()
            point = define_by_run(self._space.parameters, trial)
            if is_new(point):
                return point
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None

    def _ranked(self, known: Evidence) -> list[tuple[Point, float]]:
        points = [*known.best.values(), *known.others.values()]
        return [(point, -float(place)) for place, point in enumerate(points)]

    def _told(self, point: Point, value: float) -> Any:
        parameters = {p.name: p for p in self._space.parameters if p.name in point}
        return optuna.trial.create_trial(
            params={name: _asked(p, point[name]) for name, p in parameters.items()},
            distributions={name: _distribution(p) for name, p in parameters.items()},
            value=value,
        )


def define_by_run(parameters: tuple[Parameter, ...], trial: Any) -> Point:
    """A point asked of Optuna, value by value; numbers in order are asked as integers, so that TPE knows the order."""
    point: Point = {}
    for p in parameters:
        if p.parent is not None and point.get(p.parent) not in p.parent_values:
            continue
        if p.is_continuous:
            point[p.name] = trial.suggest_float(p.name, p.low, p.high, log=p.is_log)
        elif _has_words(p):
            point[p.name] = trial.suggest_categorical(p.name, p.values)
        else:
            point[p.name] = p.values[trial.suggest_int(p.name, 0, len(p.values) - 1)]
    return point


def _distribution(p: Parameter) -> Any:
    if p.is_continuous:
        return optuna.distributions.FloatDistribution(p.low, p.high, log=p.is_log)
    if _has_words(p):
        return optuna.distributions.CategoricalDistribution(p.values)
    return optuna.distributions.IntDistribution(0, len(p.values) - 1)


def _asked(p: Parameter, value: Any) -> Any:
    return value if p.is_continuous or _has_words(p) else p.values.index(value)


def _has_words(p: Parameter) -> bool:
    return any(isinstance(value, str) for value in p.values)
