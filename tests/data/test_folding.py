"""Folds: each image is for validation once, classes are shared out, groups and copies stay together; as a file."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from data_helpers import labels, pixels, write_folder, write_npz

from cnn_tuner.data import split_file
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.data.shared import opened, shared
from cnn_tuner.errors import DataError, UsageError


def parted(dataset: Dataset) -> list[np.ndarray]:
    """The labels of each fold, the first first."""
    return [dataset.val.y, *(dataset.train.y[dataset.folds == number] for number in range(2, dataset.folds.max() + 1))]


@pytest.fixture
def arrays(tmp_path):
    return write_npz(tmp_path / "x.npz", x_train=pixels(150, 5, 4), y_train=labels(150, 3))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_class_is_shared_out_over_folds_of_the_same_size(arrays, folds):
    found = load(arrays, DataOptions(folds=folds))
    assert len(found.test) == 30
    assert sorted(set(found.folds)) == list(range(2, folds + 1))
    counts = np.array([np.bincount(y, minlength=3) for y in parted(found)])
    assert counts.sum() == 120
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    assert found.drawn == ("test", "val")
    assert found.notes[-1] == f"val is the first of {folds} folds, each of which is for validation once"
    assert load(arrays, DataOptions(folds=folds)).fingerprint == found.fingerprint
    assert load(arrays, DataOptions(folds=folds, seed=1)).fingerprint != found.fingerprint


def test_the_test_part_is_the_same_with_and_without_folds(arrays):
    np.testing.assert_array_equal(
        load(arrays, DataOptions(folds=5)).test.x.rows, load(arrays, DataOptions()).test.x.rows
    )


def test_without_a_test_part_to_draw_all_images_are_in_folds(tmp_path):
    own = {
        "x_train": pixels(50, 5, 4),
        "y_train": labels(50, 3),
        "x_test": 255 - pixels(9, 5, 4),
        "y_test": labels(9, 3),
    }
    found = load(write_npz(tmp_path / "x.npz", **own), DataOptions(folds=5))
    assert [len(y) for y in parted(found)] == [10] * 5


def test_copies_stay_in_one_fold(tmp_path):
    x = np.repeat(pixels(60, 5, 4), 2, axis=0)
    found = load(write_npz(tmp_path / "x.npz", x_train=x, y_train=np.repeat(labels(60, 3), 2)), DataOptions(folds=3))
    folds = np.concatenate([found.folds, np.ones(len(found.val), int), np.zeros(len(found.test), int)])
    digests = [bytes(each) for part in (found.train, found.val, found.test) for each in part.digests]
    assert len(set(digests)) == 60
    assert len(set(zip(digests, folds.tolist(), strict=True))) == 60
    assert min(len(y) for y in parted(found)) >= 26


def test_groups_stay_in_one_fold(tmp_path):
    rng = np.random.default_rng(0)
    folder = write_folder(tmp_path / "zoo")
    names = sorted((tmp_path / "zoo").rglob("*.png"))
    for number, path in enumerate(rng.permutation(names)):
        path.rename(path.with_name(f"p{number % 20:02}-{path.name}"))
    found = load(folder, DataOptions(folds=4, group_by=r"(p\d\d)-"))
    fold_of = [*zip(found.train.groups, found.folds.tolist(), strict=True), *((g, 1) for g in found.val.groups)]
    assert len(set(fold_of)) == len({group for group, _ in fold_of})
    assert not {group for group, _ in fold_of} & set(found.test.groups)


def test_folds_that_were_written_are_the_same_when_they_are_read(arrays, tmp_path):
    first, path = load(arrays, DataOptions(folds=4, seed=3)), tmp_path / "split.csv"
    split_file.write(first, path)
    with path.open(newline="") as file:
        parts = [part for _, part in list(csv.reader(file))[1:]]
    assert sorted(set(parts)) == ["fold 1", "fold 2", "fold 3", "fold 4", "test"]
    assert parts.count("fold 2") == 30
    again = load(arrays, DataOptions(folds=4, split=str(path)))
    assert again.fingerprint == first.fingerprint
    with pytest.raises(DataError, match="part must be one of fold 1, fold 2, fold 3, test, got fold 4"):
        load(arrays, DataOptions(folds=3, split=str(path)))
    with pytest.raises(DataError, match="part must be one of train, val, test, got fold"):
        load(arrays, DataOptions(split=str(path)))


def test_workers_know_the_folds(arrays, tmp_path):
    found = load(arrays, DataOptions(folds=4))
    with shared(found, tmp_path / "shared") as folder:
        _, val, folds = opened(folder)
    np.testing.assert_array_equal(folds, found.folds)
    np.testing.assert_array_equal(val.y, found.val.y)
    with shared(load(arrays, DataOptions()), tmp_path / "shared") as folder:
        assert opened(folder)[2] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "--folds: must be a whole number from 2 to 20, got 1"),
        ({"folds": 21}, "--folds: must be a whole number from 2 to 20, got 21"),
        (
            {"folds": 5, "val_fraction": 0.1},
            "--folds and --val-fraction: each fold is for validation once, so name one",
        ),
    ],
)
def test_numbers_that_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        DataOptions(**options)


def test_data_that_cannot_be_folded(tmp_path):
    own = {"x_train": pixels(30, 5, 4), "y_train": labels(30, 3)}
    few = write_npz(tmp_path / "few.npz", **own)
    message = r"class '\d' has too few images, 8; at least 11 are needed, one each for 11 folds; add images, or"
    with pytest.raises(DataError, match=message):
        load(few, DataOptions(folds=11))
    has_val = write_npz(tmp_path / "val.npz", **own, x_val=255 - pixels(9, 5, 4), y_val=labels(9, 3))
    with pytest.raises(
        UsageError, match="--folds: the data has a validation part of its own; nothing is drawn for one"
    ):
        load(has_val, DataOptions(folds=3))


def test_folds_of_groups_that_leave_a_class_nowhere_are_refused(tmp_path):
    folder = write_folder(tmp_path / "zoo", ("cat", "dog"))
    for name in ("cat", "dog"):
        for number, path in enumerate(sorted((tmp_path / "zoo" / name).iterdir())):
            path.rename(path.with_name(f"{'one' if name == 'cat' else number % 10}-{path.name}"))
    with pytest.raises(
        DataError, match=r"of 3 folds would have all images of a class; name fewer --folds|every class to"
    ):
        load(folder, DataOptions(folds=3, group_by=r"/(one|\d)-"))
