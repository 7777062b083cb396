"""What every executor is: a place with some slots where jobs are trained."""

from __future__ import annotations

from typing import Protocol

from cnn_tuner.records import Event, Job


class Executor(Protocol):
    """Jobs go in, events come out; each event names the trial and the attempt it speaks of."""

    slots: int

    def submit(self, job: Job) -> None:
        """Starts a job; never waits for it. At most `slots` may be under way."""

    def next_event(self) -> Event:
        """Waits for the next event of any job under way."""

    def stop(self) -> None:
        """Asks every job under way to end soon; each still sends its result."""

    def close(self) -> None:
        """Ends everything that runs."""
