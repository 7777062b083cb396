"""What TensorFlow computes with: this machine's processors and GPUs, and how a process is set up to train on them."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import tensorflow as tf

from cnn_tuner import __version__
from cnn_tuner.data.memory import machine_bytes
from cnn_tuner.executors.base import Settings
from cnn_tuner.runs.machine import GIB, cores, versions


def set_up(settings: Settings) -> None:
    """Has this process train with the threads of `settings`. Called before TensorFlow has done anything."""
    if settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # leave room for whoever shares it
    make_repeatable()
    tf.matmul(tf.zeros((64, 64)), tf.zeros((64, 64)))  # starts its threads: their stacks count as memory


def make_repeatable() -> None:
    """Has a GPU use kernels that give the same result each time. Those of the CPU do, for one number of threads."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def gpus() -> tuple[str, ...]:
    """The GPUs that TensorFlow sees, as CUDA_VISIBLE_DEVICES names them."""
    return tuple(str(number) for number in range(len(tf.config.list_physical_devices("GPU"))))


def facts(folder: Path) -> dict[str, str]:
    """Facts by name, in the order in which a person wants to read them."""
    found = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found]
    installed = versions()
    disk = shutil.disk_usage(folder)
    return {
        "cnn-tuner": __version__,
        "python": f"{installed['python']}, {platform.platform()}",
        "tensorflow": f"{tf.__version__}, keras {installed['keras']}, keras-tuner {installed['keras-tuner']}",
        "processor": f"{platform.machine()}, {cores()} cores",
        "memory": f"{machine_bytes() / GIB:.1f} GiB",
        "gpu": ", ".join(names) or "none",
        "disk": f"{disk.free / GIB:.1f} GiB free here",
    }
