"""The same model as the same bytes: takes out of a SavedModel what depends on the process that wrote it.

TensorFlow numbers functions as the process made them, and its fingerprint holds a random number. Functions are numbered
anew here, and the fingerprint is left out: TensorFlow loads without it, and SHA256SUMS does its work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

NUMBERED = re.compile(r"(.*)_(\d+)")
REDUNDANT = re.compile(r"_\d+(___redundant_placeholder)")  # inputs that the condition of a loop does not use
USER_NAME = "_user_specified_name"
Names = dict[str, str]


def canonicalise(folder: Path) -> None:
    """Rewrites `saved_model.pb` in a folder, and removes its fingerprint."""
    file = folder / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in found.meta_graphs:
        library = graph.graph_def.library
        _rename(graph, _numbered_anew(each.signature.name for each in library.function))
        _forget_captures(library.function)
        functions = sorted(library.function, key=lambda each: each.signature.name)
        del library.function[:]
        library.function.extend(functions)
    file.write_bytes(found.SerializeToString(deterministic=True))
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def _forget_captures(functions: Iterable[Any]) -> None:
    """Removes the numbers that captured variables had in the process, where functions note the names of arguments."""
    for function in functions:
        for argument in function.arg_attr.values():
            if argument.attr[USER_NAME].s.isdigit():
                argument.attr[USER_NAME].s = b"captured"
            elif not argument.attr[USER_NAME].s:
                del argument.attr[USER_NAME]  # reading it has made it


def _numbered_anew(functions: Iterable[str]) -> Names:
    """New names of functions, numbered from 0 in the order in which they were made."""
    matches = [match for match in map(NUMBERED.fullmatch, functions) if match]
    matches.sort(key=lambda match: (int(match[2]), match[1]))
    return {match[0]: f"{match[1]}_{place}" for place, match in enumerate(matches)}


def _rename(message: Any, names: Names) -> None:
    """Replaces every text in a message that is one of `names`, keys of maps too."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _rename_entries(value, field.message_type.fields_by_name["value"].message_type is not None, names)
        elif field.message_type is not None:
            for each in [value] if hasattr(value, "ListFields") else value:
                _rename(each, names)
        elif field.type == field.TYPE_STRING and isinstance(value, str):
            setattr(message, field.name, _renamed(value, names))
        elif field.type == field.TYPE_STRING:
            value[:] = [_renamed(each, names) for each in value]


def _renamed(text: str, names: Names) -> str:
    return REDUNDANT.sub(r"\1", names.get(text, text))


def _rename_entries(entries: Any, holds_messages: bool, names: Names) -> None:
    kept = {}
    for key in list(entries):
        if holds_messages:
            _rename(entries[key], names)
            kept[names.get(key, key)] = type(entries[key]).FromString(entries[key].SerializeToString())
        else:
            kept[names.get(key, key)] = names.get(entries[key], entries[key])
    entries.clear()
    for key, value in kept.items():
        if holds_messages:
            entries[key].CopyFrom(value)
        else:
            entries[key] = value
