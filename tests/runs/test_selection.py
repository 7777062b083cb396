"""Choosing trials by conditions, and sorting them by any column."""

from __future__ import annotations

import pytest

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.records import Trial
from cnn_tuner.runs.selection import select

OBJECTIVE = Objective("val_accuracy", "max")
NAMES = ("blocks", "block_1.padding", "dense_1.units")


def trial(number: int, score: float | None, params: int, status: str = "completed", **values) -> Trial:
    point = {"blocks": 1, "block_1.padding": "same"} | {
        name.replace("__", "."): value for name, value in values.items()
    }
    return Trial(number, point, 0, params, 10 * params, status, score, best_epoch=None if score is None else number)


TRIALS = [
    trial(1, 0.5, 300, blocks=2),
    trial(2, 0.9, 100, dense_1__units=16),
    trial(3, None, 50, "failed"),
    trial(4, 0.7, 200, block_1__padding="valid", dense_1__units=8),
]


def chosen(*where: str, sort: str = "score", limit: int | None = None) -> list[int]:
    return [found.number for found in select(TRIALS, OBJECTIVE, NAMES, where, sort, limit)]


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ((), [2, 4, 1, 3]),
        (("params<=200",), [2, 4, 3]),
        (("params <= 200", "score>0.8"), [2]),
        (("params<1,000",), [2, 4, 1, 3]),
        (("status=failed",), [3]),
        (("status!=failed",), [2, 4, 1]),
        (("block_1.padding=valid",), [4]),
        (("dense_1.units>=8",), [2, 4]),
        (("blocks=2",), [1]),
        (("blocks=7",), []),
    ],
)
def test_every_condition_has_to_hold(where, numbers):
    assert chosen(*where) == numbers


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("trial", [1, 2, 3, 4]),
        ("-trial", [4, 3, 2, 1]),
        ("params", [3, 2, 4, 1]),
        ("-params", [1, 4, 2, 3]),
        ("dense_1.units", [4, 2, 1, 3]),
        ("-dense_1.units", [2, 4, 1, 3]),
        ("block_1.padding", [2, 1, 3, 4]),
    ],
)
def test_trials_are_sorted_and_those_without_the_column_come_last(sort, numbers):
    assert chosen(sort=sort) == numbers


def test_so_many_at_most():
    assert chosen(limit=2) == [2, 4]


@pytest.mark.parametrize(
    ("where", "sort", "text"),
    [
        (("params",), "score", r"--where: must be a column, one of <= >= != < > = and a value, got 'params'"),
        (
            ("size<3",),
            "score",
            r"--where: unknown column: 'size'; choices: trial, score, .*, blocks, block_1.padding, den",
        ),
        (("params<big",), "score", r"--where: 'params<big': must be compared with a number, got 'big'"),
        ((), "-size", r"--sort: unknown column: 'size'; choices: trial, score, "),
    ],
)
def test_what_cannot_be_asked_is_one_clear_line(where, sort, text):
    with pytest.raises(UsageError, match=text):
        chosen(*where, sort=sort)
