"""Processes that know nothing of this package and read exports: one a format, all at once, timed one after another."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.errors import VerificationError

READER = Path(__file__).with_name("reader.py")
ANSWERED = "answered\n"


@dataclass(frozen=True)
class Reader:
    """A process that reads the export at `path`."""

    path: Path
    process: subprocess.Popen[str]
    answers_file: Path
    errors_file: Path

    def answers(self) -> dict[str, np.ndarray]:
        """What it predicts, once it has.

        Raises:
            VerificationError: it cannot read the export, or finds it wrong.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == ANSWERED:
                with np.load(self.answers_file, allow_pickle=False) as found:
                    return dict(found)
        self.process.wait()
        text = self.errors_file.read_text(encoding="utf-8", errors="replace")
        last = (text.strip().splitlines() or ["no message"])[-1]
        raise VerificationError(f"{self.path}: a new process cannot read it: {last}")

    def latencies(self) -> dict[int, float]:
        """The median seconds of a call, by its number of images; empty when it could not measure that."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("time\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return {int(count): seconds for count, seconds in json.loads(line or "{}").items()}

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.communicate()


def start(kind: str, path: Path, images: Path, scratch: Path) -> Reader:
    """A reader of the format `kind`, at work on the images (N, H, W, C) uint8 in a .npy file."""
    answers, errors = scratch / f"{kind}.npz", scratch / f"{kind}.txt"
    command = [sys.executable, "-I", str(READER), kind, str(path), str(images), str(answers)]
    with errors.open("w") as file:
        # A session of its own: the Ctrl-C that asks for the best so far must not end the reader that verifies it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True
        )
    return Reader(path, process, answers, errors)
