"""Refined spaces: what goes, what stays, what is said about it, and that they can be searched."""

from __future__ import annotations

import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from analysis.test_importance import SPACE, learning_rate_decides
from toys import invented_trials, toy_config

from cnn_tuner.analysis import refining
from cnn_tuner.analysis.refining import chance_of_fewer, chance_of_more, chance_of_span, refine
from cnn_tuner.errors import UsageError
from cnn_tuner.runs.records import ranked
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.tree import load, shipped_names


def run_of(space, score, count, epochs=lambda number: 3, seed=0):
    """What `refine` reads of a run, with invented scores: a store would write hundreds of transactions."""
    trials = invented_trials(space, score, count, epochs, seed)
    config = toy_config(space.source)
    [best, *_] = ranked(trials, config.objective)
    return SimpleNamespace(folder=Path("runs/toy"), config=config, trials=lambda: trials, best_trial=lambda: best)


def refined(run):
    """The proposal as a space, and its lines by key."""
    text = refine(run, "narrow.yaml")
    return tree.from_text(text, "narrow.yaml"), {line.split(":")[0].strip(): line for line in text.splitlines()}


def parameter(space, name):
    return next(p for p in space.parameters if p.name == name)


def test_a_range_shrinks_to_where_the_best_are():
    space, lines = refined(run_of(SPACE, learning_rate_decides, 60))
    rate = parameter(space, "learning_rate")
    assert rate.is_log
    assert 1e-4 < rate.low < 1e-3 < rate.high < 1e-2
    assert "# the best 15: " in lines["learning_rate"]
    assert lines["learning_rate"].endswith("; was 0.0001 to 0.01")


def test_a_value_goes_when_the_best_avoid_it():
    def never_eight(values):
        blocks = range(1, values["blocks"] + 1)
        return -float(any(values[f"block_{i}.filters"] == 8 for i in blocks)) + 0.1 * values["blocks"]

    space, lines = refined(run_of(SPACE, never_eight, 60))
    assert {p.values for p in space.parameters if p.name.endswith(".filters")} == {(16, 32)}
    assert "; dropped 8: in 0 of them, in " in lines["filters"]
    assert lines["filters"].startswith("  filters: [16, 32] ")


def test_a_value_that_is_good_in_one_block_stays():
    def eight_first(values):
        return float(values["block_1.filters"] == 8) - float(values.get("block_2.filters") == 8)

    line = refined(run_of(SPACE, eight_first, 80))[1]["filters"]
    assert line.startswith(("  filters: 8 ", "  filters: [8, "))


def test_few_trials_narrow_little():
    rng = random.Random(5)
    run = run_of(SPACE, lambda _: rng.random(), 10)
    space, lines = refined(run)
    assert [p.values for p in space.parameters] == [p.values for p in SPACE.parameters]
    assert lines["learning_rate"].endswith("no closer together than chance would have them")


def test_where_nothing_matters_little_is_narrowed():
    """Of seven keys, each goes wrong by chance once in twenty times."""
    changed = 0
    for seed in range(6):
        rng = random.Random(seed)
        space, _ = refined(run_of(SPACE, lambda _, rng=rng: rng.random(), 40, seed=seed))
        changed += sum(
            parameter(space, p.name).describe() != p.describe()
            for p in SPACE.parameters
            if any(q.name == p.name for q in space.parameters)
        )
    assert changed <= 6


def test_many_blocks_are_not_taken_for_the_values_that_they_have():
    """The best have one block, and so fewer of any value: none of the values is dropped for that."""
    dropped = 0
    for seed in range(1, 7):
        _, lines = refined(run_of(SPACE, lambda v: -float(v["blocks"]) + 0.01 * v["learning_rate"], 80, seed=seed))
        assert lines["blocks"].startswith("blocks: 1 ")
        dropped += "dropped" in lines["filters"]
    assert dropped <= 1


def test_the_best_at_an_end_says_try_beyond():
    _, lines = refined(run_of(SPACE, lambda v: math.log10(v["learning_rate"]), 60))
    assert "; the best is at the upper end: try more than 0.01" in lines["learning_rate"]
    _, lines = refined(run_of(SPACE, lambda v: -float(v["dense_layers"]) - v["learning_rate"], 60))
    assert lines["layers"].startswith("  layers: 0 ")
    assert "try" not in lines["layers"]  # fewer than none there are not
    assert "units" not in lines  # without layers it has no effect


def test_a_key_that_would_have_no_effect_is_left_out():
    pooled = tree.from_text(
        """
description: For tests.
blocks: 1
block: {filters: [2, 4], pool_size: [1, 2], pool_strides: [1, 2]}
training: {learning_rate: {min: 0.001, max: 0.01}}
""",
        "toy",
    )
    _, lines = refined(run_of(pooled, lambda v: -float(v["block_1.pool_size"]) - v["learning_rate"], 40))
    assert lines["pool_size"].startswith("  pool_size: 1 ")
    assert "pool_strides" not in lines


def test_a_range_of_values_shrinks_as_a_range():
    wide = tree.from_text(
        "description: For tests.\nblock: {filters: {min: 1, max: 400}, dropout: {min: 0, max: 0.5, step: 0.1}}\n", "toy"
    )

    def score(values):
        filters = [v for name, v in values.items() if name.endswith("filters")]
        return -sum(abs(f - 200) for f in filters) - 100 * values["block_1.dropout"] - 100 * values["block_2.dropout"]

    space, lines = refined(run_of(wide, score, 200))
    assert lines["filters"].startswith("  filters: {min: ")
    values = parameter(space, "block_1.filters").values
    assert 1 < min(values) < 200 < max(values) < 400
    assert min(parameter(space, "block_1.dropout").values) == 0


def test_hyperbands_short_trials_are_compared_fairly():
    run = run_of(SPACE, learning_rate_decides, 60, lambda number: (1, 1, 1, 3, 9)[number % 5])
    rate = parameter(refined(run)[0], "learning_rate")
    assert 1e-4 < rate.low < 1e-3 < rate.high < 1e-2


def test_limits_and_search_defaults_are_kept():
    source = SPACE.source + "limits: {max_params: 100_000}\nsearch: {oracle: bayesian, max_trials: 7}\n"
    limited = tree.from_text(source, "toy")
    space, _ = refined(run_of(limited, learning_rate_decides, 30))
    assert (space.limits, space.defaults) == (limited.limits, limited.defaults)


def test_the_head_says_where_it_comes_from():
    run = run_of(SPACE, learning_rate_decides, 30)
    best = run.best_trial()
    assert refine(run, "my spaces/narrow.yaml").splitlines()[:4] == [
        "# Purpose:  toy, narrowed to what the best 8 of 30 trials of toy support.",
        "# Command:  cnn-tuner tune --space 'my spaces/narrow.yaml' --data toy",
        f"# Made by:  cnn-tuner refine toy; its best, trial {best.number}, has val_accuracy {best.score:.4g}",
        "description: 'toy, narrowed by 30 trials of toy.'",
    ]


def test_too_few_trials_are_refused():
    run = run_of(SPACE, learning_rate_decides, 9)
    reason = r"toy: too few trials to tell: 9 with a score, at least 10 are needed; add some with cnn-tuner extend toy$"
    with pytest.raises(UsageError, match=reason):
        refine(run, "narrow.yaml")


@pytest.mark.parametrize("count", [10, 40])
@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_space_can_be_refined(name, count):
    """It loads, is no larger, has the best trial as a point, and can be refined again."""
    space = load(name)
    rng = random.Random(count)

    def score(values):
        return math.log(values["learning_rate"]) + 0.1 * int(values["blocks"]) + 0.5 * rng.random()

    run = run_of(space, score, count)
    narrow, _ = refined(run)
    assert narrow.contains(run.best_trial().values)
    assert narrow.size().points <= space.size().points
    again = run_of(narrow, score, count)
    assert refined(again)[0].contains(again.best_trial().values)


def test_a_point_of_a_proposal_is_one_of_the_space():
    narrow, _ = refined(run_of(SPACE, learning_rate_decides, 60))
    rng = random.Random(0)
    assert all(SPACE.contains(narrow.sample(rng)) for _ in range(200))


def test_chances_are_exact():
    """Of 10 trials 4 have the value; none of the best 3 has it in 6*5*4 of 10*9*8 draws."""
    assert chance_of_fewer([(10, 3, 4)], 0) == pytest.approx(120 / 720)
    assert chance_of_more([(10, 3, 4)], 1) == pytest.approx(1 - 120 / 720)
    assert chance_of_fewer([(10, 3, 4), (10, 3, 4)], 0) == pytest.approx((120 / 720) ** 2)
    # Of the 10 pairs of 5 values, 4 are neighbours, 3 have one between them.
    assert chance_of_span(5, 2, 2) == pytest.approx(0.4)
    assert chance_of_span(5, 2, 3) == pytest.approx(0.7)
    assert chance_of_span(5, 2, 5) == pytest.approx(1.0)


def test_bounds_are_rounded_outwards():
    assert refining._rounded(0.00123456, math.floor) == 0.00123
    assert refining._rounded(0.00123456, math.ceil) == 0.00124
    assert refining._rounded(0.0, math.floor) == 0.0
