"""Temperatures and calibration errors of scores whose truth is drawn by known probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_tuner.metrics import calibration


def drawn(task, sharpness, images=20_000, units=4, seed=0):
    """Labels that are drawn by probabilities, and scores that are these, made surer by an exponent."""
    rng = np.random.default_rng(seed)
    if task == "multiclass":
        logits = 2 * rng.normal(size=(images, units))
        true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        y = (true.cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
        said = np.exp(sharpness * logits)
        return y, said / said.sum(axis=1, keepdims=True)
    units = 1 if task == "binary" else units
    logits = 2 * rng.normal(size=(images, units))
    y = (rng.random((images, units)) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return y, 1 / (1 + np.exp(-sharpness * logits))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done(task, sharpness):
    y, scores = drawn(task, sharpness)
    found = calibration.temperature(task, y, scores)
    assert found == pytest.approx(sharpness, rel=0.06)
    mended = calibration.tempered(task, scores, found)
    before, after = (calibration.error(calibration.reliability(task, y, each)) for each in (scores, mended))
    assert after < 0.012
    if sharpness != 1.0:
        assert before > 3 * after
    if task == "multiclass":
        np.testing.assert_allclose(mended.sum(axis=1), 1)
        np.testing.assert_array_equal(mended.argmax(axis=1), scores.argmax(axis=1))
    else:
        np.testing.assert_array_equal(mended > 0.5, scores > 0.5)


def test_scores_of_0_and_1_are_taken():
    y, scores = np.array([0] * 90 + [1] * 30), np.tile([1.0, 0.0], (120, 1))
    found = calibration.temperature("multiclass", y, scores)
    assert np.isfinite(calibration.tempered("multiclass", scores, found)).all()
    assert calibration.tempered("multiclass", scores, found)[0, 0] == pytest.approx(0.75, abs=0.1)


def test_few_images_and_regressions_are_left_alone():
    y, scores = drawn("multiclass", 3.0, images=99)
    assert calibration.temperature("multiclass", y, scores) == 1.0
    assert calibration.temperature("regression", np.zeros((500, 1)), np.zeros((500, 1))) == 1.0
    assert calibration.reliability("regression", np.zeros((5, 1)), np.zeros((5, 1))) == []


def test_bins():
    y, scores = np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    sure, less = sorted(calibration.reliability("multiclass", y, scores), key=lambda each: -each.probability)
    assert (sure.probability, sure.right, sure.answers) == (pytest.approx(0.9), pytest.approx(2 / 3), 3)
    assert (less.probability, less.right, less.answers) == (pytest.approx(0.6), 1.0, 1)
    assert calibration.error([sure, less]) == pytest.approx((3 * (0.9 - 2 / 3) + 0.4) / 4)


def test_a_model_that_is_always_right_is_not_taken_to_be_sure():
    y = np.arange(270) % 10
    scores = np.full((270, 10), 0.01) + 0.9 * np.eye(10)[y]
    found = calibration.temperature("multiclass", y, scores)
    assert 0.99 < calibration.tempered("multiclass", scores, found).max() < 0.9985
