"""Archives of class folders: the same data as the folder, and what hostile or damaged ones are refused for."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from data_helpers import write_archive, write_folder

from cnn_tuner.data import archive
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError, UsageError

OPTIONS = DataOptions()


@pytest.fixture
def zoo(tmp_path):
    write_folder(tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_an_archive_is_the_folder_that_it_was_made_of(zoo, suffix):
    path = zoo.parent / f"Zoo 1{suffix}"
    write_archive(path, zoo)
    packed, folder = load(str(path), OPTIONS), load(str(zoo), OPTIONS)
    assert packed.fingerprint == folder.fingerprint
    assert packed.name == "zoo-1"


def test_parts_and_names_that_windows_wrote(tmp_path):
    for part, count in (("train", 12), ("test", 4)):
        write_folder(tmp_path / "zoo" / part, ("cat", "dog"), count, seed=100 * count)
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as packed:
        for path in sorted((tmp_path / "zoo").rglob("*.png")):
            packed.write(path, str(path.relative_to(tmp_path)).replace("/", "\\"))
    assert load(str(tmp_path / "zoo.zip"), OPTIONS).fingerprint == load(str(tmp_path / "zoo"), OPTIONS).fingerprint


def test_a_folder_may_be_left_out_and_what_systems_leave_is_passed_over(zoo):
    path = zoo.parent / "zoo.zip"
    write_archive(path, zoo)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("zoo/notes/read me.txt", "x")
        packed.writestr("__MACOSX/zoo/cat/000.png", "x")
        packed.writestr("zoo/cat/Thumbs.db", "x")
        packed.writestr("zoo/cat/.hidden.png", "x")
        packed.writestr("../outside.png", "x")
    dataset = load(str(path), DataOptions(leave_out=("notes",)))
    assert dataset.class_names == ("cat", "dog", "owl")
    assert "ignored files that lie outside the archive's own root: 1" in dataset.notes
    assert "ignored files of the system: 1" in dataset.notes
    with pytest.raises(DataError, match=r"zoo.zip/zoo/notes: class without an image"):
        load(str(path), OPTIONS)


def test_links_are_passed_over(zoo):
    path = zoo.parent / "zoo.tar"
    with tarfile.open(path, "w") as packed:
        packed.add(zoo, "zoo")
        link = tarfile.TarInfo("zoo/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    dataset = load(str(path), OPTIONS)
    assert "ignored links: 1" in dataset.notes
    with pytest.raises(UsageError, match=r"^--follow-links: is for image folders; "):
        load(str(path), DataOptions(follow_links=True))


def test_damaged_files_may_be_skipped(zoo):
    path = zoo.parent / "zoo.zip"
    with zipfile.ZipFile(path, "w") as packed:  # stored: the bytes of each file lie there as they are
        for file in sorted(zoo.rglob("*.png")):
            packed.write(file, str(file.relative_to(zoo.parent)))
    content = bytearray(path.read_bytes())
    content[content.index((zoo / "dog" / "003.png").read_bytes()) + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"zoo.zip/zoo/dog/003.png: cannot be unpacked: .*; repair or delete it, or sk"):
        load(str(path), OPTIONS)
    dataset = load(str(path), DataOptions(skip_broken=True))
    assert sum(map(len, (dataset.train, dataset.val, dataset.test))) == 59


def test_what_claims_to_be_huge_is_not_read(zoo, monkeypatch):
    path = zoo.parent / "zoo.zip"
    write_archive(path, zoo)
    monkeypatch.setattr(archive, "MOST_BYTES", 50)
    with pytest.raises(DataError, match=r"000.png: must have at most 50 bytes, has \d+; repair"):
        load(str(path), OPTIONS)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_what_is_no_archive(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match=rf"{name}: is no readable zip or tar archive \("):
        load(str(tmp_path / name), OPTIONS)


def test_an_archive_that_ends_early(zoo):
    path = zoo.parent / "zoo.tar.gz"
    write_archive(path, zoo)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"zoo.tar.gz"):
        load(str(path), OPTIONS)


def test_an_encrypted_one_is_told(zoo):
    path, stored = zoo.parent / "zoo.zip", io.BytesIO()
    with zipfile.ZipFile(stored, "w") as packed:
        packed.writestr("zoo/cat/1.png", "x")
        packed.infolist()[0].flag_bits |= 1
    path.write_bytes(stored.getvalue())
    with pytest.raises(DataError, match=r"zoo.zip: is encrypted; unpack it, and name the folder$"):
        load(str(path), OPTIONS)


def test_numbers_as_labels_are_not_for_archives(zoo):
    write_archive(zoo.parent / "zoo.zip", zoo)
    with pytest.raises(DataError, match=r"zoo.zip: --task regression needs numbers"):
        load(str(zoo.parent / "zoo.zip"), DataOptions(task="regression"))
