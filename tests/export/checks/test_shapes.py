"""A graph that would take more memory than its numbers and its images explain is refused before it is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import exports
import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from cnn_tuner.errors import VerificationError
from cnn_tuner.export import safety
from cnn_tuner.export.checks import graph as graph_check
from cnn_tuner.export.checks import shapes
from cnn_tuner.export.checks.operations import ALLOWED, STEERED

LAYERS = keras.layers


def network(*layers: keras.layers.Layer) -> keras.Model:
    head = [LAYERS.Flatten(), LAYERS.Dense(4, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 3), dtype="uint8"), LAYERS.Rescaling(1 / 255), *layers, *head])


def refused(folder: Path, why: str) -> None:
    with pytest.raises(VerificationError, match="refused, nothing of it was loaded: ") as error:
        safety.check_graph(folder)
    assert re.search(why, str(error.value)), error.value
    assert "\n" not in str(error.value)


def layers_of_kerass_own() -> list[keras.layers.Layer]:
    """Those that normalise, pad, resize, transpose, activate, dilate and are dense on pixels."""
    return [
        LAYERS.BatchNormalization(),
        LAYERS.LayerNormalization(),
        LAYERS.GroupNormalization(3),
        LAYERS.ZeroPadding2D(2),
        LAYERS.Cropping2D(1),
        LAYERS.Resizing(12, 5, crop_to_aspect_ratio=True),
        LAYERS.UpSampling2D(interpolation="bilinear"),
        LAYERS.UpSampling2D(2),
        LAYERS.Conv2DTranspose(4, 3, strides=2),
        LAYERS.Conv2DTranspose(4, 3, 2, padding="same"),
        *(LAYERS.Activation(name) for name in ("silu", "gelu", "selu", "softplus", "hard_sigmoid", "tanh")),
        LAYERS.Conv2D(4, 3, dilation_rate=2),
        LAYERS.DepthwiseConv2D(2, dilation_rate=2),
        LAYERS.Dense(5),
        LAYERS.Reshape((-1, 10)),
        LAYERS.Dense(3),
        LAYERS.Permute((2, 1)),
    ]


def test_what_kerass_own_layers_make_passes(tmp_path):
    safety.check_graph(exports.write(tmp_path / "1", live=network(*layers_of_kerass_own())))


def test_gradients_that_layers_define_stay_out_of_an_export(tmp_path):
    folder = exports.write(tmp_path / "1", live=network(LAYERS.Activation("silu")))
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    assert not model.meta_graphs[0].graph_def.library.registered_gradients


def twice(x, axis: int):
    for _ in range(40):
        x = tf.concat([x, x], axis)
    return x


def added_outer(x):
    """Each step squares the number of channels."""
    for _ in range(3):
        channels = x.shape[-1] * 4
        x = tf.concat([x] * 4, -1)
        x = tf.reshape(x[..., :, None] + x[..., None, :], (-1, 8, 8, channels**2))
    return x


def transposed_convolution(x):
    return tf.nn.conv2d_transpose(x, tf.zeros((1, 1, 1, 1)), tf.stack([tf.shape(x)[0], 2**17, 2**17, 1]), 2**14)


def of_batches(x):
    return tf.raw_ops.BatchToSpaceND(input=x, block_shape=[2, tf.shape(x)[0]], crops=[[0, 0], [0, 0]])


def padded_often(x):
    for _ in range(20):
        x = tf.pad(x, [[0, 0], [1000, 1000], [1000, 1000], [0, 0]])
    return x


def by_the_number_of_images(x):
    return tf.pad(x, [[0, 0], [0, 256 - tf.shape(x)[0]], [0, 0], [0, 0]])


def chosen(x):
    best = tf.argmax(x[:, 0, 0], axis=tf.cast(tf.reduce_sum(x), tf.int32))
    return tf.cast(best, tf.float32)


LARGE = r"allowed are 268,435,456 elements an image"
UNKNOWN = "makes a tensor of unknown size"
STEERING = "cuts, pads or sums up by a number that is not fixed"
GROWING = {
    "channels that double": (lambda x: twice(x, -1), LARGE),
    "images that double": (lambda x: twice(x, 0), LARGE),
    "images by images": (lambda x: tf.matmul(x[:, :, 0, 0], x[:, :, 0, 0], transpose_b=True), UNKNOWN),
    "an outer sum": (added_outer, LARGE),
    "a transposed convolution": (transposed_convolution, LARGE),
    "a pad": (lambda x: tf.pad(x, [[0, 0], [2**14, 0], [2**14, 0], [0, 2]]), LARGE),
    "a pad of images": (lambda x: tf.pad(x, [[2**30, 0], [0, 0], [0, 0], [0, 0]]), LARGE),
    "pads": (padded_often, LARGE),
    "a mirror": (lambda x: tf.pad(twice(x, -1), [[0, 0], [7, 7], [7, 7], [0, 0]], "REFLECT"), LARGE),
    "a pad by the number of images": (by_the_number_of_images, STEERING),
    "a pad by a pixel": (lambda x: tf.pad(x, tf.cast(x[0, :4, :2, 0], tf.int32)), STEERING),
    "a cut by a pixel": (lambda x: x[: tf.cast(x[0, 0, 0, 0], tf.int32)], STEERING),
    "a slice": (lambda x: tf.slice(x, [0, 0, 0, 0], tf.shape(x) - 1), STEERING),
    "a sum by a pixel": (lambda x: tf.reduce_sum(x, tf.cast(x[0, 0, :1, 0], tf.int32)), STEERING),
    "an axis by a pixel": (chosen, STEERING),
    "a resize by a pixel": (lambda x: tf.image.resize(x, tf.cast(x[0, 0, :2, 0], tf.int32)), UNKNOWN),
    "batches": (
        lambda x: tf.raw_ops.SpaceToBatchND(input=x, block_shape=[1, 1], paddings=[[0, 2**15], [0, 2**15]]),
        LARGE,
    ),
    "space": (of_batches, STEERING),
    "a shape by a pixel": (lambda x: tf.reshape(x, tf.cast(x[0, 0, :2, 0], tf.int32)), UNKNOWN),
}


@pytest.mark.parametrize("case", GROWING)
def test_what_grows_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.setattr(graph_check, "MAX_ELEMENTS", 2**100)  # whatever the file itself states
    answer, why = GROWING[case]
    refused(exports.with_answer(tmp_path / "1", answer), why)


def test_all_tensors_together_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "MAX_TOTAL", 1000)
    refused(exports.write(tmp_path / "1"), "its tensors would take over 1,000 elements an image")


def test_a_text_counts_as_its_bytes(tmp_path, monkeypatch):
    def answer(x):
        return x + tf.cast(tf.equal(tf.gather(tf.constant(["a", "b"]), tf.cast(x, tf.int32)), "a"), tf.float32)

    monkeypatch.setattr(shapes, "MAX_ELEMENTS", 64 * shapes.MAX_TEXT // 4 - 1)
    refused(exports.with_answer(tmp_path / "1", answer), r"GatherV2\) makes \(256, 8, 8, 1\) of 256 images")


def test_a_long_text_is_refused(tmp_path):
    text = "a" * (shapes.MAX_TEXT + 1)
    folder = exports.with_answer(tmp_path / "1", lambda x: x + tf.cast(tf.equal(tf.constant([text]), "a"), tf.float32))
    refused(folder, "holds a text of over 4,096 bytes")


def of_constants(x):
    size = tf.constant([0])
    for _ in range(14):
        size = tf.concat([size, size], 0)
    return tf.reshape(x, [-1, tf.reduce_sum(size) + 64])


def idle(graph) -> None:
    """The same constants in a function that nothing calls."""
    added = graph.graph_def.library.function.add()
    added.signature.name = "idle"
    for name, value in {"size_0": [0], "axis": 0}.items():
        node = added.node_def.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr["dtype"].type = tf.int32.as_datatype_enum
    for number in range(14):
        inputs = [f"size_{number}:output:0"] * 2 + ["axis:output:0"]
        node = added.node_def.add(name=f"size_{number + 1}", op="ConcatV2", input=inputs)
        node.attr["N"].i = 2
        node.attr["T"].type = node.attr["Tidx"].type = tf.int32.as_datatype_enum


@pytest.mark.parametrize("is_called", [True, False])
def test_constants_that_tensorflow_would_calculate_while_it_loads_are_limited(tmp_path, monkeypatch, is_called):
    monkeypatch.setattr(shapes, "MAX_FIXED", 10_000)
    folder = exports.with_answer(tmp_path / "1", of_constants if is_called else lambda x: x)
    if not is_called:
        safety.check_graph(folder)
        folder = exports.changed(folder, tmp_path / "2", idle)
    refused(folder, r"ConcatV2\) makes \(16384,\) of constants; allowed are 10,000 elements")


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    return exports.write(tmp_path_factory.mktemp("own") / "1")


def body(graph):
    return next(f for f in graph.graph_def.library.function if f.signature.name.startswith("__inference_scores"))


def saved(graph):
    found = graph.object_graph_def.concrete_functions
    return next(found[name] for name in found if "signature_wrapper_scores" in name)


def spec(graph):
    return saved(graph).canonicalized_input_signature.tuple_value.values[1].dict_value.fields["image"].tensor_spec_value


def waiting(graph) -> None:
    node = next(node for node in body(graph).node_def if node.op == "Relu")
    node.input[0] = f"{node.name}:activations:0"


def misfit(graph) -> None:
    next(node for node in body(graph).node_def if node.op == "MatMul").attr["transpose_a"].b = True


def unnamed(graph) -> None:
    next(node for node in body(graph).node_def if node.op == "Relu").input[0] = "nothing:y:0"


def unbound(graph) -> None:
    del saved(graph).bound_inputs[-1]


def bound_elsewhere(graph) -> None:
    saved(graph).bound_inputs[0] = 0


def unspoken(graph) -> None:
    found = graph.object_graph_def.concrete_functions
    del found[next(name for name in found if "signature_wrapper_scores" in name)]


def of_one_image(graph) -> None:
    spec(graph).shape.dim[0].size = 1


def of_other_images(graph) -> None:
    spec(graph).shape.dim[1].size = 9


def swapped(graph) -> None:
    """Another weight than the one that the function was made for."""
    inputs = saved(graph).bound_inputs
    inputs[0], inputs[2] = inputs[2], inputs[0]


def without_objects(graph) -> None:
    graph.ClearField("object_graph_def")


def many_outputs(graph) -> None:
    node = body(graph).node_def.add(name="many", op="Split", input=["image", "image"])
    node.attr["num_split"].i = 2**31


CHANGES = {
    waiting: "a function whose operations wait for each other",
    misfit: "a function that TensorFlow cannot load: ",
    unnamed: "a function that TensorFlow cannot load: ",
    unbound: "takes something other than images",
    bound_elsewhere: "is given an object of kind user_object",
    unspoken: "does not say what the function .*signature_wrapper_scores.* is called with",
    of_one_image: "does not take any number of images of one size",
    of_other_images: "its signatures take images of different shapes",
    swapped: "a function that TensorFlow cannot load: ",
    without_objects: "names no objects",
    many_outputs: r"node many \(Split\) has over 4,096 outputs",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_graph_that_does_not_fit_is_refused(export, tmp_path, change):
    refused(exports.changed(export, tmp_path / "1", change), CHANGES[change])


def test_what_steers_is_allowed():
    assert set(STEERED) <= ALLOWED


def test_the_most_images_are_those_of_a_call():
    from cnn_tuner.export import reader, served
    from cnn_tuner.server import app

    assert served.BATCH == reader.BATCH == app.MAX_BATCH == shapes.BATCH
    assert graph_check.MAX_ELEMENTS >= shapes.MAX_ELEMENTS
