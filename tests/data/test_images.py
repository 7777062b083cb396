"""Images of any sane kind become (N, H, W, C) uint8; the others are refused."""

import numpy as np
import pytest
from data_helpers import pixels

from cnn_tuner.data import images
from cnn_tuner.data.images import to_uint8
from cnn_tuner.errors import DataError


def one(array):
    converted, notes = to_uint8({"x_train": array}, "place")
    return converted["x_train"], notes


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_uint8_is_handed_on_without_a_copy(channels):
    x = pixels(5, 4, 6, channels)
    converted, notes = one(x)
    assert np.shares_memory(converted, x) and converted.shape == x.shape and notes == ()


def test_grey_images_get_a_channel():
    assert one(pixels(5, 4, 6))[0].shape == (5, 4, 6, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint16, ">i4"])
def test_whole_numbers_are_cast(dtype):
    x = pixels(5, 4, 6) // 2
    converted, notes = one(np.asfortranarray(x.astype(dtype)))
    assert (converted[..., 0] == x).all() and converted.dtype == np.uint8 and converted.flags.c_contiguous
    assert notes == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_scaled(dtype):
    x = pixels(5, 4, 6)
    converted, notes = one(x.astype(dtype) / dtype(255))
    assert (converted[..., 0] == x).all()
    assert notes == ("float pixels in 0..1 were multiplied by 255 and rounded to whole numbers",)


def test_floats_from_0_to_255_are_rounded():
    x = pixels(5, 4, 6)
    converted, notes = one((x.astype(np.float32) + 0.4).clip(0, 255))
    assert (converted[..., 0] == x).all()
    assert notes == ("float pixels in 0..255 were rounded to whole numbers",)


def test_one_rule_for_all_parts():
    """A dark test part must not be scaled by another factor than a bright train part."""
    parts = {"x_train": np.full((2, 3, 3), 200.0), "x_test": np.full((2, 3, 3), 1.0)}
    assert (to_uint8(parts, "place")[0]["x_test"] == 1).all()


def test_bools_are_black_and_white():
    x = pixels(5, 4, 6) > 127
    assert (one(x)[0][..., 0] == np.where(x, 255, 0)).all()


def test_whole_numbers_of_0_and_1_are_noted():
    assert one(pixels(5, 4, 6) % 2)[1] == (
        "no pixel is above 1 of 255: if 1 means white, save the images as bools, or multiply them by 255",
    )


def test_conversion_works_in_chunks(monkeypatch):
    monkeypatch.setattr(images, "_CHUNK_BYTES", 1000)
    x = pixels(50, 4, 6)
    assert (one(x / 255)[0][..., 0] == x).all()
    x = x.astype(np.float32)
    x[41, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"x_train\[41\]: pixels must be finite"):
        one(x)


def spoiled(value, dtype=np.float64):
    x = pixels(5, 4, 6).astype(dtype)
    x[2:, 1, 1] = value
    return x


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            spoiled(np.nan),
            r"^place: x_train\[2\]: pixels must be finite numbers, got nan; repair or remove that image$",
        ),
        (spoiled(np.inf), r"^place: x_train\[2\]: pixels must be finite numbers, got inf;"),
        (spoiled(-np.inf), r"^place: x_train\[2\]: pixels must be finite numbers, got -inf;"),
        (spoiled(-1.0), r"^place: x_train\[2\]: pixels must lie in 0..1 or 0..255, got -1.0..\d+.0; shift and scale"),
        (spoiled(-1, np.int32), r"^place: x_train\[2\]: pixels must lie in 0..1 or 0..255, got -1..\d+; shift and"),
        (
            spoiled(65535, np.uint16),
            r"x_train\[2\]: pixels must lie in .* got \d+..65535; for 16 bit images save x >> 8",
        ),
        (
            np.full((5, 4, 6), 1.02),
            r"^place: float pixels reach 1.02: neither 0..1 nor 0..255; save x.clip\(0, 1",
        ),
        (
            pixels(5, 3, 8, 9),
            r"^place: x_train: \(5, 3, 8, 9\) looks channels first, .* save x.transpose\(0, 2, 3, 1\)$",
        ),
        (pixels(5, 8, 9, 7), r"^place: x_train: the last axis must hold 1 to 4 channels, got 7 in \(5, 8, 9, 7\)$"),
        (pixels(5, 64), r"must be \(N, H, W\) or \(N, H, W, C\), got \(5, 64\); .* save x.reshape\(-1, 8, 8\)$"),
        (pixels(5, 63), r"must be \(N, H, W\) or \(N, H, W, C\), got \(5, 63\)$"),
        (pixels(0, 8, 8), r"^place: x_train: holds no pixels, its shape is \(0, 8, 8, 1\)$"),
        (pixels(5, 0, 8), r"^place: x_train: holds no pixels"),
        (pixels(5, 8, 8).astype(complex), r"x_train: pixels must be whole numbers, floats or bools, got complex128$"),
    ],
)
def test_what_is_refused(array, message):
    with pytest.raises(DataError, match=message):
        one(array)


def test_parts_must_agree():
    x = pixels(5, 8, 8)
    with pytest.raises(
        DataError, match=r"^place: x_test: is float64 but x_train is uint8; save all parts as one type$"
    ):
        to_uint8({"x_train": x, "x_test": x / 255}, "place")
    with pytest.raises(DataError, match=r"^place: x_val: images are \(8, 9, 1\) but those of x_train are \(8, 8, 1\)"):
        to_uint8({"x_train": x, "x_val": pixels(5, 8, 9)}, "place")
    assert to_uint8({"x_train": x, "x_val": x.astype(np.int64)}, "place")[0]["x_val"].dtype == np.uint8
