"""Throughput of `--workers auto` against one process with all threads: the same trials, in turn, in one run.

    .venv/bin/python benchmarks/workers.py [--data digits] [--space quick] [--trials 12] [--epochs 6] [--rounds 2]

Prints the seconds of each turn (from the first job to the last result; the start of the processes is told apart) and
the ratio of the two, of images trained on a second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cnn_tuner.data import registry
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.metrics.tasks import Output, choose_objective
from cnn_tuner.runs import machine
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import EpochEnded, Job, JobDone
from cnn_tuner.search import measuring
from cnn_tuner.search.session import TRAINER
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, sample_feasible


def jobs_of(subject: measuring.Subject, count: int, epochs: int, folder: Path, precision: str) -> list[Job]:
    """The trials: points of the space drawn at random, the costliest first so that the last one does not wait alone."""
    points = sample_feasible(subject.space, subject.image_shape, subject.output, count, seed=1)
    points.sort(key=lambda point: -build(point, subject.image_shape, subject.output).macs)
    objective = choose_objective(subject.output.task, None)
    shape, output = subject.image_shape, subject.output
    return [
        Job(n, n, point, shape, output, objective, epochs, n, str(folder / f"{n}.npz"), precision=precision)
        for n, point in enumerate(points, 1)
    ]


def train_all(workers: Workers, data: str, jobs: list[Job]) -> tuple[float, float]:
    """Seconds until every process was ready, and seconds of training all jobs."""
    began = time.perf_counter()
    settings = Settings(TRAINER, data, slots=workers.count or 1, threads=workers.threads)
    executor = ProcessExecutor(settings)
    try:
        for slot in range(executor.slots):  # a short job in each: they are ready, and have run before
            warm_up = f"{jobs[-1].state_file}-{slot}"
            executor.submit(replace(jobs[-1], number=10_000 + slot, epochs=1, state_file=warm_up))
        for _ in range(executor.slots):
            drain(executor)
        ready = time.perf_counter()
        waiting, under_way = list(jobs), 0
        while waiting or under_way:
            while waiting and under_way < executor.slots:
                executor.submit(waiting.pop(0))
                under_way += 1
            drain(executor)
            under_way -= 1
        return ready - began, time.perf_counter() - ready
    finally:
        executor.close()


def drain(executor: ProcessExecutor) -> None:
    """Waits for the next result."""
    while isinstance(event := executor.next_event(), EpochEnded):
        pass
    assert isinstance(event, JobDone), event


def part_of(dataset: Dataset, images: int | None) -> Dataset:
    """The dataset with at most so many training images."""
    train = Part(dataset.train.x[:images], dataset.train.y[:images])
    return Dataset(dataset.name, dataset.source, dataset.task, dataset.class_names, train, dataset.val, dataset.test)


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of --workers auto against one process with all threads.")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="quick")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    dataset = part_of(registry.load(asked.data, DataOptions()), asked.images)
    output = Output(dataset.task, dataset.outputs)
    with tempfile.TemporaryDirectory() as scratch, shared(dataset, Path(scratch) / "data") as folder:
        subject = measuring.Subject(tree.load(asked.space), dataset.image_shape, output, str(folder))
        length = measuring.Length(10**6, None, 1, len(dataset.train))
        began = time.perf_counter()
        auto = measuring.choose(Workers(must_measure=True), None, subject, length, Path(scratch) / "measured.json")
        print(f"chosen in {time.perf_counter() - began:.0f} s: {auto} ({auto.reason})", flush=True)
        rivals = {"auto": auto, "one process": Workers(1, machine.cores(), "float32")}
        images = asked.trials * asked.epochs * len(dataset.train)
        rates: dict[str, list[float]] = {name: [] for name in rivals}
        for turn in range(asked.rounds):
            for name, workers in rivals.items():
                states = Path(scratch) / f"{name}-{turn}"
                jobs = jobs_of(subject, asked.trials, asked.epochs, states, workers.precision or "float32")
                start, seconds = train_all(workers, str(folder), jobs)
                rates[name].append(images / seconds)
                print(
                    f"{name:<12} start {start:5.1f} s, {seconds:6.1f} s, {images / seconds:8,.0f} images/s", flush=True
                )
        ratios = [a / b for a, b in zip(rates["auto"], rates["one process"], strict=True)]
        print(f"ratio {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
