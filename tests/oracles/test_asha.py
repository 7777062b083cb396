"""Asynchronous successive halving by invented scores: who is promoted, when, and how it ends."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from oracles.test_contract import end, history, make, own, restored, run
from toys import FINITE_SPACE

from cnn_tuner.errors import SearchError, UsageError
from cnn_tuner.oracles import registry
from cnn_tuner.oracles.asha import HELD
from cnn_tuner.oracles.rungs import ParetoRanking, Ranking, Rung, rung_epochs


def asked(oracle):
    trial = oracle.create_trial(f"job-{len(oracle.trials)}-{len(oracle.end_order)}")
    return trial if trial.status == "RUNNING" else trial.status


def round_of(trial) -> int:
    return trial.hyperparameters.values["tuner/round"]


def scored(oracle, scores) -> list:
    """As many new points as scores, asked for first and then ended; None fails."""
    trials = [asked(oracle) for _ in scores]
    assert {round_of(trial) for trial in trials} == {0}
    for trial, score in zip(trials, scores, strict=True):
        end(oracle, trial, score)
    return trials


def rounds(suggested: list[dict]) -> Counter:
    return Counter((values["tuner/round"], values["tuner/epochs"]) for values in suggested)


def completed(trial_id: str, score: float) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial_id, score=score, status="COMPLETED")


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(27, [1, 3, 9, 27]), (10, [1, 2, 4, 10]), (8, [1, 3, 8]), (3, [1, 3]), (2, [1, 2]), (1, [1])],
)
def test_rungs_are_thirds_of_the_epochs_rounded_up(epochs, rungs):
    assert rung_epochs(epochs) == rungs


@pytest.mark.parametrize(
    ("epochs", "least", "rungs"),
    [(24, 2, [3, 8, 24]), (48, 4, [6, 16, 48]), (12, 5, [5, 12]), (9, 5, [9]), (5, 5, [5])],
)
def test_no_rung_is_below_the_least_and_none_just_above_another(epochs, least, rungs):
    assert rung_epochs(epochs, least) == rungs


@pytest.mark.parametrize(("direction", "order"), [("max", ["1", "0", "2", "3"]), ("min", ["3", "0", "2", "1"])])
def test_a_ranking_is_in_order_and_of_equals_the_earlier_is_better(direction, order):
    ranking = Ranking(direction)
    for number, score in enumerate([0.5, 0.9, 0.5, 0.1]):
        ranking.add(completed(str(number), score))
    assert ranking.best(4) == order
    assert ranking.first_of(ranking, 1) == order[0]
    ranking.remove("0")
    assert ranking.best(9) == [trial_id for trial_id in order if trial_id != "0"]
    assert "0" not in ranking


def test_with_a_cost_the_order_is_by_fronts():
    costs = {"0": 9.0, "1": 1.0, "2": 10.0, "3": 5.0}
    ranking, some = ParetoRanking("max", costs), ParetoRanking("max", costs)
    for number, score in enumerate([0.9, 0.5, 0.8, 0.7]):
        ranking.add(completed(str(number), score))
    assert ranking.best(4) == ["0", "1", "3", "2"], "the last one is beaten in both by the first"
    some.add(completed("2", 0.8))
    some.add(completed("3", 0.7))
    assert (ranking.first_of(some, 2), ranking.first_of(some, 3)) == (None, "3")
    ranking.remove("0")
    assert "0" not in ranking and len(ranking) == 3
    assert set(ranking.best(3)) == {"1", "2", "3"}, "without it nobody beats the last one"


def test_two_objectives_promote_what_is_good_or_small():
    oracle = make("asha", max_trials=None, has_cost=True)
    trials = [asked(oracle) for _ in range(6)]
    for trial, score, cost in zip(trials, [0.9, 0.5, 0.85, 0.8, 0.7, 0.6], [100, 1, 200, 300, 400, 500], strict=True):
        oracle.costs[trial.trial_id] = cost
        end(oracle, trial, score)
    promoted = [asked(oracle).hyperparameters.values.get("tuner/trial_id") for _ in range(3)]
    assert promoted == [trials[0].trial_id, trials[1].trial_id, None]


def test_a_rung_promotes_only_the_best_third_of_those_that_ended():
    rung = Rung(1, lambda: Ranking("max"))
    for number, score in enumerate([0.9, 0.8]):
        rung.add(completed(str(number), score))
    assert (rung.promotable(), rung.promotable(least=1)) == (None, "0")
    assert rung.is_promotable("0", least=1) and not rung.is_promotable("1", least=1)
    rung.add(completed("2", 0.7))
    assert rung.promotable() == "0"
    rung.waiting.remove("0")
    assert rung.promotable() is None, "a third of three went on"
    for number in (3, 4, 5):
        rung.add(completed(str(number), 0.1))
    assert rung.promotable() == "1"


def test_a_promotion_names_its_parent_its_epochs_and_its_rung():
    oracle = make("asha", max_trials=None)
    trials = scored(oracle, [0.3, 0.9, 0.5])
    values = asked(oracle).hyperparameters.values
    assert own(values) == own(trials[1].hyperparameters.values)
    assert {name: value for name, value in values.items() if name.startswith("tuner/")} == {
        "tuner/trial_id": trials[1].trial_id,
        "tuner/initial_epoch": 1,
        "tuner/epochs": 3,
        "tuner/bracket": 0,
        "tuner/round": 1,
    }


def test_while_others_work_the_best_goes_on_before_three_have_ended():
    oracle = make("asha", max_trials=None, epochs=9)
    trials = [asked(oracle) for _ in range(3)]
    end(oracle, trials[0], 0.5)
    second = asked(oracle)
    assert (round_of(second), own(second.hyperparameters.values)) == (1, own(trials[0].hyperparameters.values))
    end(oracle, trials[1], 0.4)
    assert round_of(asked(oracle)) == 0, "not the best"
    end(oracle, second, 0.6)
    third = asked(oracle)
    assert (round_of(third), own(third.hyperparameters.values)) == (2, own(trials[0].hyperparameters.values))
    end(oracle, trials[2], 0.7)
    assert own(asked(oracle).hyperparameters.values) == own(trials[2].hyperparameters.values), (
        "better than the first was"
    )


def test_one_worker_alone_waits_until_three_have_ended():
    oracle, rungs = make("asha", max_trials=None, epochs=9), []
    for _ in range(4):
        trial = asked(oracle)
        rungs.append(round_of(trial))
        end(oracle, trial, 0.5)
    assert rungs == [0, 0, 0, 1]


def test_of_two_promotions_the_one_that_is_trained_longest_comes_first():
    oracle = make("asha", max_trials=None)
    scored(oracle, [0.1 * n for n in range(9)])
    second = [asked(oracle) for _ in range(3)]
    assert [round_of(trial) for trial in second] == [1, 1, 1]
    new = [asked(oracle) for _ in range(3)]  # under way while the second rung ends
    assert [round_of(trial) for trial in new] == [0, 0, 0]
    for trial in (*new, *second):
        end(oracle, trial, 0.95)
    assert [round_of(asked(oracle)) for _ in range(3)] == [2, 1, 1]


def test_of_two_promotions_the_trial_that_ended_last_comes_first():
    oracle = make("asha", max_trials=None)
    trials = scored(oracle, [0.0, 0.1, 0.2, 0.3, 0.4, 0.35])
    promoted = [asked(oracle).hyperparameters.values.get("tuner/trial_id") for _ in range(3)]
    assert promoted == [trials[5].trial_id, trials[4].trial_id, None], "the last one is not the best, but still set up"


def test_a_failed_trial_has_ended_as_the_worst():
    oracle = make("asha", max_trials=None)
    trials = scored(oracle, [None, 0.2, None])
    promoted = asked(oracle)
    assert promoted.hyperparameters.values["tuner/trial_id"] == trials[1].trial_id
    assert round_of(asked(oracle)) == 0, "what failed is never promoted"


@pytest.mark.parametrize("fails", [(), (1, 5, 9), tuple(range(1, 13))])
@pytest.mark.parametrize("slots", [1, 7])
def test_nobody_waits_while_new_points_may_be_taken(fails, slots):
    oracle, running = make("asha", max_trials=60, epochs=27), []
    while oracle.takes_new_points():
        trial = asked(oracle)
        assert trial not in ("IDLE", "STOPPED")
        running.append(trial)
        if len(running) == slots:
            oldest = running.pop(0)
            number = int(oldest.trial_id)
            end(oracle, oldest, None if number in fails else 1 / (1 + number % 17))
    assert len([t for t in oracle.trials.values() if round_of(t) == 0]) == 60


def test_without_new_points_the_best_goes_on_and_others_wait_for_what_runs():
    oracle = make("asha", max_trials=3)
    first, second, third = (asked(oracle) for _ in range(3))
    assert asked(oracle) == "IDLE"
    end(oracle, first, 0.5)
    assert asked(oracle).hyperparameters.values["tuner/trial_id"] == first.trial_id
    end(oracle, second, 0.4)
    assert asked(oracle) == "IDLE", "the third one may be better"
    end(oracle, third, 0.6)
    assert asked(oracle).hyperparameters.values["tuner/trial_id"] == third.trial_id


@pytest.mark.parametrize(
    ("max_trials", "expected"),
    [
        (1, {(0, 1): 1, (1, 3): 1, (2, 9): 1}),
        (2, {(0, 1): 2, (1, 3): 1, (2, 9): 1}),
        (9, {(0, 1): 9, (1, 3): 3, (2, 9): 1}),
    ],
)
def test_a_short_search_has_trained_a_point_to_the_top(max_trials, expected):
    suggested = run(make("asha", max_trials=max_trials))
    counted = rounds(suggested)
    assert counted[(0, 1)] == max_trials
    assert counted[(2, 9)] >= 1
    if max_trials < 9:
        assert counted == expected
    else:  # promoted too early it takes a place beside the best: at most as many as came before them
        assert expected[(1, 3)] <= counted[(1, 3)] <= max_trials // 3 + 2


def test_a_failure_on_the_way_up_gives_its_place_to_the_next_best():
    oracle = make("asha", max_trials=3)
    trials = scored(oracle, [0.3, 0.9, 0.5])
    end(oracle, asked(oracle), None)
    following = asked(oracle)
    assert following.hyperparameters.values["tuner/trial_id"] == trials[2].trial_id


def test_what_fails_again_and_again_on_the_way_up_ends_the_search():
    oracle = make("asha", max_trials=12)
    scored(oracle, [0.1 * n for n in range(12)])
    failures = 0
    while (trial := asked(oracle)) != "STOPPED":
        end(oracle, trial, None)
        failures += 1
    assert failures == 4, "a third of twelve, and no other"


def test_an_exhausted_space_is_promoted_to_the_top():
    suggested = run(make("asha", FINITE_SPACE, max_trials=None))
    counted = rounds(suggested)
    assert counted[(0, 1)] == 12
    assert counted[(2, 9)] >= 1


def test_one_epoch_has_one_rung():
    assert rounds(run(make("asha", max_trials=4, epochs=1))) == {(0, 1): 4}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_restored_in_the_middle_of_promotions_it_suggests_the_same(sampler):
    def begun():
        oracle = make("asha", max_trials=80, epochs=27)
        return registry.create("asha", oracle.search.__class__(**{**vars(oracle.search), "sampler": sampler}))

    oracle, again = begun(), begun()
    events = history(oracle, 60, fails=(3, 30), slots=5)
    assert {values["tuner/round"] for kind, _, values in (e for e in events if e[0] == "began")} >= {0, 1, 2}
    restored(again, events)
    for _ in range(25):
        then, now = asked(oracle), asked(again)
        assert (now.trial_id, now.hyperparameters.values) == (then.trial_id, then.hyperparameters.values)
        end(oracle, then, 0.5)
        end(again, now, 0.5)


@pytest.mark.parametrize("epochs", [2, 10])
def test_for_other_epochs_there_is_no_place_for_what_was_tried(epochs):
    events = history(make("asha", max_trials=17), 17)
    text = rf"^ASHA for {epochs} epochs has no place for what an earlier session tried$"
    with pytest.raises(SearchError, match=text):
        restored(make("asha", max_trials=17, epochs=epochs), events)


def test_for_three_times_the_epochs_it_has_one_rung_more():
    again = restored(make("asha", max_trials=9, epochs=27), history(make("asha", max_trials=9), 12))
    assert rounds(run(again))[(3, 27)] == 1


def test_what_another_oracle_tried_has_no_place():
    events = history(make("random"), 2)
    with pytest.raises(SearchError, match=r"^ASHA for 9 epochs has no place for what an earlier session tried$"):
        restored(make("asha"), events)


def test_the_best_that_wait_may_go_on_and_never_more_than_the_bound():
    oracle = make("asha", max_trials=None, epochs=9)
    trials = scored(oracle, [0.01 * n for n in range(40)])
    assert oracle.most_continuable() == 2 * HELD
    best = {trial.trial_id for trial in trials[-HELD:]}
    assert oracle.continuable() == best
    promoted = asked(oracle).hyperparameters.values["tuner/trial_id"]
    assert promoted in best
    assert promoted not in oracle.continuable()
    end(oracle, next(iter(oracle.ongoing_trials.values())), 0.9)
    assert len(oracle.continuable()) == HELD + 1


@pytest.mark.parametrize(
    ("oracle", "sampler", "text"),
    [
        ("random", "tpe", r"^--sampler: oracle random has no samplers, got 'tpe'$"),
        ("hyperband", "random", r"^--sampler: oracle hyperband has no samplers, got 'random'$"),
        ("asha", "cmaes", r"^--sampler: unknown: 'cmaes'; choices: tpe, random$"),
    ],
)
def test_a_sampler_that_cannot_be_used_is_refused(oracle, sampler, text):
    search = make("asha").search
    with pytest.raises(UsageError, match=text):
        registry.create(oracle, search.__class__(**{**vars(search), "sampler": sampler}))
    registry.check_sampler(oracle, None)
