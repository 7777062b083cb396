"""The same image more than once: exact copies by their digests, near ones by a perceptual hash and their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from cnn_tuner.data.dataset import Part, pieces

HASH_SIDE = 8  # a hash has 64 bits
NEAR_BITS = 6  # of 64 that may differ: images that were cut, scaled or compressed again differ in as many
BANDS = 8  # of 8 bits: of two hashes that differ in fewer bits than there are bands, one band is the same
SIDE = 16  # pixels of the small images that are compared, at most
NEAR = 0.04  # the mean difference of two small images, whose brightness and contrast are made the same, at most
NEARER = 1 / 3  # and at most this share of how far an image usually is from the one that is most like it
USUAL, LOOKED_AT, AMONG = 0.25, 300, 10_000  # the share of so many images that are so near, or nearer, among so many
LEAST_SPREAD = 0.02  # of the range: what varies less has no structure that could be alike
MOST_IN_A_BAND = 2_000  # hashes that share a band are compared with each other, if they are no more than these

Key = tuple[str, int]  # an image: its part and number


def exact(parts: Mapping[str, Part]) -> list[list[Key]]:
    """Images that are equal pixel for pixel, each group in the order of the parts."""
    found: defaultdict[bytes, list[Key]] = defaultdict(list)
    for name, part in parts.items():
        for number, digest in enumerate(part.digests):
            found[digest.tobytes()].append((name, number))
    return [group for group in found.values() if len(group) > 1]


def near(parts: Mapping[str, Part]) -> list[tuple[Key, Key]]:
    """Pairs of images that show the same, and are not equal: scaled, cut at the edges, brightened, compressed again.

    Hashes: Zauner, 2010, https://www.phash.org/docs/pubs/thesis_zauner.pdf, by the imagehash package.
    """
    keys = [(name, number) for name, part in parts.items() for number in range(len(part))]
    digests = np.concatenate([part.digests for part in parts.values()])
    hashes, pixels = np.empty(len(keys), np.uint64), np.empty((len(keys), SIDE**2), np.float16)
    has_structure = np.empty(len(keys), bool)
    small = (each for part in parts.values() for piece in pieces(part.x) for each in _small(piece))
    for place, image in enumerate(small):
        hashes[place], pixels[place] = _hash(image), _normal(image)
        has_structure[place] = image.std() >= LEAST_SPREAD * 255
    pairs, nearest = [], min(NEAR, NEARER * _usual_distance(pixels))
    for one, two in _candidates(hashes):
        is_other = has_structure[one] and has_structure[two] and (digests[one] != digests[two]).any()
        if is_other and np.abs(pixels[one] - pixels[two]).mean() <= nearest:
            pairs.append((keys[one], keys[two]))
    return pairs


def _usual_distance(pixels: np.ndarray) -> float:
    """How far images are from the one that is most like them: those of clothes on white nearer than photographs."""
    rng = np.random.default_rng(0)
    among = pixels[rng.permutation(len(pixels))[:AMONG]].astype(np.float32)
    nearest = []
    for place, image in enumerate(among[:LOOKED_AT]):
        distances = np.abs(among - image).mean(axis=1)
        distances[place] = np.inf
        nearest.append(float(distances.min()))
    return float(np.quantile(nearest, USUAL))


def _small(images: np.ndarray) -> Iterator[np.ndarray]:
    """(N, H, W, C) as grey images of 32 x 32, float32 in 0..255, one by one."""
    grey = images.mean(axis=3, dtype=np.float32) if images.shape[3] > 1 else images[..., 0].astype(np.float32)
    for each in grey:
        yield np.asarray(Image.fromarray(each).resize((4 * HASH_SIDE, 4 * HASH_SIDE), Image.Resampling.BILINEAR))


def _hash(image: np.ndarray) -> np.uint64:
    import imagehash  # takes a moment to load

    bits = imagehash.phash(Image.fromarray(image.clip(0, 255).astype(np.uint8)), HASH_SIDE).hash
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)


def _normal(image: np.ndarray) -> np.ndarray:
    """Half as wide and high, of mean 0 and of a spread as usual images have, (16 * 16,) float16."""
    means = image.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3)) / 255
    return ((means - means.mean()) / max(float(means.std()), 1e-6) / 4).reshape(-1).astype(np.float16)


def _candidates(hashes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of places of hashes that differ in few bits, each pair once."""
    seen: set[tuple[int, int]] = set()
    octets = hashes.view(np.uint8).reshape(-1, 8)
    for band in range(BANDS):
        order = np.argsort(octets[:, band], kind="stable")
        starts = np.flatnonzero(np.diff(octets[order, band], prepend=-1))
        for members in np.split(order, starts[1:]):
            for chunk in np.array_split(members, max(1, -(-len(members) // MOST_IN_A_BAND))):
                differing = np.bitwise_count(hashes[chunk][:, np.newaxis] ^ hashes[chunk])
                for one, two in np.argwhere(np.triu(differing <= NEAR_BITS, 1)):
                    pair = (int(chunk[one]), int(chunk[two]))
                    if pair not in seen:
                        seen.add(pair)
                        yield min(pair), max(pair)
