"""Which early score tells best what a network reaches in the end: on the real trainings of benchmarks/portfolio.py.

    .venv/bin/python benchmarks/portfolio.py train
    .venv/bin/python benchmarks/rungs.py

A search of few points is played many times: some of the table's networks are trained for a part of the time that an end
takes, and the best of them, or the best third, is taken. They are compared after as many images each, as much work
each, or something in between, all of the same cost together; by their score, by one that has something added for each
doubling of the cost, and the best third with one from each stratum of cost. Regret is what the taken ones' best reaches
below the best of the points drawn, in points of test accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import portfolio

from cnn_tuner.search.affordable import LEAST_EPOCHS
from cnn_tuner.search.final_plan import FALLING

POINTS, TAKEN = 9, 3
PLAYED = 2_000  # searches of a set and a length
SHARES = (1 / 27, 1 / 9, 1 / 3)  # of the work of an end that a rung takes on average
BONUSES = tuple(np.arange(0, 0.0305, 0.0025))  # of accuracy for each doubling of the cost


@dataclass(frozen=True)
class Task:
    """A set and a length of training: of each network (N,) its multiply-adds, what it reaches, and its work for that.

    `scores` answers the validation accuracy of each after so many images (N,).
    """

    name: str
    macs: np.ndarray
    ends: np.ndarray
    work: np.ndarray
    scores: Callable[[np.ndarray], np.ndarray]

    def after(self, share: float, exponent: float) -> np.ndarray:
        """Scores after a part of the work: images in proportion to a power of the cost, 0 the same for each, -1 of the
        same work for each.
        """
        images = self.macs**exponent
        return self.scores(images * share * self.work.sum() / (images * self.macs).sum())


def tasks(table: dict[str, Any]) -> Iterator[Task]:
    for name, ends in portfolio.ends_of(table).items():
        rows = [table[name][str(number)] for number in range(len(ends))]
        kept = [place for place, row in enumerate(rows) if row["passes"] >= LEAST_EPOCHS]  # as a search with a budget
        rows, ends = [rows[place] for place in kept], ends[kept]
        macs = np.array([row["macs"] for row in rows], float)
        images = np.array([row["images"] * len(row["curve"]) for row in rows]) / (1 - FALLING)
        yield Task(name, macs, ends, macs * images, lambda images, rows=rows: _scores(rows, images))


def _scores(rows: list[dict[str, Any]], images: np.ndarray) -> np.ndarray:
    """Between epochs in proportion; before the first one from nothing on, after the last one as it was."""
    return np.array([_score(row, each) for row, each in zip(rows, images, strict=True)])


def _score(row: dict[str, Any], images: float) -> float:
    seen = row["images"] * np.arange(len(row["curve"]) + 1)
    best = np.maximum.accumulate([0.0, *row["curve"]])
    return float(np.interp(images, seen, best))


def played(task: Task, score: np.ndarray, rng: np.random.Generator, strata: int = 1) -> tuple[float, float]:
    """Mean regret, in points, of the one with the best score, and of the best of TAKEN.

    With more strata the TAKEN are the best of each.
    """
    one, third = [], []
    for _ in range(PLAYED):
        drawn = rng.choice(len(score), POINTS, replace=False)
        best = task.ends[drawn].max()
        parts = np.array_split(drawn[np.argsort(task.macs[drawn])], strata)
        taken = [each for part in parts for each in part[np.argsort(-score[part])][: TAKEN // strata]]
        third.append(best - task.ends[taken].max())
        one.append(best - task.ends[drawn[score[drawn].argmax()]])
    return 100 * float(np.mean(one)), 100 * float(np.mean(third))


def rule(task: Task, share: float, exponent: float, bonus: float = 0.0, strata: int = 1) -> tuple[float, float]:
    score = task.after(share, exponent) + bonus * np.log2(task.macs)
    return played(task, score, np.random.default_rng(0), strata)


def set_of(task: Task) -> str:
    return task.name.rpartition(", ")[0]


def learned_bonus(others: list[Task], share: float, exponent: float) -> float:
    """The one with the least regret of the best third on other sets."""

    def regret(bonus: float) -> float:
        return sum(sum(rule(task, share, exponent, bonus)) for task in others)

    return float(min(BONUSES, key=regret))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = list(tasks(portfolio.read()))
    rules: dict[str, Callable[[Task, float], tuple[float, float]]] = {
        "same images": lambda task, share: rule(task, share, 0.0),
        "images by the root of the cost": lambda task, share: rule(task, share, -0.5),
        "same work": lambda task, share: rule(task, share, -1.0),
        "same images, one of each stratum": lambda task, share: rule(task, share, 0.0, strata=3),
        "same images, a bonus learned on other sets": lambda task, share: rule(
            task, share, 0.0, learned_bonus([each for each in found if set_of(each) != set_of(task)], share, 0.0)
        ),
    }
    print("| rule | " + " | ".join(f"{share:.0%} of the work" for share in SHARES) + " |")
    print("|---" * (len(SHARES) + 1) + "|")
    for name, each in rules.items():
        cells = []
        for share in SHARES:
            one, third = np.mean([each(task, share) for task in found], axis=0)
            cells.append(f"{one:.2f}, {third:.2f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for task in found:
        one, third = rule(task, SHARES[1], 0.0)
        print(f"{task.name}: {one:.2f}, {third:.2f}")


if __name__ == "__main__":
    main()
