"""The order of a pass: of few images any, of many one that reads blocks of neighbours; each image once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from toys import toy_part

from cnn_tuner.data import dataset
from cnn_tuner.data.dataset import Part, Selection
from cnn_tuner.training import ordering
from cnn_tuner.training.batches import Data
from cnn_tuner.training.ordering import Order

IMAGES, BYTES = 1000, 64


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 images, windows of 100."""
    monkeypatch.setattr(ordering, "LARGE", 1)
    monkeypatch.setattr(dataset, "LARGE", 1)  # so that rows are read, and not mapped
    monkeypatch.setattr(ordering, "BLOCK", 4 * BYTES)
    monkeypatch.setattr(ordering, "WINDOW", 100 * BYTES)


def of_pass(order, number, seed=0):
    return order.of_pass(seed, tf.constant(number, tf.int64)).numpy()


def test_few_images_come_in_any_order():
    order = Order(np.arange(IMAGES), BYTES, None)
    assert not order.is_large
    expected = tf.random.experimental.stateless_shuffle(tf.range(IMAGES), seed=[0, 3])
    np.testing.assert_array_equal(of_pass(order, 3), expected)


@pytest.mark.parametrize("images", [1, 3, 99, 101, IMAGES])
def test_each_image_comes_once_in_each_pass(small_blocks, images):
    order = Order(np.arange(images), BYTES, None)
    for number in range(3):
        assert sorted(of_pass(order, number)) == list(range(images))
    if images > 3:
        assert (of_pass(order, 0) != of_pass(order, 1)).any()
    np.testing.assert_array_equal(of_pass(order, 1), of_pass(order, 1))


def test_a_window_has_whole_blocks_from_everywhere(small_blocks):
    rows = np.random.default_rng(0).permutation(IMAGES)
    order = Order(rows, BYTES, None)
    found = rows[of_pass(order, 0)]
    for window in found.reshape(-1, 100):
        blocks, counts = np.unique(window // 4, return_counts=True)
        assert len(blocks) == 25 and (counts == 4).all()
        assert (np.abs(np.diff(window)) > 4).mean() > 0.8, "neighbours do not follow each other"
    assert np.abs(np.corrcoef(found, np.arange(IMAGES))[0, 1]) < 0.2


def test_batches_are_the_same_when_what_comes_next_is_read_ahead(small_blocks, tmp_path):
    part = toy_part("multiclass", 230, 0)
    np.save(tmp_path / "x.npy", part.x)
    pixels = np.load(tmp_path / "x.npy", mmap_mode="c")
    rows, val = np.arange(200), np.arange(200, 230)

    def batches(file, first=0, steps=None):
        parts = (Part(Selection(pixels, own, file), part.y[own]) for own in (rows, val))
        return [x.numpy() for x, _ in Data(*parts).batches(1, 32, first, steps=steps).take(14)]

    for steps in (None, 3):
        plain, ahead = batches(None, steps=steps), batches(tmp_path / "x.npy", steps=steps)
        assert [len(each) for each in plain] == [len(each) for each in ahead]
        for one, two in zip(plain, ahead, strict=True):
            np.testing.assert_array_equal(one, two)
    later = batches(tmp_path / "x.npy", first=1)
    np.testing.assert_array_equal(later[0], batches(tmp_path / "x.npy")[7])


@pytest.mark.parametrize("is_large", [False, True])
def test_sampled_classes_come_as_often(request, is_large):
    if is_large:
        request.getfixturevalue("small_blocks")
    classes = np.repeat([0, 2, 3], [880, 100, 20])  # of class 1 there is none
    order = Order(np.arange(IMAGES), BYTES, None, np.random.default_rng(0).permutation(classes))
    classes = np.random.default_rng(0).permutation(classes)
    passes = [of_pass(order, number) for number in range(4)]
    for found in passes:
        assert len(found) == IMAGES
        np.testing.assert_array_equal(np.bincount(classes[found]), [334, 0, 333, 333])
        assert set(np.flatnonzero(classes == 3)) <= set(found), "of the smallest class each image is shown"
        assert np.abs(np.corrcoef(classes[found], np.arange(IMAGES))[0, 1]) < 0.2, "in a random order"
    assert len(np.unique(np.concatenate(passes)[classes[np.concatenate(passes)] == 0])) > 600, "others in each pass"
    np.testing.assert_array_equal(of_pass(order, 1), passes[1])
