"""The formats of an export by name.

A new one is a module with `write`, perhaps one with `check`, and a line here, in reader.py and in report/serving.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    import keras

    from cnn_tuner.data.dataset import Images

SAVED_MODEL = "tf_saved_model"


@dataclass(frozen=True)
class Source:
    """What a format is written from.

    calibration: training images (N, H, W, C) uint8. kept: the model's .keras. temperature: what probabilities are to be
        tempered by, where a format says probabilities and not scores alone. fit: of image files of another aspect.
    """

    model: keras.Model
    task: str
    class_names: tuple[str, ...]
    calibration: Images
    kept: Path
    temperature: float = 1.0
    fit: str = "stretch"


@dataclass(frozen=True)
class Format:
    """One format, by the name that Keras's `model.export` has for it, where it has one.

    path: the file in the folder of an export, empty where it is that folder.
    module: what writes it, by `write(source, path)`.
    extra: what of `cnn-tuner[...]` it takes, and what has to be importable then, to read it, and to write it besides.
    is_exact: whether its scores are those of the model but for rounding; else classes and accuracy are compared.
    check: what looks at a file of somebody else before its reader loads it, by `check(path)`; empty where that is done
        with the container (`safety.check_container`) or the graph.
    """

    name: str
    path: str
    module: str
    extra: str = ""
    reads_with: tuple[str, ...] = ()
    writes_with: tuple[str, ...] = ()
    is_exact: bool = True
    check: str = ""

    def write(self, source: Source, folder: Path) -> None:
        """Writes it into the folder of an export."""
        importlib.import_module(f"cnn_tuner.export.formats.{self.module}").write(source, folder / self.path)

    @property
    def missing(self) -> str:
        """One line that says what to install for its reader, empty when that is there."""
        return self._missing(self.reads_with)

    @property
    def missing_for_export(self) -> str:
        """The same for its writer and its reader."""
        return self._missing(self.reads_with + self.writes_with)

    def _missing(self, packages: tuple[str, ...]) -> str:
        absent = [name for name in packages if find_spec(name) is None]
        if not absent:
            return ""
        return (
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing: pip install 'cnn-tuner[{self.extra}]'"
        )


_LITERT = ("ai_edge_litert",)
FORMATS = {
    each.name: each
    for each in (
        Format(SAVED_MODEL, "", "saved_model"),
        Format("keras", "model.keras", "keras_file"),
        Format("litert", "model.tflite", "litert", "litert", _LITERT, check="litert"),
        Format("litert_int8", "model_int8.tflite", "litert_int8", "litert", _LITERT, is_exact=False, check="litert"),
        Format("onnx", "model.onnx", "onnx_file", "onnx", ("onnxruntime", "onnx"), ("tf2onnx",), check="onnx_file"),
    )
}


def choose(text: str) -> tuple[str, ...]:
    """The formats that `--format` names, in the order of the registry; a SavedModel is always one of them.

    Raises:
        UsageError: one is unknown, or lacks a package.
    """
    asked = [name.strip() for name in text.split(",")]
    check(asked)
    return tuple(name for name in FORMATS if name in asked or name == SAVED_MODEL)


def check(names: Iterable[str]) -> None:
    """Raises UsageError when a format is unknown, or lacks a package here."""
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format: unknown: {name!r}; choices: {', '.join(FORMATS)}")
        if FORMATS[name].missing_for_export:
            raise UsageError(f"--format {name}: {FORMATS[name].missing_for_export}")
