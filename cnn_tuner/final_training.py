"""The best trial of a search trained on, from where the search left it, until its objective has stopped improving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.executor import Executor
from cnn_tuner.observer import Observer
from cnn_tuner.records import EpochEnded, Job, JobDone, JobLost, JobRecord, Precision, Result, Trial
from cnn_tuner.search import MAX_ATTEMPTS, job_of
from cnn_tuner.store import RunStore
from cnn_tuner.tensorboard import BEST, RunLogs


@dataclass(frozen=True)
class Candidate:
    """The best trial as it was left: the job that left its state, what that reached, and all epochs it was trained."""

    trial: Trial
    job: Job
    result: Result
    epochs: int


class FinalTraining:
    """One process's part in it; a final training that an earlier process began is gone on with."""

    def __init__(
        self, store: RunStore, executor: Executor, logs: RunLogs, observer: Observer, is_stopping: Callable[[], bool]
    ) -> None:
        self.store, self.executor, self.logs, self.observer = store, executor, logs, observer
        self.is_stopping = is_stopping

    def run(self) -> Candidate:
        """Trains at most to `final_epochs`, and no longer than the search's `epochs` without a better objective.

        Since the trial is continued, what the search measured is the least that it reaches.

        Raises:
            SearchError: no trial has a score.
        """
        best = self.store.best_trial()
        if best is None:
            raise SearchError(f"{self.store.folder}: no trial completed an epoch, so there is nothing to export")
        last = self._earlier(best)
        if last is not None and last.status == "completed":
            return self._as_trained(best, last)
        is_enough = self.is_stopping() or best.epochs_done >= self.store.config.search.final_epochs
        if is_enough and self._has_state(best.state_job):
            return self._as_searched(best) if last is None else self._as_trained(best, last)
        return self._as_trained(best, self._train(best, last))

    def _earlier(self, best: Trial) -> JobRecord | None:
        """The final training that an earlier process began or ended, if it still counts."""
        last = self.store.final_job(best.number)
        if last is None or last.status == "failed":
            return None
        if last.ended is not None and not self._has_state(last.number):
            return None  # it is trained once more, to the same result
        epochs = self.store.epochs(last.number)
        was_cut = last.status == "completed" and bool(epochs) and epochs[-1].number == last.epochs
        return None if was_cut and last.epochs < self.store.config.search.final_epochs else last

    def _has_state(self, job: int | None) -> bool:
        return job is not None and self.store.state_file(job).is_file()

    def _as_searched(self, best: Trial) -> Candidate:
        """The best trial as the search left it."""
        [record] = [job for job in self.store.jobs() if job.number == best.state_job]
        result = Result(record.number, best.status, best.score, best.best_epoch, (), 0.0)
        return Candidate(best, job_of(self.store, best, record), result, best.epochs_done)

    def _as_trained(self, best: Trial, final: JobRecord) -> Candidate:
        """The best trial after its final training; as the search left it, where that failed or was stopped at once."""
        epochs = self.store.epochs(final.number)
        if final.score is None or not epochs:
            return self._as_searched(best)
        return Candidate(best, job_of(self.store, best, final), final.result(), epochs[-1].number)

    def _train(self, best: Trial, earlier: JobRecord | None) -> JobRecord:
        record = self._begin(best) if earlier is None else earlier
        settings = self.store.config.search
        self.observer.phase(f"training trial {best.number} to the end", record.epochs)
        job = job_of(self.store, best, record, patience=settings.epochs)
        before = [epoch for epoch in best.epochs if epoch.number <= record.initial_epoch]
        while True:
            self.logs.rewrite(BEST, before)
            event = self._outcome(job, best)
            if isinstance(event, JobDone):
                self.store.end_job(event.result)
                break
            if job.attempt >= MAX_ATTEMPTS or self.is_stopping():
                self.store.end_job(Result(job.number, "failed", None, None, (), 0.0, event.reason))
                break
            self.store.lose_job(job.number)
            self.observer.job_lost(best.number, event.reason)
            job = replace(job, attempt=job.attempt + 1)
        return next(each for each in self.store.jobs() if each.number == job.number)

    def _begin(self, best: Trial) -> JobRecord:
        """A new final training, from the state that the search left or, without one, from the first epoch."""
        precision: dict[int | None, Precision] = {job.number: job.precision for job in self.store.jobs()}
        record = JobRecord(
            self.store.last_job() + 1,
            best.number,
            None,
            best.epochs_done if self._has_state(best.state_job) else 0,
            max(self.store.config.search.final_epochs, best.epochs_done),
            precision.get(best.state_job, self.store.precision or "float32"),
            started_at=time.time(),
        )
        self.store.start_job(record)
        return record

    def _outcome(self, job: Job, best: Trial) -> JobDone | JobLost:
        """What becomes of one attempt."""
        self.executor.submit(job)
        if self.is_stopping():  # asked for while the job was on its way: it has not heard
            self.executor.stop()
        while True:
            event = self.executor.next_event()
            if not isinstance(event, EpochEnded):
                return event
            self.logs.epoch(BEST, event.epoch)
            self.store.add_epoch(event.job, event.epoch)
            self.observer.epoch_ended(best.number, event.epoch)
