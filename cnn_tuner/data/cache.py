"""A folder of what took long to make, which any run finds again: images decoded once, as arrays that are mapped.

Each entry is a folder that is built aside and renamed when it is whole, so that one that is there can be used. One
process builds an entry; others that need it wait. A build that was killed goes on where it was, if it can. Where all of
them are larger than the limit, those go that were not used for longest and are not in use.
"""

from __future__ import annotations

import fcntl  # not on Windows
import json
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_tuner.data.files import expanded, one_line, shown
from cnn_tuner.errors import StorageError, UsageError, storage_error

PART = ".part"  # ends the name of what is being built
FACTS = "facts.json"  # what an entry is, written last
SPARE = 200 * 2**20  # bytes of the disk that are left free
KEY_LETTERS = 24  # of a hash: enough that no two are alike


Tell = Callable[[str, int, int], None]  # what is built, how much of it is done, of how much
USUAL_FOLDER, USUAL_LIMIT = "~/.cache/cnn_tuner/images", "50GB"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def silent(what: str, done: int, total: int) -> None: ...


def chosen(folder: str | None, limit: str | None, name: str = "--cache-limit", tell: Tell = silent) -> Cache | None:
    """The cache in a folder, or the usual one; None for a limit of 0. `name` is what an error calls the limit.

    Raises:
        UsageError: the limit is no size.
    """
    size = parse_bytes(name, limit or USUAL_LIMIT)
    return Cache(expanded(folder or USUAL_FOLDER).absolute(), size, tell) if size else None


def parse_bytes(name: str, text: str) -> int:
    """`20GB` in bytes.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{name}: must be a size such as 500MB or 20GB, or 0 for none, got {text!r}")
    return int(float(found[1]) * _UNITS[(found[2] or "").upper()])


@dataclass(frozen=True)
class Entry:
    """One that is there: its key, what it holds, its bytes, and when it was last used (seconds since 1970)."""

    key: str
    what: str
    bytes: int
    used: float


@dataclass(eq=False)
class Cache:
    """The entries in `folder`, of `limit` bytes at most together.

    tell: called with how much of a build is done, and of how much.
    """

    folder: Path
    limit: int
    tell: Tell = silent

    def find(self, key: str) -> Path | None:
        """The folder of an entry that is there, which is then in use; None where it is not."""
        path = self.folder / key[:KEY_LETTERS]
        try:
            self.facts(path)
            self._use(path)
        except (OSError, ValueError):  # it is not there, damaged, of somebody else, or was removed meanwhile
            return None
        with suppress(OSError):
            os.utime(path, (now := time.time(), now))
        return path

    def made(self, key: str, what: str, size: int, build: Callable[[Path], dict[str, Any]]) -> Path:
        """The folder of an entry, which is built where it is not there.

        Args:
            key: what it is made of, as letters and digits.
            what: the same for people.
            size: bytes that it will take.
            build: makes it in the folder that it is given, in which an earlier attempt may have left something;
                returns what is to be known of it.

        Raises:
            StorageError: the disk has no room for it, or cannot be written.
        """
        key = key[:KEY_LETTERS]
        path, aside = self.folder / key, self.folder / f".{key}{PART}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / f".{key}.lock"):
                found = self.find(key)  # another process may have made it meanwhile
                if found is not None:
                    return found
                self._make_room(size, key)
                aside.mkdir(exist_ok=True)
                facts = build(aside)
                (aside / FACTS).write_text(json.dumps({"what": what, **facts}), encoding="utf-8")
                self._use(aside)
                shutil.rmtree(path, ignore_errors=True)
                aside.rename(path)
        except OSError as error:
            told = storage_error(error, self.folder)
            why = str(told).replace("--runs", "--cache") if told else f"{shown(self.folder)}: cannot be written"
            raise StorageError(why if told else f"{why} ({one_line(error)})") from error
        return path

    def facts(self, path: Path) -> dict[str, Any]:
        """What is known of an entry."""
        found: dict[str, Any] = json.loads((path / FACTS).read_text(encoding="utf-8"))
        return found

    def entries(self) -> list[Entry]:
        """Those that are there, the last used first; what was left by builds that were cut short, too."""
        paths = [path for path in self.folder.iterdir() if path.is_dir()] if self.folder.is_dir() else []
        found = [entry for path in paths if (entry := self._entry(path)) is not None]
        return sorted(found, key=lambda each: -each.used)

    def _entry(self, path: Path) -> Entry | None:
        """What a folder is; None where it is gone, or was never an entry."""
        is_part = path.name.endswith(PART)
        try:
            what = "a build that is under way, or was cut short" if is_part else str(self.facts(path)["what"])
            size = sum(each.stat().st_size for each in path.iterdir())
            return Entry(path.name, what, size, path.stat().st_mtime)
        except (OSError, ValueError, KeyError):
            return None

    def remove(self, key: str) -> bool:
        """Deletes an entry; False where it is in use."""
        path = self.folder / key
        lock = self.folder / f"{key.removesuffix(PART)}.lock" if key.endswith(PART) else path / FACTS
        with _tried(lock) as own:
            if own:
                shutil.rmtree(path, ignore_errors=True)
        return own

    def _use(self, path: Path) -> None:
        """Has nobody remove it, as long as this object and its process live.

        Raises:
            OSError: it is not there, any more.
        """
        descriptor = os.open(path / FACTS, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.fstat(descriptor).st_nlink:  # who had it locked before has removed it
            raise FileNotFoundError(path)

    def _make_room(self, size: int, key: str) -> None:
        """Deletes what was not used for longest, until there is room."""
        if size > self.limit:
            told = f"{size / 10**9:.3g} GB of decoded images are over the limit of {self.limit / 10**9:.3g} GB"
            raise StorageError(f"{shown(self.folder)}: {told}; raise it with --cache-limit")
        entries = self.entries()
        own = sum(each.bytes for each in entries if each.key == f".{key}{PART}")
        taken = sum(each.bytes for each in entries) - own
        for entry in reversed(entries):
            if taken + size <= self.limit and self._free() + own >= size:
                return
            if entry.key != f".{key}{PART}" and self.remove(entry.key):
                taken -= entry.bytes
        if self._free() + own < size:
            need, free = (size - own) / 10**9, self._free() / 10**9
            told = f"decoded images need {need:.3g} GB of free disk space, {free:.3g} are free"
            raise StorageError(f"{shown(self.folder)}: {told}; free some, or name another folder with --cache")
        if taken + size > self.limit:
            told = f"{taken / 10**9:.3g} of its {self.limit / 10**9:.3g} GB are in use, {size / 10**9:.3g} are needed"
            raise StorageError(
                f"{shown(self.folder)}: {told}; raise --cache-limit, or name another folder with --cache"
            )

    def _free(self) -> int:
        folder = next(each for each in (self.folder, *self.folder.parents) if each.exists())
        return max(0, shutil.disk_usage(folder).free - SPARE)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """While inside, no other process is; it waits for one that is."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _tried(path: Path) -> Iterator[bool]:
    """Whether nobody else has it locked; nobody will while inside."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
