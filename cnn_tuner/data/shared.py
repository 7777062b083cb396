"""Training and validation part as files that several processes map into memory: one copy for all of them.

Images that are mapped from a file already stay there: only which of them are for what is written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part, Selection, save
from cnn_tuner.data.undecoded import Undecoded, read
from cnn_tuner.errors import StorageError

PARTS = ("train", "val")  # the test part never goes where models are trained
PIXELS, ELSEWHERE, UNDECODED, FOLDS = "x.npy", "elsewhere.json", "undecoded.json", "folds.npy"


@contextmanager
def shared(dataset: Dataset, folder: Path, is_for_others: bool = False) -> Iterator[Path]:
    """While inside, `folder` holds the parts that are trained with; `opened` maps them.

    With `is_for_others` all of them are in it, for other machines that see it and not what lies elsewhere.

    Raises:
        StorageError: the disk has no room for them.
    """
    shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
    folder.mkdir(parents=True)
    try:
        parts = [getattr(dataset, name) for name in PARTS]
        file, undecoded = (None, None) if is_for_others else (_file(parts), _undecoded(parts))
        if undecoded is not None:
            undecoded.write(folder / UNDECODED)
            rows = [part.x.rows for part in parts]
        elif file is None:
            _check_room(parts, folder)
            save(folder / PIXELS, *(part.x for part in parts))
            ends = np.cumsum([0, *map(len, parts)])
            rows = [np.arange(start, stop) for start, stop in pairwise(ends)]
        else:
            (folder / ELSEWHERE).write_text(json.dumps(os.fspath(file)), encoding="utf-8")
            rows = [part.x.rows for part in parts]
        for name, part, own in zip(PARTS, parts, rows, strict=True):
            np.save(folder / f"{name}_rows.npy", own)
            np.save(folder / f"{name}_y.npy", part.y)
        if dataset.folds is not None:
            np.save(folder / FOLDS, dataset.folds)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _file(parts: list[Part]) -> Path | None:
    """The file that the images of all parts are mapped from, if there is one."""
    files = {part.x.file if isinstance(part.x, Selection) else None for part in parts}
    return files.pop() if len(files) == 1 else None


def _undecoded(parts: list[Part]) -> Undecoded | None:
    """What the images of all parts are decoded from, if they are decoded only when they are needed."""
    arrays = [part.x.array for part in parts if isinstance(part.x, Selection)]
    is_one = len(arrays) == len(parts) and all(each is arrays[0] for each in arrays)
    return arrays[0] if is_one and isinstance(arrays[0], Undecoded) else None


def _check_room(parts: list[Part], folder: Path) -> None:
    check_free(folder, sum(part.x.nbytes + part.y.nbytes for part in parts))


def check_free(folder: Path, need: int) -> None:
    """Return if the disk has room for so many bytes.

    Raises:
        StorageError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StorageError(
            f"{os.fspath(folder)}: the workers' copy of the images needs {need // 2**20} MB of free disk space, "
            f"{free // 2**20} MB are free; free some, or choose another folder with --runs"
        )


def opened(folder: Path) -> tuple[Part, Part, np.ndarray | None]:
    """The training and validation part that lie in `folder`, mapped: pages are read when they are needed; the folds.

    Both parts are selections of one array. Copy-on-write rather than read-only, since NumPy hands only writable arrays
    to another library without a copy.
    """
    pixels, file = _pixels(folder)

    def part(name: str) -> Part:
        rows, y = (np.load(folder / f"{name}_{kind}.npy", allow_pickle=False) for kind in ("rows", "y"))
        return Part(Selection(pixels, rows, file), y)

    folds = np.load(folder / FOLDS, allow_pickle=False) if (folder / FOLDS).exists() else None
    return part("train"), part("val"), folds


def _pixels(folder: Path) -> tuple[np.ndarray | Undecoded, Path | None]:
    """All images, and the file that they are mapped from, if they are."""
    if (folder / UNDECODED).exists():
        return read(folder / UNDECODED), None
    elsewhere = folder / ELSEWHERE
    file = Path(json.loads(elsewhere.read_text(encoding="utf-8"))) if elsewhere.exists() else folder / PIXELS
    return np.load(file, mmap_mode="c", allow_pickle=False), file
