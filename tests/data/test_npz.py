"""npz:FILE: headers first, pickled objects never."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from data_helpers import labels, pixels, write_npz

from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError

OPTIONS = DataOptions()
TRAIN = {"x_train": pixels(60, 5, 4), "y_train": labels(60, 3)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my.npz"


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write_members(path, **members):
    """An .npz with these bytes as its arrays, all checksums right."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return f"npz:{path}"


def test_all_parts(path):
    source = write_npz(
        path, **TRAIN, x_val=pixels(9, 5, 4, seed=1), y_val=labels(9, 3), x_test=pixels(6, 5, 4, seed=2),
        y_test=labels(6, 3), class_names=np.array(["owl", "cat", "dog"]), extra=np.zeros(3),
    )  # fmt: skip
    dataset = load(source, OPTIONS)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (60, 9, 6)
    assert (dataset.name, dataset.class_names) == ("my", ("owl", "cat", "dog"))
    assert dataset.notes == ("ignored the arrays extra",)


def test_a_column_of_floats_in_fortran_order(path):
    source = write_npz(path, x_train=np.asfortranarray(TRAIN["x_train"] / 255), y_train=TRAIN["y_train"][:, np.newaxis])
    assert load(source, OPTIONS).fingerprint == load(write_npz(path, **TRAIN), OPTIONS).fingerprint


@pytest.mark.parametrize("names", [np.array([b"a", b"b", b"\xc3\xa4"]), np.array(["a", "b", "ä"])])
def test_class_names_as_text_or_bytes(path, names):
    assert load(write_npz(path, **TRAIN, class_names=names), OPTIONS).class_names == ("a", "b", "ä")


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_labels_that_this_package_encoded_are_understood_again(path, task):
    y = {
        "binary": labels(60, 2),
        "multiclass": labels(60, 3),
        "multilabel": np.random.default_rng(0).integers(0, 2, (60, 3)),
        "regression": np.linspace(0, 1, 60),
    }[task]
    first = load(write_npz(path, x_train=TRAIN["x_train"], y_train=y), OPTIONS)
    again = load(write_npz(path, x_train=first.train.x, y_train=first.train.y), OPTIONS)
    assert (first.task, again.task) == (task, task)


class Evil:
    """Running this would be seen."""

    def __reduce__(self):
        return (pytest.fail, ("an object was unpickled",))


@pytest.mark.parametrize("name", ["x_train", "y_train", "class_names"])
def test_pickled_objects_are_refused(path, name):
    evil = np.array([Evil()] * 60, object)
    source = write_npz(path, **{**TRAIN, name: evil})
    rule = "holds pickled Python objects, which can run code when loaded; save it as an array of numbers or text"
    with pytest.raises(DataError, match=rf"my.npz: {name}: {rule}$"):
        load(source, OPTIONS)


def test_a_bare_pickle_is_refused(path):
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(
        DataError, match=r"my.npz: is no readable .npz file \(File is not a zip file\); write it with nump"
    ):
        load(f"npz:{path}", OPTIONS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": 1}, r"my.npz: has no x_train; needs x_train, y_train, has x$"),
        ({}, r"has no x_train; needs x_train, y_train, has none$"),
        ({**TRAIN, "x_test": pixels(6, 5, 4)}, r"has no y_test; needs x_train, y_train, x_test, y_test, has x_train, "),
        ({**TRAIN, "y_val": labels(6, 3)}, r"has no x_val; needs x_train, y_train, x_val, y_val, has "),
        ({**TRAIN, "class_names": np.array("abc")}, r"class_names: must be a row of text, got <U3 of shape \(\)$"),
        ({**TRAIN, "class_names": np.zeros(3)}, r"class_names: must be a row of text, got float64 of shape \(3,\)$"),
        (
            {**TRAIN, "y_train": labels(59, 3)},
            r"x_train and y_train: must be equally long, got 60 images and 59 labels$",
        ),
        ({**TRAIN, "x_train": np.zeros(60, "i4,i4")}, r"x_train: images must be \(N, H, W\) or \(N, H, W, C\)"),
        ({**TRAIN, "x_train": np.full((60, 5, 4), np.nan)}, r"my.npz: x_train\[0\]: pixels must be finite numbers"),
        ({**TRAIN, "y_train": np.arange(60)}, r"my.npz: y_train: 60 different whole numbers for 60 images are no cl"),
    ],
)
def test_arrays_that_break_a_rule(path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(write_npz(path, **arrays), OPTIONS)


def test_sizes_come_from_headers_before_memory_is_taken(path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 28, 28)})
    source = write_members(path, x_train=header.getvalue(), y_train=npy(labels(60, 3)))
    with pytest.raises(
        DataError, match=r"x_train: declares \(1000000000, 28, 28\) float64 = 6272000000000 bytes, holds 0;"
    ):
        load(source, OPTIONS)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(DataError, match=r"my.npz: needs \S+ GiB of memory for its images"):
        load(write_npz(path, **TRAIN), DataOptions(max_bytes=2000))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no array", r"is no readable .npz file \(.*magic string.*\)"),
        (b"\x93NUMPY\x01\x00\x76\x00{'descr': (", r"is no readable .npz file \(EOF: reading array header"),
        (b"\x93NUMPY\x01\x00\x0b\x00{'descr': (", r"is no readable .npz file \("),
        (b"\x93NUMPY\x03\x00" + bytes(9), r"x_train: must be a plain array, got .npy format 3.0$"),
        (
            npy(pixels(60, 5, 4))[:-1],
            r"x_train: declares \(60, 5, 4\) uint8 = 1200 bytes, holds 1199; write the file again",
        ),
        (
            npy(pixels(60, 5, 4)) + b"!",
            r"x_train: declares \(60, 5, 4\) uint8 = 1200 bytes, holds 1201; write the file",
        ),
    ],
)
def test_a_damaged_array(path, data, message):
    with pytest.raises(DataError, match=message):
        load(write_members(path, x_train=data, y_train=npy(labels(60, 3))), OPTIONS)


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_truncated_file(path, keep):
    write_npz(path, **TRAIN)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"my.npz: is no readable .npz file \(.+\); write it with numpy.savez$"):
        load(f"npz:{path}", OPTIONS)


def test_a_flipped_bit(path):
    write_npz(path, **TRAIN)
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"my.npz: is no readable .npz file \(.+\); write it with numpy.savez$"):
        load(f"npz:{path}", OPTIONS)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(path):
    write_npz(path, **TRAIN)
    path.chmod(0)
    with pytest.raises(DataError, match=r"my.npz: no permission to read it; change its mode, or read it as its owner$"):
        load(f"npz:{path}", OPTIONS)
