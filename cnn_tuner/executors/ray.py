"""Trains on a Ray cluster: an actor a slot, each with a worker process of its own beside it.

The driver has the oracle, the store and the loop, as with processes; nodes come and go. Of an actor one call at a time
is under way, which returns when there is something to tell, or after a moment, as a sign of life: a node that is frozen
is so told from one that trains. A job whose actor is gone is lost, and goes on elsewhere from its last training state.
"""

from __future__ import annotations

import math
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from cnn_tuner.data.sending import Piece, packed
from cnn_tuner.errors import SearchError
from cnn_tuner.executors.base import Settings
from cnn_tuner.executors.connecting import connect, disconnect, load_ray
from cnn_tuner.executors.faults import Fault, exception_of
from cnn_tuner.executors.node import Heard, NodeSlot, States
from cnn_tuner.runs.checkpoints import files_of
from cnn_tuner.runs.folders import write_aside
from cnn_tuner.runs.machine import Cluster
from cnn_tuner.runs.records import EpochEnded, Event, Job, JobDone, JobLost, JobPlaced, Result

HEAR_SECONDS = 5.0  # at most, until an actor answers that there is nothing new
SILENT_SECONDS = 30.0  # without an answer, and its node counts as frozen
START_SECONDS = 300.0  # the same of one that begins, which receives the images first
LOOK_SECONDS = 2.0  # between two looks at which nodes there are
WAKE_SECONDS = 0.25  # at most, until a request to stop is passed on
ROOM_SECONDS = 120.0  # for a node to come that has room for a trial
BYTES_PER_SECOND = 1e6  # of training states that are sent to a slow node
LEAVE_SECONDS = 3.0  # for all actors to end by themselves
MAX_STARTS = 3  # of actors in a row that came to nothing


@dataclass(eq=False)
class _Slot:
    """An actor, and the call of it that is under way. `node` and `where` are known once it is ready.

    `life` is a call that never returns: it tells that an actor is gone that has nothing to do.
    """

    actor: Any
    call: Any
    due: float
    life: Any
    node: str = ""
    where: str = ""
    job: Job | None = None
    has_begun: bool = False
    is_stopped: bool = False
    last_trial: int | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self.node)


class _Pieces:
    """The data in Ray's object store, where they are read on a node."""

    def __init__(self, references: list[Any]) -> None:
        self.references = references

    def __call__(self) -> Iterable[Piece]:
        import ray

        for reference in self.references:  # one after the other: a node need not hold them all
            yield ray.get(reference)


class RayExecutor:
    """As many slots as the cluster has room for, or as were asked for if these are fewer."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._cluster = settings, settings.cluster or Cluster()
        self._ray = load_ray(self._cluster)
        self._is_own = connect(self._ray, settings.slots, self._cluster)
        self._slots: list[_Slot] = []
        self._waiting: deque[Job] = deque()
        self._events: deque[Event | Exception] = deque()
        self._handed_back: set[int] = set()  # jobs whose actor was gone before it had begun them
        self._files: dict[int, Path] = {}  # the folder of the training states of each job under way
        self._is_stopping, self._vain_starts = False, 0
        self._looked_at, self._had_room_at = -LOOK_SECONDS, monotonic()
        try:
            self._pieces, self._token = self._put_data(), secrets.token_hex(16)
            self._look()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """How many jobs may be under way now; one that has no place yet waits for it."""
        return max(1, sum(slot.is_ready for slot in self._slots))

    def submit(self, job: Job) -> None:
        """Starts a job; never waits for it.

        Raises:
            SearchError: every slot is taken. A job that was lost may be begun anew all the same: its slot is lost, too.
        """
        self._pass_on_stop()
        if self._under_way() >= self.slots and job.attempt == 1:
            raise SearchError(f"trial {job.trial}: submitted while every slot is taken")
        self._waiting.append(job)
        self._hear(0.0)  # who is gone is not to begin it
        self._hand_out()

    def next_event(self, seconds: float | None = None) -> Event | None:
        """Waits for the next event of any job under way, for at most so many seconds.

        None when they are over, or when there are more slots than before.

        Raises:
            SearchError: no job is under way; no node has room; an actor cannot start; what a job raised.
            OSError: a job could not read or write a file.
            CnnTunerError: a job raised it.
        """
        until, before = None if seconds is None else monotonic() + seconds, self.slots
        while not self._events:
            self._pass_on_stop()
            if not (self._under_way() or self._events):
                raise SearchError("no job is under way to wait for")
            self._look()
            if not self._events:
                self._wait(until)
            if self._events:
                break
            if self.slots > before and self._under_way() < self.slots:
                return None
            if until is not None and monotonic() >= until:
                return None
        event = self._events.popleft()
        if isinstance(event, Exception):
            raise event
        return event

    def stop(self) -> None:
        """Asks every job under way to end soon; each still sends its result. Safe to call from a signal handler."""
        self._is_stopping = True

    def close(self) -> None:
        """Ends all actors, and the cluster if it was made here. May be called again."""
        slots, self._slots = self._slots, []
        self._waiting.clear()
        if self._ray.is_initialized():
            ends = [slot.actor.close.remote() for slot in slots if slot.is_ready]
            if ends:
                with suppress(Exception):
                    self._ray.wait(ends, num_returns=len(ends), timeout=LEAVE_SECONDS)
            for slot in slots:
                self._end(slot)
        if self._is_own:
            disconnect(self._ray, self._cluster)
            self._is_own = False

    # Jobs

    def _under_way(self) -> int:
        return len(self._waiting) + sum(slot.job is not None for slot in self._slots)

    def _hand_out(self) -> None:
        free = [slot for slot in self._slots if slot.is_ready and slot.job is None]
        while self._waiting and free:
            job = self._waiting.popleft()
            # Who trained this trial last may have its network set up still.
            slot = min(free, key=lambda each: each.last_trial != job.trial)
            free.remove(slot)
            slot.job, slot.last_trial, slot.has_begun, slot.is_stopped = job, job.trial, False, False
            self._files[job.number] = Path(job.state_file).parent
            self._events.append(JobPlaced(job.number, job.attempt, slot.where))
            states = _states(job)
            self._call(slot, slot.actor.train.remote(job, states), sum(map(len, states.values())) / BYTES_PER_SECOND)

    def _pass_on_stop(self) -> None:
        if self._is_stopping:
            self._is_stopping = False  # before sending: a request that comes now is sent the next time
            for job in self._waiting:
                self._events.append(JobDone(_stopped(job)))
            self._waiting.clear()
            for slot in self._slots:
                if slot.job is not None:
                    slot.is_stopped = True
                    slot.actor.stop.remote(slot.job.number, slot.job.attempt)

    def _wait(self, until: float | None) -> None:
        """Waits until an actor answers, one is overdue, it is time to look around, or that time (monotonic)."""
        self._hear(max(0.0, min(WAKE_SECONDS, math.inf if until is None else until - monotonic())))
        for slot in [slot for slot in self._slots if slot.call is not None and monotonic() > slot.due]:
            seconds = SILENT_SECONDS if slot.is_ready else START_SECONDS
            self._lose(slot, f"{slot.where or 'a node'} gave no sign of life for {seconds:g} s", True)

    def _hear(self, seconds: float) -> None:
        """Takes in what actors answer within so many seconds, and who is gone."""
        calls = {call: slot for slot in self._slots for call in (slot.call, slot.life) if call is not None}
        if not calls:
            time.sleep(seconds)  # until there is a node
            return
        done, _ = self._ray.wait(list(calls), num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in {*done, *more}:
            if calls[call] in self._slots:
                self._answer(calls[call], call)

    def _call(self, slot: _Slot, call: Any, seconds: float = 0.0) -> None:
        """A call that takes so many seconds more than one that brings nothing along."""
        slot.call, slot.due = call, monotonic() + HEAR_SECONDS + SILENT_SECONDS + seconds

    def _answer(self, slot: _Slot, call: Any) -> None:
        """Takes in what a call of an actor returned."""
        if call == slot.call:
            slot.call = None
        try:
            found = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._lose(slot, _why(error, slot.where))
            return
        if isinstance(found, Heard):
            self._take_in(slot, found)
        else:
            slot.node, slot.where = found
            self._vain_starts = 0
            self._hand_out()

    def _take_in(self, slot: _Slot, heard: Heard) -> None:
        job, slot.has_begun = slot.job, True
        assert job is not None
        try:
            folder = self._files[job.number]
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in heard.states.items():
                write_aside(folder / name, content)
        except OSError as error:
            self._events.append(error)
        for event in heard.events:
            if not isinstance(event, EpochEnded):
                slot.job = None
            if isinstance(event, Fault):
                self._events.append(exception_of(event, job.trial))
            elif isinstance(event, JobLost):
                self._events.append(replace(event, reason=f"{event.reason} (on {slot.where})"))
            else:
                self._events.append(event)
        if slot.job is None:
            self._hand_out()
        else:
            self._call(slot, slot.actor.hear.remote(HEAR_SECONDS))

    # Nodes

    def _look(self) -> None:
        """Sees which nodes there are, now and then, and has an actor for each trial that they have room for."""
        if monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = monotonic()
        alive = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
        for slot in [slot for slot in self._slots if slot.is_ready and slot.job is None and slot.node not in alive]:
            self._lose(slot, f"{slot.where} left the cluster")
        room = sum(map(self._cluster.room, alive.values()))
        if room or self._slots:
            self._had_room_at = monotonic()
        elif monotonic() - self._had_room_at > ROOM_SECONDS:
            raise SearchError(f"no node of the cluster has room for a trial, which needs {self._cluster.of_each}")
        most = room if not self._settings.slots else min(room, self._settings.slots)
        for _ in range(most - len(self._slots)):
            self._start()

    def _start(self) -> None:
        # Three at once: the request to stop comes while two other calls wait.
        options: dict[str, float] = {"max_concurrency": 3, "max_restarts": 0, "max_task_retries": 0}
        options |= {"num_cpus": self._cluster.cpus_per_trial, "num_gpus": self._cluster.gpus_per_trial}
        path = [entry for entry in sys.path if isinstance(entry, str)]
        settings = replace(self._settings, slots=1, cluster=None)
        actor = self._ray.remote(_Actor).options(**options).remote(settings, path, self._token, self._pieces)
        self._slots.append(_Slot(actor, actor.place.remote(), monotonic() + START_SECONDS, actor.live.remote()))

    def _lose(self, slot: _Slot, reason: str, is_silent: bool = False) -> None:
        """An actor is gone, or has to go: its job is lost, and its slot."""
        self._slots.remove(slot)
        self._end(slot)
        if slot.job is not None and not slot.has_begun and slot.is_stopped:
            self._events.append(JobDone(_stopped(slot.job)))
        elif slot.job is not None and not slot.has_begun and slot.job.number not in self._handed_back:
            self._handed_back.add(slot.job.number)  # once: it may be what ends them
            self._waiting.appendleft(slot.job)
        elif slot.job is not None:
            self._events.append(JobLost(slot.job.number, slot.job.attempt, reason))
        if not slot.is_ready and not is_silent:  # who is silent may wait for room that others have taken
            self._vain_starts += 1
            if self._vain_starts >= MAX_STARTS and not any(each.is_ready for each in self._slots):
                raise SearchError(f"a worker of the cluster cannot start: {reason}")
        self._looked_at = -LOOK_SECONDS  # there may be room for another

    def _end(self, slot: _Slot) -> None:
        with suppress(Exception):  # it is gone already
            self._ray.kill(slot.actor, no_restart=True)

    def _put_data(self) -> _Pieces | None:
        """The data in the object store, unless nodes see the folder that they are in."""
        is_one = self._cluster.address is None and (self._is_own or len(self._ray.nodes()) == 1)
        if is_one or self._cluster.shared_dir is not None:
            return None
        return _Pieces([self._ray.put(piece) for piece in packed(Path(self._settings.folder))])


class _Actor(NodeSlot):
    """A slot that knows on which node of the cluster it is."""

    def __init__(
        self, settings: Settings, path: Iterable[str], token: str, pieces: Callable[[], Iterable[Piece]] | None
    ) -> None:
        super().__init__(settings, path, token, pieces)

    def place(self) -> tuple[str, str]:
        """The node's own name in the cluster, and what people call it."""
        import ray

        return ray.get_runtime_context().get_node_id(), self.where()

    def live(self) -> None:
        """Returns never."""
        threading.Event().wait()


def _states(job: Job) -> States:
    """What a job may take up: its own training state, and the one that it begins with."""
    firsts = [*([] if job.initial_state is None else [job.initial_state]), job.state_file]
    return {path.name: path.read_bytes() for first in firsts for path in files_of(Path(first))}


def _why(error: Exception, where: str) -> str:
    """In one line, why an actor is gone."""
    cause = getattr(error, "cause", None)
    if cause is not None and not type(cause).__module__.startswith("ray"):  # it was raised here, as it began
        return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}".rstrip(": ")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if ": " in line), lines[0] if lines else type(error).__name__)
    return f"the worker on {where} is gone" if where else told


def _stopped(job: Job) -> Result:
    """Of a job that was asked to stop before it had a place."""
    return Result(job.number, "stopped", None, None, (), 0.0, "", job.attempt)
