"""Random changes of images: only while training, of the right kind and size, each with a seed of its own."""

from itertools import count

import numpy as np
import pytest

from cnn_tuner.models.augmentation import augmentation_layers
from cnn_tuner.spaces.recipe import Augmentation

EACH = {
    "flip": Augmentation(flip="horizontal"),
    "shift": Augmentation(shift=0.3),
    "rotate": Augmentation(rotate=45),
    "zoom": Augmentation(zoom=0.4),
    "erase": Augmentation(erase=1.0),
}


def layers(asked, first_seed=0):
    return augmentation_layers(asked, count(first_seed))


def images(number=64):
    """Squares with a bright corner, (N, 8, 8, 1): every change can be seen."""
    x = np.zeros((number, 8, 8, 1), np.float32)
    x[:, 1:4, 1:3] = 1.0
    return x


def changed(asked, x, seed=0):
    for layer in layers(asked, seed):
        x = np.array(layer(x, training=True))
    return x


@pytest.mark.parametrize("name", EACH)
def test_each_changes_images_only_while_training(name):
    [layer] = layers(EACH[name])
    x = images()
    np.testing.assert_array_equal(np.array(layer(x, training=False)), x)
    found = np.array(layer(x, training=True))
    assert found.shape == x.shape and found.dtype == np.float32
    assert not np.array_equal(found, x)
    assert found.min() >= 0 and found.max() <= 1
    assert not layer.weights


@pytest.mark.parametrize("name", EACH)
def test_the_same_seed_gives_the_same_changes(name):
    x = images()
    np.testing.assert_array_equal(changed(EACH[name], x, 3), changed(EACH[name], x, 3))
    assert not np.array_equal(changed(EACH[name], x, 3), changed(EACH[name], x, 4))


def test_nothing_asked_is_no_layer():
    assert layers(Augmentation()) == []


def test_all_of_them_come_in_order():
    names = [layer.name.removeprefix("augment_") for layer in layers(Augmentation("both", 0.1, 10, 0.1, 0.5))]
    assert names == ["flip_horizontal", "flip_vertical", "shift", "rotate", "zoom", "erase"]


def test_a_change_draws_the_same_whichever_others_are_there():
    alone, [_, beside] = layers(Augmentation(shift=0.3)), layers(Augmentation(flip="vertical", shift=0.3))
    np.testing.assert_array_equal(alone[0](images(), training=True), beside(images(), training=True))


@pytest.mark.parametrize(
    ("flip", "axes"), [("horizontal", [(2,)]), ("vertical", [(1,)]), ("both", [(1,), (2,), (1, 2)])]
)
def test_flips_are_along_the_axes_that_were_asked_for(flip, axes):
    x = images()
    found = changed(Augmentation(flip=flip), x)
    allowed = [x[0], *(np.flip(x[0], [axis - 1 for axis in each]) for each in axes)]
    kinds = {next(i for i, other in enumerate(allowed) if np.array_equal(image, other)) for image in found}
    assert kinds == set(range(len(allowed)))


def test_a_shift_is_at_most_its_share_of_the_side():
    x = np.zeros((200, 20, 20, 1), np.float32)
    x[:, 9, 9] = 1.0
    rows = changed(Augmentation(shift=0.1), x).sum(axis=(2, 3)) > 0
    places = np.argwhere(rows)[:, 1]
    assert places.min() >= 7 and places.max() <= 11 + 1
    assert places.min() < 9 < places.max()


def test_erase_is_the_share_of_images_that_are_changed():
    x = np.full((400, 8, 8, 1), 0.5, np.float32)
    found = changed(Augmentation(erase=0.25), x)
    share = (found != x).any(axis=(1, 2, 3)).mean()
    assert 0.15 < share < 0.35
