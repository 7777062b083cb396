"""The command line as a person, a script and a shell meet it."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toys
import typer
from data_helpers import write_folder
from PIL import Image
from runs.test_folders import holding
from search.test_planning import POINTS
from tensorboard import program
from toys import SPACE, FormulaExecutor, NoLogs, toy_config, toy_part, toy_run

from cnn_tuner import cli
from cnn_tuner.api import stopping
from cnn_tuner.commands import tensorboard, tune
from cnn_tuner.errors import VerificationError
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search import planning, winner
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.session import Outcome
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.search.tuning import Tuning


def write_toys(folder: Path) -> list[str]:
    """Small data and a small space; the arguments of a search of them."""
    part = toy_part("multiclass", 160, 0)
    np.savez(folder / "toy.npz", x_train=part.x, y_train=part.y)
    (folder / "toy.yaml").write_text(SPACE)
    Image.fromarray(part.x[1, :, :, 0]).save(folder / "one.png")
    return ["--data", f"npz:{folder / 'toy.npz'}", "--space", str(folder / "toy.yaml"), "--runs", str(folder / "runs")]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with one complete run, made by the command itself in a process of its own, and what that printed."""
    folder = tmp_path_factory.mktemp("cli")
    short = ["--max-trials=2", "--epochs=8", "--final-epochs=8", "--finalists=1", "--final-seeds=1", "--workers=1"]
    arguments = ["tune", *write_toys(folder), *short, "--json"]
    done = subprocess.run([sys.executable, "-m", "cnn_tuner.cli", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_json_is_the_last_line_of_stdout_and_progress_goes_to_stderr(tuned):
    _, done = tuned
    [line] = done.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == {
        "run", "trials", "best", "baselines", "refit", "retrained", "test", "test_intervals", "test_accuracy", "export",
        "formats_unmet", "report", "interrupted", "seconds",
    }  # fmt: skip
    assert (found["run"], found["trials"]) == ("toy-toy-1", 2)
    assert set(found["best"]) == {"trial", "values", "objective", "params", "macs"}
    assert (Path(found["export"]) / "saved_model.pb").is_file()
    assert found["test_accuracy"] == found["test"]["accuracy"] > 0.5


def test_a_format_that_could_not_be_had_ends_with_4_and_what_there_is(tuned, cnn_tuner, monkeypatch):
    run = RunStore.open(tuned[0] / "runs" / "toy-toy-1")
    found = {"tf_saved_model": 0.0, "keras": 0.0}
    outcome = Outcome(
        run.folder, run.trials(), run.config.objective, run.winner(), {}, run.latest_export(), found, 1.0, True
    )
    asked = []
    monkeypatch.setattr(
        Tuning,
        "run",
        lambda self: (
            asked.append(self.request.formats) or dataclasses.replace(outcome, unmet="onnx: no such operation")
        ),
    )
    code, out, err = cnn_tuner("tune", "--format", "keras,onnx")
    assert asked == [("tf_saved_model", "keras", "onnx")]
    assert code == 4
    assert f"export    {run.latest_export()}\n" in out
    assert err == "error: the export lacks a format: onnx: no such operation\n"


def test_without_a_terminal_progress_is_plain_lines_and_tensorflow_is_quiet(tuned):
    _, done = tuned
    lines = done.stderr.splitlines()
    assert lines[0].startswith("toy: ")
    assert any(line.startswith("trial 2/2  ") for line in lines)
    assert "\x1b" not in done.stderr
    for chatter in ("oneDNN", "absl", "cuda", "WARNING", "Warning", "retracing"):
        assert chatter not in done.stderr
    assert any(line.startswith("verified ") for line in lines)


def test_what_to_do_next_is_told_as_it_can_be_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "cnn-tuner")])
    monkeypatch.setenv("PATH", "")
    assert tune._program() == ".venv/bin/cnn-tuner"
    program = tmp_path / "cnn-tuner"
    program.write_text("")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tune._program() == "cnn-tuner"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "cnn_tuner" / "__main__.py")])
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.12")
    assert tune._program() == "python3.12 -m cnn_tuner"


def test_runs_lists_them(tuned, cnn_tuner):
    code, out, _ = cnn_tuner("runs", "--runs", tuned[0] / "runs")
    assert code == 0
    assert re.search(r"toy-toy-1 +complete +2 +val_accuracy +0\.\d{4}|1\.0000 +accuracy", out)
    _, out, _ = cnn_tuner("runs", "--runs", tuned[0] / "runs", "--json")
    assert json.loads(out)[0]["state"] == "complete"


def test_a_run_that_cannot_be_read_does_not_hide_the_others(tmp_path, cnn_tuner):
    for name in ("whole", "cut-off"):
        RunStore.create(tmp_path, name, toy_config()).close()
    file = tmp_path / "cut-off" / "run.sqlite"
    file.write_bytes(file.read_bytes()[:-5000])
    code, out, err = cnn_tuner("runs", "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert re.search(r"^whole +unfinished +0 ", out, re.MULTILINE)
    assert re.search(r"^cut-off +unreadable +- ", out, re.MULTILINE)
    _, out, _ = cnn_tuner("runs", "--runs", tmp_path, "--json")
    assert {row["run"]: row["state"] for row in json.loads(out)} == {"whole": "unfinished", "cut-off": "unreadable"}
    code, _, err = cnn_tuner("show", "cut-off", "--runs", tmp_path)
    assert (code, err.count("\n")) == (5, 1)
    assert err.startswith(f"error: {file}: cannot be read: ")


def test_runs_says_when_there_are_none(cnn_tuner, tmp_path):
    assert cnn_tuner("runs", "--runs", tmp_path)[:2] == (0, f"{tmp_path}: no runs yet; start one with cnn-tuner tune\n")


def test_show_has_every_trial_and_the_winner(tuned, cnn_tuner):
    code, out, _ = cnn_tuner("show", "toy-toy-1", "--runs", tuned[0] / "runs")
    assert code == 0
    for text in ("random search of toy, seed 0", "val_accuracy", "winner    trial", "scores    ", "test      accuracy"):
        assert text in out
    assert "\nwhat mattered: too few trials to tell: 2 with a score, at least 10 are needed\n" in out
    _, out, _ = cnn_tuner("show", "--runs", tuned[0] / "runs", "--json")
    found = json.loads(out)
    assert len(found["trials"]) == 2
    assert len(found["trials"][0]["epochs"]) >= 8
    assert found["winner"]["test_images"] == 32
    assert found["importance"] == {
        "trials": 2, "best": 0, "hyperparameters": [],
        "reason": "too few trials to tell: 2 with a score, at least 10 are needed",
    }  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder with a run of forty trials, by a formula that filters, a hidden layer and epochs improve."""
    folder = tmp_path_factory.mktemp("searched")
    run = toy_run(folder, oracle="random", max_trials=40, epochs=2)
    with run.at_work("cnn-tuner tune", {"python": "3"}):
        Search(run, make_oracle(run.config), FormulaExecutor(), NoLogs(), Silent()).run()
    run.close()
    return folder


def test_show_tells_what_mattered(searched, cnn_tuner):
    code, out, err = cnn_tuner("show", "--runs", searched)
    assert (code, err) == (0, "")
    head = r"\nwhat mattered, by what the best \d+ of 40 trials have more often than the others\n"
    table = r"hyperparameter +share +the best have, the commonest first *\nblock_1\.filters +\d+% +#+ +4"
    assert re.search(head + table, out)
    _, out, _ = cnn_tuner("show", "--runs", searched, "--json")
    first, *_ = json.loads(out)["importance"]["hyperparameters"]
    assert set(first) == {"name", "share", "chance", "trials", "best", "is_range"}
    assert (first["name"], first["best"], first["trials"]) == ("block_1.filters", [4], 40)


def test_refine_writes_a_space_that_can_be_searched(searched, cnn_tuner, tmp_path):
    code, text, err = cnn_tuner("refine", "--runs", searched)
    assert (code, err) == (0, "")
    assert "\n# Made by:  cnn-tuner refine toy; its best, trial " in text
    assert re.search(r"\n  layers: 1 +# the best \d+: 1 in \d+; dropped 0: in 0 of them, in \d+ of all 40", text)
    file = tmp_path / "narrow.yaml"
    code, out, _ = cnn_tuner("refine", "--runs", searched, "--output", file)
    assert (code, out) == (0, f"{file}: a narrower space; search it with cnn-tuner tune --space {file}\n")
    assert file.read_text() == text.replace("toy-refined.yaml", str(file))
    assert cnn_tuner("spaces", file, "--image", "8x8x1")[0] == 0


def test_refine_replaces_a_file_only_when_told(searched, cnn_tuner, tmp_path):
    file = tmp_path / "narrow.yaml"
    file.write_text("mine")
    code, _, err = cnn_tuner("refine", "--runs", searched, "--output", file)
    assert (code, err) == (
        2, f"error: --output: {file} is there already; choose another name, or --force to replace it\n"
    )  # fmt: skip
    assert file.read_text() == "mine"
    assert cnn_tuner("refine", "--runs", searched, "--output", file, "--force")[0] == 0
    assert file.read_text().startswith("# Purpose:  toy, narrowed to ")


@pytest.mark.parametrize("where", [".", "missing/narrow.yaml"])
def test_refine_needs_a_place_for_its_file(searched, cnn_tuner, tmp_path, where):
    code, _, err = cnn_tuner("refine", "--runs", searched, "--output", tmp_path / where)
    assert (code, err) == (
        2, f"error: --output: must be a file in a folder that exists, got {tmp_path / where}\n"
    )  # fmt: skip


def test_refine_needs_trials(tuned, cnn_tuner):
    code, _, err = cnn_tuner("refine", "--runs", tuned[0] / "runs")
    assert code == 2
    assert err.endswith(
        "toy-toy-1: too few trials to tell: 2 with a score, at least 10 are needed; "
        "add some with cnn-tuner extend toy-toy-1\n"
    )


def test_steps_of_a_run_are_its_best_trials(tuned, cnn_tuner):
    code, out, _ = cnn_tuner("steps", "--runs", tuned[0] / "runs")
    assert code == 0
    for step in ("1 convolution", "2 padding", "3 ReLU", "6 flattening", "7 full connection: 4 units, softmax"):
        assert step in out
    code, _, err = cnn_tuner("steps", "--trial", "9", "--runs", tuned[0] / "runs")
    assert (code, err) == (2, "error: --trial: toy-toy-1 has no such trial: 9; choices: 1, 2\n")


def test_evaluate_says_what_each_class_reaches(tuned, cnn_tuner):
    code, out, _ = cnn_tuner("evaluate", "--runs", tuned[0] / "runs")
    assert code == 0
    assert re.search(r"accuracy [01]\.\d{4} \(95 % interval 0\.\d{3} to [01]\.\d{3}\) on 32 test images", out)
    _, out, _ = cnn_tuner("evaluate", "--runs", tuned[0] / "runs", "--json")
    found = json.loads(out)
    assert [row["class"] for row in found["classes"]] == ["0", "1", "2", "3"]
    low, high = found["intervals"]["accuracy"]
    assert low < found["test"]["accuracy"] <= high + 1e-9


def test_predict_says_what_an_image_shows(tuned, cnn_tuner):
    folder, done = tuned
    code, out, _ = cnn_tuner("predict", folder / "one.png", "--runs", folder / "runs")
    assert code == 0
    assert re.match(rf"{re.escape(str(folder))}/one.png  \d \d+\.\d%  \(then ", out)
    export = json.loads(done.stdout)["export"]
    _, out, _ = cnn_tuner("predict", folder / "one.png", "--model", export, "--json")
    [answer] = json.loads(out)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["probability"] == max(answer["probabilities"].values())


def test_predict_names_a_file_that_is_no_image(tuned, cnn_tuner):
    folder, _ = tuned
    code, _, err = cnn_tuner("predict", folder / "toy.yaml", "--runs", folder / "runs")
    assert code == 3
    assert err.startswith(f"error: {folder}/toy.yaml: ")
    assert err.count("\n") == 1


def test_export_makes_the_next_version(tuned, cnn_tuner, monkeypatch):
    toys.read_nothing(monkeypatch)
    code, out, err = cnn_tuner("export", "--runs", tuned[0] / "runs", "--json")
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["export"].endswith("export/toy/2")


def test_a_verification_that_fails_ends_with_4(tuned, cnn_tuner, monkeypatch):
    def differs(*_):
        raise VerificationError("1: image 0 of the test part: a score differs by 0.5, allowed are 1e-05")

    monkeypatch.setattr(winner, "verify", differs)
    code, _, err = cnn_tuner("export", "--runs", tuned[0] / "runs")
    assert (code, err.count("\n")) == (4, 1)
    assert err.startswith("error: 1: image 0 of the test part")


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")  # TensorBoard's own copy of it
def test_a_port_that_is_taken_is_one_line(tuned, cnn_tuner, monkeypatch):
    def taken(self):
        raise program.TensorBoardPortInUseError("port 6006 is in use")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which the command changes
    monkeypatch.setattr(program.TensorBoard, "launch", taken)
    code, _, err = cnn_tuner("tensorboard", "--runs", tuned[0] / "runs")
    assert (code, err) == (2, "error: --port: TensorBoard cannot be served: port 6006 is in use\n")


@pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")
def test_how_to_select_some_of_very_many_runs_is_told(tuned, cnn_tuner, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which the command changes
    monkeypatch.setattr(program.TensorBoard, "launch", lambda self: "http://127.0.0.1:6006/")
    monkeypatch.setattr("threading.Event.wait", lambda self, *_: None)
    for most, told in ((3, False), (2, True)):
        monkeypatch.setattr(tensorboard, "MOST_SELECTED", most)
        code, out, _ = cnn_tuner("tensorboard", "--runs", tuned[0] / "runs")
        assert code == 0
        assert ("of more than 2 runs TensorBoard selects none: tick those wanted" in out) == told


@pytest.mark.slow
def test_tensorboard_serves_the_runs_logs_to_this_machine_only(tuned):
    arguments = ["tensorboard", "--runs", str(tuned[0] / "runs"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cnn_tuner.cli", *arguments], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    try:
        line = process.stdout.readline()
        url = re.search(r"toy-toy-1 in TensorBoard at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)", line).group(1)
        with urllib.request.urlopen(f"{url}data/plugins_listing") as answer:
            assert json.load(answer)["hparams"]["enabled"]
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")


@pytest.mark.slow
def test_ctrl_c_ends_with_the_best_so_far_exported_and_exit_code_130(tmp_path):
    arguments = ["tune", *write_toys(tmp_path), "--max-trials", "500", "--epochs", "2", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cnn_tuner.cli", *arguments], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    try:
        for line in process.stderr:
            if line.startswith("trial   1/500"):
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
                break
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "stopping: the best so far will be exported; Ctrl-C again ends at once" in err
    assert process.returncode == 130, err
    found = json.loads(out.splitlines()[-1])
    assert found["interrupted"] is True
    assert (Path(found["export"]) / "saved_model.pb").is_file()
    assert found["trials"] < 10


def test_help_lists_every_command_without_loading_tensorflow():
    code = (
        "import sys; sys.argv = ['cnn-tuner', '--help']\n"
        "from cnn_tuner import cli\n"
        "try: cli.main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = {'tensorflow', 'keras', 'keras_tuner', 'sklearn', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    commands = (
        "tune",
        "resume",
        "extend",
        "runs",
        "show",
        "refine",
        "export",
        "evaluate",
        "predict",
        "serve",
        "spaces",
        "steps",
        "explain",
        "tensorboard",
        "doctor",
    )
    for command in commands:
        assert f"\n  {command} " in done.stdout


def test_no_command_shows_the_help(cnn_tuner):
    assert cnn_tuner() == cnn_tuner("--help") == cnn_tuner("-h")


def test_version(cnn_tuner):
    code, out, _ = cnn_tuner("--version")
    assert (code, out) == (0, "cnn-tuner 0.1.0\n")


def test_spaces_lists_shows_and_samples(cnn_tuner, tmp_path):
    code, out, _ = cnn_tuner("spaces")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["auto", "deep", "quick", "seven_steps", "tiny"]
    code, out, _ = cnn_tuner("spaces", "tiny")
    assert re.search(r"1,355,328 x learning_rate points, \d+% of them feasible for images of 28x28x1", out)
    assert re.search(r"max_macs +2,000,000", out)
    code, out, _ = cnn_tuner("spaces", "tiny", "--sample", "3", "--image", "16x16x1")
    assert out.count(" params  ") == 3
    assert cnn_tuner("spaces", "tiny", "--sample", "3", "--image", "16x16x1")[1] == out


def test_a_trial_that_a_run_does_not_have_is_not_exported(cnn_tuner, tuned):
    code, _, err = cnn_tuner("export", "--trial", "9", "--runs", tuned[0] / "runs")
    assert (code, err) == (2, "error: --trial: toy-toy-1 has no such trial: 9; choices: 1 to 2\n")


def test_steps_of_a_space(cnn_tuner):
    code, out, _ = cnn_tuner("steps", "--space", "seven_steps", "--image", "28x28x1")
    assert code == 0
    assert "1 convolution: " in out
    assert "total" in out


DOCTOR = {"cnn-tuner", "python", "tensorflow", "processor", "memory", "gpu", "disk"}


def test_doctor_says_what_this_machine_is(cnn_tuner):
    code, out, _ = cnn_tuner("doctor", "--quick", "--json")
    assert code == 0
    assert set(json.loads(out)) == DOCTOR
    _, out, _ = cnn_tuner("doctor", "--quick")
    assert {line.split()[0] for line in out.splitlines()} == DOCTOR


@pytest.mark.slow
def test_doctor_says_what_this_machine_trains_fastest_with(cnn_tuner):
    code, out, _ = cnn_tuner("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == DOCTOR | {"speeds", "fastest"}
    assert found["fastest"] in found["speeds"]
    assert all(speed["images_per_second"] > 0 for speed in found["speeds"])


@pytest.fixture
def planned(monkeypatch):
    """Plans without the training that measures; the configs that were asked for."""
    asked = []

    def make_plan(config, dataset, workers, runs, loading_seconds):
        asked.append(config)
        start = planning.Start(loading_seconds, 6.5)
        sample, workers = planning._sample(config), Workers(count=2, precision="float32")
        return planning._calculated(config, sample, make_oracle(config), workers, start, POINTS)

    monkeypatch.setattr(planning, "make_plan", make_plan)
    return asked


def test_plan_says_what_a_budget_buys(cnn_tuner, planned, tmp_path):
    code, out, err = cnn_tuner("plan", *write_toys(tmp_path), "--budget", "10m", "--max-epochs", "9")
    assert (code, err) == (0, "")
    for text in (
        "space     toy: ",
        "workers   2 worker processes",
        "\nsmall ",
        "\nlarge ",
        " of 10:00: start ",
        "about ",
    ):
        assert text in out
    assert (planned[0].search.budget_seconds, planned[0].search.max_trials, planned[0].search.epochs) == (
        600.0,
        None,
        9,
    )
    assert not (tmp_path / "runs").exists(), "no run is made"


def test_show_sorts_and_filters_its_trials(cnn_tuner, tuned):
    folder, _ = tuned
    runs = ("--runs", str(folder / "runs"))
    code, out, _ = cnn_tuner("show", *runs, "--sort", "-trial", "--where", "trial<2")
    assert code == 0
    assert "1 of 2 trials" in out
    code, out, _ = cnn_tuner("show", *runs, "--sort", "-trial", "--json")
    assert [trial["number"] for trial in json.loads(out)["trials"]] == [2, 1]
    code, _, err = cnn_tuner("show", *runs, "--where", "trial~2")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --where: must be a column")


def test_logs_says_where_they_lie_and_writes_them_again(cnn_tuner, tuned):
    folder, _ = tuned
    runs = ("--runs", str(folder / "runs"))
    code, out, err = cnn_tuner("logs", *runs)
    assert (code, err) == (0, "")
    assert out.startswith(f"{folder / 'runs' / 'toy-toy-1' / 'tensorboard'}: 2 trials in ")
    for file in (folder / "runs" / "toy-toy-1" / "tensorboard").glob("trial-*/*"):
        file.unlink()
    code, out, err = cnn_tuner("logs", "--rebuild", "--json", *runs)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["rebuilt"]
    assert found["files"] >= 4, "the root, two trials and the best"


@pytest.mark.slow
def test_plan_of_images_of_ones_own_says_nothing_of_tensorflow(tmp_path):
    """The space is made for them and the budget, for which TensorFlow is loaded: whatever it says is not for people."""
    write_folder(tmp_path / "zoo")
    command = [sys.executable, "-m", "cnn_tuner", "plan", "--data", "zoo", "--budget", "2m", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("space     auto: ")


def test_plan_says_it_to_machines_in_one_line(cnn_tuner, planned, tmp_path):
    limits = ("--max-params", "5000", "--max-macs", "900000", "--max-activation-bytes", "70000")
    code, out, _ = cnn_tuner("plan", *write_toys(tmp_path), "--max-trials", "7", *limits, "--json")
    found = json.loads(out)
    assert (code, out.count("\n"), found["trials"]) == (0, 1, 7.0)
    assert set(found) == {field.name for field in dataclasses.fields(planning.Plan)} | {"seconds"}
    asked = planned[0].search_space().limits
    assert (asked.max_params, asked.max_macs, asked.max_activation_bytes) == (5000, 900_000, 70_000)


def test_plan_takes_every_option_of_tune():
    commands = typer.main.get_command(cli.app).commands
    tuned, planned = ([(o.name, o.opts, o.help, o.default) for o in commands[name].params] for name in ("tune", "plan"))
    assert planned == tuned


def test_plan_counts_formats_and_the_rest_as_tune_does(cnn_tuner, planned, tmp_path):
    arguments = ["plan", *write_toys(tmp_path), "--max-trials", "7", "--json"]
    seconds = []
    for more in ([], ["--format", "keras", "--finalists", "1", "--seed", "5"]):
        code, out, _ = cnn_tuner(*arguments, *more)
        assert code == 0
        seconds.append(json.loads(out)["export_seconds"])
    assert seconds[1] > seconds[0]
    assert (planned[1].formats, planned[1].search.finalists) == (("tf_saved_model", "keras"), 1)
    assert planned[1].search.seed == 5


@pytest.mark.slow
def test_plan_measures_for_real(cnn_tuner, tmp_path):
    arguments = ["--max-trials", "2", "--epochs", "3", "--workers", "1", "--precision", "float32", "--json"]
    code, out, _ = cnn_tuner("plan", *write_toys(tmp_path), *arguments)
    found = json.loads(out)
    assert (code, found["trials"], found["epochs"]) == (0, 2.0, 6.0)
    assert all(point["epoch_seconds"] > 0 for point in found["points"])


REFUSED = {
    "unknown command": (["tuna"], 2, "No such command 'tuna'"),
    "unknown flag": (["tune", "--trials", "3"], 2, "No such option: --trials"),
    "no number": (
        ["tune", "--epochs", "many"],
        2,
        "unable to parse string as an integer, got 'many'",
    ),
    "no duration": (
        ["tune", "--budget", "soon"],
        2,
        "--budget: must be a duration such as 90s, 30m or 1h30m, got 'soon'",
    ),
    "short budget": (
        ["tune", "--budget", "5s"],
        2,
        "--budget: must be at least 30s, to load, export and verify, got '5s'",
    ),
    "plan of no duration": (
        ["plan", "--budget", "30"],
        2,
        "--budget: must be a duration such as 90s, 30m or 1h30m, got '30'",
    ),
    "resume for no duration": (
        ["resume", "--budget", "-1m"],
        2,
        "--budget: must be a duration such as 90s, 30m or 1h30m, got '-1m'",
    ),
    "no params": (["tune", "--max-params", "0"], 2, "--max-params: must be a whole number >= 1, got 0"),
    "no macs": (["tune", "--max-macs", "-3"], 2, "--max-macs: must be a whole number >= 1, got -3"),
    "no bytes": (
        ["plan", "--max-activation-bytes", "0"],
        2,
        "--max-activation-bytes: must be a whole number >= 1, got 0",
    ),
    "no network is so small": (
        ["tune", "--space", "tiny", "--max-params", "1"],
        2,
        "tiny: no feasible point for images of 8x8x1: max_params: ",
    ),
    "no epochs": (["tune", "--max-epochs", "0"], 2, "--max-epochs: must be a whole number >= 1, got 0"),
    "no epochs by their old name": (["plan", "--epochs", "0"], 2, "--max-epochs: must be a whole number >= 1, got 0"),
    "a latency without its unit": (
        ["tune", "--max-latency", "2"],
        2,
        "--max-latency: must be a time above 0 such as 2ms or 0.5s, got '2'",
    ),
    "no latency": (
        ["tune", "--max-latency", "0ms"],
        2,
        "--max-latency: must be a time above 0 such as 2ms or 0.5s, got '0ms'",
    ),
    "an unknown cost": (["tune", "--and", "price"], 2, "--and: unknown: 'price'; choices: params, macs, latency"),
    "two objectives of an oracle for one": (
        ["tune", "--and", "params", "--oracle", "bayesian"],
        2,
        "--and: oracle bayesian improves one objective only; choices: asha, random, grid",
    ),
    "preference": (["tune", "--prefer", "fast"], 2, "--prefer: unknown: 'fast'; choices: accurate, small"),
    "no finalists": (["tune", "--finalists", "0"], 2, "--finalists: must be a whole number >= 1, got 0"),
    "no seeds": (["tune", "--final-seeds", "0"], 2, "--final-seeds: must be a whole number >= 1, got 0"),
    "image size": (["tune", "--image-size", "28"], 2, "--image-size: must be HEIGHTxWIDTH in whole numbers >= 1, got"),
    "image": (
        ["spaces", "tiny", "--image", "28x28"],
        2,
        "--image: must be HEIGHTxWIDTHxCHANNELS in whole numbers >= 1, got '28x28'",
    ),
    "classes": (["spaces", "tiny", "--classes", "1"], 2, "--classes: must be a whole number >= 2, got 1"),
    "no export": (["predict", "x.png", "--model", "a/b"], 2, "a/b: no SavedModel here; name the folder that holds"),
    "steps": (
        ["steps", "a", "--space", "tiny"],
        2,
        "--space: shows a point of a space, so it takes no RUN and no --trial",
    ),
    "unknown data": (["tune", "--data", "digit"], 2, "--data digit: no such data; choose"),
    "missing folder": (["tune", "--data", "./none"], 3, "none: no such"),
    "unknown run": (["show", "none"], 2, "runs/none: no such run; choices: none yet"),
    "resume an unknown run": (["resume", "none"], 2, "runs/none: no such run; choices: none yet"),
    "extend by nothing": (
        ["extend"],
        2,
        "extend: how much more? name one of --budget and --trials, such as --budget 10m",
    ),
    "extend by both": (
        ["extend", "--trials", "3", "--budget", "10m"],
        2,
        "extend: how much more? name one of --budget and --trials, such as --budget 10m",
    ),
    "extend without runs": (["extend", "--trials", "3"], 2, "runs: no runs yet; start one with cnn-tuner tune"),
    "workers": (["tune", "--workers", "0"], 2, "--workers: must be a whole number >= 1, or auto, got '0'"),
    "precision": (
        ["tune", "--precision", "half"],
        2,
        "--precision: unknown: 'half'; choices: auto, float32, bfloat16",
    ),
    "timeout": (["tune", "--timeout", "0"], 2, "--timeout: must be a number of seconds above 0, got 0"),
    "keep": (["tune", "--keep", "0"], 2, "--keep: must be a whole number >= 1, got 0"),
    "no runs": (["show"], 2, "runs: no runs yet; start one with cnn-tuner tune"),
    "unknown space": (
        ["spaces", "none"],
        2,
        "--space: no such space or file: 'none'; choices: auto, deep, quick, ",
    ),
    "no feasible point": (
        ["spaces", "tiny", "--image", "900x900x3"],
        2,
        "tiny: no feasible point for images of 900x900x3",
    ),
    "storage": (["tune", "--runs", "file"], 5, "file: is a file, not a folder; choose another folder with --runs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_its_exit_code(cnn_tuner, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    arguments, exit_code, text = REFUSED[case]
    code, out, err = cnn_tuner(*arguments)
    assert code == exit_code
    assert err.startswith("error: ")
    assert text in err
    assert err.count("\n") == 1
    assert out == ""


def test_bad_input_of_a_machine_is_an_object_too(cnn_tuner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cnn_tuner("show", "none", "--json")
    assert code == 2
    assert json.loads(out) == {"error": "runs/none: no such run; choices: none yet", "exit_code": 2}


GOING_ON = {
    "complete": (
        ["resume"],
        2,
        "{runs}/toy-toy-1: is complete, nothing is left to do; "
        "cnn-tuner extend toy-toy-1 --budget 10m or --trials N goes on searching",
    ),
    "seed": (
        ["resume", "--seed", "3", "--accept-changes"],
        2,
        "{runs}/toy-toy-1: seed was 0, is 3: its trials were drawn by the seed that it began with",
    ),
    "epochs": (
        ["resume", "--epochs", "9"],
        2,
        "{runs}/toy-toy-1: epochs was 8, is 9; --accept-changes goes on with what is now",
    ),
    "space": (
        ["resume", "--space", "{runs}/other.yaml"],
        2,
        "--space: no such space or file: '{runs}/other.yaml'; choices: auto, deep, quick, seven_steps, tiny, or a path",
    ),
    "precision": (["resume", "--precision", "x"], 2, "--precision: unknown: 'x'; choices: auto, float32, bfloat16"),
    "workers": (["resume", "--workers", "x"], 2, "--workers: must be a whole number >= 1, or auto, got 'x'"),
    "no trials": (["extend", "--trials", "0"], 2, "--trials: must be a whole number >= 1, got 0"),
    "data": (
        ["extend", "toy-toy-1", "--trials", "2"],
        3,
        "npz:{folder}/toy.npz: not what toy-toy-1 was trained on: its pixels or labels have changed; "
        "scores compare only on the same data: start a new run",
    ),
}


@pytest.fixture
def changed_data(tuned):
    """While a test runs, the images of the run are others."""
    file = tuned[0] / "toy.npz"
    before = file.read_bytes()
    with np.load(file) as found:
        arrays = dict(found)
    arrays["x_train"][0, 0, 0, 0] ^= 1
    np.savez(file, **arrays)
    yield
    file.write_bytes(before)


@pytest.mark.parametrize("case", GOING_ON)
def test_a_run_that_cannot_be_gone_on_with_is_one_line_and_its_exit_code(tuned, cnn_tuner, case, request):
    if case == "data":
        request.getfixturevalue("changed_data")
    arguments, exit_code, text = GOING_ON[case]
    places = {"folder": tuned[0], "runs": tuned[0] / "runs"}
    code, out, err = cnn_tuner(*(a.format(**places) for a in arguments), "--runs", tuned[0] / "runs")
    expected = text.format(**places)
    assert (code, out) == (exit_code, "")
    assert err in (f"error: {expected}\n", f"error: {places['runs']}/toy-toy-1: {expected}\n")


def test_a_run_at_work_in_another_process_is_one_line(tuned, cnn_tuner):
    with holding(tuned[0] / "runs" / "toy-toy-1"):
        code, _, err = cnn_tuner("extend", "--budget", "10m", "--runs", tuned[0] / "runs")
    assert (code, err) == (2, f"error: {tuned[0]}/runs/toy-toy-1: another process is at work on this run\n")


def test_a_refusal_of_a_machine_is_an_object_too(tuned, cnn_tuner):
    code, out, _ = cnn_tuner("resume", "--json", "--runs", tuned[0] / "runs")
    assert (code, json.loads(out)["exit_code"]) == (2, 2)


def test_a_full_disk_is_one_line(cnn_tuner, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "runs/a/run.sqlite")

    monkeypatch.setattr("cnn_tuner.runs.folders.check_writable", full)
    code, _, err = cnn_tuner("tune", "--runs", tmp_path)
    assert (code, err) == (
        5,
        "error: runs/a/run.sqlite: no space left on the disk; free some, or choose another folder with --runs\n",
    )


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["cnn-tuner", "show", "none", "--runs", str(tmp_path), "--debug"])
    with pytest.raises(Exception, match="no such run"):
        cli.main()


# --- what no rule foresees, and where it is typed ---------------------------------------------------------------------


def test_what_was_not_foreseen_is_one_line_and_its_traceback_is_kept(cnn_tuner, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "LOGS", tmp_path / "logs")
    monkeypatch.setattr("cnn_tuner.runs.folders.check_writable", lambda *_: 1 // 0)
    code, out, err = cnn_tuner("tune", "--json", "--runs", tmp_path / "runs")
    [log] = (tmp_path / "logs").iterdir()
    assert err == (
        "error: not foreseen: ZeroDivisionError: integer division or modulo by zero; "
        f"the traceback is in {log}, and with --debug here\n"
    )
    assert (code, json.loads(out)["exit_code"]) == (1, 1)
    assert "Traceback (most recent call last)" in log.read_text()


def test_without_a_place_for_a_traceback_the_line_says_how_to_see_it(cnn_tuner, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cli, "LOGS", tmp_path / "file" / "logs")
    monkeypatch.setattr("cnn_tuner.runs.folders.check_writable", lambda *_: [][0])
    code, _, err = cnn_tuner("tune", "--runs", tmp_path / "runs")
    assert (code, err) == (1, "error: not foreseen: IndexError: list index out of range; --debug shows the traceback\n")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--runs=~/x", "--runs={home}/x"),
        ("--output=~", "--output={home}"),
        ("--runs=~nobody/x", "--runs=~nobody/x"),
        ("--name=a~/x", "--name=a~/x"),
        ("~/x", "~/x"),
        ("--runs=./~/x", "--runs=./~/x"),
    ],
)
def test_a_home_folder_behind_an_equals_sign_is_expanded(typed, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli._as_a_shell_would(typed) == expected.format(home=tmp_path)


@pytest.mark.parametrize("encoding", ["koi8-r", "gbk", "latin-1", "ascii"])
def test_a_terminal_of_another_encoding_gets_what_it_can_show(encoding, tuned, monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["cnn-tuner", "show", "--runs", str(tuned[0] / "runs")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    print("\xfc \xd7 \u2014 \u2713 \u56fe")
    stream.flush()
    assert not ended.value.code
    assert "val_accuracy" in written.getvalue().decode(encoding)


def test_the_package_itself_is_the_command():
    done = subprocess.run([sys.executable, "-m", "cnn_tuner", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert re.fullmatch(r"cnn-tuner \d+\.\d+\S*\n", done.stdout)


def test_a_reader_that_has_seen_enough_is_no_error(tuned):
    command = f"{sys.executable} -m cnn_tuner show --runs {tuned[0] / 'runs'} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_is_too_long_is_one_line(cnn_tuner, tmp_path):
    code, _, err = cnn_tuner("tune", "--name", 300 * "x", "--runs", tmp_path)
    assert (code, err) == (2, f"error: --name: must be at most 120 bytes long, got 300: {20 * 'x'}...\n")


def test_a_lost_terminal_is_written_to_no_more(monkeypatch):
    """What a person's terminal was goes nowhere; a file or a pipe stays."""
    main, other = os.openpty()
    reading, writing = os.pipe()
    kept = {number: os.dup(number) for number in (0, 1, 2)}
    try:
        os.dup2(other, 1)
        os.dup2(writing, 2)
        os.close(main)  # the terminal's window is closed
        with pytest.raises(OSError, match="Input/output error"):
            os.write(1, b"x")
        stopping._let_go_of_the_terminal()
        assert os.write(1, b"x") == 1
        os.write(2, b"y")
    finally:
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)
    assert os.read(reading, 10) == b"y"
    for number in (other, reading, writing):
        os.close(number)


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_hangup_asks_a_run_to_end(is_ignored, monkeypatch):
    """As SIGTERM does; under nohup it is ignored, and stays so."""
    asked = []
    session = SimpleNamespace(is_stopping=False, has_begun=True, request_stop=lambda: asked.append("stop"))
    monkeypatch.setattr(stopping, "_let_go_of_the_terminal", lambda: asked.append("let go"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    try:
        with stopping.stopping_on_signal(session, lambda text: None):
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == ([] if is_ignored else ["let go", "stop"])
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
