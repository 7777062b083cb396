"""The card beside an export: complete, deterministic, honest about limits, and a user's text stays text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from finished_runs import add_trials, add_winner, begun_run, finished_run, hostile_names

from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.report import model_card, page, sheets
from cnn_tuner.report.model_card import FormatRow
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.records import AS_SEARCHED, CUT_SHORT, Baseline


def formats(run) -> list[FormatRow]:
    test = dict(run.winner().test)
    return [
        FormatRow("tf_saved_model", "", 2000, test, 1e-07, {1: 0.4567, 64: 1.5}),
        FormatRow("litert_int8", "model_int8.tflite", 987_654, dict.fromkeys(test), 0.0321, {1: 0.01, 64: 0.2}),
    ]


def card(run) -> str:
    return model_card.text(run, run.winner(), "toy/1", formats(run))


@pytest.mark.parametrize("task", TASKS)
def test_a_card_tells_everything(tmp_path, task):
    run = finished_run(tmp_path, task)
    told = card(run)
    assert re.findall(r"^#+ (.*)$", told, re.MULTILINE) == [
        "Model card: toy, from toy",
        "Model details",
        "Intended use",
        "Data",
        "How it was found",
        "Metrics",
        "Formats",
        "Limits",
        "How to load and serve it",
    ]
    assert "(largest difference 1e-07)" in told
    assert run.config.data.fingerprint in told
    assert "95 % interval of" in told
    assert 'tf.saved_model.load("export/toy/1")' in told
    assert f"It is the best of 12 trials by {run.config.search.objective}" in told
    assert "/Users/" not in told and "/srv/" not in told and str(tmp_path) not in told
    assert "npz:…/arrays.npz --runs …/runs" in told
    assert "A path is cut to its last name." in told
    assert told == card(run)


@pytest.mark.parametrize(
    ("why", "what"),
    [
        ("done", ", until its learning rate had ended;"),
        (CUT_SHORT, "; its training was cut short, before its learning rate had ended"),
        (AS_SEARCHED, " by the search, and not until its learning rate had ended"),
    ],
)
def test_a_card_says_whether_the_winner_was_trained_to_the_end(tmp_path, why, what):
    run = finished_run(tmp_path, "multiclass")
    run.set_winner(replace(run.winner(), refit=why, epochs=7, passes=5.5))
    assert f"The winner was trained for 7 epochs, 5.5 passes over the training images{what}" in card(run)


@pytest.mark.parametrize("task", TASKS)
def test_a_users_text_is_text(tmp_path, task):
    told = card(finished_run(tmp_path, task, names=hostile_names(task)))
    assert "<script>" not in told
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in told
    for table in re.findall(r"(?:^\|.*\n)+", told, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("val_accuracy", "val_accuracy"),
        ("_a_", r"\_a\_"),
        ("a|b `c`\nd", r"a\|b \`c\` d"),
        ("<b>&[x](y)*", r"&lt;b&gt;&amp;\[x\](y)\*"),
        ('größe "eins"', 'größe "eins"'),
    ],
)
def test_markdown_shows_text_as_it_is(text, shown):
    assert model_card.plain(text) == shown


def test_a_fence_is_longer_than_any_inside():
    assert model_card.code("a ``` b", "sh") == "````sh\na ``` b\n````"


def test_classes_that_little_is_known_of_are_named(tmp_path):
    told = card(finished_run(tmp_path))
    assert re.search(r"^- It does worst on \w+: recall 0\.\d{4} \(95 % interval 0\.\d{3} to \d\.\d{3}\)\.$", told, re.M)
    assert (
        "- The test part tells little of: one (10 images), three (10 images), two (10 images), zero (10 images)."
        in told
    )


def test_each_format_is_told_with_its_size_speed_and_difference(tmp_path):
    told = card(finished_run(tmp_path))
    assert "| format | file | size | accuracy on the test part | largest difference | ms for 1 | ms for 64 |" in told
    assert re.search(r"\| tf_saved_model \| the folder \| 2 kB \| 0\.\d{4} \| 1e-07 \| 0\.457 \| 1\.5 \|", told)
    assert r"| litert_int8 | model_int8.tflite | 988 kB | - | 0.03 | 0.01 | 0.2 |" in told.replace("\\_", "_")


def test_each_format_is_loaded_by_its_own_lines(tmp_path):
    run = finished_run(tmp_path)
    told = card(run)
    assert 'Interpreter("export/toy/1/model_int8.tflite")' in told
    assert "take pixels too, and give a probability for each class, in the order of `assets/class_names.txt`" in told
    alone = model_card.text(run, run.winner(), "toy/1", formats(run)[:1])
    assert "The other formats" not in alone


def test_without_times_a_format_has_none(tmp_path):
    run = finished_run(tmp_path)
    untimed = [replace(each, latency={}) for each in formats(run)]
    told = model_card.text(run, run.winner(), "toy/1", untimed)
    assert "ms for" not in told
    assert "Differences are of scores, to the model's." in told


def test_a_second_look_is_told(tmp_path):
    run = begun_run(tmp_path)
    add_trials(run, 3)
    winner = replace(add_winner(run), looks=2)
    run.set_winner(winner)
    told = card(run)
    assert "looked at 2 times, so that its score is a little too good" in told


def test_without_answers_classes_are_not_told(tmp_path):
    run = begun_run(tmp_path)
    add_trials(run, 3)
    add_winner(run, has_evaluation=False)
    assert "Each class by itself: not kept." in card(run)


def test_a_class_without_test_images_has_no_recall(tmp_path):
    run = finished_run(tmp_path)
    found = evaluation.load(run.evaluation)
    evaluation.save(replace(found, y=np_where_not(found.y, 3)), run.evaluation)
    told = card(run)
    assert "| three | 0 | 0.000 | - | - | 0.000 |" in told
    assert "three (0 images)" in told


def np_where_not(y, label):
    y = y.copy()
    y[y == label] = 0
    return y


def test_the_card_is_written_into_the_folder_of_the_export(tmp_path):
    run = finished_run(tmp_path)
    folder = run.latest_export()
    model_card.write(run, folder, "toy/1", formats(run))
    first = (folder / "model_card.md").read_bytes()
    model_card.write(run, folder, "toy/1", formats(run))
    assert (folder / "model_card.md").read_bytes() == first
    assert b"SavedModel 2 kB" in first
    assert sheets.export_bytes(folder) == 2000  # of the SavedModel alone


def test_simple_models_stand_beside_the_winner_in_card_and_report(tmp_path):
    run = finished_run(tmp_path)
    assert sheets.baselines_sheet(run.winner()) is None
    run.set_winner(replace(run.winner(), baselines=(Baseline("RBF SVM", 1234, {}, {"accuracy": 0.8765}, 0.5),)))
    found = sheets.baselines_sheet(run.winner())
    assert found.columns == ("model", "fitted on images", "accuracy")
    assert found.rows[0] == ("RBF SVM", "1,234", "0.8765")
    assert found.rows[1][:2] == ("this network", "all")
    assert "| RBF SVM | 1,234 | 0.8765 |" in card(run)
    assert "RBF SVM" in page.render(page.gather(run))
