"""The server itself: uvicorn on the loopback address, which gives up on clients that never finish a request's head."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cnn_tuner.errors import UsageError
from cnn_tuner.server.app import App

LOOPBACK = "127.0.0.1"  # there is no authentication
HEAD_SECONDS = 10.0  # from the first byte of a request's head to its last; uvicorn itself waits for ever
HEAD_BYTES = 16 * 2**10
TRIED = 20  # ports, from the usual one on
END_SECONDS = 5  # that requests under way have when the server is to end


def listen(port: int | None, usual: int) -> socket.socket:
    """A socket that listens on the loopback address: at `port`, or at `usual` or the next free one.

    Raises:
        UsageError: the port is taken or not allowed.
    """
    for number in range(usual, usual + TRIED) if port is None else (port,):
        # The protocol said outright: asyncio sends small answers at once only then, else they wait 40 ms.
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((LOOPBACK, number))
            found.listen(128)
            return found
        except (OSError, OverflowError) as error:
            found.close()
            if port is not None:
                taken = getattr(error, "errno", None) == errno.EADDRINUSE
                why = "another program listens there; choose another" if taken else "no such port, or it is not allowed"
                raise UsageError(f"--port {port}: {why}") from error
    raise UsageError(f"--port: {usual} to {usual + TRIED - 1} are all taken; choose another")


class _Impatient(H11Protocol):
    """Closes a connection on which the head of a request does not become complete in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def server(app: App) -> uvicorn.Server:
    """A server of `app`; `run(sockets=[...])` serves until Ctrl-C, `should_exit` ends it from another thread."""
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_graceful_shutdown=END_SECONDS,
    )
    return uvicorn.Server(config)
