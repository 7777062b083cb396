"""In which order a pass shows the images, and reading them ahead where they are more than memory may hold.

A large set is shuffled in two steps, as WebDataset and others do: blocks of neighbours in the file are put in a random
order, then the images of some hundred blocks together. What is read next is so known as blocks of a megabyte, which
disks read fast, and the file's own order is a random one (see `cnn_tuner.data.decoding`), so that a block has images of
all classes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import LARGE  # by the bytes alone, so that the order is the same on each machine

BLOCK, WINDOW = 2**20, 2**28  # bytes of neighbours, and of images that are shuffled together


class Order:
    """The order of each pass over images, of which each is a row of one file.

    rows: (N,) of the file; image_bytes: of one image; file: that they are mapped from, None where they are in memory.
    classes: (N,) int, where each class is to be shown as often; a pass then has some images twice and others not.
    """

    def __init__(
        self, rows: np.ndarray, image_bytes: int, file: Path | None, classes: np.ndarray | None = None
    ) -> None:
        self.images = len(rows)
        self.is_large = len(rows) * image_bytes >= LARGE
        self.window = max(1, WINDOW // image_bytes)
        self._block = max(1, BLOCK // image_bytes)
        self._file, self._image_bytes, self._rows = file, image_bytes, rows
        self._sampled = None if classes is None else _Sampled(classes)
        self._by_row = tf.constant(np.argsort(rows, kind="stable")) if self.is_large else None

    def of_pass(self, seed: int, number: tf.Tensor) -> tf.Tensor:
        """(N,) the places of all images, in an order that follows from the seed and the pass's number."""
        both = tf.stack([seed, number])
        if self._sampled is not None:
            return self._sampled.of_pass(both)
        if not self.is_large:
            return tf.random.experimental.stateless_shuffle(tf.range(self.images), seed=both)
        blocks = tf.random.experimental.stateless_shuffle(tf.range(-(-self.images // self._block)), seed=both)
        places = tf.reshape(blocks[:, tf.newaxis] * self._block + tf.range(self._block), (-1,))
        places = tf.gather(self._by_row, tf.boolean_mask(places, places < self.images))
        within = tf.random.stateless_uniform((self.images,), both, dtype=tf.float64)
        windows = tf.cast(tf.range(self.images) // self.window, tf.float64)
        return tf.cast(tf.gather(places, tf.argsort(windows + within)), tf.int32)

    def ahead(self, shown: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Batches of (places, ...), of a data set that has them one by one; of a large one, a window is read ahead."""
        if not self.is_large or self._file is None or not hasattr(os, "posix_fadvise"):
            return shown.batch(batch_size)

        def told(places: tf.Tensor, *others: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.control_dependencies([tf.numpy_function(self._want, [places], tf.int64)]):
                return (tf.identity(places), *others)

        return shown.batch(self.window).map(told).prefetch(1).rebatch(batch_size)

    def _want(self, places: np.ndarray) -> np.int64:
        """Has the system read the blocks of these images; it does so while others are trained on."""
        assert self._file is not None
        rows = np.sort(self._rows[places])
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        file = os.open(self._file, os.O_RDONLY)
        try:
            for run in runs:
                begin, size = int(run[0]) * self._image_bytes, len(run) * self._image_bytes
                os.posix_fadvise(file, begin, size, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)
        return np.int64(len(runs))


class _Sampled:
    """Passes in which each class comes as often, each time by one of its images.

    Drawn with replacement, as samplers by weight do it: of a small class every image comes again and again, of a large
    one another pass has others.
    """

    def __init__(self, classes: np.ndarray) -> None:
        counts = np.bincount(classes)
        there = np.flatnonzero(counts)
        self._by_class = tf.constant(np.argsort(classes, kind="stable"), tf.int32)
        self._counts, self._starts = (tf.constant(each[there]) for each in (counts, np.cumsum(counts) - counts))
        self._images = len(classes)

    def of_pass(self, both: tf.Tensor) -> tf.Tensor:
        """(N,) places, by a seed of two numbers."""
        own = tf.range(self._images) % len(self._counts)  # the class of each
        drawn = tf.random.stateless_uniform((self._images,), both, dtype=tf.float64)
        counts = tf.gather(self._counts, own)
        within = tf.minimum(tf.cast(drawn * tf.cast(counts, tf.float64), counts.dtype), counts - 1)
        places = tf.gather(self._by_class, tf.gather(self._starts, own) + within)
        return tf.random.experimental.stateless_shuffle(places, seed=both)
