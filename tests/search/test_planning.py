"""What a plan counts, what it measures and how it is told; the networks are trained for real in one test only."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from toys import FINITE_SPACE, SPACE, TIGHT_SPACE, toy_config, toy_dataset

from cnn_tuner.errors import SearchError
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.budget import FINAL_SHARE
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import Epoch, EpochEnded, Job, JobDone, JobLost, Result
from cnn_tuner.search import planning
from cnn_tuner.search.final_plan import EPOCHS_SHARE
from cnn_tuner.search.planning import MOST_SECONDS, Measured, Plan, infeasible, make_plan
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.terminal.plan_table import plan_lines, points_table

WORKERS = Workers(count=1, executor="inline", precision="float32")
POINTS = tuple(
    Measured(name, {"learning_rate": 0.01, "batch_size": 16}, params, macs, seconds, 0.5)
    for name, params, macs, seconds in (("small", 10, 500, 1.0), ("median", 20, 1000, 2.0), ("large", 30, 4000, 4.0))
)


def calculated(workers=WORKERS, startup=6.5, points=POINTS, text=SPACE, **search) -> Plan:
    config = toy_config(text, **search)
    start = planning.Start(1.0, startup - 1.0)
    return planning._calculated(config, planning._sample(config), make_oracle(config), workers, start, points)


def test_so_many_trials_take_so_long():
    plan = calculated(max_trials=10, epochs=3)
    assert (plan.trials, plan.epochs, plan.epochs_a_point) == (10.0, 30.0, 3.0)
    assert plan.startup_seconds == 6.0, "what a job takes anyway is none of it, loading is"
    one = plan.search_seconds / 10
    assert 0.5 + 3 * 1.0 <= one <= 0.5 + 3 * 4.0, "between the smallest and the largest point"
    assert plan.seconds == pytest.approx(
        plan.startup_seconds + plan.search_seconds + plan.final_seconds + plan.export_seconds
    )


def test_twice_the_workers_halve_the_search():
    one, two = calculated(max_trials=10), calculated(replace(WORKERS, count=2), max_trials=10)
    assert two.search_seconds == pytest.approx(one.search_seconds / 2)
    assert two.trials == one.trials


def test_a_budget_buys_what_is_left_of_it():
    plan = calculated(max_trials=None, budget_seconds=600, finalists=1, final_seeds=1)
    room = 600 - plan.startup_seconds - plan.final_seconds - plan.export_seconds
    assert plan.search_seconds == pytest.approx(room)
    assert plan.seconds == pytest.approx(600)
    twice = calculated(replace(WORKERS, count=2), max_trials=None, budget_seconds=600, finalists=1, final_seeds=1)
    assert twice.trials > 1.9 * plan.trials
    most = calculated(max_trials=None, budget_seconds=600, finalists=9, final_seeds=9)
    assert most.final_seconds == FINAL_SHARE * 600


@pytest.mark.parametrize(("max_trials", "trials"), [(5, 5.0), (10**6, None)])
def test_of_two_limits_the_nearer_one_counts(max_trials, trials):
    plan = calculated(max_trials=max_trials, budget_seconds=600)
    alone = calculated(max_trials=None, budget_seconds=600)
    assert plan.trials == (alone.trials if trials is None else trials)


def test_a_budget_that_is_too_small_buys_nothing():
    plan = calculated(startup=300.0, max_trials=None, budget_seconds=60)
    assert (plan.trials, plan.search_seconds) == (0.0, 0.0)


def test_a_finite_space_has_no_more_trials_than_points():
    plan = calculated(text=FINITE_SPACE, max_trials=50)
    assert plan.trials == plan.size.points < 50


def test_without_limits_there_is_no_end():
    plan = calculated(max_trials=None)
    assert (plan.trials, plan.search_seconds, plan.seconds) == (math.inf,) * 3
    assert plan_lines(toy_config(max_trials=None), plan)[1] == [
        "",
        "expected  no end: neither --budget nor --max-trials limits it",
    ]
    told = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert (told["trials"], told["seconds"]) == (None, None)


@pytest.mark.parametrize("oracle", ["asha", "hyperband"])
def test_oracles_that_promote_train_more_trials_in_the_same_time(oracle):
    lengths = {"max_trials": None, "budget_seconds": 3600, "epochs": 27}
    plan, plain = calculated(oracle=oracle, **lengths), calculated(oracle="random", **lengths)
    assert plan.epochs_a_point < 27 / 2
    assert plan.trials > 1.5 * plain.trials


def test_without_a_budget_the_final_training_takes_no_more_than_its_share_of_the_epochs():
    plan = calculated(max_trials=30, epochs=3, final_epochs=6, finalists=3, final_seeds=3)
    refit = 0.5 + 6 * 4.0
    assert plan.final_seconds <= EPOCHS_SHARE * plan.epochs * 4.0 * 1.2 + refit, "as if each were the largest"
    few = calculated(max_trials=1, epochs=3, final_epochs=6, finalists=3, final_seeds=3)
    assert few.final_seconds == 2 * refit, "the best one, and the same again"


def test_an_epoch_costs_so_much_a_batch_and_so_much_a_multiply_add():
    def point(name, macs, batch_size):
        seconds = 0.01 * 96 / batch_size + 1e-6 * 96 * macs
        return Measured(name, {"learning_rate": 0.01, "batch_size": batch_size}, 10, macs, seconds, 0.5)

    points = (point("small", 500, 32), point("median", 1000, 16), point("large", 9000, 32))
    sample = planning._sample(toy_config())
    expected = [0.01 * 96 / values["batch_size"] + 1e-6 * 96 * plan.macs for values, plan in sample]
    found = planning._mean_epoch_seconds(96, points, sample)
    assert found == pytest.approx(statistics.mean(expected), rel=0.02)


def test_points_that_measure_alike_are_one_point():
    plan = calculated(
        points=(POINTS[0], replace(POINTS[0], name="median"), replace(POINTS[0], name="large")), max_trials=4
    )
    assert plan.search_seconds == pytest.approx(4 * (0.5 + 3 * 1.0))


def test_a_plan_is_json():
    plan = calculated(max_trials=4)
    told = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert told["trials"] == 4.0
    assert told["seconds"] == pytest.approx(plan.seconds)
    assert told["size"] == str(plan.size)
    assert [point["name"] for point in told["points"]] == ["small", "median", "large"]
    assert set(told["points"][0]) == {"name", "values", "params", "macs", "epoch_seconds", "setup_seconds"}


def test_what_is_infeasible_is_told_by_kind():
    share, reasons = infeasible(toy_config(TIGHT_SPACE))
    assert 0.1 < share < 1
    assert 1 <= len(reasons) <= planning.REASONS
    assert all(
        text.endswith("does not fit") and not any(c.isdigit() for c in text.split(":")[0][-2:]) for text, _ in reasons
    )
    assert [each for _, each in reasons] == sorted((each for _, each in reasons), reverse=True)
    assert sum(each for _, each in reasons) <= share + 1e-9


def test_a_limit_is_a_reason_that_names_the_limit():
    limits = {"max_params": 300}
    share, reasons = infeasible(toy_config(limits=limits))
    assert 0 < share < 1
    assert [text for text, _ in reasons] == ["max_params: over the limit of 300"]
    assert infeasible(toy_config())[0] == 0.0


def test_a_plan_is_told_in_lines():
    config = toy_config(budget_seconds=600, max_trials=None, oracle="asha", sampler="tpe", epochs=9)
    plan = replace(
        calculated(max_trials=None, budget_seconds=600, oracle="asha", epochs=9),
        infeasible_share=0.25,
        reasons=(("pool: 3x3 does not fit", 0.2), ("max_params: over the limit of 150", 0.05)),
        startup_seconds=6.0,
        search_seconds=430.0,
        final_seconds=150.0,
        export_seconds=14.0,
        trials=61.4,
        epochs=180.2,
        epochs_a_point=2.94,
    )
    before, after = plan_lines(config, plan)
    assert before == [
        f"space     toy: {plan.size} points, 25% of them infeasible for images of 8x8x1: never trained, never counted",
        "           20% pool: 3x3 does not fit",
        "            5% max_params: over the limit of 150",
        f"workers   {WORKERS}",
        "",
    ]
    assert after == [
        "",
        "time      10:00 of 10:00: start 0:06, search 7:10, "
        "final training of 1 with 1 seeds at most 2:30, export and verification 0:14",
        "expected  about 61 trials and 180 epochs by asha (tpe), 2.9 of at most 9 epochs a trial",
    ]


def test_the_measured_points_are_a_table(capsys):
    Console(width=100).print(points_table(calculated(max_trials=4)))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["small", "10", "500", "1.00", "0.50"],
        ["median", "20", "1,000", "2.00", "0.50"],
        ["large", "30", "4,000", "4.00", "0.50"],
    ]


class Bench:
    """An executor on a clock of its own: epochs of a job in turn, the first longer; 2 s to start up, 0.25 to set up."""

    def __init__(self, slots=1, seconds=0.5, act=None) -> None:
        self.slots, self.seconds, self.act = slots, seconds, act
        self.now, self.is_stopped, self.waits = 0.0, False, []
        self.jobs: list[Job] = []
        self.told: dict[int, list[Epoch]] = {}
        self.began = 0.0

    def submit(self, job: Job) -> None:
        if not self.jobs:
            self.now += 2.0  # loads TensorFlow
        self.jobs.append(job)
        self.told[job.number] = []
        self.is_stopped = False

    def next_event(self, seconds=None):
        self.waits.append(seconds)
        under_way = [job for job in self.jobs if job.number in self.told]
        job = min(under_way, key=lambda each: len(self.told[each.number]))
        epochs = self.told[job.number]
        if self.act == "fails":
            return JobDone(Result(job.number, "failed", None, None, (), 0.1, "out of memory"))
        if self.act == "is lost":
            return JobLost(job.number, 1, "killed by signal 9")
        if self.is_stopped:
            del self.told[job.number]
            total = 0.25 + math.fsum(epoch.seconds for epoch in epochs)
            return JobDone(Result(job.number, "stopped", 0.5, 1, tuple(epochs), total))
        length = self.seconds * (1 if epochs else 3)
        if seconds is not None and length > seconds:
            self.now += seconds
            self.seconds -= seconds / 3 if not epochs else seconds
            return None
        self.now += length
        epochs.append(Epoch(len(epochs) + 1, {"val_accuracy": 0.5}, length))
        return EpochEnded(job.number, 1, epochs[-1])

    def stop(self) -> None:
        self.is_stopped = True

    def close(self) -> None: ...


def job(number=1) -> Job:
    return Job(number, number, {}, (8, 8, 1), Output("multiclass", 4), Objective("val_accuracy", "max"), 10**9, 0, "")


def timed(executor: Bench, count=1) -> planning._Timing:
    return planning._timed(executor, [job(n) for n in range(1, count + 1)], lambda: executor.now)


def test_a_point_is_timed_by_its_later_epochs_and_the_first_one_is_set_up():
    executor = Bench(seconds=0.5)
    timing = timed(executor)
    assert timing.epoch_seconds == 0.5
    assert timing.setup_seconds == pytest.approx(0.25 + 1.0)
    assert len(executor.jobs) == 1
    assert executor.now - 2.0 >= planning.SECONDS, "long enough for an epoch of milliseconds to be known"


def test_a_slow_point_is_not_trained_beyond_its_time():
    executor = Bench(seconds=25.0)
    timed(executor)
    assert executor.now <= MOST_SECONDS + 2.0 + 75.0


def test_where_the_first_epoch_takes_longer_than_the_time_it_is_waited_for_without_asking_again_and_again():
    class Slow(Bench):
        def next_event(self, seconds=None):
            if seconds is not None:
                self.waits.append(seconds)
                assert seconds > 0, "spins"
                self.now += seconds
                return None
            if not self.told[1]:
                self.now += 100.0
                self.told[1].append(Epoch(1, {"val_accuracy": 0.5}, 120.0))
                return EpochEnded(1, 1, self.told[1][0])
            return super().next_event(seconds)

    executor = Slow()
    assert timed(executor).epoch_seconds == 120.0
    assert len(executor.waits) < 5


@pytest.mark.parametrize(
    ("act", "line"),
    [("fails", "plan: a point cannot be trained: out of memory"), ("is lost", "plan: killed by signal 9")],
)
def test_a_point_that_cannot_be_trained_ends_the_plan_with_a_line(act, line):
    with pytest.raises(SearchError) as error:
        timed(Bench(act=act))
    assert str(error.value) == line


def test_what_was_measured_of_some_images_is_scaled_to_all(monkeypatch, tmp_path):
    config, dataset = toy_config(), toy_dataset()
    some = planning._part_of(dataset, 24)  # of 96
    assert (len(some.train), len(some.val), len(some.test)) == (24, 8, 40)
    executor = Bench(seconds=0.5)
    monkeypatch.setattr(planning, "monotonic", lambda: executor.now)
    timing = planning._Timing(2.0, 0.5, 1.25)
    monkeypatch.setattr(planning, "_timed", lambda *_: timing)
    startup, points = planning._measure_points(config, planning._sample(config), 4.0, WORKERS, executor, tmp_path)
    assert startup == 2.0
    assert [point.name for point in points] == ["small", "median", "large"]
    assert {point.epoch_seconds for point in points} == {2.0}
    assert {point.setup_seconds for point in points} == {1.25}
    assert sorted(point.macs for point in points) == [point.macs for point in points]


def test_of_larger_networks_fewer_images_are_measured(monkeypatch):
    sample = planning._sample(toy_config())
    assert planning._images(sample) == planning.IMAGES
    monkeypatch.setattr(planning, "GUESSED_RATE", 1.0)
    assert planning._images(sample) == planning.LEAST_IMAGES
    assert len(planning._part_of(toy_dataset(), 1000).train) == 96, "no more than there are"


def test_what_a_budget_leaves_out_is_not_measured(monkeypatch):
    config = toy_config(max_trials=None, budget_seconds=60.0)
    sample = planning._sample(config)
    assert planning._measurable(config, sample) == sample
    middle = sample[len(sample) // 2][1].macs
    monkeypatch.setattr(planning, "Affordable", lambda *_: SimpleNamespace(most_macs=middle))
    assert max(plan.macs for _, plan in planning._measurable(config, sample)) == middle
    monkeypatch.setattr(planning, "Affordable", lambda *_: SimpleNamespace(most_macs=0))
    assert planning._measurable(config, sample) == sample, "something has to be"


@pytest.mark.slow
def test_a_plan_of_small_data_is_made_by_training_three_points(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SECONDS", 0.01)
    plan = make_plan(toy_config(max_trials=4), toy_dataset(), WORKERS, tmp_path)
    assert (plan.trials, plan.epochs) == (4.0, 12.0)
    assert all(point.epoch_seconds > 0 for point in plan.points)
    assert plan.workers.count == 1
    assert plan.search_seconds > 0
    json.dumps(plan.to_dict(), allow_nan=False)
