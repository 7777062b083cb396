"""Signals that ask a run to end."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn_tuner.search.session import Session

HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows


@contextmanager
def stopping_on_signal(session: Session, say: Callable[[str], None]) -> Iterator[None]:
    """While inside, the first Ctrl-C (or SIGTERM) asks the run to end with its best exported; the second ends it.

    So does a terminal that is closed or lost, which can be written to no more; under `nohup` nothing happens then.
    Python hears signals in its main thread only: in another one they stay what they were.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if number == HANGUP:
            _let_go_of_the_terminal()
        if session.is_stopping or not session.has_begun:
            raise KeyboardInterrupt
        session.request_stop()
        say("stopping: the best so far will be exported; Ctrl-C again ends at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that no Python code has set, and none can set again
                signal.signal(number, handler)


def _let_go_of_the_terminal() -> None:
    """Has what would be written to a terminal go nowhere. One that is lost is no terminal any more, but a device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode):
                os.dup2(nowhere, number)
    os.close(nowhere)
