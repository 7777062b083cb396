"""How far something is that has an end, in a terminal; nothing where there is none."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnn_tuner.data.files import printable


class Bar:
    """A bar on stderr, which is gone at the end: called with what is done, how much of it, and of how much."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shown: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty() or (done >= total and self._shown is None):
            return
        if self._shown is None:
            columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
            self._shown = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._shown.start()
            self._shown.add_task(f"{self._verb} {printable(what)}", total=total)
        self._shown.update(self._shown.task_ids[0], completed=done)
        if done >= total:
            self._shown.stop()
            self._shown = None
