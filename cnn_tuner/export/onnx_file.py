"""A model as ONNX, by tf2onnx: raw uint8 images in, scores out."""

from __future__ import annotations

import logging
from pathlib import Path

import tensorflow as tf

from cnn_tuner.export.formats import Source

OPSET = 18  # the newest that tf2onnx 1.17 writes


def write(source: Source, path: Path) -> None:
    """Writes a .onnx file: `image` (N, H, W, C) uint8 to `scores` (N, units) float32.

    The converter reports success where there is none: only reading the file proves it.
    """
    import tf2onnx

    model = source.model
    image = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")

    @tf.function(input_signature=[image])
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": model(image, training=False)}

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    tf2onnx.convert.from_function(serve, input_signature=[image], opset=OPSET, output_path=str(path))
