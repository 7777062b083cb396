"""Requests that TensorFlow Serving sends to itself before it opens, so that the first caller does not wait.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog` messages
(tensorflow/serving, tensorflow_serving/apis/prediction_log.proto). The few fields are written by hand, since
tensorflow-serving-api would pin the version of TensorFlow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"
# Field numbers: PredictionLog.predict_log, PredictLog.request, PredictRequest.model_spec and .inputs (a map of key and
# value), ModelSpec.name and .signature_name.
PREDICT_LOG, REQUEST, MODEL_SPEC, INPUTS, KEY, VALUE, NAME, SIGNATURE = 6, 1, 1, 2, 1, 2, 1, 3


def write(folder: Path, name: str, image_shape: tuple[int, int, int]) -> None:
    """Writes the requests into the folder of a SavedModel: each signature that takes images, once with one image."""
    image = np.zeros((1, *image_shape), np.uint8)
    colours = np.zeros((*image_shape[:2], 3), np.uint8)
    files = np.array([tf.io.encode_png(colours).numpy()], object)
    requests = (
        ("serving_default", "image", image),
        ("scores", "image", image),
        ("serving_bytes", "image_bytes", files),
    )
    (folder / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for signature, argument, value in requests:
            file.write(_prediction_log(name, signature, argument, value))


def _prediction_log(name: str, signature: str, argument: str, value: np.ndarray) -> bytes:
    spec = _field(NAME, name.encode()) + _field(SIGNATURE, signature.encode())
    tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
    entry = _field(KEY, argument.encode()) + _field(VALUE, tensor)
    return _field(PREDICT_LOG, _field(REQUEST, _field(MODEL_SPEC, spec) + _field(INPUTS, entry)))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, a string or a message (https://protobuf.dev/programming-guides/encoding/)."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
