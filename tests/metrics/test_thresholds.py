"""Thresholds that are chosen on labels whose best one is known, or found by trying all of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from cnn_tuner.metrics import thresholds


def labelled(images, share, seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random((images, 1)) < share).astype(np.float32)
    return y, np.clip(0.25 + 0.3 * y + 0.15 * rng.normal(size=y.shape), 0, 1)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("task", "worth"), [("binary", balanced_accuracy_score), ("multilabel", lambda y, p: f1_score(y, p))]
)
def test_no_other_threshold_is_better(task, worth, seed):
    y, said = labelled(400, 0.1, seed)
    [found] = thresholds.choose(task, y, said)
    reached = worth(y[:, 0] > 0.5, said[:, 0] > found)
    assert reached == pytest.approx(max(worth(y[:, 0] > 0.5, said[:, 0] > each) for each in np.unique(said)), abs=1e-3)
    assert reached > worth(y[:, 0] > 0.5, said[:, 0] > 0.5)


@pytest.mark.parametrize(
    ("task", "images", "share"), [("binary", 99, 0.3), ("multilabel", 400, 0.005), ("multilabel", 400, 1.0)]
)
def test_few_images_have_the_usual_one(task, images, share):
    assert thresholds.choose(task, *labelled(images, share)) == (0.5,)


def test_a_model_that_says_always_the_same_has_the_usual_one():
    y, _ = labelled(400, 0.3)
    assert thresholds.choose("binary", y, np.full_like(y, 0.7)) == (0.5,)


def test_other_tasks_have_none():
    assert thresholds.choose("multiclass", np.zeros(200), np.zeros((200, 3))) == ()
    assert thresholds.choose("regression", np.zeros((200, 1)), np.zeros((200, 1))) == ()
