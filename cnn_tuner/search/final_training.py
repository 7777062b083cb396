"""The finalists of a search trained to the end, each with several seeds as time allows, and the winner among them.

The first seed of a finalist is its own: it is trained on from where the search left it, so that what the search
measured is the least that it reaches. The other seeds begin anew, and tell how much of that was luck.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.runs.budget import EPOCHS_SHARE
from cnn_tuner.runs.records import Epoch, EpochEnded, Finalist, Job, JobDone, JobLost, JobRecord, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.finalists import choose_finalists, choose_winner
from cnn_tuner.search.forecast import Forecast, last_epoch
from cnn_tuner.search.jobs import MAX_ATTEMPTS, job_meant, next_job
from cnn_tuner.search.observer import Observer


@dataclass(frozen=True)
class Candidate:
    """The winner as it was left: the job that left its state, what that reached, and all epochs it was trained.

    `finalists` are all that it was chosen from; `seed` is the one whose weights it has.
    """

    trial: Trial
    job: Job
    result: Result
    epochs: int
    finalists: tuple[Finalist, ...]


@dataclass(frozen=True)
class _Training:
    """One finalist with one of its seeds: 0 is its own. `record` is what an earlier process began of it."""

    trial: Trial
    replicate: int
    record: JobRecord | None = None


class FinalTraining:
    """One process's part in it; what an earlier process began is gone on with."""

    def __init__(
        self,
        store: RunStore,
        executor: Executor,
        observer: Observer,
        forecast: Forecast,
        is_stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store, self.executor, self.observer = store, executor, observer
        self.forecast, self.is_stopping, self.clock = forecast, is_stopping, clock
        self.is_out_of_time = False
        self._jobs: dict[int, Job] = {}  # under way
        self._epochs_begun = 0
        self._settings = store.config.search

    def run(self, only: int | None = None) -> Candidate:
        """Trains the finalists and chooses the winner; or the trial of this number, which then is.

        Raises:
            SearchError: no trial has a score, or this one has none.
        """
        trials = self.store.trials()
        objective, (_, val_images, _) = self.store.config.objective, self.store.config.data.images
        entered = trials if only is None else [trial for trial in trials if trial.number == only]
        chosen = choose_finalists(entered, objective, val_images, self._settings.finalists)
        if not chosen:
            what = "no trial" if only is None else f"trial {only} has not"
            raise SearchError(f"{self.store.folder}: {what} completed an epoch, so there is nothing to export")
        if self.is_stopping():
            chosen = chosen[:1]
        else:
            self._train_all(chosen, sum(trial.epochs_done for trial in trials))
        finalists = {trial.number: self._finalist(trial) for trial in chosen}
        won = choose_winner(list(finalists.values()), objective, val_images)
        [trial] = [trial for trial in chosen if trial.number == won.trial]
        return self._candidate(trial, tuple(finalists.values()))

    def _train_all(self, chosen: list[Trial], search_epochs: int) -> None:
        seeds = range(self._settings.final_seeds)
        wanted = deque(_Training(trial, seed, self._earlier(trial, seed)) for seed in seeds for trial in chosen)
        earlier = [each.record for each in wanted if each.record is not None]
        self._epochs_begun = sum(record.epochs - record.initial_epoch for record in earlier)
        planned = sum(self._epochs_left(each) for each in wanted if self._is_wanted(each))
        seeds_text = f", with {len(seeds)} seeds as time allows" if len(seeds) > 1 else ""
        names = " ".join(str(trial.number) for trial in chosen)
        self.observer.phase(f"training trial{'s' if len(chosen) > 1 else ''} {names} to the end{seeds_text}", planned)
        while True:
            self._watch_the_time(chosen[0])
            self._tell_time_left(chosen[0], wanted)
            while wanted and len(self._jobs) < self.executor.slots:
                training = wanted.popleft()
                if self._is_wanted(training) and self._may_begin(training, chosen[0], search_epochs):
                    self._begin(training)
            if not self._jobs:
                return
            event = self.executor.next_event(self._seconds_to_wait(chosen[0]))
            job = job_meant(event, self._jobs)
            match event:
                case EpochEnded(epoch=epoch) if job is not None:
                    self._note_epoch(job, epoch)
                case JobLost(reason=reason) if job is not None:
                    self._retry_or_fail(job, reason)
                case JobDone(result) if job is not None:
                    self._end(result)

    def _tell_time_left(self, best: Trial, wanted: Iterable[_Training]) -> None:
        """As if all that is wanted were begun, as far as there is time for it; without a budget the search told it."""
        if self.forecast.budget.seconds is not None:
            ahead = [(self._epochs_left(each), each.trial) for each in wanted if self._is_wanted(each)]
            self.observer.time_left(self.forecast.final_seconds_left(ahead, best, self.executor.slots, self.clock()))

    def _watch_the_time(self, best: Trial) -> None:
        if not self.is_out_of_time and self.clock() >= self._ends_at(best):
            self.is_out_of_time = True
            self.executor.stop()

    def _ends_at(self, best: Trial) -> float:
        return self.forecast.budget.training_ends_at(self.forecast.export_seconds(best))

    def _seconds_to_wait(self, best: Trial) -> float | None:
        if self.forecast.budget.seconds is None or self.is_out_of_time:
            return None
        return max(0.0, self._ends_at(best) - self.clock())

    def _epochs_left(self, training: _Training) -> int:
        goal = last_epoch(training.trial, self._settings.final_epochs)
        if training.record is not None:
            done = self.store.epochs(training.record.number)
            return goal - (done[-1].number if done else training.record.initial_epoch)
        return goal - (training.trial.epochs_done if self._is_continued(training) else 0)

    def _is_continued(self, training: _Training) -> bool:
        return training.replicate == 0 and self._has_state(training.trial.state_job)

    def _is_wanted(self, training: _Training) -> bool:
        """Whether there is something left to train."""
        if training.record is not None:
            return training.record.status in ("running", "stopped")
        return self._epochs_left(training) > 0

    def _may_begin(self, training: _Training, best: Trial, search_epochs: int) -> bool:
        """Whether there is time for one more: the best trial's own seed is always trained on."""
        if self.is_stopping() or self.is_out_of_time:
            return False
        if training.trial is best and training.replicate == 0:
            return True
        if self.forecast.budget.seconds is None and training.record is not None:
            return True  # its epochs were allowed when it began
        epochs = self._epochs_left(training)
        if self.forecast.budget.seconds is None:
            return self._epochs_begun + epochs <= EPOCHS_SHARE * search_epochs
        # A finalist's own seed counts as far as it comes; another one only if it comes to its end.
        epochs = min(1, epochs) if self._is_continued(training) else epochs
        seconds = self.forecast.pace.setup_seconds + epochs * self.forecast.seconds_of(training.trial)
        return self.clock() + seconds <= self._ends_at(best)

    def _begin(self, training: _Training) -> None:
        if training.record is None:
            self._epochs_begun += self._epochs_left(training)
        record = self._record(training) if training.record is None else training.record
        job = next_job(self.store, training.trial, record, patience=self._settings.epochs)
        self._submit(job)

    def _record(self, training: _Training) -> JobRecord:
        """A new job, from the state that the search left or from the first epoch."""
        trial, is_continued = training.trial, self._is_continued(training)
        precision = {job.number: job.precision for job in self.store.jobs()} if is_continued else {}
        record = JobRecord(
            self.store.last_job() + 1,
            trial.number,
            None,
            trial.epochs_done if is_continued else 0,
            last_epoch(trial, self._settings.final_epochs),
            precision.get(trial.state_job or 0, self.store.precision or "float32"),
            started_at=time.time(),
            replicate=training.replicate,
        )
        self.store.start_job(record)
        return record

    def _submit(self, job: Job) -> None:
        self._jobs[job.number] = job
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
        self._submit(replace(job, attempt=job.attempt + 1))

    def _end(self, result: Result) -> None:
        job = self._jobs.pop(result.job)
        self.store.end_job(result)
        self.forecast.job_ended(job, result)
        self._drop_worse_states(job.trial)

    def _drop_worse_states(self, trial: int) -> None:
        """Of the seeds of a finalist only the best one's state can be needed, and those that may be gone on with."""
        ended = [record for record in self.store.final_jobs(trial).values() if record.number not in self._jobs]
        records = [record for record in ended if record.score is not None and self._counts(record)]
        for record in self._by_score(records)[1:]:
            self.store.state_file(record.number).unlink(missing_ok=True)

    def _by_score(self, records: list[JobRecord]) -> list[JobRecord]:
        sign = -1 if self.store.config.objective.direction == "max" else 1
        return sorted(records, key=lambda record: (sign * float(record.score or 0.0), record.replicate))

    def _earlier(self, trial: Trial, replicate: int) -> JobRecord | None:
        """What an earlier process began or ended, if it still counts: not if it was to end before the present goal."""
        last = self.store.final_jobs(trial.number).get(replicate)
        if last is None or last.status == "failed":
            return None
        epochs = self.store.epochs(last.number)
        was_cut = last.status == "completed" and bool(epochs) and epochs[-1].number == last.epochs
        return None if was_cut and last.epochs < last_epoch(trial, self._settings.final_epochs) else last

    def _has_state(self, job: int | None) -> bool:
        return job is not None and self.store.state_file(job).is_file()

    def _finalist(self, trial: Trial) -> Finalist:
        """A finalist with the score of each seed; a seed that was cut short counts only if it is the trial's own."""
        records = self.store.final_jobs(trial.number)
        own = records.pop(0, None)
        first = trial.score if own is None or own.score is None else own.score
        others = [r.score for _, r in sorted(records.items()) if r.status == "completed" and r.score is not None]
        return Finalist(trial.number, trial.params, float(trial.score or 0.0), (float(first or 0.0), *others))

    def _candidate(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """The winner with the weights of its best seed, trained once more where their state was lost."""
        records = [r for r in self.store.final_jobs(trial.number).values() if r.score is not None and self._counts(r)]
        best = self._by_score(records)[0] if records else None
        is_better = best is not None and self.store.config.objective.is_better(float(best.score or 0.0), trial.score)
        if best is None or (best.replicate != 0 and not is_better and self._has_state(trial.state_job)):
            return self._as_searched(trial, finalists)
        job = next_job(self.store, trial, best, patience=self._settings.epochs)
        if not self._has_state(best.number):
            self._train_again(job)
        epochs = self.store.epochs(best.number)
        last = epochs[-1].number if epochs else best.initial_epoch
        return Candidate(trial, job, best.result(), last, finalists)

    def _counts(self, record: JobRecord) -> bool:
        return record.status == "completed" or record.replicate == 0

    def _train_again(self, job: Job) -> None:
        self._submit(job)
        while self._jobs:
            event = self.executor.next_event()
            if isinstance(event, JobDone) and event.result.status != "completed":
                again = f"while its lost state was trained again: {event.result.message or event.result.status}"
                raise SearchError(f"trial {job.trial}: {again}; cnn-tuner resume goes on")
            if isinstance(event, JobDone):
                self._jobs.pop(event.result.job)
            elif isinstance(event, JobLost):
                raise SearchError(f"trial {job.trial}: {event.reason}, while its lost state was trained again")

    def _as_searched(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """A trial as the search left it."""
        [record] = [job for job in self.store.jobs() if job.number == trial.state_job]
        result = Result(record.number, trial.status, trial.score, trial.best_epoch, (), 0.0)
        job = next_job(self.store, trial, record)
        if not self._has_state(record.number):
            self._train_again(job)
        return Candidate(trial, job, result, trial.epochs_done, finalists)
