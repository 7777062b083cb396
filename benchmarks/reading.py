"""How fast a folder of images is read, beside keras.utils.image_dataset_from_directory, each in a process of its own.

    .venv/bin/python benchmarks/reading.py [--images 50000] [--side 64] [--trials 10] [--epochs 3]

Draws PNGs in ten class folders, then lets each way read them in turn: batches of 64 in random order, as training gets
them, of `--epochs` epochs for each of `--trials` trials. Prints a Markdown table: seconds until the first batch, the
first time and when the images are known; images a second over one trial and over all; the most memory of the process,
without what is mapped from files and may go at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BATCH, CLASSES = 64, 10
WAYS = ("cnn_tuner, the first time", "cnn_tuner, again", "keras", "keras, .cache()")


def write_class(folder: Path, number: int, count: int, side: int) -> None:
    """Images of smooth colours, which compress as photographs do."""
    rng = np.random.default_rng(number)
    (folder / f"class{number}").mkdir(parents=True)
    for index in range(count):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        picture = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (picture + rng.integers(-6, 7, picture.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"class{number}" / f"{index:05}.png", compress_level=1)


def anonymous_bytes() -> int:
    """Memory of this process that is its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def read(batches: Iterable[Any], count: int) -> int:
    """Takes so many batches; how many images they have."""
    images = 0
    for _, (x, _y) in zip(range(count), batches, strict=False):
        images += int(x.shape[0])
    return images


def ours(folder: Path, cache: Path, seed: int, steps: int) -> Iterable[Any]:
    from cnn_tuner.data.cache import Cache
    from cnn_tuner.data.options import DataOptions
    from cnn_tuner.data.registry import load
    from cnn_tuner.data.shared import opened, shared
    from cnn_tuner.training.batches import Data

    dataset = load(str(folder), DataOptions(val_fraction=0.01, test_fraction=0.01), Cache(cache, 10**12))
    print("driver", anonymous_bytes(), file=sys.stderr)
    with shared(dataset, cache / "run") as data:
        yield from Data(*opened(data)).batches(seed, BATCH, 0)


def keras_way(folder: Path, side: int, is_cached: bool) -> Iterable[Any]:
    import keras

    found = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=None, seed=0, shuffle=True, verbose=False
    )
    found = found.cache() if is_cached else found
    return found.shuffle(10_000).batch(BATCH).repeat().prefetch(2)


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """What one way does, in this process."""
    began = time.perf_counter()
    steps = -(-asked.images // BATCH)
    made = (
        ours(asked.folder, asked.cache, 0, steps)
        if asked.way.startswith("cnn_tuner")
        else keras_way(asked.folder, asked.side, "cache" in asked.way)
    )
    batches = iter(made)
    read(batches, 1)
    first = time.perf_counter() - began
    seconds, images = [], []
    for _ in range(asked.trials):
        began = time.perf_counter()
        images.append(read(batches, steps * asked.epochs))
        seconds.append(time.perf_counter() - began)
    return {
        "first": first,
        "one trial": images[0] / seconds[0],
        "all trials": sum(images) / (sum(seconds) + first),
        "anonymous": anonymous_bytes() / 2**20,
        "most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--folder", type=Path, help="of the images; made where it is not there")
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way is not None:
        print(json.dumps(measure(asked)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch) / "images"
        if not folder.exists():
            with ProcessPoolExecutor() as pool:
                for number in range(CLASSES):
                    pool.submit(write_class, folder, number, asked.images // CLASSES, asked.side)
        print("| way | first batch after | images a second, one trial | all trials | own memory | most memory |")
        print("|---|---|---|---|---|---|")
        for way in asked.ways:
            numbers = [f"--{name}={getattr(asked, name)}" for name in ("images", "side", "trials", "epochs")]
            places = [f"--folder={folder}", f"--cache={Path(scratch) / 'cache'}", f"--way={way}"]
            quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run(
                [sys.executable, __file__, *numbers, *places], capture_output=True, text=True, env=quiet, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {way} | {found['first']:.1f} s | {found['one trial']:,.0f} | {found['all trials']:,.0f} | "
                f"{found['anonymous']:,.0f} MB | {found['most']:,.0f} MB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
