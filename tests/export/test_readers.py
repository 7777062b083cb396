"""A process that reads an export ends, whatever the export makes it do, and it is told why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnn_tuner.errors import VerificationError
from cnn_tuner.export import readers

ANSWERS = """
import json, sys, numpy as np
path, images, answers = json.loads(sys.stdin.readline())
np.savez(answers, scores=np.load(images) / 2)
print("noise of a library")
print("answered", flush=True)
print('{"1": 0.5}' if sys.stdin.readline() == "time\\n" else "", flush=True)
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts a reader that is the given program."""
    running = []

    def start(program: str, seconds: float = 60.0) -> readers.Reader:
        (tmp_path / "reader.py").write_text(program)
        monkeypatch.setattr(readers, "READER", tmp_path / "reader.py")
        np.save(tmp_path / "images.npy", np.arange(4))
        running.append(readers.Reader("keras", tmp_path))
        running[-1].ask(Path("digits/1"), tmp_path / "images.npy", seconds)
        return running[-1]

    yield start
    for reader in running:
        reader.end()


def test_answers_and_times_come_from_the_process(started):
    reader = started(ANSWERS)
    np.testing.assert_array_equal(reader.answers()["scores"], [0, 0.5, 1, 1.5])
    assert reader.latencies() == {1: 0.5}


FAULTS = {
    "raises": ("import sys\nsys.exit('the last line\\nof its words')", "of its words"),
    "says nothing": ("", "no message"),
    "is killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "it was ended by signal 9, as the system"),
    "hangs": ("import sys\nsys.stdin.read()", "it had no answer after 0.1 seconds"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_without_answers_is_told(started, fault):
    program, message = FAULTS[fault]
    reader = started(program, 0.1 if fault == "hangs" else 60.0)
    with pytest.raises(VerificationError, match=f"^digits/1: a new process cannot read it: {message}"):
        reader.answers()


def test_a_process_ends_with_its_reader(started):
    reader = started("import sys\nsys.stdin.read()")
    reader.end()
    assert reader.process.returncode == -9
    assert not reader._watch.is_alive() or reader._watch.finished.is_set()


def test_a_reader_that_is_not_asked_ends_with_the_others(tmp_path, monkeypatch):
    (tmp_path / "reader.py").write_text(ANSWERS)
    monkeypatch.setattr(readers, "READER", tmp_path / "reader.py")
    with readers.Readers(["keras", "onnx"]) as started:
        asked = started.ask(np.zeros((2, 1, 1, 1), np.uint8), {"onnx": tmp_path / "model.onnx"})
        assert asked.keys() == {"onnx"}
        assert asked["onnx"].answers()["scores"].shape == (2, 1, 1, 1)
        processes = [reader.process for reader in started._started.values()]
    assert [process.returncode for process in processes] == [-9, -9]


def test_a_process_that_is_told_nothing_ends_by_itself(started):
    reader = started("import sys\nsys.exit('cannot load')")
    reader.process.wait()
    reader.ask(Path("digits/1"), Path("images.npy"), 60.0)  # after its end
    with pytest.raises(VerificationError, match="cannot load"):
        reader.answers()
