"""A run as tables of text, for pages and cards: its scores, classes, failures, data, and who was at work on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cnn_tuner.analysis.findings import ClassRow, Confusion, TargetRow
from cnn_tuner.metrics.tasks import Objective
from cnn_tuner.report.charts import Sheet
from cnn_tuner.report.texts import (
    counted,
    duration,
    ends,
    score,
    shape,
    step_rows,
    summary,
    summary_title,
    without_places,
)
from cnn_tuner.runs.config import RunConfig
from cnn_tuner.runs.records import Trial, Winner
from cnn_tuner.spaces.architecture import Architecture

MOST_FAILURES = 50
MOST_CONFUSIONS = 20
CARD = "model_card.md"
MODEL_FOLDERS = ("variables", "assets")  # beside saved_model.pb


def columns(*names: str, text: Sequence[str] = ()) -> tuple[tuple[str, ...], frozenset[int]]:
    """Column names, and which of them stand to the right: all but those in `text`."""
    return names, frozenset(i for i, name in enumerate(names) if name not in text)


def steps_sheet(architecture: Architecture) -> Sheet:
    """A row a step, as `cnn-tuner steps` prints them."""
    rows = tuple((r.place, r.step, r.output, r.params, r.macs, r.sees) for r in step_rows(architecture))
    names, numbers = columns("layer", "step", "output", "parameters", "multiply-adds", "sees", text=("layer", "step"))
    return Sheet(names, rows, numbers)


def finalists_sheet(winner: Winner, objective: Objective) -> Sheet:
    """A row a finalist, the winner first: the search's score, then those of training to the end."""
    names = (
        "trial",
        "parameters",
        "in the search",
        "mean of its seeds",
        "+-",
        "best",
        "each seed",
        "as exported",
        "test",
    )
    test = "; ".join(f"{name} {_with_ends(winner, name)}" for name in winner.test)
    rows, pick = [], max if objective.direction == "max" else min
    for each in sorted(winner.finalists, key=lambda each: each.trial != winner.trial):
        is_winner = each.trial == winner.trial
        best = winner.score if is_winner else pick(each.scores)
        numbers = (score(each.search_score), score(each.mean), score(each.spread), score(best))
        own = (score(winner.float32_score), test) if is_winner else ("-", "not looked at")
        seeds = " ".join(map(score, each.scores))
        name = f"{each.trial}\u00a0(winner)" if is_winner else str(each.trial)
        rows.append((name, f"{each.params:,}", *numbers, seeds, *own))
    return Sheet(names, tuple(rows), frozenset({1, 2, 3, 4, 5, 7}))


def _with_ends(winner: Winner, name: str) -> str:
    interval = winner.test_intervals.get(name)
    told = score(winner.test[name])
    return told if interval is None else f"{told} ({ends(name, interval)})"


def metrics_sheet(winner: Winner) -> Sheet:
    """The test part's metrics with their 95 % intervals."""
    rows = tuple(
        (name, score(value), ends(name, winner.test_intervals[name]) if name in winner.test_intervals else "-")
        for name, value in winner.test.items()
    )
    return Sheet(*_split(columns("metric", "test", "95 % interval", text=("metric",)), rows))


def baselines_sheet(winner: Winner) -> Sheet | None:
    """A row a simple model, the winner last: on how many images it was fitted, and its metrics on the test part."""
    if not winner.baselines:
        return None
    metrics = [name for name in winner.test if name in winner.baselines[0].test]
    rows = [(e.name, f"{e.images:,}", *(score(e.test[name]) for name in metrics)) for e in winner.baselines]
    rows.append(("this network", "all", *(score(winner.test[name]) for name in metrics)))
    return Sheet(("model", "fitted on images", *metrics), tuple(rows), frozenset(range(1, 2 + len(metrics))))


def _split(
    named: tuple[tuple[str, ...], frozenset[int]], rows: tuple[tuple[str, ...], ...]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], frozenset[int]]:
    return named[0], rows, named[1]


def classes_sheet(found: Sequence[ClassRow], kind: str) -> Sheet:
    """A row a class or label, with the 95 % interval of its recall."""
    rows = tuple(
        (
            each.name,
            f"{each.images:,}",
            f"{each.precision:.3f}",
            f"{each.recall:.3f}" if each.images else "-",
            ends("accuracy", (each.recall_interval.low, each.recall_interval.high)) if each.recall_interval else "-",
            f"{each.f1:.3f}",
        )
        for each in found
    )
    names = columns(kind, "test images", "precision", "recall", "95 % interval of recall", "F1", text=(kind,))
    return Sheet(*_split(names, rows))


def targets_sheet(found: Sequence[TargetRow]) -> Sheet:
    """A row a target of a regression."""
    rows = tuple(
        (
            each.name,
            score(each.mae),
            ends("mae", (each.mae_interval.low, each.mae_interval.high)),
            score(each.rmse),
            ends("rmse", (each.rmse_interval.low, each.rmse_interval.high)),
        )
        for each in found
    )
    names = columns("target", "mae", "95 % interval of mae", "rmse", "95 % interval of rmse", text=("target",))
    return Sheet(*_split(names, rows))


def confusions_sheet(found: Sequence[Confusion]) -> Sheet:
    """The pairs of classes that are confused most."""
    rows = tuple((c.truth, c.predicted, f"{c.images:,}", f"{c.share:.1%}") for c in found[:MOST_CONFUSIONS])
    return Sheet(("is", "taken for", "images", "of that class"), rows, frozenset({2, 3}))


def failures_sheet(trials: Sequence[Trial]) -> Sheet | None:
    """The trials that failed, with their reasons; None where none did."""
    failed = [trial for trial in trials if trial.status == "failed"]
    if not failed:
        return None
    rows = tuple(
        (str(t.number), without_places(t.message), f"{t.params:,}", summary(t.values)) for t in failed[:MOST_FAILURES]
    )
    return Sheet(("trial", "reason", "parameters", summary_title(failed)), rows, frozenset({0, 2}))


def data_sheet(config: RunConfig) -> Sheet:
    """What the run learned from."""
    data = config.data
    count, kind = counted(data.task, len(data.class_names)).split()
    train, val, test = data.images
    options = ", ".join(f"{name} {_plain(value)}" for name, value in data.options.items() if value not in (None, False))
    rows = [
        ("name", data.name),
        ("source", without_places(data.source)),
        ("task", data.task),
        (kind, f"{count}: {_shortened(data.class_names)}"),
        ("images", f"{train:,} training, {val:,} validation, {test:,} test"),
        ("image", f"{shape(data.image_shape)} (height x width x channels), 8 bit"),
        ("options", without_places(options) or "-"),
        ("fingerprint", data.fingerprint),
    ]
    return Sheet(("", ""), tuple(rows))


def _plain(value: object) -> str:
    return shape(value) if isinstance(value, (list, tuple)) else str(value)


def _shortened(names: Sequence[str], most: int = 40) -> str:
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def search_sheet(config: RunConfig, trials: Sequence[Trial]) -> Sheet:
    """How the run searched."""
    search = config.search
    by_status = [(status, sum(t.status == status for t in trials)) for status in ("completed", "failed", "stopped")]
    ended = ", ".join(f"{count:,} {status}" for status, count in by_status if count)
    within = "no limit" if search.budget_seconds is None else duration(search.budget_seconds)
    each = "" if search.epoch_images is None else f" of {search.epoch_images:,} images"
    rows = [
        ("oracle", search.method),
        ("search space", without_places(config.space_name)),
        ("objective", f"{search.objective} ({search.direction})" + (f", and {search.cost}" if search.cost else "")),
        ("trials", f"{len(trials):,}" + (f": {ended}" if ended else "")),
        ("epochs", f"up to {search.epochs}{each} in the search, up to {search.final_epochs} for a finalist"),
        ("budget", within),
        ("seed", str(search.seed)),
    ]
    return Sheet(("", ""), tuple(rows))


def sessions_sheet(sessions: Sequence[dict[str, Any]]) -> Sheet:
    """Every process that was at work on the run: when, by which command, with what."""
    rows = tuple(
        (
            datetime.fromtimestamp(each["started_at"], timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            without_places(each["command"]) or "-",
            each["workers"] or "-",
            ", ".join(f"{name} {version}" for name, version in each["versions"].items()),
        )
        for each in sessions
    )
    return Sheet(("began", "command", "workers", "versions"), rows)


def export_bytes(folder: Path) -> int:
    """What a SavedModel weighs on the disk, without what else is in its folder."""
    files = [folder / "saved_model.pb", *(path for part in MODEL_FOLDERS for path in (folder / part).rglob("*"))]
    return sum(path.stat().st_size for path in files if path.is_file())
