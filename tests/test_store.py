"""The run folder: whole or not at all, read back as it was written, one clear line when it cannot be."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from toys import toy_config, toy_run

from cnn_tuner import store
from cnn_tuner.errors import StorageError, UsageError, storage_error
from cnn_tuner.records import Epoch, Result, Trial, Winner
from cnn_tuner.store import RunStore

TRIAL = Trial(1, {"blocks": 1, "learning_rate": 0.1}, seed=2**32 - 1, params=10, macs=20, started_at=5.0)
EPOCHS = (Epoch(1, {"val_accuracy": 0.5}, 1.0), Epoch(2, {"val_accuracy": 0.75}, 1.0))
RESULT = Result(1, "completed", 0.75, 2, EPOCHS, 2.5)


def test_what_is_written_is_read_back_in_a_new_store(tmp_path):
    run = toy_run(tmp_path)
    run.start_trial(TRIAL)
    run.end_trial(RESULT)
    run.close()
    again = RunStore.open(tmp_path / "toy")
    assert again.config == toy_config()
    [trial] = again.trials()
    assert trial == Trial(1, TRIAL.values, TRIAL.seed, 10, 20, "completed", 0.75, 2, 2.5, "", 5.0)
    assert trial.epochs == EPOCHS


def test_the_space_of_a_run_is_kept_with_it(tmp_path):
    config = toy_run(tmp_path).config
    assert config.search_space().fingerprint == toy_config().search_space().fingerprint


def test_final_training_adds_epochs_and_keeps_what_the_search_measured(tmp_path):
    run = toy_run(tmp_path)
    run.start_trial(TRIAL)
    run.end_trial(RESULT)
    run.end_final_training(Result(1, "completed", 0.9, 3, (Epoch(3, {"val_accuracy": 0.9}, 1.0),), 1.0))
    [trial] = run.trials()
    assert (trial.score, trial.best_epoch, len(trial.epochs)) == (0.75, 2, 3)


def test_a_result_is_written_whole_or_not_at_all(tmp_path):
    run = toy_run(tmp_path)
    run.start_trial(TRIAL)
    run.end_trial(RESULT)
    with pytest.raises(StorageError, match=r"run.sqlite: cannot be written: UNIQUE constraint failed"):
        run.end_trial(Result(1, "completed", 0.9, 2, EPOCHS, 2.5))  # its epochs are there already
    assert run.trials()[0].score == 0.75


def test_the_winner_is_read_back(tmp_path):
    run = toy_run(tmp_path)
    assert run.winner() is None
    winner = Winner(1, 9, 7, 0.75, 0.9, {"accuracy": 0.8}, 40, 10, 20, 3.0)
    run.set_winner(winner)
    assert RunStore.open(run.folder).winner() == winner


def test_a_run_is_complete_when_its_summary_is_there(tmp_path):
    run = toy_run(tmp_path)
    assert not run.is_complete
    run.finish({"run": "toy"})
    assert RunStore.open(run.folder).is_complete


def test_no_half_made_run_is_left_when_its_folder_cannot_be_finished(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        toy_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_count_up(tmp_path):
    assert store.next_name(tmp_path, "digits-quick") == "digits-quick-1"
    (tmp_path / "digits-quick-1").mkdir()
    assert store.next_name(tmp_path, "digits-quick") == "digits-quick-2"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "-x", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"^--name: letters, digits, '.', '_' and '-' only, not first '.' or '-', got"):
        store.check_name(tmp_path, name)


def test_a_name_that_is_taken_is_refused(tmp_path):
    toy_run(tmp_path)
    with pytest.raises(UsageError, match=r"^--name: .*/toy exists already; choose another name$"):
        store.check_name(tmp_path, "toy")


def test_without_a_name_the_newest_run_is_meant(tmp_path):
    for second, name in enumerate(("b", "a")):
        run = RunStore.create(tmp_path, name, toy_config())
        os.utime(run.folder / "config.yaml", (second, second))
    assert store.find_run(tmp_path, None).name == "a"
    assert store.find_run(tmp_path, "b").name == "b"
    assert store.find_run(tmp_path / "elsewhere", str(tmp_path / "b")) == tmp_path / "b"


def test_no_runs_yet_is_said(tmp_path):
    with pytest.raises(UsageError, match=r": no runs yet; start one with cnn-tuner tune$"):
        store.find_run(tmp_path, None)


def test_an_unknown_run_is_told_with_the_choices(tmp_path):
    toy_run(tmp_path)
    with pytest.raises(UsageError, match=r"/other: no such run; choices: toy$"):
        RunStore.open(tmp_path / "other")


@pytest.mark.parametrize("text", ["a: [", "format: 1", "- 1", "!!python/object/apply:os.system [echo]"])
def test_a_broken_config_is_one_line(tmp_path, text):
    run = toy_run(tmp_path)
    (run.folder / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config.yaml: not the config of a run: ") as error:
        RunStore.open(run.folder)
    assert "\n" not in str(error.value)


def test_a_run_of_an_unknown_format_is_refused(tmp_path):
    run = toy_run(tmp_path)
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("format: 1", "format: 99"))
    with pytest.raises(UsageError, match=r"toy: run format 99 is not known here, only 1$"):
        RunStore.open(run.folder)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match=r"/runs: is a file, not a folder; choose another folder with --runs$"):
        store.check_writable(tmp_path / "runs")
    with pytest.raises(StorageError, match=r"/runs/x: a file is in the way; choose another folder with --runs$"):
        store.check_writable(tmp_path / "runs" / "x")


def test_a_folder_that_the_system_refuses_is_refused(tmp_path, monkeypatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match=r"/runs: no permission to write; choose another folder with --runs$"):
        store.check_writable(tmp_path / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r": no permission to write; choose another folder with --runs$"):
        store.check_writable(tmp_path / "runs")


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 50, 50 * 2**20))
    with pytest.raises(StorageError, match="a run needs 200 MB of free disk space, 50 MB are free"):
        store.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "runs: no space left on the disk; free some, or choose another folder with --runs"),
        (errno.EDQUOT, "runs: the disk quota is used up; free some, or choose another folder with --runs"),
        (errno.EACCES, "runs: no permission to write; choose another folder with --runs"),
        (errno.EROFS, "runs: the file system is read-only; choose another folder with --runs"),
    ],
)
def test_what_the_disk_refuses_is_one_line(code, text):
    assert str(storage_error(OSError(code, "x"), "runs")) == text


def test_another_fault_is_not_called_a_storage_error():
    assert storage_error(OSError(errno.ENOENT, "x"), "runs") is None
