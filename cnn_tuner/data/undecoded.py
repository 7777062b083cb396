"""Images as an array that is nowhere: each is decoded when it is asked for, every time.

For sets that fit neither into the cache of decoded images nor into memory. Threads decode, as Pillow does so without
Python's lock; each worker that trains has its own.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data.pictures import read_image, threads


class Undecoded:
    """(N, H, W, C) uint8 of N image files, made as `cnn_tuner.data.pictures.read_image` makes them."""

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], image_shape: tuple[int, int, int], fit: str) -> None:
        self.files, self.fit = files, fit
        self.shape = (len(files), *image_shape)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """As an array's, of its first axis.

        Raises:
            BrokenImageError, DataError: a file is no longer what it was.
        """
        chosen = np.arange(len(self.files))[rows]
        if np.ndim(chosen) == 0:
            return self._read(int(chosen))
        found = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, image in enumerate(self._pool.map(self._read, chosen.tolist())):
            found[place] = image
        return found

    def _read(self, index: int) -> np.ndarray:
        height, width, channels = self.shape[1:]
        return read_image(self.files[index], (height, width, channels), fit=self.fit)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(threads())

    def write(self, file: Path) -> None:
        """Writes which files these are, for `read` in another process."""
        facts = {"files": list(map(os.fspath, self.files)), "image_shape": self.shape[1:], "fit": self.fit}
        file.write_text(json.dumps(facts), encoding="utf-8")


def read(file: Path) -> Undecoded:
    """What `Undecoded.write` wrote."""
    facts = json.loads(file.read_text(encoding="utf-8"))
    return Undecoded([Path(name) for name in facts["files"]], tuple(facts["image_shape"]), facts["fit"])
