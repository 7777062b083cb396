"""Draws a table of images that belong together: python examples/patients.py FOLDER

60 patients have 4 to 8 pictures of 24x24 each, which are alike but for noise; labels.csv names them, what they show and
whose they are. Of one patient's pictures none may be trained on where another one is tested with:

    cnn-tuner tune --data FOLDER/labels.csv --group-column patient --budget 2m

Without --group-column a network that only knows patients again looks good. All is random, and the same each time.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PATIENTS, SIDE = 60, 24


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:SIDE, :SIDE]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "patient"))
        for patient in range(PATIENTS):
            is_ill = patient % 3 == 0
            tissue = np.kron(rng.normal(110, 30, (6, 6)), np.ones((4, 4)))  # of this patient
            for number in range(rng.integers(4, 9)):
                place = rng.uniform(6, SIDE - 6, 2)
                spot = 70 * is_ill * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 12)
                pixels = np.clip(tissue + spot + rng.normal(0, 10, (SIDE, SIDE)), 0, 255)
                name = f"patient-{patient:02}-{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
                table.writerow((name, "ill" if is_ill else "healthy", patient))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/patients.py FOLDER")
    main(Path(sys.argv[1]))
