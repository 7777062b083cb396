"""One process at work on a run: a request to stop in each of its phases, and what it leaves behind."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import toys
from search.test_resuming import SMALL
from search.test_tuning import INLINE, write_request

from cnn_tuner.errors import StorageError, UsageError, VerificationError
from cnn_tuner.export import manifest
from cnn_tuner.export.formats import keras_file, registry
from cnn_tuner.export.formats.registry import FORMATS
from cnn_tuner.report import page
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.final_training import FinalTraining
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.session import Session
from cnn_tuner.search.tuning import Request, Tuning, export_run


@pytest.fixture
def request_(tmp_path) -> Request:
    request = replace(write_request(tmp_path, "multiclass"), max_trials=2, epochs=2, final_epochs=5)
    Path(request.space).write_text(SMALL)
    return request


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    toys.read_nothing(monkeypatch)


class StopsAt(Silent):
    """Asks for a stop when it is told something the n-th time: `("epoch_ended", 3)`."""

    def __init__(self, what: str, count: int, request: Request) -> None:
        self.told: list[str] = []
        self.session = Tuning(request, self)
        setattr(self, what, lambda *_, **__: self._count(what, count))

    def _count(self, what: str, count: int) -> None:
        self.told.append(what)
        if self.told.count(what) == count:
            self.session.request_stop()


# When a stop is asked for: trials, epochs of the winner, whether the run counts as interrupted.
PHASES = {
    "in a trial": ("epoch_ended", 1, 1, 1),
    "when a trial has ended": ("trial_ended", 1, 1, 2),
    "when the next trial begins": ("trial_started", 2, (1, 2), 2),
    "in the last trial": ("epoch_ended", 3, 2, (1, 2)),
    "before the final training": ("phase", 2, 2, 2),  # the first one: simple models are fitted
    "in the final training": ("epoch_ended", 5, 2, (1, 2)),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.slow
def test_a_stop_ends_with_the_best_so_far_exported_whenever_it_comes(request_, phase):
    what, count, trials, epochs = PHASES[phase]
    outcome = StopsAt(what, count, request_).session.run()
    assert outcome.is_interrupted
    assert len(outcome.trials) in (trials if isinstance(trials, tuple) else (trials,))
    assert outcome.winner.epochs in (epochs if isinstance(epochs, tuple) else (epochs,))
    assert (outcome.export / "saved_model.pb").is_file()
    run = RunStore.open(outcome.folder)
    assert (run.is_complete, run.is_crowned, run.is_at_work, run.shared_data.exists()) == (False,) * 4


@pytest.mark.parametrize("count", [4, 5])  # after simple models, the final training and the refit
@pytest.mark.slow
def test_a_stop_after_the_training_comes_too_late_to_change_anything(request_, count):
    outcome = StopsAt("phase", count, request_).session.run()  # the evaluation, the export
    assert not outcome.is_interrupted
    assert outcome.winner.epochs == 5
    assert RunStore.open(outcome.folder).is_complete


def test_a_stop_while_the_workers_are_chosen_ends_without_a_trial(request_):
    from cnn_tuner.errors import SearchError

    observer = StopsAt("workers_chosen", 1, request_)
    with pytest.raises(SearchError, match=r"/toy-toy-1: no trial completed an epoch, so there is nothing to export$"):
        observer.session.run()
    assert list(request_.runs.glob("toy*")) == []


def test_a_stop_reaches_the_executor_that_has_taken_the_place_of_the_searchs(request_):
    session, reached = Tuning(request_, Silent()), []
    session._search = SimpleNamespace(request_stop=lambda: reached.append("the search"))
    session._executor = SimpleNamespace(stop=lambda: reached.append("what trains now"))
    session.request_stop()
    assert reached == ["the search", "what trains now"]


def test_nothing_has_begun_before_the_request_was_accepted(request_):
    session = Tuning(replace(request_, epochs=0), Silent())
    with pytest.raises(UsageError, match=r"^--max-epochs: must be a whole number >= 1, got 0$"):
        session.run()
    assert not session.has_begun


@pytest.mark.slow
def test_workers_are_told_with_what_the_checkpoints_take(request_):
    told = []
    observer = Silent()
    observer.workers_chosen = lambda workers, count: told.append((workers, count))
    run = RunStore.open(Tuning(replace(request_, max_trials=1, epochs=1, final_epochs=1), observer).run().folder)
    [(workers, most)] = told
    assert (workers.count, workers.executor, workers.precision) == (1, "inline", "float32")
    assert 0 < sum(path.stat().st_size for path in run.checkpoints.iterdir()) <= most


@pytest.mark.slow
def test_a_run_ends_with_its_report_and_a_card_beside_its_model(request_):
    outcome = Tuning(replace(request_, max_trials=1, epochs=1, final_epochs=1), Silent()).run()
    assert outcome.report.read_text().startswith("<!doctype html>")
    assert (outcome.export / "model_card.md").read_text().startswith("# Model card: ")
    assert json.loads((outcome.folder / "result.json").read_text())["report"] == str(outcome.report)


WITH_KERAS = ("tf_saved_model", "keras")


@pytest.mark.slow
def test_a_run_remembers_in_which_formats_its_winner_is_exported(request_):
    small = replace(request_, max_trials=1, epochs=1, final_epochs=1, formats=WITH_KERAS)
    outcome = Tuning(small, Silent()).run()
    assert (outcome.unmet, set(manifest.read(outcome.export).formats)) == ("", set(WITH_KERAS))
    run = RunStore.open(outcome.folder)
    again = export_run(run, Session(Silent(), INLINE))
    assert set(manifest.read(again.path).formats) == set(WITH_KERAS)
    again = export_run(run, Session(Silent(), INLINE), formats=WITH_KERAS[:1])
    assert set(manifest.read(again.path).formats) == {"tf_saved_model"}


@pytest.mark.slow
def test_a_format_that_cannot_be_had_does_not_cost_the_saved_model(request_, monkeypatch):
    def refuse(*_):
        raise ValueError("no such operation\nin this converter")

    monkeypatch.setattr(keras_file, "write", refuse)
    outcome = Tuning(replace(request_, max_trials=1, epochs=1, final_epochs=1, formats=WITH_KERAS), Silent()).run()
    assert outcome.unmet == "keras: the model cannot be converted: no such operation in this converter"
    assert set(manifest.read(outcome.export).formats) == {"tf_saved_model"}
    assert outcome.export.name == "1"
    assert RunStore.open(outcome.folder).is_complete
    with pytest.raises(VerificationError, match=r"^keras: the model cannot be converted: "):
        export_run(RunStore.open(outcome.folder), Session(Silent(), INLINE))
    assert [path.name for path in outcome.export.parent.iterdir()] == ["1"]


@pytest.mark.slow
@pytest.mark.skipif(bool(FORMATS["litert"].missing_for_export), reason=FORMATS["litert"].missing_for_export)
def test_a_format_that_fails_costs_that_format_alone(request_, monkeypatch):
    monkeypatch.setattr(keras_file, "write", lambda *_: (_ for _ in ()).throw(ValueError("no such operation")))
    asked = ("tf_saved_model", "keras", "litert")
    outcome = Tuning(replace(request_, max_trials=1, epochs=1, final_epochs=1, formats=asked), Silent()).run()
    assert outcome.unmet == "keras: the model cannot be converted: no such operation"
    assert set(manifest.read(outcome.export).formats) == {"tf_saved_model", "litert"}


def test_a_format_that_is_missing_here_is_refused_before_anything_is_trained(request_, monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"^--format onnx: onnxruntime, onnx, tf2onnx are missing: pip install"):
        Tuning(replace(request_, formats=("tf_saved_model", "onnx")), Silent()).run()
    assert list(request_.runs.glob("toy*")) == []
    run = toys.toy_run(request_.runs)
    with pytest.raises(UsageError, match=r"^--format onnx: onnxruntime, onnx, tf2onnx are missing: pip install"):
        Session(Silent(), INLINE).export(run, None, asked=("tf_saved_model", "onnx"))


@pytest.mark.slow
def test_a_report_that_cannot_be_written_does_not_lose_the_run(request_, monkeypatch):
    full = OSError(errno.ENOSPC, "full")
    monkeypatch.setattr(page, "write", lambda run: (_ for _ in ()).throw(full))
    with pytest.raises(StorageError, match="no space left on the disk"):
        Tuning(replace(request_, max_trials=1, epochs=1, final_epochs=1), Silent()).run()
    run = RunStore.open(request_.runs / "toy-toy-1")
    assert run.is_complete
    assert run.latest_export().name == "1"


@pytest.mark.slow
def test_the_bound_of_the_checkpoints_holds_for_a_search(request_):
    sizes, bounds = [], []
    observer = Silent()
    observer.workers_chosen = lambda workers, most: bounds.append(most)
    session = Tuning(replace(request_, max_trials=3, epochs=1, final_epochs=2, keep=1), observer)
    observer.run_opened = lambda run, dataset: setattr(observer, "folder", run.checkpoints)
    observer.trial_ended = lambda *_: sizes.append(sum(f.stat().st_size for f in observer.folder.iterdir()))
    session.run()
    assert max(sizes) <= bounds[0]


@pytest.mark.slow
def test_exporting_a_run_without_a_winner_trains_its_best_trial_to_the_end(request_, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FinalTraining, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Tuning(request_, Silent()).run()
    run = RunStore.open(request_.runs / "toy-toy-1")
    export_run(run, Session(Silent(), INLINE))
    assert run.winner().epochs == 5
    assert len(run.trials()) == 2
