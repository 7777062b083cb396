"""The oracle of a run, made from what the run was asked for."""

from __future__ import annotations

import math

from cnn_tuner.oracles import registry
from cnn_tuner.oracles.feasible import FeasibleOracle
from cnn_tuner.oracles.feasible import Search as OracleSearch
from cnn_tuner.oracles.practice import Setting, first_points
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.search.affordable import Affordable
from cnn_tuner.spaces.architecture import why_infeasible
from cnn_tuner.spaces.tree import Point


def make_oracle(config: RunConfig, affordable: Affordable | None = None) -> FeasibleOracle:
    """The oracle that a run's config asks for; what is not `affordable` is not suggested."""
    space, image_shape, output = config.search_space(), config.data.image_shape, config.output
    infeasible = why_infeasible(space, image_shape, output)

    def reason(values: Point) -> str | None:
        return infeasible(values) or (None if affordable is None else affordable.why_not(values))

    search = config.search
    work = math.inf if affordable is None else affordable.work
    asked = OracleSearch(
        space,
        reason,
        config.objective,
        search.max_trials,
        search.epochs,
        search.seed,
        search.sampler,
        search.cost is not None,
        search.least_epochs,
        _first_points(config, Setting(space, image_shape, output, config.data.images[0], reason, work)),
    )
    return registry.create(search.oracle, asked)


def _first_points(config: RunConfig, setting: Setting) -> tuple[Point, ...]:
    """What is tried first: networks of good practice, or a person's own as it is by default."""
    return first_points(setting) if config.hypermodel is None else (dict(config.hypermodel.start),)
