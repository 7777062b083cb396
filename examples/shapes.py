"""Draws circles, squares and triangles into class folders, to try a search on: python examples/shapes.py FOLDER

600 PNGs of 32x32 in colour; size, place, colours and noise are random, and the same each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

IMAGES, SIDE = 200, 32  # of each class; pixels


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    """One image of a class."""
    radius = int(rng.integers(5, 11))
    x, y = rng.integers(radius, SIDE - radius, 2).tolist()
    paper, ink = rng.integers(0, 256, (2, 3)).tolist()
    image = Image.new("RGB", (SIDE, SIDE), tuple(paper))
    pen = ImageDraw.Draw(image)
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == "circle":
        pen.ellipse(box, fill=tuple(ink))
    elif kind == "square":
        pen.rectangle(box, fill=tuple(ink))
    else:
        pen.polygon([(x, box[1]), (box[0], box[3]), (box[2], box[3])], fill=tuple(ink))
    noisy = np.asarray(image) + rng.normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("circle", "square", "triangle"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES):
            draw(kind, rng).save(folder / kind / f"{number:03}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/shapes.py FOLDER")
    main(Path(sys.argv[1]))
