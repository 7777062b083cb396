"""mat:FILE: X (H, W, C, N) and y (N,) in a file of MATLAB, as the Street View House Numbers are published."""

from __future__ import annotations

import numpy as np
from scipy.io import loadmat

from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.files import expanded, one_line, reading, shown
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError


def load(argument: str, options: DataOptions) -> RawData:
    """The arrays as they are stored; labels are encoded, parts split off and pixels checked by who calls this.

    Raises:
        DataError: the file cannot be read, or lacks an array.
    """
    path = expanded(argument)
    with reading(path):  # one line for a file that is not there, or may not be read
        path.stat()
    try:
        found = loadmat(path, variable_names=["X", "y"])
        x, y = np.moveaxis(found["X"], -1, 0), found["y"].reshape(-1)
    except Exception as error:  # a damaged file makes its parser raise anything
        raise DataError(f"{shown(path)}: is no MATLAB file with X and y ({one_line(error)})") from error
    return RawData(name=path.stem, place=shown(path), train=Part(x, y))
