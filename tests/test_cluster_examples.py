"""The files in examples/cluster: what Ray or bash can say of them, and that their commands are ours."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from cnn_tuner.cli import app

EXAMPLES = Path(__file__).parents[1] / "examples" / "cluster"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.name != "README.md")


def test_all_are_told_of():
    told = (EXAMPLES / "README.md").read_text()
    assert all(f"`{path.name}`" in told for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_have_options_that_there_are(path):
    text = path.read_text().replace("\\\n", " ")
    commands = re.findall(r"cnn-tuner (tune (?:[^\"\n]|\"\$head:6379\")*)", text)
    assert commands
    tune = typer.main.get_command(app).commands["tune"]
    for command in commands:
        found = tune.make_context("tune", shlex.split(command)[1:], resilient_parsing=False)
        assert found.params["address"]
        assert found.params["budget"] == "1h"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nobody_else_is_let_in(path):
    assert "RAY_AUTH_MODE=token" in (text := path.read_text()) or "mode: token" in text
    assert "0.0.0.0" not in text


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="make test-cluster installs ray")
@pytest.mark.parametrize("name", ["aws", "machines"])
def test_ray_takes_them(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())))


def test_a_job_of_kuberay_is_one():
    job = yaml.safe_load((EXAMPLES / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        [container] = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_script_of_slurm_is_one():
    assert subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=False).returncode == 0
