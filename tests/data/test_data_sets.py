"""Data sets of Hugging Face and of TensorFlow Datasets, made here. `make test-sources` installs their packages."""

from __future__ import annotations

import io
import sys
from functools import partial

import numpy as np
import pytest
from data_helpers import labels, pixels
from PIL import Image

from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load, load_parts
from cnn_tuner.errors import DataError, UsageError

OPTIONS = DataOptions()
NAMES = ["cat", "dog", "emu", "fox"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hf:.", r"^\.: needs datasets; install it with pip install 'cnn-tuner\[hf\]'$"),
        ("tfds:x", r"^tfds:x: needs tensorflow-datasets; install it with pip install 'cnn-tuner\[tfds\]'$"),
    ],
)
def test_without_the_package(source, told, monkeypatch):
    for name in ("datasets", "tensorflow_datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=told):
        load(source, OPTIONS)


@pytest.fixture
def hugging_face():
    return pytest.importorskip("datasets")


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


def rows(datasets, count, label=None, seed=0, more=None):
    x = pixels(count, 7, 6, 3, seed=seed)
    columns = {"image": list(map(png, x)), "label": label or (np.arange(count) % 4).tolist(), **(more or {})}
    kinds = {"image": datasets.Image()}
    kinds["label"] = (
        datasets.ClassLabel(names=NAMES) if label is None else datasets.Sequence(datasets.ClassLabel(names=NAMES))
    )
    found = datasets.Dataset.from_dict(columns)
    for name, kind in kinds.items():
        found = found.cast_column(name, kind)
    return x, found


def test_a_data_set_of_hugging_face(hugging_face, tmp_path):
    x, found = rows(hugging_face, 80)
    found.save_to_disk(str(tmp_path / "birds"))
    dataset = load_parts(f"hf:{tmp_path / 'birds'}", OPTIONS)
    assert (dataset.name, dataset.task, dataset.class_names) == ("birds", "multiclass", tuple(NAMES))
    np.testing.assert_array_equal(dataset.parts["train"].x, x)
    np.testing.assert_array_equal(dataset.parts["train"].y, labels(80, 4))


def test_its_splits_are_the_parts(hugging_face, tmp_path):
    splits = {"train": rows(hugging_face, 40)[1], "validation": rows(hugging_face, 8, seed=1)[1]}
    hugging_face.DatasetDict(splits).save_to_disk(str(tmp_path / "birds"))
    parts = load_parts(f"hf:{tmp_path / 'birds'}", OPTIONS).parts
    assert {name: len(part) for name, part in parts.items()} == {"train": 40, "val": 8}


def test_lists_of_labels_are_several(hugging_face, tmp_path):
    _, found = rows(hugging_face, 60, label=[[n % 4, (n + 1) % 4] if n % 2 else [n % 4] for n in range(60)])
    found.save_to_disk(str(tmp_path / "birds"))
    dataset = load_parts(f"hf:{tmp_path / 'birds'}", OPTIONS)
    assert (dataset.task, dataset.class_names) == ("multilabel", tuple(NAMES))
    np.testing.assert_array_equal(dataset.parts["train"].y[:2], [[1, 0, 0, 0], [0, 1, 1, 0]])


def test_columns_may_be_named(hugging_face, tmp_path):
    _, found = rows(hugging_face, 40, more={"size": [n % 2 for n in range(40)]})
    found.save_to_disk(str(tmp_path / "birds"))
    source = f"hf:{tmp_path / 'birds'}"
    assert load_parts(source, DataOptions(label_columns=("size",))).task == "binary"
    with pytest.raises(UsageError, match=r"^--label-column colour: .*birds has no such column; has label, size$"):
        load(source, DataOptions(label_columns=("colour",)))


def test_what_is_no_data_set_of_hugging_face(hugging_face, tmp_path):
    with pytest.raises(DataError, match=r"is no data set that save_to_disk wrote \("):
        load(f"hf:{tmp_path}", OPTIONS)
    with pytest.raises(DataError, match=r"no such file or folder$"):
        load(f"hf:{tmp_path / 'no'}", OPTIONS)


def test_a_data_set_of_tensorflow(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    x = {"train": pixels(40, 7, 6, 3), "test": pixels(8, 7, 6, 3, seed=1)}

    class TinyBirds(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            kinds = {"image": tfds.features.Image(shape=(7, 6, 3)), "label": tfds.features.ClassLabel(names=NAMES)}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(kinds))

        def _split_generators(self, manager):
            return {name: self._generate_examples(images) for name, images in x.items()}

        def _generate_examples(self, images):
            for number, image in enumerate(images):
                yield number, {"image": image, "label": number % 4}

    monkeypatch.setattr(tfds, "builder", partial(tfds.builder, data_dir=str(tmp_path)))
    dataset = load_parts("tfds:tiny_birds", OPTIONS)
    assert (dataset.name, dataset.task, dataset.class_names) == ("tiny-birds", "multiclass", tuple(NAMES))
    for name, part in dataset.parts.items():
        assert {image.tobytes() for image in part.x} == {image.tobytes() for image in x[name]}
        found = {image.tobytes(): int(label) for image, label in zip(part.x, part.y, strict=True)}
        assert all(found[image.tobytes()] == number % 4 for number, image in enumerate(x[name]))
    with pytest.raises(UsageError, match=r"^--data tfds:no_such_set: "):
        load("tfds:no_such_set", OPTIONS)
