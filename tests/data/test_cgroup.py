"""What a container may take of its machine."""

import pytest

from cnn_tuner.data import cgroup, memory
from cnn_tuner.runs import machine


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Writes a limit of a group; the own one is /a/b."""
    (tmp_path / "fs" / "a" / "b").mkdir(parents=True)
    (tmp_path / "self").write_text("1:name=systemd:/x\n0::/a/b\n")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "fs")
    monkeypatch.setattr(cgroup, "OF_THIS_PROCESS", tmp_path / "self")
    return lambda place, text: (tmp_path / "fs" / place).write_text(text + "\n")


def test_without_a_limit_there_is_none(group):
    assert (cgroup.cores(), cgroup.memory_bytes()) == (None, None)
    group("a/b/cpu.max", "max 100000")
    group("a/memory.max", "max")
    assert (cgroup.cores(), cgroup.memory_bytes()) == (None, None)


def test_the_least_of_the_groups_around_counts(group):
    group("cpu.max", "150000 100000")
    group("a/b/cpu.max", "800000 100000")
    group("a/memory.max", str(3 * 2**30))
    group("a/b/memory.max", str(5 * 2**30))
    group("a/b/memory.high", "max")
    assert (cgroup.cores(), cgroup.memory_bytes()) == (1.5, 3 * 2**30)


def test_a_container_sees_its_own_group_as_the_root(group, tmp_path):
    (tmp_path / "self").write_text("0::/\n")
    group("cpu.max", "50000 100000")
    assert cgroup.cores() == 0.5


def test_a_system_without_groups_has_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "nowhere")
    monkeypatch.setattr(cgroup, "OF_THIS_PROCESS", tmp_path / "nothing")
    assert (cgroup.cores(), cgroup.memory_bytes()) == (None, None)


def test_workers_and_memory_are_counted_within_the_limits(group, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    before = memory.machine_bytes()
    assert machine.cores() == 8
    group("cpu.max", "250000 100000")
    group("memory.max", str(before // 4))
    assert machine.cores() == 2
    assert memory.machine_bytes() == before // 4
    assert machine.memory_share(2) == pytest.approx(0.1 * before, rel=1e-6)
    group("cpu.max", "20000 100000")
    assert machine.cores() == 1
