"""Which networks to try first: chosen from real trainings on several sets, and what that is worth on a set left out.

    .venv/bin/pip install scikit-image
    .venv/bin/python benchmarks/portfolio.py train --fashion idx:/usr/share/datasets/fashion-mnist
    .venv/bin/python benchmarks/portfolio.py choose

`train` draws networks and recipes at random, brings each into a space made for the set's images, and trains it to the
end of its learning rate for as much work as a short and a longer time allow: a large network sees fewer images. It
writes after each training, and goes on where it was when it is run again. `choose` prints, as Markdown, the portfolio
of all sets, greedily chosen so that its best is good everywhere (Feurer et al., 2020, https://arxiv.org/abs/2007.04074,
section 4.1), and for each set how many points of a random search reach what the first three of a portfolio that was
chosen without this set reach.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import photos

from cnn_tuner.data import registry
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.oracles.practice import Practice, brought_into
from cnn_tuner.runs import machine
from cnn_tuner.runs.records import Job, JobDone, JobLost
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, why_infeasible
from cnn_tuner.spaces.auto import blocks_of
from cnn_tuner.spaces.tree import Point, SearchSpace

TABLE = Path(__file__).with_name("portfolio.json.gz")
OBJECTIVE = Objective("val_accuracy", "max")
CANDIDATES, SEED = 40, 0
WORK = (6e10, 2.4e11)  # multiply-adds of a training, backwards as one: about 12 and 48 seconds of one core
MOST_EPOCHS, LEAST_EPOCHS = 60, 1
CHOICES: dict[str, Sequence[Any]] = {
    "filters": (16, 32, 64, 128),
    "convolutions": (1, 2),
    "dropout": (0.0, 0.1, 0.2, 0.3),
    "dense_dropout": (0.0, 0.2, 0.3, 0.5),
    "learning_rate": (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008),
    "batch_size": (32, 64, 128),
}
SPACE = """
description: All that a candidate may ask for.
blocks: [1, 2, 3, 4, 5]
block:
  convolutions: [1, 2]
  filters: [8, 16, 32, 64, 128]
  kernel_size: 3
  strides: 1
  padding: same
  pool_size: 2
  dropout: {min: 0.0, max: 0.5}
dense: {layers: 1, units: 256, dropout: {min: 0.0, max: 0.5}}
training:
  learning_rate: {min: 0.0001, max: 0.01, sampling: log}
  schedule: one_cycle
  weight_decay: 0.01
  label_smoothing: 0.1
  batch_size: [32, 64, 128]
search: {oracle: random, epochs: 1}
"""
SHAPES = ("disc", "ring", "square", "triangle", "cross")


def candidates() -> list[Practice]:
    """Distinct ones, the same each time."""
    rng = random.Random(SEED)
    found: list[Practice] = []
    while len(found) < CANDIDATES:
        one = Practice(**{name: rng.choice(values) for name, values in CHOICES.items()})
        if one not in found:
            found.append(one)
    return found


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
    for images in (2_000, 10_000, len(whole.train)):
        yield f"fashion, {images:,}", replace(whole, train=Part(whole.train.x[:images], whole.train.y[:images]))
    with tempfile.TemporaryDirectory() as folder:
        x, y = shapes(3_000)
        np.savez(Path(folder) / "shapes.npz", x_train=x, y_train=y)
        yield "shapes", registry.load(f"npz:{folder}/shapes.npz", DataOptions(seed=SEED))
        photos.write(Path(folder) / "photos", images=1_500, side=64, seed=SEED)
        yield "photographs", registry.load(f"{folder}/photos", DataOptions(seed=SEED))


@dataclass(frozen=True)
class Task:
    """A candidate on one set, for so much work."""

    candidate: int
    work: float

    def job(self, number: int, dataset: Dataset, state: Path) -> Job:
        space = tree.from_text(SPACE, "portfolio")
        point = point_of(space, candidates()[self.candidate], dataset)
        output = Output(dataset.task, dataset.outputs)
        macs = build(point, dataset.image_shape, output).macs
        steps = math.ceil(len(dataset.train) / int(point["batch_size"]))
        most = self.work / macs / int(point["batch_size"])
        most = int(min(max(most, LEAST_EPOCHS * steps / 2), MOST_EPOCHS * steps))
        epochs = math.ceil(most / steps)
        return Job(
            number,
            number,
            point,
            dataset.image_shape,
            output,
            OBJECTIVE,
            epochs,
            SEED,
            str(state),
            course_steps=most,
        )


def point_of(space: SearchSpace, practice: Practice, dataset: Dataset) -> Point:
    """The candidate for these images, narrower where its layers would not fit."""
    blocks = max(2, blocks_of(dataset.image_shape))
    point = brought_into(space, practice, blocks)
    why = why_infeasible(space, dataset.image_shape, Output(dataset.task, dataset.outputs))(point)
    if why is not None:
        raise SystemExit(f"{practice}: {why}")
    return point


def train(fashion: str) -> None:
    """Trains what the table does not have yet."""
    table = read() if TABLE.is_file() else {"about": "", "scores": {}}
    table["about"] = f"{CANDIDATES} candidates; {machine.identity()}"
    for name, dataset in datasets(fashion):
        scores = table["scores"].setdefault(name, {})
        wanted = [Task(place, work) for work in WORK for place in range(CANDIDATES)]
        left = [task for task in wanted if key(task) not in scores]
        if left:
            with tempfile.TemporaryDirectory() as folder, shared(dataset, Path(folder) / "data") as data:
                _train(dataset, left, scores, table, Path(folder), str(data), name)


def _train(
    dataset: Dataset, left: list[Task], scores: dict[str, float], table: Any, folder: Path, data: str, name: str
) -> None:
    workers = machine.cores()
    executor = ProcessExecutor(Settings("cnn_tuner.training.fit:open_trainer", data, slots=workers, threads=1))
    running: dict[int, Task] = {}
    number = 0
    try:
        while left or running:
            while left and len(running) < executor.slots:
                number += 1
                running[number] = left.pop(0)
                executor.submit(running[number].job(number, dataset, folder / f"{number}.npz"))
            event = executor.next_event()
            if isinstance(event, JobLost):
                raise SystemExit(f"{running[event.job]}: {event.reason}")
            if isinstance(event, JobDone):
                task, result = running.pop(event.result.job), event.result
                (folder / f"{result.job}.npz").unlink(missing_ok=True)
                scores[key(task)] = round(result.score or 0.0, 4)
                write(table)
                print(f"{name}  {task}  {result.score}  {result.seconds:.0f} s  {result.message}", flush=True)
    finally:
        executor.close()


def key(task: Task) -> str:
    return f"{task.candidate} {task.work:g}"


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(TABLE.read_bytes()))
    return found


def write(table: dict[str, Any]) -> None:
    aside = TABLE.with_suffix(".tmp")
    aside.write_bytes(gzip.compress(json.dumps(table, indent=0).encode(), mtime=0))
    aside.replace(TABLE)


def regrets(scores: dict[str, float], work: float) -> np.ndarray:
    """Of each candidate (N,): its error above the best one's, in that of the median candidate's above it."""
    errors = np.array([1 - scores[key(Task(place, work))] for place in range(CANDIDATES)])
    return (errors - errors.min()) / max(float(np.median(errors) - errors.min()), 1e-4)


def portfolio(tasks: Sequence[np.ndarray], size: int) -> list[int]:
    """Candidates, each of which lowers most what the best of them loses on average over the tasks."""
    found: list[int] = []
    best = np.full(len(tasks), np.inf)
    table = np.minimum(np.array(tasks), 2.0)  # that it fails on one set says nothing of the others
    for _ in range(size):
        worth = np.minimum(best[:, None], table).mean(axis=0)
        worth[found] = np.inf
        found.append(int(worth.argmin()))
        best = np.minimum(best, table[:, found[-1]])
    return found


def points_needed(scores: np.ndarray, reached: float) -> float:
    """How many points drawn at random reach it in half of all searches; infinite where none of them is as good."""
    share = float((scores >= reached).mean())
    return math.inf if share == 0 else 1.0 if share == 1 else max(1.0, math.log(0.5) / math.log(1 - share))


def choose(size: int, first: int = 3) -> None:
    scores = read()["scores"]
    tasks = {(name, work): regrets(scores[name], work) for name in scores for work in WORK}
    print(f"| place | {' | '.join(CHOICES)} | mean regret of the best so far |")
    print("|---" * (len(CHOICES) + 2) + "|")
    chosen = portfolio(list(tasks.values()), size)
    for place, number in enumerate(chosen, 1):
        values = asdict(candidates()[number])
        left = np.array(list(tasks.values()))[:, chosen[:place]].min(axis=1).mean()
        print(f"| {place} | {' | '.join(str(values[name]) for name in CHOICES)} | {left:.2f} |")
    print(f"\n| set left out | work | best of its first {first} | best of all | random points to reach it |")
    print("|---|---|---|---|---|")
    for (name, work), _ in tasks.items():
        others = [found for (other, _), found in tasks.items() if other != name]
        own = np.array([scores[name][key(Task(place, work))] for place in range(CANDIDATES)])
        reached = own[portfolio(others, first)].max()
        print(f"| {name} | {work:g} | {reached:.4f} | {own.max():.4f} | {points_needed(own, reached):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "choose"))
    parser.add_argument("--fashion", default="idx:/usr/share/datasets/fashion-mnist")
    parser.add_argument("--size", type=int, default=8)
    asked = parser.parse_args()
    train(asked.fashion) if asked.what == "train" else choose(asked.size)


if __name__ == "__main__":
    main()
