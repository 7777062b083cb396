"""Images changed in the input pipeline: the right changes, as often as asked, by their seed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_tuner.spaces.recipe import Augmentation
from cnn_tuner.training.augmentation import augmented, first_sides, on_pass


def images(number: int = 400) -> np.ndarray:
    """One bright pixel off the middle, (N, 20, 20, 1) uint8."""
    x = np.zeros((number, 20, 20, 1), np.uint8)
    x[:, 9, 5] = 255
    return x


def changed(x: np.ndarray, asked: Augmentation, seed: int = 0) -> np.ndarray:
    sides = first_sides(len(x), seed)
    return augmented(tf.constant(x), asked, tf.constant([7, seed], tf.int64), sides).numpy()


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


def test_an_image_is_mirrored_in_turn_along_both_axes_in_all_ways():
    first = first_sides(50, seed=3)
    ways = [on_pass(first, tf.fill((50,), tf.constant(number, tf.int64))).numpy() for number in range(8)]
    for number, way in enumerate(ways[1:], 1):
        assert (way[:, 0] != ways[number - 1][:, 0]).all()
    for image in range(50):
        assert {tuple(way[image]) for way in ways[:4]} == {(a, b) for a in (False, True) for b in (False, True)}
    np.testing.assert_array_equal(ways[:4], ways[4:])


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


EACH = {
    "flip": Augmentation(flip="horizontal"),
    "shift": Augmentation(shift=0.3),
    "rotate": Augmentation(rotate=45),
    "zoom": Augmentation(zoom=0.4),
    "erase": Augmentation(erase=1.0),
}
ALL = Augmentation(flip="both", shift=0.1, rotate=20, zoom=0.2, erase=0.5)


@pytest.mark.parametrize("name", EACH)
def test_each_changes_images_by_its_seed_and_keeps_what_they_are(name):
    x = np.random.default_rng(0).integers(0, 256, (64, 8, 12, 3)).astype(np.uint8)
    found = changed(x, EACH[name])
    assert (found.shape, found.dtype) == (x.shape, np.uint8)
    assert not np.array_equal(found, x)
    np.testing.assert_array_equal(changed(x, EACH[name]), found)
    assert not np.array_equal(changed(x, EACH[name], 1), found)


@pytest.mark.parametrize("name", ["rotate", "zoom", "erase"])
def test_a_change_draws_the_same_whichever_others_are_there(name):
    x = np.zeros((64, 8, 8, 1), np.uint8)
    x[:, 2:6, 2:6] = 200
    asked = EACH[name]
    beside = Augmentation("both", 0.0, asked.rotate, asked.zoom, asked.erase)
    flipped = x[:, ::-1, ::-1]  # a square in the middle: flips change nothing that is seen
    np.testing.assert_array_equal(flipped, x)
    np.testing.assert_array_equal(changed(x, beside), changed(x, asked))


def angles(found: np.ndarray) -> np.ndarray:
    """By how many degrees each image of a bright spot right of the middle was turned."""
    side = found.shape[1]
    weights = found[..., 0].astype(np.float64)
    ys, xs = np.mgrid[:side, :side] - (side - 1) / 2
    total = weights.sum((1, 2))
    return np.degrees(np.arctan2((weights * ys).sum((1, 2)) / total, (weights * xs).sum((1, 2)) / total))


def spot(number: int = 1500) -> np.ndarray:
    x = np.zeros((number, 33, 33, 1), np.uint8)
    x[:, 15:18, 25:28] = 255
    return x


def quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, [0.02, 0.25, 0.5, 0.75, 0.98])


def test_turns_are_as_the_layers():
    found = quantiles(angles(changed(spot(), Augmentation(rotate=30))))
    layer = keras.layers.RandomRotation(30 / 360, fill_mode="nearest", seed=0)
    expected = quantiles(angles(np.array(layer(spot().astype(np.float32), training=True))))
    np.testing.assert_allclose(found, [-28.8, -15, 0, 15, 28.8], atol=2)
    np.testing.assert_allclose(found, expected, atol=2.5)


def test_zooms_are_as_the_layers():
    def sizes(images):
        x = np.zeros((1500, 33, 33, 1), np.uint8)
        x[:, 8:25, 8:25] = 255
        return np.sqrt(images(x).astype(np.float64).sum((1, 2, 3)) / 255) / 17

    layer = keras.layers.RandomZoom(0.3, fill_mode="nearest", seed=0)
    found = quantiles(sizes(lambda x: changed(x, Augmentation(zoom=0.3))))
    expected = quantiles(sizes(lambda x: np.array(layer(x.astype(np.float32), training=True))))
    np.testing.assert_allclose(found, 1 / np.array([1.288, 1.15, 1, 0.85, 0.712]), rtol=0.03)
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_a_turn_of_no_degrees_and_a_zoom_of_nothing_are_exact():
    x = np.random.default_rng(0).integers(0, 256, (8, 9, 6, 3)).astype(np.uint8)
    np.testing.assert_array_equal(changed(x, Augmentation(rotate=1e-6)), x)
    np.testing.assert_array_equal(changed(x, Augmentation(zoom=1e-7)), x)


def test_of_the_share_of_images_a_rectangle_is_erased_as_by_the_layer():
    def erased(found):
        return (found != 100).any(axis=-1)

    x = np.full((2000, 20, 20, 3), 100, np.uint8)
    found = erased(changed(x, Augmentation(erase=0.25)))
    assert found.any(axis=(1, 2)).mean() == pytest.approx(0.25, abs=0.03)
    layer = keras.layers.RandomErasing((0.25, 0.25), value_range=(0, 255), seed=0)
    expected = erased(np.array(layer(x.astype(np.float32), training=True)))
    for axes in ((1, 2), (1,), (2,)):
        areas = [
            each.any(axis=tuple({1, 2} - set(axes))).sum(axis=-1) if len(axes) == 1 else each.sum(axis=axes)
            for each in (found, expected)
        ]
        of_changed = [np.mean(area[area > 0]) for area in areas]
        assert of_changed[0] == pytest.approx(of_changed[1], rel=0.08)


def test_all_of_them_in_a_batch_that_is_smaller_than_the_others():
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    assert changed(x, ALL).shape == x.shape
