"""Processes that know nothing of this package and read exports: one a format, all at once, timed one after another."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import Images, save
from cnn_tuner.errors import VerificationError

READER = Path(__file__).with_name("reader.py")
ANSWERED = "answered\n"
# How long a reader may take, on a busy machine with large images: the graph of somebody else may loop for ever.
SECONDS = 120.0
SECONDS_AN_IMAGE = 1.0


class Reader:
    """A process that reads an export: from the start it loads what it reads with, until `end`."""

    def __init__(self, kind: str, scratch: Path) -> None:
        self.path = Path()
        self._answers, self._errors = scratch / f"{kind}.npz", scratch / f"{kind}.txt"
        with self._errors.open("w") as file:
            # A session of its own: the Ctrl-C that asks for the best so far must not end the reader that verifies it.
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(READER), kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        self._has_expired = False
        self._seconds = 0.0
        self._watch: threading.Timer | None = None

    def ask(self, path: Path, images: Path, seconds: float) -> None:
        """Has it read an export for images (N, H, W, C) uint8 in a .npy file; it is killed after so many seconds."""
        self.path, self._seconds = path, seconds
        self._watch = threading.Timer(seconds, self._expire)
        self._watch.daemon = True
        self._watch.start()
        self._say(json.dumps([str(path), str(images), str(self._answers)]))

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, as what it does not answer tells
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()

    def _expire(self) -> None:
        self._has_expired = True
        self.process.kill()

    def answers(self) -> dict[str, np.ndarray]:
        """What it predicts, once it has.

        Raises:
            VerificationError: it cannot read the export, finds it wrong, or takes too long.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == ANSWERED:
                with np.load(self._answers, allow_pickle=False) as found:
                    return dict(found)
        raise VerificationError(f"{self.path}: a new process cannot read it: {self._why()}")

    def _why(self) -> str:
        code = self.process.wait()
        if self._has_expired:
            return f"it had no answer after {self._seconds:g} seconds"
        if code < 0:
            return f"it was ended by signal {-code}, as the system does when memory runs out"
        text = self._errors.read_text(encoding="utf-8", errors="replace")
        return (text.strip().splitlines() or ["no message"])[-1]

    def latencies(self) -> dict[int, float]:
        """The median seconds of a call, by its number of images; empty when it could not measure that."""
        assert self.process.stdout is not None
        self._say("time")
        line = self.process.stdout.readline()
        return {int(count): seconds for count, seconds in json.loads(line or "{}").items()}

    def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._watch is not None:
            self._watch.cancel()
        self.process.kill()
        self.process.communicate()


class Readers:
    """A process for each of these formats, all at once; ended with the `with` statement."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._kinds = tuple(kinds)
        self._started: dict[str, Reader] = {}

    def __enter__(self) -> Readers:
        self._folder = tempfile.TemporaryDirectory(prefix="cnn-tuner-")
        try:
            for kind in self._kinds:
                self._started[kind] = Reader(kind, Path(self._folder.name))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._started.values():
            reader.end()
        self._folder.cleanup()

    def ask(self, images: Images, exports: Mapping[str, Path]) -> dict[str, Reader]:
        """Has all of these exports read, for images (N, H, W, C) uint8; the reader of each, by its format."""
        file = Path(self._folder.name) / "images.npy"
        save(file, images)
        asked = {kind: self._started[kind] for kind in exports}
        for kind, reader in asked.items():
            reader.ask(exports[kind], file, SECONDS + SECONDS_AN_IMAGE * len(images))
        return asked
