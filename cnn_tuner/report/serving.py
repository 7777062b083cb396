"""How an export is served and read, as text to copy: TensorFlow Serving in a container, a request, Python."""

from __future__ import annotations

from dataclasses import dataclass

from cnn_tuner.runs.config import DataConfig

PORT = 8501  # TensorFlow Serving's own for requests as JSON


# By the format of an export: what reads its file at {path}, given one black image of the {shape} that it takes.
PYTHON = {
    "tf_saved_model": """\
import tensorflow as tf

model = tf.saved_model.load("{path}")
print(model.signatures["serving_default"](image=tf.zeros({shape}, tf.uint8)))""",
    "keras": """\
import keras
import numpy as np

model = keras.saving.load_model("{path}", compile=False)
print(model.predict_on_batch(np.zeros({shape}, np.uint8)))""",
    "litert": """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter("{path}").get_signature_runner()
print(model(image=np.zeros({shape}, np.uint8))["scores"])""",
    "litert_int8": """\
import numpy as np
from ai_edge_litert.interpreter import Interpreter

model = Interpreter("{path}").get_signature_runner()
scale, zero = model.get_output_details()["scores"]["quantization"]
scores = model(image=np.zeros({shape}, np.uint8))["scores"]
print((scores.astype(np.float32) - zero) * scale)""",
    "onnx": """\
import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession("{path}")
print(model.run(["scores"], {{"image": np.zeros({shape}, np.uint8)}})[0])""",
}


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
    return Serving(container, request, loading("tf_saved_model", data, export))


def loading(kind: str, data: DataConfig, path: str) -> str:
    """Lines of Python that load a format of a model of `data`, named as for `--format`, and ask it something."""
    return PYTHON[kind].format(path=path, shape=(1, *data.image_shape))
