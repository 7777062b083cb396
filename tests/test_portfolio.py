"""The pieces of benchmarks/portfolio.py and rungs.py that could be wrong without anybody seeing it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import portfolio
import rungs


def test_regret_is_one_for_the_median_point():
    assert portfolio.regrets(np.array([0.9, 0.8, 0.7])).tolist() == pytest.approx([0.0, 1.0, 2.0])


def test_each_of_a_portfolio_lowers_most_what_is_lost():
    """The best on average first, then the one that is good where that one is not, then the next best on average."""
    tasks = [np.array([0.1, 0.0, 0.9, 0.2]), np.array([0.3, 0.9, 0.0, 0.4])]
    assert portfolio.portfolio(tasks, 4) == [0, 2, 1, 3]


@pytest.mark.parametrize(("drawn", "reached", "needed"), [(24, 0.0, 1.0), (24, 0.9, 16.3), (24, 1.0, math.inf)])
def test_points_that_random_search_needs(drawn, reached, needed):
    """In half of all searches of so many points at least one is as good."""
    ends = np.linspace(0.1, 0.9, drawn)
    assert portfolio.points_needed(ends, reached) == pytest.approx(needed, abs=0.05)
    if math.isfinite(needed):
        share = (ends >= reached).mean()
        assert 1 - (1 - share) ** needed >= 0.5 - 1e-9
    assert portfolio.points_needed_of_none(drawn) == pytest.approx(16.3, abs=0.05)


def test_practices_are_distinct_and_the_same_each_time():
    found = portfolio.practices()
    assert found == portfolio.practices()
    assert len(set(found)) == portfolio.PRACTISED
    assert set(portfolio.KNOWN) <= set(found)


ROWS = [
    {"macs": 100, "images": 10, "curve": [0.5, 0.7, 0.6, 0.8], "passes": 20.0, "end": 0.85},
    {"macs": 400, "images": 10, "curve": [0.6, 0.9], "passes": 10.0, "end": 0.95},
    {"macs": 900, "images": 10, "curve": [0.9], "passes": 5.0, "end": 0.99},
]


def test_a_score_is_read_between_epochs_and_never_falls():
    read = [rungs._score(ROWS[0], images) for images in (5, 10, 15, 30, 400)]
    assert read == pytest.approx([0.25, 0.5, 0.6, 0.7, 0.8])


def test_rungs_of_the_same_cost_and_no_network_that_a_budget_leaves_out(monkeypatch):
    monkeypatch.setattr(portfolio, "PRACTISED", 2)
    monkeypatch.setattr(portfolio, "DRAWN", 1)
    [task] = rungs.tasks({"toy, short": {str(number): row for number, row in enumerate(ROWS)}})
    assert task.macs.tolist() == [100, 400]
    assert task.work.tolist() == pytest.approx([100 * 40 / 0.6, 400 * 20 / 0.6])
    cost = 0.1 * task.work.sum()
    same_images, same_work = cost / 500, [cost / 200, cost / 800]
    assert task.after(0.1, 0.0).tolist() == pytest.approx([rungs._score(row, same_images) for row in ROWS[:2]])
    expected = [rungs._score(row, images) for row, images in zip(ROWS, same_work, strict=False)]
    assert task.after(0.1, -1.0).tolist() == pytest.approx(expected)


def test_a_score_that_is_the_end_loses_nothing_and_a_wrong_one_does():
    macs = np.linspace(1, 12, 12)
    ends = np.linspace(0.5, 0.9, 12)
    task = rungs.Task("toy, short", macs, ends, macs, lambda images: ends)
    rng = np.random.default_rng(0)
    assert rungs.played(task, ends, rng) == (0.0, 0.0)
    one, third = rungs.played(task, -ends, rng)
    assert one > third > 0
