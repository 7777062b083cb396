"""How two objectives at once look in a terminal: the trials that no other one beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.report.texts import reached, summary, summary_title
from cnn_tuner.runs.pareto import COSTS, cost_of
from cnn_tuner.runs.records import Trial


def headline(found: Sequence[Trial], objective: Objective, cost: str) -> str:
    """One line: what the table below it lists."""
    if not found:
        return f"no trial with both {objective.name} and {cost} yet"
    return f"the {len(found)} trials that no other beats in both {objective.name} and {cost} ({COSTS[cost]})"


def table(found: Sequence[Trial], objective: Objective, cost: str) -> Table:
    """The front, the cheapest first."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("trial", cost, objective.name):
        rows.add_column(title, justify="right", no_wrap=True)
    rows.add_column(summary_title(found), overflow="fold")
    for trial in found:
        rows.add_row(str(trial.number), cost_text(trial, cost), reached(trial), escape(summary(trial.values)))
    return rows


def cost_text(trial: Trial, cost: str) -> str:
    """`12,345`, or `0.52 ms`."""
    value = cost_of(trial, cost)
    if value is None:
        return "-"
    return f"{1000 * value:.3g} ms" if cost == "latency" else f"{value:,.0f}"
