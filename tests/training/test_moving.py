"""Images flipped and shifted in the input pipeline: the right changes, as often as asked, by their seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cnn_tuner.spaces.recipe import Augmentation
from cnn_tuner.training.moving import moved


def images(number: int = 400) -> np.ndarray:
    """One bright pixel off the middle, (N, 20, 20, 1) uint8."""
    x = np.zeros((number, 20, 20, 1), np.uint8)
    x[:, 9, 5] = 255
    return x


def changed(x: np.ndarray, asked: Augmentation, seed: int = 0) -> np.ndarray:
    return moved(tf.constant(x), asked, tf.constant([7, seed], tf.int64)).numpy()


def places(x: np.ndarray) -> np.ndarray:
    return np.argwhere(x[..., 0])[:, 1:]


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(changed(images(), Augmentation()), images())


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("horizontal", {(9, 5), (9, 14)}),
        ("vertical", {(9, 5), (10, 5)}),
        ("both", {(9, 5), (9, 14), (10, 5), (10, 14)}),
    ],
)
def test_flips_are_along_the_axes_that_were_asked_for_each_half_of_the_time(flip, expected):
    found = [tuple(place) for place in places(changed(images(), Augmentation(flip=flip))).tolist()]
    assert set(found) == expected
    for place in expected:
        assert found.count(place) / len(found) == pytest.approx(1 / len(expected), abs=0.08)


def test_a_shift_is_at_most_its_share_of_the_side_and_as_often_as_the_layers():
    found = places(changed(images(2000), Augmentation(shift=0.1)))
    for axis, middle in ((0, 9), (1, 5)):
        by = found[:, axis] - middle
        assert set(by.tolist()) == {-2, -1, 0, 1, 2}
        # uniform in -2..2 as Keras's RandomTranslation draws, rounded: half as many of the outermost
        assert np.mean(np.abs(by) == 1) == pytest.approx(0.5, abs=0.05)
        assert np.mean(np.abs(by) == 2) == pytest.approx(0.25, abs=0.05)


def test_the_border_is_repeated_where_something_comes_in():
    x = np.full((50, 4, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(changed(x, Augmentation(shift=0.5)), x)


def test_the_same_seed_gives_the_same_changes_and_another_one_others():
    asked = Augmentation(flip="both", shift=0.2)
    np.testing.assert_array_equal(changed(images(), asked, 3), changed(images(), asked, 3))
    assert not np.array_equal(changed(images(), asked, 3), changed(images(), asked, 4))
