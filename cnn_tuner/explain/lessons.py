"""What can be explained: the best model of a run with an image of its test part or a file, or a network of a space."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_tuner.data import digits
from cnn_tuner.data.class_names import DIGITS
from cnn_tuner.data.files import expanded, shown
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.pictures import read_header, read_image
from cnn_tuner.errors import UsageError
from cnn_tuner.explain import page as explain_page
from cnn_tuner.explain.parts import Explanation, Subject
from cnn_tuner.explain.pictures import pictures
from cnn_tuner.explain.walkthrough import explain
from cnn_tuner.export.formats import keras_file
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.report import templates
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.evaluation import Evaluation
from cnn_tuner.runs.folders import write_aside
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import architecture
from cnn_tuner.spaces.architecture import Architecture
from cnn_tuner.spaces.tree import SearchSpace

LESSON_SIDE = 32  # pixels at most of an image that an untrained network is shown: as large as those of CIFAR
DIGIT_SIDE = 28  # to which a digit of 8x8 is magnified, as large as those of MNIST
DIGIT = 4  # which of scikit-learn's digits
POINTS = 200  # drawn from a space, of which one is chosen
STEM_LETTERS = 80


@dataclass(frozen=True)
class Lesson:
    """An explanation, whose it is, and a name that its files can have."""

    explanation: Explanation
    subject: Subject
    stem: str


@dataclass(frozen=True)
class _Shown:
    """An image (H, W, C) uint8, what it is called, and its label where that is known."""

    pixels: np.ndarray
    name: str
    truth: str | None = None


def of_run(store: RunStore, file: Path | None, mistake: int | None = None) -> Lesson:
    """A run's best model with an image file, or with an example of its test part, or with one of its mistakes there.

    Args:
        store: the run.
        file: an image file, None for an image of the test part.
        mistake: which of the mistakes that the run kept, 1 for the surest, in the order of its report.

    Raises:
        UsageError: the run has no best model yet; or there is no example and no file, or no such mistake.
        VerificationError: the best model cannot be read.
        DataError: the file is missing or not an image.
    """
    winner, config = store.winner(), store.config
    if winner is None or not store.best_model.is_file():
        name = store.folder.name
        raise UsageError(f"{store.folder}: has no best model yet; make one with cnn-tuner export {name}")
    config.check_seven_steps("explain")
    values = next(trial.values for trial in store.trials() if trial.number == winner.trial)
    plan = architecture.build(values, config.data.image_shape, config.output)
    image = (
        _of_test_part(store, mistake)
        if file is None
        else _Shown(read_image(file, config.data.image_shape, fit=config.data.fit), file.name)
    )
    explanation = explain(keras_file.load(store.best_model), plan, image.pixels, config.data.class_names)
    subject = Subject(image.name, f"{store.folder.name}, trial {winner.trial}", True, image.truth)
    return Lesson(explanation, subject, stem(image.name))


def _of_test_part(store: RunStore, mistake: int | None) -> _Shown:
    """The first image of the test part that the run kept, of those that the model was right about if there are any."""
    found = evaluation.load(store.evaluation)
    places = [] if found is None else [*found.examples, *found.mistakes]
    if found is None or not places:
        raise UsageError(f"{store.folder}: keeps no images of its test part; name an IMAGE")
    if mistake is not None and not 1 <= mistake <= len(found.mistakes):
        kept = f"keeps {len(found.mistakes)} mistakes" if len(found.mistakes) else "keeps no mistake"
        raise UsageError(f"--mistake: {store.folder} {kept} of its test part, 1 is the surest, got {mistake}")
    place = int(places[0] if mistake is None else found.mistakes[mistake - 1])
    return _Shown(found.picture(place), f"test image {place}", _truth(found, place, store.config.data.class_names))


def _truth(found: Evaluation, place: int, names: tuple[str, ...]) -> str:
    label = found.y[place]
    if found.task == "regression":
        return ", ".join(f"{name} {value:.6g}" for name, value in zip(names, label, strict=True))
    if found.task == "multilabel":
        return ", ".join(name for name, there in zip(names, label, strict=True) if there) or "none of the labels"
    return names[int(np.ravel(label)[0])]


def of_space(space: SearchSpace, file: Path | None) -> Lesson:
    """An untrained network of a space with an image file, of at most 32 pixels a side, or with a handwritten digit.

    The network is, of 200 feasible points drawn with a fixed seed, one with two blocks and as many of the steps as
    there are, and of those one of the fewest layers, with the median number of parameters.

    Raises:
        SpaceError: the space has no feasible point for such an image.
        DataError: the file is missing or not an image.
    """
    image = _digit() if file is None else _Shown(_small(file), file.name)
    height, width, channels = image.pixels.shape
    output = Output("multiclass", len(DIGITS))
    points = architecture.sample_feasible(space, (height, width, channels), output, POINTS, seed=0)
    plan = _typical([architecture.build(point, (height, width, channels), output) for point in points])
    explanation = explain(builder.build(plan, 0, "float32"), plan, image.pixels, DIGITS if file is None else ())
    subject = Subject(image.name, f"an untrained network of the space {space.name}", False, image.truth)
    return Lesson(explanation, subject, stem(image.name))


def _typical(plans: list[Architecture]) -> Architecture:
    def fullness(plan: Architecture) -> tuple[int, int]:
        is_padded = any(layer.settings.get("padding") == "same" for layer in plan.layers)
        has_two_blocks = any(layer.name.startswith("block_2") for layer in plan.layers)
        steps = {(layer.step, layer.kind) for layer in plan.layers}
        return len(steps) + is_padded + has_two_blocks, -len(plan.layers)

    most = max(map(fullness, plans))
    fullest = sorted((plan for plan in plans if fullness(plan) == most), key=lambda plan: plan.params)
    return fullest[len(fullest) // 2]


def _digit() -> _Shown:
    raw = digits.load("digits", DataOptions())
    small = Image.fromarray(raw.train.x[DIGIT, ..., 0])
    pixels = np.asarray(small.resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC))[..., None]
    return _Shown(pixels, "a handwritten digit", DIGITS[int(raw.train.y[DIGIT])])


def _small(file: Path) -> np.ndarray:
    """An image file, grey or colour as it is, shrunk to 32 pixels a side at most."""
    header = read_header(expanded(str(file)))
    share = min(1.0, LESSON_SIDE / max(header.height, header.width))
    height, width = (max(1, round(side * share)) for side in (header.height, header.width))
    return read_image(file, (height, width, 1 if header.is_grey else 3))


def stem(name: str) -> str:
    """A name for files: letters, digits, `.`, `_` and `-`, so that nothing leaves its folder."""
    kept = re.sub(r"[^\w.-]+", "-", Path(name).stem if "." in name else name).strip(".-_")
    return kept[:STEM_LETTERS] or "image"


def home(runs: Path, subject: RunStore | SearchSpace) -> Path:
    """The folder in which the explanations of a run or a space lie."""
    return runs / "lessons" / stem(subject.name) if isinstance(subject, SearchSpace) else subject.folder / "explain"


def write_page(lesson: Lesson, path: Path) -> None:
    """The page, whole or not at all.

    Raises:
        UsageError: a folder is there.
    """
    if path.is_dir():
        raise UsageError(f"--output: {shown(path)}: is a folder, must be a file")
    _make_folder("--output", path.parent)
    write_aside(path, explain_page.render(lesson.explanation, lesson.subject))


def write_pictures(lesson: Lesson, folder: Path) -> list[Path]:
    """Every picture as a PNG, named by its step, in the order of the steps.

    Raises:
        UsageError: a file is where the folder should be.
    """
    _make_folder("--png", folder)
    written = []
    for name, picture in pictures(lesson.explanation).items():
        path = folder / f"{name.replace('/', '-')}.png"
        path.write_bytes(templates.png(picture))
        written.append(path)
    return written


def clear_pictures(folder: Path) -> None:
    """Removes the pictures of an earlier explanation, which may have been of another network."""
    for path in folder.glob("step-*.png"):
        path.unlink()


def _make_folder(flag: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{flag}: {shown(folder)}: is a file, must be a folder") from error
