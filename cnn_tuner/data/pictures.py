"""One image file to pixels, by Pillow, the same way for training and for `predict`.

What is done: the first frame, turned upright where a JPEG's EXIF data says how the camera was held, 16 bit grey
divided by 256, palettes resolved, transparency dropped, converted to grey or colour, resized bilinearly (Pillow
antialiases when it shrinks) without keeping the aspect. The graph that serves the model does the same.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from cnn_tuner.data import orientation
from cnn_tuner.data.files import expanded, one_line, reading, shown
from cnn_tuner.errors import DataError

MAX_PIXELS = 100_000_000  # of one image; decoding that many takes 400 MB
# Text beside the pixels of a PNG, such as how they were made: Pillow's limit of one chunk is 1 MiB, others read any.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # no others: some start programs, as EPS does
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


def read_header(path: Path) -> Header:
    """Open `path` without decoding it.

    Raises:
        BrokenImageError: it is no image of a known kind, or has over 100 megapixels.
        DataError: the file cannot be read.
    """
    with reading(path):
        stream = path.open("rb")
    with stream, _opened(stream, shown(path)) as (image, turned):
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        height, width = image.size if turned in orientation.SWAPPED else image.size[::-1]
        return Header(height, width, _is_grey(image), has_alpha, image.mode.startswith("I"))


def highest_value(path: Path) -> int:
    """The highest of a grey image's values, before any is left out.

    Raises:
        BrokenImageError, DataError: as `read_image`.
    """
    with reading(path):
        stream = path.open("rb")
    with stream, _opened(stream, shown(path)) as (image, _):
        return int(np.asarray(image).max())


def read_image(path: Path | str, image_shape: tuple[int, int, int]) -> np.ndarray:
    """The image in `path` as training saw it.

    image_shape: (H, W, C) of the model; C 1 is grey, 3 colour (2 and 4: the same with alpha).

    Returns:
        (H, W, C) uint8.

    Raises:
        BrokenImageError: it cannot be decoded, or has over 100 megapixels.
        DataError: the file cannot be read.
    """
    path = expanded(str(path))
    with reading(path):
        stream = path.open("rb")
    with stream, _opened(stream, shown(path)) as (image, turned):
        return _pixels(image, turned, image_shape)


def read_image_bytes(
    data: bytes, image_shape: tuple[int, int, int], name: str = "image", max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """As read_image, of a file's content; `name` is what errors call it, `max_pixels` the most it may have."""
    with _opened(io.BytesIO(data), name, max_pixels) as (image, turned):
        return _pixels(image, turned, image_shape)


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


def _pixels(image: Image.Image, turned: int, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Decode, convert, turn upright, resize: (H, W, C) uint8."""
    height, width, channels = image_shape
    if image.mode.startswith("I"):  # 16 bit grey, which Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = orientation.upright(image.convert(_MODES[channels]), turned)
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
