"""A person's own networks: built by a seed, refused in one line, trained and exported as they were compiled."""

from __future__ import annotations

import random

import hypermodels
import keras
import keras_tuner
import numpy as np
import pytest
from toys import toy_part, toy_space

from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.models.custom import CustomModels, graph_of, hyperparameters, macs_of, name_of
from cnn_tuner.spaces import architecture

OUTPUT = Output("multiclass", 4)
COMMON = {"normalised", "momentum", "rate", "learning_rate"}
PART = toy_part("multiclass", 12, 0)


def models(hypermodel, has_unit_pixels=False, shape=(8, 8, 1), output=OUTPUT) -> CustomModels:
    return CustomModels(hypermodel, shape, output, has_unit_pixels)


def test_weights_follow_from_the_seed_and_the_callers_generators_do_not():
    random.seed(5)
    np.random.seed(5)
    own = models(hypermodels.small)
    first, again, other = (own.build({"blocks": 2}, seed).get_weights() for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])
    found = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    assert found == (random.random(), np.random.random())


def changed(**how):
    """A hypermodel that does one thing wrong."""

    def build(hp):
        hp.Choice("units", [1, 2])
        if "raises" in how:
            raise how["raises"]
        if "returns" in how:
            return how["returns"]
        layers = [keras.Input(how.get("shape", (8, 8, 1))), *how.get("layers", ()), keras.layers.Flatten()]
        model = keras.Sequential([*layers, keras.layers.Dense(how.get("units", 4), activation="softmax")])
        if how.get("compiles", True):
            model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


class Own(keras.layers.Layer):
    def call(self, x):
        return x


WRONG = [
    ({"raises": TypeError("no\nthing")}, "build: failed with TypeError: no"),
    ({"returns": None}, r"build: must return a compiled keras\.Model, got NoneType"),
    ({"compiles": False}, r"build: returns a model that is not compiled; end with model\.compile\(\.\.\.\)"),
    ({"units": 3}, r"build: its model gives \(3,\), a multiclass task needs 4 units"),
    (
        {"shape": (9, 8, 1)},
        r"build: its model takes images of \(9, 8, 1\), the data has \(8, 8, 1\) or \(8, 8\)",
    ),
    ({"layers": [Own()]}, "build: its model has a layer of the class Own; an export is read by processes that know"),
    ({"layers": [keras.layers.Lambda(lambda x: x)]}, "build: its model has a layer of the class Lambda; an export"),
]


@pytest.mark.parametrize(("how", "told"), WRONG, ids=[str(list(how)) for how, _ in WRONG])
def test_what_is_wrong_with_a_model_is_told_in_one_line(how, told):
    with pytest.raises(ValueError, match=f"^{told}") as error:
        models(changed(**how)).build({}, 0)
    assert "\n" not in str(error.value)


def test_a_model_that_does_not_know_its_shapes_says_so():
    def build(hp):
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    with pytest.raises(
        ValueError, match=r"^build: returns a model whose shapes are not known; begin with keras\.Input"
    ):
        models(build).build({}, 0)


def test_without_a_fit_of_its_own_the_batch_is_kerass_or_the_hyperparameter_called_so():
    own = models(hypermodels.small)
    model = own.build({}, 0)
    assert own.fitting(hyperparameters({}), model, None).batch_size == 32
    assert own.fitting(hyperparameters({"batch_size": 8}), model, None).batch_size == 8


def test_a_fit_of_its_own_says_how_to_train_and_trains_nothing():
    own = models(hypermodels.WithFit())
    model, part = own.build({}, 0), (np.zeros((2, 8, 8, 1)), np.zeros(2))
    before, hp = model.get_weights(), hyperparameters({"batch": 16})
    found = own.fitting(hp, model, lambda: part)
    assert (found.batch_size, found.arguments, found.callbacks) == (
        16,
        {"class_weight": dict.fromkeys(range(4), 2.0)},
        (),
    )
    assert [each.name for each in hp.space] == ["batch"]
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    assert model.fit.__self__ is model, "its own again"


def with_fit(fit):
    return type("Fitted", (hypermodels.WithFit,), {"fit": fit})()


STOPS = keras.callbacks.EarlyStopping()
UNFIT = [
    (lambda self, hp, model, x, y, **k: model.fit(x / 2, y, **k), "Fitted: fit changes the images or labels"),
    (lambda self, hp, model, *a, **k: 0.5, r"Fitted: fit does not call model\.fit, which a search needs"),
    (lambda self, hp, model, *a, **k: model.fit(*a, **k, steps_per_epoch=3), r"Fitted: fit hands steps_per_epoch to"),
    (lambda self, hp, model, *a, **k: 1 / 0, "Fitted: fit failed with ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("fit", "told"), UNFIT)
def test_a_fit_that_cannot_be_taken_up_is_refused(fit, told):
    own = models(with_fit(fit))
    with pytest.raises(ValueError, match=f"^{told}"):
        own.fitting(hyperparameters({}), own.build({}, 0), lambda: (np.zeros((2, 8, 8, 1)), np.zeros(2)))


def test_callbacks_of_a_fit_are_taken_along():
    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        return model.fit(*args, callbacks=[*callbacks, STOPS], **kwargs)

    own = models(with_fit(fit))
    found = own.fitting(hyperparameters({}), own.build({}, 0), lambda: (np.zeros((2, 8, 8, 1)), np.zeros(2)))
    assert found.callbacks == (STOPS,)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
        keras.callbacks.ModelCheckpoint("best.keras"),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_that_do_what_the_search_does_are_refused(callback):
    own = models(with_fit(lambda self, hp, model, *a, **k: model.fit(*a, **(k | {"callbacks": [callback]}))))
    told = f"^Fitted: fit hands a {type(callback).__name__} to model.fit; the search keeps states, and sets a learning"
    with pytest.raises(ValueError, match=told):
        own.fitting(hyperparameters({}), own.build({}, 0), lambda: (np.zeros((2, 8, 8, 1)), np.zeros(2)))


def test_a_fit_of_two_trainings_is_refused_where_it_is_tried():
    def twice(self, hp, model, *args, **kwargs):
        before = model.fit(*args, **kwargs).history["val_accuracy"]
        model.layers[0].trainable = False
        return max(before + model.fit(*args, **kwargs).history["val_accuracy"])

    def part():
        return np.zeros((2, 8, 8, 1)), np.zeros(2)

    own = models(with_fit(twice))
    assert own.fitting(hyperparameters({}), own.build({}, 0), part).batch_size == 32, "in a trial it ends at the first"
    with pytest.raises(ValueError, match=r"^Fitted: fit calls model\.fit more than once; a search takes up one"):
        own.fitting(hyperparameters({}), own.build({}, 0), part, is_tried=True)
    once = models(hypermodels.WithFit())
    assert once.fitting(hyperparameters({}), once.build({}, 0), part, is_tried=True).batch_size == 8


@pytest.mark.parametrize("has_unit_pixels", [False, True])
def test_what_is_exported_takes_raw_images_and_gives_probabilities(has_unit_pixels):
    own = models(hypermodels.logits, has_unit_pixels)
    model = own.build({}, 3)
    found = own.served(model)(PART.x, training=False).numpy()
    inner = model(PART.x[..., 0] / (255.0 if has_unit_pixels else 1.0), training=False)
    np.testing.assert_allclose(found, keras.ops.softmax(inner), rtol=1e-5)
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert not any(isinstance(layer, keras.Model) and layer.compiled for layer in own.served(model).layers)


def test_labels_are_as_the_loss_takes_them():
    own, one_hot = models(hypermodels.small), models(hypermodels.logits)
    assert own.adapted(own.build({}, 0), PART.x, PART.y)[1] is PART.y
    x, y = one_hot.adapted(one_hot.build({}, 0), PART.x, PART.y)
    assert (x.shape, y.shape) == ((12, 8, 8), (12, 4))
    assert np.argmax(y, axis=1).tolist() == PART.y.tolist()


def test_it_is_tried_on_images_and_its_metrics_have_our_names():
    assert set(models(hypermodels.small).try_out(PART.x, PART.y)) == {"loss", "accuracy"}
    assert set(models(hypermodels.logits).try_out(PART.x, PART.y)) == {"loss", "accuracy"}

    def mismatched(hp):
        model = hypermodels.small(hp)
        model.compile("adam", "categorical_crossentropy")
        return model

    assert "loss" in models(mismatched).try_out(PART.x, PART.y), "one-hot labels are made for it"

    def broken(hp):
        model = hypermodels.small(hp)
        model.compile("adam", lambda y, p: 1 / 0)
        return model

    with pytest.raises(ValueError, match=r"^broken: its model cannot be evaluated on the images: ZeroDivisionError"):
        models(broken).try_out(PART.x, PART.y)


def compiled(activation, loss, units=4, **others):
    """A hypermodel with this last layer and this loss."""

    def build(hp):
        layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(units, activation)]
        model = keras.Sequential(layers)
        model.compile("adam", loss, **others)
        return model

    return build


def test_answers_that_are_no_probabilities_are_refused():
    def own_loss(y, logits):
        return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)

    told = "^build: its model's answers, .* to .*, are no probabilities; end with softmax or sigmoid, or compile with"
    with pytest.raises(ValueError, match=told):
        models(compiled(None, own_loss)).try_out(PART.x, PART.y)
    with pytest.raises(ValueError, match=r"^build: its model's answers are no probabilities that sum to 1; end with"):
        models(compiled("sigmoid", "sparse_categorical_crossentropy")).try_out(PART.x, PART.y)
    numbers = toy_part("regression", 12, 0)
    own = models(compiled(None, ["mse"], numbers.y.shape[1]), output=Output("regression", numbers.y.shape[1]))
    assert own.try_out(numbers.x, numbers.y) == ("loss",)


def test_a_metric_without_a_name_is_called_the_same_each_time():
    part = toy_part("binary", 12, 0)
    for metric in (lambda: "AUC", keras.metrics.AUC):

        def build(hp, metric=metric):
            return compiled("sigmoid", ["binary_crossentropy"], 1, metrics=[metric()])(hp)

        own = models(build, output=Output("binary", 1))
        assert own.units() == 1
        assert set(own.try_out(part.x, part.y)) == {"loss", "auc"}


def test_multiply_adds_are_those_of_the_arithmetic():
    for point in toy_space().points():
        plan = architecture.build(point, (8, 8, 1), OUTPUT)
        assert macs_of(graph_of(builder.build(plan, 0))) == plan.macs


def test_it_is_called_as_people_called_it():
    assert name_of(hypermodels.small) == "small"
    assert name_of(hypermodels.WithFit()) == "WithFit"
    assert name_of(hypermodels.WithFit(name="mine")) == "mine"
    assert models(hypermodels.small).units() == 4


def test_an_existing_hypermodel_may_declare_before_it_builds():
    class Declares(keras_tuner.HyperModel):
        def declare_hyperparameters(self, hp):
            hp.Choice("blocks", [2, 1])

        def build(self, hp):
            return hypermodels.small(hp)

    assert models(Declares()).asked_for({}, None) == {"blocks", "filters_0", "filters_1", *COMMON}
