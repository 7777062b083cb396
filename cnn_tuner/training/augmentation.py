"""Images changed at random, a batch at a time, in the input pipeline: training waits for none of it."""

from __future__ import annotations

import math

import tensorflow as tf

from cnn_tuner.spaces.recipe import Augmentation

FLIPS = {"none": (), "horizontal": (2,), "vertical": (1,), "both": (2, 1)}  # the axes of (N, H, W, C)
ERASED = (0.02, 0.33)  # the square of the share of a side that is erased, from and to
# Which of an image's draws is for what; a change draws the same whichever others are there.
SHIFTING, TURNING, ZOOMING, ERASING, SIZES, PLACES = (0, 1), 2, 3, 4, (5, 6), (7, 8)
DRAWS = 9


def first_sides(images: int, seed: int) -> tf.Tensor:
    """Whether each image (N, 2) bool is mirrored in its first pass, along each axis that it may be; half are."""
    return tf.random.stateless_uniform((images, 2), (seed, -1)) < 0.5


def on_pass(sides: tf.Tensor, passes: tf.Tensor) -> tf.Tensor:
    """Whether images (N, 2) bool are mirrored in a pass (N,) int64, counted from 0: in turn one way and the other.

    Drawn anew in each pass, half of all images would look as they did the time before (Jordan, 2024,
    https://arxiv.org/abs/2404.00498, section 3.6). The second axis is turned every second pass.
    """
    turned = tf.stack([passes % 2, passes // 2 % 2], axis=1) == 1
    return tf.math.logical_xor(sides, turned)


def augmented(images: tf.Tensor, asked: Augmentation, seed: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, C) uint8, each flipped, shifted, turned and zoomed, and partly erased by its own draws.

    What is drawn is distributed as by Keras's layers (RandomFlip, RandomTranslation, RandomRotation, RandomZoom,
    RandomErasing). A shift is of whole pixels, of height and width each by itself; turns and zooms are one affine map
    about the middle, between pixels bilinear; the border is repeated where something comes in from outside. What is
    erased becomes noise.

    Args:
        images: the batch.
        asked: which changes, and how large.
        seed: (2,) int64, another one for each batch.
        sides: (N, 2) bool, whether each is mirrored, along each axis that it may be.
    """
    draws = tf.random.stateless_uniform((tf.shape(images)[0], DRAWS), seed)
    for column, axis in enumerate(FLIPS[asked.flip]):
        is_flipped = tf.reshape(sides[:, column], (-1, 1, 1, 1))
        images = tf.where(is_flipped, tf.reverse(images, [axis]), images)
    if asked.shift > 0:
        for column, axis in zip(SHIFTING, (1, 2), strict=True):
            images = _shifted(images, axis, asked.shift, draws[:, column])
    if asked.rotate > 0 or asked.zoom > 0:
        images = _turned_and_zoomed(images, asked, draws)
    if asked.erase > 0:
        images = _erased(images, asked.erase, draws, tf.random.fold_in(seed, 1))
    return images


def _shifted(images: tf.Tensor, axis: int, share: float, draws: tf.Tensor) -> tf.Tensor:
    side = images.shape[axis]
    by = tf.cast(tf.round((2 * draws - 1) * share * side), tf.int32)
    places = tf.clip_by_value(tf.range(side)[tf.newaxis] - by[:, tf.newaxis], 0, side - 1)
    return tf.gather(images, places, axis=axis, batch_dims=1)


def _turned_and_zoomed(images: tf.Tensor, asked: Augmentation, draws: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    angle = (2 * draws[:, TURNING] - 1) * math.radians(asked.rotate)
    zoom = 1 + (2 * draws[:, ZOOMING] - 1) * asked.zoom
    cos, sin = zoom * tf.cos(angle), zoom * tf.sin(angle)
    x, y, zero = (width - 1) / 2, (height - 1) / 2, tf.zeros_like(zoom)
    # where a pixel of what comes out is looked up: two rows of (by x, by y, plus) and the perspective, which is none
    looked_up = tf.stack([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero], axis=1)
    found = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=looked_up,
        output_shape=[height, width],
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
    return tf.cast(tf.round(found), tf.uint8)


def _erased(images: tf.Tensor, share: float, draws: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Of this share of images a rectangle becomes noise (Zhong et al., 2017, arxiv.org/abs/1708.04896)."""
    inside = tf.reshape(draws[:, ERASING] < share, (-1, 1, 1, 1))
    for size, place, axis in zip(SIZES, PLACES, (1, 2), strict=True):
        side = images.shape[axis]
        low, high = ERASED
        length = side * tf.sqrt(low + (high - low) * draws[:, size])
        begin = draws[:, place] * (side - length)
        at = tf.range(side, dtype=tf.float32)
        within = (at >= begin[:, tf.newaxis]) & (at < (begin + length)[:, tf.newaxis])
        inside &= tf.reshape(within, (-1, side, 1, 1) if axis == 1 else (-1, 1, side, 1))
    noise = tf.random.stateless_uniform(tf.shape(images), seed, 0, 256, tf.int32)
    return tf.where(inside, tf.cast(noise, tf.uint8), images)
