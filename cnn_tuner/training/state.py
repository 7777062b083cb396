"""The training state of a job in a file: what it has reached, so that it or a later job goes on exactly from there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnn_tuner.runs.records import Epoch, Job

RESERVED_BYTES = 50 * 2**20  # left free on the disk for the run's records and logs
FACTS = ("epochs_done", "score", "course", "seconds", "message", "has_ended", "goal")
ARRAYS = ("variables", "optimizer")
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass
class Progress:
    """What a job has reached: its training state after the last whole epoch.

    course: where the learning rate is on its course (see `cnn_tuner.models.optimizers.Course`), empty where one begins;
    epochs: those that this job trained; seconds: what it took, in earlier attempts too; has_ended: it is done, having
    been asked to train up to epoch `goal`.
    """

    epochs_done: int = 0
    score: float | None = None
    course: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    message: str = ""
    has_ended: bool = False
    goal: int = 0
    variables: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)


def save_state(job: Job, progress: Progress) -> None:
    """Writes the state of a trial, aside first: a reader never meets half of it.

    Raises:
        OSError: the disk has no room for it, which is asked first, or cannot be written.
    """
    facts = {name: getattr(progress, name) for name in FACTS}
    facts |= {"of": identity(job), "epochs": [asdict(epoch) for epoch in progress.epochs]}
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
    for kind in ARRAYS:
        arrays |= {f"{kind}_{i}": value for i, value in enumerate(getattr(progress, kind))}
    path = Path(job.state_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    need = sum(array.nbytes for array in arrays.values())
    if shutil.disk_usage(path.parent).free < need + RESERVED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def identity(job: Job) -> str:
    """What a state belongs to: a trial's point, seed, precision, course, and the data."""
    facts = of_network(job)
    facts += [job.course_steps, job.epoch_steps, job.with_val]
    facts += [job.split] if job.split else []
    return json.dumps(facts, sort_keys=True)


def of_network(job: Job) -> list[Any]:
    """What tells whose weights fit a job: its point, the seed of its initial weights, its precision."""
    return [job.values, job.seed, job.image_shape, job.precision]


def _is_of(job: Job, of: str, grows: bool) -> bool:
    if not grows:
        return of == identity(job)
    own = of_network(job)
    return bool(json.loads(of)[: len(own)] == json.loads(json.dumps(own)))


def load_state(path: Path, job: Job, grows: bool = False) -> Progress:
    """The state of a job or an earlier one of its trial; where it `grows`, of any training of its network.

    Raises:
        One of UNREADABLE: it is not there, damaged, or another trial's.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        if not _is_of(job, facts.pop("of"), grows):
            raise ValueError(f"{path}: the state of another trial")
        facts["epochs"] = [Epoch(**epoch) for epoch in facts["epochs"]]

        def of(kind: str) -> list[np.ndarray]:
            count = sum(name.rsplit("_", 1)[0] == kind for name in arrays.files)
            return [arrays[f"{kind}_{i}"] for i in range(count)]

        states: dict[str, Any] = {kind: of(kind) for kind in ARRAYS}
        return Progress(**facts, **states)


def take_up(job: Job) -> Progress:
    """Where the job goes on: at its own last state, at that of the trial's earlier job, or at the beginning.

    A state that is missing or damaged costs time only: what was trained before it is trained again, to the same result.
    """
    with suppress(*UNREADABLE):
        found = load_state(Path(job.state_file), job)
        is_to_go_on = 0 < found.goal < job.epochs and not found.message
        return replace(found, has_ended=found.has_ended and not is_to_go_on)
    if job.initial_state is not None:
        with suppress(*UNREADABLE):
            earlier = load_state(Path(job.initial_state), job, job.grows)
            course = [] if job.grows else earlier.course
            return replace(earlier, epochs=[], seconds=0.0, message="", has_ended=False, course=course)
    return Progress()
