"""The finalists trained to the end: which seeds in which order, what the time and the epochs allow, and what counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toys import KilledError, toy_run

from cnn_tuner.errors import SearchError
from cnn_tuner.runs.budget import Budget
from cnn_tuner.runs.records import (
    REFIT,
    TRUNK,
    Epoch,
    EpochEnded,
    Event,
    Job,
    JobDone,
    JobLost,
    JobRecord,
    Result,
    Trial,
)
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.candidate import Candidate
from cnn_tuner.search.final_training import ENDING_SECONDS, FinalTraining, last_loss_of
from cnn_tuner.search.forecast import STARTUP_SECONDS, Forecast
from cnn_tuner.search.jobs import next_job, replicate_seed
from cnn_tuner.search.observer import Silent

POINT = {"blocks": 1, "dense_layers": 0, "learning_rate": 0.01, "batch_size": 16}
SECONDS = 10.0  # of an epoch
DONE = 3  # epochs that the search trained each trial


class Trainer:
    """An executor on a clock of its own: each epoch takes `SECONDS`, one job after another in the order of events.

    A job reaches `scores[trial, seed number]`, or its trial's search score; `fails`, `loses` name such pairs.
    """

    def __init__(self, slots=1, scores=None, fails=(), loses=None, killed_at=None, ends_early=None, slow=None) -> None:
        self.slots, self.scores, self.fails, self.loses = slots, dict(scores or {}), fails, dict(loses or {})
        self.slow = slow or {}  # times as long as others does a trial take
        self.killed_at, self.ends_early = killed_at, ends_early or {}
        self.known: dict[int, int] = {}  # epochs of each job that an earlier process trained
        self.keeps_time = False  # as the real one does; without it, what is too long is stopped
        self.now, self.told = 0.0, 0
        self.jobs: list[Job] = []
        self._events: list[tuple[float, Event, Job]] = []
        self.seeds: dict[int, tuple[int, int]] = {}  # seed -> (trial, replicate)
        self.losses: dict[tuple[int, int], float] = {}  # of the last epochs, 0.1 where none is named
        self.wide = False
        self.loss_seconds = 0.0  # that a job takes which is lost

    def key(self, job: Job) -> tuple[int, int]:
        if job.with_val:
            return job.trial, REFIT
        trial, replicate = self.seeds[job.seed]
        return (trial, TRUNK) if job.grows and not job.course_steps else (trial, replicate)

    def submit(self, job: Job) -> None:
        assert len({other.number for _, _, other in self._events}) < self.slots
        self.jobs.append(job)
        key = self.key(job)
        if self.loses.get(key, 0) > 0:
            self.loses[key] -= 1
            lost_at = self.now + self.loss_seconds
            self._events.append((lost_at, JobLost(job.number, job.attempt, "the machine went away"), job))
            return
        if key in self.fails:
            failed = Result(job.number, "failed", None, None, (), 1.0, "it broke", job.attempt)
            self._events.append((self.now, JobDone(failed), job))
            return
        last = min(job.epochs, job.initial_epoch + self.ends_early.get(key, 10**6))
        if job.seconds is not None and self.keeps_time:
            last = min(last, job.initial_epoch + max(1, int(job.seconds / SECONDS)))
        score, told, at = self.scores.get(key, 0.5), [], self.now
        metrics = {"loss": self.losses.get(key, 0.1)} | ({} if job.with_val else {"val_accuracy": score})
        seconds = SECONDS * self.slow.get(job.trial, 1)
        for number in range(job.initial_epoch + 1, last + 1):
            told.append(Epoch(number, metrics, seconds))
            at += seconds * (number > job.initial_epoch + self.known.get(job.number, 0))
            self._events.append((at, EpochEnded(job.number, job.attempt, told[-1]), job))
        self._events.append((at, JobDone(self._result(job, tuple(told), "completed")), job))
        Path(job.state_file).parent.mkdir(exist_ok=True)
        Path(job.state_file).write_bytes(b"state")

    def _result(self, job: Job, told: tuple[Epoch, ...], status: str) -> Result:
        score = self.scores.get(self.key(job), 0.5) if (told or job.grows) and not job.with_val else None
        best = told[-1].number if told else None
        seconds = sum(epoch.seconds for epoch in told)
        return Result(job.number, status, score, best, told, seconds, "", job.attempt)

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
                Epoch(n, {"loss": 0.1, "val_accuracy": self.scores.get(self.key(job), 0.5)}, SECONDS)
                for n in range(job.initial_epoch + 1, first)
            )
            if left:
                self._events = [entry for entry in self._events if entry[2] is not job]
                self._events.append((self.now, JobDone(self._result(job, told, "stopped")), job))

    def widen(self) -> Trainer:
        self.wide, self.slots = True, 1
        return self

    def close(self) -> None: ...


def searched(folder: Path, *trials: tuple[float, int], states=True, values=None, slow=None, **search) -> RunStore:
    """A run whose search has ended with these trials, by score and parameters."""
    settings = {"max_trials": len(trials), "epochs": DONE, "final_epochs": 6, "finalists": 3, "final_seeds": 3}
    settings["refits"] = False
    run = toy_run(folder, **(settings | search))
    for number, (score, params) in enumerate(trials, start=1):
        point = values or POINT
        trial = Trial(number, point, 1000 + number, params, 100)
        seconds = SECONDS * (slow or {}).get(number, 1)
        epochs = tuple(Epoch(n, {"val_accuracy": score}, seconds) for n in range(1, DONE + 1))
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
        executor.scores.setdefault((trial.number, 0), trial.score)
        for replicate in range(run.config.search.final_seeds):
            executor.seeds[replicate_seed(trial, replicate)] = (trial.number, replicate)
    budget = Budget(run.config.search.budget_seconds, spent, 0.0)
    forecast = Forecast(run.config, budget)
    forecast.export_seconds = lambda best: 40.0
    return FinalTraining(
        run, executor, observer or Silent(), forecast, is_stopping, executor.widen, lambda: executor.now
    )


def trained(run: RunStore, executor: Trainer, **how) -> Candidate:
    return final(run, executor, **how).run()


def begun(executor: Trainer) -> list[tuple[int, int]]:
    """Trial and seed number of each job, in their order."""
    return [executor.key(job) for job in executor.jobs]


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


def test_every_training_begins_anew_and_ends_with_its_course(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer()
    trained(run, executor)
    trials = {trial.number: trial for trial in run.trials()}
    for job, (number, replicate) in zip(executor.jobs, EVERY, strict=True):
        assert (job.initial_epoch, job.initial_state, job.seconds) == (0, None, None)
        assert (job.seed == trials[number].seed) == (replicate == 0)
        assert (job.epochs, job.values) == (6, trials[number].values)
        assert job.course_steps == 6 * 6, "96 images by 16"
    assert len({job.seed for job in executor.jobs}) == len(EVERY)


def test_slots_are_filled_and_the_order_is_the_same(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=AMPLE), Trainer(slots=4)
    trained(run, executor)
    assert begun(executor) == EVERY
    assert executor.now < sum(job.epochs - job.initial_epoch for job in executor.jobs) * SECONDS


@pytest.mark.parametrize(("prefer", "winner"), [("accurate", 1), ("small", 2)])
def test_the_best_or_the_smallest_within_an_error_wins_with_the_weights_of_its_best_seed(tmp_path, prefer, winner):
    # 32 images: one standard error is about 0.06
    scores = {(1, 0): 0.92, (1, 1): 0.93, (1, 2): 0.95} | {(2, 0): 0.89, (2, 1): 0.93, (2, 2): 0.88, (3, 0): 0.7}
    run = searched(tmp_path, (0.9, 30), (0.88, 20), (0.7, 10), budget_seconds=AMPLE, prefer=prefer)
    candidate = trained(run, Trainer(scores=scores))
    best, replicate = {1: (0.95, 2), 2: (0.93, 1)}[winner]
    assert (candidate.trial.number, candidate.result.score, candidate.epochs) == (winner, best, 6)
    assert candidate.job.seed == replicate_seed(candidate.trial, replicate)
    assert [each.scores for each in candidate.finalists][:2] == [(0.92, 0.93, 0.95), (0.89, 0.93, 0.88)]
    assert [each.search_score for each in candidate.finalists] == [0.9, 0.88, 0.7]


def test_of_the_seeds_of_a_finalist_only_the_best_ones_state_is_kept(tmp_path):
    scores = {(1, 0): 0.91, (1, 1): 0.95, (1, 2): 0.93, (2, 0): 0.85, (2, 1): 0.84, (2, 2): 0.83}
    run = searched(tmp_path, *THREE[:2], budget_seconds=AMPLE, finalists=2)
    trained(run, Trainer(scores=scores))
    kept = {key for key, job in finals(run).items() if run.state_file(job.number).exists()}
    assert kept == {(1, 1), (2, 0)}
    assert all(run.state_file(number).exists() for number in (1, 2)), "those of the search are another matter"


def test_without_a_budget_the_best_one_is_trained_and_others_within_a_third_of_the_searchs_epochs(tmp_path):
    run, executor = searched(tmp_path, *THREE), Trainer()
    trained(run, executor)
    assert begun(executor) == [(1, 0)], "9 epochs: no other one of 6 fits into a third"
    (tmp_path / "more").mkdir()
    many = tuple((0.9 - n / 100, 30 + n) for n in range(20))
    run, executor = searched(tmp_path / "more", *many), Trainer()
    trained(run, executor)
    assert begun(executor) == [(1, 0), (2, 0), (3, 0)], "60 epochs"


def test_in_little_time_one_finalist_has_all_of_it_on_all_cores(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=90.0), Trainer(slots=2)
    trained(run, executor)
    assert begun(executor) == [(1, 0)]
    assert executor.wide
    assert executor.jobs[0].seconds == 50.0 - STARTUP_SECONDS - ENDING_SECONDS, "40 are for the export"


def test_in_more_time_there_are_as_many_rounds_as_fit(tmp_path):
    # 60 s a training, 40 s for the export
    run, executor = searched(tmp_path, *THREE, budget_seconds=2 * 60 + 40 + 30.0), Trainer()
    trained(run, executor)
    assert begun(executor) == EVERY[:2]
    (tmp_path / "two").mkdir()
    run, executor = searched(tmp_path / "two", *THREE, budget_seconds=2 * 60 + 40 + 30.0), Trainer(slots=2)
    trained(run, executor)
    assert begun(executor) == EVERY[:4]
    assert not executor.wide
    assert executor.now <= 150.0


def test_at_the_deadline_what_runs_is_stopped_and_counts_where_nothing_else_does(tmp_path):
    run = searched(tmp_path, *THREE[:2], budget_seconds=40 + 15.0, finalists=2)
    executor = Trainer(scores={(1, 0): 0.95})
    candidate = trained(run, executor)
    assert executor.now == 15.0, "the deadline itself"
    record = finals(run)[1, 0]
    assert (record.status, len(run.epochs(record.number))) == ("stopped", 1)
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, 1, 0.95)
    assert candidate.refit == "not asked for"
    (tmp_path / "worse").mkdir()
    run = searched(tmp_path / "worse", THREE[0], budget_seconds=40 + 15.0, finalists=1)
    candidate = trained(run, Trainer(scores={(1, 0): 0.6}))
    assert (candidate.epochs, candidate.result.score) == (DONE, 0.9), "the search had reached more"


def test_when_the_time_was_over_before_it_began_the_search_decides(tmp_path):
    run, executor = searched(tmp_path, *THREE, budget_seconds=100.0), Trainer()
    candidate = trained(run, executor, spent=200.0)
    assert executor.jobs == []
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, DONE, 0.9)


def test_what_leaves_no_time_for_the_refit_is_not_begun_and_what_does_is(tmp_path):
    # Two cores; 60 s a training, 180 s one of trial 3, 40 s for the export.
    settings = {"budget_seconds": 40 + 200.0, "refits": True}
    run = searched(tmp_path, *THREE, slow={3: 3.0}, **settings)
    executor = Trainer(slots=2, slow={3: 3.0})
    candidate = trained(run, executor)
    assert begun(executor)[:4] == [(1, 0), (2, 0), (1, 1), (2, 1)], "trial 3 and its refit would end after 420 s"
    assert (candidate.trial.number, candidate.refit) == (1, "done"), "trial 3 as the search left it is as good"
    assert begun(executor)[4:] == [(1, REFIT)]
    assert executor.now <= 200.0


def test_a_refit_that_is_longer_than_a_start_has_all_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(Forecast, "startup_seconds", STARTUP_SECONDS)
    run = searched(tmp_path, *THREE, budget_seconds=AMPLE, refits=True)
    executor = Trainer(slots=2)
    assert trained(run, executor).refit == "done"
    assert executor.wide
    (tmp_path / "short").mkdir()
    run = searched(tmp_path / "short", *THREE, budget_seconds=AMPLE, refits=True, final_epochs=2)
    executor = Trainer(slots=2)
    assert trained(run, executor).refit == "done"
    assert not executor.wide, "20 s are not worth 5 s to begin"


def splitting(folder: Path, *trials: tuple[float, int], **search) -> RunStore:
    """A run with few validation images that were split off train."""
    run = searched(folder, *trials, **({"budget_seconds": AMPLE} | search))
    run.reconfigure(run.config.model_copy(update={"data": run.config.data.model_copy(update={"drawn": ("val",)})}))
    return run


def test_with_few_validation_images_each_further_seed_is_judged_on_others(tmp_path):
    scores = {(1, 0): 0.94, (1, 1): 0.90, (1, 2): 0.92, (2, 0): 0.93, (2, 1): 0.97, (2, 2): 0.95}
    run, executor = splitting(tmp_path, *THREE[:2]), Trainer(scores=scores)
    candidate = trained(run, executor)
    assert [(executor.key(job), job.split) for job in executor.jobs] == [
        ((trial, seed), seed) for trial, seed in EVERY if trial < 3
    ]
    assert candidate.trial.number == 2, "by the mean over all splits"
    assert (candidate.result.score, candidate.job.split) == (0.93, 0), "what is told is of the run's own split"
    assert all(each.splits for each in candidate.finalists)
    kept = {key for key, job in finals(run).items() if run.state_file(job.number).exists()}
    assert kept == {(1, 0), (2, 0)}


def test_finalists_are_compared_by_the_splits_that_all_were_judged_on(tmp_path):
    scores = {(1, 0): 0.94, (1, 1): 0.99, (2, 0): 0.95, (2, 1): 0.90}
    run = splitting(tmp_path, *THREE[:2], final_seeds=2)
    candidate = trained(run, Trainer(scores=scores, fails=[(2, 1)]))
    assert candidate.trial.number == 2, "0.95 against 0.94, whatever the second split says of the other one"
    assert [each.scores for each in candidate.finalists] == [(0.94, 0.99), (0.95,)]


def test_a_validation_part_that_came_with_the_data_is_the_only_one(tmp_path):
    run, executor = searched(tmp_path, *THREE[:2], budget_seconds=AMPLE), Trainer()
    trained(run, executor)
    assert {job.split for job in executor.jobs} == {0}


def keeping(**how) -> Trainer:
    executor = Trainer(**how)
    executor.keeps_time = True
    return executor


def growing(folder: Path, executor: Trainer, **search) -> tuple[RunStore, Candidate]:
    """A run with time for a trunk, its twin and its refit: 116 s and 40 s for the export."""
    folder.mkdir(exist_ok=True)
    settings = {"budget_seconds": 156.0, "refits": True, "finalists": 1, "epochs": 3, "final_epochs": 20} | search
    run = searched(folder, *THREE[:1], **settings)
    return run, trained(run, executor)


GROWN = [(1, TRUNK), (1, 0), (1, REFIT)]


def test_in_little_time_a_trunk_goes_on_with_the_search_and_twin_and_refit_grow_from_it(tmp_path):
    executor = keeping(scores={(1, 0): 0.95})
    run, candidate = growing(tmp_path, executor)
    assert begun(executor) == GROWN
    trunk, twin, refit = executor.jobs
    assert (trunk.initial_state, trunk.initial_epoch) == (str(run.state_file(1)), DONE)
    ends = run.epochs(trunk.number)[-1].number
    assert DONE < ends < trunk.epochs
    for job in (twin, refit):
        assert (job.initial_state, job.initial_epoch, job.grows) == (str(run.state_file(trunk.number)), ends, True)
        assert job.course_steps == 6 * (twin.epochs - ends), "96 images by 16"
    assert executor.now <= 116.0
    assert (candidate.refit, candidate.result.score) == ("done", 0.95)
    curve = run.curve(finals(run)[1, 0])
    assert [epoch.number for epoch in curve] == list(range(1, candidate.epochs + 1)), "all that is behind its weights"
    assert candidate.passes(0.25) == candidate.epochs - 0.75 * DONE, "the search's epochs had a quarter of the images"


def test_a_trunk_takes_up_nothing_that_is_not_there(tmp_path):
    executor = keeping()
    run = searched(tmp_path, THREE[0], budget_seconds=156.0, refits=True, finalists=1, final_epochs=20, states=False)
    candidate = trained(run, executor)
    assert candidate.refit == "done"
    assert begun(executor) == GROWN[1:]
    assert {job.initial_epoch for job in executor.jobs} == {0}
    assert candidate.passes(0.25) == candidate.epochs, "nothing of the search is behind its weights"


def test_where_a_trunk_fails_all_begin_anew(tmp_path):
    executor = keeping(fails=[(1, TRUNK)])
    _, candidate = growing(tmp_path, executor)
    assert begun(executor) == GROWN
    assert [job.initial_epoch for job in executor.jobs] == [DONE, 0, 0]
    assert candidate.refit == "done"


def test_killed_at_any_event_what_grows_goes_on_and_nothing_is_trained_again(tmp_path):
    executor = keeping()
    _, expected = growing(tmp_path / "whole", executor)
    for event in range(executor.told):
        with pytest.raises(KilledError):
            growing(tmp_path / str(event), keeping(killed_at=event))
        run = RunStore.open(tmp_path / str(event) / "toy")
        done = {key for key, job in finals(run).items() if job.status == "completed"}
        again = keeping()
        again.known = {number: len(run.epochs(number)) for number in range(1, run.last_job() + 1)}
        found = trained(run, again)
        assert not done & set(begun(again)), event
        assert set(finals(run)) == set(GROWN), event
        assert (found.refit, found.trial.number) == ("done", expected.trial.number)
        run.close()


def test_a_stop_before_a_twins_first_epoch_leaves_no_score_of_what_it_grew_from(tmp_path):
    executor, stopping = keeping(), []
    submit = executor.submit

    def stop_at_the_twin(job: Job) -> None:
        submit(job)
        if job.course_steps:
            stopping.append(True)
            executor.stop()

    executor.submit = stop_at_the_twin
    run = searched(tmp_path, THREE[0], budget_seconds=156.0, refits=True, finalists=1, final_epochs=20)
    candidate = trained(run, executor, is_stopping=lambda: bool(stopping))
    assert (candidate.job.number, candidate.epochs, candidate.result.score) == (1, DONE, 0.9), "as the search left it"
    assert finals(run)[1, 0].score is None
    again = keeping()
    assert trained(run, again).refit == "done"
    assert begun(again) == GROWN[1:], "the trunk is there"


def test_after_more_of_the_search_all_of_it_is_trained_again(tmp_path):
    run, first = growing(tmp_path, keeping())
    number = run.last_job() + 1
    trial = Trial(2, POINT, 1002, 20, 100)
    run.start_job(JobRecord(number, 2, {"id": "1"}, 0, DONE, "float32"), trial)
    epochs = tuple(Epoch(n, {"val_accuracy": 0.5}, SECONDS) for n in range(1, DONE + 1))
    done = replace(trial, status="completed", score=0.5, best_epoch=DONE, epochs_done=DONE, state_job=number)
    run.end_job(Result(number, "completed", 0.5, DONE, epochs, DONE * SECONDS), done)
    executor = keeping()
    again = trained(run, executor)
    assert begun(executor) == GROWN
    assert again.trial == first.trial and again.job.number > first.job.number


def test_what_grew_and_was_lost_is_trained_once_more_from_where_it_began(tmp_path):
    run, first = growing(tmp_path, keeping())
    for number in range(1, run.last_job() + 1):
        run.state_file(number).unlink(missing_ok=True)
    executor = keeping()
    assert trained(run, executor).job.number == first.job.number
    assert [job.number for job in executor.jobs] == [1, 2, 3, 4], "the search's, the trunk, the twin and the refit"
    assert executor.jobs[1].epochs == run.epochs(2)[-1].number


def refitting(folder: Path, executor: Trainer, **search) -> tuple[RunStore, Candidate]:
    run = searched(
        folder, THREE[0], **({"budget_seconds": AMPLE, "finalists": 1, "final_seeds": 1} | search), refits=True
    )
    return run, trained(run, executor)


def test_the_winner_is_trained_again_on_train_and_validation_with_as_many_batches(tmp_path):
    executor = Trainer(scores={(1, 0): 0.95})
    run, candidate = refitting(tmp_path, executor)
    assert begun(executor) == [(1, 0), (1, REFIT)]
    twin, refit = executor.jobs
    assert (refit.course_steps, refit.seed) == (twin.course_steps, twin.seed)
    assert refit.epochs == 5, "36 batches, 8 an epoch of 96 and 32 images"
    assert (candidate.job, candidate.twin, candidate.refit) == (
        next_job(run, candidate.trial, finals(run)[1, REFIT]),
        next_job(run, candidate.trial, finals(run)[1, 0]),
        "done",
    )
    assert candidate.result.score == 0.95, "its twin's"


def test_a_refit_whose_loss_does_not_end_where_its_twins_did_is_not_exported(tmp_path):
    executor = Trainer()
    executor.losses = {(1, 0): 0.2, (1, REFIT): 0.9}
    _, candidate = refitting(tmp_path, executor)
    assert candidate.job == candidate.twin
    assert candidate.refit == "its training loss ended at 0.9, that of its twin at 0.2"


@pytest.mark.parametrize("how", ["fails", "loses"])
def test_where_the_refit_cannot_be_had_the_twin_is_exported(tmp_path, how):
    executor = Trainer(fails=[(1, REFIT)]) if how == "fails" else Trainer(loses={(1, REFIT): 9})
    _, candidate = refitting(tmp_path, executor)
    assert candidate.job == candidate.twin
    assert candidate.refit == f"it did not end: {'it broke' if how == 'fails' else 'the machine went away'}"


def test_where_the_time_is_too_short_for_both_the_twin_has_it(tmp_path):
    _, candidate = refitting(tmp_path, Trainer(), budget_seconds=40 + 80.0)
    assert candidate.refit == "the budget leaves no time for it"
    assert candidate.job == candidate.twin


def test_a_refit_that_ended_is_not_trained_again(tmp_path):
    run, first = refitting(tmp_path, Trainer())
    executor = Trainer()
    assert trained(run, executor) == first
    assert executor.jobs == []


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


def test_a_seed_that_fails_is_left_out(tmp_path):
    scores = {(1, 1): 0.91, (1, 2): 0.92}
    run = searched(tmp_path, THREE[0], THREE[2], budget_seconds=AMPLE, finalists=2)
    candidate = trained(run, Trainer(scores=scores, fails=((1, 0), (2, 2))))
    by_trial = {each.trial: each.scores for each in candidate.finalists}
    assert by_trial[1] == (0.91, 0.92)
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
    assert (candidate.trial.number, candidate.epochs, candidate.result.score) == (1, 1, 0.95)


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


def test_with_less_time_than_before_what_was_trained_to_the_end_still_counts(tmp_path):
    scores = {(1, 0): 0.9, (2, 0): 0.95, (3, 0): 0.85}
    run = searched(tmp_path, *THREE, budget_seconds=AMPLE, refits=True)
    three_trainings = 3 * 7 + 1  # each tells its 6 epochs and its end
    with pytest.raises(KilledError):
        trained(run, Trainer(scores=scores, killed_at=three_trainings))
    again = Trainer(scores=scores)
    found = trained(run, again, spent=AMPLE - 100.0)  # of them 40 s are for the export
    assert (found.trial.number, found.result.score, found.refit) == (2, 0.95, "done")
    assert [each.trial for each in found.finalists] == [1, 2, 3]


def test_a_stop_begins_nothing_and_takes_the_refit_that_is_there(tmp_path):
    run = searched(tmp_path, *THREE, budget_seconds=AMPLE, refits=True)
    assert trained(run, Trainer()).refit == "done"
    executor = Trainer()
    assert trained(run, executor, is_stopping=lambda: True).refit == "done"
    assert executor.jobs == []


def test_what_the_time_cut_short_is_not_taken_for_all_of_it(tmp_path):
    run, executor = searched(tmp_path, THREE[0], budget_seconds=70.0, finalists=1, final_seeds=1), keeping()
    timed = trained(run, executor)
    assert timed.epochs < timed.job.epochs == 6
    without_a_budget = run.config.search.model_copy(update={"budget_seconds": None})
    run.reconfigure(run.config.model_copy(update={"search": without_a_budget}))
    again = Trainer()
    assert trained(run, again).epochs == 6
    assert [(job.initial_epoch, job.seconds) for job in again.jobs] == [(0, None)]


def test_a_lost_job_has_the_time_that_is_left_of_its_own(tmp_path):
    run, executor = searched(tmp_path, THREE[0], budget_seconds=90.0, finalists=1), keeping(loses={(1, 0): 1})
    executor.loss_seconds = 20.0
    trained(run, executor)
    first, second = executor.jobs
    assert second.seconds == pytest.approx(first.seconds - 20.0 - STARTUP_SECONDS)


def test_of_a_last_epoch_that_was_cut_short_the_one_before_tells_the_rest():
    whole, part = Epoch(1, {"loss": 0.5}, 10.0), Epoch(2, {"loss": 0.1}, 2.5)
    assert last_loss_of((whole,)) == 0.5
    assert last_loss_of((whole, part)) == pytest.approx(0.75 * 0.5 + 0.25 * 0.1)
    assert last_loss_of((whole, replace(part, seconds=12.0))) == 0.1


def test_what_a_stop_cut_short_is_gone_on_with(tmp_path):
    run = searched(tmp_path, THREE[0], budget_seconds=55.0, finalists=1, final_seeds=1)
    trained(run, Trainer())
    [stopped] = finals(run).values()
    assert stopped.status == "stopped"
    run.reconfigure(
        run.config.model_copy(update={"search": run.config.search.model_copy(update={"budget_seconds": AMPLE})})
    )
    executor = Trainer()
    assert trained(run, executor).epochs == stopped.epochs
    assert [job.number for job in executor.jobs] == [stopped.number]


def test_a_longer_goal_trains_a_seed_again(tmp_path):
    run = searched(tmp_path, THREE[0], finalists=1, final_seeds=1)
    trained(run, Trainer())
    run.reconfigure(run.config.model_copy(update={"search": run.config.search.model_copy(update={"final_epochs": 8})}))
    executor = Trainer()
    assert trained(run, executor).epochs == 8
    assert [(job.initial_epoch, job.epochs) for job in executor.jobs] == [(0, 8)]


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
        ("training trials 1 2 3 to the end, with 3 seeds as time allows", 9 * 6),
        ("training trial 1 to the end", 6),
    ]
