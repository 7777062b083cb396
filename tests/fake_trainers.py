"""Trainers that train nothing: what one does with a job stands in `job.values`. Loads nothing heavy."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from cnn_tuner.errors import DataError
from cnn_tuner.runs.records import Epoch, Result

SCORE = 0.5
kept = []  # what a worker does not let go of between jobs


def epoch(number=1):
    """An epoch that tells which process trained."""
    return Epoch(number, {"val_accuracy": SCORE, "pid": float(os.getpid()), "driver": float(os.getppid())}, 0.1)


def open_acting(settings):
    """train() does what `job.values["act"]` names."""

    def train(job, on_epoch, should_stop):
        return ACTS[job.values["act"]](job, on_epoch, should_stop)

    return train


def open_with_a_failure(settings):
    """Trains as always, but for trial 5, for which there is no memory."""
    from cnn_tuner.training.fit import open_trainer

    real = open_trainer(settings)

    def train(job, on_epoch, should_stop):
        if job.trial == 5:
            return Result(job.number, "failed", None, None, (), 0.1, "out of memory: <b>16 GB</b>", job.attempt)
        return real(job, on_epoch, should_stop)

    return train


def open_broken(settings):
    raise RuntimeError("no data in this folder")


def open_endless(settings):
    threading.Event().wait()


def open_once(settings):
    """Dies the first time that it is opened, as the file in `folder` shows."""
    trace = Path(settings.folder) / "opened"
    if not trace.exists():
        trace.touch()
        die(signal.SIGKILL)
    return open_acting(settings)


def formula(job, number):
    """An objective that more filters, a hidden layer and more epochs improve, the same for the same point."""
    filters = sum(int(value) for name, value in job.values.items() if name.endswith(".filters"))
    return round(0.5 + 0.01 * filters + 0.05 * int(job.values["dense_layers"]) + 0.01 * number, 6)


def open_formula(settings):
    """Trains by a formula, a moment an epoch, and notes in `folder` which job it began and ended."""
    log = Path(settings.folder) / "trained"

    def train(job, on_epoch, should_stop):
        note(log, f"began {job.number}")
        epochs = []
        for number in range(job.initial_epoch + 1, job.epochs + 1):
            end = time.monotonic() + 0.004
            while time.monotonic() < end and not should_stop():
                os.sched_yield()
            value = formula(job, number)
            metrics = {"val_accuracy": value, "val_loss": 1.0, "accuracy": 0.5, "loss": 1.0}
            epochs.append(Epoch(number, metrics, 0.004))
            on_epoch(epochs[-1])
        state = Path(job.state_file)
        state.parent.mkdir(exist_ok=True)
        state.write_bytes(b"state")
        score = formula(job, job.epochs)
        return Result(job.number, "completed", score, job.epochs, tuple(epochs), 0.1, "", job.attempt)

    return train


def note(log, line):
    with log.open("a") as file:
        file.write(line + "\n")


def result(job, status="completed", message=""):
    epochs = () if status == "failed" else (epoch(),)
    score = None if status == "failed" else SCORE
    return Result(job.number, status, score, 1 if epochs else None, epochs, 0.1, message, job.attempt)


def train(job, on_epoch, should_stop):
    """Two epochs."""
    for number in (1, 2):
        on_epoch(epoch(number))
    return result(job)


def fail(job, on_epoch, should_stop):
    return result(job, "failed", "the loss was no longer finite")


def until_stopped(job, on_epoch, should_stop):
    on_epoch(epoch())
    while not should_stop():
        os.sched_yield()
    return result(job, "stopped")


def is_stopped(job, on_epoch, should_stop):
    """Asks once, at its end."""
    return result(job, "stopped" if should_stop() else "completed")


def ignore_stop(job, on_epoch, should_stop):
    """After a stop, a second epoch; when there is a file, a third; and no end."""
    until_stopped(job, on_epoch, should_stop)
    on_epoch(epoch(2))
    while not Path(job.state_file).exists():
        os.sched_yield()
    on_epoch(epoch(3))
    threading.Event().wait()


def hang(job, on_epoch, should_stop):
    on_epoch(epoch())
    threading.Event().wait()


def hang_later(job, on_epoch, should_stop):
    """Two epochs, and then a file that tells that they were sent."""
    for number in (1, 2):
        on_epoch(epoch(number))
    Path(job.state_file).touch()
    threading.Event().wait()


def draw(job, on_epoch, should_stop):
    """Tells a number of NumPy's own generator."""
    import numpy as np

    told = epoch()
    on_epoch(replace(told, metrics=told.metrics | {"drawn": float(np.random.random())}))
    return result(job, "completed")


def stop_by_signal(job, on_epoch, should_stop):
    """Sends the driver a signal, as a person would in the middle of a job."""
    os.kill(job.values["driver"], signal.SIGUSR1)
    while not should_stop():
        os.sched_yield()
    return result(job, "stopped")


def meet(job, on_epoch, should_stop):
    """Ends only when another job has come as far: each leaves a file for the other."""
    Path(job.state_file).touch()
    while not all(Path(name).exists() for name in job.values["files"].split(":")):
        os.sched_yield()
    return result(job)


def slow(job, on_epoch, should_stop):
    """A second in which nothing happens but that it asks whether to stop."""
    on_epoch(epoch())
    end = time.monotonic() + 1
    while time.monotonic() < end:
        should_stop()
        os.sched_yield()
    return result(job)


def interrupted(job, on_epoch, should_stop):
    signal.raise_signal(signal.SIGINT)
    return result(job)


def die(number):
    signal.raise_signal(number)


def segmentation_fault(job, on_epoch, should_stop):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no file of it in the folder of the tests
    ctypes.string_at(0)


def killed_once(job, on_epoch, should_stop):
    on_epoch(epoch())
    return die(signal.SIGKILL) if job.attempt == 1 else result(job)


def full_disk(job, on_epoch, should_stop):
    raise OSError(errno.ENOSPC, "No space left on device", "trials/state.npz")


def program_error(job, on_epoch, should_stop):
    return {}["filters"]


def wrong_data(job, on_epoch, should_stop):
    class OwnDataError(DataError):
        """Known here only."""

    raise OwnDataError("digits: no class has images")


def exit_with(job, on_epoch, should_stop):
    print("said on the way out", flush=True)
    os._exit(7)


def keep(job, on_epoch, should_stop):
    """Takes memory, and never lets it go."""
    kept.append(bytearray(os.urandom(2**10)) * (job.values["mib"] * 2**10))
    on_epoch(epoch())
    return result(job)


def use(job, on_epoch, should_stop):
    """Takes memory and lets it go."""
    bytearray(os.urandom(2**10)) * (job.values["mib"] * 2**10)
    return result(job)


def reserve(job, on_epoch, should_stop):
    """Asks for memory, as a model too large does."""
    try:
        bytearray(job.values["mib"] * 2**20)
    except MemoryError:
        return result(job, "failed", "out of memory")
    return result(job)


def visible_gpus(job, on_epoch, should_stop):
    return result(job, message=os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))


def temporary(job, on_epoch, should_stop):
    """Leaves a temporary file behind, as TensorFlow does of every function that it traces."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return result(job, message=file.name)


def chatter(job, on_epoch, should_stop):
    """Prints a MiB, and tells how large the file it prints to was before."""
    before = os.fstat(2).st_size
    os.write(2, b"x" * 2**20)
    return result(job, message=str(before))


ACTS = {
    "train": train,
    "draw": draw,
    "fail": fail,
    "until_stopped": until_stopped,
    "is_stopped": is_stopped,
    "ignore_stop": ignore_stop,
    "hang": hang,
    "hang_later": hang_later,
    "stop_by_signal": stop_by_signal,
    "meet": meet,
    "slow": slow,
    "interrupted": interrupted,
    "killed_once": killed_once,
    "killed": lambda *_: die(signal.SIGKILL),
    "segmentation_fault": segmentation_fault,
    "terminated": lambda *_: die(signal.SIGTERM),
    "full_disk": full_disk,
    "program_error": program_error,
    "wrong_data": wrong_data,
    "exit": exit_with,
    "exit_silently": lambda *_: os._exit(8),
    "keep": keep,
    "use": use,
    "reserve": reserve,
    "visible_gpus": visible_gpus,
    "temporary": temporary,
    "chatter": chatter,
}
