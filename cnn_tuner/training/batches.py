"""The training and validation part as batches: what an epoch has, in which order, follows from a seed and its number.

Images are shown pass by pass, each pass in an order of its own. An epoch that is a part of a pass goes on where the one
before ended, so that no image comes again before all have been there.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Images, Part, Selection, image_bytes
from cnn_tuner.data.undecoded import Undecoded
from cnn_tuner.spaces.recipe import Augmentation
from cnn_tuner.training.augmentation import augmented, first_sides, on_pass
from cnn_tuner.training.ordering import Order

EVALUATION_BATCH = 256  # images at once where nothing is learned
TENSOR_ALIGNMENT = 64  # bytes: what TensorFlow's kernels expect


class Data:
    """The training and validation part as tensors, made once for all jobs. The test part never comes here.

    Images that are mapped from a file (see `cnn_tuner.data.shared`) stay there: only batches are copied. `folds` are
    those of a `cnn_tuner.data.dataset.Dataset`.
    """

    def __init__(self, train: Part, val: Part, folds: np.ndarray | None = None) -> None:
        pixels, train_rows, val_rows = _whole(train.x, val.x)
        self._arrays = pixels, train.y, val.y  # the tensors point into them
        self._rows, self._folds = (train_rows, val_rows), folds
        self._file = train.x.file if isinstance(train.x, Selection) else None
        self.pixels = None if isinstance(pixels, Undecoded) else _tensor(pixels)
        self.y, self._val_y = _tensor(train.y), _tensor(val.y)
        rows, places = tf.constant(val_rows), tf.data.Dataset.range(len(val)).batch(EVALUATION_BATCH)
        in_order = places.map(lambda at: (self._images_at(tf.gather(rows, at)), tf.gather(self._val_y, at)))
        self.val = _plain(in_order.prefetch(2))

    def _images_at(self, rows: tf.Tensor) -> tf.Tensor:
        """These rows of all pixels."""
        whole = Selection(self._arrays[0], np.arange(len(self._arrays[0])), self._file)
        if self.pixels is not None and not whole.is_read:
            return tf.gather(self.pixels, rows)
        found = tf.numpy_function(lambda places: whole[places], [rows], tf.uint8)
        found.set_shape((None, *whole.shape[1:]))
        return found

    def redrawn(self, split: int, by_class: bool) -> Data:
        """Training and validation part of the same sizes, drawn anew from both by this number; 0 stands for these.

        With `by_class` each class has as many validation images as it had. Where there are folds, the next one is for
        validation with each number.
        """
        if not split:
            return self
        _, train_y, val_y = self._arrays
        rows, y = np.concatenate(self._rows), np.concatenate([train_y, val_y])
        if self._folds is not None:
            numbers = np.concatenate([self._folds, np.ones(len(val_y), self._folds.dtype)])
            return self._parted(rows, y, numbers == 1 + split % self._folds.max())
        order = np.random.default_rng(split).permutation(len(rows))
        chosen = order[: len(val_y)]
        if by_class:
            classes, of_val = y[order].reshape(-1), np.unique(val_y, return_counts=True)
            chosen = np.concatenate([order[classes == each][:count] for each, count in zip(*of_val, strict=True)])
        return self._parted(rows, y, np.isin(np.arange(len(rows)), chosen))

    def _parted(self, rows: np.ndarray, y: np.ndarray, is_val: np.ndarray) -> Data:
        pixels = self._arrays[0]
        train, val = (Part(Selection(pixels, rows[own], self._file), y[own]) for own in (~is_val, is_val))
        return Data(train, val)

    @property
    def train_images(self) -> Selection:
        """(N, H, W, C) uint8."""
        return Selection(self._arrays[0], self._rows[0])

    def images(self, with_val: bool = False) -> int:
        """How many images are trained on, by a job that trains on the validation part too or by another one."""
        return sum(map(len, self._rows)) if with_val else len(self._rows[0])

    def batches(
        self,
        seed: int,
        batch_size: int,
        initial_epoch: int,
        augmentation: Augmentation | None = None,
        with_val: bool = False,
        steps: int | None = None,
        class_weights: str = "none",
    ) -> tf.data.Dataset:
        """Batches without end, from `initial_epoch` (counted from 0) on.

        Args:
            seed: decides the order and how images are changed, both anew in every pass.
            batch_size: of all batches but a pass's last.
            initial_epoch: where to begin; what comes is what would have come without a break.
            augmentation: made here, beside the training and not within its steps.
            with_val: whether the validation part is trained on too.
            steps: the batches of an epoch, None for one pass over all images.
            class_weights: by what all classes count alike, as a `cnn_tuner.spaces.recipe.Recipe` says it; y are then
                classes. "balanced": each image comes with a weight; "sampled": an epoch has as many images of each.
        """
        images, all_rows = self.images(with_val), np.concatenate(self._rows) if with_val else self._rows[0]
        y = tf.concat([self.y, self._val_y], 0) if with_val else self.y
        classes = _classes(y).numpy() if class_weights == "sampled" else None
        rows, order = tf.constant(all_rows), Order(all_rows, image_bytes(self._arrays[0]), self._file, classes)
        weights = _class_weights(y) if class_weights == "balanced" else None
        count = images if steps is None else min(images, steps * batch_size)
        sides = first_sides(images, seed) if augmentation is not None else None

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            number, begin = (epoch, 0) if count == images else (epoch * count // images, epoch * count % images)
            places = order.of_pass(seed, number)
            if count < images:
                places = tf.concat([places, order.of_pass(seed, number + 1)], 0)
            passes = number + tf.cast(begin + tf.range(count, dtype=tf.int64) >= images, tf.int64)
            shown = tf.data.Dataset.from_tensor_slices((places[begin : begin + count], passes))
            return order.ahead(shown, batch_size).enumerate().map(lambda batch, at: (epoch, batch, *at))

        def gathered(epoch: tf.Tensor, batch: tf.Tensor, at: tf.Tensor, passes: tf.Tensor) -> tuple[tf.Tensor, ...]:
            found = self._images_at(tf.gather(rows, at))
            if augmentation is not None:
                sides_now = on_pass(tf.gather(sides, at), passes)
                found = augmented(found, augmentation, tf.stack([seed, epoch * images + batch]), sides_now)
            labels = tf.gather(y, at)
            return (found, labels) if weights is None else (found, labels, tf.gather(weights, _classes(labels)))

        epochs = tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max // max(1, images))
        return _plain(epochs.flat_map(one_epoch).map(gathered).prefetch(2))


def _whole(*parts: Images) -> tuple[np.ndarray | Undecoded, np.ndarray, np.ndarray]:
    """One array of all images, and the rows of it that each of two parts has; a copy where they are in several."""
    train, val = parts
    if isinstance(train, Selection) and isinstance(val, Selection) and train.array is val.array:
        return train.array, train.rows, val.rows
    return np.concatenate([train, val]), np.arange(len(train)), len(train) + np.arange(len(val))


def _classes(y: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reshape(y, (-1,)), tf.int32)


def _class_weights(y: tf.Tensor) -> tf.Tensor:
    """The weight of each class, by which all count alike and an image on average as 1; scikit-learn's "balanced"."""
    # Not TensorFlow's own, which refuses on a GPU that is to give the same result each time.
    counts = tf.constant(np.bincount(_classes(y).numpy()), tf.float32)
    there = tf.reduce_sum(tf.cast(counts > 0, tf.float32))
    return tf.reduce_sum(counts) / there / tf.maximum(counts, 1.0)


def _tensor(array: np.ndarray) -> tf.Tensor:
    """A tensor that uses the array's own memory where that may be shared (NumPy hands out no read-only array)."""
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.convert_to_tensor(array)


def _plain(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without the rewriting of the pipeline, which would copy the images into it as a constant, and its autotuner.

    The autotuner sleeps in a thread of its own, 10 ms, then 20, 40, ..., and `fit` waits at its end for the sleep that
    is under way: up to as long as the epochs took.
    """
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return dataset.with_options(options)
