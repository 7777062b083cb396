"""KerasTuner's view of a search space: the same points, by the same conditions."""

import random

import keras_tuner
import pytest
from keras_tuner.engine import hyperparameters as kt
from keras_tuner.oracles import RandomSearchOracle

from cnn_tuner.spaces.hyperparameters import declare, from_space
from cnn_tuner.spaces.tree import from_text, load, shipped_names

FINITE = """
description: A pool's strides depend on its size, which depends on the number of blocks.
blocks: [1, 2]
block: {filters: [8, 16], pool_size: [1, 2], pool_strides: [1, 3]}
dense: {layers: [0, 2], units: [4, 8]}
"""
CONTINUOUS = """
description: Continuous under a condition.
blocks: [3, 1]
block: {filters: 8, padding: [valid, same], pool_size: 3, pool_strides: [1, 2], dropout: {min: 0.25, max: 0.5}}
training: {learning_rate: {min: 1e-4, max: 1e-2, sampling: log}}
"""
SPACES = {"finite": FINITE, "continuous": CONTINUOUS}
EACH = pytest.mark.parametrize("name", [*SPACES, *shipped_names()])


def space_of(name):
    return from_text(SPACES[name], name) if name in SPACES else load(name)


def active(hp):
    return {each.name for each in hp.space if hp.is_active(each)}


@EACH
def test_a_point_has_the_same_active_hyperparameters_and_values_in_both_views(name):
    space, rng = space_of(name), random.Random(2)
    hp = from_space(space)
    for _ in range(200):
        point = space.sample(rng)
        hp.values = dict(point)
        assert active(hp) == set(point)
        assert declare(space, hp) == point


@EACH
def test_hyperparameters_are_registered_once_each_in_the_order_of_the_space(name):
    space = space_of(name)
    hp = from_space(space)
    declare(space, hp)
    assert [each.name for each in hp.space] == [parameter.name for parameter in space.parameters]


def test_conditions_are_told_up_to_the_root():
    [strides] = [each for each in from_space(space_of("finite")).space if each.name == "block_2.pool_strides"]
    assert [(each.name, list(each.values)) for each in strides.conditions] == [
        ("blocks", [2]),
        ("block_2.pool_size", [2]),
    ]


@EACH
def test_the_first_point_has_the_first_value_of_every_choice(name):
    space = space_of(name)
    first = {parameter.name: parameter.at(0) for parameter in space.parameters}
    found = declare(space, keras_tuner.HyperParameters())
    assert found == pytest.approx({name: first[name] for name in found})


def test_a_hyperparameter_has_the_kind_that_its_values_ask_for():
    kinds = {each.name: each for each in from_space(space_of("continuous")).space}
    assert {type(each) for each in kinds.values()} == {kt.Fixed, kt.Choice, kt.Float}
    assert (kinds["block_2.filters"].value, kinds["dense_1.dropout"].value) == (8, 0.0)
    assert kinds["block_2.padding"].values == ["valid", "same"]
    assert kinds["blocks"].values == [3, 1]
    rate, dropout = kinds["learning_rate"], kinds["block_2.dropout"]
    assert (rate.min_value, rate.max_value, rate.step, rate.sampling) == (1e-4, 1e-2, None, "log")
    assert (dropout.min_value, dropout.max_value, dropout.step, dropout.sampling) == (0.25, 0.5, None, "linear")


@EACH
def test_exactly_the_hyperparameters_of_one_value_are_fixed(name):
    space = space_of(name)
    fixed = {each.name: each.value for each in from_space(space).space if isinstance(each, kt.Fixed)}
    assert fixed == {p.name: p.values[0] for p in space.parameters if p.is_fixed}


def test_kerastuners_random_oracle_suggests_points_of_the_space(tmp_path):
    space = space_of("finite")
    oracle = RandomSearchOracle("val_loss", max_trials=40, hyperparameters=from_space(space), seed=3)
    oracle._set_project_dir(tmp_path, "project")
    trials = [oracle.create_trial(f"tuner_{index}") for index in range(40)]
    drawn = [declare(space, trial.hyperparameters) for trial in trials]
    every = list(space.points())
    assert all(point in every for point in drawn)
    assert {point["blocks"] for point in drawn} == {1, 2}
