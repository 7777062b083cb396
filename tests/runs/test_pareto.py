"""Two objectives at once: which trials no other one beats in both, and the order of all others behind them."""

from __future__ import annotations

import random

import pytest

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.pareto import check_cost, cost_of, front, fronts, order
from cnn_tuner.runs.records import Trial
from cnn_tuner.terminal import pareto_table

ACCURACY, LOSS = Objective("val_accuracy", "max"), Objective("val_loss", "min")
VALUES = {
    "blocks": 1,
    "block_1.convolutions": 1,
    "block_1.filters": 16,
    "block_1.kernel_size": 3,
    "block_1.strides": 1,
    "block_1.pool_size": 2,
    "dense_layers": 0,
    "learning_rate": 0.01,
    "batch_size": 32,
}


def trial(number: int, score: float | None, params: int, latency: float | None = None) -> Trial:
    return Trial(number, VALUES, 0, params, 10 * params, "completed", score, latency_seconds=latency)


TRIALS = [trial(1, 0.9, 500), trial(2, 0.8, 100), trial(3, 0.85, 600), trial(4, 0.95, 900), trial(5, None, 1)]


def dominates(a, b) -> bool:
    return a != b and a[0] <= b[0] and a[1] <= b[1]


def peeled(points) -> list[int]:
    """The fronts by their definition: those that nobody dominates, then the same of the rest."""
    found, left, number = [0] * len(points), set(range(len(points))), 0
    while left:
        best = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in best:
            found[i] = number
        left, number = left - best, number + 1
    return found


@pytest.mark.parametrize("seed", range(20))
def test_fronts_are_those_of_the_definition(seed):
    rng = random.Random(seed)
    points = [(rng.randrange(8), rng.randrange(8)) for _ in range(rng.randrange(1, 40))]
    assert fronts(points) == peeled(points)


def test_no_points_have_no_fronts():
    assert fronts([]) == order([]) == []


def test_the_front_is_what_no_other_trial_beats_in_both_the_cheapest_first():
    assert [each.number for each in front(TRIALS, ACCURACY, "params")] == [2, 1, 4]


def test_an_objective_that_is_to_be_small_turns_the_front():
    assert [each.number for each in front(TRIALS, LOSS, "params")] == [2]


def test_of_equal_trials_the_earlier_is_in_the_front():
    assert [each.number for each in front([trial(1, 0.9, 5), trial(2, 0.9, 5)], ACCURACY, "macs")] == [1]


def test_a_trial_without_a_latency_is_in_no_front_of_it():
    timed = [trial(1, 0.9, 5, 0.002), trial(2, 0.95, 5), trial(3, 0.8, 5, 0.001)]
    assert [each.number for each in front(timed, ACCURACY, "latency")] == [3, 1]


@pytest.mark.parametrize(("name", "cost"), [("params", 7), ("macs", 70), ("latency", 0.5)])
def test_what_a_model_costs(name, cost):
    assert cost_of(trial(1, 0.5, 7, 0.5), name) == cost


def test_the_order_goes_by_fronts_and_then_by_how_much_a_point_stands_for():
    points = [(0, 10), (10, 0), (1, 9), (5, 5), (5.1, 4.9), (20, 20), (11, 11)]
    assert order(points) == [0, 1, 2, 4, 3, 6, 5]


def test_an_unknown_cost_is_refused():
    with pytest.raises(UsageError, match=r"^--and: unknown: 'price'; choices: params, macs, latency$"):
        check_cost("price")


def test_the_front_as_it_looks_in_a_terminal():
    found = front(TRIALS, ACCURACY, "params")
    headline = pareto_table.headline(found, ACCURACY, "params")
    assert headline == "the 3 trials that no other beats in both val_accuracy and params (parameters)"
    table = pareto_table.table(found, ACCURACY, "params")
    assert [column.header for column in table.columns][:3] == ["trial", "params", "val_accuracy"]
    assert list(table.columns[1].cells) == ["100", "500", "900"]
    assert pareto_table.headline([], ACCURACY, "macs") == "no trial with both val_accuracy and macs yet"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00052, "0.52 ms"), (0.0123, "12.3 ms"), (None, "-")], ids=["short", "long", "none"]
)
def test_a_latency_is_told_in_milliseconds(seconds, text):
    assert pareto_table.cost_text(trial(1, 0.9, 5, seconds), "latency") == text
