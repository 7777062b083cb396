"""Images of any sane kind to one canonical form: (N, H, W, C) uint8, channels last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from cnn_tuner.errors import DataError

UNIT_PIXELS = "float pixels in 0..1 were multiplied by 255 and rounded to whole numbers"
BYTE_PIXELS = "float pixels in 0..255 were rounded to whole numbers"
_CHUNK_BYTES = 2**24  # converting this much at a time keeps temporary copies small
_CHANNELS = range(1, 5)


def to_uint8(images: Mapping[str, np.ndarray], place: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Bring the images of all parts to uint8, by one rule for all of them.

    images: by array name, train's first; each (N, H, W) or (N, H, W, C) with 1 to 4 channels. Whole numbers must lie in
        0..255; floats in 0..1 are multiplied by 255, floats in 0..255 rounded; bools become 0 and 255.

    Returns:
        The same names with (N, H, W, C) uint8, C-contiguous (not copied if they were), and notes.

    Raises:
        DataError: a shape, a type or a pixel breaks these rules.
    """
    shaped = {name: _with_channels(array, f"{place}: {name}") for name, array in images.items()}
    kind = _common_kind(shaped, place)
    highest = max(_check_pixels(array, f"{place}: {name}") for name, array in shaped.items())
    if kind == "floats":
        return _from_floats(shaped, highest, place)
    if kind == "bools":
        return {name: array.astype(np.uint8) * np.uint8(255) for name, array in shaped.items()}, ()
    note = "no pixel is above 1 of 255: if 1 means white, save the images as bools, or multiply them by 255"
    whole = {name: np.ascontiguousarray(array, np.uint8) for name, array in shaped.items()}
    return whole, (note,) if highest <= 1 else ()


def _with_channels(array: np.ndarray, place: str) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) to (N, H, W, C)."""
    if array.ndim == 3:
        array = array[..., np.newaxis]
    elif array.ndim != 4:
        raise DataError(f"{place}: images must be (N, H, W) or (N, H, W, C), got {array.shape}{_square_hint(array)}")
    if 0 in array.shape:
        raise DataError(f"{place}: holds no pixels, its shape is {array.shape}")
    if array.shape[3] in _CHANNELS:
        return array
    if array.shape[1] in _CHANNELS:
        raise DataError(
            f"{place}: {array.shape} looks channels first, must be channels last; save x.transpose(0, 2, 3, 1)"
        )
    raise DataError(f"{place}: the last axis must hold 1 to 4 channels, got {array.shape[3]} in {array.shape}")


def _square_hint(array: np.ndarray) -> str:
    """For rows of pixels that may be square images: how to reshape them."""
    side = math.isqrt(array.shape[1]) if array.ndim == 2 else 0
    return f"; if they are square, save x.reshape(-1, {side}, {side})" if side and side**2 == array.shape[1] else ""


def _common_kind(images: Mapping[str, np.ndarray], place: str) -> str:
    """bools, whole or floats; the parts must agree in it and in (H, W, C)."""
    kinds = {"b": "bools", "u": "whole", "i": "whole", "f": "floats"}
    first, *_ = images
    for name, array in images.items():
        if array.dtype.kind not in kinds:
            raise DataError(f"{place}: {name}: pixels must be whole numbers, floats or bools, got {array.dtype}")
        if kinds[array.dtype.kind] != kinds[images[first].dtype.kind]:
            raise DataError(
                f"{place}: {name}: is {array.dtype} but {first} is {images[first].dtype}; save all parts as one type"
            )
        if array.shape[1:] != images[first].shape[1:]:
            raise DataError(
                f"{place}: {name}: images are {array.shape[1:]} but those of {first} are {images[first].shape[1:]} "
                "(height, width, channels); all parts must have one shape"
            )
    return kinds[images[first].dtype.kind]


def _check_pixels(array: np.ndarray, place: str) -> float:
    """The highest pixel of (N, H, W, C), all of which must be finite and lie in 0..255."""
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return float(array.max())
    highest = 0.0
    for start, chunk in _chunks(array):
        low, high = chunk.min(axis=(1, 2, 3)), chunk.max(axis=(1, 2, 3))
        bad = ~((low >= 0) & (high <= 255))  # NaN compares as False, so it is bad as well
        if bad.any():
            index = int(bad.argmax())
            raise DataError(f"{place}[{start + index}]: {_pixel_fault(low[index], high[index])}")
        highest = max(highest, float(high.max()))
    return highest


def _pixel_fault(low: np.generic, high: np.generic) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"pixels must be finite numbers, got {high if np.isfinite(low) else low}; repair or remove that image"
    got = f"pixels must lie in 0..1 or 0..255, got {low}..{high}"
    if low < 0:  # type: ignore[operator]  # a number of a kind that _common_kind let through
        return f"{got}; shift and scale them to 0..255 (the model scales its input itself)"
    return f"{got}; for 16 bit images save x >> 8"


def _from_floats(
    images: Mapping[str, np.ndarray], highest: float, place: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Floats in 0..1 times 255, or floats in 0..255, rounded to uint8."""
    if 1 < highest < 2:  # neither range: rounding would turn 0..1 with an overshoot into black
        raise DataError(f"{place}: float pixels reach {highest:.6g}: neither 0..1 nor 0..255; save x.clip(0, 1)")
    factor = 255 if highest <= 1 else 1
    converted = {}
    for name, array in images.items():
        pixels = np.empty(array.shape, np.uint8)
        for start, chunk in _chunks(array):
            pixels[start : start + len(chunk)] = np.rint(chunk * factor)
        converted[name] = pixels
    return converted, (UNIT_PIXELS if factor == 255 else BYTE_PIXELS,)


def _chunks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Consecutive runs of images with the index of their first."""
    step = max(1, _CHUNK_BYTES // array[0].nbytes)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]
