"""A model card, as Markdown, in the folder of an export: what the model is for, how good it is, and its limits.

After Mitchell et al., 2019, "Model Cards for Model Reporting", https://arxiv.org/abs/1810.03993. A pure function of the
run's folder; what the run does not know, such as how groups of people fare, is said to be unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_tuner.analysis import findings
from cnn_tuner.analysis.findings import ClassRow
from cnn_tuner.metrics import calibration
from cnn_tuner.report import sheets
from cnn_tuner.report.charts import Sheet
from cnn_tuner.report.serving import loading, serving
from cnn_tuner.report.texts import CUT, ends, epochs, file_size, metric, score, shape, summary, without_places
from cnn_tuner.runs import evaluation, folders
from cnn_tuner.runs.records import AS_SEARCHED, CUT_SHORT, REFIT_DONE, Winner

if TYPE_CHECKING:
    from cnn_tuner.runs.config import RunConfig
    from cnn_tuner.runs.evaluation import Evaluation
    from cnn_tuner.runs.store import RunStore

FILE = sheets.CARD
MOST_NAMED = 5  # classes in a sentence

TASKS = {
    "binary": "says which of two classes an image shows",
    "multiclass": "says which of {count} classes an image shows",
    "multilabel": "says which of {count} labels an image has",
    "regression": "estimates {count} {numbers} from an image",
}
FULL_LENGTH = ", until its learning rate had ended"
LENGTHS = {
    CUT_SHORT: "; its training was cut short, before its learning rate had ended",
    AS_SEARCHED: " by the search, and not until its learning rate had ended",
}
IN_ORDER = "in the order of `assets/class_names.txt`"
SCORES = {
    "binary": "the probability of the second class",
    "multiclass": f"a probability for each class, {IN_ORDER}",
    "multilabel": f"a probability for each label, {IN_ORDER}",
    "regression": f"the values, {IN_ORDER}",
}


@dataclass(frozen=True)
class FormatRow:
    """One format of an export: its file, bytes and metrics, and what a new process found.

    difference: the largest of a score to the model's, relative where scores are larger than 1; latency: the median
    milliseconds by the number of images.
    """

    name: str
    file: str
    bytes: int
    test: dict[str, float | None]
    difference: float
    latency: dict[int, float]


def write(run: RunStore, folder: Path, version: str, formats: Sequence[FormatRow]) -> None:
    """Writes the card of the run's winner into the `folder` of its export, which becomes `version` (`digits/1`).

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    winner = run.winner()
    if winner is not None:
        folders.write_aside(folder / FILE, text(run, winner, version, formats))


def text(run: RunStore, winner: Winner, version: str, formats: Sequence[FormatRow]) -> str:
    """The card of the export that becomes `version`, the SavedModel the first of its formats."""
    found = evaluation.load(run.evaluation)
    parts = (
        _details(run, winner, formats[0]),
        _use(run.config),
        _data(run.config),
        _how(run, winner),
        _metrics(run.config, winner, found),
        _formats(winner, formats),
        _limits(run, winner, found),
        _loading(run.config, version, formats),
    )
    title = f"# Model card: {plain(run.config.data.name)}, from {plain(run.folder.name)}"
    return "\n\n".join([title, *parts]) + "\n"


def plain(value: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no column of a table."""
    one_line = " ".join(value.split())
    safe = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", safe)


def code(value: str, language: str = "") -> str:
    """A block of code, in a fence longer than any inside it."""
    longest = max((len(ticks) for ticks in re.findall("`+", value)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{value}\n{fence}"


def table(sheet: Sheet) -> str:
    """A sheet as a table of GitHub's Markdown."""
    marks = ["---:" if index in sheet.numbers else "---" for index in range(len(sheet.columns))]
    lines = [[*map(plain, sheet.columns)], marks, *([*map(plain, row)] for row in sheet.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _details(run: RunStore, winner: Winner, saved_model: FormatRow) -> str:
    config = run.config
    trial = next(t for t in run.trials() if t.number == winner.trial)
    count = len(config.data.class_names)
    task = TASKS[config.data.task].format(count=count, numbers="number" if count == 1 else "numbers")
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    size = file_size(saved_model.bytes)
    lines = [
        f"A convolutional neural network that {task}.",
        f"Architecture: {plain(summary(trial.values))} (trial {winner.trial}){_more(config)}.",
        f"Size: {winner.params:,} parameters, {winner.macs:,} multiply-adds an image, SavedModel {size}.",
        f"Made: {plain(config.created)}, with {plain(versions)}.",
        f"Verified: a new process predicts the same from it (largest difference {saved_model.difference:.1g}).",
    ]
    return f"## Model details\n\n{_listed(lines)}"


def _more(config: RunConfig) -> str:
    """Where more is to be read of the architecture."""
    own = config.hypermodel
    return "; `cnn-tuner steps` lists its layers" if own is None else f", as built by {plain(own.name)}"


def _use(config: RunConfig) -> str:
    data = config.data
    names = ", ".join(plain(name) for name in data.class_names[:40])
    more = f", and {len(data.class_names) - 40:,} more" if len(data.class_names) > 40 else ""
    kind = {"multilabel": "Labels", "regression": "Targets"}.get(data.task, "Classes")
    lines = [
        f"For images like those of {plain(data.name)}. {kind}: {names}{more}.",
        "Not for images of another kind, and not for decisions on people that no person checks: nothing here says how "
        "it does there.",
    ]
    return f"## Intended use\n\n{_listed(lines)}"


def _data(config: RunConfig) -> str:
    split = (
        "Trained on the training part; architecture and epoch chosen by the validation part; measured on the test "
        "part, by which nothing was chosen."
    )
    rows = sheets.data_sheet(config).rows
    return f"## Data\n\n{table(Sheet(('what', 'value'), rows))}\n\n{split}"


def _how(run: RunStore, winner: Winner) -> str:
    rows = sheets.search_sheet(run.config, run.trials()).rows
    told = run.config.command
    command = code(without_places(told), "sh" if told.startswith("cnn-tuner ") else "python")
    cut = " A path is cut to its last name." if CUT in command else ""
    own = winner.finalist
    trained = f"trained for {epochs(winner.epochs, winner.passes)}{LENGTHS.get(winner.refit, FULL_LENGTH)}"
    if own is not None and own.spread is not None:
        splits = ", each on a split of its own into train and validation," if own.splits else ""
        trained += f"; {len(own.scores)} seeds{splits} reached {score(own.mean)} +- {score(own.spread)}"
    if winner.refit == REFIT_DONE:
        grew = any(job.number == winner.job and job.grows for job in run.jobs())
        part = " from where the learning rate began to fall" if grew else ""
        trained += f"; the weights here are those of the same training{part} on train and validation together"
    return (
        f"## How it was found\n\n{command}\n\n{table(Sheet(('what', 'value'), rows))}\n\nThe winner was {trained}.{cut}"
    )


def _metrics(config: RunConfig, winner: Winner, found: Evaluation | None) -> str:
    looks = "once" if winner.looks == 1 else f"{winner.looks} times, once for each winner so far"
    parts = [
        f"## Metrics\n\nOn the test part, {winner.test_images:,} images, looked at {looks}:",
        table(sheets.metrics_sheet(winner)),
    ]
    beside = sheets.baselines_sheet(winner)
    if beside is not None:
        parts += ["Simple models, fitted on the same split in seconds, on the same test part:", table(beside)]
    if found is None:
        return "\n\n".join([*parts, "Each class by itself: not kept."])
    rows = findings.class_rows(found, config.data.class_names)
    targets = findings.target_rows(found, config.data.class_names)
    if rows:
        kind = "label" if config.data.task == "multilabel" else "class"
        parts.append(table(sheets.classes_sheet(rows, kind)))
    if targets:
        parts.append(table(sheets.targets_sheet(targets)))
    return "\n\n".join(parts)


def _formats(winner: Winner, formats: Sequence[FormatRow]) -> str:
    """What lies in the folder: how large and how fast each file is, and whether it says what the model says."""
    first = next(iter(winner.test))
    counts = sorted({count for each in formats for count in each.latency})
    names = (
        "format",
        "file",
        "size",
        f"{first} on the test part",
        "largest difference",
        *(f"ms for {n}" for n in counts),
    )
    rows = tuple(
        (
            each.name,
            each.file or "the folder",
            file_size(each.bytes),
            "-" if each.test[first] is None else score(each.test[first]),
            f"{each.difference:.1g}",
            *(f"{each.latency[n]:.3g}" if n in each.latency else "-" for n in counts),
        )
        for each in formats
    )
    told = "Each was read by a new process, which said this of the test part. Differences are of scores, to the model's"
    timed = "; times are medians on the machine that exported it, for so many images at once, each reader as it comes"
    told += f"{timed}: LiteRT takes one thread, the others all cores." if counts else "."
    return f"## Formats\n\n{table(Sheet(names, rows, frozenset(range(2, len(names)))))}\n\n{told}"


def _limits(run: RunStore, winner: Winner, found: Evaluation | None) -> str:
    config = run.config
    lines = [
        "The test part comes from the same source as the training part: of images from another camera, place or time "
        "it says nothing.",
        f"It is the best of {len(run.trials()):,} trials by {config.search.objective}, so that its score there "
        f"({score(winner.score)}) is partly luck; the test part did not choose it.",
        "An interval covers which images are in the test part, not another training or another kind of image.",
        "How it does on groups of people, or under conditions that the labels do not name, was not measured.",
        f"It takes images of {shape(config.data.image_shape)} (height x width x channels) and no other; "
        "`cnn-tuner predict` resizes others to it (bilinear, a JPEG turned as its EXIF data says), which loses detail "
        "and may change proportions.",
    ]
    if winner.looks > 1:
        lines.append(f"The test part was looked at {winner.looks} times, so that its score is a little too good.")
    if config.data.task in ("binary", "multiclass"):
        lines.append("An image of none of the classes gets one of them too, and often with a high probability.")
    lines += _believed(winner, found)
    if found is not None:
        lines += _of_classes(findings.class_rows(found, config.data.class_names))
    return f"## Limits\n\n{_listed(lines)}"


def _believed(winner: Winner, found: Evaluation | None) -> list[str]:
    """How far its probabilities can be believed."""
    if found is None or not calibration.reliability(found.task, found.y, found.scores):
        return []
    raw, mended = calibration_errors(winner, found)
    told = f"On the test part its probabilities are {mended:.1%} off the share of right answers in the mean"
    if winner.temperature == 1.0:
        return [f"{told}."]
    return [f"{told} ({raw:.1%} before they were tempered by {winner.temperature:g}, as the validation part says)."]


def calibration_errors(winner: Winner, found: Evaluation) -> tuple[float, float]:
    """The expected calibration error on the test part, as the scores are and tempered."""
    tempered = calibration.tempered(found.task, found.scores, winner.temperature)
    raw, mended = (
        calibration.error(calibration.reliability(found.task, found.y, each)) for each in (found.scores, tempered)
    )
    return raw, mended


def _of_classes(rows: Sequence[ClassRow]) -> list[str]:
    """What the figures by class say against the model."""
    told = [row for row in rows if row.images]
    lines = []
    if len(told) > 1:
        worst = min(told, key=lambda row: (row.recall, row.name))
        lines.append(f"It does worst on {_recall(worst)}.")
    doubtful = sorted((row for row in rows if findings.is_doubtful(row)), key=lambda row: (row.images, row.name))
    if doubtful:
        named = ", ".join(f"{plain(row.name)} ({row.images:,} images)" for row in doubtful[:MOST_NAMED])
        more = f", and {len(doubtful) - MOST_NAMED:,} more" if len(doubtful) > MOST_NAMED else ""
        lines.append(f"The test part tells little of: {named}{more}.")
    return lines


def _recall(row: ClassRow) -> str:
    interval = row.recall_interval
    if interval is None:
        return plain(row.name)
    told = metric("recall", row.recall)
    return f"{plain(row.name)}: {told} (95 % interval {ends('accuracy', (interval.low, interval.high))})"


def _loading(config: RunConfig, version: str, formats: Sequence[FormatRow]) -> str:
    place = f"export/{version}"
    found = serving(config.data, place)
    commands = f"cnn-tuner verify {place}\ncnn-tuner predict photos/ --model {place}\ncnn-tuner serve {place}"
    parts = [
        "## How to load and serve it",
        "In the folder of the run, with TensorFlow alone:",
        code(found.python, "python"),
    ]
    others = [each for each in formats if each.file]
    if others:
        parts.append(f"The other formats take pixels too, and give {SCORES[config.data.task]}:")
        parts += [code(loading(each.name, config.data, f"{place}/{each.file}"), "python") for each in others]
    parts += [
        "With cnn-tuner, which verifies it by its own files first of all:",
        code(commands, "sh"),
        "With TensorFlow Serving, and a request:",
        code(found.container, "sh"),
        code(found.request, "sh"),
    ]
    return "\n\n".join(parts)
