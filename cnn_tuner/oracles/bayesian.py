"""Bayesian optimization: a Gaussian process learns from the trials and suggests where the best may be.

Srinivas et al., 2010, https://arxiv.org/abs/0912.3995, for the confidence bound that is maximised here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from keras_tuner.oracles import BayesianOptimizationOracle
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from cnn_tuner.oracles.feasible import FeasibleOracle, Search
from cnn_tuner.spaces.tree import Point

RANDOM_CANDIDATES = 500
NEIGHBOURS = 20  # of each of the best points
BEST_POINTS = 10
MAX_RESULTS, MAX_RUNNING = 200, 100  # trials the process learns from, the latest: its cost grows with their cube
REFIT_GROWTH = 1.1  # of the number of results, until the kernel is fitted anew: that takes dozens of processes


def milestone(results: int) -> int:
    """The last number of results, at most `results`, at which the kernel is fitted."""
    found = 0
    while (following := max(found + 1, round(found * REFIT_GROWTH))) <= results:
        found = following
    return found


class BayesianOracle(FeasibleOracle, BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimization, its bound maximised over feasible, untried points.

    KerasTuner maximises over the continuous cube and rounds, which suggests points that cannot be built and points
    that were tried. Failed trials count as the worst score seen, running ones as the mean.
    """

    learns = True

    def __init__(self, search: Search) -> None:
        points = 10 if search.max_trials is None else max(3, min(10, search.max_trials // 3))
        super().__init__(search, num_initial_points=points)
        self.gpr = self._make_gpr()
        self._fitted = 0  # results to which the kernel is fitted

    def _make_gpr(self) -> GaussianProcessRegressor:
        kernel = Matern(nu=2.5, length_scale_bounds=(0.05, 20)) + WhiteKernel(1e-2, (1e-5, 1))
        return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=self.seed)

    def _propose(self) -> Point | None:
        scored = [trial for trial in self._known() if trial.status == "COMPLETED"]
        return self._random_values() if len(scored) < self.num_initial_points else self._most_promising()

    def _known(self) -> list[Any]:
        """The latest results and the latest trials under way."""
        running = islice(reversed(self.ongoing_trials.values()), MAX_RUNNING)
        return self._latest(len(self.end_order)) + self._of_space(running)

    def _latest(self, results: int) -> list[Any]:
        """The latest of the first so many results."""
        ids = self.end_order[max(0, results - MAX_RESULTS) : results]
        return self._of_space(self.trials[trial_id] for trial_id in ids)

    def _of_space(self, trials: Iterable[Any]) -> list[Any]:
        """Those whose points belong to this space: it may have been edited since a run began."""
        return [trial for trial in trials if self.search.space.contains(trial.hyperparameters.values)]

    def _most_promising(self) -> Point | None:
        candidates = self.random_points(RANDOM_CANDIDATES) + self._neighbours()
        if not candidates:
            return self._random_values()
        process = GaussianProcessRegressor(self._kernel(), optimizer=None, normalize_y=True)
        process.fit(*self._learned(self._known()))
        mean, deviation = process.predict(np.stack([self._vector(c) for c in candidates]), return_std=True)
        return candidates[int(np.argmin(mean - self.beta * deviation))]

    def _kernel(self) -> Any:
        """The kernel as it was fitted last, to what was known then: a restored search fits it to the same."""
        results = milestone(len(self.end_order))
        trials = self._latest(results)
        if results != self._fitted and any(trial.status == "COMPLETED" for trial in trials):
            with warnings.catch_warnings():
                # A length scale at the end of its range is an answer, not a fault: that hyperparameter does not matter.
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.gpr.fit(*self._learned(trials))
            self._fitted = results
        return self.gpr.kernel if self._fitted == 0 else self.gpr.kernel_

    def _neighbours(self) -> list[Point]:
        best = sorted(
            (trial for trial in self._known() if trial.status == "COMPLETED"),
            key=lambda trial: trial.score,
            reverse=self.objective.direction == "max",
        )[:BEST_POINTS]
        near = (
            self.search.space.neighbour(trial.hyperparameters.values, self.rng)
            for trial in best
            for _ in range(NEIGHBOURS)
        )
        return [point for point in near if self.is_new(point)]

    def _learned(self, trials: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Points that were tried, (trials, hyperparameters) in [0, 1], and a loss for each."""
        sign = -1 if self.objective.direction == "max" else 1
        known = {t.trial_id: sign * t.score for t in trials if t.status == "COMPLETED"}
        worst, mean = max(known.values()), sum(known.values()) / len(known)
        losses = [known.get(t.trial_id, mean if t.status == "RUNNING" else worst) for t in trials]
        return np.stack([self._vector(t.hyperparameters.values) for t in trials]), np.array(losses)

    def _vector(self, values: Point) -> np.ndarray:
        # An inactive hyperparameter stands in the middle: it has nothing to say.
        return np.array(
            [hp.value_to_prob(values[hp.name]) if hp.name in values else 0.5 for hp in self._nonfixed_space()]
        )
