"""Folders of images as people have them: which files are images of which class and part, and what of the rest."""

import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from data_helpers import pixels, write_folder
from PIL import Image

from cnn_tuner.data.layout import scan
from cnn_tuner.data.listing import OWN, SUFFIXES, files_below
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError

FOLLOWING = DataOptions(follow_links=True)


def image(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(6, 6, 3, seed=seed)).save(path)
    return path


@pytest.fixture
def zoo(tmp_path):
    write_folder(tmp_path / "zoo", ("cat", "dog"), 4)
    return tmp_path / "zoo"


@pytest.fixture
def parted(tmp_path):
    for part in ("train", "val", "test"):
        write_folder(tmp_path / "zoo" / part, ("cat", "dog"), 3)
    return tmp_path / "zoo"


def counts(layout):
    return Counter((file.part, layout.class_names[file.class_id]) for file in layout.files)


# --- what the tool writes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["runs/.cnn-tuner", "runs/one/config.yaml", "one/config.yaml", "m/1/saved_model.pb"]
)
def test_what_the_tool_writes_is_never_data(zoo, written):
    for name in (written, written.replace("config.yaml", "run.sqlite"), "runs/one/tensorboard/events"):
        (zoo / name).parent.mkdir(parents=True, exist_ok=True)
        (zoo / name).touch()
    if not written.startswith("runs"):
        (zoo / "runs" / OWN).touch()
    layout = scan(zoo)
    assert layout.class_names == ("cat", "dog")
    [note] = layout.notes
    assert re.fullmatch(r"ignored files that cnn-tuner wrote: \d", note)


def test_a_class_in_which_runs_were_written_keeps_its_images(zoo):
    (zoo / "cat" / OWN).touch()
    (zoo / "cat" / "runs").mkdir()
    (zoo / "cat" / "runs" / OWN).touch()
    assert counts(scan(zoo)) == {("train", "cat"): 4, ("train", "dog"): 4}


def test_the_empty_folder_of_runs_to_come_is_no_class(zoo):
    from cnn_tuner.runs.folders import check_writable

    check_writable(zoo / "runs")
    assert scan(zoo).class_names == ("cat", "dog")


# --- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test", "Test", "val", "validation", "dev", "testing", "training"])
def test_a_part_beside_classes_is_refused(zoo, name):
    image(zoo / name / "1.png")
    with pytest.raises(
        DataError,
        match=rf"zoo/{name}: is called like a part and lies beside classes, cat, dog; put those into a folder train, "
        rf"or rename it, or leave it out with --leave-out {name}$",
    ):
        scan(zoo)
    layout = scan(zoo, DataOptions(leave_out=(name,)))
    assert layout.class_names == ("cat", "dog")
    assert layout.notes == ("ignored files in folders that are left out: 1",)


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_part_without_class_folders_is_told_so(parted, is_empty):
    for path in sorted((parted / "test").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    if not is_empty:
        image(parted / "test" / "1.png")
    with pytest.raises(
        DataError,
        match=r"zoo/test: has no class folders, as train has; sort its images into them, or leave it out with "
        r"--leave-out test$",
    ):
        scan(parted)
    assert scan(parted, DataOptions(leave_out=("test",))).parts == ("train", "val")


@pytest.mark.parametrize(
    "names", [("Train", "Val", "Test"), ("training", "validation", "testing"), ("TRAIN", "dev", "TEST")]
)
def test_parts_are_known_by_other_names(parted, names):
    for part, name in zip(("train", "val", "test"), names, strict=True):
        (parted / part).rename(parted / f"_{name}")
        (parted / f"_{name}").rename(parted / name)
    layout = scan(parted)
    assert layout.parts == ("train", "val", "test")
    assert set(counts(layout).values()) == {3}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tset", r"; did you mean test\?; else leave it out with --leave-out tset$"),
        ("holdout", "; else leave it out with --leave-out holdout$"),
    ],
)
def test_what_lies_beside_the_parts_is_named_with_a_suggestion(parted, name, told):
    (parted / "test").rename(parted / name)
    with pytest.raises(
        DataError, match=rf"zoo/{name}: lies beside train, so it must be val or test, and .* once{told}"
    ):
        scan(parted)


def test_a_part_is_there_once(parted):
    write_folder(parted / "valid", ("cat",), 1)
    with pytest.raises(DataError, match=r"zoo/valid: is val as val is, and each part may be there once$"):
        scan(parted)


def test_a_class_of_test_that_is_called_otherwise(parted):
    (parted / "test" / "cat").rename(parted / "test" / "Cats")
    with pytest.raises(DataError, match=r"test/Cats: labels out of range: .* it has cat, dog; did you mean cat\?$"):
        scan(parted)


def test_only_a_folder_that_is_there_is_left_out(zoo):
    with pytest.raises(UsageError, match=r"^--leave-out owl: .*zoo has no such folder$"):
        scan(zoo, DataOptions(leave_out=("owl",)))


def test_a_folder_around_the_classes_is_seen(zoo):
    (zoo.parent / "out").mkdir()
    zoo.rename(zoo.parent / "out" / "zoo")
    with pytest.raises(DataError, match=r"out: has only one class folder, zoo; .* did you mean .*out/zoo, which has 2"):
        scan(zoo.parent / "out")


# --- what lies about ------------------------------------------------------------------------------------------------


def test_folders_of_systems_are_passed_over_and_counted(zoo):
    for name in ("__MACOSX/cat/1.png", "@eaDir/1.png", "cat/@eaDir/2.png"):
        image(zoo / name)
    for name in ("Thumbs.db", "cat/desktop.ini", ".DS_Store", ".git/config"):
        (zoo / name).parent.mkdir(exist_ok=True)
        (zoo / name).touch()
    layout = scan(zoo)
    assert layout.class_names == ("cat", "dog")
    assert len(layout.files) == 8
    assert layout.notes == ("ignored files of the system: 5",)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".Png"])
def test_other_names_of_kinds_are_read(zoo, suffix):
    (zoo / "cat" / "000.png").rename(zoo / "cat" / f"000{suffix}")
    assert counts(scan(zoo))["train", "cat"] == 4


def test_kinds_that_are_not_read_are_counted_by_kind(zoo):
    for name in ("a.heif", "b.HEIC", "c.heic", "d.avif", "e.txt", "f", "g.NEF"):
        (zoo / "cat" / name).touch()
    assert scan(zoo).notes == (
        "ignored AVIF images, a kind that is not read: 1",
        "ignored HEIC images, a kind that is not read: 3",
        "ignored files that are no images: 1",
        "ignored files without a suffix: 1",
        "ignored raw images, a kind that is not read: 1",
    )


def test_a_class_of_images_that_are_not_read(zoo):
    for path in (zoo / "cat").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(
        DataError,
        match=r"cat: class without an image of a kind that is read but with HEIC images: 4; save them as PNG or JPEG$",
    ):
        scan(zoo)


def test_folders_inside_a_class_are_the_classs_own(zoo):
    for number, name in enumerate(("2019/1.png", "2020/05/1.png", "2020/06/1.png")):
        image(zoo / "cat" / name, number)
    (zoo / "cat" / "2020" / "notes.txt").touch()
    layout = scan(zoo)
    assert counts(layout) == {("train", "cat"): 7, ("train", "dog"): 4}
    assert layout.notes == (
        "ignored files that are no images: 1",
        "images in folders inside class folders, read as the class's own: 3",
    )


# --- links ----------------------------------------------------------------------------------------------------------


def test_links_are_followed_where_that_is_asked_for(zoo, tmp_path):
    write_folder(tmp_path / "store", ("owl",), 3)
    (zoo / "owl").symlink_to(tmp_path / "store" / "owl")
    (zoo / "cat" / "out.png").symlink_to(tmp_path / "store" / "owl" / "000.png")
    (zoo / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    layout = scan(zoo)
    assert counts(layout) == {("train", "cat"): 4, ("train", "dog"): 4}
    assert layout.notes == (
        "ignored links that lead nowhere: 1",
        "ignored links that lead out of the folder: 2, read with --follow-links",
    )
    layout = scan(zoo, FOLLOWING)
    assert counts(layout) == {("train", "cat"): 5, ("train", "dog"): 4, ("train", "owl"): 3}
    assert layout.notes == ("ignored links that lead nowhere: 1",)


def test_a_class_of_links_says_what_reads_them(zoo, tmp_path):
    (tmp_path / "cache").mkdir()
    for path in list((zoo / "cat").iterdir()):
        path.rename(tmp_path / "cache" / path.name)
        path.symlink_to(tmp_path / "cache" / path.name)
    with pytest.raises(
        DataError,
        match=r"cat: class without an image but with links that lead out of the folder: 4; read them with "
        r"--follow-links$",
    ):
        scan(zoo)
    assert len(scan(zoo, FOLLOWING).files) == 8


@pytest.mark.parametrize("options", [DataOptions(), FOLLOWING])
def test_links_in_a_circle_end(zoo, options):
    (zoo / "cat" / "around").symlink_to(zoo)
    (zoo / "dog" / "itself").symlink_to(".")
    layout = scan(zoo, options)
    assert layout.notes == ("ignored links to a folder that they lie in: 2",)
    assert len(layout.files) == 8


# --- anything -------------------------------------------------------------------------------------------------------

FOLDERS = ["cat", "dog", "train", "test", "val", "Train", "__MACOSX", ".git", "runs", "2020", "a b", "ü", "Testing"]
FILES = ["1.png", "2.jpg", "3.JFIF", "x.txt", "y", "z.heic", ".DS_Store", "Thumbs.db", "long" * 40 + ".png", "n\nl.png"]
COUNTED = re.compile(r": (\d+)(?:, read with --follow-links)?$")


def grow(folder, rng, deep=0):
    """A random tree of folders, images, broken and empty files, and links."""
    folder.mkdir(exist_ok=True)
    for name in rng.sample(FILES, rng.randint(0, 4)):
        path = folder / name
        kind = rng.random()
        if kind < 0.7 and path.suffix.lower() in SUFFIXES:
            Image.fromarray(pixels(5, 5, 3, seed=rng.randrange(99))).save(path, format="PNG")
        elif kind < 0.8:
            path.symlink_to(rng.choice(["/etc/hostname", "nowhere", ".", "..", "1.png"]))
        else:
            path.write_bytes(b"" if kind < 0.9 else rng.randbytes(40))
    for name in rng.sample(FOLDERS, rng.randint(0, 3) if deep else rng.randint(1, 4)):
        if rng.random() < 0.1:
            (folder / name).symlink_to(rng.choice([".", "..", "cat", "/tmp", "nowhere"]))
        elif deep < 3:
            grow(folder / name, rng, deep + 1)


def plant(folder, rng):
    """A tree whose classes have images enough, with what is found beside them in real folders."""
    for name in rng.sample(["cat", "dog", "a b", "ü"], rng.randint(2, 4)):
        (folder / name).mkdir(parents=True)
        for number in range(rng.randint(12, 20)):
            picture = Image.fromarray(pixels(9, 9, 3, seed=rng.randrange(999)))
            picture.save(folder / name / f"{number}{rng.choice(['.png', '.JPG', '.bmp'])}", format="PNG")
        for beside in rng.sample(["x.txt", ".DS_Store", "Thumbs.db", "._1.png"], 2):
            (folder / name / beside).write_bytes(rng.randbytes(40))


def test_what_is_counted_adds_up_in_any_tree(tmp_path):
    scanned = 0
    for seed in range(300):
        root = tmp_path / str(seed)
        grow(root, random.Random(seed))
        try:
            layout = scan(root)
        except (DataError, UsageError) as error:
            assert "\n" not in str(error)
            continue
        scanned += 1
        ignored = [note for note in layout.notes if note.startswith("ignored")]
        through_links = sum(any(p.is_symlink() for p in f.path.parents if p != root) for f in layout.files)
        if not through_links:  # else a file is met twice
            links = sum(path.is_symlink() and path.is_dir() for path in root.rglob("[!.]*"))
            told = len(layout.files) + sum(int(COUNTED.search(note)[1]) for note in ignored)
            assert told <= files_below(root) + links, (seed, layout.notes)
            assert told >= files_below(root) - links, (seed, layout.notes)
    assert scanned > 20


@pytest.mark.slow
def test_plan_ends_with_one_line_in_any_tree(tmp_path):
    """The command itself, some trees at a time in a process, as TensorFlow takes seconds to load."""
    code = (
        "import sys\nfrom cnn_tuner import cli\nfor root in sys.argv[1:]:\n"
        "    sys.argv = ['cnn-tuner', 'plan', '--data', root, '--runs', root + '-runs', '--workers', '1']\n"
        "    try:\n        cli.main()\n"
        "    except SystemExit as ended:\n        print('ended', ended.code, flush=True)\n"
    )
    roots = []
    for seed in range(40):
        roots.append(tmp_path / str(seed))
        (plant if seed < 2 else grow)(roots[-1], random.Random(seed))
    done = subprocess.run([sys.executable, "-c", code, *map(str, roots)], capture_output=True, text=True, cwd=tmp_path)
    codes = re.findall(r"^ended (\d)$", done.stdout, re.MULTILINE)
    assert len(codes) == len(roots)
    assert codes[:2] == ["0", "0"], done.stderr
    assert set(codes) <= {"0", "2", "3"}
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == sum(code != "0" for code in codes)
