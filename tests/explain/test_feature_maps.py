"""Pictures of activations: colours that mean what they say, every map in its place, all seven steps."""

from __future__ import annotations

import numpy as np
import pytest
from explain.test_walkthrough import explained, point

from cnn_tuner.explain import feature_maps
from cnn_tuner.explain.pictures import bars, pictures


def test_blue_is_negative_white_is_0_and_orange_positive():
    negative, zero, positive = feature_maps.colours(np.array([-1.0, 0.0, 1.0])).astype(int)
    assert zero.tolist() == [255, 255, 255]
    assert negative[2] > negative[0]
    assert positive[0] > positive[2]
    assert (feature_maps.colours(np.zeros((2, 2))) == 255).all()


def test_colours_deepen_with_the_value():
    shades = feature_maps.colours(np.linspace(0, 1, 20)).astype(int).sum(axis=1)
    assert (np.diff(shades) < 0).all()
    assert (feature_maps.colours(np.array([1.0]), largest=2.0) == feature_maps.colours(np.array([0.5, 1.0]))[0]).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 5), (8, 8), (12, 6), (11, 8), (64, 8)])
def test_every_map_is_a_tile(count, columns):
    maps = np.zeros((4, 5, count))
    maps[..., -1] = 1.0
    picture = feature_maps.tiled(maps)
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= 640
    rows = -(-count // columns)
    width = (picture.shape[1] - feature_maps.GAP) // columns
    height = (picture.shape[0] - feature_maps.GAP) // rows
    last = picture[(rows - 1) * height + height // 2, ((count - 1) % columns) * width + width // 2]
    assert last.tolist() == list(feature_maps.SCALE[-1])


def test_of_many_maps_the_most_active_are_shown_in_order_and_the_framed_one():
    maps = np.zeros((2, 2, 100))
    maps[0, 0] = np.arange(100)
    assert feature_maps.shown_maps(maps) == list(range(36, 100))
    assert feature_maps.shown_maps(maps, 3) == [3, *range(37, 100)]
    assert feature_maps.tiled(maps, 3).shape == feature_maps.tiled(maps[..., :64]).shape


def test_a_large_map_is_thinned():
    assert max(feature_maps.tiled(np.zeros((300, 300, 64))).shape) < 1000


def test_images_are_shown_as_they_look():
    grey, colour = np.full((2, 2, 1), 7, np.uint8), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (feature_maps.image_colours(grey) == 7).all()
    assert (feature_maps.image_colours(colour) == colour).all()
    assert feature_maps.image_colours(np.zeros((2, 2, 2), np.uint8)).shape == (2, 2, 3)
    assert feature_maps.image_colours(np.zeros((2, 2, 4), np.uint8)).shape == (2, 2, 3)


def test_a_frame_at_the_border_of_a_map_is_whole():
    picture = feature_maps.framed(np.full((50, 50, 3), 255, np.uint8), (0, 0, 20, 20))
    green = (picture == feature_maps.FRAME).all(axis=-1)
    border = 2 * feature_maps.GAP
    assert green[:border, border : border + 20].all(axis=1).sum() == 3
    assert green[border : border + 20, :border].all(axis=0).sum() == 3


STEPS = (
    "step-1-convolution/block_1_conv_1",
    "step-2-padding/block_1_conv_1",
    "step-3-relu/block_1_relu_1",
    "step-4-max-pooling/block_1_pool",
    "step-5-dropout/block_1_dropout",
    "step-6-flattening/flatten",
    "step-7-full-connection/dense_1",
    "step-7-full-connection/output",
)


@pytest.mark.parametrize("shape", [(9, 8, 1), (6, 7, 3), (60, 30, 4)])
def test_all_seven_steps_have_pictures_that_can_be_seen(shape):
    found = pictures(explained(point(dense=1), shape)[2])
    assert set(STEPS) < set(found)
    for picture in found.values():
        assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
        assert picture.shape[1] >= 400
        assert picture.shape[0] < 3000


def test_without_dropout_and_pooling_step_5_drops_nothing_and_step_4_is_not_there():
    found = pictures(explained(point(pool_size=1, dropout=0.0))[2])
    assert "step-5-dropout/none" in found
    assert not any(name.startswith("step-4") for name in found)
    assert {name.split("/")[0] for name in found if name.startswith("step")} == {
        name.split("/")[0] for name in STEPS if "step-4" not in name
    }


def test_of_a_long_vector_the_first_values_are_drawn():
    assert feature_maps.in_rows(np.ones(100_000)).shape == feature_maps.in_rows(np.ones(6144)).shape
    assert feature_maps.in_rows(np.ones(1)).shape == (40, 400, 3)


def test_bars_are_as_long_as_their_values():
    picture = bars([("a", 0.25), ("größe with a very long name", 0.75), ("none", 0.0)], is_share=True)
    orange = (picture == (213, 94, 0)).all(axis=-1).sum(axis=1)
    assert orange[20] / orange[48] == pytest.approx(1 / 3, abs=0.02)
    assert len(bars([(str(i), float(i)) for i in range(300)], is_share=False)) < 700
