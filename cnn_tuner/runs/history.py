"""A run's whole history as tables and files: every trial, every epoch, times, memory, seeds, and why trials failed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json
from cnn_tuner.runs.records import Epoch, JobRecord, Trial
from cnn_tuner.runs.store import RunStore

FORMATS = ("csv", "json", "parquet")
Row = dict[str, Any]
NO_EPOCH: Row = {"epoch": None, "epoch_seconds": None}


def check_format(name: str) -> None:
    """Raises UsageError when history cannot be written in this format."""
    if name not in FORMATS:
        raise UsageError(f"--format: unknown: {name!r}; choices: {', '.join(FORMATS)}")


def rows(run: RunStore) -> list[Row]:
    """A row an epoch, of the search and of final trainings; a trial that has none has one row without an epoch.

    Columns: the run, the trial with its status and reason, seed, size and score, the job with its attempts, times
    (seconds, UTC) and peak memory (bytes), the epoch with its metrics, then the hyperparameters as `hp.<name>`.
    """
    trials, places = {trial.number: trial for trial in run.trials()}, run.places()
    found: list[Row] = []
    for job in run.jobs():
        trial = trials[job.trial]
        facts = _of_trial(run, trial) | _of_job(job) | ({"node": places.get(job.number, "")} if places else {})
        values = {f"hp.{name}": value for name, value in trial.values.items()}
        epochs = [_of_epoch(epoch) for epoch in run.epochs(job.number)]
        found += [facts | epoch | values for epoch in epochs or [NO_EPOCH]]
    return found


def _of_trial(run: RunStore, trial: Trial) -> Row:
    return {
        "run": run.folder.name,
        "trial": trial.number,
        "status": trial.status,
        "reason": trial.message,
        "score": trial.score,
        **({} if trial.spread is None else {"score_spread": trial.spread}),
        "best_epoch": trial.best_epoch,
        "seed": trial.seed,
        "params": trial.params,
        "macs": trial.macs,
        "trial_seconds": trial.seconds,
    }


def _of_job(job: JobRecord) -> Row:
    return {
        "job": job.number,
        "job_kind": "final" if job.suggestion is None else "search",
        "job_status": job.status,
        "job_reason": job.message,
        "job_seconds": job.seconds,
        "attempts": job.losses + 1,
        "precision": job.precision,
        "peak_memory_bytes": job.peak_bytes,
        "started_at": datetime.fromtimestamp(job.started_at, timezone.utc).isoformat(timespec="seconds"),
    }


def _of_epoch(epoch: Epoch) -> Row:
    return {"epoch": epoch.number, "epoch_seconds": epoch.seconds} | epoch.metrics


def columns(found: Iterable[Row]) -> list[str]:
    """Every column of the rows: facts, then metrics, then hyperparameters, each in the order in which it first came."""
    names = list(dict.fromkeys(name for row in found for name in row))
    return [n for n in names if not n.startswith("hp.")] + sorted(n for n in names if n.startswith("hp."))


def to_csv(run: RunStore) -> bytes:
    """`rows` as CSV (RFC 4180, UTF-8): what a row does not have is empty."""
    found = rows(run)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns(found), restval="")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue().encode()


def to_json(run: RunStore) -> bytes:
    """The run as one object: its config, sessions and winner, and each trial with its jobs, each with its epochs."""
    winner = run.winner()
    jobs: dict[int, list[Row]] = {}
    for job in run.jobs():
        epochs = [asdict(epoch) for epoch in run.epochs(job.number)]
        jobs.setdefault(job.trial, []).append(_of_job(job) | {"epochs": epochs})
    trials = [
        _of_trial(run, trial) | {"values": trial.values, "jobs": jobs.get(trial.number, [])} for trial in run.trials()
    ]
    facts = {
        "run": run.folder.name,
        "config": run.config.model_dump(mode="json"),
        "sessions": run.sessions(),
        "winner": winner and asdict(winner),
        "trials": trials,
    }
    return (strict_json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()


def to_parquet(run: RunStore) -> bytes:
    """`rows` as Parquet, each column of one type.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "--format parquet: needs pyarrow; install it with: pip install 'cnn-tuner[parquet]'"
        ) from error
    found = rows(run)
    table = pyarrow.table({name: [row.get(name) for row in found] for name in columns(found)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


WRITERS = {"csv": to_csv, "json": to_json, "parquet": to_parquet}


def write(run: RunStore, name: str, file: Path) -> None:
    """Writes the history of a run into `file`, whole or not at all.

    Raises:
        UsageError: the format is not known, or needs a package that is not installed.
        OSError: the file cannot be written.
    """
    check_format(name)
    content = WRITERS[name](run)
    aside = file.with_name(f".{file.name}.tmp")
    aside.write_bytes(content)
    aside.replace(file)
