"""Which training states stay on disk: the best, those that may go on, and never more than a bound."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from toys import FormulaExecutor, toy_run

from cnn_tuner.logs.trials import RunLogs
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.runs.checkpoints import FILES_OF_A_SLOT, STATE_OVERHEAD_BYTES, Checkpoints, bound_bytes
from cnn_tuner.runs.records import Trial
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle

MAX, MIN = Objective("val_accuracy", "max"), Objective("val_loss", "min")


def trial(number: int, score: float | None, state_job: int | None = -1, params: int = 10) -> Trial:
    """A trial whose state is that of the job with its own number, if nothing else is said."""
    state = number if state_job == -1 else state_job
    return Trial(number, {}, 0, params, 20, "completed", score, state_job=state)


def checkpoints(keep: int, continuable: int = 0, objective: Objective = MAX) -> tuple[Checkpoints, list[int]]:
    dropped: list[int] = []
    return Checkpoints(keep, continuable, objective, dropped.append), dropped


def test_the_best_stay():
    kept, dropped = checkpoints(keep=2)
    for number, score in enumerate((0.5, 0.9, 0.7, 0.6), start=1):
        kept.add(trial(number, score))
    assert dropped == [1, 4]


def test_the_best_of_a_loss_are_the_lowest():
    kept, dropped = checkpoints(keep=1, objective=MIN)
    for number, score in enumerate((0.5, 0.9, 0.3), start=1):
        kept.add(trial(number, score))
    assert dropped == [2, 1]


def test_of_equals_the_smaller_model_stays():
    kept, dropped = checkpoints(keep=1)
    kept.add(trial(1, 0.5, params=20))
    kept.add(trial(2, 0.5, params=10))
    assert dropped == [1]


def test_what_may_go_on_stays_besides_the_best_as_far_as_there_is_room():
    kept, dropped = checkpoints(keep=1, continuable=2)
    for number, score in enumerate((0.9, 0.5, 0.6, 0.7), start=1):
        kept.add(trial(number, score), continuable={1, 2, 3, 4})
    assert dropped == [2]
    kept.tidy()
    assert sorted(dropped) == [2, 3, 4]


def test_a_state_that_a_job_began_with_stays_while_that_runs():
    kept, dropped = checkpoints(keep=1)
    kept.add(trial(1, 0.5))
    kept.add(trial(2, 0.9), running={1})
    assert dropped == []
    kept.tidy()
    assert dropped == [1]


def test_the_best_count_besides_those_that_run():
    kept, dropped = checkpoints(keep=1)
    kept.add(trial(1, 0.9))
    kept.add(trial(2, 0.5), running={1})
    assert dropped == []


def test_the_state_of_an_earlier_job_of_the_trial_is_dropped():
    kept, dropped = checkpoints(keep=1)
    kept.add(trial(1, 0.5, state_job=1))
    kept.add(trial(1, 0.6, state_job=7))
    assert dropped == [1]
    kept.add(trial(1, 0.6, state_job=7))
    assert dropped == [1]


def test_a_trial_without_a_state_takes_no_place():
    kept, dropped = checkpoints(keep=1)
    kept.add(trial(1, 0.5))
    kept.add(trial(2, 0.9, state_job=None))
    assert dropped == []


def test_a_trial_without_a_score_is_not_among_the_best():
    kept, dropped = checkpoints(keep=2)
    kept.add(trial(1, None))
    assert dropped == [1]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_order_in_which_trials_end_no_more_are_held_than_allowed(seed):
    rng = random.Random(seed)
    keep, continuable, slots = rng.randint(1, 4), rng.randint(0, 5), rng.randint(1, 4)
    held, trials, running = set(), {}, set()
    kept = Checkpoints(keep, continuable, rng.choice([MAX, MIN]), held.discard)
    for job in range(1, 80):
        while len(running) < slots:
            running.add(rng.choice([n for n in range(1, 25) if n not in running]))
        number = rng.choice(sorted(running))
        running.remove(number)
        ended = trials.get(number, trial(number, None, None))
        if rng.random() < 0.9:  # the others failed, or were stopped before their first epoch
            held.add(job)
            ended = replace(ended, score=rng.choice([rng.random(), 0.5]), state_job=job)
        trials[number] = ended
        begun_with = {trials[n].state_job for n in running if n in trials} & held
        kept.add(ended, set(running), set(rng.sample(sorted(trials), rng.randint(0, len(trials)))))
        assert len(held) <= keep + continuable + len(running)
        assert begun_with <= held
    kept.tidy()
    assert len(held) <= keep


@pytest.mark.parametrize(
    ("oracle", "slots"), [("random", 1), ("random", 3), ("asha", 1), ("asha", 4), ("hyperband", 1), ("hyperband", 4)]
)
def test_a_search_never_holds_more_files_than_its_bound_says(tmp_path, oracle, slots):
    run = toy_run(tmp_path, oracle=oracle, max_trials=20, epochs=9, keep=2)
    made = make_oracle(run.config)
    logs = RunLogs(run.tensorboard, run.config.search_space(), run.config.objective)
    observer, counts = Silent(), []
    observer.trial_ended = lambda *_: counts.append(len(list(run.checkpoints.iterdir())))
    Search(run, made, FormulaExecutor(slots), logs, observer).run()
    assert max(counts) <= 2 + made.most_continuable() + FILES_OF_A_SLOT * slots
    assert len(list(run.checkpoints.iterdir())) == 2


def test_the_bound_counts_every_file_and_grows_with_the_model():
    assert bound_bytes(0, keep=3, continuable=4, slots=2) == (3 + 4 + FILES_OF_A_SLOT * 2 + 1) * STATE_OVERHEAD_BYTES
    assert bound_bytes(1000, 1, 0, 1) - bound_bytes(0, 1, 0, 1) == 5 * 16 * 1000
