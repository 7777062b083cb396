"""A point as the recipe of its training."""

import pytest

from cnn_tuner.spaces import tree
from cnn_tuner.spaces.recipe import Augmentation, Recipe, recipe_of

TEXT = """
description: x
block: {filters: 2}
training:
  optimizer: sgd
  learning_rate: 0.1
  schedule: cosine
  warmup: 0.2
  weight_decay: 0.01
  label_smoothing: 0.3
  batch_size: 7
augmentation: {flip: both, shift: 0.1, rotate: 20, zoom: 0.3, erase: 0.4}
"""


def test_every_key_of_a_space_file_arrives_in_the_recipe():
    [point] = tree.from_text(TEXT, "toy").points()
    augmentation = Augmentation("both", 0.1, 20, 0.3, 0.4)
    assert recipe_of(point) == Recipe(0.1, 7, "sgd", "cosine", 0.2, 0.01, 0.3, augmentation)


def test_a_space_that_says_nothing_of_training_has_the_recipe_of_before():
    [point] = tree.from_text("{description: x, block: {filters: 2}}", "toy").points()
    assert recipe_of(point) == Recipe(0.001, 32)


def test_a_point_that_names_only_learning_rate_and_batch_size_has_a_recipe():
    assert recipe_of({"learning_rate": 0.5, "batch_size": 3, "blocks": 1}) == Recipe(0.5, 3)


@pytest.mark.parametrize(
    ("schedule", "warmup", "is_scheduled", "decays"),
    [
        ("constant", 0.0, False, False),
        ("constant", 0.1, True, False),
        ("cosine", 0.0, True, True),
        ("one_cycle", 0.0, True, True),
    ],
)
def test_whether_the_length_of_a_schedule_matters(schedule, warmup, is_scheduled, decays):
    recipe = Recipe(0.1, 1, schedule=schedule, warmup=warmup)
    assert (recipe.is_scheduled, recipe.decays) == (is_scheduled, decays)
