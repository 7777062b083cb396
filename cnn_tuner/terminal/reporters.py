"""Who watches a run for a person: a line a trial; `terminal.live_view` has what is shown below them."""

from __future__ import annotations

import time

from rich.console import Console

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.files import printable
from cnn_tuner.report.texts import duration, reached, score, size, summary
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.terminal.screen import wrapped
from cnn_tuner.terminal.tables import describe_data


class Reporter:
    """An observer that writes a line a trial; the base of the live view."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: RunStore | None = None
        self.best: Trial | None = None
        self.started = time.monotonic()
        self.done_before = 0  # trials that had ended when this process began

    def line(self, text: str, more: str = "") -> None:
        """One line, without what is no text: class names may be anybody's."""
        told = wrapped(self.console, printable(text), printable(more))
        self.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def run_opened(self, run: RunStore, dataset: Dataset) -> None:
        self.run = run
        for text in describe_data(dataset):
            self.line(text)
        search = run.config.search
        trials = "trials" if search.max_trials is None else f"{search.max_trials} trials"
        budget = "" if search.budget_seconds is None else f", within {duration(search.budget_seconds)}"
        each = "" if search.epoch_images is None else f" of {search.epoch_images:,} images"
        self.line(
            f"{run.folder}: {search.method} search of {run.config.space_name}, {trials} of up to "
            f"{search.epochs} epochs{each} for the best {search.objective}{budget}"
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

    def left_out(self, share: float, most_macs: float) -> None:
        size = f"{most_macs / 1e6:,.3g} million multiply-adds an image"
        self.line(f"left out {share:.0%} of the space as too large for the budget: networks of over {size}")

    def trial_started(self, trial: Trial, epochs: int) -> None: ...

    def job_placed(self, trial: int, where: str) -> None: ...

    def epoch_ended(self, trial: int, epoch: Epoch) -> None: ...

    def time_left(self, seconds: float) -> None: ...

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.best = best
        most = self.run.config.search.max_trials if self.run else None
        total, width = ("", 4) if most is None else (f"/{most}", len(str(most)))
        mark = " *" if best is not None and best.number == trial.number else ""
        what = trial.message if trial.status == "failed" else summary(trial.values)
        epochs = "epoch" if len(trial.epochs) == 1 else "epochs"
        mark += f"  (on {trial.where})" if trial.where else ""
        self.line(
            f"trial {trial.number:>{width}}{total}  {reached(trial)}  "
            f"{len(trial.epochs):>3} {epochs:<6}  {trial.params:>9,} params  {duration(trial.seconds):>5}",
            f"{what}{mark}",
        )

    def phase(self, text: str, epochs: int = 0) -> None:
        self.line(text)

    def close(self) -> None: ...
