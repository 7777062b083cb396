"""What a live view of a run shows, kept for those that draw it: the best and its trend, what runs, what failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console

from cnn_tuner.report.texts import duration, score, sparkline, summary
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Epoch, Trial
from cnn_tuner.terminal.reporters import Reporter

LATELY = 10  # trials over which the trend is told
TREND = 24  # characters of the best so far, over all trials
CURVE = 8  # characters of a trial's own curve


class Bar(NamedTuple):
    """How far something is: of `total`, None where that is not known; `state` says it in words."""

    title: str
    total: float | None
    done: float
    state: str


class ViewState(Reporter):
    """A line a trial, and what is known of the run at any time; `show` is called whenever that has changed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.running: dict[int, tuple[int, int]] = {}  # trial -> epochs done, and up to which it trains
        self.bests: list[float] = []  # the best so far after each trial that ended here
        self._nodes: dict[int, str] = {}  # of those on a cluster, where they are trained
        self._curves: dict[int, list[float]] = {}  # of those that run, the objective of each epoch
        self._failures: deque[str] = deque(maxlen=1)
        self._failed = 0
        self._workers = ""
        self._phase = ""  # what goes on besides the search, such as the final training
        self._epochs = self._all_epochs = 0  # of the final training: those that ended, and all
        self._last = ""  # of those: what the last one reached
        self._ended: set[int] = set()
        self._ends_at: float | None = None  # when the run is expected to be done

    def show(self) -> None:
        """Draws it."""

    def workers_chosen(self, workers: Workers, checkpoint_bytes: int) -> None:
        super().workers_chosen(workers, checkpoint_bytes)
        self._workers = str(workers)

    def trial_started(self, trial: Trial, epochs: int) -> None:
        self._ended.discard(trial.number)  # one that is trained on
        self._phase = ""
        self.running[trial.number] = (trial.epochs_done, epochs)
        self._curves[trial.number] = [self._value(epoch) for epoch in trial.epochs if epoch.number <= trial.epochs_done]
        self.show()

    def job_placed(self, trial: int, where: str) -> None:
        self._nodes[trial] = where
        if trial in self.running:
            self.show()

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        super().trial_ended(trial, best)
        self.running.pop(trial.number, None)
        self._curves.pop(trial.number, None)
        self._nodes.pop(trial.number, None)
        self._ended.add(trial.number)
        if best is not None and best.score is not None:
            self.bests.append(best.score)
        if trial.status == "failed":
            self._failed += 1
            self._failures.append(f"trial {trial.number}: {trial.message}")
        self.show()

    def time_left(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def epoch_ended(self, trial: int, epoch: Epoch) -> None:
        if trial in self.running:
            self.running[trial] = (epoch.number, self.running[trial][1])
            self._curves[trial].append(self._value(epoch))
        else:
            self._epochs += 1
            objective = self.run.config.search.objective if self.run else ""
            reached = score(epoch.metrics.get(objective))  # a training on train and validation has none
            self._last = f", trial {trial} {reached}{self._where(trial)}"
        self.show()

    def phase(self, text: str, epochs: int = 0) -> None:
        self.running = {}
        self._phase, self._epochs, self._all_epochs, self._last = text, 0, epochs, ""
        self.show()

    def bar(self) -> Bar:
        """How far the search is, or what follows it."""
        if self._phase:
            told = f"{self._epochs}/{self._all_epochs} epochs{self._last}{self._time_left()}" if self._last else ""
            return Bar(self._phase, float(self._all_epochs) or None, self._epochs, told)
        most = self.run.config.search.max_trials if self.run else None
        new = len(self._ended) + sum(epoch / max(1, goal) for epoch, goal in self.running.values())
        done = self.done_before + new if most is None else min(self.done_before + new, most)
        of = "" if most is None else f"/{most}"
        return Bar("trials", *self._share(done, most), f"{int(done)}{of} done{self._time_left()}")

    def lines(self) -> Iterator[tuple[str, str]]:
        """What is known of the search while it goes on, by titles."""
        if self._phase:
            return
        yield "best", self.best_line()
        for trial, (epoch, goal) in sorted(self.running.items()):
            curve = self._curves.get(trial, [])
            reached = f"  {score(curve[-1])}  {sparkline(curve, CURVE)}" if curve else ""
            yield f"trial {trial}", f"epoch {epoch} of {goal}{self._where(trial)}{reached}"
        more = f"{self._failed} failed, the last one " if self._failed > 1 else ""
        if self._failures:
            yield "failed", f"{more}{self._failures[-1]}"
        if self._workers:
            yield "workers", self._workers

    def best_line(self) -> str:
        """The best trial so far, its hyperparameters, and how it grew."""
        if self.best is None:
            return "no result yet"
        line = f"{score(self.best.score)}  trial {self.best.number}: {summary(self.best.values)}"
        if len(self.bests) < 2:
            return line
        before = self.bests[-min(LATELY + 1, len(self.bests))]
        gain = abs(self.bests[-1] - before)
        lately = f"{gain:.4f} better" if gain else "no better"
        return f"{line}  {sparkline(self.bests, TREND)}  {lately} in {min(LATELY, len(self.bests) - 1)} trials"

    def _value(self, epoch: Epoch) -> float:
        return epoch.metrics[self.run.config.search.objective] if self.run else 0.0

    def _where(self, trial: int) -> str:
        return f" on {self._nodes[trial]}" if trial in self._nodes else ""

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
