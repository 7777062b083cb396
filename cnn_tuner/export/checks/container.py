"""The files of an export: only those that belong there, of bearable sizes, and nothing that leads out of the folder.

A link may stay in the folder, as Kubernetes has them in its volumes. Hard links are files like any other: who can
change one by its other name could as well have written it here. What file managers leave behind is passed over, and
never read.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnn_tuner.data.files import one_line, shown
from cnn_tuner.errors import VerificationError

MIB = 2**20
MAX_FILES = 1000
MAX_BYTES = 8192 * MIB  # of all files: protobuf and the formats of other readers end at 2 GiB a file anyway
# What an export holds, and how many bytes each may have. `formats` and assets are data for other readers.
_DATA = r"[\w.() -]+\.(keras|tflite|onnx|json|bin|txt|md|npz|xml)"
ALLOWED = tuple(
    (re.compile(pattern), limit)
    for pattern, limit in (
        (r"saved_model\.pb", 64 * MIB),
        (r"fingerprint\.pb", MIB),
        (r"variables/variables\.index", 64 * MIB),
        (r"variables/variables\.data-\d{5}-of-\d{5}", 4096 * MIB),
        (r"(manifest|latency)\.json", 16 * MIB),
        (r"SHA256SUMS", MIB),
        (r"golden\.npz", 256 * MIB),
        (r"model_card\.md", 16 * MIB),
        (r"model(_\w+)?\.(keras|tflite|onnx)", 2048 * MIB),
        (r"assets\.extra/tf_serving_warmup_requests", 64 * MIB),
        (rf"assets(\.extra)?/{_DATA}", 64 * MIB),
        (rf"formats/([\w.() -]+/)?{_DATA}", 2048 * MIB),
    )
)
HARMLESS = re.compile(r"\.DS_Store|\._.*|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory|Icon\r", re.DOTALL)
# Where Kubernetes keeps what a volume's links lead to: https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter
_OF_VOLUMES = re.compile(r"\.\.data|\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+")
_FOLDERS = re.compile(r"variables|assets(\.extra)?|formats(/[\w.() -]+)?")


def refused(place: Path, why: str) -> VerificationError:
    """The error of every check: what is refused, and why."""
    return VerificationError(f"{shown(place)}: refused, nothing of it was loaded: {why}")


def check_container(folder: Path) -> None:
    """Looks at the names, kinds and sizes of all files of an export.

    Raises:
        VerificationError: a link that leaves the folder, a file that does not belong there, or one that is too large.
    """
    total = 0
    for count, (name, status) in enumerate(_files(folder, folder), 1):
        if count > MAX_FILES:
            raise refused(folder, f"has over {MAX_FILES} files")
        _check_file(folder, name, status)
        total += status.st_size
        if total > MAX_BYTES:
            raise refused(folder, f"its files must have at most {MAX_BYTES // MIB} MiB together")
        if name.endswith(".npz"):
            check_arrays(folder / name)


def names(folder: Path) -> list[str]:
    """The files of an export by their paths in it, in order, without what is passed over.

    Raises:
        VerificationError: a folder or a link that does not belong there.
    """
    return sorted(name for name, _ in _files(folder, folder))


def harmless(folder: Path) -> list[str]:
    """What is passed over of the files in an export and its folders, in order."""
    own = {str(Path(name).parent) for name in names(folder)} | {"."}
    found = (path.relative_to(folder) for parent in own for path in (folder / parent).iterdir())
    return sorted(path.as_posix() for path in found if HARMLESS.fullmatch(path.name))


def _files(folder: Path, root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below `folder`, by its path from `root`; of a link, what it leads to in `root`."""
    for path in _entries(folder, root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and not _stays(path, root):
            raise refused(path, "is a symbolic link that leads out of the export, or nowhere")
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            yield name, status
        elif _FOLDERS.fullmatch(name) is None:
            raise refused(path, "this folder does not belong into an export")
        else:
            yield from _files(path, root)


def _entries(folder: Path, root: Path) -> list[Path]:
    """What lies in a folder, in the order of names, without what is passed over."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise refused(folder, f"cannot be read ({error.strerror or one_line(error)})") from error
    return [
        path
        for path in found
        if not HARMLESS.fullmatch(path.name) and not (folder == root and _OF_VOLUMES.fullmatch(path.name))
    ]


def _stays(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # nowhere, or a loop
        return False


def _check_file(folder: Path, name: str, status: os.stat_result) -> None:
    path = folder / name
    if not stat.S_ISREG(status.st_mode):
        raise refused(path, "is no regular file but a device, pipe or socket")
    limit = next((limit for pattern, limit in ALLOWED if pattern.fullmatch(name)), None)
    if limit is None or ".." in name:
        raise refused(path, "does not belong into an export, which holds saved_model.pb, variables/, assets/, model.*")
    if status.st_size > limit:
        raise refused(path, f"must have at most {limit // MIB} MiB, has {status.st_size / MIB:,.0f}")


def check_arrays(path: Path, limit: int = 256 * MIB) -> None:
    """Looks at a NumPy archive: numbers and text only, and not larger than it may be once unpacked.

    Raises:
        VerificationError: it holds Python objects, is damaged, or would unpack to over `limit` bytes.
    """
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not re.fullmatch(r"\w+\.npy", member.filename):
                    raise refused(path, f"holds {shown(member.filename)}, which is no array")
                with archive.open(member) as stream:
                    is_first = np.lib.format.read_magic(stream) == (1, 0)
                    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
                    shape, _, dtype = read(stream)
                if dtype.hasobject:
                    raise refused(path, f"{member.filename} is a pickle, which can run code")
                total += max(member.file_size, int(np.prod(shape, dtype=object)) * dtype.itemsize)
                if total > limit:
                    raise refused(path, f"would unpack to over {limit // MIB} MiB")
    except VerificationError:
        raise
    except Exception as error:  # damaged archives make their readers raise almost anything
        raise refused(path, f"is no archive of arrays: {one_line(error)}") from error
