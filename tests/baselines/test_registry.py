"""Simple models on the same split: each task has some, they learn what is easy, and many images cost a bounded time."""

from __future__ import annotations

import numpy as np
import pytest
from toys import toy_dataset

from cnn_tuner.baselines import registry
from cnn_tuner.baselines.registry import BASELINES, measure
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.metrics.tasks import TASKS

METRIC = {"binary": "accuracy", "multiclass": "accuracy", "multilabel": "auc", "regression": "mae"}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_constant_answer_and_a_model_that_beats_it_on_what_is_easy(task):
    constant, *others = measure(toy_dataset(task))
    name, sign = METRIC[task], -1 if task == "regression" else 1
    assert constant.name == "constant"
    assert others
    for each in others:
        assert set(each.val) == set(each.test) == set(constant.val)
        assert sign * each.test[name] > sign * constant.test[name] or np.isnan(constant.test[name]), each.name


def part(images: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, images).astype(np.int32)
    x = rng.integers(0, 40, (images, 4, 4, 1)).astype(np.uint8)
    x[np.arange(images), y, 0] += 200
    return Part(x, y)


def test_on_separable_classes_the_models_are_perfect_and_the_constant_is_the_commonest_class():
    dataset = Dataset("x", "x", "multiclass", ("a", "b", "c"), part(90, 0), part(30, 1), part(60, 2))
    found = {each.name: each for each in measure(dataset)}
    assert set(found) == {"constant", "logistic regression", "RBF SVM"}
    assert found["RBF SVM"].test == found["logistic regression"].test == {"accuracy": 1.0}
    commonest = np.bincount(dataset.train.y).argmax()
    assert found["constant"].test["accuracy"] == pytest.approx(np.mean(dataset.test.y == commonest))


def test_of_many_images_some_are_taken_the_same_for_the_same_seed(monkeypatch):
    monkeypatch.setattr(registry, "MOST_VALUES", 16 * 40)
    dataset = Dataset("x", "x", "multiclass", ("a", "b", "c"), part(90, 0), part(30, 1), part(60, 2))
    first, again = measure(dataset, seed=3), measure(dataset, seed=3)
    assert {each.images for each in first} == {40}
    assert [each.test for each in first] == [each.test for each in again]


def test_the_kernel_is_scikit_learns():
    from sklearn.svm import SVC

    dataset = Dataset("x", "x", "multiclass", ("a", "b", "c"), part(90, 0), part(30, 1), part(60, 2))
    rows = {name: getattr(dataset, name).x.reshape(-1, 16) / 255 for name in ("train", "test")}
    expected = SVC(C=10).fit(rows["train"], dataset.train.y).score(rows["test"], dataset.test.y)
    [found] = [each for each in measure(dataset) if each.name == "RBF SVM"]
    assert found.test["accuracy"] == pytest.approx(expected)


def test_the_registry_names_modules_with_tasks():
    assert set(BASELINES.values()) == {"constant", "logistic", "ridge", "svm"}
