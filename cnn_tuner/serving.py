"""How an export is served and read, as text to copy: TensorFlow Serving in a container, a request, Python."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_tuner.config import DataConfig

PORT = 8501  # TensorFlow Serving's own for requests as JSON


@dataclass(frozen=True)
class Serving:
    """Commands for a shell that stands in the folder above `export/`, and lines of Python."""

    container: str
    request: str
    python: str


def serving(data: DataConfig, export: str) -> Serving:
    """How to serve the version `export` (such as `export/digits/1`) of a model of `data`."""
    folder, name = export.rpartition("/")[0], data.name
    height, width, channels = data.image_shape
    container = (
        f'docker run --rm -p 127.0.0.1:{PORT}:{PORT} -v "$PWD/{folder}:/models/{name}" \\\n'
        f"    -e MODEL_NAME={name} tensorflow/serving"
    )
    image = f"[[[0] * {channels}] * {width}] * {height}"
    request = (
        f"python3 -c 'import json; print(json.dumps({{\"instances\": [{image}]}}))' |\n"
        f"    curl --data @- http://localhost:{PORT}/v1/models/{name}:predict"
    )
    python = (
        "import tensorflow as tf\n\n"
        f'model = tf.saved_model.load("{export}")\n'
        f'print(model.signatures["serving_default"](image=tf.zeros((1, {height}, {width}, {channels}), tf.uint8)))'
    )
    return Serving(container, request, python)
