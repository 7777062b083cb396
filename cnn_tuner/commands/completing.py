"""What a shell completes behind an option or a command; files it completes by itself, where nothing here fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from cnn_tuner.api.words import RUNS


def _beginning(incomplete: str, choices: Iterable[str]) -> list[str]:
    """Of several with commas the last is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{each}" for each in choices if each.startswith(last)]


def among(*choices: str) -> Callable[[str], list[str]]:
    """Completes one of these words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, choices)

    return complete


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a run, the newest first."""
    from cnn_tuner.runs import folders

    found = folders.run_folders(Path(ctx.params.get("folder") or RUNS))
    return _beginning(incomplete, [path.name for path in reversed(found)])


def spaces(incomplete: str) -> list[str]:
    """Completes the name of a search space."""
    from cnn_tuner.spaces import tree

    return _beginning(incomplete, (tree.AUTO, *tree.shipped_names()))


def data(incomplete: str) -> list[str]:
    """Completes the name of data that needs no path."""
    from cnn_tuner.data.registry import SOURCES

    return _beginning(incomplete, [name for name, source in SOURCES.items() if not source.takes])


def oracles(incomplete: str) -> list[str]:
    """Completes the name of an oracle."""
    from cnn_tuner.oracles.registry import ORACLES

    return _beginning(incomplete, ORACLES)


def formats(incomplete: str) -> list[str]:
    """Completes the names of formats, with commas."""
    from cnn_tuner.export.formats.registry import FORMATS

    return _beginning(incomplete, FORMATS)


def objectives(incomplete: str) -> list[str]:
    """Completes what a search can improve, of every task."""
    from cnn_tuner.metrics.tasks import TASKS

    return _beginning(incomplete, dict.fromkeys(name for task in TASKS.values() for name in task.objectives))
