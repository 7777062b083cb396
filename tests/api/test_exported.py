"""An export as an object: predictions of arrays and files for every task, evaluation."""

from __future__ import annotations

import pickle

import exports
import numpy as np
import pytest
from PIL import Image
from toys import NAMES, toy_part

import cnn_tuner
from cnn_tuner.errors import DataError, UsageError


@pytest.fixture(scope="module", params=NAMES)
def export(request, tmp_path_factory) -> cnn_tuner.Export:
    return cnn_tuner.Export(exports.write(tmp_path_factory.mktemp(request.param), request.param))


def test_every_task_predicts(export):
    found = export.predict(exports.images(5))
    names = NAMES[export.task]
    assert len(found) == 5
    assert (export.class_names, export.image_shape) == (names, (8, 8, 1))
    if export.task == "regression":
        assert found.values.shape == (5, 1) and found.names == [] and found.probabilities is found.classes is None
        return
    assert found.values is None
    assert found.probabilities.shape == (5, len(names))
    if export.task == "multilabel":
        assert found.classes is None
        assert found.names == [[n for n, p in zip(names, row, strict=True) if p > 0.5] for row in found.probabilities]
    else:
        np.testing.assert_array_equal(found.classes, found.probabilities.argmax(1))
        assert found.names == [names[each] for each in found.classes]


def test_a_threshold_decides(export):
    if export.task not in ("binary", "multilabel"):
        with pytest.raises(UsageError, match=r"^threshold: is for two classes, or for labels; "):
            export.predict(exports.images(1), 0.3)
        return
    low, high = (export.predict(exports.images(3), threshold) for threshold in (0, "1"))
    if export.task == "binary":
        assert (list(low.classes), list(high.classes)) == ([1, 1, 1], [0, 0, 0])
    else:
        assert (low.names, high.names) == ([list(export.class_names)] * 3, [[]] * 3)
    with pytest.raises(UsageError, match=r"^threshold: must be a number from 0 to 1, or val, got 2$"):
        export.predict(exports.images(1), 2)


@pytest.fixture
def plain(tmp_path) -> cnn_tuner.Export:
    return cnn_tuner.Export(exports.write(tmp_path / "plain"))


def test_images_may_come_in_many_ways(plain, tmp_path):
    x = exports.images(3)
    expected = plain.predict(x).probabilities
    for number, image in enumerate(x):
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{number}.png")
    files = sorted(tmp_path.glob("*.png"))
    for given in (x[..., 0], x.astype(float), x / 255.0, list(x), files, [str(file) for file in files]):
        np.testing.assert_array_equal(plain.predict(given).probabilities, expected)
    for given in (x[0], x[0, :, :, 0], files[0], str(files[0])):
        np.testing.assert_allclose(plain.predict(given).probabilities, expected[:1], rtol=1e-5)


def test_images_that_are_refused(plain, tmp_path):
    for given in ([], np.zeros((0, 8, 8, 1), np.uint8)):
        with pytest.raises(UsageError, match=r"^no images: a prediction takes one at least$"):
            plain.predict(given)
    with pytest.raises(DataError, match=r"^predict: images are of 9x8x1, the export takes 8x8x1$"):
        plain.predict(np.zeros((2, 9, 8, 1), np.uint8))
    with pytest.raises(DataError, match=r"^predict: images: images must be \(N, H, W\) or \(N, H, W, C\), got "):
        plain.predict(np.zeros(64))
    with pytest.raises(DataError, match=r"none.png: no such file or folder$"):
        plain.predict(tmp_path / "none.png")


def test_it_is_loaded_once_and_can_be_pickled(plain):
    assert "_served" not in vars(plain)
    before = plain.predict(exports.images(2)).probabilities
    again = pickle.loads(pickle.dumps(plain))
    assert again == plain and "_served" not in vars(again)
    np.testing.assert_array_equal(again.predict(exports.images(2)).probabilities, before)
    loaded = plain._served
    plain.predict(exports.images(1))
    assert plain._served is loaded and repr(plain) == f"<Export '{plain.path}'>"


@pytest.mark.slow
def test_it_is_evaluated_on_any_data(run, toy, tmp_path):
    found = run.exported.evaluate(toy.data)
    assert (found["data"], found["parts"], found["images"]) == ("memory", ["test"], 60)
    assert found["test"]["accuracy"] == pytest.approx(run.test["accuracy"])
    part = toy_part("multiclass", 12, 5)
    files = [tmp_path / f"{number}.png" for number in range(12)]
    for file, image in zip(files, part.x, strict=True):
        Image.fromarray(image[:, :, 0]).resize((16, 16), Image.Resampling.NEAREST).save(file)
    names = [run.exported.class_names[label] for label in part.y]
    found = run.exported.evaluate((files, names), all_parts=True)
    assert (found["images"], found["parts"]) == (12, ["train"])
    with pytest.raises(DataError, match=r"^memory: has images of 8x6x1, but .* takes 8x8x1$"):
        run.exported.evaluate((part.x[:, :, :6], part.y), all_parts=True)
