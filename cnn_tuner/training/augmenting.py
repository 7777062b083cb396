"""What training will see of images, for people: an image, and what the changes of a space may make of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from cnn_tuner.spaces.recipe import Augmentation
from cnn_tuner.training.augmentation import augmented, first_sides


def seen(
    images: np.ndarray, asked: Iterable[Augmentation], times: int = 7, seed: int = 0
) -> dict[str, list[list[np.ndarray]]]:
    """By what is done, a row an image (H, W, C): the image, and what becomes of it `times` times."""
    return {_told(each): _rows(images, each, times, seed) for each in asked}


def _rows(images: np.ndarray, asked: Augmentation, times: int, seed: int) -> list[list[np.ndarray]]:
    rows = [[image] for image in images]
    for number in range(times):
        sides = first_sides(len(images), seed + number)
        changed = augmented(tf.constant(images), asked, tf.constant([seed, number], tf.int64), sides).numpy()
        for row, image in zip(rows, changed, strict=True):
            row.append(image)
    return rows


def _told(asked: Augmentation) -> str:
    parts = [
        "" if asked.flip == "none" else {"both": "mirrored both ways"}.get(asked.flip, f"mirrored {asked.flip}ly"),
        f"shifted by up to {asked.shift:.0%}" if asked.shift else "",
        f"turned by up to {asked.rotate:g} degrees" if asked.rotate else "",
        f"zoomed by up to {asked.zoom:.0%}" if asked.zoom else "",
        f"{asked.erase:.0%} with a part erased" if asked.erase else "",
    ]
    return ", ".join(filter(None, parts)) or "as they are"
