"""How long the rest of a run will take, from its own pace: for its budget, and for people who wait."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cnn_tuner.runs import budget as budgets
from cnn_tuner.runs.budget import CUSTOM_FINAL_SHARE, ENOUGH_EPOCHS, Budget, final_room
from cnn_tuner.runs.config import BACKWARDS, RunConfig
from cnn_tuner.runs.records import Epoch, Job, Result, Trial
from cnn_tuner.search.final_plan import FinalPlan, Pace, plan_final, side_by_side

if TYPE_CHECKING:
    from cnn_tuner.executors.forking import ForkServer
    from cnn_tuner.oracles.feasible import FeasibleOracle

STARTUP_SECONDS = 5.0  # of a process that loads TensorFlow, where none was seen yet
NEARLY, SLACK = 0.2, 0.1  # of an epoch is left of one that may still end; so much later than foreseen it may do so
EXPORT_STARTUPS = 1.8  # what evaluation, export, its verification in two new processes and the report take, in those
TEST_PASSES = 4  # over the test part: of the live model, and of the readers of both files
VAL_PASSES = 2  # over the validation part: what the winner's score is in float32, and how far to trust its scores
FORMAT_STARTUPS = 0.2  # that each other format takes; its reader loads no TensorFlow and runs beside the others
FORMAT_PASSES = 2
FORK_SECONDS = 0.3  # of a new worker that a fork server begins


def export_seconds(config: RunConfig, startup_seconds: float, epoch_seconds: float) -> float:
    """What follows the final training: evaluation, export, verification."""
    train, val, test = config.data.images
    others = len(config.formats) - 1
    passes = TEST_PASSES + FORMAT_PASSES * others
    return (EXPORT_STARTUPS + FORMAT_STARTUPS * others) * startup_seconds + (
        passes * test + VAL_PASSES * val
    ) * epoch_seconds / train / BACKWARDS


@dataclass
class _Running:
    """A job under way: when it was submitted, its last epoch so far, and when that ended."""

    job: Job
    began: float
    epoch: int
    epoch_seconds: float = 0.0
    epoch_ended: float = 0.0


@dataclass
class Forecast:
    """Of one process at work on a run. All times are monotonic seconds.

    `earlier_epochs` are those of the search that earlier processes trained. `workers_began` is when the worker
    processes were started, None for the first job's submission, and `crowding` how many of those that loaded TensorFlow
    then shared a core; `server` begins them, where that is a fork server. `widens` says whether one job can have the
    cores of all workers, which it cannot have of GPUs.
    """

    config: RunConfig
    budget: Budget
    earlier_epochs: int = 0
    workers_began: float | None = None
    crowding: float = 1.0
    server: ForkServer | None = None
    widens: bool = True
    pace: budgets.Pace = field(default_factory=budgets.Pace)
    _leaders: list[tuple[float, int, float]] = field(default_factory=list)  # score, trial, seconds of an epoch
    _running: dict[int, _Running] = field(default_factory=dict)

    def job_began(self, job: Job, now: float) -> None:
        """A job was submitted."""
        self._running[job.number] = _Running(job, now, job.initial_epoch)

    def epoch_ended(self, job: Job, epoch: Epoch, now: float) -> None:
        """A job under way finished an epoch."""
        running = self._running[job.number]
        self.pace.note_epoch(epoch.seconds, now - (running.began if self.workers_began is None else self.workers_began))
        running.epoch, running.epoch_seconds, running.epoch_ended = epoch.number, epoch.seconds, now

    def job_ended(self, job: Job, result: Result) -> None:
        """A job ended; both its seconds and its epochs are those of all attempts at it, none if it was lost."""
        self._running.pop(job.number, None)
        if result.epochs and result.seconds > 0:
            self.pace.note_job(result.seconds - math.fsum(epoch.seconds for epoch in result.epochs))

        if result.epochs and result.score is not None and not job.with_val:
            self._note_leader(job, result, result.score)

    def _note_leader(self, job: Job, result: Result, score: float) -> None:
        """Keeps as many of the best trials as there will be finalists."""
        sign = -1 if self.config.objective.direction == "max" else 1
        is_final = job.course_steps or job.grows
        seconds = _epoch_seconds(result.epochs) / (1.0 if is_final else self.config.work_share)
        others = [leader for leader in self._leaders if leader[1] != job.trial]
        self._leaders = sorted([*others, (sign * score, job.trial, seconds)])
        del self._leaders[self.config.search.finalists :]

    def _finalists_seconds(self, best: Trial | None) -> tuple[float, ...]:
        """Of an epoch of each finalist: the best so far, those that are not known as long as the best."""
        known = [seconds for *_, seconds in self._leaders]
        return (*known, *[self.final_seconds_of(best)] * (self.config.search.finalists - len(known)))

    def seconds_of(self, trial: Trial | None) -> float:
        """Of an epoch of this trial, or on average where it has none."""
        if trial is None or not trial.epochs:
            return self.pace.epoch_seconds
        return _epoch_seconds(trial.epochs)

    def final_seconds_of(self, trial: Trial | None) -> float:
        """Of an epoch of this trial in the final training, which has all images."""
        return self.seconds_of(trial) / self.config.work_share

    @property
    def startup_seconds(self) -> float:
        """What a process takes that loads TensorFlow and sets up a network, none beside it."""
        if (loading := self._loading_seconds) is not None:
            return loading + self.pace.setup_seconds
        return STARTUP_SECONDS if self.pace.startup_seconds is None else self.pace.startup_seconds / self.crowding

    @property
    def worker_seconds(self) -> float:
        """What a new worker takes until it trains, none beside it."""
        if self._loading_seconds is not None:
            return FORK_SECONDS + self.pace.setup_seconds
        return self.startup_seconds

    @property
    def _loading_seconds(self) -> float | None:
        return None if self.server is None else self.server.loading_seconds

    def export_seconds(self, best: Trial | None) -> float:
        """From the end of the final training to the end of the run."""
        return export_seconds(self.config, self.startup_seconds, self.final_seconds_of(best))

    def final_plan(
        self, best: Trial | None, slots: int, now: float | None = None, search_epochs: float | None = None
    ) -> FinalPlan:
        """What the final training will be; from `now` on, where that is given, in the time that is left then.

        `search_epochs` are those of the whole search, None for those so far.
        """
        known = self.earlier_epochs + self.pace.epochs if search_epochs is None else search_epochs
        each, setup = self._finalists_seconds(best), self.pace.setup_seconds
        # Of several folds the final training goes on with the network of one.
        searched = 0.0 if best is None else _searched_seconds(best) / max(1, self.config.data.folds)
        pace = Pace(self.final_seconds_of(best), each, setup, self.worker_seconds, slots, searched, self.widens)
        if self.budget.seconds is None:
            room = None
        elif now is None:
            room = final_room(self.budget.seconds, self.worker_seconds + pace.wide(ENOUGH_EPOCHS))
            if self.config.hypermodel is not None:
                room = min(room, CUSTOM_FINAL_SHARE * self.budget.seconds)
        else:
            room = max(0.0, self.training_ends_at(best) - now)
        return plan_final(self.config.search, pace, room, known)

    def training_ends_at(self, best: Trial | None) -> float:
        """When the final training has to end."""
        return self.budget.training_ends_at(self.export_seconds(best))

    def search_ends_at(self, best: Trial | None, slots: int = 1) -> float:
        """When the search has to end."""
        return self.budget.search_ends_at(self.final_plan(best, slots).seconds, self.export_seconds(best))

    def after_epochs(self, at: float) -> float:
        """When epochs under way have ended that are nearly done `at` a moment, by what the ones before them took."""
        found = at
        for running in self._running.values():
            each = running.epoch_seconds
            ends = running.epoch_ended + each
            if each and running.epoch < running.job.epochs and -SLACK * each <= ends - at <= NEARLY * each:
                found = max(found, ends + SLACK * each)
        return found

    def seconds_left(self, oracle: FeasibleOracle, best: Trial | None, slots: int, now: float) -> float | None:
        """Until the run is done; None while nothing is known yet."""
        if not self.pace.epochs:
            return None
        ahead = oracle.epochs_ahead()
        if ahead is None:
            return max(0.0, self.budget.ends_at - now)
        under_way = [self._seconds_left_of(running) for running in self._running.values()]
        last = (1 - 1 / slots) * self.config.search.epochs * self.pace.epoch_seconds / 2  # some slots are idle then
        search = side_by_side(sorted(under_way, reverse=True), slots)
        if ahead > 0:
            search = max(search, (sum(under_way) + ahead * self.seconds_per_epoch()) / slots + last)
        epochs_left = sum(running.job.epochs - running.epoch for running in self._running.values()) + ahead
        search_epochs = self.earlier_epochs + self.pace.epochs + epochs_left
        final = self.final_plan(best, slots, search_epochs=search_epochs).seconds
        export = self.export_seconds(best)
        return min(search + final + export, max(0.0, self.budget.ends_at - now))

    def final_seconds_left(self, ahead: Iterable[tuple[int, Trial]], best: Trial, slots: int, now: float) -> float:
        """Until the run is done, in its final training: what is under way, and so many epochs of these trials."""
        under_way = [self._seconds_left_of(running) for running in self._running.values()]
        wanted = [self.pace.setup_seconds + epochs * self.final_seconds_of(trial) for epochs, trial in ahead]
        training = side_by_side([*under_way, *wanted], slots)
        room = max(0.0, self.training_ends_at(best) - now)
        return min(training, room) + self.export_seconds(best)

    def _seconds_left_of(self, running: _Running) -> float:
        each = running.epoch_seconds or self.pace.epoch_seconds
        return (running.job.epochs - running.epoch) * each

    def seconds_per_epoch(self) -> float:
        """Of an epoch of a job that has not begun, its share of setting up included."""
        return self.pace.epoch_seconds + self.pace.jobs_setup_seconds / max(1, self.pace.epochs)


def _searched_seconds(trial: Trial) -> float:
    """How long the search trained what a trial's state holds."""
    return math.fsum(epoch.seconds for epoch in trial.epochs if epoch.number <= trial.epochs_done)


def _epoch_seconds(epochs: Sequence[Epoch]) -> float:
    """Of an epoch on average: the first one compiles."""
    later = epochs[1:] or epochs
    return sum(epoch.seconds for epoch in later) / len(later)
