"""Reads many image files in parallel, noting which are broken, and goes on where an earlier attempt was cut short.

How one image is decoded is said in cnn_tuner.data.pictures.
"""

from __future__ import annotations

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from cnn_tuner.data.cache import Tell, silent
from cnn_tuner.data.dataset import DIGEST_BYTES, digests_of
from cnn_tuner.data.files import Opener, listed
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures
from cnn_tuner.data.pictures import BrokenImageError, Header, highest_value, read_header, read_image, threads
from cnn_tuner.errors import DataError

LEAST_OF_16_BITS = 2**14  # the highest value of images of which 64 grey levels are left at least
CHUNK = 64  # images that are decoded before it is noted
_T = TypeVar("_T")


class Reader:
    """Reads image files; `is_whole` says of each whether it could be read, where broken ones may be skipped."""

    def __init__(self, pictures: Pictures, options: DataOptions) -> None:
        self.pictures, self.options = pictures, options
        self.is_whole = np.ones(len(pictures.files), bool)
        self.digests = np.zeros((0, DIGEST_BYTES), np.uint8)
        self._order: Sequence[int] = range(len(pictures.files)) if pictures.order is None else pictures.order

    def headers(self) -> list[Header | None]:
        """What each file says of itself; None of a broken one."""
        found: list[Header | None] = [None] * len(self.pictures.files)

        def read(chunk: Sequence[int], opener: Opener) -> None:
            for index in chunk:
                found[index] = self._read(index, lambda path: read_header(path, opener))

        for _ in self._in_parallel(read, self._chunks()):
            pass
        return found

    def decode(
        self,
        pixels: Any,
        digests: np.ndarray,
        rows: np.ndarray,
        done: Path | None = None,
        tell: Tell = silent,
    ) -> None:
        """Decodes into rows of (N, H, W, C), of an array or what takes rows as one does; broken ones are left out.

        digests: (N, 16), in the order of the files.
        `done` is a file in which what was decoded is noted, so that another attempt goes on there.
        """
        self.digests = digests
        chunks = self._chunks(None if self.pictures.order is not None else np.argsort(rows).tolist())
        before = set() if done is None else self._found(done, chunks, pixels, rows)
        image_shape = pixels.shape[1:]

        def read(chunk: Sequence[int], opener: Opener) -> None:
            for index in chunk:
                if self.is_whole[index]:
                    image = self._read(index, lambda path: read_image(path, image_shape, opener, self.options.fit))
                    if image is not None:
                        pixels[rows[index]] = image
                        digests[index] = digests_of(image[np.newaxis])[0]

        with contextlib.ExitStack() as stack:
            noted = None if done is None else stack.enter_context(done.open("a"))
            left = {number: chunk for number, chunk in enumerate(chunks) if number not in before}
            count = len(self._order) - sum(map(len, left.values()))
            # Whoever shows how far it is stops at the end, which one that fails has, too.
            stack.callback(lambda: tell(self.pictures.place, len(self._order), len(self._order)))
            for number, chunk in zip(left, self._in_parallel(read, list(left.values())), strict=True):
                count += len(chunk)
                tell(self.pictures.place, count, len(self._order))
                if noted is not None and self.is_whole[list(chunk)].all():  # broken ones are to be found again
                    noted.write(f"{number}\n")
                    noted.flush()

    def _found(self, done: Path, chunks: Sequence[Sequence[int]], pixels: np.ndarray, rows: np.ndarray) -> set[int]:
        """The chunks of an earlier attempt whose pixels are what their digests say: a power cut may have lost some."""
        noted = done.read_text().split() if done.exists() else []
        numbers = {int(number) for number in noted if number.isdecimal() and int(number) < len(chunks)}
        members = {number: list(chunks[number]) for number in numbers}
        return {n for n, own in members.items() if (digests_of(pixels[rows[own]]) == self.digests[own]).all()}

    def _chunks(self, order: Sequence[int] | None = None) -> list[Sequence[int]]:
        order = self._order if order is None else order
        return [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]

    def _in_parallel(
        self, read: Callable[[Sequence[int], Opener], None], chunks: Sequence[Sequence[int]]
    ) -> Iterator[Sequence[int]]:
        """The chunks in order, each when it was read. Pillow decodes without Python's lock."""
        count = threads()
        pool = ThreadPoolExecutor(count)
        under_way: deque[tuple[Sequence[int], Future[None]]] = deque()
        try:
            for chunk in chunks:
                opener = self._taken(chunk) if self.pictures.order is not None else self.pictures.opener
                under_way.append((chunk, pool.submit(read, chunk, opener)))
                if len(under_way) > count:
                    yield _ended(under_way)
            while under_way:
                yield _ended(under_way)
        finally:
            pool.shutdown(cancel_futures=True)

    def _taken(self, chunk: Sequence[int]) -> Opener:
        """Opens files of this chunk, which are taken into memory here: one thread reads them, one after the other."""
        contents: dict[Path, bytes | BrokenImageError] = {}
        for index in chunk:
            path = self.pictures.files[index]
            try:
                with self.pictures.opener(path) as stream:
                    contents[path] = stream.read()
            except BrokenImageError as error:
                contents[path] = error

        def opened(path: Path) -> BinaryIO:
            content = contents[path]
            if isinstance(content, BrokenImageError):
                raise content
            return io.BytesIO(content)

        return opened

    def check_depth(self, headers: Sequence[Header | None]) -> None:
        """Refuses 16 bit images that use the lower bits only, as of cameras with 12: of 8 bits little is left."""
        deep = [i for i in self._order if self.is_whole[i] and (header := headers[i]) is not None and header.is_deep]
        highest = 0
        for index in deep:
            highest = max(highest, highest_value(self.pictures.files[index], self.pictures.opener))
            if highest >= LEAST_OF_16_BITS:
                return
        if deep:
            raise DataError(
                f"{self.pictures.place}: 16 bit images whose highest value is {highest:,}, so that "
                f"{(highest >> 8) + 1} of 256 grey levels would be left; save them as 8 bits, or multiplied by "
                f"{max(1, 65_535 // max(1, highest))}"
            )

    def _read(self, index: int, read: Callable[[Path], _T]) -> _T | None:
        """What `read` makes of a file; None if it is broken and may be."""
        try:
            return read(self.pictures.files[index])
        except BrokenImageError as error:
            if not self.options.skip_broken:
                raise DataError(f"{error}; repair or delete it, or skip such images with --skip-broken") from error
            self.is_whole[index] = False
            return None

    def notes(self) -> tuple[str, ...]:
        broken = [self.pictures.files[index] for index in np.flatnonzero(~self.is_whole).tolist()]
        names = [f"{path.parent.name}/{path.name}" for path in broken]
        return (f"skipped broken images: {len(names)} ({listed(names, 3)})",) if names else ()


def _ended(under_way: deque[tuple[Sequence[int], Future[None]]]) -> Sequence[int]:
    """The first chunk that is under way, once it is done."""
    chunk, future = under_way.popleft()
    future.result()
    return chunk
