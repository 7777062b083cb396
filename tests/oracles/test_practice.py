"""Points of good practice: of any space, feasible, and the first that a search tries."""

import math

import pytest
from oracles.test_asha import asked
from oracles.test_contract import end, own
from toys import SPACE, toy_config, toy_space

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.oracles.practice import PRACTICES, Setting, first_points, nearest
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.spaces import auto, tree
from cnn_tuner.spaces.architecture import build, why_infeasible
from cnn_tuner.spaces.rules import Limits
from cnn_tuner.spaces.tree import Parameter, Point, SearchSpace

OUTPUT = Output("multiclass", 10)


def points_of(
    space: SearchSpace, shape: tuple[int, int, int] = (8, 8, 1), images: int = 2000, work: float = math.inf
) -> tuple[Point, ...]:
    return first_points(Setting(space, shape, OUTPUT, images, why_infeasible(space, shape, OUTPUT), work))


@pytest.mark.parametrize("name", tree.shipped_names())
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 48, 3)])
def test_in_every_shipped_space_they_are_points_that_can_be_trained(name, shape):
    space = tree.load(name)
    points = points_of(space, shape)
    assert 0 <= len(points) <= len(PRACTICES)
    assert points or (name, shape) == ("tiny", (64, 48, 3)), "whose maps its limits do not allow"
    for point in points:
        assert space.contains(point)
        assert why_infeasible(space, shape, OUTPUT)(point) is None


def test_limits_make_them_narrower_and_where_none_fits_there_is_none():
    space = tree.load("quick")
    [(first, *_), (narrow, *_)] = points_of(space), points_of(space.within(Limits(max_params=15_000)))
    assert (first["block_2.filters"], narrow["block_2.filters"]) == (64, 16)
    assert points_of(space.within(Limits(max_params=10))) == ()


@pytest.mark.parametrize(("side", "blocks"), [(8, 2), (28, 2), (32, 2), (48, 3), (64, 3), (128, 3)])
def test_there_are_blocks_until_the_last_map_is_small_or_the_space_has_no_more(side, blocks):
    space = tree.load("seven_steps")
    assert points_of(space, (side, side, 1))[0]["blocks"] == blocks


@pytest.mark.parametrize(
    ("side", "filters"),
    [(8, [32, 64]), (28, [32, 64]), (64, [16, 32, 64]), (96, [8, 16, 32, 64]), (224, [8, 8, 16, 32, 64])],
)
def test_in_a_space_made_for_the_images_filters_double_from_block_to_block(side, filters):
    space = auto.space(auto.Facts((side, side, 3), 2000))
    point = points_of(space, (side, side, 3))[0]
    assert [point[f"block_{n}.filters"] for n in range(1, point["blocks"] + 1)] == filters


@pytest.mark.parametrize("passes", [1, 3, 10])
def test_they_are_as_wide_as_lets_them_be_trained_for_enough_passes(passes):
    """Half as wide has about a quarter of the multiply-adds."""
    space, shape = tree.load("quick"), (28, 28, 1)
    whole = points_of(space, shape, images=50_000)[0]
    cost = build(whole, shape, OUTPUT).macs
    work = PRACTICES[0].passes * cost / passes
    macs = build(points_of(space, shape, 50_000, work)[0], shape, OUTPUT).macs
    assert macs <= cost / passes
    assert passes < 10 or macs > cost / (4 * passes)


def test_where_too_little_can_be_trained_for_any_they_are_the_narrowest():
    narrow = points_of(tree.load("quick"), (28, 28, 1), work=1.0)[0]
    assert [narrow[f"block_{n}.filters"] for n in (1, 2)] == [16, 16]


def test_many_images_have_wider_ones():
    space = tree.from_text(tree.load("quick").source.replace("[16, 32, 64]", "[16, 32, 64, 128]"), "wide")
    widest = [points_of(space, (28, 28, 1), images)[0]["block_2.filters"] for images in (2_000, 50_000)]
    assert widest == [64, 128]


STARTING = """
start:
  - block: {filters: [64, 16], dropout: 0.2}
    dense: {units: 128}
    training: {learning_rate: 0.1, batch_size: 64}
  - {}
"""


def test_points_that_a_space_names_are_tried_in_the_place_of_others():
    space = tree.from_text(tree.load("quick").source + STARTING, "mine")
    first, rest = points_of(space)
    assert [first[f"block_{n}.filters"] for n in (1, 2)] == [64, 16]
    assert (first["block_1.dropout"], first["dense_1.units"], first["batch_size"]) == (0.2, 128, 64)
    assert first["learning_rate"] == 0.004, "as near as the space has it"
    assert first["dense_1.dropout"] == 0.3, "what is left out is as good practice has it"
    assert rest == points_of(tree.load("quick"))[0]
    narrow = points_of(space.within(Limits(max_params=15_000)))[0]
    assert narrow["block_1.filters"] < 64


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_asha_tries_the_points_that_a_space_names_whatever_its_sampler(sampler):
    config = toy_config(tree.load("quick").source + STARTING, oracle="asha", sampler=sampler, max_trials=20, epochs=3)
    assert own(asked(make_oracle(config)).hyperparameters.values)["block_1.filters"] == 64


def test_what_a_space_does_not_have_is_brought_as_near_as_can_be():
    point = points_of(toy_space(SPACE))[0]
    assert point["block_1.filters"] == 4
    assert (point["dense_layers"], point["dense_1.units"], point["batch_size"]) == (1, 8, 32)
    assert point["learning_rate"] == 0.003


@pytest.mark.parametrize(
    ("parameter", "wanted", "found"),
    [
        (Parameter("units", (32, 100, 300)), 256, 300),
        (Parameter("filters", (4, 64)), 16, 4),
        (Parameter("dropout", (0.1, 0.5)), 0.0, 0.1),
        (Parameter("shift", (0.0, 0.1)), 0, 0.0),
        (Parameter("rate", low=0.01, high=0.1), 0.003, 0.01),
        (Parameter("padding", ("valid",)), "same", "valid"),
        (Parameter("optimizer", ("sgd", "adam")), "adam", "adam"),
    ],
)
def test_nearest(parameter, wanted, found):
    assert nearest(parameter, wanted) == found


def test_asha_tries_them_first_each_once_and_after_a_restart_too():
    config = toy_config(tree.load("quick").source, oracle="asha", max_trials=20, epochs=3)
    first = list(points_of(config.search_space()))
    assert len(first) > 1
    oracle = make_oracle(config)
    trials = [asked(oracle) for _ in range(len(first) + 2)]
    points = [own(trial.hyperparameters.values) for trial in trials]
    assert points[: len(first)] == first
    assert not any(point in first for point in points[len(first) :])
    again = make_oracle(config)
    again.restore(trials[0].trial_id, trials[0].hyperparameters.values)
    assert own(asked(again).hyperparameters.values) == first[1]
    end(oracle, trials[0], 0.5)


@pytest.mark.parametrize(("oracle", "sampler"), [("random", None), ("asha", "random"), ("hyperband", None)])
def test_an_oracle_that_draws_at_random_does(oracle, sampler):
    config = toy_config(oracle=oracle, sampler=sampler, max_trials=20, epochs=3)
    first = points_of(config.search_space())
    assert own(asked(make_oracle(config)).hyperparameters.values) not in first
