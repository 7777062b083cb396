"""A table of real learning curves turned into a world in which any point of its space can be trained at no cost.

Trees fitted to the table predict a point's whole curve and the seconds of its epochs. To the curve is added what
trees get wrong about a point of the table that they have not seen, one that is predicted alike: its scatter from
epoch to epoch as noise, and `rough` of its course over the epochs, which belongs to the point. (Of that course a part
is the luck of the seed, a part what more curves would teach the trees; all of it as noise would leave every oracle
with the luckiest point, all of it as truth would make a landscape that nothing can learn.) A search observes all, its
regret is measured without the noise. This is how surrogate benchmarks are made: Eggensperger et al., 2015, AAAI,
"Efficient Benchmarking of Hyperparameter Optimizers via Surrogates"; Zela et al., 2022 (NAS-Bench-301),
https://arxiv.org/abs/2008.09777; Pfisterer et al., 2022 (YAHPO Gym), https://arxiv.org/abs/2109.03670.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict

from cnn_tuner import space as space_module
from cnn_tuner.architecture import build, why_infeasible
from cnn_tuner.space import Point, SearchSpace
from cnn_tuner.tasks import Output

TREES = 100
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
        space_module.from_text(data["space"], path.name),
        tuple(data["image_shape"]),
        Output("multiclass", data["classes"]),
        data["about"],
        [row["values"] for row in rows],
        np.array([row["val_accuracy"] for row in rows]),
        np.array([np.median(row["seconds"]) for row in rows]),
        float(np.median([row["setup_seconds"] for row in rows])),
    )


class Features:
    """Points as numbers: every hyperparameter, -1 where it is inactive, and what their network costs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        words = [p for p in table.space.parameters if any(isinstance(v, str) for v in p.values)]
        self._numbers = [p.name for p in table.space.parameters if p not in words]
        self._words = [(p.name, value) for p in words for value in p.values]

    def of(self, point: Point) -> np.ndarray:
        network = build(point, self._table.image_shape, self._table.output)
        costs = (network.params, network.macs, network.activation_bytes)
        flat = next(layer.output_shape[0] for layer in network.layers if layer.kind == "flatten")
        numbers = [float(point.get(name, -1.0)) for name in self._numbers]
        words = [float(point.get(name) == value) for name, value in self._words]
        return np.array([*numbers, *words, *np.log(costs), np.log(flat)])


class Forest:
    """The trees of scikit-learn in flat arrays: one point goes through all of them at once, which takes it 20 ms."""

    def __init__(self, trees: ExtraTreesRegressor) -> None:
        parts = [each.tree_ for each in trees.estimators_]
        self._roots = np.cumsum([0] + [part.node_count for part in parts[:-1]])
        self._depth = max(part.max_depth for part in parts)
        self._feature = np.concatenate([np.maximum(part.feature, 0) for part in parts])
        self._threshold = np.concatenate([part.threshold for part in parts])
        nodes = np.arange(len(self._feature))
        root = np.repeat(self._roots, [part.node_count for part in parts])
        sides = [np.concatenate([getattr(part, f"children_{side}") for part in parts]) for side in ("right", "left")]
        # (nodes, right or left) in a row; a leaf leads to itself
        self._next = np.stack([np.where(side < 0, nodes, side + root) for side in sides], axis=1).ravel()
        self._values = np.concatenate([part.value[:, :, 0] for part in parts])

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The mean over the trees for one point: (features,) to (outputs,)."""
        features = features.astype(np.float32)  # as scikit-learn compares
        nodes = self._roots
        for _ in range(self._depth):
            nodes = self._next[2 * nodes + (features[self._feature[nodes]] <= self._threshold[nodes])]
        return self._values[nodes].mean(axis=0)


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


def _regressor() -> ExtraTreesRegressor:
    return ExtraTreesRegressor(
        TREES, max_features=0.5, bootstrap=True, random_state=0
    )  # does not learn points by heart


class World:
    """Trains any feasible point of the table's space by prediction. The same point gives the same."""

    def __init__(self, table: Table, fail_share: float, rough: float = 0.5) -> None:
        self.table, self.fail_share = table, fail_share
        self.why = why_infeasible(table.space, table.image_shape, table.output)
        self._features = Features(table)
        inputs = np.stack([self._features.of(point) for point in table.points])
        targets = np.column_stack([table.curves, np.log(table.seconds)])
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        unseen = cross_val_predict(_regressor(), inputs, targets, cv=folds)
        self.quality = [_quality(unseen, targets, epoch) for epoch in (1, (table.epochs + 1) // 2, table.epochs, 0)]
        residuals = (targets - unseen)[:, :-1]
        courses = np.stack([smoothed(residual) for residual in residuals])
        self._own, self._scatter = rough * courses, residuals - courses
        self._alike = max(1, len(residuals) // ALIKE)
        self._predicted = unseen[:, -2]
        self._sklearn = _regressor().fit(inputs, targets)
        self._forest = Forest(self._sklearn)

    def train(self, point: Point) -> Training:
        predicted = self._forest.predict(self._features.of(point))
        lender, fails = self._lot(point, predicted[-2])
        true = predicted[:-1] + self._own[lender]
        observed = true + self._scatter[lender]
        seconds = float(np.exp(predicted[-1]))
        return Training(np.clip(observed, 0, 1), np.clip(true, 0, 1), seconds, self.table.setup_seconds, fails)

    def _lot(self, point: Point, accuracy: float) -> tuple[int, bool]:
        """Which point of the table lends its residuals, and whether training fails: drawn from the point itself."""
        rng = random.Random(hashlib.sha256(repr(key_of(point)).encode()).digest())
        alike = np.argsort(np.abs(self._predicted - accuracy), kind="stable")[: self._alike]
        return int(rng.choice(alike)), rng.random() < self.fail_share

    def bests(self, points: list[Point]) -> np.ndarray:
        """The best of each point's true curve, (points,); 0 for one that fails."""
        predicted = self._sklearn.predict(np.stack([self._features.of(point) for point in points]))
        lots = [self._lot(point, row[-2]) for point, row in zip(points, predicted, strict=True)]
        true = predicted[:, :-1] + self._own[[lender for lender, _ in lots]]
        return np.where([fails for _, fails in lots], 0.0, np.clip(true, 0, 1).max(axis=1))

    def full_seconds(self, points: int = 500) -> float:
        """The mean seconds of training a random point to the end."""
        trainings = [self.train(point) for point in self._random_points(points, random.Random(0))]
        return float(np.mean([t.setup_seconds + self.table.epochs * t.epoch_seconds for t in trainings]))

    def best(self) -> float:
        """The best that a large random search and a climb from its best points find."""
        rng = random.Random(0)
        points = self._random_points(RANDOM_POINTS, rng)
        scores = self.bests(points)
        order = np.argsort(-scores)[:CLIMBERS]
        best = [(float(scores[place]), points[place]) for place in order]
        for _ in range(STEPS):
            near = [self.table.space.neighbour(point, rng) for _, point in best for _ in range(NEIGHBOURS)]
            near = [point for point in near if self.why(point) is None]
            found = [*best, *zip(self.bests(near).tolist(), near, strict=True)]
            best = sorted(found, key=lambda pair: -pair[0])[:CLIMBERS]
        return best[0][0]

    def _random_points(self, count: int, rng: random.Random) -> list[Point]:
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


def _quality(unseen: np.ndarray, targets: np.ndarray, epoch: int) -> Quality:
    column = epoch - 1 if epoch else targets.shape[1] - 1
    truth, guess = targets[:, column], unseen[:, column]
    return Quality(epoch, float(r2_score(truth, guess)), float(kendalltau(truth, guess).statistic))
