"""How much time a run may take, and how its parts share it: the search, the final training, the export."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from cnn_tuner.errors import UsageError

LEAST_SECONDS = 30.0  # loading TensorFlow, exporting and verifying take most of that
FINAL_SHARE = 0.55  # of a budget is kept for the final training, at most: see benchmarks/recipe.md
LARGEST_FINAL_SHARE = 0.7  # where the winner would have fewer than `ENOUGH_EPOCHS` in that: each more is worth much
CUSTOM_FINAL_SHARE = 0.4  # the same where networks are a person's own: of those none is known to be a good one
ENOUGH_EPOCHS = 12
TYPICAL_POINTS = 100.0  # of a search whose length is not known
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Budget:
    """The active time of a run, over all processes that were at work on it.

    seconds: how much it may take, None for no limit; spent_seconds: what earlier processes took; began: when this one
    began (monotonic).
    """

    seconds: float | None = None
    spent_seconds: float = 0.0
    began: float = 0.0

    @property
    def ends_at(self) -> float:
        """When everything is to be done (monotonic); infinity without a limit."""
        return math.inf if self.seconds is None else self.began + self.seconds - self.spent_seconds

    def active_seconds(self, now: float) -> float:
        """What was spent until now (monotonic)."""
        return self.spent_seconds + now - self.began

    def search_ends_at(self, final_seconds: float, export_seconds: float) -> float:
        """When the search has to end, so that the final training has its share and the export its time."""
        if self.seconds is None:
            return math.inf
        return self.ends_at - export_seconds - min(final_seconds, LARGEST_FINAL_SHARE * self.seconds)

    def training_ends_at(self, export_seconds: float) -> float:
        """When the final training has to end."""
        return self.ends_at - export_seconds


def final_room(seconds: float, seconds_of_enough: float) -> float:
    """How much of a budget is kept for the final training, where `ENOUGH_EPOCHS` of the best network take so long."""
    return min(max(FINAL_SHARE * seconds, seconds_of_enough), LARGEST_FINAL_SHARE * seconds)


def parse_seconds(flag: str, text: str) -> float:
    """`90s`, `30m`, `1h30m` or `1.5h` in seconds.

    Raises:
        UsageError: it is no duration, or shorter than a run can be.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{flag}: must be a duration such as 90s, 30m or 1h30m, got {text!r}")
    return checked(flag, sum(float(number) * UNITS[unit] for number, unit in parts), text)


def checked(flag: str, seconds: float, given: str | float) -> float:
    """The same seconds, which were given as a word or a number.

    Raises:
        UsageError: they are fewer than a run can take.
    """
    if not seconds >= LEAST_SECONDS:
        raise UsageError(f"{flag}: must be at least {LEAST_SECONDS:g}s, to load, export and verify, got {given!r}")
    return seconds


@dataclass
class Pace:
    """How fast a run goes, learned from its own events, to say how long the rest will take.

    startup_seconds: from the workers' start to the beginning of the first training, most of which loads TensorFlow.
    """

    startup_seconds: float | None = None
    training_seconds: float = 0.0
    epochs: int = 0
    jobs_setup_seconds: float = 0.0
    jobs: int = 0

    def note_epoch(self, seconds: float, since_start: float) -> None:
        """Takes in an epoch, so many seconds long, that ended so long after the workers were started.

        One that is longer than that was trained by an earlier process: it tells nothing of the start-up of this one.
        """
        if self.startup_seconds is None and seconds <= since_start:
            self.startup_seconds = since_start - seconds
        self.training_seconds += seconds
        self.epochs += 1

    def note_job(self, setup_seconds: float) -> None:
        """Takes in a job that ended, by what it took beside its epochs."""
        self.jobs_setup_seconds += max(0.0, setup_seconds)
        self.jobs += 1

    @property
    def epoch_seconds(self) -> float:
        """Of an epoch on average; 0 before the first."""
        return self.training_seconds / self.epochs if self.epochs else 0.0

    @property
    def setup_seconds(self) -> float:
        """What a job takes beside its epochs, on average."""
        return self.jobs_setup_seconds / self.jobs if self.jobs else 0.0
