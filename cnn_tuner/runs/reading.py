"""What a run's folder and its SQLite file say: everything that is shown, resumed, exported or reported is read here."""

from __future__ import annotations

import json
import math
import sqlite3
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_tuner.errors import StorageError, UsageError
from cnn_tuner.runs import folders
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.records import TRUNK, Baseline, Epoch, Finalist, JobRecord, Precision, Trial, Winner, ranked
from cnn_tuner.runs.schema import JOB_COLUMNS, WHERE, job_of, point_of


class StoredRun:
    """One run's folder, open to be read. Not for several threads. `close()` lets go of the SQLite file."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        # Another thread may be the one that collects what nobody uses any more, and closes it.
        self._database = sqlite3.connect(folder / "run.sqlite", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA foreign_keys = ON")
        self.close = weakref.finalize(self, self._database.close)  # at the latest when nobody uses it any more

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

    @property
    def is_at_work(self) -> bool:
        """Whether a process is at work on the run now."""
        try:
            with folders.locked(self.folder):
                return False
        except UsageError:
            return True

    def jobs(self) -> list[JobRecord]:
        """Every job by number."""
        return [job_of(row) for row in self._database.execute(f"SELECT {JOB_COLUMNS} FROM jobs ORDER BY number")]

    def places(self) -> dict[int, str]:
        """On which node of a cluster jobs were trained, by their numbers; nothing of those of this machine."""
        rows = self._database.execute("SELECT key, value FROM facts WHERE key GLOB ?", (f"{WHERE}*",))
        return {int(key.removeprefix(WHERE)): json.loads(value) for key, value in rows}

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
        return {job.replicate: job for job in map(job_of, rows)}

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
            if job.initial_epoch and earlier.trial == job.trial and earlier.number < job.number
            if earlier.suggestion is not None or (earlier.replicate == TRUNK and job.suggestion is None)
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
            "epochs_done, state_job, latency_seconds FROM trials ORDER BY number"
        )
        nodes = self._nodes_of_trials()
        return [
            replace(
                Trial(number, point_of(point), *rest),
                epochs=tuple(epochs.get(number, ())),
                where=nodes.get(number, ""),
            )
            for number, point, *rest in rows
        ]

    def _nodes_of_trials(self) -> dict[int, str]:
        """On which node of a cluster the last job of the search was, of each trial that was on one."""
        places = self.places()
        if not places:
            return {}
        return {job.trial: places[job.number] for job in self.jobs() if job.suggestion and job.number in places}

    def best_trial(self) -> Trial | None:
        """The best trial (see `records.ranked`), or None when no trial has a score."""
        return next((trial for trial in ranked(self.trials(), self.config.objective) if trial.score is not None), None)

    def baselines(self) -> tuple[Baseline, ...] | None:
        """What simple models reach on the run's data; None before they were measured."""
        found = self._get("baselines")
        return None if found is None else tuple(Baseline(**each) for each in found)

    def winner(self) -> Winner | None:
        """What the final training found, or None before it has ended."""
        found = self._get("winner")
        if found is None:
            return None
        finalists = tuple(Finalist(**{**each, "scores": tuple(each["scores"])}) for each in found["finalists"])
        baselines = tuple(Baseline(**each) for each in found.get("baselines", ()))
        intervals = {name: (low, high) for name, (low, high) in found["test_intervals"].items()}
        others = {"finalists": finalists, "test_intervals": intervals, "baselines": baselines}
        return Winner(**{**found, **others, "thresholds": tuple(found.get("thresholds", ()))})

    @property
    def keeps_winner(self) -> bool:
        """Whether the winner's model is there, and what it answered on the test part can be read."""
        from cnn_tuner.runs import evaluation  # loads scikit-learn, which most commands need not wait for

        return self.best_model.is_file() and evaluation.load(self.evaluation) is not None

    @property
    def precision(self) -> Precision | None:
        """In what precision the run trains; None before that was chosen."""
        asked = self.config.search.precision
        found: Precision | None = self._get("precision") if asked == "auto" else asked
        return found

    @property
    def is_crowned(self) -> bool:
        """Whether the winner is that of the whole search, trained to the end."""
        return bool(self._get("is_crowned"))

    @property
    def has_search_ended(self) -> bool:
        return bool(self._get("search_ended"))

    def _get(self, key: str) -> Any:
        row = self._database.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    @property
    def summary_file(self) -> Path:
        return self.folder / "result.json"

    @property
    def is_complete(self) -> bool:
        return self.summary_file.is_file()
