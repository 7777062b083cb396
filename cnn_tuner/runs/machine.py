"""What this machine is, and with what a search trains on it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
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
DEVICES = Path("/dev")
NVIDIA = Path("/proc/driver/nvidia")


def versions() -> dict[str, str]:
    """The versions that decide what a run does."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def cores() -> int:
    """The processors this process may run on, of whose time a container can have less; at least 1."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup.cores()
    return found if limit is None else max(1, min(found, round(limit)))


@dataclass(frozen=True)
class Cluster:
    """Where trials are trained past this machine, and what each of them has there.

    address: of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; None for one of this machine alone. shared_dir: a
    folder that all nodes see, through which images reach them; None to send them.
    """

    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    shared_dir: str | None = None

    @property
    def of_each(self) -> str:
        """What a trial has."""
        cpus = f"{self.cpus_per_trial:g} CPU{'' if self.cpus_per_trial == 1 else 's'}"
        gpus = f"{self.gpus_per_trial:g} GPU{'' if self.gpus_per_trial == 1 else 's'}"
        return cpus if not self.gpus_per_trial else f"{cpus} and {gpus}"

    def room(self, resources: Mapping[str, float]) -> int:
        """For how many trials a node with these resources has room, whatever is at work there."""
        asked = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}
        return min((int(resources.get(name, 0.0) / each + 1e-9) for name, each in asked.items() if each), default=0)


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
    cluster: Cluster | None = None
    must_measure: bool = False
    reason: str = ""

    def __str__(self) -> str:
        if self.cluster is not None:
            return f"{self._on_cluster}, {self.precision}"
        each = "a GPU each" if self.gpus else f"{self.threads} thread{'s' if self.threads != 1 else ''} each"
        processes = f"{self.count} worker process{'es' if self.count != 1 else ''}"
        return f"{processes}, {each}, {self.precision}"

    @property
    def _on_cluster(self) -> str:
        cluster = self.cluster
        assert cluster is not None
        count = "as many trials as there is room for" if not self.count else f"{self.count} trials at once at most"
        where = "of this machine" if cluster.address is None else f"at {cluster.address}"
        return f"Ray {where}: {count}, {cluster.of_each} each"


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


def may_have_gpu() -> bool:
    """False where Linux has no device of a GPU: of NVIDIA's or AMD's driver, of a Jetson, or of Windows below WSL.

    Devices of NVIDIA's may be made when they are first used; what it has besides is there before.
    """
    places = (
        DEVICES.glob(name) for name in ("nvidia[0-9]*", "nvidiactl", "nvhost-gpu", "nvmap", "nvgpu", "kfd", "dxg")
    )
    return sys.platform != "linux" or NVIDIA.exists() or any(next(found, None) for found in places)


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


def on_cluster(asked: Workers, precision: Precision | None) -> Workers:
    """The same on a cluster, of whose nodes nothing is known: as many as there is room for."""
    cluster = asked.cluster or Cluster()
    threads, count = max(1, round(cluster.cpus_per_trial)), asked.count
    if count is None and cluster.address is None and cluster.cpus_per_trial:
        count = max(1, int(cores() / cluster.cpus_per_trial))
    return replace(asked, count=count, threads=threads, precision=precision or asked.precision or "float32")


def wide(workers: Workers) -> Workers:
    """One worker with the threads and the memory of all."""
    count = workers.count or 1
    memory = None if workers.memory_bytes is None else count * workers.memory_bytes
    return replace(workers, count=1, threads=count * workers.threads, memory_bytes=memory)


def crowding(workers: Workers, is_driver_loading: bool) -> float:
    """How many processes share a core, at least 1, while workers load TensorFlow here, and the driver does too."""
    if workers.executor == "inline" or (workers.cluster is not None and workers.cluster.address is not None):
        return 1.0
    return max(1.0, ((workers.count or 1) + is_driver_loading) / cores())


def memory_share(count: int) -> int:
    """What each of `count` workers may take for itself: together most of the memory, the rest is the driver's."""
    return int(0.8 * machine_bytes() / count)
