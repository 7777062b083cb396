"""What a trial is before and after its jobs, their seeds, and whom an event means."""

from __future__ import annotations

from dataclasses import replace

from toys import toy_run

from cnn_tuner.runs.records import REFIT, Epoch, EpochEnded, JobDone, JobLost, JobRecord, Result, Trial
from cnn_tuner.search.jobs import after_job, before_job, job_meant, next_job, replicate_seed, trial_seed

TRAINED = Trial(1, {"batch_size": 16}, 5, 10, 20, "running", 0.7, 2, 5.0, epochs_done=3, state_job=4)


def test_trial_seeds_differ_by_run_and_trial():
    assert len({trial_seed(run, number) for run in range(10) for number in range(10)}) == 100


def test_each_seed_of_the_final_training_is_another_and_the_first_is_the_trials_own():
    seeds = [replicate_seed(TRAINED, replicate) for replicate in range(5)]
    assert seeds[0] == TRAINED.seed
    assert len(set(seeds)) == 5


def test_a_job_goes_on_from_the_trials_state_and_with_another_seed_it_begins_anew(tmp_path):
    run = toy_run(tmp_path)
    on = next_job(run, TRAINED, JobRecord(9, 1, {"id": "0"}, initial_epoch=3, epochs=6, precision="float32", losses=1))
    assert (on.initial_state, on.initial_epoch, on.seed) == (str(run.state_file(4)), 3, TRAINED.seed)
    assert (on.state_file, on.epochs, on.attempt) == (str(run.state_file(9)), 6, 2)
    assert (on.course_steps, on.with_val) == (0, False), "no end in sight"
    anew = next_job(run, TRAINED, JobRecord(9, 1, None, initial_epoch=0, epochs=6, precision="float32", replicate=1))
    assert (anew.initial_state, anew.seed) == (None, replicate_seed(TRAINED, 1))
    assert (anew.course_steps, anew.epochs) == (6 * 6, 6), "96 images by 16"
    refit = next_job(run, TRAINED, JobRecord(9, 1, None, 0, 6, "float32", replicate=REFIT))
    assert (refit.course_steps, refit.epochs, refit.seed, refit.with_val) == (6 * 6, 5, TRAINED.seed, True)


def test_an_epoch_of_the_search_may_have_some_of_the_images_only(tmp_path):
    run = toy_run(tmp_path, epoch_images=40)
    assert run.config.epoch_share == 40 / 96
    search = next_job(run, TRAINED, JobRecord(9, 1, {"id": "0"}, 3, 6, "float32"))
    final = next_job(run, TRAINED, JobRecord(9, 1, None, 0, 6, "float32"))
    assert (search.epoch_steps, final.epoch_steps, final.course_steps) == (3, None, 36)


def test_an_event_means_the_attempt_that_is_under_way_or_nobody(tmp_path):
    record = JobRecord(9, 1, None, initial_epoch=3, epochs=6, precision="float32", losses=1)
    job = next_job(toy_run(tmp_path), TRAINED, record)
    for attempt, meant in ((1, None), (2, job)):
        epoch, result = Epoch(4, {}, 1.0), Result(9, "completed", 0.8, 4, (), 1.0, attempt=attempt)
        for event in (EpochEnded(9, attempt, epoch), JobLost(9, attempt, "killed"), JobDone(result)):
            assert job_meant(event, {9: job}) is meant
            assert job_meant(event, {8: job}) is None
    assert job_meant(None, {9: job}) is None


def test_a_trial_whose_job_goes_on_is_as_before_it():
    stopped = JobRecord(4, 1, None, initial_epoch=1, epochs=6, precision="float32", seconds=2.0)
    assert before_job(TRAINED, stopped) == replace(TRAINED, epochs_done=1, seconds=3.0)
    assert before_job(TRAINED, replace(stopped, number=7)) == TRAINED


def test_a_failed_job_keeps_what_its_trial_had_reached():
    after = after_job(TRAINED, Result(9, "failed", None, None, (Epoch(4, {}, 1.0),), 2.0, "out of memory"))
    message = "trained on from epoch 3 it failed: out of memory"
    assert after == replace(TRAINED, status="completed", seconds=7.0, message=message)


def test_a_first_job_that_failed_leaves_its_trial_without_a_score():
    before = Trial(1, {"batch_size": 16}, 0, 10, 20)
    after = after_job(before, Result(1, "failed", None, None, (Epoch(1, {}, 1.0),), 2.0, "it broke"))
    assert after == replace(before, status="failed", seconds=2.0, message="it broke")


def test_a_job_that_was_stopped_before_its_first_epoch_leaves_its_trial_where_it_was():
    after = after_job(TRAINED, Result(9, "stopped", 0.7, 2, (), 1.0))
    assert after == replace(TRAINED, status="stopped", seconds=6.0)


def test_a_job_that_trained_what_was_lost_and_was_stopped_before_its_own_epochs_takes_nothing_away():
    after = after_job(TRAINED, Result(9, "stopped", 0.5, 1, (), 1.0))  # in epoch 2, since the state was lost
    assert (after.score, after.best_epoch) == (0.7, 2)
