"""What runs in a worker process: its main thread trains, another one reads what the driver sends.

The driver sends the settings, the slot's number and where modules are found, then jobs, and STOP for the job before it.
The worker sends Ready, then for each job EpochEnded and ALIVE, and at its end Ended. When the connection ends, so does
the worker.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from cnn_tuner.executors import memory
from cnn_tuner.executors.base import Settings, Train, load_trainer
from cnn_tuner.executors.faults import Fault, fault_of
from cnn_tuner.runs.records import Epoch, EpochEnded, Job, Result

# Keras loads them where they are there, and what trains the seven steps uses nothing of them: a third of the time.
SPARED = ("matplotlib", "pandas", "sklearn")
STOP = "stop"
ALIVE = "alive"
SIGNS = 10  # of life at most, in the time after which a worker counts as hung
OOM_SCORE = 800  # of 1000: the kernel ends this process first when memory runs out, the driver last


@dataclass(frozen=True)
class Ready:
    """The trainer is loaded, which left the worker with this much memory."""

    resident_bytes: int


@dataclass(frozen=True)
class Ended:
    """A job ended: with its result, or with what it raised."""

    outcome: Result | Fault
    resident_bytes: int


@contextmanager
def without(packages: Sequence[str]) -> Iterator[None]:
    """Has packages not be found meanwhile that others load where they are there."""
    hidden = {name: None for name in packages if name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def main(handle: int) -> None:
    """Trains job after job, until the connection with this file descriptor ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer
    faulthandler.enable()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    connection = Connection(handle)
    settings, slot, sys.path[:] = connection.recv()  # a fork server was begun with what its driver had then
    if settings.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = settings.gpus[slot]
    if Path(settings.folder).is_dir():
        tempfile.tempdir = settings.folder  # TensorFlow leaves a file of each function that it traces in a process
    jobs: queue.Queue[tuple[Job, threading.Event]] = queue.Queue()
    # Before the trainer is loaded, which can take long: a driver that is gone is noticed then too.
    threading.Thread(target=_read, args=(connection, jobs), name="reader", daemon=True).start()
    with without(SPARED if not settings.networks else ()):
        train = load_trainer(replace(settings, is_own_process=True))
    if settings.memory_bytes is not None:
        memory.limit(settings.memory_bytes)
    connection.send(Ready(memory.resident_bytes()))
    while True:
        job, stop = jobs.get()
        memory.reset_peak()
        outcome = _Training(connection, settings, job, stop).run(train)
        connection.send(Ended(outcome, memory.resident_bytes()))


def _read(connection: Connection, jobs: queue.Queue[tuple[Job, threading.Event]]) -> None:
    stop = threading.Event()
    try:
        while True:
            message = connection.recv()
            if message == STOP:
                stop.set()
            else:
                stop = threading.Event()
                jobs.put((message, stop))
    except (EOFError, OSError):
        os._exit(0)  # at once, in the middle of training: nobody waits for it
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class _Training:
    """One job under way, and what it tells the driver."""

    def __init__(self, connection: Connection, settings: Settings, job: Job, stop: threading.Event) -> None:
        self.connection, self.job, self.stop = connection, job, stop
        self.seconds_between_signs = settings.hang_seconds / SIGNS
        self._signed = time.monotonic()

    def run(self, train: Train) -> Result | Fault:
        try:
            result = train(self.job, self._on_epoch, self._should_stop)
            return replace(result, peak_bytes=memory.peak_bytes())
        except BaseException as error:
            return fault_of(error)

    def _on_epoch(self, epoch: Epoch) -> None:
        self._send(EpochEnded(self.job.number, self.job.attempt, epoch))

    def _should_stop(self) -> bool:
        # Sent from here and not by a thread of its own: that training asks is the proof that it goes on.
        if time.monotonic() - self._signed > self.seconds_between_signs:
            self._send(ALIVE)
        return self.stop.is_set()

    def _send(self, message: EpochEnded | str) -> None:
        self.connection.send(message)
        self._signed = time.monotonic()
