"""Random search: every point drawn anew (Bergstra and Bengio, 2012, https://jmlr.org/papers/v13/bergstra12a.html)."""

from __future__ import annotations

from typing import Any

from keras_tuner.oracles import RandomSearchOracle

from cnn_tuner.oracles.feasible import FeasibleOracle, Search


class RandomOracle(FeasibleOracle, RandomSearchOracle):
    """KerasTuner's random search over feasible points, none twice."""

    def __init__(self, search: Search) -> None:
        super().__init__(search, max_trials=search.max_trials)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        values = self._random_values()
        return {"status": "STOPPED", "values": None} if values is None else self.suggest(values)
