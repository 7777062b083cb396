"""`cnn-tuner data` and `cnn-tuner cache`, as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from data_helpers import pixels, write_folder
from PIL import Image


@pytest.fixture
def zoo(tmp_path):
    """Three classes, one image of which is there as another class too."""
    root = Path(write_folder(tmp_path / "zoo"))
    Image.open(root / "cat" / "003.png").save(root / "dog" / "099.png")
    return root


def test_data_tells_what_is_wrong(cnn_tuner, zoo):
    code, out, err = cnn_tuner("data", zoo)
    assert (code, err) == (0, "")
    assert out.startswith("zoo: 61 train images of 9x9x3, 3 classes (multiclass)\n")
    assert re.search(r"^dog +21$", out, re.MULTILINE)
    one, two = zoo / "cat" / "003.png", zoo / "dog" / "099.png"
    assert f"labels     1 equal images with different labels: {one} = {two}\n" in out
    assert "baselines  accuracy on the test part: constant " in out
    assert out.endswith("next       --page data.html shows all of it as pictures\n")


def test_data_for_machines(cnn_tuner, zoo):
    code, out, _ = cnn_tuner("data", zoo, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["counts"] == {"train": [20, 21, 20]}
    [[one, two]] = found["contradictions"]
    assert (one["part"], Path(one["file"]).name, Path(two["file"]).name) == ("train", "003.png", "099.png")
    assert set(found["baselines"]) == {"constant", "logistic regression", "RBF SVM"}


def test_the_page_has_pictures_and_fetches_nothing(cnn_tuner, zoo, tmp_path):
    page = tmp_path / "data.html"
    code, out, _ = cnn_tuner("data", zoo, "--page", page, "--augment", "seven_steps")
    text = page.read_text(encoding="utf-8")
    assert code == 0 and out.endswith(f"page       {page}\n")
    assert "Equal images with different labels: 1" in text and "What training sees" in text
    assert text.count("data:image/png;base64,") > 40
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_names_that_try_to_be_markup_stay_text(cnn_tuner, tmp_path):
    for number, name in enumerate(("<script>alert(1)<", "b[red]c")):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(pixels(9, 9, 3, seed=10 * number + index)).save(tmp_path / "zoo" / name / f"{index}.png")
    code, out, _ = cnn_tuner("data", tmp_path / "zoo", "--page", tmp_path / "data.html")
    assert code == 0 and "b[red]c" in out
    assert "<script>alert" not in (tmp_path / "data.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--augment", "deep"], r"--augment: is for pictures; name their page with --page data.html"),
        (["--page", "no/such/data.html"], r"--page no/such/data.html: cannot be written \(.*\)"),
        (["--image-size", "8"], r"--image-size: .*"),
    ],
)
def test_what_data_refuses(cnn_tuner, zoo, arguments, message, monkeypatch):
    monkeypatch.chdir(zoo)
    code, _, err = cnn_tuner("data", zoo, *arguments)
    assert code == 2 and re.fullmatch(f"error: {message}\n", err)


def test_the_cache_is_shown_and_cleared(cnn_tuner, zoo, tmp_path):
    kept = tmp_path / "kept"
    assert cnn_tuner("data", zoo, "--cache", kept, "--json")[0] == 0
    _, out, _ = cnn_tuner("cache", "--cache", kept, "--cache-limit", "3GB")
    [entry] = re.findall(rf"^([0-9a-f]{{24}}) +0 MB  \d{{4}}-\d\d-\d\d \d\d:\d\d  {zoo}$", out, re.MULTILINE)
    assert out.endswith(f"{kept}: 0 MB of at most 3.0 GB\n")
    found = json.loads(cnn_tuner("cache", "--cache", kept, "--json")[1])
    assert [each["key"] for each in found["entries"]] == [entry] and found["bytes"] > 60 * 9 * 9 * 3
    code, _, err = cnn_tuner("cache", "--cache", kept, "--remove", "x")
    assert code == 2 and err.endswith("has no such entry: 'x'; cnn-tuner cache shows what is there\n")
    _, out, _ = cnn_tuner("cache", "--cache", kept, "--remove", entry)
    assert out == f"removed 1; {kept}: 0 MB of at most 50.0 GB\n"
    assert json.loads(cnn_tuner("cache", "--cache", kept, "--clear", "--json")[1])["entries"] == []


def test_no_cache(cnn_tuner, zoo, tmp_path):
    assert cnn_tuner("data", zoo, "--cache", tmp_path / "kept", "--cache-limit", "0", "--json")[0] == 0
    assert not (tmp_path / "kept").exists()
    code, _, err = cnn_tuner("cache", "--cache-limit", "0")
    assert code == 2 and err == "error: --cache-limit: is 0, so that there is no cache\n"
