"""A run of an earlier version still opens: `written_before` was killed in its fifth trial, before there were rooms."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from cnn_tuner import cli
from cnn_tuner.runs.store import RunStore

STORED = Path(__file__).with_name("written_before")


@pytest.fixture
def runs(tmp_path) -> Path:
    shutil.copytree(STORED, tmp_path / STORED.name)
    return tmp_path


@pytest.fixture
def command(runs, monkeypatch):
    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["cnn-tuner", *words, "--runs", str(runs)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    return run


def test_it_is_shown_with_every_trial(command, capsys):
    assert command("show") == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if "k3s2" in line]
    assert rows[:5] == [["4", "0.8481"], ["3", "0.8296"], ["1", "0.1370"], ["2", "0.1148"], ["5", "-"]]


def test_it_is_reported(runs, command):
    assert command("report") == 0
    assert "0.8481" in (runs / STORED.name / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_goes_on_to_its_export(runs, command):
    assert command("resume", "--workers", "1", "--accept-changes") == 0
    run = RunStore.open(runs / STORED.name)
    assert [(trial.number, trial.status) for trial in run.trials()] == [(n, "completed") for n in range(1, 7)]
    assert run.is_complete
    assert run.latest_export().name == "1"
    run.close()
