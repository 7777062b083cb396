"""Requests that arrive together are answered by one call of the model: a batch costs little more than one image."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cnn_tuner.server.requests import Asked

Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Waiting:
    asked: Asked
    answer: asyncio.Future[Answers]


class Batcher:
    """Collects what is asked for a short time, and hands it to the model together.

    While the model computes, what arrives is collected anyway. Nobody is waited for when no request is under way.
    """

    def __init__(
        self,
        call: Callable[[str, np.ndarray], Answers],
        executor: Executor,
        max_images: int,
        wait_seconds: float,
    ) -> None:
        """`call` says what a signature answers to images (N, H, W, C); `executor` runs it, one call at a time."""
        self._call, self._executor = call, executor
        self._max_images, self._wait_seconds = max_images, wait_seconds
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Event()
        self._coming = 0

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """While inside, a request is being read that will ask something."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def answer(self, asked: Asked) -> Answers:
        """What the model says, an array of N rows an output."""
        waiting = _Waiting(asked, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._changed.set()
        return await waiting.answer

    async def run(self) -> None:
        """Answers until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._collect(loop)
            batch = self._take()
            try:
                images = np.concatenate([each.asked.images for each in batch])
                found = await loop.run_in_executor(self._executor, self._call, batch[0].asked.signature, images)
            except Exception as error:  # whatever it was, those who wait must be told, and others answered
                _tell_error(batch, error)
            else:
                _tell(batch, found)

    async def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Returns when there is a batch: it is full, nobody else is coming, or it was waited long enough."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        deadline = loop.time() + self._wait_seconds
        while self._coming and self._images() < self._max_images and (left := deadline - loop.time()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return

    def _images(self) -> int:
        return sum(len(each.asked.images) for each in self._waiting)

    def _take(self) -> list[_Waiting]:
        """The first of those who wait, and others that fit into the same call."""
        batch: list[_Waiting] = []
        left: list[_Waiting] = []
        images = 0
        signature = self._waiting[0].asked.signature
        for each in self._waiting:
            count = len(each.asked.images)
            if each.asked.signature == signature and (not batch or images + count <= self._max_images):
                batch.append(each)
                images += count
            else:
                left.append(each)
        self._waiting = left
        return batch


def _tell(batch: list[_Waiting], found: Answers) -> None:
    begin = 0
    for each in batch:
        end = begin + len(each.asked.images)
        if not each.answer.done():  # its client may have gone
            each.answer.set_result({name: values[begin:end] for name, values in found.items()})
        begin = end


def _tell_error(batch: list[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)
