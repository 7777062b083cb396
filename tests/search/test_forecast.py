"""How long the rest of a run takes, from invented events, and told in simulated runs on a clock of their own."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from toys import FINITE_SPACE, NoLogs, formula, toy_config, toy_run

from cnn_tuner.executors.simulated import Simulated, SimulatedExecutor
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.budget import FINAL_SHARE, Budget
from cnn_tuner.runs.records import Epoch, Job, Result, Trial
from cnn_tuner.search.final_plan import side_by_side
from cnn_tuner.search.final_training import FinalTraining
from cnn_tuner.search.forecast import (
    EXPORT_STARTUPS,
    FORK_SECONDS,
    FORMAT_STARTUPS,
    STARTUP_SECONDS,
    Forecast,
    export_seconds,
)
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle

OBJECTIVE, OUTPUT = Objective("val_accuracy", "max"), Output("multiclass", 4)


def job(number=1, epochs=3, initial_epoch=0) -> Job:
    values = {"learning_rate": 0.1, "batch_size": 16}
    return Job(number, number, values, (8, 8, 1), OUTPUT, OBJECTIVE, epochs, 0, "", initial_epoch=initial_epoch)


def epoch(number, seconds) -> Epoch:
    return Epoch(number, {"val_accuracy": 0.5}, seconds)


def trial(*seconds, values=None, **facts) -> Trial:
    epochs = tuple(epoch(n, each) for n, each in enumerate(seconds, start=1))
    told = {"epochs_done": len(epochs)} | facts
    return Trial(1, values or {"learning_rate": 0.1, "batch_size": 16}, 0, 10, 10, score=0.5, epochs=epochs, **told)


def forecast_of(seconds=None, **search) -> Forecast:
    """Of a search that began at 100."""
    config = toy_config(budget_seconds=seconds, **search)
    return Forecast(config, Budget(seconds, began=100.0))


@pytest.mark.parametrize(
    ("at", "until"),
    [(117.5, 117.5), (118.5, 121.0), (120.0, 121.0), (120.9, 121.0), (121.5, 121.5)],
    ids=["long before", "nearly done", "as foreseen", "a little late", "too late"],
)
def test_an_epoch_that_is_nearly_done_may_end(at, until):
    forecast = forecast_of(200.0)
    under_way = job(epochs=3)
    forecast.job_began(under_way, 100.0)
    assert forecast.after_epochs(105.0) == 105.0, "how long it takes is not known yet"
    forecast.epoch_ended(under_way, epoch(1, 10.0), 110.0)  # the second ends at 120 and has a second more
    assert forecast.after_epochs(at) == until
    forecast.epoch_ended(under_way, epoch(3, 10.0), 110.0)
    assert forecast.after_epochs(at) == at, "there is no further one"


class Ahead:
    """An oracle that will ask for so many epochs more."""

    def __init__(self, epochs: float | None) -> None:
        self.epochs_ahead = lambda: epochs


def with_one_job(forecast: Forecast, number=1, began=100.0, epochs=3, first=8.0, later=2.0, setup=1.0) -> Forecast:
    """A job that was submitted at `began`, started up, trained all its epochs and ended."""
    trained = [epoch(n, first if n == 1 else later) for n in range(1, epochs + 1)]
    forecast.job_began(job(number, epochs), began)
    now = began + 4.0
    for each in trained:
        now += each.seconds
        forecast.epoch_ended(job(number, epochs), each, now)
    total = setup + sum(each.seconds for each in trained)
    forecast.job_ended(job(number, epochs), Result(number, "completed", 0.5, epochs, tuple(trained), total))
    return forecast


def test_the_export_takes_some_starts_and_some_looks_at_the_test_part():
    config = toy_config()  # 96 images to train on, 32 for validation, 40 for the test
    assert export_seconds(config, 6.0, 0.0) == EXPORT_STARTUPS * 6.0
    more = config.model_copy(update={"formats": ("tf_saved_model", "keras", "onnx")})
    assert export_seconds(more, 6.0, 0.0) == (EXPORT_STARTUPS + 2 * FORMAT_STARTUPS) * 6.0
    assert export_seconds(config, 0.0, 9.6) == pytest.approx((4 * 40 + 2 * 32) * 0.1 / 3)
    assert forecast_of().export_seconds(None) == EXPORT_STARTUPS * STARTUP_SECONDS, "before anything was seen"
    assert with_one_job(forecast_of()).export_seconds(trial(8.0, 2.0)) == pytest.approx(
        EXPORT_STARTUPS * 4.0 + (4 * 40 + 2 * 32) * 2.0 / 96 / 3
    )


def test_jobs_side_by_side_begin_in_their_order_when_a_slot_is_free():
    assert side_by_side([], 2) == 0.0
    assert side_by_side([4.0, 4.0, 4.0], 2) == 8.0
    assert side_by_side([10.0, 1.0, 2.0], 2) == 10.0
    assert side_by_side([1.0, 2.0, 10.0], 2) == 11.0
    assert side_by_side([1.0, 2.0, 10.0], 1) == 13.0


def test_an_epoch_is_as_long_as_those_after_the_first_one():
    forecast = with_one_job(forecast_of())
    assert forecast.seconds_of(None) == forecast.seconds_of(trial()) == 4.0, "on average"
    assert forecast.seconds_of(trial(8.0, 2.0, 3.0)) == 2.5
    assert forecast.seconds_of(trial(8.0)) == 8.0


def test_the_final_training_is_of_all_finalists_and_seeds_and_the_refit_from_their_first_epoch():
    forecast = with_one_job(forecast_of(600, finalists=2, final_seeds=2, final_epochs=9))
    each = 1 + 9 * 2.0  # 1 s to set up, 2 s an epoch
    assert forecast.final_plan(trial(8.0, 2.0, 2.0), slots=1).seconds == 5 * each
    assert forecast.final_plan(trial(8.0, 2.0, 2.0), slots=2).seconds == 3 * each


def test_the_search_ends_when_its_part_of_the_budget_is_over():
    assert forecast_of().search_ends_at(None) == math.inf
    forecast = with_one_job(forecast_of(600, finalists=1, final_seeds=1, final_epochs=9))
    best = trial(8.0, 2.0, 2.0)
    assert forecast.search_ends_at(best) == 700.0 - 2 * 19.0 - forecast.export_seconds(best)
    forecast.config = toy_config(budget_seconds=600, finalists=9, final_seeds=9, final_epochs=900)
    ends_at = 700.0 - FINAL_SHARE * 600 - forecast.export_seconds(best)
    assert forecast.search_ends_at(best) == pytest.approx(ends_at)


def test_what_jobs_take_beside_their_epochs_is_not_hidden_by_those_that_still_run():
    forecast = with_one_job(forecast_of(), setup=1.0)
    forecast.job_began(job(2), 200.0)
    forecast.epoch_ended(job(2), epoch(1, 50.0), 251.0)
    assert forecast.pace.setup_seconds == pytest.approx(1.0)


def test_a_process_that_loads_tensorflow_alone_takes_less_than_those_that_shared_a_core():
    forecast = with_one_job(forecast_of())
    forecast.crowding = 1.5
    assert forecast.startup_seconds == pytest.approx(4.0 / 1.5)


def test_where_a_fork_server_loaded_tensorflow_it_says_what_that_took():
    forecast = with_one_job(forecast_of(), setup=1.0)
    forecast.server = SimpleNamespace(loading_seconds=None)
    assert forecast.startup_seconds == forecast.worker_seconds == 4.0, "it is not known yet"
    forecast.server.loading_seconds = 6.0
    assert forecast.startup_seconds == pytest.approx(7.0), "of a process that reads the export"
    assert forecast.worker_seconds == pytest.approx(FORK_SECONDS + 1.0)


def test_a_job_that_was_lost_for_good_or_failed_at_once_tells_nothing_of_setting_up():
    forecast = with_one_job(forecast_of(), setup=1.0)
    for number, epochs in [(2, (epoch(1, 3.0),)), (3, ())]:
        forecast.job_began(job(number), 200.0)
        forecast.job_ended(job(number), Result(number, "failed", None, None, epochs, 0.0))
    assert (forecast.pace.jobs, forecast.pace.setup_seconds) == (1, pytest.approx(1.0))


def test_a_job_that_was_taken_up_after_a_kill_counts_its_epochs_but_not_as_a_start_up():
    forecast = forecast_of()
    forecast.job_began(job(1), 100.0)
    forecast.epoch_ended(job(1), epoch(1, 30.0), 104.0)  # told again at once
    assert forecast.export_seconds(None) > EXPORT_STARTUPS * STARTUP_SECONDS
    forecast.epoch_ended(job(1), epoch(2, 10.0), 114.0)
    assert forecast.pace.startup_seconds == 4.0


def test_nothing_is_told_before_the_first_epoch():
    forecast = forecast_of(600)
    forecast.job_began(job(1), 100.0)
    assert forecast.seconds_left(Ahead(3.0), None, 1, 105.0) is None


def test_the_time_left_is_what_runs_what_comes_the_final_training_and_the_export():
    forecast = with_one_job(forecast_of(final_epochs=9))
    best = trial(8.0, 2.0, 2.0)
    forecast.job_began(job(2), 120.0)
    forecast.epoch_ended(job(2), epoch(1, 4.0), 124.0)
    each = forecast.pace.epoch_seconds
    assert each == 4.0  # (8 + 2 + 2 + 4) / 4
    expected = 2 * 4.0 + 6 * (each + 1.0 / 4) + 2 * (1.0 + 9 * 2.0) + forecast.export_seconds(best)
    assert forecast.seconds_left(Ahead(6.0), best, 1, 124.0) == pytest.approx(expected)


def test_two_slots_halve_the_search_but_not_its_last_trial():
    forecast = with_one_job(forecast_of(final_epochs=3))
    best = trial(8.0, 2.0, 2.0)
    fixed = forecast.export_seconds(best) + 2 * (1.0 + 3 * 2.0)
    forecast.job_began(job(2, epochs=3), 120.0)
    half, idle = (3 * 4.0 + 30 * (4.0 + 1 / 3)) / 2, 3 * 4.0 / 4  # one of two slots, for half of a trial
    assert forecast.seconds_left(Ahead(30.0), best, 2, 120.0) == pytest.approx(half + idle + fixed)
    assert forecast.seconds_left(Ahead(0.0), best, 2, 120.0) == pytest.approx(12.0 + fixed)


@pytest.mark.parametrize(("ahead", "now", "left"), [(None, 150.0, 550.0), (1e6, 150.0, 550.0), (1e6, 800.0, 0.0)])
def test_never_more_is_left_than_the_budget(ahead, now, left):
    assert with_one_job(forecast_of(600)).seconds_left(Ahead(ahead), trial(8.0, 2.0), 1, now) == left


def test_without_any_limit_the_end_is_not_known():
    assert with_one_job(forecast_of()).seconds_left(Ahead(None), trial(8.0, 2.0), 1, 150.0) == math.inf


class Told(Silent):
    """Keeps when which time left was told."""

    def __init__(self, clock) -> None:
        self.clock, self.told = clock, []

    def time_left(self, seconds: float) -> None:
        self.told.append((self.clock(), seconds))


def trained(job: Job) -> Simulated:
    """Epochs as long as the network is large, the first of a job a fifth longer; a state is left behind."""
    Path(job.state_file).parent.mkdir(exist_ok=True)
    Path(job.state_file).write_bytes(b"state")
    rng = random.Random(job.seed)
    luck = 0.02 * rng.random()
    seconds = 1.0 + 0.2 * sum(int(v) for n, v in job.values.items() if n.endswith(".filters")) + rng.random()
    epochs = (
        Epoch(
            n,
            {"loss": 0.1, "val_accuracy": formula(job, 0) + luck + 0.3 * n / (n + 3)},
            seconds * (1.2 if n == job.initial_epoch + 1 else 1.0),
        )
        for n in range(job.initial_epoch + 1, job.epochs + 1)
    )
    return Simulated(tuple(epochs))


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("oracle", ["random", "asha", "hyperband"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_over_the_second_half_of_a_run_the_time_left_is_within_a_fifth_of_the_truth(tmp_path, oracle, slots, seed):
    lengths = {"max_trials": 40, "epochs": 9, "final_epochs": 18, "finalists": 3, "final_seeds": 2}
    run = toy_run(tmp_path, oracle=oracle, seed=seed, keep=40, **lengths)  # a finalist whose state is gone costs more
    executor = SimulatedExecutor(slots, trained)
    clock = lambda: executor.now  # noqa: E731
    observer, forecast = Told(clock), Forecast(run.config, Budget())
    Search(run, make_oracle(run.config), executor, NoLogs(), observer, forecast, clock).run()
    FinalTraining(run, executor, observer, forecast, lambda: False, clock=clock).run()
    end = executor.now + forecast.export_seconds(run.best_trial())
    told = [(now, left) for now, left in observer.told if now > end / 2]
    assert len(told) > 20
    errors = [abs(left / (end - now) - 1) for now, left in told]
    if oracle != "random":  # whom it promotes, and so how long the finalists take, is luck to the last
        # With asha good points come first, so that fewer are promoted later than of points in random order, and the
        # sooner its model knows what is good, the less the first half tells of the second.
        usual, most = (0.25, 0.6) if oracle == "asha" else (0.2, 0.5)
        assert (statistics.median(errors) < usual, max(errors) < most) == (True, True)
    else:
        assert max(errors) < 0.2


@pytest.mark.parametrize(
    ("oracle", "off"),
    [("random", 0.0), ("grid", 0.0), ("hyperband", 0.01), ("asha", 0.25)],
    ids=["random", "grid", "hyperband", "asha"],
)
@pytest.mark.parametrize("slots", [1, 3])
def test_what_an_oracle_says_is_ahead_is_nearly_what_it_then_asks_for(tmp_path, oracle, off, slots):
    """How many ASHA promotes depends on the order in which the good points come: at random, they are known about."""
    sampler = "random" if oracle == "asha" else None
    run = toy_run(tmp_path, oracle=oracle, sampler=sampler, max_trials=30, epochs=9)
    executor, ahead = SimulatedExecutor(slots, trained), []
    search = Search(run, make_oracle(run.config), executor, NoLogs(), Silent(), clock=lambda: executor.now)
    submit = executor.submit

    def noted(job: Job) -> None:
        ahead.append((search.oracle.epochs_ahead(), job.epochs - job.initial_epoch))
        submit(job)

    executor.submit = noted
    search.run()
    lengths = [length for _, length in ahead]
    for place, (told, _) in enumerate(ahead):
        assert told == pytest.approx(sum(lengths[place + 1 :]), abs=off * sum(lengths)), place
    assert search.oracle.epochs_ahead() == 0


def test_a_finite_space_limits_what_is_ahead(tmp_path):
    config = toy_config(FINITE_SPACE, max_trials=None)
    oracle = make_oracle(config)
    points = config.search_space().size().points
    assert oracle.epochs_ahead() == points * 3
    oracle.create_trial("first")
    assert oracle.epochs_ahead() == (points - 1) * 3
    assert make_oracle(toy_config(FINITE_SPACE, max_trials=5)).epochs_ahead() == 15


@pytest.mark.parametrize("oracle", ["random", "bayesian", "asha", "hyperband"])
def test_where_nothing_limits_an_oracle_it_does_not_say_what_is_ahead(oracle):
    assert make_oracle(toy_config(oracle=oracle, max_trials=None)).epochs_ahead() is None


def test_what_earlier_sessions_trained_counts_for_the_final_training(tmp_path):
    run = toy_run(tmp_path, max_trials=4)
    executor = SimulatedExecutor(1, trained)
    Search(run, make_oracle(run.config), executor, NoLogs(), Silent(), clock=lambda: executor.now).run()
    run.reconfigure(replace_search(run.config, max_trials=6))
    again = SimulatedExecutor(1, trained)
    search = Search(run, make_oracle(run.config), again, NoLogs(), Silent(), clock=lambda: again.now)
    search.run()
    assert (search.forecast.earlier_epochs, search.forecast.pace.epochs) == (12, 6)


def replace_search(config, **search):
    return config.model_copy(update={"search": config.search.model_copy(update=search)})
