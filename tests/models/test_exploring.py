"""Which space a hypermodel has: found by building, with the conditions under which hyperparameters are asked for."""

from __future__ import annotations

import random

import hypermodels
import keras
import numpy as np
import pytest

from cnn_tuner.errors import SpaceError, UsageError
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import exploring
from cnn_tuner.models.custom import CustomModels
from cnn_tuner.models.exploring import explore
from cnn_tuner.spaces.tree import of_hypermodel

PART = np.zeros((2, 8, 8, 1)), np.zeros(2)


def explored(hypermodel):
    return explore(CustomModels(hypermodel, (8, 8, 1), Output("multiclass", 4)), lambda: PART)


def found(hypermodel) -> dict[str, tuple]:
    return {p.name: (p.describe(), p.parent, p.parent_values) for p in explored(hypermodel).parameters}


def test_hyperparameters_have_the_conditions_under_which_they_are_asked_for():
    assert found(hypermodels.small) == {
        "blocks": ("1, 2", None, ()),
        "filters_0": ("4, 8", None, ()),
        "normalised": ("False, True", None, ()),
        "momentum": ("0.8 to 0.99", "normalised", (True,)),
        "rate": ("0, 0.25, 0.5", None, ()),
        "learning_rate": ("0.001 to 0.1 (log)", None, ()),
        "filters_1": ("4, 8", "blocks", (2,)),
    }


def test_points_of_the_space_can_be_built():
    known = explored(hypermodels.small)
    space = of_hypermodel("small", known.parameters, "")
    own = CustomModels(hypermodels.small, (8, 8, 1), Output("multiclass", 4))
    assert known.start == {
        "blocks": 1,
        "filters_0": 4,
        "normalised": True,
        "momentum": 0.9,
        "rate": 0.25,
        "learning_rate": 0.01,
    }
    assert space.contains(known.start)
    assert known.largest_params == own.build({"blocks": 2, "filters_1": 8}, 0).count_params()
    for seed in range(5):
        point = space.sample(random.Random(seed))
        assert ("filters_1" in point) == (point["blocks"] == 2)
        assert own.build(point, 0).compiled


def model_of(*layers):
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(4)])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_it_begins_with_a_persons_defaults_and_the_middle_of_what_has_none():
    def build(hp):
        layers = [keras.layers.Dense(hp.Int(f"units_{at}", 8, 64, step=8)) for at in range(hp.Int("depth", 1, 3))]
        kind = hp.Choice("kind", ["relu", "elu", "selu"])
        hp.Choice("rate", [1e-2, 1e-3, 1e-4])
        hp.Choice("code", [7, 5, 6], ordered=False)
        hp.Float("decay", 1e-6, 1e-2, sampling="log")
        hp.Float("dropout", 0.0, 0.6)
        hp.Int("chosen", 1, 9, default=8)
        hp.Boolean("has_bias")
        return model_of(keras.layers.Activation(kind), *layers)

    start = explored(build).start
    assert start.pop("decay") == pytest.approx(1e-4)
    assert start == {
        "depth": 2,
        "units_0": 32,
        "units_1": 32,
        "kind": "relu",
        "rate": 1e-3,
        "code": 7,
        "dropout": 0.3,
        "chosen": 8,
        "has_bias": False,
    }


def test_it_begins_as_it_is_by_default_where_the_middle_cannot_be_built():
    def build(hp):
        if hp.Int("size", 2, 6) == 4:
            raise ValueError("no such kernel")
        return model_of()

    assert explored(build).start == {"size": 2}


def test_scopes_of_kerastuner_are_conditions_whether_they_are_entered_or_not():
    def build(hp):
        kind = hp.Choice("kind", ["none", "wide", "deep"])
        with hp.conditional_scope("kind", ["wide", "deep"]):
            units = hp.Int("units", 4, 8, step=4)
        return model_of(*([] if kind == "none" else [keras.layers.Dense(units)]))

    assert found(build)["units"] == ("4, 8", "kind", ("wide", "deep"))


def test_two_that_exclude_each_other_have_conditions_all_the_same():
    def build(hp):
        if hp.Choice("kind", ["a", "b"]) == "a":
            hp.Choice("of_a", [1, 2])
        else:
            hp.Choice("of_b", [1, 2])
        return model_of()

    known = found(build)
    assert (known["of_a"][1:], known["of_b"][1:]) == (("kind", ("a",)), ("kind", ("b",)))


def test_what_is_asked_for_under_several_others_has_no_condition():
    def build(hp):
        if hp.Boolean("a") or hp.Boolean("b"):
            hp.Int("units", 4, 8, step=4)
        return model_of()

    assert found(build)["units"] == ("4, 8", None, ())


def test_of_many_values_the_ends_are_looked_at_and_no_condition_follows():
    def build(hp):
        for index in range(hp.Int("blocks", 0, 20)):
            hp.Choice(f"size_{index}", [1, 2])
        return model_of()

    known = found(build)
    assert len(known) == 21
    assert known["size_19"] == ("1, 2", None, ())


def test_conditions_reach_through_each_other():
    def build(hp):
        if hp.Boolean("first") and hp.Boolean("second"):
            hp.Choice("third", [1, 2])
        return model_of()

    known = found(build)
    assert known["second"][1:] == ("first", (True,))
    assert known["third"][1:] == ("second", (True,))


def test_what_fails_with_other_values_is_left_to_its_trials():
    def build(hp):
        if hp.Choice("size", [1, 2, 3]) == 2:
            raise ValueError("too small")
        return model_of()

    assert found(build) == {"size": ("1, 2, 3", None, ())}


def test_what_fails_by_default_is_refused():
    def build(hp):
        raise RuntimeError("no")

    with pytest.raises(UsageError, match=r"^hypermodel build: failed with RuntimeError: no$"):
        explored(build)


def test_nothing_to_search_is_refused():
    def build(hp):
        hp.Fixed("units", 4)
        return model_of()

    told = r"^hypermodel build: asks for no hyperparameter, so that there is nothing to search$"
    with pytest.raises(UsageError, match=told):
        explored(build)


def test_a_fit_of_its_own_may_ask_too():
    assert found(hypermodels.WithFit())["batch"] == ("8, 16", None, ())


def test_so_many_networks_are_built_at_most(monkeypatch):
    built = []

    def build(hp):
        built.append(1)
        for index in range(10):
            hp.Choice(f"choice_{index}", [1, 2, 3])
        return model_of()

    monkeypatch.setattr(exploring, "MOST_BUILDS", 5)
    assert len(found(build)) == 10
    assert len(built) == 6, "and once as the search begins"


def test_a_kind_that_is_not_known_is_told():
    class Strange:
        name, conditions = "strange", ()

        def get_config(self):
            return {}

    from cnn_tuner.spaces.hyperparameters import parameter_of

    with pytest.raises(SpaceError, match=r"^hyperparameter strange: of the kind Strange; known are Choice, Int, Float"):
        parameter_of(Strange())
