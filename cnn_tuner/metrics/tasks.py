"""What the labels ask for decides the last layer, its loss, the metrics and the objectives.

| task       | output units      | activation | loss                            |
|------------|-------------------|------------|---------------------------------|
| binary     | 1                 | sigmoid    | binary cross-entropy            |
| multiclass | one a class       | softmax    | sparse categorical cross-entropy|
| multilabel | one a label       | sigmoid    | binary cross-entropy            |
| regression | one a target      | linear     | mean squared error              |
"""

from __future__ import annotations

from dataclasses import dataclass

from cnn_tuner.errors import UsageError

BY_CLASS = ("balanced_accuracy", "macro_f1")  # see `cnn_tuner.metrics.scores.told`


@dataclass(frozen=True)
class Task:
    """One kind of desired output. `metrics` maps a metric's name to its direction, "max" or "min".

    With `has_classes` an image is of one class; a search may then have the classes count alike.
    """

    name: str
    activation: str
    loss: str
    metrics: dict[str, str]
    default_objective: str
    has_classes: bool = False

    @property
    def objectives(self) -> dict[str, str]:
        """Every objective a search of this task can have, with its direction."""
        by_class = dict.fromkeys(BY_CLASS, "max") if self.has_classes else {}
        known = self.metrics | by_class
        return {f"val_{metric}": direction for metric, direction in known.items()} | {"val_loss": "min"}


TASKS = {
    task.name: task
    for task in (
        Task("binary", "sigmoid", "binary_crossentropy", {"accuracy": "max", "auc": "max"}, "val_accuracy", True),
        Task("multiclass", "softmax", "sparse_categorical_crossentropy", {"accuracy": "max"}, "val_accuracy", True),
        Task("multilabel", "sigmoid", "binary_crossentropy", {"accuracy": "max", "auc": "max"}, "val_auc"),
        Task("regression", "linear", "mean_squared_error", {"mae": "min", "rmse": "min"}, "val_mae"),
    )
}


@dataclass(frozen=True)
class Objective:
    """What a search improves: a validation metric and its direction, "max" or "min"."""

    name: str
    direction: str

    @property
    def metric(self) -> str:
        """Its name without `val_`."""
        return self.name.removeprefix("val_")

    def is_better(self, a: float, b: float | None) -> bool:
        """Whether score `a` beats score `b`; anything beats None."""
        return b is None or (a > b if self.direction == "max" else a < b)


@dataclass(frozen=True)
class Output:
    """The last layer: its task and its number of units.

    `scale` and `offset` hold one number a unit and turn the last layer's values into the targets' own unit
    (regression: standard deviation and mean of the training targets), so that targets of any size train alike.
    """

    task: str
    units: int
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()


def choose_objective(task: str, name: str | None) -> Objective:
    """The objective called `name`, or the task's default.

    Raises:
        UsageError: the task has no such objective.
    """
    choices = TASKS[task].objectives
    chosen = TASKS[task].default_objective if name is None else name
    if chosen not in choices:
        raise UsageError(f"--objective: unknown for a {task} task: {chosen!r}; choices: {', '.join(choices)}")
    return Objective(chosen, choices[chosen])
