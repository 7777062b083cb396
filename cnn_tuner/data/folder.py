"""A folder of image files: DIR/<class>/*.png, or DIR/{train,val,test}/<class>/*.png; also jpg, bmp, gif, webp.

Sizes and kinds are read first; then memory is checked; then every image is decoded into one array. How one is decoded
is said in cnn_tuner.data.pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from cnn_tuner.data.dataset import PARTS, Part, Preprocessing, RawData
from cnn_tuner.data.files import expanded, listed, reading, shown
from cnn_tuner.data.layout import ImageFile, Layout, scan
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.pictures import BrokenImageError, Header, highest_value, read_header, read_image
from cnn_tuner.errors import DataError

MAX_SIDE = 128  # pixels, unless the user says more: a CPU trains no larger images in reasonable time
LEAST_OF_16_BITS = 2**14  # the highest value of images of which 64 grey levels are left at least
_T = TypeVar("_T")


def load(argument: str, options: DataOptions) -> RawData:
    """All images as (N, H, W, C) uint8, and class numbers in the order of the sorted folder names.

    The size is options.image_size; else the images' own, if it is one and at most 128 a side; else their median height
    and width, shrunk to at most 128 a side. Grey if every image is, unless options.channels says otherwise.

    Raises:
        DataError: the folder has no such layout, an image is broken, or they do not fit into memory.
    """
    root = expanded(argument)
    with reading(root):
        root.stat()
    if options.task in ("multilabel", "regression"):
        raise DataError(f"{shown(root)}: --task {options.task} needs numbers; class folders allow binary, multiclass")
    layout = scan(root, options)
    reader = _Reader(options.skip_broken)
    headers = {file: header for file in layout.files if (header := reader.read(file, read_header)) is not None}
    image_shape = _image_shape(list(headers.values()), options, root)
    largest = max(header.height * header.width for header in headers.values())
    copies = 1 if set(layout.parts) == set(PARTS) else 2  # a part that is split off is a copy
    check_memory(copies * len(headers) * math.prod(image_shape) + 4 * largest, options, shown(root))
    files, pixels = _decoded(list(headers), image_shape, reader)
    _check_depth([file for file in files if headers[file].is_deep], root)
    parts = _parts(files, pixels, layout, root)
    return RawData(
        name=root.resolve().name,
        place=shown(root),
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=layout.class_names,
        notes=(*layout.notes, *reader.notes(), *_notes(list(headers.values()), image_shape)),
        preprocessing=Preprocessing(image_shape),
    )


class _Reader:
    """Reads image files; remembers the broken ones if they may be skipped."""

    def __init__(self, skip_broken: bool) -> None:
        self.skip_broken = skip_broken
        self.broken: list[Path] = []

    def read(self, file: ImageFile, read: Callable[[Path], _T]) -> _T | None:
        """What `read` makes of the file; None if it is broken and may be."""
        try:
            return read(file.path)
        except BrokenImageError as error:
            if not self.skip_broken:
                raise DataError(f"{error}; repair or delete it, or skip such images with --skip-broken") from error
            self.broken.append(file.path)
            return None

    def notes(self) -> tuple[str, ...]:
        names = [f"{path.parent.name}/{path.name}" for path in self.broken]
        return (f"skipped broken images: {len(names)} ({listed(names, 3)})",) if names else ()


def _image_shape(headers: Sequence[Header], options: DataOptions, root: Path) -> tuple[int, int, int]:
    """(H, W, C) for images of these sizes and kinds."""
    if not headers:
        raise DataError(f"{shown(root)}: every image is broken; repair them")
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


def _decoded(
    files: Sequence[ImageFile], image_shape: tuple[int, int, int], reader: _Reader
) -> tuple[list[ImageFile], np.ndarray]:
    """The files that decode, and their pixels (N, H, W, C) in the same order."""
    pixels = np.empty((len(files), *image_shape), np.uint8)
    kept: list[ImageFile] = []
    for file in files:
        image = reader.read(file, lambda path: read_image(path, image_shape))
        if image is not None:
            pixels[len(kept)] = image
            kept.append(file)
    return kept, pixels[: len(kept)]


def _check_depth(files: Sequence[ImageFile], root: Path) -> None:
    """Refuses 16 bit images that use the lower bits only, as of cameras with 12: of 8 bits little is left."""
    highest = 0
    for file in files:
        highest = max(highest, highest_value(file.path))
        if highest >= LEAST_OF_16_BITS:
            return
    if files:
        raise DataError(
            f"{shown(root)}: 16 bit images whose highest value is {highest:,}, so that {(highest >> 8) + 1} of 256 "
            f"grey levels would be left; save them as 8 bits, or multiplied by {max(1, 65_535 // max(1, highest))}"
        )


def _parts(files: Sequence[ImageFile], pixels: np.ndarray, layout: Layout, root: Path) -> dict[str, Part]:
    """One Part for each of the layout's, as views of the pixels."""
    ids = np.array([file.class_id for file in files], np.int32)
    parts = {}
    start = 0
    for name in layout.parts:  # the order of the files
        stop = start + sum(file.part == name for file in files)
        if start == stop:
            raise DataError(f"{shown(root)}: every image of {name} is broken; repair them")
        parts[name] = Part(pixels[start:stop], ids[start:stop])
        start = stop
    return parts


def _notes(headers: Sequence[Header], image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """What was done to sizes and kinds."""
    height, width, channels = image_shape
    notes = []
    sizes = sorted({(header.height, header.width) for header in headers})
    if sizes != [(height, width)]:
        span = f"{sizes[0][0]}x{sizes[0][1]}"
        if len(sizes) > 1:
            span = f"{len(sizes)} sizes from {span} to {sizes[-1][0]}x{sizes[-1][1]}"
        notes.append(f"images of {span} were resized to {height}x{width} (height x width), the aspect not kept")
    recoloured = sum(header.is_grey != (channels == 1) for header in headers)
    if recoloured:
        colours = ("colour", "grey") if channels == 1 else ("grey", "colour")
        notes.append(f"{colours[0]} images read as {colours[1]}: {recoloured}")
    alpha = sum(header.has_alpha for header in headers)
    if alpha:
        notes.append(f"images whose transparency was dropped: {alpha}")
    return tuple(notes)
