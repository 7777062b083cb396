"""Images flipped and shifted at random, a batch at a time, in the input pipeline: training waits for none of it."""

from __future__ import annotations

import tensorflow as tf

from cnn_tuner.spaces.recipe import Augmentation

FLIPS = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (2, 1)}  # the axes of (N, H, W, C)


def moved(images: tf.Tensor, asked: Augmentation, seed: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, C) uint8, each flipped along each axis that may be with a chance of a half, and shifted.

    A shift is drawn from plus and minus `asked.shift` of the side, of height and width each by itself, and rounded to
    whole pixels; the border is repeated where something comes in from outside.

    Args:
        images: the batch.
        asked: how; turns, zoom and erased parts are layers of the model (`cnn_tuner.models.augmentation`).
        seed: (2,) int64, another one for each batch.
    """
    draws = tf.random.stateless_uniform((tf.shape(images)[0], 4), seed)
    for column, axis in enumerate(FLIPS[asked.flip]):
        is_flipped = tf.reshape(draws[:, column] < 0.5, (-1, 1, 1, 1))
        images = tf.where(is_flipped, tf.reverse(images, [axis]), images)
    if asked.shift > 0:
        for column, axis in ((2, 1), (3, 2)):
            images = _shifted(images, axis, asked.shift, draws[:, column])
    return images


def _shifted(images: tf.Tensor, axis: int, share: float, draws: tf.Tensor) -> tf.Tensor:
    side = images.shape[axis]
    by = tf.cast(tf.round((2 * draws - 1) * share * side), tf.int32)
    places = tf.clip_by_value(tf.range(side)[tf.newaxis] - by[:, tf.newaxis], 0, side - 1)
    return tf.gather(images, places, axis=axis, batch_dims=1)
