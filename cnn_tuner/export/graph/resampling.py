"""Image files to pixels in the graph, as `data.pictures` gives them with Pillow: equal, not similar.

What a model is trained on must be what it is served. `tf.image.resize` is off by some grey levels even with
`antialias=True`, because Pillow rounds its weights to 22 bits and its rows to 8 bits between both passes
(Pillow, src/libImaging/Resample.c). So do the functions here, in whole numbers that float64 holds exactly.

Not as with Pillow: JPEGs of four colours (CMYK), and kinds of files other than JPEG and PNG, which are refused.
"""

from __future__ import annotations

import tensorflow as tf

from cnn_tuner.export.graph import orientation

PRECISION_BITS = 22  # Resample.c: 32 bits, less 8 for a pixel and 2 for sums that exceed it
GREY = (19595, 38470, 7471)  # Convert.c, L24: how Pillow weighs red, green and blue, of 65,536
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
PNG_SIZE = 16  # where its header has width and height, 4 bytes each (https://www.w3.org/TR/png-3/#11IHDR)
MAX_PIXELS = 25_000_000  # of a file; to resize that many takes 1.2 GB


def decode(content: tf.Tensor, image_shape: tuple[int, int, int], fit: str = "stretch") -> tf.Tensor:
    """The pixels (H, W, C) uint8 of a PNG or JPEG file, in the shape of a model's images.

    fit: what becomes of another aspect, as `cnn_tuner.data.pictures.box` has it.

    Raises, while it runs:
        InvalidArgumentError: it is neither, is damaged, or has over 25 megapixels, with its border if it gets one.
    """
    height, width, channels = image_shape
    content = _checked(content)
    turned = orientation.of_jpeg(content)
    if channels in (1, 3):
        image = _grey(_colour(content)) if channels == 1 else _colour(content)
        image = _fitted(orientation.upright(image, turned), height, width, fit)
        return tf.ensure_shape(resize(image, height, width), image_shape)
    image = tf.cond(tf.strings.substr(content, 0, 3) == JPEG, lambda: _opaque(content), lambda: _with_alpha(content))
    image = _fitted(orientation.upright(image, turned), height, width, fit)
    size = tf.shape(image)
    is_same = tf.logical_and(tf.equal(size[0], height), tf.equal(size[1], width))
    image = tf.concat([_grey(image[..., :3]), image[..., 3:]], axis=2) if channels == 2 else image
    # Pillow weighs the colours of a transparent image by their alpha while it resizes it, and only then.
    image = tf.cond(is_same, lambda: image, lambda: _parted(resize(_multiplied(image), height, width)))
    return tf.ensure_shape(image, image_shape)


def _checked(content: tf.Tensor) -> tf.Tensor:
    """The file itself, once its header has said what it is: a file of some kilobytes can decode to gigabytes."""
    is_jpeg = tf.equal(tf.strings.substr(content, 0, 3), JPEG)
    is_png = tf.logical_and(tf.equal(tf.strings.substr(content, 0, 8), PNG), tf.strings.length(content) >= PNG_SIZE + 8)
    pixels = tf.cond(
        is_jpeg,
        lambda: tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64)),
        lambda: tf.cond(is_png, lambda: _png_pixels(content), lambda: tf.constant(0, tf.int64)),
    )
    limit = f"image too large: must have at most {MAX_PIXELS // 10**6} megapixels, its pixels are"
    checks = (
        tf.debugging.Assert(tf.logical_or(is_jpeg, is_png), ["must be the bytes of a PNG or JPEG file"]),
        tf.debugging.Assert(pixels <= MAX_PIXELS, [limit, pixels]),
    )
    with tf.control_dependencies([check for check in checks if check is not None]):  # None: it ran at once
        return tf.identity(content)


def _png_pixels(content: tf.Tensor) -> tf.Tensor:
    digits = tf.reshape(tf.io.decode_raw(tf.strings.substr(content, PNG_SIZE, 8), tf.uint8), (2, 4))
    sides = tf.reduce_sum(tf.cast(digits, tf.int64) * tf.constant((2**24, 2**16, 2**8, 1), tf.int64), axis=1)
    return tf.reduce_prod(tf.minimum(sides, 2**31))  # so that the product does not overflow


def _fitted(image: tf.Tensor, height: int, width: int, fit: str) -> tf.Tensor:
    """(h, w, C) cropped or padded to the aspect of the model's images."""
    if fit == "stretch":
        return image
    size = tf.cast(tf.shape(image)[:2], tf.int64)
    high, wide = size[0], size[1]
    is_wider = wide * height > high * width
    new_wide = tf.maximum(tf.constant(1, tf.int64), (high * width + height // 2) // height)
    new_high = tf.maximum(tf.constant(1, tf.int64), (wide * height + width // 2) // width)
    changes_width = is_wider if fit == "crop" else tf.logical_not(is_wider)
    new_wide, new_high = tf.where(changes_width, new_wide, wide), tf.where(changes_width, high, new_high)
    limit = f"image too large: must have at most {MAX_PIXELS // 10**6} megapixels with its border, they are"
    check = tf.debugging.Assert(new_wide * new_high <= MAX_PIXELS, [limit, new_wide * new_high])
    left, top = (wide - new_wide) // 2, (high - new_high) // 2  # rounded down, as Python's numbers are
    with tf.control_dependencies([check] if check is not None else []):
        inside = image[tf.maximum(top, 0) : top + new_high, tf.maximum(left, 0) : left + new_wide]
    found = tf.cast(tf.shape(inside)[:2], tf.int64)
    before = tf.maximum(tf.stack([-top, -left]), 0)
    after = tf.stack([new_high, new_wide]) - found - before
    return tf.pad(inside, tf.concat([tf.stack([before, after], axis=1), tf.zeros((1, 2), tf.int64)], 0))


def _colour(content: tf.Tensor) -> tf.Tensor:
    """(h, w, 3) uint8; alpha dropped. The kernel reads PNG as well, and only this method is the one of Pillow's."""
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _opaque(content: tf.Tensor) -> tf.Tensor:
    colour = _colour(content)
    return tf.concat([colour, tf.fill(tf.concat([tf.shape(colour)[:2], [1]], 0), tf.constant(255, tf.uint8))], axis=2)


def _with_alpha(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(content, channels=4)


def _grey(colour: tf.Tensor) -> tf.Tensor:
    """(h, w, 3) to (h, w, 1): always from colours, since a JPEG's own brightness is rounded in another way."""
    weighed = tf.reduce_sum(tf.cast(colour, tf.int32) * tf.constant(GREY), axis=2, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(weighed + 0x8000, 16), tf.uint8)


def _multiplied(image: tf.Tensor) -> tf.Tensor:
    """Colours times alpha / 255, rounded as Pillow's MULDIV255 does."""
    values = tf.cast(image, tf.int32)
    product = values[..., :-1] * values[..., -1:] + 128
    product = tf.bitwise.right_shift(tf.bitwise.right_shift(product, 8) + product, 8)
    return tf.concat([tf.cast(product, tf.uint8), image[..., -1:]], axis=2)


def _parted(image: tf.Tensor) -> tf.Tensor:
    """Colours divided by alpha / 255 again."""
    values = tf.cast(image, tf.int32)
    colours, alpha = values[..., :-1], values[..., -1:]
    divided = tf.minimum(255, 255 * colours // tf.maximum(1, alpha))
    kept = tf.where(tf.logical_or(tf.equal(alpha, 0), tf.equal(alpha, 255)), colours, divided)
    return tf.concat([tf.cast(kept, tf.uint8), image[..., -1:]], axis=2)


def resize(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """(h, w, C) uint8 to (height, width, C) uint8, as Pillow's `Image.resize` does with BILINEAR, rows before columns.

    It takes 16 bytes for each value of the image.
    """
    rows = tf.einsum("hwc,xw->hxc", tf.cast(image, tf.float64), _weights(tf.shape(image)[1], width))
    columns = tf.einsum("hxc,yh->yxc", _rounded(rows), _weights(tf.shape(image)[0], height))
    return tf.cast(_rounded(columns), tf.uint8)


def _rounded(sums: tf.Tensor) -> tf.Tensor:
    """Sums of pixels by weights, to whole numbers of 0 to 255."""
    return tf.clip_by_value(tf.floor((sums + 2.0 ** (PRECISION_BITS - 1)) / 2.0**PRECISION_BITS), 0.0, 255.0)


def _weights(before: tf.Tensor, after: int) -> tf.Tensor:
    """How much of each of `before` pixels goes into each of `after`, (after, before) float64, of 2**22."""
    scale = tf.cast(before, tf.float64) / after
    reach = tf.maximum(scale, 1.0)
    centres = (tf.range(after, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.floor(centres - reach + 0.5), 0.0)[:, None]
    last = tf.minimum(tf.floor(centres + reach + 0.5), tf.cast(before, tf.float64))[:, None]
    pixels = tf.cast(tf.range(before), tf.float64)[None, :]
    triangle = tf.nn.relu(1.0 - tf.abs((pixels - centres[:, None] + 0.5) * (1.0 / reach)))
    triangle = tf.where(tf.logical_and(pixels >= first, pixels < last), triangle, tf.zeros_like(triangle))
    shares = triangle / tf.reduce_sum(triangle, axis=1, keepdims=True)
    return tf.floor(shares * 2.0**PRECISION_BITS + 0.5)
