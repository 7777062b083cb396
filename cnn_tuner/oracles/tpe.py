"""A tree-structured Parzen estimator: points that resemble the best and do not resemble the others.

Bergstra et al., 2011, papers.nips.cc/paper/4443, in its multivariate form, where a kernel spans all hyperparameters
(Falkner et al., 2018, https://arxiv.org/abs/1807.01774, section 3.2). Watanabe, 2023, https://arxiv.org/abs/2304.11127,
explains the parts and their settings.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np

from cnn_tuner.oracles.samplers import Ask, Evidence
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace

BINS = 20  # of a continuous range: a value is drawn anywhere in its bin
WIDTH = 0.3  # of a kernel, as a share of the range: few points are known, and most of a range is unseen
UNIFORM = 0.2  # share of a kernel that is spread over all values
LEAST_RESULTS = 4  # before them points are drawn at random; the first three are of good practice, and worth following
RANDOM_SHARE = 0.1  # of the points, so that a wrong model cannot hold the search back: benchmarks/replay.md
GOOD_SHARE = 0.15
CANDIDATES = 64


class Grid:
    """Points of a space as rows of indices: a column a hyperparameter, its number of values where it is inactive."""

    def __init__(self, space: SearchSpace) -> None:
        self.parameters = space.parameters
        self.counts = np.array([len(p.values) or BINS for p in space.parameters])
        self.offsets = np.cumsum(self.counts + 1) - self.counts - 1  # where a column begins among all columns' values
        self.values = int((self.counts + 1).sum())
        columns = {p.name: column for column, p in enumerate(space.parameters)}
        self._parents = [None if p.parent is None else columns[p.parent] for p in space.parameters]
        self._allowed = [self._allowing(p) for p in space.parameters]

    def _allowing(self, parameter: Parameter) -> np.ndarray:
        """Whether a hyperparameter is active beside each value of its parent, and beside none."""
        parent = next((p for p in self.parameters if p.name == parameter.parent), None)
        values = () if parent is None else parent.values
        return np.array([*(value in parameter.parent_values for value in values), False])

    def row(self, point: Point) -> np.ndarray:
        """A point's indices, (hyperparameters,)."""
        return np.array(
            [
                _index(parameter, point[parameter.name]) if parameter.name in point else count
                for parameter, count in zip(self.parameters, self.counts, strict=True)
            ]
        )

    def deactivate(self, rows: np.ndarray) -> None:
        """Marks what is inactive by the parents' values in `rows`, (points, hyperparameters)."""
        for column, parent in enumerate(self._parents):  # parents stand before their children
            if parent is not None:
                rows[~self._allowed[column][rows[:, parent]], column] = self.counts[column]

    def point(self, row: np.ndarray, rng: random.Random) -> Point:
        point: Point = {}
        for parameter, index, count in zip(self.parameters, row.tolist(), self.counts.tolist(), strict=True):
            if index < count:
                share = (index + rng.random()) / count
                point[parameter.name] = parameter.at(share) if parameter.is_continuous else parameter.values[index]
        return point

    def indicators(self, rows: np.ndarray) -> np.ndarray:
        """`rows` with a column of 0 and 1 for each value of each hyperparameter, (points, values)."""
        found = np.zeros((len(rows), self.values), np.float32)
        np.put_along_axis(found, rows + self.offsets, 1.0, axis=1)
        return found


def _index(parameter: Parameter, value: int | float | str) -> int:
    if not parameter.is_continuous:
        return parameter.values.index(value)
    low, high, number = parameter.low, parameter.high, float(value)
    if parameter.is_log:
        low, high, number = np.log(low), np.log(high), np.log(number)
    share = (number - low) / (high - low) if high > low else 0.0
    return min(int(share * BINS), BINS - 1)


def kernel(parameter: Parameter) -> np.ndarray:
    """How probable each value is beside each value that was tried, (tried, values).

    Numbers spread to their neighbours, words evenly. The last row is for a hyperparameter that was inactive.
    """
    count = len(parameter.values) or BINS
    is_ordered = not any(isinstance(value, str) for value in parameter.values)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / count
    near = np.exp(-0.5 * (distance / WIDTH) ** 2) if is_ordered else np.eye(count)
    near /= near.sum(axis=1, keepdims=True)
    return np.vstack([(1 - UNIFORM) * near + UNIFORM / count, np.full(count, 1 / count)])


class TPESampler:
    """Draws candidates around the best points and takes the one with the highest ratio of likelihoods.

    The likelihoods are of mixtures of kernels, one around each of the best points and one around each of the others,
    and an even one in both.
    """

    learns = True

    def __init__(self, space: SearchSpace) -> None:
        self._grid = Grid(space)
        kernels = [kernel(parameter) for parameter in space.parameters]
        most = int(self._grid.counts.max())
        self._cumulated = np.ones((len(kernels), most + 1, most))
        self._logs = np.zeros(
            (self._grid.values, self._grid.values), np.float32
        )  # (value drawn, value tried); inactive ones: 0
        for column, (each, offset) in enumerate(zip(kernels, self._grid.offsets, strict=True)):
            tried, values = each.shape
            self._cumulated[column, :tried, :values] = np.cumsum(each, axis=1)
            self._logs[offset : offset + values, offset : offset + tried] = np.log(each.T)
        self._rows: dict[str, np.ndarray] = {}

    def propose(self, evidence: Ask, is_new: Callable[[Point], bool], rng: random.Random) -> Point | None:
        if rng.random() < RANDOM_SHARE:
            return None
        known = evidence()
        if known.results < LEAST_RESULTS:
            return None
        good, bad = self._split(known)
        candidates = self._candidates(good, np.random.default_rng(rng.getrandbits(64)))
        drawn = self._logs[candidates + self._grid.offsets].sum(axis=1)  # (candidates, values tried)
        ratio = self._log_likelihood(drawn, good) - self._log_likelihood(drawn, bad)
        ordered = (self._grid.point(candidates[place], rng) for place in np.argsort(-ratio, kind="stable"))
        return next(filter(is_new, ordered), None)

    def _split(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the good points and of the others."""
        count = max(1, min(len(evidence.best), round(GOOD_SHARE * evidence.results)))
        keys = list(evidence.best)
        points = evidence.best | evidence.others
        self._rows = {key: self._row(key, point) for key, point in points.items()}
        return self._stacked(keys[:count]), self._stacked([*keys[count:], *evidence.others])

    def _row(self, key: str, point: Point) -> np.ndarray:
        known = self._rows.get(key)  # of the last proposal: most points are the same
        return self._grid.row(point) if known is None else known

    def _stacked(self, keys: Iterable[str]) -> np.ndarray:
        rows = [self._rows[key] for key in keys]
        return np.stack(rows) if rows else np.empty((0, len(self._grid.counts)), int)

    def _candidates(self, good: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Rows drawn from the mixture around the good points."""
        even = self._grid.counts[None]  # beside a hyperparameter that was inactive every value is as probable
        centres = np.concatenate([good, even])[generator.integers(len(good) + 1, size=CANDIDATES)]
        shares = generator.random(centres.shape)
        below = shares[..., None] > self._cumulated[np.arange(centres.shape[1]), centres]
        rows: np.ndarray = np.minimum(below.sum(axis=2), self._grid.counts - 1)
        self._grid.deactivate(rows)
        return rows

    def _log_likelihood(self, drawn: np.ndarray, centres: np.ndarray) -> np.ndarray:
        even = self._grid.counts[None]
        # Not by BLAS, whose threads would fight with the workers for the cores: it takes ten times as long then.
        logs = np.einsum("cv,tv->ct", drawn, self._grid.indicators(np.concatenate([centres, even])))
        top = logs.max(axis=1, keepdims=True)
        total: np.ndarray = top[:, 0] + np.log(np.exp(logs - top).mean(axis=1))
        return total
