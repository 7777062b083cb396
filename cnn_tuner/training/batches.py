"""The training and validation part as batches: the order of an epoch depends on the seed and its number."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cnn_tuner.data.dataset import Part

EVALUATION_BATCH = 256  # images at once where nothing is learned
TENSOR_ALIGNMENT = 64  # bytes: what TensorFlow's kernels expect


class Data:
    """The training and validation part as tensors, made once for all jobs. The test part never comes here.

    Arrays that are mapped from files (see `cnn_tuner.data.shared`) stay there: nothing is copied.
    """

    def __init__(self, train: Part, val: Part) -> None:
        self._train, self._val = train, val  # the tensors point into their arrays
        self.x, self.y, val_x, val_y = (_tensor(array) for part in (train, val) for array in (part.x, part.y))
        places = tf.data.Dataset.range(len(val)).batch(EVALUATION_BATCH)
        self.val = _uncopied(places.map(lambda at: (tf.gather(val_x, at), tf.gather(val_y, at))).prefetch(2))

    @property
    def images(self) -> int:
        """How many images are trained on."""
        return int(self.x.shape[0])

    def batches(self, seed: int, batch_size: int, initial_epoch: int) -> tf.data.Dataset:
        """Batches without end, from `initial_epoch` (counted from 0) on: each epoch is one shuffled pass."""

        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            places = tf.random.experimental.stateless_shuffle(tf.range(self.images), seed=tf.stack([seed, epoch]))
            batches = tf.data.Dataset.from_tensor_slices(places).batch(batch_size)
            return batches.map(lambda at: (tf.gather(self.x, at), tf.gather(self.y, at)))

        return _uncopied(tf.data.Dataset.range(initial_epoch, np.iinfo(np.int64).max).flat_map(one_epoch).prefetch(2))


def _tensor(array: np.ndarray) -> tf.Tensor:
    """A tensor that uses the array's own memory where that may be shared (NumPy hands out no read-only array)."""
    if array.flags.writeable and array.flags.c_contiguous and array.ctypes.data % TENSOR_ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.convert_to_tensor(array)


def _uncopied(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without the rewriting of the pipeline, which would copy the images into it as a constant."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)
