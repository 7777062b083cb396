"""Words of commands and values of Python mean the same; messages name what who reads them can type."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnn_tuner.api import words
from cnn_tuner.errors import DataError, FormatError, UsageError


@pytest.mark.parametrize(("value", "seconds"), [("10m", 600.0), (600, 600.0), (90.5, 90.5), (None, None)])
def test_a_budget_is_a_word_or_seconds(value, seconds):
    assert words.budget_seconds("--budget", value) == seconds


@pytest.mark.parametrize("value", ["ten", "10s", 10, -1, float("nan")])
def test_what_is_no_budget(value):
    with pytest.raises(UsageError, match=r"^--budget: must be .*got"):
        words.budget_seconds("--budget", value)


@pytest.mark.parametrize(("value", "seconds"), [("2ms", 0.002), ("0.5s", 0.5), (0.002, 0.002), (None, None)])
def test_a_latency_is_a_word_or_seconds(value, seconds):
    assert words.latency_seconds(value) == seconds


@pytest.mark.parametrize("value", ["2", "0ms", 0, -1.0, float("inf")])
def test_what_is_no_latency(value):
    with pytest.raises(UsageError, match=r"^--max-latency: must be a time above 0 such as 2ms or 0.5s, got"):
        words.latency_seconds(value)


@pytest.mark.parametrize("value", ["28x14", "28X14", (28, 14), [28, 14]])
def test_a_size_is_a_word_or_numbers(value):
    assert words.sizes("--image-size", value, 2) == (28, 14)


@pytest.mark.parametrize("value", ["28", "28x", (28,), (28, 0), (28, -1), (28.5, 3)])
def test_what_is_no_size(value):
    with pytest.raises(UsageError, match=r"^--image-size: must be HEIGHTxWIDTH in whole numbers >= 1, got"):
        words.sizes("--image-size", value, 2)


@pytest.mark.parametrize("value", ["2", 2])
def test_workers_are_a_word_or_a_number(value):
    assert words.worker_options(value).count == 2
    assert not words.worker_options(value).must_measure


def test_workers_may_be_left_to_be_measured():
    assert words.worker_options("auto").must_measure and not words.worker_options(None).must_measure
    for value in ("none", 0, -1, 1.5):
        with pytest.raises(UsageError, match=r"^--workers: must be a whole number >= 1, or auto, got"):
            words.worker_options(value)


def test_a_shared_folder_is_text_or_a_path(tmp_path):
    for place in (tmp_path, str(tmp_path)):
        assert words.worker_options(executor="ray", shared_dir=place).cluster.shared_dir == str(tmp_path)


def test_formats_are_a_word_or_a_sequence():
    both = ("tf_saved_model", "keras")
    assert words.formats("keras") == words.formats(["keras"]) == words.formats(both) == both
    assert words.formats(()) == ("tf_saved_model",)
    assert words.formats(None) is None
    with pytest.raises(UsageError, match=r"^--format: unknown: 'zip'; choices: "):
        words.formats(["zip"])


def test_names_are_one_or_several():
    assert words.names(None) == () and words.names("a") == ("a",) and words.names(["a", "b"]) == ("a", "b")


def test_a_cache_is_named_by_words_values_or_the_environment(tmp_path, monkeypatch):
    assert words.cache_options(tmp_path, 3 * 10**6).limit == words.cache_options(str(tmp_path), "3MB").limit
    assert words.cache_options(tmp_path, 0) is None
    monkeypatch.setenv(words.FOLDER, str(tmp_path / "other"))
    assert words.cache_options().folder == Path(tmp_path / "other")


@pytest.mark.parametrize(
    ("flags", "keywords"),
    [
        ("--max-trials: must be a whole number >= 1, got 0", "max_trials: must be a whole number >= 1, got 0"),
        ("--task regression takes them as targets", "task regression takes them as targets"),
        ("skip such images with --skip-broken", "skip such images with skip_broken=True"),
        ("--skip-broken: is for files", "skip_broken: is for files"),
        ("--format: unknown: 'zip'", "formats: unknown: 'zip'"),
        ("--and latency: is for asha", "cost latency: is for asha"),
        (
            "complete; cnn-tuner extend toy --budget 10m or --trials N goes on; see --space",
            "complete; cnn-tuner extend toy --budget 10m or --trials N goes on; see space",
        ),
        ("install it with pip install 'cnn-tuner[ray]'", "install it with pip install 'cnn-tuner[ray]'"),
        ("a--b and x -- y", "a--b and x -- y"),
    ],
)
def test_messages_name_keywords(flags, keywords):
    assert words.keywords(flags) == keywords


def test_an_error_keeps_its_class_and_what_it_knows():
    with pytest.raises(FormatError, match=r"^formats onnx: no") as told, words.told_in_keywords():
        raise FormatError("--format onnx: no", "onnx")
    assert told.value.format == "onnx"
    with pytest.raises(DataError, match=r"^allow_leakage=True goes on$"), words.told_in_keywords():
        raise DataError("--allow-leakage goes on")
    with pytest.raises(ValueError, match=r"^--space$"), words.told_in_keywords():
        raise ValueError("--space")
