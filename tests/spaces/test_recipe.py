"""A point as the recipe of its training."""

import pytest

from cnn_tuner.spaces import tree
from cnn_tuner.spaces.recipe import Augmentation, Recipe, at_once, recipe_of, steps_of_epoch

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
  class_weights: balanced
  batch_size: 7
augmentation: {flip: both, shift: 0.1, rotate: 20, zoom: 0.3, erase: 0.4}
"""


def test_every_key_of_a_space_file_arrives_in_the_recipe():
    [point] = tree.from_text(TEXT, "toy").points()
    augmentation = Augmentation("both", 0.1, 20, 0.3, 0.4)
    assert recipe_of(point) == Recipe(0.1, 7, "sgd", "cosine", 0.2, 0.01, 0.3, "balanced", augmentation)


def test_a_space_that_says_nothing_of_training_has_a_recipe_of_good_practice():
    [point] = tree.from_text("{description: x, block: {filters: 2}}", "toy").points()
    assert recipe_of(point) == Recipe(0.002, 32, "adam", "one_cycle", 0.0, 0.01, 0.1)


def test_a_warm_up_alone_is_that_of_a_cosine():
    [point] = tree.from_text("{description: x, block: {filters: 2}, training: {warmup: 0.1}}", "toy").points()
    assert (recipe_of(point).schedule, recipe_of(point).warmup) == ("cosine", 0.1)


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


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        (20, 1),
        (96, 3),
        (37 * 32, 36),
        (29 * 32, 28),
        (29 * 32 + 1, 30),
        (7 * 32, 7),
        (421 * 32, 420),
        (1719 * 32, 1717),
    ],
)
def test_an_epoch_has_as_many_batches_as_can_run_many_at_once(images, steps):
    assert steps_of_epoch(images, {"batch_size": 32}) == steps
    assert at_once(steps, 32) >= min(16, steps // 4)
    assert steps >= 0.95 * images / 32
