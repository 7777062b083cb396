"""Every index in exactly one part, every class in every part, each to within one image of its share."""

import numpy as np
import pytest

from cnn_tuner.data.splitting import split, split_groups
from cnn_tuner.errors import DataError

BOTH = {"test": 0.2, "val": 0.15}


def indices(y, task="multiclass", fractions=BOTH, seed=0):
    names = tuple(f"class {number}" for number in range(int(np.max(y)) + 1))
    return split(np.asarray(y), task, names, fractions, seed, "place")


def assert_whole(parts, count):
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    assert all((np.diff(part) > 0).all() for part in parts.values())


@pytest.mark.parametrize("seed", range(20))
def test_shares_of_random_classes(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 40, rng.integers(2, 30))
    y = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = indices(y, seed=seed)
    assert_whole(parts, len(y))
    for part, fraction in BOTH.items():
        counts = np.bincount(y[parts[part]], minlength=len(sizes))
        assert (counts >= 1).all()
        assert np.abs(counts - fraction * sizes).max() < 1
        assert abs(len(parts[part]) - fraction * len(y)) <= 0.5 + (fraction * sizes < 1).sum()
    assert (np.bincount(y[parts["train"]], minlength=len(sizes)) >= 1).all()


@pytest.mark.parametrize("fractions", [{"test": 0.2}, {"val": 0.15}, {"test": 0.9, "val": 0.05}])
def test_other_fractions(fractions):
    y = np.arange(300) % 3
    parts = indices(y, fractions=fractions)
    assert_whole(parts, 300)
    assert {name: len(part) for name, part in parts.items() if name != "train"} == {
        name: 300 * fraction for name, fraction in fractions.items()
    }


def test_a_split_stays_the_same_from_version_to_version():
    """If not, no run of an earlier version can be resumed."""
    parts = {name: part.tolist() for name, part in indices(np.arange(20) % 2, seed=0).items()}
    assert parts == {
        "train": [0, 1, 2, 3, 6, 9, 10, 11, 13, 15, 16, 17, 18],
        "val": [4, 7, 14],
        "test": [5, 8, 12, 19],
    }


def test_seeds():
    y = np.arange(100) % 4
    first, again, other = indices(y, seed=0), indices(y, seed=0), indices(y, seed=1)
    assert all((first[part] == again[part]).all() for part in first)
    assert all((first[part].shape == other[part].shape) and (first[part] != other[part]).any() for part in first)


def test_the_smallest_classes_that_can_be_split():
    parts = indices([0, 0, 0, 1, 1, 1])
    assert {name: len(part) for name, part in parts.items()} == {"train": 2, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("y", "fractions", "message"),
    [
        ([0, 0, 0, 0, 1, 1], BOTH, "2; at least 3 are needed, one each for train, test and val"),
        ([0, 0, 0, 0, 1], {"val": 0.15}, "1; at least 2 are needed, one each for train, val"),
    ],
)
def test_a_class_that_is_too_small(y, fractions, message):
    whole = rf"^place: class 'class 1' has too few images, {message}; add images, or give those parts yourself$"
    with pytest.raises(DataError, match=whole):
        indices(y, fractions=fractions)


def test_binary_is_stratified():
    y = (np.arange(200) % 10 == 0).astype(np.float32)[:, np.newaxis]
    parts = indices(y, "binary")
    assert (y[parts["test"]].sum(), y[parts["val"]].sum()) == (4, 3)


def test_regression_is_stratified_by_bins():
    y = np.random.default_rng(0).normal(size=(1000, 2)) ** 3
    parts = indices(y, "regression")
    assert_whole(parts, 1000)
    bins = np.digitize(y[:, 0], np.quantile(y[:, 0], np.arange(0.1, 1, 0.1)))
    assert np.abs(np.bincount(bins[parts["test"]]) - 20).max() <= 1


def test_multilabel_is_stratified_by_combination():
    rng = np.random.default_rng(0)
    combinations = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
    y = combinations[rng.choice(4, 400, p=(0.6, 0.29, 0.1, 0.01))].astype(np.float32)
    parts = indices(y, "multilabel")
    assert_whole(parts, 400)
    for combination in combinations[:3]:
        counts = {part: (y[chosen] == combination).all(axis=1).sum() for part, chosen in parts.items()}
        assert abs(counts["test"] - 0.2 * sum(counts.values())) < 1


@pytest.mark.parametrize("task", ["regression", "multilabel"])
@pytest.mark.parametrize("count", [3, 4, 7, 10, 30])
def test_few_images_without_classes(task, count):
    y = np.eye(count, dtype=np.float32) if task == "multilabel" else np.arange(count, dtype=np.float32)[:, np.newaxis]
    parts = indices(y, task)
    assert_whole(parts, count)
    assert len(parts["train"]) >= len(parts["test"]) >= 1 and len(parts["val"]) >= 1


def test_rare_combinations_too_few_to_pool_join_the_largest():
    y = np.zeros((50, 2), np.float32)
    y[:2] = 1
    assert_whole(indices(y, "multilabel"), 50)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_too_few_images(task):
    with pytest.raises(
        DataError, match=r"^place: train has too few images, 2; at least 3 are needed, one each for train, test an"
    ):
        indices(np.array([[0.0], [1.0]]), task)


@pytest.mark.parametrize("seed", range(40))
def test_no_group_is_on_two_sides_whatever_the_groups(seed):
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(30, 400)), int(rng.integers(2, 6))
    groups = rng.integers(0, rng.integers(8, count), count).astype(str)
    y = rng.integers(0, classes, count).astype(np.int32)
    fractions = {"test": 0.2, "val": 0.15}
    try:
        found = split_groups(groups, y, "multiclass", tuple("abcdef"[:classes]), fractions, seed, "x")
    except DataError:
        assert len(np.unique(groups)) < 12 or np.bincount(y, minlength=classes).min() < 3
        return
    everything = np.sort(np.concatenate(list(found.values())))
    np.testing.assert_array_equal(everything, np.arange(count))
    assert all(len(chosen) for chosen in found.values())
    sides = [set(groups[chosen]) for chosen in found.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert set(y[found["train"]]) == set(y)


def test_parts_of_groups_are_near_to_their_shares_and_stratified():
    rng = np.random.default_rng(0)
    groups, y = np.repeat(np.arange(200), 5), np.repeat(rng.integers(0, 3, 200), 5).astype(np.int32)
    found = split_groups(groups, y, "multiclass", ("a", "b", "c"), {"test": 0.2, "val": 0.15}, 0, "x")
    assert abs(len(found["test"]) - 200) <= 10 and abs(len(found["val"]) - 150) <= 20
    for chosen in found.values():
        shares = np.bincount(y[chosen]) / len(chosen)
        np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=0.04)


def test_groups_that_leave_a_class_nowhere_are_told():
    groups, y = np.repeat(["one", "two", "three"], 10), np.repeat([0, 1, 2], 10).astype(np.int32)
    with pytest.raises(DataError, match=r"^x: no test part leaves images of every class to train on, with groups toge"):
        split_groups(groups, y, "multiclass", ("a", "b", "c"), {"test": 0.2, "val": 0.15}, 0, "x")
    with pytest.raises(DataError, match=r"^x: 1 groups are too few; at least 3 are needed, one each for train, test a"):
        split_groups(np.zeros(30), y, "multiclass", ("a", "b", "c"), {"test": 0.2, "val": 0.15}, 0, "x")
