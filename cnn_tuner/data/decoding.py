"""Image files with their labels, wherever they lie, to arrays: sizes first, then memory is checked, then pixels.

How one image is decoded is said in cnn_tuner.data.pictures.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data.cache import Cache, silent
from cnn_tuner.data.dataset import DIGEST_BYTES, Part, Preprocessing, RawData, Selection, pieces
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures, grouped, of_disk
from cnn_tuner.data.pictures import Header, threads
from cnn_tuner.data.reader import Reader
from cnn_tuner.data.undecoded import Undecoded
from cnn_tuner.errors import DataError, StorageError

MAX_SIDE = 128  # pixels, unless the user says more: a CPU trains no larger images in reasonable time
VERSION = 1  # of how an image becomes pixels: another one makes the cache anew
PIXELS, ROWS, DIGESTS, WHOLE, DONE = "x.npy", "rows.npy", "digests.npy", "whole.npy", "done.txt"
ASPECTS = {
    "stretch": "the aspect not kept",
    "pad": "with black borders that keep the aspect",
    "crop": "cropped in the middle to keep the aspect",
}
MIXED = 2**32  # bytes of pixels: as many are trained on block by block


def decoded(pictures: Pictures, options: DataOptions, cache: Cache | None = None) -> RawData:
    """All images as (N, H, W, C) uint8, with their labels.

    The size is options.image_size; else the images' own, if it is one and at most 128 a side; else their median height
    and width, shrunk to at most 128 a side. Grey if every image is, unless options.channels says otherwise. With a
    cache they are decoded once, and mapped from there.

    Where they fit neither into the cache nor into memory, files on a disk are decoded whenever they are needed.

    Raises:
        DataError: an image is broken, or they fit nowhere and lie in an archive.
    """
    if options.group_by is not None:
        pictures = replace(pictures, groups=grouped(pictures, options.group_by))
    key = None if cache is None else _key(pictures, options)
    if cache is None or key is None:
        return _in_memory(pictures, options)
    path = cache.find(key)
    if path is None:
        try:
            path = _kept(pictures, options, cache, key)
        except StorageError as error:
            return _in_memory(pictures, options, str(error), cache)
    return _of_entry(pictures, cache, path)


def _in_memory(pictures: Pictures, options: DataOptions, why: str = "", cache: Cache | None = None) -> RawData:
    """Decoded for this process alone; `why` not into the cache."""
    reader = Reader(pictures, options)
    headers, image_shape, size = _measured(reader, options)
    largest = max(header.height * header.width for header in headers if header is not None)
    try:
        check_memory(size + 4 * largest * threads(), options, pictures.place)
    except DataError as error:
        if pictures.stamp is of_disk:
            told = f"{why}; {error}" if why else str(error)
            return _when_needed(reader, headers, image_shape, told.partition("; use fewer")[0], cache)
        raise DataError(f"{error}; or keep them on disk: {why}" if why else str(error)) from error
    pixels = np.zeros((len(pictures.files), *image_shape), np.uint8)
    rows = np.arange(len(pixels))
    reader.decode(pixels, np.empty((len(pixels), DIGEST_BYTES), np.uint8), rows)
    facts = _facts(reader, headers, image_shape, _is_black(pixels))
    pixels.flags.writeable = False
    notes = [f"decoded images are not kept: {why}"] if why else []
    return _raw(
        pictures, Selection(pixels, rows), reader.is_whole, reader.digests, facts | {"notes": [*facts["notes"], *notes]}
    )


def _when_needed(
    reader: Reader, headers: Sequence[Header | None], image_shape: tuple[int, int, int], why: str, cache: Cache | None
) -> RawData:
    """Read once, for what is to be known of them; their pixels are decoded again each time that they are needed."""
    pictures, count = reader.pictures, len(reader.pictures.files)
    passing = _Passing((count, *image_shape))
    tell = silent if cache is None else cache.tell
    reader.decode(passing, np.zeros((count, DIGEST_BYTES), np.uint8), np.arange(count), tell=tell)
    facts = _facts(reader, headers, image_shape, passing.brightest <= 1)
    notes = [*facts["notes"], f"images are decoded each time that they are needed, which is slower: {why}"]
    rows = _mixed(count) if passing.nbytes >= MIXED else np.arange(count)  # as from the cache: the same is trained
    files = [pictures.files[index] for index in np.argsort(rows).tolist()]
    pixels = Selection(Undecoded(files, image_shape, reader.options.fit), rows)
    return _raw(pictures, pixels, reader.is_whole, reader.digests, facts | {"notes": notes})


class _Passing:
    """Takes pixels as an array would, and keeps none."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape, self.nbytes, self.brightest = shape, math.prod(shape), 0

    def __setitem__(self, row: int, image: np.ndarray) -> None:
        self.brightest = max(self.brightest, int(image.max()))


def _kept(pictures: Pictures, options: DataOptions, cache: Cache, key: str) -> Path:
    """Decoded into the cache, where another attempt goes on with what one that was cut short has."""
    reader = Reader(pictures, options)
    headers, image_shape, size = _measured(reader, options)
    count = len(pictures.files)

    def build(folder: Path) -> dict[str, Any]:
        pixels = _mapped(folder / PIXELS, (count, *image_shape))
        digests = _mapped(folder / DIGESTS, (count, DIGEST_BYTES))
        if size >= MIXED and not (folder / ROWS).exists():
            np.save(folder / f"new {ROWS}", _mixed(count))
            (folder / f"new {ROWS}").rename(folder / ROWS)
        reader.decode(pixels, digests, _rows(folder, count), folder / DONE, cache.tell)
        for array in (pixels, digests):
            array.flush()
        np.save(folder / WHOLE, reader.is_whole)
        return _facts(reader, headers, image_shape, _is_black(pixels))

    return cache.made(key, pictures.place, size, build)


def _key(pictures: Pictures, options: DataOptions) -> str | None:
    """What pixels are made of: the files by name, size and time, and how they are read; None where it is not known."""
    if pictures.stamp is None:
        return None
    names = list(map(os.fspath, pictures.files))
    # Where the names inside the folder of all of them begin: of letters alike, what ends with the last separator.
    inside = os.path.commonprefix(names).rfind(os.sep) + 1  # noqa: RUF071
    how = [VERSION, options.image_size, options.channels, options.fit, options.skip_broken]
    digest = hashlib.sha256(json.dumps(how).encode())
    try:
        for path, name in zip(pictures.files, names, strict=True):
            digest.update(f"{name[inside:]}\0{pictures.stamp(path)}\0".encode(errors="surrogateescape"))
    except OSError:  # one that is not there, which is told when it is to be read
        return None
    return digest.hexdigest()


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file, as an earlier attempt left it if that was of this shape."""
    if path.exists():
        with suppress(ValueError, OSError):  # it was cut short before it had a head
            found = np.lib.format.open_memmap(path, "r+")
            if found.shape == shape:
                return found
        path.with_name(DONE).unlink(missing_ok=True)
    found = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):  # a disk that is full later would end the process without a word
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return found


def _of_entry(pictures: Pictures, cache: Cache, path: Path) -> RawData:
    is_whole, digests = (np.load(path / name, allow_pickle=False) for name in (WHOLE, DIGESTS))
    pixels = np.load(path / PIXELS, mmap_mode="r", allow_pickle=False)
    kept = Selection(pixels, _rows(path, len(pixels)), path / PIXELS)
    return _raw(pictures, kept, is_whole, digests, cache.facts(path))


def _mixed(count: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(count)


def _rows(folder: Path, count: int) -> np.ndarray:
    """Where the pixels of each file are: in its place, or mixed in a large set, so that neighbours are not alike."""
    path = folder / ROWS
    return np.load(path, allow_pickle=False) if path.exists() else np.arange(count)


def _raw(
    pictures: Pictures, pixels: Selection, is_whole: np.ndarray, digests: np.ndarray, facts: dict[str, Any]
) -> RawData:
    """What a source hands over, of pixels (N, H, W, C) in the order of the files, the broken ones among them."""
    files = np.empty(len(pictures.files), object)
    files[:] = pictures.files
    whole = Part(pixels, pictures.y, pictures.groups, digests, files)
    parts, start = {}, 0
    for name, size in pictures.sizes.items():  # the order of the files
        places = start + np.flatnonzero(is_whole[start : start + size])
        if not len(places):
            raise DataError(f"{pictures.place}: every image of {name} is broken; repair them")
        parts[name], start = whole.at(places), start + size
    return RawData(
        name=pictures.name,
        place=pictures.place,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=pictures.class_names,
        notes=(*pictures.notes, *facts["notes"]),
        preprocessing=Preprocessing(tuple(facts["image_shape"]), facts["fit"]),
        is_published=pictures.is_published,
    )


def _measured(reader: Reader, options: DataOptions) -> tuple[Sequence[Header | None], tuple[int, int, int], int]:
    """What each file says of itself, (H, W, C) for all, and the bytes of all pixels."""
    headers = reader.headers()
    image_shape = _image_shape([each for each in headers if each is not None], options, reader.pictures.place)
    return headers, image_shape, len(headers) * math.prod(image_shape)


def _facts(
    reader: Reader, headers: Sequence[Header | None], shape: tuple[int, int, int], is_black: bool
) -> dict[str, Any]:
    """What is to be known of the pixels, once they are decoded.

    Raises:
        DataError: what is left of 16 bits is too little.
    """
    reader.check_depth(headers)
    fit = reader.options.fit
    is_asked = reader.options.image_size is not None
    notes = [*reader.notes(), *_notes([header for header in headers if header is not None], shape, fit, is_asked)]
    if is_black:
        notes.append("no pixel is above 1 of 255: the images are black, or were saved with 1 for white")
    return {"image_shape": list(shape), "fit": fit, "notes": notes}


def _is_black(pixels: np.ndarray) -> bool:
    return not any(bool((piece > 1).any()) for piece in pieces(pixels))


def _image_shape(headers: Sequence[Header], options: DataOptions, place: str) -> tuple[int, int, int]:
    """(H, W, C) for images of these sizes and kinds."""
    if not headers:
        raise DataError(f"{place}: every image is broken; repair them")
    height, width = options.image_size if options.image_size is not None else _common_size(headers)
    channels = options.channels
    if channels is None:
        channels = 1 if all(header.is_grey for header in headers) else 3
    return height, width, channels


def _common_size(headers: Sequence[Header]) -> tuple[int, int]:
    """Median height and width (which is the size itself if there is one), shrunk to at most 128 a side."""
    height = float(np.median([header.height for header in headers]))
    width = float(np.median([header.width for header in headers]))
    factor = min(1.0, MAX_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _why_common_size(headers: Sequence[Header]) -> str:
    """Why `_common_size` is what it is."""
    median = [float(np.median([getattr(header, side) for header in headers])) for side in ("height", "width")]
    what = "" if len({(header.height, header.width) for header in headers}) == 1 else "their median "
    if max(median) > MAX_SIDE:
        return f"{what}shrunk to {MAX_SIDE} a side, as larger ones train slowly (--image-size)"
    return f"{what.strip()} (--image-size)"


def _notes(headers: Sequence[Header], image_shape: tuple[int, int, int], fit: str, is_asked: bool) -> tuple[str, ...]:
    """What was done to sizes and kinds; `is_asked`: the size was."""
    height, width, channels = image_shape
    notes = []
    sizes = sorted({(header.height, header.width) for header in headers})
    if sizes != [(height, width)]:
        span = f"{sizes[0][0]}x{sizes[0][1]}"
        if len(sizes) > 1:
            span = f"{len(sizes)} sizes from {span} to {sizes[-1][0]}x{sizes[-1][1]}"
        why = "" if is_asked else f", {_why_common_size(headers)}"
        notes.append(f"images of {span} were resized to {height}x{width} (height x width){why}, {ASPECTS[fit]}")
    recoloured = sum(header.is_grey != (channels == 1) for header in headers)
    if recoloured:
        colours = ("colour", "grey") if channels == 1 else ("grey", "colour")
        notes.append(f"{colours[0]} images read as {colours[1]}: {recoloured}")
    alpha = sum(header.has_alpha for header in headers)
    if alpha:
        notes.append(f"images whose transparency was dropped: {alpha}")
    return tuple(notes)
