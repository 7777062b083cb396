"""A reader of an export finds what only asking in several ways brings to light."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cnn_tuner.export import reader

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)


def brightness(images: np.ndarray) -> dict[str, tf.Tensor]:
    return {"values": tf.reduce_mean(tf.cast(images, tf.float32), axis=(1, 2, 3))}


class Signatures(dict):
    """Two signatures of a faithful export; `serving_bytes` reads PNGs of `channels`."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__(serving_default=lambda image: brightness(image), serving_bytes=self._of_files)
        self._channels = channels

    def _of_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = np.stack([tf.io.decode_png(each, 0).numpy() for each in image_bytes])
        if self._channels == 2:
            assert (images[..., 0] == images[..., 1]).all() and (images[..., 0] == images[..., 2]).all()
            images = images[..., 2:]
        return brightness(images)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_faithful_signatures_pass(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, channels), dtype=np.uint8)
    reader.check_files(Signatures(channels), images)


def another_answer(signatures: Signatures) -> None:
    signatures["serving_default"] = lambda image: {"values": tf.zeros(len(image))}


def no_answer(signatures: Signatures) -> None:
    signatures["serving_default"] = lambda image: {}


def random(signatures: Signatures) -> None:
    answers = iter([brightness(IMAGES), brightness(IMAGES[::-1])])
    signatures["serving_bytes"] = lambda image_bytes: next(answers)


def generous(signatures: Signatures) -> None:
    signatures["serving_bytes"] = lambda image_bytes: brightness(IMAGES)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (another_answer, "serving_bytes: a PNG gets another answer than its pixels"),
        (no_answer, "serving_bytes: a PNG gets another answer than its pixels"),
        (random, "serving_bytes: asked twice, it gives two answers"),
        (generous, "serving_bytes: answers to bytes that are no image"),
    ],
)
def test_signatures_that_are_not_are_found(spoil, message):
    signatures = Signatures()
    spoil(signatures)
    with pytest.raises(SystemExit, match=f"^{message}$"):
        reader.check_files(signatures, IMAGES)


def test_a_model_that_says_something_else_each_time_is_found():
    rng = np.random.default_rng(0)
    with pytest.raises(SystemExit, match=r"^asked twice, it gives two answers$"):
        reader.scored(lambda images: rng.random((len(images), 2)), IMAGES)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 300, 1000])
def test_every_image_is_in_one_batch(count):
    found = reader.batches(np.arange(count))
    assert np.concatenate(found).tolist() == list(range(count))
    assert [len(batch) for batch in found[:2]] == [1, min(3, count - 1)][: len(found)]
    assert max(map(len, found)) <= reader.BATCH
