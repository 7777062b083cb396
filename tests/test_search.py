"""The loop between oracle and executor, driven by an executor that trains nothing."""

from __future__ import annotations

import pytest
from toys import FINITE_SPACE, TIGHT_SPACE, SimulatedExecutor, toy_run

from cnn_tuner.errors import SearchError
from cnn_tuner.observer import Silent
from cnn_tuner.search import Search, make_oracle, trial_seed
from cnn_tuner.store import RunStore
from cnn_tuner.tensorboard import RunLogs


def search_of(run: RunStore, executor: SimulatedExecutor) -> Search:
    logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    return Search(run, make_oracle(run), executor, logs, Silent())


def searched(run: RunStore, executor: SimulatedExecutor | None = None) -> SimulatedExecutor:
    executor = executor or SimulatedExecutor()
    search_of(run, executor).run()
    return executor


@pytest.mark.parametrize("oracle", ["random", "grid", "bayesian", "hyperband"])
@pytest.mark.parametrize("slots", [1, 3])
def test_every_oracle_and_number_of_slots_makes_the_asked_number_of_trials(tmp_path, oracle, slots):
    run = toy_run(tmp_path, oracle=oracle, max_trials=5, epochs=3)
    searched(run, SimulatedExecutor(slots))
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
    search = search_of(run, SimulatedExecutor())
    search.run()
    assert len(run.trials()) == 6
    assert sum(search.oracle.infeasible.values()) > 0


def test_a_space_with_fewer_points_than_trials_ends_when_all_are_tried(tmp_path):
    run = toy_run(tmp_path, FINITE_SPACE, max_trials=50)
    searched(run)
    assert len(run.trials()) == len({str(t.values) for t in run.trials()}) == 12


def test_a_failed_trial_is_kept_with_its_reason_and_the_search_goes_on(tmp_path):
    run = toy_run(tmp_path)
    searched(run, SimulatedExecutor(fails=(2,)))
    assert [trial.status for trial in run.trials()] == ["completed", "failed", "completed", "completed"]
    assert run.trials()[1].message == "it broke"
    assert run.best_trial().number != 2


def test_a_lost_job_is_run_again_once(tmp_path):
    run = toy_run(tmp_path)
    executor = searched(run, SimulatedExecutor(loses={2: 1}))
    assert [(job.trial, job.attempt) for job in executor.jobs] == [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)]
    assert run.trials()[1].status == "completed"


def test_a_job_that_is_always_lost_fails_its_trial(tmp_path):
    run = toy_run(tmp_path)
    searched(run, SimulatedExecutor(loses={2: 9}))
    assert (run.trials()[1].status, run.trials()[1].message) == ("failed", "the machine went away")


def test_when_the_first_trials_all_fail_the_search_gives_up_and_says_why(tmp_path):
    run = toy_run(tmp_path, max_trials=10)
    executor = SimulatedExecutor(fails=tuple(range(1, 11)))
    with pytest.raises(SearchError, match=r"^all 5 trials failed; the last one: it broke$"):
        searched(run, executor)
    assert len(executor.jobs) == 5


def test_an_oracle_that_finds_nothing_is_told(tmp_path, monkeypatch):
    run = toy_run(tmp_path)
    search = search_of(run, SimulatedExecutor())
    monkeypatch.setattr(search.oracle, "_random_values", lambda: None)
    with pytest.raises(SearchError, match=r"^the search space has no feasible point left to try$"):
        search.run()


def test_a_request_to_stop_asks_for_no_more_trials(tmp_path):
    run = toy_run(tmp_path)
    executor = SimulatedExecutor()
    search = search_of(run, executor)
    search.observer.trial_ended = lambda trial, best: trial.number == 2 and search.request_stop()
    search.run()
    assert len(run.trials()) == 2
    assert executor.is_stopping


def test_a_stop_that_comes_while_a_job_is_submitted_reaches_it(tmp_path):
    run = toy_run(tmp_path)
    executor = SimulatedExecutor()
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
def test_only_the_state_of_the_best_trial_stays_on_disk(tmp_path, oracle):
    run = toy_run(tmp_path, oracle=oracle, max_trials=6)
    searched(run)
    assert list((run.folder / "checkpoints").iterdir()) == [run.state_file(run.best_trial().number)]


def test_of_equally_good_trials_the_smaller_is_the_best(tmp_path):
    run = toy_run(tmp_path, max_trials=6)
    search = search_of(run, SimulatedExecutor())
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


def test_trial_seeds_differ_by_run_and_trial():
    assert len({trial_seed(run, number) for run in range(10) for number in range(10)}) == 100
