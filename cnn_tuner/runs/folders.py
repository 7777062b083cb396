"""The folders that runs lie in: names, room on the disk, files written whole, one process at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_tuner.data.listing import OWN
from cnn_tuner.errors import StorageError, UsageError, storage_error

MIN_FREE_BYTES = 200 * 2**20  # what a small run writes, with room to spare
MOST_NAME_BYTES = 120  # of a run's name: file systems take 255, and others are made from it


class NameTakenError(UsageError):
    """A run has this name already."""


def write_aside(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole or not at all: aside, flushed to the disk, renamed."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def check_writable(folder: Path) -> None:
    """Makes `folder` and proves that it can be written and has room.

    Raises:
        StorageError: it cannot, or less than 200 MB are free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except NotADirectoryError as error:
        raise StorageError(f"{folder}: a file is in the way; choose another folder with --runs") from error
    except FileExistsError as error:
        raise StorageError(f"{folder}: is a file, not a folder; choose another folder with --runs") from error
    except OSError as error:
        raise storage_error(error, folder) or error from error
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        need, have = MIN_FREE_BYTES // 2**20, free // 2**20
        raise StorageError(f"{folder}: a run needs {need} MB of free disk space, {have} MB are free; choose --runs")
    (folder / OWN).touch()  # so that it is not taken for a class where it lies among images


def next_name(runs: Path, stem: str) -> str:
    """The first of `stem-1`, `stem-2`, ... that no run has."""
    stem, number = stem.encode()[: MOST_NAME_BYTES - len("-1000")].decode(errors="ignore"), 1
    while (runs / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def check_name(runs: Path, name: str) -> None:
    """Raises UsageError when `name` cannot be a new run's: it leaves the folder, is too long, or is taken."""
    if not name or name.startswith((".", "-")) or not all(c.isalnum() or c in "._-" for c in name):
        raise UsageError(f"--name: letters, digits, '.', '_' and '-' only, not first '.' or '-', got {name!r}")
    if len(name.encode()) > MOST_NAME_BYTES:
        raise UsageError(
            f"--name: must be at most {MOST_NAME_BYTES} bytes long, got {len(name.encode())}: {name[:20]}..."
        )
    if (runs / name).exists():
        raise NameTakenError(
            f"--name: {runs / name} exists already; choose another name, or go on with it: cnn-tuner resume {name}"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the run's lock, which the system takes back from a process however it ends."""
    import fcntl  # not on Windows, where the rest of this module works

    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{folder}: another process is at work on this run") from error
        yield


def run_folders(runs: Path) -> list[Path]:
    """The folders of all runs in `runs`, the oldest first."""
    if not runs.is_dir():
        return []
    folders = [path for path in runs.iterdir() if not path.name.startswith(".") and (path / "config.yaml").is_file()]
    return sorted(folders, key=lambda path: ((path / "config.yaml").stat().st_mtime_ns, path.name))


def versions(model_folder: Path) -> list[Path]:
    """The exports in the folder of a model, numbered as servers count them, the oldest first."""
    found = [path for path in model_folder.glob("*") if path.name.isdecimal() and (path / "saved_model.pb").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def find_export(runs: Path, name: str) -> Path | None:
    """The folder of the export at the path `name`, or of the newest version there; None where that is to be a run.

    Of a folder that is neither, the path: what opens it says what is missing.
    """
    given = Path(name).expanduser()
    if (given / "saved_model.pb").is_file():
        return given
    if found := versions(given):
        return found[-1]
    is_path = given.is_dir() or len(given.parts) > 1
    return given if is_path and not (find_run(runs, name) / "config.yaml").is_file() else None


def find_run(runs: Path, name: str | None) -> Path:
    """The folder of the run called `name` (or at the path `name`); without a name, the newest run.

    Raises:
        UsageError: there is no such run, or none at all.
    """
    if name is not None:
        given = Path(name).expanduser()
        return given if (given / "config.yaml").is_file() else runs / name
    folders = run_folders(runs)
    if not folders:
        raise UsageError(f"{runs}: no runs yet; start one with cnn-tuner tune")
    return folders[-1]
