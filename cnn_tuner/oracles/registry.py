"""The oracles by name. A new one is one file and one line here; its module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cnn_tuner.errors import UsageError
from cnn_tuner.oracles import samplers

if TYPE_CHECKING:
    from cnn_tuner.oracles.feasible import FeasibleOracle, Search

ORACLES = {
    "random": "RandomOracle",
    "grid": "GridOracle",
    "bayesian": "BayesianOracle",
    "hyperband": "HyperbandOracle",
    "asha": "AshaOracle",
}
WITH_SAMPLERS = {"asha"}  # oracles that leave open where new points come from
TWO_OBJECTIVES = ("asha", "random", "grid")  # those that learn from two, or from none


def check_name(name: str, where: str = "--oracle") -> None:
    """Raises UsageError when no oracle has this name."""
    if name not in ORACLES:
        raise UsageError(f"{where}: unknown: {name!r}; choices: {', '.join(ORACLES)}")


def check_sampler(oracle: str, sampler: str | None, where: str = "--sampler") -> None:
    """Raises UsageError when `oracle` cannot take its new points from `sampler`; None is always right."""
    if sampler is None:
        return
    if oracle not in WITH_SAMPLERS:
        raise UsageError(f"{where}: oracle {oracle} has no samplers, got {sampler!r}")
    samplers.check_name(sampler, where)


def check_cost(oracle: str, cost: str | None) -> None:
    """Raises UsageError when `oracle` cannot have a second objective; None is always right."""
    if cost is not None and oracle not in TWO_OBJECTIVES:
        raise UsageError(f"--and: oracle {oracle} improves one objective only; choices: {', '.join(TWO_OBJECTIVES)}")


def create(name: str, search: Search) -> FeasibleOracle:
    """The oracle called `name` for one search."""
    check_name(name)
    check_sampler(name, search.sampler)
    oracle: FeasibleOracle = getattr(import_module(f"cnn_tuner.oracles.{name}"), ORACLES[name])(search)
    return oracle
