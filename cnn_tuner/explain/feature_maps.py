"""Pictures of activations, by NumPy: one scale of colours for all, blue below 0, white at 0, orange above it.

A map before ReLU has all of it, a map after ReLU the sequential half from white to orange. Everyone tells blue and
orange apart, whatever colours they do not see (Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import numpy as np

MOST_MAPS = 64  # of one layer that are drawn
MOST_SIDE = 64  # pixels of one map in a picture of many; of a larger one every second or third is drawn
LEAST_WIDTH = 640  # pixels of a picture, so that a small map can be seen
MOST_VALUES = 64 * 96  # of a vector that are drawn
MOST_SQUARE = 40  # pixels of one value of a vector
LEAST_ROW = 400  # pixels of a vector of a few values
GAP = 3  # pixels between two maps
# From the largest negative value by 0 to the largest positive one; the outermost are dark enough for dark ground too.
SCALE = ((0, 62, 113), (0, 114, 178), (120, 182, 222), (255, 255, 255), (247, 184, 98), (213, 94, 0), (125, 45, 0))
SHADES = 40  # of orange and of blue: no eye misses more, and files are half as large
GROUND = (128, 134, 142)  # between maps: neither white, which is 0, nor black
FRAME = (0, 140, 90)  # of what the text speaks of
SECOND_FRAME = (204, 70, 150)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
Colour = tuple[int, int, int]


def colours(values: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Values (...) as colours (..., 3) uint8; `largest` in size has the darkest, None for that of these values."""
    top = float(np.abs(values).max(initial=0)) if largest is None else largest
    shares = np.rint(SHADES * np.clip(values / top, -1, 1)) / SHADES if top > 0 else np.zeros(np.shape(values))
    steps = np.linspace(-1, 1, len(SCALE))
    channels = [np.interp(shares, steps, [colour[c] for colour in SCALE]) for c in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def image_colours(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) uint8 as (H, W, 3): grey where C is 1 or 2; transparency is left out."""
    kept = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    return np.ascontiguousarray(np.broadcast_to(kept, (*image.shape[:2], 3)))


def magnified(picture: np.ndarray, times: int) -> np.ndarray:
    """Each pixel of (H, W, ...) as a square of `times` x `times`."""
    return np.repeat(np.repeat(picture, times, axis=0), times, axis=1)


def times_for(width: int, least_width: int = LEAST_WIDTH) -> int:
    """The smallest whole number that magnifies `width` to at least `least_width`."""
    return max(1, -(-least_width // width))


def activity(maps: np.ndarray) -> np.ndarray:
    """How active each of maps (H, W, C) is, (C,): how far its values differ after ReLU.

    A map that is bright everywhere tells little. Where none differs, the largest value counts.
    """
    spread = np.maximum(maps, 0).std(axis=(0, 1))
    return np.asarray(spread if spread.any() else maps.max(axis=(0, 1)))


def shown_maps(maps: np.ndarray, kept: int | None = None) -> list[int]:
    """Which of maps (H, W, C) a picture of many shows, in order: all; of more than 64 `kept` and the most active."""
    order = np.argsort(-activity(maps), kind="stable").tolist()
    if kept is not None:
        order = [kept, *(channel for channel in order if channel != kept)]
    return sorted(order[:MOST_MAPS])


def tiled(maps: np.ndarray, framed: int | None = None) -> np.ndarray:
    """Maps (H, W, C) side by side, row by row, each with the colours of its own range; (H', W', 3) uint8.

    `framed` is a map that gets a frame. Of more than 64 the most active are shown: see `shown_maps`.
    """
    kept = shown_maps(maps, framed)
    every = -(-max(maps.shape[:2]) // MOST_SIDE)
    thinned = maps[::every, ::every]
    height, width = thinned.shape[:2]
    columns = _columns(len(kept))
    rows = -(-len(kept) // columns)
    times = times_for(columns * width, LEAST_WIDTH - GAP * (columns + 1))
    size = (rows * (height * times + GAP) + GAP, columns * (width * times + GAP) + GAP, 3)
    picture = np.full(size, GROUND, np.uint8)
    for index, channel in enumerate(kept):
        row, column = divmod(index, columns)
        top, left = GAP + row * (height * times + GAP), GAP + column * (width * times + GAP)
        tile = magnified(colours(thinned[..., channel]), times)
        picture[top : top + height * times, left : left + width * times] = tile
        if channel == framed:
            frame(picture, (top, left, height * times, width * times))
    return picture


def _columns(count: int) -> int:
    """Of how many maps a row is made: as wide as a page allows, and full rows where that can be."""
    return count if count <= 6 else next((n for n in (8, 6, 7, 5) if count % n == 0), 8)


def frame(picture: np.ndarray, box: tuple[int, int, int, int], colour: Colour = FRAME) -> None:
    """Draws a frame just around a box (top, left, height, width) into `picture`, with white beside it."""
    top, left, height, width = box
    for out, shade in ((5, WHITE), (4, colour), (3, colour), (2, colour), (1, WHITE)):
        rows, columns = (top - out, top + height - 1 + out), (left - out, left + width - 1 + out)
        _lines(picture, rows, columns, shade)


def _lines(picture: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], colour: Colour) -> None:
    """The four sides of a rectangle, moved to the border of the picture where they would lie beyond it."""
    high, wide = picture.shape[0] - 1, picture.shape[1] - 1
    top, bottom = max(0, rows[0]), min(high, rows[1])
    left, right = max(0, columns[0]), min(wide, columns[1])
    picture[[top, bottom], left : right + 1] = colour
    picture[top : bottom + 1, [left, right]] = colour


def bordered(picture: np.ndarray) -> np.ndarray:
    """With ground around it, in which a frame at the border of the map has room."""
    return np.stack([np.pad(picture[..., c], 2 * GAP, constant_values=GROUND[c]) for c in range(3)], axis=-1)


def framed(picture: np.ndarray, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A bordered copy with frames, the first in green, a second in pink."""
    found = bordered(picture)
    for (top, left, height, width), colour in list(zip(boxes, (FRAME, SECOND_FRAME), strict=False))[::-1]:
        frame(found, (top + 2 * GAP, left + 2 * GAP, height, width), colour)
    return found


def hatched(height: int, width: int) -> np.ndarray:
    """Diagonal stripes (height, width, 3): what is no value of the map."""
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // 4) % 2 == 0
    return np.where(stripes[..., None], np.uint8(214), np.uint8(176)).repeat(3, axis=2)


def faded(picture: np.ndarray, share: float = 0.75) -> np.ndarray:
    """The same colours, paler and greyer."""
    return np.rint(picture * (1 - share) + np.array(GROUND) * share).astype(np.uint8)


def crossed(side: int) -> np.ndarray:
    """A grey square (side, side, 3) with a cross: a value that is dropped."""
    square = np.full((side, side, 3), GROUND, np.uint8)
    at = np.arange(side)
    thick = np.abs(np.subtract.outer(at, at)) < max(1, side // 10)
    square[thick | thick[:, ::-1]] = 40
    return square


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Pictures from left to right, the lower ones with ground below them."""
    height = max(picture.shape[0] for picture in pictures)
    parts = []
    for picture in pictures:
        part = np.full((height, picture.shape[1] + 4 * GAP, 3), GROUND, np.uint8)
        part[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(part)
    return np.concatenate(parts, axis=1)[:, : -4 * GAP]


def in_rows(values: np.ndarray, largest: float | None = None, is_dropped: np.ndarray | None = None) -> np.ndarray:
    """A vector (values,) as squares in rows, read as text is read; dropped ones are crossed; (H, W, 3) uint8.

    Of more than 6,144 values the first are shown.
    """
    values = values[:MOST_VALUES]
    columns = min(next((n for n in (16, 32, 64) if len(values) <= 8 * n), 96), len(values))
    rows, side = -(-len(values) // columns), min(times_for(columns), MOST_SQUARE)
    picture = np.full((rows * side, max(columns * side, LEAST_ROW), 3), GROUND, np.uint8)
    for index, colour in enumerate(colours(values, largest)):
        row, column = divmod(index, columns)
        square = crossed(side - 1) if is_dropped is not None and is_dropped[index] else colour
        picture[row * side : (row + 1) * side - 1, column * side : (column + 1) * side - 1] = square
    return picture
