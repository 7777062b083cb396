"""Which files of a folder are images of which class and part: DIR/<class>/, or DIR/{train,val,test}/<class>/."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnn_tuner.data.dataset import PARTS
from cnn_tuner.data.files import listed, shown
from cnn_tuner.data.listing import LEAVING, SUFFIXES, Listing
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError

PART_OF = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}  # in lower case
_WANTED = "needs DIR/<class>/*.png or DIR/{train,val,test}/<class>/*.png"


class ImageFile(NamedTuple):
    """An image file, not yet opened. A tuple, as there may be a million."""

    part: str
    class_id: int
    path: Path


@dataclass(frozen=True)
class Layout:
    """The class names in sorted order, and the files, ordered by part, class and name."""

    class_names: tuple[str, ...]
    files: tuple[ImageFile, ...]
    parts: tuple[str, ...]
    notes: tuple[str, ...]


def scan(root: Path, options: DataOptions | None = None, listing: Listing | None = None) -> Layout:
    """Find the images below `root`, those in folders inside class folders too; `listing` where it lies elsewhere.

    Raises:
        DataError: there are no class folders, only one, an empty one, one that train lacks, or a folder whose name says
            part where there is none.
        UsageError: a folder that is to be left out is not there.
    """
    options = DataOptions() if options is None else options
    return _Scan(root, options, Listing(root, options.follow_links) if listing is None else listing).layout()


class _Scan:
    def __init__(self, root: Path, options: DataOptions, listing: Listing) -> None:
        self._root, self._left_out, self._known = root, options.leave_out, options.known_classes
        self._listing = listing
        self._deeper = 0

    def layout(self) -> Layout:
        part_folders = self._part_folders()
        classes = {part: self._folders(folder) for part, folder in part_folders.items()}
        names = sorted(classes["train"]) if self._known is None else list(self._known)
        if len(names) < 2 or not classes["train"]:
            raise DataError(self._too_few(part_folders["train"], classes["train"]))
        files: list[ImageFile] = []
        for part, folders in classes.items():
            unknown = sorted(set(folders) - set(names))
            if unknown:
                who = "train has" if self._known is None else "the model knows"
                told = f"{who} no such class; it {'has' if self._known is None else 'knows'} {listed(names)}"
                meant = _did_you_mean(unknown[0], names)
                raise DataError(f"{shown(folders[unknown[0]])}: labels out of range: {told}{meant}")
            for class_id, name in enumerate(names):
                if name in folders:
                    files += [ImageFile(part, class_id, path) for path in self._images(folders[name])]
        ignored = self._listing.ignored
        for folder in {self._root, *part_folders.values()}:
            ignored["files beside the class folders"] += len(self._listing.entries(folder).files)
        for name in self._left_out:
            ignored["files in folders that are left out"] += self._listing.files_below(self._root / name)
        notes = list(self._listing.notes())
        if self._deeper:
            notes.append(f"images in folders inside class folders, read as the class's own: {self._deeper}")
        return Layout(
            tuple(names) if self._known else tuple(map(shown, names)), tuple(files), tuple(classes), tuple(notes)
        )

    def _folders(self, folder: Path) -> dict[str, Path]:
        found = self._listing.entries(folder).folders
        return {name: path for name, path in found.items() if folder != self._root or name not in self._left_out}

    def _images(self, folder: Path) -> list[Path]:
        before = self._listing.ignored.copy()
        found = list(self._listing.images(folder))
        self._deeper += sum(path.parent != folder for path in found)
        if not found:
            passed_over = self._listing.ignored - before
            raise DataError(f"{shown(folder)}: class without an image{_but_with(passed_over)}")
        return found

    def _part_folders(self) -> dict[str, Path]:
        """The folder of each part, train first; only train, which is the root, if the folders in it are classes."""
        there = self._listing.entries(self._root).folders
        for name in self._left_out:
            if name not in there:
                raise UsageError(f"--leave-out {shown(name)}: {shown(self._root)} has no such folder")
        folders = self._folders(self._root)
        parts = {name: PART_OF[name.lower()] for name in folders if name.lower() in PART_OF}
        if not parts:
            return {"train": self._root}
        has_train = any(part == "train" and self._has_folders(folders[name]) for name, part in parts.items())
        others = sorted(set(folders) - set(parts))
        if others and not has_train:
            self._check_classes(folders, parts, others)
            return {"train": self._root}
        if others:
            beside = "lies beside train, so it must be val or test, and each of them once"
            raise DataError(f"{shown(folders[others[0]])}: {beside}{_hint(others[0])}")
        return self._parts_of(folders, parts)

    def _check_classes(self, folders: dict[str, Path], parts: dict[str, str], others: Sequence[str]) -> None:
        """Refuses what is called like a part beside classes; only train may be a class, as that of a railway."""
        for name, part in sorted(parts.items()):
            if part != "train" or name.lower() != "train" or len(parts) > 1:
                raise DataError(
                    f"{shown(folders[name])}: is called like a part and lies beside classes, {listed(others, 3)}; put "
                    f"those into a folder train, or rename it, or leave it out with --leave-out {shown(name)}"
                )

    def _parts_of(self, folders: dict[str, Path], parts: dict[str, str]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name, part in sorted(parts.items()):
            if part in found:
                first = shown(found[part].name)
                raise DataError(f"{shown(folders[name])}: is {part} as {first} is, and each part may be there once")
            found[part] = folders[name]
        if "train" not in found:
            raise DataError(f"{shown(self._root)}: has {listed(sorted(folders))} but no train; {_WANTED}")
        for part, folder in found.items():
            if part != "train" and not self._has_folders(folder):
                raise DataError(
                    f"{shown(folder)}: has no class folders, as train has; sort its images into them, or leave it out "
                    f"with --leave-out {shown(folder.name)}"
                )
        return {part: found[part] for part in PARTS if part in found}

    def _has_folders(self, folder: Path) -> bool:
        """Whether `folder` is a part: a class called train holds images, no folders."""
        return bool(self._listing.entries(folder).folders)

    def _too_few(self, folder: Path, classes: dict[str, Path]) -> str:
        """Why a folder is not one of classes."""
        if not classes:
            links = self._listing.ignored[LEAVING]
            hint = f"; {links} links lead out of it: --follow-links reads them" if links else ""
            return f"{shown(folder)}: has no class folders; {_WANTED} with at least two classes{hint}"
        [(name, only)] = classes.items()
        inside = len(self._listing.entries(only).folders)
        hint = f"; did you mean {shown(only)}, which has {inside} folders?" if inside > 1 else ""
        return f"{shown(folder)}: has only one class folder, {shown(name)}; {_WANTED} with at least two classes{hint}"


def _but_with(passed_over: dict[str, int]) -> str:
    """What lies in a class without an image, and what to do."""
    if LEAVING in passed_over:
        return f" but with {LEAVING}: {passed_over[LEAVING]}; read them with --follow-links"
    unread = [what for what in passed_over if what.endswith("not read")]
    if unread:
        counts = ", ".join(f"{what.partition(',')[0]}: {passed_over[what]}" for what in sorted(unread))
        return f" of a kind that is read but with {counts}; save them as PNG or JPEG"
    return f"; add some ({', '.join(SUFFIXES)}) or delete it"


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), PART_OF, n=1, cutoff=0.75)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant}; else leave it out with --leave-out {shown(name)}"


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    in_lower_case = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), in_lower_case, n=1)
    return f"; did you mean {shown(in_lower_case[close[0]])}?" if close else ""
