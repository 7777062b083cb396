"""A model as ONNX, by tf2onnx: raw uint8 images in, scores out."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from cnn_tuner.export.formats.registry import Source

NUMBERED = re.compile(r"__\d+")
OPSET = 18  # the newest that tf2onnx 1.17 writes


def write(source: Source, path: Path) -> None:
    """Writes a .onnx file: `image` (N, H, W, C) uint8 to `scores` (N, units) float32.

    The converter reports success where there is none: only reading the file proves it.
    """
    import tf2onnx

    model = source.model
    image = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")

    @tf.function(input_signature=[image], autograph=False)
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": model(image, training=False)}

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    found, _ = tf2onnx.convert.from_function(serve, input_signature=[image], opset=OPSET)
    _number_anew(found.graph)
    path.write_bytes(found.SerializeToString(deterministic=True))


def _number_anew(graph: Any) -> None:
    """Numbers what the converter made in the order of the graph: its own names differ from process to process."""
    constants = {each.name for each in graph.initializer}
    anew: dict[str, str] = {}

    def renamed(text: str) -> str:
        if not NUMBERED.search(text):
            return text
        # Equal constants are merged, and any of them may lend its name.
        stem = "constant" if text in constants else NUMBERED.sub("", text)
        return anew.setdefault(text, f"{stem}__{len(anew)}")

    for node in graph.node:
        node.input[:], node.output[:] = map(renamed, node.input), map(renamed, node.output)
        node.name = renamed(node.name)
    for each in (*graph.initializer, *graph.value_info):
        each.name = renamed(each.name)
    graph.initializer.sort(key=lambda each: each.name)
    graph.value_info.sort(key=lambda each: each.name)
