"""What people meet with KerasTuner 1.4.8, and what happens here instead: a test a row, named by the row."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import keras_tuner
import numpy as np
import pytest
from logs.test_trials import hparams, read
from oracles.test_contract import history, make, own
from oracles.test_contract import run as all_suggestions
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray
from toys import FINITE_SPACE, SPACE, TIGHT_SPACE, FormulaExecutor, toy_part, toy_run

from cnn_tuner.errors import UsageError
from cnn_tuner.executors import processes
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.export.served import Served
from cnn_tuner.logs.trials import RunLogs, trial_run
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.oracles import bayesian, registry
from cnn_tuner.runs import history as history_module
from cnn_tuner.runs.budget import FINAL_SHARE, Budget
from cnn_tuner.runs.checkpoints import FILES_OF_A_SLOT, bound_bytes
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Job, JobDone, JobLost
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.resuming import Resuming, Wishes
from cnn_tuner.search.session import Session
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.search.tuning import Request, Tuning
from cnn_tuner.spaces.architecture import largest_params
from cnn_tuner.training import fit as training
from cnn_tuner.training.batches import Data

OBJECTIVE, OUTPUT = Objective("val_accuracy", "max"), Output("multiclass", 4)


def search_of(run: RunStore, executor) -> Search:
    logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    return Search(run, make_oracle(run.config), executor, logs, Silent())


def searched(run: RunStore, executor=None) -> FormulaExecutor:
    executor = executor or FormulaExecutor()
    search_of(run, executor).run()
    return executor


def acting(act: str, number: int, **values) -> Job:
    return Job(number, number, {"act": act, **values}, (8, 8, 1), OUTPUT, OBJECTIVE, 2, 0, "state.npz")


def ended(executor: ProcessExecutor, job: Job) -> JobDone | JobLost:
    executor.submit(job)
    while True:
        event = executor.next_event()
        if isinstance(event, JobDone | JobLost):
            return event


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunStore:
    """A run that searched, crowned and exported, with real training."""
    folder = tmp_path_factory.mktemp("finished")
    request = request_in(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_show", lambda self, run: None)
        return RunStore.open(Tuning(request, Silent()).run().folder)


def request_in(folder: Path, **settings) -> Request:
    train, test = toy_part("multiclass", 160, 0), toy_part("multiclass", 60, 1)
    np.savez(folder / "toy.npz", x_train=train.x, x_test=test.x, y_train=train.y, y_test=test.y)
    (folder / "toy.yaml").write_text(SPACE)
    asked = {"max_trials": 2, "epochs": 3, "finalists": 1, "final_seeds": 1, "workers": Workers(executor="inline")}
    return Request(f"npz:{folder / 'toy.npz'}", str(folder / "toy.yaml"), runs=folder / "runs", **asked | settings)


def test_row_1_workers_are_recycled_and_a_killed_one_costs_a_job_that_is_retried(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "RECYCLE_BYTES", 20 * 2**20)
    executor = ProcessExecutor(Settings("fake_trainers:open_acting", str(tmp_path)))
    try:
        pids = [ended(executor, acting("keep", n, mib=15)).result.epochs[0].metrics["pid"] for n in range(1, 7)]
        assert 1 < len(set(pids)) < 6, "memory grows trial after trial: its process is replaced now and then"
        assert isinstance(ended(executor, acting("killed_once", 7)), JobLost)
        assert ended(executor, replace(acting("killed_once", 7), attempt=2)).result.status == "completed"
    finally:
        executor.close()
    run = toy_run(tmp_path)
    searched(run, FormulaExecutor(loses={2: 1}))
    assert {trial.status for trial in run.trials()} == {"completed"}
    assert [job.losses for job in run.jobs()] == [0, 1, 0, 0]


def test_row_2_infeasible_points_are_no_trials_and_their_reasons_can_be_listed(tmp_path):
    run = toy_run(tmp_path, TIGHT_SPACE, max_trials=6)
    search = search_of(run, FormulaExecutor())
    search.run()
    assert [trial.status for trial in run.trials()] == ["completed"] * 6
    assert sum(search.oracle.infeasible.values()) >= 3, "three in a row end a KerasTuner search"
    assert all("does not fit on a" in reason for reason in search.oracle.infeasible)


@pytest.mark.parametrize("oracle", ["asha", "hyperband"])
@pytest.mark.parametrize("fails", [(1,), (9,), (1, 2, 3, 4)])
def test_row_3_a_failed_trial_never_costs_a_rung(oracle, fails):
    suggested = all_suggestions(make(oracle, max_trials=9), fails=fails)
    rounds = Counter(v["tuner/round"] for v in suggested)
    assert (rounds[0], rounds[2]) == (9, 1)
    # Who does not wait for the others may promote one more, before the better ones are known.
    assert rounds[1] in ((3, 4) if oracle == "asha" else (3,))


@pytest.mark.slow
def test_row_4_continued_equals_uninterrupted_bit_for_bit(tmp_path):
    data = Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))
    values = make("random").create_trial("any").hyperparameters.values | {"block_1.dropout": 0.2}
    whole = Job(1, 1, values, (8, 8, 1), OUTPUT, OBJECTIVE, 9, 5, str(tmp_path / "whole.npz"))
    first = replace(whole, epochs=3, state_file=str(tmp_path / "first.npz"))
    then = replace(
        whole, number=2, initial_epoch=3, initial_state=first.state_file, state_file=str(tmp_path / "then.npz")
    )
    results = [training.train(job, data, lambda epoch: None, lambda: False) for job in (whole, first, then)]
    metrics = [[epoch.metrics for epoch in result.epochs] for result in results]
    assert metrics[1] + metrics[2] == metrics[0]
    with np.load(whole.state_file) as a, np.load(then.state_file) as b:
        assert set(a.files) == set(b.files)
        for name in set(a.files) - {"facts"}:
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{name}: weights, optimizer, random state")


class Killed(BaseException):
    """The process ends here."""


class DiesAfter(FormulaExecutor):
    """As if the driver were killed when it has had so many events."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self.left = events

    def next_event(self, seconds=None):
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().next_event()


@pytest.mark.parametrize("events", range(0, 16, 2))
def test_row_5_killed_at_any_instant_no_trial_is_lost_or_repeated_and_the_run_loads(tmp_path, events):
    """Between events, that is; tests/test_killed.py kills real drivers at random instants."""
    (tmp_path / "calm").mkdir()
    calm = toy_run(tmp_path / "calm")
    searched(calm)
    with pytest.raises(Killed):
        searched(toy_run(tmp_path), DiesAfter(events))
    run = RunStore.open(tmp_path / "toy")
    done = {job.number for job in run.jobs() if job.ended is not None}
    executor = searched(run)
    assert not done & {job.number for job in executor.jobs}
    assert [(t.values, t.seed, t.score) for t in run.trials()] == [(t.values, t.seed, t.score) for t in calm.trials()]


@pytest.mark.parametrize(
    ("edit", "wishes", "text"),
    [
        (("filters: [2, 4]", "filters: [2, 8]"), Wishes(), r"toy.yaml: block.filters was 2, 4, is 2, 8"),
        (None, Wishes({"epochs": 9}), "epochs was 3, is 9"),
        (None, Wishes({"seed": 1}), "seed was 0, is 1: its trials were drawn by the seed that it began with"),
    ],
    ids=["space", "epochs", "seed"],
)
def test_row_6_what_was_edited_is_named_and_going_on_takes_an_explicit_choice(finished, edit, wishes, text):
    space = Path(finished.config.space_place)
    if edit is not None:
        space.write_text(SPACE.replace(*edit))
    try:
        with pytest.raises(UsageError, match=text):
            Resuming(RunStore.open(finished.folder), wishes, Silent(), Workers(executor="inline")).run()
    finally:
        space.write_text(SPACE)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_row_7_every_seed_counts_and_the_same_seed_gives_the_same(seed, tmp_path):
    assert all_suggestions(make("random", seed=seed)) == all_suggestions(make("random", seed=seed))
    assert all_suggestions(make("random", seed=seed)) != all_suggestions(make("random", seed=seed + 1))
    data = Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))
    values = make("random").create_trial("any").hyperparameters.values | {"block_1.dropout": 0.2}
    job = Job(1, 1, values, (8, 8, 1), OUTPUT, OBJECTIVE, 2, seed, "")
    jobs = [replace(job, seed=s, state_file=str(tmp_path / f"{i}.npz")) for i, s in enumerate((seed, seed, seed + 1))]
    same, again, other = (training.train(each, data, lambda epoch: None, lambda: False) for each in jobs)
    assert [epoch.metrics for epoch in same.epochs] == [epoch.metrics for epoch in again.epochs]
    assert [epoch.metrics for epoch in same.epochs] != [epoch.metrics for epoch in other.epochs]


def test_row_8_bayesian_repeats_nothing_and_learns_from_failures():
    oracle = make("bayesian", max_trials=24)
    points = [tuple(sorted(own(values).items())) for values in all_suggestions(oracle, fails=(3, 7))]
    assert len(set(points)) == len(points) == 24
    _, losses = oracle._learned(oracle._known())
    assert np.isfinite(losses).all()
    assert sorted(losses)[-2:] == [max(losses)] * 2, "a failure counts as the worst score seen"


def test_row_8_a_bayesian_suggestion_costs_the_same_after_any_number_of_trials(monkeypatch):
    for name, few in {"MAX_RESULTS": 12, "MAX_RUNNING": 5, "RANDOM_CANDIDATES": 20, "NEIGHBOURS": 1}.items():
        monkeypatch.setattr(bayesian, name, few)
    rows, refits, fit = [], [], bayesian.GaussianProcessRegressor.fit

    def counted(process, points, losses):
        rows.append(len(points))
        if process.optimizer is not None:
            refits.append(len(rows))
        return fit(process, points, losses)

    monkeypatch.setattr(bayesian.GaussianProcessRegressor, "fit", counted)
    history(make("bayesian", max_trials=45), 45, slots=8)
    assert max(rows) == 12 + 5, "results and trials under way, the latest"
    assert len(rows) - len(refits) > 25, "every suggestion but the first, random ones learned from the trials"
    growth = bayesian.REFIT_GROWTH
    assert 5 <= len(refits) <= 1 / (growth - 1) + np.log(45) / np.log(growth), "their number grows with the logarithm"


def test_row_9_a_typo_in_the_objective_is_found_before_the_first_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(UsageError, match=r"--objective: .*val_acuracy"):
        Tuning(request_in(tmp_path, objective="val_acuracy"), Silent()).run()


def test_row_10_each_trial_is_one_hparams_row_with_its_best_objective_status_time_and_size(tmp_path):
    run = toy_run(tmp_path, max_trials=6)
    search = search_of(run, FormulaExecutor(fails=(3,)))
    search.logs.begin(0.0)
    search.run()
    events = read(search.logs)
    kinds = set()
    for trial in run.trials():
        name = trial_run(trial.number)
        row = dict(hparams(events, name, metadata.SESSION_START_INFO_TAG).hparams)
        kinds.add(tuple(sorted((key, value.WhichOneof("kind")) for key, value in row.items())))
        assert row["1 status"].string_value == trial.status
        tags = [tag for tag in events.Runs()[name]["tensors"] if tag.startswith("trial/")]
        found = {tag: float(make_ndarray(events.Tensors(name, tag)[0].tensor_proto)) for tag in tags}
        assert found.get("trial/objective") == (None if trial.score is None else pytest.approx(trial.score))
        assert {"trial/seconds", "trial/params", "trial/macs"} <= set(found)
    assert len(kinds) == 1, "the same columns of the same types in every row, or TensorBoard drops it"
    assert {trial.status for trial in run.trials()} == {"completed", "failed"}


def test_row_11_the_best_trial_is_a_completed_one(tmp_path):
    run = toy_run(tmp_path, max_trials=4)
    with pytest.raises(Killed):
        searched(run, DiesAfter(6))  # one has ended, one runs and has told of better epochs
    run = RunStore.open(tmp_path / "toy")
    assert [trial.status for trial in run.trials()] == ["completed", "running"]
    assert run.best_trial().number == 1
    searched(run, FormulaExecutor(fails=(3, 4)))
    assert {t.status for t in run.trials()} == {"completed", "failed"}
    assert run.best_trial().status == "completed"


def test_row_12_scores_of_search_retraining_reload_and_test_stand_side_by_side(finished):
    winner = finished.winner()
    trial = finished.best_trial()
    assert winner.search_score == trial.score
    assert not OBJECTIVE.is_better(winner.search_score, winner.score)
    assert winner.float32_score == pytest.approx(winner.score, abs=1e-6), "a new model with the saved weights"
    assert set(winner.test) == {"accuracy"}
    assert winner.looks == 1


def test_row_13_a_budget_of_time_ends_the_search_says_what_is_left_and_counts_active_time_only(tmp_path, monkeypatch):
    """Two sessions of a run whose search has 55 s, on one clock, and a week between them."""
    now, told = [1000.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Timed(DiesAfter):
        """Each event takes 0.7 s; a stop drops what had not been trained yet."""

        def next_event(self, seconds=None):
            if seconds is not None and seconds < 0.7:
                now[0] += seconds
                return None
            now[0] += 0.7
            return super().next_event(seconds)

        def stop(self):
            results = [event for event in self.events if isinstance(event, JobDone)]
            self.events = [JobDone(replace(event.result, status="stopped", epochs=(), score=None)) for event in results]

    def session(events: int) -> None:
        run = RunStore.open(tmp_path / "toy")
        began = now[0]
        budget = Budget(run.config.search.budget_seconds, run.active_seconds(), began)
        observer, forecast = Silent(), Forecast(run.config, budget)
        forecast.export_seconds = lambda best: 20.0
        observer.time_left = lambda seconds: told.append((seconds, budget.ends_at - now[0]))
        logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
        with run.at_work("cnn-tuner", {}, began):
            Search(run, make_oracle(run.config), Timed(events), logs, observer, forecast, lambda: now[0]).run()

    toy_run(tmp_path, max_trials=None, budget_seconds=75 / (1 - FINAL_SHARE), final_epochs=10_000).close()
    with pytest.raises(Killed):
        session(30)
    run = RunStore.open(tmp_path / "toy")
    assert run.active_seconds() == pytest.approx(31 * 0.7)
    now[0] += 7 * 86400
    session(10_000)
    # without 20 for the export and the share of the final training; 0.7 until the stop was heard
    assert run.active_seconds() == pytest.approx(55.0 + 0.7)
    assert run.has_search_ended
    assert all(seconds == pytest.approx(left) for seconds, left in told)
    assert len(told) > 60


@pytest.mark.slow
def test_row_14_the_checkpoints_of_any_number_of_trials_take_a_bounded_number_of_bytes(tmp_path):
    class Watched(FormulaExecutor):
        most = 0

        def next_event(self, seconds=None):
            files = list((run.folder / "checkpoints").glob("*"))
            self.most = max(self.most, len(files))
            return super().next_event()

    for oracle, trials in (("random", 60), ("asha", 60), ("hyperband", 60)):
        (tmp_path / oracle).mkdir()
        run = toy_run(tmp_path / oracle, oracle=oracle, max_trials=trials, epochs=9)
        executor = searched(run, Watched(slots=2))
        continuable = make_oracle(run.config).most_continuable()
        assert executor.most <= run.config.search.keep + continuable + FILES_OF_A_SLOT * executor.slots
        assert len(list((run.folder / "checkpoints").glob("*"))) <= run.config.search.keep


@pytest.mark.slow
def test_row_14_a_state_is_no_larger_than_the_bound_says(tmp_path):
    data = Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))
    space = toy_run(tmp_path).config.search_space()
    values = make("random").create_trial("any").hyperparameters.values
    values |= {
        "block_1.filters": 4,
        "block_1.pool_size": 1,
        "dense_layers": 1,
        "dense_1.units": 8,
        "dense_1.dropout": 0.0,
    }
    job = Job(1, 1, values, (8, 8, 1), OUTPUT, OBJECTIVE, 1, 5, str(tmp_path / "state.npz"))
    assert training.train(job, data, lambda epoch: None, lambda: False).status == "completed"
    assert Path(job.state_file).stat().st_size <= bound_bytes(largest_params(space, (8, 8, 1), OUTPUT), 1, 0, 0)


def test_row_15_waiting_takes_no_time_of_the_processor_and_a_dead_workers_job_is_run_again(tmp_path):
    executor = ProcessExecutor(Settings("fake_trainers:open_acting", str(tmp_path)))
    try:
        used = time.process_time()
        assert isinstance(ended(executor, acting("slow", 1)), JobDone)  # a second
        assert time.process_time() - used < 0.3
        assert isinstance(ended(executor, acting("killed", 2)), JobLost)
        assert isinstance(ended(executor, acting("train", 3)), JobDone)
    finally:
        executor.close()


def test_row_16_one_thread_talks_to_the_oracle_and_an_exception_leaves_it_usable(tmp_path, monkeypatch):
    names = set()
    run = toy_run(tmp_path)
    search = search_of(run, FormulaExecutor(slots=2))
    for method in ("create_trial", "update_trial", "end_trial"):
        call = getattr(search.oracle, method)
        monkeypatch.setattr(
            search.oracle,
            method,
            lambda *a, call=call, **k: names.add(threading.current_thread().name) or call(*a, **k),
        )
    search.run()
    assert names == {threading.current_thread().name}
    oracle = make("random")
    with monkeypatch.context() as patched:
        patched.setattr(oracle, "_propose", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            oracle.create_trial("first")
    assert oracle.create_trial("second").status == "RUNNING"


def test_row_17_the_winner_is_one_verified_folder_with_labels_and_signatures(finished):
    folder = finished.latest_export()
    summary = json.loads((finished.folder / "result.json").read_text())
    assert summary["export"] == str(folder)
    assert (folder / "saved_model.pb").is_file()
    answers = Served(folder).predict(toy_part("multiclass", 4, 0).x)
    assert set(answers[0]["probabilities"]) == set(finished.config.data.class_names)


@pytest.mark.parametrize("oracle", sorted(set(registry.ORACLES) - {"asha", "hyperband"}))
def test_row_18_a_small_space_is_covered_exactly_once_each_also_when_resumed(tmp_path, oracle):
    run = toy_run(tmp_path, FINITE_SPACE, oracle=oracle, max_trials=50)
    with pytest.raises(Killed):
        searched(run, DiesAfter(21))
    run = RunStore.open(tmp_path / "toy")
    searched(run)
    points = Counter(tuple(sorted(trial.values.items())) for trial in run.trials())
    assert points == Counter(tuple(sorted(p.items())) for p in run.config.search_space().points())
    assert run.has_search_ended


def test_row_19_history_is_kept_and_exported_as_csv_and_json(tmp_path):
    run = toy_run(tmp_path)
    searched(run, FormulaExecutor(fails=(3,), loses={2: 1}))
    rows = list(csv.DictReader(io.StringIO(history_module.to_csv(run).decode())))
    found = json.loads(history_module.to_json(run))
    for trial in run.trials():
        own_rows = [row for row in rows if row["trial"] == str(trial.number)]
        assert [int(row["seed"]) for row in own_rows] == [trial.seed] * max(1, len(trial.epochs))
        assert [float(row["val_accuracy"]) for row in own_rows if row["epoch"]] == [
            epoch.metrics["val_accuracy"] for epoch in trial.epochs
        ]
        assert {row["status"] for row in own_rows} == {trial.status}
    assert [row["reason"] for row in rows if row["status"] == "failed"] == ["it broke"]
    assert [trial["jobs"][0]["attempts"] for trial in found["trials"]] == [1, 2, 1, 1]
    assert all({"trial_seconds", "jobs", "values"} <= set(trial) for trial in found["trials"])


def test_row_20_the_failure_of_a_trial_is_raised_where_kerastuner_has_it():
    assert not hasattr(keras_tuner, "FailedTrialError"), "as its documentation says"
    assert issubclass(keras_tuner.errors.FailedTrialError, Exception)
