"""What TensorBoard shows of the best model: its curve, the seven steps, filters, mistakes, graph and model card.

All of it comes from the run's folder, so that the logs can be written again at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont
from sklearn.decomposition import PCA
from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import summary as pr_summary
from tensorboard.plugins.projector import projector_config_pb2
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from cnn_tuner.analysis import findings
from cnn_tuner.explain import feature_maps, walkthrough
from cnn_tuner.explain import pictures as explain_pictures
from cnn_tuner.export.formats import keras_file
from cnn_tuner.logs.trials import BEST, RunLogs
from cnn_tuner.report import templates
from cnn_tuner.runs import evaluation
from cnn_tuner.runs.evaluation import Evaluation
from cnn_tuner.runs.records import JobRecord
from cnn_tuner.runs.store import RunStore
from cnn_tuner.spaces import architecture

MOST_CURVES = 20  # classes with a precision-recall curve
MOST_CLASSES = 40  # of a confusion matrix that is drawn
CELL, MARGIN, TILE, CAPTION = 44, 130, 112, 34  # pixels
FONT = 12
MOST_DIMENSIONS = 50  # of the projector's points: a flattened map has thousands, and megabytes of text
INK, PAPER = (20, 24, 28), (255, 255, 255)
SPRITE = 32  # pixels of one picture in the projector
CARD = "model_card.md"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write(run: RunStore, logs: RunLogs, job: JobRecord) -> None:
    """Writes the run of the best model anew; `job` is the one that trained it.

    Without an `evaluation.npz` that can be read, as of an older version, there are the curve and the graph only.
    """
    logs.rewrite(BEST, run.curve(job))
    if not run.best_model.is_file():
        return
    model = keras_file.load(run.best_model, is_chain=run.config.hypermodel is None)
    summaries = [_image("filters/first convolution", picture) for picture in _filters(model)]
    found = evaluation.load(run.evaluation)
    if found is not None:
        summaries += _steps(run, model, found) if run.config.hypermodel is None else []
        summaries += _pictures(found, run.config.data.class_names)
        summaries += _curves(found, run.config.data.class_names)
        _write_projector(logs.folder / BEST, model, found, run.config.data.class_names)
    cards = sorted(run.folder.glob(f"export/*/*/{CARD}"), key=lambda path: int(path.parent.name))
    if cards:
        summaries.append(text_pb("model card", cards[-1].read_text(encoding="utf-8")))
    logs.show(BEST, summaries, _graph(model))


def _steps(run: RunStore, model: keras.Model, found: Evaluation) -> list[summary_pb2.Summary]:
    """One image through the seven steps: the first right example, or else the first picture there is."""
    place = [*found.examples, *found.mistakes][0]
    winner = run.winner()
    trial = next(trial for trial in run.trials() if winner is not None and trial.number == winner.trial)
    plan = architecture.build(trial.values, run.config.data.image_shape, run.config.output)
    told = walkthrough.explain(model, plan, found.picture(place), run.config.data.class_names)
    return [_image(name, picture) for name, picture in explain_pictures.pictures(told).items()]


def _image(tag: str, *pictures: np.ndarray) -> summary_pb2.Summary:
    height, width = pictures[0].shape[:2]
    content = [str(width).encode(), str(height).encode(), *map(templates.png, pictures)]
    metadata = image_metadata.create_summary_metadata(display_name="", description="")
    metadata.data_class = summary_pb2.DATA_CLASS_BLOB_SEQUENCE
    summary = summary_pb2.Summary()
    summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(content, dtype=DT_STRING))
    return summary


def _filters(model: keras.Model) -> Iterator[np.ndarray]:
    """The kernels of the first convolution as maps, if there is one; those of several channels side by side."""
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.asarray(layer.kernel)  # (height, width, channels, filters)
            yield feature_maps.tiled(kernel.reshape(*kernel.shape[:2], -1))
            return


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Those of models within it, too."""
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _pictures(found: Evaluation, names: tuple[str, ...]) -> list[summary_pb2.Summary]:
    pictures = {}
    if len(found.mistakes):
        pictures["test/surest mistakes"] = _mistakes(found, names)
    if found.task in ("binary", "multiclass") and len(names) <= MOST_CLASSES:
        pictures["test/confusion matrix"] = confusion_picture(found.confusion(), names)
    return [_image(tag, picture) for tag, picture in pictures.items()]


def confusion_picture(matrix: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """A confusion matrix with its numbers, a row for each true class; (H, W, 3) uint8. Darker is a larger share."""
    size = MARGIN + CELL * len(names) + 8
    picture = Image.new("RGB", (size, size), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = feature_maps.colours(shares, 1.0)
    for row, column in np.ndindex(*matrix.shape):
        left, top = MARGIN + CELL * column, MARGIN + CELL * row
        shade = tuple(int(c) for c in shades[row, column])
        draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=shade)
        ink = INK if sum(shade) > 380 else PAPER
        draw.text((left + CELL / 2, top + CELL / 2), str(matrix[row, column]), ink, font, anchor="mm")
    for index, name in enumerate(names):
        middle = MARGIN + CELL * (index + 0.5)
        draw.text((MARGIN - 6, middle), _fitting(name, draw, font, MARGIN - 30), INK, font, anchor="rm")
        label = Image.new("RGB", (MARGIN - 30, FONT + 6), PAPER)
        ImageDraw.Draw(label).text((0, 2), _fitting(name, draw, font, MARGIN - 30), INK, font)
        picture.paste(label.rotate(90, expand=True), (int(middle - FONT / 2 - 3), 24))
    draw.text((4, 4), "rows: what it is; columns: what was said", INK, font)
    return np.asarray(picture)


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: Font, width: float) -> str:
    """As much of a text as is at most so many pixels wide."""
    one_line = " ".join(text.split())
    if draw.textlength(one_line, font) <= width:
        return one_line
    kept = next(n for n in range(len(one_line), -1, -1) if draw.textlength(one_line[:n] + "…", font) <= width)
    return one_line[:kept] + "…"


def _mistakes(found: Evaluation, names: tuple[str, ...]) -> np.ndarray:
    """The surest mistakes with what they are and what was said of them, in rows; (H, W, 3) uint8."""
    columns = min(6, len(found.mistakes))
    rows = -(-len(found.mistakes) // columns)
    picture = Image.new("RGB", (columns * (TILE + 8) + 8, rows * (TILE + CAPTION + 8) + 8), PAPER)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(FONT)
    for index, mistake in enumerate(findings.mistakes(found, names, len(found.mistakes))):
        left, top = 8 + index % columns * (TILE + 8), 8 + index // columns * (TILE + CAPTION + 8)
        tile = Image.fromarray(feature_maps.image_colours(mistake.pixels))
        picture.paste(tile.resize((TILE, TILE), Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate((f"is {mistake.truth}", f"{mistake.confidence} {mistake.predicted}")):
            draw.text((left, top + TILE + 2 + 15 * line), _fitting(text, draw, font, TILE), INK, font)
    return np.asarray(picture)


def _curves(found: Evaluation, names: tuple[str, ...]) -> list[summary_pb2.Summary]:
    """A precision-recall curve for each class or label, against all others."""
    if found.task == "regression":
        return []
    if found.task == "multiclass":
        truth = found.y.astype(int)[:, None] == np.arange(found.scores.shape[1])
    else:
        truth = found.y.reshape(found.scores.shape) > 0
    own = names[-found.scores.shape[1] :]  # the one unit of a binary task stands for its second class
    return [
        pr_summary.pb(f"precision and recall/{name}", truth[:, index], found.scores[:, index].astype(np.float32))
        for index, name in enumerate(own[:MOST_CURVES])
    ]


def _graph(model: keras.Model) -> bytes:
    """The operations of one prediction."""
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return bytes(tf.function(model).get_concrete_function(signature).graph.as_graph_def().SerializeToString())


def _write_projector(folder: Path, model: keras.Model, found: Evaluation, names: tuple[str, ...]) -> None:
    """What the last hidden layer makes of the pictures that were kept, as points of TensorBoard's projector."""
    folder.mkdir(parents=True, exist_ok=True)
    points = _reduced(_last_features(model, found.pictures))
    np.savetxt(folder / "points.tsv", points, "%.5g", "\t")
    told = (*findings.mistakes(found, names, len(points)), *findings.examples(found, names, len(points)))
    rows = [("is", "said"), *((each.truth, each.predicted) for each in told)]
    lines = ("\t".join(" ".join(cell.split()) for cell in row) for row in rows)
    (folder / "points-metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _sprite(found.pictures).save(folder / "points.png")
    config = projector_config_pb2.ProjectorConfig()
    shown = config.embeddings.add(
        tensor_name="last hidden layer", tensor_path="points.tsv", metadata_path="points-metadata.tsv"
    )
    shown.sprite.image_path = "points.png"
    shown.sprite.single_image_dim.extend([SPRITE, SPRITE])
    (folder / "projector_config.pbtxt").write_text(str(config), encoding="utf-8")


def _last_features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """(N, features) that the last layer with weights is given, of images (N, H, W, C) uint8."""
    own = next((layer for layer in model.layers if isinstance(layer, keras.Model)), None)
    x = images
    if own is not None:  # a person's own, behind what brings pixels into its range
        for layer in model.layers[1 : model.layers.index(own)]:
            x = layer(x)
    inner = model if own is None else own
    found = keras.Model(inner.input, _last_hidden(inner))(x, training=False)
    return np.asarray(found).reshape(len(images), -1)


def _reduced(points: np.ndarray) -> np.ndarray:
    """The first principal components of points (N, dimensions), which the projector would begin with itself."""
    most = min(MOST_DIMENSIONS, *points.shape)
    return points if points.shape[1] <= most else np.asarray(PCA(most, random_state=0).fit_transform(points))


def _last_hidden(model: keras.Model) -> Any:
    """The values that the last layer takes in, as Keras's graph has them."""
    return next(layer for layer in reversed(model.layers) if not isinstance(layer, keras.layers.Rescaling)).input


def _sprite(pictures: np.ndarray) -> Image.Image:
    """All pictures in one square, as the projector wants them."""
    side = int(np.ceil(np.sqrt(len(pictures))))
    sprite = Image.new("RGB", (side * SPRITE, side * SPRITE), PAPER)
    for index, picture in enumerate(pictures):
        tile = Image.fromarray(feature_maps.image_colours(picture)).resize((SPRITE, SPRITE), Image.Resampling.NEAREST)
        sprite.paste(tile, (index % side * SPRITE, index // side * SPRITE))
    return sprite
