"""One slot on a node of a cluster: a worker process there, which this watches and speaks for.

What runs here knows nothing of the cluster: its methods are called by whoever made it, one at a time but for `stop`.
The worker is the one that a machine's own slots have: what ends a job there ends it here, and is told the same way.
Training states come and go as bytes, so that nodes need no files in common.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cnn_tuner.data.sending import Piece, scratch, sent
from cnn_tuner.errors import CnnTunerError
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.faults import Fault, fault_of
from cnn_tuner.executors.processes import ProcessExecutor
from cnn_tuner.runs.checkpoints import files_of
from cnn_tuner.runs.records import EpochEnded, Event, Job

States = dict[str, bytes]  # the files of a job's training state, by their names


@dataclass(frozen=True)
class Heard:
    """What is to be told of a job: events or what it raised, and what its training state has become since."""

    events: tuple[Event | Fault, ...] = ()
    states: States = field(default_factory=dict)


class NodeSlot:
    """Trains one job after the other, in a process of its own.

    Args:
        settings: of one slot. Where its folder is here, it is used; otherwise the data are sent.
        path: what the one who asks has in sys.path.
        token: what tells the data from others.
        pieces: hands over what `cnn_tuner.data.sending.packed` made, where the folder is not here.
    """

    def __init__(
        self, settings: Settings, path: Iterable[str], token: str, pieces: Callable[[], Iterable[Piece]] | None
    ) -> None:
        sys.path += [entry for entry in path if entry not in sys.path and Path(entry).is_dir()]
        self._data = None if pieces is None else sent(token, pieces)
        self._own = scratch()
        self._folder = self._own.folder
        self._stop_of: tuple[int, int] | None = None  # the job and the attempt that are to end
        folder = settings.folder if self._data is None else str(self._data.folder)
        self._executor = ProcessExecutor(replace(settings, folder=folder, slots=1))
        self._job: Job | None = None
        self._told: dict[str, tuple[int, int]] = {}  # of each file of the state, its time and size when it was told

    def where(self) -> str:
        """What this node is called."""
        return platform.node()

    def train(self, job: Job, states: States) -> Heard:
        """Begins a job, with the states that it may take up; of which nothing is told yet, or why it cannot."""
        for name, content in states.items():
            (self._folder / name).write_bytes(content)
        initial = None if job.initial_state is None else str(self._folder / Path(job.initial_state).name)
        self._job = replace(job, state_file=str(self._folder / Path(job.state_file).name), initial_state=initial)
        self._told = {}
        try:
            self._executor.submit(self._job)
        except CnnTunerError as error:
            return Heard((fault_of(error),))
        if self._stop_of == (job.number, job.attempt):  # which came before the job that it is meant for
            self._executor.stop()
        return Heard()

    def hear(self, seconds: float) -> Heard:
        """Waits for something to tell of the job, for at most so many seconds; what else there is comes along."""
        events, event = list[Event | Fault](), self._next(seconds)
        while event is not None:
            events.append(event)
            event = self._next(0.0) if isinstance(event, EpochEnded) else None
        found = Heard(tuple(events), self._changed())
        if events and not isinstance(events[-1], EpochEnded):
            self._forget()
        return found

    def _next(self, seconds: float) -> Event | Fault | None:
        try:
            return self._executor.next_event(seconds)
        except Exception as error:  # which ends the search, where it is raised again
            return fault_of(error)

    def stop(self, job: int, attempt: int) -> None:
        """Asks this job to end soon. May be called while another method is, and before the job has come."""
        self._stop_of = (job, attempt)
        own = self._job
        if own is not None and (own.number, own.attempt) == self._stop_of:
            self._executor.stop()

    def close(self) -> None:
        """Ends the process, and removes what it left."""
        self._executor.close()
        self._own.close()
        if self._data is not None:
            self._data.close()

    def _changed(self) -> States:
        """The files of the job's state that were written since they were told."""
        found: States = {}
        if self._job is None:
            return found
        for path in files_of(Path(self._job.state_file)):
            with suppress(FileNotFoundError):
                known = path.stat()
                facts = known.st_mtime_ns, known.st_size
                if self._told.get(path.name) != facts:
                    found[path.name], self._told[path.name] = path.read_bytes(), facts
        return found

    def _forget(self) -> None:
        """What the job had is with the one who asked for it."""
        self._job = None
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
