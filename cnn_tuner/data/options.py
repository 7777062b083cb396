"""What a user may choose about data, checked when it is made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import TASKS

VAL_FRACTION, MOST_VAL_IMAGES = 0.15, 5_000  # more images train better, and tell an accuracy apart hardly better
FITS = ("stretch", "pad", "crop")  # what becomes of image files of another aspect
LEAST_FOLDS, MOST_FOLDS = 2, 20
MAX_SIDE = 4096  # pixels; a CNN's first feature map at this side already takes gigabytes


@dataclass(frozen=True)
class DataOptions:
    """The choices of one load.

    task: one of TASKS, or None to infer it from the labels.
    val_fraction, test_fraction: of the images that come without such a part; None: see `val_share`.
    folds: of how many the validation part is one, each for validation once; None: it is the only one.
    image_size: (height, width) to which image files are resized; None: see cnn_tuner.data.decoding.
    fit: what becomes of image files of another aspect, one of FITS; see cnn_tuner.data.pictures.box.
    channels: 1 (grey) or 3 (colour) for image files; None: grey if every image is.
    skip_broken: skip images that cannot be read instead of refusing all.
    follow_links: read what links in an image folder lead to, wherever it lies.
    leave_out: names of folders in an image folder that are no data.
    group_by: a regular expression; image files in whose paths it finds the same are one group, None for none.
    split: a file that says which image is in which part; None to draw the parts that there are not.
    allow_leakage: leave images that are in two parts, pixel for pixel, where they are.
    image_column, label_columns, split_column, group_column: of a table; None and (): see cnn_tuner.data.table.
    known_classes: those of a model that is to be evaluated: any of them may be there, and no other.
    max_bytes: memory that images may take; None: half of the machine's.

    Raises:
        UsageError: a value breaks its rule.
    """

    task: str | None = None
    seed: int = 0
    val_fraction: float | None = None
    test_fraction: float = 0.2
    folds: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    fit: str = "stretch"
    skip_broken: bool = False
    follow_links: bool = False
    leave_out: tuple[str, ...] = ()
    group_by: str | None = None
    split: str | None = None
    allow_leakage: bool = False
    image_column: str | None = None
    label_columns: tuple[str, ...] = ()
    split_column: str | None = None
    group_column: str | None = None
    known_classes: tuple[str, ...] | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            raise UsageError(f"--task: must be one of {', '.join(TASKS)}; got {self.task!r}")
        if self.seed < 0:
            raise UsageError(f"--seed: must be a whole number >= 0, got {self.seed}")
        _check_fractions(VAL_FRACTION if self.val_fraction is None else self.val_fraction, self.test_fraction)
        if self.folds is not None and not LEAST_FOLDS <= self.folds <= MOST_FOLDS:
            raise UsageError(f"--folds: must be a whole number from {LEAST_FOLDS} to {MOST_FOLDS}, got {self.folds}")
        if self.folds is not None and self.val_fraction is not None:
            raise UsageError("--folds and --val-fraction: each fold is for validation once, so name one of them only")
        if self.image_size is not None and not all(1 <= side <= MAX_SIDE for side in self.image_size):
            raise UsageError(f"--image-size: height and width must be 1..{MAX_SIDE} pixels, got {self.image_size}")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"--channels: must be 1 (grey) or 3 (colour), got {self.channels}")
        if self.fit not in FITS:
            raise UsageError(f"--fit: must be one of {', '.join(FITS)}; got {self.fit!r}")
        if self.group_by is not None:
            _check_pattern(self.group_by)
        if self.max_bytes is not None and self.max_bytes <= 0:
            raise UsageError(f"max_bytes: must be > 0, got {self.max_bytes}")

    def val_share(self, images: int) -> float:
        """The share of so many images that is for validation: 0.15 where nothing is said, of many images 5,000."""
        return min(VAL_FRACTION, MOST_VAL_IMAGES / images) if self.val_fraction is None else self.val_fraction


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-by: is no regular expression: {error}, got {pattern!r}") from error


def _check_fractions(val: float, test: float) -> None:
    for flag, fraction in (("--val-fraction", val), ("--test-fraction", test)):
        if not 0 < fraction < 1:
            raise UsageError(f"{flag}: must lie between 0 and 1, both excluded; got {fraction}")
    if val + test >= 1:
        raise UsageError(f"--val-fraction and --test-fraction: must add up to less than 1, got {val} + {test}")
