"""How a camera was held: the orientation that a JPEG's EXIF data gives, found in its bytes.

The same bytes are compared in the graph of an export (`cnn_tuner.export.graph.orientation`), so that what is served is
turned as what was trained on. Pillow's own way reads more than a graph can, such as XMP. Other kinds of files, which
cameras do not write, are left as they are.

Source: CIPA DC-008, Exchangeable image file format, 4.5 and 4.6; the values are those of TIFF 6.0, p. 36.
"""

from __future__ import annotations

import re

from PIL import Image

HEAD = 2**17  # bytes of a file that are looked at; EXIF data stands in the first 64 KiB behind what precedes it
JPEG = b"\xff\xd8\xff"
MARK = b"Exif\0\0"  # behind the mark of a segment and its length, 2 bytes each
SEGMENT = b"\xff\xe1"
ORDERS = {b"II*\0": "little", b"MM\0*": "big"}  # of bytes in a number: how a TIFF header begins
TAG, SHORT, ENTRY, MOST_ENTRIES = 0x0112, 3, 12, 256
SWAPPED = (5, 6, 7, 8)  # height and width change places
MIRRORED, TURNED_OVER = (2, 3, 6, 7), (3, 4, 7, 8)  # left and right, top and bottom: once height and width have

_WAYS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def of_jpeg(head: bytes) -> int:
    """1 to 8 for the first `HEAD` bytes of a file; 1, which is upright, where they are no JPEG's or say nothing."""
    found = re.search(re.escape(SEGMENT) + rb".." + re.escape(MARK), head[:HEAD], re.DOTALL)
    if not head.startswith(JPEG) or found is None:
        return 1
    tiff = head[found.end() : HEAD]
    order = ORDERS.get(tiff[:4])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size].ljust(size, b"\0"), "little" if order == "little" else "big")

    first = number(4, 4)
    for index in range(min(number(first, 2), MOST_ENTRIES)):
        at = first + 2 + ENTRY * index
        if number(at, 2) == TAG and number(at + 2, 2) == SHORT:
            value = number(at + 8, 2)
            return value if value in _WAYS else 1
    return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """An image as it was seen, from how it is stored."""
    return image.transpose(_WAYS[orientation]) if orientation in _WAYS else image
