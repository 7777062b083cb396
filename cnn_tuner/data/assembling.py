"""From what a source handed over to one Dataset: canonical images, encoded labels, three parts, notes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from cnn_tuner.data import leaks, split_file
from cnn_tuner.data.dataset import Dataset, Images, Part, Parts, RawData
from cnn_tuner.data.encoders import refuse
from cnn_tuner.data.files import listed, shown
from cnn_tuner.data.images import UNIT_PIXELS, to_uint8
from cnn_tuner.data.labels import encode
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.splitting import fold_numbers, split, split_groups
from cnn_tuner.errors import DataError, UsageError

FOLDS = "folds"  # beside the parts that are drawn
_MAX_NAME = 60  # characters; the name becomes part of a folder's


def assemble(raw: RawData, source: str, options: DataOptions) -> Dataset:
    """Check everything that holds for data of any source, and make the Dataset.

    Raises:
        DataError: images or labels break a rule, or are too few for a split.
    """
    return divided(assemble_parts(raw, source, options), options)


def assemble_parts(raw: RawData, source: str, options: DataOptions) -> Parts:
    """The parts that a source has, in canonical form; nothing is split off, so that one image is enough.

    Raises:
        DataError: images or labels break a rule.
    """
    _check_lengths(raw)
    images, image_notes = _canonical(raw)
    arrays, names = {f"y_{name}": part.y for name, part in raw.parts.items()}, raw.class_names
    if options.known_classes is not None:
        arrays, names = _of_known(arrays, names, options.known_classes, raw.place), options.known_classes
    labels = encode(arrays, options.task, names, raw.place)
    return Parts(
        name=slug(raw.name),
        source=source,
        place=raw.place,
        task=labels.task,
        class_names=labels.class_names,
        parts={
            name: replace(part, x=images[name], y=_read_only(labels.arrays[f"y_{name}"]))
            for name, part in raw.parts.items()
        },
        notes=(*raw.notes, *image_notes, *labels.notes),
        preprocessing=raw.preprocessing,
        is_published=raw.is_published,
        has_unit_pixels=image_notes == (UNIT_PIXELS,),
    )


def _canonical(raw: RawData) -> tuple[dict[str, Images], tuple[str, ...]]:
    """(N, H, W, C) uint8 by part, and notes. What image files were decoded to is that already."""
    arrays = {f"x_{name}": part.x for name, part in raw.parts.items() if isinstance(part.x, np.ndarray)}
    if not arrays:
        return {name: part.x for name, part in raw.parts.items()}, ()
    images, notes = to_uint8(arrays, raw.place)
    return {name: _read_only(images[f"x_{name}"]) for name in raw.parts}, notes


def divided(found: Parts, options: DataOptions) -> Dataset:
    """The Dataset of what a source has, the parts that it lacks split off train.

    Raises:
        DataError: there are too few images for that, a class has none to train on, or images are in two parts.
    """
    given = dict(found.parts)
    _check_classes(given["train"], found)
    fractions = {"test": options.test_fraction, "val": options.val_share(max(1, len(given["train"])))}
    missing = {name: fraction for name, fraction in fractions.items() if name not in given}  # test first: see _folded
    notes: tuple[str, ...] = ()
    folds = None
    if options.folds is not None and "val" not in missing:
        raise UsageError("--folds: the data has a validation part of its own; nothing is drawn for one")
    if missing or options.split is not None:
        indices, notes = (_drawn if options.folds is None else _folded)(given["train"], found, missing, options)
        folds = indices.pop(FOLDS, None)
        given |= {name: given["train"].at(chosen) for name, chosen in indices.items()}
        _check_classes(given["train"], found)
    repeats = leaks.check(given, found.place, options.allow_leakage or found.is_published)
    return Dataset(
        name=found.name,
        source=found.source,
        task=found.task,
        class_names=found.class_names,
        train=given["train"],
        val=given["val"],
        test=given["test"],
        notes=(*found.notes, *notes, *_shared_groups(given), *repeats),
        drawn=tuple(missing),
        preprocessing=found.preprocessing,
        folds=folds,
        has_unit_pixels=found.has_unit_pixels,
    )


def _of_known(
    arrays: dict[str, np.ndarray], names: tuple[str, ...] | None, known: tuple[str, ...], place: str
) -> dict[str, np.ndarray]:
    """The labels of data with classes of its own, for a model that knows these: the same name is the same class."""
    if names is None or names == known:
        return arrays
    if not set(names) <= set(known):
        raise DataError(f"{place}: has the classes {listed(names)}, but the model knows {listed(known)}")
    own = np.array(names)

    def of_known(name: str, array: np.ndarray) -> np.ndarray:
        if array.ndim == 2 and array.shape[1] == len(names):  # a column a label
            found = np.zeros((len(array), len(known)), array.dtype)
            found[:, [known.index(each) for each in names]] = array
            return found
        return array if array.dtype.kind in "US" else own[_indices(array, len(own), f"{place}: {name}")]

    return {name: of_known(name, array) for name, array in arrays.items()}


def _indices(array: np.ndarray, count: int, place: str) -> np.ndarray:
    refuse(~np.isin(array, np.arange(count)), array, place, f"out of range: the {count} classes are 0..{count - 1}")
    return array.astype(np.int64)


def _check_classes(train: Part, found: Parts) -> None:
    """Each class needs an image that it is learned from."""
    if found.task in ("binary", "multiclass"):
        missing = np.setdiff1d(np.arange(len(found.class_names)), train.y)
        if missing.size:
            name = shown(found.class_names[missing[0]])
            raise DataError(f"{found.place}: y_train: class {name!r} has no image; every class needs some in train")


def slug(name: str) -> str:
    """`name` as a folder may be called anywhere: a-z, 0-9, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:_MAX_NAME].rstrip("-.") or "data"


def _check_lengths(raw: RawData) -> None:
    for name, part in raw.parts.items():
        if len(part.x.shape) and part.y.ndim and len(part.x) != len(part.y):
            raise DataError(
                f"{raw.place}: x_{name} and y_{name}: must be equally long, got {len(part.x)} images "
                f"and {len(part.y)} labels"
            )


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that refuses to be written: the fingerprint is computed once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _drawn(
    whole: Part, found: Parts, missing: dict[str, float], options: DataOptions
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The places in `whole` of train and of each part that is missing, and what is to be said of it."""
    moved, how = 0, f"stratified, seed {options.seed}"
    if options.split is not None:
        indices, how = split_file.indices(options.split, whole, list(missing)), f"as {shown(options.split)} says"
    elif whole.groups is not None:
        indices = split_groups(whole.groups, whole.y, found.task, found.class_names, missing, options.seed, found.place)
        how = f"stratified, groups together, seed {options.seed}"
    else:
        indices = split(whole.y, found.task, found.class_names, missing, options.seed, found.place)
        if not options.allow_leakage:
            before, indices = indices, leaks.kept_together(indices, whole.digests)
            moved = len(indices["train"]) - len(before["train"])
            for name in missing:
                if not len(indices[name]):
                    told = f"so many images are copies of others that {name} would have none"
                    raise DataError(f"{found.place}: {told}; delete copies, or go on with --allow-leakage")
    notes = [_told(name, indices, whole, how) for name in missing]
    if moved:
        notes.append(f"images that were left in train, where copies of them are: {moved}")
    return indices, tuple(notes)


def _folded(
    whole: Part, found: Parts, missing: dict[str, float], options: DataOptions
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """As `_drawn`, the validation part being the first fold; and of each training image its fold, under FOLDS.

    The test part is drawn first: it is the same for any number of folds.
    """
    folds, seed = options.folds or 1, options.seed
    if options.split is not None:
        numbers, how = split_file.folds(options.split, whole, list(missing), folds), f"as {shown(options.split)} says"
    else:
        groups, how = _groups(whole, options), f"stratified, seed {seed}"
        facts = found.task, found.class_names
        numbers, left = np.zeros(len(whole), np.int64), np.arange(len(whole))
        if "test" in missing:
            share = {"test": missing["test"]}
            if groups is None:
                left = split(whole.y, *facts, share, seed, found.place)["train"]
            else:
                left = split_groups(groups, whole.y, *facts, share, seed, found.place)["train"]
        own = None if groups is None else groups[left]
        numbers[left] = fold_numbers(whole.y[left], own, *facts, folds, seed, found.place)
    indices = {"train": np.flatnonzero(numbers > 1), "val": np.flatnonzero(numbers == 1)}
    if "test" in missing:
        indices["test"] = np.flatnonzero(numbers == 0)
    notes = [_told(name, indices, whole, how) for name in missing]
    told = f"val is the first of {folds} folds, each of which is for validation once"
    return indices | {FOLDS: numbers[indices["train"]]}, (*notes, told)


def _told(name: str, indices: dict[str, np.ndarray], whole: Part, how: str) -> str:
    return f"{name}: {len(indices[name])} of {len(whole)} images, {how}"


def _groups(whole: Part, options: DataOptions) -> np.ndarray | None:
    """(N,) what must stay in one fold: what the data says, or copies."""
    if whole.groups is not None or options.allow_leakage:
        return whole.groups
    _, numbers = np.unique(whole.digests, axis=0, return_inverse=True)
    return numbers.reshape(-1) if numbers.max() + 1 < len(whole) else None


def _shared_groups(parts: dict[str, Part]) -> tuple[str, ...]:
    """Notes on groups that the data itself has on two sides."""
    notes = []
    for name, other in (("test", "train"), ("val", "train"), ("test", "val")):
        one, two = parts[name].groups, parts[other].groups
        shared = set() if one is None or two is None else set(one) & set(two)
        if shared:
            notes.append(f"groups that are in {name} and in {other}: {len(shared)} ({listed(sorted(shared), 3)})")
    return tuple(notes)
