"""An architecture as a compiled Keras model: its weights, its scaling, its loss and its metrics."""

import keras
import numpy as np
import pytest

from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.recipe import recipe_of

OUTPUTS = {
    "binary": Output("binary", 1),
    "multiclass": Output("multiclass", 4),
    "multilabel": Output("multilabel", 3),
    "regression": Output("regression", 2, scale=(10.0, 0.5), offset=(100.0, -3.0)),
}
EACH_TASK = pytest.mark.parametrize("task", OUTPUTS)
POINT = {
    "blocks": 1,
    "block_1.convolutions": 1,
    "block_1.filters": 3,
    "block_1.kernel_size": 3,
    "block_1.strides": 1,
    "block_1.padding": "same",
    "block_1.pool_size": 2,
    "block_1.dropout": 0.5,
    "dense_layers": 2,
    "dense_1.units": 6,
    "dense_1.dropout": 0.0,
    "dense_2.units": 6,
    "dense_2.dropout": 0.0,
    "learning_rate": 0.002,
    "batch_size": 4,
}


def built(task="multiclass", seed=0, **change):
    plan = architecture.build(POINT | change, (8, 8, 1), OUTPUTS[task])
    return builder.build(plan, seed)


def compiled(task, learning_rate=0.002, **settings):
    """A network without dropout and hidden layers, whose dead units would answer 0.5 to everything."""
    network = built(task, **{"block_1.dropout": 0.0, "dense_layers": 0})
    recipe = recipe_of(POINT | {"learning_rate": learning_rate})
    builder.compile_model(network, recipe, OUTPUTS[task], **settings)
    return network


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)


def labels(task, count):
    rng, units = np.random.default_rng(1), OUTPUTS[task].units
    if task == "multiclass":
        return rng.integers(0, units, count).astype(np.int32)
    if task == "regression":
        return rng.normal((100, -3), (10, 0.5), (count, 2)).astype(np.float32)
    return rng.integers(0, 2, (count, units)).astype(np.float32)


def kernels(network):
    return {layer.name: layer.get_weights()[0] for layer in network.layers if layer.get_weights()}


def values_at(network, tensor, x):
    return np.asarray(keras.Model(network.input, tensor)(x))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40])
def test_the_same_seed_gives_the_same_initial_weights(seed):
    first, second = kernels(built(seed=seed)), kernels(built(seed=seed))
    assert list(first) == ["block_1_conv_1", "dense_1", "dense_2", "output"]
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_another_seed_gives_other_weights_in_every_layer():
    first, second = kernels(built(seed=0)), kernels(built(seed=1))
    for name in first:
        assert not np.isclose(first[name], second[name]).any()


def test_the_seed_decides_dropout_too():
    def dropped(seed):
        layer = built(seed=seed).get_layer("block_1_dropout")
        return np.asarray(layer(np.ones((1, 4, 4, 3), np.float32), training=True)).tolist()

    assert dropped(0) == dropped(0)
    assert dropped(0) != dropped(1)


def test_layers_of_one_shape_begin_with_weights_of_their_own():
    weights = kernels(built(**{"dense_1.units": 48, "dense_2.units": 48, "block_1.dropout": 0.0}))
    assert weights["dense_1"].shape == weights["dense_2"].shape == (48, 48)
    assert not np.isclose(weights["dense_1"], weights["dense_2"], atol=1e-6).any()


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"dense_layers": 1}, {"block_1_conv_1", "dense_1"}),
        ({"dense_2.units": 9}, {"block_1_conv_1", "dense_1"}),
        ({"block_1.filters": 5}, {"dense_2", "output"}),
        ({"dense_1.units": 9}, {"block_1_conv_1", "output"}),
    ],
    ids=lambda names: " ".join(sorted(names)),
)
def test_a_layers_weights_do_not_depend_on_the_layers_around_it(change, same):
    first, second = kernels(built()), kernels(built(**change))
    alike = {n for n in first if n in second and np.array_equal(first[n], second[n])}
    assert alike == same


def test_no_two_layers_share_a_seed():
    seeds = {builder.layer_seed(seed, index) for seed in range(20) for index in range(50)}
    assert len(seeds) == 20 * 50
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)


def test_white_enters_the_first_convolution_as_one():
    network = built()
    pixels = np.array([0, 51, 128, 255] * 16, np.uint8).reshape(1, 8, 8, 1)
    seen = values_at(network, network.get_layer("block_1_conv_1").input, pixels)
    assert network.input.dtype == "uint8"
    np.testing.assert_allclose(seen, pixels / 255, rtol=1e-6)
    assert (seen.min(), seen.max()) == (0.0, 1.0)


@EACH_TASK
def test_the_last_layer_is_that_of_the_task(task):
    last = built(task).get_layer("output")
    activation = {"binary": "sigmoid", "multiclass": "softmax", "multilabel": "sigmoid", "regression": "linear"}
    assert (last.units, last.activation.__name__) == (OUTPUTS[task].units, activation[task])


@EACH_TASK
def test_predictions_and_weights_are_float32_also_where_the_model_computes_in_half_precision(task):
    plan = architecture.build(POINT, (8, 8, 1), OUTPUTS[task])
    network = builder.build(plan, 0, "bfloat16")
    half = [layer for layer in network.layers if layer.name not in ("image", "output", "unit")]
    assert {layer.compute_dtype for layer in half} == {"bfloat16"}
    assert {str(weight.dtype) for weight in network.trainable_variables} == {"float32"}
    predictions = np.asarray(network(images(5)))
    assert (predictions.shape, predictions.dtype) == ((5, OUTPUTS[task].units), np.float32)


def test_the_precision_of_one_model_is_not_that_of_the_next():
    plan = architecture.build(POINT, (8, 8, 1), OUTPUTS["multiclass"])
    before = keras.config.dtype_policy()
    builder.build(plan, 0, "bfloat16")
    assert keras.config.dtype_policy() is before
    assert built().get_layer("dense_1").compute_dtype == "float32"


@pytest.mark.parametrize(("precision", "expected"), [(None, "float16"), ("float32", "float32")])
def test_a_policy_of_keras_decides_only_where_no_precision_is_asked_for(precision, expected):
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = builder.build(architecture.build(POINT, (8, 8, 1), OUTPUTS["multiclass"]), 0, precision)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(usual)
    assert network.get_layer("dense_1").compute_dtype == expected


def test_the_initial_weights_are_the_same_in_either_precision():
    plan = architecture.build(POINT, (8, 8, 1), OUTPUTS["multiclass"])
    first, second = kernels(builder.build(plan, 3)), kernels(builder.build(plan, 3, "bfloat16"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_regression_predicts_in_the_unit_of_its_targets():
    network, x = built("regression"), images(6)
    raw = values_at(network, network.get_layer("output").output, x)
    np.testing.assert_allclose(np.asarray(network(x)), raw * [10, 0.5] + [100, -3], rtol=1e-6)


def test_without_scale_nothing_follows_the_output():
    assert built("multiclass").layers[-1].name == "output"
    assert built("regression").layers[-1].name == "unit"


def loss_by_hand(task, y, found):
    if task == "multiclass":
        return -np.log(found[np.arange(len(y)), y]).mean()
    if task == "regression":
        return ((found - y) ** 2).mean()
    return -(y * np.log(found) + (1 - y) * np.log(1 - found)).mean()


@EACH_TASK
def test_the_loss_and_metrics_of_a_task_are_those_that_its_scores_have(task):
    network, x, y = compiled(task), images(400), labels(task, 400)
    found = np.asarray(network(x))
    told = network.evaluate(x, y, batch_size=400, verbose=0, return_dict=True)
    assert told.pop("loss") == pytest.approx(loss_by_hand(task, y, found), rel=1e-4)
    expected = scores.measure(task, y, found)
    assert list(told) == list(expected)
    # Keras's area is that of 200 thresholds: it misses a part of predictions that lie close together.
    assert told.pop("auc", 0) == pytest.approx(expected.pop("auc", 0), abs=0.02)
    assert told == pytest.approx(expected, rel=1e-4)


def test_the_optimizer_has_the_points_learning_rate():
    optimizer = compiled("multiclass").optimizer
    assert type(optimizer) is keras.optimizers.Adam
    assert float(optimizer.learning_rate) == pytest.approx(0.002)


def test_several_steps_may_be_executed_at_once():
    assert compiled("binary").steps_per_execution == 1
    assert compiled("binary", steps_per_execution=5).steps_per_execution == 5


@EACH_TASK
def test_training_lowers_the_loss(task):
    network, x, y = compiled(task, learning_rate=0.02), images(16), labels(task, 16)
    history = network.fit(x, y, epochs=10, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_a_kind_of_layer_without_a_step_is_refused():
    [layer] = [x for x in architecture.build(POINT, (8, 8, 1), OUTPUTS["binary"]).layers if x.kind == "flatten"]
    plan = architecture.Architecture(
        (8, 8, 1), OUTPUTS["binary"], (architecture.Layer(6, "fold", "fold", {}, layer.input_shape, (1,)),)
    )
    with pytest.raises(ValueError, match=r"^no step builds a layer of kind 'fold'$"):
        builder.build(plan, 0)


def smoothing(task, share):
    recipe = recipe_of(POINT | {"label_smoothing": share})
    plan = architecture.build(POINT | {"dense_layers": 0, "block_1.dropout": 0.0}, (8, 8, 1), OUTPUTS[task])
    network = builder.build(plan, 0, recipe=recipe)
    builder.compile_model(network, recipe, OUTPUTS[task])
    return network


def cross_entropy(truth, scores):
    return float(-(truth * np.log(scores)).sum(axis=-1).mean())


def test_labels_are_smoothed_while_training_and_as_they_are_when_evaluated():
    x, y, share = images(16), labels("multiclass", 16), 0.3
    network = smoothing("multiclass", share)
    found, truth = network.predict(x, verbose=0), np.eye(4)[y]
    trained = float(network.compute_loss(x, y, keras.ops.array(found), training=True))
    assert trained == pytest.approx(cross_entropy((1 - share) * truth + share / 4, found), rel=1e-5)
    told = network.evaluate(x, y, verbose=0, return_dict=True)
    assert told["loss"] == pytest.approx(cross_entropy(truth, found), rel=1e-5)


def test_where_images_have_weights_their_smoothed_labels_have_them_too():
    x, y, share = images(16), labels("multiclass", 16), 0.3
    network, weights = smoothing("multiclass", share), np.linspace(0.5, 1.5, 16, dtype=np.float32)
    found = network.predict(x, verbose=0)
    smooth = (1 - share) * np.eye(4)[y] + share / 4
    expected = (weights * -(smooth * np.log(found)).sum(axis=-1)).mean()
    trained = network.compute_loss(x, y, keras.ops.array(found), keras.ops.array(weights), training=True)
    assert float(trained) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_labels_of_0_and_1_are_smoothed_towards_a_half(task):
    x, y, share = images(16), labels(task, 16), 0.2
    network = smoothing(task, share)
    found = network.predict(x, verbose=0)
    smooth = (1 - share) * y + share / 2
    expected = -(smooth * np.log(found) + (1 - smooth) * np.log(1 - found)).mean()
    trained = float(network.compute_loss(x, y, keras.ops.array(found), training=True))
    assert trained == pytest.approx(expected, rel=1e-4)


def test_a_number_is_not_smoothed():
    assert type(smoothing("regression", 0.2)) is not builder.SmoothingModel


def test_a_model_to_be_trained_has_the_weights_of_one_without_its_recipe():
    recipe = recipe_of(POINT | {"flip": "both", "erase": 0.5, "label_smoothing": 0.1})
    plan = architecture.build(POINT, (8, 8, 1), OUTPUTS["multiclass"])
    plain, to_train = builder.build(plan, 5), builder.build(plan, 5, recipe=recipe)
    assert [layer.name for layer in to_train.layers] == [layer.name for layer in plain.layers]
    for a, b in zip(plain.get_weights(), to_train.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(plain.predict(images(4), verbose=0), to_train.predict(images(4), verbose=0))
