"""The command and the functions of Python ask for the same, by the same names, with the same defaults."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import cnn_tuner
from cnn_tuner.api import asking
from cnn_tuner.commands import searching, tune
from cnn_tuner.data.calling import GIVEN
from cnn_tuner.errors import UsageError

# What one of them has alone: how it is told, and what no word can say.
OF_COMMANDS = {"as_json", "no_refit", "run", "folder"}
OF_PYTHON = {"refit", "hypermodel", "callbacks", "verbose", "command", "self"}
OF_MEMORY = {"data"}  # extend: a command has none to hand over


def defaults(function) -> dict[str, object]:
    return {each.name: each.default for each in inspect.signature(function).parameters.values()}


def without(function, names: set[str]) -> dict[str, object]:
    return {name: value for name, value in defaults(function).items() if name not in names}


@pytest.mark.parametrize(
    ("command", "asked", "method", "others"),
    [
        (searching._asked, asking.request, cnn_tuner.tune, set()),
        (tune.resume, asking.resuming, cnn_tuner.Run.resume, set()),
        (tune.extend, asking.extending, cnn_tuner.Run.extend, OF_MEMORY),
    ],
)
def test_options_and_keywords_are_the_same(command, asked, method, others):
    assert (
        without(command, OF_COMMANDS | {"hypermodel"})
        == without(asked, OF_PYTHON | others)
        == without(method, OF_PYTHON | others)
    )


def test_what_a_command_has_alone_is_what_is_said():
    assert defaults(searching._asked)["no_refit"] is (not defaults(asking.request)["refit"])
    assert defaults(searching._asked)["hypermodel"] is defaults(asking.request)["hypermodel"] is None
    assert set(defaults(cnn_tuner.tune)) - set(defaults(asking.request)) == {"callbacks", "verbose"}


def test_data_is_named_or_in_memory(tmp_path):
    assert (asking.request(tmp_path).data, asking.request(tmp_path).given) == (str(tmp_path), None)
    pair = (np.zeros((4, 8, 8)), np.arange(4))
    assert asking.request(pair).data == GIVEN and asking.request(pair).given is pair
    assert (asking.request().place, asking.request(pair).place, asking.request("x/").place) == ("quick", "auto", "auto")


def test_what_is_built_in_another_way_is_handed_on():
    made = object()
    assert asking.request(hypermodel=made).hypermodel is made
    assert asking.resuming(hypermodel=made)[0].hypermodel is made
    assert asking.extending("1m", hypermodel=made)[0].hypermodel is made


def test_how_much_more_is_to_be_said():
    with pytest.raises(UsageError, match=r"^extend: how much more\? name one of --budget and --trials"):
        asking.extending()


def test_a_call_is_told_as_it_can_be_typed_again():
    given = {"data": np.zeros(3), "space": Path("a b.yaml"), "budget": "40s", "seed": 0, "hypermodel": print}
    told = asking.call("cnn_tuner.tune", asking.request, given)
    assert told == "cnn_tuner.tune(data=data, space='a b.yaml', budget='40s', hypermodel=hypermodel)"
    assert asking.call("run.resume", asking.resuming, {"data": None, "max_trials": 3}) == "run.resume(max_trials=3)"
