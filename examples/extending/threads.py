"""The executor threads: a thread of this process for each slot."""

from __future__ import annotations

import queue
import threading

from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Settings, load_trainer
from cnn_tuner.runs.records import EpochEnded, Event, Job, JobDone


class ThreadsExecutor:
    """Trains several jobs at once. A job that hangs hangs here: only a process can be ended from outside."""

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.slots
        self._train = load_trainer(settings)
        self._events: queue.Queue[Event | BaseException] = queue.Queue()
        self._stop = threading.Event()
        self._threads: set[threading.Thread] = set()

    def submit(self, job: Job) -> None:
        """Starts a job. At most `slots` may be under way."""
        if len(self._threads) == self.slots:
            raise SearchError(f"trial {job.trial}: submitted while every slot is taken")
        if not self._threads:
            self._stop.clear()
        thread = threading.Thread(target=self._run, args=(job,), name=f"trial-{job.trial}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def next_event(self, seconds: float | None = None) -> Event | None:
        """The next event of any job, None when the seconds are over; raises what a job raised."""
        if not self._threads and self._events.empty():
            raise SearchError("no job is under way to wait for")
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        return event

    def stop(self) -> None:
        """Asks every job to end at its next batch."""
        self._stop.set()

    def close(self) -> None:
        """Stops, and waits until nothing runs."""
        self.stop()
        for thread in list(self._threads):
            thread.join()

    def _run(self, job: Job) -> None:
        try:
            result = self._train(
                job,
                lambda epoch: self._events.put(EpochEnded(job.number, job.attempt, epoch)),
                self._stop.is_set,
            )
            ended: Event | BaseException = JobDone(result)
        except BaseException as error:
            ended = error
        self._threads.discard(threading.current_thread())  # before the event: who hears it may submit the next
        self._events.put(ended)
