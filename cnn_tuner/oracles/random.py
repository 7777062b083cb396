"""Random search: every point drawn anew (Bergstra and Bengio, 2012, https://jmlr.org/papers/v13/bergstra12a.html)."""

from __future__ import annotations

from keras_tuner.oracles import RandomSearchOracle

from cnn_tuner.oracles.feasible import FeasibleOracle


class RandomOracle(FeasibleOracle, RandomSearchOracle):
    """KerasTuner's random search over feasible points, none twice."""
