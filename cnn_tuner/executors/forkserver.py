"""A process that loads TensorFlow once and begins workers as copies of itself: to load it takes longer than a trial.

As the fork server of Python's multiprocessing, which cannot serve here: it imports the user's main program once more.
https://docs.python.org/3/library/multiprocessing.html#contexts-and-start-methods

The driver sends what a worker is to have: its connection, the file for what it prints, and a pipe by which the server
tells its process id, and how it ended. When the driver is gone, so is the server.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import wait
from time import process_time
from typing import NoReturn

from cnn_tuner.executors import worker

LOOK_SECONDS = 0.2  # between two looks at whether the driver is still there, while modules are loaded
NUMBER, SECONDS = struct.Struct("<q"), struct.Struct("<d")
FORK = b"f"


def main(handle: int, module: str, *spared: str) -> None:
    """Loads a module, then begins workers, until the connection with this file descriptor ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer
    control = socket.socket(fileno=handle)
    with _leaving_with(control), worker.without(spared):
        import_module(module)
    gc.freeze()  # what is shared by all copies is not touched by their collections
    # Python sees threads of libraries, which are made for this (OpenBLAS's, jemalloc's), and warns of a copy.
    warnings.simplefilter("ignore", DeprecationWarning)
    with suppress(OSError):
        control.send(SECONDS.pack(process_time()))
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    children: dict[int, int] = {}  # process ids, and where it is told how they ended
    while True:
        ready = wait([control, woken])
        if woken in ready:
            os.read(woken, 4096)
            _reap(children, os.WNOHANG)
        if control in ready:
            try:
                message, handles, _, _ = socket.recv_fds(control, len(FORK), 3)
            except OSError:
                message, handles = b"", []
            if not message:
                break
            connection, output, status = handles
            pid = _forked()
            if pid == 0:
                for each in (control.fileno(), woken, waker, status, *children.values()):
                    os.close(each)
                _become_worker(connection, output)
            os.close(connection)
            os.close(output)
            if pid is None:
                os.close(status)  # which tells the driver
            else:
                children[pid] = status
                with suppress(OSError):  # it may be gone
                    os.write(status, NUMBER.pack(pid))
    _reap(children, 0)  # they end as their connections do
    os._exit(0)  # at once: to take TensorFlow apart takes a second


def _forked() -> int | None:
    """As `os.fork`; None where there is no room for another process."""
    try:
        return os.fork()
    except OSError:
        return None


def _reap(children: dict[int, int], flags: int) -> None:
    """Tells how each child ended that has; without WNOHANG one is waited for."""
    while children:
        pid, state = os.waitpid(-1, flags)
        if pid == 0:
            return
        status = children.pop(pid, None)
        if status is None:  # of something that a module began
            continue
        with suppress(OSError):  # nobody wants to know
            os.write(status, NUMBER.pack(os.waitstatus_to_exitcode(state)))
        os.close(status)


def _become_worker(connection: int, output: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed()  # as of another process; Python does so for its own
        worker.main(connection)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


@contextmanager
def _leaving_with(control: socket.socket) -> Iterator[None]:
    """Ends this process when the driver goes meanwhile. No thread is left afterwards: copies would lack it."""
    is_over = threading.Event()

    def look() -> None:
        poll = select.poll()
        poll.register(control, select.POLLRDHUP)
        while not is_over.is_set():
            if poll.poll(1000 * LOOK_SECONDS):
                os._exit(0)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
