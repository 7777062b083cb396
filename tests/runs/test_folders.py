"""The folders that runs lie in: names, room on the disk, whole files, one process at a time."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toys import toy_config, toy_run

from cnn_tuner.errors import StorageError, UsageError, storage_error
from cnn_tuner.runs import folders
from cnn_tuner.runs.store import RunStore

# Holds the lock of the folder that it is given until its input ends.
HOLDER = """
import sys
from pathlib import Path
from cnn_tuner.runs import folders
with folders.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """While inside, another process is at work in `folder`; at the end it is killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdin=-1, stdout=-1, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def test_names_count_up(tmp_path):
    assert folders.next_name(tmp_path, "digits-quick") == "digits-quick-1"
    (tmp_path / "digits-quick-1").mkdir()
    assert folders.next_name(tmp_path, "digits-quick") == "digits-quick-2"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "-x", "a b"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"^--name: letters, digits, '.', '_' and '-' only, not first '.' or '-', got"):
        folders.check_name(tmp_path, name)


def test_a_name_that_is_taken_is_refused(tmp_path):
    toy_run(tmp_path)
    with pytest.raises(
        UsageError,
        match=r"^--name: .*/toy exists already; choose another name, or go on with it: cnn-tuner resume toy$",
    ):
        folders.check_name(tmp_path, "toy")


def test_without_a_name_the_newest_run_is_meant(tmp_path):
    for second, name in enumerate(("b", "a")):
        run = RunStore.create(tmp_path, name, toy_config())
        os.utime(run.folder / "config.yaml", (second, second))
    assert folders.find_run(tmp_path, None).name == "a"
    assert folders.find_run(tmp_path, "b").name == "b"
    assert folders.find_run(tmp_path / "elsewhere", str(tmp_path / "b")) == tmp_path / "b"


def test_an_export_is_found_by_its_folder_or_that_of_its_versions_and_a_run_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    run = RunStore.create(runs, "photos", toy_config())
    for folder in ("digits/2", "digits/10", "photos"):
        Path(folder).mkdir(parents=True)
    for folder in ("digits/2", "digits/10"):
        Path(folder, "saved_model.pb").touch()
    Path("digits/11").mkdir()  # half made
    assert folders.find_export(runs, "digits/2") == Path("digits/2")
    assert folders.find_export(runs, "digits") == Path("digits/10")
    assert folders.find_export(runs, "digits/11") == Path("digits/11")
    assert folders.find_export(runs, "none/1") == Path("none/1")
    assert folders.find_export(runs, "photos") is None  # a run, though its images lie in a folder called so
    assert folders.find_export(runs, str(run.folder)) is None
    assert folders.find_export(runs, "none") is None


def test_runs_are_listed_the_oldest_first_without_what_is_half_made(tmp_path):
    for second, name in enumerate(("b", "a")):
        run = RunStore.create(tmp_path, name, toy_config())
        os.utime(run.folder / "config.yaml", (second, second))
    (tmp_path / ".c-123").mkdir()
    (tmp_path / ".c-123" / "config.yaml").write_text("")
    (tmp_path / "notes").mkdir()
    assert [path.name for path in folders.run_folders(tmp_path)] == ["b", "a"]
    assert folders.run_folders(tmp_path / "none") == []


def test_no_runs_yet_is_said(tmp_path):
    with pytest.raises(UsageError, match=r": no runs yet; start one with cnn-tuner tune$"):
        folders.find_run(tmp_path, None)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match=r"/runs: is a file, not a folder; choose another folder with --runs$"):
        folders.check_writable(tmp_path / "runs")
    with pytest.raises(StorageError, match=r"/runs/x: a file is in the way; choose another folder with --runs$"):
        folders.check_writable(tmp_path / "runs" / "x")


def test_a_folder_that_the_system_refuses_is_refused(tmp_path, monkeypatch):
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match=r"/runs: no permission to write; choose another folder with --runs$"):
        folders.check_writable(tmp_path / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r": no permission to write; choose another folder with --runs$"):
        folders.check_writable(tmp_path / "runs")


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 50, 50 * 2**20))
    with pytest.raises(StorageError, match="a run needs 200 MB of free disk space, 50 MB are free"):
        folders.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folders.write_aside(tmp_path / "a.txt", "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folders.write_aside(tmp_path / "a.txt", "after")
    assert (tmp_path / "a.txt").read_text() == "before"


def test_a_folder_that_is_locked_is_refused_and_free_again_afterwards(tmp_path):
    text = rf"^{tmp_path}: another process is at work on this run$"
    with folders.locked(tmp_path), pytest.raises(UsageError, match=text), folders.locked(tmp_path):
        pass
    with folders.locked(tmp_path):
        pass


def test_the_lock_of_another_process_is_seen_and_taken_back_when_that_is_killed(tmp_path):
    text = r": another process is at work on this run$"
    with holding(tmp_path), pytest.raises(UsageError, match=text), folders.locked(tmp_path):
        pass
    with folders.locked(tmp_path):
        pass


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
