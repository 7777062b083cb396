"""Initial weights that have seen the images: filters of the first convolution that whiten what they look at.

Neighbouring pixels and colours are much alike, so that random filters answer to little but brightness, and a short
training is over before they tell edges apart. These answer to the principal components of the patches, to each as
strongly. As a first layer that stays as it is: Jordan, 2024, https://arxiv.org/abs/2404.00498. Here it is trained on
with the others, whose random weights are scaled where images have colours, so that each layer's answers have a mean
square of one: Mishkin and Matas, 2015, https://arxiv.org/abs/1511.06422. benchmarks/recipe.md says what that is worth.
"""

from __future__ import annotations

import keras
import numpy as np

from cnn_tuner.data.dataset import Images

WHITENED_GREYS = 10_000  # for training: fewer are shown so often that random filters end as well or better
SCALED_BY = 256  # images, at most
IMAGES, PATCHES = 2_000, 20_000  # that are looked at, at most
FLOOR, LEAST = 0.0025, 1e-4  # of the mean variance is added to each, and so much: what hardly varies is noise


def pays(images: Images) -> bool:
    """Whether it is worth it for such images, (N, H, W, C)."""
    return _has_colours(images) or len(images) >= WHITENED_GREYS


def _has_colours(images: Images) -> bool:
    return images.shape[-1] >= 3


def whiten(model: keras.Model, images: Images, seed: int) -> None:
    """Sets as many filters of a model's first convolution as there are components, of either sign, the largest first.

    Where images have colours the weights of each layer after it but the last are scaled.

    images: (N, H, W, C) uint8, of the training part; filters beyond twice the components keep their random weights.
    """
    layer = next((each for each in model.layers if isinstance(each, keras.layers.Conv2D)), None)
    if layer is None:
        return
    kernel, *bias = layer.get_weights()
    found = filters(images, kernel.shape[:2], seed)
    both = np.concatenate([found, -found])[: kernel.shape[-1]]
    kernel[..., : len(both)] = np.moveaxis(both, 0, -1)
    layer.set_weights([kernel, *bias])
    if _has_colours(images):  # of many grey ones it gains a little in three passes, and costs more in thirteen
        _scale_others(model, layer, images[_some(images, SCALED_BY, np.random.default_rng(seed))])


def _scale_others(model: keras.Model, first: keras.layers.Layer, images: np.ndarray) -> None:
    x = keras.ops.convert_to_tensor(images)
    *layers, _ = model.layers[1:]  # without the input, and the last one: its answers are to begin near 0
    for layer in layers:
        answers = layer(x, training=False)
        if layer is not first and isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            square = float((keras.ops.convert_to_numpy(answers).astype(np.float64) ** 2).mean())
            if square > 0:
                # Rounded, so that how a processor adds up does not change the weights.
                scale = float(f"{square**-0.5:.3g}")
                layer.set_weights([weights * np.float32(scale) for weights in layer.get_weights()])
                answers = layer(x, training=False)
        x = answers


def filters(images: Images, size: tuple[int, int], seed: int) -> np.ndarray:
    """(components, height, width, C) of patches of pixels in [0, 1], whose answers have a mean square of about one."""
    patches = _patches(images, size, np.random.default_rng(seed))
    variances, components = np.linalg.eigh(patches.T @ patches / len(patches))
    # The sign of a component is the solver's choice.
    components = components * np.where(components.sum(axis=0) < 0, -1.0, 1.0)
    scaled = components / np.sqrt(np.maximum(variances, 0) + FLOOR * variances.mean() + LEAST)
    return scaled.T[::-1].reshape(-1, *size, images.shape[-1]).astype(np.float32)


def _patches(images: Images, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(PATCHES, height * width * C) of random places in random images, black beyond an image's edge."""
    chosen = images[_some(images, IMAGES, rng)]
    (height, width), (rows, columns) = images.shape[1:3], size
    padded = np.pad(chosen, ((0, 0), (0, max(0, rows - height)), (0, max(0, columns - width)), (0, 0)))
    top = rng.integers(0, padded.shape[1] - rows + 1, PATCHES)
    left = rng.integers(0, padded.shape[2] - columns + 1, PATCHES)
    image = rng.integers(0, len(padded), PATCHES)
    y = top[:, None, None] + np.arange(rows)[:, None]
    x = left[:, None, None] + np.arange(columns)
    found: np.ndarray = padded[image[:, None, None], y, x].reshape(PATCHES, -1) / 255.0
    return found


def _some(images: Images, most: int, rng: np.random.Generator) -> np.ndarray:
    """Places of so many images at most, in order."""
    found: np.ndarray = np.sort(rng.choice(len(images), min(most, len(images)), replace=False))
    return found
