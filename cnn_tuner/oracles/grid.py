"""Grid search: every feasible point of the space in order, each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keras_tuner.oracles import GridSearchOracle

from cnn_tuner.oracles.feasible import FeasibleOracle, Search
from cnn_tuner.spaces.tree import Point, SearchSpace

GRID_VALUES = 5  # of a continuous range, its ends included


def discretised(space: SearchSpace) -> SearchSpace:
    """`space` with every continuous range replaced by some values, evenly spread over it."""
    shares = [i / (GRID_VALUES - 1) for i in range(GRID_VALUES)]
    parameters = (
        replace(p, values=tuple(p.at(share) for share in shares)) if p.is_continuous else p for p in space.parameters
    )
    return replace(space, parameters=tuple(parameters))


class GridOracle(FeasibleOracle, GridSearchOracle):
    """KerasTuner's grid search with the grid walked by the space itself.

    KerasTuner finds the next point from the last one that was trained, which leaves no way to step over a point that
    cannot be trained.
    """

    def __init__(self, search: Search) -> None:
        super().__init__(replace(search, space=discretised(search.space)))
        self._points: Iterator[Point] = self.search.space.points()

    def _propose(self) -> Point | None:
        return next(filter(self.is_new, self._points), None)
