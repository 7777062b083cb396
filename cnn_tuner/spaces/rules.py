"""The rules of a search space file, as pydantic models, and the one line that says which one was broken.

A hyperparameter is written as one value (`3`), a list of choices (`[16, 32, 64]`) or a range
(`{min: 1, max: 3}`, with `step`, or with `sampling: log`). Ranges of whole numbers, and ranges with a step, become
their values; a range of fractions without a step stays continuous.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from cnn_tuner.errors import SpaceError

MAX_VALUES = 1000  # of one range: a range with more values is a typing mistake
MAX_BLOCKS = 20
WARMED_UP = "cosine"  # the schedule of a training that names a warm-up alone
Values = tuple[int | float | str, ...]


class Range(BaseModel):
    """A continuous range of fractions."""

    model_config = ConfigDict(frozen=True)
    min: float
    max: float
    is_log: bool


def _is_number(value: object, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return whole or abs(value) <= sys.float_info.max  # not isfinite: a whole number may be too large for it


class _Numbers:
    """Reads a hyperparameter that is a number between `low` and `high`."""

    def __init__(self, low: float, high: float, whole: bool) -> None:
        self.low, self.high, self.whole = low, high, whole
        self.kind = f"{'a whole number' if whole else 'a number'} from {low:g} to {high:g}"

    def __call__(self, raw: Any) -> Values | Range:
        if isinstance(raw, dict):
            return self._range(raw)
        if isinstance(raw, list):
            return _choices(raw, self._one)
        return (self._one(raw),)

    def _one(self, value: Any) -> int | float:
        if not _is_number(value, self.whole) or not self.low <= value <= self.high:
            raise ValueError(f"must be {self.kind}, a list of them, or {{min, max, step, sampling}}, got {value!r}")
        return value if self.whole else float(value)

    def _range(self, raw: dict[str, Any]) -> Values | Range:
        unknown = [key for key in raw if key not in ("min", "max", "step", "sampling")]
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} in a range; choices: min, max, step, sampling")
        if "min" not in raw or "max" not in raw:
            raise ValueError(f"a range needs min and max, got {raw!r}")
        low, high = self._one(raw["min"]), self._one(raw["max"])
        if low > high:
            raise ValueError(f"min must be <= max, got min={low:g}, max={high:g}")
        sampling = raw.get("sampling", "linear")
        if sampling not in ("linear", "log"):
            raise ValueError(f"sampling must be one of linear, log, got {sampling!r}")
        if sampling == "log" and low <= 0:
            raise ValueError(f"a log range needs min > 0, got min={low:g}")
        return self._values(low, high, raw.get("step"), sampling == "log")

    def _values(self, low: float, high: float, step: Any, is_log: bool) -> Values | Range:
        if step is None and low == high:
            return (low,)
        if step is None and not self.whole:
            return Range(min=low, max=high, is_log=is_log)
        if step is None:
            step = 2 if is_log else 1
        least = 1 if is_log else 0
        if not _is_number(step, whole=self.whole) or step <= least:
            word = "factor" if is_log else "step"
            raise ValueError(f"step must be a {word} > {least}, got {step!r}")
        count = math.log(high / low, step) if is_log else (high - low) / step
        if count >= MAX_VALUES:
            raise ValueError(f"a range may have at most {MAX_VALUES} values, got about {count + 1:.0f}")
        # A hair more than the quotient: (0.5 - 0) / 0.1 is 4.999... and would lose the last value.
        steps = range(int(count + 1e-9) + 1)
        values = [low * step**i if is_log else low + i * step for i in steps]
        return tuple(values) if self.whole else tuple(float(f"{v:.12g}") for v in values)


class _Words:
    """Reads a hyperparameter that is one of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, raw: Any) -> Values:
        return _choices(raw, self._one) if isinstance(raw, list) else (self._one(raw),)

    def _one(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}, or a list of them, got {value!r}")
        return str(value)


def _choices(raw: list[Any], one: Callable[[Any], Any]) -> Values:
    if not raw:
        raise ValueError("a list of choices must not be empty, got []")
    values = tuple(one(value) for value in raw)
    if len(set(values)) < len(values):
        raise ValueError(f"choices must differ, got {raw!r}")
    return values


def _fraction(low: float, high: float) -> BeforeValidator:
    return BeforeValidator(_Numbers(low, high, whole=False))


def _whole(low: int, high: int) -> BeforeValidator:
    return BeforeValidator(_Numbers(low, high, whole=True))


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Block(_Section):
    """Steps 1 to 5; they repeat, each block with values of its own."""

    convolutions: Annotated[Values, _whole(1, 8)] = (1,)
    filters: Annotated[Values, _whole(1, 4096)]
    kernel_size: Annotated[Values, _whole(1, 31)] = (3,)
    strides: Annotated[Values, _whole(1, 16)] = (1,)
    padding: Annotated[Values, BeforeValidator(_Words("same", "valid"))] = ("same",)
    pool_size: Annotated[Values, _whole(1, 16)] = (2,)
    pool_strides: Annotated[Values | None, _whole(1, 16)] = None
    dropout: Annotated[Values | Range, _fraction(0, 0.95)] = (0.0,)

    @model_validator(mode="after")
    def _strides_need_a_pool(self) -> Block:
        if self.pool_strides is not None and self.pool_size == (1,):
            raise ValueError("pool_strides has no effect where pool_size is 1; leave it out, or give larger pools")
        return self


class Dense(_Section):
    """Step 7: the hidden layers between flattening and the output."""

    layers: Annotated[Values, _whole(0, 8)] = (1,)
    units: Annotated[Values, _whole(1, 65536)] = (64,)
    dropout: Annotated[Values | Range, _fraction(0, 0.95)] = (0.0,)


class Training(_Section):
    """How a point is trained; see `cnn_tuner.spaces.recipe.Recipe`. What is left out is as good practice has it."""

    optimizer: Annotated[Values, BeforeValidator(_Words("adam", "nadam", "rmsprop", "sgd"))] = ("adam",)
    learning_rate: Annotated[Values | Range, _fraction(1e-8, 10)] = (0.002,)
    schedule: Annotated[Values, BeforeValidator(_Words("constant", "cosine", "one_cycle"))] = ("one_cycle",)
    warmup: Annotated[Values | Range, _fraction(0, 0.9)] = (0.0,)
    weight_decay: Annotated[Values | Range, _fraction(0, 1)] = (0.01,)
    label_smoothing: Annotated[Values | Range, _fraction(0, 0.5)] = (0.1,)
    class_weights: Annotated[Values | None, BeforeValidator(_Words("none", "balanced", "sampled"))] = None
    batch_size: Annotated[Values, _whole(1, 65536)] = (32,)

    @model_validator(mode="before")
    @classmethod
    def _a_warmup_alone_is_that_of_a_cosine(cls, data: Any) -> Any:
        is_alone = isinstance(data, dict) and "warmup" in data and "schedule" not in data
        return data | {"schedule": WARMED_UP} if is_alone else data

    @model_validator(mode="after")
    def _one_cycle_has_its_own_warmup(self) -> Training:
        if self.schedule == ("one_cycle",) and self.warmup != (0.0,):
            raise ValueError("warmup has no effect where schedule is one_cycle, which has its own; leave it out")
        return self


class Augmentation(_Section):
    """Random changes of the images while training; see `cnn_tuner.spaces.recipe.Augmentation`."""

    flip: Annotated[Values, BeforeValidator(_Words("none", "horizontal", "vertical", "both"))] = ("none",)
    shift: Annotated[Values | Range, _fraction(0, 0.5)] = (0.0,)
    rotate: Annotated[Values | Range, _fraction(0, 180)] = (0.0,)
    zoom: Annotated[Values | Range, _fraction(0, 0.5)] = (0.0,)
    erase: Annotated[Values | Range, _fraction(0, 1)] = (0.0,)


Count = Annotated[int, Field(strict=True, ge=1)]


class Limits(_Section):
    """What a model may cost; a point that costs more is infeasible.

    `max_macs` counts multiply-adds for one image; `max_activation_bytes` the largest input plus output of one layer,
    float32, for one image.
    """

    max_params: Count | None = None
    max_macs: Count | None = None
    max_activation_bytes: Count | None = None


class SearchDefaults(_Section):
    """What a search of this space does unless the command line says otherwise.

    It ends after `budget` ("30m", "1h30m") of active time or after `max_trials` points, whichever comes first.
    """

    oracle: str = "asha"
    sampler: str | None = None
    budget: str | None = None
    max_trials: Count | None = None
    epochs: Count = 10


One = StrictInt | StrictFloat | StrictStr


def _known_keys(section: type[_Section], by_place: bool) -> BeforeValidator:
    """Reads a part of a start: keys of `section`, each with one value, or with one a block or layer."""

    def read(raw: Any) -> dict[str, tuple[One, ...]]:
        if not isinstance(raw, dict):
            raise ValueError(f"must be a mapping of keys to values, got {raw!r}")
        for key, value in raw.items():
            if key not in section.model_fields:
                raise ValueError(f"unknown key {key!r}; choices: {', '.join(section.model_fields)}")
            if isinstance(value, list) and not by_place:
                raise ValueError(f"{key}: must be one value, got {value!r}")
        return {key: tuple(_read(section, key, each) for each in _listed(value)) for key, value in raw.items()}

    return BeforeValidator(read)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _read(section: type[_Section], key: str, value: Any) -> Any:
    """One value of a key, by the key's own rule."""
    [rule] = [each.func for each in section.model_fields[key].metadata if isinstance(each, BeforeValidator)]
    try:
        read = rule(value) if not isinstance(value, (list, dict)) else None  # type: ignore[call-arg]
    except ValueError as error:
        raise ValueError(
            f"{key}: {str(error).replace(', a list of them, or {min, max, step, sampling}', '')}"
        ) from error
    if read is None:
        raise ValueError(f"{key}: must be one value, or a list of one a block or layer, got {value!r}")
    return read[0]


Wanted = dict[str, tuple[One, ...]]


class Start(_Section):
    """A point that a search tries first, as near as the space has it; what it leaves out is as good practice has it.

    Its keys are those of the file. Of several values of a block or a dense layer the last one holds for all further.
    """

    blocks: Count | None = None
    block: Annotated[Wanted, _known_keys(Block, by_place=True)] = {}
    dense: Annotated[Wanted, _known_keys(Dense, by_place=True)] = {}
    training: Annotated[Wanted, _known_keys(Training, by_place=False)] = {}
    augmentation: Annotated[Wanted, _known_keys(Augmentation, by_place=False)] = {}

    def wanted(self, name: str) -> One | None:
        """The value of a hyperparameter (`block_2.filters`, `learning_rate`), None where it is left out."""
        if name == "blocks":
            return self.blocks
        place, _, key = name.rpartition(".")
        if name == "dense_layers":
            return self.dense.get("layers", (None,))[0]
        if not place:
            return (self.training | self.augmentation).get(name, (None,))[0]
        values = (self.block if place.startswith("block") else self.dense).get(key)
        return None if values is None else values[min(int(place.rpartition("_")[2]), len(values)) - 1]


class SpaceFile(_Section):
    """A whole search space file."""

    description: str
    blocks: Annotated[Values, _whole(1, MAX_BLOCKS)] = (2,)
    block: Block
    dense: Dense = Dense()
    training: Training = Training()
    augmentation: Augmentation = Augmentation()
    limits: Limits = Limits()
    search: SearchDefaults = SearchDefaults()
    start: tuple[Start, ...] = ()


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed where `location` (the path to an unknown key) points."""
    model: type[BaseModel] = SpaceFile
    for key in location[:-1]:
        if isinstance(key, str):  # a number is a place in a list, whose kind is known
            annotation: Any = model.model_fields[key].annotation
            model = next(iter(get_args(annotation)), annotation)
    return list(model.model_fields)


def _explain(error: ErrorDetails) -> str:
    location, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        choices = _fields_at(location)
        close = difflib.get_close_matches(str(location[-1]), choices, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        return f"unknown key{guess}; choices: {', '.join(choices)}"
    if error["type"] == "missing":
        return "missing, and there is no default"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"must be a mapping of keys to values, got {value!r}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {value!r}"


def parse(data: dict[str, Any], where: str) -> SpaceFile:
    """Validates the content of a search space file; `where` names the file in messages.

    Raises:
        SpaceError: a rule is broken. The first broken one is told, and how many more there are.
    """
    try:
        return SpaceFile.model_validate(data)
    except ValidationError as error:
        # A key that is misspelt is missing too: what was written comes first.
        errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in errors[0]["loc"])
        key = key if key.isprintable() else repr(key)  # a line break in a key would make two lines of one
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise SpaceError(f"{where}: {key}: {_explain(errors[0])}{more}") from error
