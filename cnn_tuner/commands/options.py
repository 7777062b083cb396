"""Options that several commands have, and how their words are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.store import RunStore
    from cnn_tuner.tasks import Output


RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
RunArgument = Annotated[str | None, typer.Argument(help="A run's name or folder. Default: the newest run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
RUNS = Path("runs")


def sizes(flag: str, text: str, count: int) -> Any:
    """`28x28x1` as a tuple of whole numbers."""
    parts = text.lower().split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) > 0 for part in parts):
        form = "x".join(("HEIGHT", "WIDTH", "CHANNELS")[:count])
        raise UsageError(f"{flag}: must be {form} in whole numbers >= 1, got {text!r}")
    return tuple(map(int, parts))


def multiclass(classes: int) -> Output:
    from cnn_tuner.tasks import Output

    if classes < 2:
        raise UsageError(f"--classes: must be a whole number >= 2, got {classes}")
    return Output("multiclass", classes)


def open_run(folder: Path, name: str | None) -> RunStore:
    """The run called `name` in `folder`; without a name, the newest."""
    from cnn_tuner import store

    return store.RunStore.open(store.find_run(folder, name))
