"""npy:DIR: x_train.npy, y_train.npy, and if there x_val.npy, ..., and class_names.npy, as numpy.save writes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import PARTS, RawData
from cnn_tuner.data.files import expanded, one_line, reading, shown
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.npz import NAMES, check_members, names_of, parts_of
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError


def load(argument: str, options: DataOptions) -> RawData:
    """The arrays as they are stored, once their headers have been checked. Pickled objects are never loaded.

    Raises:
        DataError: the folder lacks an array, one cannot be read, holds objects, or is larger than memory.
    """
    folder = expanded(argument)
    with reading(folder):
        there = {path.stem: path for path in folder.iterdir() if path.suffix == ".npy"}
    check_members(sorted(there), folder)
    wanted = {f"{axis}_{part}" for part in PARTS for axis in "xy"} | {NAMES}
    mapped = {name: _mapped(path) for name, path in there.items() if name in wanted}
    copies = 1 if all(f"x_{part}" in mapped for part in PARTS) else 2  # a part that is split off is a copy
    pixels = sum(math.prod(array.shape) for name, array in mapped.items() if name.startswith("x_"))
    check_memory(sum(array.nbytes for array in mapped.values()) + copies * pixels, options, shown(folder))
    arrays = {name: np.array(array) for name, array in mapped.items()}
    names = names_of(arrays.pop(NAMES, None), folder)
    ignored = sorted(set(there) - wanted)
    return parts_of(arrays, names, ignored, folder.resolve().name, shown(folder))


def _mapped(path: Path) -> np.ndarray:
    with reading(path):
        path.stat()
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy's parser raise anything
        raise DataError(
            f"{shown(path)}: is no readable .npy file ({one_line(error)}); write it with numpy.save"
        ) from error
