"""What lies in folders of images: which files are images, which folders are looked into, and what is passed over.

The same rules for the folders that are trained on and for those that `predict` is given.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_tuner.data.files import reading

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Images too, which Pillow does not read without more packages, or which would be read otherwise elsewhere.
_UNREAD = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".jp2": "JPEG 2000",
    ".svg": "SVG",
    ".psd": "Photoshop",
    ".dcm": "DICOM",
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "raw"),
}
# What systems and file managers leave behind, in lower case.
_SYSTEM = {
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
}
OWN = ".cnn-tuner"  # a file of this name marks a folder that is written by this tool
LEAVING, NOWHERE = "links that lead out of the folder", "links that lead nowhere"


class Entries(NamedTuple):
    """What counts in one folder, by name, in the order of names."""

    folders: dict[str, Path]
    files: dict[str, Path]


class Listing:
    """Folders below `root`, each of which is looked at once.

    `ignored` counts the files that were passed over, by what they are; links count as files. Hidden entries are passed
    over and not counted. A link may lead to anywhere in `root`, and elsewhere only where links are followed.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.follow_links = follow_links
        self.ignored: Counter[str] = Counter()
        self._inside = root.resolve()
        self._known: dict[Path, Entries] = {}

    def entries(self, folder: Path) -> Entries:
        """What lies in `folder`, without what is passed over.

        Raises:
            DataError: the folder cannot be read.
        """
        if folder not in self._known:
            self._known[folder] = self._read(folder)
        return self._known[folder]

    def _read(self, folder: Path) -> Entries:
        with reading(folder), os.scandir(folder) as scanned:
            visible = sorted((entry for entry in scanned if not entry.name.startswith(".")), key=lambda each: each.name)
        found = Entries({}, {})
        for entry in visible:
            path = Path(entry.path)
            why = self._why_not(path) if entry.is_symlink() else None
            if why is not None:
                self.ignored[why] += 1
                continue
            with reading(path):
                is_folder, is_file = entry.is_dir(), entry.is_file()
            if entry.name.lower() in _SYSTEM:
                self.ignored["files of the system"] += files_below(path) if is_folder else 1
            elif is_folder and is_own(path):
                self.ignored["files that cnn-tuner wrote"] += files_below(path)
            elif is_folder:
                found.folders[entry.name] = path
            elif is_file:
                found.files[entry.name] = path
            else:
                self.ignored["pipes, sockets and devices"] += 1
        return found

    def _why_not(self, link: Path) -> str | None:
        """Why a link is passed over."""
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError):  # a dangling link, or a loop
            return NOWHERE
        return None if self.follow_links or target.is_relative_to(self._inside) else LEAVING

    def images(self, folder: Path) -> Iterator[Path]:
        """The images in `folder` and in the folders below it, in the order of names."""
        yield from self._images(folder, (self._target(folder),))

    def _target(self, folder: Path) -> Path:
        """Where a folder is, whatever links lead to it."""
        return folder.resolve()

    def files_below(self, folder: Path) -> int:
        """How many files lie in a folder and below it, hidden ones not counted."""
        return files_below(folder)

    def _images(self, folder: Path, around: tuple[Path, ...]) -> Iterator[Path]:
        entries = self.entries(folder)
        for name, path in sorted((entries.files | entries.folders).items()):
            if name in entries.folders:
                target = self._target(path)
                if any(each.is_relative_to(target) for each in around):
                    self.ignored["links to a folder that they lie in"] += 1
                else:
                    yield from self._images(path, (*around, target))
            elif name.lower().endswith(SUFFIXES):
                yield path
            else:
                self.ignored[kind_of(path)] += 1

    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of what was passed over."""
        return tuple(
            f"ignored {what}: {count}" + (", read with --follow-links" if what == LEAVING else "")
            for what, count in sorted(self.ignored.items())
            if count
        )


class NamedListing(Listing):
    """Folders and files that are known by name, as those in an archive; `passed_over` counts what has none."""

    def __init__(self, root: Path, names: Sequence[Path], passed_over: Counter[str]) -> None:
        self.ignored = passed_over.copy()
        self._names = names
        self._known = {root: Entries({}, {})}
        for name in sorted(name for name in names if name.is_relative_to(root)):
            self._place(name, root)

    def _place(self, file: Path, root: Path) -> None:
        inside = file.relative_to(root).parts
        if any(part.startswith(".") for part in inside):
            return
        if any(part.lower() in _SYSTEM for part in inside):
            self.ignored["files of the system"] += 1
            return
        folder = root
        for name in inside[:-1]:
            below = folder / name
            self._known[folder].folders[name] = below
            folder = below
            self._known.setdefault(folder, Entries({}, {}))
        self._known[folder].files[file.name] = file

    def _target(self, folder: Path) -> Path:
        return folder

    def files_below(self, folder: Path) -> int:
        return sum(name.is_relative_to(folder) for name in self._names)


def kind_of(path: Path) -> str:
    """What a file is that is not read, by its suffix."""
    suffix = path.suffix.lower()
    if suffix in _UNREAD:
        return f"{_UNREAD[suffix]} images, a kind that is not read"
    return "files that are no images" if suffix else "files without a suffix"


def is_own(folder: Path) -> bool:
    """Whether this tool wrote a folder: a run, an export, or one of either. What has images beside them is not."""
    with reading(folder), os.scandir(folder) as entries:
        below = list(entries)
    is_for_them = (folder / OWN).exists() or any(
        each.is_dir(follow_symlinks=False) and _is_written(Path(each.path)) for each in below
    )
    has_images = any(each.name.lower().endswith(SUFFIXES) for each in below)
    return _is_written(folder) or (is_for_them and not has_images)


def _is_written(folder: Path) -> bool:
    is_run = (folder / "config.yaml").is_file() and (folder / "run.sqlite").is_file()
    return is_run or (folder / "saved_model.pb").is_file()


def files_below(folder: Path) -> int:
    """How many files lie in a folder and below it, hidden ones not counted; links are files and not followed."""
    if folder.is_symlink():
        return 1
    count = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += sum(not name.startswith(".") for name in files)
    return count
