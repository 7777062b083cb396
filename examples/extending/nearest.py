"""The oracle nearest: of some random points the one that is most like the best trial so far."""

from __future__ import annotations

from keras_tuner.oracles import RandomSearchOracle

from cnn_tuner.oracles.feasible import FeasibleOracle
from cnn_tuner.spaces.tree import Point

CANDIDATES = 20


class NearestOracle(FeasibleOracle, RandomSearchOracle):
    """What it draws depends on the seed and on the trials alone, so that a run can be gone on with."""

    learns = True
    is_anytime = True

    def _propose(self) -> Point | None:
        points, best = self.random_points(CANDIDATES), self.get_best_trials(1)
        if not points:
            return self._random_values()
        if not best:
            return points[0]
        known = best[0].hyperparameters.values
        return max(points, key=lambda point: sum(known.get(name) == value for name, value in point.items()))
