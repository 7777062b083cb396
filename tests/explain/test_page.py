"""The page of an explanation: one file, every number in it, text as text; and the command that writes it."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from explain.test_walkthrough import OUTPUTS, explained, point
from PIL import Image
from toys import TIGHT_SPACE, toy_config, toy_dataset, toy_run, toy_space

from cnn_tuner import cli
from cnn_tuner.errors import DataError, SpaceError, UsageError, VerificationError
from cnn_tuner.explain import lessons
from cnn_tuner.explain import page as explain_page
from cnn_tuner.explain.parts import Convolution, Subject
from cnn_tuner.explain.words import number
from cnn_tuner.models import builder
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.records import JobRecord, Trial, Winner
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import architecture, tree

SUBJECT = Subject("an image", "a network", True, "1")
EVIL = '<script>alert(1)</script> größe "eins"'
VALUES = point() | {"learning_rate": 0.01, "batch_size": 16}


class Reader(HTMLParser):
    """Tags with their attributes, texts, and whether every tag was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def written(values=None, subject=SUBJECT, **more):
    _, _, explanation = explained(values or point(dense=1), **more)
    return explanation, explain_page.render(explanation, subject)


def test_the_page_is_one_file_that_fetches_nothing():
    _, page = written()
    reader = Reader(page)
    assert reader.open == []
    for tag, attributes in reader.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
        assert tag not in ("script", "link", "iframe")
    assert "default-src 'none'" in page


def test_every_picture_has_a_text_and_every_link_its_place():
    _, page = written()
    tags = Reader(page).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in tags if tag == "a"} <= ids
    assert all("alt" in attributes for tag, attributes in tags if tag == "img")
    assert len(ids) == len([1 for _, attributes in tags if "id" in attributes])


def test_the_worked_example_and_the_numbers_of_this_image_are_there():
    explanation, page = written()
    text = " ".join(Reader(page).texts)
    assert "3 + 9 + 7 + 6 = 25" in text
    for view in explanation.views:
        assert all(sentence in text for sentence in view.sentences)
    for view in explanation.views:
        if isinstance(view.detail, Convolution):
            assert f">{number(view.detail.value)}<" in page
    for step in ("convolution", "padding", "ReLU", "max pooling", "dropout", "flattening", "full connection"):
        assert step in text


@pytest.mark.parametrize("task", OUTPUTS)
def test_every_task_has_a_page(task):
    explanation, page = written(output=OUTPUTS[task])
    assert explanation.answer.text in " ".join(Reader(page).texts)
    assert "has learned nothing" not in page


def test_texts_of_a_user_appear_as_text():
    subject = Subject(EVIL, EVIL, False, EVIL)
    explanation, page = written(subject=subject, names=(EVIL, "b", "c"))
    assert "<script>" not in page
    assert EVIL in " ".join(Reader(page).texts)
    assert "This network has learned nothing." in page
    assert explanation.answer.names[0] == EVIL


def test_a_step_that_the_network_has_not_is_explained_all_the_same():
    _, page = written(point(pool_size=1, dropout=0.0))
    text = " ".join(Reader(page).texts)
    assert "This block is without max pooling and without dropout." in text
    assert "What this network does without" in text
    assert text.count("This network has none.") == 2


def test_right_and_wrong_answers_are_told():
    explanation, _ = written()
    right = explanation.answer.names[explanation.answer.chosen[0]]
    assert "the answer is right" in explain_page.render(explanation, Subject("i", "n", True, right))
    assert "the answer is wrong" in explain_page.render(explanation, Subject("i", "n", True, "another"))
    assert "The label of this image" not in explain_page.render(explanation, Subject("i", "n", True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.png", "photo"),
        ("../../etc/passwd.png", "passwd"),
        ("..", "image"),
        ("größe eins.png", "größe-eins"),
        ("<b>.png", "b"),
        ("test image 12", "test-image-12"),
        ("a" * 300 + ".png", "a" * 80),
        ("", "image"),
    ],
)
def test_names_of_files_stay_in_their_folder(name, expected):
    assert lessons.stem(name) == expected


@pytest.fixture(scope="module")
def crowned(tmp_path_factory):
    """The folder of a run with a winner that nothing was trained for."""
    runs = tmp_path_factory.mktemp("explain") / "runs"
    store, dataset = RunStore.create(runs, "toy", toy_config()), toy_dataset()
    plan = architecture.build(VALUES, dataset.image_shape, store.config.output)
    built = builder.build(plan, 0, "float32")
    built.save(store.best_model)
    found = built.predict(dataset.test.x, verbose=0)
    evaluation.save(evaluation.evaluate(dataset.task, dataset.test, found), store.evaluation)
    job = JobRecord(1, 1, {"tuner/epochs": 3}, 0, 3, "float32")
    store.start_job(job, Trial(1, VALUES, 0, plan.params, plan.macs, "running", None, None))
    store.set_winner(Winner(1, 3, 3, 0.5, 0.5, 0.5, {"accuracy": 0.5}, 40, plan.params, plan.macs, 1.0))
    store.close()
    Image.fromarray(dataset.test.x[0, ..., 0]).save(runs.parent / "one.png")
    return runs


@pytest.fixture
def run(capsys, monkeypatch):
    """Exit code, stdout and stderr of a command, run in this process."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnn-tuner", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def test_a_runs_best_model_is_explained_with_an_image_of_its_test_part(crowned, run):
    code, out, err = run("explain", "--runs", crowned)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(r"test image (\d+): \w+ \(\d+\.\d %\), by toy, trial 1", first)
    [home] = (crowned / "toy" / "explain").iterdir()
    assert second == f"page      {home}/explain.html, with {len(list(home.glob('*.png')))} pictures in {home}"
    page = (home / "explain.html").read_text(encoding="utf-8")
    assert "The label of this image is" in page
    with Image.open(home / "step-1-convolution-block_1_conv_1.png") as picture:
        assert picture.width >= 400


def test_a_mistake_is_explained_in_the_order_of_the_report(crowned, run, tmp_path):
    kept = evaluation.load(crowned / "toy" / "evaluation.npz").mistakes
    arguments = ("--output", tmp_path / "page.html", "--runs", crowned, "--json")
    for each in (1, 2):
        code, out, _ = run("explain", "--mistake", each, *arguments)
        assert code == 0
        assert json.loads(out)["image"] == f"test image {kept[each - 1]}"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The label of this image is" in page
    code, _, err = run("explain", "--mistake", 99, *arguments)
    assert code == 2
    assert f"keeps {len(kept)} mistakes of its test part, 1 is the surest, got 99" in err


def test_an_image_file_is_read_as_predict_reads_it(crowned, run, tmp_path):
    page, pictures = tmp_path / "deep" / "page.html", tmp_path / "pictures"
    arguments = ("--output", page, "--png", pictures, "--runs", crowned, "--json")
    code, out, _ = run("explain", "toy", crowned.parent / "one.png", *arguments)
    found = json.loads(out)
    assert code == 0
    assert (found["image"], found["is_trained"], found["page"]) == ("one.png", True, str(page))
    assert sorted(found["pictures"]) == sorted(str(path) for path in pictures.iterdir())
    assert sum(found["values"].values()) == pytest.approx(1, abs=1e-5)
    alone = run("explain", crowned.parent / "one.png", "--output", page, "--runs", crowned, "--json")
    assert json.loads(alone[1]) == found | {"pictures": []}


def test_a_space_is_explained_without_a_run(run, tmp_path):
    code, out, err = run("explain", "--space", "tiny", "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert re.match(r"a handwritten digit: \d \(\d+\.\d %\), by an untrained network of the space tiny\n", out)
    page = (tmp_path / "lessons/tiny/a-handwritten-digit/explain.html").read_text(encoding="utf-8")
    assert "This network has learned nothing." in page


def test_a_lesson_is_the_same_each_time_and_takes_a_colour_image_as_it_is(tmp_path):
    file = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    first, second = (lessons.of_space(tree.load("seven_steps"), file) for _ in range(2))
    assert first.explanation.image.shape == (16, 32, 3)
    assert first.explanation.answer == second.explanation.answer
    assert {view.step for view in first.explanation.views} == {1, 2, 3, 4, 5, 6, 7}


REFUSED = {
    "run and space": (
        ["a", "--space", "tiny"],
        2,
        "--space: explains an untrained network, so it takes no RUN, got 'a'",
    ),
    "run, image, space": (
        ["a", "b.png", "--space", "tiny"],
        2,
        "--space: explains an untrained network, so it takes an IMAGE and no RUN",
    ),
    "unknown space": (["--space", "none"], 2, "--space: no such space or file: 'none'; choices: auto, deep, quick, "),
    "mistake of an image": (["toy", "{folder}/bad.png", "--mistake", "1"], 2, "--mistake: is one of a run's test part"),
    "mistake of a space": (["--space", "tiny", "--mistake", "1"], 2, "so it takes no IMAGE and no --space"),
    "no such mistake": (["toy", "--mistake", "0"], 2, "1 is the surest, got 0"),
    "unknown run": (["none"], 2, "runs/none: no such run; choices: toy"),
    "no image": (["gone.png"], 3, "gone.png: no such file or folder"),
    "broken image": (["toy", "{folder}/bad.png"], 3, "bad.png: broken image: is none of PNG, JPEG"),
    "page is a folder": (["--output", "{folder}"], 2, ": is a folder, must be a file"),
    "pictures are a file": (["--png", "{folder}/bad.png"], 2, "bad.png: is a file, must be a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_its_exit_code(crowned, run, tmp_path, case):
    (tmp_path / "bad.png").write_bytes(b"no image")
    arguments, exit_code, text = REFUSED[case]
    code, out, err = run("explain", *(a.format(folder=tmp_path) for a in arguments), "--runs", crowned)
    assert (code, out) == (exit_code, "")
    assert err.startswith("error: ")
    assert text in err
    assert err.count("\n") == 1


def test_a_run_without_a_winner_says_how_to_make_one(tmp_path):
    store = toy_run(tmp_path)
    with pytest.raises(UsageError, match="toy: has no best model yet; make one with cnn-tuner export toy"):
        lessons.of_run(store, None)


def test_a_run_that_keeps_no_images_or_a_damaged_model_says_so(crowned):
    store = RunStore.open(crowned / "toy")
    kept, model_bytes = store.evaluation.read_bytes(), store.best_model.read_bytes()
    try:
        store.evaluation.unlink()
        with pytest.raises(UsageError, match="toy: keeps no images of its test part; name an IMAGE"):
            lessons.of_run(store, None)
        store.evaluation.write_bytes(kept)
        store.best_model.write_bytes(b"no model")
        with pytest.raises(VerificationError, match=r"best\.keras: refused, .*: is no \.keras file that can be read"):
            lessons.of_run(store, None)
    finally:
        store.evaluation.write_bytes(kept)
        store.best_model.write_bytes(model_bytes)


def test_an_image_too_small_for_a_space_says_so(tmp_path):
    file = tmp_path / "dot.png"
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(file)
    with pytest.raises(SpaceError, match="toy: no feasible point for images of 1x1x1"):
        lessons.of_space(toy_space(TIGHT_SPACE), file)
    with pytest.raises(DataError, match="no such file"):
        lessons.of_space(tree.load("deep"), tmp_path / "none.png")
