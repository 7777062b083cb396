"""Going on with a run: nothing finished is lost or run twice, and what differs is named before it counts."""

from __future__ import annotations

import errno
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toys
import yaml
from runs.test_folders import holding
from search.test_tuning import INLINE, Stops, write_request
from toys import KilledError

from cnn_tuner.errors import CnnTunerError, DataError, SearchError, SpaceError, StorageError, UsageError
from cnn_tuner.export.formats import keras_file
from cnn_tuner.runs import evaluation, images
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import REFIT, Epoch, JobRecord, Result, Trial
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import resuming, tuning, winner
from cnn_tuner.search.final_training import FinalTraining
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.resuming import Resuming, Wishes
from cnn_tuner.search.session import Outcome, Session
from cnn_tuner.search.tuning import Request, Tuning
from cnn_tuner.spaces.tree import load
from cnn_tuner.training import fit

# One network, so that a trial trains in a second; what differs is the learning rate.
SMALL = """
description: For tests.
blocks: 1
block:
  filters: [2, 4]
  pool_size: 2
dense:
  layers: 1
  units: 8
training:
  learning_rate: {min: 0.003, max: 0.03, sampling: log}
  batch_size: 32
search: {oracle: random}
"""


@pytest.fixture
def request_(tmp_path) -> Request:
    """Two trials of two epochs, and two more for the winner."""
    request = replace(write_request(tmp_path, "multiclass"), max_trials=2, epochs=2, final_epochs=4)
    Path(request.space).write_text(SMALL)
    return request


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    """Exports without the processes that read them again, which take seconds."""
    toys.read_nothing(monkeypatch)


def made(request: Request) -> RunStore:
    """A run as `tune` makes it, before its first trial."""
    session = Tuning(request, Silent())
    config, _ = session.prepare()
    return session._create(config)


@pytest.fixture
def run(request_) -> RunStore:
    return made(request_)


@pytest.fixture
def untrained(monkeypatch) -> list[RunStore]:
    """The runs that were gone on with, which trains nothing here."""
    gone_on: list[RunStore] = []

    def go_on(self: Resuming, run: RunStore, dataset: object) -> None:
        self._prepare(run)
        gone_on.append(run)

    monkeypatch.setattr(Resuming, "go_on", go_on)
    return gone_on


def resumed(run: RunStore | Path, wishes: Wishes | None = None, observer: Silent | None = None) -> Outcome:
    opened = RunStore.open(run if isinstance(run, Path) else run.folder)
    return Resuming(opened, wishes or Wishes(), observer or Silent(), INLINE, "cnn-tuner resume").run()


def refused(run: RunStore, wishes: Wishes, kind: type[CnnTunerError] = UsageError) -> str:
    with pytest.raises(kind) as error:
        resumed(run, wishes)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{run.folder}: ")


def config_of(run: RunStore) -> resuming.RunConfig:
    return RunStore.open(run.folder).config


def changes(run: RunStore) -> list[str]:
    return [change.text for change in config_of(run).changes]


def has_trials(run: RunStore, count: int) -> None:
    """Notes trials that have ended."""
    for number in range(1, count + 1):
        trial = Trial(number, run.config.search_space().sample(random.Random(number)), 0, 10, 20)
        run.start_job(JobRecord(number, number, {"id": str(number - 1)}, 0, 2, "float32"), trial)
        epochs = (Epoch(1, {"val_accuracy": 0.5}, 0.1),)
        done = replace(trial, status="completed", score=0.5, best_epoch=1, epochs_done=1, state_job=number)
        run.end_job(Result(number, "completed", 0.5, 1, epochs, 0.1), done)


def accepting(**settings: object) -> Wishes:
    return Wishes(settings, accepts_changes=True)


# --- what differs


def test_without_a_difference_the_run_goes_on_as_it_is(run, untrained):
    before = run.config
    resumed(run)
    assert config_of(run) == before
    assert len(untrained) == 1


SETTINGS = {
    "oracle": ("bayesian", "oracle was random, is bayesian"),
    "max_trials": (9, "max_trials was 2, is 9"),
    "epochs": (7, "epochs was 2, is 7"),
    "final_epochs": (8, "final_epochs was 4, is 8"),
    "keep": (5, "keep was 3, is 5"),
    "precision": ("bfloat16", "precision was auto, is bfloat16"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_differs_is_named_and_taken_up_when_that_is_accepted(run, untrained, name):
    value, text = SETTINGS[name]
    assert refused(run, Wishes({name: value})) == f"{text}; --accept-changes goes on with what is now"
    assert (config_of(run), untrained) == (run.config, [])
    resumed(run, accepting(**{name: value}))
    assert getattr(config_of(run).search, name) == value
    assert changes(run) == [text]


def test_settings_that_are_as_they_were_or_not_told_are_no_difference(run, untrained):
    same = run.config.search.model_dump() | {"precision": None, "keep": None}
    resumed(run, Wishes(same))
    assert changes(run) == []


def test_all_differences_are_named_in_one_line(run):
    text = refused(run, Wishes({"epochs": 7, "keep": 1}))
    assert text == "epochs was 2, is 7; keep was 3, is 1; --accept-changes goes on with what is now"


def test_changes_are_listed_with_their_time_one_after_the_other(run, untrained):
    resumed(run, accepting(epochs=7))
    resumed(run, accepting(epochs=8, keep=1))
    assert changes(run) == ["epochs was 2, is 7", "epochs was 7, is 8", "keep was 3, is 1"]
    listed = yaml.safe_load((run.folder / "config.yaml").read_text())["changes"]
    assert [set(change) for change in listed] == [{"at", "text"}] * 3
    assert all(change["at"].endswith("+00:00") for change in listed)


COMPARE = "a run's scores compare only by the same objective: start a new run with cnn-tuner tune"
ROUNDS = "the rungs of ASHA and Hyperband follow from what a run began with: start a new run with cnn-tuner tune"
SEED = "its trials were drawn by the seed that it began with"
REFUSED = {
    "objective": ("random", {"objective": "val_loss"}, f"objective was val_accuracy, is val_loss: {COMPARE}"),
    "seed": ("random", {"seed": 2}, f"seed was 1, is 2: {SEED}"),
    "seed 0": ("random", {"seed": 0}, f"seed was 1, is 0: {SEED}"),
    "to hyperband": ("random", {"oracle": "hyperband"}, f"oracle was random, is hyperband: {ROUNDS}"),
    "from hyperband": ("hyperband", {"oracle": "grid"}, f"oracle was hyperband, is grid: {ROUNDS}"),
    "to asha": ("grid", {"oracle": "asha"}, f"oracle was grid, is asha: {ROUNDS}"),
    "epochs of asha": ("asha", {"epochs": 9}, f"epochs was 2, is 9: {ROUNDS}"),
    "epochs of hyperband": ("hyperband", {"epochs": 9}, f"epochs was 2, is 9: {ROUNDS}"),
    "fewer trials": ("random", {"max_trials": 1}, "max_trials was 2, is 1: it has 2 trials already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_changed_is_refused_whether_accepted_or_not(request_, case):
    oracle, settings, text = REFUSED[case]
    run = made(replace(request_, oracle=oracle))
    has_trials(run, 2)
    assert refused(run, Wishes(settings)) == refused(run, accepting(**settings)) == text
    assert config_of(run) == run.config


def test_as_many_trials_as_the_run_has_are_enough(request_, untrained):
    run = made(replace(request_, max_trials=5))
    has_trials(run, 2)
    resumed(run, accepting(max_trials=2))
    assert changes(run) == ["max_trials was 5, is 2"]


INVALID = {
    "no trials": (Wishes({"max_trials": 0}), "--max-trials: must be a whole number >= 1, got 0"),
    "no epochs": (Wishes({"epochs": 0}), "--max-epochs: must be a whole number >= 1, got 0"),
    "no final epochs": (Wishes({"final_epochs": -1}), "--final-epochs: must be a whole number >= 1, got -1"),
    "nothing kept": (Wishes({"keep": 0}), "--keep: must be a whole number >= 1, got 0"),
    "no more trials": (Wishes(more_trials=0), "--trials: must be a whole number >= 1, got 0"),
    "oracle": (
        Wishes({"oracle": "x"}),
        "--oracle: unknown: 'x'; choices: random, grid, bayesian, hyperband, asha",
    ),
    "data": (Wishes(data="digit"), "--data digit: no such data; choose "),
    "space": (Wishes(space="none"), "--space: no such space or file: 'none'; choices: "),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_wish_that_no_run_could_meet_is_refused(run, case):
    wishes, text = INVALID[case]
    assert refused(run, wishes).startswith(text)


# --- the search space


EDITS = {
    "values": ("filters: [2, 4]", "filters: [2, 8]", "block.filters was 2, 4, is 2, 8"),
    "a range": ("max: 0.03", "max: 0.3", "learning_rate was 0.003 to 0.03 (log), is 0.003 to 0.3 (log)"),
    "sampling": (", sampling: log", "", "learning_rate was 0.003 to 0.03 (log), is 0.003 to 0.03"),
    "the number of blocks": ("blocks: 1", "blocks: [1, 2]", "blocks was 1, is 1, 2"),
    "a limit": ("\ntraining", "\nlimits: {max_params: 9000}\ntraining", "limits.max_params was not there, is 9000"),
    "removed": ("layers: 1\n  units: 8", "layers: 0", "dense_layers was 1, is 0"),
    "added": ("units: 8", "units: 8\n  dropout: [0.0, 0.5]", "dense.dropout was 0, is 0, 0.5"),
}


def edit(request: Request, before: str, after: str) -> None:
    file = Path(request.space)
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_space_is_told_by_what_differs(run, request_, untrained, case):
    before, after, text = EDITS[case]
    edit(request_, before, after)
    told = refused(run, Wishes())
    how = "--accept-changes goes on with what is now, --keep-space with the search space as it was"
    assert told.startswith(f"{request_.space}: {text}")
    assert told.endswith(f"; {how}")
    resumed(run, accepting())
    assert config_of(run).search_space().fingerprint == load(request_.space).fingerprint
    assert changes(run)[0] == f"{request_.space}: {text}"
    assert len(untrained) == 1


def test_a_hyperparameter_that_is_gone_is_told(run, request_):
    edit(request_, "layers: 1\n  units: 8", "layers: 0")
    assert f"{request_.space}: dense.units was 8, is not there; " in refused(run, Wishes())


def test_what_all_blocks_share_is_told_once(request_):
    edit(request_, "blocks: 1", "blocks: [1, 2, 3]")
    run = made(request_)
    edit(request_, "filters: [2, 4]", "filters: [2, 8]")
    assert refused(run, Wishes()).count("filters") == 1


def test_a_space_that_is_kept_stays_as_it_was(run, request_, untrained):
    edit(request_, "filters: [2, 4]", "filters: [2, 8]")
    resumed(run, Wishes(keeps_space=True))
    assert (config_of(run), len(untrained)) == (run.config, 1)


def test_a_space_that_is_written_otherwise_is_no_difference(run, request_, untrained):
    Path(request_.space).write_text("# a remark\n" + SMALL.replace("For tests.", "For more tests."))
    resumed(run)
    assert (changes(run), len(untrained)) == ([], 1)


def test_a_space_whose_file_is_gone_is_gone_on_with(run, request_, untrained):
    Path(request_.space).unlink()
    resumed(run)
    assert (config_of(run), len(untrained)) == (run.config, 1)


def test_a_space_whose_file_is_broken_is_told_and_can_be_kept(run, request_, untrained):
    Path(request_.space).write_text("blocks: [")
    with pytest.raises(SpaceError, match=r"^.*/toy\.yaml: "):
        resumed(run)
    resumed(run, Wishes(keeps_space=True))
    assert len(untrained) == 1


def test_a_space_is_found_from_another_folder(request_, monkeypatch, tmp_path, untrained):
    monkeypatch.chdir(tmp_path)
    run = made(replace(request_, space="toy.yaml"))
    edit(request_, "filters: [2, 4]", "filters: [2, 8]")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "block.filters was 2, 4, is 2, 8" in refused(run, Wishes())


def test_a_shipped_space_is_known_by_its_name(request_, untrained):
    run = made(replace(request_, space="quick"))
    assert run.config.space_place == "quick"
    resumed(run)
    assert len(untrained) == 1


@pytest.mark.parametrize("asked", ["auto", None], ids=["asked for", "by default"])
def test_a_space_that_was_made_for_the_images_stays_the_runs_own(request_, untrained, tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    Path("auto").write_text("a file that means nothing")
    run = made(replace(request_, space=asked, objective="val_macro_f1"))
    assert (run.config.space_name, run.config.space_place) == ("auto", "auto")
    own = load(str(run.folder / "space.yaml"))
    assert own.fingerprint == run.config.search_space().fingerprint
    described = {each.name: each.describe() for each in own.parameters}
    assert (described["blocks"], described["class_weights"]) == ("1, 2", "none, balanced")
    resumed(run)
    assert len(untrained) == 1


def test_another_space_is_a_difference_that_can_be_accepted(run, request_, tmp_path, untrained):
    other = tmp_path / "other.yaml"
    other.write_text(SMALL.replace("filters: [2, 4]", "filters: [3, 4]"))
    text = f"{other}: block.filters was 2, 4, is 3, 4"
    assert refused(run, Wishes(space=str(other))) == f"{text}; --accept-changes goes on with what is now"
    resumed(run, Wishes(space=str(other), accepts_changes=True))
    config = config_of(run)
    assert (config.space_name, config.space_place) == ("other", str(other))
    assert changes(run) == [text]
    resumed(run)
    assert len(untrained) == 2, "and is the run's own from then on"


def test_a_space_without_a_point_for_these_images_is_refused(run, request_):
    edit(request_, "pool_size: 2", "pool_size: 2\n  kernel_size: 9\n  padding: valid")
    with pytest.raises(SpaceError, match=r"toy\.yaml: no feasible point for images of 8x8x1: "):
        resumed(run, accepting())
    assert config_of(run) == run.config


# --- the data


def test_data_that_was_moved_is_the_same_data(run, request_, tmp_path, untrained):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(request_.data.removeprefix("npz:"), moved / "toy.npz")
    with pytest.raises(
        DataError, match=r"toy\.npz: no such file or folder; if they have moved, --data says where they lie now$"
    ):
        resumed(run)
    resumed(run, Wishes(data=f"npz:{moved / 'toy.npz'}"))
    assert len(untrained) == 1


@pytest.mark.parametrize(
    ("asked", "count"), [(Workers(), 3), (Workers(must_measure=True), None), (Workers(count=2), 2)]
)
def test_a_run_is_gone_on_with_by_as_many_workers_as_it_was_begun_with(request_, asked, count):
    begun = replace(request_, workers=replace(request_.workers, count=3))
    config, _ = Tuning(begun, Silent()).prepare()
    run = RunStore.create(begun.runs, "three", config)
    assert Resuming(run, Wishes(), Silent(), asked).workers.count == count


def test_data_is_found_from_whatever_folder(request_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = replace(request_, data=f"npz:{os.path.relpath(request_.data.removeprefix('npz:'))}")
    config, dataset = Tuning(request, Silent()).prepare()
    run = RunStore.create(tmp_path / "runs", "typed", config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert images.load_data(run).fingerprint == dataset.fingerprint
    assert run.config.data.source == request.data
    older = config.model_copy(update={"data": config.data.model_copy(update={"place": ""})})
    run.reconfigure(older)
    with pytest.raises(DataError, match=r"--data says where they lie now$"):
        images.load_data(run)


def test_data_that_were_moved_keep_their_name(request_, tmp_path):
    config, _ = Tuning(request_, Silent()).prepare()
    run = RunStore.create(tmp_path / "runs", "typed", config)
    file = Path(request_.data.removeprefix("npz:"))
    moved = images.load_data(run, f"npz:{file.rename(tmp_path / 'called otherwise.npz')}")
    assert moved.name == config.data.name != "called-otherwise"


def arrays(request: Request) -> dict[str, np.ndarray]:
    with np.load(request.data.removeprefix("npz:")) as file:
        return dict(file)


def other_shape(found: dict) -> None:
    for name in ("x_train", "x_test"):
        found[name] = np.repeat(found[name], 3, axis=-1)


def fewer(found: dict) -> None:
    for name in ("x_train", "y_train"):
        found[name] = found[name][:-20]


def other_classes(found: dict) -> None:
    found["class_names"] = np.array(["zero", "one", "two", "many"])


def other_task(found: dict) -> None:
    for name in ("y_train", "y_test"):
        found[name] = found[name].astype(np.float32) + 0.5
    del found["class_names"]


def other_pixels(found: dict) -> None:
    found["x_train"][0, 0, 0, 0] ^= 1


def other_labels(found: dict) -> None:
    found["y_test"][[0, 1]] = found["y_test"][[1, 0]]


OTHER_DATA = {
    other_shape: "the shape of its images was 8, 8, 1, is 8, 8, 3",
    fewer: "the number of training, validation and test images was 136, 24, 60, is 119, 21, 60",
    other_classes: "its classes was zero, one, two, three, is zero, one, two, many",
    other_task: "the task was multiclass, is regression",
    other_pixels: "its pixels or labels have changed",
    other_labels: "its pixels or labels have changed",
}


@pytest.mark.parametrize("change", OTHER_DATA, ids=lambda change: change.__name__)
def test_data_that_has_changed_is_refused_by_what_differs(run, request_, change):
    found = arrays(request_)
    change(found)
    np.savez(request_.data.removeprefix("npz:"), **found)
    text = (
        f"{request_.data}: not what toy-toy-1 was trained on: {OTHER_DATA[change]}; "
        "scores compare only on the same data: start a new run"
    )
    assert refused(run, Wishes(), DataError) == refused(run, accepting(), DataError) == text


# --- one process at a time


def test_a_run_at_work_in_another_process_is_refused(run):
    with holding(run.folder):
        assert refused(run, Wishes()) == "another process is at work on this run"


# --- going on for real


class Kills(Silent):
    """Ends the process, as far as a test can, when something has been told so often."""

    def __init__(self, after: int) -> None:
        self.after, self.told = after, []

    def trial_started(self, trial: Trial, epochs: int) -> None:
        self.told.append(trial.number)

    def epoch_ended(self, trial: int, epoch: Epoch) -> None:
        self.after -= 1
        if self.after == 0:
            raise KilledError


def killed(request: Request, after: int) -> RunStore:
    with pytest.raises(KilledError):
        Tuning(request, Kills(after)).run()
    [folder] = request.runs.glob("[!.]*")
    return RunStore.open(folder)


def facts(found: Outcome | RunStore) -> list[tuple]:
    trials = found.trials if isinstance(found, Outcome) else found.trials()
    return [(t.values, t.seed, t.score, t.status, [epoch.metrics for epoch in t.epochs]) for t in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Outcome:
    """The run of `request_`, to its end without a break."""
    request = replace(write_request(tmp_path_factory.mktemp("whole"), "multiclass"), epochs=2, final_epochs=4)
    Path(request.space).write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        toys.read_nothing(patch)
        patch.setattr(Session, "_show", lambda self, run: None)
        return Tuning(request, Silent()).run()


@pytest.fixture
def complete(whole, tmp_path, request_) -> RunStore:
    """A copy of that run, on data and a space of its own."""
    shutil.copytree(whole.folder, request_.runs / whole.folder.name)
    config = request_.runs / whole.folder.name / "config.yaml"
    config.write_text(config.read_text().replace(str(whole.folder.parent.parent), str(tmp_path)))
    return RunStore.open(config.parent)


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.slow
def test_a_search_that_was_killed_ends_with_what_it_would_have_found(request_, whole, after):
    run = killed(request_, after)
    observer = Kills(-1)
    outcome = resumed(run, observer=observer)
    assert facts(outcome) == facts(whole)
    assert (outcome.winner.test, outcome.winner.score) == (whole.winner.test, whole.winner.score)
    assert observer.told == ([1, 2] if after < 2 else [2])
    assert RunStore.open(run.folder).is_complete


@pytest.mark.slow
def test_a_final_training_that_was_killed_is_gone_on_with(request_, whole):
    run = killed(request_, 5)
    [final] = [job for job in run.jobs() if job.suggestion is None]
    assert (final.status, [e.number for e in run.epochs(final.number)]) == ("running", [1])
    observer = Kills(-1)
    outcome = resumed(run, observer=observer)
    assert observer.told == [], "no trial is run again"
    assert facts(outcome) == facts(whole)
    assert (outcome.winner.score, outcome.winner.epochs) == (whole.winner.score, whole.winner.epochs)
    assert [job.number for job in RunStore.open(run.folder).jobs()] == [1, 2, 3, 4], "the refit is the last"


@pytest.mark.slow
def test_a_final_training_that_was_stopped_is_gone_on_with(request_, whole):
    observer = Stops(5)
    observer.tuning = Tuning(request_, observer)
    before = observer.tuning.run()
    assert before.is_interrupted
    assert before.winner.score >= before.winner.search_score, "of two that were cut short the better one"
    outcome = resumed(before.folder)
    assert (outcome.is_interrupted, outcome.winner.epochs, outcome.winner.score) == (False, 4, whole.winner.score)
    assert outcome.winner.looks == 2
    assert outcome.export.name == "2"
    final = RunStore.open(before.folder).final_jobs(outcome.winner.trial)
    assert {n: (job.number, job.status) for n, job in final.items()} == {0: (3, "completed"), REFIT: (4, "completed")}


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_with_the_trial_that_was_stopped(request_, whole):
    observer = Stops(3)
    observer.tuning = Tuning(request_, observer)
    before = observer.tuning.run()
    assert before.is_interrupted
    assert not (before.folder / "result.json").exists()
    outcome = resumed(before.folder)
    assert facts(outcome) == facts(whole)
    assert outcome.winner.test == whole.winner.test


def killed_in(request: Request, monkeypatch: pytest.MonkeyPatch, name: str, owner: object = winner) -> RunStore:
    """A run whose process was killed when it came to a function of `winner`, or of another owner."""

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(KilledError):
            Tuning(request, Silent()).run()
    [folder] = request.runs.glob("[!.]*")
    return RunStore.open(folder)


@pytest.mark.parametrize(("owner", "name"), [(winner, "crown"), (keras_file, "save"), (winner, "export")])
@pytest.mark.slow
def test_a_run_that_was_killed_after_its_training_trains_nothing_again(request_, whole, monkeypatch, owner, name):
    run = killed_in(request_, monkeypatch, name, owner)
    assert run.is_crowned == (name == "export")
    assert not run.is_complete
    with monkeypatch.context() as patch:
        patch.setattr("cnn_tuner.training.fit._fit", None)
        outcome = resumed(run)
    assert outcome.winner.test == whole.winner.test
    assert (outcome.winner.looks, outcome.export.name) == (1, "1")
    assert RunStore.open(run.folder).is_complete


@pytest.mark.slow
def test_a_run_whose_disk_was_full_goes_on(request_, whole, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("cnn_tuner.training.recorder.save_state", full)
        with pytest.raises(StorageError, match=r"; finished trials are kept, cnn-tuner resume toy-toy-1 goes on$"):
            Tuning(request_, Silent()).run()
    assert facts(resumed(request_.runs / "toy-toy-1")) == facts(whole)


@pytest.mark.slow
def test_states_that_are_lost_cost_time_only(request_, whole, monkeypatch):
    run = killed_in(request_, monkeypatch, "run", FinalTraining)
    shutil.rmtree(run.checkpoints)
    outcome = resumed(run)
    assert facts(outcome) == facts(whole)
    assert outcome.winner.test == whole.winner.test


@pytest.mark.slow
def test_a_final_state_that_is_lost_before_the_winner_is_measured_costs_time_only(request_, whole, monkeypatch):
    run = killed_in(request_, monkeypatch, "crown")
    shutil.rmtree(run.checkpoints)
    assert resumed(run).winner.test == whole.winner.test


@pytest.mark.slow
def test_the_winners_state_that_is_lost_where_nothing_is_left_to_train_costs_time_only(request_, monkeypatch):
    run = killed_in(replace(request_, final_epochs=2), monkeypatch, "crown")
    shutil.rmtree(run.checkpoints)
    assert resumed(run).winner.epochs == 2


@pytest.mark.parametrize("after", [1, 3])
@pytest.mark.slow
def test_a_stop_right_after_a_resume_exports_the_best_so_far(request_, after):
    observer = Stops(after)
    observer.tuning = Tuning(request_, observer)
    before = observer.tuning.run()
    session = Resuming(RunStore.open(before.folder), Wishes(), Silent(), INLINE)
    session.observer.run_opened = lambda *_: session.request_stop()
    outcome = session.run()
    assert outcome.is_interrupted
    assert outcome.winner.search_score == before.winner.search_score


# --- a complete run


def test_a_complete_run_has_nothing_to_do(complete):
    text = "is complete, nothing is left to do; cnn-tuner extend toy-toy-1 --budget 10m or --trials N goes on searching"
    assert refused(complete, Wishes()) == refused(complete, Wishes(accepts_changes=True)) == text
    assert RunStore.open(complete.folder).is_complete


def test_a_complete_run_that_is_refused_stays_complete(complete):
    refused(complete, Wishes({"seed": 7}))
    assert RunStore.open(complete.folder).is_complete


def test_extending_needs_no_word_of_acceptance_and_is_listed(complete, untrained):
    resumed(complete, Wishes(more_trials=3))
    assert config_of(complete).search.max_trials == 5
    assert changes(complete) == ["max_trials was 2, is 5"]
    assert not RunStore.open(complete.folder).has_search_ended


def test_extending_names_what_else_differs(complete, request_):
    edit(request_, "filters: [2, 4]", "filters: [2, 8]")
    told = refused(complete, Wishes(more_trials=3))
    assert told.startswith(f"{request_.space}: block.filters was 2, 4, is 2, 8; --accept-changes")


@pytest.mark.slow
def test_more_trials_are_those_that_a_longer_search_would_have_tried(complete, request_, tmp_path):
    outcome = resumed(complete, Wishes(more_trials=2))
    (tmp_path / "long").mkdir()
    longer = Tuning(replace(request_, max_trials=4, runs=tmp_path / "long"), Silent()).run()
    assert facts(outcome) == facts(longer)
    assert outcome.winner.test == longer.winner.test
    assert len(outcome.trials) == 4


def with_scores(run: RunStore, score: float) -> None:
    """Has every trial of the run end with this score, as if it had measured that."""
    with run._transaction() as database:
        database.execute("UPDATE trials SET score = ?", (score,))
        database.execute("UPDATE jobs SET score = ?", (score,))


@pytest.mark.slow
def test_a_winner_stays_when_no_other_trial_is_better(complete, monkeypatch):
    with_scores(complete, 1.0)
    before = complete.winner()
    with complete._transaction() as database:  # of equals the one that is surest is the best
        database.execute(
            "UPDATE epochs SET metrics = json_set(metrics, '$.val_loss', -1.0) "
            "WHERE job IN (SELECT number FROM jobs WHERE trial = ?)",
            (before.trial,),
        )
    monkeypatch.setattr(fit, "predict", None)  # the test part is not looked at again
    outcome = resumed(complete, Wishes(more_trials=1))
    assert outcome.winner == before
    assert (outcome.export.name, outcome.is_interrupted) == ("2", False)
    assert RunStore.open(complete.folder).is_crowned


@pytest.mark.slow
def test_a_better_trial_is_crowned_and_the_look_at_the_test_part_counted(complete):
    with_scores(complete, 0.0)
    outcome = resumed(complete, Wishes(more_trials=1))
    assert (outcome.winner.trial, outcome.winner.looks) == (3, 2)
    run = RunStore.open(complete.folder)
    assert run.winner() == outcome.winner
    assert len(evaluation.load(run.evaluation).scores) == outcome.winner.test_images
    assert outcome.winner.epochs == 4
    assert run.is_complete


@pytest.mark.slow
def test_an_extension_that_was_killed_is_gone_on_with(complete):
    with_scores(complete, 0.0)
    with pytest.raises(KilledError):
        resumed(complete, Wishes(more_trials=1), Kills(1))
    assert not RunStore.open(complete.folder).is_complete
    outcome = resumed(complete)
    assert (outcome.winner.trial, len(outcome.trials)) == (3, 3)


@pytest.mark.slow
def test_more_final_epochs_train_the_winner_on(complete, request_, tmp_path):
    outcome = resumed(complete, accepting(final_epochs=6))
    (tmp_path / "long").mkdir()
    longer = Tuning(replace(request_, final_epochs=6, runs=tmp_path / "long"), Silent()).run()
    assert outcome.winner.epochs == longer.winner.epochs
    assert outcome.winner.score == longer.winner.score


@pytest.mark.slow
def test_states_of_former_winners_do_not_pile_up(complete):
    for _ in range(2):
        with_scores(complete, 0.0)
        resumed(complete, Wishes(more_trials=1))
        complete = RunStore.open(complete.folder)
    assert len(list(complete.checkpoints.iterdir())) <= complete.config.search.keep + 2, (
        "the winner's twin and its refit"
    )


@pytest.mark.slow
def test_another_precision_goes_on(complete):
    outcome = resumed(complete, Wishes({"precision": "bfloat16"}, more_trials=1, accepts_changes=True))
    run = RunStore.open(outcome.folder)
    assert next(job.precision for job in run.jobs() if job.trial == 3) == "bfloat16"
    assert run.jobs()[0].precision == "float32"


@pytest.mark.slow
def test_a_run_whose_data_was_moved_can_be_evaluated_afterwards(complete, request_, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(request_.data.removeprefix("npz:"), moved / "toy.npz")
    outcome = resumed(complete, Wishes(data=f"npz:{moved / 'toy.npz'}", more_trials=1))
    assert tuning.evaluate_run(RunStore.open(outcome.folder))["images"] == 60


@pytest.mark.slow
def test_with_an_edited_space_new_trials_are_drawn_from_it(complete, request_):
    edit(request_, "filters: [2, 4]", "filters: 6")
    outcome = resumed(complete, Wishes(more_trials=1, accepts_changes=True))
    assert [trial.values["block_1.filters"] in (2, 4) for trial in outcome.trials] == [True, True, False]


@pytest.mark.parametrize("oracle", ["grid", "bayesian"])
@pytest.mark.slow
def test_another_oracle_knows_the_trials_of_the_one_before(complete, oracle, monkeypatch):
    known = []
    run = Search.run

    def watched(self: Search) -> None:
        run(self)
        known.extend(self.oracle.trials)

    monkeypatch.setattr(Search, "run", watched)
    outcome = resumed(complete, Wishes({"oracle": oracle}, more_trials=1, accepts_changes=True))
    assert len(known) == 3
    assert len({str(trial.values) for trial in outcome.trials}) == 3


def test_a_run_in_which_every_trial_failed_says_so_again(request_, monkeypatch):
    def broken(*_: object) -> None:
        raise ValueError("it cannot be trained")

    monkeypatch.setattr("cnn_tuner.training.fit._fit", broken)
    text = r"^all 2 trials failed; the last one: ValueError: it cannot be trained$"
    with pytest.raises(SearchError, match=text):
        Tuning(request_, Silent()).run()
    with pytest.raises(SearchError, match=text):
        resumed(request_.runs / "toy-toy-1")
