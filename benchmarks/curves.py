"""A table of real learning curves, for replaying what an oracle would have done: `benchmarks/replay.py` reads it.

    .venv/bin/python benchmarks/curves.py idx:/usr/share/datasets/fashion-mnist

draws points of the space `seven_steps` at random and trains each of them to the end on a part of the data, two at once
on two cores. A point takes about 25 seconds there, all of them one and a half hours. It writes after every point, and
goes on where it was when it is run again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner import machine, space
from cnn_tuner.architecture import build, sample_feasible
from cnn_tuner.data import registry as data_registry
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.executor import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.records import EpochEnded, Job, JobDone, Result
from cnn_tuner.space import Point
from cnn_tuner.tasks import Objective, Output

SPACE = "seven_steps"
SEED = 4  # of the points; each point's own seed is its place
TRAIN_IMAGES, VAL_IMAGES = 1_500, 1_000
OBJECTIVE = Objective("val_accuracy", "max")


def part_of(dataset: Dataset) -> Dataset:
    """Some training and validation images of a dataset, drawn at random, and one to test on."""
    rng = np.random.default_rng(SEED)

    def some(part: Part, count: int) -> Part:
        places = np.sort(rng.permutation(len(part))[:count])
        return Part(np.ascontiguousarray(part.x[places]), np.ascontiguousarray(part.y[places]))

    parts = some(dataset.train, TRAIN_IMAGES), some(dataset.val, VAL_IMAGES), some(dataset.test, 1)
    return Dataset(dataset.name, dataset.source, dataset.task, dataset.class_names, *parts)


def row(point: Point, shape: tuple[int, int, int], output: Output, result: Result, epochs: int) -> dict[str, Any]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", help="as for cnn-tuner tune --data")
    parser.add_argument("--points", type=int, default=240)
    parser.add_argument("--workers", type=int, default=machine.cores())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("curves-fashion.json.gz"))
    asked = parser.parse_args()
    dataset = part_of(data_registry.load(asked.data, DataOptions()))
    chosen, output = space.load(SPACE), Output(dataset.task, dataset.outputs)
    epochs = chosen.defaults.epochs
    points = sample_feasible(chosen, dataset.image_shape, output, asked.points, SEED)
    table: dict[str, Any] = {
        "about": f"{SPACE} on a part of {dataset.name}; {machine.identity()}, {asked.workers} workers of one thread",
        "space": chosen.source,
        "image_shape": dataset.image_shape,
        "classes": output.units,
        "epochs": epochs,
        "train_images": len(dataset.train),
        "val_images": len(dataset.val),
        "points": [],
    }
    if asked.output.exists():
        known = json.loads(gzip.decompress(asked.output.read_bytes()))
        if known["space"] != chosen.source or known["train_images"] != table["train_images"]:
            raise SystemExit(f"{asked.output}: is of another space or other data; choose another --output")
        table["points"] = known["points"]
    done = [each["values"] for each in table["points"]]
    left = [number for number, point in enumerate(points) if point not in done]
    with tempfile.TemporaryDirectory() as folder, shared(dataset, Path(folder) / "data") as data:
        settings = Settings("cnn_tuner.training:open_trainer", str(data), slots=asked.workers, threads=1)
        executor = ProcessExecutor(settings)
        running = 0
        try:
            while left or running:
                while left and running < asked.workers:
                    number = left.pop(0)
                    state = str(Path(folder) / f"{number}.npz")
                    shape = dataset.image_shape
                    job = Job(number, number, points[number], shape, output, OBJECTIVE, epochs, number, state)
                    executor.submit(replace(job, schedule_epochs=epochs))
                    running += 1
                event = executor.next_event()
                if isinstance(event, EpochEnded):
                    continue
                running -= 1
                if not isinstance(event, JobDone):
                    raise SystemExit(f"point {event.job}: {event.reason}")
                Path(folder, f"{event.result.job}.npz").unlink(missing_ok=True)
                found = row(points[event.result.job], dataset.image_shape, output, event.result, epochs)
                table["points"].append(found)
                write(asked.output, table)
                best = max(found["val_accuracy"], default=0.0)
                print(f"{len(table['points'])}/{asked.points}  {best:.4f}  {event.result.seconds:.0f} s", flush=True)
        finally:
            executor.close()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
