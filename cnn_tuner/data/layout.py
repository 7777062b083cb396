"""Which files of a folder are images of which class and part: DIR/<class>/* or DIR/{train,val,test}/<class>/*."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cnn_tuner.data.dataset import PARTS
from cnn_tuner.data.files import listed, reading, shown
from cnn_tuner.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_PART_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
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


def scan(root: Path) -> Layout:
    """Find the images below `root`. Hidden files are passed over; other files and links that leave `root` are counted.

    Raises:
        DataError: there are no class folders, only one, an empty one, or one that train lacks.
    """
    ignored: Counter[str] = Counter()
    inside = root.resolve()
    part_folders = _part_folders(root, inside, ignored)
    classes = {part: _folders(folder, inside, ignored) for part, folder in part_folders.items()}
    names = sorted(classes["train"])
    if len(names) < 2:
        found = f"only one class folder, {shown(names[0])}" if names else "no class folders"
        raise DataError(f"{shown(part_folders['train'])}: has {found}; {_WANTED} with at least two classes")
    files: list[ImageFile] = []
    for part, folders in classes.items():
        unknown = sorted(set(folders) - set(names))
        if unknown:
            raise DataError(
                f"{shown(folders[unknown[0]])}: labels out of range: train has no such class; it has {listed(names)}"
            )
        for class_id, name in enumerate(names):
            if name in folders:
                files += [ImageFile(part, class_id, path) for path in _images(folders[name], inside, ignored)]
    notes = tuple(f"ignored {what}: {count}" for what, count in sorted(ignored.items()))
    return Layout(tuple(shown(name) for name in names), tuple(files), tuple(classes), notes)


def _part_folders(root: Path, inside: Path, ignored: Counter[str]) -> dict[str, Path]:
    """The folder of each part, train first; only train, which is `root`, if the folders in it are classes."""
    folders = _folders(root, inside, Counter())
    if not folders or not (set(folders) <= set(_PART_OF) or _has_folders(folders.get("train"), inside)):
        return {"train": root}
    _folders(root, inside, ignored)  # again, to count what lies beside the parts
    found: dict[str, Path] = {}
    for name, folder in sorted(folders.items()):
        part = _PART_OF.get(name)
        if part is None or part in found:
            raise DataError(f"{shown(folder)}: lies beside train, so it must be val or test, and each of them once")
        found[part] = folder
    if "train" not in found:
        raise DataError(f"{shown(root)}: has {listed(sorted(folders))} but no train; {_WANTED}")
    return {part: found[part] for part in PARTS if part in found}


def _has_folders(folder: Path | None, inside: Path) -> bool:
    """Whether `folder` is a part: a class called train holds images, no folders."""
    return folder is not None and bool(_folders(folder, inside, Counter()))


def _folders(folder: Path, inside: Path, ignored: Counter[str]) -> dict[str, Path]:
    """The folders directly in `folder` by name."""
    found = {}
    for entry in _entries(folder, inside, ignored):
        if entry.is_dir():
            found[entry.name] = Path(entry.path)
        else:
            ignored["files beside the class folders"] += 1
    return found


def _images(folder: Path, inside: Path, ignored: Counter[str]) -> list[Path]:
    """The images directly in `folder`, sorted by name."""
    found = []
    for entry in _entries(folder, inside, ignored):
        if entry.is_dir():
            ignored["folders inside class folders"] += 1
        elif not entry.name.lower().endswith(SUFFIXES) or not entry.is_file():
            ignored["files that are no images"] += 1
        else:
            found.append(Path(entry.path))
    if not found:
        raise DataError(f"{shown(folder)}: class without an image; add some ({', '.join(SUFFIXES)}) or delete it")
    return found


def _entries(folder: Path, inside: Path, ignored: Counter[str]) -> list[os.DirEntry[str]]:
    """What lies in `folder`, sorted by name, without hidden entries and links that lead out of `inside` or nowhere."""
    with reading(folder), os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    kept = []
    for entry in visible:
        if not entry.is_symlink() or _stays(Path(entry.path), inside):
            kept.append(entry)
        else:
            ignored["links that lead out of the folder, or nowhere"] += 1
    return kept


def _stays(link: Path, inside: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):  # a dangling link, or a loop
        return False
