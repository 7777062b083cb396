"""From each source, for each task that it can hold, to an export that answers in that task's form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_helpers import TINY, labels, pixels, write_archive, write_folder, write_function, write_npz
from PIL import Image
from training.test_fit import VALUES, arrays

from cnn_tuner.data.dataset import Dataset
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load
from cnn_tuner.export.formats import saved_model
from cnn_tuner.export.formats.registry import Source
from cnn_tuner.export.served import Served
from cnn_tuner.metrics.tasks import Output, choose_objective
from cnn_tuner.runs.records import Job
from cnn_tuner.training import fit
from cnn_tuner.training.batches import Data

IMAGES = 80
TAGS = np.stack([np.arange(IMAGES) % 2, np.arange(IMAGES) // 2 % 2, np.arange(IMAGES) % 5 > 2], axis=1)
SIZES = np.arange(IMAGES) / 10 + 0.05
Y = {"binary": labels(IMAGES, 2), "multilabel": TAGS.astype(np.uint8), "regression": SIZES}


def csv(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "images").mkdir()
    told = {
        "binary": lambda i: "cat" if i % 2 else "dog",
        "multilabel": lambda i: ";".join(name for name, there in zip("xyz", TAGS[i], strict=True) if there),
        "regression": lambda i: f"{SIZES[i]:.2f}",
    }
    rows = ["path,label"]
    for i in range(IMAGES):
        Image.fromarray(pixels(7, 6, 3, seed=i)).save(folder / "images" / f"{i}.png")
        rows.append(f"images/{i}.png,{told[task](i)}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return f"csv:{folder / 'table.csv'}"


def npz(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return write_npz(folder / "x.npz", x_train=pixels(IMAGES, 7, 6, 3), y_train=Y[task])


def npy(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    np.save(folder / "x_train.npy", pixels(IMAGES, 7, 6, 3))
    np.save(folder / "y_train.npy", Y[task])
    return f"npy:{folder}"


def python(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    np.save(folder / "y.npy", Y[task])
    body = f"    return pixels({IMAGES}, 7, 6, 3), np.load({str(folder / 'y.npy')!r})"
    return write_function(folder, body, monkeypatch)


def folder(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return write_folder(folder / "zoo", ("cat", "dog"))


def archive(task: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return write_archive(folder / "zoo.tar.gz", Path(write_folder(folder / "zoo", ("cat", "dog"))))


ANY = {each.__name__: each for each in (csv, npz, npy, python)}
CASES: dict[str, Callable[[Path, pytest.MonkeyPatch], str]] = {f"{name}-multiclass": TINY[name] for name in TINY}
CASES |= {
    f"{name}-{task}": lambda path, monkeypatch, make=make, task=task: make(task, path, monkeypatch)
    for make, tasks in [*((each, Y) for each in ANY.values()), (folder, ["binary"]), (archive, ["binary"])]
    for name, task in ((make.__name__, task) for task in tasks)
}


def trained(dataset: Dataset, path: Path) -> Job:
    """A job that trained a network for an epoch."""
    units = 1 if dataset.task == "binary" else len(dataset.class_names)
    output, objective = Output(dataset.task, units), choose_objective(dataset.task, None)
    job = Job(1, 1, VALUES, dataset.image_shape, output, objective, 1, 0, str(path / "state.npz"))
    result = fit.train(job, Data(dataset.train, dataset.val), lambda epoch: None, lambda: False)
    assert result.status == "completed", result.message
    return job


@pytest.mark.parametrize(
    "case", [each if each == "csv-multilabel" else pytest.param(each, marks=pytest.mark.slow) for each in CASES]
)
def test_what_is_exported_answers_in_the_form_of_its_task(case, tmp_path, monkeypatch):
    task = case.partition("-")[2]
    dataset = load(CASES[case](tmp_path, monkeypatch), DataOptions())
    assert dataset.task == task
    model = fit.load_best(trained(dataset, tmp_path))
    export = tmp_path / "export"
    saved_model.write(Source(model, task, dataset.class_names, dataset.train.x, tmp_path / "unused.keras"), export)
    read, images = Served(export), np.asarray(dataset.test.x[:5])
    assert (read.task, read.class_names) == (task, dataset.class_names)
    np.testing.assert_allclose(read.scores(images), model.predict(images, verbose=0), atol=1e-5)
    names = set(dataset.class_names)
    for record in read.predict(images):
        if task == "regression":
            assert record["values"].keys() == names
        elif task == "multilabel":
            assert set(record["labels"]) <= names == record["probabilities"].keys()
        else:
            assert record["class"] in names == record["probabilities"].keys()
            assert record["probability"] == max(record["probabilities"].values()) >= 1 / len(names)


@pytest.mark.slow
def test_the_same_pixels_train_the_same_network_wherever_they_come_from(tmp_path, monkeypatch):
    names = ("cat", "dog", "owl")
    root = Path(write_folder(tmp_path / "zoo", names))
    x = np.concatenate([[pixels(9, 9, 3, seed=1000 * n + i) for i in range(20)] for n in range(3)])
    given = write_npz(tmp_path / "zoo.npz", x_train=x, y_train=np.repeat(np.arange(3), 20), class_names=np.array(names))
    rows = [f"zoo/{name}/{i:03}.png,{name}" for name in names for i in range(20)]
    (tmp_path / "zoo.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    np.save(tmp_path / "x.npy", x)
    body = f"""
    x = np.load({str(tmp_path / "x.npy")!r})
    return {{"train": (x, np.repeat(np.arange(3), 20)), "class_names": {names!r}}}
"""
    called = write_function(tmp_path, body, monkeypatch)
    sources = (str(root), given, f"csv:{tmp_path / 'zoo.csv'}", write_archive(tmp_path / "zoo.zip", root), called)
    found = [load(source, DataOptions(seed=3)) for source in sources]
    assert len({each.fingerprint for each in found}) == 1
    first, *others = [arrays(trained(each, tmp_path / str(place)).state_file) for place, each in enumerate(found)]
    for other in others:
        assert list(other) == list(first)
        for name in first:
            np.testing.assert_array_equal(first[name], other[name], err_msg=name)
