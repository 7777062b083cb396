"""What an export must not hold, looked for before anything of it is loaded."""

from __future__ import annotations

import stat
from pathlib import Path

from cnn_tuner.errors import VerificationError

MAX_FILES = 10_000
MAX_BYTES = 8 * 2**30
PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth"}
FORBIDDEN = {"ReadFile", "WriteFile", "SaveV2", "Save", "SaveSlices", "PyFunc", "PyFuncStateless", "EagerPyFunc"}


def check_container(folder: Path) -> None:
    """Looks at the files of an export: no links, no pickles, not too many, not too large.

    Raises:
        VerificationError: there is something else.
    """
    total = 0
    for count, path in enumerate(folder.rglob("*"), 1):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise VerificationError(f"{path}: must be a file or a folder, is a link or something else")
        if path.suffix in PICKLES:
            raise VerificationError(f"{path}: an export holds no pickles, which run code while they are loaded")
        total += path.stat().st_size
        if count > MAX_FILES or total > MAX_BYTES:
            raise VerificationError(f"{folder}: must hold at most {MAX_FILES:,} files and {MAX_BYTES:,} bytes")


def check_graph(folder: Path) -> None:
    """Looks at the operations of a SavedModel without loading it.

    Raises:
        VerificationError: it is damaged, or one of its signatures could read or write files.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    try:
        found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no public place of its own
        raise VerificationError(f"{file}: is no SavedModel") from error
    for graph in found.meta_graphs:
        for function in graph.graph_def.library.function:
            own = "_traced_save" in function.signature.name or "_traced_restore" in function.signature.name
            for node in function.node_def:
                if node.op in FORBIDDEN and not own:
                    raise VerificationError(
                        f"{file}: {function.signature.name}: the operation {node.op} is not allowed"
                    )
