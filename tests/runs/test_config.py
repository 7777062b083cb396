"""What a run was asked for: written, read back, refused when it is not one."""

from __future__ import annotations

import pytest
from toys import TIGHT_SPACE, toy_config, toy_space

from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs import config
from cnn_tuner.runs.config import Change
from cnn_tuner.spaces.recipe import Recipe, recipe_of


def test_what_is_written_is_read_back(tmp_path):
    changed = toy_config().model_copy(update={"changes": (Change(at="2026-01-02", text="epochs was 3, is 5"),)})
    (tmp_path / "config.yaml").write_text(changed.to_yaml())
    assert config.read(tmp_path / "config.yaml") == changed


def test_the_file_says_first_how_to_change_it():
    first, second = toy_config().to_yaml().splitlines()[:2]
    assert first == "# What this run was asked for. To change it: cnn-tuner resume --help"
    assert second == "format: 3"


@pytest.mark.parametrize("text", [None, TIGHT_SPACE])
def test_the_space_of_a_run_is_kept_with_it(text):
    kept = toy_config(*[text] * (text is not None))
    again = config.RunConfig.model_validate(kept.model_dump())
    assert again.search_space().fingerprint == kept.search_space().fingerprint


UNTRAINED = "{description: x, block: {filters: [2, 4]}"


@pytest.mark.parametrize("training", ["", ", training: {warmup: 0.1}", ", training: {schedule: [cosine, constant]}"])
def test_a_run_keeps_the_defaults_of_its_training(training):
    space = toy_space(UNTRAINED + training + "}")
    kept = toy_config().model_copy(update={"space": config.kept(space)})
    assert kept.search_space().fingerprint == space.fingerprint
    assert set(config.UNSAID) <= set(kept.space["training"])


def test_what_a_run_of_before_left_unsaid_is_as_it_was():
    space = toy_space(UNTRAINED + "}")
    recipe, *_ = map(recipe_of, toy_config().model_copy(update={"space": space.to_dict()}).search_space().points())
    assert recipe == Recipe(0.001, 32, "adam", "constant", 0.0, 0.0, 0.0)


def test_objective_and_output_follow_from_it():
    found = toy_config()
    assert found.objective == Objective("val_accuracy", "max")
    assert found.output == Output("multiclass", 4)


@pytest.mark.parametrize("text", ["a: [", "format: 3", "- 1", "", "!!python/object/apply:os.system [echo]"])
def test_a_broken_config_is_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config.yaml: not the config of a run: ") as error:
        config.read(tmp_path / "config.yaml")
    assert "\n" not in str(error.value)


def test_a_config_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"config.yaml: not the config of a run: 'utf-8' codec can't decode"):
        config.read(tmp_path / "config.yaml")


@pytest.mark.parametrize("number", [1, 99])
def test_a_run_of_an_unknown_format_is_refused(tmp_path, number):
    (tmp_path / "config.yaml").write_text(toy_config().to_yaml().replace("format: 3", f"format: {number}"))
    with pytest.raises(UsageError, match=rf"^{tmp_path}: run format {number} is not known here, only 3$"):
        config.read(tmp_path / "config.yaml")


def test_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text(toy_config().to_yaml() + "colour: red\n")
    with pytest.raises(UsageError, match=r"not the config of a run: 1 validation error for RunConfig"):
        config.read(tmp_path / "config.yaml")
