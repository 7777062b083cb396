"""An export alone: images from anywhere, answers in every form, and what it is worth on any data."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import types
from pathlib import Path

import exports
import numpy as np
import pytest
from later import later
from PIL import Image
from rich.console import Console
from toys import NAMES, toy_part

from cnn_tuner import cli, server
from cnn_tuner.commands import output
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.pictures import read_image
from cnn_tuner.errors import DataError, UsageError
from cnn_tuner.export import served as served_module
from cnn_tuner.export.served import Served
from cnn_tuner.predict import answers, evaluating, inputs
from cnn_tuner.terminal.reporters import Reporter

IMAGES = exports.images(6)


@pytest.fixture(scope="module")
def export() -> Path:
    return exports.kept()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "b").mkdir()
    for place, name in enumerate(("z.png", "a.PNG", "b/c.png", "b/a.bmp")):
        Image.fromarray(IMAGES[place, :, :, 0]).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no")
    (folder / "out.png").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    return folder


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch):
    tasks = {exports.kept(task): task for task in NAMES}

    def of_commands(folder: Path) -> Served:
        return exports.served(tasks[folder]) if folder in tasks else Served(folder)

    for module in (served_module, evaluating):
        monkeypatch.setattr(module, "Served", of_commands)


@pytest.fixture
def stdin(monkeypatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))

    return give


def test_folders_are_searched_in_the_order_of_names(pictures):
    found = inputs.sources([str(pictures)], io.BytesIO())
    names = [str(Path(source.name).relative_to(pictures)) for source in found]
    assert names == ["a.PNG", "b/a.bmp", "b/c.png", "z.png"]


def test_a_folder_without_images_is_told(tmp_path):
    with pytest.raises(DataError, match=r"holds no images \(\.png, \.jpg"):
        list(inputs.sources([str(tmp_path)], io.BytesIO()))


def test_images_are_predicted_in_batches(export, pictures, monkeypatch):
    monkeypatch.setattr(inputs, "BATCH", 2)
    served, sizes = exports.served(), []
    whole = served.predict
    monkeypatch.setattr(
        served, "predict", lambda images, *others: (sizes.append(len(images)), whole(images, *others))[1]
    )
    words = [str(pictures / "z.png")] * 5
    found = inputs.predict(served, inputs.sources(words, io.BytesIO()))
    assert next(found)["image"] == words[0]
    assert sizes == [2]  # the others are not read yet
    assert len(list(found)) == 4
    assert sizes == [2, 2, 1]


def test_every_form_says_the_same(cnn_tuner, export, pictures):
    code, out, _ = cnn_tuner("predict", pictures, "--model", export, "--json")
    found = json.loads(out)
    assert (code, len(found)) == (0, 4)
    _, out, _ = cnn_tuner("predict", pictures, "--model", export, "--format", "csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert list(table[0]) == ["image", "class", "probability", *(f"probability of {n}" for n in NAMES["multiclass"])]
    for row, answer in zip(table, found, strict=True):
        assert (row["image"], row["class"]) == (answer["image"], answer["class"])
        assert float(row["probability of two"]) == pytest.approx(answer["probabilities"]["two"], abs=1e-6)
    _, out, _ = cnn_tuner("predict", pictures, "--model", export)
    assert [line.split()[:2] for line in out.splitlines()] == [[a["image"], a["class"]] for a in found]


@pytest.mark.parametrize("task", ["binary", later("multilabel"), "regression"])
def test_every_task_has_its_columns(task):
    served = exports.served(task)
    found = [{"image": "a", **answer} for answer in served.predict(IMAGES)]
    table = list(csv.reader(io.StringIO("".join(answers.comma_separated(found)))))
    first = {"binary": ["class", "probability"], "multilabel": ["labels"], "regression": []}[task]
    word = "value" if task == "regression" else "probability"
    assert table[0] == ["image", *first, *(f"{word} of {name}" for name in NAMES[task])]
    assert len(table) == 7
    assert len(list(answers.table(found))) == 6
    assert json.loads("".join(answers.json_list(found))) == found


def test_names_of_somebody_elses_export_move_no_cursor(capsys):
    hostile = "a\x1b[2J\r\n\u202eb"
    answer = {"image": "x\x1b.png", "class": hostile, "probability": 0.75, "probabilities": {hostile: 0.75, "ä": 0.25}}
    escaped = r"a\x1b[2J\r\n\u202eb"
    assert "".join(answers.table([answer])) == f"x\\x1b.png  {escaped} 75.0%  (then ä 25.0%)\n"
    output.say(hostile)
    Reporter(Console(file=sys.stdout)).line(hostile)
    assert cli._fail(UsageError(hostile), 2, as_json=False) == 2
    out, err = capsys.readouterr()
    assert out == f"{escaped}\n" * 2
    assert err == "error: a\\x1b[2J \\u202eb\n"


def test_numbers_are_the_shortest_decimals_that_mean_them(export):
    served = exports.served()
    for answer, scores in zip(served.predict(IMAGES), served.scores(IMAGES), strict=True):
        told = list(answer["probabilities"].values())
        np.testing.assert_array_equal(np.array(told, np.float32), scores)
        assert [str(number) for number in told] == [str(float(str(score))) for score in scores]
        assert max(len(str(number)) for number in told) <= 14, "not 0.10000000149011612"


def test_no_answers_are_an_empty_list():
    assert "".join(answers.json_list([])) == "[]\n"


def test_an_image_on_standard_input(cnn_tuner, export, pictures, stdin):
    stdin((pictures / "z.png").read_bytes())
    code, out, err = cnn_tuner("predict", "-", pictures / "z.png", "--model", export, "--json")
    first, second = json.loads(out)
    assert (code, first.pop("image"), second.pop("image")) == (0, "-", str(pictures / "z.png")), err
    assert first == second


def test_a_list_on_standard_input_and_in_a_file(cnn_tuner, export, pictures, stdin, tmp_path):
    names = f"{pictures / 'z.png'}\n\n{pictures / 'b'}\r\n"
    (tmp_path / "list").write_text(names)
    stdin(names.encode())
    _, by_stdin, _ = cnn_tuner("predict", "--files-from", "-", "--model", export, "--json")
    _, by_file, _ = cnn_tuner("predict", "--files-from", tmp_path / "list", "--model", export, "--json")
    assert by_stdin == by_file
    assert [Path(answer["image"]).name for answer in json.loads(by_file)] == ["z.png", "a.bmp", "c.png"]


def test_a_broken_image_ends_it_or_is_skipped(cnn_tuner, export, pictures, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no")
    why = f"{tmp_path}/no.png: broken image: is none of PNG, JPEG, BMP, GIF, WEBP, TIFF"
    arguments = ("predict", tmp_path / "no.png", pictures / "z.png", "--model", export)
    code, out, err = cnn_tuner(*arguments, "--json")
    assert (code, err) == (3, f"error: {why}; skip such images with --skip-broken\n")
    assert json.loads(out)["exit_code"] == 3
    code, out, err = cnn_tuner(*arguments, "--json", "--skip-broken")
    assert (code, err, len(json.loads(out))) == (0, f"skipped: {why}\n", 1)
    code, _, err = cnn_tuner("predict", tmp_path, "--model", export, "--skip-broken")
    assert code == 3
    assert err.endswith("error: no image can be read: nothing to predict\n")


def test_a_bomb_is_refused(cnn_tuner, export, tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    code, _, err = cnn_tuner("predict", tmp_path / "bomb.png", "--model", export)
    assert code == 3
    assert "bomb.png: image too large: must have at most 100 megapixels, got " in err
    assert err.count("\n") == 1


def test_a_file_appears_when_it_is_complete(cnn_tuner, export, pictures, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no")
    output = tmp_path / "out.csv"
    arguments = ("predict", pictures / "z.png", "--model", export, "--format", "csv", "--output", output)
    code, _, _ = cnn_tuner(*arguments, tmp_path / "no.png")
    assert code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no.png"]
    code, out, _ = cnn_tuner(*arguments)
    assert (code, out) == (0, "")
    assert len(output.read_text().splitlines()) == 2


REFUSED = {
    "nothing": (
        "predict --model EXPORT",
        2,
        "predict: which images? name files or folders, - for one on stdin, or a list by",
    ),
    "twice": ("predict - - --model EXPORT", 2, "-: standard input can be read once only: it is one image, or the list"),
    "both": ("predict - --files-from - --model EXPORT", 2, "-: standard input can be read once only"),
    "format": ("predict x --format xml --model EXPORT", 2, "--format: unknown: 'xml'; choices: table, csv, json"),
    "formats": ("predict x --format csv --json --model EXPORT", 2, "--json and --format csv: name one of them"),
    "output": ("predict x --output none/x --model EXPORT", 2, "none: no such folder"),
    "no list": ("predict --files-from none --model EXPORT", 3, "none: no such file or folder"),
    "no image": ("predict none.png --model EXPORT", 3, "none.png: no such file or folder"),
    "no export": ("predict x --model digits/2", 2, "no SavedModel here; name the folder that holds"),
    "no data": (
        "evaluate EXPORT",
        2,
        "1: an export is without its data; name some with --data, such as --data photos/",
    ),
    "no served": ("serve digits/2", 2, "digits/2: no SavedModel here; name the folder that holds"),
    "no run": ("evaluate digits", 2, "runs/digits: no such run; choices: none yet"),
    "no folder": ("verify digits/2", 2, "digits/2: no such folder"),
    "no images": ("serve EXPORT --max-images 0", 2, "--max-images: must be a whole number >= 1, got 0"),
    "no body": ("serve EXPORT --max-body 0", 2, "--max-body: must be a whole number >= 1, got 0"),
    "wait": ("serve EXPORT --wait-ms -1", 2, "--wait-ms: must be 0..1000 milliseconds, got -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_told_in_one_line(cnn_tuner, export, tmp_path, monkeypatch, stdin, case):
    monkeypatch.chdir(tmp_path)
    stdin(b"")
    command, exit_code, text = REFUSED[case]
    code, _, err = cnn_tuner(*(export if word == "EXPORT" else word for word in command.split()))
    assert (code, err.count("\n")) == (exit_code, 1), err
    assert text in err


@pytest.mark.parametrize("flags", [["--all-parts"], ["--seed", "1"], ["--test-fraction", "0.5"], ["--skip-broken"]])
def test_what_is_for_other_data_is_refused_without_it(cnn_tuner, flags):
    code, _, err = cnn_tuner("evaluate", "run", *flags)
    assert code == 2
    assert err == f"error: {flags[0]}: goes with --data; a run's own data has its test part already\n"


def test_empty_and_endless_standard_input(cnn_tuner, export, stdin, monkeypatch):
    stdin(b"")
    _, _, err = cnn_tuner("predict", "-", "--model", export)
    assert err == "error: -: standard input is empty; it must hold the bytes of one image\n"
    monkeypatch.setattr(inputs, "MAX_BYTES", 3)
    stdin(b"1234")
    assert "-: standard input must hold one image of at most" in cnn_tuner("predict", "-", "--model", export)[2]


def test_serving_without_its_packages_says_what_to_install(cnn_tuner, export, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "cnn_tuner.server.listening", raising=False)
    monkeypatch.delattr(server, "listening", raising=False)  # what an earlier import has left
    code, _, err = cnn_tuner("serve", export)
    assert (code, err) == (2, "error: serve: needs uvicorn; install it with: pip install 'cnn-tuner[serve]'\n")


def image_folder(folder: Path, names=NAMES["multiclass"], count: int = 5) -> Path:
    part = toy_part("multiclass", 4 * count, 0)
    for place, (image, label) in enumerate(zip(part.x, part.y, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).resize((11, 9)).save(folder / names[label] / f"{place}.png")
    return folder


def digits_export(folder: Path, names: tuple[str, ...] = tuple("0123456789")) -> Path:
    """An untrained export with as many classes as there are digits, in their order."""
    from cnn_tuner.export.formats import saved_model
    from cnn_tuner.export.formats.registry import Source
    from cnn_tuner.metrics.tasks import Output
    from cnn_tuner.models import builder
    from cnn_tuner.spaces import architecture

    live = builder.build(architecture.build(exports.POINT, (8, 8, 1), Output("multiclass", 10)), seed=0)
    nothing = np.zeros((0, 8, 8, 1), np.uint8)
    saved_model.write(Source(live, "multiclass", names, nothing, folder / "unused.keras"), folder)
    return folder


def test_an_export_is_evaluated_on_any_data(cnn_tuner, tmp_path):
    export = digits_export(tmp_path / "1")
    code, out, err = cnn_tuner("evaluate", export, "--data", "digits", "--json")
    found = json.loads(out)
    assert (code, found["parts"], found["data"]) == (0, ["test"], "digits"), err
    assert [row["class"] for row in found["classes"]] == list("0123456789")
    _, out, _ = cnn_tuner("evaluate", export, "--data", "digits", "--all-parts")
    assert "on 1,797 images\n" in out


def test_hostile_names_are_escaped_in_the_table_of_classes(cnn_tuner, tmp_path):
    names = ("\x1b[2J[red]", *"123456789")
    rng = np.random.default_rng(0)
    parts = {f"x_{part}": rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8) for part in ("train", "val", "test")}
    labels = {f"y_{part}": np.arange(40) % 10 for part in ("train", "val", "test")}
    np.savez(tmp_path / "hostile.npz", class_names=np.array(names), **parts, **labels)
    export = digits_export(tmp_path / "1", names)
    code, out, err = cnn_tuner("evaluate", export, "--data", f"npz:{tmp_path / 'hostile.npz'}")
    assert (code, err) == (0, "")
    assert r"\x1b[2J[red]  " in out


def test_all_parts_are_all_images(tmp_path):
    export = digits_export(tmp_path / "1")
    from cnn_tuner.data import registry

    dataset = registry.load("digits", DataOptions(task="multiclass"))
    x = np.concatenate([part.x for part in (dataset.train, dataset.val, dataset.test)])
    y = np.concatenate([part.y for part in (dataset.train, dataset.val, dataset.test)])
    found = evaluating.evaluate_export(export, "digits", DataOptions(), has_all_parts=True)
    assert found["images"] == 1797
    assert found["test"]["accuracy"] == pytest.approx((Served(export).scores(x).argmax(axis=1) == y).mean())


def accuracy_of(export: Path, folder: Path) -> float:
    """Of the images of a folder, by the names that an export gives them."""
    served, right, count = exports.served(), 0, 0
    for path in folder.rglob("*.png"):
        [answer] = served.predict(read_image(path, served.image_shape)[None])
        right, count = right + (answer["class"] == path.parent.name), count + 1
    return right / count


def test_image_files_are_made_of_the_exports_size_and_classes_are_known_by_their_names(tmp_path):
    """The toys' classes are in another order than folders are."""
    export, photos = exports.kept(), image_folder(tmp_path / "photos")
    found = evaluating.evaluate_export(export, str(photos), DataOptions(), has_all_parts=True)
    assert [row["class"] for row in found["classes"]] == list(NAMES["multiclass"])
    assert found["test"]["accuracy"] == pytest.approx(accuracy_of(export, photos))


def test_one_image_of_one_class_is_enough(cnn_tuner, tmp_path):
    export, photos = exports.kept(), image_folder(tmp_path / "photos")
    for path in photos.rglob("*.png"):
        if path != min((photos / "two").iterdir()):
            path.unlink()
    for folder in [path for path in photos.iterdir() if path.name != "two"]:
        folder.rmdir()
    code, out, err = cnn_tuner("evaluate", export, "--data", photos, "--all-parts", "--json")
    found = json.loads(out)
    assert (code, err, found["images"]) == (0, "", 1)
    assert [row["class"] for row in found["classes"] if row["images"]] == ["two"]
    assert [row["recall"] for row in found["classes"] if not row["images"]] == [None] * 3
    assert found["test"]["accuracy"] == accuracy_of(export, photos)
    code, out, _ = cnn_tuner("evaluate", export, "--data", photos, "--all-parts")
    assert code == 0
    assert re.search(r"^zero +\d\.\d{3} +- +- +0$", out, re.MULTILINE)
    code, _, err = cnn_tuner("evaluate", export, "--data", photos)
    assert code == 3
    assert err.endswith("; --all-parts evaluates every image, without a split\n")


def test_a_class_that_the_model_does_not_know_is_refused(tmp_path):
    export, photos = exports.kept(), image_folder(tmp_path / "photos")
    (photos / "one").rename(photos / "ones")
    with pytest.raises(DataError, match=r"ones: labels out of range: the model knows no such class; it knows zero, "):
        evaluating.evaluate_export(export, str(photos), DataOptions(), has_all_parts=True)
    part = toy_part("multiclass", 8, 0)
    np.savez(tmp_path / "x.npz", x_train=part.x, y_train=part.y, class_names=np.array(["zero", "one", "2", "three"]))
    with pytest.raises(DataError, match=r"has the classes zero, one, 2, three, but the model knows zero, one, two, th"):
        evaluating.evaluate_export(export, f"npz:{tmp_path / 'x.npz'}", DataOptions(), has_all_parts=True)


@pytest.mark.parametrize("names", [None, ("three", "two", "one", "zero")])
def test_numbers_of_classes_mean_what_the_data_call_them(tmp_path, names):
    export, part = exports.kept(), toy_part("multiclass", 20, 0)
    arrays = {} if names is None else {"class_names": np.array(names)}
    y = part.y if names is None else 3 - part.y
    np.savez(tmp_path / "x.npz", x_train=part.x, y_train=y, **arrays)
    found = evaluating.evaluate_export(export, f"npz:{tmp_path / 'x.npz'}", DataOptions(), has_all_parts=True)
    assert found["test"]["accuracy"] == pytest.approx((exports.served().scores(part.x).argmax(axis=1) == part.y).mean())


def test_a_test_part_of_one_class_has_no_auc_and_no_nan(cnn_tuner, tmp_path):
    export, part = exports.kept("binary"), toy_part("binary", 20, 0)
    np.savez(tmp_path / "x.npz", x_train=part.x, y_train=part.y, x_test=part.x[:5], y_test=np.ones_like(part.y[:5]))
    code, out, _ = cnn_tuner("evaluate", export, "--data", f"npz:{tmp_path / 'x.npz'}", "--json")
    found = json.loads(out, parse_constant=lambda text: pytest.fail(text))
    assert code == 0
    assert set(found["test"]) == set(found["intervals"]) == {"accuracy"}


def test_images_of_another_shape_are_refused(tmp_path):
    export = exports.kept()
    part = toy_part("multiclass", 40, 0)
    np.savez(tmp_path / "x.npz", x_train=np.repeat(part.x, 2, axis=1), y_train=part.y)
    with pytest.raises(DataError, match=r"x.npz: has images of 16x8x1, but .*1 takes 8x8x1$"):
        evaluating.evaluate_export(export, f"npz:{tmp_path / 'x.npz'}", DataOptions())


def decided(served, threshold):
    return [answer.get("class", answer.get("labels")) for answer in served.predict(IMAGES, threshold)]


def test_thresholds_decide_where_there_are_two_classes_or_labels():
    served = exports.served("binary")
    first, second = served.class_names
    usual = served.predict(IMAGES)
    assert decided(served, (0.5,)) == [answer["class"] for answer in usual]
    assert decided(served, (0.0,)) == [second] * 6 and decided(served, (1.0,)) == [first] * 6
    for answer in served.predict(IMAGES, (1.0,)):
        assert answer["probability"] == pytest.approx(answer["probabilities"][first])
    served = exports.served("multilabel")
    names = served.class_names
    assert decided(served, (0.0,) * len(names)) == [list(names)] * 6
    assert decided(served, (0.0,) + (1.0,) * (len(names) - 1)) == [[names[0]]] * 6


def test_a_threshold_as_it_is_typed(cnn_tuner, export, pictures):
    binary = exports.kept("binary")
    code, out, _ = cnn_tuner("predict", pictures / "z.png", "--model", binary, "--threshold", "1")
    first, second = exports.served("binary").class_names
    assert code == 0 and f"  {first} " in out and f"(then {second} " in out
    for given, told in (
        ("val", f"{binary}: has no manifest.json: "),
        ("2", "--threshold: must be a number from 0 to 1, or val, got '2'"),
        ("x", "--threshold: must be a number from 0 to 1, or val, got 'x'"),
    ):
        code, _, err = cnn_tuner("predict", pictures / "z.png", "--model", binary, "--threshold", given)
        assert code in (2, 3) and err.startswith(f"error: {told}")
    code, _, err = cnn_tuner("predict", pictures / "z.png", "--model", export, "--threshold", "0.3")
    assert (
        code == 2
        and err == f"error: --threshold: is for two classes, or for labels; {export} is of a multiclass task\n"
    )
