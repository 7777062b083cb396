"""How a camera was held: found as Pillow finds it, whatever else a file holds."""

import io
import random
import struct

import numpy as np
import pytest
from data_helpers import pixels
from PIL import Image, ImageOps

from cnn_tuner.data import orientation
from cnn_tuner.data.pictures import read_header, read_image, read_image_bytes


def jpeg(value=None, order="little", shape=(20, 12), before=(), **options):
    """A JPEG file whose EXIF data has this orientation among other entries; None for no EXIF data."""
    file = io.BytesIO()
    exif = Image.Exif()
    if value is not None:
        exif[0x010F], exif[0x0112], exif[0x0131] = "maker", value, "software"
        exif.endian = "<" if order == "little" else ">"
        options["exif"] = exif.tobytes()
    Image.fromarray(pixels(*shape, 3, seed=3)).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("value", range(1, 9))
def test_images_are_turned_as_pillow_turns_them(value, order, tmp_path):
    content = jpeg(value, order)
    assert orientation.of_jpeg(content) == value
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (read_image_bytes(content, expected.shape) == expected).all()
    (tmp_path / "1.jpg").write_bytes(content)
    header = read_header(tmp_path / "1.jpg")
    assert (header.height, header.width) == expected.shape[:2] == ((20, 12) if value < 5 else (12, 20))
    resized = read_image(tmp_path / "1.jpg", (7, 9, 3))
    upright = Image.fromarray(expected)
    assert (resized == np.asarray(upright.resize((9, 12 if value >= 5 else 20), 2).resize((9, 7), 2))).all()


@pytest.mark.parametrize("value", [None, 0, 9, 65535])
def test_what_says_nothing_is_upright(value):
    assert orientation.of_jpeg(jpeg(value)) == 1


def test_other_kinds_are_left_as_they_are():
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(4, 5, 3)).save(file, "PNG", exif=exif.tobytes())
    assert orientation.of_jpeg(file.getvalue()) == 1


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file with some bytes of its head changed, or cut off."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        changed[rng.randrange(min(len(changed), 120))] = rng.choice((0, 1, 8, 255, rng.randrange(256)))
    return bytes(changed[: rng.choice((len(changed), rng.randrange(3, 150)))])


def test_the_graph_finds_the_same_in_any_bytes():
    import tensorflow as tf

    from cnn_tuner.export.graph import orientation as graph

    rng = random.Random(0)
    whole = [jpeg(value, order) for value in (None, *range(9)) for order in ("little", "big")]
    whole.append(jpeg(6, icc_profile=b"x" * 3000, comment=b"Exif\0\0"))
    tiff = struct.pack(">4sIHHHIHHHHIHHI", b"MM\0*", 8, 2, 0x0112, 4, 1, 6, 0, 0x0112, 3, 1, 8, 0, 0)
    whole.append(b"\xff\xd8\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff)
    contents = whole + [damaged(rng.choice(whole), rng) for _ in range(400)]
    found = tf.function(graph.of_jpeg, input_signature=[tf.TensorSpec((), tf.string)])
    expected = [orientation.of_jpeg(content) for content in contents]
    assert [int(found(tf.constant(content))) for content in contents] == expected
    assert len(set(expected)) == 8
    assert expected[len(whole) - 2 : len(whole)] == [6, 8]
