"""What this machine is and what a search will use of it."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import tensorflow as tf

from cnn_tuner import __version__
from cnn_tuner.data.memory import machine_bytes
from cnn_tuner.tuning import versions

GIB = 2**30


def cores() -> int:
    """The processors this process may run on, which a container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts(folder: Path) -> dict[str, str]:
    """Facts by name, in the order in which a person wants to read them."""
    gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in _gpus()]
    installed = versions()
    disk = shutil.disk_usage(folder)
    used = "the first GPU" if gpus else f"{cores()} threads of the processor"
    return {
        "cnn-tuner": __version__,
        "python": f"{installed['python']}, {platform.platform()}",
        "tensorflow": f"{tf.__version__}, keras {installed['keras']}, keras-tuner {installed['keras-tuner']}",
        "processor": f"{platform.machine()}, {cores()} cores",
        "memory": f"{machine_bytes() / GIB:.1f} GiB",
        "gpu": ", ".join(gpus) or "none",
        "disk": f"{disk.free / GIB:.1f} GiB free here",
        "will use": f"{used}, float32, one trial at a time",
    }


def _gpus() -> list[tf.config.PhysicalDevice]:
    found: list[tf.config.PhysicalDevice] = tf.config.list_physical_devices("GPU")
    return found
