"""The oracles by name. A new one is one file and one line here; its module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.oracles.feasible import FeasibleOracle, Search

ORACLES = {
    "random": "RandomOracle",
    "grid": "GridOracle",
    "bayesian": "BayesianOracle",
    "hyperband": "HyperbandOracle",
}


def check_name(name: str, where: str = "--oracle") -> None:
    """Raises UsageError when no oracle has this name."""
    if name not in ORACLES:
        raise UsageError(f"{where}: unknown: {name!r}; choices: {', '.join(ORACLES)}")


def create(name: str, search: Search) -> FeasibleOracle:
    """The oracle called `name` for one search."""
    check_name(name)
    oracle: FeasibleOracle = getattr(import_module(f"cnn_tuner.oracles.{name}"), ORACLES[name])(search)
    return oracle
