"""What predictions are worth, from labels and a model's raw scores, whoever made them: a live model or an export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNEQUAL = (
    1.5  # times as many images as the rarest class has the most frequent one: an accuracy tells little of the rare
)
THRESHOLD = 0.5  # a score must be above it, as in Keras's BinaryAccuracy: a dead network answers 0.5 exactly


def predicted(task: str, scores: np.ndarray) -> np.ndarray:
    """Classes (N,) for binary and multiclass scores, (N, labels) of 0 and 1 for multilabel, values for regression."""
    if task == "multiclass":
        return scores.argmax(axis=1)
    if task == "regression":
        return scores
    decided = (scores > THRESHOLD).astype(int)
    return decided[:, 0] if task == "binary" else decided


def measure(task: str, y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The metrics of a task, by the names that the search uses; without `auc` where no label is there and not there.

    Args:
        task: binary, multiclass, multilabel or regression.
        y: the labels, as a `Part` holds them.
        scores: (N, units), as the last layer gives them.
    """
    if task == "regression":
        error = scores - y
        return {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
    truth = y[:, 0].astype(int) if task == "binary" else y.astype(int)
    found = {"accuracy": float((predicted(task, scores) == truth).mean())}
    if task == "multiclass":
        return found
    auc = _auc(y, scores)
    return found if auc is None else found | {"auc": auc}


def of_each(metric: str, y: np.ndarray, task: str, scores: np.ndarray) -> np.ndarray | None:
    """What each image (N,) adds to a metric that is a mean over images, the more the better; None for other metrics."""
    if metric == "accuracy":
        right = predicted(task, scores).reshape(len(y), -1) == y.reshape(len(y), -1)
        return np.asarray(right.mean(axis=1))
    if metric in ("mae", "rmse"):
        return np.asarray(-(np.abs(scores - y) ** (1 if metric == "mae" else 2)).mean(axis=1))
    return None


def told(task: str, y: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """`measure`, and for unequal classes what counts each class alike: balanced accuracy and macro F1.

    The mean over the classes of recall, and of F1; classes that are neither there nor predicted have none.
    """
    found = measure(task, y, scores)
    if task not in ("binary", "multiclass"):
        return found
    counts = class_counts(task, y, scores)
    images = counts.images[counts.images > 0]
    if len(images) < 2 or images.max() < UNEQUAL * images.min():
        return found
    return found | {"balanced_accuracy": float(balanced_accuracy(counts)), "macro_f1": float(macro_f1(counts))}


@dataclass(frozen=True)
class ClassCounts:
    """Of each class (K, ...): its images, those that are taken for it, and those of them that are its own."""

    images: np.ndarray
    predicted: np.ndarray
    right: np.ndarray


def class_counts(task: str, y: np.ndarray, scores: np.ndarray, drawn: np.ndarray | None = None) -> ClassCounts:
    """Of binary or multiclass labels; of images that are drawn so often, (N, B), where `drawn` is given."""
    truth, answers = y.reshape(-1).astype(int), predicted(task, scores)
    classes = np.arange(2 if task == "binary" else scores.shape[1])[:, None]
    is_class, is_taken = truth == classes, answers == classes
    weights = np.ones((len(truth), 1)) if drawn is None else drawn
    found = [each.astype(np.float32) @ weights for each in (is_class, is_taken, is_class & is_taken)]
    return ClassCounts(*(each[:, 0] if drawn is None else each for each in found))


def balanced_accuracy(counts: ClassCounts) -> np.ndarray:
    """The mean recall of the classes that are there."""
    return _mean_over_classes(counts.right, counts.images)


def macro_f1(counts: ClassCounts) -> np.ndarray:
    """The mean F1 of the classes that are there or predicted."""
    return _mean_over_classes(2 * counts.right, counts.images + counts.predicted)


BY_CLASS = {"balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}  # each class counts alike


def _mean_over_classes(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    shares = np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
    mean: np.ndarray = shares.sum(axis=0) / (whole > 0).sum(axis=0)
    return mean


def _auc(y: np.ndarray, scores: np.ndarray) -> float | None:
    """The mean over the labels of the area under the ROC curve; labels that are always or never there have none."""
    told = [i for i in range(y.shape[1]) if 0 < y[:, i].sum() < len(y)]
    if not told:
        return None
    from sklearn import metrics  # which training has no use for, and takes a second and a half to load

    return float(np.mean([metrics.roc_auc_score(y[:, i], scores[:, i]) for i in told]))


def by_class(
    task: str, y: np.ndarray, scores: np.ndarray, class_names: tuple[str, ...]
) -> list[dict[str, float | str | None]]:
    """Precision, recall, F1 and the number of images of each class or label; nothing for regression.

    A class without images has no recall and no F1 (None), one that is never predicted has a precision of 0.
    """
    if task == "regression":
        return []
    from sklearn import metrics

    truth = y[:, 0].astype(int) if task == "binary" else y.astype(int)
    # scikit-learn takes a single column of 0 and 1 for two classes: the label is the second.
    labels = [1] if truth.shape[1:] == (1,) else list(range(len(class_names)))
    columns = metrics.precision_recall_fscore_support(truth, predicted(task, scores), labels=labels, zero_division=0.0)
    return [
        {"class": name, "precision": float(p), "recall": _of(n, r), "f1": _of(n, f), "images": int(n)}
        for name, p, r, f, n in zip(class_names, *columns, strict=True)
    ]


def _of(images: int, value: float) -> float | None:
    return float(value) if images else None
