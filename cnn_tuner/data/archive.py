"""A zip or tar archive of class folders, read where it lies: nothing is unpacked.

Inside, the same holds as for a folder (`layout`). A single folder around all of it is looked through, as archives of a
folder have one.
"""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cnn_tuner.data.files import expanded, one_line, reading, shown
from cnn_tuner.data.folder import check_task, of_layout
from cnn_tuner.data.layout import scan
from cnn_tuner.data.listing import NamedListing
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures, of_disk
from cnn_tuner.data.pictures import BrokenImageError
from cnn_tuner.errors import DataError, UsageError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_BYTES = 2**29  # of one image file: a few bytes of an archive may claim to be terabytes


def load(argument: str, options: DataOptions) -> Pictures:
    """The images, and class numbers in the order of the sorted folder names. The archive stays open for `close`.

    Raises:
        UsageError: an option means nothing to an archive.
        DataError: it cannot be read, or has no such layout.
    """
    path = expanded(argument)
    if options.follow_links:
        raise UsageError("--follow-links: is for image folders; links in an archive are passed over")
    check_task(options, shown(path))
    with ExitStack() as stack:
        archive = _opened(path, stack)
        root = _inner(path, archive)
        found = of_layout(scan(root, options, archive.listing(root)), _stem(path), shown(path))
        places = [archive.place(each) for each in found.files]
        order = sorted(range(len(places)), key=places.__getitem__)
        whole = of_disk(path)
        return replace(found, opener=archive.open, order=order, stamp=lambda _: whole, close=stack.pop_all().close)


def _stem(path: Path) -> str:
    suffix = next((each for each in reversed(SUFFIXES) if path.name.lower().endswith(each)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] or path.name


class _Archive(ABC):
    """The files of an archive, by the path that they would have if it were a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed_over: Counter[str] = Counter()

    def listing(self, root: Path) -> NamedListing:
        return NamedListing(root, self.names(), self.passed_over)

    @abstractmethod
    def names(self) -> list[Path]:
        """Of all files."""

    @abstractmethod
    def place(self, name: Path) -> int:
        """Where a file begins in the archive."""

    @abstractmethod
    def _read(self, name: Path) -> bytes:
        """The content of a file, whose size is checked before."""

    @abstractmethod
    def _size(self, name: Path) -> int: ...

    def open(self, name: Path) -> BinaryIO:
        """The content of a file. See `cnn_tuner.data.files.Opener`.

        Raises:
            BrokenImageError: it cannot be unpacked, or is too large.
        """
        if self._size(name) > MOST_BYTES:
            raise BrokenImageError(f"{shown(name)}: must have at most {MOST_BYTES:,} bytes, has {self._size(name):,}")
        try:
            return io.BytesIO(self._read(name))
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes make the decoders raise almost anything
            raise BrokenImageError(f"{shown(name)}: cannot be unpacked: {one_line(error)}") from error

    def _named(self, name: str) -> Path | None:
        """The path of what is called so in the archive; None of what does not lie below its root."""
        inside = PurePosixPath(name.replace("\\", "/"))
        if inside.is_absolute() or ".." in inside.parts or not inside.parts or "\0" in name:
            self.passed_over["files that lie outside the archive's own root"] += 1
            return None
        return self.path.joinpath(*inside.parts)


class _Zip(_Archive):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        self._members: dict[Path, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            if member.is_dir():
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                self.passed_over["links"] += 1
            elif (name := self._named(member.filename)) is not None:
                if member.flag_bits & 1:
                    raise DataError(f"{shown(path)}: is encrypted; unpack it, and name the folder")
                self._members[name] = member

    def names(self) -> list[Path]:
        return list(self._members)

    def place(self, name: Path) -> int:
        return self._members[name].header_offset

    def _size(self, name: Path) -> int:
        return self._members[name].file_size

    def _read(self, name: Path) -> bytes:
        return self._archive.read(self._members[name])  # never more than the size that was checked


class _Tar(_Archive):
    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        super().__init__(path)
        self._archive = archive
        self._members: dict[Path, tarfile.TarInfo] = {}
        for member in archive:
            if member.isfile():
                if (name := self._named(member.name)) is not None:
                    self._members[name] = member
            elif member.issym() or member.islnk():
                self.passed_over["links"] += 1

    def names(self) -> list[Path]:
        return list(self._members)

    def place(self, name: Path) -> int:
        return self._members[name].offset

    def _size(self, name: Path) -> int:
        return self._members[name].size

    def _read(self, name: Path) -> bytes:
        stream = self._archive.extractfile(self._members[name])
        content = b"" if stream is None else stream.read()
        if len(content) != self._size(name):
            raise EOFError("the archive ends before it does")
        return content


def _opened(path: Path, stack: ExitStack) -> _Archive:
    with reading(path):
        stored = stack.enter_context(path.open("rb"))
    try:
        if zipfile.is_zipfile(stored):
            return _Zip(path, stack.enter_context(zipfile.ZipFile(stored)))
        stored.seek(0)
        return _Tar(path, stack.enter_context(tarfile.open(fileobj=stored)))
    except (DataError, MemoryError):
        raise
    except Exception as error:  # as above
        raise DataError(f"{shown(path)}: is no readable zip or tar archive ({one_line(error)})") from error


def _inner(path: Path, archive: _Archive) -> Path:
    """The folder that has the classes or parts: the first one that has more than another folder."""
    root, listing = path, archive.listing(path)
    while not (found := listing.entries(root)).files and len(found.folders) == 1:
        [only] = found.folders.values()
        if not listing.entries(only).folders:
            break
        root = only
    return root
