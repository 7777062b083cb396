"""Search spaces: which points exist, how they are drawn, and the file they come from."""

import json
import math
import random
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from cnn_tuner.errors import SpaceError, UsageError
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.rules import Augmentation, Training
from cnn_tuner.spaces.tree import Parameter, Size, from_text, load, shipped_folder, shipped_names

SMALL = """
description: One block.
blocks: 1
block:
  filters: [8, 16]
  pool_size: [1, 2, 3]
  pool_strides: [1, 2]
dense:
  layers: [0, 2]
  units: [4, 8, 16]
"""
BLOCKS = """
description: Blocks of their own.
blocks: [1, 2]
block: {filters: [8, 16], padding: [same, valid]}
dense: {layers: 0}
"""
POOLED = """
description: Blocks and pools.
blocks: [2, 3]
block:
  filters: 8
  pool_size: [1, 3]
  pool_strides: [1, 2, 3]
dense: {layers: 0}
training: {batch_size: [16, 32]}
"""
DENSE = """
description: Dense layers.
blocks: 1
block: {filters: 8}
dense: {layers: {min: 0, max: 2}, units: [4, 8], dropout: [0, 0.5]}
"""
FIXED = "{description: One point., block: {filters: 8}}"
CONTINUOUS = """
description: Some hyperparameters are continuous.
blocks: [1, 2]
block: {filters: [8, 16], dropout: {min: 0.25, max: 0.75}}
dense: {layers: 0}
training: {learning_rate: {min: 1e-4, max: 1e-2, sampling: log}}
"""
# The number of points, by hand.
COUNTS = {
    SMALL: 2 * (1 + 2 * 2) * (1 + 3**2),
    BLOCKS: 4 + 4**2,
    POOLED: ((1 + 3) ** 2 + (1 + 3) ** 3) * 2,
    DENSE: 1 + 4 + 4**2,
    FIXED: 1,
}
FINITE = pytest.mark.parametrize("text", COUNTS, ids=lambda text: yaml.safe_load(text)["description"])
ANY = pytest.mark.parametrize("text", [*COUNTS, CONTINUOUS], ids=lambda text: yaml.safe_load(text)["description"])


def space_of(text):
    return from_text(text, "folder/small.yaml")


def active_names(point):
    """The names that a point has to have, from the rules in the design, for a file with every section."""
    names = {"blocks", "dense_layers", *Training.model_fields, *Augmentation.model_fields}
    if point["schedule"] == "one_cycle":
        names.remove("warmup")
    for index in range(1, point["blocks"] + 1):
        block = f"block_{index}."
        names |= {block + n for n in ("convolutions", "filters", "kernel_size", "strides", "padding", "pool_size")}
        names |= {block + "dropout"} | ({block + "pool_strides"} if point[block + "pool_size"] > 1 else set())
    for index in range(1, point["dense_layers"] + 1):
        names |= {f"dense_{index}.units", f"dense_{index}.dropout"}
    return names


def is_in(value, parameter):
    return parameter.low <= value <= parameter.high if parameter.is_continuous else value in parameter.values


def assert_valid(space, point):
    by_name = {parameter.name: parameter for parameter in space.parameters}
    assert all(is_in(value, by_name[name]) for name, value in point.items())
    assert set(point) == {n for n in active_names(point) if n in by_name}


def draw(space, count, seed=0):
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(count)]


@FINITE
def test_the_size_is_the_number_of_points_and_no_point_comes_twice(text):
    space = space_of(text)
    points = list(space.points())
    assert space.is_finite()
    assert space.size() == Size(COUNTS[text], ())
    assert len(points) == len({json.dumps(point, sort_keys=True) for point in points}) == COUNTS[text]
    for point in points:
        assert_valid(space, point)


@FINITE
def test_every_point_can_be_drawn_and_no_other(text):
    space = space_of(text)
    listed = {json.dumps(point) for point in space.points()}
    assert {json.dumps(point) for point in draw(space, 30 * len(listed))} == listed


def test_points_come_with_the_last_hyperparameter_changing_fastest():
    points = list(space_of(SMALL).points())
    assert [(p["block_1.filters"], p["block_1.pool_size"], p["dense_layers"]) for p in points[:3]] == [
        (8, 1, 0),
        (8, 1, 2),
        (8, 1, 2),
    ]
    assert [p.get("dense_2.units") for p in points[:4]] == [None, 4, 8, 16]


@ANY
def test_a_drawn_point_has_exactly_the_active_hyperparameters(text):
    space = space_of(text)
    for point in draw(space, 200):
        assert_valid(space, point)


def test_conditions_hold_two_deep():
    points = draw(space_of(POOLED), 300)
    pooled = {(p["blocks"], p.get("block_3.pool_size"), "block_3.pool_strides" in p) for p in points}
    assert pooled == {(2, None, False), (3, 1, False), (3, 3, True)}


def test_the_strides_of_a_pool_that_is_never_there_are_refused():
    text = POOLED.replace("pool_size:", "pool_size: 1  #")
    rule = "block: pool_strides has no effect where pool_size is 1; leave it out, or give larger pools"
    with pytest.raises(SpaceError, match=f"^x.yaml: {re.escape(rule)}$"):
        from_text(text, "x.yaml")


def test_hyperparameters_stand_in_the_order_in_which_data_meets_them():
    assert [parameter.name for parameter in space_of(SMALL).parameters] == [
        "blocks",
        *("block_1." + n for n in ("convolutions", "filters", "kernel_size", "strides", "padding")),
        *("block_1." + n for n in ("pool_size", "pool_strides", "dropout")),
        "dense_layers",
        *("dense_1.units", "dense_1.dropout", "dense_2.units", "dense_2.dropout"),
        *("optimizer", "learning_rate", "schedule", "weight_decay", "label_smoothing", "batch_size"),
        *("flip", "shift", "rotate", "zoom", "erase"),
    ]


def test_a_continuous_space_says_what_its_size_leaves_out():
    space = space_of(CONTINUOUS)
    assert not space.is_finite()
    assert space.size() == Size(2 + 4, ("block_1.dropout", "block_2.dropout", "learning_rate"))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (Size(3420, ("learning_rate",)), "3,420 x learning_rate"),
        (Size(9_999_999, ()), "9,999,999"),
        (Size(10**7, ("a", "b")), "1.0e+07 x a x b"),
    ],
)
def test_a_size_reads_well(size, text):
    assert str(size) == text


@ANY
def test_the_same_seed_draws_the_same_points(text):
    space = space_of(text)
    assert draw(space, 20, seed=5) == draw(space, 20, seed=5)


def test_another_seed_draws_other_points():
    space = space_of(CONTINUOUS)
    assert not any(point in draw(space, 20, seed=6) for point in draw(space, 20, seed=5))


@pytest.mark.parametrize("name", ["block_1.filters", "block_1.pool_size", "dense_layers", "dense_2.units"])
def test_choices_are_drawn_evenly(name):
    space = space_of(SMALL)
    drawn = Counter(point[name] for point in draw(space, 4000) if name in point)
    [parameter] = [p for p in space.parameters if p.name == name]
    assert set(drawn) == set(parameter.values)
    for count in drawn.values():
        assert count / drawn.total() == pytest.approx(1 / len(drawn), abs=0.04)


@pytest.mark.parametrize(
    ("name", "quarters"),
    [("block_1.dropout", [0.25, 0.375, 0.5, 0.625, 0.75]), ("learning_rate", [10 ** (e / 2) for e in range(-8, -3)])],
)
def test_a_continuous_range_is_drawn_evenly_a_log_range_evenly_in_log(name, quarters):
    values = [point[name] for point in draw(space_of(CONTINUOUS), 4000)]
    for low, high in pairwise(quarters):
        assert sum(low <= value < high for value in values) / len(values) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (Parameter("p", (1, 2, 4, 8)), {0: 1, 0.24: 1, 0.25: 2, 0.5: 4, 0.75: 8, 1: 8}),
        (Parameter("p", (7,)), {0: 7, 1: 7}),
        (Parameter("p", low=1, high=3), {0: 1, 0.5: 2, 1: 3}),
        (Parameter("p", low=1e-4, high=1e-2, is_log=True), {0: 1e-4, 0.5: 1e-3, 1: 1e-2}),
    ],
)
def test_a_share_of_a_range_is_a_value(parameter, values):
    assert {share: parameter.at(share) for share in values} == pytest.approx(values)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter("p", (16, 32)), "16, 32"),
        (Parameter("p", (0.0, 0.25)), "0, 0.25"),
        (Parameter("p", ("same",)), "same"),
        (Parameter("p", low=0.0005, high=0.005, is_log=True), "0.0005 to 0.005 (log)"),
        (Parameter("p", low=0.0, high=0.5), "0 to 0.5"),
    ],
)
def test_a_hyperparameter_describes_its_values(parameter, text):
    assert parameter.describe() == text


@pytest.mark.parametrize("text", [SMALL, BLOCKS, POOLED, DENSE, CONTINUOUS])
def test_a_neighbour_differs_in_one_hyperparameter_and_what_depends_on_it(text):
    space, rng = space_of(text), random.Random(3)
    parents = {parameter.name: parameter.parent for parameter in space.parameters}
    for point in draw(space, 200):
        near = space.neighbour(point, rng)
        assert_valid(space, near)
        changed = {name for name in point if name in near and point[name] != near[name]}
        assert len(changed) == 1
        for name in set(point) ^ set(near):
            parent = parents[name]
            assert parent in changed or parents[parent] in changed


def test_neighbours_reach_every_value_of_every_hyperparameter():
    space, rng = space_of(SMALL), random.Random(0)
    start = space.sample(rng)
    near = [space.neighbour(start, rng) for _ in range(500)]
    for parameter in space.parameters:
        if parameter.name in start:
            assert {point[parameter.name] for point in near if parameter.name in point} == set(parameter.values)


def test_the_neighbour_of_the_only_point_is_that_point():
    space = space_of(FIXED)
    [point] = space.points()
    assert space.neighbour(point, random.Random(0)) == point


def test_a_neighbour_leaves_its_point_as_it_was():
    space, rng = space_of(SMALL), random.Random(0)
    point = space.sample(rng)
    before = dict(point)
    space.neighbour(point, rng)
    assert point == before


EQUAL = {
    "a comment": SMALL + "# another thought\n",
    "another description": SMALL.replace("One block.", "A block."),
    "another order of keys": SMALL.replace("blocks: 1\n", "") + "blocks: 1\n",
    "a list of one": SMALL.replace("blocks: 1", "blocks: [1]"),
    "a default that is said": SMALL + "training: {learning_rate: 2e-3, batch_size: 32}\n",
    "a range of the same values": SMALL.replace("[1, 2, 3]", "{min: 1, max: 3}"),
    "another search": SMALL + "search: {max_trials: 3, epochs: 1, oracle: grid}\n",
}
OTHER = {
    "other filters": SMALL.replace("[8, 16]", "[8, 32]"),
    "one filter less": SMALL.replace("[8, 16]", "[8]"),
    "another order of choices": SMALL.replace("[8, 16]", "[16, 8]"),
    "more blocks": SMALL.replace("blocks: 1", "blocks: [1, 2]"),
    "another fixed value": SMALL.replace("filters: [8, 16]", "filters: [8, 16]\n  strides: 2"),
    "no pool strides": SMALL.replace("  pool_strides: [1, 2]\n", ""),
    "more dense layers": SMALL.replace("[0, 2]", "[1, 2]"),
    "a limit": SMALL + "limits: {max_params: 1000}\n",
    "another learning rate": SMALL + "training: {learning_rate: 1e-3}\n",
    "a range of learning rates": SMALL + "training: {learning_rate: {min: 1e-3, max: 2e-3}}\n",
}
RANGES = [
    f"{{min: {low}, max: {high}{tail}}}"
    for low in ("1e-3", "2e-3")
    for high in (1, 2)
    for tail in ("", ", sampling: log")
]


@pytest.mark.parametrize("change", EQUAL)
def test_the_fingerprint_stays_when_the_points_do(change):
    assert EQUAL[change] != SMALL
    assert space_of(EQUAL[change]).fingerprint == space_of(SMALL).fingerprint


def test_the_fingerprint_changes_with_the_points():
    ranges = [SMALL + f"training: {{learning_rate: {text}}}\n" for text in RANGES]
    spaces = [space_of(text) for text in [SMALL, *OTHER.values(), *ranges]]
    assert len({space.fingerprint for space in spaces}) == len(spaces) == 1 + len(OTHER) + 8


def test_the_fingerprint_does_not_depend_on_the_files_name():
    assert from_text(SMALL, "a.yaml").fingerprint == from_text(SMALL, "b.yaml").fingerprint


def assert_same(again, space):
    assert again.parameters == space.parameters
    assert (again.limits, again.defaults, again.fingerprint) == (space.limits, space.defaults, space.fingerprint)
    assert (again.name, again.description) == (space.name, space.description)


@pytest.mark.parametrize(
    "write", [lambda data: yaml.safe_dump(data, sort_keys=False), json.dumps], ids=["yaml", "json"]
)
@pytest.mark.parametrize("text", [SMALL, CONTINUOUS, *shipped_names()])
def test_a_space_written_out_reads_back_the_same(text, write):
    space = load(text) if text in shipped_names() else space_of(text)
    assert_same(from_text(write(space.to_dict()), space.name), space)


def test_a_file_is_loaded_by_its_path_and_named_after_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    assert_same(load(str(path)), from_text(SMALL, "mine"))


def test_a_path_may_begin_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(SMALL, encoding="utf-8")
    assert load("~/mine.yaml").name == "mine"


def test_messages_of_a_loaded_file_begin_with_its_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("block: 3\ndescription: x\n", encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}: block: must be a mapping of keys to values, got 3"


@pytest.mark.parametrize("name", ["quik", "no/such/file.yaml", "."])
def test_an_unknown_space_is_told_with_the_choices(name):
    with pytest.raises(UsageError) as caught:
        load(name)
    choices = "auto, deep, quick, seven_steps, tiny, or a path"
    assert str(caught.value) == f"--space: no such space or file: {name!r}; choices: {choices}"
    assert caught.value.exit_code == 2


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"description: \xff\n")
    with pytest.raises(SpaceError) as caught:
        load(str(path))
    problem = "cannot be read: 'utf-8' codec can't decode byte 0xff in position 13: invalid start byte"
    assert str(caught.value) == f"{path}: {problem}"
    assert caught.value.exit_code == 2


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")

    def refuse(self, encoding):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)  # chmod would not stop root
    with pytest.raises(SpaceError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}: cannot be read: [Errno 13] Permission denied: '{path}'"


def test_the_shipped_spaces_lie_beside_the_package_in_a_checkout_and_inside_it_once_installed(tmp_path, monkeypatch):
    assert shipped_folder() == Path(tree.__file__).parents[2] / "search_spaces"
    package = tmp_path / "cnn_tuner"
    (package / "search_spaces").mkdir(parents=True)
    (package / "search_spaces" / "mine.yaml").write_text(SMALL, encoding="utf-8")
    monkeypatch.setattr(tree, "__file__", str(package / "spaces" / "tree.py"))
    assert shipped_names() == ["mine"]
    assert load("mine").size().points == math.prod((2, 5, 10))


@pytest.mark.parametrize("name", shipped_names())
def test_a_space_contains_its_own_points_and_no_others(name):
    shipped, rng = load(name), random.Random(1)
    for _ in range(20):
        point = shipped.sample(rng)
        assert shipped.contains(point)
        assert shipped.contains(point | {"tuner/epochs": 3})
        assert not shipped.contains(point | {"batch_size": 7})
        assert not shipped.contains(point | {"stranger": 1})
        assert not shipped.contains({key: value for key, value in point.items() if key != "learning_rate"})
