"""What a request asks, read from bytes that may be anything, and its answer, in TensorFlow Serving's formats.

By rows (`instances`) and by columns (`inputs`): https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from cnn_tuner.data.files import listed, one_line, shown
from cnn_tuner.data.pictures import read_image_bytes
from cnn_tuner.errors import DataError

DEFAULT_SIGNATURE = "serving_default"
OF_FILES = (
    "serving_bytes"  # files are decoded here, within limits, whichever signature is named; this one takes no pixels
)
TYPES = {"string": "DT_STRING", "float32": "DT_FLOAT", "uint8": "DT_UINT8", "bool": "DT_BOOL", "int64": "DT_INT64"}


@dataclass(frozen=True)
class Limits:
    """What a request may have, and how long it may take to arrive."""

    body_bytes: int = 32 * 2**20
    images: int = 256
    pixels: int = 25_000_000  # of one image file; decoding that many takes 100 MB
    read_seconds: float = 10.0
    bytes_at_once: int = 256 * 2**20  # of all bodies under way
    requests_at_once: int = 256


@dataclass(frozen=True)
class Model:
    """What is served: its name and version in addresses, (H, W, C) of its images, signatures and fit."""

    name: str
    version: str
    image_shape: tuple[int, int, int]
    signatures: dict[str, dict[str, Any]]
    fit: str = "stretch"


@dataclass(frozen=True)
class Asked:
    """A signature of the model and the images for it, (N, H, W, C) uint8, N > 0; whether by columns."""

    signature: str
    images: np.ndarray
    is_columnar: bool = False


class RequestError(Exception):
    """A request that cannot be answered; the status code says whose fault it is."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse(body: bytes, model: Model, limits: Limits) -> Asked:
    """What the body of a `:predict` asks.

    Raises:
        RequestError: it is not JSON, or breaks a rule; the message says which.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is no JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise RequestError(400, 'the body must be an object such as {"instances": [...]}')
    strange = sorted(set(content) - {"instances", "inputs", "signature_name"})
    if strange:
        told = listed(strange, 3)[:200]
        raise RequestError(400, f"unknown: {told}; allowed are instances, inputs and signature_name")
    if "instances" in content and "inputs" in content:
        raise RequestError(400, "instances and inputs: name one of them, not both")
    signature = content.get("signature_name", DEFAULT_SIGNATURE)
    choices = {*model.signatures, OF_FILES}
    if not isinstance(signature, str) or signature not in choices:
        got = shown(str(signature)[:100])
        raise RequestError(400, f"signature_name: unknown: {got}; choices: {', '.join(sorted(choices))}")
    given = "inputs" if "inputs" in content else "instances"
    images = _images(given, content.get(given), signature, model, limits)
    return Asked(DEFAULT_SIGNATURE if signature == OF_FILES else signature, images, given == "inputs")


def _input_name(signature: str) -> str:
    return "image_bytes" if signature == OF_FILES else "image"


def _images(given: str, values: Any, signature: str, model: Model, limits: Limits) -> np.ndarray:
    """(N, H, W, C) uint8 of the rows `instances` or the column `inputs`, which may name the input once for all."""
    if given == "inputs" and isinstance(values, dict) and set(values) == {_input_name(signature)}:
        values = values[_input_name(signature)]
    if not isinstance(values, list) or not values:
        raise RequestError(400, f"{given}: must be a list of one image or more")
    if len(values) > limits.images:
        raise RequestError(413, f"{given}: at most {limits.images} images a request, got {len(values)}")
    return np.stack([_image(f"{given}[{i}]", each, signature, model, limits) for i, each in enumerate(values)])


def _image(name: str, value: Any, signature: str, model: Model, limits: Limits) -> np.ndarray:
    """(H, W, C) uint8 of `[[[0, ...]]]`, `{"b64": "..."}`, or either by the name of the signature's input."""
    if isinstance(value, dict) and set(value) == {_input_name(signature)}:
        value = value[_input_name(signature)]
    if isinstance(value, list) and signature != OF_FILES:
        return _pixels(name, value, model.image_shape)
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        return _decoded(name, value["b64"], model, limits)
    pixels = "" if signature == OF_FILES else "an array of pixels or "
    raise RequestError(400, f'{name}: must be {pixels}{{"b64": "..."}} with the bytes of a PNG or JPEG')


def _decoded(name: str, text: str, model: Model, limits: Limits) -> np.ndarray:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"{name}: b64 is not base64: {one_line(error)}") from error
    try:
        return read_image_bytes(content, model.image_shape, name, limits.pixels, model.fit)
    except DataError as error:
        raise RequestError(400, str(error)) from error
    except MemoryError as error:
        raise RequestError(413, f"{name}: too large to be decoded") from error


def _pixels(name: str, rows: list[Any], image_shape: tuple[int, int, int]) -> np.ndarray:
    height, width, channels = image_shape
    wanted = f"{name}: must be {height} rows of {width} pixels of {channels} whole numbers from 0 to 255"
    if not _has_length(rows, height) or not all(_has_length(row, width) for row in rows):
        raise RequestError(400, wanted)
    if not all(_has_length(pixel, channels) for pixel in chain.from_iterable(rows)):
        raise RequestError(400, wanted)
    numbers = list(chain.from_iterable(chain.from_iterable(rows)))
    if set(map(type, numbers)) != {int}:
        raise RequestError(400, wanted)
    try:
        return np.frombuffer(bytes(numbers), np.uint8).reshape(image_shape)
    except ValueError as error:  # a number below 0 or above 255
        raise RequestError(400, wanted) from error


def _has_length(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def answered(asked: Asked, answers: dict[str, np.ndarray]) -> dict[str, Any]:
    """The body of an answer: `predictions` by rows, or `outputs` by columns."""
    if not asked.is_columnar:
        return {"predictions": rows(answers)}
    columns = {name: list(_column(values)) for name, values in answers.items()}
    return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}


def rows(answers: dict[str, np.ndarray]) -> list[Any]:
    """An object an image, or the bare value where there is one output only."""
    columns = {name: _column(values) for name, values in answers.items()}
    if len(columns) == 1:
        return list(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _column(values: np.ndarray) -> Iterable[Any]:
    if values.dtype == object:  # text, which TensorFlow gives as bytes
        return [value.decode("utf-8", "replace") for value in values]
    return list(values.tolist())


def status(model: Model) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME`."""
    state = {"version": model.version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [state]}


def metadata(model: Model) -> dict[str, Any]:
    """The answer to `GET /v1/models/NAME/metadata`."""
    outputs = {**model.signatures, OF_FILES: model.signatures[DEFAULT_SIGNATURE]}
    signatures = {
        name: {
            "inputs": {_input_name(name): _input(name, model)},
            "outputs": {
                output: _tensor(output, spec.dtype.name, [-1 if side is None else side for side in spec.shape])
                for output, spec in outputs[name].items()
            },
            "method_name": "tensorflow/serving/predict",
        }
        for name in sorted(outputs)
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _input(signature: str, model: Model) -> dict[str, Any]:
    if signature == OF_FILES:
        return _tensor(_input_name(signature), "string", (-1,))
    return _tensor(_input_name(signature), "uint8", (-1, *model.image_shape))


def _tensor(name: str, dtype: str, shape: Iterable[int]) -> dict[str, Any]:
    sides = [{"size": str(side), "name": ""} for side in shape]
    return {"dtype": TYPES.get(dtype, dtype), "tensor_shape": {"dim": sides, "unknown_rank": False}, "name": name}
