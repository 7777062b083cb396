"""A run that tests of the API share, tuned from arrays by this process; and what its examples are given."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import toys
from toys import NAMES, SPACE, toy_part

import cnn_tuner
from cnn_tuner.api import running, words
from cnn_tuner.runs.machine import Workers
from cnn_tuner.search.session import Session

SHORT = {"max_trials": 2, "max_epochs": 4, "finalists": 1, "final_seeds": 1, "seed": 1, "verbose": 0}


@contextmanager
def trained_here() -> Iterator[None]:
    """Trains in this process, reads no export again and writes no pages: those take seconds that tests do not need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "worker_options", lambda *_, **__: Workers(executor="inline"))
        patch.setattr(running, "worker_options", lambda *_, **__: Workers(executor="inline"))
        toys.read_nothing(patch)
        patch.setattr(Session, "_show", lambda self, run: None)
        yield


@pytest.fixture
def inline():
    with trained_here():
        yield


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> SimpleNamespace:
    """Arrays of four classes, told apart by their bright rows, and a small space for them."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "toy.yaml").write_text(SPACE)
    train, test = toy_part("multiclass", 160, 0), toy_part("multiclass", 60, 1)
    data = {"train": (train.x, train.y), "test": (test.x, test.y), "class_names": NAMES["multiclass"]}
    return SimpleNamespace(folder=folder, data=data, space=folder / "toy.yaml", x=test.x, y=test.y)


@pytest.fixture(scope="session")
def run(toy) -> cnn_tuner.Run:
    """For tests that leave it as it is."""
    with trained_here():
        return cnn_tuner.tune(toy.data, toy.space, runs=toy.folder / "runs", name="shared", **SHORT)


@pytest.fixture
def copied(run, tmp_path) -> cnn_tuner.Run:
    """The same run, to be gone on with."""
    shutil.copytree(run.path, tmp_path / "runs" / "copied")
    return cnn_tuner.Run(tmp_path / "runs" / "copied")
