"""The finalists of a search trained to the end of their learning rate, the winner among them, and its refit.

Each begins anew: what the search trained had no end in sight. A finalist's first seed is its own; others tell how much
of a score was luck. The winner is then trained once more, with the same recipe and as many batches, on the training
and validation part together; its score is that of its twin, which was trained on the training part alone.

In little time one finalist goes on where the search left it: as a trunk, from which twin and refit grow.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.runs.records import (
    REFIT,
    REFIT_DONE,
    TRUNK,
    Epoch,
    EpochEnded,
    Finalist,
    Job,
    JobDone,
    JobLost,
    JobRecord,
    Result,
    Trial,
)
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.candidate import Candidate
from cnn_tuner.search.final_plan import WORTH_A_START, FinalPlan, gain_of
from cnn_tuner.search.final_scores import FinalScores
from cnn_tuner.search.finalists import choose_finalists, choose_winner
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import MAX_ATTEMPTS, job_meant, next_job
from cnn_tuner.search.observer import Observer

MOST_OF_A_JOB = 0.8  # of the time of its twin does a refit need, whose rate then ends with the time
ENDING_SECONDS = 1.5  # that a job takes to hand over what it trained, after the time that it keeps to
LOSS_FACTOR, LOSS_SLACK = 1.1, 0.02  # so much more may the training loss of a refit be than its twin's


@dataclass(frozen=True)
class _Training:
    """One finalist with one of its seeds: 0 is its own. `record` is what an earlier process began of it."""

    trial: Trial
    replicate: int
    record: JobRecord | None = None


class FinalTraining:
    """One process's part in it; what an earlier process began is gone on with.

    `widen` hands over an executor in the place of this one, with one slot that has the cores of all; `outcomes` tells
    what each validation image adds to a trained job's score.
    """

    def __init__(
        self,
        store: RunStore,
        executor: Executor,
        observer: Observer,
        forecast: Forecast,
        is_stopping: Callable[[], bool],
        widen: Callable[[], Executor] | None = None,
        clock: Callable[[], float] = time.monotonic,
        outcomes: Callable[[Job], np.ndarray | None] = lambda job: None,
    ) -> None:
        self.store, self.executor, self.observer = store, executor, observer
        self.forecast, self.is_stopping, self.widen, self.clock = forecast, is_stopping, widen, clock
        self.outcomes = outcomes
        self.is_out_of_time = False
        self._jobs: dict[int, Job] = {}  # under way
        self._scores = FinalScores(store, self._jobs.keys())
        self._due: dict[int, float] = {}  # when each of them should have ended
        self._settings = store.config.search
        self._goal, self._begun = self._settings.final_epochs, 0  # epochs, and how many of them are there already
        self._is_timed = False
        self._ends_at = math.inf
        self._takes: dict[int, float] = {}  # seconds of a training of each finalist, by its number

    def run(self, only: int | None = None) -> Candidate:
        """Trains the finalists, chooses the winner and trains it again; or the trial of this number, which then is.

        Raises:
            SearchError: no trial has a score, or this one has none.
        """
        trials = self.store.trials()
        objective, images = self.store.config.objective, self.store.config.data.images
        entered = trials if only is None else [trial for trial in trials if trial.number == only]
        prefer = self._settings.prefer
        chosen = choose_finalists(entered, objective, images[1], self._settings.finalists, prefer)
        if not chosen:
            what = "no trial" if only is None else f"trial {only} has not"
            raise SearchError(f"{self.store.folder}: {what} completed an epoch, so there is nothing to export")
        # Once, by what the search measured: the jobs that end their course by then were told so when they began.
        self._ends_at = self.forecast.budget.training_ends_at(self.forecast.export_seconds(chosen[0]))
        epochs = sum(trial.epochs_done for trial in trials)
        plan = self.forecast.final_plan(chosen[0], self.executor.slots, self.clock(), epochs)
        has_rounds = self.forecast.budget.seconds is not None and not plan.is_timed
        most = self._settings.finalists if has_rounds else plan.finalists
        chosen = chosen[: 1 if self.is_stopping() else most]
        if not self.is_stopping():
            self._train_finalists(chosen, plan)
        # What the search reached says little beside what was trained to the end.
        chosen = [trial for trial in chosen if self._scores.scored(trial.number)] or chosen
        won = choose_winner(self._scores.comparable(chosen), objective, images[1], prefer, self._outcomes)
        [trial] = [trial for trial in chosen if trial.number == won.trial]
        twin = self._twin(trial, tuple(map(self._scores.finalist, chosen)))
        return self._refitted(twin, plan)

    def _outcomes(self, finalist: Finalist) -> np.ndarray | None:
        """Of its best seed on the validation images, where its state was kept."""
        twins = self._scores.twins(finalist.trial)
        if not twins or not self._scores.has_state(twins[0].number):
            return None
        [trial] = [trial for trial in self.store.trials() if trial.number == finalist.trial]
        return self.outcomes(next_job(self.store, trial, twins[0]))

    def _train_finalists(self, chosen: list[Trial], plan: FinalPlan) -> None:
        starting, self._is_timed = 0.0, plan.is_timed
        if plan.is_wide and self.widen is not None and self.executor.slots > 1:
            self.executor, starting = self.widen(), self.forecast.startup_seconds
        if plan.is_timed and len(chosen) == 1 and self._grow_trunk(chosen[0], plan):
            starting = 0.0
        self._goal = self._begun + plan.epochs
        has_rounds = self.forecast.budget.seconds is not None and not plan.is_timed
        seeds = range(self._settings.final_seeds if has_rounds else plan.seeds)
        wanted = deque(_Training(trial, seed, self._earlier(trial, seed)) for seed in seeds for trial in chosen)
        planned = sum(self._epochs_left(each) for each in wanted)
        as_time_allows = " as time allows" if has_rounds and (len(chosen), len(seeds)) != (1, 1) else ""
        seeds_text = (f", with {len(seeds)} seeds" if len(seeds) > 1 else "") + as_time_allows
        names = " ".join(str(trial.number) for trial in chosen)
        self.observer.phase(f"training trial{'s' if len(chosen) > 1 else ''} {names} to the end{seeds_text}", planned)
        seconds = self._seconds_each(1 + plan.refits, starting) if plan.is_timed else None
        self._train(wanted, chosen[0], seconds)

    def _grow_trunk(self, trial: Trial, plan: FinalPlan) -> bool:
        """Has one finalist begin where the search left it and a trunk went on, if its state is there.

        Returns whether the trunk was trained now, and not by an earlier process.
        """
        scores, is_new = self._scores, False
        twin, trunk = scores.of_this_search(trial, 0), scores.of_this_search(trial, TRUNK)
        if twin is not None:
            self._begun = twin.initial_epoch
        elif trunk is not None or (plan.trunk_seconds and scores.has_state(trial.state_job)):
            self._begun, self._goal = trial.epochs_done, trial.epochs_done + plan.epochs
            if trunk is None or trunk.status != "completed":
                is_new, seconds = True, plan.trunk_seconds - scores.trained_seconds(trunk)
                self.observer.phase(f"training trial {trial.number} on", plan.epochs)
                self._train(deque([_Training(trial, TRUNK, trunk)]), trial, seconds)
                self._takes.clear()  # it tells nothing of what follows
                trunk = scores.of_this_search(trial, TRUNK)
            has_ended = trunk is not None and trunk.status == "completed"
            self._begun = self.store.epochs(trunk.number)[-1].number if trunk is not None and has_ended else 0
        return is_new

    def _seconds_each(self, jobs: int, starting: float = 0.0) -> float | None:
        """How long each of so many jobs may take, one after the other, once the workers have started."""
        left = self._ends_at - self.clock() - starting
        return None if math.isinf(left) else max(1.0, left / jobs - ENDING_SECONDS)

    def _train(self, wanted: deque[_Training], best: Trial, seconds: float | None) -> None:
        while True:
            self._watch_the_time()
            self._tell_time_left(best, wanted)
            while wanted and len(self._jobs) < self.executor.slots:
                training = wanted.popleft()
                if self._is_wanted(training) and self._may_begin(training, seconds):
                    self._begin(training, seconds)
            if not self._jobs:
                return
            event = self.executor.next_event(self._seconds_to_wait())
            job = job_meant(event, self._jobs)
            match event:
                case EpochEnded(epoch=epoch) if job is not None:
                    self._note_epoch(job, epoch)
                case JobLost(reason=reason) if job is not None:
                    self._retry_or_fail(job, reason)
                case JobDone(result) if job is not None:
                    self._end(result)

    def _tell_time_left(self, best: Trial, wanted: Iterable[_Training]) -> None:
        """As if all that is wanted were begun; without a budget the search told it."""
        if self.forecast.budget.seconds is not None:
            ahead = [(self._epochs_left(each), each.trial) for each in wanted]
            self.observer.time_left(self.forecast.final_seconds_left(ahead, best, self.executor.slots, self.clock()))

    def _watch_the_time(self) -> None:
        if not self.is_out_of_time and self.clock() >= self._ends_at:
            self.is_out_of_time = True
            self.executor.stop()

    def _seconds_to_wait(self) -> float | None:
        if self.forecast.budget.seconds is None or self.is_out_of_time:
            return None
        return max(0.0, self._ends_at - self.clock())

    def _epochs_left(self, training: _Training) -> int:
        if not self._is_wanted(training):
            return 0
        if training.record is None:
            return self._goal - self._begun
        done = self.store.epochs(training.record.number)
        return training.record.epochs - (done[-1].number if done else training.record.initial_epoch)

    def _is_wanted(self, training: _Training) -> bool:
        """Whether there is something left to train."""
        return training.record is None or training.record.status in ("running", "stopped")

    def _may_begin(self, training: _Training, seconds: float | None) -> bool:
        """Whether there is time for one more, and for a refit after it; the first one always is trained."""
        if self.is_stopping() or self.is_out_of_time:
            return False
        is_first, takes = not self._takes, self._seconds_of(training.trial)
        if is_first or seconds is not None or training.record is not None or training.replicate == REFIT:
            return True
        ends = max([*self._due.values(), self.clock() + takes])
        refit = max([*self._takes.values(), takes]) if self._settings.refits else 0.0  # of whichever will have won
        return ends + refit <= self._ends_at

    def _seconds_of(self, trial: Trial) -> float:
        """What a training of this finalist takes: as long as one that ended, or by the pace of the search."""
        known = self._takes.get(trial.number)
        if known is None:
            epochs = self._goal - self._begun
            known = self.forecast.pace.setup_seconds + epochs * self.forecast.final_seconds_of(trial)
        return known

    def _begin(self, training: _Training, seconds: float | None) -> None:
        record = self._record(training) if training.record is None else training.record
        takes = self._takes[training.trial.number] = self._seconds_of(training.trial)
        self._due[record.number] = self.clock() + takes
        job, before = next_job(self.store, training.trial, record), self.clock()
        self._train_again(self._scores.lost_base(job))
        if seconds is not None:  # of what an earlier process began the job counts all seconds
            seconds = max(1.0, seconds - (self.clock() - before)) + self._scores.trained_seconds(record)
        self._submit(replace(job, seconds=seconds))

    def _record(self, training: _Training) -> JobRecord:
        """A new job, from where all of them begin."""
        record = JobRecord(
            self.store.last_job() + 1,
            training.trial.number,
            None,
            self._begun,
            self._goal,
            self.store.precision or "float32",
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
        if not result.epochs:  # what it grew from may have had a score
            result = replace(result, score=None, best_epoch=None)
        self.store.end_job(result)
        self.forecast.job_ended(job, result)
        self._due.pop(result.job, None)
        if result.status == "completed":
            self._takes[job.trial] = result.seconds
        elif result.status == "failed":
            self._takes.pop(job.trial, None)
        if not job.with_val:
            self._scores.drop_worse_states(job.trial)

    def _earlier(self, trial: Trial, replicate: int) -> JobRecord | None:
        """What an earlier process began or ended, if it still counts: not if it was to end before the present goal."""
        if self._is_timed:
            last = self._scores.of_this_search(trial, replicate)
            return last if last is not None and last.initial_epoch == self._begun else None
        last = self.store.final_jobs(trial.number).get(replicate)
        if last is None or last.status == "failed" or last.initial_epoch:
            return None
        return None if last.status == "completed" and last.epochs < self._goal else last

    def _twin(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """The winner with the weights of its best seed, trained once more where their state was lost."""
        twins = self._scores.twins(trial.number)
        best = twins[0] if twins else None
        is_worse = best is not None and self.store.config.objective.is_better(float(trial.score or 0.0), best.score)
        if best is None or (best.status != "completed" and is_worse and self._scores.has_state(trial.state_job)):
            return self._as_searched(trial, finalists)
        job = next_job(self.store, trial, best)
        if not self._scores.has_state(best.number):
            self._train_again(job)
        epochs = self.store.epochs(best.number)
        last = epochs[-1].number if epochs else best.epochs
        reason = "" if best.status == "completed" else "its own training was cut short"
        return Candidate(trial, job, job, best.result(), last, finalists, reason)

    def _refitted(self, twin: Candidate, plan: FinalPlan) -> Candidate:
        """The winner trained on train and validation too; the twin itself where that cannot be had or went wrong."""
        if not self._settings.refits:
            return replace(twin, refit="not asked for")
        if twin.refit or self.is_stopping():
            return replace(twin, refit=twin.refit or "this run was interrupted")
        records = self.store.final_jobs(twin.trial.number)
        [own] = [record for record in records.values() if record.number == twin.job.number]
        self._goal, self._begun = own.epochs, own.initial_epoch
        earlier = records.get(REFIT)
        is_of_twin = earlier is not None and earlier.number > own.number and earlier.epochs == own.epochs
        if earlier is not None and (earlier.status == "failed" or not is_of_twin):
            earlier = None
        needs_time = earlier is None or earlier.status != "completed"
        if needs_time and not self._has_time(plan, own):
            return replace(twin, refit="the budget leaves no time for it")
        starting = 0.0
        if needs_time and self.widen is not None and self._is_worth_widening(own):
            self.executor, starting = self.widen(), self.forecast.startup_seconds
        self.observer.phase(f"training trial {twin.trial.number} again, on train and validation", self._goal)
        seconds = self._seconds_each(1, starting)
        self._train(deque([_Training(twin.trial, REFIT, earlier)]), twin.trial, seconds)
        refit = self.store.final_jobs(twin.trial.number).get(REFIT)
        if refit is None or refit.status != "completed":
            why = "" if refit is None else refit.message
            return replace(twin, refit=f"it did not end{f': {why}' if why else ' in time'}")
        return self._checked(twin, refit)

    def _has_time(self, plan: FinalPlan, own: JobRecord) -> bool:
        """Whether most of a job like this one fits in; where jobs are planned one after the other, half of it."""
        left, takes = self._ends_at - self.clock(), own.seconds
        if self._is_worth_widening(own):
            takes = self.forecast.startup_seconds + own.seconds / gain_of(self.executor.slots)
        return left >= takes * (0.5 if plan.is_timed and plan.refits else MOST_OF_A_JOB)

    def _is_worth_widening(self, own: JobRecord) -> bool:
        """Whether a refit, which has no other job beside it, gains more by all cores than a new worker's start takes.

        `own` is its twin, which had those of one worker.
        """
        is_long = own.seconds > WORTH_A_START * self.forecast.startup_seconds
        return is_long and self.widen is not None and self.executor.slots > 1

    def _checked(self, twin: Candidate, refit: JobRecord) -> Candidate:
        """The refit, if its training loss ended about where the twin's did."""
        losses = [self.store.epochs(number)[-1].metrics["loss"] for number in (refit.number, twin.job.number)]
        if losses[0] > LOSS_FACTOR * losses[1] + LOSS_SLACK:
            told = f"its training loss ended at {losses[0]:.4g}, that of its twin at {losses[1]:.4g}"
            return replace(twin, refit=told)
        job = next_job(self.store, twin.trial, refit)
        if not self._scores.has_state(refit.number):
            self._train_again(job)
        return replace(twin, job=job, refit=REFIT_DONE)

    def _train_again(self, job: Job | None) -> None:
        """Trains an ended job once more, if there is one whose state was lost; no other is under way then."""
        if job is None:
            return
        self._train_again(self._scores.lost_base(job))
        self._submit(job)
        while self._jobs:
            event = self.executor.next_event()
            if isinstance(event, JobDone) and event.result.status != "completed":
                again = f"while its lost state was trained again: {event.result.message or event.result.status}"
                raise SearchError(f"trial {job.trial}: {again}; cnn-tuner resume goes on")
            if isinstance(event, JobDone):
                self.forecast.job_ended(self._jobs.pop(event.result.job), event.result)
            elif isinstance(event, JobLost):
                raise SearchError(f"trial {job.trial}: {event.reason}, while its lost state was trained again")

    def _as_searched(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """A trial as the search left it."""
        [record] = [job for job in self.store.jobs() if job.number == trial.state_job]
        result = Result(record.number, trial.status, trial.score, trial.best_epoch, (), 0.0)
        job = next_job(self.store, trial, record)
        if not self._scores.has_state(record.number):
            self._train_again(job)
        return Candidate(trial, job, job, result, trial.epochs_done, finalists, "it was not trained to the end")
