"""What the graph makes of image files is what Pillow made of them for training, pixel for pixel."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from later import later
from PIL import Image

from cnn_tuner.data.pictures import read_image_bytes
from cnn_tuner.export.graph import resampling

SIZES = [(28, 28), (7, 5), (64, 48), (97, 131), (300, 41), (1, 1), (2, 600)]  # (height, width) of files
SHAPES = [(28, 28), (8, 13), (150, 64)]


def picture(height: int, width: int, mode: str) -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    noise = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    waves = 128 + 127 * np.sin(
        np.arange(height)[:, None, None] / 5 + np.arange(width)[None, :, None] / 7 + np.arange(4)
    )
    pixels = np.where(noise[..., :1] < 128, noise, waves.astype(np.uint8))
    pixels[..., 3] = np.where(noise[..., 3] < 90, 0, np.where(noise[..., 3] > 180, 255, noise[..., 3]))
    return Image.fromarray(pixels).convert(mode)


def content(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def assert_equal(data: bytes, image_shape: tuple[int, int, int], fit: str = "stretch") -> None:
    found = resampling.decode(tf.constant(data), image_shape, fit).numpy()
    np.testing.assert_array_equal(found, read_image_bytes(data, image_shape, fit=fit))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", [later("L"), "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_larger_smaller_and_odd_images_are_equal_to_pillows(kind, mode, channels):
    for size, shape in product(SIZES, SHAPES):
        assert_equal(content(picture(*size, mode), kind), (*shape, channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_images_with_and_without_alpha_are_equal_to_pillows(mode, channels):
    for size in SIZES[:5]:
        assert_equal(content(picture(*size, mode), "PNG"), (28, 28, channels))
    if "A" not in mode:
        assert_equal(content(picture(40, 30, mode), "JPEG"), (28, 28, channels))


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_borders_and_middles_are_equal_to_pillows(fit):
    for size, shape in product(SIZES, [*SHAPES, (1, 9)]):
        assert_equal(content(picture(*size, "RGB"), "PNG"), (*shape, 3), fit)
    for size, channels in product(SIZES[:5], (1, 2, 4)):
        assert_equal(content(picture(*size, "RGBA"), "PNG"), (28, 20, channels), fit)


def test_a_border_that_would_take_all_memory_is_refused():
    data = tf.constant(content(Image.new("L", (20_000, 1)), "PNG"))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 25 megapixels with its border"):
        resampling.decode(data, (8, 8, 1), "pad")
    assert resampling.decode(data, (8, 8, 1), "crop").shape == (8, 8, 1)


def palette(has_transparency: bool) -> bytes:
    image = picture(40, 30, "RGB").quantize(16)
    return content(image, "PNG", **({"transparency": 3} if has_transparency else {}))


def sixteen_bits() -> bytes:
    values = np.random.default_rng(0).integers(0, 2**16, (40, 30), dtype=np.uint16)
    return content(Image.fromarray(values), "PNG")


OTHERS = {
    "a palette": palette(False),
    "a palette with a transparent colour": palette(True),
    "16 bit grey": sixteen_bits(),
    "1 bit": content(picture(40, 30, "1"), "PNG"),
    "a progressive JPEG": content(picture(40, 30, "RGB"), "JPEG", progressive=True),
    "a JPEG without subsampling": content(picture(40, 30, "RGB"), "JPEG", subsampling=0),
    "a JPEG of low quality": content(picture(41, 31, "RGB"), "JPEG", quality=10),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OTHERS)
def test_other_pngs_and_jpegs_are_equal_to_pillows(name, channels):
    assert_equal(OTHERS[name], (28, 28, channels))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP"])
def test_other_kinds_of_files_are_refused(kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be the bytes of a PNG or JPEG file"):
        resampling.decode(tf.constant(content(picture(40, 30, "RGB"), kind)), (28, 28, 3))


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be the bytes of a PNG or JPEG file"):
        resampling.decode(tf.constant(data), (28, 28, 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("length", [3, 8, 20, 24, 200])
def test_damaged_files_are_refused(kind, length):
    with pytest.raises(tf.errors.InvalidArgumentError):
        resampling.decode(tf.constant(content(picture(40, 30, "RGB"), kind)[:length]), (28, 28, 3))


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that says it has so many pixels."""
    data = bytearray(content(picture(1, 1, "RGB"), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("size", [(5001, 5000), (2**31, 1), (2**32 - 1, 2**32 - 1)])
def test_a_bomb_is_refused_by_its_header(size):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image too large: must have at most 25 megapixels"):
        resampling.decode(tf.constant(bomb(*size)), (28, 28, 3))


def test_a_large_jpeg_is_refused_by_its_header():
    data = content(Image.new("L", (5001, 5000)), "JPEG")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 25 megapixels, its pixels are'\n25005000"):
        resampling.decode(tf.constant(data), (28, 28, 3))
