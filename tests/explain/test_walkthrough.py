"""One image through a network: every number is the one that the model itself has there."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_tuner.explain.parts import Convolution, Dropout, Flattening, FullConnection, Output, Padding, Pooling, Relu
from cnn_tuner.explain.walkthrough import convolution_at, explain, make_answer
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.metrics.tasks import Output as TaskOutput
from cnn_tuner.models import builder
from cnn_tuner.spaces import architecture


def point(blocks=1, dense=0, **values):
    """A point of a space: blocks alike, with `values` in the place of what is usual here."""
    usual = {"convolutions": 1, "filters": 4, "kernel_size": 3, "strides": 1, "padding": "same", "pool_size": 2}
    block = usual | {"dropout": 0.25} | values
    found = {f"block_{i}.{key}": value for i in range(1, blocks + 1) for key, value in block.items()}
    layers = {f"dense_{i}.{key}": value for i in range(1, dense + 1) for key, value in (("units", 7), ("dropout", 0.5))}
    return {"blocks": blocks, "dense_layers": dense} | found | layers


THREE_CLASSES = TaskOutput("multiclass", 3)


def explained(values, shape=(9, 8, 1), output=THREE_CLASSES, seed=0, names=()):
    """The plan, the model with biases that are not 0, and what is explained of a random image."""
    plan = architecture.build(values, shape, output)
    built = builder.build(plan, seed)
    rng = np.random.default_rng(seed)
    built.set_weights([w + rng.normal(0, 0.1, w.shape).astype("float32") for w in built.get_weights()])
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    return plan, built, explain(built, plan, image, names)


def details(explanation, kind):
    return [(view, view.detail) for view in explanation.views if isinstance(view.detail, kind)]


CONVOLUTIONS = {
    "same": ({}, (9, 8, 1)),
    "valid": ({"padding": "valid"}, (9, 8, 1)),
    "same, strides": ({"strides": 2}, (9, 8, 3)),
    "valid, strides": ({"strides": 2, "padding": "valid"}, (9, 8, 3)),
    "large kernel": ({"kernel_size": 5}, (7, 12, 3)),
    "large kernel, strides": ({"kernel_size": 5, "strides": 3}, (7, 12, 1)),
    "several": ({"convolutions": 3, "filters": 5}, (9, 8, 1)),
    "blocks": ({"blocks": 2, "pool_size": 2, "pool_strides": 1}, (9, 9, 3)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_is_the_models_own_at_every_place(case):
    values, shape = CONVOLUTIONS[case]
    _, built, explanation = explained(point(**values), shape)
    for view, detail in details(explanation, Convolution):
        kernel, bias = built.get_layer(view.name).get_weights()
        for place in np.ndindex(view.outputs.shape):
            found = convolution_at(view.layer, kernel[..., place[2]], float(bias[place[2]]), view.inputs, place)
            assert found.value == pytest.approx(float(view.outputs[place]), abs=1e-4)
        place = (detail.row, detail.column, detail.filter)
        assert detail.value == pytest.approx(float(view.outputs[place]), abs=1e-4)
        assert detail.value == pytest.approx(float(view.outputs[..., detail.filter].max()), abs=1e-4)


def test_the_layers_of_the_explanation_are_the_models_own():
    _, built, explanation = explained(point(blocks=2, dense=1))
    image = explanation.image[None]
    assert explanation.views[-1].outputs == pytest.approx(np.asarray(built(image, training=False))[0], abs=1e-6)
    assert explanation.scaled == pytest.approx(explanation.image / 255, abs=1e-6)
    assert [view.step for view in explanation.views] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7]
    for view in explanation.views:
        assert view.inputs.shape == view.layer.input_shape
        assert view.outputs.shape == view.layer.output_shape or view.kind == "padding"


def test_up_to_three_channels_are_shown_each_and_else_the_strongest():
    _, _, explanation = explained(point(blocks=2, filters=6), (9, 9, 3))
    (_, first), (_, second) = details(explanation, Convolution)
    assert [products.channel for products in first.shown] == [0, 1, 2]
    assert sum(p.total for p in first.shown) + first.bias == pytest.approx(first.value)
    [strongest] = second.shown
    assert strongest.channel == np.abs(second.channel_sums).argmax()
    assert strongest.total == pytest.approx(second.channel_sums[strongest.channel])
    assert second.channel_sums.sum() + second.bias == pytest.approx(second.value)


def test_the_worked_example_is_25():
    [layer] = architecture.build(point(pool_size=1, dropout=0.0, filters=1, padding="valid"), (3, 3, 1),
                                 TaskOutput("multiclass", 2)).layers[:1]  # fmt: skip
    patch = np.array([[3, 5, 2], [9, 7, 5], [2, 0, 6]], float)[..., None]
    kernel = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], float)[..., None]
    found = convolution_at(layer, kernel, 0.0, patch, (0, 0, 0))
    assert found.value == 25
    assert found.shown[0].products.tolist() == [[3, 0, 0], [9, 7, 0], [0, 0, 6]]


def test_padding_is_marked_in_the_patch():
    plan, built, explanation = explained(point())
    kernel, bias = built.get_layer("block_1_conv_1").get_weights()
    view = explanation.views[0]
    corner = convolution_at(view.layer, kernel[..., 0], float(bias[0]), view.inputs, (0, 0, 0)).shown[0]
    assert corner.is_padding.tolist() == [[True] * 3, [True, False, False], [True, False, False]]
    assert (corner.patch[corner.is_padding] == 0).all()
    assert plan.layers[0].output_shape == (9, 8, 4)


@pytest.mark.parametrize(
    ("values", "shape", "height", "width", "sentence"),
    [
        ({}, (9, 8, 1), (1, 1), (1, 1), "same: 1 row or column of zeros on every side. The map keeps its 9 x 8."),
        ({"kernel_size": 5}, (9, 8, 1), (2, 2), (2, 2), "same: 2 rows or columns of zeros on every side"),
        ({"padding": "valid"}, (9, 8, 1), (0, 0), (0, 0), "valid: no zeros are added. The map of 9 x 8 becomes 7 x 6."),
        ({"strides": 2}, (9, 8, 1), (1, 1), (0, 1), "same: zeros: 1 above, 1 below, 0 left and 1 right. The map of "
         "9 x 8 becomes 5 x 4, since the kernel moves 2 pixels at a time."),
        ({"kernel_size": 1}, (9, 8, 1), (0, 0), (0, 0), "same: no zeros are needed here. The map keeps its 9 x 8."),
    ],
)  # fmt: skip
def test_padding_says_where_zeros_are(values, shape, height, width, sentence):
    _, _, explanation = explained(point(**values), shape)
    [(view, detail)] = details(explanation, Padding)
    assert (detail.height, detail.width) == (height, width)
    assert view.outputs.shape[:2] == (shape[0] + sum(height), shape[1] + sum(width))
    assert sentence in view.sentences[0].replace("\N{MULTIPLICATION SIGN}", "x")


def test_relu_counts_what_was_negative():
    _, _, explanation = explained(point(dense=1))
    for view, detail in details(explanation, Relu):
        assert detail.negative == (view.inputs < 0).sum()
        assert detail.lowest == view.inputs.min()
        assert (view.outputs == np.maximum(view.inputs, 0)).all()


@pytest.mark.parametrize(("size", "strides"), [(2, 2), (2, 1), (3, 2), (3, 3), (2, 3)])
def test_every_window_of_a_pool_has_the_winner_that_went_on(size, strides):
    _, _, explanation = explained(point(pool_size=size, pool_strides=strides), (9, 10, 1))
    [(view, detail)] = details(explanation, Pooling)
    for row, column, channel in np.ndindex(view.outputs.shape):
        at = divmod(int(detail.winners[row, column, channel]), view.inputs.shape[1])
        assert view.inputs[(*at, channel)] == view.outputs[row, column, channel]
        assert 0 <= at[0] - row * strides < size
        assert 0 <= at[1] - column * strides < size
    top, left = detail.row * strides, detail.column * strides
    assert (detail.window == view.inputs[top : top + size, left : left + size, detail.channel]).all()
    assert detail.window[detail.winner] == view.outputs[detail.row, detail.column, detail.channel]


def test_dropout_is_one_draw_with_the_layers_seed_and_nothing_when_predicting():
    plan, built, explanation = explained(point(filters=32, dense=1), (16, 16, 1))
    (block, detail), (dense, _) = details(explanation, Dropout)
    assert (block.step, dense.step) == (5, 7)
    assert detail.is_dropped.mean() == pytest.approx(0.25, abs=0.03)
    assert detail.scale == pytest.approx(4 / 3)
    assert (block.outputs == block.inputs).all()
    again = explain(built, plan, explanation.image)
    assert (details(again, Dropout)[0][1].is_dropped == detail.is_dropped).all()
    _, _, other = explained(point(filters=32, dense=1), (16, 16, 1), seed=1)
    assert (details(other, Dropout)[0][1].is_dropped != detail.is_dropped).any()


def test_flattening_knows_where_each_value_comes_from():
    _, _, explanation = explained(point())
    [(view, detail)] = details(explanation, Flattening)
    assert detail.zeros == (view.outputs == 0).sum()
    for value, place in zip(view.outputs, detail.places, strict=True):
        assert value == view.inputs[tuple(place)]


def test_a_unit_is_the_sum_of_its_products_and_the_largest_come_first():
    _, _, explanation = explained(point(dense=2))
    found = details(explanation, FullConnection)
    assert [view.name for view, _ in found] == ["dense_1", "dense_2"]
    for view, detail in found:
        assert detail.value == pytest.approx(float(view.outputs[detail.unit]), abs=1e-4)
        assert detail.unit == view.outputs.argmax()
        assert detail.products.sum() + detail.bias == pytest.approx(detail.value)
        assert (np.diff(np.abs(detail.products[detail.order])) <= 0).all()
    assert found[0][1].places is not None
    assert found[1][1].places is None


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


ACTIVATIONS = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "linear": lambda x: x}
OUTPUTS = {
    "binary": TaskOutput("binary", 1),
    "multiclass": TaskOutput("multiclass", 3),
    "multilabel": TaskOutput("multilabel", 3),
    "regression": TaskOutput("regression", 2, (10.0, 2.0), (100.0, -1.0)),
}


@pytest.mark.parametrize("task", TASKS)
def test_logits_become_the_answer_by_the_activation_of_the_task(task):
    output = OUTPUTS[task]
    _, built, explanation = explained(point(dense=1), output=output)
    [(view, detail)] = details(explanation, Output)
    assert detail.activation == TASKS[task].activation
    assert ACTIVATIONS[detail.activation](detail.logits) == pytest.approx(detail.scores, abs=1e-5)
    assert detail.connection.value == pytest.approx(detail.logits[detail.connection.unit])
    own = np.asarray(built(explanation.image[None], training=False))[0]
    assert detail.values == pytest.approx(own, rel=1e-5)
    assert len(view.outputs) == output.units
    assert explanation.answer.values[-output.units :] == pytest.approx(own, rel=1e-5)


def test_answers_of_every_task():
    assert make_answer(OUTPUTS["binary"], np.array([0.2]), ("even", "odd")).text == "even (80.0 %)"
    assert make_answer(OUTPUTS["binary"], np.array([0.7])).text == "class 1 (70.0 %)"
    assert make_answer(OUTPUTS["multiclass"], np.array([0.1, 0.6, 0.3]), ("a", "b", "c")).text == "b (60.0 %)"
    assert make_answer(OUTPUTS["multilabel"], np.array([0.9, 0.2, 0.8])).text == "label 0 (90.0 %), label 2 (80.0 %)"
    assert make_answer(OUTPUTS["multilabel"], np.array([0.1, 0.2, 0.3])).text == "none of the labels"
    assert make_answer(OUTPUTS["regression"], np.array([1.5, 2])).text == "target 0 1.5, target 1 2"


def test_an_image_of_another_shape_is_refused():
    plan, built, _ = explained(point())
    with pytest.raises(ValueError, match=r"image: must be \(9, 8, 1\), got \(8, 8, 1\)"):
        explain(built, plan, np.zeros((8, 8, 1), np.uint8))


def test_a_dead_network_is_explained_too():
    plan, built, _ = explained(point(dense=1))
    built.set_weights([np.zeros_like(weights) for weights in built.get_weights()])
    explanation = explain(built, plan, np.zeros((9, 8, 1), np.uint8))
    assert explanation.answer.values == pytest.approx((1 / 3,) * 3)
    assert "No value was negative: nothing changed." in explanation.views[2].sentences
