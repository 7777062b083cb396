"""A small set of colour photographs in class folders, cut at random from those that scikit-image and scikit-learn ship.

    python benchmarks/photos.py FOLDER [--images 1500] [--side 96]

Needs scikit-image (`pip install scikit-image`), which brings its photographs along. A class is a photograph; an image
of it is a window of 96 to 240 pixels, mirrored or not, brighter or darker, made as small as the side. By colours alone
the classes cannot be told: each image's channels are weighted at random.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "motorcycle_left", "china")
WINDOW = (96, 240)  # pixels
BRIGHTNESS = (0.6, 1.4)
TINT = (0.6, 1.4)
NOISE = 12.0  # standard deviation, of 255


def photograph(name: str) -> np.ndarray:
    """(H, W, 3) uint8."""
    if name == "china":
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image("china.jpg"))
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    [path] = [folder / f"{name}{suffix}" for suffix in (".png", ".jpg") if (folder / f"{name}{suffix}").is_file()]
    return np.asarray(Image.open(path).convert("RGB"))


def cut(photo: np.ndarray, side: int, rng: np.random.Generator) -> Image.Image:
    """A random window, changed at random, of `side` x `side` pixels."""
    height, width = photo.shape[:2]
    window = int(rng.integers(WINDOW[0], min(WINDOW[1], height, width) + 1))
    top, left = rng.integers(0, height - window + 1), rng.integers(0, width - window + 1)
    piece = Image.fromarray(photo[top : top + window, left : left + window]).resize((side, side))
    pixels = np.asarray(piece, float)[:, :: rng.choice([-1, 1])]
    pixels = pixels * rng.uniform(*BRIGHTNESS) * rng.uniform(*TINT, 3) + rng.normal(0, NOISE, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write(folder: Path, images: int, side: int, seed: int) -> None:
    """So many images, in a folder a class."""
    rng = np.random.default_rng(seed)
    for name in PHOTOGRAPHS:
        photo, place = photograph(name), folder / name
        place.mkdir(parents=True)
        for number in range(images // len(PHOTOGRAPHS)):
            cut(photo, side, rng).save(place / f"{number:04}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write(asked.folder, asked.images, asked.side, asked.seed)


if __name__ == "__main__":
    main()
