"""Scores against scikit-learn and against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics

from cnn_tuner.metrics.scores import by_class, measure, of_each, predicted, told


def column(*values):
    return np.array(values, np.float32)[:, None]


def random_case(task, count=200, units=4):
    """Labels, and scores that are somewhat right about them."""
    rng = np.random.default_rng(7)
    if task == "multiclass":
        y = rng.integers(0, units, count).astype(np.int32)
        scores = rng.random((count, units)) + 0.5 * np.eye(units)[y]
    elif task == "regression":
        y = rng.normal(size=(count, units)).astype(np.float32)
        scores = y + rng.normal(size=y.shape)
    else:
        y = rng.integers(0, 2, (count, 1 if task == "binary" else units)).astype(np.float32)
        scores = 0.7 * rng.random(y.shape) + 0.3 * y
    return y, scores.astype(np.float32)


@pytest.mark.parametrize(
    ("task", "scores", "found"),
    [
        ("binary", [[0.4], [0.5], [0.6]], [0, 0, 1]),
        ("multiclass", [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [1, 0]),
        ("multilabel", [[0.4, 0.51], [0.9, 0.5]], [[0, 1], [1, 0]]),
        ("regression", [[0.4, -3.0]], [[0.4, -3.0]]),
    ],
)
def test_scores_become_classes_labels_or_values(task, scores, found):
    np.testing.assert_array_equal(predicted(task, np.array(scores)), found)


@pytest.mark.parametrize(
    ("task", "y", "scores", "expected"),
    [
        # Of the four pairs of a positive and a negative, 0.8 > 0.6, 0.8 > 0.1, 0.4 > 0.1 are in order.
        ("binary", column(1, 0, 1, 0), column(0.8, 0.6, 0.4, 0.1), {"accuracy": 0.5, "auc": 0.75}),
        ("multiclass", np.array([1, 0, 2]), np.array([[0.1, 0.9, 0], [0.5, 0.2, 0.3], [1, 0, 0]]), {"accuracy": 2 / 3}),
        (
            "multilabel",
            np.array([[1, 0], [0, 0], [1, 1]]),
            np.array([[0.9, 0.2], [0.1, 0.7], [0.8, 0.6]]),
            {"accuracy": 5 / 6, "auc": (1 + 0.5) / 2},
        ),
        (
            "regression",
            np.array([[1.0, 2.0], [3.0, 4.0]]),
            np.array([[1.0, 4.0], [0.0, 5.0]]),
            {"mae": 6 / 4, "rmse": math.sqrt(14 / 4)},
        ),
    ],
)
def test_the_metrics_of_a_task_by_hand(task, y, scores, expected):
    assert measure(task, y, scores) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "binary",
            lambda y, s: {"accuracy": metrics.accuracy_score(y, s > 0.5), "auc": metrics.roc_auc_score(y, s)},
        ),
        ("multiclass", lambda y, s: {"accuracy": metrics.accuracy_score(y, s.argmax(1))}),
        (
            "multilabel",
            lambda y, s: {"accuracy": 1 - metrics.hamming_loss(y, s > 0.5), "auc": metrics.roc_auc_score(y, s)},
        ),
        (
            "regression",
            lambda y, s: {
                "mae": metrics.mean_absolute_error(y, s),
                "rmse": math.sqrt(metrics.mean_squared_error(y, s)),
            },
        ),
    ],
)
def test_the_metrics_of_a_task_are_those_of_scikit_learn(task, expected):
    y, scores = random_case(task)
    found = measure(task, y, scores)
    assert found == pytest.approx(expected(y, scores), rel=1e-5)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("always", [0, 1])
def test_a_label_that_is_never_or_always_there_has_no_part_in_the_auc(always):
    y, scores = random_case("multilabel")
    y[:, 1] = always
    others = [0, 2, 3]
    expected = metrics.roc_auc_score(y[:, others], scores[:, others])
    assert measure("multilabel", y, scores)["auc"] == pytest.approx(expected)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_there_is_no_auc_where_every_label_is_the_same(task):
    y, scores = random_case(task)
    assert set(measure(task, np.zeros_like(y), scores)) == {"accuracy"}


def test_the_scores_of_each_class_by_hand():
    y, scores = np.array([0, 0, 0, 1, 2]), np.eye(4)[[0, 0, 1, 1, 3]]
    assert by_class("multiclass", y, scores, ("cat", "dog", "owl", "fox")) == [
        {"class": "cat", "precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "images": 3},
        {"class": "dog", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "images": 1},
        {"class": "owl", "precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 1},
        {"class": "fox", "precision": 0.0, "recall": None, "f1": None, "images": 0},
    ]


def test_the_scores_of_both_classes_of_a_binary_task():
    assert by_class("binary", column(1, 0, 0, 0), column(0.9, 0.8, 0.1, 0.2), ("no", "yes")) == [
        {"class": "no", "precision": 1.0, "recall": pytest.approx(2 / 3), "f1": pytest.approx(0.8), "images": 3},
        {"class": "yes", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "images": 1},
    ]


@pytest.mark.parametrize("labels", [1, 2, 4])
def test_the_scores_of_each_label_are_those_of_the_label_alone(labels):
    y, scores = random_case("multilabel", units=labels)
    names = tuple(f"label_{index}" for index in range(labels))
    expected = [
        {
            "class": name,
            "precision": metrics.precision_score(truth, score > 0.5),
            "recall": metrics.recall_score(truth, score > 0.5),
            "f1": metrics.f1_score(truth, score > 0.5),
            "images": int(truth.sum()),
        }
        for name, truth, score in zip(names, y.T, scores.T, strict=True)
    ]
    assert by_class("multilabel", y, scores, names) == expected


def test_a_regression_has_no_classes():
    assert by_class("regression", column(1.0), column(2.0), ("target",)) == []


def unequal_case(task, count=300):
    """Of random images those of all but the first class are rare."""
    y, scores = random_case(task, count)
    kept = np.flatnonzero((y.reshape(-1) == 0) | (np.arange(count) % 5 == 0))
    return y[kept], scores[kept]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_of_unequal_classes_each_counts_alike(task):
    y, scores = unequal_case(task)
    truth, answers = y.reshape(-1).astype(int), predicted(task, scores)
    found = told(task, y, scores)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, answers))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, answers, average="macro"))
    assert {name: found[name] for name in measure(task, y, scores)} == measure(task, y, scores)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_of_classes_that_are_about_equal_nothing_more_is_told(task):
    y, scores = random_case(task)
    assert told(task, y, scores) == measure(task, y, scores)


def test_a_class_without_images_has_no_recall():
    y, scores = np.array([0, 0, 1], np.int32), np.eye(3)[[0, 2, 1]]
    found = told("multiclass", y, scores)
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("task", "y", "scores", "metric", "sign"),
    [
        ("multiclass", [0, 2, 1], [[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0, 1, 0]], "accuracy", 1),
        ("binary", [[0], [1], [1]], [[0.4], [0.6], [0.5]], "accuracy", 1),
        ("multilabel", [[0, 1], [1, 1]], [[0.4, 0.9], [0.6, 0.1]], "accuracy", 1),
        ("regression", [[1, 2], [3, 4]], [[1.5, 2], [3, 1]], "mae", -1),
    ],
)
def test_what_each_image_adds_is_on_average_the_metric(task, y, scores, metric, sign):
    labels, answers = np.array(y, np.float32 if np.ndim(y) > 1 else np.int32), np.array(scores, np.float32)
    found = of_each(metric, labels, task, answers)
    assert found.shape == (len(labels),)
    assert sign * found.mean() == pytest.approx(measure(task, labels, answers)[metric])


def test_of_squared_errors_the_mean_is_the_square_and_of_an_area_there_is_nothing():
    y, found = np.array([[1.0], [3.0]]), np.array([[2.0], [6.0]])
    assert -of_each("rmse", y, "regression", found).mean() == pytest.approx(
        measure("regression", y, found)["rmse"] ** 2
    )
    assert of_each("auc", y, "binary", found) is None
