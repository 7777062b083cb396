"""What is found about data that a script has spoiled: copies, leaks, contradictions, wrong labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_helpers import labels, pixels
from PIL import Image
from sklearn.datasets import load_digits

from cnn_tuner.audit.auditing import audit
from cnn_tuner.audit.places import Place
from cnn_tuner.data.assembling import assemble_parts
from cnn_tuner.data.dataset import Part, RawData
from cnn_tuner.data.options import DataOptions
from cnn_tuner.data.registry import load_parts
from cnn_tuner.metrics import strict_json


def audited(train, test=None, **options):
    raw = RawData("x", "x", train, test=test)
    return audit(assemble_parts(raw, "x", DataOptions(**options)))


def photos(count, side=48, seed=0):
    """Smooth random images: each of its own structure, as photographs have."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC)) for each in small]
    )


def test_nothing_is_found_where_nothing_is_wrong():
    found = audited(Part(photos(60), labels(60, 3)))
    assert (found.copies, found.leaks, found.near, found.contradictions, found.constant) == ((), (), (), (), ())
    assert found.images == {"train": 60} and found.counts == {"train": (20, 20, 20)}
    assert found.imbalance is None


def test_copies_leaks_and_contradictions():
    x, y = photos(60), labels(60, 3)
    test = photos(20, seed=1)
    x[7], x[10] = x[1], x[1]  # of classes 1, 1, 1
    x[20] = x[3]  # of class 2, and 0
    test[5] = x[30]
    found = audited(Part(x, y), Part(test, labels(20, 3)))
    assert found.copies == (
        (Place("train", 1), Place("train", 7), Place("train", 10)),
        (Place("train", 3), Place("train", 20)),
        (Place("train", 30), Place("test", 5)),
    )
    assert found.leaks == ((Place("train", 30), Place("test", 5)),)
    assert (Place("train", 3), Place("train", 20)) in found.contradictions
    assert (Place("train", 1), Place("train", 7), Place("train", 10)) not in found.contradictions


def test_near_copies():
    x, changed = photos(200), photos(8)
    test = photos(40, seed=1)
    for number, image in enumerate(changed):
        picture = Image.fromarray(image)
        if number % 2:
            smaller = picture.resize((40, 40), Image.Resampling.BILINEAR)
            test[number] = np.asarray(smaller.resize((48, 48), Image.Resampling.BILINEAR))
        else:
            test[number] = (image * 0.9 + 12).astype(np.uint8)
    found = audited(Part(x, labels(200, 3)), Part(test, labels(40, 3)))
    expected = {(Place("train", number), Place("test", number)) for number in range(8)}
    assert set(found.near) == set(found.near_leaks) == expected


def test_images_of_a_single_colour():
    x = photos(30)
    x[4], x[9] = 255, np.array([1, 2, 3], np.uint8)
    found = audited(Part(x, labels(30, 3)))
    assert found.constant == (Place("train", 4), Place("train", 9))
    assert not found.near


def test_wrong_labels_are_doubted():
    digits = load_digits()
    x, y = (digits.images * 15.9).astype(np.uint8), digits.target.copy()
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(y), 36, replace=False)
    y[wrong] = (y[wrong] + rng.integers(1, 10, 36)) % 10
    found = audited(Part(x, y))
    doubted = [doubt.place.number for doubt in found.doubts]
    right = len(set(doubted) & set(wrong))
    assert right / 36 >= 0.9, "recall"
    assert right / len(doubted) >= 0.8, "precision"
    assert all(doubt.likely == str(digits.target[doubt.place.number]) for doubt in found.doubts[:10])
    assert found.knows == pytest.approx(0.97, abs=0.02)


def test_imbalance():
    found = audited(Part(photos(66), np.repeat([0, 1], [60, 6])))
    assert found.imbalance == 10


@pytest.mark.parametrize(
    ("y", "counts"),
    [(np.eye(3, dtype=int)[labels(60, 3)] | [1, 0, 0], (60, 20, 20)), (np.linspace(0, 1, 60), ())],
)
def test_other_tasks(y, counts):
    found = audited(Part(photos(60), y))
    assert found.counts == {"train": counts}
    assert (found.doubts, found.knows, found.imbalance) == ((), None, None)


def test_places_are_files_where_there_are_files(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(8):
            seed = 1 if (name, number) in {("cat", 3), ("dog", 4)} else 100 * ord(name[0]) + number
            Image.fromarray(pixels(9, 9, 3, seed=seed)).save(tmp_path / name / f"{number}.png")
    found = audit(load_parts(str(tmp_path), DataOptions()))
    [(one, two)] = found.copies
    assert (str(one), str(two)) == (str(tmp_path / "cat" / "3.png"), str(tmp_path / "dog" / "4.png"))
    assert found.contradictions == ((one, two),)


def test_it_is_json():
    found = audited(Part(photos(30), labels(30, 3)), Part(photos(30), labels(30, 3)))
    facts = json.loads(strict_json.dumps(found.to_dict()))
    assert facts["images"] == {"train": 30, "test": 30} and len(facts["leaks"]) == 30
