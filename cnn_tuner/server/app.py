"""The paths of TensorFlow Serving's REST interface as an ASGI application (https://asgi.readthedocs.io)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.metrics import strict_json
from cnn_tuner.server.batching import Answers, Batcher
from cnn_tuner.server.requests import Limits, Model, RequestError, answered, metadata, parse, status

MAX_BATCH = 256  # images in one call of the model
READERS = 2  # threads that read JSON and decode images
DRAINED = 8  # times the largest body that is read and dropped, so that a client gets to hear that it was too large
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/([^/:]+))?(:\w+|/metadata)?")
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class GoneError(Exception):
    """The client went away before its request was complete."""


class App:
    """One model, for one process; `startup` and `shutdown` of the server begin and end its work."""

    def __init__(
        self, model: Model, call: Callable[[str, np.ndarray], Answers], limits: Limits, wait_seconds: float
    ) -> None:
        """`call` says what a signature answers to images (N, H, W, C) uint8; it is called in a thread of its own."""
        self._model, self._limits = model, limits
        self._computing = ThreadPoolExecutor(1, "model")
        self._reading = ThreadPoolExecutor(READERS, "reader")
        self._call, self._wait_seconds = call, wait_seconds
        self._batcher: Batcher | None = None
        self._requests = self._bytes = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._batcher = Batcher(self._call, self._computing, MAX_BATCH, self._wait_seconds)
        task = asyncio.create_task(self._batcher.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        self._computing.shutdown(cancel_futures=True)
        self._reading.shutdown(cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._requests += 1
        try:
            code, answer = 200, await self._answer(scope, receive)
        except GoneError:
            return
        except RequestError as error:
            code, answer = error.status, {"error": str(error)}
        except Exception as error:  # one request must not end the others
            code, answer = 500, {"error": f"the model failed: {one_line(error)}"}
        finally:
            self._requests -= 1
        body = strict_json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if code in (408, 413):
            headers.append((b"connection", b"close"))  # the rest of its body is not wanted
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> dict[str, Any]:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if _HOST.fullmatch(host) is None:  # a page in a browser whose name was made to mean this machine
            raise RequestError(403, f"Host: must be 127.0.0.1 or localhost, got {shown(host[:100])}")
        method, verb = scope["method"], self._verb(scope["path"])
        wanted = "POST" if verb == ":predict" else "GET"
        if method != wanted:
            raise RequestError(405, f"{shown(method[:20])}: not allowed here; use {wanted}")
        if verb == ":predict":
            return await self._predict(headers, receive)
        return metadata(self._model) if verb == "/metadata" else status(self._model)

    def _verb(self, path: str) -> str:
        found, name = _PATH.fullmatch(path), self._model.name
        if found is None:
            raise RequestError(404, f"no such path: {shown(path[:100])}; there is /v1/models/{name}:predict")
        if found[1] != name or found[2] not in (None, self._model.version):
            raise RequestError(
                404, f"no such model: {shown(path[:100])}; {name}, version {self._model.version}, is served"
            )
        verb = found[3] or ""
        if verb not in ("", ":predict", "/metadata"):
            raise RequestError(404, f"no such method: {shown(verb[:50])}; there is :predict")
        return verb

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive) -> dict[str, Any]:
        assert self._batcher is not None
        if self._requests > self._limits.requests_at_once:
            raise RequestError(503, f"busy: {self._limits.requests_at_once} requests are under way; try again")
        with self._batcher.expecting():
            body = await self._read(headers, receive)
            try:
                loop = asyncio.get_running_loop()
                asked = await loop.run_in_executor(self._reading, parse, body, self._model, self._limits)
            finally:
                self._bytes -= len(body)
        return answered(asked, await self._batcher.answer(asked))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body; its length stays counted in `_bytes` until it was read."""
        chunks: list[bytes] = []
        seconds = self._limits.read_seconds
        try:
            await asyncio.wait_for(self._receive(headers, receive, chunks), seconds)
        except asyncio.TimeoutError as error:
            self._bytes -= sum(map(len, chunks))
            raise RequestError(408, f"the body did not arrive within {seconds:g} seconds") from error
        except BaseException:
            self._bytes -= sum(map(len, chunks))
            raise
        return b"".join(chunks)

    async def _receive(self, headers: dict[bytes, bytes], receive: Receive, chunks: list[bytes]) -> None:
        limit, size = self._limits.body_bytes, 0
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said) > DRAINED * limit:
            raise RequestError(413, f"the body must have at most {limit:,} bytes, has {int(said):,}")
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size <= limit:
                if self._bytes + len(chunk) > self._limits.bytes_at_once:
                    raise RequestError(503, "busy: too many bytes are under way; try again")
                self._bytes += len(chunk)
                chunks.append(chunk)
            if size > DRAINED * limit or (size > limit and not message.get("more_body")):
                raise RequestError(413, f"the body must have at most {limit:,} bytes")
            if not message.get("more_body"):
                return
