"""Which flips a simple model finds to keep an image what it is."""

import numpy as np
import pytest

from cnn_tuner.baselines import svm
from cnn_tuner.baselines.mirrored import flips
from cnn_tuner.data.dataset import Part


def part(draw, classes, count=600, side=20, channels=1):
    """Noisy images (N, side, side, C) of classes that `draw(class, rng)` draws, with their labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, count).astype(np.int32)
    x = np.stack([draw(each, rng) for each in y]).astype(float)[..., None] + rng.normal(0, 30, (count, side, side, 1))
    return Part(np.repeat(x, channels, axis=3).clip(0, 255).astype(np.uint8), y)


def bar(at, axis, side=20):
    image = np.zeros((side, side))
    index = [slice(None), slice(None)]
    index[axis] = slice(at, at + 3)
    image[tuple(index)] = 150
    return image


def by_side(label, rng):
    """A bar at the left or at the right: mirrored, it is of the other class."""
    return bar(2 + 13 * label, 1)


def by_height(label, rng):
    """A bar above or below, anywhere across: upside down, it is of the other class."""
    image = bar(2 + 13 * label, 0)
    image[:, : rng.integers(0, 10)] = 0
    return image


def by_length(label, rng):
    """A short or a long bar, anywhere: however it is mirrored, it stays what it is."""
    image, at, down = np.zeros((20, 20)), rng.integers(0, 8), rng.integers(0, 17)
    image[down : down + 3, at : at + 6 + 5 * label] = 150
    return image


def nothing(label, rng):
    return np.zeros((20, 20))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (by_side, ("none",)),
        (by_height, ("none", "horizontal")),
        (by_length, ("none", "horizontal", "both")),
        (nothing, ("none", "horizontal")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_flip_that_costs_nothing_is_a_choice(draw, expected, channels):
    assert flips("multiclass", part(draw, 2, channels=channels)) == expected


def test_a_task_of_two_classes_is_asked_alike():
    found = part(by_side, 2)
    assert flips("binary", Part(found.x, found.y[:, np.newaxis].astype(np.float32))) == ("none",)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_where_an_image_has_no_single_class_nothing_is_flipped(task):
    found = part(by_length, 2)
    assert flips(task, Part(found.x, found.y[:, np.newaxis].astype(np.float32))) == ("none",)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_of_a_handful_of_images_little_is_asked(count):
    assert flips("multiclass", part(by_length, 2, count))[0] == "none"


def test_of_many_classes_no_model_is_asked(monkeypatch):
    monkeypatch.setattr(svm, "scores", lambda *_: pytest.fail("it would fit a machine for every two of them"))
    rng = np.random.default_rng(0)
    many = Part(rng.integers(0, 256, (2000, 8, 8, 1), np.uint8), np.arange(2000, dtype=np.int32) % 500)
    assert flips("multiclass", many) == ("none", "horizontal")
