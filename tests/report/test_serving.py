"""What a person copies to read or serve an export: Python for every format, and commands of a shell."""

from __future__ import annotations

import pytest
from toys import toy_config

from cnn_tuner.export.formats.registry import FORMATS
from cnn_tuner.report.serving import PYTHON, loading, serving

DATA = toy_config().data


def test_every_format_has_its_python():
    assert PYTHON.keys() == FORMATS.keys()


@pytest.mark.parametrize("kind", FORMATS)
def test_it_names_the_file_and_the_images(kind):
    text = loading(kind, DATA, "export/toy/1/model.x")
    compile(text, kind, "exec")
    assert '"export/toy/1/model.x"' in text
    assert "(1, 8, 8, 1)" in text


def test_commands_are_for_the_folder_above_the_exports():
    found = serving(DATA, "export/toy/2")
    assert '-v "$PWD/export/toy:/models/toy"' in found.container
    assert found.request.endswith("http://localhost:8501/v1/models/toy:predict")
    assert found.python == loading("tf_saved_model", DATA, "export/toy/2")
