"""What charts show: plain options, the same figures as tables, limits of how much is drawn."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from toys import SPACE, invented_trials, toy_space

from cnn_tuner.analysis import findings
from cnn_tuner.analysis.importance import Importances
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.report import charts, comparison_charts, evaluation_charts, texts
from cnn_tuner.report.charts import Reached
from cnn_tuner.runs.evaluation import Evaluation
from cnn_tuner.runs.pareto import front
from cnn_tuner.runs.records import Epoch

BEST, LEAST = Objective("val_accuracy", "max"), Objective("val_loss", "min")
SPACE_ = toy_space(SPACE)
NONE = Importances(0, 0, reason="too few")


def trials(count: int):
    rng = random.Random(1)
    return invented_trials(SPACE_, lambda point: rng.random(), count)


def test_what_is_not_finite_becomes_a_gap():
    epochs = [Epoch(1, {"loss": math.nan, "val_loss": 0.5}, 1.0), Epoch(2, {"loss": 0.4, "val_loss": math.inf}, 1.0)]
    chart = charts.winners_curve(epochs, "loss")
    assert [line["data"] for line in chart.options["series"]] == [[[1, None], [2, 0.4]], [[1, 0.5], [2, None]]]
    assert chart.sheet.rows == (("1", "-", "0.5000"), ("2", "0.4000", "-"))
    json.dumps(chart.options, allow_nan=False)
    assert charts.winners_curve(epochs, "accuracy") is None
    assert charts.winners_curve([], "loss") is None


def test_the_best_curves_are_named_and_the_rest_are_grey():
    chart = charts.trials_curves(trials(60), BEST)
    names = [line["name"] for line in chart.options["series"]]
    assert len(names) == charts.MOST_CURVES
    assert names.count("other 45") == 45
    assert "the best 50 of 60 trials" in chart.aid
    assert len(chart.sheet.rows) == 50
    assert charts.trials_curves([], BEST) is None


@pytest.mark.parametrize(("objective", "bests"), [(BEST, [0.5, 0.7]), (LEAST, [0.5, 0.4])])
def test_the_best_so_far_only_gets_better(objective, bests):
    ends = [Reached(30, 3, 0.4), Reached(10, 1, 0.5), Reached(20, 2, 0.7), Reached(40, 4, math.nan)]
    chart = charts.best_over_time(ends, objective)
    assert [float(row[2]) for row in chart.sheet.rows] == bests
    assert chart.options["series"][1]["data"][-1] == [30, bests[-1]]
    assert charts.best_over_time([], objective) is None


@pytest.mark.parametrize(("objective", "end"), [(BEST, {"min": 0.85, "max": 1, "interval": 0.05}), (LEAST, {})])
def test_a_few_bad_scores_do_not_press_the_others_together(objective, end):
    scores = [0.1, 0.9, 0.92, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]
    found, words = charts.focus(scores, objective)
    assert found == end
    assert bool(words) == bool(end)
    assert charts.focus([0.5], objective) == ({}, "")
    mirrored = charts.focus([-score for score in scores], Objective("val_loss", "min"))
    assert mirrored[0] == {"max": -0.85}


def test_time_is_told_in_minutes_where_it_is_long():
    chart = charts.best_over_time([Reached(60, 1, 0.5), Reached(600, 2, 0.6)], BEST)
    assert chart.options["xAxis"]["name"] == "minutes at work"
    assert chart.options["series"][1]["data"] == [[1, 0.5], [10, 0.6]]


def test_a_line_goes_through_its_values_and_a_dash_where_it_has_none():
    found = trials(30)
    chart = comparison_charts.parallel_coordinates(found, SPACE_, BEST, NONE)
    axes, lines = chart.options["parallelAxis"], chart.options["series"][0]["data"]
    names = [axis["name"] for axis in axes]
    ends = ["log10\nlearning\nrate", "batch\nsize", "val\naccuracy"]
    assert names == [
        "block_1\nfilters",
        "block_1\npool_size",
        "block_1\ndropout",
        "dense\nlayers",
        "dense_1\nunits",
        *ends,
    ]
    units = names.index("dense_1\nunits")
    assert axes[units]["data"] == ["-", "4", "8"]
    best = max(found, key=lambda trial: trial.score)
    last = lines[-1]["value"]
    assert last[-1] == pytest.approx(best.score, rel=1e-4)
    assert axes[units]["data"][last[units]] == str(best.values.get("dense_1.units", "-"))
    rate = names.index("log10\nlearning\nrate")
    assert last[rate] == pytest.approx(math.log10(best.values["learning_rate"]), rel=1e-4)


def test_a_thousand_lines_are_enough_and_the_best_of_them_stay():
    found = trials(1100)
    chart = comparison_charts.parallel_coordinates(found, SPACE_, BEST, NONE)
    assert len(chart.options["series"][0]["data"]) == comparison_charts.MOST_LINES
    assert "The best 1000 of 1100 trials." in chart.aid
    assert len(json.dumps(chart.options)) < 300_000


def test_less_is_better_turns_the_colours():
    one = comparison_charts.parallel_coordinates(trials(20), SPACE_, BEST, NONE).options["visualMap"]
    other = comparison_charts.parallel_coordinates(trials(20), SPACE_, LEAST, NONE).options["visualMap"]
    assert one["inRange"]["color"][-1] == other["inRange"]["color"][0] == "@strong"


def test_equal_scores_and_one_trial_make_no_fault():
    found = [replace(trial, score=0.5) for trial in trials(3)]
    chart = comparison_charts.parallel_coordinates(found, SPACE_, BEST, NONE)
    assert chart.options["visualMap"]["max"] >= chart.options["visualMap"]["min"]
    assert comparison_charts.parallel_coordinates(found[:1], SPACE_, BEST, NONE) is None


def test_importance_is_not_drawn_where_there_is_none():
    assert comparison_charts.importance(NONE) is None


def test_the_front_is_marked_and_a_wide_range_is_logarithmic():
    found = [replace(t, params=10**t.number, score=0.1 * t.number) for t in trials(4)]
    chart = comparison_charts.cost_and_score(found, front(found, BEST, "params"), BEST, "params", 2)
    assert chart.options["xAxis"]["type"] == "log"
    assert [series["name"] for series in chart.options["series"]] == ["other trials", "front", "winner"]
    assert [row[0] for row in chart.sheet.rows] == ["1", "2", "3", "4"]
    assert comparison_charts.cost_and_score(found, [], BEST, "latency", None) is None


def evaluation_of(classes: int, images: int = 200) -> Evaluation:
    rng = np.random.default_rng(0)
    none = np.zeros(0, int)
    return Evaluation(
        "multiclass",
        rng.integers(0, classes, images),
        rng.random((images, classes)),
        none,
        none,
        np.zeros((0, 8, 8, 1)),
    )


def test_a_matrix_of_many_classes_is_told_as_pairs():
    names = tuple(f"class {i}" for i in range(31))
    found = evaluation_of(31)
    assert evaluation_charts.confusion_matrix(found, names) is None
    pairs = findings.confusions(found, names)
    assert pairs[0].images == max(pair.images for pair in pairs)
    assert sum(pair.images for pair in pairs) == 200 - found.confusion().trace()


def test_a_cell_holds_its_images_and_its_share_of_the_row():
    names = ("a", "b", "c")
    found = evaluation_of(3)
    chart = evaluation_charts.confusion_matrix(found, names)
    cells = chart.options["series"][0]["data"]
    assert sum(int(cell["label"]["formatter"]) for cell in cells) == 200
    for truth in range(3):
        assert sum(cell["value"][2] for cell in cells if cell["value"][1] == truth) == pytest.approx(1, abs=1e-3)


def test_points_of_a_regression_are_sampled_the_same_each_time():
    y = np.linspace(0, 1, 5000)[:, None]
    none = np.zeros(0, int)
    found = Evaluation("regression", y, y + 0.1, none, none, np.zeros((0, 8, 8, 1)))
    [first], [second] = (evaluation_charts.predicted_against_true(found, ("size",)) for _ in range(2))
    assert len(first.options["series"][0]["data"]) == evaluation_charts.MOST_POINTS
    assert first == second
    assert "2,000 of 5,000 drawn at random" in first.aid


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("npz:/Users/me/photos/arrays.npz", "npz:…/arrays.npz"),
        ("--data ~/photos/cats --runs runs", "--data …/cats --runs runs"),
        ("photos/train", "photos/train"),
        ("--runs=/tmp/x", "--runs=…/x"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("'/Users/me/a'", "'…/a'"),
        ("/Users/me/photos/", "…/photos"),
        ("idx:/usr/share/datasets/fashion-mnist", "idx:…/fashion-mnist"),
        ("1/2 of 3", "1/2 of 3"),
    ],
)
def test_a_place_on_a_machine_is_cut_to_its_last_name(text, shown):
    assert texts.without_places(text) == shown
