"""Images that several processes map: one copy, gone when the work is done."""

from __future__ import annotations

import mmap
import shutil
from collections import namedtuple

import numpy as np
import pytest
from toys import NAMES, toy_dataset

from cnn_tuner.data.shared import opened, shared
from cnn_tuner.errors import StorageError


def base(array: np.ndarray) -> object:
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


@pytest.mark.parametrize("task", NAMES)
def test_what_is_opened_equals_what_was_shared(task, tmp_path):
    dataset = toy_dataset(task)
    with shared(dataset, tmp_path / "data") as folder:
        for found, part in zip(opened(folder)[:2], (dataset.train, dataset.val), strict=True):
            np.testing.assert_array_equal(found.x, part.x)
            np.testing.assert_array_equal(found.y, part.y)
            assert (found.x.dtype, found.y.dtype) == (part.x.dtype, part.y.dtype)


def test_the_arrays_are_mapped_not_copied_and_the_files_stay_as_they_are(tmp_path):
    with shared(toy_dataset(), tmp_path / "data") as folder:
        before = (folder / "x.npy").read_bytes()
        train, val, _ = opened(folder)
        assert train.x.array is val.x.array
        assert isinstance(base(train.x.array), mmap.mmap)
        assert train.x.array.flags.writeable
        train.x.array[:] = 0  # stays in this process
        assert (folder / "x.npy").read_bytes() == before


def test_the_test_part_is_not_shared(tmp_path):
    dataset = toy_dataset()
    with shared(dataset, tmp_path / "data") as folder:
        names = sorted(path.name for path in folder.iterdir())
        assert len(np.load(folder / "x.npy")) == len(dataset.train) + len(dataset.val)
    assert names == ["train_rows.npy", "train_y.npy", "val_rows.npy", "val_y.npy", "x.npy"]


def test_the_files_are_gone_at_the_end(tmp_path):
    with shared(toy_dataset(), tmp_path / "data") as folder:
        assert folder == tmp_path / "data"
    assert not folder.exists()


def test_the_files_are_gone_after_an_exception(tmp_path):
    with pytest.raises(KeyboardInterrupt), shared(toy_dataset(), tmp_path / "data"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_replaced(tmp_path):
    left = tmp_path / "data"
    left.mkdir()
    for name in ("x.npy", "old.npy"):
        (left / name).write_bytes(b"half")
    with shared(toy_dataset(), left) as folder:
        assert not (folder / "old.npy").exists()
        np.testing.assert_array_equal(opened(folder)[0].x, toy_dataset().train.x)


def test_a_disk_without_room_is_told_before_anything_is_copied(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 5000))
    text = (
        r"^.*/data: the workers' copy of the images needs 0 MB of free disk space, 0 MB are free; "
        r"free some, or choose another folder with --runs$"
    )
    with pytest.raises(StorageError, match=text), shared(toy_dataset(), tmp_path / "data"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_a_view_is_shared_whole(tmp_path):
    dataset = toy_dataset()
    for part in (dataset.train, dataset.val):
        object.__setattr__(part, "x", part.x[::-1, :, ::2])
    with shared(dataset, tmp_path / "data") as folder:
        train, _, _ = opened(folder)
        np.testing.assert_array_equal(train.x, dataset.train.x)
