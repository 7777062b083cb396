"""Who watches a run for a person: a line a trial, and in a terminal a live view below them."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.machine import Workers
from cnn_tuner.records import Epoch, Trial
from cnn_tuner.store import RunStore
from cnn_tuner.terminal import describe_data
from cnn_tuner.texts import duration, score, size, summary


class Reporter:
    """An observer that writes a line a trial; the base of the live view."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: RunStore | None = None
        self.best: Trial | None = None
        self.started = time.monotonic()
        self.done_before = 0  # trials that had ended when this process began

    def line(self, text: str) -> None:
        """One line, as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def run_opened(self, run: RunStore, dataset: Dataset) -> None:
        self.run = run
        for text in describe_data(dataset):
            self.line(text)
        search = run.config.search
        oracle = search.oracle if search.sampler is None else f"{search.oracle} ({search.sampler})"
        trials = "trials" if search.max_trials is None else f"{search.max_trials} trials"
        budget = "" if search.budget_seconds is None else f", within {duration(search.budget_seconds)}"
        self.line(
            f"{run.folder}: {oracle} search of {run.config.space_name}, {trials} of up to {search.epochs} epochs "
            f"for the best {search.objective}{budget}"
        )
        self.started = time.monotonic()

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None:
        reason = f" ({workers.reason})" if workers.reason else ""
        self.line(f"{workers}{reason}; checkpoints take at most {size(checkpoint_bytes)}")
        self.started = time.monotonic()

    def search_restored(self, trials: list[Trial], best: Trial | None) -> None:
        if not trials:
            return
        running = [trial for trial in trials if trial.status == "running"]
        self.best, self.done_before = best, len(trials) - len(running)
        again = f", {len(running)} to be gone on with" if running else ""
        so_far = f"; best so far: trial {best.number}, {score(best.score)}" if best else ""
        self.line(f"going on after {self.done_before} trials{again}{so_far}")

    def job_lost(self, trial: int, reason: str) -> None:
        self.line(f"trial {trial}: {reason}; run again")

    def trial_started(self, trial: Trial, epochs: int) -> None: ...

    def epoch_ended(self, trial: int, epoch: Epoch) -> None: ...

    def time_left(self, seconds: float) -> None: ...

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.best = best
        most = self.run.config.search.max_trials if self.run else None
        total, width = ("", 4) if most is None else (f"/{most}", len(str(most)))
        mark = " *" if best is not None and best.number == trial.number else ""
        what = trial.message if trial.status == "failed" else summary(trial.values)
        self.line(
            f"trial {trial.number:>{width}}{total}  {score(trial.score)}  "
            f"{len(trial.epochs):>3} epochs  {trial.params:>9,} params  {duration(trial.seconds):>5}  {what}{mark}"
        )

    def phase(self, text: str, epochs: int = 0) -> None:
        self.line(text)

    def close(self) -> None: ...


class LiveReporter(Reporter):
    """A line a trial, and below them a bar: trials, epochs, best so far, time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}"))
        self._progress = Progress(*columns, console=console, transient=True)
        self._task: TaskID | None = None
        self._running: dict[int, tuple[int, int]] = {}  # trial -> epochs done, and up to which it trains
        self._ended: set[int] = set()
        self._ends_at: float | None = None  # when the run is expected to be done
        self._final_epochs = 0  # that ended since the final training began

    def _show(self, description: str, total: float | None, completed: float, state: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, total=total, state=state)
            self._progress.start()
        self._progress.update(self._task, description=description, total=total, completed=completed, state=state)

    def trial_started(self, trial: Trial, epochs: int) -> None:
        self._ended.discard(trial.number)  # one that is trained on
        self._running[trial.number] = (trial.epochs_done, epochs)
        self._show_search()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        super().trial_ended(trial, best)
        self._running.pop(trial.number, None)
        self._ended.add(trial.number)

    def time_left(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def _show_search(self) -> None:
        if self.run is None:
            return
        most = self.run.config.search.max_trials
        new = len(self._ended) + sum(epoch / max(1, goal) for epoch, goal in self._running.values())
        done = self.done_before + new if most is None else min(self.done_before + new, most)
        running = ", ".join(f"{trial} ({epoch}/{goal})" for trial, (epoch, goal) in sorted(self._running.items()))
        best = f"best {score(self.best.score)} (trial {self.best.number})" if self.best else "no result yet"
        total = "" if most is None else f"/{most}"
        state = f"{int(done)}{total} done, training {running}, {best}{self._time_left()}"
        self._show("trials", *self._share(done, most), state)

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
            self._show_search()
        elif self._task is not None:
            self._final_epochs += 1
            value = epoch.metrics[self.run.config.search.objective] if self.run else None
            total = self._progress.tasks[0].total or 0
            state = f"{self._final_epochs}/{total:.0f} epochs, trial {trial} {score(value)}{self._time_left()}"
            self._progress.update(self._task, completed=self._final_epochs, state=state)

    def phase(self, text: str, epochs: int = 0) -> None:
        self._running, self._final_epochs = {}, 0
        self._show(text, float(epochs) if epochs else None, 0.0, "")

    def close(self) -> None:
        self._progress.stop()


def reporter(console: Console) -> Reporter:
    """The live view where there is a terminal, plain lines elsewhere."""
    return LiveReporter(console) if console.is_terminal else Reporter(console)
