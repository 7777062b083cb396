"""mnist, fashion_mnist, cifar10, cifar100: what keras.datasets downloads to ~/.keras/datasets, once."""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
from collections.abc import Iterator

import numpy as np

from cnn_tuner.data.class_names import CIFAR10, CIFAR100, DIGITS, FASHION_MNIST
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.files import one_line
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError

_CLASS_NAMES = {"mnist": DIGITS, "fashion_mnist": FASHION_MNIST, "cifar10": CIFAR10, "cifar100": CIFAR100}
_BYTES = {
    "mnist": 70_000 * 28 * 28,
    "fashion_mnist": 70_000 * 28 * 28,
    "cifar10": 60_000 * 32 * 32 * 3,
    "cifar100": 60_000 * 32 * 32 * 3,
}
_TIMEOUT_SECONDS = 60.0  # without an answer; Keras itself waits for ever


def load(name: str, options: DataOptions) -> RawData:
    """Train and test as Keras brings them: (N, H, W) or (N, H, W, 3) uint8, and labels (N,) or (N, 1) uint8.

    Raises:
        DataError: the download fails, or the cached file is damaged.
    """
    check_memory(2 * _BYTES[name], options, name)
    with _quietly():
        keras_dataset = importlib.import_module(f"keras.datasets.{name}")  # here, as it imports TensorFlow
        try:
            (x_train, y_train), (x_test, y_test) = keras_dataset.load_data()
        except Exception as error:  # Keras raises plain Exception for a failed download
            raise DataError(
                f"{name}: cannot be downloaded or read ({one_line(error)}); check the network, delete what is "
                "damaged in ~/.keras/datasets, or use data that needs no network, as digits or idx:DIR"
            ) from error
    return RawData(
        name=name,
        place=name,
        train=Part(_channels_last(x_train), y_train),
        test=Part(_channels_last(x_test), y_test),
        class_names=_CLASS_NAMES[name],
        is_published=True,
    )


def _channels_last(images: np.ndarray) -> np.ndarray:
    """Undo what keras.json with "image_data_format": "channels_first" does to the coloured ones."""
    return images.transpose(0, 2, 3, 1) if images.shape[1:] == (3, 32, 32) else images


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keras's progress goes to stderr, and a dead connection ends."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)
