"""The space that is made for images: valid, feasible, and as large as they are."""

import math
import random

import pytest

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.spaces import auto, tree
from cnn_tuner.spaces.architecture import build, why_infeasible

OUTPUT = Output("multiclass", 10)


def made(side, images=5000, channels=3, **facts):
    shape = (*side, channels) if isinstance(side, tuple) else (side, side, channels)
    return shape, tree.from_text(auto.text(auto.Facts(shape, images, **facts)), "auto")


def choices(space, name):
    [found] = [each for each in space.parameters if each.name == name]
    return found.values


@pytest.mark.parametrize("images", [50, 5_000, 50_000])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 12, 28, 32, 48, 64, 96, 128, 224, 512, (20, 200), (200, 20), (1, 64)])
def test_every_point_of_it_can_be_trained(side, images):
    shape, space = made(side, images)
    reason, rng = why_infeasible(space, shape, OUTPUT), random.Random(0)
    assert [reason(space.sample(rng)) for _ in range(50)] == [None] * 50


@pytest.mark.parametrize(
    ("side", "blocks"), [(8, (1, 2)), (28, (2,)), (32, (2, 3)), (64, (3, 4)), (96, (4,)), (128, (4, 5)), (224, (5,))]
)
def test_the_last_map_is_4_to_8_pixels_wide(side, blocks):
    _, space = made(side)
    assert choices(space, "blocks") == blocks


@pytest.mark.parametrize(
    ("side", "images", "most_macs", "filters"),
    [
        (28, 5_000, math.inf, (16, 32, 64)),
        (96, 5_000, math.inf, (8, 16, 32, 64)),
        (28, 50_000, math.inf, (32, 48, 64, 96, 128)),
        (28, 50_000, 6e6, (16, 32, 64)),  # 28 * 28 * 9 * 32 and 14 * 14 * 9 * 32 * 64 are 3.8 million
        (28, 50_000, 3e6, (8, 16, 32)),
        (28, 50_000, 1.0, (8,)),
    ],
)
def test_filters_are_those_of_a_network_that_can_be_trained_in_the_time(side, images, most_macs, filters):
    assert choices(made(side, images, 1, most_macs=most_macs)[1], "block_1.filters") == filters


def test_flips_are_those_that_the_data_allow():
    assert choices(made(28)[1], "flip") == ("none",)
    assert choices(made(28, flips=("none", "horizontal", "both"))[1], "flip") == ("horizontal", "both")


@pytest.mark.parametrize(("most_macs", "flip"), [(math.inf, "horizontal"), (20e6, "horizontal"), (6e6, "none")])
def test_images_are_mirrored_where_they_are_shown_often(most_macs, flip):
    _, space = made(28, 50_000, 1, flips=("none", "horizontal"), most_macs=most_macs)
    assert (choices(space, "flip"), choices(space, "shift")) == ((flip,), (0.0,))
    assert ("too few epochs" in space.source) == (flip == "none")


def test_photographs_flatten_no_more_than_a_thousand_values_a_filter():
    shape, space = made(128)
    flattened = [
        next(
            layer.output_shape
            for layer in build(space.sample(random.Random(seed)), shape, OUTPUT).layers
            if layer.kind == "flatten"
        )
        for seed in range(20)
    ]
    assert max(size for (size,) in flattened) <= 8 * 8 * 64
