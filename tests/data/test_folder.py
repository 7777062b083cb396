"""Image folders: which files count, how each becomes pixels, and what is refused."""

import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from data_helpers import pixels, write_folder
from PIL import Image, PngImagePlugin

from cnn_tuner.data import pictures
from cnn_tuner.data.decoding import decoded
from cnn_tuner.data.folder import load as found
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.pictures import BrokenImageError, read_image, read_image_bytes
from cnn_tuner.data.registry import load
from cnn_tuner.errors import DataError

OPTIONS = DataOptions()
SKIP = DataOptions(skip_broken=True)
WANTED = r"needs DIR/<class>/\*.png or DIR/\{train,val,test\}/<class>/\*.png"


def load_raw(source, options):
    return decoded(found(source, options), options)


@pytest.fixture
def zoo(tmp_path):
    write_folder(tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.fixture
def parted(tmp_path):
    """train, val and test, each with the classes cat and dog."""
    for seed, (part, count) in enumerate((("train", 12), ("val", 5), ("test", 4))):
        write_folder(tmp_path / "zoo" / part, ("cat", "dog"), count, seed=100 * seed)
    return tmp_path / "zoo"


def image_notes(root, options=OPTIONS):
    return load_raw(str(root), options).notes


def remove(folder, *names):
    for name in names:
        shutil.rmtree(folder / name)


def png_header(width, height):
    """A PNG that claims to be this large, up to where its pixels would begin."""
    chunk = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(4) + b"IDAT"
    )


# --- which files ----------------------------------------------------------------------------------------------------


def test_classes_are_the_sorted_folders(zoo):
    dataset = load(str(zoo), OPTIONS)
    assert (dataset.name, dataset.task, dataset.class_names) == ("zoo", "multiclass", ("cat", "dog", "owl"))
    assert dataset.image_shape == (9, 9, 3)
    raw = load_raw(str(zoo), OPTIONS)
    assert raw.train.y.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert (raw.train.x[21] == pixels(9, 9, 3, seed=1001)).all()


def test_given_parts(parted):
    dataset = load(str(parted), OPTIONS)
    assert (dataset.task, dataset.outputs, dataset.class_names) == ("binary", 1, ("cat", "dog"))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (24, 10, 8)
    (parted / "val").rename(parted / "validation")
    assert load(str(parted), OPTIONS).fingerprint == dataset.fingerprint
    shutil.rmtree(parted / "validation")
    assert len(load(str(parted), OPTIONS).val) == 4


def test_a_class_may_be_called_train(tmp_path):
    source = write_folder(tmp_path / "vehicles", ("bus", "train"))
    assert load(source, OPTIONS).class_names == ("bus", "train")


def test_the_order_of_the_file_system_does_not_matter(zoo, tmp_path):
    for path in sorted(zoo.rglob("*.png"), reverse=True):
        target = tmp_path / "copy" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert load(str(tmp_path / "copy"), OPTIONS).fingerprint == load(str(zoo), OPTIONS).fingerprint


def test_what_is_no_image_is_counted(zoo):
    (zoo / "README").touch()
    (zoo / "cat" / "notes.txt").touch()
    (zoo / "dog" / "notes.md").touch()
    (zoo / "dog" / "more").mkdir()
    (zoo / "dog" / ".hidden.png").touch()
    (zoo / ".git").mkdir()
    assert image_notes(zoo) == (
        "ignored files beside the class folders: 1",
        "ignored files that are no images: 2",
    )


def test_files_beside_the_parts_are_counted(parted):
    (parted / "README").touch()
    (parted / "train" / "labels.csv").touch()
    assert image_notes(parted) == ("ignored files beside the class folders: 2",)


def test_links_must_stay_in_the_folder(zoo, tmp_path):
    outside = write_folder(tmp_path / "outside", ("x",), 3)
    (zoo / "evil").symlink_to(outside)
    (zoo / "cat" / "out.png").symlink_to(tmp_path / "outside" / "x" / "000.png")
    (zoo / "cat" / "nowhere.png").symlink_to("missing.png")
    (zoo / "cat" / "loop.png").symlink_to("loop.png")
    (zoo / "cat" / "in.png").symlink_to("../dog/000.png")
    raw = load_raw(str(zoo), OPTIONS)
    assert raw.notes == (
        "ignored links that lead nowhere: 2",
        "ignored links that lead out of the folder: 2, read with --follow-links",
    )
    assert len(raw.train) == 61
    (tmp_path / "link").symlink_to(zoo)
    assert len(load_raw(str(tmp_path / "link"), OPTIONS).train) == 61


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(zoo):
    os.mkfifo(zoo / "cat" / "pipe.png")
    assert image_notes(zoo) == ("ignored pipes, sockets and devices: 1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda zoo: remove(zoo, "dog", "owl"),
            rf"zoo: has only one class folder, cat; {WANTED} with at least two class",
        ),
        (
            lambda zoo: remove(zoo, "cat", "dog", "owl"),
            rf"zoo: has no class folders; {WANTED} with at least two classes$",
        ),
        (
            lambda zoo: (zoo / "ant").mkdir(),
            r"zoo/ant: class without an image; add some \(.png, .*.tiff\) or delete it$",
        ),
    ],
)
def test_a_folder_without_classes(zoo, change, message):
    change(zoo)
    with pytest.raises(DataError, match=message):
        load(str(zoo), OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda zoo: write_folder(zoo / "test", ("eel",)),
            r"zoo/test/eel: labels out of range: train has no such class; it has cat, dog$",
        ),
        (
            lambda zoo: write_folder(zoo, ("extra",)),
            r"zoo/extra: lies beside train, so it must be val or test, and each of them once; else leave it out with",
        ),
        (lambda zoo: remove(zoo, "train"), rf"zoo: has test, val but no train; {WANTED}$"),
        (
            lambda zoo: remove(zoo / "val", "dog") or (zoo / "val" / "dog").mkdir(),
            r"zoo/val/dog: class without an image",
        ),
    ],
)
def test_parts_that_do_not_fit(parted, change, message):
    change(parted)
    with pytest.raises(DataError, match=message):
        load(str(parted), OPTIONS)


def test_a_task_that_folders_cannot_have(zoo):
    with pytest.raises(
        DataError, match=r"zoo: --task regression needs numbers; class folders allow binary, multiclass$"
    ):
        load(str(zoo), DataOptions(task="regression"))


def test_a_class_that_is_too_small_for_a_split(tmp_path):
    with pytest.raises(DataError, match=r"zoo: class 'cat' has too few images, 2; at least 3 are needed, one each for"):
        load(write_folder(tmp_path / "zoo", ("cat", "dog"), 2), OPTIONS)


# --- broken images --------------------------------------------------------------------------------------------------


def break_images(zoo):
    (zoo / "cat" / "empty.png").touch()
    (zoo / "dog" / "text.jpg").write_text("no image")
    half = (zoo / "owl" / "000.png").read_bytes()[:150]
    (zoo / "owl" / "half.png").write_bytes(half)


def test_a_broken_image_is_named(zoo):
    (zoo / "dog" / "text.jpg").write_text("no image")
    advice = "repair or delete it, or skip such images with --skip-broken"
    with pytest.raises(
        DataError, match=rf"zoo/dog/text.jpg: broken image: is none of PNG, JPEG, .*, WEBP, TIFF; {advice}$"
    ):
        load(str(zoo), OPTIONS)


def test_an_image_that_ends_too_early_is_broken(zoo):
    (zoo / "owl" / "half.png").write_bytes((zoo / "owl" / "000.png").read_bytes()[:150])
    with pytest.raises(DataError, match=r"zoo/owl/half.png: broken image: .+; repair or delete it, or skip"):
        load(str(zoo), OPTIONS)


def test_broken_images_are_skipped_only_on_demand(zoo):
    whole = load(str(zoo), OPTIONS)
    break_images(zoo)
    dataset = load(str(zoo), SKIP)
    assert "skipped broken images: 3 (cat/empty.png, dog/text.jpg, owl/half.png)" in dataset.notes
    assert dataset.fingerprint == whole.fingerprint
    (zoo / "cat" / "more.png").touch()
    assert "skipped broken images: 4 (cat/empty.png, cat/more.png, dog/text.jpg and 1 more)" in image_notes(zoo, SKIP)


def test_a_class_of_broken_images(zoo):
    for path in (zoo / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"zoo: y_train: class 'dog' has no image; every class needs some in train$"):
        load(str(zoo), SKIP)


def test_nothing_but_broken_images(parted):
    for path in (parted / "test").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"zoo: every image of test is broken; repair them$"):
        load(str(parted), SKIP)
    for path in parted.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"zoo: every image is broken; repair them$"):
        load(str(parted), SKIP)


@pytest.mark.parametrize(
    ("width", "height", "got"),
    [(10_001, 10_000, "got 10001x10000 pixels"), (60_000, 60_000, r"got Image size \(3600000000 pixels\)")],
)
def test_a_huge_image_is_refused_before_it_is_decoded(zoo, width, height, got):
    (zoo / "cat" / "huge.png").write_bytes(png_header(width, height))
    with pytest.raises(DataError, match=rf"huge.png: image too large: must have at most 100 megapixels, {got}"):
        load(str(zoo), OPTIONS)
    assert "skipped broken images: 1 (cat/huge.png)" in image_notes(zoo, SKIP)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_not_skipped(zoo):
    (zoo / "cat" / "000.png").chmod(0)
    with pytest.raises(
        DataError, match=r"zoo/cat/000.png: no permission to read it; change its mode, or read it as its o"
    ):
        load(str(zoo), SKIP)


def test_a_name_with_a_newline_stays_on_one_line(zoo):
    (zoo / "cat" / "a\nb.png").touch()
    with pytest.raises(DataError, match=r"zoo/cat/a\\nb.png': broken image") as caught:
        load(str(zoo), OPTIONS)
    assert "\n" not in str(caught.value)


# --- size and channels ----------------------------------------------------------------------------------------------


def write_sizes(root, *sizes, mode="RGB"):
    """Two classes with one image of each (height, width)."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for index, (height, width) in enumerate(sizes):
            image = Image.fromarray(pixels(height, width, 3, seed=index)).convert(mode)
            image.save(root / name / f"{index}.png")
    return root


SHRUNK = ", shrunk to 128 a side, as larger ones train slowly (--image-size)"


@pytest.mark.parametrize(
    ("sizes", "image_size", "expected", "note", "why"),
    [
        ([(128, 100)] * 3, None, (128, 100), None, ""),
        ([(256, 100)] * 3, None, (128, 50), "images of 256x100", SHRUNK),
        (
            [(20, 30), (40, 60), (30, 50)],
            None,
            (30, 50),
            "images of 3 sizes from 20x30 to 40x60",
            ", their median (--image-size)",
        ),
        (
            [(300, 400), (600, 200), (100, 500)],
            None,
            (96, 128),
            "images of 3 sizes from 100x500 to 600x200",
            ", their median shrunk to 128 a side, as larger ones train slowly (--image-size)",
        ),
        ([(500, 1)] * 3, None, (128, 1), "images of 500x1", SHRUNK),
        ([(20, 30)] * 3, (7, 200), (7, 200), "images of 20x30", ""),
    ],
)
def test_the_size(tmp_path, sizes, image_size, expected, note, why):
    write_sizes(tmp_path / "zoo", *sizes)
    raw = load_raw(str(tmp_path / "zoo"), DataOptions(image_size=image_size))
    assert raw.train.x.shape[1:] == (*expected, 3)
    resized = f"were resized to {expected[0]}x{expected[1]} (height x width){why}, the aspect not kept"
    assert raw.notes == ((f"{note} {resized}",) if note else ())
    assert raw.preprocessing is not None and raw.preprocessing.image_shape == (*expected, 3)


def write_deep(root, highest):
    for seed, path in enumerate(sorted(root.rglob("*.png"))):
        values = pixels(8, 9, seed=seed).astype(np.uint16) * 257
        Image.fromarray((values.astype(np.uint32) * highest // 65_535).astype(np.uint16)).save(path)


def test_16_bits_of_which_few_are_used_are_refused(zoo):
    write_deep(zoo, 4095)
    with pytest.raises(
        DataError,
        match=r"zoo: 16 bit images whose highest value is 4,095, so that 16 of 256 grey levels would be left; "
        r"save them as 8 bits, or multiplied by 16$",
    ):
        load(str(zoo), OPTIONS)
    write_deep(zoo, 4095 * 16)
    assert np.asarray(load_raw(str(zoo), OPTIONS).train.x).max() == 255


def test_a_png_may_have_much_text(zoo):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 2_000_000, zip=True)
    Image.fromarray(pixels(9, 9, 3, seed=1)).save(zoo / "cat" / "000.png", pnginfo=text)
    assert len(load_raw(str(zoo), OPTIONS).train) == 60


@pytest.mark.parametrize(
    ("mode", "channels", "expected", "note"),
    [
        ("L", None, 1, None),
        ("1", None, 1, None),
        ("LA", None, 1, "images whose transparency was dropped: 6"),
        ("I;16", None, 1, None),
        ("RGB", None, 3, None),
        ("P", None, 3, None),
        ("RGBA", None, 3, "images whose transparency was dropped: 6"),
        ("L", 3, 3, "grey images read as colour: 6"),
        ("RGB", 1, 1, "colour images read as grey: 6"),
    ],
)
def test_the_channels(tmp_path, mode, channels, expected, note):
    if mode == "I;16":
        write_sizes(tmp_path / "zoo", *[(8, 9)] * 3, mode="L")
        for path in (tmp_path / "zoo").rglob("*.png"):
            Image.fromarray(pixels(8, 9).astype(np.uint16) * 257).save(path)
    else:
        write_sizes(tmp_path / "zoo", *[(8, 9)] * 3, mode=mode)
    raw = load_raw(str(tmp_path / "zoo"), DataOptions(channels=channels))
    assert raw.train.x.shape[1:] == (8, 9, expected)
    assert raw.notes == ((note,) if note else ())


def test_grey_and_colour_mixed(zoo):
    Image.fromarray(pixels(9, 9)).save(zoo / "cat" / "grey.png")
    raw = load_raw(str(zoo), OPTIONS)
    assert raw.train.x.shape[1:] == (9, 9, 3) and raw.notes == ("grey images read as colour: 1",)


# --- one image ------------------------------------------------------------------------------------------------------


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_one_image_is_read_as_in_training(tmp_path):
    root = write_sizes(tmp_path / "zoo", (20, 30), (40, 61), (33, 50))
    raw = load_raw(str(root), OPTIONS)
    paths = sorted(root.rglob("*.png"))
    for path, expected in zip(paths, raw.train.x, strict=True):
        assert (read_image(path, raw.train.x.shape[1:]) == expected).all()
        assert (read_image_bytes(path.read_bytes(), raw.train.x.shape[1:]) == expected).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_model_can_be_fed(tmp_path, channels):
    path = tmp_path / "a.png"
    Image.fromarray(pixels(20, 30, 3)).save(path)
    assert read_image(str(path), (8, 7, channels)).shape == (8, 7, channels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "JPEG", "TIFF"])
def test_every_kind_of_file(kind):
    x = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read_image_bytes(encoded(Image.fromarray(x), kind, **options), (16, 16, 3))
    assert np.abs(found.astype(int) - x).max() <= (3 if kind == "JPEG" else 0)


def test_16_bit_grey_is_divided_not_clipped():
    x = pixels(8, 9)
    found = read_image_bytes(encoded(Image.fromarray(x.astype(np.uint16) * 257), "PNG"), (8, 9, 1))
    assert (found[..., 0] == x).all()


def test_transparency_is_dropped_with_and_without_a_palette():
    rgba = pixels(8, 9, 4)
    found = read_image_bytes(encoded(Image.fromarray(rgba), "PNG"), (8, 9, 3))
    assert (found == rgba[..., :3]).all()
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    data = encoded(palette, "PNG", transparency=b"\x00\x80")
    assert read_image_bytes(data, (2, 2, 3)).tolist() == [[[10, 20, 30], [40, 50, 60]], [[40, 50, 60], [10, 20, 30]]]


def test_the_first_frame_counts():
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (30, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_image_bytes(data, (8, 8, 3)) == 30).all()


def test_exif_orientation_is_not_applied():
    image = Image.fromarray(pixels(8, 16, 3))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    upright, turned = encoded(image, "PNG"), encoded(image, "PNG", exif=exif)
    assert (read_image_bytes(turned, (8, 16, 3)) == read_image_bytes(upright, (8, 16, 3))).all()


def test_shrinking_averages():
    x = np.zeros((64, 64), np.uint8)
    x[:, ::2] = 255
    found = read_image_bytes(encoded(Image.fromarray(x), "PNG"), (4, 4, 1))
    assert np.abs(found.astype(int) - 127).max() <= 10


@pytest.mark.parametrize(
    ("size", "aspect", "fit", "expected"),
    [
        ((10, 20), (8, 8), "stretch", (0, 0, 20, 10)),
        ((10, 20), (8, 8), "crop", (5, 0, 15, 10)),
        ((10, 20), (8, 8), "pad", (0, -5, 20, 15)),
        ((21, 10), (8, 8), "crop", (0, 5, 10, 15)),
        ((21, 10), (8, 8), "pad", (-6, 0, 15, 21)),
        ((10, 20), (4, 8), "crop", (0, 0, 20, 10)),
        ((10, 20), (4, 8), "pad", (0, 0, 20, 10)),
        ((9, 1000), (8, 8), "crop", (495, 0, 504, 9)),
        ((1, 3), (1000, 1), "crop", (1, 0, 2, 1)),
    ],
)
def test_the_part_of_an_image_that_keeps_an_aspect(size, aspect, fit, expected):
    assert pictures.box(*size, aspect, fit) == expected


def test_padding_is_black_and_cropping_takes_the_middle(tmp_path):
    x = pixels(8, 16, 3)
    Image.fromarray(x).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", (8, 8, 3), fit="crop"), x[:, 4:12])
    padded = read_image(tmp_path / "x.png", (16, 16, 3), fit="pad")
    np.testing.assert_array_equal(padded[4:12], x)
    assert not padded[:4].any() and not padded[12:].any()


def test_a_border_that_would_take_all_memory_is_refused(tmp_path):
    Image.fromarray(np.zeros((1, 60_000), np.uint8)).save(tmp_path / "x.png")
    told = r"x.png: image too large: must have at most 100 megapixels, got 60000x60000 with its border$"
    with pytest.raises(BrokenImageError, match=told):
        read_image(tmp_path / "x.png", (8, 8, 1), fit="pad")
    assert read_image(tmp_path / "x.png", (8, 8, 1), fit="crop").shape == (8, 8, 1)


def test_other_kinds_of_files_are_not_opened():
    data = encoded(Image.fromarray(pixels(8, 8, 3)), "PPM")
    with pytest.raises(BrokenImageError, match=r"^upload: broken image: is none of PNG, JPEG, BMP, GIF, WEBP, TIFF$"):
        read_image_bytes(data, (8, 8, 3), "upload")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_a_tiff_of_several_pages_gives_the_first(compression):
    pages = [Image.fromarray(pixels(8, 8, 3, seed=seed)) for seed in (0, 1)]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    np.testing.assert_array_equal(read_image_bytes(data, (8, 8, 3)), pixels(8, 8, 3))


def test_cmyk_becomes_rgb():
    image = Image.frombytes("CMYK", (8, 8), bytes((255, 0, 0, 0)) * 64)
    for kind in ("TIFF", "JPEG"):
        assert read_image_bytes(encoded(image, kind), (8, 8, 3))[0, 0].tolist() == pytest.approx([0, 255, 255], abs=3)


def test_floating_point_pixels_are_refused():
    data = encoded(Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)), "TIFF")
    told = r"^upload: broken image: has floating-point pixels, whose range nobody knows; save it with 8 or 16 bits$"
    with pytest.raises(BrokenImageError, match=told):
        read_image_bytes(data, (8, 8, 1), "upload")


def test_a_missing_or_broken_image_to_predict(tmp_path):
    with pytest.raises(DataError, match=r"cat.png: no such file or folder$"):
        read_image(tmp_path / "cat.png", (8, 8, 3))
    with pytest.raises(DataError, match=r": is a folder, must be a file$"):
        read_image(tmp_path, (8, 8, 3))
    (tmp_path / "cat.png").write_bytes(b"?")
    with pytest.raises(BrokenImageError, match=r"cat.png: broken image: is none of"):
        read_image(tmp_path / "cat.png", (8, 8, 3))
