"""Trains nothing: results come from a function and time from a clock that only events move.

Shows what an oracle and the search do with many slots in the time that the events themselves take.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from cnn_tuner.errors import SearchError
from cnn_tuner.runs.records import Epoch, EpochEnded, Event, Job, JobDone, JobLost, Result, Status


@dataclass(frozen=True)
class Simulated:
    """What becomes of a job: its epochs, each as long as its `seconds`, and then its result.

    With a `failure` it fails for that reason after these epochs; `lost` has the machine go away then.
    """

    epochs: tuple[Epoch, ...]
    failure: str = ""
    lost: bool = False


@dataclass(eq=False)
class _Run:
    """A job under way that began at `began` (virtual seconds), and how many of its epochs have been told."""

    job: Job
    outcome: Simulated
    began: float
    told: int = 0
    is_stopped: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_stopped or self.told == len(self.outcome.epochs)

    def last_event(self, now: float) -> Event:
        """What its end is told with: the result of the epochs told so far, of which none counts if it failed."""
        job, outcome, seconds = self.job, self.outcome, now - self.began
        if self.is_stopped:
            return JobDone(self._result("stopped", seconds))
        if outcome.lost:
            return JobLost(job.number, job.attempt, "the machine went away")
        if outcome.failure:
            return JobDone(Result(job.number, "failed", None, None, (), seconds, outcome.failure, job.attempt))
        return JobDone(self._result("completed", seconds))

    def _result(self, status: Status, seconds: float) -> Result:
        epochs = self.outcome.epochs[: self.told]
        score, last = None, None
        if epochs and not self.job.with_val:
            score, last = epochs[-1].metrics[self.job.objective.name], epochs[-1].number
        return Result(self.job.number, status, score, last, epochs, seconds, attempt=self.job.attempt)


class SimulatedExecutor:
    """Any number of slots on one virtual clock.

    `now` is the time in seconds since the start, `busy_seconds` what all slots together were taken for. The score of
    a job is the best of its own epochs: what an earlier job of its trial reached is not known here.
    """

    def __init__(self, slots: int, outcome: Callable[[Job], Simulated]) -> None:
        self.slots = slots
        self.now = 0.0
        self.busy_seconds = 0.0
        self._outcome = outcome
        self._is_stopping = False
        self._order = itertools.count()  # of equal times the one that was entered first
        self._agenda: list[tuple[float, int, _Run]] = []  # a heap: of each job under way what comes next

    def submit(self, job: Job) -> None:
        """Starts a job at the present virtual time. At most `slots` may be under way."""
        self._stop_runs()
        if len(self._agenda) == self.slots:
            raise SearchError(f"trial {job.trial}: submitted while every slot is taken")
        self._enter(_Run(job, self._outcome(job), self.now))

    def next_event(self, seconds: float | None = None) -> Event | None:
        """The next event in virtual time, which moves on to it; None and so many seconds later if it comes after them.

        Raises:
            SearchError: no job is under way.
        """
        self._stop_runs()
        if not self._agenda:
            raise SearchError("no job is under way to wait for")
        until = math.inf if seconds is None else self.now + seconds
        if self._agenda[0][0] > until:
            self.now = until
            return None
        self.now, _, run = heapq.heappop(self._agenda)
        if run.is_over:
            self.busy_seconds += self.now - run.began
            return run.last_event(self.now)
        epoch = run.outcome.epochs[run.told]
        run.told += 1
        self._enter(run)
        return EpochEnded(run.job.number, run.job.attempt, epoch)

    def stop(self) -> None:
        """Ends every job under way now: its epochs that have ended count. One that is trained ends as it would have."""
        self._is_stopping = True

    def close(self) -> None:
        """Forgets what is under way."""
        self._agenda.clear()

    def _stop_runs(self) -> None:
        if not self._is_stopping:
            return
        self._is_stopping = False
        runs = [run for _, _, run in sorted(self._agenda)]
        self._agenda.clear()
        for run in runs:
            run.is_stopped = run.is_stopped or not run.is_over
            self._enter(run)

    def _enter(self, run: _Run) -> None:
        seconds = 0.0 if run.is_over else run.outcome.epochs[run.told].seconds
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), run))
