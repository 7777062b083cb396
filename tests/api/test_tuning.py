"""tune from Python: the same run as by the command, of data in any form, in scripts, loops and threads, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from toys import SPACE, toy_part

import cnn_tuner
from cnn_tuner.api import words
from cnn_tuner.data import registry
from cnn_tuner.data.options import DataOptions
from cnn_tuner.errors import DataError, UsageError
from cnn_tuner.runs.store import RunStore

ROOT = Path(__file__).parent.parent.parent
OPTIONS = DataOptions(seed=1)


class Batches(keras.utils.PyDataset):
    """Arrays, a batch at a time."""

    def __init__(self, x, y) -> None:
        super().__init__()
        self.x, self.y = x, y

    def __len__(self) -> int:
        return -(-len(self.x) // 32)

    def __getitem__(self, index):
        at = slice(32 * index, 32 * index + 32)
        return self.x[at], self.y[at]


def test_data_is_the_same_in_every_form(tmp_path):
    import tensorflow as tf

    part = toy_part("multiclass", 160, 0)
    x, y = part.x, part.y
    np.savez(tmp_path / "toy.npz", x_train=x, y_train=y)
    expected = registry.load(f"npz:{tmp_path / 'toy.npz'}", OPTIONS).fingerprint
    forms = {
        "arrays": (x, y),
        "a list": [x, list(y)],
        "floats": (x / 255.0, y),
        "grey": (x[..., 0], y),
        "a dict": {"train": (x, y)},
        "one by one": tf.data.Dataset.from_tensor_slices((x, y)),
        "in batches": tf.data.Dataset.from_tensor_slices((x, y)).batch(32),
        "of Keras": Batches(x, y),
    }
    for form, data in forms.items():
        found = registry.load_given(data, OPTIONS)
        assert (form, found.fingerprint) == (form, expected)
        assert (found.name, found.source) == ("memory", "memory")


def test_files_are_the_same_as_their_folder_and_are_decoded_once(tmp_path):
    part = toy_part("multiclass", 160, 0)
    files, names = [], []
    for number in np.argsort(part.y, kind="stable"):
        name = f"class {part.y[number]}"
        (tmp_path / "zoo" / name).mkdir(parents=True, exist_ok=True)
        files.append(tmp_path / "zoo" / name / f"{number:03}.png")
        names.append(name)
        Image.fromarray(part.x[number, :, :, 0]).save(files[-1])
    expected = registry.load(str(tmp_path / "zoo"), OPTIONS)
    cache = words.cache_options(tmp_path / "cache")
    for paths in (files, [str(file) for file in files], np.array(files, object)):
        found = registry.load_given((paths, np.array(names, object)), OPTIONS, cache)
        assert (found.fingerprint, found.class_names) == (expected.fingerprint, expected.class_names)
    assert len(cache.entries()) == 1
    both = {"train": (files, names), "test": (files[:4], names[:4])}
    options = DataOptions(image_size=(4, 4), channels=3, allow_leakage=True)
    assert registry.load_given(both, options).test.x.shape == (4, 4, 4, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, r"^memory: train: must be \(images, labels\), .*, got int$"),
        ({"test": 5}, r"^memory: is a dict without train$"),
        (
            (["a.png", "b.png"], [1]),
            r"^memory: train: files and labels must be equally many, got 2 files and 1 lab",
        ),
        ({"train": (["a.png"], [1]), "test": 5}, r"^memory: test: must be image files with their labels, as another"),
        ((["a.png"], ["x"]), r"a.png: no such file"),
        (
            (np.zeros((4, 8, 8)), np.arange(3)),
            r"^memory: x_train and y_train: must be equally long, got 4 .* 3",
        ),
    ],
)
def test_what_is_no_data(data, message):
    with pytest.raises(DataError, match=message):
        cnn_tuner.tune(data, verbose=0)


def test_a_folder_that_is_called_as_data_in_memory_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("memory").mkdir()
    told = r"^data memory: so is data called that a Python program has; a folder is ./memory$"
    with pytest.raises(UsageError, match=told):
        cnn_tuner.tune("memory", verbose=0)


def test_data_is_to_be_there():
    with pytest.raises(UsageError, match=r"^data: must be images with labels, or say where they lie, got None$"):
        cnn_tuner.tune(None, verbose=0)


def test_options_for_files_are_refused_for_arrays(toy):
    with pytest.raises(UsageError, match=r"^image_size: is for image files; data in memory is none$"):
        cnn_tuner.tune(toy.data, image_size=(4, 4), verbose=0)
    with pytest.raises(UsageError, match=r"^label_column: is for tables of images; data in memory is none$"):
        cnn_tuner.tune(toy.data, label_column="x", verbose=0)


def test_what_is_refused_is_told_by_keywords(toy, tmp_path):
    for name, value in (("max_trials", 0), ("budget", "soon"), ("workers", 0), ("precision", "half"), ("keep", 0)):
        with pytest.raises(UsageError, match=rf"^{name}: "):
            cnn_tuner.tune(toy.data, toy.space, runs=tmp_path / "runs", verbose=0, **{name: value})


def called(folder: Path, body: str, **how) -> subprocess.Popen:
    """A script without a main guard, in a process of its own."""
    (folder / "toy.yaml").write_text(SPACE)
    script = folder / "script.py"
    head = """
        import cnn_tuner
        import numpy as np
        rng = np.random.default_rng(0)
        y = np.arange(160) % 4
        x = rng.integers(0, 60, (160, 8, 8), dtype=np.uint8)
        x[np.arange(160), y] = 200
        short = dict(max_epochs=4, finalists=1, final_seeds=1, workers=1, runs="runs", name="toy", verbose=0)
    """
    script.write_text(textwrap.dedent(head) + textwrap.dedent(body))
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(script)], cwd=folder, env=environment, **pipes, **how)


@pytest.mark.slow
def test_a_script_without_a_main_guard_in_a_running_loop_is_silent(tmp_path):
    process = called(
        tmp_path,
        """
        import asyncio
        async def main():
            return cnn_tuner.tune((x, y), "toy.yaml", max_trials=2, **short)
        run = asyncio.run(main())
        assert run.is_complete and len(run.exported.predict(x[:3])) == 3
        """,
    )
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_the_first_interrupt_ends_with_the_best_exported_and_the_run_can_be_gone_on_with(tmp_path):
    process = called(
        tmp_path,
        """
        class Tells(cnn_tuner.Callback):
            def on_epoch_end(self, trial, epoch):
                print("epoch", flush=True)
        run = cnn_tuner.tune((x, y), "toy.yaml", max_trials=500, callbacks=[Tells()], **short)
        assert run.is_interrupted and run.exported.path.is_dir()
        print("went on")
        run = run.resume(data=(x, y), max_trials=len(run.trials), accept_changes=True, verbose=0)
        assert run.is_complete
        """,
    )
    for _ in range(6):
        assert process.stdout.readline() == "epoch\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("went on\n")


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(tmp_path):
    process = called(
        tmp_path,
        """
        class Tells(cnn_tuner.Callback):
            def on_epoch_end(self, trial, epoch):
                print("epoch", flush=True)
        try:
            cnn_tuner.tune((x, y), "toy.yaml", max_trials=500, callbacks=[Tells()], **short)
        except KeyboardInterrupt:
            print("at once")
        assert cnn_tuner.load("runs/toy").is_interrupted
        """,
    )
    process.stdout.readline()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("at once\n")


@pytest.mark.slow
def test_handlers_of_signals_are_left_alone_in_another_thread_and_put_back_in_the_first(toy, inline, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    short = {"max_trials": 1, "max_epochs": 1, "finalists": 1, "final_seeds": 1, "verbose": 0, "runs": tmp_path}
    found = []
    thread = threading.Thread(target=lambda: found.append(cnn_tuner.tune(toy.data, toy.space, **short)))
    thread.start()
    while not list(tmp_path.glob("memory-toy-1/run.sqlite")):
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGINT) is before
    thread.join()
    assert found[0].is_complete

    async def main() -> cnn_tuner.Run:
        return cnn_tuner.tune(toy.data, toy.space, **short)

    assert asyncio.run(main()).is_complete
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_a_command_and_the_api_give_the_same_run_to_the_last_bit(tmp_path):
    part = toy_part("multiclass", 160, 0)
    np.savez(tmp_path / "toy.npz", x_train=part.x, y_train=part.y)
    process = called(
        tmp_path,
        """
        found = np.load("toy.npz")
        data = found["x_train"], found["y_train"]
        cnn_tuner.tune(data, "toy.yaml", max_trials=2, seed=3, precision="float32", **short)
        """,
    )
    assert process.communicate(timeout=120)[1] == ""
    words = ["--data", "toy.npz", "--space", "toy.yaml", "--max-trials=2", "--seed=3", "--precision=float32"]
    words += ["--max-epochs=4", "--finalists=1", "--final-seeds=1", "--workers=1", "--name=command", "--json"]
    told = subprocess.run(
        [sys.executable, "-m", "cnn_tuner", "tune", *words],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    command, api = (RunStore.open(tmp_path / "runs" / name) for name in ("command", "toy"))
    for one, other in zip(command.trials(), api.trials(), strict=True):
        assert (one.values, one.score, one.status) == (other.values, other.score, other.status)
        assert [epoch.metrics for epoch in one.epochs] == [epoch.metrics for epoch in other.epochs]
    assert command.winner().test == api.winner().test == json.loads(told.stdout)["test"]
    assert command.config.search == api.config.search
    exports = [run.latest_export() for run in (command, api)]
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"):
        assert (exports[0] / name).read_bytes() == (exports[1] / name).read_bytes(), name
    card = (exports[1] / "model_card.md").read_text()
    assert "cnn_tuner.tune(data=data, space='toy.yaml', max_trials=2, max_epochs=4" in card
