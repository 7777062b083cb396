"""What a terminal shows below the lines of a run: the best and its trend, what runs, what failed, the time left."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from cnn_tuner.terminal.reporters import Reporter
from cnn_tuner.terminal.screen import can_redraw
from cnn_tuner.terminal.view_state import ViewState


class _View(Progress):
    """Progress bars with lines above them."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}"))
        self.lines: dict[str, str] = {}
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True, min_width=max(map(len, self.lines), default=0))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for title, text in self.lines.items():
            table.add_row(title, Text(text))
        yield table
        yield self.make_tasks_table(self.tasks)


class LiveReporter(ViewState):
    """A line a trial, and the live view below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = _View(console)
        self._task: TaskID | None = None

    def show(self) -> None:
        self._progress.lines = dict(self.lines())
        bar = self.bar()
        if self._task is None:
            self._task = self._progress.add_task(bar.title, total=bar.total, state=bar.state)
            self._progress.start()
        self._progress.update(self._task, description=bar.title, total=bar.total, completed=bar.done, state=bar.state)

    def close(self) -> None:
        self._progress.stop()


def reporter(console: Console) -> Reporter:
    """The live view where one can be drawn, plain lines elsewhere."""
    return LiveReporter(console) if can_redraw(console) else Reporter(console)
