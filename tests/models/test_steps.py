"""Each of the seven steps on numbers small enough to work out by hand."""

import keras
import numpy as np
import pytest

from cnn_tuner.models import steps

PATCH = [[3, 5, 2], [9, 7, 5], [2, 0, 6]]
KERNEL = [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def maps(*rows):
    """(1, H, W, 1) of float32."""
    return np.array(rows, np.float32)[None, :, :, None]


def convolved(image, kernel, **settings):
    """What the real step makes of an image (H, W) under one kernel, as (H', W')."""
    layer = steps.convolution(filters=1, kernel_size=len(kernel), seed=0, name="conv", **settings)
    layer.build((1, *np.shape(image), 1))
    layer.set_weights([np.array(kernel, np.float32)[:, :, None, None], np.zeros(1, np.float32)])
    return np.asarray(layer(maps(*image)))[0, :, :, 0]


def test_the_worked_example_gives_25():
    assert convolved(PATCH, KERNEL, strides=1, padding="valid").tolist() == [[3 + 9 + 7 + 6]]


def test_padding_keeps_the_size_by_zeros_around_the_map():
    assert convolved(PATCH, KERNEL, strides=1, padding="same").tolist() == [
        [3 + 7, 3 + 5 + 5, 5 + 2],
        [9 + 0, 3 + 9 + 7 + 6, 5 + 7 + 5],
        [2, 9 + 2 + 0, 7 + 0 + 6],
    ]


def test_strides_are_the_pixels_between_two_places_of_the_kernel():
    image = np.arange(25).reshape(5, 5)
    assert convolved(image, [[1]], strides=2, padding="valid").tolist() == image[::2, ::2].tolist()
    assert convolved(image, [[1]], strides=3, padding="same").tolist() == image[::3, ::3].tolist()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_convolution_has_the_settings_it_is_given(padding):
    layer = steps.convolution(filters=5, kernel_size=3, strides=2, padding=padding, seed=7, name="conv")
    assert type(layer) is keras.layers.Conv2D
    assert (layer.filters, layer.kernel_size, layer.strides, layer.padding) == (5, (3, 3), (2, 2), padding)
    assert (layer.activation, layer.use_bias, layer.name) == (keras.activations.linear, True, "conv")
    assert type(layer.kernel_initializer) is keras.initializers.HeNormal


@pytest.mark.parametrize("word", ["same", "valid"])
def test_a_padding_mode_is_handed_on(word):
    assert steps.padding_mode(word) == word


@pytest.mark.parametrize("word", ["full", "SAME", "causal", ""])
def test_another_padding_mode_is_refused(word):
    message = rf"^padding: must be one of same, valid, got '{word}'$"
    with pytest.raises(ValueError, match=message):
        steps.padding_mode(word)
    with pytest.raises(ValueError, match=message):
        steps.convolution(filters=1, kernel_size=3, strides=1, padding=word, seed=0, name="conv")


def test_relu_makes_negative_values_zero():
    layer = steps.relu("relu")
    assert (type(layer), layer.name) == (keras.layers.ReLU, "relu")
    assert np.asarray(layer(maps([-2, 0], [0.5, 3])))[0, :, :, 0].tolist() == [[0, 0], [0.5, 3]]


@pytest.mark.parametrize(
    ("pool_size", "strides", "expected"),
    [
        (2, 2, [[6, 8], [14, 16]]),
        (2, 1, [[6, 7, 8], [10, 11, 12], [14, 15, 16]]),
        (3, 2, [[11]]),
        (1, 3, [[1, 4], [13, 16]]),
    ],
)
def test_pooling_keeps_the_largest_value_of_each_window(pool_size, strides, expected):
    layer = steps.pooling(pool_size=pool_size, strides=strides, name="pool")
    assert (type(layer), layer.name) == (keras.layers.MaxPooling2D, "pool")
    assert np.asarray(layer(maps(*np.arange(1, 17).reshape(4, 4))))[0, :, :, 0].tolist() == expected


def test_pooling_keeps_channels_apart():
    image = np.array([[[1, 8], [2, 7]], [[3, 6], [4, 5]]], np.float32)[None]
    assert np.asarray(steps.pooling(2, 2, "pool")(image)).tolist() == [[[[4, 8]]]]


def test_dropout_does_nothing_in_inference():
    ones = np.ones((4, 50), np.float32)
    np.testing.assert_array_equal(steps.dropout(0.9, seed=0, name="dropout")(ones, training=False), ones)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75])
def test_dropout_in_training_zeroes_its_rate_and_grows_the_rest(rate):
    layer = steps.dropout(rate, seed=3, name="dropout")
    assert (type(layer), layer.name) == (keras.layers.Dropout, "dropout")
    dropped = np.asarray(layer(np.ones((100, 100), np.float32), training=True))
    assert (dropped == 0).mean() == pytest.approx(rate, abs=0.02)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_draws_by_its_seed_and_anew_each_time():
    def masks(seed):
        layer = steps.dropout(0.5, seed=seed, name="dropout")
        return [np.asarray(layer(np.ones((1, 100), np.float32), training=True)).tolist() for _ in range(2)]

    assert masks(0) == masks(0)
    assert masks(0) != masks(1)
    assert masks(0)[0] != masks(0)[1]


def test_flattening_goes_row_by_row_channels_last():
    image = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    layer = steps.flatten("flatten")
    assert (type(layer), layer.name) == (keras.layers.Flatten, "flatten")
    assert np.asarray(layer(image)).tolist() == [list(range(12))]


def connected(layer, values, weights, bias):
    layer.build((1, len(values)))
    layer.set_weights([np.array(weights, np.float32), np.array(bias, np.float32)])
    return np.asarray(layer(np.array([values], np.float32)))[0]


def test_full_connection_weighs_every_value_for_every_unit():
    layer = steps.full_connection(units=2, seed=0, name="dense_1")
    assert (type(layer), layer.units, layer.name) == (keras.layers.Dense, 2, "dense_1")
    assert layer.activation is keras.activations.linear
    assert type(layer.kernel_initializer) is keras.initializers.HeNormal
    assert connected(layer, [1, 2, 3], [[1, 0], [0, 1], [1, -1]], [10, 0]).tolist() == [1 + 3 + 10, 2 - 3]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("linear", [np.log(3), 0]),
        ("sigmoid", [3 / 4, 1 / 2]),
        ("softmax", [3 / 4, 1 / 4]),
    ],
)
def test_the_output_has_the_activation_of_its_task(activation, expected):
    layer = steps.output(units=2, activation=activation, seed=0, name="output")
    assert (type(layer), layer.units, layer.name) == (keras.layers.Dense, 2, "output")
    assert type(layer.kernel_initializer) is keras.initializers.GlorotUniform
    np.testing.assert_allclose(connected(layer, [1], [[np.log(3), 0]], [0, 0]), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: steps.convolution(filters=4, kernel_size=3, strides=1, padding="same", seed=seed, name="x"),
        lambda seed: steps.full_connection(units=4, seed=seed, name="x"),
        lambda seed: steps.output(units=4, activation="softmax", seed=seed, name="x"),
    ],
    ids=["convolution", "full connection", "output"],
)
def test_initial_weights_are_drawn_by_the_seed(make):
    def kernel(seed):
        layer = make(seed)
        layer.build((1, 8, 8, 2))
        return layer.get_weights()[0]

    np.testing.assert_array_equal(kernel(0), kernel(0))
    assert not np.isclose(kernel(0), kernel(1)).all()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: steps.convolution(filters=1, kernel_size=3, strides=1, padding="same", seed=0, name="x"),
        lambda: steps.pooling(2, 2, "x"),
        lambda: steps.flatten("x"),
    ],
    ids=["convolution", "pooling", "flatten"],
)
def test_channels_come_last_whatever_keras_is_set_to(layer):
    usual = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert layer().data_format == "channels_last"
    finally:
        keras.config.set_image_data_format(usual)
