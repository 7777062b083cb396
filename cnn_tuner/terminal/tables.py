"""How runs, spaces and architectures look in a terminal. Builds text and tables; only the command line prints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from cnn_tuner.audit import copies
from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.files import printable
from cnn_tuner.export.formats.registry import FORMATS, SAVED_MODEL
from cnn_tuner.metrics.tasks import TASKS, Objective, Output
from cnn_tuner.report.texts import (
    SUMMARY_LEGEND,
    duration,
    epochs,
    is_custom,
    metric,
    reached,
    score,
    shape,
    sparkline,
    step_rows,
    summary,
    summary_title,
)
from cnn_tuner.runs.records import AS_SEARCHED, CUT_SHORT, REFIT_DONE, Trial, Winner
from cnn_tuner.search.session import Outcome
from cnn_tuner.spaces.architecture import Architecture, feasible_share
from cnn_tuner.spaces.tree import SearchSpace
from cnn_tuner.terminal.screen import FILE_WIDTH


def describe_data(dataset: Dataset) -> list[str]:
    """What was loaded, and what was noticed."""
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in _parts(dataset))
    kinds = {"multilabel": "labels", "regression": "targets"}.get(dataset.task, "classes")
    head = f"{dataset.name}: {sizes} images of {shape(dataset.image_shape)}, {len(dataset.class_names)} {kinds}"
    seen = ", ".join(filter(None, (_balance(dataset), _copies(dataset))))
    return [f"{head} ({dataset.task})", *([f"  {seen}"] if seen else []), *(f"  {note}" for note in dataset.notes)]


def _balance(dataset: Dataset) -> str:
    """How many training images the classes have."""
    if not TASKS[dataset.task].has_classes:
        return ""
    counts = np.bincount(dataset.train.y.reshape(-1).astype(int), minlength=len(dataset.class_names))
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[few] >= EVEN * counts[many]:
        return f"about {round(counts.mean()):,} training images a class"
    names = [printable(dataset.class_names[each]) for each in (few, many)]
    return f"from {counts[few]:,} ({names[0]}) to {counts[many]:,} ({names[1]}) training images a class"


def _copies(dataset: Dataset) -> str:
    """How many images are there more than once, and how many of them with different labels."""
    parts = dict(_parts(dataset))
    groups = copies.exact(parts)
    if not groups:
        return ""
    differ = sum(len({parts[name].y[number].tobytes() for name, number in group}) > 1 for group in groups)
    told = f"{sum(len(group) - 1 for group in groups):,} exact copies"
    return told + (f", {differ:,} images with different labels" if differ else "") + " (cnn-tuner data shows them)"


def _parts(dataset: Dataset) -> list[tuple[str, Any]]:
    return [("training", dataset.train), ("validation", dataset.val), ("test", dataset.test)]


EVEN = 0.8  # of the largest class has the smallest at least, where all are about as large
CURVE = 10  # characters of a curve in a table
LEAST_SUMMARY = 36  # characters in which what was tried can be read
LEAST_STEP = 20  # and a step
TITLES = {"place": "", "output": "output", "params": "params", "macs": "mult-adds", "sees": "sees"}


def trials_table(trials: Sequence[Trial], objective: Objective, width: int = FILE_WIDTH) -> Table:
    """Trials as rows in their order, those that failed with their reason.

    In a narrow terminal, of `width` characters, numbers are left out so that what was tried can be read.
    """
    rows = [_cells(trial, objective) for trial in trials]
    shown = ["trial", objective.name, "epoch", "params", "multiply-adds", "time"]
    if any(len(trial.epochs) > 1 for trial in trials):
        shown.append("curve")
    sizes = {name: 2 + max([len(name), *(len(row[name]) for row in rows)]) for name in shown}
    for name in ("curve", "multiply-adds", "time", "params", "epoch"):
        if name in shown and sum(sizes[each] for each in shown) > width - LEAST_SUMMARY:
            shown.remove(name)
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption=None if any(is_custom(trial.values) for trial in trials) else SUMMARY_LEGEND,
        caption_justify="left",
        caption_style="dim",
    )
    for name in shown:
        table.add_column(name, justify="left" if name == "curve" else "right", no_wrap=True)
    table.add_column(summary_title(trials), overflow="fold")
    for trial, row in zip(trials, rows, strict=True):
        what = f"failed: {trial.message}" if trial.status == "failed" else summary(trial.values)
        if trial.status in ("running", "stopped"):
            what = f"{trial.status} after {epochs(len(trial.epochs))}: {what}"
        table.add_row(*(row[name] for name in shown), escape(what))
    return table


def _cells(trial: Trial, objective: Objective) -> dict[str, str]:
    return {
        "trial": str(trial.number),
        objective.name: reached(trial),
        "epoch": "-" if trial.best_epoch is None else str(trial.best_epoch),
        "params": f"{trial.params:,}",
        "multiply-adds": f"{trial.macs:,}",
        "time": duration(trial.seconds),
        "curve": sparkline([epoch.metrics[objective.name] for epoch in trial.epochs], CURVE),
    }


def finalists_table(winner: Winner, objective: str) -> Table:
    """Those that were trained to the end, the winner first: what the search measured, and each seed's score."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("finalist", "params", f"{objective} in the search", "mean of its seeds", "+-"):
        table.add_column(title, justify="right")
    table.add_column("each seed, its own first")
    for each in sorted(winner.finalists, key=lambda each: each.trial != winner.trial):
        numbers = (score(each.search_score), score(each.mean), score(each.spread))
        table.add_row(str(each.trial), f"{each.params:,}", *numbers, " ".join(map(score, each.scores)))
    return table


def winner_lines(winner: Winner, objective: str) -> list[str]:
    """The winner and its scores side by side: of the search, after retraining, as exported, on the test part."""
    test = ", ".join(metric(name, value, winner.test_intervals.get(name)) for name, value in winner.test.items())
    trained = f"{_retrained(winner)} ({epochs(winner.epochs, winner.passes)})"
    in_float32 = f"{score(winner.float32_score)} in float32"
    looks = "looked at once" if winner.looks == 1 else f"looked at {winner.looks} times: once for each winner so far"
    lines = [
        f"winner    trial {winner.trial}: {winner.params:,} parameters, {winner.macs:,} multiply-adds an image",
        f"scores    {objective} {score(winner.search_score)} in the search, {trained}, {in_float32}",
        *_refit_lines(winner),
        f"test      {test} on {winner.test_images:,} images, {looks}",
    ]
    return [*_warning_lines(winner), *lines[:1], *_chosen_lines(winner), *lines[1:], *_baseline_lines(winner)]


def _compared(winner: Winner) -> tuple[str, str]:
    """The metric by which a winner is compared with simple models, and its direction."""
    return ("accuracy", "max") if "accuracy" in winner.test else ("mae", "min")


def _warning_lines(winner: Winner) -> list[str]:
    """What a person must read first: the network was not worth its search."""
    name, direction = _compared(winner)
    best = winner.best_baseline(name, direction)
    if best is None or Objective(name, direction).is_better(winner.test[name], best.test[name]):
        return []
    both = f"{name} {score(best.test[name])} on the test part, this network {score(winner.test[name])}"
    todo = "use it, or search longer (--budget), with more images or in a larger space"
    return [f"warning   {best.name} reaches {both}: {todo}"]


def _baseline_lines(winner: Winner) -> list[str]:
    """What simple models reach on the same test part."""
    name, _ = _compared(winner)
    told = ", ".join(f"{each.name} {score(each.test[name])}" for each in winner.baselines if name in each.test)
    return [f"compared  {name} on the test part: {told}"] if told else []


def _retrained(winner: Winner) -> str:
    """What training to the end reached: with one seed, or its mean and spread over several and the best of them."""
    found = winner.finalist
    if winner.refit == AS_SEARCHED:
        return f"{score(winner.score)} as the search left it"
    if winner.refit == CUT_SHORT:
        return f"{score(winner.score)} where its training was cut short"
    if found is None or found.spread is None:
        return f"{score(winner.score)} trained to the end"
    mean = f"{score(found.mean)} +- {score(found.spread)} trained to the end with {len(found.scores)} seeds"
    if found.splits:
        return f"{mean}, each on a split of its own, {score(winner.score)} on this run's"
    return f"{mean}, {score(winner.score)} the best of them"


def _refit_lines(winner: Winner) -> list[str]:
    """Whether the exported weights are those of a training on train and validation; nothing for runs that knew none."""
    if not winner.refit:
        return []
    if winner.refit == REFIT_DONE:
        return ["refit     trained again on train and validation for the export; these scores are its twin's"]
    return [f"refit     not trained again on train and validation: {winner.refit}"]


def _chosen_lines(winner: Winner) -> list[str]:
    """Over which other finalists the winner was preferred."""
    others = [each for each in winner.finalists if each.trial != winner.trial]
    if not others:
        return []
    own = winner.finalist
    told = "; ".join(f"trial {each.trial} {score(each.mean)}, {each.params:,} parameters" for each in others)
    better = [] if own is None else [each for each in others if each.mean > own.mean]
    is_smaller = own is not None and bool(better) and all(own.params < each.params for each in better)
    reason = " (not told apart by one standard error: the smaller model wins)" if is_smaller else ""
    return [f"over      {told}{reason}"]


def verified_line(differences: dict[str, float]) -> str:
    """What the verification of an export found."""
    worst = max(difference for name, difference in differences.items() if FORMATS[name].is_exact)
    also = [name for name in differences if name not in (SAVED_MODEL, "keras")]
    told = f"verified  new processes predict the same from it and from best.keras (largest difference {worst:.1g})"
    return f"{told}, and read {', '.join(also)}" if also else told


def outcome_lines(outcome: Outcome, program: str) -> list[str]:
    """The winner, where it lies, and what to do next with `program`, the command as this person can type it."""
    home = outcome.folder.parent
    there = "" if home.resolve() == Path("runs").resolve() else f" --runs {shlex.quote(str(home))}"
    told = (() if is_custom(outcome.values) else ("explain",)) + ("tensorboard", "predict IMAGE...")
    ways = "; ".join(f"{program} {words}{there}" for words in told)
    return [
        *winner_lines(outcome.winner, outcome.objective.name),
        f"export    {outcome.export}",
        f"report    {outcome.report}",
        verified_line(outcome.differences),
        f"next      {ways}",
    ]


def feasible_line(space: SearchSpace, image_shape: tuple[int, int, int], output: Output) -> str:
    """How many points a space has, and how many of them images of this shape allow."""
    share = feasible_share(space, image_shape, output)
    return f"{space.size()} points, {share:.0%} of them feasible for images of {shape(image_shape)}"


def steps_table(architecture: Architecture, width: int = FILE_WIDTH) -> Table:
    """One architecture as the seven steps, a row each, with shapes, parameters, multiply-adds and receptive fields.

    In a narrow terminal, of `width` characters, the latter are left out so that the steps can be read.
    """
    rows = step_rows(architecture)
    shown = ["output", "params", "macs", "sees"]
    sizes = {name: 2 + max(len(TITLES[name]), *(len(getattr(row, name)) for row in rows)) for name in ("place", *shown)}
    for name in ("macs", "sees", "params"):
        if sum(sizes[each] for each in ("place", *shown)) > width - LEAST_STEP:
            shown.remove(name)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("step")
    for name in shown:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.place, row.step, *(getattr(row, name) for name in shown))
    return table


def space_table(space: SearchSpace) -> Table:
    """Every hyperparameter of a space; those of a block once, since the blocks are alike."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("hyperparameter", no_wrap=True)
    table.add_column("values")
    for parameter in space.parameters:
        if not parameter.name.startswith(("block_", "dense_")) or "_1." in parameter.name or "." not in parameter.name:
            name = parameter.name.replace("block_1.", "each block: ").replace("dense_1.", "each dense layer: ")
            table.add_row(name, parameter.describe())
    for name, limit in space.limits.model_dump().items():
        if limit is not None:
            table.add_row(name, f"{limit:,}")
    return table
