"""How long a run may take, what of it is whose, and the pace that is learned."""

from __future__ import annotations

import math

import pytest

from cnn_tuner.errors import UsageError
from cnn_tuner.runs.budget import (
    FINAL_SHARE,
    LARGEST_FINAL_SHARE,
    LEAST_SECONDS,
    Budget,
    Pace,
    final_room,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("90s", 90.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("0.5m", 30.0),
        ("1d", 86400.0),
        ("1h1m1s", 3661.0),
        ("0h45s", 45.0),
    ],
)
def test_durations(text, seconds):
    assert parse_seconds("--budget", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "m", "30 m", "1h 30m", "-30m", "30min", "1,5h", "1.h", ".5h", "1h30", "3x0m"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_seconds("--budget", text)
    assert str(error.value) == f"--budget: must be a duration such as 90s, 30m or 1h30m, got {text!r}"


@pytest.mark.parametrize("text", ["0s", "29s", "29.9s", "0.4m", "0h"])
def test_what_is_shorter_than_a_run_can_be_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_seconds("toy.yaml: search.budget", text)
    expected = f"toy.yaml: search.budget: must be at least {LEAST_SECONDS:g}s, to load, export and verify, got {text!r}"
    assert str(error.value) == expected


def test_without_a_limit_nothing_ends():
    budget = Budget(None, spent_seconds=100.0, began=5.0)
    assert (budget.ends_at, budget.search_ends_at(10.0, 10.0), budget.training_ends_at(10.0)) == (math.inf,) * 3


@pytest.mark.parametrize(
    ("final", "ends"),
    [
        (0.0, 1560.0),
        (50.0, 1510.0),
        (100.0, 1460.0),
        (FINAL_SHARE * 600, 1560.0 - FINAL_SHARE * 600),
        (1e6, 1560.0 - LARGEST_FINAL_SHARE * 600),
    ],
    ids=["nothing", "little", "some", "its share", "more than its share"],
)
def test_the_search_leaves_the_final_training_what_it_takes_but_no_more_than_its_share(final, ends):
    budget = Budget(600.0, began=1000.0)
    assert budget.search_ends_at(final, export_seconds=40.0) == ends
    assert budget.training_ends_at(export_seconds=40.0) == 1560.0
    assert budget.ends_at == 1600.0


@pytest.mark.parametrize(
    ("enough", "room"),
    [(0.0, FINAL_SHARE * 600), (400.0, 400.0), (1e6, LARGEST_FINAL_SHARE * 600)],
    ids=["enough in its share", "more than its share", "never enough"],
)
def test_where_epochs_are_few_more_of_the_budget_is_kept_for_the_final_training(enough, room):
    assert final_room(600.0, enough) == room


def test_what_earlier_sessions_spent_is_gone_but_the_time_between_them_is_not():
    first, later = Budget(600.0, began=1000.0), Budget(600.0, spent_seconds=450.0, began=999_000.0)
    assert first.ends_at - first.began == 600.0
    assert later.ends_at - later.began == 150.0
    assert Budget(600.0, spent_seconds=700.0, began=2000.0).ends_at < 2000.0


def test_before_the_first_epoch_the_pace_knows_nothing():
    pace = Pace()
    assert (pace.startup_seconds, pace.epoch_seconds, pace.setup_seconds) == (None, 0.0, 0.0)


def test_the_pace_is_the_mean_of_epochs_and_of_what_jobs_take_beside_them():
    pace = Pace()
    for seconds, since in [(4.0, 10.0), (2.0, 12.0), (3.0, 3.5)]:
        pace.note_epoch(seconds, since)
    pace.note_job(1.5)
    pace.note_job(0.5)
    assert pace.startup_seconds == 6.0, "the first job's alone: later ones find their process ready"
    assert (pace.epoch_seconds, pace.setup_seconds) == (3.0, 1.0)


def test_an_epoch_that_an_earlier_process_trained_tells_nothing_of_the_start_up():
    pace = Pace()
    pace.note_epoch(60.0, since_start=4.0)
    assert pace.startup_seconds is None, "or the export would be given no time at all"
    pace.note_epoch(10.0, since_start=15.0)
    assert pace.startup_seconds == 5.0


def test_a_job_never_takes_less_than_its_epochs():
    pace = Pace()
    pace.note_job(-0.2)
    assert pace.setup_seconds == 0.0
