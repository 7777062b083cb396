"""Which networks to try first: chosen from real trainings on several sets, and what that is worth on a set left out.

    .venv/bin/pip install scikit-image
    .venv/bin/python benchmarks/portfolio.py train --fashion idx:/usr/share/datasets/fashion-mnist
    .venv/bin/python benchmarks/portfolio.py choose

`train` draws practices at random (`cnn_tuner/oracles/practice.py`), as wide as a short and a long training of a set's
images ask for, and as many random feasible points of the space `seven_steps`. Each is trained as a short run trains its
winner (`cnn_tuner/search/final_plan.py`): at its highest rate, where validation images tell what a search would see,
and then until the rate has ended, for as much work as the others: a large network sees fewer images. Its end is scored
on test images. It writes after each point, and goes on where it was when it is run again. `choose` prints, as Markdown,
the portfolio of all sets, greedily chosen so that its best is good everywhere (Feurer et al., 2020,
https://arxiv.org/abs/2007.04074, section 4.1), and for each set how many random points reach what the first three of a
portfolio that was chosen without this set reach.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import multiprocessing
import pickle
import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import photos

from cnn_tuner.data import registry
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.options import DataOptions
from cnn_tuner.executors.base import Settings
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.oracles.practice import Practice, Setting, point_of
from cnn_tuner.runs import machine
from cnn_tuner.runs.records import Job
from cnn_tuner.search.final_plan import FALLING
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, sample_feasible, why_infeasible
from cnn_tuner.spaces.recipe import steps_of_epoch
from cnn_tuner.spaces.tree import Point
from cnn_tuner.training import devices, fit
from cnn_tuner.training.batches import Data
from cnn_tuner.training.network import KeptNetwork
from cnn_tuner.training.seven_steps import SevenSteps

TABLE = Path(__file__).with_name("portfolio.json.gz")
OBJECTIVE = Objective("val_accuracy", "max")
PRACTISED, DRAWN, SEED = 27, 24, 0
KNOWN = (  # what was tried first before this table was
    Practice(10, 1, 1, 2, 0, 0.1, 0.3, 0.002, 64),
    Practice(10, 2, 2, 2, 0, 0.1, 0.3, 0.003, 32),
    Practice(10, 1, 1, 2, 0, 0.2, 0.4, 0.003, 64),
)
WORKS = {"short": 2.5e7, "long": 1e8}  # multiply-adds a training image; the latter are 8 minutes of Fashion-MNIST
MOST_PASSES = 60
PARTS = 20  # of a training, at least so many epochs
JUDGES, EXAMINERS = 1_000, 5_000  # validation images of a score on the way, test images of one at the end, at most
CHOICES: dict[str, Sequence[Any]] = {
    "passes": (8, 12, 20, 40),
    "convolutions": (1, 2),
    "last_convolutions": (1, 2),
    "growth": (1, 2, 4),
    "more_blocks": (0, 1),
    "dropout": (0.0, 0.1, 0.2, 0.3),
    "dense_dropout": (0.0, 0.2, 0.3, 0.5),
    "learning_rate": (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008),
    "batch_size": (32, 64, 128),
}
FLIPPED = 20  # passes from which on images are mirrored, where that leaves them what they are
SPACE = """
description: All that a practice may ask for.
blocks: [1, 2, 3, 4, 5]
block:
  convolutions: [1, 2]
  filters: [8, 12, 16, 24, 32, 48, 64, 96, 128]
  kernel_size: 3
  strides: 1
  padding: same
  pool_size: 2
  dropout: {min: 0.0, max: 0.5}
dense: {layers: 1, units: [32, 64, 128, 256], dropout: {min: 0.0, max: 0.5}}
training:
  learning_rate: {min: 0.0001, max: 0.01, sampling: log}
  schedule: one_cycle
  weight_decay: 0.01
  label_smoothing: 0.1
  batch_size: [32, 64, 128]
augmentation: {flip: [none, horizontal]}
search: {oracle: random, epochs: 1}
"""
SHAPES = ("disc", "ring", "square", "triangle", "cross")


def practices() -> list[Practice]:
    """Distinct ones, the same each time: drawn at random, and those that are known."""
    rng = random.Random(SEED)
    found: list[Practice] = []
    while len(found) < PRACTISED - len(KNOWN):
        one = Practice(**{name: rng.choice(values) for name, values in CHOICES.items()})
        if one not in found:
            found.append(one)
    return [*found, *KNOWN]


def shapes(images: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Coloured shapes (N, side, side, 3) uint8 on a ground of another colour, and which they are (N,)."""
    rng = np.random.default_rng(SEED)
    down, across = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    x, y = np.empty((images, side, side, 3), np.uint8), rng.integers(0, len(SHAPES), images)
    for image, kind in zip(x, y, strict=True):
        size, turn = rng.uniform(0.25, 0.5), rng.uniform(0, 2 * math.pi)
        at = rng.uniform(-0.4, 0.4, 2)
        u = ((across - at[0]) * math.cos(turn) + (down - at[1]) * math.sin(turn)) / size
        v = ((down - at[1]) * math.cos(turn) - (across - at[0]) * math.sin(turn)) / size
        inside = {
            "disc": u**2 + v**2 < 1,
            "ring": (u**2 + v**2 < 1) & (u**2 + v**2 > 0.4),
            "square": np.maximum(abs(u), abs(v)) < 0.85,
            "triangle": (v > -0.6) & (v < 1 - 1.8 * abs(u)),
            "cross": (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 1),
        }[SHAPES[kind]]
        ground, colour = rng.uniform(0, 255, (2, 3))
        image[:] = np.clip(np.where(inside[..., None], colour, ground) + rng.normal(0, 40, image.shape), 0, 255)
    return x, y.astype(np.int32)


def datasets(fashion: str) -> Iterator[tuple[str, Dataset]]:
    """The sets by name, each with its training and validation part."""
    yield "digits", registry.load("digits", DataOptions(seed=SEED))
    whole = registry.load(fashion, DataOptions(seed=SEED))
    yield "fashion, 2,000", replace(whole, train=first_of(whole.train, 2_000))
    with tempfile.TemporaryDirectory() as folder:
        x, y = shapes(3_000)
        np.savez(Path(folder) / "shapes.npz", x_train=x, y_train=y)
        yield "shapes", registry.load(f"npz:{folder}/shapes.npz", DataOptions(seed=SEED))
        photos.write(Path(folder) / "photos", images=1_200, side=64, seed=SEED)
        yield "photographs", registry.load(f"{folder}/photos", DataOptions(seed=SEED))
    yield "fashion, 10,000", replace(whole, train=first_of(whole.train, 10_000))


def first_of(part: Part, images: int) -> Part:
    return Part(part.x[:images], part.y[:images])


def points(name: str, dataset: Dataset, work: float) -> list[Point]:
    """What is trained on a set: the practices for so much work, and then those drawn at random."""
    shape, output = dataset.image_shape, Output(dataset.task, dataset.outputs)
    space = tree.from_text(SPACE, "portfolio")
    setting = Setting(space, shape, output, len(dataset.train), why_infeasible(space, shape, output), work)
    found: list[Point] = []
    for practice in practices():
        point = point_of(setting, practice)
        assert point is not None, practice
        moved = name != "digits" and practice.passes >= FLIPPED
        found.append(point | {"flip": "horizontal" if moved else "none"})
    return found + sample_feasible(tree.load("seven_steps"), shape, output, DRAWN, SEED)


class Trainer:
    """Trains points on one set, in a process of its own."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        devices.set_up(Settings("", "", threads=1, is_own_process=True))
        with (self.folder / "dataset").open("rb") as file:
            self.dataset: Dataset = pickle.load(file)  # of the process that began this one
        self.data, self.kept = (
            Data(self.dataset.train, self.dataset.val),
            KeptNetwork(SevenSteps(), is_own_process=True),
        )

    def train(self, number: int, values: Point, work: float) -> dict[str, Any]:
        """What a point reached.

        {"macs": for an image, "images": of an epoch, "curve": validation accuracy after each epoch at the highest rate,
        "passes": in all, "end": test accuracy}.
        """
        dataset, output = self.dataset, Output(self.dataset.task, self.dataset.outputs)
        batch, macs = int(values["batch_size"]), build(values, dataset.image_shape, output).macs
        of_part = max(1, round(min(work / macs, MOST_PASSES) * len(dataset.train) / batch / PARTS))
        epochs = math.ceil(of_part / steps_of_epoch(len(dataset.train), values))  # an epoch has each image at most once
        steps = max(1, of_part // epochs)
        falling = round(FALLING * PARTS) * epochs
        stays = Job(
            0,
            number,
            values,
            dataset.image_shape,
            output,
            OBJECTIVE,
            PARTS * epochs - falling,
            SEED,
            str(self.folder / f"{number}.npz"),
            epoch_steps=steps,
        )
        curve = self._trained(stays)
        end = replace(
            stays,
            number=1,
            epochs=PARTS * epochs,
            state_file=str(self.folder / f"{number}-end.npz"),
            initial_epoch=stays.epochs,
            initial_state=stays.state_file,
            course_steps=falling * steps,
            grows=True,
        )
        self._trained(end)
        found = fit.predict(fit.load_best(end), dataset.test.x)
        reached = scores.measure(dataset.task, dataset.test.y, found)["accuracy"]
        for job in (stays, end):
            Path(job.state_file).unlink()
        return {
            "macs": macs,
            "images": steps * batch,
            "curve": [round(each, 4) for each in curve],
            "passes": round(PARTS * epochs * steps * batch / len(dataset.train), 2),
            "end": round(reached, 4),
        }

    def _trained(self, job: Job) -> list[float]:
        result = fit.train(job, self.data, lambda epoch: None, lambda: False, self.kept)
        if result.status != "completed":
            raise RuntimeError(f"{job.values}: {result.message}")
        return [epoch.metrics[OBJECTIVE.name] for epoch in result.epochs]


_trainer: list[Trainer] = []  # of this process


def _open(folder: str) -> None:
    _trainer.append(Trainer(folder))


def _train(number: int, values: Point, work: float) -> tuple[int, dict[str, Any]]:
    return number, _trainer[0].train(number, values, work)


def train(fashion: str) -> None:
    """Trains what the table does not have yet."""
    table: dict[str, Any] = read() if TABLE.is_file() else {}
    for name, whole in datasets(fashion):
        dataset = replace(whole, val=first_of(whole.val, JUDGES), test=first_of(whole.test, EXAMINERS))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "dataset").write_bytes(pickle.dumps(dataset))
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(machine.cores(), spawned, _open, (folder,)) as pool:
                for length, work in WORKS.items():
                    known = table.setdefault(f"{name}, {length}", {})
                    asked = list(enumerate(points(name, dataset, work)))
                    left = [(number, point) for number, point in asked if str(number) not in known]
                    for done in as_completed([pool.submit(_train, number, point, work) for number, point in left]):
                        number, known[str(number)] = done.result()
                        write(table)
                        told = {key: value for key, value in known[str(number)].items() if key != "curve"}
                        print(f"{name}, {length}: {number} {told}", flush=True)


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(TABLE.read_bytes()))
    return found


def write(table: dict[str, Any]) -> None:
    aside = TABLE.with_suffix(".tmp")
    aside.write_bytes(gzip.compress(json.dumps(table, indent=0).encode(), mtime=0))
    aside.replace(TABLE)


def regrets(ends: np.ndarray) -> np.ndarray:
    """Of each point (N,): its error above the best one's, in that of the median one's above it."""
    errors = 1 - ends
    return (errors - errors.min()) / max(float(np.median(errors) - errors.min()), 1e-4)


def portfolio(tasks: Sequence[np.ndarray], size: int) -> list[int]:
    """Practices, each of which lowers most what the best of them loses on average over the tasks; of those that lower
    it no more, the one that loses least itself.
    """
    found: list[int] = []
    best = np.full(len(tasks), np.inf)
    table = np.minimum(np.array(tasks), 2.0)  # that it fails on one set says nothing of the others
    for _ in range(size):
        worth = np.minimum(best[:, None], table).mean(axis=0) + 1e-3 * table.mean(axis=0)
        worth[found] = np.inf
        found.append(int(worth.argmin()))
        best = np.minimum(best, table[:, found[-1]])
    return found


def points_needed(ends: np.ndarray, reached: float) -> float:
    """How many points drawn at random reach it in half of all searches; infinite where none of them is as good."""
    share = float((ends >= reached).mean())
    return math.inf if share == 0 else 1.0 if share == 1 else max(1.0, math.log(0.5) / math.log(1 - share))


def points_needed_of_none(drawn: int) -> float:
    """More than so many random points are needed where none of so many drawn is as good: one in `drawn` would be."""
    return math.log(0.5) / math.log(1 - 1 / drawn)


def ends_of(table: dict[str, Any]) -> dict[str, np.ndarray]:
    """The test accuracies by set and length, (points,), where all were trained."""
    whole = {task: known for task, known in table.items() if len(known) == PRACTISED + DRAWN}
    return {task: np.array([known[str(n)]["end"] for n in range(len(known))]) for task, known in whole.items()}


def choose(size: int, first: int = 3) -> None:
    ends = ends_of(read())
    tasks = {task: regrets(each)[:PRACTISED] for task, each in ends.items()}
    print(f"| place | {' | '.join(CHOICES)} | mean regret of the best so far |")
    print("|---" * (len(CHOICES) + 2) + "|")
    chosen = portfolio(list(tasks.values()), size)
    for place, number in enumerate(chosen, 1):
        values = asdict(practices()[number])
        left = np.array(list(tasks.values()))[:, chosen[:place]].min(axis=1).mean()
        print(f"| {place} | {' | '.join(str(values[name]) for name in CHOICES)} | {left:.2f} |")
    print(f"\n| set left out | best of its first {first} | best of all | best random | random points to reach it |")
    print("|---|---|---|---|---|")
    for task, own in ends.items():
        others = [found for other, found in tasks.items() if other.rpartition(", ")[0] != task.rpartition(", ")[0]]
        reached, drawn = own[portfolio(others, first)].max(), own[PRACTISED:]
        needed = points_needed(drawn, reached)
        told = f"over {points_needed_of_none(len(drawn)):.0f}" if math.isinf(needed) else f"{needed:.0f}"
        print(f"| {task} | {reached:.4f} | {own.max():.4f} | {drawn.max():.4f} | {told} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "choose"))
    parser.add_argument("--fashion", default="idx:/usr/share/datasets/fashion-mnist")
    parser.add_argument("--size", type=int, default=8)
    asked = parser.parse_args()
    train(asked.fashion) if asked.what == "train" else choose(asked.size)


if __name__ == "__main__":
    main()
