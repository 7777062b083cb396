"""A model for LiteRT (formerly TensorFlow Lite), in float32: raw uint8 images in, scores out."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import tensorflow as tf

from cnn_tuner.export.formats.registry import Source


def write(source: Source, path: Path) -> None:
    """Writes a .tflite file with the signature `serving_default`: `image` (N, H, W, C) uint8 to `scores` (N, units)."""
    path.write_bytes(convert(source.model, tf.uint8, lambda converter: None))


def convert(model: keras.Model, dtype: tf.DType, configure: Callable[[tf.lite.TFLiteConverter], None]) -> bytes:
    """The file that the converter makes of a model whose images are of `dtype`, without what it prints."""
    module = tf.Module(name="cnn")
    module.weights = [weight.value for weight in model.weights]
    image = tf.TensorSpec((None, *model.input_shape[1:]), dtype, name="image")

    @tf.function(input_signature=[image], autograph=False)
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": model(image, training=False)}

    with tempfile.TemporaryDirectory(prefix="cnn-tuner-") as scratch:
        tf.saved_model.save(module, scratch, signatures={"serving_default": serve})
        with _silence():
            converter = tf.lite.TFLiteConverter.from_saved_model(scratch, signature_keys=["serving_default"])
            configure(converter)
            found: bytes = converter.convert()
    return found


@contextmanager
def _silence() -> Iterator[None]:
    """Drops what the converter writes, whose C++ part writes to the file descriptors themselves."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        for descriptor, before in zip((1, 2), kept, strict=True):
            os.dup2(before, descriptor)
            os.close(before)
        os.close(nowhere)
