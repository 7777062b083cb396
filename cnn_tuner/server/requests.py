"""What a request asks, read from bytes that may be anything, and its answer in TensorFlow Serving's row format."""

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
    """What is served: its name and version in addresses, (H, W, C) of its images, and its signatures' outputs."""

    name: str
    version: str
    image_shape: tuple[int, int, int]
    signatures: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A signature and the images for it, (N, H, W, C) uint8, N > 0."""

    signature: str
    images: np.ndarray


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
    strange = sorted(set(content) - {"instances", "signature_name"})
    if strange:
        raise RequestError(400, f"unknown: {listed(strange, 3)[:200]}; allowed are instances and signature_name")
    signature = content.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature, str) or signature not in model.signatures:
        got = shown(str(signature)[:100])
        raise RequestError(400, f"signature_name: unknown: {got}; choices: {', '.join(sorted(model.signatures))}")
    instances = content.get("instances")
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, "instances: must be a list of one image or more")
    if len(instances) > limits.images:
        raise RequestError(413, f"instances: at most {limits.images} images a request, got {len(instances)}")
    return Asked(signature, np.stack([_image(i, each, model, limits) for i, each in enumerate(instances)]))


def _image(place: int, instance: Any, model: Model, limits: Limits) -> np.ndarray:
    """(H, W, C) uint8 of `[[[0, ...]]]`, `{"b64": "..."}`, or either as `{"image": ...}`."""
    name = f"instances[{place}]"
    if isinstance(instance, dict) and set(instance) == {"image"}:
        instance = instance["image"]
    if isinstance(instance, list):
        return _pixels(name, instance, model.image_shape)
    if isinstance(instance, dict) and set(instance) == {"b64"} and isinstance(instance["b64"], str):
        try:
            content = base64.b64decode(instance["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(400, f"{name}: b64 is not base64: {one_line(error)}") from error
        try:
            return read_image_bytes(content, model.image_shape, name, limits.pixels)
        except DataError as error:
            raise RequestError(400, str(error)) from error
        except MemoryError as error:
            raise RequestError(413, f"{name}: too large to be decoded") from error
    raise RequestError(400, f'{name}: must be an array of pixels or {{"b64": "..."}} with the bytes of a PNG or JPEG')


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


def rows(answers: dict[str, np.ndarray]) -> list[Any]:
    """TensorFlow Serving's rows: an object an image, or the bare value where there is one output only."""
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
    image = _tensor("image", "uint8", (-1, *model.image_shape))
    signatures = {
        name: {
            "inputs": {"image": image},
            "outputs": {
                output: _tensor(output, spec.dtype.name, [-1 if side is None else side for side in spec.shape])
                for output, spec in outputs.items()
            },
            "method_name": "tensorflow/serving/predict",
        }
        for name, outputs in model.signatures.items()
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _tensor(name: str, dtype: str, shape: Iterable[int]) -> dict[str, Any]:
    sides = [{"size": str(side), "name": ""} for side in shape]
    return {"dtype": TYPES.get(dtype, dtype), "tensor_shape": {"dim": sides, "unknown_rank": False}, "name": name}
