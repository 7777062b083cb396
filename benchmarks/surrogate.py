"""A table of real learning curves turned into a world in which any point of its space can be trained at no cost.

A Gaussian process fitted to the table predicts a point's whole curve and the seconds of its epochs. To the curve is
added what the process get wrong about a point of the table that it has not seen, one that is predicted alike: its
scatter from epoch to epoch as noise, and `rough` of its course over the epochs, which belongs to the point. (Of that
course a part is the luck of the seed, a part what more curves would teach it; all of it as noise would leave every
oracle with the luckiest point, all of it as truth would make a landscape that nothing can learn.) A search observes
all, its regret is measured without the noise. This is how surrogate benchmarks are made: Eggensperger et al., 2015,
AAAI, "Efficient Benchmarking of Hyperparameter Optimizers via Surrogates"; Zela et al., 2022 (NAS-Bench-301),
https://arxiv.org/abs/2008.09777; Pfisterer et al., 2022 (YAHPO Gym), https://arxiv.org/abs/2109.03670.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build, why_infeasible
from cnn_tuner.spaces.tree import Point, SearchSpace

LEAST_ERROR = 1e-3
FOLDS = 10
SMOOTHED = 9  # epochs: a residual's mean over so many is the point's own, the rest is noise
ALIKE = 8  # a share of one in so many of the table's points, the nearest by predicted accuracy: one lends its residuals
RANDOM_POINTS, CLIMBERS, NEIGHBOURS, STEPS = 5_000, 20, 30, 30  # of the search for the best
Key = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Table:
    """Real curves: (points, epochs) of validation accuracy, mean seconds of an epoch and of the set-up, (points,)."""

    space: SearchSpace
    image_shape: tuple[int, int, int]
    output: Output
    about: str
    points: list[Point]
    curves: np.ndarray
    seconds: np.ndarray
    setup_seconds: float

    @property
    def epochs(self) -> int:
        return int(self.curves.shape[1])


def read(path: Path) -> Table:
    """The table that `benchmarks/curves.py` wrote."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    rows = [row for row in data["points"] if len(row["val_accuracy"]) == data["epochs"]]
    return Table(
        tree.from_text(data["space"], path.name),
        tuple(data["image_shape"]),
        Output("multiclass", data["classes"]),
        data["about"],
        [row["values"] for row in rows],
        np.array([row["val_accuracy"] for row in rows]),
        np.array([np.median(row["seconds"]) for row in rows]),
        float(np.median([row["setup_seconds"] for row in rows])),
    )


class Features:
    """Points as numbers: every hyperparameter and what their network costs, both in logarithms where they are such.

    A hyperparameter that is inactive stands where it is on average.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        words = [p for p in table.space.parameters if any(isinstance(v, str) for v in p.values)]
        self._numbers = [p for p in table.space.parameters if p not in words]
        self._words = [(p.name, value) for p in words for value in p.values]
        known = np.array([self._numbers_of(point) for point in table.points])
        active = ~np.isnan(known)
        self._means = np.where(active, known, 0.0).sum(axis=0) / np.maximum(active.sum(axis=0), 1)

    def _numbers_of(self, point: Point) -> list[float]:
        values = ((p, float(point.get(p.name, "nan"))) for p in self._numbers)
        return [math.log(value) if p.is_log else value for p, value in values]

    def of(self, point: Point) -> np.ndarray:
        network = build(point, self._table.image_shape, self._table.output)
        costs = (network.params, network.macs, network.activation_bytes)
        flat = next(layer.output_shape[0] for layer in network.layers if layer.kind == "flatten")
        numbers = np.array(self._numbers_of(point))
        words = [float(point.get(name) == value) for name, value in self._words]
        return np.array([*np.where(np.isnan(numbers), self._means, numbers), *words, *np.log(costs), np.log(flat)])


class Process:
    """A Gaussian process over standardised features, one kernel for all outputs; its mean by one product.

    On the first 156 curves of seven_steps it ranked unseen points with a Kendall tau of 0.56 at the last epoch, forests
    of any setting with 0.29 to 0.43: learning rate and optimizer go together, which trees need more points to see.
    """

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, kernel: Any = None) -> None:
        self._centre, self._spread = inputs.mean(axis=0), inputs.std(axis=0)
        self._spread[self._spread == 0] = 1.0
        self._shift, self._scale = targets.mean(axis=0), targets.std(axis=0)
        first = ConstantKernel(1.0) * RBF(6.0, (1.0, 100.0)) + WhiteKernel(0.5)
        fitted = GaussianProcessRegressor(kernel or first, optimizer="fmin_l_bfgs_b" if kernel is None else None)
        self._known = (inputs - self._centre) / self._spread
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a table almost without noise has it at its bound
            fitted.fit(self._known, (targets - self._shift) / self._scale)
        self.kernel = fitted.kernel_
        self._weights, self._kernel = fitted.alpha_, fitted.kernel_.k1
        self.noise = fitted.kernel_.k2.noise_level + fitted.alpha  # a share of the targets' variance

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The mean, (points, features) to (points, outputs)."""
        inputs = (features - self._centre) / self._spread
        squares = (inputs**2).sum(axis=1)[:, None] + (self._known**2).sum(axis=1) - 2 * inputs @ self._known.T
        scale, length = self._kernel.k1.constant_value, self._kernel.k2.length_scale
        mean: np.ndarray = scale * np.exp(-0.5 * np.maximum(squares, 0) / length**2) @ self._weights
        return mean * self._scale + self._shift


def unseen(inputs: np.ndarray, targets: np.ndarray, kernel: Any) -> np.ndarray:
    """What is predicted of each point by a process that has not seen it, (points, outputs).

    Its kernel, three numbers, is the one of all points.
    """
    found = np.empty_like(targets)
    for known, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(inputs):
        found[left_out] = Process(inputs[known], targets[known], kernel).predict(inputs[left_out])
    return found


def errors_of(curves: np.ndarray) -> np.ndarray:
    """Accuracies as the logarithms of what they lack: near the top, differences count for more."""
    return np.log(np.maximum(1.0 - curves, LEAST_ERROR))


@dataclass(frozen=True)
class Training:
    """What training a point to the end would bring: (epochs,) as observed and without the noise, and its seconds."""

    observed: np.ndarray
    true: np.ndarray
    epoch_seconds: float
    setup_seconds: float
    fails: bool


@dataclass(frozen=True)
class Quality:
    """By cross-validation at one epoch (0: the seconds of an epoch, in logarithms)."""

    epoch: int
    r2: float
    tau: float


class World:
    """Trains any feasible point of the table's space by prediction. The same point gives the same."""

    def __init__(self, table: Table, fail_share: float, rough: float = 0.5) -> None:
        self.table, self.fail_share = table, fail_share
        self.why = why_infeasible(table.space, table.image_shape, table.output)
        self._features = Features(table)
        inputs = np.stack([self._features.of(point) for point in table.points])
        targets = np.column_stack([errors_of(table.curves), np.log(table.seconds)])
        self._process = Process(inputs, targets)
        guessed = unseen(inputs, targets, self._process.kernel)
        self._predicted = guessed[:, -2]
        residuals = (targets - guessed)[:, :-1]
        courses = np.stack([smoothed(residual) for residual in residuals])
        self._own, self._scatter = rough * courses, residuals - courses
        self._alike = max(1, len(residuals) // ALIKE)
        self.quality = _qualities(guessed, targets, table)

    def train(self, point: Point) -> Training:
        predicted = self._process.predict(self._features.of(point)[None])[0]
        lender, fails = self._lot(point, predicted[-2])
        true = predicted[:-1] + self._own[lender]
        observed = true + self._scatter[lender]
        seconds = float(np.exp(predicted[-1]))
        return Training(_accuracy(observed), _accuracy(true), seconds, self.table.setup_seconds, fails)

    def _lot(self, point: Point, accuracy: float) -> tuple[int, bool]:
        """Which point of the table lends its residuals, and whether training fails: drawn from the point itself."""
        rng = random.Random(hashlib.sha256(repr(key_of(point)).encode()).digest())
        alike = np.argsort(np.abs(self._predicted - accuracy), kind="stable")[: self._alike]
        return int(rng.choice(alike)), rng.random() < self.fail_share

    def bests(self, points: list[Point]) -> np.ndarray:
        """The best of each point's true curve, (points,); 0 for one that fails."""
        predicted = self._process.predict(np.stack([self._features.of(point) for point in points]))
        lots = [self._lot(point, row[-2]) for point, row in zip(points, predicted, strict=True)]
        true = _accuracy(predicted[:, :-1] + self._own[[lender for lender, _ in lots]])
        return np.where([fails for _, fails in lots], 0.0, true.max(axis=1))

    def expected(self, points: list[Point]) -> np.ndarray:
        """What is predicted of the last epoch's accuracy, (points,), without what belongs to the points themselves."""
        features = np.stack([self._features.of(point) for point in points])
        return _accuracy(self._process.predict(features)[:, -2])

    def full_seconds(self, points: int = 500) -> float:
        """The mean seconds of training a random point to the end."""
        trainings = [self.train(point) for point in self.random_points(points, random.Random(0))]
        return float(np.mean([t.setup_seconds + self.table.epochs * t.epoch_seconds for t in trainings]))

    def best(self) -> float:
        """The best that a large random search and a climb from its best points find."""
        rng = random.Random(0)
        points = self.random_points(RANDOM_POINTS, rng)
        scores = self.bests(points)
        order = np.argsort(-scores)[:CLIMBERS]
        best = [(float(scores[place]), points[place]) for place in order]
        for _ in range(STEPS):
            near = [self.table.space.neighbour(point, rng) for _, point in best for _ in range(NEIGHBOURS)]
            near = [point for point in near if self.why(point) is None]
            found = [*best, *zip(self.bests(near).tolist(), near, strict=True)]
            best = sorted(found, key=lambda pair: -pair[0])[:CLIMBERS]
        return best[0][0]

    def random_points(self, count: int, rng: random.Random) -> list[Point]:
        points: list[Point] = []
        while len(points) < count:
            point = self.table.space.sample(rng)
            if self.why(point) is None:
                points.append(point)
        return points


def key_of(values: Point) -> Key:
    """What tells points apart: an oracle's own values left out."""
    return tuple(sorted((name, value) for name, value in values.items() if not name.startswith("tuner/")))


def smoothed(curve: np.ndarray) -> np.ndarray:
    """The running mean of (epochs,) over SMOOTHED epochs, over fewer at the ends."""
    window = np.ones(SMOOTHED)
    return np.convolve(curve, window, "same") / np.convolve(np.ones_like(curve), window, "same")


def _accuracy(errors: np.ndarray) -> np.ndarray:
    return np.clip(1.0 - np.exp(errors), 0.0, 1.0)


def _qualities(guessed: np.ndarray, targets: np.ndarray, table: Table) -> list[Quality]:
    """By what was predicted of points that were not seen: accuracies at three epochs, and the seconds."""
    epochs = (1, (table.epochs + 1) // 2, table.epochs)
    pairs = [(e, table.curves[:, e - 1], _accuracy(guessed[:, e - 1])) for e in epochs]
    pairs.append((0, targets[:, -1], guessed[:, -1]))
    return [Quality(e, float(r2_score(y, found)), float(kendalltau(y, found).statistic)) for e, y, found in pairs]
