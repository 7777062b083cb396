"""A model for LiteRT in whole numbers of 8 bits, calibrated on training images: uint8 pixels in, uint8 scores out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Images
from cnn_tuner.export.formats.litert import convert
from cnn_tuner.export.formats.registry import Source

CALIBRATION = 300  # images; the ranges of activations hardly move beyond some hundred (LiteRT's guide: 100 to 500)


def write(source: Source, path: Path) -> None:
    """Writes a .tflite file: `image` (N, H, W, C) uint8 to `scores` (N, units) uint8, times a scale that it holds."""

    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calibration(source.calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8

    # The converter makes pixels of float inputs only; as their range is 0 to 255, a step is one grey level.
    path.write_bytes(convert(source.model, tf.float32, configure))


def _calibration(images: Images) -> Iterator[list[np.ndarray]]:
    """Training images one by one, evenly over the part, the first with a black and a white pixel to span the range."""
    places = np.linspace(0, len(images) - 1, min(CALIBRATION, len(images))).astype(int)
    for number, place in enumerate(places):
        image = images[place][None].astype(np.float32)
        if number == 0:
            image.reshape(-1)[:2] = 0.0, 255.0
        yield [image]
