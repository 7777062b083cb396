"""The reference of the keys of a search space: ranges and defaults from the rules, meaning and example from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic_core import PydanticUndefined

from cnn_tuner.spaces import rules


@dataclass(frozen=True)
class Told:
    """What the rules do not say of a key: what it is, in which unit, and an example as it is written."""

    meaning: str
    example: str


KEYS = {
    "description": Told("what the space is for, in a sentence", "My space."),
    "blocks": Told("how often steps 1 to 5 repeat", "{min: 1, max: 3}"),
    "block.convolutions": Told("step 1: convolutions in a row, each with its ReLU", "[1, 2]"),
    "block.filters": Told("step 1: kernels of each convolution, so many maps come out", "[16, 32, 64]"),
    "block.kernel_size": Told("step 1: height and width of a kernel, in pixels", "[3, 5]"),
    "block.strides": Told(
        "step 1: pixels from one place of the kernel to the next; of several in a row the first has them", "1"
    ),
    "block.padding": Told("step 2: `same` adds zeros around the map, `valid` adds none", "[same, valid]"),
    "block.pool_size": Told("step 4: height and width of a window, in pixels; 1 is no pooling", "[1, 2]"),
    "block.pool_strides": Told("step 4: pixels from one window to the next; left out: the pool size", "2"),
    "block.dropout": Told("step 5: share of the values that become 0 while training", "{min: 0, max: 0.5, step: 0.1}"),
    "dense.layers": Told("step 7: hidden layers between flattening and the output", "[0, 1]"),
    "dense.units": Told("step 7: units of each", "{min: 32, max: 256, sampling: log}"),
    "dense.dropout": Told("step 7: share of their values that become 0 while training", "[0.3, 0.4]"),
    "training.optimizer": Told("what updates the weights", "[adam, sgd]"),
    "training.learning_rate": Told("the highest of its course", "{min: 1e-4, max: 1e-2, sampling: log}"),
    "training.schedule": Told("the course of the learning rate in the final training", "cosine"),
    "training.warmup": Told("share of the course in which the rate grows from 0; `one_cycle` has its own", "0.1"),
    "training.weight_decay": Told("decoupled from the gradient; of kernels, not of biases", "[0, 0.01]"),
    "training.label_smoothing": Told("share of each label that is spread over all classes while training", "[0, 0.1]"),
    "training.class_weights": Told("what has all classes count alike; left out: nothing", "[none, balanced]"),
    "training.batch_size": Told("images of one update", "[32, 64]"),
    "augmentation.flip": Told("mirrored left to right, upside down, or both", "[none, horizontal]"),
    "augmentation.shift": Told("moved by at most this share of the side", "[0, 0.1]"),
    "augmentation.rotate": Told("turned by at most so many degrees", "10"),
    "augmentation.zoom": Told("larger or smaller by at most this share", "0.1"),
    "augmentation.erase": Told("share of images of which a rectangle becomes noise", "0.25"),
    "limits.max_params": Told("parameters of a model", "100_000"),
    "limits.max_macs": Told("multiply-adds for one image", "10_000_000"),
    "limits.max_activation_bytes": Told("largest input plus output of one layer, float32, for one image", "500_000"),
    "search.oracle": Told("what suggests points", "asha"),
    "search.sampler": Told("of asha: `tpe` or `random`", "tpe"),
    "search.budget": Told("active time in all, export included: 90s, 30m, 1h30m", "30m"),
    "search.max_trials": Told("points to try", "30"),
    "search.epochs": Told("epochs of a trial at most", "27"),
    "start": Told(
        "points that are tried first: `blocks`, `block`, `dense`, `training`, `augmentation` with one value a key, "
        "or a list of one a block or layer",
        "[{block: {filters: [32, 64]}, dense: {units: 128}}]",
    ),
}
SECTIONS = ("block", "dense", "training", "augmentation", "limits", "search")
PLAIN = {"description": "text", "start": "a list", "oracle": "a name", "sampler": "a name", "budget": "a duration"}


def fields() -> dict[str, Any]:
    """Every key of a space file, `section.key`, with its rule."""
    found: dict[str, Any] = {}
    for name, field in rules.SpaceFile.model_fields.items():
        if name in SECTIONS:
            section: type[BaseModel] = field.annotation  # type: ignore[assignment]
            found |= {f"{name}.{key}": each for key, each in section.model_fields.items()}
        else:
            found[name] = field
    return found


def reference() -> str:
    """A table of all keys."""
    rows = "\n".join(_row(name, field) for name, field in fields().items())
    return f"| key | what it is | values | default | example |\n|---|---|---|---|---|\n{rows}"


def _row(name: str, field: Any) -> str:
    told = KEYS[name]
    return f"| `{name}` | {told.meaning} | {_values(name, field)} | {_default(field)} | `{told.example}` |"


def _values(name: str, field: Any) -> str:
    [rule] = [each.func for each in field.metadata if isinstance(each, BeforeValidator)] or [None]
    if isinstance(rule, rules._Numbers):
        return rule.kind
    if isinstance(rule, rules._Words):
        return ", ".join(f"`{word}`" for word in rule.words)
    return PLAIN.get(name.rpartition(".")[2], "a whole number >= 1")


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "must be given"
    if field.default in (None, ()):
        return "none"
    only = field.default[0] if isinstance(field.default, tuple) else field.default
    return f"`{only:g}`" if isinstance(only, float) else f"`{only}`"
