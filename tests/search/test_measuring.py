"""With what a run is trained: what was asked for, the rest by this machine, measured only where it is worth it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toys import toy_space

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.runs import machine
from cnn_tuner.runs.machine import Workers, memory_share
from cnn_tuner.search import measuring
from cnn_tuner.search.measuring import Length, Speed, Subject, choose, fastest, remember, remembered, splits

SHORT, LONG = Length(4, None, 1, 100), Length(1000, None, 100, 60_000)
SPEEDS = [Speed(2, 3, "float32", 100.0), Speed(2, 3, "bfloat16", 150.0), Speed(1, 6, "bfloat16", 200.0)]


@pytest.fixture(autouse=True)
def of_six_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 6)
    monkeypatch.setattr(measuring, "found_gpus", lambda: ())
    monkeypatch.setattr(machine, "machine_bytes", lambda: 10 * machine.GIB)
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    monkeypatch.setattr(measuring, "machine_bytes", lambda: 10 * machine.GIB)


@pytest.fixture
def measured(monkeypatch) -> list[tuple]:
    """What was asked to be measured."""
    calls = []

    def measure(subject, counts, cores, precisions, gpus=()):
        calls.append((counts, precisions))
        return SPEEDS

    monkeypatch.setattr(measuring, "measure", measure)
    return calls


@pytest.fixture
def subject(tmp_path) -> Subject:
    return Subject(toy_space(), (8, 8, 1), Output("multiclass", 4), str(tmp_path / "data"))


@pytest.fixture
def chosen(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "machine_bytes", lambda: 64 * 2**30)
    return lambda asked, precision=None, length=SHORT: choose(asked, precision, subject, length, tmp_path / "speeds")


def test_inline_is_one_worker_without_a_limit(chosen):
    found = chosen(Workers(executor="inline", count=5))
    assert (found.count, found.threads, found.memory_bytes, found.precision) == (1, 0, None, "float32")


@pytest.mark.parametrize(("count", "threads"), [(1, 6), (2, 3), (4, 1), (12, 1)])
def test_workers_that_were_asked_for_share_the_cores_and_the_memory(chosen, count, threads):
    found = chosen(Workers(count=count, precision="float32"))
    assert (found.count, found.threads, found.reason) == (count, threads, "")
    assert found.memory_bytes == memory_share(count)


def test_another_limit_of_memory_is_taken_as_it_is(chosen):
    assert chosen(Workers(count=2, precision="float32", memory_bytes=0)).memory_bytes == 0


def test_the_precision_of_the_run_goes_before_that_of_the_request(chosen):
    assert chosen(Workers(count=1, precision="float32"), "bfloat16").precision == "bfloat16"
    assert chosen(Workers(count=1, precision="bfloat16")).precision == "bfloat16"


@pytest.fixture
def large(subject, monkeypatch):
    monkeypatch.setattr(Subject, "typical_macs", lambda self: measuring.SMALL_MACS)


def test_for_a_short_search_the_machine_is_measured_once_for_all_projects(
    chosen, measured, large, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        found = chosen(Workers())
        assert (found.count, found.precision) == (4, "bfloat16")
        assert found.reason.startswith("measured once on this machine: 2 x 3 threads in float32: 100 images/s, ")
        assert measured == [([4], ("float32", "bfloat16"))]
    assert (tmp_path / ".cache/cnn_tuner/machine.json").is_file()


def test_a_home_that_cannot_be_written_has_the_machine_measured_each_time(
    chosen, measured, large, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert [chosen(Workers()).precision for _ in range(2)] == ["bfloat16"] * 2
    assert len(measured) == 2


def test_where_there_is_no_choice_of_a_precision_a_short_search_measures_nothing(chosen, measured, large, monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    assert chosen(Workers()).reason == chosen(Workers(precision="bfloat16")).reason == measuring.NOT_MEASURED
    assert measured == []


def test_a_short_search_of_small_networks_is_not_measured_for(chosen, measured):
    found = chosen(Workers())
    assert (found.count, found.precision, found.reason) == (4, "float32", "not measured: this search is short")
    assert measured == []


def test_a_long_search_is_trained_with_what_was_measured_to_be_fastest(chosen, measured):
    found = chosen(Workers(), length=LONG)
    assert (found.count, found.threads, found.precision) == (1, 6, "bfloat16")
    assert found.reason.startswith("measured: 2 x 3 threads in float32: 100 images/s, 2 x 3 threads in bfloat16: 150")
    assert measured == [([6, 1], ("float32", "bfloat16"))]


def test_what_was_measured_once_is_remembered(chosen, measured):
    assert chosen(Workers(), length=LONG) == chosen(Workers(), length=LONG)
    assert len(measured) == 1


def test_a_measurement_can_be_asked_for(chosen, measured):
    chosen(Workers(must_measure=True))
    assert len(measured) == 1


def test_the_precision_alone_is_measured_for_a_number_that_was_asked_for(chosen, measured):
    chosen(Workers(count=3), length=LONG)
    assert measured == [([3], ("float32", "bfloat16"))]


def test_half_precision_must_be_worth_it():
    assert fastest(SPEEDS).precision == "bfloat16"
    barely = [SPEEDS[0], replace(SPEEDS[1], images_per_second=109.0)]
    assert fastest(barely).precision == "float32"


@pytest.mark.parametrize(
    ("cores", "most", "expected"), [(1, 1, [1]), (2, 2, [2, 1]), (6, 4, [4, 1]), (16, 16, [16, 4, 1])]
)
def test_the_splits_worth_measuring(cores, most, expected):
    assert splits(cores, most) == expected


def test_a_memory_that_cannot_be_read_is_an_empty_one(tmp_path):
    file = tmp_path / "speeds.json"
    for text in ("[1, 2", "[]", "{}", '{"a": [{"x": 1}]}'):
        file.write_text(text)
        assert remembered(file, "a") == []
    file.write_text("garbage")
    remember(file, "a", SPEEDS)
    remember(file, "b", SPEEDS[:1])
    assert (remembered(file, "a"), remembered(file, "b")) == (SPEEDS, SPEEDS[:1])


def test_a_key_changes_with_what_the_speed_depends_on(subject):
    keys = {
        subject.key("this machine"),
        subject.key("that machine"),
        replace(subject, image_shape=(9, 9, 1)).key("this machine"),
        replace(subject, output=Output("binary", 1)).key("this machine"),
    }
    assert len(keys) == 4
    assert subject.key("this machine") == replace(subject, folder="elsewhere").key("this machine")


@pytest.mark.parametrize(
    ("length", "is_short"),
    [
        (SHORT, True),
        (LONG, False),
        (Length(None, 599.0, 100, 60_000), True),
        (Length(None, 600.0, 1, 100), False),
        (Length(1000, 60.0, 100, 60_000), True),
        (Length(4, 3600.0, 1, 100), True),
        (Length(None, None, 1, 100), False),
    ],
    ids=["few trials", "many", "little time", "much time", "many in little time", "few in much time", "no limit"],
)
def test_a_search_is_short_by_its_trials_or_by_its_budget(length, is_short):
    subject = Subject(toy_space(), (8, 8, 1), Output("multiclass", 4), "")
    assert length.is_short(subject) == is_short
