"""How far something is that has an end, in a terminal; nothing where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cnn_tuner.data.files import printable
from cnn_tuner.terminal.screen import can_redraw


class Bar:
    """A bar on stderr, which is gone at the end: called with what is done, how much of it, and of how much."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shown: Progress | None = None
        self._console = Console(stderr=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        if not can_redraw(self._console) or (done >= total and self._shown is None):
            return
        if self._shown is None:
            columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
            self._shown = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._shown.start()
            self._shown.add_task(f"{self._verb} {printable(what)}", total=total)
        self._shown.update(self._shown.task_ids[0], completed=done)
        if done >= total:
            self._shown.stop()
            self._shown = None
