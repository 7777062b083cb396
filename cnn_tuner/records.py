"""What passes between search, executors and store: plain, frozen, picklable records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from cnn_tuner.space import Point
from cnn_tuner.tasks import Objective, Output

Status = Literal["running", "completed", "failed", "stopped"]


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial, counted from 1: its metrics (`loss`, `val_accuracy`, ...) and its seconds."""

    number: int
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Job:
    """Train one trial from `initial_epoch` up to `epochs`.

    `initial_epoch` 0 starts anew; otherwise the job takes up the state that an earlier job of the same trial left in
    `state_file`. Every job leaves its state there. With `patience`, training ends when that many epochs in a row
    brought no better objective.
    """

    trial: int
    values: Point
    image_shape: tuple[int, int, int]
    output: Output
    objective: Objective
    epochs: int
    seed: int
    state_file: str
    initial_epoch: int = 0
    patience: int | None = None
    attempt: int = 1


@dataclass(frozen=True)
class Result:
    """What became of a job: completed, stopped early by request, or failed for the reason in `message`.

    `score` is the best objective over all epochs of the trial so far, reached in epoch `best_epoch`.
    """

    trial: int
    status: Status
    score: float | None
    best_epoch: int | None
    epochs: tuple[Epoch, ...]
    seconds: float
    message: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class EpochEnded:
    """An executor's event: a job finished an epoch."""

    trial: int
    attempt: int
    epoch: Epoch


@dataclass(frozen=True)
class JobDone:
    """An executor's event: a job ended, well or by its own fault."""

    result: Result


@dataclass(frozen=True)
class JobLost:
    """An executor's event: a job ended by the machine's fault and may be run again."""

    trial: int
    attempt: int
    reason: str


Event = EpochEnded | JobDone | JobLost


@dataclass(frozen=True)
class Trial:
    """One point of the search space and what the search learned of it."""

    number: int
    values: Point
    seed: int
    params: int
    macs: int
    status: Status = "running"
    score: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    message: str = ""
    started_at: float = 0.0
    epochs: tuple[Epoch, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Winner:
    """The best trial after its final training.

    `search_score` is the objective that the search measured, `score` the one after the final training; `test` holds
    the loss and metrics on the test part, which was looked at once.
    """

    trial: int
    epochs: int
    best_epoch: int
    search_score: float
    score: float
    test: dict[str, float]
    test_images: int
    params: int
    macs: int
    seconds: float


def ranked(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Trials from the best to the worst: by score, of equals the smaller model first; those without a score last."""
    sign = -1 if objective.direction == "max" else 1
    return sorted(trials, key=lambda t: (t.score is None, sign * (t.score or 0.0), t.params, t.number))
