"""What every source promises, and how a source is named."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_helpers import TINY, pixels, write_folder, write_npz

from cnn_tuner.data.dataset import Dataset, Selection
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import SOURCES, load
from cnn_tuner.data.undecoded import Undecoded
from cnn_tuner.errors import DataError, UsageError

OPTIONS = DataOptions(seed=3)


@pytest.fixture(params=SOURCES)
def source(request, tmp_path, monkeypatch):
    """What a user writes for a tiny instance of each source."""
    return TINY[request.param](tmp_path, monkeypatch)


def rows(dataset: Dataset) -> list[set[bytes]]:
    return [{image.tobytes() for image in part.x} for part in (dataset.train, dataset.val, dataset.test)]


def test_every_source_has_a_tiny_instance():
    assert set(TINY) == set(SOURCES)


def test_images_and_labels_are_canonical(source):
    dataset = load(source, OPTIONS)
    assert dataset.source == source
    assert re.fullmatch(r"[a-z0-9.-]+", dataset.name)
    assert (dataset.task, dataset.outputs) == ("multiclass", len(dataset.class_names))
    for part in (dataset.train, dataset.val, dataset.test):
        assert part.x.dtype == np.uint8 and part.x.shape[1:] == dataset.image_shape
        assert part.y.dtype == np.int32 and part.y.shape == (len(part),)
        assert set(part.y) == set(range(len(dataset.class_names)))
        whole = part.x.array if isinstance(part.x, Selection) else part.x
        assert not whole.flags.writeable and not part.y.flags.writeable and whole.flags.c_contiguous
    assert all("\n" not in note for note in dataset.notes)


def test_parts_are_disjoint_and_whole(source):
    dataset = load(source, OPTIONS)
    train, val, test = rows(dataset)
    assert not train & val and not train & test and not val & test
    whole = {"digits": 1797, "cifar100": 800, "folder": 60, "archive": 60}.get(source.partition(":")[0], 80)
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == whole


def test_the_same_seed_gives_the_same_data_and_another_seed_another_split(source):
    first, again, other = load(source, OPTIONS), load(source, OPTIONS), load(source, DataOptions(seed=0))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    assert rows(first)[1] != rows(other)[1]
    assert set.union(*rows(first)) == set.union(*rows(other))


def test_split_off_parts_hold_their_share_of_each_class(source):
    dataset = load(source, OPTIONS)
    counts = [np.bincount(part.y) for part in (dataset.train, dataset.val, dataset.test)]
    has_test = not any(note.startswith("test: ") for note in dataset.notes)
    split = counts[0] + counts[1] if has_test else sum(counts)
    assert np.abs(counts[1] - 0.15 * split).max() < 1
    if not has_test:
        assert np.abs(counts[2] - 0.2 * split).max() < 1


def test_sizes_are_checked_before_memory_is_taken(source):
    if source.partition(":")[0] in ("folder", "csv"):  # image files are decoded when they are needed
        assert isinstance(load(source, DataOptions(max_bytes=1000)).train.x.array, Undecoded)
        return
    with pytest.raises(DataError, match=r"needs \S+ GiB of memory for its images, the limit is \S+ GiB; use fewer or"):
        load(source, DataOptions(max_bytes=1000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions(image_size=(8, 8)), "--image-size: is for image files; digits is none"),
        (DataOptions(channels=1), "--channels: is for image files; digits is none"),
        (DataOptions(fit="pad"), "--fit: is for image files; digits is none"),
        (DataOptions(group_by="_"), "--group-by: is for image files; digits is none"),
        (DataOptions(leave_out=("a",)), "--leave-out: is for image folders; digits is none"),
        (DataOptions(follow_links=True), "--follow-links: is for image folders; digits is none"),
        (DataOptions(label_columns=("a",)), "--label-column: is for tables of images; digits is none"),
    ],
)
def test_an_option_is_refused_where_it_means_nothing(options, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        load("digits", options)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "digitz",
            r"^--data digitz: no such data; choose digits, fashion_mnist, .*npz:FILE, .*folder:DIR, .* or the path of",
        ),
        ("digitz", r"the path of a folder or file of images; did you mean digits\?$"),
        ("Fashion-MNIST", r"did you mean fashion_mnist\?$"),
        ("nothing_like_it", r"file of images$"),
        ("", r"^--data : no such data"),
        ("a\nb", r"^--data 'a\\nb': no such data"),
        ("idx", r"^--data idx: must be written idx:DIR$"),
        ("npz:", r"^--data npz:: must be written npz:FILE$"),
        ("digits:5", r"^--data digits:5: must be written digits$"),
        ("npx:x.npz", r"did you mean npz:FILE\?$"),
    ],
)
def test_an_unknown_source(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        load(source, OPTIONS)


@pytest.mark.parametrize(
    "source", ["./no/such", "../no_such", "~/no_such_folder_here", "/no/such", "folder:no", "idx:no", "npz:no.npz"]
)
def test_a_missing_path(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no.*: no such file or folder$"):
        load(source, OPTIONS)


def test_a_path_that_no_system_allows():
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)$"):
        load("./" + "a" * 5000, OPTIONS)
    with pytest.raises(DataError, match=r"^'/a\\x00b': cannot be read"):
        load("/a\0b", OPTIONS)


def test_a_file_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_npz(Path("data.npz"), x_train=pixels(40, 4, 4), y_train=np.arange(40) % 2)
    assert load("data.npz", OPTIONS).fingerprint == load("npz:data.npz", OPTIONS).fingerprint
    Path("cat.png").touch()
    kinds = r"\.npz, \.csv, \.tsv, .*\.zip, \.tar, .*\.txz"
    with pytest.raises(UsageError, match=rf"^--data cat.png: is a file of another kind than {kinds}; or name a folder"):
        load("cat.png", OPTIONS)
    with pytest.raises(DataError, match=r"^cat.png: is a file, must be a folder$"):
        load("folder:cat.png", OPTIONS)
    with pytest.raises(DataError, match=r"^cat.png: is a file, must be a folder$"):
        load("idx:cat.png", OPTIONS)
    with pytest.raises(DataError, match=r": is a folder, must be a file$"):
        load(f"npz:{tmp_path}", OPTIONS)


def test_a_folder_is_named_by_its_path(tmp_path, monkeypatch):
    write_folder(tmp_path / "home" / "Zoo 1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    names = {load(source, OPTIONS).name for source in ("Zoo 1", "./Zoo 1", "~/Zoo 1", "folder:Zoo 1", "folder:~/Zoo 1")}
    assert names == {"zoo-1"}


def test_a_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    write_folder(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert load("digits", OPTIONS).image_shape == (8, 8, 1)
    assert load("./digits", OPTIONS).image_shape == (9, 9, 3)


def test_no_heavy_package_is_imported():
    code = "import sys, cnn_tuner.data.registry; print(*{'tensorflow', 'keras', 'sklearn', 'scipy'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
