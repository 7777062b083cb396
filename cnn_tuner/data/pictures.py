"""One image file to pixels, by Pillow, the same way for training and for `predict`.

What is done: the first frame, turned upright where a JPEG's EXIF data says how the camera was held, 16 bit grey
divided by 256, palettes resolved, transparency dropped, converted to grey or colour, brought to the aspect of the
model's images (`fitted`), resized bilinearly (Pillow antialiases when it shrinks). The graph that serves the model does
the same.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from cnn_tuner.data import cgroup, orientation
from cnn_tuner.data.files import Opener, expanded, on_disk, one_line, shown
from cnn_tuner.errors import DataError

MAX_PIXELS = 100_000_000  # of one image; decoding that many takes 400 MB
MOST_THREADS = 32
# Text beside the pixels of a PNG, such as how they were made: Pillow's limit of one chunk is 1 MiB, others read any.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")  # no others: some start programs, as EPS does
STRETCH = "stretch"
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_MULTIPLIED = {"LA": "La", "RGBA": "RGBa"}  # with colours weighed by alpha


class BrokenImageError(DataError):
    """An image that cannot be decoded: it alone is at fault, and may be skipped."""


class Header(NamedTuple):
    """What an image file says of itself before it is decoded; height and width are those of the upright image."""

    height: int
    width: int
    is_grey: bool
    has_alpha: bool
    is_deep: bool  # 16 bits a pixel, of which 8 are kept


def read_header(path: Path, opener: Opener = on_disk) -> Header:
    """What the image in `path` says of itself, which is not decoded.

    Raises:
        BrokenImageError: it is no image of a known kind, or has over 100 megapixels.
        DataError: the file cannot be read.
    """
    with opener(path) as stream, _opened(stream, shown(path)) as (image, turned):
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        height, width = image.size if turned in orientation.SWAPPED else image.size[::-1]
        return Header(height, width, _is_grey(image), has_alpha, image.mode.startswith("I"))


def highest_value(path: Path, opener: Opener = on_disk) -> int:
    """The highest of a grey image's values, before any is left out.

    Raises:
        BrokenImageError, DataError: as `read_image`.
    """
    with opener(path) as stream, _opened(stream, shown(path)) as (image, _):
        return int(np.asarray(image).max())


def threads() -> int:
    """How many images are decoded at once. Pillow does it without Python's lock."""
    own = cgroup.cores()
    return max(1, min(os.cpu_count() or 1, math.ceil(own) if own is not None else MOST_THREADS))


def read_image(
    path: Path | str, image_shape: tuple[int, int, int], opener: Opener = on_disk, fit: str = STRETCH
) -> np.ndarray:
    """The image in `path` as training saw it.

    image_shape: (H, W, C) of the model; C 1 is grey, 3 colour (2 and 4: the same with alpha). fit: as `box`.

    Returns:
        (H, W, C) uint8.

    Raises:
        BrokenImageError: it cannot be decoded, or has over 100 megapixels.
        DataError: the file cannot be read.
    """
    path = expanded(str(path))
    with opener(path) as stream, _opened(stream, shown(path)) as (image, turned):
        return _pixels(image, turned, image_shape, fit, shown(path))


def read_image_bytes(
    data: bytes,
    image_shape: tuple[int, int, int],
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
    fit: str = STRETCH,
) -> np.ndarray:
    """As read_image, of a file's content; `name` is what errors call it, `max_pixels` the most it may have."""
    with _opened(io.BytesIO(data), name, max_pixels) as (image, turned):
        return _pixels(image, turned, image_shape, fit, name)


def box(height: int, width: int, aspect: tuple[int, int], fit: str) -> tuple[int, int, int, int]:
    """What of an image is resized, (left, top, right, bottom) in its pixels; what lies outside it is black.

    aspect: (height, width) of the model's images. crop: the largest middle part of that aspect; pad: the least that has
        all of the image in its middle; stretch: the image.
    """
    high, wide = aspect
    is_wider = width * high > height * wide
    if fit == "stretch":
        return 0, 0, width, height
    if is_wider == (fit == "crop"):  # the width changes
        new = max(1, (height * wide + high // 2) // high)
        left = (width - new) // 2
        return left, 0, left + new, height
    new = max(1, (width * high + wide // 2) // wide)
    top = (height - new) // 2
    return 0, top, width, top + new


def opened(path: Path) -> BinaryIO:
    """As `on_disk`; a file that is missing may be skipped as a broken one may."""
    if not path.exists():
        raise BrokenImageError(f"{shown(path)}: no such file")
    return on_disk(path)


@contextmanager
def _opened(stream: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[tuple[Image.Image, int]]:
    """An image that is not decoded yet, and its orientation."""
    try:
        turned = orientation.of_jpeg(stream.read(orientation.HEAD))
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd metadata, and on sizes, which are checked here
            with Image.open(stream, formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise BrokenImageError(_too_large(name, f"{image.width}x{image.height} pixels", max_pixels))
                if image.mode == "F":
                    told = "has floating-point pixels, whose range nobody knows; save it with 8 or 16 bits"
                    raise BrokenImageError(f"{name}: broken image: {told}")
                yield image, turned
    except (DataError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise BrokenImageError(f"{name}: broken image: is none of {', '.join(_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise BrokenImageError(_too_large(name, one_line(error), max_pixels)) from error
    except Exception as error:  # damaged bytes make the decoders raise almost anything
        raise BrokenImageError(f"{name}: broken image: {one_line(error)}") from error


def _too_large(name: str, got: str, max_pixels: int) -> str:
    return f"{name}: image too large: must have at most {max_pixels / 10**6:g} megapixels, got {got}"


def _is_grey(image: Image.Image) -> bool:
    """Whether its mode is grey. A palette counts as colour, even one of greys."""
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


def _pixels(image: Image.Image, turned: int, image_shape: tuple[int, int, int], fit: str, name: str) -> np.ndarray:
    """Decode, convert, turn upright, fit, resize: (H, W, C) uint8."""
    height, width, channels = image_shape
    if image.mode.startswith("I"):  # 16 bit grey, which Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = orientation.upright(image.convert(_MODES[channels]), turned)
    if fit != STRETCH:
        part = left, top, right, bottom = box(image.height, image.width, (height, width), fit)
        if (right - left) * (bottom - top) > MAX_PIXELS:
            raise BrokenImageError(_too_large(name, f"{right - left}x{bottom - top} with its border", MAX_PIXELS))
        image = image.crop(part)
    return np.asarray(_resized(image, width, height)).reshape(image_shape)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Rows first, then columns: Pillow 13 does tall images the other way round, which rounds otherwise.

    So the pixels are the same with every Pillow, and in the graph of an export (`export.resampling`).
    """
    if image.size == (width, height):
        return image
    mode = image.mode
    if mode in _MULTIPLIED:  # as Pillow does itself, but once for both passes
        image = image.convert(_MULTIPLIED[mode])
    for size in ((width, image.height), (width, height)):
        image = image.resize(size, Image.Resampling.BILINEAR)
    return image.convert(mode)
