"""Proposes a narrower search space: a run's own, without what its best trials speak against.

Few trials narrow little. A value goes only when the best trials have it less often than chance allows (5 %), given how
many trials tried it, and a range shrinks only when they lie closer together than chance allows. What was never tried
stays. Blocks share their values in a file, so that a value stays when it is good in any block.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from cnn_tuner.analysis.importance import CHANCE, is_best, measured, why_unknown
from cnn_tuner.data.calling import GIVEN
from cnn_tuner.errors import SpaceError, UsageError
from cnn_tuner.runs.records import Trial, ranked
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import check_feasible
from cnn_tuner.spaces.rules import SpaceFile, parse
from cnn_tuner.spaces.tree import Parameter, SearchSpace, Value

UNSEARCHED = ("description", "limits", "search")  # of a file's keys: the others hold hyperparameters
EDGE = 0.1  # of a range, at either end
LISTED = 12  # values of a range that are written out; of more only the ends
COMMENT_COLUMN = 46


@dataclass(frozen=True)
class Evidence:
    """The trials that a proposal rests on; the first of `best` is the run's best."""

    trials: tuple[Trial, ...]
    best: tuple[Trial, ...]

    def having(self, trials: Iterable[Trial], parameters: Sequence[Parameter], values: Sequence[Value]) -> int:
        """How many of `trials` have one of `values` in one of `parameters`."""
        return sum(any(trial.values.get(p.name) in values for p in parameters) for trial in trials)


@dataclass(frozen=True, eq=False)
class Key:
    """One key of the file: its hyperparameters (of a block's key one a block), and what was written for it."""

    section: str
    name: str
    written: Any
    parameters: tuple[Parameter, ...]

    @property
    def is_numeric(self) -> bool:
        return not any(isinstance(value, str) for p in self.parameters for value in p.values)

    @property
    def is_range(self) -> bool:
        """Whether it was written as a range, whose inner values nobody chose one by one."""
        return isinstance(self.written, dict)

    @property
    def is_log(self) -> bool:
        return self.is_range and self.written.get("sampling") == "log"

    @property
    def ends(self) -> tuple[Any, Any]:
        """The least and the largest value."""
        first = self.parameters[0]
        return (first.low, first.high) if first.is_continuous else (min(first.values), max(first.values))


@dataclass(frozen=True)
class Narrowed:
    """What a key becomes: its values that stay or, of a continuous one, the two ends; how it is written; and why."""

    values: tuple[Any, ...]
    written: Any
    comment: str = ""


def refine(run: RunStore, file_name: str) -> str:
    """The text of a space file, to be saved as `file_name`: the run's space without what its best trials speak against.

    It has the run's best trial as a point, its limits and its search defaults, and a comment on each line that says
    which trials speak for it.

    Raises:
        UsageError: the run has too few trials that can be compared.
        SpaceError: no point of the proposal fits the run's images.
    """
    run.config.check_seven_steps("refine")
    config, space = run.config, run.config.search_space()
    evidence = _evidence(run, space)
    narrowed = {key: _narrow(key, evidence, space) for key in _keys(space)}
    text = "\n".join([*_head(run, evidence, file_name), *_lines(space, narrowed)]) + "\n"
    proposed = tree.from_text(text, file_name)
    if not proposed.contains(evidence.best[0].values):
        raise RuntimeError(f"the proposal lost the best trial of {run.folder.name}")
    check_feasible(proposed, config.data.image_shape, config.output)
    return text


def _evidence(run: RunStore, space: SearchSpace) -> Evidence:
    objective = run.config.objective
    trials = measured(run.trials(), space, objective)
    if reason := why_unknown(trials, objective):
        raise UsageError(f"{run.folder}: {reason}; add some with cnn-tuner extend {run.folder.name}")
    top = ranked(trials, objective)[0]
    others = [t for t, is_one in zip(trials, is_best(trials, objective), strict=True) if is_one and t is not top]
    return Evidence(tuple(trials), (top, *others))


def _keys(space: SearchSpace) -> Iterator[Key]:
    for section, content in space.to_dict().items():
        if section in UNSEARCHED:
            continue
        for name, written in (content or {}).items() if _is_mapping(section) else [(section, content)]:
            yield Key(section, name, written, _parameters(space, section, name))


def _is_mapping(section: str) -> bool:
    """Whether a section holds keys; otherwise it is a hyperparameter itself."""
    return hasattr(SpaceFile.model_fields[section].annotation, "model_fields")


def _parameters(space: SearchSpace, section: str, name: str) -> tuple[Parameter, ...]:
    """`block_1.filters`, `block_2.filters`, ... for block and filters; `dense_layers`; `learning_rate`."""
    repeated = re.compile(rf"{section}_\d+\.{name}")
    found = tuple(p for p in space.parameters if repeated.fullmatch(p.name))
    return found or tuple(p for p in space.parameters if p.name in (f"{section}_{name}", name))


def _narrow(key: Key, evidence: Evidence, space: SearchSpace) -> Narrowed:
    if not key.parameters:
        return Narrowed((), key.written)
    first = key.parameters[0]
    values = key.ends if first.is_continuous else first.values
    if first.is_fixed:
        return Narrowed(values, key.written)
    if not any(p.name in trial.values for trial in evidence.best for p in key.parameters):
        return Narrowed(values, key.written, "none of the best has it")
    narrow = _narrow_range if key.is_range else _narrow_list
    found = narrow(key, evidence)
    hints = [hint for hint in (_hint(key, evidence, space, end) for end in (0, 1)) if hint]
    return Narrowed(found.values, found.written, "; ".join([found.comment, *hints]))


def _narrow_list(key: Key, evidence: Evidence) -> Narrowed:
    """Without the values that the best trials have less often than chance allows."""
    values, top = key.parameters[0].values, evidence.best[0]
    in_top = [top.values[p.name] for p in key.parameters if p.name in top.values]
    kept = tuple(v for v in values if v in in_top or chance_of_fewer(*_counts(key, evidence, [v])) > CHANCE)
    among = {value: evidence.having(evidence.best, key.parameters, [value]) for value in kept}
    comment = f"the best {len(evidence.best)}: " + ", ".join(f"{_yaml(v)} in {among[v]}" for v in kept)
    for value in values:
        if value not in kept:
            good, tried = (evidence.having(t, key.parameters, [value]) for t in (evidence.best, evidence.trials))
            comment += f"; dropped {_yaml(value)}: in {good} of them, in {tried} of all {len(evidence.trials)}"
    return Narrowed(kept, kept[0] if len(kept) == 1 else list(kept), comment)


def _counts(key: Key, evidence: Evidence, values: Sequence[Value]) -> tuple[list[tuple[int, int, int]], int]:
    """For each hyperparameter of the key: trials that have it, of these the best, those with one of `values`.

    And how often the best have one of `values`, in all.
    """
    strata, hits = [], 0
    for parameter in key.parameters:
        tried = [trial.values[parameter.name] for trial in evidence.trials if parameter.name in trial.values]
        good = [trial.values[parameter.name] for trial in evidence.best if parameter.name in trial.values]
        strata.append((len(tried), len(good), sum(value in values for value in tried)))
        hits += sum(value in values for value in good)
    return strata, hits


def _distribution(strata: Iterable[tuple[int, int, int]]) -> np.ndarray:
    """How likely the best have a value 0, 1, ... times in all if it does nothing.

    In each stratum (all, best, with the value) the best are a draw without putting back; the exact form of the test of
    Mantel and Haenszel (1959), which does not mistake many blocks for the value that many blocks have.
    """
    total: np.ndarray = np.ones(1)
    for everyone, best, having in strata:
        ways = [math.comb(having, x) * math.comb(everyone - having, best - x) for x in range(best + 1)]
        total = np.convolve(total, [way / math.comb(everyone, best) for way in ways])
    return total


def chance_of_fewer(strata: Iterable[tuple[int, int, int]], hits: int) -> float:
    """How likely a value that does nothing is in at most `hits` of the best."""
    return float(_distribution(strata)[: hits + 1].sum())


def chance_of_more(strata: Iterable[tuple[int, int, int]], hits: int) -> float:
    """How likely a value that does nothing is in at least `hits` of the best."""
    return float(_distribution(strata)[hits:].sum())


def chance_of_span(everyone: int, best: int, within: int) -> float:
    """How likely `best` of `everyone` values, drawn at random, have at most `within` values from first to last."""
    if best < 2:
        return 1.0
    ways = [
        (everyone - span + 1) * math.exp(_log_choose(span - 2, best - 2) - _log_choose(everyone, best))
        for span in range(best, within + 1)
    ]
    return min(1.0, math.fsum(ways))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _narrow_range(key: Key, evidence: Evidence) -> Narrowed:
    """The span of the best trials' values, and on each side what they are expected to miss of where good values lie."""
    tried, good = (_values(key, trials) for trials in (evidence.trials, evidence.best))
    low, high = min(good), max(good)
    told = f"the best {len(evidence.best)}: {_number(low)} to {_number(high)}"
    first = key.parameters[0]
    all_values = key.ends if first.is_continuous else first.values
    within = sum(low <= value <= high for value in tried)
    if (first.is_continuous and low == high) or chance_of_span(len(tried), len(good), within) > CHANCE:
        return Narrowed(all_values, key.written, f"{told}, no closer together than chance would have them")
    # Of k even draws the span is (k - 1) / (k + 1) of the range they come from: that much is missing on each side.
    margin = (_scaled(key, high) - _scaled(key, low)) / (len(good) - 1)
    ends = [_unscaled(key, _scaled(key, low) - margin), _unscaled(key, _scaled(key, high) + margin)]
    was = f"; was {_number(key.ends[0])} to {_number(key.ends[1])}"
    if first.is_continuous:
        least, most = max(first.low, _rounded(ends[0], math.floor)), min(first.high, _rounded(ends[1], math.ceil))
        written = key.written | {"min": least, "max": most}
        return Narrowed((least, most), written, told + was * ((least, most) != key.ends))
    kept = tuple(v for v in first.values if ends[0] * (1 - 1e-9) <= float(v) <= ends[1] * (1 + 1e-9))
    return Narrowed(kept, _written_range(key, kept), told + was * (kept != first.values))


def _values(key: Key, trials: Iterable[Trial]) -> list[Any]:
    return [trial.values[p.name] for trial in trials for p in key.parameters if p.name in trial.values]


def _written_range(key: Key, kept: tuple[Any, ...]) -> Any:
    if kept == key.parameters[0].values:
        return key.written
    if len(kept) == 1:
        return kept[0]
    return list(kept) if len(kept) <= LISTED else key.written | {"min": kept[0], "max": kept[-1]}


def _scaled(key: Key, value: float) -> float:
    return math.log(value) if key.is_log else value


def _unscaled(key: Key, place: float) -> float:
    return math.exp(place) if key.is_log else place


def _rounded(value: float, towards: Any) -> float:
    """Three digits, up or down."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return float(f"{towards(value / unit) * unit:.3g}")


def _hint(key: Key, evidence: Evidence, space: SearchSpace, end: int) -> str:
    """That the best trials gather at one end (0 the lower, 1 the upper), where the range may go on."""
    if not key.is_numeric:
        return ""
    edge = key.ends[end]
    tried = set(_values(key, evidence.trials))
    near = [value for value in tried if _is_near(key, value, edge)]
    if not evidence.having(evidence.best[:1], key.parameters, near):
        return ""
    if chance_of_more(*_counts(key, evidence, near)) > CHANCE or not _allows(key, space, _beyond(edge, end)):
        return ""
    return f"the best is at the {('lower', 'upper')[end]} end: try {('less', 'more')[end]} than {_number(edge)}"


def _is_near(key: Key, value: Any, edge: Any) -> bool:
    if not key.is_range:
        return bool(value == edge)
    low, high = (_scaled(key, end) for end in key.ends)
    return abs(_scaled(key, value) - _scaled(key, edge)) <= EDGE * (high - low)


def _beyond(edge: Any, end: int) -> Any:
    if isinstance(edge, int):
        return edge + (1 if end else -1)
    return edge * 1.1 if end else edge / 1.1 if edge else -1.0


def _allows(key: Key, space: SearchSpace, value: Any) -> bool:
    """Whether the rules of the file allow a value that was not in the space."""
    raw = space.to_dict()
    changed = value if key.section == key.name else raw[key.section] | {key.name: value}
    try:
        parse(raw | {key.section: changed}, space.place)
    except SpaceError:
        return False
    return True


def _head(run: RunStore, evidence: Evidence, file_name: str) -> list[str]:
    name, config, top = run.folder.name, run.config, evidence.best[0]
    best, all_ = len(evidence.best), len(evidence.trials)
    command = shlex.join(["cnn-tuner", "tune", "--space", file_name, "--data", config.data.source])
    if config.data.source == GIVEN:
        command = f"cnn_tuner.tune(data, space={file_name!r})"
    objective = config.search.objective
    lines = [
        f"# Purpose:  {config.space_name}, narrowed to what the best {best} of {all_} trials of {name} support.",
        f"# Command:  {command}",
        f"# Made by:  cnn-tuner refine {name}; its best, trial {top.number}, has {objective} {top.score:.4g}",
        f"description: {_yaml(f'{config.space_name}, narrowed by {all_} trials of {name}.')}",
        "",
    ]
    return [" ".join(line.splitlines()) for line in lines]  # a name with a line break would end its comment


def _lines(space: SearchSpace, narrowed: dict[Key, Narrowed]) -> Iterator[str]:
    kept = {p.name: found.values for key, found in narrowed.items() for p in key.parameters}
    for section, content in space.to_dict().items():
        if section == "description":
            continue
        if section in UNSEARCHED:
            yield f"{section}: {_yaml(content)}"
            continue
        keys = [key for key in narrowed if key.section == section and _is_reachable(key, kept, space)]
        is_nested = _is_mapping(section)
        if is_nested:
            yield f"{section}:" if keys else f"{section}: {{}}"
        for key in keys:
            line = f"{'  ' * is_nested}{key.name}: {_yaml(narrowed[key].written)}"
            comment = narrowed[key].comment
            yield f"{line:<{COMMENT_COLUMN}}  # {comment}" if comment else line


def _is_reachable(key: Key, kept: dict[str, tuple[Value, ...]], space: SearchSpace) -> bool:
    """Whether some point of the proposal has it: a key without effect is refused in some places, and idle in others."""
    by_name = {p.name: p for p in space.parameters}

    def can_be_active(parameter: Parameter) -> bool:
        if parameter.parent is None:
            return True
        parent = by_name[parameter.parent]
        chosen = kept.get(parent.name, parent.values)  # of a key that was not written, its default
        return any(value in chosen for value in parameter.parent_values) and can_be_active(parent)

    return not key.parameters or any(map(can_be_active, key.parameters))


def _number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _yaml(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return text.strip()[1:-1]
