"""The first convolution's initial weights: components of the images' patches, of either sign, each as strong."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cnn_tuner.training import whitening


def smooth_images(channels=1, count=300) -> np.ndarray:
    """Neighbouring pixels are much alike, and so are the channels."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(128, 50, (count, 4, 4, 1)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(coarse + rng.normal(0, 8, (count, 16, 16, channels)), 0, 255).astype(np.uint8)


def network(filters: int, kernel=3, shape=(16, 16, 1), **how) -> keras.Model:
    inputs = keras.Input(shape, dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(filters, kernel, padding="valid", name="first", **how)(x)
    return keras.Model(inputs, keras.layers.Conv2D(4, 1, name="second")(x))


@pytest.mark.parametrize(("channels", "components"), [(1, 9), (3, 27)])
def test_every_component_is_answered_as_strongly_and_none_like_another(channels, components):
    images = smooth_images(channels)
    model = network(components, shape=(16, 16, channels))
    before = np.asarray(keras.Model(model.input, model.get_layer("first").output)(images))
    whitening.whiten(model, images, seed=1)
    answers = np.asarray(keras.Model(model.input, model.get_layer("first").output)(images)).reshape(-1, components)
    likeness = answers.T @ answers / len(answers)
    assert np.diag(likeness) == pytest.approx(np.ones(components), abs=0.5), "what hardly varies is held back"
    assert abs(likeness - np.diag(np.diag(likeness))).max() < 0.2
    plain = before.reshape(-1, components)
    assert np.linalg.cond(plain.T @ plain) > 20 * np.linalg.cond(likeness), "which random filters do not"


@pytest.mark.parametrize(("count", "changed"), [(4, 4), (9, 9), (18, 18), (32, 18)])
def test_components_come_first_then_the_same_with_the_other_sign_and_the_rest_stays(count, changed):
    images, model = smooth_images(), network(count)
    before = [weights.copy() for weights in model.get_layer("first").get_weights()]
    second = model.get_layer("second").get_weights()[0].copy()
    whitening.whiten(model, images, seed=1)
    kernel, bias = model.get_layer("first").get_weights()
    found = np.moveaxis(whitening.filters(images, (3, 3), 1), 0, -1)
    assert np.array_equal(kernel[..., :9], found[..., :count])
    assert np.array_equal(kernel[..., 9:18], -found[..., : max(0, count - 9)][..., :9])
    assert np.array_equal(kernel[..., changed:], before[0][..., changed:])
    assert not bias.any()
    assert np.array_equal(model.get_layer("second").get_weights()[0], second)


@pytest.mark.parametrize("channels", [1, 3])
def test_of_colours_the_answers_of_each_layer_but_the_last_are_as_strong(channels):
    inputs = keras.Input((16, 16, channels), dtype="uint8")
    x = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, name="first")(keras.layers.Rescaling(1 / 255)(inputs)))
    faint = keras.initializers.RandomNormal(stddev=1e-3, seed=1)
    x = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, kernel_initializer=faint, name="second")(x))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(16, name="third")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=faint, name="last")(x))
    images, last = smooth_images(channels), model.get_layer("last").get_weights()[0].copy()
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    whitening.whiten(model, images, seed=1)
    for name in ("second", "third"):
        answers = np.asarray(keras.Model(model.input, model.get_layer(name).output)(images))
        is_scaled = (answers**2).mean() == pytest.approx(1, abs=0.2)
        assert is_scaled == (channels == 3), name
    assert np.array_equal(model.get_layer("last").get_weights()[0], last)
    whitening.whiten(again, images, seed=1)
    assert [w.tolist() for w in again.get_weights()] == [w.tolist() for w in model.get_weights()]


def test_layers_that_answer_nothing_stay_as_they_are():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Conv2D(4, 3, kernel_initializer="zeros", name="second")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    whitening.whiten(model, np.zeros((5, 8, 8, 3), np.uint8), seed=0)
    assert not model.get_layer("second").get_weights()[0].any()


@pytest.mark.parametrize(
    ("images", "channels", "pays"), [(10, 3, True), (9_999, 1, False), (10_000, 1, True), (10, 4, True), (10, 2, False)]
)
def test_it_pays_for_colours_and_for_many(images, channels, pays):
    assert whitening.pays(np.zeros((images, 2, 2, channels), np.uint8)) is pays


def test_the_same_seed_sees_the_same_patches():
    images = smooth_images()
    assert np.array_equal(whitening.filters(images, (5, 3), 2), whitening.filters(images, (5, 3), 2))
    assert not np.array_equal(whitening.filters(images, (5, 3), 2), whitening.filters(images, (5, 3), 3))


@pytest.mark.parametrize("images", [np.zeros((5, 8, 8, 1), np.uint8), np.full((1, 2, 1, 3), 9, np.uint8)])
def test_images_without_anything_to_see_or_smaller_than_a_filter_give_finite_weights(images):
    found = whitening.filters(images, (3, 3), 0)
    assert found.shape == (9 * images.shape[-1], 3, 3, images.shape[-1])
    assert abs(found).max() <= 100
