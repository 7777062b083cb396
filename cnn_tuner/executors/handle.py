"""A worker process as the driver sees it: how it is started, how it ended, and what it said last."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from time import monotonic

from cnn_tuner.executors import forking
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.worker import STOP
from cnn_tuner.runs.records import Job

LEAVE_SECONDS = 2.0  # for a worker to end by itself
MOST_BYTES = 2**16  # of networks, that a connection holds while nobody reads it: a server may be loading still
TAIL_BYTES = 4096  # of a worker's output, in which its last line is looked for
EXCEPTION = "its process ended with exit code 1: "  # which is how Python ends after an exception that nothing caught


class WorkerHandle:
    """One worker process. `heard` is when it last gave a sign of life."""

    def __init__(self, settings: Settings, slot: int) -> None:
        self._memory_bytes = settings.memory_bytes
        self.is_ready = False
        self.heard = monotonic()
        self.ready_bytes = 0
        self.first_bytes: int | None = None  # what it held after its first job
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        # The worker's own copy of `theirs` has to be the only one, since its end is what tells of a death.
        with theirs:
            self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
            try:
                self._process = self._start(settings, theirs.fileno())
            except BaseException:
                self.connection.close()
                self._output.close()
                raise
        self._send((settings, slot, forking.module_path()))

    def _start(self, settings: Settings, handle: int) -> subprocess.Popen[bytes] | forking.Forked:
        server = forking.current() if len(settings.networks) <= MOST_BYTES else None
        if server is not None and (forked := server.fork(handle, self._output.fileno())) is not None:
            return forked
        return subprocess.Popen(
            forking.python("worker", "(int(sys.argv[2]))", str(handle)),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=(handle,),
            start_new_session=True,
        )

    def submit(self, job: Job) -> None:
        """Hands over a job, which the worker begins when it is ready."""
        self.heard = monotonic()
        self._send(job)

    def stop(self) -> None:
        """Asks the job under way to end."""
        self._send(STOP)

    def forget_output(self) -> None:
        """Empties the file of what the worker printed, between jobs: it would grow over a long search."""
        self._output.seek(0)  # the worker writes at the same position, which the two share
        self._output.truncate()

    def last_line(self) -> str:
        """What the worker printed last; empty when it printed nothing."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - TAIL_BYTES))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def how_it_ended(self) -> str:
        """In one line, of a process whose connection has ended."""
        code = self._reap(monotonic() + LEAVE_SECONDS)
        if code == -signal.SIGKILL:
            return "its process was killed by signal 9 (SIGKILL), as the system does when memory runs out"
        if code < 0:
            return f"its process was killed by signal {-code} ({_signal_name(-code)})" + self._perhaps_memory(-code)
        return ": ".join(filter(None, [f"its process ended with exit code {code}", self.last_line()]))

    def _perhaps_memory(self, number: int) -> str:
        # Of TensorFlow 2.21 a model's weights that are refused raise, but in a convolution oneDNN crashes instead.
        if self._memory_bytes is None or number not in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS):
            return ""
        return f", perhaps for want of memory: it may take {self._memory_bytes / 2**20:.0f} MiB"

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def leave(self) -> None:
        """Lets the process end by itself, without waiting."""
        self.connection.close()

    def end(self, deadline: float) -> None:
        """Ends the process and frees what it took: by itself until `deadline` (monotonic), then by force."""
        self.leave()
        self._reap(deadline)
        self._output.close()

    def _reap(self, deadline: float) -> int:
        try:
            return self._process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _send(self, message: object) -> None:
        # One that died is noticed when its connection is read.
        with suppress(OSError):
            self.connection.send(message)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return "no name"
