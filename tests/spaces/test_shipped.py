"""The shipped search spaces: each is found, says what it is for, and can be searched."""

from pathlib import Path

import pytest
from later import later

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.runs.budget import parse_seconds
from cnn_tuner.spaces.architecture import feasible_share
from cnn_tuner.spaces.tree import load, shipped_folder, shipped_names

FOLDER = Path(__file__).parents[2] / "search_spaces"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
EACH = pytest.mark.parametrize("name", NAMES)


def test_the_package_finds_what_the_folder_holds():
    assert shipped_names() == NAMES == ["deep", "quick", "seven_steps", "tiny"]
    assert shipped_folder() == FOLDER


@EACH
def test_a_space_has_its_files_name_and_a_sentence_about_it(name):
    space = load(name)
    assert space.name == name
    assert space.description.endswith(".")


@EACH
def test_a_space_opens_with_its_purpose_and_its_command(name):
    purpose, command, *_ = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert purpose.startswith("# Purpose:  ") and purpose.endswith(".")
    assert command.startswith("# Command:  cnn-tuner tune ")
    assert f"--space {name}" in command


@EACH
@pytest.mark.parametrize("image_shape", [(8, 8, 1), later((28, 28, 1)), later((32, 32, 3))], ids=str)
def test_a_good_part_of_a_space_can_be_trained(name, image_shape):
    assert feasible_share(load(name), image_shape, Output("multiclass", 10)) >= 0.4


@EACH
def test_a_space_says_how_long_its_search_takes_and_has_points_for_it(name):
    space = load(name)
    assert parse_seconds("search.budget", space.defaults.budget) >= 120
    assert space.size().points > 1000


@pytest.mark.parametrize(
    "key", ["filters", "kernel_size", "strides", "padding", "pool_size", "pool_strides", "dropout"]
)
def test_the_seven_steps_are_all_searched_in_seven_steps(key):
    free = {parameter.name for parameter in load("seven_steps").parameters if not parameter.is_fixed}
    assert f"block_1.{key}" in free
    assert {"blocks", "dense_layers", "dense_1.units", "dense_1.dropout", "learning_rate", "batch_size"} <= free
