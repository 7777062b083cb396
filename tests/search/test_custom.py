"""A search of a person's own networks, from the request to the export, as of the seven steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import hypermodels
import keras
import keras_tuner
import numpy as np
import pytest
import toys
from search.test_tuning import INLINE, write_request
from sklearn.utils.class_weight import compute_class_weight
from toys import toy_dataset

from cnn_tuner.api.run import Run
from cnn_tuner.errors import UsageError
from cnn_tuner.export import verification
from cnn_tuner.export.served import Served
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.predict import evaluating
from cnn_tuner.runs import folders
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import custom
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.resuming import Resuming, Wishes
from cnn_tuner.search.session import Outcome, Session
from cnn_tuner.search.tuning import Request, Tuning, export_run
from cnn_tuner.spaces.rules import Limits

PLACE = "hypermodels:small"


def own_request(folder: Path, hypermodel=PLACE, **changes) -> Request:
    asked = replace(write_request(folder, "multiclass"), space=None, hypermodel=hypermodel, final_epochs=4)
    return replace(asked, **changes)


def tuned(request: Request) -> Outcome:
    return Tuning(request, Silent()).run()


@pytest.fixture
def unread(monkeypatch):
    toys.read_nothing(monkeypatch)
    monkeypatch.setattr(Session, "_show", lambda self, run: None)


@pytest.mark.slow
def test_a_search_ends_in_a_verified_export_and_in_all_that_is_shown(tmp_path, cnn_tuner):
    outcome = tuned(own_request(tmp_path, formats=("tf_saved_model", "onnx", "litert")))
    run = RunStore.open(outcome.folder)
    assert outcome.winner.params == keras.saving.load_model(run.best_model, compile=False).count_params()
    assert Run(outcome.folder).model().count_params() == outcome.winner.params
    assert outcome.winner.macs > 0
    assert max(outcome.differences.values()) <= 1e-5
    steps = {step.name: step.status for step in verification.verify_folder(outcome.export)}
    assert set(steps.values()) == {"passed"}
    assert {"onnx", "litert", "tf_saved_model"} <= set(steps)
    found = evaluating.evaluated(outcome.export, {"test": toy_dataset().test})
    assert found["test"]["accuracy"] > 0.25
    page = (outcome.folder / "report.html").read_text()
    assert "learning_rate" in page
    assert "as built by small" in (outcome.export / "model_card.md").read_text()
    assert not (outcome.folder / "space.yaml").exists()
    assert list((outcome.folder / "tensorboard").glob("best/events*"))
    runs = ("--runs", str(tmp_path / "runs"))
    assert "hyperparameters" in cnn_tuner("show", *runs)[1]
    for command in ("explain", "steps", "refine"):
        code, _, err = cnn_tuner(command, *runs)
        told = f"error: {command}: is for networks of the seven steps; this run has those of small\n"
        assert (code, err) == (2, told)
    assert cnn_tuner("resume", *runs)[0] == 2, "nothing is left to do"


class StopAfter(Silent):
    """Asks to stop after so many trials."""

    def __init__(self, trials: int) -> None:
        self.left, self.session = trials, None

    def trial_ended(self, trial, best):
        self.left -= 1
        if not self.left:
            self.session.request_stop()


def facts(folder: Path) -> list[tuple]:
    run = RunStore.open(folder)
    return [
        (t.number, t.values, t.score, t.params, t.macs, [epoch.metrics for epoch in t.epochs]) for t in run.trials()
    ]


@pytest.mark.slow
def test_a_run_that_was_stopped_is_gone_on_with_to_the_same_end(tmp_path, unread):
    asked = own_request(tmp_path, max_trials=4)
    whole = tuned(replace(asked, name="whole"))
    watching = StopAfter(2)
    watching.session = Tuning(replace(asked, name="stopped"), watching)
    assert watching.session.run().is_interrupted
    again = RunStore.open(tmp_path / "runs" / "stopped")
    outcome = Resuming(again, Wishes(), Silent(), INLINE).run()
    assert facts(outcome.folder) == facts(whole.folder)
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        assert (outcome.export / name).read_bytes() == (whole.export / name).read_bytes(), name


@pytest.mark.slow
def test_a_backbone_of_kerass_is_searched_exported_and_verified(tmp_path):
    outcome = tuned(own_request(tmp_path, "hypermodels:backbone", max_trials=1, epochs=1, final_epochs=1, refits=False))
    served = Served(outcome.export)
    found = served.predict(np.asarray(toy_dataset().test.x[:3]))
    assert [sum(each["probabilities"].values()) for each in found] == pytest.approx([1, 1, 1], abs=1e-5)
    assert (outcome.folder / "report.html").is_file()


@pytest.mark.slow
def test_code_of_a_script_reaches_the_workers_and_has_to_be_handed_over_again(tmp_path, unread):
    def scripted(hp):  # which no other process can import
        return hypermodels.small(hp)

    outcome = tuned(own_request(tmp_path, scripted, workers=Workers(count=2)))
    run = RunStore.open(outcome.folder)
    assert run.config.hypermodel.place == ""
    other = next(trial.number for trial in outcome.trials if trial.number != outcome.winner.trial)
    told = (
        r"^its hypermodel was given in Python; hand it over again: cnn_tuner\.load\(\.\.\.\)\.resume\(hypermodel=scri"
    )
    session = Resuming(run, Wishes(), Silent(), INLINE)
    with pytest.raises(UsageError, match=told):
        export_run(run, session, other)
    session.hypermodel = scripted
    assert export_run(run, session, other).path.name == "2"
    assert run.winner().trial == other


def prepared(hypermodel, task: str = "multiclass", **changes) -> custom.Prepared:
    dataset = replace(toy_dataset(task), **changes)
    return custom.prepare(hypermodel, "", dataset, Output(task, dataset.outputs))


def two(hp):
    """Two units for two classes."""
    units = hp.Choice("units", [2, 4])
    layers = [keras.layers.Flatten(), keras.layers.Dense(units), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.slow
def test_a_run_of_two_units_for_two_classes_finds_its_data_again(tmp_path, unread):
    asked = replace(write_request(tmp_path, "binary"), space=None, hypermodel=two, max_trials=2, final_epochs=2)
    outcome = tuned(asked)
    run = RunStore.open(outcome.folder)
    other = next(trial.number for trial in outcome.trials if trial.number != outcome.winner.trial)
    assert export_run(run, Resuming(run, Wishes(hypermodel=two), Silent(), INLINE), other).path.name == "2"


def own_activation(x):
    return keras.ops.relu(x) ** 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"activation": own_activation}, "hypermodel build: its model cannot be exported: "),
        ({"kernel_initializer": lambda shape, dtype=None: keras.ops.ones(shape)}, "hypermodel build: its model cannot"),
    ],
)
def test_what_only_its_own_code_can_read_again_is_refused_before_anything_is_trained(settings, told):
    def build(hp):
        hidden = keras.layers.Dense(hp.Choice("units", [2, 4]), **settings)
        layers = [keras.layers.Flatten(), hidden, keras.layers.Dense(4, activation="softmax")]
        model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    with pytest.raises(UsageError, match=f"^{told}") as error:
        prepared(build)
    assert "\n" not in str(error.value)


class Balanced(keras_tuner.HyperModel):
    """Weighs classes as people do, which fails where one is missing."""

    def build(self, hp):
        return hypermodels.small(hp)

    def fit(self, hp, model, x, y, **kwargs):
        weights = compute_class_weight("balanced", classes=np.arange(4), y=y)
        return model.fit(x, y, class_weight=dict(enumerate(weights)), **kwargs)


def test_a_fit_that_weighs_classes_sees_all_of_them(tmp_path):
    rare = replace(toy_dataset().train, y=np.repeat([0, 1, 2, 3], [len(toy_dataset().train) - 3, 1, 1, 1]))
    found = prepared(Balanced(), train=replace(rare, y=rare.y.astype(np.int32)))
    assert "blocks" in found.config.start


def test_two_units_of_two_classes_make_it_a_task_of_two_classes():
    found = prepared(two, "binary")
    assert found.dataset.task == "multiclass"
    assert (found.dataset.train.y.dtype, found.dataset.train.y.ndim) == (np.int32, 1)


@pytest.mark.parametrize(
    ("asked", "metrics", "expected"),
    [
        (None, ("loss", "accuracy"), "val_accuracy"),
        (None, ("loss",), "val_loss"),
        ("val_sparse_categorical_accuracy", ("loss", "accuracy"), "val_accuracy"),
        ("val_loss", ("loss", "accuracy"), "val_loss"),
    ],
)
def test_the_objective_is_one_that_its_networks_measure(asked, metrics, expected):
    assert custom.objective_of("multiclass", asked, metrics, "small") == expected


def test_an_objective_that_is_not_measured_is_refused():
    told = r"^--objective val_accuracy: hypermodel small compiles no such metric; it measures val_loss$"
    with pytest.raises(UsageError, match=told):
        custom.objective_of("multiclass", "val_accuracy", ("loss",), "small")


REFUSED = [
    ({"space": "quick"}, "--space and --hypermodel: name one of them: a hypermodel has a space of its own"),
    (
        {"formats": ("tf_saved_model", "keras")},
        "--format keras: is for networks of the seven steps; a run's best.keras",
    ),
    (
        {"limits": Limits(max_params=10)},
        "--max-params, --max-macs, --max-activation-bytes: are for spaces of the seven",
    ),
    ({"hypermodel": "small"}, "--hypermodel small: must be written MODULE:NAME"),
    (
        {"hypermodel": "nowhere:small"},
        "--hypermodel nowhere:small: nowhere cannot be imported (ModuleNotFoundError: No",
    ),
    ({"hypermodel": "hypermodels:tall"}, "--hypermodel hypermodels:tall: hypermodels has no tall"),
    (
        {"hypermodel": "hypermodels:CLASSES"},
        "hypermodel: must be a function build(hp) or a keras_tuner.HyperModel, got",
    ),
    ({"hypermodel": 7}, "hypermodel: must be a function build(hp) or a keras_tuner.HyperModel, got 7"),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_a_request_that_cannot_be_met_is_refused_before_anything_is_made(tmp_path, changes, told):
    with pytest.raises(UsageError) as error:
        tuned(own_request(tmp_path, **changes))
    assert str(error.value).startswith(told)
    assert not list(folders.run_folders(tmp_path / "runs"))


def test_what_no_export_may_hold_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(custom, "ALLOWED", custom.ALLOWED - {"Relu"})
    with pytest.raises(UsageError, match=r"^hypermodel small: calculates with Relu, which no export may hold$"):
        prepared(hypermodels.small)


def test_a_hypermodel_that_asks_for_something_else_is_another(tmp_path):
    known = prepared(hypermodels.small).config

    def other(hp):
        hp.Choice("more", [1, 2])
        return hypermodels.small(hp)

    class Config:
        data, output, hypermodel = toys.toy_config().data, Output("multiclass", 4), known

    assert custom.again(Config, hypermodels.small).name == "small"
    with pytest.raises(
        UsageError, match=r"^hypermodel other: asks for other hyperparameters now: more; start a new run$"
    ):
        custom.again(Config, other)
    with pytest.raises(
        UsageError, match=r"^hypermodel logits: asks for other hyperparameters now: blocks; start a new"
    ):
        custom.again(Config, hypermodels.logits)
    assert json.loads(json.dumps(known.model_dump(mode="json")))["start"]["blocks"] == 1
