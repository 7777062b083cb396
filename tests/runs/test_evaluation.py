"""What is kept of the test part: the surest mistakes, examples of each class, the confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest

from cnn_tuner.data.dataset import Part
from cnn_tuner.runs import evaluation

PICTURES = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2, 1)


def multiclass() -> evaluation.Evaluation:
    y = np.array([0, 1, 2, 0, 1, 2], np.int32)
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 1, 1, 0]] * 0.6 + np.float32(0.4 / 3)
    scores[5] = [0.9, 0.05, 0.05]
    return evaluation.evaluate("multiclass", Part(PICTURES, y), scores)


def test_the_surest_mistakes_come_first_and_examples_are_of_each_class():
    found = multiclass()
    assert found.mistakes.tolist() == [5, 3], "one was 90 % sure, the other 73 %"
    assert found.examples.tolist() == [0, 1, 2, 4]
    assert len(found.pictures) == 6
    np.testing.assert_array_equal(found.picture(3), PICTURES[3])


def test_pictures_are_kept_up_to_a_number_of_bytes(monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_BYTES", 4 * 4)
    assert multiclass().examples.tolist() == [0, 1], "beside two mistakes"


def test_confusion_has_a_row_for_what_it_is_and_a_column_for_what_was_said():
    assert multiclass().confusion().tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_two_classes_have_a_confusion_matrix_too():
    y = np.array([[0], [1], [1], [0], [1], [0]], np.float32)
    scores = np.array([[0.1], [0.9], [0.2], [0.5], [0.8], [0.7]], np.float32)
    found = evaluation.evaluate("binary", Part(PICTURES, y), scores)
    assert found.confusion().tolist() == [[2, 1], [1, 2]]
    assert found.mistakes.tolist() == [2, 5]


def test_a_mistake_of_labels_is_as_sure_as_its_worst_label_and_of_values_as_far_off():
    y = np.array([[0, 1]] * 6, np.float32)
    scores = np.tile(np.array([0.2, 0.8], np.float32), (6, 1))
    scores[2], scores[4] = [0.9, 0.1], [0.6, 0.9]
    found = evaluation.evaluate("multilabel", Part(PICTURES, y), scores)
    assert found.mistakes.tolist() == [2, 4]
    with pytest.raises(ValueError, match="a multilabel task has no confusion matrix"):
        found.confusion()
    values = np.arange(6, dtype=np.float32)[:, None]
    far = evaluation.evaluate("regression", Part(PICTURES, values), values * np.float32(1.5))
    assert far.mistakes.tolist() == [5, 4, 3, 2, 1]


def test_what_is_saved_is_loaded_and_nothing_is_unpickled(tmp_path):
    expected = multiclass()
    evaluation.save(expected, tmp_path / "evaluation.npz")
    found = evaluation.load(tmp_path / "evaluation.npz")
    assert found.task == "multiclass"
    for name in evaluation.ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_what_cannot_be_read_is_as_good_as_none_and_nothing_is_unpickled(tmp_path):
    file = tmp_path / "evaluation.npz"
    assert evaluation.load(file) is None
    np.savez(file, task=np.array([{}], dtype=object), **dict.fromkeys(evaluation.ARRAYS, np.zeros(1)))
    assert evaluation.load(file) is None
    evaluation.save(multiclass(), file)
    whole = file.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        file.write_bytes(whole[:place])
        assert evaluation.load(file) is None
        file.write_bytes(whole[:place] + b"\xff" * 300 + whole[place + 300 :])
        evaluation.load(file)  # or what it read is as it was: not every byte means something
