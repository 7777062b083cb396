"""A search space that fits the images, written as the file that one would write: `--space auto`.

Blocks follow the image's size, filters and dense units the number of images and what can be trained in the time, flips
what the data allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_tuner.spaces import tree
from cnn_tuner.spaces.tree import AUTO, SearchSpace

LAST_MAP = 8  # pixels: at most so wide is the map that is flattened; at least half of it where it can be
LEAST_MAP = 2
MANY_IMAGES = 20_000
FEW_IMAGES = 3_000
# The filters of the last block, half as many in each before: the most that can be trained, and more for many images.
LEAST_FILTERS, MOST_FILTERS, MOST_FILTERS_OF_MANY = 8, 64, 128
FIRST_FILTERS = 8  # at least so many in any block
EPOCHS = 12  # of a trial, where the time is short
# Images are mirrored where a network of one convolution a block takes at most this share of what can be trained: it is
# shown them some twenty times then. A search cannot tell, its first epochs are best without: benchmarks/recipe.md.
FLIPPED = 0.4


@dataclass(frozen=True)
class Facts:
    """What a space is made for.

    image_shape: (H, W, C); images: for training; flips: the values of `augmentation.flip` that keep an image what it
    is, "none" first; weighs_classes: whether the search is to find out if classes are to count alike; most_macs:
    multiply-adds for one image of a network that can be trained long enough in the time; epochs: of a trial.
    """

    image_shape: tuple[int, int, int]
    images: int
    flips: Sequence[str] = ("none",)
    weighs_classes: bool = False
    most_macs: float = math.inf
    epochs: int = EPOCHS


UNKNOWN = Facts((28, 28, 1), 1)  # what can be checked before the images are read is the same for all


def space(facts: Facts) -> SearchSpace:
    """The space for such images."""
    return tree.from_text(text(facts), AUTO)


def blocks_of(image_shape: tuple[int, int, int]) -> int:
    """So many blocks, each of which halves the map, that the last map is at most `LAST_MAP` pixels wide."""
    return max(1, math.ceil(math.log2(max(image_shape[:2]) / LAST_MAP)))


def most_filters(images: int) -> int:
    """The most that so many training images are worth in one convolution."""
    return MOST_FILTERS_OF_MANY if images >= MANY_IMAGES else MOST_FILTERS


def text(facts: Facts) -> str:
    """The YAML text of a space for such images."""
    height, width, channels = facts.image_shape
    blocks = _blocks(facts)
    filters = _filters(facts, blocks[0])
    has_many = facts.images >= MANY_IMAGES
    flips = _flips(facts, filters[-1], blocks[0])
    units = (64, 128, 256) if facts.images < FEW_IMAGES else (128, 256)
    batches = (64, 128) if has_many else (32, 64)
    lines = [
        f"# Made for {facts.images:,} training images of {height}x{width}x{channels}; take it and edit it.",
        f"description: Made for images of {height}x{width}x{channels}.",
        "",
        f"blocks: {_listed(blocks):32}# {_maps(facts, blocks)}",
        "block:",
        "  convolutions: [1, 2]                  # step 1, convolution: this many in a row, each with its ReLU",
        f"  filters: {_listed(filters):29}# those of a network that can be trained in the time, and half as many",
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
        f"  flip: {_listed(flips):32}# {_why_flips(facts.flips, flips)}",
        f"  shift: {'0.0' if has_many else '[0.0, 0.1]'}",
        "search:",
        "  oracle: asha",
        "  budget: 10m",
        f"  epochs: {facts.epochs}",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _blocks(facts: Facts) -> tuple[int, ...]:
    """As many as the size asks for, and one more where the map stays large enough for it."""
    fewest, smaller = blocks_of(facts.image_shape), min(facts.image_shape[:2])
    most = max(1, int(math.log2(smaller / LEAST_MAP))) if smaller > LEAST_MAP else 1
    least_of_more = LEAST_MAP if fewest == 1 else LAST_MAP / 2
    more = fewest + 1 if smaller / 2 ** (fewest + 1) >= least_of_more else fewest
    return tuple(sorted({min(fewest, most), min(more, most)}))


def _filters(facts: Facts, blocks: int) -> tuple[int, ...]:
    """Choices that have those of each block of a network whose last block has the most filters that can be trained."""
    last = most_filters(facts.images)
    while last > LEAST_FILTERS and _macs(facts.image_shape, _doubling(last, blocks)) > facts.most_macs:
        last //= 2
    first = min(_doubling(last, max(3, blocks)))
    powers = [2**power for power in range(int(math.log2(first)), int(math.log2(last)) + 1)]
    if last < MOST_FILTERS_OF_MANY:
        return tuple(powers)
    # Twice the filters take four times as long: a longer search has networks between that make use of its time.
    return tuple(sorted([*powers, *(3 * power // 2 for power in powers[:-1])]))


def _doubling(last: int, blocks: int) -> tuple[int, ...]:
    return tuple(max(FIRST_FILTERS, last // 2**before) for before in range(blocks - 1, -1, -1))


def _macs(image_shape: tuple[int, int, int], filters: Sequence[int]) -> int:
    """Of blocks of one 3x3 convolution and a pool of 2x2, for one image."""
    height, width, channels = image_shape
    found = 0
    for each in filters:
        found += height * width * 9 * channels * each
        height, width, channels = height // 2, width // 2, each
    return found


def _maps(facts: Facts, blocks: Sequence[int]) -> str:
    height, width = facts.image_shape[:2]
    maps = " or ".join(f"{height // 2**count}x{width // 2**count}" for count in blocks)
    return f"each halves the map, the last one is {maps}"


def _flips(facts: Facts, last: int, blocks: int) -> Sequence[str]:
    """Those that the data allow where images are shown often enough, or none."""
    is_enough = _macs(facts.image_shape, _doubling(min(last, MOST_FILTERS), blocks)) <= FLIPPED * facts.most_macs
    return facts.flips[1:] if is_enough and len(facts.flips) > 1 else ("none",)


def _why_flips(allowed: Sequence[str], flips: Sequence[str]) -> str:
    if len(allowed) == 1:
        return "a mirrored image may be of another class"
    return "too few epochs for it to pay" if flips == ("none",) else "a mirrored image stays what it is"


def _listed(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"
