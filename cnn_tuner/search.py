"""The loop between oracle and executor: points come from one, jobs go to the other, every event goes to the store."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from cnn_tuner.architecture import build, why_infeasible
from cnn_tuner.errors import SearchError
from cnn_tuner.executors.executor import Executor
from cnn_tuner.observer import Observer
from cnn_tuner.oracles import registry
from cnn_tuner.oracles.feasible import FeasibleOracle
from cnn_tuner.oracles.feasible import Search as OracleSearch
from cnn_tuner.records import EpochEnded, Event, Job, JobDone, JobLost, Result, Trial, ranked
from cnn_tuner.store import RunStore
from cnn_tuner.tensorboard import RunLogs, trial_run

MAX_ATTEMPTS = 2  # of a job that the machine lost
HOPELESS = 5  # first trials that all failed: the next would too
ORACLE_OWN = "tuner/"  # how the names of KerasTuner's own values begin


def trial_seed(run_seed: int, number: int) -> int:
    """The seed of a trial: of its own, and the same whichever trials ran before or beside it."""
    return int(np.random.SeedSequence([run_seed, number]).generate_state(1)[0])


def make_oracle(store: RunStore) -> FeasibleOracle:
    """The oracle that a run's config asks for."""
    config = store.config
    space = config.search_space()
    reason = why_infeasible(space, config.data.image_shape, config.output)
    search = config.search
    asked = OracleSearch(space, reason, config.objective, search.max_trials, search.epochs, search.seed)
    return registry.create(search.oracle, asked)


class Search:
    """One run's search, from its first trial to its last."""

    def __init__(
        self, store: RunStore, oracle: FeasibleOracle, executor: Executor, logs: RunLogs, observer: Observer
    ) -> None:
        self.store, self.oracle, self.executor, self.logs, self.observer = store, oracle, executor, logs, observer
        self.is_stopping = False
        self.best: Trial | None = None
        self._jobs: dict[int, Job] = {}  # under way, by trial
        self._asked: dict[int, Any] = {}  # KerasTuner's trial behind each job under way
        self._numbers: dict[str, int] = {}  # KerasTuner's trial ids: promoted ones belong to an earlier trial
        self._trials: dict[int, Trial] = {}
        self._jobs_ended = 0

    def request_stop(self) -> None:
        """Ends the search soon: trials under way end at their next batch and what they reached counts."""
        self.is_stopping = True
        self.executor.stop()

    def run(self) -> None:
        """Searches until the oracle has nothing more to suggest, or a stop is requested.

        Raises:
            SearchError: no trial completed.
        """
        while True:
            self._fill_slots()
            if not self._jobs:
                break
            self._handle(self.executor.next_event())
        if self.oracle.promotes:
            for trial in self._trials.values():
                self.logs.trial_ended(trial)
            self._drop_states(list(self._trials))
        if self.best is None and not self.is_stopping:
            raise SearchError(self._why_nothing())

    def _fill_slots(self) -> None:
        while len(self._jobs) < self.executor.slots and not self.is_stopping and not self._is_hopeless():
            asked = self.oracle.create_trial(f"job-{len(self._numbers)}")
            if asked.status != "RUNNING":  # STOPPED: there is no more; IDLE: it waits for a result
                return
            self._start(asked)

    def _start(self, asked: Any) -> None:
        values = asked.hyperparameters.values
        parent = values.get("tuner/trial_id")
        trial = self._new_trial(values) if parent is None else self._trials[self._numbers[parent]]
        self._numbers[asked.trial_id] = trial.number
        self._trials[trial.number], self._asked[trial.number] = trial, asked
        if parent is None:
            self.store.start_trial(trial)
        else:
            self.store.continue_trial(trial.number)
        epochs = int(values.get("tuner/epochs", self.store.config.search.epochs))
        self._submit(job_of(self.store, trial, epochs))
        self.observer.trial_started(trial, epochs)

    def _new_trial(self, values: dict[str, Any]) -> Trial:
        config = self.store.config
        number = len(self._trials) + 1
        point = {name: value for name, value in values.items() if not name.startswith(ORACLE_OWN)}
        plan = build(point, config.data.image_shape, config.output)
        seed = trial_seed(config.search.seed, number)
        return Trial(number, point, seed, plan.params, plan.macs, started_at=time.time())

    def _submit(self, job: Job) -> None:
        self._jobs[job.trial] = job
        self.executor.submit(job)
        if self.is_stopping:  # asked for while the job was on its way: it has not heard
            self.executor.stop()

    def _handle(self, event: Event) -> None:
        match event:
            case EpochEnded(trial, attempt, epoch) if self._is_current(trial, attempt):
                self.logs.epoch(trial_run(trial), epoch)
                self.observer.epoch_ended(trial, epoch)
            case JobLost(trial, attempt, reason) if self._is_current(trial, attempt):
                self._retry_or_fail(self._jobs[trial], reason)
            case JobDone(result) if self._is_current(result.trial, result.attempt):
                self._end(result)

    def _is_current(self, trial: int, attempt: int) -> bool:
        """Whether an event speaks of a job that is under way, not of an earlier attempt."""
        return trial in self._jobs and self._jobs[trial].attempt == attempt

    def _retry_or_fail(self, job: Job, reason: str) -> None:
        if job.attempt < MAX_ATTEMPTS and not self.is_stopping:
            self._submit(replace(job, attempt=job.attempt + 1))
        else:
            self._end(Result(job.trial, "failed", None, None, (), 0.0, reason, job.attempt))

    def _end(self, result: Result) -> None:
        self.store.end_trial(result)
        trial = updated(self._trials[result.trial], result)
        self._trials[trial.number] = trial
        del self._jobs[trial.number]
        self._tell_oracle(self._asked.pop(trial.number), result)
        self._jobs_ended += 1
        previous = self.best
        self.best = self._better_of(trial)
        if not self.oracle.promotes:
            self.logs.trial_ended(trial)
            self._drop_states([trial.number] + ([previous.number] if previous else []))
        if self.best is not None:
            self.logs.best_so_far(self._jobs_ended, float(self.best.score or 0.0))
        self.observer.trial_ended(trial, self.best)

    def _better_of(self, trial: Trial) -> Trial | None:
        """The best so far, a trial that just ended considered. One that was continued replaces what it was."""
        rivals = [t for t in (self.best, trial) if t is not None and t.score is not None]
        rivals = [t for t in rivals if t is trial or t.number != trial.number]
        return ranked(rivals, self.store.config.objective)[0] if rivals else None

    def _tell_oracle(self, asked: Any, result: Result) -> None:
        if result.score is None:
            asked.status, asked.message = "FAILED", result.message
        else:
            metrics = {self.store.config.objective.name: result.score}
            self.oracle.update_trial(asked.trial_id, metrics, step=result.best_epoch)
            asked.status = "COMPLETED"
        self.oracle.end_trial(asked)

    def _drop_states(self, numbers: list[int]) -> None:
        """Deletes the training state of trials that nothing will continue: of all but the best."""
        for number in numbers:
            if self.best is None or number != self.best.number:
                self.store.state_file(number).unlink(missing_ok=True)

    def _is_hopeless(self) -> bool:
        ended = [trial for trial in self._trials.values() if trial.status != "running"]
        return len(ended) >= HOPELESS and all(trial.status == "failed" for trial in ended)

    def _why_nothing(self) -> str:
        failed = [trial for trial in self._trials.values() if trial.status == "failed"]
        if not failed:
            return "the search space has no feasible point left to try"
        return f"all {len(failed)} trials failed; the last one: {failed[-1].message}"


def updated(trial: Trial, result: Result) -> Trial:
    """A trial after one more of its jobs."""
    return replace(
        trial,
        status=result.status,
        score=result.score,
        best_epoch=result.best_epoch,
        seconds=trial.seconds + result.seconds,
        message=result.message,
        epochs=trial.epochs + result.epochs,
    )


def job_of(store: RunStore, trial: Trial, epochs: int, patience: int | None = None) -> Job:
    """The job that trains a trial on, from where it is, up to `epochs`."""
    config = store.config
    return Job(
        trial.number,
        trial.values,
        config.data.image_shape,
        config.output,
        config.objective,
        epochs,
        trial.seed,
        str(store.state_file(trial.number)),
        initial_epoch=len(trial.epochs),
        patience=patience,
    )
