"""JSON that every reader takes."""

import json
import math

import pytest

from cnn_tuner.metrics import strict_json


def test_what_is_no_finite_number_is_null():
    text = strict_json.dumps({"a": math.nan, "b": [1.5, (math.inf, "NaN")], "c": {"d": -math.inf, "e": None}})
    assert json.loads(text) == {"a": None, "b": [1.5, [None, "NaN"]], "c": {"d": None, "e": None}}
    assert "NaN" not in text.replace('"NaN"', "")


def test_what_has_no_json_is_refused():
    with pytest.raises(TypeError):
        strict_json.dumps({"a": object()})
