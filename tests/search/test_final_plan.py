"""How the time of the final training is shared out: finalists, seeds, epochs, the refit, and all cores for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toys import toy_config

from cnn_tuner.search.final_plan import FALLING, WIDE_GAIN, WORTH_A_START, FinalPlan, Pace, plan_final, side_by_side

SLOW_START, QUICK_START = 100.0, 1.0
PACE = Pace(10.0, (10.0, 10.0, 10.0), 5.0, SLOW_START, 2)  # an epoch of each finalist, beside it, a start, workers


def plan(room: float | None, pace: Pace = PACE, search_epochs: float = 1000.0, **search) -> FinalPlan:
    settings = {"epochs": 10, "final_epochs": 30, "finalists": 3, "final_seeds": 3, "refits": True} | search
    return plan_final(toy_config(**settings).search, pace, room, search_epochs)


def test_in_ample_time_every_finalist_has_every_seed_and_all_epochs():
    assert plan(10_000.0) == FinalPlan(3, 3, 30, True, False, side_by_side([305.0] * 9, 2) + 305.0)


def test_in_less_there_are_as_many_as_fit_after_two_rivals_and_the_refit():
    assert plan(650.0) == FinalPlan(3, 3, 30, True, False, 650.0)
    assert plan(600.0).is_timed, "305 s for two side by side and 305 s for the refit do not fit"


def test_in_little_each_worker_trains_one_to_the_end_and_the_refit_follows():
    found = plan(400.0)
    assert (found.finalists, found.seeds, found.refits) == (2, 1, True)
    assert (found.is_timed, found.is_wide) == (True, False), "a worker's start takes a quarter of the time"
    assert plan(400.0, finalists=1).finalists == 1
    assert plan(400.0, replace(PACE, slots=4)).finalists == 3


def test_where_a_start_takes_little_of_it_one_has_all_cores():
    found = plan(400.0, replace(PACE, start_seconds=QUICK_START))
    assert (found.finalists, found.is_wide, found.refits) == (1, True, True)
    room = WORTH_A_START * PACE.start_seconds
    assert not plan(room).is_wide
    assert plan(room + 1).is_wide


def test_a_refit_takes_half_of_the_time_only_where_both_are_trained_long_enough():
    pace = replace(PACE, start_seconds=QUICK_START)
    needed = QUICK_START + 2 * (5.0 + 10 * 10.0 / WIDE_GAIN)
    assert plan(needed + 1, pace).refits
    assert not plan(needed - 1, pace).refits
    assert not plan(10_000.0, pace, refits=False).refits


def test_gpus_cannot_be_had_together_by_one():
    found = plan(400.0, replace(PACE, start_seconds=QUICK_START, widens=False))
    assert (found.finalists, found.is_wide) == (2, False)
    assert replace(PACE, widens=False).wide(6) == PACE.narrow(6)


WIDE = replace(PACE, start_seconds=QUICK_START, searched_seconds=40.0)


@pytest.mark.parametrize(("refits", "jobs"), [(True, 2), (False, 1)])
def test_one_goes_on_with_the_search_and_its_rate_falls_in_two_fifths_of_all(refits, jobs):
    found = plan(200.0, WIDE, refits=refits, final_epochs=100)
    assert found.refits == refits
    each = (200.0 - QUICK_START - (jobs + 1) * 5.0 - found.trunk_seconds) / jobs
    assert each == pytest.approx(FALLING * (40.0 / WIDE_GAIN + found.trunk_seconds + each))
    assert found.seconds == pytest.approx(200.0)


def test_a_trunk_is_no_longer_than_a_finalist_may_be_trained():
    found = plan(400.0, WIDE, refits=False, final_epochs=30, epochs=10)
    assert found.trunk_seconds == 0.0, "all epochs fit in from the first one on"
    found = plan(300.0, WIDE, final_epochs=30, epochs=10)
    assert found.trunk_seconds == pytest.approx((1 - FALLING) * 30 * 10.0 / WIDE_GAIN - 40.0 / WIDE_GAIN)
    assert found.seconds < 300.0


def test_without_what_the_search_trained_or_time_for_an_epoch_of_it_there_is_no_trunk():
    assert plan(200.0, replace(WIDE, searched_seconds=0.0)).trunk_seconds == 0.0
    assert plan(20.0, WIDE).trunk_seconds == 0.0
    assert plan(100.0, replace(PACE, searched_seconds=40.0)).trunk_seconds == 0.0, "rivals begin anew"


def test_a_job_of_a_given_time_may_train_more_than_is_expected_and_one_epoch_at_least():
    assert 1 < plan(100.0, refits=False).epochs <= 30
    assert plan(0.0).epochs == 1


def test_without_a_limit_the_twins_take_a_third_of_the_searchs_epochs_at_most():
    assert (plan(None).finalists, plan(None).seeds) == (3, 3)
    assert (plan(None, search_epochs=180.0).finalists, plan(None, search_epochs=180.0).seeds) == (2, 1)
    assert (plan(None, search_epochs=1.0).finalists, plan(None, search_epochs=1.0).seeds) == (1, 1)


@pytest.mark.parametrize(("slots", "expected"), [(1, 60.0), (2, 40.0), (3, 30.0)])
def test_jobs_side_by_side_begin_when_a_slot_is_free(slots, expected):
    assert side_by_side([10.0, 20.0, 30.0], slots) == expected
