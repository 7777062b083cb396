"""The examples do what they say: what they draw is data, what they write is a space."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from cnn_tuner.data import registry
from cnn_tuner.data.options import DataOptions
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.spaces import architecture, tree

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_shapes_are_a_folder_of_three_classes(tmp_path):
    runpy.run_path(str(EXAMPLES / "shapes.py"))["main"](tmp_path)
    found = registry.load(str(tmp_path), DataOptions())
    assert (found.class_names, found.image_shape) == (("circle", "square", "triangle"), (32, 32, 3))


def test_pictures_of_a_patient_stay_on_one_side(tmp_path):
    runpy.run_path(str(EXAMPLES / "patients.py"))["main"](tmp_path)
    found = registry.load(str(tmp_path / "labels.csv"), DataOptions(group_column="patient"))
    train, val, test = (set(part.groups) for part in (found.train, found.val, found.test))
    assert train and val and test
    assert not train & val and not train & test and not val & test
    assert found.class_names == ("healthy", "ill")


def test_the_space_has_networks_for_images_of_its_size():
    space = tree.load(str(EXAMPLES / "small_steps.yaml"))
    for point in architecture.sample_feasible(space, (32, 32, 3), Output("multiclass", 10), 5, 0):
        assert architecture.build(point, (32, 32, 3), Output("multiclass", 10)).params <= 300_000


def test_every_example_is_listed():
    listed = re.findall(r"\]\(([\w.]+)/?(?:README\.md)?\)", (EXAMPLES / "README.md").read_text())
    assert set(listed) == {path.name for path in EXAMPLES.iterdir()} - {"README.md"}
