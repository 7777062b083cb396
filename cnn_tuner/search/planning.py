"""What a budget buys, before anything is searched: the space, what is infeasible, measured epochs, trials expected.

Three points of the space, a small, a median and a large one, are trained for a moment on the run's own images, by as
many workers at once as the search would have.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import nnls

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.shared import shared
from cnn_tuner.errors import SearchError
from cnn_tuner.executors import forking, registry
from cnn_tuner.executors.base import Executor, settings_of
from cnn_tuner.runs import machine
from cnn_tuner.runs.budget import ENOUGH_EPOCHS, TYPICAL_POINTS, final_room
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import EpochEnded, Job, JobDone, JobLost
from cnn_tuner.search import measuring
from cnn_tuner.search.affordable import GUESSED_RATE, Affordable
from cnn_tuner.search.final_plan import Pace, plan_final
from cnn_tuner.search.forecast import FORK_SECONDS, export_seconds
from cnn_tuner.search.session import MEASURED, TRAINER
from cnn_tuner.spaces.architecture import (
    FEASIBILITY_DRAWS,
    Architecture,
    build,
    kind_of_reason,
    sample_feasible,
    why_infeasible,
)
from cnn_tuner.spaces.recipe import recipe_of
from cnn_tuner.spaces.tree import Point, Size

if TYPE_CHECKING:
    from cnn_tuner.oracles.feasible import FeasibleOracle

Sample = list[tuple[Point, Architecture]]
DRAWS = 300  # points whose cost is averaged
PLACES = {"small": 0.05, "median": 0.5, "large": 0.99}  # of the measured points, in the order of multiply-adds
IMAGES, LEAST_IMAGES = 4096, 256  # for training: an epoch of them is a matter of seconds, and scales
EPOCH_SECONDS = 2.0  # of the large point, about: fewer images do for larger networks
LATER_EPOCHS = 2  # after the first, whose kernels are still being chosen
SECONDS = 1.5  # that the later epochs take at least together
MOST_SECONDS = 30.0  # of one point
ITERATIONS = 20  # of a number that settles after a few
REASONS = 3  # why points are infeasible: so many are told


@dataclass(frozen=True)
class Measured:
    """One point of the space: an epoch of all images, and what a job takes beside its epochs."""

    name: str
    values: Point
    params: int
    macs: int
    epoch_seconds: float
    setup_seconds: float


@dataclass(frozen=True)
class Plan:
    """What a search is expected to do. Seconds are wall clock; a share is of all points drawn at random.

    `trials` and `epochs` are those of the search, None where nothing limits it but the space; `seconds` is when all
    is expected to be done.
    """

    size: Size
    infeasible_share: float
    reasons: tuple[tuple[str, float], ...]
    workers: Workers
    points: tuple[Measured, ...]
    startup_seconds: float
    search_seconds: float
    final_seconds: float
    export_seconds: float
    trials: float
    epochs: float
    epochs_a_point: float

    @property
    def seconds(self) -> float:
        return self.startup_seconds + self.search_seconds + self.final_seconds + self.export_seconds

    def to_dict(self) -> dict[str, Any]:
        """The plan for machines."""
        facts = asdict(self) | {"size": str(self.size), "workers": str(self.workers), "seconds": self.seconds}
        return {name: None if value == math.inf else value for name, value in facts.items()}


def make_plan(config: RunConfig, dataset: Dataset, workers: Workers, runs: Path, loading_seconds: float = 0.0) -> Plan:
    """Measures and calculates.

    `runs` is where what was measured of this machine is remembered, `loading_seconds` what was needed to get here.

    Raises:
        UsageError: the run has networks of a person's own, of which nothing is known before they are built.
        SearchError: the points could not be trained.
    """
    config.check_seven_steps("plan")
    sample = _sample(config)
    measurable = _measurable(config, sample)
    part = _part_of(dataset, _images(measurable))
    with tempfile.TemporaryDirectory() as folder, shared(part, Path(folder) / "data") as data:
        chosen = _choose(config, dataset, workers, data, runs)
        crowding = machine.crowding(chosen, is_driver_loading="tensorflow" not in sys.modules)
        began = monotonic()
        executor = registry.create(chosen.executor, settings_of(chosen, TRAINER, data))
        try:
            from cnn_tuner.search.suggesting import make_oracle  # loads TensorFlow while the workers do, as in a search

            oracle = make_oracle(config)
            startup = monotonic() - began
            scale = len(dataset.train) / len(part.train)
            after, points = _measure_points(config, measurable, scale, chosen, executor, Path(folder))
        finally:
            executor.close()
    server = forking.current()
    process = None if server is None else server.loading_seconds
    start = Start(loading_seconds, startup + after, crowding, process)
    return _calculated(config, sample, oracle, chosen, start, points)


def _images(sample: Sample) -> int:
    """How many images an epoch of seconds has, even of a large point."""
    _, large = _point(sample, PLACES["large"])
    return max(LEAST_IMAGES, min(IMAGES, int(EPOCH_SECONDS * GUESSED_RATE / large.macs)))


def _part_of(dataset: Dataset, images: int) -> Dataset:
    """So many images for training, where there are more, and as many for validation as their share is."""
    scale = max(1.0, len(dataset.train) / images)

    def some(part: Part) -> Part:
        count = max(1, round(len(part) / scale))
        return Part(part.x[:count], part.y[:count])

    return replace(dataset, train=some(dataset.train), val=some(dataset.val))


def _choose(config: RunConfig, dataset: Dataset, workers: Workers, data: Path, runs: Path) -> Workers:
    search = config.search
    subject = measuring.Subject(config.search_space(), config.data.image_shape, config.output, str(data))
    length = measuring.Length(search.max_trials, search.budget_seconds, search.epochs, len(dataset.train))
    precision = None if search.precision == "auto" else search.precision
    return measuring.choose(workers, precision, subject, length, runs / MEASURED)


def _sample(config: RunConfig) -> Sample:
    """Feasible points drawn at random, from the fewest multiply-adds to the most."""
    shape, output = config.data.image_shape, config.output
    points = sample_feasible(config.search_space(), shape, output, DRAWS, config.search.seed)
    return sorted(((point, build(point, shape, output)) for point in points), key=lambda pair: pair[1].macs)


def _measurable(config: RunConfig, sample: Sample) -> Sample:
    """Those that a search would try, as far as is known before anything is measured."""
    most = Affordable(config, machine.cores()).most_macs
    return [pair for pair in sample if pair[1].macs <= most] or sample


def _point(sample: Sample, place: float) -> tuple[Point, Architecture]:
    return sample[min(len(sample) - 1, int(place * len(sample)))]


def _measure_points(
    config: RunConfig, sample: Sample, scale: float, workers: Workers, executor: Executor, folder: Path
) -> tuple[float, tuple[Measured, ...]]:
    """When the first point began to be trained, in seconds from now, and the points.

    `scale` is how many times as long as the epochs that are measured one of all images is.
    """
    startup = 0.0
    found: list[Measured] = []
    numbers = iter(range(1, 10**6))
    for name, place in PLACES.items():
        values, plan = _point(sample, place)
        jobs = [_job(config, workers, values, next(numbers), folder) for _ in range(executor.slots)]
        timing = _timed(executor, jobs)
        if not found:
            startup = timing.startup_seconds
        epoch_seconds = config.work_share * scale * timing.epoch_seconds
        found.append(Measured(name, values, plan.params, plan.macs, epoch_seconds, timing.setup_seconds))
    return startup, tuple(found)


def _job(config: RunConfig, workers: Workers, values: Point, number: int, folder: Path) -> Job:
    return Job(
        number,
        number,
        values,
        config.data.image_shape,
        config.output,
        config.objective,
        10**9,
        number,
        str(folder / f"{number}.npz"),
        precision=workers.precision or "float32",
    )


@dataclass(frozen=True)
class _Timing:
    startup_seconds: float
    epoch_seconds: float
    setup_seconds: float


def _timed(executor: Executor, jobs: list[Job], clock: Callable[[], float] = monotonic) -> _Timing:
    """Trains the jobs side by side until each has told enough epochs.

    Raises:
        SearchError: one of them failed.
    """
    began = clock()
    seconds: dict[int, list[float]] = {job.number: [] for job in jobs}
    first_at: dict[int, float] = {}
    results: list[Any] = []
    for job in jobs:
        executor.submit(job)
    is_stopping = False
    while len(results) < len(jobs):
        left = began + MOST_SECONDS - clock()
        event = executor.next_event(None if is_stopping or left <= 0 else left)  # an epoch of each is waited for
        match event:
            case EpochEnded(number, _, epoch):
                seconds[number].append(epoch.seconds)
                first_at.setdefault(number, clock() - began - epoch.seconds)
            case JobDone(result) if result.status != "failed":
                results.append(result)
            case JobDone(result):
                raise SearchError(f"plan: a point cannot be trained: {result.message}")
            case JobLost(reason=reason):
                raise SearchError(f"plan: {reason}")
        is_over = clock() - began >= MOST_SECONDS and all(seconds.values())
        if not is_stopping and (is_over or all(map(_is_enough, seconds.values()))):
            is_stopping = True
            executor.stop()
    later = [statistics.median(each[1:] or each) for each in seconds.values()]
    epoch_seconds = statistics.mean(later)
    # What the first epoch takes longer is set-up: kernels are chosen and memory is taken.
    longer = [max(0.0, each[0] - epoch_seconds) for each in seconds.values()]
    inside = [result.seconds - math.fsum(epoch.seconds for epoch in result.epochs) for result in results]
    return _Timing(min(first_at.values()), epoch_seconds, statistics.mean(longer) + max(0.0, min(inside)))


def _is_enough(seconds: list[float]) -> bool:
    later = seconds[1:]
    return len(later) >= LATER_EPOCHS and sum(later) >= SECONDS


@dataclass(frozen=True)
class Start:
    """Seconds before the workers are started, and from then on to the first epoch, when so many shared a core.

    `process`: of a process that loads TensorFlow, where a fork server did and the workers are its copies.
    """

    loading: float
    workers: float
    crowding: float = 1.0
    process: float | None = None


def _calculated(
    config: RunConfig,
    drawn: Sample,
    oracle: FeasibleOracle,
    workers: Workers,
    startup: Start,
    points: tuple[Measured, ...],
) -> Plan:
    space, search, slots = config.search_space(), config.search, workers.count or 1
    images = config.epoch_share * config.data.images[0]
    rates = [point.macs * images * max(1, config.data.folds) / point.epoch_seconds for point in points]
    most_macs = Affordable(config, slots, rates).most_macs
    sample = [(point, plan) for point, plan in drawn if plan.macs <= most_macs]
    if oracle.learns:
        sample = sample[len(sample) // 2 :]  # what a model suggests: good networks are seldom among the smallest
    epoch_seconds = _mean_epoch_seconds(round(images), points, sample)
    setup_seconds = max(point.setup_seconds for point in points)  # of searches that were run it is that of most

    def each(points: float) -> float:
        """The seconds of a point on average, in a search of so many."""
        return oracle.setups_a_point(points) * setup_seconds + oracle.epochs_a_point(points) * epoch_seconds

    start = max(0.0, startup.workers - setup_seconds)
    alone = startup.workers / startup.crowding  # until a network is set up
    process = alone if startup.process is None else startup.process + setup_seconds
    export = export_seconds(config, process, epoch_seconds / config.work_share)
    start += startup.loading
    trials = math.inf if search.max_trials is None else float(search.max_trials)
    if space.is_finite():
        trials = min(trials, float(space.size().points))
    # The time is kept free for the largest network that the search may find.
    largest = max(point.epoch_seconds * min(1.0, most_macs / point.macs) for point in points) / config.work_share
    asked = TYPICAL_POINTS if math.isinf(trials) else max(1.0, trials)
    worker = alone if startup.process is None else FORK_SECONDS + setup_seconds
    pace = Pace(largest, (largest,) * search.finalists, setup_seconds, worker, slots)
    enough = worker + pace.wide(ENOUGH_EPOCHS)
    share = None if search.budget_seconds is None else final_room(search.budget_seconds, enough)
    final = plan_final(search, pace, share, trials * oracle.epochs_a_point(asked)).seconds
    if search.budget_seconds is not None:
        room = max(0.0, search.budget_seconds - start - final - export)
        affordable = 1.0
        for _ in range(ITERATIONS):  # the more points, the smaller the part of them that is promoted
            affordable = slots * room / each(max(1.0, affordable))
        trials = min(trials, affordable)
    share, reasons = infeasible(config)
    known_trials = TYPICAL_POINTS if math.isinf(trials) else max(1.0, trials)
    epochs_a_point = oracle.epochs_a_point(known_trials)
    return Plan(
        space.size(),
        share,
        reasons,
        workers,
        points,
        start,
        trials * each(known_trials) / slots,
        final,
        export,
        trials,
        trials * epochs_a_point,
        epochs_a_point,
    )


def _mean_epoch_seconds(images: int, points: tuple[Measured, ...], sample: list[tuple[Point, Architecture]]) -> float:
    """Of a sample of points: so much a batch, and so much a multiply-add, as fits the measured points best.

    By least squares of the relative errors, neither below 0; none is taken for longer or shorter than those measured.
    """

    def costs(values: Point, macs: int) -> tuple[float, float]:
        return math.ceil(images / recipe_of(values).batch_size), images * macs

    measured = np.array([costs(point.values, point.macs) for point in points])
    seconds = np.array([point.epoch_seconds for point in points])
    rates, _ = nnls(measured / seconds[:, None], np.ones(len(points)))
    expected = np.array([costs(values, plan.macs) for values, plan in sample]) @ rates
    return float(np.clip(expected, seconds.min(), seconds.max()).mean())


def infeasible(config: RunConfig) -> tuple[float, tuple[tuple[str, float], ...]]:
    """The share of points that cannot be trained, and the commonest kinds of reasons, each with its share."""
    space = config.search_space()
    reason, rng = why_infeasible(space, config.data.image_shape, config.output), random.Random(config.search.seed)
    found = Counter(kind_of_reason(reason(space.sample(rng))) for _ in range(FEASIBILITY_DRAWS))
    feasible = found.pop("", 0)
    told = tuple((text, count / FEASIBILITY_DRAWS) for text, count in found.most_common(REASONS))
    return 1 - feasible / FEASIBILITY_DRAWS, told
