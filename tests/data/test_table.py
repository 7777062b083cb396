"""Tables of images: which column is what, what labels become, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import pixels, write_table
from PIL import Image

from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load, load_parts
from cnn_tuner.errors import DataError, UsageError

OPTIONS = DataOptions()
SKIP = DataOptions(skip_broken=True)


@pytest.fixture
def images(tmp_path):
    """A folder with a.png, b.png, ..., of which the tests write tables."""
    for index in range(24):
        Image.fromarray(pixels(5, 4, 3, seed=index)).save(tmp_path / f"{chr(97 + index)}.png")
    return tmp_path


def table(folder, header, rows, name="t.csv", encoding="utf-8"):
    """A table whose first column counts through a.png, b.png, ..., and its other cells, repeated."""
    lines = [header, *(f"{chr(97 + index)}.png,{rows[index % len(rows)]}" for index in range(24))]
    (folder / name).write_text("\n".join(lines), encoding=encoding)
    return str(folder / name)


def parts(source, **options):
    return load_parts(source, DataOptions(**options))


def test_a_table_is_named_by_its_path(tmp_path):
    source = write_table(tmp_path / "table")
    by_name, by_path = load(source, OPTIONS), load(source.removeprefix("csv:"), OPTIONS)
    assert by_name.fingerprint == by_path.fingerprint
    assert (by_name.name, by_name.class_names) == ("labels", ("a", "b", "c", "d"))
    assert "labels from label, images from path" in by_name.notes


@pytest.mark.parametrize(
    ("header", "cell"), [("file,class", "x"), ("Image_Path,Target", "x"), ("img,whatever", "x"), ("abc,labels", "x")]
)
def test_columns_are_found_by_their_usual_names_and_by_what_they_hold(images, header, cell):
    assert parts(table(images, header, [cell, "y"])).class_names == ("x", "y")


def test_columns_can_be_named_and_the_others_are_told(images):
    source = table(images, "path,label,kind,extra", ["n,x,1", "n,y,2"])
    found = parts(source, label_columns=("KIND",))
    assert found.class_names == ("x", "y")
    assert found.notes[0] == "labels from kind, images from path; ignored label, extra"
    for options, message in (
        ({"label_columns": ("no",)}, r"^--label-column no: .*t.csv has no such column; has path, label, kind, extra$"),
        ({"image_column": "no"}, r"^--image-column no: "),
        ({"split_column": "no"}, r"^--split-column no: "),
        ({"group_column": "no"}, r"^--group-column no: "),
    ):
        with pytest.raises(UsageError, match=message):
            parts(source, **options)


def test_what_is_not_known_is_asked(images):
    with pytest.raises(DataError, match=r"t.csv: which column has the labels\? It has path, a, b; name it with --lab"):
        parts(table(images, "path,a,b", ["1,2"]))
    (images / "u.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"u.csv: which column has the paths of the images\? It has a, b; name it with"):
        parts(str(images / "u.csv"))


@pytest.mark.parametrize(
    ("rows", "task", "names"),
    [
        (["0", "1", "2"], "multiclass", ("0", "1", "2")),
        (["7", "9"], "binary", ("7", "9")),
        (["01", "02"], "binary", ("01", "02")),
        (["0.5", "1.25", "-3e-2"], "regression", ("target",)),
        (["red;round", "red", "round"], "multilabel", ("red", "round")),
        (["red;round", ""], "multilabel", ("red", "round")),
    ],
)
def test_labels_say_what_the_task_is(images, rows, task, names):
    found = parts(table(images, "path,label", rows))
    assert (found.task, found.class_names) == (task, names)


def test_tags_are_rows_of_0_and_1(images):
    found = parts(table(images, "path,tags", ["b; a", "", "c"]))
    assert found.class_names == ("a", "b", "c")
    assert found.parts["train"].y[:3].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_column_a_tag_and_a_column_a_target(images):
    source = table(images, "path,sunny,warm", ["true,0", "false,1", "1,1"])
    found = parts(source, label_columns=("sunny", "warm"))
    assert (found.task, found.class_names) == ("multilabel", ("sunny", "warm"))
    assert found.parts["train"].y[:3].tolist() == [[1, 0], [0, 1], [1, 1]]
    found = parts(table(images, "path,x,y", ["0.5,1.5", "2,3"]), label_columns=("x", "y"))
    assert (found.task, found.class_names) == ("regression", ("x", "y"))


def test_text_where_a_number_is_needed_is_told_with_its_row(images):
    with pytest.raises(DataError, match=r"t.csv: row 3: y must be a number, got 'much'|t.csv: row 3: y must be a numb"):
        parts(table(images, "path,x,y", ["0.5,1.5", "2,much"]), label_columns=("x", "y"))
    with pytest.raises(DataError, match=r"t.csv: row 2: label must be a number, got cat"):
        parts(table(images, "path,label", ["cat"]), task="regression")


def test_a_column_says_the_part(images):
    found = parts(table(images, "path,label,split", ["x,Train", "y,training", "x,valid", "y,dev", "x,test", "y,test"]))
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 8, "val": 8, "test": 8}
    assert (found.parts["val"].x[0] == pixels(5, 4, 3, seed=2)).all()
    with pytest.raises(DataError, match=r"t.csv: row 3: split must be one of train, val, test, got other$"):
        parts(table(images, "path,label,split", ["x,train", "y,other"]))
    with pytest.raises(DataError, match=r"t.csv: split: no row is train$"):
        parts(table(images, "path,label,split", ["x,test"]))


@pytest.mark.parametrize(("delimiter", "name"), [(";", "t.csv"), ("\t", "t.tsv"), ("|", "t.csv")])
def test_any_delimiter_quotes_and_a_mark_at_the_beginning(images, delimiter, name):
    lines = [f"path{delimiter}label", *(f'"{chr(97 + i)}.png"{delimiter} "{"xy"[i % 2]}"' for i in range(24)), ""]
    (images / name).write_text("\n".join(lines).replace(' "', '"'), encoding="utf-8-sig")
    assert parts(str(images / name)).class_names == ("x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first row must name the columns, two at least; it holds nothing$"),
        ("path\na.png", r"the first row must name the columns, two at least; it holds path$"),
        ("path,label,label\n", r"has the column label twice$"),
        ("path,label\n", r"has no rows below its names$"),
        ("path,label\na.png\n", r"line 2: has 1 cells, not 2$"),
        ("path,label\na.png,x\nb.png,\n", r"row 3: label is empty; every image needs a label$"),
        ("path,label\n,x\n", r"row 2: path is empty; it must name an image$"),
        ("path,label\nno.png,x\nb.png,y\n", r"no.png: no such file; repair or delete it, or skip such images with"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(images, text, message):
    (images / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        parts(str(images / "bad.csv"))
    assert ("bad.csv" in str(raised.value) and "\n" not in str(raised.value)) or "no.png" in str(raised.value)


def test_other_text_than_utf_8(images):
    with pytest.raises(DataError, match=r"t.csv: is no UTF-8 text; save it as UTF-8$"):
        parts(table(images, "path,label", ["d\xe9j\xe0", "x"], encoding="latin-1"))


def test_missing_and_broken_images_may_be_skipped(images):
    (images / "c.png").write_bytes(b"no image")
    (images / "d.png").unlink()
    found = load_parts(table(images, "path,label", ["x", "y"]), SKIP)
    assert len(found.parts["train"]) == 22
    assert found.parts["train"].y.reshape(-1)[:4].tolist() == [0, 1, 0, 1]
    assert any(note.startswith("skipped broken images: 2") for note in found.notes)


def test_paths_of_windows_and_whole_paths(images):
    (images / "sub").mkdir()
    for index in range(24):
        (images / f"{chr(97 + index)}.png").rename(images / "sub" / f"{chr(97 + index)}.png")
    rows = [f"sub\\{chr(97 + i)}.png,{'xy'[i % 2]}" for i in range(12)]
    rows += [f"{images / 'sub' / chr(97 + i)}.png,{'xy'[i % 2]}" for i in range(12, 24)]
    (images / "t.csv").write_text("\n".join(["path,label", *rows]))
    assert len(parts(str(images / "t.csv")).parts["train"]) == 24


def test_groups_stay_on_one_side(images):
    source = table(images, "path,label,group", ["x,one", "y,one", "x,two", "y,two", "x,three", "y,three", "x,4", "y,4"])
    dataset = load(source, OPTIONS)
    groups = [set(part.groups) for part in (dataset.train, dataset.val, dataset.test)]
    assert all(groups) and not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert any("groups together" in note for note in dataset.notes)


def test_parquet_is_a_table_too(images):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = {"path": [f"{chr(97 + i)}.png" for i in range(24)], "label": [i % 3 for i in range(24)]}
    parquet.write_table(pyarrow.table(rows), images / "t.parquet")
    text = table(images, "path,label", ["0", "1", "2"])
    found, expected = parts(str(images / "t.parquet")), parts(text)
    np.testing.assert_array_equal(found.parts["train"].x, expected.parts["train"].x)
    np.testing.assert_array_equal(found.parts["train"].y, expected.parts["train"].y)
    (images / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"bad.parquet: is no readable Parquet file"):
        parts(str(images / "bad.parquet"))
