"""What every executor is: a place with some slots where jobs are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from cnn_tuner.runs.machine import Cluster, Workers
from cnn_tuner.runs.records import Epoch, Event, Job, Result

# train(job, on_epoch, should_stop): tells each epoch, and asks after each execution of batches whether to stop.
Train = Callable[[Job, Callable[[Epoch], None], Callable[[], bool]], Result]


@dataclass(frozen=True)
class Settings:
    """What an executor is made with; plain data, since it crosses to other processes.

    `trainer` is "module:function". The function is called once where jobs are trained, with these settings, and
    returns the function that trains a job. `folder` holds the data, as the trainer knows it. `threads` are those of
    each worker, 0 for as many as there are cores; `gpus` gives each slot its CUDA_VISIBLE_DEVICES, empty leaves it as
    it is. `memory_bytes` is what a worker may take on top of what it holds when it is ready, None for no limit. A
    worker that gives no sign of progress for `hang_seconds` counts as hung; building a model is one sign's length.
    `cluster` is where an executor that needs one finds it; then `slots` 0 is for as many as it has room for.
    `is_own_process` tells the trainer that its process does nothing else. `networks` are what builds them, as the
    trainer packed it; empty for the seven steps.
    """

    trainer: str
    folder: str
    slots: int = 1
    threads: int = 0
    gpus: tuple[str, ...] = ()
    memory_bytes: int | None = None
    hang_seconds: float = 300.0
    cluster: Cluster | None = None
    is_own_process: bool = False
    networks: bytes = b""


def settings_of(workers: Workers, trainer: str, folder: Path, networks: bytes = b"") -> Settings:
    """The settings with which these workers train on the data in `folder`."""
    return Settings(
        trainer,
        str(folder),
        slots=(workers.count or 0) if workers.cluster else (workers.count or 1),
        threads=workers.threads,
        gpus=workers.gpus,
        memory_bytes=workers.memory_bytes,
        hang_seconds=workers.hang_seconds,
        cluster=workers.cluster,
        networks=networks,
    )


def load_trainer(settings: Settings) -> Train:
    """The function that trains a job.

    Raises:
        ImportError, AttributeError: there is no such module or function.
        Exception: what the function raised.
    """
    module, _, function = settings.trainer.partition(":")
    train: Train = getattr(import_module(module), function)(settings)
    return train


class Executor(Protocol):
    """Jobs go in, events come out; each event names the job and the attempt it speaks of."""

    slots: int

    def submit(self, job: Job) -> None:
        """Starts a job; never waits for it. At most `slots` may be under way.

        Raises:
            SearchError: every slot is taken.
        """

    def next_event(self, seconds: float | None = None) -> Event | None:
        """Waits for the next event of any job under way, for at most so many seconds; None when they are over.

        None also when there are more slots than before.

        Raises:
            SearchError: no job is under way, or none can be trained any more.
            Exception: what a job raised, if it was not the trial's own failure (a full disk, a programming error).
        """

    def stop(self) -> None:
        """Asks every job under way to end soon; each still sends its result. Safe to call from a signal handler."""

    def close(self) -> None:
        """Ends everything that runs."""
