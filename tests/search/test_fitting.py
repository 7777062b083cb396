"""The space that is made for a person's images: what the time makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_tuner.baselines import mirrored
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.search import fitting
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.rules import Limits

OUTPUT = Output("multiclass", 10)


@pytest.fixture
def images(monkeypatch):
    """As many as Fashion-MNIST has, on a machine of two cores; what an image is worth mirrored is not the matter."""
    monkeypatch.setattr(mirrored, "flips", lambda task, part, seed: ("none", "horizontal"))
    monkeypatch.setattr(fitting, "_guessed_rate", lambda: 8.5e9)
    part = Part(np.zeros((55_000, 28, 28, 1), np.uint8), np.zeros(55_000, np.int32))
    return Dataset("x", "x", "multiclass", tuple("abcdefghij"), part, part, part)


def made(images, minutes, epoch_images=12_000, limits=None):
    budget = None if minutes is None else 60.0 * minutes
    return fitting.space_for(images, OUTPUT, "accuracy", 0, limits or Limits(), budget, epoch_images)


@pytest.mark.parametrize(
    ("minutes", "epochs"), [(None, 12), (2, 12), (8, 12), (30, 12), (60, 24), (240, 48), (6000, 48)]
)
def test_trials_of_a_longer_search_are_longer(images, minutes, epochs):
    assert made(images, minutes).defaults.epochs == epochs


def test_trials_that_see_all_images_are_as_long_as_ever(images):
    assert made(images, 240, epoch_images=None).defaults.epochs == 12


def test_what_was_made_is_a_file_that_can_be_taken_and_edited(images, tmp_path):
    space = made(images, 60)
    (tmp_path / "mine.yaml").write_text(space.source)
    again = tree.load(str(tmp_path / "mine.yaml"))
    assert (again.parameters, again.defaults.epochs) == (space.parameters, 24)


def test_limits_hold_in_it_and_may_leave_nothing_to_begin_with(images):
    assert made(images, 60, limits=Limits(max_params=1000)).defaults.epochs == 12
