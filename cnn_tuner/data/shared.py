"""Training and validation part as files that several processes map into memory: one copy for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.errors import StorageError

PARTS = ("train", "val")  # the test part never goes where models are trained


@contextmanager
def shared(dataset: Dataset, folder: Path) -> Iterator[Path]:
    """While inside, `folder` holds the parts that are trained with; `opened` maps them.

    Raises:
        StorageError: the disk has no room for them.
    """
    shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
    folder.mkdir(parents=True)
    try:
        _check_room(dataset, folder)
        for name in PARTS:
            part: Part = getattr(dataset, name)
            np.save(folder / f"{name}_x.npy", part.x)
            np.save(folder / f"{name}_y.npy", part.y)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_room(dataset: Dataset, folder: Path) -> None:
    need = sum(getattr(dataset, name).x.nbytes + getattr(dataset, name).y.nbytes for name in PARTS)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StorageError(
            f"{os.fspath(folder)}: the workers' copy of the images needs {need // 2**20} MB of free disk space, "
            f"{free // 2**20} MB are free; free some, or choose another folder with --runs"
        )


def opened(folder: Path) -> tuple[Part, Part]:
    """The training and validation part that lie in `folder`, mapped: pages are read when they are needed.

    Copy-on-write rather than read-only, since NumPy hands only writable arrays to another library without a copy.
    """
    train, val = (
        Part(*(np.load(folder / f"{name}_{kind}.npy", mmap_mode="c", allow_pickle=False) for kind in "xy"))
        for name in PARTS
    )
    return train, val
