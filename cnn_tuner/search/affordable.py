"""What does not pay within a budget: networks that its final training could not show all images often enough.

A larger network is ahead after an epoch, so that by its score it is promoted, and behind after the time in which a
smaller one trains for several. Moving the images keeps a network from learning them by heart, which it does not in a
few epochs. How fast networks train is seen from the search's own jobs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnn_tuner.runs.budget import ENOUGH_EPOCHS, LARGEST_FINAL_SHARE
from cnn_tuner.runs.config import BACKWARDS, RunConfig
from cnn_tuner.runs.records import Job, Result
from cnn_tuner.search.final_plan import gain_of
from cnn_tuner.spaces.architecture import build, sample_feasible
from cnn_tuner.spaces.recipe import Augmentation, recipe_of
from cnn_tuner.spaces.tree import Point, SearchSpace

LEAST_EPOCHS = 8.0  # of the final training: see benchmarks/recipe.md
# Multiply-adds a second, backwards as one, with which a core trains, or a GPU: until a job has told it.
GUESSED_RATE, GUESSED_GPU_RATE = 5e9, 5e11
ALWAYS = 0.25  # of a space's points are never too large, however short the budget is
POINTS = 100  # drawn at random, to know a space's sizes


def most_macs(budget_seconds: float, images: float, rate: float) -> float:
    """Multiply-adds for one image of a network that a final training shows so many images `LEAST_EPOCHS` times.

    `rate` is how many a second are trained, with all cores.
    """
    return rate * LARGEST_FINAL_SHARE * budget_seconds / (LEAST_EPOCHS * images)


def guessed_rate(slots: int, has_gpu: bool = False) -> float:
    """Multiply-adds a second, backwards as one, before any was seen."""
    return GUESSED_GPU_RATE if has_gpu else GUESSED_RATE * gain_of(slots)


class Affordable:
    """What one process knows of it.

    `slots` are its workers, all of whose cores the final training has, or the one GPU that it has; `rates` the
    multiply-adds a second of networks that each of them was seen to train.
    """

    def __init__(self, config: RunConfig, slots: int, rates: Sequence[float] = (), has_gpu: bool = False) -> None:
        self._config, self._slots = config, 1 if has_gpu else slots
        self._rates, self._guess = list(rates), GUESSED_GPU_RATE if has_gpu else GUESSED_RATE
        self._sizes: list[int] = []
        self._may_rest = _may_rest(config.search_space())
        if config.search.budget_seconds is not None:
            points = sample_feasible(config.search_space(), config.data.image_shape, config.output, POINTS, seed=0)
            self._sizes = sorted(map(self._macs, points))

    def _macs(self, values: Point) -> int:
        return build(values, self._config.data.image_shape, self._config.output).macs

    def job_ended(self, job: Job, result: Result) -> None:
        """Takes in how fast a job of the search was trained."""
        seconds = math.fsum(epoch.seconds for epoch in result.epochs)
        if seconds > 0 and not job.course_steps:
            images = self._images(job.epoch_steps, int(job.values["batch_size"]))
            networks = max(1, job.folds)
            self._rates.append(self._macs(job.values) * images * networks * len(result.epochs) / seconds)

    def _images(self, steps: int | None = None, batch_size: int = 1) -> float:
        """Of an epoch of so many batches, or of all images, in images that are trained on."""
        train, val, _ = self._config.data.images
        return (train if steps is None else min(train, steps * batch_size)) + val / BACKWARDS

    @property
    def most_macs(self) -> float:
        """Multiply-adds of the largest network that is affordable; infinity where nothing limits it."""
        budget = self._config.search.budget_seconds
        if budget is None:
            return math.inf
        rate = gain_of(self._slots) * max(self._rates, default=self._guess)  # small networks have lower ones
        most = most_macs(budget, self._images(), rate)
        return max(most, self._sizes[int(ALWAYS * len(self._sizes))])

    @property
    def work(self) -> float:
        """Multiply-adds for one image in all of a final training."""
        return LEAST_EPOCHS * self.most_macs

    @property
    def share(self) -> float:
        """Of the space's points that are affordable."""
        most = self.most_macs
        return sum(size <= most for size in self._sizes) / len(self._sizes) if self._sizes else 1.0

    def why_not(self, values: Point) -> str | None:
        """Why a point does not pay, or None if it may."""
        most = self.most_macs
        if math.isinf(most):
            return None
        macs = self._macs(values)
        if macs > most:
            return f"max_macs: {macs:,} is over what the budget trains for {LEAST_EPOCHS:g} epochs, {most:,.0f}"
        is_moved = recipe_of(values).augmentation != Augmentation()
        if is_moved and self._may_rest and macs > most * LEAST_EPOCHS / ENOUGH_EPOCHS:
            return f"augmentation: the budget trains it for fewer than {ENOUGH_EPOCHS} epochs"
        return None


def _may_rest(space: SearchSpace) -> bool:
    """Whether a space has points whose images are not moved."""
    resting = vars(Augmentation())
    augmentations = [parameter for parameter in space.parameters if parameter.name in resting]
    return all(not each.is_continuous and each.allows(resting[each.name]) for each in augmentations)
