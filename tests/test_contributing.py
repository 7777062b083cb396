"""The worked examples of CONTRIBUTING.md are put where they belong, in a copy of the package, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import write_toys

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "extending"

SOURCE = """
import numpy as np
from scipy.io import savemat
from cnn_tuner.data import registry
from cnn_tuner.data.options import DataOptions

x = np.arange(8 * 8 * 3 * 40, dtype=np.int64).reshape(8, 8, 3, 40) * 7919 % 256
savemat("house.mat", {"X": x.astype(np.uint8), "y": (1 + np.arange(40) % 4).reshape(-1, 1)})
found = registry.load("mat:house.mat", DataOptions())
print(found.task, found.image_shape, len(found.train) + len(found.val) + len(found.test))
open("broken.mat", "w").write("no arrays")
try:
    registry.load("mat:broken.mat", DataOptions())
except Exception as error:
    print(type(error).__name__, str(error).partition(" (")[0])
"""
ORACLE = """
from oracles import test_contract as contract
from toys import FINITE_SPACE, toy_space

found = contract.run(contract.make("nearest", FINITE_SPACE, max_trials=None))
print(len(found) == len({str(sorted(contract.own(values).items())) for values in found}) > 1)
print(contract.history(contract.make("nearest"), 12) == contract.history(contract.make("nearest"), 12))
"""
EXECUTOR = """
from dataclasses import replace
from cnn_tuner.executors import registry
from executors.test_contract import SETTINGS, job, run

executor = registry.create("threads", replace(SETTINGS, slots=2))
print(run(executor, "train").result.status)
executor.submit(job("until_stopped", number=1))
executor.submit(job("until_stopped", number=2))
executor.stop()
events = [executor.next_event(60.0) for _ in range(4)]
print(sorted(event.result.status for event in events if hasattr(event, "result"))[-1])
executor.close()
"""
FORMAT = ("registry.py", "cnn_tuner/export/reader.py", "cnn_tuner/report/serving.py")
ONE = ("--max-trials=1", "--max-epochs=1", "--final-epochs=1", "--final-seeds=1", "--no-refit", "--workers=1")


def block_for(file: str) -> str:
    """The code that the text gives for a file, without what it says around it."""
    found = re.search(rf"`{re.escape(file)}`[^`]*?\n\n```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found, file
    return found[1]


def added(folder: Path, example: str, room: str, registry: str, *others: str) -> dict[str, str]:
    """A copy of the package with an example in it; the environment in which that is the package."""
    shutil.copytree(ROOT / "cnn_tuner", folder / "cnn_tuner", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "search_spaces", folder / "search_spaces")
    shutil.copy(EXAMPLES / f"{example}.py", folder / "cnn_tuner" / room)
    for file in (registry, *others):
        place = folder / (file if "/" in file else f"cnn_tuner/{room}/{file}")
        assert f"({EXAMPLES.relative_to(ROOT)}/{example}.py) goes to `cnn_tuner/{room}/`" in TEXT.replace("\n", " ")
        told = f"from cnn_tuner.{room.replace('/', '.')} import {example}\n" if room == "data" else ""
        before, main, after = place.read_text().partition('\n\nif __name__ == "__main__"')
        place.write_text(f"{before}\n\n{told}{block_for(file)}{main}{after}")
    return os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "tests")))}


def said(script: str, environment: dict[str, str], folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=folder, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_source(tmp_path):
    own = added(tmp_path, "matlab", "data", "cnn_tuner/data/registry.py")
    broken = f"DataError {tmp_path / 'broken.mat'}: is no MATLAB file with X and y"
    assert said(SOURCE, own, tmp_path) == ["multiclass (8, 8, 3) 40", broken.replace(f"{tmp_path}/", "")]


@pytest.mark.slow
def test_an_oracle(tmp_path):
    own = added(tmp_path, "nearest", "oracles", "cnn_tuner/oracles/registry.py")
    assert said(ORACLE, own, tmp_path) == ["True", "True"]


def test_an_executor(tmp_path):
    own = added(tmp_path, "threads", "executors", "cnn_tuner/executors/registry.py")
    assert said(EXECUTOR, own, tmp_path) == ["completed", "stopped"]


@pytest.mark.slow
def test_a_format(tmp_path):
    own = added(tmp_path, "litert_float16", "export/formats", *FORMAT)
    asked = [*write_toys(tmp_path), *ONE, "--format=litert_float16"]
    command = [sys.executable, "-m", "cnn_tuner", "tune", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=own, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^verified .*(\n .*)?litert_float16$", done.stdout, re.MULTILINE), done.stdout
