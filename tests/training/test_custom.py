"""A person's own networks, trained: exactly continued, by their own batches and callbacks, with a rate that falls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypermodels
import keras
import numpy as np
import pytest
from toys import toy_part

from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.models.custom import CustomModels, graph_of, macs_of
from cnn_tuner.runs.records import Job, Result
from cnn_tuner.training import custom, fit
from cnn_tuner.training.batches import Data
from cnn_tuner.training.custom import CustomNetworks
from cnn_tuner.training.network import KeptNetwork
from cnn_tuner.training.state import load_state

OUTPUT = Output("multiclass", 4)
VALUES = {"blocks": 1, "filters_0": 4, "normalised": True, "momentum": 0.9, "rate": 0.25, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))


@pytest.fixture
def job(tmp_path) -> Job:
    state = str(tmp_path / "state.npz")
    return Job(1, 1, VALUES, (8, 8, 1), OUTPUT, Objective("val_accuracy", "max"), epochs=3, seed=0, state_file=state)


def networks(hypermodel=hypermodels.small) -> CustomNetworks:
    return CustomNetworks(CustomModels(hypermodel, (8, 8, 1), OUTPUT))


def train(job: Job, data: Data, own: CustomNetworks | None = None, kept: KeptNetwork | None = None) -> Result:
    kept = kept or KeptNetwork(own or networks())
    return fit.train(job, data, lambda epoch: None, lambda: False, kept)


def elsewhere(job: Job, name: str) -> Job:
    return replace(job, state_file=str(Path(job.state_file).with_name(f"{name}.npz")))


def state(job: Job) -> list[np.ndarray]:
    found = load_state(Path(job.state_file), job)
    return [*found.variables, *found.optimizer]


@pytest.mark.parametrize("is_kept", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_training_on_equals_training_without_a_break_to_the_last_bit(job, data, is_kept):
    """Batch normalisation's statistics, dropout's random state and Adam's moments with it."""
    expected = train(job, data)
    kept = KeptNetwork(networks()) if is_kept else None
    first = replace(elsewhere(job, "first"), epochs=1)
    then = replace(elsewhere(job, "then"), initial_epoch=1, initial_state=first.state_file)
    found = [*train(first, data, kept=kept).epochs, *train(then, data, kept=kept).epochs]
    assert [epoch.metrics for epoch in found] == [epoch.metrics for epoch in expected.epochs]
    for a, b in zip(state(then), state(job), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_it_crosses_to_another_process_by_value(job, data):
    own = custom.unpacked(custom.packed(networks().models))
    assert train(job, data, own).epochs[-1].metrics == train(elsewhere(job, "other"), data).epochs[-1].metrics


def test_what_is_loaded_is_what_was_validated(job, data):
    result = train(job, data)
    found = fit.evaluate(fit.load_best(job, networks()), toy_part("multiclass", 32, 1), OUTPUT)
    assert found["accuracy"] == pytest.approx(result.score)
    assert found["loss"] == pytest.approx(result.epochs[-1].metrics["val_loss"], rel=1e-4)


def test_its_size_is_told_and_metrics_have_our_names(job, data):
    result = train(replace(job, values={"units": 8}, epochs=1), data, networks(hypermodels.logits))
    model = networks(hypermodels.logits).models.build({"units": 8}, 0)
    assert (result.params, result.macs) == (model.count_params(), macs_of(graph_of(model))) == (556, 544)
    assert set(result.epochs[0].metrics) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert result.score == result.epochs[0].metrics["val_accuracy"]


@pytest.mark.slow
def test_its_own_fit_decides_batches_and_weights(job, data):
    batch = replace(job, values=VALUES | {"batch": 16}, epoch_steps=1)  # 32 images, as a job counts batches
    network = networks(hypermodels.WithFit()).set_up(batch, data)
    assert (network.batch_size, network.steps, network.fit["class_weight"][0]) == (16, 2, 2.0)
    assert network.course_steps(replace(batch, course_steps=30)) == 60
    assert train(batch, data, networks(hypermodels.WithFit())).status == "completed"


def rates(job: Job, data: Data, hypermodel=hypermodels.small) -> list[float]:
    """The learning rate at each batch."""
    own, found = networks(hypermodel), list[float]()

    class Watching(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            found.append(float(np.asarray(self.model.optimizer.learning_rate)))

    network = own.set_up(job, data)
    network.model.steps_per_execution = 1
    network.model.fit(
        own.batches(job, data, network, 0),
        steps_per_epoch=3,
        epochs=2,
        callbacks=[Watching()],
        verbose=0,
        shuffle=False,
    )
    return found


def test_a_constant_rate_stays_in_the_search_and_falls_in_the_final_training(job, data):
    assert rates(job, data) == pytest.approx([0.01] * 6)
    fallen = rates(replace(job, course_steps=6), data)
    assert fallen[0] == pytest.approx(0.01)
    assert fallen == sorted(fallen, reverse=True)
    assert fallen[-1] < 0.001


@pytest.mark.slow
def test_a_schedule_of_its_own_is_left_alone(job, data):
    def scheduled(hp):
        model = hypermodels.small(hp)
        rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    for course in (0, 6):
        found = rates(replace(job, course_steps=course), data, scheduled)
        assert found == pytest.approx([0.1 * 0.5**n for n in range(6)])


@pytest.mark.slow
def test_what_is_validated_is_the_average_of_the_weights_but_where_it_keeps_its_own(job, data):
    assert networks().set_up(job, data).has_averages

    def own_average(hp):
        model = hypermodels.small(hp)
        model.compile(keras.optimizers.Adam(0.01, use_ema=True), model.loss, metrics=["accuracy"])
        return model

    own = networks(own_average)
    assert not own.set_up(job, data).has_averages
    result = train(job, data, own)
    found = fit.evaluate(fit.load_best(job, own), toy_part("multiclass", 32, 1), OUTPUT)
    assert found["accuracy"] == pytest.approx(result.score)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SGD", "RMSprop", "AdamW", "Lion", "Nadam", "Adagrad", "Lamb", "Adafactor"])
def test_any_optimizer_of_kerass_goes_on_exactly(job, data, name):
    def build(hp):
        model = hypermodels.small(hp)
        optimizer = getattr(keras.optimizers, name)(0.003, clipnorm=1.0)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    own, twice = networks(build), replace(job, epochs=2)
    expected = train(twice, data, own)
    first = replace(elsewhere(job, "first"), epochs=1)
    then = replace(elsewhere(job, "then"), epochs=2, initial_epoch=1, initial_state=first.state_file)
    train(first, data, own)
    assert train(then, data, own).epochs[0].metrics == expected.epochs[1].metrics


class Breaks(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise KeyError("val_f1")


class WithCallback(hypermodels.WithFit):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **(kwargs | {"callbacks": [Breaks()]}))


def log_softmax(hp):
    model = hypermodels.small(hp)
    outputs = keras.layers.Softmax()(keras.ops.log_softmax(model.outputs[0]))
    model = keras.Model(model.inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    ("hypermodel", "told"),
    [
        (WithCallback(), "KeyError: 'val_f1'"),
        (log_softmax, "ValueError: log_softmax: calculates with LogSoftmax, which no export may hold"),
    ],
)
def test_what_a_persons_code_raises_in_training_is_a_failed_trial(job, data, hypermodel, told):
    result = train(job, data, networks(hypermodel))
    assert (result.status, result.message) == ("failed", told)


@pytest.mark.parametrize(
    ("y", "task", "places"),
    [
        (np.array([0, 0, 0, 0, 1, 0, 2, 0]), "multiclass", [0, 3, 4, 6, 7]),
        (np.eye(8), "multilabel", list(range(8))),
        (np.arange(8.0).reshape(8, 1), "regression", [0, 3, 7]),
    ],
)
def test_a_few_images_are_spread_and_of_every_class(y, task, places):
    assert custom.spread(y, 3, task).tolist() == places
    assert custom.spread(y, 8, task).tolist() == list(range(8))


def test_a_fit_of_its_own_sees_no_more_images_than_memory_bears(job, data, monkeypatch):
    seen = []

    class Looking(hypermodels.WithFit):
        def fit(self, hp, model, x, y, **kwargs):
            seen.append((x.shape, x.dtype, sorted(set(y.tolist()))))
            return model.fit(x, y, **kwargs)

    own = networks(Looking())
    own.set_up(job, data)
    monkeypatch.setattr(custom, "MOST_SHOWN", 10 * 8 * 8 * 4)
    own.set_up(job, data)
    whole, few = seen
    assert whole[0] == (data.images(), 8, 8, 1)
    assert 10 <= few[0][0] <= 14
    assert whole[1:] == few[1:] == (np.float32, [0, 1, 2, 3])


def test_a_build_that_fails_is_a_failed_trial(job, data):
    def build(hp):
        raise RuntimeError("no memory for that")

    result = train(job, data, networks(build))
    assert (result.status, result.message) == (
        "failed",
        "ValueError: build: failed with RuntimeError: no memory for that",
    )
