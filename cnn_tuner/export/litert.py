"""A model for LiteRT (formerly TensorFlow Lite), in float32: raw uint8 images in, scores out."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import tensorflow as tf

from cnn_tuner.export.formats import Source


def write(source: Source, path: Path) -> None:
    """Writes a .tflite file with the signature `serving_default`: `image` (N, H, W, C) uint8 to `scores` (N, units)."""
    model = source.model
    image = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")

    @tf.function(input_signature=[image])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": model(image, training=False)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    path.write_bytes(convert(converter))


def convert(converter: tf.lite.TFLiteConverter) -> bytes:
    """The file that a converter makes, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found: bytes = converter.convert()
    return found
