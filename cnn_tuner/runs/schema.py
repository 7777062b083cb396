"""The tables of a run's SQLite file, and how their rows are read."""

from __future__ import annotations

import json
from typing import Any

from cnn_tuner.runs.records import JobRecord
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
WHERE = "where:"  # begins the key of a fact: on which node of a cluster the job of this number was trained
ENDS = ("began", "ended")  # columns with a job's places in the order of all beginnings and ends


def job_of(row: tuple[Any, ...]) -> JobRecord:
    """A job from its JOB_COLUMNS."""
    number, trial, suggestion, *rest = row
    return JobRecord(number, trial, None if suggestion is None else json.loads(suggestion), *rest)


def point_of(text: str) -> Point:
    """A point from a trial's column."""
    point: Point = json.loads(text)
    return point
