"""A `.keras` file of a person's own network: Keras's own layers pass, anything else and what is too large does not."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import hypermodels
import keras
import keras_tuner
import numpy as np
import pytest

from cnn_tuner.errors import VerificationError
from cnn_tuner.export.checks import keras_network
from cnn_tuner.export.checks.keras_file import check_keras
from cnn_tuner.export.formats import keras_file

LAYERS = keras.layers


def network(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, LAYERS.Flatten(), LAYERS.Dense(4)])


def operations() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = -(inputs / 255.0 - 1) * 2 + np.array([1.0, 2.0, 3.0], np.float32)
    x = keras.applications.resnet50.preprocess_input(x[:, 1:-1, ...])
    x = keras.ops.concatenate([x, keras.ops.relu(x)])
    return keras.Model(inputs, keras.ops.softmax(keras.ops.mean(x, axis=(1, 2))))


def within() -> keras.Model:
    """A network that another calls twice."""
    inner = network()
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, inner(inputs) + inner(inputs * 2))


OWN = {
    "small": lambda: hypermodels.small(keras_tuner.HyperParameters()),
    "operations": operations,
    "within": within,
    "convolutions": lambda: network(
        LAYERS.Conv2DTranspose(4, 3, strides=2),
        LAYERS.SeparableConv2D(4, 3, dilation_rate=2, padding="same"),
        LAYERS.ZeroPadding2D(2),
        LAYERS.UpSampling2D(),
        LAYERS.Resizing(9, 9),
    ),
    "random": lambda: network(LAYERS.RandomFlip(), LAYERS.RandomRotation(0.1), LAYERS.GaussianNoise(0.1)),
    "options": lambda: network(
        LAYERS.Dense(4, "relu", kernel_regularizer="l2", kernel_constraint="max_norm", kernel_initializer="orthogonal"),
        LAYERS.Activation(LAYERS.LeakyReLU(0.2)),
        LAYERS.Dense(4, dtype="mixed_bfloat16"),
        LAYERS.Normalization(mean=[1, 2, 3, 4], variance=[1, 1, 1, 1]),
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_kerass_own_layers_pass_and_load(tmp_path, case):
    model = OWN[case]()
    model.save(tmp_path / "best.keras")
    assert keras_file.load(tmp_path / "best.keras", is_chain=False).count_params() == model.count_params()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DenseNet121", "EfficientNetB0", "MobileNetV3Small", "ResNet50V2", "VGG16"])
def test_kerass_applications_pass(tmp_path, name):
    base = getattr(keras.applications, name)(input_shape=(64, 64, 3), weights=None, include_top=False)
    base.save(tmp_path / "best.keras")
    check_keras(tmp_path / "best.keras", is_chain=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "best.keras"
    inputs = keras.Input((8, 8, 3), name="image")
    x = LAYERS.Conv2D(4, 3, name="conv")(inputs) * np.array([1.0], np.float32)
    keras.Model(inputs, LAYERS.Dense(4, name="dense")(LAYERS.GlobalMaxPooling2D(name="pool")(x))).save(path)
    return path


def refused(path: Path, why: str) -> None:
    with pytest.raises(VerificationError, match="refused, nothing of it was loaded: ") as error:
        check_keras(path, is_chain=False)
    assert re.search(why, str(error.value)), error.value
    assert "\n" not in str(error.value)


def set_layer(name: str, value, *keys: str):
    def change(layers) -> None:
        found = layers[name]
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value

    return change


def array_of(dtype: str):
    def change(layers) -> None:
        [name] = [name for name in layers if name.startswith("multiply")]
        layers[name]["inbound_nodes"][0]["args"][1]["config"]["dtype"] = dtype

    return change


def kind(name: str, module: str = "keras.layers"):
    return lambda layers: layers["pool"].update(class_name=name, module=module)


WRAPPED = {"class_name": "__lambda__", "config": {"value": "x"}}
CONFIGS = {
    "Lambda": (kind("Lambda"), "class keras.layers.Lambda"),
    "another SavedModel": (kind("TFSMLayer"), "class keras.layers.TFSMLayer"),
    "another framework": (kind("JaxLayer"), "class keras.layers.JaxLayer"),
    "a vocabulary": (kind("StringLookup"), "class keras.layers.StringLookup"),
    "a loop": (kind("LSTM"), "class keras.layers.LSTM"),
    "a table": (kind("CategoryEncoding"), "class keras.layers.CategoryEncoding"),
    "a function": (kind("get_file", "keras.utils"), "class keras.utils.get_file"),
    "of the system": (kind("system", "os"), "class os.system"),
    "of Keras's inside": (kind("Tile", "keras.src.ops.numpy"), "class keras.src.ops.numpy.Tile"),
    "a lambda": (set_layer("pool", WRAPPED, "config", "name"), "class None.__lambda__"),
    "registered": (set_layer("pool", "Evil>Pool", "registered_name"), "registered class Evil>Pool"),
    "a long text": (array_of("S1000000000"), "array of type S1000000000"),
    "units": (set_layer("dense", 2**24, "config", "units"), r"need weights of shape \[4, 16777216\]"),
    "many units": (set_layer("dense", 2**60, "config", "units"), "cannot build it|for an image"),
    "a kernel": (set_layer("conv", [7, 7], "config", "kernel_size"), r"need weights of shape \[7, 7, 3, 4\]"),
    "a strange number": (set_layer("conv", "many", "config", "filters"), r"Keras 3\.\d+\.\d+ cannot build it"),
    "a large image": (set_layer("image", [None, 2**15, 2**15, 3], "config", "batch_shape"), "for an image; allowed"),
    "a fixed batch": (set_layer("image", [7, 8, 8, 3], "config", "batch_shape"), "any number of images of one size"),
    "an open image": (set_layer("image", [None, None, 8, 3], "config", "batch_shape"), "cannot build it|of one size"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_strange_layer_is_refused(saved, tmp_path, case):
    change, why = CONFIGS[case]
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "a.keras", "w") as new:
        config = json.loads(old.read("config.json"))
        change({layer["name"]: layer for layer in config["config"]["layers"]})
        for name in old.namelist():
            new.writestr(name, json.dumps(config) if name == "config.json" else old.read(name))
    refused(tmp_path / "a.keras", why)


def test_what_grows_without_weights_is_refused(tmp_path, monkeypatch):
    network(LAYERS.ZeroPadding2D(4), LAYERS.Cropping2D(4)).save(tmp_path / "a.keras")
    monkeypatch.setattr(keras_network, "MAX_ELEMENTS", 8 * 8 * 3 * 3)
    refused(tmp_path / "a.keras", r"operation .*[Pp]ad.* gives \(1, 16, 16, 3\) for an image; allowed are 576")


def test_networks_within_networks_are_counted_as_often_as_they_are_called(tmp_path):
    model = LAYERS.Activation("relu")
    for _ in range(4):
        inputs = keras.Input((8, 8, 3))
        x = inputs
        for _ in range(10):
            x = model(x)
        model = keras.Model(inputs, x)
    model.save(tmp_path / "a.keras")
    refused(tmp_path / "a.keras", "its layers are called over 10,000 times")


def test_the_classes_are_sorted_and_keras_has_the_most_of_them():
    for module, names in keras_network._KNOWN.items():
        assert list(names) == sorted(names), module
    assert all(hasattr(keras.layers, name) for name in keras_network._KNOWN["keras.layers"])
