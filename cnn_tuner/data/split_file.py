"""Which image is in which part, as a file that other programs can read, and that a run can be given.

A CSV table with the columns `image` and `part`: an image is named by its path, relative to the folder that all of them
are in, or by its number, where it is a row of an array. Where each image is for validation once, the parts are
`fold 1`, `fold 2`, ... and `test`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_tuner.data.columns import read
from cnn_tuner.data.dataset import PARTS, Dataset, Part, Selection
from cnn_tuner.data.files import expanded, listed, shown
from cnn_tuner.data.splitting import fold_name
from cnn_tuner.errors import DataError, UsageError

COLUMNS = ("image", "part")
FILE = "split.csv"


def write(dataset: Dataset, path: Path) -> None:
    """Writes the parts that were drawn, and train, which they were drawn from; nothing where a file is named twice.

    Raises:
        OSError: the file cannot be written.
    """
    parts = {name: getattr(dataset, name) for name in PARTS if name == "train" or name in dataset.drawn}
    names = _names(list(parts.values()))
    said = {part: np.full(len(own), part, object) for part, own in zip(parts, names, strict=True)}
    if dataset.folds is not None:
        said["val"][:] = fold_name(1)
        said["train"][:] = [fold_name(number) for number in dataset.folds.tolist()]
    if len({name for own in names for name in own}) < sum(map(len, names)):
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for part, own in zip(parts, names, strict=True):
            rows.writerows(zip(own, said[part], strict=True))


def indices(argument: str, whole: Part, missing: Sequence[str]) -> dict[str, np.ndarray]:
    """The places in `whole` of train and of each missing part, as a file says.

    Raises:
        UsageError: there is nothing to split.
        DataError: the file cannot be read, names another part, or not these images, each once.
    """
    allowed = [name for name in PARTS if name == "train" or name in missing]
    said = _said(argument, whole, missing, allowed)
    return {part: np.flatnonzero(said == part) for part in allowed}


def folds(argument: str, whole: Part, missing: Sequence[str], count: int) -> np.ndarray:
    """(N,) the fold of each image, from 1 on, as a file says; 0 is the test part.

    Raises:
        UsageError, DataError: as `indices`.
    """
    names = [fold_name(number) for number in range(1, count + 1)]
    said = _said(argument, whole, missing, [*names, *(name for name in ("test",) if name in missing)])
    return np.array([0 if part == "test" else 1 + names.index(part) for part in said.tolist()])


def _said(argument: str, whole: Part, missing: Sequence[str], allowed: Sequence[str]) -> np.ndarray:
    """(N,) what a file calls the part of each image in `whole`: one that is allowed, each of which has some."""
    path = expanded(argument)
    if not missing:
        raise UsageError(f"--split {shown(path)}: the data has all its parts; nothing is split")
    table = read(path)
    named, parts = (table.columns[table.named(column, f"--split {shown(path)}: column")] for column in COLUMNS)
    index = next((index for index, part in enumerate(parts) if part not in allowed), None)
    if index is not None:
        raise DataError(f"{table.row(index)}: part must be one of {listed(allowed)}, got {shown(parts[index])}")
    part_of = dict(zip(named, parts, strict=True))
    if len(part_of) != len(named):
        twice = next(name for name in part_of if list(named).count(name) > 1)
        raise DataError(f"{shown(path)}: has {shown(twice)} twice")
    [names] = _names([whole])
    lacking, more = [n for n in names if n not in part_of], set(part_of) - set(names)
    if lacking or more:
        what = f"lacks {len(lacking)} of the images ({listed(lacking, 3)})" if lacking else ""
        and_more = f"names {len(more)} that are not there ({listed(sorted(more), 3)})" if more else ""
        raise DataError(f"{shown(path)}: {' and '.join(filter(None, (what, and_more)))}; make it for this data")
    for part in allowed:
        if part not in part_of.values():
            raise DataError(f"{shown(path)}: puts no image into {part}")
    return np.array([part_of[name] for name in names], object)


def _names(parts: Sequence[Part]) -> list[list[str]]:
    """What images are called: by their files, where they have some, else by their numbers in the whole array."""
    files = [part.files for part in parts]
    if any(each is None for each in files):
        rows = [part.x.rows if isinstance(part.x, Selection) else np.arange(len(part)) for part in parts]
        return [[str(row) for row in own] for own in rows]
    root = os.path.commonpath([file.parent for own in files if own is not None for file in own])
    return [[Path(os.path.relpath(file, root)).as_posix() for file in own] for own in files if own is not None]
