"""Workers that a fork server begins, as the driver sees both; see `cnn_tuner.executors.forkserver`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import wait
from time import monotonic

from cnn_tuner.executors.forkserver import FORK, NUMBER, SECONDS
from cnn_tuner.executors.worker import SPARED
from cnn_tuner.runs import machine
from cnn_tuner.runs.machine import Workers

# Not multiprocessing.Process: that imports the user's main program once more in each worker, which breaks notebooks
# and programs without a guard.
BOOTSTRAP = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from cnn_tuner.executors import {0}; {0}.main"
UNKNOWN = 255  # the exit code of a worker whose server is gone, as multiprocessing has it

_current: ContextVar[ForkServer | None] = ContextVar("current", default=None)


def python(module: str, call: str, *arguments: str) -> list[str]:
    """A command that calls the `main` of a module of this room, where the modules that are found here are found.

    Unbuffered, so that what a program error prints last is the last line.
    """
    return [sys.executable, "-u", "-c", BOOTSTRAP.format(module) + call, json.dumps(module_path()), *arguments]


def module_path() -> list[str]:
    """Where modules are found: of what is in sys.path what the import system looks at."""
    return [entry for entry in sys.path if isinstance(entry, str)]


class Forked:
    """A worker that a server began, or is to begin: what is needed here of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, status: int) -> None:
        self._server, self._status = server, status
        self._pid: int | None = None
        self._code: int | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None until the server has begun it."""
        if self._pid is None:
            self._read(0.0)
        return self._pid

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or the negative number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer than so many seconds.
        """
        until = None if timeout is None else monotonic() + timeout
        while self._code is None:
            if not self._read(None if until is None else max(0.0, until - monotonic())):
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return self._code

    def kill(self) -> None:
        """Ends it at once; with the server, if that has not come to begin it."""
        while self._read(0.0):
            pass
        if self._code is None and self._pid is None:
            self._server.kill()
        elif self._code in (None, UNKNOWN) and self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _read(self, seconds: float | None) -> bool:
        """Takes in what the server says, if it says something in so many seconds."""
        if self._code is not None or not wait([self._status], seconds):
            return False
        told = os.read(self._status, NUMBER.size)
        if len(told) < NUMBER.size:  # the server is gone, or cannot begin it
            self._code = UNKNOWN
            self._server.is_spent |= self._pid is None
        elif self._pid is None:
            self._pid = NUMBER.unpack(told)[0]
        else:
            self._code = NUMBER.unpack(told)[0]
        if self._code is not None:
            os.close(self._status)
        return True


class ForkServer:
    """The server as the driver sees it, at work from the start.

    `module` is what it loads, without the optional packages `spared`.
    """

    def __init__(self, module: str, spared: Sequence[str] = ()) -> None:
        self.is_spent = False  # it could not begin a worker: the next does so by itself, or says why not
        self._seconds: float | None = None
        self._control, theirs = socket.socketpair()
        with theirs:
            command = python("forkserver", "(int(sys.argv[2]), *sys.argv[3:])", str(theirs.fileno()), module, *spared)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                self._control.close()
                raise

    def fork(self, connection: int, output: int) -> Forked | None:
        """Begins a worker with these file descriptors, once the server is ready; None where it cannot."""
        if self.is_spent:
            return None
        told, status = os.pipe()
        try:
            socket.send_fds(self._control, [FORK], [connection, output, status])
        except OSError:
            os.close(told)
            return None
        finally:
            os.close(status)
        return Forked(self, told)

    @property
    def loading_seconds(self) -> float | None:
        """The processor's time that it took to load the module; None until it has."""
        if self._seconds is None:
            with suppress(OSError):
                told = self._control.recv(SECONDS.size, socket.MSG_DONTWAIT)
                self._seconds = SECONDS.unpack(told)[0] if len(told) == SECONDS.size else None
        return self._seconds

    def kill(self) -> None:
        """Ends it at once. Workers that were begun go on."""
        self._process.kill()

    def close(self) -> None:
        """Ends it, once its workers have ended. May be called again."""
        self._control.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def serving(workers: Workers, trainer: str, has_own_networks: bool = False) -> Iterator[None]:
    """Has the workers that this thread begins meanwhile be copies of one process, where that can be.

    Not where there may be a GPU, whose driver allows no copies, and on Linux only: of other systems' libraries not all
    stand it. From now on it loads the module of `trainer`, as `cnn_tuner.executors.base.Settings` has it, while the
    caller does other things; with networks of a person's own, which may use anything, all that Keras loads.
    """
    if workers.executor != "processes" or sys.platform != "linux" or machine.may_have_gpu():
        yield
        return
    server = ForkServer(trainer.partition(":")[0], () if has_own_networks else SPARED)
    token = _current.set(server)
    try:
        yield
    finally:
        _current.reset(token)
        server.close()


def current() -> ForkServer | None:
    """The server of this thread, if there is one."""
    return _current.get()
