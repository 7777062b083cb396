"""An export is proved by a process that knows nothing of this package; an export that lies is found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from later import later
from toys import NAMES, toy_part, toy_space

from cnn_tuner.errors import FormatError, UsageError, VerificationError
from cnn_tuner.export.formats import saved_model
from cnn_tuner.export.formats.registry import Source
from cnn_tuner.export.readers import Readers
from cnn_tuner.export.served import Served
from cnn_tuner.export.verify import Measured, compare, verify
from cnn_tuner.metrics import calibration
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models import builder
from cnn_tuner.spaces import architecture

IMAGES = toy_part("multiclass", 7, 5).x
POINT = next(p for p in toy_space("description: x\nblock: {filters: 2, dropout: 0.5}\ndense: {units: 4}").points())


def built(task: str) -> keras.Model:
    units = 1 if task == "binary" else len(NAMES[task])
    scale = {"scale": (50.0,), "offset": (175.0,)} if task == "regression" else {}
    return builder.build(architecture.build(POINT, (8, 8, 1), Output(task, units, **scale)), seed=3)


def source(task: str, live: keras.Model) -> Source:
    return Source(live, task, NAMES[task], IMAGES, Path("best.keras"))


def measured(task: str, live: keras.Model) -> Measured:
    return Measured(task, NAMES[task], IMAGES, live.predict(IMAGES, verbose=0))


@pytest.fixture(scope="module")
def multiclass(tmp_path_factory) -> tuple[Measured, Path]:
    live = built("multiclass")
    folder = tmp_path_factory.mktemp("export") / "1"
    saved_model.write(source("multiclass", live), folder)
    return measured("multiclass", live), folder


@pytest.fixture(scope="module")
def served(multiclass) -> Served:
    return Served(multiclass[1])


@pytest.mark.slow
def test_a_faithful_export_and_a_keras_file_are_verified(multiclass, tmp_path):
    live, folder = multiclass
    built("multiclass").save(tmp_path / "best.keras")
    exports = {"tf_saved_model": folder, "keras": tmp_path / "best.keras"}
    with Readers(exports) as readers:
        found = verify(readers, live, exports)
    assert set(found) == {"tf_saved_model", "keras"}
    assert max(reading.difference for reading in found.values()) <= 1e-5
    assert all(set(reading.latency) == {1, 64} for reading in found.values())


def answers(live: Measured, **changed: object) -> dict[str, np.ndarray]:
    """What a reader says that agrees with what was measured, but for `changed`."""
    names = np.array(live.class_names)
    return {"scores": live.scores, "class_names": names, "classes": names[live.scores.argmax(axis=1)]} | changed


def test_answers_that_agree_are_accepted(multiclass):
    live, folder = multiclass
    assert compare("tf_saved_model", folder, live, answers(live)) == 0


def test_a_score_that_differs_is_found_with_its_image(multiclass):
    live, folder = multiclass
    scores = live.scores.copy()
    scores[4, 2] += 0.001
    with pytest.raises(VerificationError, match=r"1: image 4 of the test part: a score differs by 0\.001, allowed are"):
        compare("keras", folder, live, answers(live, scores=scores))


def test_a_score_that_is_no_number_is_found(multiclass):
    live, folder = multiclass
    with pytest.raises(VerificationError, match=r"image 0 of the test part: a score is no number$"):
        compare("tf_saved_model", folder, live, answers(live, scores=live.scores * np.nan))


def test_scores_of_another_shape_are_found(multiclass):
    live, folder = multiclass
    with pytest.raises(VerificationError, match=r"gives scores of shape \(7, 3\), measured were \(7, 4\)$"):
        compare("keras", folder, live, answers(live, scores=live.scores[:, :3]))


def test_other_class_names_are_found(multiclass):
    live, folder = multiclass
    with pytest.raises(VerificationError, match=r"holds the class names \['a', .*\], not \['zero', 'one', .*\]$"):
        compare("tf_saved_model", folder, live, answers(live, class_names=np.array(["a", "b", "c", "d"])))


def test_another_class_is_found_unless_both_are_equally_likely(multiclass):
    live, folder = multiclass
    swapped = answers(live)["classes"][::-1]
    with pytest.raises(VerificationError, match=r"image \d of the test part: says '\w+', measured was '\w+'$"):
        compare("tf_saved_model", folder, live, answers(live, classes=swapped))
    level = replace(live, scores=np.full_like(live.scores, 0.25))
    compare("tf_saved_model", folder, level, answers(level, classes=swapped))


@pytest.mark.slow
def test_an_export_that_cannot_be_read_is_told(multiclass, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"no")
    with pytest.raises(FormatError, match="a new process cannot read it: ") as error, Readers(["tf_saved_model"]) as it:
        verify(it, multiclass[0], {"tf_saved_model": tmp_path})
    assert error.value.format == "tf_saved_model", "so that the others may still be had"
    assert "\n" not in str(error.value)


def test_served_says_class_and_probabilities(multiclass, served):
    live, _ = multiclass
    assert (served.image_shape, served.class_names) == ((8, 8, 1), NAMES["multiclass"])
    for answer, scores in zip(served.predict(IMAGES), live.scores, strict=True):
        assert answer["class"] == NAMES["multiclass"][int(scores.argmax())]
        assert answer["probability"] == pytest.approx(scores.max(), abs=1e-6)
        assert answer["probabilities"] == pytest.approx(
            dict(zip(NAMES["multiclass"], map(float, scores), strict=True)), abs=1e-6
        )


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_is_served(task, tmp_path):
    live = built(task)
    saved_model.write(source(task, live), tmp_path / "1")
    served = Served(tmp_path / "1")
    scores = live.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(served.scores(IMAGES), scores, rtol=1e-5)
    answers = served.predict(IMAGES)
    if task == "binary":
        assert [a["class"] for a in answers] == [NAMES[task][int(s > 0.5)] for s in scores[:, 0]]
        assert all(sum(a["probabilities"].values()) == pytest.approx(1) for a in answers)
    elif task == "multilabel":
        expected = [[n for n, s in zip(NAMES[task], row, strict=True) if s > 0.5] for row in scores]
        assert [a["labels"] for a in answers] == expected
    else:
        assert [a["values"]["brightness"] for a in answers] == pytest.approx(scores[:, 0].tolist(), rel=1e-5)


def test_each_weight_is_stored_once(tmp_path):
    large = architecture.build(POINT | {"dense_1.units": 512}, (8, 8, 1), Output("multiclass", 4))
    live = builder.build(large, seed=0)
    saved_model.write(source("multiclass", live), tmp_path / "1")
    stored = sum(path.stat().st_size for path in (tmp_path / "1" / "variables").glob("*.data*"))
    assert stored == pytest.approx(4 * live.count_params(), rel=0.1)


def test_dropout_is_off(served):
    np.testing.assert_array_equal(served.scores(IMAGES), served.scores(IMAGES))


def test_versions_count_up_and_strangers_are_ignored(tmp_path):
    assert saved_model.next_version(tmp_path) == 1
    for name in ("1", "9", "10", "notes"):
        (tmp_path / name).mkdir()
    assert saved_model.next_version(tmp_path) == 11


def test_no_images_are_refused(served):
    with pytest.raises(UsageError, match=r"^no images: a prediction takes one at least$"):
        served.scores(IMAGES[:0])


def test_a_folder_without_a_saved_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no SavedModel here; name the folder that holds saved_model.pb$"):
        Served(tmp_path)


def test_a_saved_model_of_somebody_else_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(UsageError, match="not an export of cnn_tuner, it has no signature labels, scores, serving_def"):
        Served(tmp_path / "other")


def test_a_disk_that_is_full_is_said_as_such(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "variables_temp/part-0; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        saved_model.write(source("multiclass", built("multiclass")), tmp_path / "1")


@pytest.mark.parametrize("task", ["binary", "multiclass", later("multilabel")])
def test_probabilities_are_tempered_and_decisions_are_not(tmp_path, task):
    live = built(task)
    for name, temperature in (("plain", 1.0), ("tempered", 0.6)):
        saved_model.write(replace(source(task, live), temperature=temperature), tmp_path / name)
    both = [Served(tmp_path / name) for name in ("plain", "tempered")]
    plain, tempered = (served.answer("serving_default", IMAGES) for served in both)
    scores, others = (served.scores(IMAGES) for served in both)
    np.testing.assert_array_equal(scores, others)
    expected = calibration.tempered(task, scores, 0.6)
    if task == "binary":
        expected = np.concatenate([1 - expected, expected], axis=1)
    np.testing.assert_allclose(tempered["probabilities"], expected, atol=1e-6)
    assert np.abs(tempered["probabilities"] - plain["probabilities"]).max() > 0.001
    decision = "is_present" if task == "multilabel" else "class"
    np.testing.assert_array_equal(tempered[decision], plain[decision])
