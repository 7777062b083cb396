"""What passes between search, executors and store: plain, frozen, picklable records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.spaces.tree import Point

REFIT_DONE = "done"  # what a winner says of its refit where its weights are exported
CUT_SHORT = "its own training was cut short"  # what it says where its learning rate had not ended
AS_SEARCHED = "it was not trained to the end"  # the same of one whose final training never began
SPREAD = "_spread"  # ends the name of how far a metric differs over folds
REFIT = -1  # the replicate of a winner that is trained once more, on train and validation
TRUNK = -2  # the replicate of what a winner and its refit have in common before their learning rates fall
Status = Literal["running", "completed", "failed", "stopped"]
Prefer = Literal["accurate", "small"]  # the winner among finalists that are about as good
Precision = Literal["float32", "bfloat16"]  # in which layers compute; weights are float32 in both


@dataclass(frozen=True)
class Epoch:
    """One epoch of a trial, counted from 1: its metrics (`loss`, `val_accuracy`, ...) and its seconds.

    Example:
        >>> print([epoch.metrics["val_accuracy"] for epoch in run.best.epochs])
    """

    number: int
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Job:
    """Train one trial from `initial_epoch` up to `epochs`.

    `number` counts the jobs of a run in the order in which they began. A job leaves its training state in `state_file`,
    now and then and at its end, and takes up what an earlier attempt left there. Otherwise it begins with
    `initial_state`, where an earlier job of the same trial left its own; without that file it trains the trial from its
    first epoch, which gives the same. Its weights are the average that it keeps while it trains, at its end.

    Without `course_steps` no end is in sight: the learning rate grows for a moment and stays. With them it runs its
    course over so many batches, the last of which is the job's. `epoch_steps` are the batches of an epoch where it is
    not all images, drawn anew for each. `seconds` is how long the job may take from when it is submitted: where it
    would take longer, the end of the course is moved. With `with_val` it trains on the validation part too, and has no
    score. A `split` above 0 has training and validation part drawn anew from both by this number. With `folds` it
    trains a network for each of so many folds, on all others; its metrics are their means, its state is the first's.
    One that `grows` takes up the weights in `initial_state` whatever images and course they had, and begins its own
    course there, at its highest learning rate; without that file it fails.

    With `measures_latency`, one image's seconds are measured before anything is trained; a model that takes longer
    than `max_latency_seconds` fails.
    """

    number: int
    trial: int
    values: Point
    image_shape: tuple[int, int, int]
    output: Output
    objective: Objective
    epochs: int
    seed: int
    state_file: str
    initial_epoch: int = 0
    initial_state: str | None = None
    precision: Precision = "float32"
    attempt: int = 1
    course_steps: int = 0
    epoch_steps: int | None = None
    seconds: float | None = None
    with_val: bool = False
    split: int = 0
    folds: int = 0
    grows: bool = False
    measures_latency: bool = False
    max_latency_seconds: float | None = None


@dataclass(frozen=True)
class Result:
    """What became of a job: completed, stopped early by request, or failed for the reason in `message`.

    `score` is the objective at the end of what it trained, epoch `best_epoch`. `peak_bytes` is the most memory that its
    process had while the job ran; `latency_seconds` is what one image took, where it was measured;
    `params` and `macs` are told of a network whose size was not known before it was built.
    """

    job: int
    status: Status
    score: float | None
    best_epoch: int | None
    epochs: tuple[Epoch, ...]
    seconds: float
    message: str = ""
    attempt: int = 1
    peak_bytes: int | None = None
    latency_seconds: float | None = None
    params: int | None = None
    macs: int | None = None


@dataclass(frozen=True)
class JobPlaced:
    """An executor's event: a job is trained on this node of a cluster. One that is lost may be placed again."""

    job: int
    attempt: int
    where: str


@dataclass(frozen=True)
class EpochEnded:
    """An executor's event: a job finished an epoch."""

    job: int
    attempt: int
    epoch: Epoch


@dataclass(frozen=True)
class JobDone:
    """An executor's event: a job ended, well or by its own fault."""

    result: Result


@dataclass(frozen=True)
class JobLost:
    """An executor's event: a job ended by the machine's fault and may be run again."""

    job: int
    attempt: int
    reason: str


Event = JobPlaced | EpochEnded | JobDone | JobLost


@dataclass(frozen=True)
class Trial:
    """One point of the search space and what the search learned of it.

    `params` and `macs` are 0 where they are not known yet.

    `epochs` are those that the search trained, the ones of a job under way too; `epochs_done` counts those of ended
    jobs, and `state_job` is the last of them that left a training state. `where` is on which node of a cluster its last
    job is or was.

    Example:
        >>> print(run.best.number, run.best.values["learning_rate"], run.best.params, run.best.macs)
    """

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
    epochs_done: int = 0
    state_job: int | None = None
    latency_seconds: float | None = None
    epochs: tuple[Epoch, ...] = field(default=(), compare=False)
    where: str = field(default="", compare=False)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the score over folds; None where there are none."""
        metrics = self.epochs[-1].metrics if self.epochs and self.score is not None else {}
        return next((value for name, value in metrics.items() if name.endswith(SPREAD)), None)


@dataclass(frozen=True)
class JobRecord:
    """What the store knows of a job.

    `suggestion` is what the oracle said of it beside the point: its own id of the trial, and KerasTuner's `tuner/...`
    values; None is the final training of a finalist, by its own seed (`replicate` 0) or another, `TRUNK` or `REFIT`.
    `began` and `ended`
    are places in the order in which all jobs of the run began and ended; `ended` is None while it is under way.
    `losses` counts attempts that the machine lost.
    """

    number: int
    trial: int
    suggestion: dict[str, Any] | None
    initial_epoch: int
    epochs: int
    precision: Precision
    began: int = 0
    ended: int | None = None
    losses: int = 0
    status: Status = "running"
    score: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    message: str = ""
    peak_bytes: int | None = None
    started_at: float = 0.0
    replicate: int = 0

    @property
    def is_refit(self) -> bool:
        """Whether it trains the winner once more, on the training and validation part."""
        return self.replicate == REFIT

    @property
    def grows(self) -> bool:
        """Whether it is a part of the final training that begins with what was trained before it."""
        return self.suggestion is None and self.initial_epoch > 0

    def result(self) -> Result:
        """The job's result, as it was when it ended; its epochs stay in the store."""
        score, best = self.score, self.best_epoch
        return Result(self.number, self.status, score, best, (), self.seconds, self.message, peak_bytes=self.peak_bytes)


@dataclass(frozen=True)
class Finalist:
    """A trial that was trained to the end: the search's score, and one for each seed, its own first.

    `val_loss` is that of the seeds on average; where scores are equal it decides. With `splits` each seed but its own
    was trained and judged on parts of its own, drawn anew.
    """

    trial: int
    params: int
    search_score: float
    scores: tuple[float, ...]
    val_loss: float = 0.0
    splits: bool = False

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None for one seed."""
        if len(self.scores) < 2:
            return None
        return math.sqrt(sum((score - self.mean) ** 2 for score in self.scores) / (len(self.scores) - 1))


@dataclass(frozen=True)
class Baseline:
    """A simple model that was fitted on `images` of the training images: its metrics on validation and test part."""

    name: str
    images: int
    val: dict[str, float]
    test: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Winner:
    """The best trial after the final training.

    `search_score` is the objective that the search measured, `score` the one after the final training with the seed
    that reached most, and `float32_score` that of its best weights once more, in a new model that computes in float32
    as the exported one does. `test` holds the loss and metrics on the test part and `test_intervals` their 95 %
    intervals; it was looked at `looks` times: once for each winner that the run has had. `finalists` are those that it
    was chosen from, with the score of each seed, and `baselines` simple models on the same split. `refit` says whether
    its weights are those of a training on train and
    validation, whose twin on train alone has the score: "done", or why not. `passes` says how often the training images
    were shown in its `epochs`, those of the search having a part of them; 0 where it is not known. `temperature`
    is what its probabilities are to be tempered by, `thresholds` from which of them on a label is there, a unit each,
    as the validation part says; see `cnn_tuner.metrics`.
    """

    trial: int
    epochs: int
    best_epoch: int
    search_score: float
    score: float
    float32_score: float
    test: dict[str, float]
    test_images: int
    params: int
    macs: int
    seconds: float
    looks: int = 1
    job: int = 0
    test_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    finalists: tuple[Finalist, ...] = ()
    refit: str = ""
    baselines: tuple[Baseline, ...] = ()
    passes: float = 0.0
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()

    def best_baseline(self, metric: str, direction: str) -> Baseline | None:
        """The baseline with the best value of a metric on the test part."""
        known = [each for each in self.baselines if metric in each.test]
        pick = max if direction == "max" else min
        return pick(known, key=lambda each: each.test[metric], default=None)

    @property
    def finalist(self) -> Finalist | None:
        """The winner among the finalists."""
        return next((each for each in self.finalists if each.trial == self.trial), None)


def spread_name(objective: str) -> str:
    """What the standard deviation of a metric over folds is called."""
    return f"{objective}{SPREAD}"


def ranked(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Trials from the best to the worst: by score, of equals by the validation loss; those without a score last."""
    sign = -1 if objective.direction == "max" else 1
    return sorted(
        trials, key=lambda t: (t.score is None, sign * (t.score or 0.0), last_loss(t.epochs), t.params, t.number)
    )


def last_loss(epochs: Sequence[Epoch]) -> float:
    """On few images many trials have the same accuracy; the one that is surest of its answers is the better."""
    return epochs[-1].metrics.get("val_loss", 0.0) if epochs else 0.0
