"""The frozen records, the options, and what is the same for every source."""

import dataclasses
import os

import numpy as np
import pytest
from data_helpers import labels, pixels

from cnn_tuner.data.assembling import assemble, slug
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError


def raw(count=60, classes=3, **changes):
    given = RawData("My Data", "place", Part(pixels(count, 5, 4), labels(count, classes)))
    return dataclasses.replace(given, **changes)


def made(options=None, **changes):
    return assemble(raw(**changes), "source", options or DataOptions())


@pytest.mark.parametrize(
    ("y", "task", "outputs", "shape", "dtype"),
    [
        (labels(60, 2), "binary", 1, (1,), np.float32),
        (labels(60, 3), "multiclass", 3, (), np.int32),
        (np.random.default_rng(0).integers(0, 2, (60, 4)), "multilabel", 4, (4,), np.float32),
        (np.linspace(-1.5, 2, 120).reshape(60, 2), "regression", 2, (2,), np.float32),
    ],
)
def test_outputs_by_task(y, task, outputs, shape, dtype):
    dataset = made(train=Part(pixels(60, 5, 4), y))
    assert (dataset.task, dataset.outputs, dataset.image_shape) == (task, outputs, (5, 4, 1))
    for part in (dataset.train, dataset.val, dataset.test):
        assert part.y.shape == (len(part), *shape) and part.y.dtype == dtype
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (39, 9, 12)


def test_labels_stay_with_their_images():
    x = pixels(60, 5, 4)
    x[:, 0, 0] = np.arange(60)
    dataset = made(train=Part(x, np.arange(60) % 3))
    for part in (dataset.train, dataset.val, dataset.test):
        assert (part.x[:, 0, 0, 0] % 3 == part.y).all()


def test_given_parts_are_kept_as_they_are():
    x, y = pixels(30, 5, 4, seed=7), labels(30, 3)[::-1]
    dataset = made(val=Part(x, y))
    assert (dataset.val.x[..., 0] == x).all() and (dataset.val.y == y).all()
    assert (len(dataset.train), len(dataset.test)) == (48, 12)
    assert not any(note.startswith("val: ") for note in dataset.notes)
    whole = made(val=Part(x, y), test=Part(pixels(9, 5, 4, seed=8), labels(9, 3)))
    assert (len(whole.train), len(whole.val), len(whole.test)) == (60, 30, 9)
    assert whole.notes == ()


def test_the_test_part_does_not_depend_on_a_given_val():
    given = made(val=Part(pixels(30, 5, 4, seed=7), labels(30, 3)))
    np.testing.assert_array_equal(given.test.x, made().test.x)


def test_notes_say_what_was_split_off():
    assert made(DataOptions(seed=5)).notes == (
        "test: 12 of 60 images, stratified, seed 5",
        "val: 9 of 60 images, stratified, seed 5",
    )


def test_images_in_two_parts_are_counted():
    x = pixels(60, 5, 4)
    allowed = DataOptions(allow_leakage=True)
    dataset = made(allowed, val=Part(x[:4], labels(4, 3)), test=Part(x[2:9], labels(7, 3)))
    assert dataset.notes == (
        "7 of 7 test images are also in train, pixel for pixel",
        "4 of 4 val images are also in train, pixel for pixel",
        "2 of 7 test images are also in val, pixel for pixel",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"train": Part(pixels(60, 5, 4, seed=1), labels(60, 3))},
        {"train": Part(pixels(60, 4, 5), labels(60, 3))},
        {"train": Part(pixels(60, 5, 4), (labels(60, 3) + 1) % 3)},
        {"train": Part(pixels(60, 5, 4), labels(60, 3).astype(np.float32) + 0.5)},
        {"class_names": ("a", "b", "c")},
    ],
)
def test_the_fingerprint_sees_every_change(changes):
    assert made().fingerprint == made(name="other", place="elsewhere").fingerprint
    assert made(**changes).fingerprint != made().fingerprint


def test_the_fingerprint_is_the_same_everywhere():
    """A change of these digits means that no run of an earlier version can be resumed."""
    x, y = np.arange(90, dtype=np.uint8).reshape(9, 5, 2), np.arange(9) % 3
    parts = {"train": Part(x, y), "val": Part(x[:3], y[:3]), "test": Part(x[3:6], y[3:6])}
    dataset = made(DataOptions(allow_leakage=True), **parts)
    assert dataset.fingerprint == "2:39f115f164a3022159587007f661fd7d74dc7b27ea031056e33805902a4380af"
    first = "39a8b685d3c8a9f8b384ced148ebaecf2ab440676a20d0f7fd3957baaea9478e"
    assert dataset.has_fingerprint(first) and dataset.has_fingerprint(dataset.fingerprint)
    other = made(DataOptions(allow_leakage=True), **parts | {"val": Part(x[1:4], y[1:4])})
    assert not other.has_fingerprint(first) and not other.has_fingerprint(dataset.fingerprint)


def test_a_dataset_cannot_be_written():
    dataset = made()
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.task = "binary"
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.x.array[0] = 0


def test_images_and_labels_must_be_equally_many():
    with pytest.raises(
        DataError, match=r"^place: x_train and y_train: must be equally long, got 60 images and 59 labe"
    ):
        made(train=Part(pixels(60, 5, 4), labels(59, 3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Fashion_MNIST", "fashion-mnist"), ("../a b", "a-b"), ("Фото", "data"), ("v1.2", "v1.2"), ("x" * 99, "x" * 60)],
)
def test_slug(name, expected):
    assert slug(name) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "guess"}, r"^--task: must be one of binary, multiclass, multilabel, regression; got 'guess'$"),
        ({"seed": -1}, r"^--seed: must be a whole number >= 0, got -1$"),
        ({"val_fraction": 0}, r"^--val-fraction: must lie between 0 and 1, both excluded; got 0$"),
        ({"test_fraction": 1.0}, r"^--test-fraction: must lie between 0 and 1, both excluded; got 1.0$"),
        ({"test_fraction": float("nan")}, r"^--test-fraction: must lie between .* got nan$"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"must add up to less than 1, got 0.5 \+ 0.5$"),
        ({"image_size": (0, 8)}, r"^--image-size: height and width must be 1..4096 pixels, got \(0, 8\)$"),
        ({"channels": 2}, r"^--channels: must be 1 \(grey\) or 3 \(colour\), got 2$"),
        ({"max_bytes": 0}, r"^max_bytes: must be > 0, got 0$"),
    ],
)
def test_options_are_checked(values, message):
    with pytest.raises(UsageError, match=message):
        DataOptions(**values)


@pytest.mark.parametrize(
    ("options", "images", "validation"),
    [({}, 1_000, 150), ({}, 40_000, 5_000), ({"val_fraction": 0.2}, 40_000, 8_000)],
)
def test_of_many_images_five_thousand_are_for_validation(options, images, validation):
    train, test = Part(pixels(images, 1, 1), labels(images, 3)), Part(pixels(9, 1, 1), labels(9, 3))
    dataset = made(DataOptions(allow_leakage=True, **options), train=train, test=test)
    assert (len(dataset.train), len(dataset.val)) == (images - validation, validation)


def test_half_of_the_machine_is_the_limit(monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    check_memory(2**31, DataOptions(), "here")
    with pytest.raises(
        DataError, match=r"^here: needs 2.5 GiB of memory for its images, the limit is 2 GiB; use fewer"
    ):
        check_memory(5 * 2**29, DataOptions(), "here")
    check_memory(5 * 2**29, DataOptions(max_bytes=3 * 2**30), "here")


def test_a_machine_that_does_not_tell_its_memory(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    with pytest.raises(DataError, match=r"the limit is 4 GiB"):
        check_memory(2**33, DataOptions(), "here")
