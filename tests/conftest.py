"""What tests of several rooms need; and for all of them: nothing is kept in the home folder of who runs them."""

from __future__ import annotations

import os
import sys

import pytest

from cnn_tuner import cli
from cnn_tuner.api.words import FOLDER

# Fixtures that train, export and verify a whole run, by the module that has them: what needs one is slow, too.
WHOLE_RUNS = {"test_cli": "tuned", "test_traps": "finished", "test_package": "run", "test_resuming": "whole"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        module = item.module.__name__.rpartition(".")[2]
        if WHOLE_RUNS.get(module) in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Decoded images go to a folder of the tests, of processes that tests start too."""
    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ[FOLDER]
    else:
        os.environ[FOLDER] = before


@pytest.fixture
def cnn_tuner(capsys, monkeypatch):
    """A command, run in this process: its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cnn-tuner", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
