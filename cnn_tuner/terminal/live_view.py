"""What a terminal shows below the lines of a run: the best and its trend, what runs, what failed, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from cnn_tuner.report.texts import duration, score, sparkline, summary
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.terminal.reporters import Reporter

LATELY = 10  # trials over which the trend is told
TREND = 24  # characters of the best so far, over all trials
CURVE = 8  # characters of a trial's own curve


class _View(Progress):
    """Progress bars with lines above them."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}"))
        self.lines: dict[str, str] = {}
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for title, text in self.lines.items():
            table.add_row(title, Text(text))
        yield table
        yield self.make_tasks_table(self.tasks)


class LiveReporter(Reporter):
    """A line a trial, and the live view below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = _View(console)
        self._task: TaskID | None = None
        self._running: dict[int, tuple[int, int]] = {}  # trial -> epochs done, and up to which it trains
        self._nodes: dict[int, str] = {}  # of those on a cluster, where they are trained
        self._curves: dict[int, list[float]] = {}  # of those, the objective of each epoch
        self._bests: list[float] = []  # the best so far after each trial that ended here
        self._failures: deque[str] = deque(maxlen=1)
        self._failed = 0
        self._workers = ""
        self._ended: set[int] = set()
        self._ends_at: float | None = None  # when the run is expected to be done
        self._final_epochs = 0  # that ended since the final training began

    def _show(self, description: str, total: float | None, completed: float, state: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, total=total, state=state)
            self._progress.start()
        self._progress.update(self._task, description=description, total=total, completed=completed, state=state)

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None:
        super().workers_chosen(workers, checkpoint_bytes)
        self._workers = str(workers)

    def trial_started(self, trial: Trial, epochs: int) -> None:
        self._ended.discard(trial.number)  # one that is trained on
        self._running[trial.number] = (trial.epochs_done, epochs)
        self._curves[trial.number] = [self._value(epoch) for epoch in trial.epochs if epoch.number <= trial.epochs_done]
        self._show_search()

    def job_placed(self, trial: int, where: str) -> None:
        self._nodes[trial] = where
        if trial in self._running:
            self._show_search()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        super().trial_ended(trial, best)
        self._running.pop(trial.number, None)
        self._curves.pop(trial.number, None)
        self._nodes.pop(trial.number, None)
        self._ended.add(trial.number)
        if best is not None and best.score is not None:
            self._bests.append(best.score)
        if trial.status == "failed":
            self._failed += 1
            self._failures.append(f"trial {trial.number}: {trial.message}")

    def time_left(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def _value(self, epoch: Epoch) -> float:
        return epoch.metrics[self.run.config.search.objective] if self.run else 0.0

    def _show_search(self) -> None:
        if self.run is None:
            return
        most = self.run.config.search.max_trials
        new = len(self._ended) + sum(epoch / max(1, goal) for epoch, goal in self._running.values())
        done = self.done_before + new if most is None else min(self.done_before + new, most)
        self._progress.lines = {title: text for title, text in self._lines() if text}
        total = "" if most is None else f"/{most}"
        self._show("trials", *self._share(done, most), f"{int(done)}{total} done{self._time_left()}")

    def _lines(self) -> Iterable[tuple[str, str]]:
        yield "best", self._best_line()
        for trial, (epoch, goal) in sorted(self._running.items()):
            curve = self._curves.get(trial, [])
            reached = f"  {score(curve[-1])}  {sparkline(curve, CURVE)}" if curve else ""
            where = f" on {self._nodes[trial]}" if trial in self._nodes else ""
            yield f"trial {trial}", f"epoch {epoch} of {goal}{where}{reached}"
        more = f"{self._failed} failed, the last one " if self._failed > 1 else ""
        yield "failed", f"{more}{self._failures[-1]}" if self._failures else ""
        yield "workers", self._workers

    def _best_line(self) -> str:
        if self.best is None:
            return "no result yet"
        line = f"{score(self.best.score)}  trial {self.best.number}: {summary(self.best.values)}"
        if len(self._bests) < 2:
            return line
        before = self._bests[-min(LATELY + 1, len(self._bests))]
        gain = abs(self._bests[-1] - before)
        lately = f"{gain:.4f} better" if gain else "no better"
        return f"{line}  {sparkline(self._bests, TREND)}  {lately} in {min(LATELY, len(self._bests) - 1)} trials"

    def _share(self, done: float, most: int | None) -> tuple[float | None, float]:
        """How long the bar is, and how much of it is done: of the trials, or of the time where nothing limits those."""
        if most is not None:
            return most, done
        if self._ends_at is None:
            return None, 0.0
        return self._ends_at - self.started, time.monotonic() - self.started

    def _time_left(self) -> str:
        """Silent until something is known of it."""
        if self._ends_at is None:
            return ""
        return f", {duration(max(0.0, self._ends_at - time.monotonic()))} left"

    def epoch_ended(self, trial: int, epoch: Epoch) -> None:
        if trial in self._running:
            self._running[trial] = (epoch.number, self._running[trial][1])
            self._curves[trial].append(self._value(epoch))
            self._show_search()
        elif self._task is not None:
            self._final_epochs += 1
            total = self._progress.tasks[0].total or 0
            value = score(self._value(epoch)) if self.run else "-"
            where = f" on {self._nodes[trial]}" if trial in self._nodes else ""
            state = f"{self._final_epochs}/{total:.0f} epochs, trial {trial} {value}{where}{self._time_left()}"
            self._progress.update(self._task, completed=self._final_epochs, state=state)

    def phase(self, text: str, epochs: int = 0) -> None:
        self._running, self._final_epochs = {}, 0
        self._progress.lines = {}
        self._show(text, float(epochs) if epochs else None, 0.0, "")

    def close(self) -> None:
        self._progress.stop()


def reporter(console: Console) -> Reporter:
    """The live view where there is a terminal, plain lines elsewhere."""
    return LiveReporter(console) if console.is_terminal else Reporter(console)
