"""A `.keras` file from outside, looked at before Keras loads it: its members, its layers, its weights.

Keras's safe mode refuses code in a file; this refuses what our own models do not hold, and what only takes memory.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.errors import VerificationError
from cnn_tuner.export.checks import keras_network
from cnn_tuner.export.checks.container import MIB, refused
from cnn_tuner.export.checks.keras_layers import check_layers

MEMBERS = {"config.json": 16 * MIB, "metadata.json": MIB, "model.weights.h5": 2048 * MIB}
MAX_RATIO = 100  # of unpacked to packed; Keras packs nothing
MAX_OBJECTS = 10_000  # in the file of weights
MAX_DEPTH = 10  # of its groups


def check_keras(path: Path, is_chain: bool = True) -> None:
    """Looks at a `.keras` file; load it with `compile=False, safe_mode=True` afterwards.

    With `is_chain` its layers must be those of the seven steps, one after the other, which is known without Keras. A
    person's own networks may be of `keras_network.CLASSES`. Neither may need more weights than the file has.

    Raises:
        VerificationError: a member, layer or weight that our models do not have, or sizes that do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            config = json.loads(archive.read("config.json"))
            weights = _weights(path, archive.read("model.weights.h5"))
        _check_classes(path, config, CLASSES if is_chain else keras_network.CLASSES)
        needed = check_layers(path, config) if is_chain else keras_network.check_network(path, config)
        _check_weights(path, needed, weights)
    except VerificationError:
        raise
    except RecursionError as error:
        raise refused(path, "its config.json is nested too deep") from error
    except Exception as error:  # damaged archives make their readers raise almost anything
        raise refused(path, f"is no .keras file that can be read: {one_line(error)}") from error


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    names = [member.filename for member in archive.infolist()]
    if strange := [name for name in names if name not in MEMBERS]:
        raise refused(path, f"holds {shown(strange[0])}; a model of cnn_tuner holds {', '.join(sorted(MEMBERS))} only")
    if sorted(names) != sorted(MEMBERS):
        raise refused(path, f"must hold each of {', '.join(sorted(MEMBERS))} once, holds {', '.join(sorted(names))}")
    for member in archive.infolist():
        if member.file_size > MEMBERS[member.filename] or member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise refused(path, f"{member.filename} would unpack to {member.file_size:,} bytes")


# Where the classes of the seven steps lie. Everything else is refused, Keras's own Lambda and TFSMLayer too.
CLASSES = frozenset(
    [
        ("keras.src.models.functional", "Functional"),
        (None, "__keras_tensor__"),  # how a layer's input is written
        ("keras", "DTypePolicy"),
        *(("keras.initializers", name) for name in ("GlorotUniform", "HeNormal", "Zeros")),
        *(
            ("keras.layers", name)
            for name in (
                "Conv2D",
                "Dense",
                "Dropout",
                "Flatten",
                "InputLayer",
                "MaxPooling2D",
                "ReLU",
                "Rescaling",
            )
        ),
    ]
)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    left = [value]
    while left:
        current = left.pop()
        if isinstance(current, dict):
            yield current
            left += current.values()
        elif isinstance(current, list):
            left += current


def _check_classes(path: Path, config: Any, known: frozenset[tuple[str | None, str]]) -> None:
    # How it was compiled is not loaded: optimizers, losses and metrics are nobody's concern here.
    for found in _dicts({key: value for key, value in config.items() if key != "compile_config"}):
        if "class_name" not in found:
            continue
        name = (found.get("module"), found["class_name"])
        if name not in known:
            raise refused(path, f"holds the class {shown('.'.join(map(str, name)))}, which is not of our models")
        if name == (None, "__numpy__") and found["config"]["dtype"] not in keras_network.DTYPES:
            raise refused(path, f"holds an array of type {shown(str(found['config']['dtype']))}")
        if found.get("registered_name") not in (None, found["class_name"]):
            raise refused(path, f"holds the registered class {shown(str(found['registered_name']))}")


def _weights(path: Path, content: bytes) -> list[tuple[int, ...]]:
    """The shapes of all arrays in a file of weights, none of which is read."""
    with h5py.File(io.BytesIO(content), "r") as file:
        return list(_arrays(path, file, 0, Counter()))


def _arrays(path: Path, group: Any, depth: int, seen: Counter[str]) -> Iterator[tuple[int, ...]]:
    if depth > MAX_DEPTH:
        raise refused(path, "its weights are nested too deep")
    for name in group:
        seen["objects"] += 1
        if seen["objects"] > MAX_OBJECTS:
            raise refused(path, f"its weights are over {MAX_OBJECTS:,} arrays")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise refused(path, f"its weights hold {shown(name)}, a link to somewhere else")
        found = group[name]
        if isinstance(found, h5py.Group):
            yield from _arrays(path, found, depth + 1, seen)
        else:
            yield _array(path, name, found)


def _array(path: Path, name: str, found: Any) -> tuple[int, ...]:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub":
        raise refused(path, f"its weights hold {shown(name)}, which is no array of numbers")
    if found.external or found.is_virtual:
        raise refused(path, f"its weights hold {shown(name)}, whose numbers lie in another file")
    if found.id.get_storage_size() != found.nbytes:
        stored = f"would take {found.nbytes:,} bytes, but {found.id.get_storage_size():,} are stored"
        raise refused(path, f"its weights hold {shown(name)}, which {stored}")
    shape: tuple[int, ...] = found.shape
    return shape


def _check_weights(path: Path, needed: list[tuple[int, ...]], stored: list[tuple[int, ...]]) -> None:
    missing = Counter(needed) - Counter(stored)
    if missing:
        shape = max(missing, key=math.prod)
        raise refused(path, f"its layers need weights of shape {list(shape)}, which it does not hold")
