"""The loop between oracle and executor, driven by an executor that trains nothing."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from later import later
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from toys import (
    FINITE_SPACE,
    TIGHT_SPACE,
    FormulaExecutor,
    KilledError,
    NoLogs,
    SlowAndFastExecutor,
    formula,
    toy_config,
    toy_run,
)

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Executor
from cnn_tuner.executors.simulated import Simulated, SimulatedExecutor
from cnn_tuner.logs import trials as tensorboard
from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.runs.budget import FINAL_SHARE, Budget
from cnn_tuner.runs.records import Epoch, EpochEnded, Job, JobDone, JobLost, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import loop
from cnn_tuner.search.finalists import choose_finalists
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import MAX_ATTEMPTS
from cnn_tuner.search.loop import PATIENCE, SURE, Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle

ORACLES = ("asha", "random", "grid", "bayesian", "hyperband")


def search_of(run: RunStore, executor: Executor, logs: RunLogs | NoLogs | None = None) -> Search:
    logs = logs or RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    return Search(run, make_oracle(run.config), executor, logs, Silent())


def searched(run: RunStore, executor: FormulaExecutor | None = None) -> FormulaExecutor:
    executor = executor or FormulaExecutor()
    search_of(run, executor).run()
    return executor


@pytest.mark.parametrize("oracle", ORACLES)
@pytest.mark.parametrize("slots", [1, 3])
def test_every_oracle_and_number_of_slots_makes_the_asked_number_of_trials(tmp_path, oracle, slots):
    run = toy_run(tmp_path, oracle=oracle, max_trials=5, epochs=3)
    searched(run, FormulaExecutor(slots))
    trials = run.trials()
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5]
    assert {trial.status for trial in trials} == {"completed"}


def test_every_result_is_in_the_store(tmp_path):
    run = toy_run(tmp_path)
    executor = searched(run)
    for trial, job in zip(run.trials(), executor.jobs, strict=True):
        assert (trial.values, trial.seed) == (job.values, job.seed)
        assert [epoch.number for epoch in trial.epochs] == [1, 2, 3]
        assert trial.score == trial.epochs[-1].metrics["val_accuracy"]
        assert trial.best_epoch == 3


def test_infeasible_points_are_never_trials(tmp_path):
    run = toy_run(tmp_path, TIGHT_SPACE, max_trials=6)
    search = search_of(run, FormulaExecutor())
    search.run()
    assert len(run.trials()) == 6
    assert sum(search.oracle.infeasible.values()) > 0


def test_a_space_with_fewer_points_than_trials_ends_when_all_are_tried(tmp_path):
    run = toy_run(tmp_path, FINITE_SPACE, max_trials=50)
    searched(run)
    assert len(run.trials()) == len({str(t.values) for t in run.trials()}) == 12


def test_a_failed_trial_is_kept_with_its_reason_and_the_search_goes_on(tmp_path):
    run = toy_run(tmp_path)
    searched(run, FormulaExecutor(fails=(2,)))
    assert [trial.status for trial in run.trials()] == ["completed", "failed", "completed", "completed"]
    assert run.trials()[1].message == "it broke"
    assert run.best_trial().number != 2


def test_a_lost_job_is_run_again_once(tmp_path):
    run = toy_run(tmp_path)
    executor = searched(run, FormulaExecutor(loses={2: 1}))
    assert [(job.trial, job.attempt) for job in executor.jobs] == [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]
    assert run.trials()[1].status == "completed"


def test_a_job_that_is_always_lost_fails_its_trial(tmp_path):
    run = toy_run(tmp_path)
    searched(run, FormulaExecutor(loses={2: 9}))
    assert (run.trials()[1].status, run.trials()[1].message) == ("failed", "the machine went away")


def test_when_the_first_trials_all_fail_the_search_gives_up_and_says_why(tmp_path):
    run = toy_run(tmp_path, max_trials=10)
    executor = FormulaExecutor(fails=tuple(range(1, 11)))
    with pytest.raises(SearchError, match=r"^all 5 trials failed; the last one: it broke$"):
        searched(run, executor)
    assert len(executor.jobs) == 5


def test_an_oracle_that_finds_nothing_is_told(tmp_path, monkeypatch):
    run = toy_run(tmp_path)
    search = search_of(run, FormulaExecutor())
    monkeypatch.setattr(search.oracle, "_random_values", lambda: None)
    with pytest.raises(SearchError, match=r"^the search space has no feasible point left to try$"):
        search.run()


def test_a_request_to_stop_asks_for_no_more_trials(tmp_path):
    run = toy_run(tmp_path)
    executor = FormulaExecutor()
    search = search_of(run, executor)
    search.observer.trial_ended = lambda trial, best: trial.number == 2 and search.request_stop()
    search.run()
    assert len(run.trials()) == 2
    assert executor.is_stopping


def test_a_stop_that_comes_while_a_job_is_submitted_reaches_it(tmp_path):
    run = toy_run(tmp_path)
    executor = FormulaExecutor()
    search = search_of(run, executor)
    submit = executor.submit

    def submit_late(job):
        search.request_stop()
        executor.is_stopping = False  # a new job begins without a request to stop
        submit(job)

    executor.submit = submit_late
    search.run()
    assert executor.is_stopping
    assert len(run.trials()) == 1


def test_hyperband_continues_a_trial_where_it_left_off(tmp_path):
    run = toy_run(tmp_path, oracle="hyperband", max_trials=9, epochs=9)
    executor = searched(run)
    continued = [job for job in executor.jobs if job.initial_epoch > 0]
    assert [(job.initial_epoch, job.epochs) for job in continued] == [(1, 3)] * 3 + [(3, 9)]
    assert len(run.trials()) == 9
    best = run.best_trial()
    assert [epoch.number for epoch in best.epochs] == list(range(1, 10))
    assert best.score == best.epochs[-1].metrics["val_accuracy"]


@pytest.mark.parametrize("oracle", ["random", "hyperband"])
@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_states_of_the_best_trials_stay_on_disk(tmp_path, oracle, keep):
    run = toy_run(tmp_path, oracle=oracle, max_trials=6, keep=keep)
    searched(run)
    best = choose_finalists(run.trials(), run.config.objective, run.config.data.images[1], keep)
    assert len(best) == keep
    assert set(run.checkpoints.iterdir()) == {run.state_file(trial.state_job) for trial in best}


def test_the_state_of_a_trial_that_failed_is_dropped(tmp_path):
    run = toy_run(tmp_path, max_trials=2)

    class FailsLate(FormulaExecutor):
        def submit(self, job: Job) -> None:
            Path(job.state_file).parent.mkdir(exist_ok=True)
            Path(job.state_file).write_bytes(b"state of an earlier epoch")
            super().submit(job)

    searched(run, FailsLate(fails=(2,)))
    assert list(run.checkpoints.iterdir()) == [run.state_file(1)]


def test_of_equally_good_trials_the_smaller_is_the_best(tmp_path):
    run = toy_run(tmp_path, max_trials=6)
    search = search_of(run, FormulaExecutor())
    search.run()
    best = run.best_trial()
    equals = [trial for trial in run.trials() if trial.score == best.score]
    assert best.params == min(trial.params for trial in equals)
    assert search.best.number == best.number


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_trials(tmp_path, seed):
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run = toy_run(tmp_path / name, seed=seed)
        searched(run)
        found.append([(trial.values, trial.seed, trial.score) for trial in run.trials()])
    assert found[0] == found[1]


def gone_on_with(run: RunStore, executor: FormulaExecutor | None = None, logs: RunLogs | None = None) -> RunStore:
    """The run, opened anew as another process does, searched to its end."""
    run.close()
    again = RunStore.open(run.folder)
    search_of(again, executor or FormulaExecutor(), logs).run()
    return again


def killed(run: RunStore, executor: FormulaExecutor, logs: RunLogs | NoLogs | None = None) -> None:
    search = search_of(run, executor, logs)
    with pytest.raises(KilledError):
        search.run()
    search.logs.close()


def facts(run: RunStore) -> list[tuple]:
    """What must not depend on how often a search was killed."""
    return [
        (t.number, t.values, t.seed, t.score, t.best_epoch, t.status, t.epochs_done, t.epochs) for t in run.trials()
    ]


def ended(run: RunStore) -> set[int]:
    return {job.number for job in run.jobs() if job.ended is not None}


# Three brackets of Hyperband, with three rounds in the first.
LONG = {"asha": (16, 9), "random": (4, 2), "grid": (4, 2), "bayesian": (5, 1), "hyperband": (16, 9)}


@pytest.fixture(scope="module", params=ORACLES)
def uninterrupted(request, tmp_path_factory) -> tuple[RunStore, int]:
    """A search to its end, and how many events that took."""
    trials, epochs = LONG[request.param]
    run = toy_run(tmp_path_factory.mktemp("whole"), oracle=request.param, max_trials=trials, epochs=epochs)
    executor = FormulaExecutor()
    search_of(run, executor, NoLogs()).run()
    return run, executor.told


@pytest.mark.parametrize(
    "offset", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_search_that_is_killed_at_any_event_goes_on_to_the_same_trials(tmp_path, uninterrupted, offset):
    whole, events = uninterrupted
    for event in range(offset, events, 3):
        run = RunStore.create(tmp_path, f"run-{event}", whole.config)
        killed(run, FormulaExecutor(killed_at=event), NoLogs())
        before, executor = ended(run), FormulaExecutor()
        again = gone_on_with(run, executor, NoLogs())
        assert facts(again) == facts(whole), event
        assert not before & {job.number for job in executor.jobs}, "no job that had ended is run again"
        assert {job.number for job in again.jobs()} == before | {job.number for job in executor.jobs}


def test_a_search_that_is_killed_after_each_event_goes_on_to_the_same_trials(tmp_path, uninterrupted):
    whole, _ = uninterrupted
    run, kills, epochs = RunStore.create(tmp_path, "run", whole.config), 0, whole.config.search.epochs
    while True:
        try:
            gone_on_with(run, FormulaExecutor(killed_at=epochs + 2), NoLogs())
            break
        except KilledError:
            kills += 1
    assert facts(RunStore.open(run.folder)) == facts(whole)
    assert kills >= 2


def test_a_search_that_is_killed_before_a_job_reached_its_worker_runs_that_job(tmp_path, uninterrupted):
    whole, _ = uninterrupted

    class Killed(FormulaExecutor):
        def submit(self, job: Job) -> None:
            if job.number == 3:
                raise KilledError
            super().submit(job)

    run = RunStore.create(tmp_path, "run", whole.config)
    killed(run, Killed(), NoLogs())
    assert run.last_job() == 3
    assert facts(gone_on_with(run, logs=NoLogs())) == facts(whole)


@pytest.mark.parametrize("oracle", ["random", "asha", "hyperband"])
@pytest.mark.parametrize("seed", [*range(4), *map(later, range(4, 12))])
def test_a_search_with_several_slots_survives_any_kills(tmp_path, oracle, seed):
    rng = random.Random(seed)
    epochs = 2 if oracle == "random" else rng.choice([3, 9, 27])
    run = toy_run(tmp_path, oracle=oracle, max_trials=rng.randint(5, 30), epochs=epochs)
    for _ in range(100):
        before, executor = ended(run), SlowAndFastExecutor(rng.randint(1, 6), rng, rng.randint(0, 100))
        run.close()
        run = RunStore.open(run.folder)
        try:
            search_of(run, executor, NoLogs()).run()
            break
        except KilledError:
            pass
        finally:
            assert not before & {job.number for job in executor.jobs}
    trials = run.trials()
    assert [trial.number for trial in trials] == list(range(1, run.config.search.max_trials + 1))
    assert {trial.status for trial in trials} == {"completed"}
    for trial in trials:
        assert [epoch.number for epoch in trial.epochs] == list(range(1, trial.epochs_done + 1))
    assert len(list(run.checkpoints.iterdir())) == run.config.search.keep
    assert run.has_search_ended


def test_a_promotion_is_restored_while_a_slow_trial_of_an_older_smaller_bracket_runs(tmp_path):
    run = toy_run(tmp_path, oracle="hyperband", max_trials=26, epochs=9)

    class Slow(FormulaExecutor):
        """Trial 16, the first one of the bracket with one round, never ends."""

        def next_event(self, seconds=None):
            of_slow = {job.number for job in self.jobs if job.trial == 16}
            place = next((i for i, e in enumerate(self.events) if _number(e) not in of_slow), None)
            if place is None:
                raise KilledError
            return self.events.pop(place)

    killed(run, Slow(slots=2), NoLogs())
    under_way = [job for job in run.jobs() if job.ended is None]
    assert [(job.trial, job.suggestion["tuner/bracket"]) for job in under_way] == [(16, 0)]
    later = [job.suggestion for job in run.jobs() if job.trial > 18]
    assert {(s["tuner/bracket"], s["tuner/round"]) for s in later} >= {(2, 0), (2, 1), (2, 2)}
    again = gone_on_with(run, logs=NoLogs())
    assert {trial.status for trial in again.trials()} == {"completed"}
    assert len(again.trials()) == 26


def _number(event: object) -> int:
    return event.result.job if isinstance(event, JobDone) else event.job


def test_the_oracle_counts_a_failure_of_an_earlier_process(tmp_path):
    def runs(folder: str, killed_at: int | None) -> RunStore:
        (tmp_path / folder).mkdir()
        run = toy_run(tmp_path / folder, oracle="bayesian", max_trials=6, epochs=1)
        if killed_at is not None:
            killed(run, FormulaExecutor(fails=(2,), killed_at=killed_at), NoLogs())
        return gone_on_with(run, FormulaExecutor(fails=(2,)), NoLogs())

    assert facts(runs("a", None)) == facts(runs("b", 5))


def test_failures_of_an_earlier_process_count_for_giving_up(tmp_path):
    run = toy_run(tmp_path, max_trials=10)
    fails = tuple(range(1, 11))
    killed(run, FormulaExecutor(fails=fails, killed_at=3))
    executor = FormulaExecutor(fails=fails)
    with pytest.raises(SearchError, match=r"^all 5 trials failed; the last one: it broke$"):
        gone_on_with(run, executor)
    assert len(executor.jobs) == 2


def test_a_search_that_had_ended_has_nothing_to_do(tmp_path):
    run = toy_run(tmp_path)
    searched(run)
    executor = FormulaExecutor()
    again = gone_on_with(run, executor)
    assert executor.jobs == []
    assert again.has_search_ended


def test_what_was_restored_is_told(tmp_path):
    run = toy_run(tmp_path)
    killed(run, FormulaExecutor(killed_at=9))  # two ended, the third is under way
    search, told = search_of(run, FormulaExecutor()), []
    search.observer.search_restored = lambda trials, best: told.append((trials, best))
    search.observer.trial_started = lambda trial, epochs: told and told.append(trial.number)
    search.run()
    (trials, best), *started = told
    assert [trial.status for trial in trials] == ["completed", "completed", "running"]
    assert best.number == max(trials[:2], key=lambda t: t.score).number
    assert started == [3, 4]


def test_a_first_search_restores_nothing(tmp_path):
    search, told = search_of(toy_run(tmp_path), FormulaExecutor()), []
    search.observer.search_restored = lambda trials, best: told.append((trials, best))
    search.run()
    assert told == [([], None)]


def test_jobs_that_wait_are_run_first_also_with_fewer_slots_than_before(tmp_path):
    run = toy_run(tmp_path, max_trials=6)
    killed(run, FormulaExecutor(slots=4, killed_at=0))
    assert len(run.jobs()) == 4
    executor = FormulaExecutor(slots=1)
    again = gone_on_with(run, executor)
    assert [job.number for job in executor.jobs] == [1, 2, 3, 4, 5, 6]
    assert {trial.status for trial in again.trials()} == {"completed"}


def test_more_slots_than_before_are_filled_with_new_trials(tmp_path):
    run = toy_run(tmp_path, max_trials=6)
    killed(run, FormulaExecutor(slots=1, killed_at=0))

    class Watched(FormulaExecutor):
        most = 0

        def next_event(self, seconds=None):
            self.most = max(self.most, len({_number(event) for event in self.events}))
            return super().next_event()

    executor = Watched(slots=3)
    gone_on_with(run, executor)
    assert executor.most == 3


def test_a_job_that_waits_has_the_seed_point_and_precision_that_it_began_with(tmp_path):
    run = toy_run(tmp_path, precision="bfloat16")
    first = FormulaExecutor(killed_at=1)
    killed(run, first)
    run.reconfigure(toy_config(precision="float32", epochs=9))
    executor = FormulaExecutor()
    gone_on_with(run, executor)
    assert executor.jobs[0] == first.jobs[0]
    assert (executor.jobs[1].precision, executor.jobs[1].epochs) == ("float32", 9)


def test_attempts_that_the_machine_lost_count_across_processes(tmp_path):
    run = toy_run(tmp_path, max_trials=2)
    killed(run, FormulaExecutor(loses={1: 1}, killed_at=1))
    assert run.jobs()[0].losses == 1
    executor = FormulaExecutor(loses={1: 1})
    again = gone_on_with(run, executor)
    assert [(job.trial, job.attempt) for job in executor.jobs] == [(1, MAX_ATTEMPTS), (2, 1)]
    assert (again.trials()[0].status, again.trials()[0].message) == ("failed", "the machine went away")


def test_a_kill_is_no_attempt_that_the_machine_lost(tmp_path):
    run = toy_run(tmp_path, max_trials=2)
    for _ in range(3):
        run.close()
        run = RunStore.open(run.folder)
        killed(run, FormulaExecutor(killed_at=1))
    executor = FormulaExecutor()
    assert {trial.status for trial in gone_on_with(run, executor).trials()} == {"completed"}
    assert executor.jobs[0].attempt == 1


def test_a_lost_job_is_told(tmp_path):
    search, told = search_of(toy_run(tmp_path), FormulaExecutor(loses={2: 1})), []
    search.observer.job_lost = lambda trial, reason: told.append((trial, reason))
    search.run()
    assert told == [(2, "the machine went away")]


def test_events_of_an_earlier_attempt_or_of_an_unknown_job_are_not_heard(tmp_path):
    run = toy_run(tmp_path, max_trials=1)
    epoch = Epoch(1, {"val_accuracy": 0.99}, 0.1)

    class Late(FormulaExecutor):
        def submit(self, job: Job) -> None:
            if job.attempt == 2:
                self.events.append(EpochEnded(job.number, 1, replace(epoch, number=7)))
                self.events.append(JobDone(Result(job.number, "completed", 0.99, 1, (epoch,), 0.1, attempt=1)))
                self.events.append(JobLost(job.number, 1, "again"))
                self.events.append(EpochEnded(99, 1, epoch))
            super().submit(job)

    executor = Late(loses={1: 1})
    searched(run, executor)
    [trial] = run.trials()
    assert [epoch.number for epoch in trial.epochs] == [1, 2, 3]
    assert trial.score < 0.99
    assert len(executor.jobs) == 2


def test_a_trial_that_fails_when_it_is_trained_on_keeps_what_it_had_reached(tmp_path):
    run = toy_run(tmp_path, oracle="hyperband", max_trials=9, epochs=9)
    executor = searched(run, FormulaExecutor(fails_from=3))
    [late] = [job for job in executor.jobs if job.initial_epoch == 3]
    trial = run.trials()[late.trial - 1]
    assert (trial.status, trial.epochs_done, trial.best_epoch) == ("completed", 3, 3)
    assert trial.message == "trained on from epoch 3 it failed: it broke"
    assert [epoch.number for epoch in trial.epochs] == [1, 2, 3]
    assert run.state_file(trial.state_job).exists()
    assert run.jobs()[late.number - 1].status == "failed"


def test_a_trial_that_is_stopped_is_gone_on_with_after_it_was_reopened(tmp_path, uninterrupted):
    whole, _ = uninterrupted

    class Stopped(FormulaExecutor):
        """Ends its third job by request after its first epoch."""

        def _train(self, job: Job) -> None:
            if job.number != 3:
                super()._train(job)
                return
            super()._train(replace(job, epochs=job.initial_epoch + 1))
            self.events[-1] = JobDone(replace(self.events[-1].result, status="stopped"))

    run, executor = RunStore.create(tmp_path, "run", whole.config), Stopped()
    search = search_of(run, executor, NoLogs())
    search.observer.trial_ended = lambda trial, best: trial.status == "stopped" and search.request_stop()
    search.run()
    assert not run.has_search_ended
    assert [job.status for job in run.jobs()][-1] == "stopped"
    run.reopen_stopped()
    again = FormulaExecutor()
    assert facts(gone_on_with(run, again, NoLogs())) == facts(whole)
    assert again.jobs[0].number == 3


def test_a_stopped_trial_counts_with_what_it_reached(tmp_path):
    run = toy_run(tmp_path, max_trials=3)

    class Stopped(FormulaExecutor):
        def _train(self, job: Job) -> None:
            super()._train(replace(job, epochs=1))
            self.events[-1] = JobDone(replace(self.events[-1].result, status="stopped"))

    search = search_of(run, Stopped())
    search.observer.trial_ended = lambda trial, best: search.request_stop()
    search.run()
    [trial] = run.trials()
    assert (trial.status, trial.epochs_done, trial.state_job) == ("stopped", 1, 1)
    assert run.best_trial() == trial


@pytest.mark.parametrize("killed_at", [12, 20, 25])
def test_several_rounds_of_hyperband_are_restored_without_their_states(tmp_path, killed_at):
    config = {"oracle": "hyperband", "max_trials": 9, "epochs": 9}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole, run = toy_run(tmp_path / "a", **config), toy_run(tmp_path / "b", **config)
    searched(whole)
    killed(run, FormulaExecutor(killed_at=killed_at))
    shutil.rmtree(run.checkpoints)
    executor = FormulaExecutor()
    assert facts(gone_on_with(run, executor)) == facts(whole)
    assert max(job.initial_epoch for job in executor.jobs) == 3


def test_a_later_job_is_given_the_state_of_the_earlier_one(tmp_path):
    run = toy_run(tmp_path, oracle="hyperband", max_trials=9, epochs=9)
    there = []

    class Looks(FormulaExecutor):
        def submit(self, job: Job) -> None:
            if job.initial_state is not None:
                there.append((Path(job.initial_state).exists(), job.initial_state != job.state_file))
            super().submit(job)

    searched(run, Looks(slots=3))
    assert there == [(True, True)] * 4


def steps(run: RunStore, name: str, tag: str) -> list[int]:
    """The steps at which a run of TensorBoard has a value."""
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(run.tensorboard))
    events.Reload()
    return [event.step for event in events.Tensors(name, tag)]


@pytest.mark.parametrize("oracle", ["random", "hyperband"])
@pytest.mark.parametrize("killed_at", [5, 6, 7, 8, 12])
def test_each_trial_has_one_row_and_each_epoch_one_point_however_often_it_was_killed(tmp_path, oracle, killed_at):
    run = toy_run(tmp_path, oracle=oracle, max_trials=4)
    killed(run, FormulaExecutor(slots=2, killed_at=killed_at))
    again = gone_on_with(run, FormulaExecutor(slots=2))
    for trial in again.trials():
        name = f"trial-{trial.number:04d}"
        rows = steps(again, name, "trial/params")
        assert rows == sorted(set(rows)), "each end of a job once"
        assert rows[-1] == trial.epochs_done
        assert steps(again, name, "accuracy/validation") == list(range(1, trial.epochs_done + 1))


def test_a_search_that_was_killed_between_the_row_and_the_store_does_both_again(tmp_path, monkeypatch):
    run = toy_run(tmp_path, max_trials=2)

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(run, "end_job", kill)
        killed(run, FormulaExecutor())
    assert run.jobs()[0].ended is None
    again = gone_on_with(run)
    for name in ("trial-0001", "trial-0002"):
        assert steps(again, name, "trial/params") == [3]
        assert steps(again, name, "accuracy/validation") == [1, 2, 3]


def test_a_trial_has_its_row_while_it_may_still_be_promoted(tmp_path):
    run = toy_run(tmp_path, oracle="asha", max_trials=9, epochs=9)
    seen = []

    class Looks(FormulaExecutor):
        def submit(self, job: Job) -> None:
            if job.initial_state is not None:
                name = f"trial-{job.trial:04d}"
                seen.append((steps(run, name, "trial/objective"), steps(run, name, "_hparams_/session_start_info")))
            super().submit(job)

    searched(run, Looks(slots=2))
    assert ([1], [1]) in seen
    assert ([1, 3], [1]) in seen, "its values once, what it has reached each time"


def test_beyond_so_many_trials_only_those_that_are_trained_on_have_curves(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "FULL_RUNS", 2)
    run = toy_run(tmp_path, oracle="asha", max_trials=9, epochs=9)
    searched(run, FormulaExecutor(slots=2))
    trials = run.trials()
    assert any(trial.number > 2 and trial.epochs_done > 1 for trial in trials)
    for trial in trials:
        name = f"trial-{trial.number:04d}"
        has_curve = trial.number <= 2 or trial.epochs_done > 1
        assert steps(run, name, "trial/params")[-1] == trial.epochs_done, "each has its row"
        if has_curve:
            assert steps(run, name, "accuracy/validation") == list(range(1, trial.epochs_done + 1))
        else:
            with pytest.raises(KeyError):
                steps(run, name, "accuracy/validation")


def test_a_lost_attempt_leaves_no_points(tmp_path):
    run = toy_run(tmp_path, max_trials=1)

    class Lost(FormulaExecutor):
        def _train(self, job: Job) -> None:
            super()._train(job)
            if job.attempt == 1:
                self.events[-1:] = [JobLost(job.number, 1, "the machine went away")]

    searched(run, Lost())
    assert steps(run, "trial-0001", "accuracy/validation") == [1, 2, 3]


@pytest.mark.parametrize("oracle", ["random", "hyperband"])
def test_a_kill_between_the_store_and_the_states_leaves_no_file_behind(tmp_path, monkeypatch, oracle):
    run = toy_run(tmp_path, oracle=oracle, max_trials=9, epochs=9, keep=1)
    for job in range(1, 12):
        executor, end_job = FormulaExecutor(), run.end_job

        def end(result: Result, trial: Trial | None = None, at: int = job, end_job=end_job) -> None:
            end_job(result, trial)
            if result.job == at:
                raise KilledError

        monkeypatch.setattr(run, "end_job", end)
        try:
            search_of(run, executor, NoLogs()).run()
        except KilledError:
            run.close()
            run = RunStore.open(run.folder)
    again = gone_on_with(run, logs=NoLogs())
    assert list(again.checkpoints.iterdir()) == [again.state_file(again.best_trial().state_job)]


class Clock:
    """An executor with a virtual clock: an epoch takes a second. What `stop` asks for comes at the next event."""

    def __init__(self, slots: int = 1, seconds: float = 1.0, killed_at: float | None = None, fails: tuple = ()) -> None:
        self.simulated = SimulatedExecutor(slots, self._outcome)
        self.slots, self.seconds, self.killed_at, self.fails = slots, seconds, killed_at, fails
        self.begun: list[tuple[float, Job]] = []

    def now(self) -> float:
        return self.simulated.now

    def _outcome(self, job: Job) -> Simulated:
        Path(job.state_file).parent.mkdir(exist_ok=True)
        Path(job.state_file).write_bytes(b"state")
        if job.trial in self.fails:
            return Simulated((), "it broke")
        epochs = (
            Epoch(n, {"val_accuracy": formula(job, n)}, self.seconds)
            for n in range(job.initial_epoch + 1, job.epochs + 1)
        )
        return Simulated(tuple(epochs))

    def submit(self, job: Job) -> None:
        self.begun.append((self.now(), job))
        self.simulated.submit(job)

    def next_event(self, seconds: float | None = None):
        event = self.simulated.next_event(seconds)
        if self.killed_at is not None and self.now() >= self.killed_at:
            raise KilledError
        return event

    def stop(self) -> None:
        self.simulated.stop()

    def close(self) -> None: ...


# The export is given 10 seconds and the final training at most its share: the search has 20.
TIMED = {"budget_seconds": 30.0 / (1 - FINAL_SHARE), "max_trials": None, "epochs": 3, "final_epochs": 300}


def timed_search(run: RunStore, executor: Clock, spent: float = 0.0, observer: Silent | None = None) -> Search:
    forecast = Forecast(run.config, Budget(run.config.search.budget_seconds, spent, executor.now()))
    forecast.export_seconds = lambda best: 10.0
    logs, oracle = NoLogs(), make_oracle(run.config)
    return Search(run, oracle, executor, logs, observer or Silent(), forecast, executor.now)


@pytest.mark.parametrize("oracle", ["random", pytest.param("bayesian", marks=pytest.mark.slow), "asha", "hyperband"])
@pytest.mark.parametrize("slots", [1, 3])
def test_a_search_with_a_budget_ends_at_its_part_of_it(tmp_path, oracle, slots, monkeypatch):
    monkeypatch.setattr(loop, "PATIENCE", 10**6)
    run, executor = toy_run(tmp_path, oracle=oracle, **TIMED), Clock(slots, seconds=0.7)
    search = timed_search(run, executor)
    search.run()
    assert 20.0 - 2 * SURE * 0.7 <= executor.now() <= 20.0
    assert max(at for at, _ in executor.begun) <= 20.0 - SURE * 0.7, "what cannot end an epoch is not begun"
    assert search.is_out_of_time
    assert not search.is_stopping, "nobody asked: the run goes on to its final training"
    assert run.has_search_ended
    trials = run.trials()
    assert {trial.status for trial in trials} <= {"completed", "stopped"}
    stopped = [trial for trial in trials if trial.status == "stopped"]
    assert len(stopped) <= slots
    for trial in stopped:
        assert (trial.score is None) == (not trial.epochs), "what was reached counts"
    assert sum(len(trial.epochs) for trial in trials) >= slots * 20 / 0.7 - 2 * slots


def test_both_limits_hold(tmp_path):
    run, executor = toy_run(tmp_path, **(TIMED | {"max_trials": 2})), Clock()
    search = timed_search(run, executor)
    search.run()
    assert (len(run.trials()), executor.now(), search.is_out_of_time) == (2, 6.0, False)


@pytest.mark.parametrize("slots", [1, 2])
def test_one_epoch_is_waited_for_however_small_the_budget_is(tmp_path, slots):
    run, executor = toy_run(tmp_path, **TIMED), Clock(slots, seconds=100.0)
    timed_search(run, executor).run()
    assert executor.now() == 100.0
    assert len(executor.begun) == slots
    assert run.best_trial().epochs_done == 1


def test_trials_that_fail_are_no_result_to_end_with(tmp_path):
    run, executor = toy_run(tmp_path, **TIMED), Clock(seconds=50.0, fails=(1, 2))
    timed_search(run, executor).run()
    assert [(trial.status, len(trial.epochs)) for trial in run.trials()] == [
        ("failed", 0),
        ("failed", 0),
        ("stopped", 1),
    ]


def test_what_earlier_sessions_spent_counts(tmp_path):
    run, executor = toy_run(tmp_path, **TIMED), Clock()
    timed_search(run, executor, spent=12.0).run()
    assert executor.now() == pytest.approx(8.0)


def test_a_search_whose_time_is_over_begins_nothing_once_it_has_a_result(tmp_path):
    run, executor = toy_run(tmp_path, **TIMED), Clock()
    timed_search(run, executor).run()
    run.set_search_ended(False)
    again = Clock()
    search = timed_search(run, again, spent=20.0)
    search.run()
    assert (again.begun, again.now(), search.is_out_of_time) == ([], 0.0, True)
    assert run.has_search_ended


@pytest.mark.parametrize("killed_at", [0.5, 7.2, 13.0, 18.2])
@pytest.mark.parametrize("oracle", ["random", "asha"])
def test_killed_and_resumed_the_search_has_the_rest_of_its_time(tmp_path, oracle, killed_at, monkeypatch):
    monkeypatch.setattr(loop, "PATIENCE", 10**6)
    run = toy_run(tmp_path, oracle=oracle, **TIMED)
    with pytest.raises(KilledError):
        timed_search(run, Clock(killed_at=killed_at)).run()
    before = ended(run)
    executor = Clock()
    timed_search(RunStore.open(run.folder), executor, spent=killed_at).run()
    assert 20.0 - SURE - killed_at <= executor.now() <= 20.0 - killed_at
    assert not before & {job.number for _, job in executor.begun}


def test_a_search_that_was_stopped_by_its_time_goes_on_with_what_it_cut_short(tmp_path):
    run, executor = toy_run(tmp_path, **TIMED), Clock(seconds=0.7)
    timed_search(run, executor).run()
    [cut] = [trial for trial in run.trials() if trial.status == "stopped"]
    run.reopen_stopped()
    again = Clock(seconds=0.7)
    timed_search(run, again, spent=10.0).run()
    assert again.begun[0][1].trial == cut.number
    assert run.trials()[cut.number - 1].status == "completed"


def test_the_time_left_is_told_after_each_epoch_and_never_is_more_than_the_budget(tmp_path):
    told, observer = [], Silent()
    run, executor = toy_run(tmp_path, **TIMED), Clock()
    observer.time_left = lambda seconds: told.append((executor.now(), seconds))
    timed_search(run, executor, observer=observer).run()
    assert len(told) >= 20
    assert all(seconds == pytest.approx(TIMED["budget_seconds"] - now) for now, seconds in told)


def test_a_job_that_is_lost_when_the_time_is_over_is_not_run_again(tmp_path):
    run, executor = toy_run(tmp_path, **TIMED), Clock()
    next_event = executor.next_event

    def lose(seconds=None):
        event = next_event(seconds)
        is_end = isinstance(event, JobDone) and event.result.status == "stopped"
        return JobLost(event.result.job, event.result.attempt, "it did not stop") if is_end else event

    executor.next_event = lose
    timed_search(run, executor).run()
    last = run.trials()[-1]
    assert (last.status, last.message) == ("failed", "it did not stop")
    assert len({job.number for _, job in executor.begun}) == len(executor.begun)


SAME = """
description: Networks of which none is better than another.
blocks: 1
block: {filters: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], pool_size: 1}
dense: {layers: 0}
training: {batch_size: [16]}
"""
ALL = 19  # of its points


@pytest.mark.parametrize(
    ("final_epochs", "how", "trials", "stood"),
    [
        (100, {}, 1 + PATIENCE, PATIENCE),
        (1000, {"slots": 8}, ALL, ALL - 1),
        (100, {"fails": range(2, 5)}, 1 + PATIENCE + 3, PATIENCE),
        (100, {"epochs": 12}, ALL, ALL - 1),
        (2, {}, ALL, 0),
        (25, {}, ALL, 0),
        (100, {"cost": "params"}, ALL, 0),
        (100, {"oracle": "random"}, ALL, 0),
    ],
    ids=[
        "the final training has a use for the time",
        "with many workers it has to stand for longer",
        "trials that fail tell nothing",
        "it has not been trained as long as a trial may be",
        "it has none",
        "it has a use for some of it",
        "all of the front is wanted",
        "another oracle",
    ],
)
def test_a_search_ends_when_its_best_has_stood_and_hands_over_the_time(tmp_path, final_epochs, how, trials, stood):
    how = dict(how)
    slots, fails = how.pop("slots", 1), how.pop("fails", ())

    def trained(job):
        if job.trial in fails:
            return Simulated((), "it broke")
        numbers = range(job.initial_epoch + 1, job.epochs + 1)
        metrics = {"loss": 0.1, "val_accuracy": 0.6 if job.trial == 1 else 0.5, "val_loss": 0.1}
        return Simulated(tuple(Epoch(n, metrics, 10.0) for n in numbers))

    told, observer, executor = [], Silent(), SimulatedExecutor(slots, trained)
    observer.phase = lambda text, epochs=0: told.append(text)
    settings = {
        "budget_seconds": 1000.0,
        "max_trials": None,
        "epochs": 1,
        "oracle": "asha",
        "final_epochs": final_epochs,
    } | how
    run = toy_run(tmp_path, SAME, **settings)
    forecast = Forecast(run.config, Budget(1000.0, 0.0, 0.0))
    Search(run, make_oracle(run.config), executor, NoLogs(), observer, forecast, lambda: executor.now).run()
    assert len(run.trials()) == trials
    assert told == ([f"trial 1 stood for {stood} trials: the time left is for its training"] if stood else [])
