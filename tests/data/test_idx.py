"""idx:DIR: what the header says is what is read, or nothing is."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from data_helpers import IDX_FILES, idx_bytes, labels, pixels, write_idx

from cnn_tuner.data import idx
from cnn_tuner.data.class_names import FASHION_MNIST
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError

OPTIONS = DataOptions()
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def folder(tmp_path):
    write_idx(tmp_path)
    return tmp_path


def spoil(folder, stem, data):
    (folder / f"{stem}.gz").write_bytes(data)


def test_images_and_labels_are_read(folder):
    raw = idx.load(str(folder), OPTIONS)
    assert (raw.train.x == pixels(60, 6, 6)).all() and (raw.train.y == labels(60, 10)).all()
    assert raw.test is not None and (raw.test.x == pixels(20, 6, 6, seed=1)).all() and raw.val is None


def test_unzipped_files_are_the_same(folder, tmp_path):
    expected = load(f"idx:{folder}", OPTIONS).fingerprint
    assert load(write_idx(tmp_path / "plain", zipped=False), OPTIONS).fingerprint == expected
    for name in IDX_FILES:
        (tmp_path / "plain" / name).rename(tmp_path / "plain" / name.replace("-idx", ".idx"))
    assert load(f"idx:{tmp_path / 'plain'}", OPTIONS).fingerprint == expected


def test_a_gz_name_on_unzipped_bytes(folder):
    expected = load(f"idx:{folder}", OPTIONS).fingerprint
    spoil(folder, IDX_FILES[0], idx_bytes(pixels(60, 6, 6)))
    assert load(f"idx:{folder}", OPTIONS).fingerprint == expected


def test_class_names(folder, tmp_path):
    assert load(f"idx:{folder}", OPTIONS).class_names == tuple("0123456789")
    assert load(write_idx(tmp_path / "Fashion"), OPTIONS).class_names == FASHION_MNIST


def test_a_missing_file(folder):
    (folder / f"{IDX_FILES[3]}.gz").unlink()
    with pytest.raises(
        DataError, match=r": has no t10k-labels-idx1-ubyte.gz; needs \{train,t10k\}-images-idx3-ubyte.gz a"
    ):
        load(f"idx:{folder}", OPTIONS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"\x00\x00\x0d\x03" + bytes(12)), r"must begin with the bytes 00 00 08 03, got '00 00 0d 03'$"),
        (gzip.compress(idx_bytes(labels(60, 10))), r"must begin with the bytes 00 00 08 03, got '00 00 08 01'$"),
        (b"", r"must begin with the bytes 00 00 08 03, got ''$"),
        (gzip.compress(b"\x00\x00\x08\x03\x00"), r"truncated: its header ends after 5 bytes; fetch it again$"),
        (gzip.compress(idx_bytes(pixels(60, 0, 6))), r"declares 60x0x6 values; there must be some$"),
        (
            gzip.compress(idx_bytes(pixels(60, 6, 6))[:-7]),
            r"truncated: declares 60x6x6 = 2160 bytes, holds 2153; fetch",
        ),
        (
            gzip.compress(idx_bytes(pixels(60, 6, 6)))[:-700],
            r"truncated: declares 60x6x6 = 2160 bytes, holds \d+; fetc",
        ),
        (
            gzip.compress(idx_bytes(pixels(60, 6, 6)) + b"!"),
            r"holds more than the 60x6x6 = 2160 bytes it declares; fet",
        ),
        (
            gzip.compress(idx_bytes(pixels(60, 6, 6)))[:-8] + bytes(8),
            r"damaged gzip file \(CRC check failed .*\); fetc",
        ),
        (b"\x1f\x8b" + bytes(30), r"damaged gzip file \(Unknown compression method\); fetch it again$"),
    ],
    ids=range(10),  # gzip writes the time into its bytes: names made of them would differ between processes
)
def test_a_damaged_file(folder, data, message):
    spoil(folder, IDX_FILES[0], data)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: " + message):
        load(f"idx:{folder}", OPTIONS)


def test_a_file_that_declares_too_much_is_refused_before_memory_is_taken(folder, monkeypatch):
    spoil(folder, IDX_FILES[0], gzip.compress(struct.pack(">4I", 0x803, 2**31, 2**31, 2**31)))
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(DataError, match=r"needs \S+ GiB of memory for its images, the limit is"):
        load(f"idx:{folder}", OPTIONS)


def test_a_gzip_bomb_is_not_unpacked(folder):
    """100 MB of zeros behind 60 images: one byte too many is read, not all of them."""
    spoil(folder, IDX_FILES[0], gzip.compress(idx_bytes(pixels(60, 6, 6)) + bytes(10**8), 1))
    with pytest.raises(DataError, match=r"holds more than the 60x6x6 = 2160 bytes it declares"):
        load(f"idx:{folder}", DataOptions(max_bytes=10**6))


def test_counts_and_sizes_must_agree(folder):
    spoil(folder, IDX_FILES[1], gzip.compress(idx_bytes(labels(59, 10))))
    with pytest.raises(DataError, match=r"x_train and y_train: must be equally long, got 60 images and 59 labels$"):
        load(f"idx:{folder}", OPTIONS)
    write_idx(folder)
    spoil(folder, IDX_FILES[2], gzip.compress(idx_bytes(pixels(20, 6, 7))))
    with pytest.raises(DataError, match=r"x_test: images are \(6, 7, 1\) but those of x_train are \(6, 6, 1\)"):
        load(f"idx:{folder}", OPTIONS)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder):
    (folder / f"{IDX_FILES[0]}.gz").chmod(0)
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte.gz: no permission to read it; change its mode, or read"
    ):
        load(f"idx:{folder}", OPTIONS)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_files_of_debian():
    dataset = load(f"idx:{DEBIAN}", OPTIONS)
    assert (dataset.name, dataset.class_names) == ("fashion-mnist", FASHION_MNIST)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (55_000, 5_000, 10_000)
