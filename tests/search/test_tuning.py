"""From a request to a verified export, for every task; what is refused before training; what a stop leaves."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import toys
from toys import NAMES, SPACE, toy_part

from cnn_tuner.data import registry as data_registry
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, SearchError, SpaceError, StorageError, UsageError, VerificationError
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.oracles import registry as oracle_registry
from cnn_tuner.runs import evaluation, folders
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import tuning, winner
from cnn_tuner.search.final_training import FinalTraining
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.session import Session
from cnn_tuner.search.tuning import Outcome, Request, Tuning

INLINE = Workers(executor="inline")


def session() -> Session:
    return Session(Silent(), INLINE)


@pytest.fixture
def request_(tmp_path) -> Request:
    """A small search of small images."""
    return write_request(tmp_path, "multiclass")


def write_request(folder: Path, task: str) -> Request:
    train, test = toy_part(task, 160, 0), toy_part(task, 60, 1)
    names = {} if task == "regression" else {"class_names": np.array(NAMES[task])}
    y = {"y_train": train.y, "y_test": test.y}
    if task == "binary":
        y = {name: labels[:, 0].astype(int) for name, labels in y.items()}
    np.savez(folder / "toy.npz", x_train=train.x, x_test=test.x, **y, **names)
    (folder / "toy.yaml").write_text(SPACE)
    return Request(
        f"npz:{folder / 'toy.npz'}",
        str(folder / "toy.yaml"),
        max_trials=2,
        epochs=4,
        finalists=1,
        final_seeds=1,
        runs=folder / "runs",
        seed=1,
        workers=INLINE,
    )


@pytest.fixture
def unread(monkeypatch):
    """Exports without the processes that read them again and without pages to look at, for tests of something else."""
    toys.read_nothing(monkeypatch)
    monkeypatch.setattr(Session, "_show", lambda self, run: None)


def tuned(request: Request) -> Outcome:
    return Tuning(request, Silent()).run()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_from_npz_to_a_verified_export(task, tmp_path):
    outcome = tuned(replace(write_request(tmp_path, task), final_epochs=16))
    run = RunStore.open(outcome.folder)
    assert run.config.data.task == task
    assert (outcome.export / "saved_model.pb").is_file()
    assert outcome.export.parts[-3:] == ("export", "toy", "1")
    assert max(outcome.differences.values()) <= 1e-5
    assert set(outcome.winner.test) == set(TASKS[task].metrics)
    assert run.is_complete
    assert json.loads((run.folder / "result.json").read_text()) == json.loads(json.dumps(outcome.to_dict()))
    assert outcome.winner.refit == "done"
    found = tuning.evaluate_run(run)
    assert found["test"] == pytest.approx(outcome.winner.test, rel=1e-5)


@pytest.mark.slow
def test_a_regression_learns_targets_in_their_own_unit(tmp_path, unread):
    request = replace(write_request(tmp_path, "regression"), epochs=20, final_epochs=20)
    assert tuned(request).winner.test["mae"] < 30  # targets from 100 to 250, whose mean is off by 50


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_scores_and_test(request_, unread):
    first, second = tuned(request_), tuned(request_)
    assert [(t.values, t.score) for t in first.trials] == [(t.values, t.score) for t in second.trials]
    assert first.winner.test == second.winner.test
    assert (first.folder.name, second.folder.name) == ("toy-toy-1", "toy-toy-2")


@pytest.mark.slow
def test_the_test_part_is_looked_at_once_and_not_before_the_end(request_, unread, monkeypatch):
    looks = []
    load = data_registry.load

    def watched(*args):
        dataset = load(*args)
        return replace(dataset, test=Watched(dataset.test.x, dataset.test.y, looks))

    monkeypatch.setattr(data_registry, "load", watched)
    observer = Silent()
    observer.phase = lambda text, epochs=0: looks.append(text)
    Tuning(request_, observer).run()
    # Simple models are measured once before, to be told beside the winner: no choice is made by them.
    assert looks[0] == "fitting simple models, to compare with"
    looks = looks[next(at for at, text in enumerate(looks) if text.startswith("training trial")) :]
    first = looks.index("x")
    assert looks[first - 1] == "evaluating on the test part"
    began, ended = (
        looks.index(text) for text in ("evaluating on the test part", "exporting, and verifying in a new process")
    )
    assert looks[began:ended].count("y") == 1
    assert "y" not in looks[:began]


class Watched:
    """A test part that notes when its images or labels are asked for."""

    files = None
    digests = np.zeros((0, 16), np.uint8)

    def __init__(self, x, y, looks):
        self._x, self._y, self._looks = x, y, looks

    def __len__(self):
        return len(self._x)

    @property
    def x(self):
        self._looks.append("x")
        return self._x

    @property
    def y(self):
        self._looks.append("y")
        return self._y


# The fingerprint of a dataset reads every part, to recognise it again: it decides nothing.
@pytest.fixture(autouse=True)
def fingerprint(monkeypatch, request):
    if "watched" in request.node.name or "looked_at_once" in request.node.name:
        from cnn_tuner.data.dataset import Dataset

        monkeypatch.setattr(Dataset, "fingerprint", "0")


@pytest.mark.slow
@pytest.mark.parametrize("oracle", oracle_registry.ORACLES)
def test_every_oracle_runs_for_real(request_, unread, oracle):
    outcome = tuned(replace(request_, oracle=oracle, max_trials=3, epochs=3, final_epochs=3))
    assert len(outcome.trials) == 3
    assert {trial.status for trial in outcome.trials} == {"completed"}


class Stops(Silent):
    """Asks for a stop after some epochs, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self.after, self.tuning = after, None

    def epoch_ended(self, trial, epoch):
        self.after -= 1
        if self.after == 0:
            self.tuning.request_stop()


def stopped(request: Request, after: int) -> Outcome:
    observer = Stops(after)
    observer.tuning = Tuning(request, observer)
    return observer.tuning.run()


@pytest.mark.parametrize(("after", "trials"), [(1, 1), (6, 2), pytest.param(9, 2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_stop_ends_with_the_best_so_far_exported(request_, unread, after, trials):
    outcome = stopped(replace(request_, epochs=4, final_epochs=400), after)
    assert outcome.is_interrupted
    assert len(outcome.trials) == trials
    assert (outcome.export / "saved_model.pb").is_file()
    run = RunStore.open(outcome.folder)
    assert not run.is_complete, "it can be gone on with"
    assert not run.is_crowned
    assert run.has_search_ended == (after > 8)


def test_a_stop_before_the_first_epoch_leaves_no_winner(request_):
    tuning_ = Tuning(request_, Silent())
    tuning_.is_stopping = True
    with pytest.raises(SearchError, match=r"no trial completed an epoch, so there is nothing to export$"):
        tuning_.run()
    assert list(request_.runs.glob("[!.]*")) == []


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_search_can_be_exported(request_, unread, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FinalTraining, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tuned(request_)
    [folder] = request_.runs.glob("[!.]*")
    run = RunStore.open(folder)
    assert run.winner() is None
    exported = tuning.export_run(run, session())
    assert exported.path == folder / "export" / "toy" / "1"
    assert run.winner().epochs > 4
    assert tuning.export_run(run, session()).path.name == "2"


@pytest.mark.slow
def test_export_refuses_other_data(request_, unread):
    outcome = tuned(replace(request_, max_trials=1, epochs=1, final_epochs=1))
    with np.load(request_.data.removeprefix("npz:")) as file:
        arrays = dict(file)
    arrays["x_train"][0, 0, 0, 0] ^= 1
    np.savez(request_.data.removeprefix("npz:"), **arrays)
    text = (
        r"toy.npz: not what toy-toy-1 was trained on: its pixels or labels have changed; "
        r"scores compare only on the same data: start a new run$"
    )
    with pytest.raises(DataError, match=text):
        tuning.export_run(RunStore.open(outcome.folder), session())


@pytest.mark.slow
def test_an_export_that_fails_its_verification_leaves_nothing(request_, monkeypatch):
    with monkeypatch.context() as patch:
        toys.read_nothing(patch)
        outcome = tuned(replace(request_, max_trials=1, epochs=1, final_epochs=1))
    run = RunStore.open(outcome.folder)
    found = evaluation.load(run.evaluation)
    evaluation.save(replace(found, scores=found.scores + 0.1), run.evaluation)
    with pytest.raises(VerificationError, match=r"a score differs by 0\.1"):
        tuning.export_run(run, session())
    assert [path.name for path in outcome.export.parent.iterdir()] == ["1"]


REFUSED = {
    "unknown data": ({"data": "nothing"}, UsageError, "^--data nothing: no such data; choose digits, "),
    "unknown space": (
        {"space": "nothing"},
        UsageError,
        "^--space: no such space or file: 'nothing'; choices: auto, deep, ",
    ),
    "unknown oracle": ({"oracle": "x"}, UsageError, "^--oracle: unknown: 'x'; choices: random, grid, "),
    "unknown objective": (
        {"objective": "val_acc"},
        UsageError,
        "^--objective: unknown for a multiclass task: 'val_acc'; "
        "choices: val_accuracy, val_balanced_accuracy, val_macro_f1, val_loss$",
    ),
    "no trials": ({"max_trials": 0}, UsageError, "^--max-trials: must be a whole number >= 1, got 0$"),
    "no epochs": ({"epochs": 0}, UsageError, "^--max-epochs: must be a whole number >= 1, got 0$"),
    "no final epochs": ({"final_epochs": -1}, UsageError, "^--final-epochs: must be a whole number >= 1, got -1$"),
    "nothing kept": ({"keep": 0}, UsageError, "^--keep: must be a whole number >= 1, got 0$"),
    "bad name": ({"name": "../x"}, UsageError, "^--name: letters, digits"),
    "file for runs": ({"runs": Path("toy.yaml")}, StorageError, "^toy.yaml: is a file, not a folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_before_the_first_training(request_, case, monkeypatch):
    monkeypatch.chdir(request_.runs.parent)
    change, kind, text = REFUSED[case]
    with pytest.raises(kind, match=text) as error:
        tuned(replace(request_, **change))
    assert "\n" not in str(error.value)
    assert not list(request_.runs.glob("[!.]*"))


@pytest.mark.slow
def test_what_workers_share_is_gone_at_the_end_and_the_session_is_noted(request_, unread):
    run = RunStore.open(tuned(replace(request_, max_trials=1, epochs=1, final_epochs=1, command="as typed")).folder)
    assert not run.shared_data.exists()
    assert not run.is_at_work
    [(command, workers, seconds)] = run._database.execute("SELECT command, workers, seconds FROM sessions").fetchall()
    assert command == "as typed"
    assert workers.startswith("1 worker process, 0 threads each, float32")
    assert seconds > 0
    assert (run.config.search.precision, run.precision) == ("auto", "float32"), "what was left open is remembered"


@pytest.mark.slow
def test_the_score_as_exported_is_measured_in_float32(request_, unread):
    bfloat16 = replace(request_, workers=replace(INLINE, precision="bfloat16"))
    outcome = tuned(replace(bfloat16, max_trials=1, epochs=1, final_epochs=8))
    run = RunStore.open(outcome.folder)
    assert {job.precision for job in run.jobs()} == {"bfloat16"}
    assert run.config.search.precision == run.precision == "bfloat16"
    assert outcome.winner.float32_score == pytest.approx(outcome.winner.score, abs=0.2)
    best = keras.saving.load_model(run.best_model, compile=False)
    assert {layer.compute_dtype for layer in best.layers if layer.name != "image"} == {"float32"}


def test_a_space_without_a_feasible_point_is_refused_with_the_reason(request_):
    Path(request_.space).write_text("description: x\nblock: {filters: 2, kernel_size: 9, padding: valid}")
    text = r"toy\.yaml: no feasible point for images of 8x8x1: block_1_conv_1: a 9x9 kernel does not fit on a 8x8 map$"
    with pytest.raises(SpaceError, match=text):
        tuned(request_)


def test_two_runs_that_begin_at_once_get_two_names(request_, monkeypatch):
    config, _ = Tuning(request_, Silent()).prepare()
    first = Tuning(request_, Silent())._create(config)
    names = iter([first.folder.name, "toy-toy-2"])  # the other process has looked before the first one was there
    monkeypatch.setattr(folders, "next_name", lambda *_: next(names))
    assert Tuning(request_, Silent())._create(config).folder.name == "toy-toy-2"
    monkeypatch.undo()
    renames, rename = [], Path.rename

    def raced(self, target):
        if self.name.startswith(".toy") and not renames:
            renames.append(shutil.copytree(first.folder, target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", raced)
    assert Tuning(request_, Silent())._create(config).folder.name == "toy-toy-4"
    assert not [path for path in request_.runs.iterdir() if path.name.startswith(".toy")]


def test_a_name_that_another_process_took_is_told(request_, monkeypatch):
    config, _ = Tuning(request_, Silent()).prepare()
    Tuning(replace(request_, name="mine"), Silent())._create(config)
    with pytest.raises(UsageError, match="mine exists already; choose another name, or go on with it"):
        Tuning(replace(request_, name="mine"), Silent())._create(config)


def test_a_run_of_long_names_gets_a_short_one(request_):
    config, _ = Tuning(request_, Silent()).prepare()
    named = config.model_copy(update={"space_name": "\u00fc" * 300})
    name = Tuning(request_, Silent())._create(named).folder.name
    assert len(name.encode()) <= folders.MOST_NAME_BYTES
    assert name.endswith("\u00fc-1")


def test_an_unknown_oracle_in_a_space_file_is_refused(request_):
    Path(request_.space).write_text(SPACE.replace("oracle: random", "oracle: magic"))
    with pytest.raises(UsageError, match=r"toy.yaml: search.oracle: unknown: 'magic'; choices: "):
        tuned(request_)


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_middle_keeps_what_was_finished(request_, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FinalTraining, "run", full)
    text = (
        r"/toy-toy-1: no space left on the disk; free some, or choose another folder with --runs; "
        r"finished trials are kept, cnn-tuner resume toy-toy-1 goes on$"
    )
    with pytest.raises(StorageError, match=text):
        tuned(request_)
    assert len(RunStore.open(request_.runs / "toy-toy-1").trials()) == 2


def test_without_a_model_and_its_answers_there_is_nothing_to_export(tmp_path):
    run = toys.toy_run(tmp_path)
    with pytest.raises(SearchError, match=r"/toy: has no best\.keras with an evaluation\.npz to export$"):
        winner.export(run, toys.toy_dataset(), Silent())


@pytest.mark.slow
def test_a_model_or_answers_that_are_gone_are_had_again_and_count_as_the_same_look(request_, unread):
    outcome = tuned(replace(request_, max_trials=1, epochs=1, final_epochs=1))
    run = RunStore.open(outcome.folder)
    expected = evaluation.load(run.evaluation).scores
    losses = (
        run.best_model.unlink,
        run.evaluation.unlink,
        lambda: run.evaluation.write_bytes(run.evaluation.read_bytes()[:-100]),
    )
    for version, lose in enumerate(losses, 2):
        lose()
        assert tuning.export_run(run, session()).path.name == str(version)
        np.testing.assert_array_equal(evaluation.load(run.evaluation).scores, expected)
    assert RunStore.open(outcome.folder).winner().looks == 1


@pytest.mark.slow
def test_task_overrules_what_the_labels_say(request_, unread):
    options = DataOptions(task="regression")
    part = toy_part("multiclass", 100, 0)
    np.savez(request_.data.removeprefix("npz:"), x_train=part.x, y_train=part.y)
    outcome = tuned(replace(request_, data_options=options, max_trials=1, epochs=1, final_epochs=1))
    assert set(outcome.winner.test) == {"mae", "rmse"}
