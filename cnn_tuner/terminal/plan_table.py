"""How a plan looks in a terminal."""

from __future__ import annotations

import math

from rich.table import Table

from cnn_tuner.report.texts import duration, shape
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.search.planning import Plan


def plan_lines(config: RunConfig, plan: Plan) -> tuple[list[str], list[str]]:
    """What stands before the table of measured points, and what stands after it."""
    images = shape(config.data.image_shape)
    infeasible = f"{plan.infeasible_share:.0%} of them infeasible for images of {images}: never trained, never counted"
    before = [
        f"space     {config.space_name}: {plan.size} points, {infeasible}",
        *(f"          {share:>4.0%} {reason}" for reason, share in plan.reasons),
        f"workers   {plan.workers}",
        "",
    ]
    search = config.search
    parts = (
        ("start", plan.startup_seconds),
        ("search", plan.search_seconds),
        (f"final training of {search.finalists} with {search.final_seeds} seeds at most", plan.final_seconds),
        ("export and verification", plan.export_seconds),
    )
    if math.isinf(plan.trials):
        return before, ["", "expected  no end: neither --budget nor --max-trials limits it"]
    budget = "" if search.budget_seconds is None else f" of {duration(search.budget_seconds)}"
    return before, [
        "",
        f"time      {duration(plan.seconds)}{budget}: " + ", ".join(f"{name} {duration(s)}" for name, s in parts),
        f"expected  about {plan.trials:.0f} trials and {plan.epochs:.0f} epochs by {search.method}, "
        f"{plan.epochs_a_point:.1f} of at most {search.epochs} epochs a trial",
    ]


def points_table(plan: Plan) -> Table:
    """The measured points."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measured", no_wrap=True)
    for title in ("params", "multiply-adds", "s an epoch", "s to set up"):
        table.add_column(title, justify="right", no_wrap=True)
    for point in plan.points:
        seconds = (f"{point.epoch_seconds:.2f}", f"{point.setup_seconds:.2f}")
        table.add_row(point.name, f"{point.params:,}", f"{point.macs:,}", *seconds)
    return table
