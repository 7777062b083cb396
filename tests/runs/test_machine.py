"""What this machine is, and with what a run is trained when nobody says."""

from __future__ import annotations

import pytest

from cnn_tuner.api import words
from cnn_tuner.executors.base import Settings
from cnn_tuner.runs import machine
from cnn_tuner.runs.machine import Cluster, Workers, memory_share


@pytest.fixture(autouse=True)
def of_ten_gigabytes(monkeypatch):
    monkeypatch.setattr(machine, "machine_bytes", lambda: 10 * machine.GIB)


def test_together_the_workers_leave_memory_for_the_driver():
    assert memory_share(2) == 4 * machine.GIB
    assert all(count * memory_share(count) <= 8 * machine.GIB for count in range(1, 9))


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        (Workers(1, 1, "float32"), "1 worker process, 1 thread each, float32"),
        (Workers(2, 3, "bfloat16"), "2 worker processes, 3 threads each, bfloat16"),
        (Workers(2, 3, "float32", gpus=("0", "1")), "2 worker processes, a GPU each, float32"),
    ],
)
def test_workers_read_as_a_line(workers, text):
    assert str(workers) == text


def test_the_versions_name_what_decides_a_result():
    assert list(machine.versions()) == ["python", "cnn-tuner", "tensorflow", "keras", "keras-tuner", "numpy"]


def test_the_timeout_of_the_commands_is_that_of_the_workers():
    assert words.HANG_SECONDS == machine.HANG_SECONDS == Settings("", "").hang_seconds


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (None, False),
        ("null", False),
        ("nvidia-modeset", False),
        ("nvidia0", True),
        ("nvgpu", True),
        ("kfd", True),
        ("dxg", True),
    ],
)
def test_linux_without_the_device_of_a_gpu_has_none(tmp_path, monkeypatch, device, expected):
    if device:
        (tmp_path / device).touch()
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    monkeypatch.setattr(machine, "NVIDIA", tmp_path / "driver")
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert machine.may_have_gpu() is expected
    (tmp_path / "driver").mkdir()
    assert machine.may_have_gpu()
    (tmp_path / "driver").rmdir()
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert machine.may_have_gpu()


@pytest.mark.parametrize(
    ("workers", "is_driver_loading", "expected"),
    [
        (Workers(2), True, 1.5),
        (Workers(2), False, 1.0),
        (Workers(1), True, 1.0),
        (Workers(), False, 1.0),
        (Workers(2, cluster=Cluster()), True, 1.5),
        (Workers(8, cluster=Cluster("auto")), True, 1.0),
        (Workers(3, executor="inline"), True, 1.0),
    ],
)
def test_how_many_load_tensorflow_on_a_core(monkeypatch, workers, is_driver_loading, expected):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.crowding(workers, is_driver_loading) == expected
