"""Image files to pixels: kept on disk or in memory, the same; what is decoded again, and what never is."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_helpers import write_archive, write_folder, write_table

from cnn_tuner.data import dataset, decoding, pictures, reader
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.dataset import Selection
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.data.shared import opened, shared
from cnn_tuner.errors import DataError

OPTIONS = DataOptions()
SKIP = DataOptions(skip_broken=True)
BIG = 10**9


@pytest.fixture
def zoo(tmp_path):
    return write_folder(tmp_path / "zoo")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "kept", BIG)


def again(cache):
    return Cache(cache.folder, cache.limit)


@pytest.fixture
def decoded(monkeypatch):
    """The images that are decoded from now on."""
    paths = []
    read = reader.read_image
    monkeypatch.setattr(reader, "read_image", lambda path, *others: paths.append(path.name) or read(path, *others))
    return paths


SOURCES = {
    "folder": write_folder,
    "table": write_table,
    "zip": lambda root: write_archive(root.with_suffix(".zip")),
    "tar": lambda root: write_archive(root.with_suffix(".tar.gz")),
}


@pytest.mark.parametrize("write", SOURCES.values(), ids=SOURCES)
def test_what_is_kept_is_what_would_be_decoded(write, tmp_path, cache):
    source = write(tmp_path / "images")
    plain, first, second = (load(source, OPTIONS, each) for each in (None, cache, again(cache)))
    for found in (first, second):
        assert found.fingerprint == plain.fingerprint
        assert (found.notes, found.class_names, found.preprocessing) == (
            plain.notes,
            plain.class_names,
            plain.preprocessing,
        )
        for name in ("train", "val", "test"):
            np.testing.assert_array_equal(getattr(found, name).x, getattr(plain, name).x)
            np.testing.assert_array_equal(getattr(found, name).y, getattr(plain, name).y)
            assert getattr(found, name).x.file.is_relative_to(cache.folder)


def test_images_are_decoded_once(zoo, cache, decoded):
    load(zoo, OPTIONS, cache)
    assert len(decoded) == 60
    load(zoo, DataOptions(seed=5), again(cache))
    Path(zoo).rename(f"{zoo} moved")
    load(f"{zoo} moved", OPTIONS, again(cache))
    assert len(decoded) == 60


def test_other_options_and_other_files_are_decoded_anew(zoo, cache, decoded):
    load(zoo, OPTIONS, cache)
    load(zoo, DataOptions(image_size=(4, 4)), cache)
    assert len(decoded) == 120
    changed = Path(zoo) / "cat" / "000.png"
    before = load(zoo, OPTIONS, cache).fingerprint
    changed.write_bytes((Path(zoo) / "dog" / "001.png").read_bytes())
    assert load(zoo, OPTIONS, cache).fingerprint != before
    assert len(decoded) == 180


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_seen(zoo, cache):
    path = Path(zoo) / "cat" / "000.png"
    before, known = load(zoo, OPTIONS, cache).fingerprint, path.stat()
    path.write_bytes((Path(zoo) / "dog" / "001.png").read_bytes()[: known.st_size].ljust(known.st_size))
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert load(zoo, OPTIONS, cache).fingerprint != before


def test_broken_images_are_skipped_the_same_from_the_cache(zoo, cache):
    for name in ("cat/003.png", "owl/000.png"):
        (Path(zoo) / name).write_bytes(b"broken")
    plain, first, second = (load(zoo, SKIP, each) for each in (None, cache, again(cache)))
    assert plain.notes == first.notes == second.notes
    assert "skipped broken images: 2 (cat/003.png, owl/000.png)" in plain.notes
    assert plain.fingerprint == first.fingerprint == second.fingerprint
    with pytest.raises(DataError, match=r"cat/003.png: broken image: .*; repair or delete it"):
        load(zoo, OPTIONS, cache)


def test_without_room_on_disk_they_are_decoded_into_memory(zoo, tmp_path):
    small = Cache(tmp_path / "kept", 100)
    dataset = load(zoo, OPTIONS, small)
    assert dataset.train.x.file is None
    [note] = [note for note in dataset.notes if note.startswith("decoded images are not kept: ")]
    assert note.endswith("of decoded images are over the limit of 1e-07 GB; raise it with --cache-limit")
    assert dataset.fingerprint == load(zoo, OPTIONS).fingerprint


@pytest.fixture
def nowhere(zoo, tmp_path):
    """The options and the cache with which the images of `zoo` fit nowhere."""
    return zoo, replace(OPTIONS, max_bytes=1000), Cache(tmp_path / "small", 100)


def test_what_fits_nowhere_is_decoded_each_time_that_it_is_needed(zoo, nowhere, tmp_path):
    plain, found = load(zoo, OPTIONS), load(*nowhere)
    assert found.fingerprint == plain.fingerprint
    [note] = [note for note in found.notes if note.startswith("images are decoded each time that they are needed")]
    assert "are over the limit of 1e-07 GB; raise it with --cache-limit" in note
    assert note.endswith("of memory for its images, the limit is 9.31e-07 GiB")
    for part, other in ((found.train, plain.train), (found.test, plain.test)):
        np.testing.assert_array_equal(np.asarray(part.x), np.asarray(other.x))
        np.testing.assert_array_equal(part.x[3], other.x[3])
        np.testing.assert_array_equal(part.x[2:9:3, :, 1], other.x[2:9:3, :, 1])
        assert (part.x.nbytes, part.x.shape, part.x.dtype) == (other.x.nbytes, other.x.shape, other.x.dtype)
    with shared(found, tmp_path / "data") as folder:
        assert not list(folder.glob("x.npy"))
        train, val, _ = opened(folder)
    np.testing.assert_array_equal(np.asarray(train.x), np.asarray(plain.train.x))
    np.testing.assert_array_equal(val.x[::-1], plain.val.x[::-1])


def test_broken_ones_of_what_fits_nowhere_are_skipped_too(zoo, nowhere):
    (Path(zoo) / "cat/003.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"cat/003.png: broken image: .*; repair or delete it"):
        load(*nowhere)
    source, options, small = nowhere
    found = load(source, replace(options, skip_broken=True), small)
    assert "skipped broken images: 1 (cat/003.png)" in found.notes
    assert found.fingerprint == load(zoo, SKIP).fingerprint


def test_an_archive_that_fits_nowhere_is_refused_before_anything_is_decoded(zoo, nowhere, tmp_path, monkeypatch):
    packed = shutil.make_archive(str(tmp_path / "zoo"), "zip", zoo)
    _, options, small = nowhere
    monkeypatch.setattr(pictures, "_pixels", None)
    told = r"needs .* of memory for its images, .*; or keep them on disk: .*--cache-limit"
    with pytest.raises(DataError, match=told):
        load(packed, options, small)


def test_a_large_set_that_fits_nowhere_is_mixed_as_the_cache_mixes_it(zoo, nowhere, cache, monkeypatch):
    monkeypatch.setattr(decoding, "MIXED", 1)
    found, kept = load(*nowhere), load(zoo, OPTIONS, cache)
    np.testing.assert_array_equal(found.train.x.rows, kept.train.x.rows)
    np.testing.assert_array_equal(np.asarray(found.train.x), np.asarray(kept.train.x))


def test_a_build_that_was_cut_short_goes_on_where_it_was(zoo, cache, decoded, monkeypatch):
    monkeypatch.setattr(reader, "CHUNK", 8)
    monkeypatch.setattr(reader, "threads", lambda: 1)

    def stops(what, done, total):
        if done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(zoo, OPTIONS, Cache(cache.folder, BIG, stops))
    [part] = cache.folder.glob(".*.part")
    noted = len((part / decoding.DONE).read_text().split())
    assert 2 <= noted < 7
    pixels = np.load(part / decoding.PIXELS, mmap_mode="r+")
    pixels[9] = 0  # in the second chunk, as after a power cut
    pixels.flush()
    decoded.clear()
    told = []
    found = load(zoo, OPTIONS, Cache(cache.folder, BIG, lambda what, done, total: told.append((done, total))))
    assert len(decoded) == 60 - 8 * (noted - 1)
    assert told[-1] == (60, 60) and told[0][0] > 8
    assert found.fingerprint == load(zoo, OPTIONS).fingerprint


def test_a_large_set_is_kept_in_a_random_order_and_is_the_same(zoo, cache, tmp_path, monkeypatch):
    plain = load(zoo, OPTIONS)
    monkeypatch.setattr(decoding, "MIXED", 1)
    monkeypatch.setattr(dataset, "LARGE", 1)  # so that rows are read, and not mapped
    for found in (load(zoo, OPTIONS, cache), load(zoo, OPTIONS, again(cache))):
        assert found.fingerprint == plain.fingerprint
        np.testing.assert_array_equal(found.train.x, plain.train.x)
        assert (np.diff(found.train.x.rows) < 0).any()
    with shared(found, tmp_path / "data") as folder:
        np.testing.assert_array_equal(opened(folder)[0].x, plain.train.x)
    for places in (0, slice(3, 7), np.array([5, 2, 2]), (slice(None), 1, ..., 0)):
        np.testing.assert_array_equal(found.train.x[places], np.asarray(plain.train.x)[places])
    packed = load(write_archive(tmp_path / "zoo.zip", Path(zoo)), OPTIONS, cache)
    np.testing.assert_array_equal(packed.train.x, plain.train.x)


def test_workers_map_what_is_kept(zoo, cache, tmp_path):
    dataset = load(zoo, OPTIONS, cache)
    with shared(dataset, tmp_path / "data") as folder:
        assert not list(folder.glob("x.npy"))
        train, val, _ = opened(folder)
        np.testing.assert_array_equal(train.x, dataset.train.x)
        np.testing.assert_array_equal(val.x, dataset.val.x)
        assert not set(map(int, dataset.test.x.rows)) & {*map(int, train.x.rows), *map(int, val.x.rows)}
        assert isinstance(train.x, Selection) and train.x.file == dataset.train.x.file


BUILDS = """
import sys
from dataclasses import replace
from pathlib import Path
from cnn_tuner.data.cache import Cache
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load

print("ready", flush=True)
print(load(sys.argv[1], DataOptions(), Cache(Path(sys.argv[2]), 10**9)).fingerprint)
"""


@pytest.mark.slow
def test_a_build_killed_at_twenty_instants_ends_as_an_undisturbed_one(tmp_path):
    root = write_folder(tmp_path / "zoo", count=700, size=40)
    expected = load(root, OPTIONS).fingerprint
    rng = random.Random(0)
    killed = 0
    for number in range(20):
        command = [sys.executable, "-c", BUILDS, root, str(tmp_path / "kept" / str(number % 4))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(rng.uniform(0.02, 0.6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    assert killed >= 10
    for number in range(4):
        assert load(root, OPTIONS, Cache(tmp_path / "kept" / str(number), BIG)).fingerprint == expected
