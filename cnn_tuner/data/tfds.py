"""tfds:NAME: a data set of TensorFlow Datasets, which downloads and prepares it in ~/tensorflow_datasets, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cnn_tuner.data import encoded
from cnn_tuner.data.encoded import Rows
from cnn_tuner.data.files import listed, one_line
from cnn_tuner.data.memory import check_memory
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.picture_files import Pictures
from cnn_tuner.errors import DataError, UsageError


def load(argument: str, options: DataOptions) -> Pictures:
    """The images, with their labels.

    Raises:
        UsageError: there is no data set, or feature, of this name.
        DataError: the package is not installed, the download fails, or it has no images with labels.
    """
    place = f"tfds:{argument}"
    try:
        import tensorflow_datasets
    except ImportError as error:
        told = "needs tensorflow-datasets; install it with pip install 'cnn-tuner[tfds]'"
        raise DataError(f"{place}: {told}") from error
    try:
        builder = tensorflow_datasets.builder(argument)
    except Exception as error:  # a name that is not known, and much else
        raise UsageError(f"--data {place}: {one_line(error)}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise DataError(f"{place}: cannot be downloaded or prepared ({one_line(error)})") from error
    info, kinds = builder.info, tensorflow_datasets.features
    image = _feature(options.image_column, "--image-column", info.features, kinds.Image, place)
    label = _feature(
        options.label_columns[0] if options.label_columns else None,
        "--label-column",
        info.features,
        (kinds.ClassLabel, kinds.Sequence),
        place,
    )
    parts = encoded.named_parts(list(info.splits), place)
    check_memory(sum(info.splits[name].num_bytes for name in parts.values()), options, place)
    rows = {}
    for part, name in parts.items():
        stored = builder.as_dataset(
            split=name, decoders={image: tensorflow_datasets.decode.SkipDecoding()}, shuffle_files=False
        )
        pairs = [(each[image], each[label]) for each in stored.as_numpy_iterator()]
        rows[part] = Rows([file for file, _ in pairs].__getitem__, [each for _, each in pairs])
    kind = info.features[label]
    kind = getattr(kind, "feature", kind)  # that of the items of a sequence
    names = tuple(kind.names) if isinstance(kind, kinds.ClassLabel) else None
    return replace(encoded.pictures(rows, names, info.name, place), is_published=True)


def _feature(asked: str | None, flag: str, features: Any, kind: Any, place: str) -> str:
    if asked is not None:
        if asked not in features:
            raise UsageError(f"{flag} {asked}: {place} has no such feature; has {listed(list(features))}")
        return asked
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(found) != 1:
        raise DataError(f"{place}: which feature is meant? It has {listed(list(features))}; name it with {flag}")
    return found[0]
