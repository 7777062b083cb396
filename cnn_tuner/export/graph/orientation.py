"""The orientation of a JPEG, found in the graph as `cnn_tuner.data.orientation` finds it, and images turned by it."""

from __future__ import annotations

import tensorflow as tf

from cnn_tuner.data.orientation import (
    ENTRY,
    HEAD,
    JPEG,
    MARK,
    MIRRORED,
    MOST_ENTRIES,
    SEGMENT,
    SHORT,
    SWAPPED,
    TAG,
    TURNED_OVER,
)

_TIFF = len(SEGMENT) + 2 + len(MARK)  # where the TIFF header begins, from the mark of its segment


def of_jpeg(content: tf.Tensor) -> tf.Tensor:
    """1 to 8, a scalar int32, for the bytes of a file."""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, HEAD), tf.uint8), tf.int32)
    beyond = _TIFF + ENTRY * (MOST_ENTRIES + 2)
    there = tf.concat([head, tf.zeros([beyond], tf.int32)], 0)  # what is read behind the end is 0
    last = tf.size(head)

    is_mark = tf.fill([last], True)
    for place, byte in [*enumerate(SEGMENT), *enumerate(MARK, len(SEGMENT) + 2)]:
        is_mark = tf.logical_and(is_mark, tf.equal(there[place : place + last], byte))
    begins = tf.cast(tf.argmax(tf.cast(is_mark, tf.int32), output_type=tf.int32), tf.int32)
    tiff = begins + _TIFF
    order = there[tiff : tiff + 4]
    is_little = tf.reduce_all(tf.equal(order, list(b"II*\0")))
    is_big = tf.reduce_all(tf.equal(order, list(b"MM\0*")))

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        """Of `size` bytes at each of (n,) places; of 0 beyond the end."""
        places = tf.minimum(at[:, None] + tf.range(size)[None, :], last + beyond - 1)
        found = tf.cast(tf.gather(there, places), tf.int64)
        weights = tf.constant([256**place for place in range(size)], tf.int64)
        weights = tf.where(is_little, weights, weights[::-1])
        return tf.reduce_sum(found * weights, axis=1)

    offset = number(tf.reshape(tiff + 4, [1]), 4)[0]
    first = tiff + tf.cast(tf.minimum(offset, HEAD), tf.int32)
    count = tf.cast(number(tf.reshape(first, [1]), 2)[0], tf.int32)
    entries = first + 2 + ENTRY * tf.range(MOST_ENTRIES)
    is_it = tf.logical_and(tf.equal(number(entries, 2), TAG), tf.equal(number(entries + 2, 2), SHORT))
    is_it = tf.logical_and(is_it, tf.range(MOST_ENTRIES) < count)
    chosen = tf.argmax(tf.cast(is_it, tf.int32), output_type=tf.int32)
    value = tf.cast(number(tf.reshape(tf.gather(entries, chosen) + 8, [1]), 2)[0], tf.int32)
    conditions = (
        tf.equal(tf.strings.substr(content, 0, len(JPEG)), JPEG),
        tf.logical_or(is_little, is_big),
        tf.reduce_any(is_mark),
        tf.reduce_any(is_it),
        tf.logical_and(value >= 1, value <= 8),
    )
    return tf.where(tf.reduce_all(tf.stack(conditions)), value, 1)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(h, w, C) uint8 as it was seen, from how it is stored."""

    def is_one_of(values: tuple[int, ...]) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, tf.constant(values)))

    image = tf.cond(is_one_of(SWAPPED), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(is_one_of(MIRRORED), lambda: image[:, ::-1], lambda: image)
    return tf.cond(is_one_of(TURNED_OVER), lambda: image[::-1], lambda: image)
