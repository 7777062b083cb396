"""npz:FILE: x_train and y_train, and if there x_val, y_val, x_test, y_test, class_names, as numpy.savez writes them."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_tuner.data.dataset import PARTS, Part, RawData
from cnn_tuner.data.files import expanded, listed, one_line, reading, shown
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError

NAMES = "class_names"
_ARRAYS = (*(f"{axis}_{part}" for part in PARTS for axis in "xy"), NAMES)
_SUFFIX = ".npy"


@dataclass(frozen=True)
class _Header:
    """What an array declares of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def load(argument: str, options: DataOptions) -> RawData:
    """The arrays as they are stored, once their headers have been checked. Pickled objects are never loaded.

    Raises:
        DataError: the file cannot be read, lacks an array, holds objects, or is larger than memory.
    """
    path = expanded(argument)
    with _opened(path) as archive:
        members = [name.removesuffix(_SUFFIX) for name in archive.namelist() if name.endswith(_SUFFIX)]
        check_members(members, path)
        headers = {name: _read_header(archive, name, path) for name in _ARRAYS if name in members}
        check_memory(_need_bytes(headers), options, shown(path))
        arrays = {name: _read_array(archive, name) for name in headers}
    names = names_of(arrays.pop(NAMES, None), path)
    return parts_of(arrays, names, [name for name in members if name not in _ARRAYS], path.stem, shown(path))


def parts_of(
    arrays: Mapping[str, np.ndarray], names: tuple[str, ...] | None, ignored: Sequence[str], name: str, place: str
) -> RawData:
    """What a source hands over whose arrays are called x_train, y_train, x_val, ..."""
    parts = {part: Part(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in PARTS if f"x_{part}" in arrays}
    return RawData(
        name=name,
        place=place,
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=names,
        notes=(f"ignored the arrays {listed(ignored)}",) if ignored else (),
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with reading(path), path.open("rb") as stored:
        try:
            with warnings.catch_warnings(), zipfile.ZipFile(stored) as archive:
                warnings.simplefilter("ignore", UserWarning)  # NumPy's, on files that Python 2 wrote
                yield archive
        except (DataError, MemoryError):
            raise
        except Exception as error:  # damaged bytes make zipfile, its decoders and NumPy's header parser raise anything
            raise DataError(
                f"{shown(path)}: is no readable .npz file ({one_line(error)}); write it with numpy.savez"
            ) from error


def check_members(members: Sequence[str], path: Path) -> None:
    """Refuses a file or folder that lacks an array.

    Raises:
        DataError: it does.
    """
    wanted = ["x_train", "y_train"]
    for part in ("val", "test"):
        pair = [f"x_{part}", f"y_{part}"]
        wanted += pair if any(name in members for name in pair) else []
    for name in wanted:
        if name not in members:
            raise DataError(f"{shown(path)}: has no {name}; needs {', '.join(wanted)}, has {listed(members) or 'none'}")


def _read_header(archive: zipfile.ZipFile, name: str, path: Path) -> _Header:
    """Shape and type of an array, which must be as long as its place in the archive."""
    entry = archive.getinfo(name + _SUFFIX)
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for records with names beyond Latin 1
            raise DataError(f"{shown(path)}: {name}: must be a plain array, got .npy format {version[0]}.{version[1]}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        header = _Header(shape, dtype)
        if dtype.hasobject:
            raise DataError(
                f"{shown(path)}: {name}: holds pickled Python objects, which can run code when loaded; "
                "save it as an array of numbers or text"
            )
        if stream.tell() + header.nbytes != entry.file_size:
            raise DataError(
                f"{shown(path)}: {name}: declares {shape} {dtype} = {header.nbytes} bytes, "
                f"holds {entry.file_size - stream.tell()}; write the file again"
            )
    return header


def _need_bytes(headers: dict[str, _Header]) -> int:
    """The most that is held at once: what is stored, converted pixels, and a copy where a part must be split off."""
    pixels = {name: header for name, header in headers.items() if name.startswith("x_")}
    converted = sum(math.prod(header.shape) for header in pixels.values() if header.dtype != np.uint8)
    copied = 0 if len(pixels) == len(PARTS) else math.prod(pixels["x_train"].shape)
    return sum(header.nbytes for header in headers.values()) + converted + copied


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name + _SUFFIX) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def names_of(array: np.ndarray | None, path: Path) -> tuple[str, ...] | None:
    """The names of the classes in an array of text, if there is one.

    Raises:
        DataError: it holds something else.
    """
    if array is None:
        return None
    if array.ndim != 1 or not array.size or array.dtype.kind not in "USiu":
        raise DataError(f"{shown(path)}: {NAMES}: must be a row of text, got {array.dtype} of shape {array.shape}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return tuple(str(name) for name in array)
