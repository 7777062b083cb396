"""The jobs of a final training: one process trains them on its executor, keeps to the time and tells the store."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.runs.records import REFIT, Epoch, EpochEnded, Job, JobDone, JobLost, JobPlaced, JobRecord, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.final_scores import FinalScores
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import MAX_ATTEMPTS, job_meant, next_job
from cnn_tuner.search.observer import Observer


@dataclass(frozen=True)
class Training:
    """One finalist with one of its seeds: 0 is its own. `record` is what an earlier process began of it."""

    trial: Trial
    replicate: int
    record: JobRecord | None = None


class FinalJobs:
    """Those of one process. `goal` are the epochs at which a new one ends, `begun` how many of them are there already;
    `ends_at` is when all have to have ended, `takes` how many seconds a training of each finalist takes, by its number.
    """

    def __init__(
        self,
        store: RunStore,
        executor: Executor,
        observer: Observer,
        forecast: Forecast,
        is_stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.store, self.executor, self.observer = store, executor, observer
        self.forecast, self.is_stopping, self.clock = forecast, is_stopping, clock
        self.is_out_of_time = False
        self.goal, self.begun = store.config.search.final_epochs, 0
        self.ends_at = math.inf
        self.takes: dict[int, float] = {}
        self.under_way: dict[int, Job] = {}
        self.scores = FinalScores(store, self.under_way.keys())
        self._due: dict[int, float] = {}  # when each of them should have ended
        self._over: dict[int, float] = {}  # when the time of each is over that is given some

    def train(self, wanted: deque[Training], best: Trial, seconds: float | None) -> None:
        while True:
            self._watch_the_time()
            self._tell_time_left(best, wanted)
            while wanted and len(self.under_way) < self.executor.slots:
                training = wanted.popleft()
                if self._is_wanted(training) and self._may_begin(training, seconds):
                    self._begin(training, seconds)
            if not self.under_way:
                return
            event = self.executor.next_event(self._seconds_to_wait())
            job = job_meant(event, self.under_way)
            match event:
                case JobPlaced(where=where) if job is not None:
                    self.store.place_job(job.number, where)
                    self.observer.job_placed(job.trial, where)
                case EpochEnded(epoch=epoch) if job is not None:
                    self._note_epoch(job, epoch)
                case JobLost(reason=reason) if job is not None:
                    self._retry_or_fail(job, reason)
                case JobDone(result) if job is not None:
                    self._end(result)

    def _tell_time_left(self, best: Trial, wanted: Iterable[Training]) -> None:
        """As if all that is wanted were begun; without a budget the search told it."""
        if self.forecast.budget.seconds is not None:
            ahead = [(self.epochs_left(each), each.trial) for each in wanted]
            self.observer.time_left(self.forecast.final_seconds_left(ahead, best, self.executor.slots, self.clock()))

    def _watch_the_time(self) -> None:
        if not self.is_out_of_time and self.clock() >= self.ends_at:
            self.is_out_of_time = True
            self.executor.stop()

    def _seconds_to_wait(self) -> float | None:
        if self.forecast.budget.seconds is None or self.is_out_of_time:
            return None
        return max(0.0, self.ends_at - self.clock())

    def epochs_left(self, training: Training) -> int:
        if not self._is_wanted(training):
            return 0
        if training.record is None:
            return self.goal - self.begun
        done = self.store.epochs(training.record.number)
        return training.record.epochs - (done[-1].number if done else training.record.initial_epoch)

    def _is_wanted(self, training: Training) -> bool:
        """Whether there is something left to train."""
        return training.record is None or training.record.status in ("running", "stopped")

    def _may_begin(self, training: Training, seconds: float | None) -> bool:
        """Whether there is time for one more, and for a refit after it; the first one always is trained."""
        if self.is_stopping() or self.is_out_of_time:
            return False
        is_first, takes = not self.takes, self._seconds_of(training.trial)
        if is_first or seconds is not None or training.record is not None or training.replicate == REFIT:
            return True
        ends = max([*self._due.values(), self.clock() + takes])
        refits = self.store.config.search.refits
        refit = max([*self.takes.values(), takes]) if refits else 0.0  # of whichever will have won
        return ends + refit <= self.ends_at

    def _seconds_of(self, trial: Trial) -> float:
        """What a training of this finalist takes: as long as one that ended, or by the pace of the search."""
        known = self.takes.get(trial.number)
        if known is None:
            epochs = self.goal - self.begun
            known = self.forecast.pace.setup_seconds + epochs * self.forecast.final_seconds_of(trial)
        return known

    def _begin(self, training: Training, seconds: float | None) -> None:
        record = self._record(training) if training.record is None else training.record
        takes = self.takes[training.trial.number] = self._seconds_of(training.trial)
        self._due[record.number] = self.clock() + takes
        job, before = next_job(self.store, training.trial, record), self.clock()
        self.train_again(self.scores.lost_base(job))
        if seconds is not None:
            seconds -= self.clock() - before
        self._submit(job, seconds)

    def _record(self, training: Training) -> JobRecord:
        """A new job, from where all of them begin."""
        record = JobRecord(
            self.store.last_job() + 1,
            training.trial.number,
            None,
            self.begun,
            self.goal,
            self.store.precision or "float32",
            started_at=time.time(),
            replicate=training.replicate,
        )
        self.store.start_job(record)
        return record

    def _submit(self, job: Job, seconds: float | None = None) -> None:
        if seconds is not None:
            job = replace(job, seconds=max(1.0, seconds))
            self._over[job.number] = self.clock() + seconds
        self.under_way[job.number] = job
        self.forecast.job_began(job, self.clock())
        self.executor.submit(job)
        if self.is_stopping():  # asked for while the job was on its way: it has not heard
            self.executor.stop()

    def _note_epoch(self, job: Job, epoch: Epoch) -> None:
        self.store.add_epoch(job.number, epoch)
        self.forecast.epoch_ended(job, epoch, self.clock())
        self.observer.epoch_ended(job.trial, epoch)

    def _retry_or_fail(self, job: Job, reason: str) -> None:
        if job.attempt >= MAX_ATTEMPTS or self.is_stopping() or self.is_out_of_time:
            self._end(Result(job.number, "failed", None, None, (), 0.0, reason, job.attempt))
            return
        self.store.lose_job(job.number)
        self.observer.job_lost(job.trial, reason)
        over = self._over.get(job.number)
        left = None if over is None else over - self.clock() - self.forecast.worker_seconds  # of a new worker
        self._submit(replace(job, attempt=job.attempt + 1), left)

    def _end(self, result: Result) -> None:
        job = self.under_way.pop(result.job)
        if not result.epochs:  # what it grew from may have had a score
            result = replace(result, score=None, best_epoch=None)
        self.store.end_job(result)
        self.forecast.job_ended(job, result)
        self._due.pop(result.job, None)
        self._over.pop(result.job, None)
        if result.status == "completed":
            self.takes[job.trial] = result.seconds
        elif result.status == "failed":
            self.takes.pop(job.trial, None)
        if not job.with_val:
            self.scores.drop_worse_states(job.trial)

    def train_again(self, job: Job | None) -> None:
        """Trains an ended job once more, if there is one whose state was lost; no other is under way then."""
        if job is None:
            return
        self.train_again(self.scores.lost_base(job))
        self._submit(job)
        while self.under_way:
            event = self.executor.next_event()
            if isinstance(event, JobDone) and event.result.status != "completed":
                again = f"while its lost state was trained again: {event.result.message or event.result.status}"
                raise SearchError(f"trial {job.trial}: {again}; cnn-tuner resume goes on")
            if isinstance(event, JobDone):
                self.forecast.job_ended(self.under_way.pop(event.result.job), event.result)
            elif isinstance(event, JobLost):
                raise SearchError(f"trial {job.trial}: {event.reason}, while its lost state was trained again")
