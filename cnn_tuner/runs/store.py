"""The run folder and its store: a config file, and one SQLite file in which every event is a transaction.

    runs/<name>/  config.yaml    what was asked for: data, space, search, versions
                  run.sqlite     what happened: trials, jobs, epochs, sessions, the winner
                  tensorboard/  checkpoints/  best.keras  evaluation.npz  export/
                  result.json    the summary; written last, so a folder that has it is complete
                  lock, data/    while a process is at work on it

Everything that is shown, resumed, exported or reported is read from here.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cnn_tuner.errors import StorageError, UsageError
from cnn_tuner.runs import config as config_module
from cnn_tuner.runs import folders
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.records import Epoch, Finalist, JobRecord, Precision, Result, Trial, Winner, ranked
from cnn_tuner.spaces.tree import Point

SCHEMA = """
CREATE TABLE trials (
    number INTEGER PRIMARY KEY, point TEXT NOT NULL, seed INTEGER NOT NULL, params INTEGER NOT NULL,
    macs INTEGER NOT NULL, started_at REAL NOT NULL, status TEXT NOT NULL, score REAL, best_epoch INTEGER,
    seconds REAL NOT NULL, message TEXT NOT NULL, epochs_done INTEGER NOT NULL, state_job INTEGER,
    schedule_epochs INTEGER NOT NULL, latency_seconds REAL
);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, trial INTEGER NOT NULL REFERENCES trials (number), suggestion TEXT,
    initial_epoch INTEGER NOT NULL, epochs INTEGER NOT NULL, precision TEXT NOT NULL, began INTEGER NOT NULL UNIQUE,
    ended INTEGER UNIQUE, losses INTEGER NOT NULL, status TEXT NOT NULL, score REAL, best_epoch INTEGER,
    seconds REAL NOT NULL, message TEXT NOT NULL, peak_bytes INTEGER, started_at REAL NOT NULL,
    replicate INTEGER NOT NULL
);
CREATE INDEX jobs_of_trials ON jobs (trial);
CREATE TABLE epochs (
    job INTEGER NOT NULL REFERENCES jobs (number), number INTEGER NOT NULL, metrics TEXT NOT NULL,
    seconds REAL NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, started_at REAL NOT NULL, command TEXT NOT NULL, versions TEXT NOT NULL,
    workers TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
JOB_COLUMNS = (
    "number, trial, suggestion, initial_epoch, epochs, precision, began, ended, losses, status, score, best_epoch, "
    "seconds, message, peak_bytes, started_at, replicate"
)
ENDS = ("began", "ended")  # columns with a job's places in the order of all beginnings and ends


class RunStore:
    """One run's folder, open. Not for several threads. `close()` lets go of the SQLite file."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        # Another thread may be the one that collects what nobody uses any more, and closes it.
        self._database = sqlite3.connect(folder / "run.sqlite", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA foreign_keys = ON")
        self._session_started = time.monotonic()
        self.close = weakref.finalize(self, self._database.close)  # at the latest when nobody uses it any more

    @classmethod
    def create(cls, runs: Path, name: str, config: RunConfig) -> RunStore:
        """A new run: made aside and renamed, so that a run folder always has its config and its store.

        Raises:
            UsageError: the name is taken or leaves the folder.
        """
        folders.check_name(runs, name)
        aside = runs / f".{name}-{os.getpid()}"
        aside.mkdir(parents=True)
        try:
            folders.write_aside(aside / "config.yaml", config.to_yaml())
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
            UsageError: there is none, or its config cannot be read.
            StorageError: what it holds of its trials cannot be read.
        """
        if not (folder / "config.yaml").is_file() or not (folder / "run.sqlite").is_file():
            known = ", ".join(run.name for run in folders.run_folders(folder.parent)) or "none yet"
            raise UsageError(f"{folder}: no such run; choices: {known}")
        opened = cls(folder, config_module.read(folder / "config.yaml"))
        opened._check()
        return opened

    def _check(self) -> None:
        """A store that was cut off or overwritten is told at once, not by whichever question meets the damage."""
        try:
            [[verdict]] = self._database.execute("PRAGMA quick_check(1)").fetchall()
            self._database.execute("SELECT 1 FROM facts, trials, jobs, epochs LIMIT 0")
        except sqlite3.DatabaseError as error:
            verdict = str(error)
        if verdict != "ok":
            raise StorageError(f"{self.folder / 'run.sqlite'}: cannot be read: {' '.join(verdict.split())}")

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def best_model(self) -> Path:
        return self.folder / "best.keras"

    @property
    def evaluation(self) -> Path:
        """Where what the best model said of the test part lies, with the labels and some pictures."""
        return self.folder / "evaluation.npz"

    def reconfigure(self, config: RunConfig) -> None:
        """Replaces what the run was asked for; `config.changes` says what and when."""
        folders.write_aside(self.folder / "config.yaml", config.to_yaml())
        self.config = config

    @property
    def shared_data(self) -> Path:
        """Where workers find the images while a process is at work on the run."""
        return self.folder / "data"

    def latest_export(self) -> Path:
        """The newest version of the exported model.

        Raises:
            UsageError: there is none.
        """
        versions = [path for model in self.folder.glob("export/*") for path in folders.versions(model)]
        if not versions:
            name = self.folder.name
            raise UsageError(f"{self.folder}: has no export yet; make one with cnn-tuner export {name}")
        return max(versions, key=lambda path: int(path.name))

    @property
    def checkpoints(self) -> Path:
        """Where training states lie while something may be continued or exported from them."""
        return self.folder / "checkpoints"

    def state_file(self, job: int) -> Path:
        """Where a job leaves its training state."""
        return self.checkpoints / f"job-{job:05d}.npz"

    @contextmanager
    def _transaction(self, is_lasting: bool = True) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, however this process ends; one that is not lasting may be lost to a power failure."""
        try:
            self._database.execute(f"PRAGMA synchronous = {'FULL' if is_lasting else 'NORMAL'}")
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database
            self._database.execute("COMMIT")
        except BaseException as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error):
                raise
            raise StorageError(f"{self.folder / 'run.sqlite'}: cannot be written: {error}") from error

    @contextmanager
    def at_work(self, command: str, versions: dict[str, str], began: float | None = None) -> Iterator[None]:
        """While inside, this process alone may go on with the run; a session is noted that `began` (monotonic) before.

        Raises:
            UsageError: another process is at work on it.
        """
        with folders.locked(self.folder):
            self._database.execute("PRAGMA journal_mode = WAL")  # others may read while this process writes
            self.summary_file.unlink(missing_ok=True)
            row = (time.time(), command, json.dumps(versions))
            with self._transaction() as database:
                database.execute("INSERT INTO sessions VALUES (NULL,?,?,?,'',0)", row)
            self._session_started = time.monotonic() if began is None else began
            try:
                yield
            finally:
                with suppress(StorageError), self._transaction() as database:
                    self._note_seconds(database)
                with suppress(sqlite3.Error):  # somebody reads: a run in two files is as good
                    self._database.execute("PRAGMA journal_mode = DELETE")

    @property
    def is_at_work(self) -> bool:
        """Whether a process is at work on the run now."""
        try:
            with folders.locked(self.folder):
                return False
        except UsageError:
            return True

    def note_workers(self, text: str) -> None:
        """Notes with what the session that goes on trains."""
        with self._transaction() as database:
            database.execute(
                "UPDATE sessions SET workers = ? WHERE number = (SELECT MAX(number) FROM sessions)", (text,)
            )

    def _next_place(self) -> int:
        """The next place in the order of beginnings and ends."""
        # Each by itself: SQLite answers one MAX from an index, and reads the whole table for two.
        maxima = (self._database.execute(f"SELECT MAX({column}) FROM jobs").fetchone()[0] for column in ENDS)
        return max(int(place or 0) for place in maxima) + 1

    def start_job(self, job: JobRecord, trial: Trial | None = None) -> None:
        """Writes a job before it is submitted; with `trial`, a new trial whose first job it is."""
        suggestion = None if job.suggestion is None else json.dumps(job.suggestion)
        with self._transaction(is_lasting=False) as database:
            if trial is not None:
                point = json.dumps(trial.values)
                row = (trial.number, point, trial.seed, trial.params, trial.macs, trial.started_at)
                database.execute(
                    "INSERT INTO trials VALUES (?,?,?,?,?,?,'running',NULL,NULL,0,'',0,NULL,?,NULL)",
                    (*row, trial.schedule_epochs),
                )
            elif job.suggestion is not None:
                database.execute("UPDATE trials SET status = 'running' WHERE number = ?", (job.trial,))
            database.execute(
                "INSERT INTO jobs VALUES (?,?,?,?,?,?,?,NULL,0,'running',NULL,NULL,0,'',NULL,?,?)",
                (
                    job.number,
                    job.trial,
                    suggestion,
                    job.initial_epoch,
                    job.epochs,
                    job.precision,
                    self._next_place(),
                    job.started_at,
                    job.replicate,
                ),
            )

    def add_epoch(self, job: int, epoch: Epoch) -> None:
        """Writes an epoch of a job under way; one that is trained again replaces what it was."""
        with self._transaction(is_lasting=False) as database:
            self._insert_epochs(database, job, (epoch,))

    def lose_job(self, job: int) -> None:
        """Counts an attempt that the machine lost."""
        with self._transaction() as database:
            database.execute("UPDATE jobs SET losses = losses + 1 WHERE number = ?", (job,))

    def end_job(self, result: Result, trial: Trial | None = None) -> None:
        """Writes the result of a job with its epochs; with `trial`, what its trial has reached by it."""
        with self._transaction() as database:
            self._insert_epochs(database, result.job, result.epochs)
            database.execute(
                "UPDATE jobs SET status = ?, score = ?, best_epoch = ?, message = ?, seconds = ?, peak_bytes = ?, "
                "ended = ? WHERE number = ?",
                (
                    result.status,
                    result.score,
                    result.best_epoch,
                    result.message,
                    result.seconds,
                    result.peak_bytes,
                    self._next_place(),
                    result.job,
                ),
            )
            if trial is not None:
                database.execute(
                    "UPDATE trials SET status = :status, score = :score, best_epoch = :best_epoch, seconds = :seconds, "
                    "message = :message, epochs_done = :epochs_done, state_job = :state_job, "
                    "latency_seconds = :latency_seconds WHERE number = :number",
                    vars(trial),
                )
            self._note_seconds(database)

    def _note_seconds(self, database: sqlite3.Connection) -> None:
        seconds = time.monotonic() - self._session_started
        database.execute(
            "UPDATE sessions SET seconds = ? WHERE number = (SELECT MAX(number) FROM sessions)", (seconds,)
        )

    def reopen_stopped(self) -> None:
        """Marks the search's jobs that were stopped by request as under way again. What they reached stays known."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET status = 'running', ended = NULL WHERE status = 'stopped' AND suggestion IS NOT NULL"
            )

    @staticmethod
    def _insert_epochs(database: sqlite3.Connection, job: int, epochs: Iterable[Epoch]) -> None:
        rows = [(job, e.number, json.dumps(e.metrics), e.seconds) for e in epochs]
        database.executemany("INSERT OR REPLACE INTO epochs VALUES (?,?,?,?)", rows)

    def jobs(self) -> list[JobRecord]:
        """Every job by number."""
        return [_job(row) for row in self._database.execute(f"SELECT {JOB_COLUMNS} FROM jobs ORDER BY number")]

    def last_trial(self) -> int:
        """The number of the latest trial; 0 before the first."""
        return int(self._database.execute("SELECT IFNULL(MAX(number), 0) FROM trials").fetchone()[0])

    def last_job(self) -> int:
        """The number of the latest job; 0 before the first."""
        return int(self._database.execute("SELECT IFNULL(MAX(number), 0) FROM jobs").fetchone()[0])

    def sessions(self) -> list[dict[str, Any]]:
        """Every process that was at work on the run: when, for how many seconds, by which command, with what."""
        names = ("started_at", "seconds", "command", "workers", "versions")
        rows = self._database.execute(f"SELECT {', '.join(names)} FROM sessions ORDER BY number")
        return [dict(zip(names, row, strict=True)) | {"versions": json.loads(row[-1])} for row in rows]

    def active_seconds(self) -> float:
        """What all sessions together were at work on the run."""
        return float(self._database.execute("SELECT IFNULL(SUM(seconds), 0) FROM sessions").fetchone()[0])

    def final_jobs(self, trial: int) -> dict[int, JobRecord]:
        """The latest final training of a trial with each of its seeds, by replicate."""
        rows = self._database.execute(
            f"SELECT {JOB_COLUMNS} FROM jobs WHERE trial = ? AND suggestion IS NULL ORDER BY number", (trial,)
        )
        return {job.replicate: job for job in map(_job, rows)}

    def epochs(self, job: int) -> tuple[Epoch, ...]:
        """The epochs of a job, those of one under way too."""
        rows = self._database.execute(
            "SELECT number, metrics, seconds FROM epochs WHERE job = ? ORDER BY number", (job,)
        )
        return tuple(Epoch(number, json.loads(metrics), seconds) for number, metrics, seconds in rows)

    def curve(self, job: JobRecord) -> list[Epoch]:
        """Every epoch behind the weights that a job left, those of earlier jobs of its trial too."""
        own = [epoch for epoch in self.epochs(job.number) if epoch.number > job.initial_epoch]
        before = {
            epoch.number: epoch
            for earlier in self.jobs()
            if job.initial_epoch and earlier.trial == job.trial and earlier.suggestion is not None
            for epoch in self.epochs(earlier.number)
            if epoch.number <= job.initial_epoch
        }
        return [*(before[number] for number in sorted(before)), *own]

    def active_seconds_at(self, moment: float) -> float:
        """What the run had been worked on until a moment (seconds since 1970)."""
        return sum(
            min(max(0.0, moment - session["started_at"]), session["seconds"] or math.inf) for session in self.sessions()
        )

    def trials(self) -> list[Trial]:
        """Every trial by number, with the epochs of the search."""
        epochs: dict[int, list[Epoch]] = {}
        for trial, number, metrics, seconds in self._database.execute(
            "SELECT jobs.trial, epochs.number, epochs.metrics, epochs.seconds "
            "FROM epochs JOIN jobs ON jobs.number = epochs.job WHERE jobs.suggestion IS NOT NULL "
            "ORDER BY jobs.trial, epochs.number"
        ):
            epochs.setdefault(trial, []).append(Epoch(number, json.loads(metrics), seconds))
        rows = self._database.execute(
            "SELECT number, point, seed, params, macs, status, score, best_epoch, seconds, message, started_at, "
            "epochs_done, state_job, schedule_epochs, latency_seconds FROM trials ORDER BY number"
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
        found = self._get("winner")
        if found is None:
            return None
        finalists = tuple(Finalist(**{**each, "scores": tuple(each["scores"])}) for each in found["finalists"])
        intervals = {name: (low, high) for name, (low, high) in found["test_intervals"].items()}
        return Winner(**{**found, "finalists": finalists, "test_intervals": intervals})

    def set_search_ended(self, has_ended: bool) -> None:
        """Notes whether the oracle has nothing more to suggest. An earlier winner no longer counts."""
        self._set("is_crowned", False)
        self._set("search_ended", has_ended)

    @property
    def keeps_winner(self) -> bool:
        """Whether the winner's model is there, and what it answered on the test part can be read."""
        from cnn_tuner.runs import evaluation  # loads scikit-learn, which most commands need not wait for

        return self.best_model.is_file() and evaluation.load(self.evaluation) is not None

    def set_crowned(self) -> None:
        """Notes that the winner is that of the whole search, trained to the end."""
        self._set("is_crowned", True)

    @property
    def precision(self) -> Precision | None:
        """In what precision the run trains; None before that was chosen."""
        asked = self.config.search.precision
        found: Precision | None = self._get("precision") if asked == "auto" else asked
        return found

    def set_precision(self, precision: Precision) -> None:
        """Notes in what precision the run trains, where that was left to a measurement."""
        self._set("precision", precision)

    @property
    def is_crowned(self) -> bool:
        """Whether the winner is that of the whole search, trained to the end."""
        return bool(self._get("is_crowned"))

    @property
    def has_search_ended(self) -> bool:
        return bool(self._get("search_ended"))

    def _set(self, key: str, value: Any) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def _get(self, key: str) -> Any:
        row = self._database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    @property
    def summary_file(self) -> Path:
        return self.folder / "result.json"

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as complete: its summary, written last."""
        folders.write_aside(self.summary_file, json.dumps(summary, indent=2) + "\n")

    def discard(self) -> None:
        """Removes the folder of a run that never began its first trial."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_complete(self) -> bool:
        return self.summary_file.is_file()


def _job(row: tuple[Any, ...]) -> JobRecord:
    number, trial, suggestion, *rest = row
    return JobRecord(number, trial, None if suggestion is None else json.loads(suggestion), *rest)


def _point(text: str) -> Point:
    point: Point = json.loads(text)
    return point
