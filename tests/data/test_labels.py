"""The task seen from the labels, their encoding, and what is refused."""

import numpy as np
import pytest

from cnn_tuner.data.labels import encode
from cnn_tuner.errors import DataError
from cnn_tuner.metrics.tasks import TASKS

ONE_HOT = np.eye(3, dtype=int)[[0, 1, 2, 1]]
ROWS = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])


def one(y, task=None, class_names=None):
    return encode({"y_train": np.asarray(y)}, task, class_names, "place")


@pytest.mark.parametrize(
    ("y", "task", "class_names"),
    [
        (["dog", "cat", "dog"], "binary", ("cat", "dog")),
        ([["dog"], ["cat"], ["owl"]], "multiclass", ("cat", "dog", "owl")),
        ([b"dog", b"\xc3\xa4", b"dog"], "binary", ("dog", "ä")),
        ([0, 1, 1], "binary", ("0", "1")),
        ([True, False], "binary", ("0", "1")),
        ([[0], [2], [1]], "multiclass", ("0", "1", "2")),
        ([0.0, 1.0], "binary", ("0", "1")),
        (ONE_HOT, "multiclass", ("0", "1", "2")),
        (ONE_HOT.astype(bool), "multiclass", ("0", "1", "2")),
        (np.eye(2), "multiclass", ("0", "1")),
        (ROWS, "multilabel", ("label_0", "label_1", "label_2")),
        (ROWS.astype(np.float32), "multilabel", ("label_0", "label_1", "label_2")),
        ([0.0, 2.5], "regression", ("target",)),
        ([[0.5, 2.5]], "regression", ("target_0", "target_1")),
    ],
)
def test_the_task_is_seen_from_the_labels(y, task, class_names):
    found = one(y)
    assert (found.task, found.class_names) == (task, class_names)


@pytest.mark.parametrize(
    ("y", "task", "expected", "dtype"),
    [
        (["b", "a", "b"], "binary", [[1], [0], [1]], np.float32),
        (["b", "a", "b"], "multiclass", [1, 0, 1], np.int32),
        ([1, 0, 2], "multiclass", [1, 0, 2], np.int32),
        ([1.0, 0.0, 2.0], "multiclass", [1, 0, 2], np.int32),
        (np.eye(2), "binary", [[0], [1]], np.float32),
        (ONE_HOT, "multiclass", [0, 1, 2, 1], np.int32),
        (ONE_HOT, "multilabel", ONE_HOT, np.float32),
        ([1, 0], "multilabel", [[1], [0]], np.float32),
        ([5, -7], "regression", [[5], [-7]], np.float32),
        (ROWS, "regression", ROWS, np.float32),
    ],
)
def test_a_chosen_task_overrules(y, task, expected, dtype):
    found = one(y, task)
    assert found.task == task and found.notes == ()
    assert found.arrays["y_train"].dtype == dtype
    np.testing.assert_array_equal(found.arrays["y_train"], expected)


@pytest.mark.parametrize(
    ("y", "note"),
    [
        (ONE_HOT, "every label row holds a single 1: taken as one-hot; --task multilabel overrules"),
        ([0.0, 1.0], "the float labels have 2 whole values: taken as classes; --task regression overrules"),
        ([-1.0, 1.0], "the float labels have 2 whole values: taken as classes; --task regression overrules"),
        (
            np.arange(40) // 2 * 1.0,
            "the float labels have 20 whole values: taken as classes; --task regression overrules",
        ),
        (np.arange(42) // 2 * 1.0, "the float labels are whole numbers: taken as targets; --task multiclass overrules"),
        (ROWS * [1, 1, 0], "labels that are the same in every row of y_train: label_2"),
    ],
)
def test_a_guess_is_noted(y, note):
    assert one(y).notes == (note,)


def test_class_names_are_kept_in_their_order():
    assert one([0, 1, 2], class_names=["owl", "cat", "dog"]).class_names == ("owl", "cat", "dog")
    assert one(ROWS, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")
    assert one([[0.5, 1]], class_names=["x", "y"]).class_names == ("x", "y")
    found = one(["dog", "owl", "cat"], class_names=["owl", "cat", "dog"])
    assert found.arrays["y_train"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("y", "task", "names"),
    [
        ([3, 1, 2], "multiclass", ("1", "2", "3")),
        ([90, 0, 7], "multiclass", ("0", "7", "90")),
        ([1.0, -1.0], "binary", ("-1", "1")),
        ([2, 1, 2], "binary", ("1", "2")),
    ],
)
def test_numbers_of_classes_need_not_begin_with_0(y, task, names):
    found = one(y)
    assert (found.task, found.class_names) == (task, names)
    assert [found.class_names[int(i)] for i in found.arrays["y_train"].reshape(-1)] == [str(int(n)) for n in y]


def test_names_that_are_numbers_are_those_of_the_labels():
    assert one([7, 1], class_names=["1", "5", "7"], task="multiclass").arrays["y_train"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("y", "task", "names", "message"),
    [
        ([0, 0.5, 1], "multiclass", None, r"y_train\[1\]: labels out of range: classes must be whole .* got 0.5$"),
        (
            np.arange(40),
            None,
            None,
            r"^place: y_train: 40 different whole numbers for 40 images are no classes; use --task regression$",
        ),
        (
            np.arange(90) // 3 * 1.0,
            None,
            None,
            r"^place: y_train: floats of 30 whole values for 90 images may be classes or targets; "
            r"say --task multiclass or --task regression$",
        ),
        ([0, -1, 1], None, ["a", "b"], r"^place: y_train\[1\]: labels out of range: the 2 classes are 0..1, got -1$"),
        ([0, 1, 2], None, ["a", "b"], r"^place: y_train\[2\]: labels out of range: the 2 classes are 0..1, got 2$"),
        (["a", "x"], None, ["a", "b"], r"y_train\[1\]: labels out of range: must be one of a, b, got x$"),
        ([5, 5], None, None, r"^place: y_train: every label is '5'; at least two classes are needed$"),
        (["a", "a"], None, None, r"^place: y_train: every label is 'a'; at least two classes are needed$"),
        ([0, 1], None, ["a", "a"], r"^place: class_names: names must differ, got 'a' twice$"),
        ([0.5, np.nan], None, None, r"^place: y_train\[1\]: labels must be finite numbers, got nan$"),
        ([[0.5, 1], [2, np.inf]], None, None, r"^place: y_train\[1, 1\]: labels must be finite numbers, got inf$"),
        ([0.5, 1e300], None, None, r"y_train\[1\]: labels must fit into 32 bit floats, got 1e\+300$"),
        ([[0, 1], [2, 1]], None, None, r"rows of whole numbers must hold only 0 and 1; --task regression takes them"),
        ([[0, 1], [2, 1]], "multilabel", None, r"y_train\[1, 0\]: labels of --task multilabel must be 0 or 1, got 2$"),
        (ROWS, "multiclass", None, r"--task multiclass needs one label a row, or one-hot rows; got 3 columns$"),
        ([0, 1, 2], "binary", None, r"--task binary needs 2 classes, got 3; use --task multiclass$"),
        (["a", "b"], "regression", None, r"^place: y_train: --task regression needs numbers, the labels are text$"),
        (["a", "b"], "multilabel", None, r"^place: y_train: --task multilabel needs numbers, the labels are text$"),
        ([["a", "b"]], None, None, r"^place: y_train: text labels must be one a row, got 2 columns$"),
        (ROWS, None, ["a"], r"class_names: must have one name each for the 3 labels a row, got 1$"),
        (ONE_HOT, None, ["a"], r"class_names: must have one name each for the 3 one-hot columns, got 1$"),
        ([0.5], None, ["a", "b"], r"class_names: must have one name each for the 1 targets a row, got 2$"),
        ([], None, None, r"^place: y_train: labels must be \(N,\) or \(N, K\), got \(0,\)$"),
        (3, None, None, r"^place: y_train: labels must be \(N,\) or \(N, K\), got \(\)$"),
        (np.zeros((2, 2, 2)), None, None, r"labels must be \(N,\) or \(N, K\), got \(2, 2, 2\)$"),
        ([1j], None, None, r"^place: y_train: labels must be text, whole numbers, bools or floats, got complex128$"),
        ([b"\xff"], None, None, r"^place: y_train: labels must be UTF-8 text, got b'\\xff'$"),
        (["a\nb", "c"], None, ["c", "d"], r"got 'a\\nb'$"),
    ],
)
def test_what_is_refused(y, task, names, message):
    with pytest.raises(DataError, match=message) as caught:
        one(y, task, names)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 2], [1, 3], r"^place: y_test\[1\]: labels out of range: the 3 classes are 0..2, got 3$"),
        ([0, 1], [-1], r"^place: y_test\[0\]: labels out of range: the 2 classes are 0..1, got -1$"),
        ([1, 5, 7], [5, 6], r"^place: y_test\[1\]: labels out of range: the 3 classes are 1, 5, 7, got 6$"),
        (["a", "b"], ["z"], r"^place: y_test\[0\]: labels out of range: must be one of a, b, got z$"),
        ([0, 1], ["a"], r"^place: y_test: labels must have the kind of y_train \(whole numbers\), got text$"),
        (ROWS, [0], r"^place: y_test: labels must have the number of columns of y_train \(3\), got 1$"),
    ],
)
def test_parts_must_agree(train, test, message):
    with pytest.raises(DataError, match=message):
        encode({"y_train": np.asarray(train), "y_test": np.asarray(test)}, None, None, "place")


def test_a_part_without_some_class_is_allowed():
    found = encode({"y_train": np.array(["a", "b", "c"]), "y_test": np.array(["c"])}, None, None, "place")
    assert found.arrays["y_test"].tolist() == [2]


def test_rows_are_one_hot_only_if_those_of_every_part_are():
    found = encode({"y_train": ONE_HOT, "y_test": ROWS}, None, None, "place")
    assert found.task == "multilabel"


def test_the_tasks():
    assert tuple(TASKS) == ("binary", "multiclass", "multilabel", "regression")
