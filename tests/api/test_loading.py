"""TensorFlow is loaded by whoever asks for it first, unheard unless that fails or is wanted."""

from __future__ import annotations

import subprocess
import sys

LOADING = """
import importlib.util, logging, os, sys
from cnn_tuner.api.loading import quiet_tensorflow
with quiet_tensorflow({is_debug}, ["pandas", "matplotlib"]):
    with quiet_tensorflow({is_debug}):
        print("tensorflow" in sys.modules)
    importlib.util.find_spec("tensorflow")  # as packages do that have a use for it
    import keras_tuner  # which begins with Keras, which begins with TensorFlow
    print(*sorted({{"keras", "matplotlib", "pandas", "sklearn", "tensorflow"}} & set(sys.modules)))
    import pandas
    import tensorflow as tf
    print(tf.__spec__.loader is tf.__loader__, type(tf.__loader__).__name__)
    os.write(2, b"heard again")
print(sum(type(finder).__module__.startswith("cnn_tuner") for finder in sys.meta_path))
print(logging.getLogger("tensorflow").level == logging.ERROR)
"""
UNUSED = """
import logging, sys
from cnn_tuner.api.loading import quiet_tensorflow
before = list(sys.meta_path), logging.getLogger("tensorflow").level
with quiet_tensorflow():
    pass
print((sys.meta_path, logging.getLogger("tensorflow").level) == before)
"""
FAILING = """
import sys
sys.path.insert(0, sys.argv[1])
from cnn_tuner.api.loading import quiet_tensorflow
with quiet_tensorflow():
    try:
        import tensorflow
    except RuntimeError as error:
        print(error)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )


def test_it_is_loaded_when_it_is_asked_for_and_not_heard():
    told = run(LOADING.format(is_debug=False))
    assert told.stdout == "False\nkeras sklearn tensorflow\nTrue SourceFileLoader\n0\nTrue\n"
    assert told.stderr == "heard again"


def test_where_it_is_not_asked_for_nothing_is_left():
    assert run(UNUSED).stdout == "True\n"


def test_what_it_said_is_told_when_it_cannot_be_loaded(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'a library is missing')\nraise RuntimeError('broken')"
    )
    told = run(FAILING, tmp_path)
    assert (told.stdout, told.stderr) == ("broken\n", "a library is missing")
