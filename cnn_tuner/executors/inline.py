"""Trains in this process, one job at a time, in a thread of its own.

The thread leaves the caller free to show progress and to answer Ctrl-C; events reach it through a queue.
"""

from __future__ import annotations

import queue
import threading

from cnn_tuner import training
from cnn_tuner.data.dataset import Part
from cnn_tuner.errors import SearchError
from cnn_tuner.records import EpochEnded, Event, Job, JobDone


class InlineExecutor:
    """One slot in this process."""

    slots = 1

    def __init__(self, train: Part, val: Part) -> None:
        training.make_repeatable()
        self._data = training.Data(train, val)
        self._events: queue.Queue[Event | BaseException] = queue.Queue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Starts a job. At most `slots` may be under way."""
        if self._thread is not None:
            raise SearchError(f"trial {job.trial}: submitted while another job is under way")
        self._stop.clear()
        # A daemon: an interpreter that exits does not wait for an epoch to end.
        self._thread = threading.Thread(target=self._run, args=(job,), name=f"trial-{job.trial}", daemon=True)
        self._thread.start()

    def next_event(self) -> Event:
        """Waits for the next event.

        Raises:
            Exception: what the job raised, if it was not the trial's own failure (a full disk, a programming error).
        """
        event = self._events.get()
        if not isinstance(event, EpochEnded) and self._thread is not None:
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
            result = training.train(
                job,
                self._data,
                on_epoch=lambda epoch: self._events.put(EpochEnded(job.trial, job.attempt, epoch)),
                should_stop=self._stop.is_set,
            )
            self._events.put(JobDone(result))
        except BaseException as error:
            self._events.put(error)
