"""A split as a file: written, read again, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from data_helpers import labels, pixels, write_folder, write_npz

from cnn_tuner.data import split_file
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError, UsageError


@pytest.fixture
def zoo(tmp_path):
    return write_folder(tmp_path / "zoo")


@pytest.fixture
def arrays(tmp_path):
    return write_npz(tmp_path / "x.npz", x_train=pixels(60, 5, 4), y_train=labels(60, 3))


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def edit(path, change):
    rows = read(path)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(change(rows))


@pytest.mark.parametrize("kind", ["zoo", "arrays"])
@pytest.mark.parametrize("is_cached", [False, True])
def test_a_split_that_was_written_is_the_same_when_it_is_read(kind, is_cached, request, tmp_path):
    source = request.getfixturevalue(kind)
    cache = Cache(tmp_path / "kept", 10**9) if is_cached else None
    first, path = load(source, DataOptions(seed=7), cache), tmp_path / "split.csv"
    split_file.write(first, path)
    again = load(source, DataOptions(seed=0, split=str(path)), cache)
    assert again.fingerprint == first.fingerprint
    assert again.notes[-2:] == (f"test: 12 of 60 images, as {path} says", f"val: 9 of 60 images, as {path} says")
    other = tmp_path / "again.csv"
    split_file.write(again, other)
    assert sorted(other.read_text().splitlines()) == sorted(path.read_text().splitlines())


def test_it_names_files(zoo, tmp_path):
    split_file.write(load(zoo, DataOptions()), tmp_path / "split.csv")
    rows = read(tmp_path / "split.csv")
    assert rows[0] == ["image", "part"]
    assert {name for name, _ in rows[1:]} == {f"{c}/{i:03}.png" for c in ("cat", "dog", "owl") for i in range(20)}


def test_only_what_was_drawn_is_written(tmp_path):
    source = write_npz(
        tmp_path / "x.npz",
        x_train=pixels(60, 5, 4),
        y_train=labels(60, 3),
        x_test=pixels(9, 5, 4, seed=1),
        y_test=labels(9, 3),
    )
    dataset = load(source, DataOptions())
    split_file.write(dataset, tmp_path / "split.csv")
    parts = [part for _, part in read(tmp_path / "split.csv")][1:]
    assert {name: parts.count(name) for name in set(parts)} == {"train": 51, "val": 9}
    assert load(source, DataOptions(split=str(tmp_path / "split.csv"))).fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-2], r"split.csv: lacks 2 of the images \(\S+\.png, \S+\.png\); make it for this data$"),
        (lambda rows: [*rows, ["cat/x.png", "val"]], r"names 1 that are not there \(cat/x.png\); make it for"),
        (lambda rows: [*rows, rows[1]], r"split.csv: has \S+.png twice$"),
        (lambda rows: [*rows[:-1], [rows[-1][0], "dev"]], r"row 61: part must be one of train, val, test, got dev$"),
        (lambda rows: [[n, p.replace("val", "test")] for n, p in rows], r"split.csv: puts no image into val$"),
        (
            lambda rows: [rows[0], *([n, "test" if n.startswith("cat") else p] for n, p in rows[1:])],
            r"zoo: y_train: class 'cat' has no image; every class needs some in train$",
        ),
    ],
)
def test_what_is_refused(zoo, tmp_path, change, message):
    path = tmp_path / "split.csv"
    split_file.write(load(zoo, DataOptions()), path)
    edit(path, change)
    with pytest.raises(DataError, match=message):
        load(zoo, DataOptions(split=str(path)))


def test_columns_and_parts_that_are_there(zoo, tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("file,part\na,train\n")
    with pytest.raises(UsageError, match=r"split.csv: column image: .*split.csv has no such column; has file, part$"):
        load(zoo, DataOptions(split=str(path)))
    whole = {
        f"{axis}_{part}": pixels(9, 5, 4, seed=i) if axis == "x" else labels(9, 3)
        for i, part in enumerate(("train", "val", "test"))
        for axis in "xy"
    }
    with pytest.raises(UsageError, match=r"^--split .*split.csv: the data has all its parts; nothing is split$"):
        load(write_npz(tmp_path / "y.npz", **whole), DataOptions(split=str(path)))


def test_leaks_in_a_file_are_refused(tmp_path):
    x = pixels(60, 5, 4)
    x[3] = x[0]
    source = write_npz(tmp_path / "x.npz", x_train=x, y_train=labels(60, 3))
    rows = [["image", "part"], *([str(i), ("train", "val", "test")[(i // 3) % 3]] for i in range(60))]
    with (tmp_path / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    options = DataOptions(split=str(tmp_path / "split.csv"))
    with pytest.raises(DataError, match=r"1 of 21 val images are also in train, pixel for pixel"):
        load(source, options)
    np.testing.assert_array_equal(
        load(source, DataOptions(split=options.split, allow_leakage=True)).val.x[0], x[3, ..., None]
    )
