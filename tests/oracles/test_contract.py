"""Every oracle of the registry: only feasible points, none twice, seeded, and an end when there is no more."""

from __future__ import annotations

from collections import Counter

import pytest
from toys import FINITE_SPACE, SPACE, TIGHT_SPACE, toy_space

from cnn_tuner.errors import SearchError, UsageError
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.oracles import registry
from cnn_tuner.oracles.feasible import FeasibleOracle, Search
from cnn_tuner.spaces import architecture

OUTPUT = Output("multiclass", 10)
POINTS = 12
EVERY = pytest.mark.parametrize("name", registry.ORACLES)
# The model of the Bayesian oracle takes seconds for what the others do in no time.
QUICK = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "bayesian" else name for name in registry.ORACLES]
)


def make(
    name: str, text: str = SPACE, max_trials: int | None = POINTS, epochs: int = 9, seed: int = 0, **more: object
) -> FeasibleOracle:
    space = toy_space(text)
    why = architecture.why_infeasible(space, (8, 8, 1), OUTPUT)
    return registry.create(name, Search(space, why, Objective("val_accuracy", "max"), max_trials, epochs, seed, **more))


def own(values: dict) -> dict:
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def score_of(values: dict) -> float:
    return 0.5 + 0.05 * values["block_1.filters"] + 0.1 * values["dense_layers"] - values["block_1.dropout"]


def run(oracle: FeasibleOracle, fails: tuple[int, ...] = (), most: int = 200) -> list[dict]:
    """All values that an oracle suggests, one after the other, until it stops."""
    suggested: list[dict] = []
    while len(suggested) < most:
        trial = oracle.create_trial(f"job-{len(suggested)}")
        if trial.status != "RUNNING":
            assert trial.status == "STOPPED"
            return suggested
        values = trial.hyperparameters.values
        suggested.append(dict(values))
        if len(suggested) in fails:
            trial.status = "FAILED"
        else:
            oracle.update_trial(trial.trial_id, {"val_accuracy": score_of(values)}, step=1)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return suggested


def history(oracle: FeasibleOracle, asks: int, fails: tuple[int, ...] = (), slots: int = 1) -> list[tuple]:
    """What a search would record of so many suggestions: ("began", id, values) and ("ended", id, score)."""
    events: list[tuple] = []
    running: list = []
    while sum(kind == "began" for kind, *_ in events) < asks:
        trial = oracle.create_trial(f"job-{len(events)}")
        if trial.status == "RUNNING":
            running.append(trial)
            events.append(("began", trial.trial_id, dict(trial.hyperparameters.values)))
        if trial.status != "RUNNING" or len(running) == slots:
            ended = running.pop(0)
            score = None if len(events) in fails else score_of(ended.hyperparameters.values)
            end(oracle, ended, score)
            events.append(("ended", ended.trial_id, score))
    return events


def end(oracle: FeasibleOracle, trial, score: float | None) -> None:
    if score is None:
        trial.status = "FAILED"
    else:
        oracle.update_trial(trial.trial_id, {"val_accuracy": score}, step=1)
        trial.status = "COMPLETED"
    oracle.end_trial(trial)


def restored(oracle: FeasibleOracle, events: list[tuple]) -> FeasibleOracle:
    trials = {}
    for kind, trial_id, what in events:
        if kind == "began":
            trials[trial_id] = oracle.restore(trial_id, what)
        else:
            end(oracle, trials.pop(trial_id), what)
    return oracle


def first_rounds(suggested: list[dict]) -> list[tuple]:
    return [tuple(sorted(own(values).items())) for values in suggested if "tuner/trial_id" not in values]


@EVERY
def test_suggests_only_points_that_fit(name):
    oracle = make(name, TIGHT_SPACE)
    suggested = run(oracle)
    assert suggested
    for values in suggested:
        architecture.build(own(values), (8, 8, 1), OUTPUT)
    assert oracle.infeasible, "the space was meant to have infeasible points"


@EVERY
def test_counts_only_points_that_fit(name):
    assert len(first_rounds(run(make(name, TIGHT_SPACE, max_trials=7)))) == 7


@QUICK
def test_never_suggests_a_point_twice(name):
    points = first_rounds(run(make(name)))
    assert len(points) == len(set(points)) == POINTS


@EVERY
def test_covers_a_small_space_exactly_once_and_stops(name):
    points = first_rounds(run(make(name, FINITE_SPACE, max_trials=None)))
    assert Counter(points) == Counter(tuple(sorted(p.items())) for p in toy_space(FINITE_SPACE).points())


@QUICK
def test_values_are_exactly_the_active_ones(name):
    for values in run(make(name)):
        has_layer = values["dense_layers"] == 1
        assert ("dense_1.units" in values) is has_layer


@QUICK
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_same_seed_gives_the_same_points(name, seed):
    assert run(make(name, seed=seed)) == run(make(name, seed=seed))


@pytest.mark.parametrize("name", ["random", pytest.param("bayesian", marks=pytest.mark.slow), "hyperband"])
def test_another_seed_gives_other_points(name):
    assert len({tuple(first_rounds(run(make(name, seed=seed)))) for seed in (0, 1, 2)}) == 3


@EVERY
def test_goes_on_after_failures(name):
    assert len(first_rounds(run(make(name), fails=(1, 2, 3, 4, 5)))) == POINTS


@EVERY
def test_keeps_nothing_on_disk(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(make(name))
    assert list(tmp_path.iterdir()) == []


@QUICK
@pytest.mark.parametrize("slots", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("asks", [0, 1, 5, pytest.param(14, marks=pytest.mark.slow)])
def test_restored_from_what_was_recorded_it_suggests_what_it_would_have(name, asks, slots):
    oracle = make(name, max_trials=30)
    events = history(oracle, asks, fails=(4, 9), slots=slots)
    again = restored(make(name, max_trials=30), events)
    assert set(again.ongoing_trials) == {f"restored-{t.trial_id}" for t in oracle.ongoing_trials.values()}
    for _ in range(12):
        then, now = (each.create_trial(f"job-{len(each.trials)}-next") for each in (oracle, again))
        assert (now.status, now.trial_id, now.hyperparameters.values) == (
            then.status, then.trial_id, then.hyperparameters.values,
        )  # fmt: skip
        for each, trial in ((oracle, then), (again, now)):
            if trial.status == "RUNNING":
                end(each, trial, score_of(trial.hyperparameters.values))


@EVERY
def test_a_suggestion_restored_out_of_order_is_refused(name):
    events = history(make(name), 2)
    with pytest.raises(SearchError, match=r"^the oracle's trial 0001 comes out of order: 0000 is missing$"):
        restored(make(name), [event for event in events if event[1] == "0001"])


@QUICK
def test_with_more_trials_allowed_it_goes_on_from_where_it_ended(name):
    events = history(make(name, max_trials=6), 6)
    again = restored(make(name, max_trials=9), events)
    suggested = [values for _, _, values in (e for e in events if e[0] == "began")] + run(again)
    assert len(first_rounds(suggested)) == len(set(first_rounds(suggested))) == 9


def test_bayesian_does_not_learn_from_points_of_a_space_that_was_edited_since():
    edited = SPACE.replace("filters: [2, 4]", "filters: [4, 8]")
    events = history(make("bayesian", max_trials=24), 12)
    again = restored(make("bayesian", edited, max_trials=24), events)
    suggested = [again.create_trial(f"next-{i}").hyperparameters.values for i in range(12)]
    assert {values["block_1.filters"] for values in suggested} <= {4, 8}


def test_hyperband_for_other_epochs_has_no_place_for_what_was_tried():
    events = history(make("hyperband", max_trials=17), 17)
    with pytest.raises(SearchError, match=r"^Hyperband for 2 epochs has no place for what an earlier session tried$"):
        restored(make("hyperband", max_trials=17, epochs=2), events)


def test_hyperband_names_the_trials_that_may_go_on():
    oracle = make("hyperband", max_trials=9)
    events = history(oracle, 9, slots=4)  # the first round: 5 have ended, 4 run or have just ended
    scores = {trial_id: score for kind, trial_id, score in events if kind == "ended"}
    best = sorted(scores, key=lambda trial_id: -scores[trial_id])[:3]
    running = {t.trial_id for t in oracle.ongoing_trials.values()}
    assert oracle.continuable() == set(best) | running
    for trial in list(oracle.ongoing_trials.values()):
        end(oracle, trial, score_of(trial.hyperparameters.values))
    run(oracle)
    assert oracle.continuable() == set()


def test_hyperband_forgets_brackets_that_have_ended():
    oracle = make("hyperband", max_trials=200)
    run(oracle, most=250)
    assert len(oracle._brackets) <= 2


def test_copies_of_the_hyperparameters_share_their_definitions():
    oracle = make("random")
    first, second = (oracle.create_trial(f"job-{i}").hyperparameters for i in range(2))
    assert first.space is second.space
    assert first.values != second.values


def test_grid_goes_through_the_space_in_order():
    filters = [values["block_1.filters"] for values in run(make("grid", FINITE_SPACE, max_trials=4))]
    assert filters == [2, 3, 4, 2]


def test_grid_spreads_a_continuous_range_from_end_to_end():
    rates = {round(values["learning_rate"], 6) for values in run(make("grid", max_trials=None), most=10_000)}
    assert rates == {0.003, 0.005335, 0.009487, 0.01687, 0.03}


@pytest.mark.slow
def test_bayesian_finds_better_points_than_its_random_start():
    scores = [score_of(values) for values in run(make("bayesian", max_trials=24))]
    assert max(scores[8:]) >= max(scores[:8])
    assert sum(scores[8:]) / 16 > sum(scores[:8]) / 8


def test_bayesian_learns_from_failures():
    oracle = make("bayesian", max_trials=12)
    run(oracle, fails=(2, 4))
    points, losses = oracle._learned(oracle._known())
    assert len(points) == 12
    assert sorted(losses)[-2:] == [max(losses)] * 2  # both failed ones count as the worst


def hyperband_rounds(suggested: list[dict]) -> Counter:
    return Counter((v["tuner/bracket"], v["tuner/round"], v["tuner/epochs"]) for v in suggested)


def test_hyperband_promotes_as_planned():
    suggested = run(make("hyperband", max_trials=17))
    assert hyperband_rounds(suggested) == {
        (2, 0, 1): 9, (2, 1, 3): 3, (2, 2, 9): 1, (1, 0, 3): 5, (1, 1, 9): 2, (0, 0, 9): 3,
    }  # fmt: skip


def test_hyperband_promotes_the_best_of_a_round():
    suggested = run(make("hyperband", max_trials=9))
    first = sorted((score_of(v) for v in suggested[:9]), reverse=True)
    promoted = [score_of(v) for v in suggested if v["tuner/round"] == 1]
    assert promoted == first[:3]


def test_a_failed_trial_costs_hyperband_no_rung():
    rounds = hyperband_rounds(run(make("hyperband", max_trials=9), fails=(1, 2, 3, 4)))
    assert rounds == {(2, 0, 1): 9, (2, 1, 3): 3, (2, 2, 9): 1}


def test_a_bracket_cut_short_still_has_its_rounds():
    assert hyperband_rounds(run(make("hyperband", max_trials=4))) == {(2, 0, 1): 4, (2, 1, 3): 2, (2, 2, 9): 1}


def test_an_unknown_oracle_is_named_with_the_choices():
    with pytest.raises(
        UsageError, match=r"^--oracle: unknown: 'genetic'; choices: random, grid, bayesian, hyperband, asha$"
    ):
        registry.check_name("genetic")
