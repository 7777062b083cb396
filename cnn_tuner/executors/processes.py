"""Trains in worker processes, one a slot: one that dies costs its job only, and another takes its place.

The workers live from job to job, since loading TensorFlow takes longer than many a trial. The driver never trains.
"""

from __future__ import annotations

import math
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from time import monotonic

from cnn_tuner.errors import SearchError, UsageError
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.faults import Fault, exception_of
from cnn_tuner.executors.handle import EXCEPTION, LEAVE_SECONDS, WorkerHandle
from cnn_tuner.executors.worker import Ended, Ready
from cnn_tuner.runs.records import EpochEnded, Event, Job, JobDone, JobLost

RECYCLE_BYTES = 512 * 2**20  # that a worker may keep between jobs on top of what it held after its first
MAX_STARTS = 2  # of one slot's worker in a row that came to nothing: the next would too


@dataclass
class _Slot:
    """A place for one job. `stopped` is when its job was asked to end; `last_trial` is what its worker trained last."""

    number: int
    worker: WorkerHandle
    job: Job | None = None
    last_trial: int | None = None
    stopped: float | None = None
    vain_starts: int = 0

    def begin(self, job: Job) -> None:
        self.job, self.stopped, self.last_trial = job, None, job.trial
        self.worker.submit(job)

    def stop(self) -> None:
        if self.job is not None and self.stopped is None:
            self.stopped = monotonic()
            self.worker.stop()

    def free(self) -> Job:
        """Takes the job that ended out of the slot."""
        job, self.job, self.stopped, self.vain_starts = self.job, None, None, 0
        assert job is not None
        return job

    def change_worker(self, worker: WorkerHandle) -> None:
        """Has another worker do what the previous one had not begun."""
        self.worker, self.last_trial = worker, None
        if self.job is not None:
            worker.submit(self.job)
        if self.stopped is not None:
            worker.stop()

    def overdue_at(self, hang_seconds: float) -> float:
        """When its worker counts as hung, unless it is heard of before; never while it has nothing to do."""
        if self.job is None and self.worker.is_ready:
            return float("inf")
        since = self.worker.heard if self.stopped is None else min(self.worker.heard, self.stopped)
        return since + hang_seconds


class ProcessExecutor:
    """As many slots as asked for, each with a process of its own."""

    def __init__(self, settings: Settings) -> None:
        _check(settings)
        self.slots = settings.slots
        self._settings = settings
        self._events: deque[Event] = deque()
        self._is_stopping = False
        self._slots: list[_Slot] = []
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        try:
            # All at once and now: they get ready while the driver goes on.
            for number in range(settings.slots):
                self._slots.append(_Slot(number, WorkerHandle(settings, number)))
        except BaseException:
            self.close()
            raise

    def submit(self, job: Job) -> None:
        """Starts a job; never waits for it.

        Raises:
            SearchError: every slot is taken.
        """
        self._send_stops()  # what was asked for before this job is not meant for it
        free = [slot for slot in self._slots if slot.job is None]
        if not free:
            raise SearchError(f"trial {job.trial}: submitted while every slot is taken")
        # The worker that trained this trial last may have its network set up still.
        min(free, key=lambda slot: (slot.last_trial != job.trial, not slot.worker.is_ready)).begin(job)

    def next_event(self, seconds: float | None = None) -> Event | None:
        """Waits for the next event of any job under way, for at most so many seconds; None when they are over.

        Raises:
            SearchError: no job is under way; a worker cannot start; a job raised what is no failure of its trial.
            OSError: a job could not read or write a file.
            CnnTunerError: a job raised it.
        """
        until = math.inf if seconds is None else monotonic() + seconds
        while not self._events:
            self._send_stops()
            if all(slot.job is None for slot in self._slots):
                raise SearchError("no job is under way to wait for")
            self._wait(until)
            if not self._events and monotonic() >= until:
                return None
        return self._events.popleft()

    def stop(self) -> None:
        """Asks every job under way to end soon; each still sends its result. Safe to call from a signal handler."""
        # No more than this: a handler may interrupt a message that is half sent. `submit` and `next_event` pass it on.
        self._is_stopping = True
        with suppress(OSError):  # full: it will wake anyway; closed: nobody waits
            self._waker.send(b"!")

    def close(self) -> None:
        """Ends all workers: each is given a moment to do so by itself. May be called again."""
        for slot in self._slots:
            slot.worker.leave()
        deadline = monotonic() + LEAVE_SECONDS
        for slot in self._slots:
            slot.worker.end(deadline)
        self._waker.close()
        self._woken.close()

    def _send_stops(self) -> None:
        if self._is_stopping:
            self._is_stopping = False  # before sending: a request that comes now is sent the next time
            for slot in self._slots:
                slot.stop()

    def _wait(self, until: float) -> None:
        """Waits until a worker says something, one is overdue, a stop is asked for, or that time (monotonic)."""
        hang_seconds = self._settings.hang_seconds
        slots = {slot.worker.connection: slot for slot in self._slots}
        overdue_at = min(slot.overdue_at(hang_seconds) for slot in self._slots)
        heard = wait([*slots, self._woken], max(0.0, min(overdue_at, until) - monotonic()))
        if self._woken in heard:
            self._woken.recv(4096)
        now = monotonic()
        for connection, slot in slots.items():
            # What was said while the driver did other things is read before the time since then is judged.
            if connection in heard:
                self._receive(slot)
            elif slot.overdue_at(hang_seconds) <= now:
                self._end_hung(slot)

    def _receive(self, slot: _Slot) -> None:
        try:
            message = slot.worker.connection.recv()
        except (EOFError, OSError):
            self._replace_dead(slot)
            return
        slot.worker.heard = monotonic()
        match message:
            case Ready(resident_bytes):
                slot.worker.is_ready, slot.worker.ready_bytes = True, resident_bytes
            case EpochEnded():
                self._events.append(message)
            case Ended():
                self._end_job(slot, message)

    def _end_job(self, slot: _Slot, ended: Ended) -> None:
        job = slot.free()
        if self._has_grown(slot.worker, ended.resident_bytes):
            self._replace(slot)
        else:
            slot.worker.forget_output()
        if isinstance(ended.outcome, Fault):
            raise exception_of(ended.outcome, job.trial)
        self._events.append(JobDone(ended.outcome))

    def _has_grown(self, worker: WorkerHandle, resident_bytes: int) -> bool:
        """Whether a worker keeps so much memory after a job that a new one should do the next."""
        if worker.first_bytes is None:
            worker.first_bytes = resident_bytes
        if resident_bytes - worker.first_bytes > RECYCLE_BYTES:
            return True
        most = self._settings.memory_bytes
        return most is not None and resident_bytes - worker.ready_bytes > most / 2

    def _end_hung(self, slot: _Slot) -> None:
        slot.worker.kill()
        seconds = f"{self._settings.hang_seconds:g} s"
        if slot.stopped is None:
            self._replace_dead(slot, f"no sign of progress for {seconds}")
        else:
            self._replace_dead(slot, f"it went on for {seconds} after it was asked to stop")

    def _replace_dead(self, slot: _Slot, reason: str | None = None) -> None:
        """Puts another worker in the place of one that ended; its job is lost if it may have begun."""
        reason = reason or slot.worker.how_it_ended()
        if slot.job is not None and slot.worker.is_ready:
            job = slot.free()
            self._events.append(JobLost(job.number, job.attempt, reason))
        else:
            slot.vain_starts += 1
        self._replace(slot)
        if slot.vain_starts >= MAX_STARTS:
            raise SearchError(f"a worker process cannot start: {reason.removeprefix(EXCEPTION)}")

    def _replace(self, slot: _Slot) -> None:
        slot.worker.end(monotonic() + LEAVE_SECONDS)
        slot.change_worker(WorkerHandle(self._settings, slot.number))


def _check(settings: Settings) -> None:
    if settings.slots < 1:
        raise UsageError(f"executor processes: slots must be at least 1, got {settings.slots}")
    if settings.gpus and len(settings.gpus) != settings.slots:
        raise UsageError(f"executor processes: {settings.slots} slots need as many gpus, got {len(settings.gpus)}")
