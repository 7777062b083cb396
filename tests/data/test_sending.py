"""Data that are sent to another machine: equal there, received once, gone when nobody uses them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import NAMES, toy_dataset

from cnn_tuner.data import dataset as records
from cnn_tuner.data import sending, shared
from cnn_tuner.data.sending import packed, scratch, sent
from cnn_tuner.errors import StorageError


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Another machine: its folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there"))
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(records, "PIECE_BYTES", 1000)  # so that there are many
    return tmp_path / "there"


def left(machine):
    return [path.name for path in machine.rglob("*") if path.is_file()]


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("has_folds", [False, True])
def test_what_was_sent_equals_what_is_here(task, has_folds, tmp_path, machine):
    dataset = toy_dataset(task)
    if has_folds:
        dataset = replace(dataset, folds=2 + np.arange(len(dataset.train)) % 3)
    with shared.shared(dataset, tmp_path / "data") as folder:
        pieces = list(packed(folder))
    assert sum(name == "x.npy" for name, _ in pieces) > 3
    found = sent("token", lambda: pieces)
    for part, expected in zip(shared.opened(found.folder)[:2], (dataset.train, dataset.val), strict=True):
        np.testing.assert_array_equal(part.x, expected.x)
        np.testing.assert_array_equal(part.y, expected.y)
        assert (part.x.dtype, part.y.dtype) == (np.uint8, expected.y.dtype)
    folds = shared.opened(found.folder)[2]
    assert (folds is None) if not has_folds else (folds == dataset.folds).all()
    assert found.folder.parent.stat().st_mode & 0o777 == 0o700
    found.close()
    assert left(machine) == []


def test_they_are_received_once_and_go_with_the_last_that_uses_them(tmp_path, machine):
    with shared.shared(toy_dataset(), tmp_path / "data") as folder:
        pieces = list(packed(folder))
    asked = []
    users = [sent("token", lambda: asked.append(1) or pieces) for _ in range(3)]
    assert asked == [1]
    users[1].close()
    users[0].close()
    assert shared.opened(users[2].folder)[0].y.size
    users[2].close()
    assert left(machine) == []


def test_what_killed_processes_left_goes_when_other_data_come(tmp_path, machine):
    with shared.shared(toy_dataset(), tmp_path / "data") as folder:
        pieces = list(packed(folder))
    killed, used = sent("killed", lambda: pieces), sent("used", lambda: pieces)
    killed._lock.close()  # as the system does
    other = sent("other", lambda: pieces)
    assert sorted(path.name for path in other.folder.parent.iterdir() if path.is_dir()) == ["other", "used"]
    used.close()
    other.close()


def test_half_of_them_is_nothing(tmp_path, machine):
    with shared.shared(toy_dataset(), tmp_path / "data") as folder:
        pieces = list(packed(folder))

    def breaks_off():
        yield from pieces[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sent("token", breaks_off)
    assert left(machine) == []
    sent("token", lambda: pieces).close()


def test_a_disk_without_room_is_told(tmp_path, machine, monkeypatch):
    with shared.shared(toy_dataset(), tmp_path / "data") as folder:
        pieces = list(packed(folder))
    monkeypatch.setattr(sending, "check_free", lambda folder, need: shared.check_free(folder, need + 2**60))
    with pytest.raises(StorageError, match="the workers' copy of the images needs"):
        sent("token", lambda: pieces)
    assert left(machine) == []


def test_a_folder_of_somebody_else_is_not_used(machine, monkeypatch):
    monkeypatch.setattr(sending.os, "getuid", lambda: 12345)
    (machine / "cnn_tuner-12345").mkdir()
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        sent("token", list)
    assert Path(machine / "cnn_tuner-12345").exists()


def test_a_folder_of_a_process_goes_with_it(machine):
    one, killed = scratch(), scratch()
    (one.folder / "state").touch()
    killed._lock.close()
    scratch().close()
    assert [path for path in one.folder.parent.iterdir() if path.is_dir()] == [one.folder]
    one.close()
    assert left(machine) == []


def test_of_images_that_lie_elsewhere_others_get_a_copy(tmp_path, machine):
    x = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 1), dtype=np.uint8)
    np.save(tmp_path / "cache.npy", x)
    mapped = np.load(tmp_path / "cache.npy", mmap_mode="r")
    parts = [
        records.Part(records.Selection(mapped, rows, tmp_path / "cache.npy"), np.zeros(len(rows), np.int32))
        for rows in np.split(np.arange(9), [5, 7])
    ]
    dataset = records.Dataset("x", "x", "multiclass", ("a", "b"), *parts)
    with shared.shared(dataset, tmp_path / "data", is_for_others=True) as folder:
        (tmp_path / "cache.npy").unlink()
        train, val, _ = shared.opened(folder)
        np.testing.assert_array_equal(np.concatenate([train.x, val.x]), x[:7])
