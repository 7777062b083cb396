"""The loop between oracle and executor: points come from one, jobs go to the other, every event goes to the store."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.logs.trials import RunLogs, has_curve, trial_run
from cnn_tuner.oracles.feasible import FeasibleOracle
from cnn_tuner.runs.budget import Budget
from cnn_tuner.runs.checkpoints import Checkpoints
from cnn_tuner.runs.pareto import cost_of, front
from cnn_tuner.runs.records import (
    Epoch,
    EpochEnded,
    Event,
    Job,
    JobDone,
    JobLost,
    JobPlaced,
    JobRecord,
    Result,
    Trial,
    ranked,
)
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.affordable import Affordable
from cnn_tuner.search.finalists import choose_finalists
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import MAX_ATTEMPTS, after_job, before_job, job_meant, next_job, trial_seed
from cnn_tuner.search.observer import Observer
from cnn_tuner.spaces.architecture import build

HOPELESS_UNDER_A_LIMIT = 50  # the same, where a limit that is measured refuses what cannot be known before
HOPELESS = 5  # first trials that all failed: the next would too
PATIENCE = 10  # trials that were no better than the best: its training to the end is then worth more than another ten
WAVES = 2  # of as many trials as there are workers have to have been no better either
ALL_OF_IT = 0.95  # of the time that is left has the final training to have a use for
SURE = 1.25  # times what an epoch takes on average has to be left for one to begin
ORACLE_OWN = "tuner/"  # how the names of KerasTuner's own values begin


class Search:
    """One run's search, from its first trial, or from where an earlier process left it, to its last."""

    def __init__(
        self,
        store: RunStore,
        oracle: FeasibleOracle,
        executor: Executor,
        logs: RunLogs,
        observer: Observer,
        forecast: Forecast | None = None,
        clock: Callable[[], float] = time.monotonic,
        affordable: Affordable | None = None,
    ) -> None:
        self.store, self.oracle, self.executor, self.logs, self.observer = store, oracle, executor, logs, observer
        self.forecast = Forecast(store.config, Budget()) if forecast is None else forecast
        self.affordable = affordable
        self.clock = clock
        self.is_stopping = False
        self.is_out_of_time = False
        self.best: Trial | None = None
        self._waiting: deque[int] = deque()  # jobs of an earlier process that had not ended
        self._jobs: dict[int, Job] = {}  # under way, by number
        self._records: dict[int, JobRecord] = {}  # of the same
        self._asked: dict[int, Any] = {}  # KerasTuner's trials behind them
        self._numbers: dict[str, int] = {}  # KerasTuner's trial ids: promoted ones belong to an earlier trial
        self._trials: dict[int, Trial] = {}
        self._trained_on: set[int] = set()  # the trials that were promoted
        self._failed = 0
        self._stood = 0  # trials in this process since the best is the best
        self._jobs_begun = self._jobs_ended = 0
        keep, objective = store.config.search.keep, store.config.objective
        self._checkpoints = Checkpoints(
            keep, oracle.most_continuable(), objective, self.store.drop_state, self._likely_finalists
        )

    def request_stop(self) -> None:
        """Ends the search soon: trials under way end at their next batch and what they reached counts."""
        self.is_stopping = True
        self.executor.stop()

    def run(self) -> None:
        """Searches until the oracle has nothing more to suggest, its time is over, or a stop is requested.

        Raises:
            SearchError: no trial completed.
        """
        self._restore()
        while True:
            self._watch_the_time()
            self._fill_slots()
            if not self._jobs:
                break
            event = self.executor.next_event(self._seconds_to_wait())
            if event is not None:
                self._handle(event)
        if self.affordable is not None and self.affordable.share < 1:
            self.observer.left_out(1 - self.affordable.share, self.affordable.most_macs)
        if self.best is not None and not self.is_stopping and self._best_stands(self.best):
            left = "the time left is for its training"
            self.observer.phase(f"trial {self.best.number} stood for {self._stood} trials: {left}")
        if (cost := self.store.config.search.cost) is not None:
            self.logs.front(front(self.store.trials(), self.store.config.objective, cost), cost)
        self._checkpoints.tidy()
        if self.best is None and not self.is_stopping:
            raise SearchError(self._why_nothing())
        self.store.set_search_ended(not self.is_stopping)

    @property
    def _has_ended(self) -> bool:
        """Whether no more jobs are to begin."""
        return self.is_stopping or self.is_out_of_time

    def _watch_the_time(self) -> None:
        """Ends the search when its time is over: trials under way end at their next batch, what they reached counts.

        Not before something was reached at all: a search without a result is worth nothing.
        """
        has_result = self.best is not None or bool(self.forecast.pace.epochs)
        ends_at = self._ends_at()
        is_over = self.clock() >= ends_at or not (self._jobs or self._has_time_for_more())
        if has_result and not self._has_ended and is_over:
            self.is_out_of_time = True
            self.executor.stop()

    def _ends_at(self) -> float:
        """When what is under way has to end: what an epoch trained that is nearly done is not thrown away."""
        return self.forecast.after_epochs(self.forecast.search_ends_at(self.best, self.executor.slots))

    def _seconds_to_wait(self) -> float | None:
        """Until the time of the search is over; None without a limit, or when it is over."""
        ends_at = self._ends_at()
        left = ends_at - self.clock()
        return None if self._has_ended or math.isinf(ends_at) or left <= 0 else left

    def _restore(self) -> None:
        """Takes up what earlier processes recorded: the oracle's suggestions, the results, jobs that had not ended."""
        self._trials = {trial.number: trial for trial in self.store.trials()}
        jobs = [job for job in self.store.jobs() if job.suggestion is not None]
        events = [(job.began, job) for job in jobs] + [(job.ended, job) for job in jobs if job.ended is not None]
        for place, job in sorted(events, key=lambda event: event[0]):
            if place == job.began:
                self._restore_beginning(job)
            else:
                self._tell_oracle(self._asked.pop(job.number), job.result(), self._trials[job.trial])
                self._jobs_ended += 1
        self._jobs_begun = self.store.last_job()
        self._waiting.extend(self._asked)
        self._restore_standing()

    def _restore_beginning(self, job: JobRecord) -> None:
        suggestion = job.suggestion or {}
        own = {name: value for name, value in suggestion.items() if name.startswith(ORACLE_OWN)}
        self._asked[job.number] = self.oracle.restore(suggestion["id"], self._trials[job.trial].values | own)
        self._numbers[suggestion["id"]] = job.trial
        self._records[job.number] = job
        if job.initial_epoch:
            self._trained_on.add(job.trial)

    def _restore_standing(self) -> None:
        self._records = {number: self._records[number] for number in self._waiting}
        for job in self._records.values():
            self._trials[job.trial] = before_job(self._trials[job.trial], job)
        ended = [trial for trial in self._trials.values() if trial.status != "running"]
        self._failed = sum(trial.status == "failed" for trial in ended)
        for trial in ended:
            self.best = self._better_of(trial)
        self.forecast.earlier_epochs = sum(trial.epochs_done for trial in self._trials.values())
        running, continuable = self._needed_states()
        for trial in self._trials.values():
            self._checkpoints.add(trial, running | self._trials.keys(), continuable)
        self._checkpoints.tidy(running, continuable)
        standing = {trial.state_job for trial in self._trials.values()} | set(self._waiting)
        for job in self.store.jobs():  # a process that is killed before it dropped a state leaves it
            if job.suggestion is not None and job.number not in standing:
                self.store.drop_state(job.number)
        unfinished = [self._records[number].trial for number in self._waiting]
        for number in self._trials if self.oracle.promotes else unfinished:
            self._begin_logs(number)
        self.observer.search_restored(list(self._trials.values()), self.best)

    def _fill_slots(self) -> None:
        while len(self._jobs) < self.executor.slots and not self._has_ended and self._has_time_for_more():
            if self._waiting:
                self._submit(self._records[self._waiting.popleft()])
                continue
            asked = None if self._is_hopeless() else self.oracle.create_trial(f"job-{self._jobs_begun}")
            if asked is None or asked.status != "RUNNING":  # STOPPED: there is no more; IDLE: it waits for a result
                return
            self._start(asked)

    def _has_time_for_more(self) -> bool:
        """Whether a job could end an epoch in time: one that is cut short before tells nothing."""
        if self.best is None:
            return True
        if self._best_stands(self.best):
            return False
        ends_at = self.forecast.search_ends_at(self.best, self.executor.slots)
        return self.clock() + SURE * self.forecast.seconds_per_epoch() <= ends_at

    def _best_stands(self, best: Trial) -> bool:
        """Whether many trials were no better, and the final training of the best one has a use for all time left."""
        if self._stood < max(PATIENCE, WAVES * self.executor.slots):
            return False
        if best.epochs_done < self.store.config.search.epochs:  # in the lower rungs what learns fastest is ahead
            return False
        if self.store.config.search.cost is not None or not self.oracle.is_anytime:  # all of the front is wanted
            return False
        now = self.clock()
        plan = self.forecast.final_plan(best, self.executor.slots, now)
        return plan.is_timed and plan.seconds >= ALL_OF_IT * (self.forecast.training_ends_at(best) - now)

    def _start(self, asked: Any) -> None:
        values = asked.hyperparameters.values
        parent = values.get("tuner/trial_id")
        trial = self._new_trial(values) if parent is None else self._trials[self._numbers[parent]]
        own = {name: value for name, value in values.items() if name.startswith(ORACLE_OWN)}
        settings = self.store.config.search
        self._jobs_begun += 1
        job = JobRecord(
            self._jobs_begun,
            trial.number,
            {"id": asked.trial_id} | own,
            trial.epochs_done,
            int(values.get("tuner/epochs", settings.epochs)),
            self.store.precision or "float32",
            started_at=time.time(),
        )
        self.store.start_job(job, trial if parent is None else None)
        self._numbers[asked.trial_id] = trial.number
        self._trials[trial.number] = replace(trial, status="running")
        self._asked[job.number], self._records[job.number] = asked, job
        if job.initial_epoch:
            self._train_on(trial.number)
        self._submit(job)

    def _train_on(self, trial: int) -> None:
        """Notes a promotion; a trial that had no curve until now has one from its first epoch on."""
        had_curve = has_curve(trial, trial in self._trained_on)
        self._trained_on.add(trial)
        if not had_curve:
            self._begin_logs(trial)

    def _new_trial(self, values: dict[str, Any]) -> Trial:
        config = self.store.config
        number = len(self._trials) + 1
        point = {name: value for name, value in values.items() if not name.startswith(ORACLE_OWN)}
        seed, params, macs = trial_seed(config.search.seed, number), 0, 0
        if config.hypermodel is None:
            plan = build(point, config.data.image_shape, config.output)
            params, macs = plan.params, plan.macs
        return Trial(number, point, seed, params, macs, started_at=time.time())

    def _submit(self, record: JobRecord) -> None:
        trial = self._trials[record.trial]
        job = next_job(self.store, trial, record)
        self._jobs[job.number] = job
        self.forecast.job_began(job, self.clock())
        self.executor.submit(job)
        if self.is_stopping:  # asked for while the job was on its way: it has not heard
            self.executor.stop()
        self.observer.trial_started(trial, job.epochs)

    def _handle(self, event: Event) -> None:
        job = job_meant(event, self._jobs)
        match event:
            case JobPlaced(where=where) if job is not None:
                self._place(job, where)
            case EpochEnded(epoch=epoch) if job is not None:
                self._note_epoch(job, epoch)
            case JobLost(reason=reason) if job is not None:
                self._retry_or_fail(job, reason)
            case JobDone(result) if job is not None:
                self._end(result)

    def _place(self, job: Job, where: str) -> None:
        self._trials[job.trial] = replace(self._trials[job.trial], where=where)
        self.store.place_job(job.number, where)
        self.observer.job_placed(job.trial, where)

    def _note_epoch(self, job: Job, epoch: Epoch) -> None:
        if has_curve(job.trial, job.trial in self._trained_on):
            self.logs.epoch(trial_run(job.trial), epoch)
        self.store.add_epoch(job.number, epoch)
        self.forecast.epoch_ended(job, epoch, self.clock())
        self.observer.epoch_ended(job.trial, epoch)
        self._tell_time_left()

    def _retry_or_fail(self, job: Job, reason: str) -> None:
        if job.attempt < MAX_ATTEMPTS and not self._has_ended:
            self.store.lose_job(job.number)
            self._begin_logs(job.trial)
            self._records[job.number] = replace(self._records[job.number], losses=job.attempt)
            self.observer.job_lost(job.trial, reason)
            self._submit(self._records[job.number])
        else:
            epochs = self.store.epochs(job.number)
            self._end(Result(job.number, "failed", None, None, epochs, 0.0, reason, job.attempt))

    def _begin_logs(self, trial: int) -> None:
        """Leaves in a trial's logs what its ended jobs trained: the job under way tells its epochs from its first."""
        known = self._trials[trial]
        ended = [epoch for epoch in known.epochs if epoch.number <= known.epochs_done]
        self.logs.rewrite(trial_run(trial), ended if has_curve(trial, trial in self._trained_on) else ())
        if known.status != "running" or known.score is not None:
            self.logs.trial_ended(known)

    def _end(self, result: Result) -> None:
        trial = after_job(self._trials[self._jobs[result.job].trial], result)
        self.logs.trial_ended(trial)  # before it is recorded: a process that is killed in between does both again
        self.store.end_job(result, trial)
        self._trials[trial.number] = trial if self.oracle.promotes else replace(trial, epochs=())
        self.forecast.job_ended(self._jobs[result.job], result)
        if self.affordable is not None:
            self.affordable.job_ended(self._jobs[result.job], result)
        is_later = self._jobs[result.job].initial_epoch > 0
        for under_way in (self._jobs, self._records):
            del under_way[result.job]
        self._tell_oracle(self._asked.pop(result.job), result, trial)
        self._jobs_ended += 1
        self._failed += trial.status == "failed"
        before, self.best = self.best, self._better_of(trial)
        is_another = self.best is not None and (before is None or before.number != self.best.number)
        self._stood = 0 if is_another else self._stood + (result.score is not None and not is_later)
        self._checkpoints.add(trial, *self._needed_states())
        if trial.state_job != result.job:
            self.store.drop_state(result.job)  # of a trial that failed in between
        if self.best is not None:
            budget = self.forecast.budget
            seconds = budget.active_seconds(self.clock())
            self.logs.progress(self._jobs_ended, float(self.best.score or 0.0), seconds, budget.seconds)
        self.observer.trial_ended(trial, self.best)
        self._tell_time_left()

    def _tell_time_left(self) -> None:
        seconds = self.forecast.seconds_left(self.oracle, self.best, self.executor.slots, self.clock())
        if seconds is not None:
            self.observer.time_left(seconds)

    def _better_of(self, trial: Trial) -> Trial | None:
        """The best so far, a trial that just ended considered. One that was continued replaces what it was."""
        rivals = [t for t in (self.best, trial) if t is not None and t.score is not None]
        rivals = [t for t in rivals if t is trial or t.number != trial.number]
        return ranked(rivals, self.store.config.objective)[0] if rivals else None

    def _tell_oracle(self, asked: Any, result: Result, trial: Trial) -> None:
        if result.score is None:
            asked.status, asked.message = "FAILED", result.message
        else:
            cost = self.store.config.search.cost
            if cost is not None:
                self.oracle.costs[asked.trial_id] = float(cost_of(trial, cost) or 0.0)
            metrics = {self.store.config.objective.name: result.score}
            self.oracle.update_trial(asked.trial_id, metrics, step=result.best_epoch)
            asked.status = "COMPLETED"
        self.oracle.end_trial(asked)

    def _needed_states(self) -> tuple[set[int], set[int]]:
        """The trials with a job under way, and those that may be trained on."""
        running = {job.trial for job in self._records.values()}
        return running, {self._numbers[trial_id] for trial_id in self.oracle.continuable()}

    def _likely_finalists(self, trials: Sequence[Trial], most: int) -> list[Trial]:
        config = self.store.config
        return choose_finalists(trials, config.objective, config.data.images[1], most, config.search.prefer)

    def _is_hopeless(self) -> bool:
        ended = len(self._trials) - len({job.trial for job in self._records.values()})
        is_limited = self.store.config.search.max_latency_seconds is not None
        return self._failed == ended >= (HOPELESS_UNDER_A_LIMIT if is_limited else HOPELESS)

    def _why_nothing(self) -> str:
        failed = [trial for trial in self._trials.values() if trial.status == "failed"]
        if not failed:
            return "the search space has no feasible point left to try"
        return f"all {len(failed)} trials failed; the last one: {failed[-1].message}"
