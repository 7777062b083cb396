"""The finalists trained to the end: which seeds in which order, what the time and the epochs allow, and what counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toys import KilledError, toy_run

from cnn_tuner.errors import SearchError
from cnn_tuner.runs.budget import EPOCHS_SHARE, Budget
from cnn_tuner.runs.records import Epoch, EpochEnded, Event, Job, JobDone, JobLost, JobRecord, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.final_training import Candidate, FinalTraining
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.jobs import replicate_seed
from cnn_tuner.search.observer import Silent

POINT = {"blocks": 1, "dense_layers": 0, "learning_rate": 0.01, "batch_size": 16}
SECONDS = 10.0  # of an epoch
DONE = 3  # epochs that the search trained each trial


class Trainer:
    """An executor on a clock of its own: each epoch takes `SECONDS`, one job after another in the order of events.

    A job reaches `scores[trial, seed number]`, or its trial's search score; `fails`, `loses` name such pairs.
    """

    def __init__(self, slots=1, scores=None, fails=(), loses=None, killed_at=None, ends_early=None) -> None:
        self.slots, self.scores, self.fails, self.loses = slots, dict(scores or {}), fails, dict(loses or {})
        self.killed_at, self.ends_early = killed_at, ends_early or {}
        self.now, self.told = 0.0, 0
        self.jobs: list[Job] = []
        self._events: list[tuple[float, Event, Job]] = []
        self.seeds: dict[int, tuple[int, int]] = {}  # seed -> (trial, replicate)

    def submit(self, job: Job) -> None:
        assert len({other.number for _, _, other in self._events}) < self.slots
        self.jobs.append(job)
        key = self.seeds[job.seed]
        if self.loses.get(key, 0) > 0:
            self.loses[key] -= 1
            self._events.append((self.now, JobLost(job.number, job.attempt, "the machine went away"), job))
            return
        if key in self.fails:
            failed = Result(job.number, "failed", None, None, (), 1.0, "it broke", job.attempt)
            self._events.append((self.now, JobDone(failed), job))
            return
        last = min(job.epochs, job.initial_epoch + self.ends_early.get(key, 10**6))
        score, told, at = self.scores.get(key, 0.5), [], self.now
        for number in range(job.initial_epoch + 1, last + 1):
            told.append(Epoch(number, {"val_accuracy": score}, SECONDS))
            at += SECONDS
            self._events.append((at, EpochEnded(job.number, job.attempt, told[-1]), job))
        self._events.append((at, JobDone(self._result(job, tuple(told), "completed")), job))
        Path(job.state_file).parent.mkdir(exist_ok=True)
        Path(job.state_file).write_bytes(b"state")

    def _result(self, job: Job, told: tuple[Epoch, ...], status: str) -> Result:
        score = self.scores.get(self.seeds[job.seed], 0.5) if told else None
        best = told[-1].number if told else None
        return Result(job.number, status, score, best, told, SECONDS * len(told), "", job.attempt)

    def next_event(self, seconds: float | None = None) -> Event | None:
        if self.told == self.killed_at:
            raise KilledError
        assert self._events, "nothing is under way to wait for"
        self._events.sort(key=lambda entry: entry[0])
        if seconds is not None and self._events[0][0] > self.now + seconds:
            self.now += seconds
            return None
        self.told += 1
        self.now, event, _ = self._events.pop(0)
        return event

    def stop(self) -> None:
        """What is under way ends at once with the epochs that were told."""
        for job in {id(job): job for _, _, job in self._events}.values():
            left = [event.epoch.number for _, event, other in self._events if other is job and hasattr(event, "epoch")]
            first = min(left, default=job.epochs + 1)
            told = tuple(
                Epoch(n, {"val_accuracy": self.scores.get(self.seeds[job.seed], 0.5)}, SECONDS)
                for n in range(job.initial_epoch + 1, first)
            )
            if left:
                self._events = [entry for entry in self._events if entry[2] is not job]
                self._events.append((self.now, JobDone(self._result(job, told, "stopped")), job))

    def close(self) -> None: ...


def searched(folder: Path, *trials: tuple[float, int], states=True, values=None, schedule=DONE, **search) -> RunStore:
    """A run whose search has ended with these trials, by score and parameters."""
    settings = {"max_trials": len(trials), "epochs": DONE, "final_epochs": 6, "finalists": 3, "final_seeds": 3}
    run = toy_run(folder, **(settings | search))
    for number, (score, params) in enumerate(trials, start=1):
        point = values or POINT
        trial = Trial(number, point, 1000 + number, params, 100, schedule_epochs=schedule)
        epochs = tuple(Epoch(n, {"val_accuracy": score}, SECONDS) for n in range(1, DONE + 1))
        run.start_job(JobRecord(number, number, {"id": str(number - 1)}, 0, DONE, "float32"), trial)
        result = Result(number, "completed", score, DONE, epochs, DONE * SECONDS)
        done = replace(trial, status="completed", score=score, best_epoch=DONE, epochs_done=DONE, state_job=number)
        run.end_job(result, done)
        if states:
            run.checkpoints.mkdir(exist_ok=True)
            run.state_file(number).write_bytes(b"state of the search")
    run.set_search_ended(True)
    return run


def final(run: RunStore, executor: Trainer, is_stopping=lambda: False, observer=None, spent=0.0) -> FinalTraining:
    for trial in run.trials():
        executor.scores.setdefault((trial.number, 0), trial.score)  # trained on it never is worse
        for replicate in range(run.config.search.final_seeds):
            executor.seeds[replicate_seed(trial, replicate)] = (trial.number, replicate)
    budget = Budget(run.config.search.budget_seconds, spent, 0.0)
    forecast = Forecast(run.config, budget)
    forecast.export_seconds = lambda best: 40.0
    return FinalTraining(run, executor, observer or Silent(), forecast, is_stopping, lambda: executor.now)


def trained(run: RunStore, executor: Trainer, **how) -> Candidate:
    return final(run, executor, **how).run()


def begun(executor: Trainer) -> list[tuple[int, int]]:
    """Trial and seed number of each job, in their order."""
    return [executor.seeds[job.seed] for job in executor.jobs]


def finals(run: RunStore) -> dict[tuple[int, int], JobRecord]:
    return {(job.trial, job.replicate): job for job in run.jobs() if job.suggestion is None}


THREE = ((0.9, 30), (0.8, 20), (0.7, 10))  # far enough apart for 32 images not to matter
EVERY = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2)]
AMPLE = 10_000.0


def test_each_finalist_by_its_own_seed_then_all_by_the_next(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer()
    trained(run, executor)
    assert begun(executor) == EVERY
    assert {job.status for job in finals(run).values()} == {"completed"}


def test_the_own_seed_goes_on_from_its_state_and_others_begin_anew_with_other_seeds(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer()
    trained(run, executor)
    trials = {trial.number: trial for trial in run.trials()}
    for job, (number, replicate) in zip(executor.jobs, EVERY, strict=True):
        own = replicate == 0
        assert job.initial_epoch == (DONE if own else 0)
        assert job.initial_state == (str(run.state_file(number)) if own else None)
        assert (job.seed == trials[number].seed) == own
        assert (job.epochs, job.values) == (6, trials[number].values)
        assert job.patience == DONE, "the epochs of the search"
    assert len({job.seed for job in executor.jobs}) == len(EVERY)


def test_slots_are_filled_and_the_order_is_the_same(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer(slots=4)
    trained(run, executor)
    assert begun(executor) == EVERY
    assert executor.now < sum(job.epochs - job.initial_epoch for job in executor.jobs) * SECONDS


def test_the_smallest_within_an_error_wins_with_the_weights_of_its_best_seed(tmp_path):
    # 32 images: one standard error is about 0.06
    scores = {(1, r): 0.92 for r in range(3)} | {(2, 0): 0.89, (2, 1): 0.93, (2, 2): 0.88, (3, 0): 0.7}
    run = searched(tmp_path, (0.9, 30), (0.88, 20), (0.7, 10), budget_seconds=AMPLE)
    candidate = trained(run, Trainer(scores=scores))
    assert (candidate.trial.number, candidate.result.score, candidate.epochs) == (2, 0.93, 6)
    assert candidate.job.seed == replicate_seed(candidate.trial, 1)
    assert [each.scores for each in candidate.finalists][:2] == [(0.92,) * 3, (0.89, 0.93, 0.88)]
    assert [each.search_score for each in candidate.finalists] == [0.9, 0.88, 0.7]


def test_of_the_seeds_of_a_finalist_only_the_best_ones_state_is_kept(tmp_path):
    scores = {(1, 0): 0.91, (1, 1): 0.95, (1, 2): 0.93, (2, 0): 0.85, (2, 1): 0.84, (2, 2): 0.83}
    run = searched(tmp_path, *THREE[:2], budget_seconds=AMPLE, finalists=2)
    trained(run, Trainer(scores=scores))
    kept = {key for key, job in finals(run).items() if run.state_file(job.number).exists()}
    assert kept == {(1, 1), (2, 0)}
    assert all(run.state_file(number).exists() for number in (1, 2)), "those of the search are another matter"


def test_the_epochs_are_a_third_of_the_searchs_without_a_budget_and_the_best_one_always_is_trained(tmp_path):
    run, executor = searched(tmp_path, *THREE), Trainer()
    trained(run, executor)
    assert begun(executor) == [(1, 0)], "3 of 9 epochs: nothing else fits into a third"
    (tmp_path / "more").mkdir()
    many = tuple((0.9 - n / 100, 30 + n) for n in range(10))
    run, executor = searched(tmp_path / "more", *many), Trainer()
    trained(run, executor)
    assert begun(executor) == [(1, 0), (2, 0), (3, 0)]
    assert sum(job.epochs - job.initial_epoch for job in executor.jobs) <= EPOCHS_SHARE * 10 * DONE


def test_a_longer_final_training_than_the_share_is_still_that_of_the_best_one(tmp_path):
    run, executor = searched(tmp_path, *THREE, final_epochs=60), Trainer()
    assert trained(run, executor).epochs == 60
    assert begun(executor) == [(1, 0)]


def test_nothing_begins_that_could_not_end_in_time(tmp_path):
    # 40 s for the export: 3 x 30 s by their own seeds, then 60 s each
    run, executor = searched(tmp_path, *THREE, budget_seconds=90 + 60 + 40 + 30.0), Trainer()
    trained(run, executor)
    assert begun(executor) == EVERY[:4]
    assert executor.now <= 180.0
    assert {job.status for job in finals(run).values()} == {"completed"}


def test_at_the_deadline_what_runs_is_stopped_and_counts_only_for_the_own_seed(tmp_path):
    run = searched(tmp_path, *THREE[:2], budget_seconds=40 + 15.0, finalists=2)
    executor = Trainer(slots=2, scores={(1, 0): 0.95})
    candidate = trained(run, executor)
    assert executor.now == 15.0, "the deadline itself"
    record = finals(run)[1, 0]
    assert (record.status, len(run.epochs(record.number))) == ("stopped", 1)
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, DONE + 1, 0.95)
    assert candidate.finalists[0].scores == (0.95,)


def test_another_seed_that_was_cut_short_does_not_count_nor_cost_the_own_ones_state(tmp_path):
    run = searched(tmp_path, THREE[0], finalists=1, final_seeds=2, budget_seconds=30 + 60 + 40.0)
    executor = Trainer(scores={(1, 0): 0.91, (1, 1): 0.99})
    training = final(run, executor)
    seconds_of = training.forecast.seconds_of
    training.forecast.seconds_of = lambda trial: 0.5 * seconds_of(trial)  # it takes longer than expected
    training.forecast.budget = replace(training.forecast.budget, seconds=30 + 45 + 40.0)
    candidate = training.run()
    assert {key: job.status for key, job in finals(run).items()} == {(1, 0): "completed", (1, 1): "stopped"}
    assert (candidate.result.score, candidate.job.seed) == (0.91, candidate.trial.seed)
    assert candidate.finalists[0].scores == (0.91,)
    assert begun(executor) == [(1, 0), (1, 1)], "nothing is trained again after the deadline"


def test_when_the_time_was_over_before_it_began_the_search_decides(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=100.0), Trainer()
    candidate = trained(run, executor, spent=200.0)
    assert executor.jobs == []
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, DONE, 0.9)


def test_a_lost_job_is_run_again_once_and_then_fails(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer(loses={(1, 0): 1, (2, 1): 9})
    trained(run, executor)
    again = [
        (executor.seeds[job.seed], job.attempt) for job in executor.jobs if executor.seeds[job.seed] in ((1, 0), (2, 1))
    ]
    assert again == [((1, 0), 1), ((1, 0), 2), ((2, 1), 1), ((2, 1), 2)]
    found = finals(run)
    assert (found[1, 0].status, found[1, 0].losses) == ("completed", 1)
    assert (found[2, 1].status, found[2, 1].message) == ("failed", "the machine went away")


def test_a_seed_that_fails_is_left_out_and_a_failed_own_seed_leaves_what_the_search_reached(tmp_path):
    scores = {(1, 1): 0.91, (1, 2): 0.92}
    run = searched(tmp_path, THREE[0], THREE[2], budget_seconds=AMPLE, finalists=2)
    candidate = trained(run, Trainer(scores=scores, fails=((1, 0), (2, 2))))
    by_trial = {each.trial: each.scores for each in candidate.finalists}
    assert by_trial[1] == (0.9, 0.91, 0.92)
    assert len(by_trial[2]) == 2
    assert candidate.result.score == 0.92


def test_when_every_seed_fails_the_search_decides(tmp_path):
    run, executor = searched(tmp_path, THREE[0]), Trainer(fails=[(1, r) for r in range(3)])
    candidate = trained(run, executor)
    assert (candidate.job.number, candidate.epochs, candidate.result.score) == (1, DONE, 0.9)


def test_a_stop_before_it_begins_leaves_the_best_as_the_search_left_it(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer()
    candidate = trained(run, executor, is_stopping=lambda: True)
    assert executor.jobs == []
    assert (candidate.trial.number, candidate.epochs, len(candidate.finalists)) == (1, DONE, 1)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_stop_in_the_middle_begins_nothing_more_and_what_was_reached_counts(tmp_path, slots):
    stopping = []
    observer, executor = Silent(), Trainer(slots=slots, scores={(1, 0): 0.95, (2, 0): 0.8})
    run = searched(tmp_path, *THREE[:2], budget_seconds=AMPLE)

    def stop(trial: int, epoch: Epoch) -> None:
        if not stopping:
            stopping.append(True)
            executor.stop()

    observer.epoch_ended = stop
    candidate = trained(run, executor, is_stopping=lambda: bool(stopping), observer=observer)
    assert begun(executor) == EVERY[: 2 * slots - 1][:slots]
    assert {job.status for job in finals(run).values()} == {"stopped"}
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, DONE + 1, 0.95)


def test_a_stop_that_comes_while_a_job_is_submitted_reaches_it(tmp_path):
    run, executor = searched(tmp_path, THREE[0]), Trainer()
    stopping, submit = [], executor.submit
    executor.submit = lambda job: (submit(job), stopping.append(True))
    candidate = trained(run, executor, is_stopping=lambda: bool(stopping))
    assert [job.status for job in finals(run).values()] == ["stopped"]
    assert candidate.epochs == DONE


@pytest.mark.parametrize("budget", [None, AMPLE], ids=["epochs", "time"])
@pytest.mark.parametrize("slots", [1, 2])
def test_killed_at_any_event_it_goes_on_and_trains_no_finished_seed_again(tmp_path, budget, slots):
    many = tuple((0.9 - n / 50, 90 - 10 * n) for n in range(12))
    scores = {(n, r): 0.9 - n / 50 + r / 100 for n in range(1, 4) for r in range(3)}
    settings = {"budget_seconds": budget, "finalists": 3, "final_seeds": 3}
    (tmp_path / "whole").mkdir()
    whole = searched(tmp_path / "whole", *many, **settings)
    executor = Trainer(slots, scores)
    expected = trained(whole, executor)
    for event in range(0, executor.told, 4):
        folder = tmp_path / str(event)
        folder.mkdir()
        run = searched(folder, *many, **settings)
        with pytest.raises(KilledError):
            trained(run, Trainer(slots, scores, killed_at=event))
        before = {key for key, job in finals(run).items() if job.status == "completed"}
        again = Trainer(slots, scores)
        found = trained(run, again)
        assert not before & set(begun(again)), event
        assert set(finals(run)) == set(finals(whole)), event
        assert (found.trial.number, found.finalists, found.result.score) == (
            expected.trial.number,
            expected.finalists,
            expected.result.score,
        )


def test_what_a_stop_cut_short_is_gone_on_with(tmp_path):
    run = searched(tmp_path, THREE[0], budget_seconds=55.0, finalists=1, final_seeds=1)
    trained(run, Trainer())
    [stopped] = finals(run).values()
    assert stopped.status == "stopped"
    run.reconfigure(
        run.config.model_copy(update={"search": run.config.search.model_copy(update={"budget_seconds": AMPLE})})
    )
    executor = Trainer()
    assert trained(run, executor).epochs == 6
    assert [job.number for job in executor.jobs] == [stopped.number]


def test_a_longer_goal_trains_a_seed_that_was_cut_at_the_old_one_again(tmp_path):
    run = searched(tmp_path, THREE[0], finalists=1, final_seeds=1)
    trained(run, Trainer())
    run.reconfigure(run.config.model_copy(update={"search": run.config.search.model_copy(update={"final_epochs": 8})}))
    executor = Trainer()
    assert trained(run, executor).epochs == 8
    assert [(job.initial_epoch, job.epochs) for job in executor.jobs] == [(DONE, 8)]


def test_a_seed_that_ended_for_want_of_progress_is_not_trained_again_for_a_longer_goal(tmp_path):
    run = searched(tmp_path, THREE[0], finalists=1, final_seeds=1)
    trained(run, Trainer(ends_early={(1, 0): 2}))
    run.reconfigure(run.config.model_copy(update={"search": run.config.search.model_copy(update={"final_epochs": 8})}))
    executor = Trainer()
    assert trained(run, executor).epochs == DONE + 2
    assert executor.jobs == []


def test_an_own_seed_whose_state_is_gone_is_trained_from_its_first_epoch(tmp_path):
    run, executor = searched(tmp_path, THREE[0], states=False, finalists=1, final_seeds=1), Trainer()
    candidate = trained(run, executor)
    [job] = executor.jobs
    assert (job.initial_epoch, job.epochs, job.seed) == (0, 6, candidate.trial.seed)
    assert candidate.epochs == 6


def test_a_winners_state_that_was_lost_is_trained_once_more(tmp_path):
    run = searched(tmp_path, THREE[0], finalists=1, final_seeds=1)
    first = trained(run, Trainer())
    run.state_file(first.job.number).unlink()
    executor = Trainer()
    assert trained(run, executor).job.number == first.job.number
    assert [job.number for job in executor.jobs] == [first.job.number]
    assert run.state_file(first.job.number).exists()


@pytest.mark.parametrize("is_lost_again", [False, True])
def test_what_the_search_left_is_trained_once_more_where_its_state_is_gone(tmp_path, is_lost_again):
    run = searched(tmp_path, THREE[0], states=False, budget_seconds=100.0)
    executor = Trainer(loses={(1, 0): 9} if is_lost_again else {})
    if is_lost_again:
        with pytest.raises(
            SearchError, match=r"^trial 1: the machine went away, while its lost state was trained again$"
        ):
            trained(run, executor, spent=200.0)
        return
    assert trained(run, executor, spent=200.0).epochs == DONE
    assert run.state_file(1).exists()


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 5), ("one_cycle", 5), ("constant", 9)])
def test_a_rate_that_decays_ends_the_training_where_it_ends(tmp_path, schedule, last):
    values = POINT | {"schedule": schedule}
    run = searched(
        tmp_path, THREE[0], values=values, schedule=5, final_epochs=9, final_seeds=2, finalists=1, budget_seconds=AMPLE
    )
    executor = Trainer()
    assert trained(run, executor).epochs == last
    assert [(job.initial_epoch, job.epochs, job.schedule_epochs) for job in executor.jobs] == [
        (DONE, last, 5),
        (0, last, 5),
    ]


def test_what_the_search_trained_to_the_end_of_its_schedule_is_not_trained_on_by_its_own_seed(tmp_path):
    values = POINT | {"schedule": "cosine"}
    run = searched(tmp_path, THREE[0], values=values, final_seeds=2, finalists=1, budget_seconds=AMPLE)
    executor = Trainer(scores={(1, 1): 0.8})
    candidate = trained(run, executor)
    assert begun(executor) == [(1, 1)]
    assert candidate.finalists[0].scores == (0.9, 0.8)
    assert (candidate.job.number, candidate.result.score) == (1, 0.9), "as the search left it: the better seed"


def test_without_a_score_there_is_nothing_to_train(tmp_path):
    run = toy_run(tmp_path)
    with pytest.raises(SearchError, match=r"toy: no trial completed an epoch, so there is nothing to export$"):
        trained(run, Trainer())


def test_the_observer_is_told_what_is_trained(tmp_path):
    told, observer = [], Silent()
    observer.phase = lambda text, epochs=0: told.append((text, epochs))
    trained(searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer(), observer=observer)
    (tmp_path / "one").mkdir()
    trained(searched(tmp_path / "one", THREE[0], finalists=1, final_seeds=1), Trainer(), observer=observer)
    assert told == [
        ("training trials 1 2 3 to the end, with 3 seeds as time allows", 3 * 3 + 6 * 6),
        ("training trial 1 to the end", 3),
    ]
