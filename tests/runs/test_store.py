"""The run folder: whole or not at all, read back as it was written, one clear line when it cannot be."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import replace

import pytest
from toys import toy_config, toy_run

from cnn_tuner.errors import StorageError, UsageError
from cnn_tuner.runs import store
from cnn_tuner.runs.records import Epoch, Finalist, JobRecord, Result, Trial, Winner
from cnn_tuner.runs.store import RunStore

TRIAL = Trial(1, {"blocks": 1, "learning_rate": 0.1}, seed=2**32 - 1, params=10, macs=20, started_at=5.0)
EPOCHS = (Epoch(1, {"val_accuracy": 0.5}, 1.0), Epoch(2, {"val_accuracy": 0.75}, 1.0))
JOB = JobRecord(1, 1, {"id": "0"}, 0, 2, "float32", started_at=5.0)
RESULT = Result(1, "completed", 0.75, 2, EPOCHS, 2.5, peak_bytes=1000)
ENDED = replace(
    TRIAL, status="completed", score=0.75, best_epoch=2, seconds=2.5, epochs_done=2, state_job=1, epochs=EPOCHS
)
FINAL = JobRecord(2, 1, None, 2, 6, "float32")


@pytest.fixture
def run(tmp_path) -> RunStore:
    return toy_run(tmp_path)


@pytest.fixture
def ended(run) -> RunStore:
    """A run whose only job has ended."""
    run.start_job(JOB, TRIAL)
    run.end_job(RESULT, ENDED)
    return run


def places(run: RunStore) -> list[tuple[int, int, int | None]]:
    return [(job.number, job.began, job.ended) for job in run.jobs()]


def sessions(run: RunStore) -> list[tuple]:
    with sqlite3.connect(run.folder / "run.sqlite") as database:
        rows = database.execute("SELECT command, versions, workers, seconds FROM sessions ORDER BY number").fetchall()
    database.close()
    return rows


def test_what_is_written_is_read_back_in_a_new_store(ended):
    ended.close()
    again = RunStore.open(ended.folder)
    assert again.config == toy_config()
    [trial] = again.trials()
    assert (trial, trial.epochs) == (ENDED, EPOCHS)
    expected = replace(JOB, began=1, ended=2, status="completed", score=0.75, best_epoch=2, seconds=2.5)
    assert again.jobs() == [replace(expected, peak_bytes=1000)]


def test_a_job_that_began_is_there_before_it_has_trained_anything(run):
    run.start_job(JOB, TRIAL)
    assert run.jobs() == [replace(JOB, began=1)]
    assert run.trials() == [TRIAL]
    assert (run.last_trial(), run.last_job()) == (1, 1)


def test_before_the_first_trial_there_is_nothing(run):
    assert (run.trials(), run.jobs(), run.best_trial()) == ([], [], None)
    assert (run.last_trial(), run.last_job(), run.final_jobs(1)) == (0, 0, {})


def test_epochs_of_a_job_under_way_are_there_at_once(run):
    run.start_job(JOB, TRIAL)
    run.add_epoch(1, EPOCHS[0])
    assert run.epochs(1) == run.trials()[0].epochs == EPOCHS[:1]
    assert run.epochs(2) == ()


def test_an_epoch_that_is_trained_again_replaces_what_it_was(run):
    run.start_job(JOB, TRIAL)
    for seconds in (1.0, 2.0):
        run.add_epoch(1, replace(EPOCHS[0], seconds=seconds))
    run.add_epoch(1, EPOCHS[1])
    run.end_job(RESULT, ENDED)
    assert run.epochs(1) == EPOCHS


def test_beginnings_and_ends_have_their_place_in_one_order(run):
    for number in (1, 2):
        run.start_job(replace(JOB, number=number, trial=number), replace(TRIAL, number=number))
    run.end_job(replace(RESULT, job=2), replace(ENDED, number=2))
    run.start_job(replace(JOB, number=3, trial=3), replace(TRIAL, number=3))
    run.end_job(RESULT, ENDED)
    assert places(run) == [(1, 1, 5), (2, 2, 3), (3, 4, None)]


def test_a_later_job_of_a_trial_needs_no_new_trial_and_marks_it_as_running(ended):
    ended.start_job(JobRecord(2, 1, {"id": "3", "tuner/round": 1}, 2, 4, "bfloat16"))
    [trial] = ended.trials()
    assert (trial.status, trial.score, trial.epochs_done, trial.state_job) == ("running", 0.75, 2, 1)
    assert ended.jobs()[1].suggestion == {"id": "3", "tuner/round": 1}
    assert ended.jobs()[1].precision == "bfloat16"


def test_a_lost_attempt_is_counted(run):
    run.start_job(JOB, TRIAL)
    run.lose_job(1)
    run.lose_job(1)
    assert run.jobs()[0].losses == 2


def test_a_record_gives_its_result_back(ended):
    assert ended.jobs()[0].result() == replace(RESULT, epochs=())


def test_final_training_adds_no_epochs_to_the_search_and_keeps_what_that_measured(ended):
    ended.start_job(FINAL)
    ended.add_epoch(2, Epoch(3, {"val_accuracy": 0.9}, 1.0))
    ended.end_job(Result(2, "completed", 0.9, 3, (Epoch(3, {"val_accuracy": 0.9}, 1.0),), 1.0))
    [trial] = ended.trials()
    assert (trial, trial.epochs) == (ENDED, EPOCHS)
    assert ended.epochs(2) == (Epoch(3, {"val_accuracy": 0.9}, 1.0),)


def test_the_final_jobs_of_a_trial_are_the_latest_of_each_seed(ended):
    for number, replicate in ((2, 0), (3, 0), (4, 1)):
        ended.start_job(replace(FINAL, number=number, replicate=replicate))
    found = ended.final_jobs(1)
    assert {replicate: job.number for replicate, job in found.items()} == {0: 3, 1: 4}
    assert {job.replicate for job in found.values()} == {0, 1}
    assert ended.final_jobs(2) == {}


def test_final_training_leaves_its_trial_as_it_ended(ended):
    ended.start_job(FINAL)
    assert ended.trials() == [ENDED]


def test_a_result_is_written_whole_or_not_at_all(run):
    run.start_job(JOB, TRIAL)
    broken = replace(RESULT, epochs=(EPOCHS[0], replace(EPOCHS[1], seconds=None)))
    with pytest.raises(StorageError, match=r"run.sqlite: cannot be written: NOT NULL constraint failed: epochs.second"):
        run.end_job(broken, ENDED)
    assert run.jobs() == [replace(JOB, began=1)]
    assert (run.trials(), run.epochs(1)) == ([TRIAL], ())
    run.end_job(RESULT, ENDED)
    assert run.trials() == [ENDED]


def test_a_job_without_its_trial_is_refused_and_leaves_nothing(run):
    with pytest.raises(StorageError, match=r"run.sqlite: cannot be written: FOREIGN KEY constraint failed$"):
        run.start_job(JOB)
    assert run.jobs() == []


def test_a_transaction_that_is_interrupted_leaves_nothing_and_the_store_goes_on(run):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run.start_job(JOB, TRIAL)
    run._note_seconds = interrupted  # the last step of writing a result
    with pytest.raises(KeyboardInterrupt):
        run.end_job(RESULT, ENDED)
    del run._note_seconds
    assert RunStore.open(run.folder).trials() == run.trials() == [TRIAL]
    run.end_job(RESULT, ENDED)
    assert RunStore.open(run.folder).trials() == [ENDED]


def test_a_transaction_of_a_process_that_was_killed_leaves_nothing(run):
    run.start_job(JOB, TRIAL)
    killed = sqlite3.connect(run.folder / "run.sqlite", isolation_level=None)
    killed.execute("BEGIN IMMEDIATE")
    killed.execute("UPDATE trials SET score = 1.0")
    killed.close()  # without COMMIT, as the system does it
    assert RunStore.open(run.folder).trials() == [TRIAL]


def test_one_process_at_a_time_is_at_work(run):
    other = RunStore.open(run.folder)
    assert not run.is_at_work
    with run.at_work("cnn-tuner tune", {}):
        assert run.is_at_work
        assert other.is_at_work
        with pytest.raises(UsageError, match=r"/toy: another process is at work on this run$"), other.at_work("", {}):
            pass
    assert not run.is_at_work
    with other.at_work("cnn-tuner resume", {}):
        assert run.is_at_work
    assert [command for command, *_ in sessions(run)] == ["cnn-tuner tune", "cnn-tuner resume"]


def test_the_work_ends_with_an_exception_too(run):
    with pytest.raises(KeyboardInterrupt), run.at_work("cnn-tuner tune", {}):
        raise KeyboardInterrupt
    assert not run.is_at_work


def test_a_session_is_noted_with_what_it_trained_and_how_long(run, monkeypatch):
    now = iter([100.0, 107.5, 110.0])
    monkeypatch.setattr(store.time, "monotonic", lambda: next(now))
    with run.at_work("cnn-tuner tune --seed 1", {"python": "3"}):
        run.note_workers("1 worker process, 2 threads each, float32")
        run.start_job(JOB, TRIAL)
        run.end_job(RESULT, ENDED)
        noted = ("cnn-tuner tune --seed 1", '{"python": "3"}', "1 worker process, 2 threads each, float32", 7.5)
        assert sessions(run) == [noted]
    assert sessions(run)[0][-1] == 10.0


def test_each_session_has_its_own_seconds(run, monkeypatch):
    now = iter([0.0, 5.0, 100.0, 103.0])
    monkeypatch.setattr(store.time, "monotonic", lambda: next(now))
    for command in ("a", "b"):
        with run.at_work(command, {}):
            run.note_workers(f"workers of {command}")
    assert sessions(run) == [("a", "{}", "workers of a", 5.0), ("b", "{}", "workers of b", 3.0)]


def test_a_run_is_read_while_another_connection_writes(run):
    with run.at_work("cnn-tuner tune", {}):
        run.start_job(JOB, TRIAL)
        reader = RunStore.open(run.folder)
        with run._transaction() as database:
            run._insert_epochs(database, 1, EPOCHS)
            assert reader.trials() == [TRIAL]
            assert reader.epochs(1) == ()
        assert reader.epochs(1) == EPOCHS
    assert reader.epochs(1) == EPOCHS


def test_a_run_is_one_file_when_nobody_is_at_work(run):
    with run.at_work("cnn-tuner tune", {}):
        run.start_job(JOB, TRIAL)
        assert (run.folder / "run.sqlite-wal").exists()
    assert sorted(path.name for path in run.folder.glob("run.sqlite*")) == ["run.sqlite"]


def test_work_ends_while_somebody_reads(run):
    reader = RunStore.open(run.folder)
    with run.at_work("cnn-tuner tune", {}):
        run.start_job(JOB, TRIAL)
        assert reader.trials() == [TRIAL]
    assert reader.trials() == run.trials() == [TRIAL]


def stop_of(run: RunStore, job: int, initial: Trial, epoch: int, seconds: float) -> Trial:
    """Ends a job as a request to stop does it, after one more epoch."""
    epochs = (Epoch(epoch, {"val_accuracy": 0.5}, 1.0),)
    run.end_job(
        Result(job, "stopped", 0.5, epoch, epochs, seconds),
        replace(initial, status="stopped", seconds=initial.seconds + seconds, epochs_done=epoch, state_job=job),
    )
    return run.trials()[0]


def test_a_stopped_job_is_reopened_and_what_it_reached_stays(run):
    run.start_job(JOB, TRIAL)
    assert stop_of(run, 1, TRIAL, 1, 2.0).status == "stopped"
    run.reopen_stopped()
    [job], [trial] = run.jobs(), run.trials()
    assert (job.status, job.ended, job.began) == ("running", None, 1)
    assert (trial.status, trial.epochs_done, trial.state_job, trial.seconds) == ("stopped", 1, 1, 2.0)
    assert [epoch.number for epoch in run.epochs(1)] == [1]


def test_what_was_not_stopped_stays_ended(ended):
    ended.start_job(FINAL)
    ended.end_job(Result(2, "stopped", 0.9, 3, (), 1.0))
    before = (ended.jobs(), ended.trials())
    ended.reopen_stopped()
    assert (ended.jobs(), ended.trials()) == before


def test_the_order_goes_on_after_jobs_were_reopened(run):
    run.start_job(JOB, TRIAL)
    stop_of(run, 1, TRIAL, 1, 2.0)
    run.reopen_stopped()
    run.start_job(replace(JOB, number=2, trial=2), replace(TRIAL, number=2))
    run.end_job(RESULT, ENDED)
    assert places(run) == [(1, 1, 3), (2, 2, None)]


def test_the_winner_is_read_back(run):
    assert run.winner() is None
    winner = Winner(1, 9, 7, 0.75, 0.9, 0.89, {"accuracy": 0.8}, 40, 10, 20, 3.0, looks=2)
    run.set_winner(winner)
    assert RunStore.open(run.folder).winner() == winner
    assert winner.finalist is None
    finalists = (Finalist(1, 10, 0.75, (0.9, 0.8, 0.85)), Finalist(3, 30, 0.8, (0.7,)))
    intervals = {"accuracy": (0.7, 0.9), "loss": (0.25, 0.5)}
    full = replace(winner, finalists=finalists, test_intervals=intervals, job=7)
    run.set_winner(full)
    again = RunStore.open(run.folder).winner()
    assert again == full
    assert (again.finalist, again.finalist.mean) == (finalists[0], pytest.approx(0.85))


def test_the_seed_of_a_final_training_is_read_back(ended):
    for number, replicate in ((2, 0), (3, 2), (4, 1)):
        ended.start_job(replace(FINAL, number=number, replicate=replicate))
    found = RunStore.open(ended.folder).jobs()
    assert [(job.number, job.replicate, job.suggestion) for job in found[1:]] == [
        (2, 0, None),
        (3, 2, None),
        (4, 1, None),
    ]
    assert found[0].replicate == 0
    assert {replicate: job.number for replicate, job in ended.final_jobs(1).items()} == {0: 2, 2: 3, 1: 4}


class Monotonic:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_active_seconds_are_those_of_all_sessions_and_not_those_between_them(run, monkeypatch):
    clock = Monotonic()
    monkeypatch.setattr(store.time, "monotonic", clock)
    assert run.active_seconds() == 0.0
    with run.at_work("tune", {}, began=90.0):
        clock.now += 20.0
    assert run.active_seconds() == 30.0, "from the start of the process"
    clock.now += 5000.0
    with run.at_work("resume", {}, began=clock.now):
        clock.now += 12.0
    assert RunStore.open(run.folder).active_seconds() == 42.0
    assert [session["seconds"] for session in run.sessions()] == [30.0, 12.0]


def test_of_a_session_that_was_killed_the_seconds_up_to_its_last_job_count(run, monkeypatch):
    clock = Monotonic()
    monkeypatch.setattr(store.time, "monotonic", clock)
    with run.at_work("tune", {}):
        run.start_job(JOB, TRIAL)
        clock.now += 8.0
        run.end_job(RESULT, ENDED)
        clock.now += 3.0
        assert RunStore.open(run.folder).active_seconds() == 8.0


def test_a_winner_is_crowned_until_the_search_goes_on(run):
    assert (run.is_crowned, run.has_search_ended) == (False, False)
    run.set_search_ended(True)
    run.set_crowned()
    again = RunStore.open(run.folder)
    assert (again.is_crowned, again.has_search_ended) == (True, True)
    run.set_search_ended(False)
    assert (again.is_crowned, again.has_search_ended) == (False, False)


def test_the_precision_is_what_was_asked_for_or_else_what_was_chosen(tmp_path):
    auto = toy_run(tmp_path)
    assert auto.precision is None
    auto.set_precision("bfloat16")
    assert RunStore.open(auto.folder).precision == "bfloat16"
    (tmp_path / "b").mkdir()
    asked = toy_run(tmp_path / "b", precision="float32")
    asked.set_precision("bfloat16")
    assert asked.precision == "float32"


def test_a_run_is_reconfigured_for_this_store_and_the_next(run):
    changed = toy_config(max_trials=9)
    run.reconfigure(changed)
    assert run.config == RunStore.open(run.folder).config == changed


def test_a_run_is_complete_when_its_summary_is_there(run):
    assert not run.is_complete
    run.finish({"run": "toy"})
    assert RunStore.open(run.folder).is_complete


def test_a_run_that_is_worked_on_is_not_complete(run):
    run.finish({"run": "toy"})
    with run.at_work("cnn-tuner extend", {}):
        assert not run.is_complete
    assert not run.is_complete


def test_no_half_made_run_is_left_when_its_folder_cannot_be_finished(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        toy_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_discarded_leaves_nothing(run):
    run.discard()
    assert not run.folder.exists()


def test_an_unknown_run_is_told_with_the_choices(run):
    with pytest.raises(UsageError, match=r"/other: no such run; choices: toy$"):
        RunStore.open(run.folder.parent / "other")


def test_a_run_of_an_unknown_format_is_refused(run):
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("format: 3", "format: 1"))
    with pytest.raises(UsageError, match=r"toy: run format 1 is not known here, only 3$"):
        RunStore.open(run.folder)


def test_each_job_has_a_state_file_of_its_own(run):
    assert run.state_file(1) != run.state_file(2)
    assert run.state_file(12) == run.folder / "checkpoints" / "job-00012.npz"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda content: content[: len(content) // 2], "malformed"),
        (lambda content: b"\xff" * 100 + content[100:], "file is not a database"),
        (lambda content: content[:4096] + b"\xff" * 2000 + content[6096:], ".*"),
        (lambda content: b"", "no such table: facts"),
    ],
)
def test_a_damaged_store_is_told_in_one_line(run, spoil, told):
    run.close()
    file = run.folder / "run.sqlite"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(StorageError, match=rf"run\.sqlite: cannot be read: .*{told}") as error:
        RunStore.open(run.folder)
    assert "\n" not in str(error.value)
