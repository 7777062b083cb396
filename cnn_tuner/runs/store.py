"""The run folder and its store: a config file, and one SQLite file in which every event is a transaction.

    runs/<name>/  config.yaml    what was asked for: data, space, search, versions
                  run.sqlite     what happened: trials, jobs, epochs, sessions, the winner
                  tensorboard/  checkpoints/  best.keras  evaluation.npz  export/
                  result.json    the summary; written last, so a folder that has it is complete
                  lock, data/    while a process is at work on it

What is read from it is in `cnn_tuner.runs.reading`.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cnn_tuner.errors import StorageError, UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.runs import config as config_module
from cnn_tuner.runs import folders
from cnn_tuner.runs.checkpoints import files_of
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.reading import StoredRun
from cnn_tuner.runs.records import Baseline, Epoch, JobRecord, Precision, Result, Trial, Winner
from cnn_tuner.runs.schema import ENDS, SCHEMA, WHERE


class RunStore(StoredRun):
    """One run's folder, open to be read and written."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        super().__init__(folder, config)
        self._session_started = time.monotonic()

    @classmethod
    def create(cls, runs: Path, name: str, config: RunConfig) -> RunStore:
        """A new run: made aside and renamed, so that a run folder always has its config and its store.

        Raises:
            UsageError: the name leaves the folder, or is taken (NameTakenError).
        """
        folders.check_name(runs, name)
        aside = runs / f".{name}-{os.getpid()}"
        aside.mkdir(parents=True)
        try:
            folders.write_aside(aside / "config.yaml", config.to_yaml())
            database = sqlite3.connect(aside / "run.sqlite")
            database.executescript(SCHEMA)
            database.close()
            try:
                aside.rename(runs / name)
            except OSError as error:
                folders.check_name(runs, name)  # another process was faster
                raise error
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

    def reconfigure(self, config: RunConfig) -> None:
        """Replaces what the run was asked for; `config.changes` says what and when."""
        folders.write_aside(self.folder / "config.yaml", config.to_yaml())
        self.config = config

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
                database.execute("INSERT INTO trials VALUES (?,?,?,?,?,?,'running',NULL,NULL,0,'',0,NULL,0,NULL)", row)
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

    def place_job(self, job: int, where: str) -> None:
        """Writes on which node of a cluster a job is trained."""
        self._set(f"{WHERE}{job}", where, is_lasting=False)

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
                    "latency_seconds = :latency_seconds, params = :params, macs = :macs WHERE number = :number",
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

    def drop_state(self, job: int) -> None:
        """Deletes a job's training state, that of each fold; what goes on with it is trained from the first epoch."""
        for path in files_of(self.state_file(job)):
            path.unlink(missing_ok=True)

    def set_baselines(self, baselines: Sequence[Baseline]) -> None:
        """Writes what simple models reach on the run's data."""
        self._set("baselines", [asdict(each) for each in baselines])

    def set_winner(self, winner: Winner) -> None:
        """Writes what the final training and its evaluation found."""
        self._set("winner", asdict(winner))

    def set_search_ended(self, has_ended: bool) -> None:
        """Notes whether the oracle has nothing more to suggest. An earlier winner no longer counts."""
        self._set("is_crowned", False)
        self._set("search_ended", has_ended)

    def set_crowned(self) -> None:
        """Notes that the winner is that of the whole search, trained to the end."""
        self._set("is_crowned", True)

    def set_precision(self, precision: Precision) -> None:
        """Notes in what precision the run trains, where that was left to a measurement."""
        self._set("precision", precision)

    def _set(self, key: str, value: Any, is_lasting: bool = True) -> None:
        with self._transaction(is_lasting) as database:
            database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as complete: its summary, written last."""
        folders.write_aside(self.summary_file, strict_json.dumps(summary, indent=2) + "\n")

    def discard(self) -> None:
        """Removes the folder of a run that never began its first trial."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
