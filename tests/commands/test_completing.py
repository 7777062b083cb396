"""What a shell completes, in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPED = {
    "cnn-tuner t": "tune tensorboard",
    "cnn-tuner tune --max-e": "--max-epochs",
    "cnn-tuner tune --space s": "seven_steps",
    "cnn-tuner tune --data f": "fashion_mnist",
    "cnn-tuner tune --data phot": "",  # a file, which the shell itself completes
    "cnn-tuner tune --format onnx,ke": "onnx,keras",
    "cnn-tuner plan --objective val_b": "val_balanced_accuracy",
    "cnn-tuner show --runs here d": "digits-2 digits-1",
    "cnn-tuner serve --runs here ": "faces digits-2 digits-1",
    "cnn-tuner resume --runs nowhere ": "",
}
SCRIPT = """
eval "$(cnn-tuner --show-completion)"
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _cnn_tuner_completion cnn-tuner
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture
def program(tmp_path) -> dict[str, str]:
    """An environment in which cnn-tuner is on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cnn-tuner").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnn_tuner "$@"\n')
    (folder / "cnn-tuner").chmod(0o755)
    path = os.pathsep.join((str(folder), os.environ["PATH"]))
    return os.environ | {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_what_bash_completes(tmp_path, program):
    for at, name in enumerate(("digits-1", "digits-2", "faces", ".hidden")):
        (tmp_path / "here" / name).mkdir(parents=True)
        config = tmp_path / "here" / name / "config.yaml"
        config.touch()
        os.utime(config, (at, at))
    typed = "".join(f"{line}\n" for line in TYPED)
    done = subprocess.run(
        ["bash", "--norc", "-c", SCRIPT],
        input=typed,
        capture_output=True,
        text=True,
        env=program,
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert dict(zip(TYPED, done.stdout.splitlines(), strict=True)) == TYPED


@pytest.mark.parametrize(("shell", "part"), [("zsh", "#compdef cnn-tuner"), ("fish", "complete --command cnn-tuner")])
def test_other_shells_have_their_scripts(program, shell, part):
    program["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # so that the shell is named
    done = subprocess.run(
        ["cnn-tuner", "--show-completion", shell], capture_output=True, text=True, env=program, check=True, timeout=60
    )
    assert part in done.stdout
