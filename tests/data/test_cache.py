"""Decoded images that are kept: made once, found again, in use or removed, and where there is no room."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import namedtuple

import pytest

from cnn_tuner.api import words
from cnn_tuner.data import cache as cache_module
from cnn_tuner.data.cache import FACTS, Cache, parse_bytes
from cnn_tuner.errors import StorageError, UsageError

KB = 1000


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "images", 10 * KB)


def another(cache):
    """What another process sees, which uses nothing yet."""
    return Cache(cache.folder, cache.limit)


def writes(size, name="x.npy"):
    def build(folder):
        (folder / name).write_bytes(bytes(size))
        return {"size": size}

    return build


def fails(folder):
    (folder / "half").write_bytes(bytes(5))
    raise KeyboardInterrupt


def never(folder):
    raise AssertionError("built again")


def test_what_is_made_is_found(cache):
    assert cache.find("a" * 64) is None
    path = cache.made("a" * 64, "photos", KB, writes(KB))
    assert (path / "x.npy").stat().st_size == KB
    assert cache.facts(path) == {"what": "photos", "size": KB}
    for each in (cache, another(cache)):
        assert each.find("a" * 64) == path
        assert each.made("a" * 64, "photos", KB, never) == path


def test_a_build_that_was_cut_short_is_no_entry_and_goes_on(cache):
    with pytest.raises(KeyboardInterrupt):
        cache.made("a" * 64, "photos", KB, fails)
    assert cache.find("a" * 64) is None
    [left] = cache.entries()
    assert (left.what, left.bytes) == ("a build that is under way, or was cut short", 5)

    def goes_on(folder):
        assert (folder / "half").exists()
        return {}

    assert (cache.made("a" * 64, "photos", KB, goes_on) / "half").exists()
    assert [entry.what for entry in cache.entries()] == ["photos"]


def test_two_at_once_build_it_once(cache):
    built, begun, may_end = [], threading.Event(), threading.Event()

    def slow(folder):
        begun.set()
        may_end.wait(10)
        built.append(folder)
        return {}

    found = []
    first = threading.Thread(target=lambda: found.append(another(cache).made("a", "photos", KB, slow)))
    second = threading.Thread(target=lambda: found.append(another(cache).made("a", "photos", KB, slow)))
    first.start()
    begun.wait(10)
    second.start()
    may_end.set()
    for each in (first, second):
        each.join(10)
    assert len(built) == 1 and found == [cache.folder / "a"] * 2


def test_what_was_not_used_for_longest_goes_first(cache):
    for number, key in enumerate("abc"):
        path = another(cache).made(key, key, 3 * KB, writes(3 * KB))
        os.utime(path, (number, number))
    another(cache).find("a")
    cache.made("d", "d", 3 * KB, writes(3 * KB))
    assert {entry.key for entry in cache.entries()} == {"a", "c", "d"}


def test_what_is_in_use_stays(cache):
    user = another(cache)
    user.made("a", "a", 6 * KB, writes(6 * KB))
    with pytest.raises(StorageError, match=r"/images: .* in use"):
        cache.made("b", "b", 6 * KB, writes(6 * KB))
    assert not cache.remove("a")
    assert cache.find("a") is not None


def test_an_entry_is_removed(cache):
    another(cache).made("a", "a", KB, writes(KB))
    with pytest.raises(KeyboardInterrupt):
        another(cache).made("b", "b", KB, fails)
    assert all(cache.remove(entry.key) for entry in cache.entries())
    assert cache.entries() == [] and cache.find("a") is None


def test_what_is_larger_than_the_limit_is_refused_before_it_is_made(cache):
    with pytest.raises(
        StorageError, match=r"/images: 2e-05 GB of decoded images are over the limit of 1e-05 GB; raise it with --cache"
    ):
        cache.made("a", "a", 20 * KB, never)


def test_a_disk_without_room(cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, cache_module.SPARE + 500))
    with pytest.raises(
        StorageError,
        match=r"/images: decoded images need 1e-06 GB of free disk space, 5e-07 are free; free some, or name another "
        r"folder with --cache$",
    ):
        cache.made("a", "a", KB, never)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/images: "):
        Cache(tmp_path / "file" / "images", KB).made("a", "a", 1, never)


def test_a_damaged_entry_is_made_again(cache):
    path = another(cache).made("a", "photos", KB, writes(KB))
    (path / FACTS).unlink()
    assert cache.find("a") is None
    assert cache.made("a", "photos", KB, writes(KB)) == path


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500", 500), ("20GB", 20 * 10**9), ("1.5 tb", 1.5 * 10**12), (" 7MB ", 7 * 10**6)]
)
def test_sizes(text, size):
    assert parse_bytes("--cache-limit", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "20 gigabytes", "1e9"])
def test_what_is_no_size(text):
    told = f"--cache-limit: must be a size such as 500MB or 20GB, or 0 for none, got {text!r}"
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        parse_bytes("--cache-limit", text)


def test_the_environment_names_it_and_an_option_goes_before(tmp_path, monkeypatch):
    monkeypatch.setenv(words.FOLDER, str(tmp_path / "a"))
    monkeypatch.setenv(words.LIMIT, "3MB")
    found = words.cache_options(None, None)
    assert (found.folder, found.limit) == (tmp_path / "a", 3 * 10**6)
    found = words.cache_options(str(tmp_path / "b"), "5MB")
    assert (found.folder, found.limit) == (tmp_path / "b", 5 * 10**6)
    assert words.cache_options(None, "0") is None
    monkeypatch.setenv(words.LIMIT, "much")
    with pytest.raises(UsageError, match=r"^CNN_TUNER_CACHE_LIMIT: must be a size"):
        words.cache_options(None, None)
