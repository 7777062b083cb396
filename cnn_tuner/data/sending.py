"""The training and validation part on another machine: sent in pieces, made into files there that all its workers map.

One process of a machine receives them, others that need them wait; the last one that uses them removes them, and what
was left by processes that were killed goes when the next data come.
"""

from __future__ import annotations

import fcntl  # not on Windows
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from cnn_tuner.data.dataset import pieces
from cnn_tuner.data.shared import FOLDS, PIXELS, check_free, opened

Piece = tuple[str, np.ndarray]
SHAPE, WHOLE = "shape", "whole"


def packed(folder: Path) -> Iterator[Piece]:
    """What `cnn_tuner.data.shared.shared` left in a folder, in pieces of 32 MB of images."""
    train, val, folds = opened(folder)
    yield SHAPE, np.array([len(train) + len(val), *train.x.shape[1:]])
    start = 0
    for name, part in (("train", train), ("val", val)):
        yield f"{name}_rows.npy", np.arange(start, start + len(part))
        yield f"{name}_y.npy", part.y
        start += len(part)
        for piece in pieces(part.x):
            yield PIXELS, piece
    if folds is not None:
        yield FOLDS, folds


class Sent:
    """Data that were sent here, in use until `close`. `folder` is as one of `cnn_tuner.data.shared.shared`."""

    def __init__(self, folder: Path, lock: IO[bytes]) -> None:
        self.folder, self._lock = folder, lock

    def is_there(self) -> bool:
        """Whether they were received, and stay as long as they are used here."""
        return self.is_used() and (self.folder / WHOLE).exists()

    def is_used(self) -> bool:
        """Whether nobody else can remove them now."""
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        return self._is_current()

    def is_received(self, given: Callable[[], Iterable[Piece]]) -> bool:
        """Receives them, if nobody else does; whether they are there then."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if not self._is_current():
            return False
        if not (self.folder / WHOLE).exists():
            try:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir()
                _receive(self.folder, given())
                (self.folder / WHOLE).touch()
            except BaseException:
                _remove(self.folder)
                raise
        return self.is_there()  # between the two locks somebody else may have had it

    def _is_current(self) -> bool:
        """Whether the lock is the one that others have, too."""
        return os.fstat(self._lock.fileno()).st_nlink > 0

    def close(self) -> None:
        """Uses them no longer; who is the last removes them."""
        with self._lock, suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(self.folder)


def sent(token: str, given: Callable[[], Iterable[Piece]]) -> Sent:
    """The data that `token` stands for, which are asked for (`given`) where they are not here.

    Raises:
        StorageError: the disk has no room for them.
        OSError: they cannot be written.
    """
    root = _root()
    _remove_unused(root, token)
    while True:
        lock = (root / f"{token}.lock").open("wb")
        try:
            found = Sent(root / token, lock)
            if found.is_there() or found.is_received(given):
                return found
        except BaseException:
            lock.close()
            raise
        lock.close()  # who had it before has removed it


def scratch() -> Sent:
    """A folder of this process, which goes at `close`; or when another is made, if the process was killed."""
    root = _root()
    _remove_unused(root, "")
    while True:
        folder = root / f"scratch-{secrets.token_hex(8)}"
        found = Sent(folder, folder.with_name(f"{folder.name}.lock").open("wb"))
        if found.is_used():
            folder.mkdir()
            return found
        found.close()


def _root() -> Path:
    """A folder of this user, which nobody else may write."""
    root = Path(tempfile.gettempdir()) / f"cnn_tuner-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root}: belongs to somebody else")
    return root


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _remove_unused(root: Path, token: str) -> None:
    """What processes left that were killed."""
    for path in root.glob("*.lock"):
        if path.stem != token:
            with suppress(OSError), path.open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path.with_suffix(""))


def _receive(folder: Path, given: Iterable[Piece]) -> None:
    pixels, row = np.zeros(0, np.uint8), 0
    for name, array in given:
        if name == SHAPE:
            shape = tuple(array.tolist())
            check_free(folder, int(np.prod(shape)))
            pixels = np.lib.format.open_memmap(folder / PIXELS, "w+", np.uint8, shape)
        elif name == PIXELS:
            pixels[row : row + len(array)] = array
            row += len(array)
        else:
            np.save(folder / name, array)
    if isinstance(pixels, np.memmap):
        pixels.flush()
