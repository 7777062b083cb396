"""A table of real learning curves, for replaying what an oracle would have done: `benchmarks/replay.py` reads it.

    .venv/bin/python benchmarks/curves.py idx:/usr/share/datasets/fashion-mnist

draws points of the space `seven_steps` at random and trains each of them to the end on a part of the data, two at once
on two cores; then, in rounds, points that the surrogate of `replay.py` predicts to be best, so that it is right where a
search ends and not only where it begins. All of it takes about an hour there. It writes after every point, and goes on
where it was when it is run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.data import registry as data_registry
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs import machine
from cnn_tuner.runs.records import EpochEnded, Job, JobDone, Result
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, sample_feasible
from cnn_tuner.spaces.tree import Point

SPACE = "seven_steps"
SEED = 4  # of the points; each point's own seed is its place
TRAIN_IMAGES, VAL_IMAGES = 1_500, 1_000
RANDOM_POINTS = 200
ROUNDS, PROMISING = 2, 12  # rounds, and points of each
CANDIDATES, CLIMBS, NEIGHBOURS = 3_000, 8, 10
OBJECTIVE = Objective("val_accuracy", "max")


def part_of(dataset: Dataset) -> Dataset:
    """Some training and validation images of a dataset, drawn at random, and one to test on."""
    rng = np.random.default_rng(SEED)

    def some(part: Part, count: int) -> Part:
        places = np.sort(rng.permutation(len(part))[:count])
        return Part(np.ascontiguousarray(part.x[places]), np.ascontiguousarray(part.y[places]))

    parts = some(dataset.train, TRAIN_IMAGES), some(dataset.val, VAL_IMAGES), some(dataset.test, 1)
    return Dataset(dataset.name, dataset.source, dataset.task, dataset.class_names, *parts)


def row(point: Point, shape: tuple[int, int, int], output: Output, result: Result) -> dict[str, Any]:
    """What the table keeps of a point. A point that failed has the curve that it had before, and the reason."""
    plan = build(point, shape, output)
    seconds = [round(epoch.seconds, 3) for epoch in result.epochs]
    return {
        "values": point,
        "params": plan.params,
        "macs": plan.macs,
        "failure": result.message if result.status == "failed" else "",
        "setup_seconds": round(max(0.0, result.seconds - math.fsum(seconds)), 3),
        "val_accuracy": [round(epoch.metrics["val_accuracy"], 4) for epoch in result.epochs],
        "seconds": seconds,
    }


def write(file: Path, table: dict[str, Any]) -> None:
    aside = file.with_suffix(".tmp")
    with gzip.GzipFile(aside, "wb", mtime=0) as packed:
        packed.write(json.dumps(table, separators=(",", ":")).encode())
    aside.replace(file)


class Trainer:
    """Trains points of a space to the end, side by side, and writes the table after each."""

    def __init__(self, table: dict[str, Any], file: Path, dataset: Dataset, workers: int, folder: Path) -> None:
        self.table, self.file, self.dataset, self.folder = table, file, dataset, folder
        self.output = Output(dataset.task, dataset.outputs)
        settings = Settings("cnn_tuner.training.fit:open_trainer", str(folder / "data"), slots=workers, threads=1)
        self.executor = ProcessExecutor(settings)

    def train(self, points: list[Point], kind: str) -> None:
        """Those of the points that the table does not have yet."""
        done = [each["values"] for each in self.table["points"]]
        left = [point for point in points if point not in done]
        running: dict[int, Point] = {}
        number = len(done)
        while left or running:
            while left and len(running) < self.executor.slots:
                number += 1
                running[number] = left.pop(0)
                self.executor.submit(self._job(number, running[number]))
            event = self.executor.next_event()
            if isinstance(event, JobDone):
                self._add(running.pop(event.result.job), event.result, kind)
            elif not isinstance(event, EpochEnded):
                raise SystemExit(f"point {event}: lost")

    def _job(self, number: int, point: Point) -> Job:
        epochs, state = self.table["epochs"], str(self.folder / f"{number}.npz")
        job = Job(number, number, point, self.dataset.image_shape, self.output, OBJECTIVE, epochs, number, state)
        return replace(job, course_steps=epochs * math.ceil(len(self.dataset.train) / int(point["batch_size"])))

    def _add(self, point: Point, result: Result, kind: str) -> None:
        (self.folder / f"{result.job}.npz").unlink(missing_ok=True)
        found = row(point, self.dataset.image_shape, self.output, result) | {"kind": kind}
        self.table["points"].append(found)
        write(self.file, self.table)
        best = max(found["val_accuracy"], default=0.0)
        print(f"{len(self.table['points'])}  {kind}  {best:.4f}  {result.seconds:.0f} s", flush=True)


def promising(file: Path, count: int, seed: int) -> list[Point]:
    """Points that the surrogate of `replay.py` predicts to be best, where its predictions are most to be doubted."""
    from surrogate import World, read

    world, rng = World(read(file), 0.0), random.Random(seed)
    points = world.random_points(CANDIDATES, rng)
    for _ in range(CLIMBS):
        expected = world.expected(points)
        best = [points[place] for place in np.argsort(-expected)[: 4 * count]]
        near = [world.table.space.neighbour(point, rng) for point in best for _ in range(NEIGHBOURS)]
        points = [*best, *(point for point in near if world.why(point) is None)]
    best = [points[place] for place in np.argsort(-world.expected(points))[: 4 * count]]
    return rng.sample(best, count)


def new_table(dataset: Dataset, workers: int) -> dict[str, Any]:
    chosen = tree.load(SPACE)
    return {
        "about": f"{SPACE} on a part of {dataset.name}; {machine.identity()}, {workers} workers of one thread",
        "space": chosen.source,
        "image_shape": list(dataset.image_shape),
        "classes": dataset.outputs,
        "epochs": chosen.defaults.epochs,
        "train_images": len(dataset.train),
        "val_images": len(dataset.val),
        "points": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", help="as for cnn-tuner tune --data")
    parser.add_argument("--points", type=int, default=RANDOM_POINTS, help="drawn at random")
    parser.add_argument("--workers", type=int, default=machine.cores())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("curves-fashion.json.gz"))
    asked = parser.parse_args()
    dataset = part_of(data_registry.load(asked.data, DataOptions()))
    table = new_table(dataset, asked.workers)
    if asked.output.exists():
        known = json.loads(gzip.decompress(asked.output.read_bytes()))
        if known["train_images"] != table["train_images"] or known["epochs"] != table["epochs"]:
            raise SystemExit(f"{asked.output}: is of another space or other data; choose another --output")
        table = known
    with tempfile.TemporaryDirectory() as name, shared(dataset, Path(name) / "data"):
        trainer = Trainer(table, asked.output, dataset, asked.workers, Path(name))
        try:
            chosen, output = tree.from_text(table["space"], SPACE), trainer.output
            trainer.train(sample_feasible(chosen, dataset.image_shape, output, asked.points, SEED), "random")
            for number in range(1, ROUNDS + 1):
                kind = f"promising {number}"
                missing = PROMISING - sum(point["kind"] == kind for point in table["points"])
                if missing > 0:
                    trainer.train(promising(asked.output, missing, number), kind)
        finally:
            trainer.executor.close()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
