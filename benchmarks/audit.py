"""What `cnn-tuner data` finds of what was spoiled on purpose: precision and recall of each kind.

    .venv/bin/python benchmarks/audit.py                                  # digits
    .venv/bin/python benchmarks/audit.py --idx /usr/share/datasets/fashion-mnist --folder photos/

Into training and test part go 30 images that are in both (leaks), 30 that nearly are (darker; blurred by scaling; with
noise), 20 twice with another label, and 2 % wrong labels. Each is of other images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_tuner.data.dataset import PARTS
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load

LEAKS, NEAR, CONTRADICTIONS, WRONG = 30, 30, 20, 0.02
MOST = 10_000  # training images of a set, and a fifth of it test images
Pair = tuple[int, int]


def parts_of(source: str) -> dict[str, np.ndarray]:
    """Training and test part of a source, by the names of an .npz file."""
    found = load(source, DataOptions(allow_leakage=True))
    arrays = {}
    for part, most in (("train", MOST), ("test", MOST // 5)):
        own = getattr(found, part)
        arrays |= {f"x_{part}": np.array(own.x[:most]), f"y_{part}": np.array(own.y[:most])}
    return arrays


def nearly(image: np.ndarray, kind: int, rng: np.random.Generator) -> np.ndarray:
    """The same image to a person: darker, blurred by scaling, or with noise."""
    if kind == 0:
        return (image * 0.9 + 10).astype(np.uint8)
    if kind == 1:
        height, width = image.shape[:2]
        own = Image.fromarray(image.squeeze())
        own = own.resize((int(width * 0.8), int(height * 0.8)), Image.Resampling.BILINEAR)
        return np.asarray(own.resize((width, height), Image.Resampling.BILINEAR)).reshape(image.shape)
    return np.clip(image.astype(int) + rng.integers(-8, 9, image.shape), 0, 255).astype(np.uint8)


def spoil(arrays: dict[str, np.ndarray], seed: int = 0) -> dict[str, list]:
    """Spoils the arrays, and returns what was done to them."""
    rng, classes = np.random.default_rng(seed), len(np.unique(arrays["y_train"]))
    x, y, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    free, free_test = iter(rng.permutation(len(x)).tolist()), iter(rng.permutation(len(x_test)).tolist())
    done: dict[str, list] = {"leaks": [], "near copies": [], "contradictions": [], "wrong labels": []}
    for _ in range(LEAKS):
        one, other = next(free), next(free_test)
        x_test[other], y_test[other] = x[one], y[one]
        done["leaks"].append((one, other))
    for number in range(NEAR):
        one, other = next(free), next(free_test)
        x_test[other], y_test[other] = nearly(x[one], number % 3, rng), y[one]
        done["near copies"].append((one, other))
    for _ in range(CONTRADICTIONS):
        one, other = next(free), next(free)
        x[other], y[other] = x[one], (y[one] + 1) % classes
        done["contradictions"].append(tuple(sorted((one, other))))
    for _ in range(int(WRONG * len(x))):
        one = next(free)
        y[one] = (y[one] + rng.integers(1, classes)) % classes
        done["wrong labels"].append(one)
    return done


def found_in(report: dict) -> dict[str, list]:
    """What `cnn-tuner data --json` says, in the same words."""
    twice = [[place["number"] for place in group] for group in report["contradictions"]]
    told_twice = {number for group in twice for number in group}
    doubts = [each["place"] for each in report["doubts"]]
    return {
        "leaks": [(group[0]["number"], group[-1]["number"]) for group in report["leaks"]],
        "near copies": [
            (one["number"], other["number"])
            for one, other in report["near"]
            if (one["part"], other["part"]) == ("train", "test")
        ],
        "contradictions": [tuple(sorted(group)) for group in twice],
        "wrong labels": [
            each["number"] for each in doubts if each["part"] == PARTS[0] and each["number"] not in told_twice
        ],
    }


def rows(source: str, folder: Path) -> Iterator[tuple[str, ...]]:
    arrays = parts_of(source)
    done = spoil(arrays)
    np.savez(folder / "spoiled.npz", **arrays)
    command = [sys.executable, "-m", "cnn_tuner", "data", f"npz:{folder / 'spoiled.npz'}", "--json"]
    began = time.monotonic()
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds, found = time.monotonic() - began, found_in(json.loads(text.splitlines()[-1]))
    for kind, true in done.items():
        yield (source, f"{seconds:.0f} s", kind, *measured(found[kind], true), str(len(found[kind])), str(len(true)))


def measured(found: Iterable, true: Iterable) -> tuple[str, str]:
    """Precision and recall."""
    found, true = set(found), set(true)
    hits = len(found & true)
    return f"{hits / max(1, len(found)):.2f}", f"{hits / len(true):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idx", type=Path, help="a folder with the files of MNIST or its kin")
    parser.add_argument("--folder", type=Path, help="a folder of images")
    asked = parser.parse_args()
    sources = [
        "digits",
        *([f"idx:{asked.idx}"] if asked.idx else []),
        *([f"folder:{asked.folder}"] if asked.folder else []),
    ]
    print("| data | takes | kind | precision | recall | found | there |\n|---|---|---|---|---|---|---|")
    for source in sources:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(source, Path(folder)):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
