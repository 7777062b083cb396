"""The run folder and its store: a config file, and one SQLite file in which every event is a transaction.

    runs/<name>/  config.yaml    what was asked for: data, space, search, versions
                  run.sqlite     what happened: trials, jobs, epochs, the winner
                  tensorboard/  checkpoints/  best.keras  test_scores.npy  export/
                  result.json    the summary; written last, so a folder that has it is complete

Everything that is shown, resumed, exported or reported is read from here.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cnn_tuner import space as space_module
from cnn_tuner.errors import StorageError, UsageError, storage_error
from cnn_tuner.records import Epoch, Result, Trial, Winner, ranked
from cnn_tuner.space import Point, SearchSpace
from cnn_tuner.tasks import Objective, Output

FORMAT = 1  # of the run folder; a reader refuses one it does not know
MIN_FREE_BYTES = 200 * 2**20  # what a small run writes, with room to spare

SCHEMA = """
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, point TEXT NOT NULL, seed INTEGER NOT NULL, params INTEGER NOT NULL,
    macs INTEGER NOT NULL, started_at REAL NOT NULL, status TEXT NOT NULL, score REAL, best_epoch INTEGER,
    seconds REAL NOT NULL, message TEXT NOT NULL
);
CREATE TABLE epochs (
    trial INTEGER NOT NULL REFERENCES trials (number), number INTEGER NOT NULL, is_final INTEGER NOT NULL,
    metrics TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (trial, number)
);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Config):
    """Which images a run learns from, and what they turned out to be."""

    source: str
    name: str
    task: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    output_scale: tuple[float, ...] = ()
    output_offset: tuple[float, ...] = ()
    fingerprint: str
    options: dict[str, Any]


class SearchConfig(_Config):
    """How a run searches. `epochs` is the most for one trial, `final_epochs` for the winner, in all."""

    oracle: str
    objective: str
    direction: str
    max_trials: int
    epochs: int
    final_epochs: int
    seed: int


class RunConfig(_Config):
    """Everything that decides what a run does."""

    format: int = FORMAT
    created: str
    command: str
    versions: dict[str, str]
    data: DataConfig
    space_name: str
    space: dict[str, Any]
    search: SearchConfig

    @property
    def objective(self) -> Objective:
        return Objective(self.search.objective, self.search.direction)

    @property
    def output(self) -> Output:
        units = 1 if self.data.task == "binary" else len(self.data.class_names)
        return Output(self.data.task, units, self.data.output_scale, self.data.output_offset)

    def search_space(self) -> SearchSpace:
        """The space as it was when the run began, whatever became of its file."""
        return space_module.from_text(yaml.safe_dump(self.space, sort_keys=False), self.space_name)


def write_aside(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all: aside, flushed to the disk, renamed."""
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
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


def next_name(runs: Path, stem: str) -> str:
    """The first of `stem-1`, `stem-2`, ... that no run has."""
    number = 1
    while (runs / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def check_name(runs: Path, name: str) -> None:
    """Raises UsageError when `name` cannot be a new run's: it leaves the folder, or is taken."""
    if not name or name.startswith((".", "-")) or not all(c.isalnum() or c in "._-" for c in name):
        raise UsageError(f"--name: letters, digits, '.', '_' and '-' only, not first '.' or '-', got {name!r}")
    if (runs / name).exists():
        raise UsageError(f"--name: {runs / name} exists already; choose another name")


class RunStore:
    """One run's folder, open. Not for several threads. `close()` lets go of the SQLite file."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self._database = sqlite3.connect(folder / "run.sqlite", isolation_level=None)
        self._database.execute("PRAGMA foreign_keys = ON")
        self.close = weakref.finalize(self, self._database.close)  # at the latest when nobody uses it any more

    @classmethod
    def create(cls, runs: Path, name: str, config: RunConfig) -> RunStore:
        """A new run: made aside and renamed, so that a run folder always has its config and its store.

        Raises:
            UsageError: the name is taken or leaves the folder.
        """
        check_name(runs, name)
        aside = runs / f".{name}-{os.getpid()}"
        aside.mkdir(parents=True)
        try:
            write_aside(aside / "config.yaml", _dump(config))
            database = sqlite3.connect(aside / "run.sqlite")
            database.executescript(SCHEMA)
            database.close()
            aside.rename(runs / name)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return cls(runs / name, config)

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """The run in `folder`.

        Raises:
            UsageError: there is none, or it cannot be read.
        """
        if not (folder / "config.yaml").is_file() or not (folder / "run.sqlite").is_file():
            known = ", ".join(run.name for run in run_folders(folder.parent)) or "none yet"
            raise UsageError(f"{folder}: no such run; choices: {known}")
        try:
            data = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            config = RunConfig.model_validate(data)
        except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{folder / 'config.yaml'}: not the config of a run: {reason}") from error
        if config.format != FORMAT:
            raise UsageError(f"{folder}: run format {config.format} is not known here, only {FORMAT}")
        return cls(folder, config)

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def best_model(self) -> Path:
        return self.folder / "best.keras"

    @property
    def test_scores(self) -> Path:
        """What the best model said of the test part when it was measured, (N, units) float32."""
        return self.folder / "test_scores.npy"

    def latest_export(self) -> Path:
        """The newest version of the exported model.

        Raises:
            UsageError: there is none.
        """
        versions = [path for path in self.folder.glob("export/*/*") if path.name.isdigit()]
        if not versions:
            name = self.folder.name
            raise UsageError(f"{self.folder}: has no export yet; make one with cnn-tuner export {name}")
        return max(versions, key=lambda path: int(path.name))

    def state_file(self, trial: int) -> Path:
        """Where a trial's training state is kept while it may be continued."""
        return self.folder / "checkpoints" / f"trial-{trial:04d}.npz"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise StorageError(f"{self.folder / 'run.sqlite'}: cannot be written: {error}") from error

    def start_trial(self, trial: Trial) -> None:
        """Writes a new trial, before its first job is submitted."""
        row = (trial.number, json.dumps(trial.values), trial.seed, trial.params, trial.macs, trial.started_at)
        with self._transaction() as database:
            database.execute("INSERT INTO trials VALUES (?,?,?,?,?,?,'running',NULL,NULL,0,'')", row)

    def continue_trial(self, number: int) -> None:
        """Marks a trial as running again."""
        with self._transaction() as database:
            database.execute("UPDATE trials SET status = 'running' WHERE number = ?", (number,))

    def end_trial(self, result: Result) -> None:
        """Writes the result of a search job: the epochs it trained, and what the trial has reached."""
        with self._transaction() as database:
            self._insert_epochs(database, result, is_final=False)
            database.execute(
                "UPDATE trials SET status = ?, score = ?, best_epoch = ?, seconds = seconds + ?, message = ? "
                "WHERE number = ?",
                (result.status, result.score, result.best_epoch, result.seconds, result.message, result.trial),
            )

    def end_final_training(self, result: Result) -> None:
        """Writes the epochs of the winner's final training; what the search measured stays as it was."""
        with self._transaction() as database:
            self._insert_epochs(database, result, is_final=True)

    @staticmethod
    def _insert_epochs(database: sqlite3.Connection, result: Result, is_final: bool) -> None:
        rows = [(result.trial, e.number, is_final, json.dumps(e.metrics), e.seconds) for e in result.epochs]
        database.executemany("INSERT INTO epochs VALUES (?,?,?,?,?)", rows)

    def trials(self) -> list[Trial]:
        """Every trial by number, with the epochs of the search and of the final training."""
        epochs: dict[int, list[Epoch]] = {}
        for trial, number, metrics, seconds in self._database.execute(
            "SELECT trial, number, metrics, seconds FROM epochs ORDER BY trial, number"
        ):
            epochs.setdefault(trial, []).append(Epoch(number, json.loads(metrics), seconds))
        rows = self._database.execute(
            "SELECT number, point, seed, params, macs, status, score, best_epoch, seconds, message, started_at "
            "FROM trials ORDER BY number"
        )
        return [
            replace(Trial(number, _point(point), *rest), epochs=tuple(epochs.get(number, ())))
            for number, point, *rest in rows
        ]

    def best_trial(self) -> Trial | None:
        """The best trial (see `records.ranked`), or None when no trial has a score."""
        return next((trial for trial in ranked(self.trials(), self.config.objective) if trial.score is not None), None)

    def set_winner(self, winner: Winner) -> None:
        """Writes what the final training and its evaluation found."""
        self._set("winner", asdict(winner))

    def winner(self) -> Winner | None:
        """What the final training found, or None before it has ended."""
        row = self._database.execute("SELECT value FROM facts WHERE key = 'winner'").fetchone()
        return None if row is None else Winner(**json.loads(row[0]))

    def _set(self, key: str, value: Any) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as complete: its summary, written last."""
        write_aside(self.folder / "result.json", json.dumps(summary, indent=2) + "\n")

    def discard(self) -> None:
        """Removes the folder of a run that never began its first trial."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_complete(self) -> bool:
        return (self.folder / "result.json").is_file()


def _point(text: str) -> Point:
    point: Point = json.loads(text)
    return point


def _dump(config: RunConfig) -> str:
    head = "# What this run was asked for. Written once; changing it changes nothing.\n"
    return head + yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def run_folders(runs: Path) -> list[Path]:
    """The folders of all runs in `runs`, the oldest first."""
    if not runs.is_dir():
        return []
    folders = [path for path in runs.iterdir() if not path.name.startswith(".") and (path / "config.yaml").is_file()]
    return sorted(folders, key=lambda path: ((path / "config.yaml").stat().st_mtime_ns, path.name))


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
