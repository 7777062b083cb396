"""What the final training does with its time: how many finalists and seeds, for how many epochs, and the refit.

First comes one finalist that is trained until its learning rate has ended, on all cores; then the same network once
more on the training and validation part; then rivals and other seeds.

What is too short for that has one finalist, which goes on where the search left it: at its highest learning rate, and
from there once on the training part and once on the training and validation part, each time until the rate has ended.
So the search's epochs are not lost, and most of a refit's are its twin's. A rate that stays and falls at the end gives
what one gives that falls all the way: Hägele et al., 2024, https://arxiv.org/abs/2405.18392.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from cnn_tuner.runs.budget import ENOUGH_EPOCHS
from cnn_tuner.runs.config import SearchConfig

EPOCHS_SHARE = 1 / 3  # of the epochs that the search trained may the twins take, where no time is given
WIDE_GAIN = 1.7  # times as fast is a network on the cores of two workers as on those of one; measured 1.8
MORE_EPOCHS = 3.0  # times what is expected may a job of a given time train: it keeps to the time by itself
WORTH_A_START = 5.0  # times what new workers take to begin has to be the time that a job gets on all cores
FALLING = 0.4  # of all that a network is trained, its learning rate falls, where it stayed before
TOGETHER = ENOUGH_EPOCHS  # epochs of twin and refit together, or as many as a trial has: less is for the twin alone


@dataclass(frozen=True)
class Pace:
    """What is known: an epoch of the best network on one of so many workers, and one of each finalist.

    `setup_seconds` is what a job takes besides, `start_seconds` what new workers take to begin, `searched_seconds` how
    long the search trained the best network; `widens`: whether one job can have the cores of all workers.
    """

    epoch_seconds: float
    finalists_seconds: tuple[float, ...]
    setup_seconds: float
    start_seconds: float
    slots: int
    searched_seconds: float = 0.0
    widens: bool = True

    def wide(self, epochs: float) -> float:
        """Seconds of so many epochs with the cores of all workers."""
        return self.setup_seconds + epochs * self.epoch_seconds / (gain_of(self.slots) if self.widens else 1.0)

    def narrow(self, epochs: float) -> float:
        """Seconds of so many epochs with the cores of one worker."""
        return self.setup_seconds + epochs * self.epoch_seconds

    def rounds(self, epochs: float, finalists: int, seeds: int) -> float:
        """Seconds of so many epochs of so many finalists and seeds side by side."""
        chosen = self.finalists_seconds[:finalists] * seeds
        return side_by_side((self.setup_seconds + epochs * each for each in chosen), self.slots)


def gain_of(slots: int) -> float:
    """How many times as fast a network trains on the cores of so many workers."""
    return float(WIDE_GAIN ** math.log2(slots))


def side_by_side(seconds: Iterable[float], slots: int) -> float:
    """How long jobs of so many seconds take, begun in this order, each when one of the slots is free."""
    free = [0.0] * slots
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


@dataclass(frozen=True)
class FinalPlan:
    """How many finalists with how many seeds each, for how many epochs, and whether the winner is trained again.

    `is_wide`: one job after the other with the cores of all workers. `seconds` is what it is expected to take;
    `is_timed`: each job has its part of the time, and ends its learning rate by then; finalists are side by side.
    `trunk_seconds`: how long the one finalist goes on where the search left it, before its rate falls; 0 where it
    begins anew.
    """

    finalists: int
    seeds: int
    epochs: int
    refits: bool
    is_wide: bool
    seconds: float
    is_timed: bool = False
    trunk_seconds: float = 0.0


def plan_final(search: SearchConfig, pace: Pace, room: float | None, search_epochs: float = math.inf) -> FinalPlan:
    """What fits into `room` seconds.

    With None for no limit, one finalist, and more of them and other seeds as long as they take no more epochs than a
    share of those that the search trained.
    """
    full, finalists, seeds = search.final_epochs, search.finalists, search.final_seeds
    refit = pace.narrow(full) if search.refits else 0.0
    if room is None and finalists * seeds * full > EPOCHS_SHARE * search_epochs:
        jobs = max(1, int(EPOCHS_SHARE * search_epochs / full))
        finalists = min(finalists, jobs)
        seeds = jobs // finalists
    seconds = pace.rounds(full, finalists, seeds) + refit
    if room is None or seconds <= room:
        return FinalPlan(finalists, seeds, full, search.refits, False, seconds)
    few = min(finalists, max(2, pace.slots))  # fewer are no rivals: then one has all the time and all the cores
    if pace.rounds(full, few, 2 if few == 1 else 1) + refit <= room:
        return FinalPlan(finalists, seeds, full, search.refits, False, room)
    return _one_after_the_other(search, pace, room)


def _one_after_the_other(search: SearchConfig, pace: Pace, room: float) -> FinalPlan:
    """A single finalist, and its refit where both are trained long enough to be worth it.

    Where it does not have all cores, each other worker trains a rival beside it, and all begin anew.
    """
    is_wide = pace.widens and pace.slots > 1 and room > WORTH_A_START * pace.start_seconds
    start, seconds_of = (pace.start_seconds, pace.wide) if is_wide else (0.0, pace.narrow)
    an_epoch = seconds_of(1) - pace.setup_seconds
    finalists = 1 if is_wide else min(search.finalists, pace.slots)
    searched = pace.searched_seconds / (gain_of(pace.slots) if is_wide else 1.0) if finalists == 1 else 0.0

    def parts(jobs: int) -> tuple[float, float]:
        """Seconds of the trunk, and of each of so many jobs after it."""
        left = max(0.0, room - start - jobs * pace.setup_seconds)
        together = left - pace.setup_seconds  # a trunk is one job more
        all_of_it = (searched + together) / (1 + FALLING * (jobs - 1))
        falling = FALLING * min(all_of_it, search.final_epochs * an_epoch)
        trunk = min(together - jobs * falling, search.final_epochs * an_epoch - falling - searched)
        return (trunk, falling) if searched and trunk >= an_epoch else (0.0, left / jobs)

    def epochs_of(jobs: int) -> int:
        """That are behind the weights of each."""
        trunk, own = parts(jobs)
        return int(((searched if trunk else 0.0) + trunk + own) / an_epoch) if an_epoch > 0 else 1

    refits = search.refits and epochs_of(2) >= min(search.final_epochs, search.epochs, TOGETHER)
    trunk, own = parts(1 + refits)
    most = min(search.final_epochs, epochs_of(1 + refits))
    seconds = room if most < search.final_epochs else start + (1 + refits) * seconds_of(most)
    if trunk:
        seconds = start + (2 + refits) * pace.setup_seconds + trunk + (1 + refits) * own
    own_epochs = own / an_epoch if trunk else most
    before = (searched + trunk) / an_epoch if trunk else 0.0  # the epochs that are behind it already
    epochs = max(1, min(math.ceil(MORE_EPOCHS * own_epochs), math.ceil(search.final_epochs - before)))
    return FinalPlan(finalists, 1, epochs, refits, is_wide, min(room, seconds), True, trunk)
