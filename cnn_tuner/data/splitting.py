"""Parts that a source lacks, split off train: stratified, seeded, disjoint.

The shares are worked out here rather than by scikit-learn's StratifiedShuffleSplit, because that one may leave a rare
class out of a part, and splitting twice with it can be off by more than one image a class.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np

from cnn_tuner.data.files import shown
from cnn_tuner.errors import DataError

_MOST_BINS = 10  # of a regression's target


def fold_name(number: int) -> str:
    """What a fold is called, counted from 1."""
    return f"fold {number}"


def split(
    y: np.ndarray, task: str, class_names: tuple[str, ...], fractions: Mapping[str, float], seed: int, place: str
) -> dict[str, np.ndarray]:
    """Indices of train and of each part in `fractions`; every index of y is in exactly one, in ascending order.

    y: encoded as Part.y. Each class is shared out by `fractions` to within one image, and left out of no part; so
        is each combination of labels, the rare ones pooled, and each of up to 10 bins of a regression's first target.
    fractions: of the length of y, by part; part after part is drawn in this order.

    Raises:
        DataError: too few images.
    """
    strata = _strata(y, task, class_names, fractions, place)
    return _drawn(strata, fractions, np.random.default_rng(seed))


def split_groups(
    groups: np.ndarray,
    y: np.ndarray,
    task: str,
    class_names: tuple[str, ...],
    fractions: Mapping[str, float],
    seed: int,
    place: str,
) -> dict[str, np.ndarray]:
    """As `split`, with all images of a group on one side: near to `fractions` and stratified as the groups allow.

    groups: (N,) of anything that can be sorted.

    Raises:
        DataError: too few images or groups; a class would have none left to train on.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    strata, has_classes = _strata(y, task, class_names, fractions, place), task in ("binary", "multiclass")
    numbers = np.unique(groups, return_inverse=True)[1].reshape(-1)
    need = len(fractions) + 1
    if numbers.max() + 1 < need:
        raise DataError(f"{place}: {numbers.max() + 1} groups are too few; at least {need} are {_advice(fractions)}")
    left, found = np.arange(len(y)), {}
    for later, (part, fraction) in zip(range(len(fractions) - 1, -1, -1), fractions.items(), strict=True):
        wanted = fraction * len(y)
        folds = max(2, min(round(len(left) / wanted), len(np.unique(numbers[left]))))
        folder = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than there are folds
            drawn = [chosen for _, chosen in folder.split(left, _merged(strata[left], folds), numbers[left])]
        rests = [np.setdiff1d(np.arange(len(left)), chosen) for chosen in drawn]
        able = [
            (abs(len(chosen) - wanted), number)
            for number, (chosen, rest) in enumerate(zip(drawn, rests, strict=True))
            if len(chosen) and _may_stay(strata if has_classes else None, left[rest], numbers, later)
        ]
        if not able:
            raise DataError(f"{place}: no {part} part leaves images of every class to train on, with groups together")
        _, number = min(able)
        found[part], left = left[drawn[number]], left[rests[number]]
    return {"train": left} | found


def fold_numbers(
    y: np.ndarray,
    groups: np.ndarray | None,
    task: str,
    class_names: tuple[str, ...],
    folds: int,
    seed: int,
    place: str,
) -> np.ndarray:
    """(N,) the fold of each image, counted from 1: of about the same size, stratified as `split`, groups together.

    Raises:
        DataError: a class has fewer images than there are folds, or there are fewer groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    strata = _strata(y, task, class_names, {fold_name(number): 1 / folds for number in range(2, folds + 1)}, place)
    if groups is not None and len(np.unique(groups)) < folds:
        raise DataError(f"{place}: {len(np.unique(groups))} groups are too few for {folds} folds; name fewer --folds")
    folder = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    found = np.empty(len(y), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a stratum has fewer images than there are folds
        for number, (_, chosen) in enumerate(folder.split(y, _merged(strata, folds), groups), start=1):
            found[chosen] = number
    has_classes = task in ("binary", "multiclass")
    for number in range(1, folds + 1):
        rest = strata[found != number]
        if len(rest) == len(strata) or (has_classes and len(np.unique(rest)) < len(np.unique(strata))):
            told = "would be empty" if len(rest) == len(strata) else "would have all images of a class"
            raise DataError(f"{place}: with groups together one of {folds} folds {told}; name fewer --folds")
    return found


def _merged(strata: np.ndarray, folds: int) -> np.ndarray:
    """Strata of which at least one has as many images as there are folds, which scikit-learn asks for."""
    return strata if np.bincount(strata).max() >= folds else np.zeros_like(strata)


def _may_stay(classes: np.ndarray | None, rest: np.ndarray, numbers: np.ndarray, later: int) -> bool:
    """Whether what is left has images of every class, and a group for train and for each later part."""
    has_all = classes is None or len(np.unique(classes[rest])) == len(np.unique(classes))
    return has_all and len(np.unique(numbers[rest])) > later


def _strata(
    y: np.ndarray, task: str, class_names: tuple[str, ...], fractions: Mapping[str, float], place: str
) -> np.ndarray:
    """The number of the stratum of each image; see `split`."""
    need = len(fractions) + 1
    if task in ("binary", "multiclass"):
        strata: np.ndarray = y.reshape(-1).astype(np.int64)
        _check_classes(strata, class_names, need, _advice(fractions), place)
        return strata
    if len(y) < need:
        raise DataError(f"{place}: train has too few images, {len(y)}; at least {need} are {_advice(fractions)}")
    smallest = math.ceil(1 / min(fractions.values()))  # images of which every part has a share of at least one
    return _binned(y[:, 0], smallest) if task == "regression" else _pooled(y, smallest, need)


def _advice(fractions: Mapping[str, float]) -> str:
    if "val" not in fractions and "test" not in fractions:
        return f"needed, one each for {len(fractions) + 1} folds; add images, or name fewer --folds"
    return f"needed, one each for train, {' and '.join(fractions)}; add images, or give those parts yourself"


def _check_classes(strata: np.ndarray, names: tuple[str, ...], need: int, advice: str, place: str) -> None:
    counts = np.bincount(strata, minlength=len(names))
    rarest = int(counts.argmin())
    if counts[rarest] < need:
        name = shown(names[rarest])
        raise DataError(f"{place}: class {name!r} has too few images, {counts[rarest]}; at least {need} are {advice}")


def _binned(targets: np.ndarray, smallest: int) -> np.ndarray:
    """Up to 10 equally filled bins of (N,) targets, lowest first."""
    bins = max(1, min(_MOST_BINS, len(targets) // smallest))
    ranks = np.empty(len(targets), np.int64)
    ranks[np.argsort(targets, kind="stable")] = np.arange(len(targets))
    return ranks * bins // len(targets)


def _pooled(rows: np.ndarray, smallest: int, need: int) -> np.ndarray:
    """One stratum a combination of labels of (N, L); the rare combinations share one."""
    _, strata, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    strata = strata.reshape(-1)
    rare = counts[strata] < smallest
    pool = len(counts) if rare.sum() >= need else int(counts.argmax())  # a pool that is too small joins the largest
    return np.unique(np.where(rare, pool, strata), return_inverse=True)[1].reshape(-1)


def _drawn(strata: np.ndarray, fractions: Mapping[str, float], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Share out each stratum (numbered 0..K-1), of which none may have fewer images than there are parts."""
    sizes = np.bincount(strata)
    shares, spare = {}, sizes.copy()
    for later, (part, fraction) in zip(range(len(fractions) - 1, -1, -1), fractions.items(), strict=True):
        shares[part] = _share(sizes, fraction, spare - later - 1)  # one is kept for train and for each later part
        spare = spare - shares[part]
    shares["train"] = spare
    drawn: dict[str, list[np.ndarray]] = {part: [] for part in shares}
    for number, members in enumerate(np.split(np.argsort(strata, kind="stable"), np.cumsum(sizes)[:-1])):
        rest = rng.permutation(members)
        for part, share in shares.items():
            drawn[part].append(rest[: share[number]])
            rest = rest[share[number] :]
    return {part: np.sort(np.concatenate(pieces)) for part, pieces in drawn.items()}


def _share(sizes: np.ndarray, fraction: float, most: np.ndarray) -> np.ndarray:
    """How many of each stratum: rounded so that their sum is `fraction` of all (largest remainders), each 1..most."""
    ideal = sizes * fraction
    share = np.floor(ideal).astype(np.int64)
    extra = round(ideal.sum()) - share.sum()
    share[np.argsort(share - ideal, kind="stable")[:extra]] += 1
    return share.clip(1, most)
