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
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.runs.records import (
    AS_SEARCHED,
    CUT_SHORT,
    REFIT,
    REFIT_DONE,
    TRUNK,
    Epoch,
    Finalist,
    Job,
    JobRecord,
    Result,
    Trial,
)
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.candidate import Candidate
from cnn_tuner.search.final_jobs import FinalJobs, Training
from cnn_tuner.search.final_plan import WORTH_A_START, FinalPlan, gain_of
from cnn_tuner.search.finalists import choose_finalists, choose_winner
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import next_job
from cnn_tuner.search.observer import Observer

MOST_OF_A_JOB = 0.8  # of the time of its twin does a refit need, whose rate then ends with the time
ENDING_SECONDS = 1.5  # that a job takes to hand over what it trained, after the time that it keeps to
LOSS_FACTOR, LOSS_SLACK = 1.1, 0.02  # so much more may the training loss of a refit be than its twin's


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
        self.store, self.observer, self.forecast = store, observer, forecast
        self.is_stopping, self.widen, self.clock, self.outcomes = is_stopping, widen, clock, outcomes
        self._jobs = FinalJobs(store, executor, observer, forecast, is_stopping, clock)
        self._scores = self._jobs.scores
        self._settings = store.config.search
        self._is_timed = False

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
        self._jobs.ends_at = self.forecast.training_ends_at(chosen[0])
        epochs = sum(trial.epochs_done for trial in trials)
        plan = self.forecast.final_plan(chosen[0], self._jobs.executor.slots, self.clock(), epochs)
        has_rounds = self.forecast.budget.seconds is not None and not plan.is_timed
        most = self._settings.finalists if has_rounds else plan.finalists
        chosen = chosen[: 1 if self.is_stopping() else most]
        if not self.is_stopping():
            self._train_finalists(chosen, plan)
        # What the search reached says little beside what was trained to the end, now or by an earlier process.
        others = [trial for trial in entered if trial not in chosen and self._scores.is_kept(trial.number)]
        chosen = [trial for trial in [*chosen, *others] if self._scores.scored(trial.number)] or chosen
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
        if plan.is_wide and self.widen is not None and self._jobs.executor.slots > 1:
            self._jobs.executor, starting = self.widen(), self.forecast.worker_seconds
        if plan.is_timed and len(chosen) == 1 and self._grow_trunk(chosen[0], plan):
            starting = 0.0
        self._jobs.goal = self._jobs.begun + plan.epochs
        has_rounds = self.forecast.budget.seconds is not None and not plan.is_timed
        seeds = range(self._settings.final_seeds if has_rounds else plan.seeds)
        wanted = deque(Training(trial, seed, self._earlier(trial, seed)) for seed in seeds for trial in chosen)
        planned = sum(self._jobs.epochs_left(each) for each in wanted)
        as_time_allows = " as time allows" if has_rounds and (len(chosen), len(seeds)) != (1, 1) else ""
        seeds_text = (f", with {len(seeds)} seeds" if len(seeds) > 1 else "") + as_time_allows
        names = " ".join(str(trial.number) for trial in chosen)
        self.observer.phase(f"training trial{'s' if len(chosen) > 1 else ''} {names} to the end{seeds_text}", planned)
        seconds = self._seconds_each(1 + plan.refits, starting) if plan.is_timed else None
        self._jobs.train(wanted, chosen[0], seconds)

    def _grow_trunk(self, trial: Trial, plan: FinalPlan) -> bool:
        """Has one finalist begin where the search left it and a trunk went on, if its state is there.

        Returns whether the trunk was trained now, and not by an earlier process.
        """
        scores, is_new = self._scores, False
        twin, trunk = scores.of_this_search(trial, 0), scores.of_this_search(trial, TRUNK)
        if twin is not None:
            self._jobs.begun = twin.initial_epoch
        elif trunk is not None or (plan.trunk_seconds and scores.has_state(trial.state_job)):
            self._jobs.begun, self._jobs.goal = trial.epochs_done, trial.epochs_done + plan.epochs
            if trunk is None or trunk.status != "completed":
                is_new, seconds = True, plan.trunk_seconds - scores.trained_seconds(trunk)
                self.observer.phase(f"training trial {trial.number} on", plan.epochs)
                self._jobs.train(deque([Training(trial, TRUNK, trunk)]), trial, seconds)
                self._jobs.takes.clear()  # it tells nothing of what follows
                trunk = scores.of_this_search(trial, TRUNK)
            has_ended = trunk is not None and trunk.status == "completed"
            self._jobs.begun = self.store.epochs(trunk.number)[-1].number if trunk is not None and has_ended else 0
        return is_new

    def _seconds_each(self, jobs: int, starting: float = 0.0) -> float | None:
        """How long each of so many jobs may take, one after the other, once the workers have started."""
        left = self._jobs.ends_at - self.clock() - starting
        return None if math.isinf(left) else max(1.0, left / jobs - ENDING_SECONDS)

    def _earlier(self, trial: Trial, replicate: int) -> JobRecord | None:
        """What an earlier process began or ended, if it still counts: not if it was to end before the present goal."""
        if self._is_timed:
            last = self._scores.of_this_search(trial, replicate)
            return last if last is not None and last.initial_epoch == self._jobs.begun else None
        last = self.store.final_jobs(trial.number).get(replicate)
        if last is None or last.status == "failed" or last.initial_epoch:
            return None
        epochs = self.store.epochs(last.number)  # fewer than it was to have where its time was over before
        return None if last.status == "completed" and epochs[-1].number < self._jobs.goal else last

    def _twin(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """The winner with the weights of its best seed, trained once more where their state was lost."""
        twins = self._scores.twins(trial.number)
        best = twins[0] if twins else None
        is_worse = best is not None and self.store.config.objective.is_better(float(trial.score or 0.0), best.score)
        if best is None or (best.status != "completed" and is_worse and self._scores.has_state(trial.state_job)):
            return self._as_searched(trial, finalists)
        job = next_job(self.store, trial, best)
        if not self._scores.has_state(best.number):
            self._jobs.train_again(job)
        epochs = self.store.epochs(best.number)
        last = epochs[-1].number if epochs else best.epochs
        reason = "" if best.status == "completed" else CUT_SHORT
        return Candidate(trial, job, job, best.result(), last, finalists, reason)

    def _refitted(self, twin: Candidate, plan: FinalPlan) -> Candidate:
        """The winner trained on train and validation too; the twin itself where that cannot be had or went wrong."""
        if not self._settings.refits:
            return replace(twin, refit="not asked for")
        if twin.refit:
            return twin
        records = self.store.final_jobs(twin.trial.number)
        [own] = [record for record in records.values() if record.number == twin.job.number]
        self._jobs.goal, self._jobs.begun = own.epochs, own.initial_epoch
        earlier = records.get(REFIT)
        is_of_twin = earlier is not None and earlier.number > own.number and earlier.epochs == own.epochs
        if earlier is not None and (earlier.status == "failed" or not is_of_twin):
            earlier = None
        needs_time = earlier is None or earlier.status != "completed"
        if needs_time and self.is_stopping():
            return replace(twin, refit="this run was interrupted")
        if needs_time and not self._has_time(plan, own):
            return replace(twin, refit="the budget leaves no time for it")
        starting = 0.0
        if needs_time and self.widen is not None and self._is_worth_widening(own):
            self._jobs.executor, starting = self.widen(), self.forecast.worker_seconds
        self.observer.phase(f"training trial {twin.trial.number} again, on train and validation", self._jobs.goal)
        seconds = self._seconds_each(1, starting)
        self._jobs.train(deque([Training(twin.trial, REFIT, earlier)]), twin.trial, seconds)
        refit = self.store.final_jobs(twin.trial.number).get(REFIT)
        if refit is None or refit.status != "completed":
            why = "" if refit is None else refit.message
            return replace(twin, refit=f"it did not end{f': {why}' if why else ' in time'}")
        return self._checked(twin, refit)

    def _has_time(self, plan: FinalPlan, own: JobRecord) -> bool:
        """Whether most of a job like this one fits in; where jobs are planned one after the other, half of it."""
        left, takes = self._jobs.ends_at - self.clock(), own.seconds
        if self._is_worth_widening(own):
            takes = self.forecast.worker_seconds + own.seconds / gain_of(self._jobs.executor.slots)
        return left >= takes * (0.5 if plan.is_timed and plan.refits else MOST_OF_A_JOB)

    def _is_worth_widening(self, own: JobRecord) -> bool:
        """Whether a refit, which has no other job beside it, gains more by all cores than a new worker's start takes.

        `own` is its twin, which had those of one worker.
        """
        is_long = own.seconds > WORTH_A_START * self.forecast.worker_seconds
        return is_long and self.widen is not None and self._jobs.executor.slots > 1

    def _checked(self, twin: Candidate, refit: JobRecord) -> Candidate:
        """The refit, if its training loss ended about where the twin's did."""
        losses = [last_loss_of(self.store.epochs(number)) for number in (refit.number, twin.job.number)]
        if losses[0] > LOSS_FACTOR * losses[1] + LOSS_SLACK:
            told = f"its training loss ended at {losses[0]:.4g}, that of its twin at {losses[1]:.4g}"
            return replace(twin, refit=told)
        job = next_job(self.store, twin.trial, refit)
        if not self._scores.has_state(refit.number):
            self._jobs.train_again(job)
        return replace(twin, job=job, refit=REFIT_DONE)

    def _as_searched(self, trial: Trial, finalists: tuple[Finalist, ...]) -> Candidate:
        """A trial as the search left it."""
        [record] = [job for job in self.store.jobs() if job.number == trial.state_job]
        result = Result(record.number, trial.status, trial.score, trial.best_epoch, (), 0.0)
        job = next_job(self.store, trial, record)
        if not self._scores.has_state(record.number):
            self._jobs.train_again(job)
        return Candidate(trial, job, job, result, trial.epochs_done, finalists, AS_SEARCHED)


def last_loss_of(epochs: Sequence[Epoch]) -> float:
    """The training loss of the last whole epoch's worth of batches: the last epoch may have had a few of them only."""
    *before, last = epochs
    if not before or before[-1].seconds <= 0:
        return last.metrics["loss"]
    share = min(1.0, last.seconds / before[-1].seconds)
    return share * last.metrics["loss"] + (1 - share) * before[-1].metrics["loss"]
