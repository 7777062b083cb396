"""A folder of image files: DIR/<class>/*.png, or DIR/{train,val,test}/<class>/*.png; also jpg, bmp, gif, webp."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from cnn_tuner.data.files import expanded, reading, shown
from cnn_tuner.data.layout import Layout, scan
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures, of_disk
from cnn_tuner.errors import DataError


def load(argument: str, options: DataOptions) -> Pictures:
    """The images, and class numbers in the order of the sorted folder names.

    Raises:
        DataError: the folder has no such layout.
    """
    root = expanded(argument)
    with reading(root):
        root.stat()
    check_task(options, shown(root))
    return replace(of_layout(scan(root, options), root.resolve().name, shown(root)), stamp=of_disk)


def check_task(options: DataOptions, place: str) -> None:
    """Refuses a task that class folders cannot have."""
    if options.task in ("multilabel", "regression"):
        raise DataError(f"{place}: --task {options.task} needs numbers; class folders allow binary, multiclass")


def of_layout(layout: Layout, name: str, place: str) -> Pictures:
    """The images that were found in class folders."""
    sizes = Counter(file.part for file in layout.files)
    return Pictures(
        name,
        place,
        [file.path for file in layout.files],
        np.array([file.class_id for file in layout.files], np.int32),
        {part: sizes[part] for part in layout.parts},
        layout.class_names,
        layout.notes,
    )
