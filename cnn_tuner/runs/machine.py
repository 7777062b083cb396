"""What this machine is, and with what a search trains on it."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from cnn_tuner.data import cgroup
from cnn_tuner.data.memory import machine_bytes
from cnn_tuner.runs.records import Precision

GIB = 2**30
PACKAGES = ("cnn-tuner", "tensorflow", "keras", "keras-tuner", "numpy")
WORKER_BYTES = 1500 * 2**20  # the least that a worker needs: TensorFlow, a small network, and room to grow
HANG_SECONDS = 300.0


def versions() -> dict[str, str]:
    """The versions that decide what a run does."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def cores() -> int:
    """The processors this process may run on, of whose time a container can have less; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup.cores()
    return found if limit is None else max(1, min(found, round(limit)))


@dataclass(frozen=True)
class Workers:
    """With what a run is trained: `count` processes of `threads` threads each, or one a GPU.

    None leaves it to `measuring.choose`, which measures for a long search, or where it `must_measure`. `memory_bytes`
    is what each may take for itself, None for no limit; `hang_seconds` without a sign of progress count as a hang;
    `reason` says how this was chosen.
    """

    count: int | None = None
    threads: int = 0
    precision: Precision | None = None
    gpus: tuple[str, ...] = ()
    memory_bytes: int | None = None
    hang_seconds: float = HANG_SECONDS
    executor: str = "processes"
    must_measure: bool = False
    reason: str = ""

    def __str__(self) -> str:
        each = "a GPU each" if self.gpus else f"{self.threads} thread{'s' if self.threads != 1 else ''} each"
        processes = f"{self.count} worker process{'es' if self.count != 1 else ''}"
        return f"{processes}, {each}, {self.precision}"


def identity() -> str:
    """What tells this machine from others, for what was measured on it."""
    processor = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return f"{processor}, {cores()} cores, tensorflow {version('tensorflow')}, keras {version('keras')}"


def memory() -> Path:
    """The file of what was measured of this machine, for all of a person's projects."""
    return Path("~/.cache/cnn_tuner/machine.json").expanduser()


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; without them it is slower than float32."""
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def choose(asked: Workers, precision: Precision | None) -> Workers:
    """With what a run is trained: what was asked for, the rest by this machine."""
    if asked.executor == "inline":
        return replace(asked, count=1, precision=precision or asked.precision or "float32")
    count = asked.count or cores()
    return replace(
        asked,
        count=count,
        threads=max(1, cores() // count),
        precision=precision or asked.precision or "float32",
        memory_bytes=memory_share(count) if asked.memory_bytes is None else asked.memory_bytes,
    )


def wide(workers: Workers) -> Workers:
    """One worker with the threads and the memory of all."""
    count = workers.count or 1
    memory = None if workers.memory_bytes is None else count * workers.memory_bytes
    return replace(workers, count=1, threads=count * workers.threads, memory_bytes=memory)


def memory_share(count: int) -> int:
    """What each of `count` workers may take for itself: together most of the memory, the rest is the driver's."""
    return int(0.8 * machine_bytes() / count)
