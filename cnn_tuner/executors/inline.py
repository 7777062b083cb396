"""Trains in this process, one job at a time, in a thread of its own.

The thread leaves the caller free to show progress and to answer Ctrl-C; events reach it through a queue.
"""

from __future__ import annotations

import queue
import threading

from cnn_tuner.errors import SearchError, UsageError
from cnn_tuner.executors.base import Settings, load_trainer
from cnn_tuner.runs.records import EpochEnded, Event, Job, JobDone


class InlineExecutor:
    """One slot in this process."""

    slots = 1

    def __init__(self, settings: Settings) -> None:
        if settings.slots != 1:
            raise UsageError(
                f"executor inline: must have 1 slot, got {settings.slots}; the executor processes has more"
            )
        self._train = load_trainer(settings)
        self._events: queue.Queue[Event | BaseException] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Starts a job. At most `slots` may be under way."""
        if self._thread is not None:
            raise SearchError(f"trial {job.trial}: submitted while every slot is taken")
        self._stop.clear()
        # A daemon: an interpreter that exits does not wait for an epoch to end.
        self._thread = threading.Thread(target=self._run, args=(job,), name=f"trial-{job.trial}", daemon=True)
        self._thread.start()

    def next_event(self, seconds: float | None = None) -> Event | None:
        """Waits for the next event, for at most so many seconds; None when they are over.

        Raises:
            SearchError: no job is under way.
            Exception: what the job raised, if it was not the trial's own failure (a full disk, a programming error).
        """
        if self._thread is None:
            raise SearchError("no job is under way to wait for")
        try:
            event = self._events.get(timeout=None if seconds is None else max(0.0, seconds))
        except queue.Empty:
            return None
        if not isinstance(event, EpochEnded):
            self._thread.join()
            self._thread = None
        if isinstance(event, BaseException):
            raise event
        return event

    def stop(self) -> None:
        """Asks the job under way to end at its next batch; its result comes as an event like any other."""
        self._stop.set()

    def close(self) -> None:
        """Stops, and waits until nothing runs."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, job: Job) -> None:
        try:
            result = self._train(
                job,
                lambda epoch: self._events.put(EpochEnded(job.number, job.attempt, epoch)),
                self._stop.is_set,
            )
            self._events.put(JobDone(result))
        except BaseException as error:
            self._events.put(error)
