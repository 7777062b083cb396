"""A search space that fits the images, written as the file that one would write: `--space auto`.

Blocks follow the image's size, filters and dense units the size and the number of images, flips what the data allow.
How large a network may be within a budget is not its matter: see `cnn_tuner.search.affordable`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_tuner.spaces import tree
from cnn_tuner.spaces.tree import AUTO, SearchSpace

LAST_MAP = 8  # pixels: at most so wide is the map that is flattened; at least half of it where it can be
LEAST_MAP = 2
SMALL_SIDE = 48  # pixels: larger images begin with fewer filters, whose maps are large
MANY_IMAGES = 20_000
FEW_IMAGES = 3_000
CHOICES = {  # filters by whether images are large and many
    (False, False): (16, 32, 64),
    (False, True): (32, 64, 128),
    (True, False): (8, 16, 32, 64),
    (True, True): (16, 32, 64, 128),
}


@dataclass(frozen=True)
class Facts:
    """What a space is made for.

    image_shape: (H, W, C); images: for training; flips: the values of `augmentation.flip` that keep an image what it
    is, "none" first; weighs_classes: whether the search is to find out if classes are to count alike.
    """

    image_shape: tuple[int, int, int]
    images: int
    flips: Sequence[str] = ("none",)
    weighs_classes: bool = False


UNKNOWN = Facts((28, 28, 1), 1)  # what can be checked before the images are read is the same for all


def space(facts: Facts) -> SearchSpace:
    """The space for such images."""
    return tree.from_text(text(facts), AUTO)


def blocks_of(image_shape: tuple[int, int, int]) -> int:
    """So many blocks, each of which halves the map, that the last map is at most `LAST_MAP` pixels wide."""
    return max(1, math.ceil(math.log2(max(image_shape[:2]) / LAST_MAP)))


def text(facts: Facts) -> str:
    """The YAML text of a space for such images."""
    height, width, channels = facts.image_shape
    blocks = _blocks(facts)
    is_large, has_many = max(height, width) > SMALL_SIDE, facts.images >= MANY_IMAGES
    filters = CHOICES[is_large, has_many]
    units = (64, 128, 256) if facts.images < FEW_IMAGES else (128, 256)
    batches = (64, 128) if has_many and not is_large else (32, 64)
    lines = [
        f"# Made for {facts.images:,} training images of {height}x{width}x{channels}; take it and edit it.",
        f"description: Made for images of {height}x{width}x{channels}.",
        "",
        f"blocks: {_listed(blocks):32}# {_maps(facts, blocks)}",
        "block:",
        "  convolutions: [1, 2]                  # step 1, convolution: this many in a row, each with its ReLU",
        f"  filters: {_listed(filters):29}# {'few at first, on large maps' if is_large else 'more in later blocks'}",
        "  kernel_size: 3",
        "  strides: 1",
        "  padding: same                         # step 2, padding; step 3, ReLU, has no choices",
        f"  pool_size: {2 if min(height, width) >= 2 else 1}                          # step 4, max pooling",
        "  dropout: [0.1, 0.2]                   # step 5; step 6, flattening, has no choices",
        "dense:                                  # step 7, full connection",
        "  layers: 1",
        f"  units: {_listed(units)}",
        "  dropout: [0.3, 0.4]",
        "training:",
        "  learning_rate: {min: 0.001, max: 0.004, sampling: log}",
        "  schedule: one_cycle                   # of the final training; in the search the rate stays",
        "  weight_decay: 0.01",
        "  label_smoothing: 0.1",
        *(["  class_weights: [none, balanced]"] if facts.weighs_classes else []),
        f"  batch_size: {_listed(batches)}",
        "augmentation:                           # only while training",
        f"  flip: {_listed(facts.flips):32}# {_flips(facts.flips)}",
        "  shift: [0.0, 0.1]",
        "search:",
        "  oracle: asha",
        "  budget: 10m",
        "  epochs: 12",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _blocks(facts: Facts) -> tuple[int, ...]:
    """As many as the size asks for, and one more where the map stays large enough for it."""
    fewest, smaller = blocks_of(facts.image_shape), min(facts.image_shape[:2])
    most = max(1, int(math.log2(smaller / LEAST_MAP))) if smaller > LEAST_MAP else 1
    least_of_more = LEAST_MAP if fewest == 1 else LAST_MAP / 2
    more = fewest + 1 if smaller / 2 ** (fewest + 1) >= least_of_more else fewest
    return tuple(sorted({min(fewest, most), min(more, most)}))


def _maps(facts: Facts, blocks: Sequence[int]) -> str:
    height, width = facts.image_shape[:2]
    maps = " or ".join(f"{height // 2**count}x{width // 2**count}" for count in blocks)
    return f"each halves the map, the last one is {maps}"


def _flips(flips: Sequence[str]) -> str:
    return "a mirrored image may be of another class" if len(flips) == 1 else "a mirrored image stays what it is"


def _listed(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"
