"""Images that are in two parts: drawn parts are kept free of them, given ones refused."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import labels, pixels

from cnn_tuner.data import leaks
from cnn_tuner.data.assembling import assemble
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError


def digests(part):
    return set(map(bytes, part.digests))


@pytest.mark.parametrize("seed", range(20))
def test_all_copies_of_an_image_stay_on_one_side(seed):
    rng = np.random.default_rng(seed)
    x = pixels(120, 4, 4)
    x[rng.choice(120, 60)] = x[rng.choice(120, 60)]
    dataset = assemble(RawData("x", "x", Part(x, labels(120, 2))), "x", DataOptions(seed=seed))
    train, val, test = map(digests, (dataset.train, dataset.val, dataset.test))
    assert not train & val and not train & test and not val & test
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 120
    assert train | val | test == digests(Part(x[..., None], labels(120, 2)))


def test_without_copies_nothing_moves():
    indices = {"test": np.array([1, 4]), "val": np.array([0]), "train": np.array([2, 3, 5])}
    part = Part(pixels(6, 4, 4, 1), labels(6, 2))
    kept = leaks.kept_together(indices, part.digests)
    assert list(kept) == list(indices)
    for name, chosen in indices.items():
        np.testing.assert_array_equal(kept[name], chosen)


def test_leaks_between_given_parts_are_refused_unless_allowed():
    x, other = pixels(60, 4, 4), pixels(9, 4, 4, seed=1)
    other[2:4] = x[7]
    raw = RawData("x", "place", Part(x, labels(60, 3)), test=Part(other, labels(9, 3)))
    with pytest.raises(
        DataError,
        match=r"^place: 2 of 9 test images are also in train, pixel for pixel: what was trained on measures nothing; "
        r"cnn-tuner data shows them; delete them, or go on with --allow-leakage$",
    ):
        assemble(raw, "x", DataOptions(val_fraction=0.01, seed=1))
    dataset = assemble(raw, "x", DataOptions(val_fraction=0.01, seed=1, allow_leakage=True))
    assert "2 of 9 test images are also in train, pixel for pixel" in dataset.notes
