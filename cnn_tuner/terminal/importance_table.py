"""How it looks in a terminal which hyperparameters mattered. Builds text and tables; only the command line prints."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from cnn_tuner.analysis.importance import Importances

ROWS = 6
BAR = 20  # characters of a share of 100 %


def headline(found: Importances) -> str:
    """One line: what the table below it compares, or why there is none."""
    if found.reason:
        return f"what mattered: {found.reason}"
    if not found.clear:
        return f"what mattered: nothing that is clearly more than chance in {found.trials} trials"
    return f"what mattered, by what the best {found.best} of {found.trials} trials have more often than the others"


def table(found: Importances) -> Table:
    """The most important hyperparameters as rows: share, bar, and their values among the best trials."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    rows.add_column("hyperparameter", no_wrap=True)
    rows.add_column("share", justify="right", no_wrap=True)
    rows.add_column("", no_wrap=True)
    rows.add_column("the best have, the commonest first")
    rows.add_column("", no_wrap=True, style="dim")
    for each in found.hyperparameters[:ROWS]:
        if each.share > 0:
            bar = "#" * round(BAR * each.share)
            doubt = "" if each.is_clear else "may be chance"
            rows.add_row(escape(each.name), f"{each.share:.0%}", bar, escape(each.best_text), doubt)
    return rows
