"""How fast this machine trains: which split of its cores into workers, and which precision, by a short measurement.

Two processes of one thread train more images a second than one of two threads where networks are small, and half
precision pays only where the processor has instructions for it: both depend on the machine and on the networks, so
that a network of the search's own space is measured on the search's own images.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.memory import machine_bytes
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.base import Executor, Settings
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.metrics.tasks import Output, choose_objective
from cnn_tuner.runs import machine
from cnn_tuner.runs.folders import write_aside
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import EpochEnded, Job, JobDone, Precision
from cnn_tuner.search.gpus import found_gpus
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, sample_feasible
from cnn_tuner.spaces.tree import Point, SearchSpace

STOPWATCH = "cnn_tuner.training.stopwatch:open_stopwatch"
SECONDS = 1.5  # that each combination is measured
REFERENCE_IMAGES = (4096, 256, 1)  # of 28x28 pixels, for training, validation, test
REFERENCE = """
description: A network of usual size.
blocks: 2
block: {convolutions: 2, filters: [32], pool_size: 2}
dense: {layers: 1, units: [256]}
training: {batch_size: [128]}
"""
SMALL_MACS = 1_000_000  # of networks that gain nothing by half precision
NOT_BUILT = "not measured: these networks are built by the workers alone"
NOT_MEASURED = "not measured: this search is short"
POINTS = 25  # drawn at random, of which the median is measured
WORTH = 1.1  # times as fast has bfloat16 to be: it costs some accuracy while training
SHORT_SECONDS = 120.0  # of training: a search shorter than this is not worth measuring for
SHORT_BUDGET_SECONDS = 600.0  # a measurement takes about 20 seconds: a larger part of it than it would gain
MOST_IMAGES = 10_000.0  # a second: what a small network trains on, whatever its size
MACS_PER_SECOND = 3e10  # of larger ones, and backwards takes twice as many as forwards; both as seen on two cores


@dataclass(frozen=True)
class Speed:
    """Images a second of `workers` processes of `threads` threads each, all together, in one precision."""

    workers: int
    threads: int
    precision: Precision
    images_per_second: float

    def __str__(self) -> str:
        processes = f"{self.workers} x {self.threads} thread{'s' if self.threads != 1 else ''}"
        return f"{processes} in {self.precision}: {self.images_per_second:,.0f} images/s"


@dataclass(frozen=True)
class Subject:
    """What is measured: a network of this space for these images, which lie in `folder`."""

    space: SearchSpace
    image_shape: tuple[int, int, int]
    output: Output
    folder: str

    def typical_point(self) -> Point:
        """The median of some points of the space, by multiply-adds."""
        points = sample_feasible(self.space, self.image_shape, self.output, POINTS, seed=0)
        points.sort(key=lambda point: build(point, self.image_shape, self.output).macs)
        return points[len(points) // 2]

    def typical_macs(self) -> int:
        """The multiply-adds of the same."""
        return build(self.typical_point(), self.image_shape, self.output).macs

    def key(self, machine: str) -> str:
        """What the speeds depend on, in short."""
        facts = [machine, self.space.fingerprint, self.image_shape, asdict(self.output)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def splits(cores: int, most: int) -> list[int]:
    """The numbers of workers worth measuring: one a core, one for all, and between them where there are many cores."""
    between = 2 ** round(math.log2(cores) / 2) if cores >= 8 else 1
    return sorted({max(1, min(count, most)) for count in (1, between, cores)}, reverse=True)


def measure(
    subject: Subject, counts: list[int], cores: int, precisions: tuple[Precision, ...], gpus: tuple[str, ...] = ()
) -> list[Speed]:
    """The speed of each number of workers, in each precision; after the first number only in the best precision."""
    values = subject.typical_point()
    found: list[Speed] = []
    for count in counts:
        threads = max(1, cores // count)
        tried = precisions if not found else (fastest(found).precision,)
        settings = Settings(STOPWATCH, subject.folder, slots=count, threads=threads, gpus=gpus[:count])
        with _closing(ProcessExecutor(settings)) as executor:
            for precision in tried:
                jobs = [_job(subject, values, number, precision) for number in range(1, count + 1)]
                found.append(Speed(count, threads, precision, _images_per_second(executor, jobs)))
    return found


def fastest(speeds: list[Speed]) -> Speed:
    """The fastest; float32 where half precision is hardly faster."""
    exact = [speed for speed in speeds if speed.precision == "float32"]
    best = max(speeds, key=lambda speed: speed.images_per_second)
    if not exact or best.precision == "float32":
        return best
    best_exact = max(exact, key=lambda speed: speed.images_per_second)
    return best if best.images_per_second >= WORTH * best_exact.images_per_second else best_exact


def measure_reference() -> list[Speed]:
    """What `cnn-tuner doctor` shows: a network of usual size on random images of 28x28."""
    gpus, cores = found_gpus(), machine.cores()
    counts = [len(gpus)] if gpus else splits(cores, cores)
    return _reference_speeds(counts, cores, _precisions(None, bool(gpus)), gpus)


def room_speeds(room: int, threads: int) -> list[Speed]:
    """The same with so many workers of so many threads, as a cluster trains on one of its nodes."""
    found = found_gpus()
    gpus = tuple(found[slot % len(found)] for slot in range(room)) if found else ()
    return _reference_speeds([room], room * threads, _precisions(None, bool(gpus)), gpus)


def _reference_speeds(
    counts: list[int], cores: int, precisions: tuple[Precision, ...], gpus: tuple[str, ...]
) -> list[Speed]:
    rng = np.random.default_rng(0)
    train, val, test = (
        Part(rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.int32))
        for count in REFERENCE_IMAGES
    )
    dataset = Dataset("random", "random", "multiclass", tuple("0123456789"), train, val, test)
    with tempfile.TemporaryDirectory() as scratch, shared(dataset, Path(scratch) / "data") as folder:
        space = tree.from_text(REFERENCE, "reference")
        subject = Subject(space, (28, 28, 1), Output("multiclass", 10), str(folder))
        return measure(subject, counts, cores, precisions, gpus)


def machine_precision(count: int, gpus: tuple[str, ...]) -> tuple[Precision, str]:
    """In which precision this machine trains fastest, and how that is known: measured once, for all projects."""
    tried = _precisions(None, bool(gpus))
    if len(tried) == 1:
        return tried[0], NOT_MEASURED
    memory, key = machine.memory(), f"{machine.identity()}, {count} workers"
    speeds = remembered(memory, key)
    if not speeds:
        speeds = _reference_speeds([count], machine.cores(), tried, gpus)
        with suppress(OSError):  # a home that cannot be written has it measured each time
            remember(memory, key, speeds)
    return fastest(speeds).precision, "measured once on this machine: " + ", ".join(map(str, speeds))


@contextmanager
def _closing(executor: ProcessExecutor) -> Iterator[ProcessExecutor]:
    try:
        yield executor
    finally:
        executor.close()


def _job(subject: Subject, values: Point, number: int, precision: Precision) -> Job:
    objective = choose_objective(subject.output.task, None)
    job = Job(number, number, values, subject.image_shape, subject.output, objective, 1, seed=number, state_file="")
    return replace(job, precision=precision)


def _images_per_second(executor: Executor, jobs: list[Job]) -> float:
    """What all jobs together train on from the moment that each of them is under way."""
    for job in jobs:
        executor.submit(job)
    first: dict[int, tuple[float, float]] = {}
    last: dict[int, tuple[float, float]] = {}
    began, ended = math.inf, 0
    while ended < len(jobs):
        event = executor.next_event()
        match event:
            case EpochEnded(number, _, reading):
                last[number] = (reading.seconds, reading.metrics["images"])
                if len(last) == len(jobs):
                    began = min(began, monotonic())
                    first.setdefault(number, last[number])
                if monotonic() - began > SECONDS:
                    executor.stop()
            case JobDone():
                ended += 1
            case _:
                return 0.0  # it died: nothing that a search should be trained with
    spans = [(last[number][0] - seconds, last[number][1] - images) for number, (seconds, images) in first.items()]
    if len(spans) < len(jobs) or not all(seconds for seconds, _ in spans):
        return 0.0  # too slow for two readings
    return sum(images / seconds for seconds, images in spans)


def choose(asked: Workers, precision: Precision | None, subject: Subject, length: Length, memory: Path) -> Workers:
    """With what a run is trained: what was asked for, the rest by what this machine trains fastest with.

    Args:
        asked: what the person said.
        precision: of a run that has trained already.
        subject: what to measure, where it has to be.
        length: of the search.
        memory: the file that remembers what was measured.
    """
    precision = precision or asked.precision
    if asked.executor == "inline":
        return replace(asked, count=1, precision=precision or "float32")
    if asked.cluster is not None:
        return machine.on_cluster(asked, precision)
    gpus, cores = found_gpus(), machine.cores()
    room = int(0.8 * machine_bytes() / machine.WORKER_BYTES)
    most = len(gpus) or max(1, min(cores, room, cores if length.trials is None else length.trials))
    counts = [asked.count] if asked.count else [most] if gpus else splits(cores, most)
    if subject.space.hypermodel:  # whose networks are built by workers alone
        best, reason = Speed(counts[0], 1, precision or "float32", 0.0), NOT_BUILT
    elif precision is None or len(counts) > 1:
        if not asked.must_measure and length.is_short(subject):
            best, reason = _without_measuring(counts[0], precision, subject, gpus)
        else:
            tried = _precisions(precision, bool(gpus))
            speeds = _measured(subject, counts, cores, tried, gpus, memory)
            best, reason = fastest(speeds), "measured: " + ", ".join(map(str, speeds))
    else:
        best, reason = Speed(counts[0], 1, precision, 0.0), ""
    return replace(
        asked,
        count=best.workers,
        threads=max(1, cores // best.workers),
        precision=best.precision,
        gpus=gpus[: best.workers],
        memory_bytes=machine.memory_share(best.workers) if asked.memory_bytes is None else asked.memory_bytes,
        reason=reason,
    )


def _without_measuring(
    count: int, precision: Precision | None, subject: Subject, gpus: tuple[str, ...]
) -> tuple[Speed, str]:
    """For a search that is too short to measure its own networks."""
    reason = NOT_MEASURED
    if precision is None and subject.typical_macs() >= SMALL_MACS:
        precision, reason = machine_precision(count, gpus)
    return Speed(count, 1, precision or "float32", 0.0), reason


def _precisions(given: Precision | None, has_gpu: bool) -> tuple[Precision, ...]:
    if given is not None:
        return (given,)
    return ("float32", "bfloat16") if has_gpu or machine.has_bfloat16() else ("float32",)


@dataclass(frozen=True)
class Length:
    """How much a search trains at most: so many trials of so many epochs of so many images, or for so long."""

    trials: int | None
    budget_seconds: float | None
    epochs: int
    images: int

    def is_short(self, subject: Subject) -> bool:
        """Whether a measurement would take longer than what it could gain."""
        if self.budget_seconds is not None and self.budget_seconds < SHORT_BUDGET_SECONDS:
            return True
        return self.trials is not None and self._seconds(subject, self.trials) < SHORT_SECONDS

    def _seconds(self, subject: Subject, trials: int) -> float:
        """About how long so many trials take, of the space's median network."""
        return trials * self.epochs * self.images / min(MOST_IMAGES, MACS_PER_SECOND / (3 * subject.typical_macs()))


def _measured(
    subject: Subject,
    counts: list[int],
    cores: int,
    precisions: tuple[Precision, ...],
    gpus: tuple[str, ...],
    memory: Path,
) -> list[Speed]:
    key = subject.key(f"{machine.identity()}, {counts}, {precisions}")
    speeds = remembered(memory, key)
    if not speeds:
        speeds = measure(subject, counts, cores, precisions, gpus)
        remember(memory, key, speeds)
    return speeds


def remembered(file: Path, key: str) -> list[Speed]:
    """What was measured before, empty if nothing was."""
    try:
        return [Speed(**speed) for speed in json.loads(file.read_text(encoding="utf-8"))[key]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def remember(file: Path, key: str, speeds: list[Speed]) -> None:
    """Keeps what was measured, for the next run on this machine."""
    try:
        known = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_aside(file, json.dumps(known | {key: [asdict(speed) for speed in speeds]}, indent=1) + "\n")
