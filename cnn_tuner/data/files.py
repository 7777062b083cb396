"""Paths and failed reads, in words that fit on one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cnn_tuner.errors import DataError

_MOST_LETTERS = 160
Opener = Callable[[Path], BinaryIO]  # opens a file for reading, wherever it lies; raises DataError where it cannot


def expanded(text: str) -> Path:
    """The path that `text` means; `~` is the home folder where there is one."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def shown(path: str | os.PathLike[str]) -> str:
    """`path` for a message: a name with newlines or undecodable bytes is quoted, so that one sees where it ends."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def printable(text: str) -> str:
    """A whole line for a terminal: what would move its cursor, colour, or turn the writing round is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(shown(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def one_line(error: BaseException) -> str:
    """What `error` says, on one line of bearable length."""
    return shown(" ".join(str(error).split())[:_MOST_LETTERS]) or type(error).__name__


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about reading `path` into a DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{shown(path)}: no such file or folder") from error
    except PermissionError as error:
        raise DataError(f"{shown(path)}: no permission to read it; change its mode, or read it as its owner") from error
    except IsADirectoryError as error:
        raise DataError(f"{shown(path)}: is a folder, must be a file") from error
    except NotADirectoryError as error:
        raise DataError(f"{shown(path)}: is a file, must be a folder") from error
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read ({error.strerror or one_line(error)})") from error


def on_disk(path: Path) -> BinaryIO:
    """The file at `path`, opened for reading; the usual `Opener`.

    Raises:
        DataError: it cannot be read.
    """
    with reading(path):
        return path.open("rb")
