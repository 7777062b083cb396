"""A model for LiteRT whose weights are of 16 bits: half the size, raw uint8 images in, scores out."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cnn_tuner.export.formats.litert import convert
from cnn_tuner.export.formats.registry import Source


def write(source: Source, path: Path) -> None:
    """Writes a .tflite file: `image` (N, H, W, C) uint8 to `scores` (N, units) float32."""

    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    path.write_bytes(convert(source.model, tf.uint8, configure))
