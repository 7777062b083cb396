"""Image files with their labels, wherever they lie, not yet opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.data.files import Opener, on_disk, shown
from cnn_tuner.errors import DataError


@dataclass(frozen=True, eq=False)
class Pictures:
    """Image files with their labels, not yet opened.

    name, place, class_names, notes, is_published: as `RawData` has them.
    files: what is read; those of a part follow each other. y: their labels (N,) or (N, K).
    sizes: how many files each part has, train first.
    groups: (N,) text, as `Part` has them, or None.
    opener: opens one for reading. stamp: what tells one from what it was; None: they are not kept.
    order: in which they are read fastest, by one thread that goes through an archive; None where each is a file of its
        own. close: to be called when all are read.
    """

    name: str
    place: str
    files: Sequence[Path]
    y: np.ndarray
    sizes: dict[str, int]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    opener: Opener = on_disk
    stamp: Callable[[Path], str] | None = None
    order: Sequence[int] | None = None
    close: Callable[[], None] = lambda: None
    is_published: bool = False


def of_disk(path: Path) -> str:
    """What tells a file from what it was: its size, and when it and what is known of it were written."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def grouped(pictures: Pictures, pattern: str) -> np.ndarray:
    """(N,) text, the part of each path that `pattern` finds: its first group, or all of it; the path where it does not.

    Raises:
        DataError: it is in no path.
    """
    found = [re.search(pattern, path.as_posix()) for path in pictures.files]
    if not any(found):
        raise DataError(f"{pictures.place}: --group-by {shown(pattern)}: is in no path, such as {pictures.files[0]}")
    names = [match and (match[1] if match.re.groups else match[0]) for match in found]
    return np.array([str(path) if name is None else name for name, path in zip(names, pictures.files, strict=True)])
