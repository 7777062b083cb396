"""The Keras layers that change images at random while a model is trained, and only then."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from cnn_tuner.spaces.recipe import Augmentation

FILL = "nearest"  # what comes in from outside repeats the border: a background goes on, nothing is mirrored
DEGREES = 360.0


def augmentation_layers(asked: Augmentation, seeds: Iterator[int]) -> list[keras.layers.Layer]:
    """The layers, in order: flip, shift, rotate, zoom, erase; (N, H, W, C) float32 in [0, 1] to the same shape.

    Each draws from a seed of its own, whichever of the others are there, and none has weights.
    """
    horizontal, vertical, shift, rotate, zoom, erase = (next(seeds) for _ in range(6))
    common = {"data_format": "channels_last", "dtype": "float32"}
    moving = common | {"fill_mode": FILL}
    layers = keras.layers
    found = []
    # Two layers, since Keras's "horizontal_and_vertical" flips an image along both axes or along none.
    if asked.flip in ("horizontal", "both"):
        found.append(layers.RandomFlip("horizontal", seed=horizontal, name="augment_flip_horizontal", **common))
    if asked.flip in ("vertical", "both"):
        found.append(layers.RandomFlip("vertical", seed=vertical, name="augment_flip_vertical", **common))
    if asked.shift > 0:
        found.append(layers.RandomTranslation(asked.shift, asked.shift, seed=shift, name="augment_shift", **moving))
    if asked.rotate > 0:
        turn = asked.rotate / DEGREES
        found.append(layers.RandomRotation(turn, seed=rotate, name="augment_rotate", **moving))
    if asked.zoom > 0:
        found.append(layers.RandomZoom(asked.zoom, seed=zoom, name="augment_zoom", **moving))
    if asked.erase > 0:
        share = (asked.erase, asked.erase)  # one number would be the most, of a share drawn at random
        found.append(layers.RandomErasing(share, value_range=(0, 1), seed=erase, name="augment_erase", **common))
    return found
