"""A search space in a tuner of KerasTuner's own."""

import keras
import keras_tuner
import numpy as np
import pytest
from toys import TIGHT_SPACE

from cnn_tuner.errors import InfeasibleError, SpaceError, UsageError
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models.hypermodel import CNNHyperModel
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.hyperparameters import declare, point_of
from cnn_tuner.spaces.tree import from_text

SPACE = """
description: Two batch sizes.
blocks: 1
block: {filters: 2, pool_size: [1, 2], pool_strides: 2}
dense: {layers: 0}
training: {schedule: constant, batch_size: [4, 8], learning_rate: {min: 1e-3, max: 1e-2, sampling: log}}
"""
IMAGES = 32


class StepsSeen(keras.callbacks.Callback):
    """Notes how many batches an epoch of each fit has; KerasTuner copies callbacks, so the notes are the class's."""

    seen: list[int] = []  # noqa: RUF012

    def on_train_begin(self, logs=None):
        self.seen.append(self.params["steps"])


def data():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 8, 8, 1), np.uint8), np.arange(IMAGES) % 3


def hypermodel(text=SPACE, **settings):
    return CNNHyperModel(from_text(text, "folder/mine.yaml"), (8, 8, 1), Output("multiclass", 3), **settings)


@pytest.mark.slow
def test_a_random_search_of_kerastuner_fits_points_with_their_batch_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(StepsSeen, "seen", [])
    x, y = data()
    tuner = keras_tuner.RandomSearch(
        hypermodel(), objective="val_accuracy", max_trials=2, seed=1, directory=tmp_path, project_name="search"
    )
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0, callbacks=[StepsSeen()])
    trials = [tuner.oracle.trials[key] for key in sorted(tuner.oracle.trials)]
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2
    sizes = [trial.hyperparameters.get("batch_size") for trial in trials]
    assert sorted(sizes) == [4, 8]
    assert StepsSeen.seen == [IMAGES // size for size in sizes]
    assert all(0 <= trial.score <= 1 for trial in trials)


def test_the_model_is_the_network_of_its_point():
    made, hp = hypermodel(), keras_tuner.HyperParameters()
    built = made.build(hp)
    plan = architecture.build(declare(made.space, hp), (8, 8, 1), Output("multiclass", 3))
    assert built.count_params() == plan.params
    assert built.loss == "sparse_categorical_crossentropy"
    assert made.name == "mine"


def test_the_batch_size_is_the_points_unless_the_caller_names_one():
    class Recorder:
        def fit(self, *args, **kwargs):
            return args, kwargs

    made, hp = hypermodel(), keras_tuner.HyperParameters()
    declare(made.space, hp)
    hp.values["batch_size"] = 8
    assert made.fit(hp, Recorder(), "x", "y", epochs=2) == (("x", "y"), {"epochs": 2, "batch_size": 8})
    assert made.fit(hp, Recorder(), "x", "y", batch_size=5) == (("x", "y"), {"batch_size": 5})


def test_the_seed_of_the_hypermodel_is_that_of_its_models():
    def weights(seed):
        return hypermodel(seed=seed).build(keras_tuner.HyperParameters()).get_weights()[0].tolist()

    assert weights(0) == weights(0)
    assert weights(0) != weights(1)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("limits: {max_params: 10}", "max_params: 407 is over the limit of 10"),
        ("limits: {max_macs: 10}", "max_macs: 1,536 is over the limit of 10"),
    ],
)
def test_an_infeasible_point_is_not_built(extra, message):
    with pytest.raises(InfeasibleError, match=f"^{message}$"):
        hypermodel(SPACE + extra).build(keras_tuner.HyperParameters())


@pytest.mark.slow
def test_kerastuner_counts_an_infeasible_point_as_a_failed_trial(tmp_path):
    text = "{description: x, blocks: 1, block: {filters: 1, kernel_size: [3, 9], padding: valid}, dense: {layers: 0}}"
    tuner = keras_tuner.GridSearch(
        hypermodel(text, schedule_steps=1),
        objective="val_accuracy",
        max_consecutive_failed_trials=5,
        directory=tmp_path,
    )
    x, y = data()
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    statuses = {t.hyperparameters.get("block_1.kernel_size"): t.status for t in tuner.oracle.trials.values()}
    assert statuses == {3: "COMPLETED", 9: "FAILED"}


TUNERS = {
    "random": lambda made, folder: keras_tuner.RandomSearch(made, "val_accuracy", max_trials=4, directory=folder),
    "grid": lambda made, folder: keras_tuner.GridSearch(made, "val_accuracy", max_trials=4, directory=folder),
    "bayesian": lambda made, folder: keras_tuner.BayesianOptimization(made, "val_accuracy", 4, directory=folder),
    "hyperband": lambda made, folder: keras_tuner.Hyperband(made, "val_accuracy", max_epochs=4, directory=folder),
}


@pytest.mark.parametrize("name", TUNERS)
def test_a_tuner_is_made_for_a_space_most_of_whose_points_do_not_fit(name, tmp_path):
    space, output = from_text(TIGHT_SPACE, "tight"), Output("multiclass", 4)
    made = CNNHyperModel(space, (8, 8, 3), output, schedule_steps=10)
    with pytest.raises(InfeasibleError):
        made.build(keras_tuner.HyperParameters())  # of each choice the first
    tuner = TUNERS[name](made, tmp_path)
    assert {each.name for each in tuner.oracle.get_space().space} == {each.name for each in space.parameters}
    trial = tuner.oracle.create_trial("tuner0")
    point = point_of(space, trial.hyperparameters)
    assert {parameter.name for parameter in space.parameters if space.is_active(parameter, point)} == set(point)
    assert all(trial.hyperparameters.get(key) == value for key, value in point.items())


def test_a_space_without_a_point_that_fits_is_told_when_the_tuner_is_made(tmp_path):
    text = "{description: x, blocks: 1, block: {filters: 1, kernel_size: 9, padding: valid}, dense: {layers: 0}}"
    with pytest.raises(SpaceError, match="no feasible point"):
        keras_tuner.RandomSearch(hypermodel(text, schedule_steps=1), "val_accuracy", max_trials=1, directory=tmp_path)


def test_a_schedule_needs_its_length():
    text = SPACE.replace("schedule: constant", "schedule: cosine")
    with pytest.raises(UsageError, match=r"training.schedule: cosine with warmup 0 needs .*schedule_steps=epochs \*"):
        hypermodel(text).build(keras_tuner.HyperParameters())
    model = hypermodel(text, schedule_steps=10).build(keras_tuner.HyperParameters())
    assert model.optimizer.get_config()["learning_rate"]["class_name"] == "CosineDecay"
