"""Intervals against numbers from the literature, against SciPy, and against what they promise: to cover the truth."""

import time

import numpy as np
import pytest
from metrics.test_scores import column, random_case, unequal_case
from scipy import stats

from cnn_tuner.metrics import scores as scores_module
from cnn_tuner.metrics.intervals import Interval, measure_intervals

TASKS = pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])


@TASKS
def test_every_metric_lies_in_its_interval(task):
    y, scores = random_case(task)
    found = measure_intervals(task, y, scores)
    measured = scores_module.measure(task, y, scores)
    assert list(found) == list(measured)
    for name, value in measured.items():
        assert found[name].low < value < found[name].high


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_of_unequal_classes_what_counts_them_alike_has_wider_intervals(task):
    y, scores = unequal_case(task)
    found, measured = measure_intervals(task, y, scores), scores_module.told(task, y, scores)
    assert list(found) == list(measured)
    for name in ("balanced_accuracy", "macro_f1"):
        assert found[name].low < measured[name] < found[name].high
        assert found[name].high - found[name].low > found["accuracy"].high - found["accuracy"].low


@TASKS
def test_more_images_narrow_it(task):
    few, many = (measure_intervals(task, *random_case(task, count)) for count in (100, 1600))
    for name, interval in few.items():
        assert (interval.high - interval.low) == pytest.approx(4 * (many[name].high - many[name].low), rel=0.5)


@pytest.mark.parametrize(
    ("hits", "images", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_an_accuracy_has_wilsons_interval(hits, images, low, high):
    right = np.arange(images) < hits
    y, scores = np.zeros(images, np.int32), np.eye(2)[np.where(right, 0, 1)]
    found = measure_intervals("multiclass", y, scores)["accuracy"]
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_perfect_accuracy_is_not_certain():
    found = measure_intervals("multiclass", np.zeros(50, np.int32), np.eye(2)[np.zeros(50, int)])["accuracy"]
    assert (found.low, found.high) == pytest.approx((0.929, 1.0), abs=1e-3)


@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_an_error_has_the_interval_that_scipy_bootstraps(name):
    y, scores = random_case("regression", 400)
    of_images = ((scores - y) ** 2).mean(axis=1) if name == "rmse" else np.abs(scores - y).mean(axis=1)
    root = np.sqrt if name == "rmse" else np.asarray
    expected = stats.bootstrap(
        (of_images,), lambda x, axis: root(x.mean(axis=axis)), method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = measure_intervals("regression", y, scores)[name]
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=0.02)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_an_auc_is_bootstrapped_over_images(task):
    """Against images drawn one resample at a time and measured by scikit-learn; scores have ties."""
    y, scores = random_case(task, 150, units=2)
    scores = np.round(scores, 1)
    rng = np.random.default_rng(5)
    draws = [rng.integers(0, len(y), len(y)) for _ in range(100)]
    expected = np.percentile([scores_module.measure(task, y[d], scores[d])["auc"] for d in draws], [2.5, 97.5])
    found = measure_intervals(task, y, scores)["auc"]
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.025)


def test_the_labels_of_an_image_are_not_independent():
    """Twenty labels that are all right or all wrong say no more than one label does."""
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.8
    y = np.ones((200, 20), np.float32)
    scores = np.repeat(np.where(right, 0.9, 0.1)[:, None], 20, axis=1)
    found = measure_intervals("multilabel", y, scores)["accuracy"]
    alone = measure_intervals("multiclass", np.zeros(200, np.int32), np.eye(2)[(~right).astype(int)])["accuracy"]
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_it_covers_the_truth_as_often_as_it_says():
    rng, covered = np.random.default_rng(3), 0
    for seed in range(100):
        error = rng.exponential(size=(80, 1))  # whose mean is 1
        found = measure_intervals("regression", np.zeros((80, 1)), error, seed)["mae"]
        covered += found.low <= 1 <= found.high
    assert 88 <= covered <= 99


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_a_metric_that_is_no_number_has_no_interval(task):
    y, scores = random_case(task)
    assert list(measure_intervals(task, np.zeros_like(y), scores)) == ["accuracy"]


def test_a_label_of_few_images_is_in_some_draws_only():
    y, scores = column(1, *[0] * 9), column(*np.linspace(0.9, 0.1, 10))
    assert measure_intervals("binary", y, scores)["auc"] == Interval(1.0, 1.0)


def test_the_same_seed_gives_the_same_interval():
    y, scores = random_case("regression")
    assert measure_intervals("regression", y, scores) == measure_intervals("regression", y, scores)
    assert measure_intervals("regression", y, scores) != measure_intervals("regression", y, scores, seed=1)


@pytest.mark.slow
def test_ten_thousand_images_take_seconds():
    y, scores = random_case("multilabel", 10_000, units=10)
    started = time.monotonic()
    measure_intervals("multilabel", y, scores)
    assert time.monotonic() - started < 20
