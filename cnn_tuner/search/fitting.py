"""The space that fits a person's images, what counts for them, and the time: `--space auto` from data to YAML."""

from __future__ import annotations

import math
from dataclasses import replace

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.metrics.tasks import BY_CLASS, Output
from cnn_tuner.oracles.practice import Setting, first_points
from cnn_tuner.runs import machine
from cnn_tuner.runs.budget import FINAL_SHARE
from cnn_tuner.search.affordable import LEAST_EPOCHS, guessed_rate, most_macs
from cnn_tuner.search.gpus import found_gpus
from cnn_tuner.spaces import auto
from cnn_tuner.spaces.architecture import build, why_infeasible
from cnn_tuner.spaces.rules import Limits
from cnn_tuner.spaces.tree import Point, SearchSpace

EXPECTED_EPOCHS = 28  # of a search with nine networks: each once, three of them three times, one for twelve epochs
MOST_LONGER = 4  # times as long may a trial be, where a search has time for more


def space_for(
    dataset: Dataset,
    output: Output,
    metric: str,
    seed: int,
    limits: Limits,
    budget_seconds: float | None,
    epoch_images: int | None,
) -> SearchSpace:
    """The space that fits.

    Args:
        dataset: the images.
        output: of the networks.
        metric: of the objective.
        seed: of the run; which images are looked at follows from it.
        limits: of the networks.
        budget_seconds: of the whole run, None for no limit.
        epoch_images: of an epoch of the search, None for all.
    """
    from cnn_tuner.baselines import mirrored

    flips, images = mirrored.flips(dataset.task, dataset.train, seed), len(dataset.train)
    rate = _guessed_rate()
    most = math.inf if budget_seconds is None else most_macs(budget_seconds, images, rate)
    facts = auto.Facts(dataset.image_shape, images, flips, metric in BY_CLASS, most)
    space = auto.space(facts).within(limits)
    if budget_seconds is None or epoch_images is None:
        return space
    longer = _times_longer(space, facts, output, rate * (1 - FINAL_SHARE) * budget_seconds / epoch_images)
    return auto.space(replace(facts, epochs=longer * facts.epochs)).within(limits)


def _guessed_rate() -> float:
    return guessed_rate(machine.cores(), has_gpu=bool(found_gpus()))


def _times_longer(space: SearchSpace, facts: auto.Facts, output: Output, work: float) -> int:
    """How many times as long as in a short search a trial is, where an epoch is a part of the images.

    After a fifth of a pass light networks are ahead of those that win in the end. With a short budget the latter could
    not be trained; with a long one there is time to look further. `work`: multiply-adds for one image that the search
    can train, each for an epoch.
    """
    infeasible = why_infeasible(space, facts.image_shape, output)

    def reason(values: Point) -> str | None:
        found = infeasible(values)
        if found is None and build(values, facts.image_shape, output).macs > facts.most_macs:
            found = "it is too large for the time"
        return found

    setting = Setting(space, facts.image_shape, output, facts.images, reason, LEAST_EPOCHS * facts.most_macs)
    sizes = [build(point, facts.image_shape, output).macs for point in first_points(setting)]
    if not sizes:
        return 1
    return max(1, min(MOST_LONGER, round(work * len(sizes) / sum(sizes) / EXPECTED_EPOCHS)))
