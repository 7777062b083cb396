"""Which trials of a run are looked at, in which order: `params<50000`, `block_1.padding=same`, sorted by a column."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Trial, ranked
from cnn_tuner.spaces.tree import Value

Cell = Value | None
COLUMNS: dict[str, Callable[[Trial], Cell]] = {
    "trial": lambda trial: trial.number,
    "score": lambda trial: trial.score,
    "epoch": lambda trial: trial.best_epoch,
    "params": lambda trial: trial.params,
    "macs": lambda trial: trial.macs,
    "seconds": lambda trial: trial.seconds,
    "latency": lambda trial: trial.latency_seconds,
    "status": lambda trial: trial.status,
}
COMPARISONS = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


def select(
    trials: Sequence[Trial],
    objective: Objective,
    hyperparameters: Iterable[str],
    where: Iterable[str] = (),
    sort: str = "score",
    limit: int | None = None,
) -> list[Trial]:
    """The trials for which every condition holds, sorted: by score the best first, otherwise rising; `-params` falling.

    Args:
        trials: of a run.
        objective: what makes one better than another.
        hyperparameters: the names that a condition or an order may use beside COLUMNS.
        where: conditions: a column, one of COMPARISONS, a value. A trial without the column does not fulfil one.
        sort: a column; trials without it come last.
        limit: so many of them at most.

    Raises:
        UsageError: there is no such column, or it is no condition.
    """
    names = [*COLUMNS, *hyperparameters]
    holds = [_condition(text, names) for text in where]
    kept = [trial for trial in ranked(trials, objective) if all(each(trial) for each in holds)]
    if sort != "score":
        falls, name = sort.startswith("-"), sort.removeprefix("-")
        _check("--sort", name, names)
        known = [trial for trial in kept if cell(trial, name) is not None]
        known.sort(key=lambda trial: _order(cell(trial, name)), reverse=falls)
        kept = [*known, *(trial for trial in kept if cell(trial, name) is None)]
    return kept[:limit]


def cell(trial: Trial, name: str) -> Cell:
    """What a trial has in a column; None where it has nothing."""
    return COLUMNS[name](trial) if name in COLUMNS else trial.values.get(name)


def _order(value: Cell) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value or 0), "")


def _condition(text: str, names: Sequence[str]) -> Callable[[Trial], bool]:
    found = re.fullmatch(r"\s*([\w.]+)\s*(<=|>=|!=|<|>|=)\s*(.+?)\s*", text)
    if found is None:
        raise UsageError(f"--where: must be a column, one of {' '.join(COMPARISONS)} and a value, got {text!r}")
    name, sign, value = found.groups()
    _check("--where", name, names)

    def holds(trial: Trial) -> bool:
        own = cell(trial, name)
        if own is None:
            return False
        if isinstance(own, str):
            return bool(COMPARISONS[sign](own, value))
        return bool(COMPARISONS[sign](float(own), _number(text, value)))

    return holds


def _number(text: str, value: str) -> float:
    try:
        return float(value.replace(",", "").replace("_", ""))
    except ValueError:
        raise UsageError(f"--where: {text!r}: must be compared with a number, got {value!r}") from None


def _check(flag: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UsageError(f"{flag}: unknown column: {name!r}; choices: {', '.join(names)}")
