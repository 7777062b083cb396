"""Images from files, folders or standard input, and what an export says of them, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cnn_tuner.data.files import expanded, shown
from cnn_tuner.data.images import to_uint8
from cnn_tuner.data.listing import SUFFIXES, Listing
from cnn_tuner.data.pictures import STRETCH, BrokenImageError, read_image, read_image_bytes
from cnn_tuner.errors import DataError, UsageError
from cnn_tuner.export.served import Served

BATCH = 256  # images in memory at once
MAX_BYTES = 256 * 2**20  # of an image on standard input
STDIN = "-"


@dataclass(frozen=True)
class Source:
    """One image: what answers call it, and its content where it is no file."""

    name: str
    content: bytes | None = None

    def read(self, image_shape: tuple[int, int, int], fit: str = STRETCH) -> np.ndarray:
        """(H, W, C) uint8, as training saw images."""
        if self.content is None:
            return read_image(self.name, image_shape, fit=fit)
        return read_image_bytes(self.content, image_shape, self.name, fit=fit)


def sources(
    words: Iterable[str],
    stdin: BinaryIO | None,
    follow_links: bool = False,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[Source]:
    """The images that `words` name: files, folders with all that is below them, `-` for one on standard input.

    Without `stdin`, which something else reads, `-` is a file like any other. `tell` is told what of a folder was
    passed over, and links out of one are followed where that is asked for.

    Raises:
        DataError: a folder has no images or cannot be read, or there is too much on standard input.
    """
    for word in words:
        path = expanded(word)
        if word == STDIN and stdin is not None:
            yield Source(STDIN, _content(stdin))
        elif path.is_dir():
            yield from _of_folder(path, follow_links, tell)
        else:
            yield Source(word)


def lines(stream: BinaryIO) -> Iterator[str]:
    """The paths that a list holds, one a line."""
    for line in stream:
        if text := os.fsdecode(line).rstrip("\r\n"):
            yield text


def _content(stdin: BinaryIO) -> bytes:
    content = stdin.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{STDIN}: standard input must hold one image of at most {MAX_BYTES // 2**20} MiB")
    if not content:
        raise DataError(f"{STDIN}: standard input is empty; it must hold the bytes of one image")
    return content


def _of_folder(folder: Path, follow_links: bool, tell: Callable[[str], None]) -> Iterator[Source]:
    found, listing = False, Listing(folder, follow_links)
    for path in listing.images(folder):
        found = True
        yield Source(str(path))
    for note in listing.notes():
        tell(f"{shown(folder)}: {note}")
    if not found:
        raise DataError(f"{shown(folder)}: holds no images ({', '.join(SUFFIXES)})")


def pixels(images: Any, image_shape: tuple[int, int, int], fit: str = STRETCH) -> np.ndarray:
    """Images of Python as an export takes them: (N, H, W, C) uint8.

    Args:
        images: the path of an image file, or a sequence of such; or an array (N, H, W, C) or (N, H, W), or of one image
            (H, W, C) or (H, W), with pixels as `cnn_tuner.data.images` has them.
        image_shape: (H, W, C) of the export. fit: what becomes of image files of another aspect.

    Raises:
        UsageError: no images.
        DataError: a file cannot be read, or an array is of another shape.
    """
    if isinstance(images, (str, os.PathLike)):
        images = [images]
    if isinstance(images, Sequence) and images and isinstance(images[0], (str, os.PathLike)):
        return np.stack([read_image(Path(path), image_shape, fit=fit) for path in images])
    array = np.asarray(images)
    if not array.size:
        raise UsageError("no images: a prediction takes one at least")
    height, width, channels = image_shape
    if array.shape == image_shape or (channels == 1 and array.shape == (height, width)):
        array = array[np.newaxis]
    found, _ = to_uint8({"images": array}, "predict")
    if found["images"].shape[1:] != image_shape:
        got, wanted = ("x".join(map(str, shape)) for shape in (found["images"].shape[1:], image_shape))
        raise DataError(f"predict: images are of {got}, the export takes {wanted}")
    return found["images"]


def predict(
    served: Served,
    images: Iterable[Source],
    skip: Callable[[BrokenImageError], None] | None = None,
    thresholds: Sequence[float] = (),
) -> Iterator[dict[str, Any]]:
    """What an export says of each image, a record each, in their order; `BATCH` images are in memory at once.

    Args:
        served: the export.
        images: what to look at.
        skip: is told of each image that cannot be read, which is then left out; without it, the first one ends it.
        thresholds: see `Served.predict`.

    Raises:
        DataError: a file is missing or not an image, or every image was left out.
    """
    names: list[str] = []
    pixels: list[np.ndarray] = []
    count = 0
    for image in images:
        try:
            pixels.append(image.read(served.image_shape, served.fit))
        except BrokenImageError as error:
            if skip is None:
                raise DataError(f"{error}; skip such images with --skip-broken") from error
            skip(error)
            continue
        names.append(shown(image.name))
        count += 1
        if len(names) == BATCH:
            yield from _answers(served, names, pixels, thresholds)
            names, pixels = [], []
    if names:
        yield from _answers(served, names, pixels, thresholds)
    if not count:
        raise DataError("no image can be read: nothing to predict")


def _answers(
    served: Served, names: list[str], pixels: list[np.ndarray], thresholds: Sequence[float]
) -> Iterator[dict[str, Any]]:
    for name, answer in zip(names, served.predict(np.stack(pixels), thresholds), strict=True):
        yield {"image": name, **answer}
