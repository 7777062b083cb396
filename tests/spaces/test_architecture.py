"""Networks by arithmetic, compared with what Keras builds."""

import math
import random
from itertools import product

import keras
import numpy as np
import pytest
from later import later

from cnn_tuner.errors import InfeasibleError, SpaceError
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.spaces.architecture import (
    Architecture,
    build,
    check_feasible,
    check_limits,
    feasible_share,
    fit,
    largest_params,
    output_side,
    padding_pixels,
    sample_feasible,
    why_infeasible,
)
from cnn_tuner.spaces.rules import Limits
from cnn_tuner.spaces.tree import from_text, load, shipped_names

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (17, 23, 3)]
OUTPUTS = [
    Output("binary", 1),
    Output("multiclass", 10),
    Output("multilabel", 5),
    Output("regression", 2, (3.0, 0.5), (-1.0, 7.0)),
]
# Whatever a block may hold, with few filters: on small images many of the points do not fit.
EVERYTHING = """
description: Everything.
blocks: [1, 2, 3]
block:
  convolutions: [1, 2, 3]
  filters: [1, 2, 3]
  kernel_size: [1, 2, 3, 4, 5, 7]
  strides: [1, 2, 3, 4]
  padding: [same, valid]
  pool_size: [1, 2, 3, 4]
  pool_strides: [1, 2, 3, 5]
  dropout: [0, 0.5]
dense: {layers: [0, 1, 2], units: [1, 3], dropout: [0, 0.5]}
"""


def space_of(text, name="small"):
    return from_text(text, name)


def counted_by_keras(layer):
    """Multiply-adds for one image: each kernel once for every place of the output."""
    if isinstance(layer, keras.layers.Conv2D):
        return math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
    return math.prod(layer.kernel.shape) if isinstance(layer, keras.layers.Dense) else 0


def assert_like_keras(plan: Architecture):
    built = builder.build(plan, seed=0)
    layers = [layer for layer in built.layers if layer.name not in ("image", "scaling", "unit")]
    ours = [(x.name, x.input_shape, x.output_shape, x.params, x.macs) for x in plan.layers]
    theirs = [(x.name, x.input.shape[1:], x.output.shape[1:], x.count_params(), counted_by_keras(x)) for x in layers]
    assert ours == theirs
    assert plan.params == built.count_params()
    assert plan.macs == sum(counted_by_keras(layer) for layer in built.layers)
    sizes = [math.prod(x.input.shape[1:]) + math.prod(x.output.shape[1:]) for x in layers]
    assert plan.activation_bytes == max(sizes) * np.dtype(np.float32).itemsize


def compare_with_keras(space, count):
    """`count` feasible points, spread over the image shapes and the tasks."""
    for index, (image_shape, output) in zip(range(count), product(SHAPES * count, OUTPUTS), strict=False):
        point = first_feasible(space, image_shape, output, seed=index)
        assert_like_keras(fit(space, point, image_shape, output))
    keras.backend.clear_session()


def first_feasible(space, image_shape, output, seed):
    reason, rng = why_infeasible(space, image_shape, output), random.Random(seed)
    return next(point for point in iter(lambda: space.sample(rng), None) if reason(point) is None)


LARGE = {"deep", "seven_steps"}


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in shipped_names()), "everything"],
)
def test_shapes_parameters_and_multiply_adds_are_those_of_keras(name):
    compare_with_keras(space_of(EVERYTHING) if name == "everything" else load(name), 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*shipped_names(), "everything"])
def test_shapes_parameters_and_multiply_adds_are_those_of_keras_at_many_points(name):
    compare_with_keras(space_of(EVERYTHING) if name == "everything" else load(name), 112)


def build_with_keras(values, image_shape):
    """Steps 1 to 6 of a point from Keras's layers alone."""
    x = keras.Input(image_shape)
    for block in (f"block_{index}" for index in range(1, values["blocks"] + 1)):
        kernel_size, padding = values[f"{block}.kernel_size"], values[f"{block}.padding"]
        for index in range(values[f"{block}.convolutions"]):
            strides = 1 if index else values[f"{block}.strides"]
            x = keras.layers.Conv2D(values[f"{block}.filters"], kernel_size, strides=strides, padding=padding)(x)
        if values[f"{block}.pool_size"] > 1:
            x = keras.layers.MaxPooling2D(values[f"{block}.pool_size"], values[f"{block}.pool_strides"])(x)
    return keras.layers.Flatten()(x)


def can_be_built(values, image_shape):
    """Whether Keras builds a point to a map with pixels; Keras 3.12 builds maps without any too."""
    try:
        return build_with_keras(values, image_shape).shape[1] > 0
    except ValueError as error:
        assert "output size would be" in str(error), "another fault than a map that is too small"
        return False


@pytest.mark.parametrize("image_shape", [later((7, 7, 1)), (12, 9, 2)], ids=str)
def test_a_point_is_feasible_exactly_when_keras_can_build_it(image_shape):
    space, rng = space_of(EVERYTHING), random.Random(1)
    points = [space.sample(rng) for _ in range(120)]
    reason = why_infeasible(space, image_shape, OUTPUTS[1])
    reasons = [reason(point) for point in points]
    assert 20 < sum(text is None for text in reasons) < 100
    for point, text in zip(points, reasons, strict=True):
        if text is None:
            flat = build_with_keras(point, image_shape)
            layers = build(point, image_shape, OUTPUTS[1]).layers
            assert [x.output_shape for x in layers if x.kind == "flatten"] == [flat.shape[1:]]
        else:
            assert "does not fit on a" in text
            assert not can_be_built(point, image_shape)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [1, 2, 3, 5])
def test_the_padding_pixels_are_those_that_keras_adds(padding, strides):
    rng = np.random.default_rng(0)
    for side, window in product([1, 2, 3, 4, 7, 8, 11], [1, 2, 3, 4, 5, 7]):
        places = output_side(side, window, strides, padding)
        if places == 0:
            assert padding == "valid" and window > side
            continue
        line, kernel = rng.integers(1, 100, side), rng.integers(1, 100, window)
        padded = np.pad(line, padding_pixels(side, window, strides, padding))
        by_hand = [padded[i * strides : i * strides + window] @ kernel for i in range(places)]
        as_floats = line.reshape(1, side, 1).astype(np.float32), kernel.reshape(window, 1, 1).astype(np.float32)
        by_keras = keras.ops.conv(*as_floats, strides=strides, padding=padding)
        np.testing.assert_array_equal(np.asarray(by_keras)[0, :, 0], by_hand)


@pytest.mark.parametrize(
    ("side", "window", "strides", "padding", "places", "pixels"),
    [
        (28, 3, 1, "same", 28, (1, 1)),
        (28, 3, 2, "same", 14, (0, 1)),
        (5, 3, 2, "same", 3, (1, 1)),
        (8, 2, 1, "same", 8, (0, 1)),
        (9, 1, 3, "same", 3, (0, 0)),
        (28, 5, 1, "valid", 24, (0, 0)),
        (8, 3, 2, "valid", 3, (0, 0)),
        (3, 3, 4, "valid", 1, (0, 0)),
        (2, 3, 2, "valid", 0, (0, 0)),
        (1, 9, 2, "valid", 0, (0, 0)),
    ],
)
def test_places_and_padding_of_a_side_by_hand(side, window, strides, padding, places, pixels):
    assert output_side(side, window, strides, padding) == places
    assert padding_pixels(side, window, strides, padding) == pixels


def seen_pixels(plan: Architecture):
    """For each map, the (height, width) of the pixels of the image on which its middle value depends.

    With kernels of ones nothing cancels: an image with a single white pixel lights exactly the values that see it.
    """
    built = builder.build(plan, seed=0)
    for layer in built.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([np.ones(layer.kernel.shape), np.zeros(layer.filters)])
    maps = [
        layer.output
        for layer in built.layers
        if len(layer.output.shape) == 4 and layer.name not in ("image", "scaling")
    ]
    height, width, _ = plan.image_shape
    images = np.zeros((height * width, height, width, 1), np.uint8)
    images.reshape(height * width, -1)[np.diag_indices(height * width)] = 255
    for lit in keras.Model(built.input, maps)(images):
        lit = np.asarray(lit)
        rows, columns = np.nonzero(lit[:, lit.shape[1] // 2, lit.shape[2] // 2, 0].reshape(height, width))
        yield np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize(
    "block",
    [
        "{kernel_size: 3, pool_size: 1}",
        "{kernel_size: 3, pool_size: 2, convolutions: 2}",
        "{kernel_size: 5, padding: valid, pool_size: 1, strides: 2}",
        "{kernel_size: 2, pool_size: 3, pool_strides: 1}",
        "{kernel_size: 1, strides: 2, pool_size: 2, pool_strides: 1}",
        "{kernel_size: 3, padding: valid, pool_size: 3, pool_strides: 2}",
        "{kernel_size: 4, padding: same, strides: 2, pool_size: 1, convolutions: 2, dropout: 0.5}",
    ],
)
def test_the_receptive_field_is_what_a_value_depends_on(block):
    space = space_of(f"{{description: x, blocks: 2, block: {{filters: 1, {block[1:-1]}}}, dense: {{layers: 0}}}}")
    [point] = space.points()
    plan = build(point, (46, 43, 1), Output("binary", 1))
    fields = [layer.receptive_field for layer in plan.layers if layer.receptive_field is not None]
    assert list(seen_pixels(plan)) == [(side, side) for side in fields]
    assert len(fields) >= 4 and fields[-1] < 30  # the middle of the image sees no border


def test_flattened_values_see_the_whole_image():
    [plan] = [build(p, (8, 8, 1), OUTPUTS[0]) for p in space_of("{description: x, block: {filters: 1}}").points()]
    flattened = [layer for layer in plan.layers if layer.step >= 6]
    assert [layer.kind for layer in flattened] == ["flatten", "dense", "relu", "output"]
    assert {layer.receptive_field for layer in flattened} == {None}


POINT = {
    "blocks": 1,
    "block_1.convolutions": 2,
    "block_1.filters": 4,
    "block_1.kernel_size": 3,
    "block_1.strides": 2,
    "block_1.padding": "same",
    "block_1.pool_size": 2,
    "block_1.dropout": 0.25,
    "dense_layers": 1,
    "dense_1.units": 6,
    "dense_1.dropout": 0.5,
    "learning_rate": 0.001,
    "batch_size": 32,
}


def test_the_layers_of_a_point_by_hand():
    plan = build(POINT, (8, 12, 3), Output("multiclass", 5))
    assert [(x.step, x.name, x.output_shape, x.params, x.macs) for x in plan.layers] == [
        (1, "block_1_conv_1", (4, 6, 4), 3 * 3 * 3 * 4 + 4, 3 * 3 * 3 * 4 * 4 * 6),
        (3, "block_1_relu_1", (4, 6, 4), 0, 0),
        (1, "block_1_conv_2", (4, 6, 4), 3 * 3 * 4 * 4 + 4, 3 * 3 * 4 * 4 * 4 * 6),
        (3, "block_1_relu_2", (4, 6, 4), 0, 0),
        (4, "block_1_pool", (2, 3, 4), 0, 0),
        (5, "block_1_dropout", (2, 3, 4), 0, 0),
        (6, "flatten", (24,), 0, 0),
        (7, "dense_1", (6,), 25 * 6, 24 * 6),
        (7, "dense_1_relu", (6,), 0, 0),
        (7, "dense_1_dropout", (6,), 0, 0),
        (7, "output", (5,), 7 * 5, 6 * 5),
    ]
    assert (plan.params, plan.macs) == (112 + 148 + 150 + 35, 2592 + 3456 + 144 + 30)
    assert plan.activation_bytes == 4 * (8 * 12 * 3 + 4 * 6 * 4)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"block_1.pool_size": 1}, "block_1_pool"),
        ({"block_1.dropout": 0.0}, "block_1_dropout"),
        ({"dense_1.dropout": 0.0}, "dense_1_dropout"),
        ({"dense_layers": 0}, "dense_1"),
    ],
)
def test_a_layer_that_would_do_nothing_is_left_out(change, gone):
    def names(values):
        return {layer.name for layer in build(values, (8, 8, 1), OUTPUTS[0]).layers}

    assert gone in names(POINT)
    assert gone not in names(POINT | change)


@pytest.mark.parametrize(("pool_strides", "side"), [(None, 4), (1, 7), (2, 4), (3, 3)])
def test_a_pool_moves_by_its_size_unless_told_otherwise(pool_strides, side):
    values = POINT | {"block_1.strides": 1} | ({"block_1.pool_strides": pool_strides} if pool_strides else {})
    [pool] = [x for x in build(values, (8, 8, 1), OUTPUTS[0]).layers if x.kind == "pooling"]
    assert pool.output_shape == (side, side, 4)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.task)
def test_the_task_decides_the_last_layer(output):
    last = build(POINT, (8, 8, 1), output).layers[-1]
    activation = {"binary": "sigmoid", "multiclass": "softmax", "multilabel": "sigmoid", "regression": "linear"}
    assert dict(last.settings) == {"units": output.units, "activation": activation[output.task]}


@pytest.mark.parametrize(
    ("change", "image_shape", "message"),
    [
        (
            {"block_1.padding": "valid", "block_1.kernel_size": 5},
            (8, 4, 1),
            "block_1_conv_1: a 5x5 kernel does not fit on a 8x4 map",
        ),
        ({"block_1.padding": "valid"}, (6, 6, 1), "block_1_conv_2: a 3x3 kernel does not fit on a 2x2 map"),
        ({"block_1.pool_size": 3}, (9, 4, 1), "block_1_pool: a 3x3 pool does not fit on a 5x2 map"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(change, image_shape, message):
    with pytest.raises(InfeasibleError) as caught:
        build(POINT | change, image_shape, OUTPUTS[0])
    assert str(caught.value) == message


COSTS = {"max_params": 445, "max_macs": 6222, "max_activation_bytes": 1536}


@pytest.mark.parametrize(("name", "cost"), COSTS.items())
def test_a_limit_allows_its_own_value_and_refuses_more(name, cost):
    plan = build(POINT, (8, 12, 3), Output("multiclass", 5))
    check_limits(plan, Limits(**{name: cost}))
    with pytest.raises(InfeasibleError) as caught:
        check_limits(plan, Limits(**{name: cost - 1}))
    assert str(caught.value) == f"{name}: {cost:,} is over the limit of {cost - 1:,}"


@pytest.mark.parametrize(("name", "cost"), COSTS.items())
def test_a_point_over_a_limit_of_its_space_is_infeasible(name, cost):
    def space(limit):
        return space_of(f"{{description: x, block: {{filters: 4}}, limits: {{{name}: {limit}}}}}")

    output = Output("multiclass", 5)
    reason = f"{name}: {cost:,} is over the limit of {cost - 1:,}"
    assert why_infeasible(space(cost), (8, 12, 3), output)(POINT) is None
    assert why_infeasible(space(cost - 1), (8, 12, 3), output)(POINT) == reason
    with pytest.raises(InfeasibleError, match=f"^{reason}$"):
        fit(space(cost - 1), POINT, (8, 12, 3), output)


@pytest.mark.parametrize(
    ("text", "image_shape", "problem"),
    [
        (
            "{description: x, block: {filters: 4, kernel_size: 5, padding: valid}}",
            (4, 6, 3),
            "images of 4x6x3: block_1_conv_1: a 5x5 kernel does not fit on a 4x6 map",
        ),
        (
            "{description: x, blocks: 3, block: {filters: [4, 8], pool_size: 3}}",
            (8, 8, 1),
            "images of 8x8x1: block_2_pool: a 3x3 pool does not fit on a 2x2 map",
        ),
        (
            "{description: x, blocks: 1, block: {filters: 1}, dense: {layers: 0}, limits: {max_params: 11}}",
            (2, 2, 1),
            "images of 2x2x1: max_params: 12 at least are over the limit of 11",
        ),
        (
            # A quarter of the points fails for a kernel; of the others no two have the same number of parameters.
            "{description: x, blocks: 2, block: {filters: 1, kernel_size: [3, 4, 5, 9], padding: valid, pool_size: 1},"
            "dense: {layers: 0}, limits: {max_params: 1}}",
            (8, 8, 1),
            "images of 8x8x1: max_params: 37 at least are over the limit of 1",
        ),
    ],
)
def test_a_space_without_a_feasible_point_is_told_with_the_commonest_reason(text, image_shape, problem):
    space = space_of(text, "folder/mine.yaml")
    for ask in (check_feasible, lambda *args: sample_feasible(*args, count=1, seed=0)):
        with pytest.raises(SpaceError) as caught:
            ask(space, image_shape, Output("binary", 1))
        assert str(caught.value) == f"folder/mine.yaml: no feasible point for {problem}"


@pytest.mark.parametrize(("side", "share"), [(6, 0.5), (8, 1)])
def test_the_feasible_share_of_a_space(side, share):
    space = space_of(
        "{description: x, blocks: 1, block: {filters: 1, kernel_size: [5, 7], padding: valid, pool_size: 1}}"
    )
    assert feasible_share(space, (side, side, 1), OUTPUTS[0]) == pytest.approx(share, abs=0.03)


def test_feasible_points_are_drawn_by_seed():
    space, reason = space_of(EVERYTHING), why_infeasible(space_of(EVERYTHING), (9, 9, 1), OUTPUTS[0])
    points = sample_feasible(space, (9, 9, 1), OUTPUTS[0], 50, seed=4)
    assert len(points) == 50
    assert {reason(point) for point in points} == {None}
    assert points == sample_feasible(space, (9, 9, 1), OUTPUTS[0], 50, seed=4)
    assert points != sample_feasible(space, (9, 9, 1), OUTPUTS[0], 50, seed=5)


@pytest.mark.parametrize("name", shipped_names())
@pytest.mark.parametrize("image_shape", [(28, 28, 1), (32, 32, 3)])
def test_no_point_has_more_parameters_than_the_largest(name, image_shape):
    space, output = load(name), Output("multiclass", 10)
    bound = largest_params(space, image_shape, output)
    found = [
        fit(space, p, image_shape, output).params for p in sample_feasible(space, image_shape, output, 200, seed=0)
    ]
    assert max(found) <= bound
    assert bound <= 60 * max(found), "a bound that is no use"


def test_the_largest_number_of_parameters_is_exact_where_the_costliest_values_go_together():
    text = """
description: Costliest together.
blocks: [1, 2]
block: {filters: [2, 4], kernel_size: [3, 5], padding: [same], pool_size: [1, 2]}
dense: {layers: [0, 1], units: [4, 8]}
"""
    space, output = from_text(text, "together"), Output("multiclass", 3)
    found = max(build(point, (6, 6, 1), output).params for point in space.points())
    assert largest_params(space, (6, 6, 1), output) == found


def test_a_limit_bounds_the_largest_number_of_parameters():
    text = "description: Small.\nblocks: 1\nblock: {filters: 64}\nlimits: {max_params: 5000}\n"
    assert largest_params(from_text(text, "small"), (28, 28, 1), Output("multiclass", 10)) == 5000
