"""What each task asks of the last layer, and the objectives it allows."""

import math

import pytest

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import TASKS, Objective, choose_objective

BY_CLASS = {"val_balanced_accuracy": "max", "val_macro_f1": "max"}
DIRECTIONS = {
    "binary": {"val_accuracy": "max", "val_auc": "max", "val_loss": "min"} | BY_CLASS,
    "multiclass": {"val_accuracy": "max", "val_loss": "min"} | BY_CLASS,
    "multilabel": {"val_accuracy": "max", "val_auc": "max", "val_loss": "min"},
    "regression": {"val_mae": "min", "val_rmse": "min", "val_loss": "min"},
}


@pytest.mark.parametrize(
    ("task", "activation", "loss"),
    [
        ("binary", "sigmoid", "binary_crossentropy"),
        ("multiclass", "softmax", "sparse_categorical_crossentropy"),
        ("multilabel", "sigmoid", "binary_crossentropy"),
        ("regression", "linear", "mean_squared_error"),
    ],
)
def test_a_task_has_its_activation_and_its_loss(task, activation, loss):
    assert (TASKS[task].name, TASKS[task].activation, TASKS[task].loss) == (task, activation, loss)


@pytest.mark.parametrize("task", TASKS)
def test_each_objective_of_a_task_has_its_direction(task):
    assert {name: choose_objective(task, name) for name in TASKS[task].objectives} == {
        name: Objective(name, direction) for name, direction in DIRECTIONS[task].items()
    }


@pytest.mark.parametrize(
    ("task", "default"),
    [
        ("binary", Objective("val_accuracy", "max")),
        ("multiclass", Objective("val_accuracy", "max")),
        ("multilabel", Objective("val_auc", "max")),
        ("regression", Objective("val_mae", "min")),
    ],
)
def test_a_task_has_a_default_objective(task, default):
    assert choose_objective(task, None) == default


@pytest.mark.parametrize(
    ("task", "name", "choices"),
    [
        ("binary", "val_mae", "val_accuracy, val_auc, val_balanced_accuracy, val_macro_f1, val_loss"),
        ("multiclass", "val_auc", "val_accuracy, val_balanced_accuracy, val_macro_f1, val_loss"),
        ("multilabel", "accuracy", "val_accuracy, val_auc, val_loss"),
        ("regression", "", "val_mae, val_rmse, val_loss"),
    ],
)
def test_an_unknown_objective_is_told_with_the_choices(task, name, choices):
    with pytest.raises(UsageError) as caught:
        choose_objective(task, name)
    assert str(caught.value) == f"--objective: unknown for a {task} task: {name!r}; choices: {choices}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("direction", "a", "b", "is_better"),
    [
        ("max", 0.9, 0.8, True),
        ("max", 0.8, 0.9, False),
        ("max", 0.8, 0.8, False),
        ("min", 0.8, 0.9, True),
        ("min", 0.9, 0.8, False),
        ("min", 0.8, 0.8, False),
        ("max", -math.inf, None, True),
        ("min", math.inf, None, True),
        ("max", math.nan, 0.1, False),
        ("min", math.nan, 0.1, False),
    ],
)
def test_a_better_score_is_better_by_the_direction(direction, a, b, is_better):
    assert Objective("val_loss", direction).is_better(a, b) is is_better
