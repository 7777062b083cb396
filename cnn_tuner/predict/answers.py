"""What an export says of images, as text: a table for people, CSV, or one JSON list. A piece at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

from cnn_tuner.data.files import printable
from cnn_tuner.metrics import strict_json

Records = Iterable[dict[str, Any]]
_LOOKED_AT = 256  # answers whose names decide how wide the first column is


def table(records: Records) -> Iterator[str]:
    """A line an image: its name, and what it shows."""
    left = iter(records)
    first = list(islice(left, _LOOKED_AT))
    width = max((len(answer["image"]) for answer in first), default=0)
    for answer in chain(first, left):
        yield printable(f"{answer['image']:<{width}}  {_words(answer)}") + "\n"


def _words(answer: dict[str, Any]) -> str:
    if "values" in answer:
        return ", ".join(f"{name} {value:.6g}" for name, value in answer["values"].items())
    likely = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    if "labels" in answer:
        return ", ".join(f"{n} {p:.1%}" for n, p in likely if n in answer["labels"]) or "none of the labels"
    others = [(name, probability) for name, probability in likely if name != answer["class"]]
    rest = ", ".join(f"{name} {probability:.1%}" for name, probability in others[:2])
    return f"{answer['class']} {answer['probability']:.1%}  (then {rest})"


def comma_separated(records: Records) -> Iterator[str]:
    """CSV with a head: `image`, then `class` and `probability` or `labels`, then a column a class, label or target."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    has_head = False
    for answer in records:
        columns = _columns(answer)
        if not has_head:
            writer.writerow(columns)
            has_head = True
        writer.writerow(columns.values())
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _columns(answer: dict[str, Any]) -> dict[str, Any]:
    if "values" in answer:
        return {"image": answer["image"]} | {f"value of {name}": value for name, value in answer["values"].items()}
    each = {f"probability of {name}": value for name, value in answer["probabilities"].items()}
    if "labels" in answer:
        return {"image": answer["image"], "labels": ";".join(answer["labels"])} | each
    return {name: answer[name] for name in ("image", "class", "probability")} | each


def json_list(records: Records) -> Iterator[str]:
    """One line: a list with an object an image."""
    begin = "["
    for answer in records:
        yield begin + strict_json.dumps(answer)
        begin = ", "
    yield "]\n" if begin == ", " else "[]\n"


FORMATS: dict[str, Callable[[Records], Iterator[str]]] = {
    "table": table,
    "csv": comma_separated,
    "json": json_list,
}
