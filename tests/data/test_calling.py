"""Data that a function returns: arrays, dicts of parts, data sets of TensorFlow and Keras; and its failures."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from data_helpers import labels, pixels, write_function

from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import is_there, lasting, load, load_parts
from cnn_tuner.errors import DataError, UsageError

OPTIONS = DataOptions()
PAIR = "pixels(80, 7, 6, 3), labels(80, 4)"


def made(body, tmp_path, monkeypatch, **options):
    source = write_function(tmp_path, f"    {body}", monkeypatch)
    return load_parts(source, DataOptions(**options))


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        (f"return {PAIR}", {"train": 80}),
        (f"return ({PAIR}), (pixels(20, 7, 6, 3), labels(20, 4))", {"train": 80, "test": 20}),
        (f"return {{'train': ({PAIR}), 'val': (pixels(20, 7, 6, 3), labels(20, 4))}}", {"train": 80, "val": 20}),
        (f"import tensorflow as tf; return tf.data.Dataset.from_tensor_slices(({PAIR}))", {"train": 80}),
        (f"import tensorflow as tf; return tf.data.Dataset.from_tensor_slices(({PAIR})).batch(32)", {"train": 80}),
    ],
)
def test_what_a_function_may_return(body, sizes, tmp_path, monkeypatch):
    found = made(body, tmp_path, monkeypatch)
    assert {name: len(part) for name, part in found.parts.items()} == sizes
    np.testing.assert_array_equal(found.parts["train"].x, pixels(80, 7, 6, 3))
    np.testing.assert_array_equal(found.parts["train"].y, labels(80, 4))
    assert found.name == "images"


def test_a_data_set_of_keras(tmp_path, monkeypatch):
    body = """
    import keras
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4
        def __getitem__(self, index):
            at = slice(20 * index, 20 * index + 20)
            return pixels(80, 7, 6, 3)[at], labels(80, 4)[at]
    return Batches()
"""
    assert keras.utils.PyDataset
    source = write_function(tmp_path, body, monkeypatch)
    np.testing.assert_array_equal(load_parts(source, OPTIONS).parts["train"].x, pixels(80, 7, 6, 3))


def test_single_images_with_several_labels(tmp_path, monkeypatch):
    body = (
        "import tensorflow as tf; rows = np.eye(3, dtype=np.uint8)[labels(80, 3)]; rows[::5] = 1; "
        "return tf.data.Dataset.from_tensor_slices((pixels(80, 3, 6, 1), rows))"
    )
    found = made(body, tmp_path, monkeypatch)
    assert (found.task, found.parts["train"].x.shape) == ("multilabel", (80, 3, 6, 1))


def test_classes_may_be_named(tmp_path, monkeypatch):
    found = made(f"return {{'train': ({PAIR}), 'class_names': list('wxyz')}}", tmp_path, monkeypatch)
    assert found.class_names == ("w", "x", "y", "z")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no disk')", r"^python:my_images:images: failed with RuntimeError: no disk$"),
        ("return 5", r"must be \(images, labels\), .*, a tf.data.Dataset or a keras.utils.PyDataset, got int$"),
        ("return {'test': 5}", r"is a dict without train$"),
        ("return {'train': 5, 'other': 5}", r"is a dict with other; its keys are train, val, test, class_names$"),
        (
            f"import tensorflow as tf; return tf.data.Dataset.from_tensor_slices(({PAIR})).repeat()",
            r"train: repeats without an end; leave out .repeat\(\)$",
        ),
        (
            "import tensorflow as tf; return tf.data.Dataset.from_tensor_slices(pixels(8, 7, 6, 3))",
            r"train: must yield pairs \(images, labels\)$",
        ),
    ],
)
def test_what_it_may_not_return(body, message, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=message):
        made(body, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("python:my_images", r"must be written python:MODULE:FUNCTION$"),
        ("python:no_such_module:f", r"no_such_module cannot be imported \(ModuleNotFoundError: "),
        ("python:my_images:other", r"my_images has no function other$"),
        ("python:my_images:np", r"my_images has no function np$"),
    ],
)
def test_a_function_that_is_not_there(source, message, tmp_path, monkeypatch):
    write_function(tmp_path, "    return 5", monkeypatch)
    with pytest.raises(UsageError, match=message):
        load(source, OPTIONS)


def test_it_is_the_same_wherever_it_is_called(tmp_path, monkeypatch):
    source = write_function(tmp_path, f"    return {PAIR}", monkeypatch)
    assert lasting(source) == source and is_there(source)
