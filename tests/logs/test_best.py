"""The best model's run in TensorBoard, from runs written by hand and networks that nobody trained."""

from __future__ import annotations

import finished_runs
import numpy as np
import pytest
from finished_runs import SCRIPT, UMLAUT, hostile_names
from logs.test_trials import read
from PIL import Image
from tensorboard.util.tensor_util import make_ndarray

from cnn_tuner.logs import best
from cnn_tuner.logs.rebuilding import logs_of
from cnn_tuner.logs.trials import BEST
from cnn_tuner.models import builder
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import architecture

STEPS = ("convolution", "padding", "relu", "max-pooling", "dropout", "flattening", "full-connection")
CLASSES = ("binary", "multiclass")


def written(run: RunStore):
    """What TensorBoard reads of the best model's run."""
    logs = logs_of(run, run.tensorboard)
    [job] = [job for job in run.jobs() if job.number == run.winner().job]
    best.write(run, logs, job)
    return read(logs)


def run_of(folder, task: str) -> RunStore:
    """A finished run whose `best.keras` is the winner's network, untrained."""
    run = finished_runs.finished_run(folder, task, names=hostile_names(task))
    [values] = [trial.values for trial in run.trials() if trial.number == run.winner().trial]
    plan = architecture.build(values, run.config.data.image_shape, run.config.output)
    builder.build(plan, 0).save(run.best_model)
    return run


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_the_best_model_is_shown_from_the_runs_folder_alone(tmp_path, task):
    run = run_of(tmp_path, task)
    events = written(run)
    tags = set(events.Runs()[BEST]["tensors"])
    for number, step in enumerate(STEPS, 1):
        is_there = any(tag.startswith(f"step-{number}-{step}/") for tag in tags)
        assert is_there or step == "max-pooling", step
    assert "filters/first convolution" in tags
    assert "test/surest mistakes" in tags
    assert ("test/confusion matrix" in tags) == (task in CLASSES)
    curves = {tag.split("/", 1)[1].removesuffix("/pr_curves") for tag in tags if tag.startswith("precision")}
    names = hostile_names(task)
    assert curves == {"binary": {UMLAUT}, "regression": set()}.get(task, set(names))
    assert events.Runs()[BEST]["graph"]
    width, height, content = make_ndarray(events.Tensors(BEST, "filters/first convolution")[0].tensor_proto)
    assert (int(width) > 100, int(height) > 10, content[:8]) == (True, True, b"\x89PNG\r\n\x1a\n")


def test_the_projector_has_a_point_and_a_line_for_each_picture(tmp_path):
    run = run_of(tmp_path, "multiclass")
    written(run)
    folder = run.tensorboard / BEST
    points = np.loadtxt(folder / "points.tsv", delimiter="\t", ndmin=2)
    lines = (folder / "points-metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "is\tsaid"
    assert len(lines) == len(points) + 1
    assert all(line.count("\t") == 1 for line in lines), "a label's own tab or new line would shift the columns"
    assert any(SCRIPT in line for line in lines)
    with Image.open(folder / "points.png") as sprite:
        side = sprite.width // best.SPRITE
        assert (sprite.width, (side - 1) ** 2 < len(points) <= side**2) == (sprite.height, True)
    assert "points.tsv" in (folder / "projector_config.pbtxt").read_text()


def test_points_of_many_dimensions_are_reduced_to_their_first_components():
    points = np.random.default_rng(0).normal(size=(70, 200))
    assert best._reduced(points).shape == (70, best.MOST_DIMENSIONS)
    np.testing.assert_array_equal(best._reduced(points[:, :30]), points[:, :30])
    assert best._reduced(points[:5]).shape == (5, 5), "no more components than points"


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_without_what_was_answered_there_are_curve_filters_and_graph(tmp_path, content):
    run = run_of(tmp_path, "multiclass")
    run.evaluation.unlink() if content is None else run.evaluation.write_bytes(content)
    events = written(run)
    tags = set(events.Runs()[BEST]["tensors"])
    assert {"filters/first convolution", "accuracy/validation"} <= tags
    assert not any(tag.startswith(("test/", "step-", "precision")) for tag in tags)
    assert events.Runs()[BEST]["graph"]


def test_a_run_without_its_model_has_its_curve(tmp_path):
    run = run_of(tmp_path, "multiclass")
    run.best_model.unlink()
    tags = set(written(run).Runs()[BEST]["tensors"])
    assert "accuracy/validation" in tags
    assert "filters/first convolution" not in tags


def test_a_confusion_matrix_is_drawn_darker_where_more_of_a_class_are():
    matrix = np.array([[9, 1], [0, 10]])
    picture = best.confusion_picture(matrix, ("a" * 99, UMLAUT))

    def shade(row: int, column: int) -> int:
        corner = best.MARGIN + 3 + best.CELL * np.array([row, column])
        return int(picture[corner[0], corner[1]].sum())

    assert shade(1, 1) < shade(0, 0) < shade(0, 1) < shade(1, 0) == 3 * 255


def test_a_text_is_cut_to_its_width():
    draw, font = best.ImageDraw.Draw(Image.new("RGB", (10, 10))), best.ImageFont.load_default(best.FONT)
    assert best._fitting("a\n b", draw, font, 100) == "a b"
    cut = best._fitting("a" * 99, draw, font, 60)
    assert cut.endswith("…")
    assert draw.textlength(cut, font) <= 60
