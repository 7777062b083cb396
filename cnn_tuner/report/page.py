"""A run as one page for a browser: what won, how it was found, what it gets wrong, how to serve and repeat it.

A pure function of the run's folder: neither the data nor the model is read, and the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_tuner.analysis import findings
from cnn_tuner.analysis.findings import Picture
from cnn_tuner.analysis.importance import importances
from cnn_tuner.errors import InfeasibleError, UsageError
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.report import comparison_charts, evaluation_charts, sheets, templates
from cnn_tuner.report.charts import Chart, Reached, Sheet, best_over_time, trials_curves, winners_curve
from cnn_tuner.report.serving import Serving, serving
from cnn_tuner.report.texts import counted, file_size, metric, score, shape, summary
from cnn_tuner.runs import evaluation, folders
from cnn_tuner.runs.pareto import front
from cnn_tuner.runs.records import Trial, Winner, ranked
from cnn_tuner.spaces import architecture

if TYPE_CHECKING:
    from cnn_tuner.runs.evaluation import Evaluation
    from cnn_tuner.runs.store import RunStore

FILE = "report.html"
MOST_MISTAKES = 24
MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Fact:
    """One figure of the head of the page."""

    title: str
    value: str
    more: str = ""


@dataclass(frozen=True)
class Answers:
    """What the winner answered on the test part."""

    task: str = ""
    charts: tuple[Chart, ...] = ()
    confusions: Sheet | None = None
    classes: Sheet | None = None
    mistakes: tuple[Picture, ...] = ()
    examples: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. What a run does not have is None or empty, and a sentence of `missing`."""

    name: str
    facts: tuple[Fact, ...]
    missing: tuple[str, ...]
    told: str
    steps: Sheet | None
    metrics: Sheet | None
    finalists: Sheet | None
    baselines: Sheet | None
    curves: tuple[Chart, ...]
    search: tuple[Chart, ...]
    importance: Chart | None
    importance_reason: str
    costs: tuple[Chart, ...]
    answers: Answers
    failures: Sheet | None
    data: Sheet
    serving: Serving | None
    how: Sheet
    sessions: Sheet
    changes: tuple[str, ...]


def gather(run: RunStore) -> Report:
    """What the folder of a run tells, whatever the run has reached."""
    config, trials, winner, found = run.config, run.trials(), run.winner(), evaluation.load(run.evaluation)
    best = _shown_trial(trials, winner, run)
    mattered = importances(trials, config.search_space(), config.objective, config.search.seed)
    export = latest_export(run)
    search = (
        trials_curves(trials, config.objective),
        best_over_time(_ends(run), config.objective),
        comparison_charts.parallel_coordinates(trials, config.search_space(), config.objective, mattered),
    )
    return Report(
        run.folder.name,
        tuple(_facts(run, trials, winner, export)),
        tuple(_missing(run, trials, winner, export, found)),
        "" if best is None else summary(best.values),
        None if best is None else _steps(run, best),
        None if winner is None else sheets.metrics_sheet(winner),
        None if winner is None else sheets.finalists_sheet(winner, config.objective),
        None if winner is None else sheets.baselines_sheet(winner),
        tuple(_winners_curves(run, winner)),
        tuple(chart for chart in search if chart is not None),
        comparison_charts.importance(mattered),
        mattered.reason or "nothing that is more than chance",
        tuple(_costs(run, trials, winner)),
        Answers() if found is None else _answers(found, config.data.class_names, winner.temperature if winner else 1.0),
        sheets.failures_sheet(trials),
        sheets.data_sheet(config),
        None if export is None else serving(config.data, export),
        sheets.search_sheet(config, trials),
        sheets.sessions_sheet(run.sessions()),
        tuple(f"{change.at}: {change.text}" for change in config.changes),
    )


def head(run: RunStore) -> dict[str, Any]:
    """What the head of the page tells, and with what the winner is compared, for `head.html`."""
    winner = run.winner()
    return {
        "name": run.folder.name,
        "facts": _facts(run, run.trials(), winner, latest_export(run)),
        "baselines": None if winner is None else sheets.baselines_sheet(winner),
    }


def render(report: Report) -> str:
    """The page, one file that asks for nothing else."""
    return templates.render(
        "report.html",
        report=report,
        data_uri=templates.data_uri,
        echarts=templates.script("echarts.min.js"),
        script=templates.script("report.js"),
    )


def write(run: RunStore, file: Path | None = None) -> Path:
    """Writes the report of a run as `report.html` in its folder, or as `file`, whole or not at all.

    Raises:
        UsageError: `file` cannot be one.
        OSError: the disk is full, or cannot be written.
    """
    target = run.folder / FILE if file is None else file
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(f"--output: must be a file in a folder that exists, got {target}")
    folders.write_aside(target, render(gather(run)))
    return target


def latest_export(run: RunStore) -> str | None:
    """The newest export as seen from the run's folder, such as `export/digits/1`."""
    try:
        return run.latest_export().relative_to(run.folder).as_posix()
    except UsageError:
        return None


def _shown_trial(trials: Sequence[Trial], winner: Winner | None, run: RunStore) -> Trial | None:
    """The winner, or the best so far."""
    if winner is None:
        return next((t for t in ranked(trials, run.config.objective) if t.score is not None), None)
    return next((t for t in trials if t.number == winner.trial), None)


def _facts(run: RunStore, trials: Sequence[Trial], winner: Winner | None, export: str | None) -> list[Fact]:
    data, objective = run.config.data, run.config.objective
    told = counted(data.task, len(data.class_names))
    about = f"{sum(data.images):,} images of {shape(data.image_shape)}, {told}, {data.task}"
    facts = [Fact("data", data.name, about)]
    if winner is None:
        best = next((t for t in ranked(trials, objective) if t.score is not None), None)
        so_far = Fact(f"best {objective.name} so far", score(best.score), f"trial {best.number}") if best else None
        return [*facts, *([so_far] if so_far else []), Fact("trials", f"{len(trials):,}")]
    for name, value in list(winner.test.items())[:2]:
        told = metric(name, value, winner.test_intervals.get(name)).removeprefix(f"{name} {score(value)}").strip(" ()")
        facts.append(Fact(f"test {name}", score(value), told or f"{winner.test_images:,} images"))
    facts.append(Fact("size", f"{winner.params:,} parameters", f"{winner.macs:,} multiply-adds an image"))
    if export is not None:
        facts.append(
            Fact("export", export, f"{file_size(sheets.export_bytes(run.folder / export))}, in this run's folder")
        )
    facts.append(Fact("chosen from", f"{len(trials):,} trials", f"trial {winner.trial} won"))
    return facts


def _missing(
    run: RunStore, trials: Sequence[Trial], winner: Winner | None, export: str | None, found: Evaluation | None
) -> list[str]:
    """A sentence for each thing that this run does not have."""
    name, told = run.folder.name, []
    if not trials:
        told.append("No trial has begun yet.")
    if winner is None:
        told.append(f"No winner yet: cnn-tuner resume {name} goes on, cnn-tuner export {name} exports the best so far.")
        return told
    if not run.is_crowned:
        told.append(f"The search was cut short: cnn-tuner resume {name} goes on, and the winner may change.")
    if found is None:
        told.append(
            "What the winner answered on each test image was not kept, so that there are no mistakes and no figures by "
            f"class here; cnn-tuner evaluate {name} tells the latter."
        )
    if export is None:
        told.append(f"There is no export yet: cnn-tuner export {name} makes one.")
    return told


def _steps(run: RunStore, trial: Trial) -> Sheet | None:
    if run.config.hypermodel is not None:
        return None
    try:
        plan = architecture.build(trial.values, run.config.data.image_shape, run.config.output)
    except InfeasibleError:
        return None
    return sheets.steps_sheet(plan)


def _winners_curves(run: RunStore, winner: Winner | None) -> list[Chart]:
    if winner is None:
        return []
    epochs = [epoch for job in run.jobs() if job.number == winner.job for epoch in run.curve(job)]
    own = run.config.objective.metric
    names = [own if own != "loss" else next(iter(TASKS[run.config.data.task].metrics)), "loss"]
    return [chart for name in names if (chart := winners_curve(epochs, name)) is not None]


def _ends(run: RunStore) -> list[Reached]:
    """When each training of the search ended, in seconds at work: the time between two sessions does not count."""
    return [
        Reached(run.active_seconds_at(job.started_at + job.seconds), job.trial, job.score)
        for job in run.jobs()
        if job.suggestion is not None and job.score is not None
    ]


def _costs(run: RunStore, trials: Sequence[Trial], winner: Winner | None) -> list[Chart]:
    """Score against parameters, which everybody asks, and against the second objective where that is another."""
    objective, number = run.config.objective, None if winner is None else winner.trial
    costs = dict.fromkeys(filter(None, (run.config.search.cost, "params")))
    charts = (
        comparison_charts.cost_and_score(trials, front(trials, objective, cost), objective, cost, number)
        for cost in costs
    )
    return [chart for chart in charts if chart is not None]


def _answers(found: Evaluation, names: tuple[str, ...], temperature: float) -> Answers:
    matrix = evaluation_charts.confusion_matrix(found, names)
    charts = [matrix] if matrix is not None else evaluation_charts.predicted_against_true(found, names)
    believed = evaluation_charts.reliability(found, temperature)
    charts += [] if believed is None else [believed]
    pairs = findings.confusions(found, names)
    classes = findings.class_rows(found, names)
    targets = findings.target_rows(found, names)
    kind = "label" if found.task == "multilabel" else "class"
    return Answers(
        found.task,
        tuple(charts),
        sheets.confusions_sheet(pairs) if pairs and matrix is None else None,
        sheets.classes_sheet(classes, kind) if classes else sheets.targets_sheet(targets) if targets else None,
        tuple(findings.mistakes(found, names, MOST_MISTAKES)),
        tuple(findings.examples(found, names, MOST_EXAMPLES)),
    )
