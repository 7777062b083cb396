"""Small things that several tests need: a space, a dataset, a run, and an executor that trains nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.export.verify import Measured, Reading
from cnn_tuner.runs.config import DataConfig, RunConfig, SearchConfig, kept
from cnn_tuner.runs.records import Epoch, EpochEnded, Event, Job, JobDone, JobLost, JobPlaced, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.tree import Point, SearchSpace

SPACE = """
description: For tests.
blocks: 1
block:
  filters: [2, 4]
  pool_size: [1, 2]
  dropout: [0.0, 0.2]
dense:
  layers: [0, 1]
  units: [4, 8]
training:
  learning_rate: {min: 0.003, max: 0.03, sampling: log}
  batch_size: [16, 32]
search: {oracle: random}
"""
# Of its 18 points all fit on 8x8 images.
FINITE_SPACE = """
description: Few points.
blocks: [1, 2]
block:
  filters: [2, 3, 4]
  pool_size: 2
dense:
  layers: 1
  units: [4]
training:
  batch_size: [16]
"""
# A third convolution or pool does not fit on an 8x8 image in most points.
TIGHT_SPACE = """
description: Mostly infeasible on small images.
blocks: [3, 2, 1]
block:
  filters: [2, 3]
  kernel_size: [3, 5]
  padding: valid
  pool_size: [2, 3]
dense:
  layers: 0
training:
  learning_rate: {min: 0.001, max: 0.01, sampling: log}
"""


def toy_space(text: str = SPACE) -> SearchSpace:
    return tree.from_text(text, "toy")


def labels(task: str, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels of a task that the images tell: class i has a bright row i."""
    if task == "multiclass":
        return classes.astype(np.int32)
    if task == "binary":
        return (classes % 2).astype(np.float32)[:, None]
    if task == "multilabel":
        return np.stack([classes % 2 == 0, classes > 1, classes == 3], axis=1).astype(np.float32)
    return (100.0 + 50.0 * classes + rng.normal(0, 1, len(classes))).astype(np.float32)[:, None]


def toy_part(task: str, images: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    classes = np.arange(images) % 4
    x = rng.integers(0, 60, (images, 8, 8, 1), dtype=np.uint8)
    x[np.arange(images), 2 * classes] = 255
    return Part(x, labels(task, classes, rng))


NAMES = {
    "multiclass": ("zero", "one", "two", "three"),
    "binary": ("even", "odd"),
    "multilabel": ("is even", "is large", "is three"),
    "regression": ("brightness",),
}


def toy_dataset(task: str = "multiclass") -> Dataset:
    parts = [toy_part(task, images, seed) for seed, images in enumerate((96, 32, 40))]
    return Dataset("toy", "toy", task, NAMES[task], *parts)


def toy_config(space_text: str = SPACE, dataset: Dataset | None = None, **search: object) -> RunConfig:
    dataset = dataset or toy_dataset()
    space = toy_space(space_text)
    settings = {
        "oracle": "random",
        "objective": "val_accuracy",
        "direction": "max",
        "max_trials": 4,
        "epochs": 3,
        "final_epochs": 6,
        "finalists": 1,
        "final_seeds": 1,
        "seed": 0,
    }
    return RunConfig(
        created="2026-01-01T00:00:00+00:00",
        command="cnn-tuner tune",
        versions={"python": "3"},
        data=DataConfig(
            source="toy",
            name="toy",
            task=dataset.task,
            class_names=dataset.class_names,
            image_shape=dataset.image_shape,
            images=(len(dataset.train), len(dataset.val), len(dataset.test)),
            fingerprint=dataset.fingerprint,
            options={},
        ),
        space_name="toy",
        space_place="toy",
        space=kept(space),
        search=SearchConfig.model_validate(settings | search),
    )


def toy_run(folder: Path, space_text: str = SPACE, **search: object) -> RunStore:
    return RunStore.create(folder, "toy", toy_config(space_text, **search))


def formula(job: Job, epoch: int) -> float:
    """An objective that more filters, a hidden layer and more epochs improve, the same for the same point."""
    values = job.values
    filters = sum(int(v) for name, v in values.items() if name.endswith(".filters"))
    return round(0.5 + 0.01 * filters + 0.05 * int(values["dense_layers"]) + 0.01 * epoch, 6)


def invented_trials(
    space: SearchSpace,
    score: Callable[[Point], float],
    count: int,
    epochs: Callable[[int], int] = lambda number: 3,
    seed: int = 0,
) -> list[Trial]:
    """Trials at random points of `space`; each epoch brings a trial nearer to the `score` of its point."""
    rng = random.Random(seed)
    found = []
    for number in range(1, count + 1):
        values, last = space.sample(rng), epochs(number)
        told = tuple(Epoch(n, {"val_accuracy": score(values) - 5 / n}, 0.1) for n in range(1, last + 1))
        best = told[-1].metrics["val_accuracy"]
        found.append(Trial(number, values, number, 100, 1000, "completed", best, last, epochs=told))
    return found


class KilledError(BaseException):
    """What ends a process under way as a kill does: nothing after it is written any more."""


class FormulaExecutor:
    """Results from a formula instead of training.

    `node` is where all are trained, told if there is one. `fails` and `loses` name trials that fail, or are lost so
    often; `fails_from` trials that fail when they are trained on from that epoch or a later one; `killed_at` is the
    event, counted from 0, that no longer arrives.
    """

    def __init__(
        self,
        slots: int = 1,
        fails: tuple[int, ...] = (),
        loses: dict[int, int] | None = None,
        fails_from: int | None = None,
        killed_at: int | None = None,
        node: str = "",
    ) -> None:
        self.slots, self.fails, self.loses, self.fails_from = slots, fails, dict(loses or {}), fails_from
        self.node = node
        self.killed_at, self.told = killed_at, 0
        self.jobs: list[Job] = []
        self.events: list[Event] = []
        self.is_stopping = False

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        if self.node:
            self.events.append(JobPlaced(job.number, job.attempt, self.node))
        is_late = self.fails_from is not None and job.initial_epoch >= self.fails_from
        if self.loses.get(job.trial, 0) > 0:
            self.loses[job.trial] -= 1
            self.events.append(JobLost(job.number, job.attempt, "the machine went away"))
        elif job.trial in self.fails or is_late:
            self.events.append(JobDone(Result(job.number, "failed", None, None, (), 0.1, "it broke", job.attempt)))
        else:
            self._train(job)

    def _train(self, job: Job) -> None:
        epochs = tuple(
            Epoch(n, {"val_accuracy": formula(job, n), "val_loss": 1.0, "accuracy": 0.5, "loss": 1.0}, 0.1)
            for n in range(job.initial_epoch + 1, job.epochs + 1)
        )
        Path(job.state_file).parent.mkdir(exist_ok=True)
        Path(job.state_file).write_bytes(b"state")
        self.events += [EpochEnded(job.number, job.attempt, epoch) for epoch in epochs]
        score = formula(job, job.epochs)
        self.events.append(JobDone(Result(job.number, "completed", score, job.epochs, epochs, 0.1, "", job.attempt)))

    def next_event(self, seconds: float | None = None) -> Event:
        if self.told == self.killed_at:
            raise KilledError
        self.told += 1
        return self.events.pop(0)

    def stop(self) -> None:
        self.is_stopping = True

    def close(self) -> None: ...


class SlowAndFastExecutor(FormulaExecutor):
    """Jobs that end in any order, some of them much later than others."""

    def __init__(self, slots: int, rng: random.Random, killed_at: int | None = None) -> None:
        super().__init__(slots, killed_at=killed_at)
        self.rng = rng
        self.under_way: dict[int, tuple[float, list[Event]]] = {}

    def submit(self, job: Job) -> None:
        super().submit(job)
        self.under_way[job.number] = (self.rng.choice([0.02, 1.0, 1.0]), self.events)
        self.events = []

    def next_event(self, seconds: float | None = None) -> Event:
        numbers = sorted(self.under_way)
        [number] = self.rng.choices(numbers, [self.under_way[n][0] for n in numbers])
        self.events = self.under_way[number][1][:1]
        event = super().next_event()
        del self.under_way[number][1][0]
        if not self.under_way[number][1]:
            del self.under_way[number]
        return event


class NoLogs:
    """Logs that are not written, for tests in which they cost most of the time."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def read_nothing(patch: pytest.MonkeyPatch) -> None:
    """Has exports be made without the processes that read them again, which take seconds."""
    from cnn_tuner.search import winner  # loads TensorFlow

    def unread(readers: None, measured: Measured, exports: dict[str, Path]) -> dict[str, Reading]:
        return {name: Reading(0.0, measured.scores, {}) for name in exports}

    patch.setattr(winner, "Readers", lambda kinds: nullcontext())
    patch.setattr(winner, "verify", unread)
