"""manifest.json: what an export is, for programs: its task, classes, signatures, formats and accuracy.

What differs from one export of a run to the next, such as how fast it was, is not in it but in latency.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cnn_tuner.errors import UsageError, VerificationError
from cnn_tuner.runs.folders import write_aside

FILE = "manifest.json"
LATENCY_FILE = "latency.json"
MAX_BYTES = 4 * 2**20  # of the file: some ten thousand classes


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Tensor(_Frozen):
    """One input or output of a signature. A side of `shape` that is None may have any length."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(_Frozen):
    """What a signature of the SavedModel takes and gives, by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class FormatEntry(_Frozen):
    """One format of the model: its files and their bytes, its metrics on the test part and on the golden samples."""

    files: tuple[str, ...]
    bytes: int
    test: dict[str, float | None]
    golden: dict[str, float | None]


class Manifest(_Frozen):
    """What an export is. A metric that is no number is None; intervals are of 95 %.

    data_fingerprint: a hash of the data that it was trained and measured on.
    space, seed: of the search that found it.
    temperature: by which `probabilities` are tempered, where `scores` are not; thresholds: from which of them on a
        label is there (binary: the second class), a unit each, where the validation images are to say it and not 0.5.
    fit: what becomes of image files of another aspect; see `cnn_tuner.data.pictures.box`.
    """

    format: Literal[1]
    name: str
    task: Literal["binary", "multiclass", "multilabel", "regression"]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    signatures: dict[str, Signature]
    formats: dict[str, FormatEntry]
    test: dict[str, float | None]
    test_intervals: dict[str, tuple[float, float]]
    test_images: int
    golden_images: int
    turns_jpegs: bool = False  # by the orientation that their EXIF data has; earlier exports do not
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    params: int
    macs: int
    values: dict[str, Any]
    created: str
    versions: dict[str, str]
    data_fingerprint: str
    space_name: str
    space: dict[str, Any]
    seed: int


def write(folder: Path, found: Manifest) -> None:
    """Writes the manifest into the folder of an export."""
    write_aside(folder / FILE, found.model_dump_json(indent=2) + "\n")


def read(folder: Path) -> Manifest:
    """The manifest of the export in `folder`.

    Raises:
        UsageError: the folder has none.
        VerificationError: it is damaged, too large, or of a format that is not known here.
    """
    file = folder / FILE
    if not file.is_file():
        what = "an export of an earlier version" if (folder / "saved_model.pb").is_file() else "not an export"
        raise UsageError(f"{folder}: has no {FILE}: {what}; cnn-tuner export makes a new one")
    if file.stat().st_size > MAX_BYTES:
        raise VerificationError(f"{file}: must be at most {MAX_BYTES:,} bytes, is {file.stat().st_size:,}")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise VerificationError(f"{file}: {where}: {first['msg']}{more}") from error
    except RecursionError as error:
        raise VerificationError(f"{file}: is nested too deeply") from error


def metrics(found: dict[str, float]) -> dict[str, float | None]:
    """Metrics as the manifest holds them."""
    return {name: value if value == value and abs(value) != float("inf") else None for name, value in found.items()}
