"""The handwritten digits that scikit-learn brings: 1797 images of 8x8, no network.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import numpy as np

from cnn_tuner.data.class_names import DIGITS
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions

_BYTES = 1797 * 8 * 8
_WHITE = 16  # the data set's pixels are 0..16


def load(name: str, options: DataOptions) -> RawData:
    """(1797, 8, 8, 1) uint8 and ten classes, in one part."""
    from sklearn.datasets import load_digits  # takes half a second

    check_memory(2 * _BYTES, options, name)
    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / _WHITE)).astype(np.uint8)
    return RawData(name, name, Part(pixels.reshape(-1, 8, 8, 1), labels), class_names=DIGITS)
