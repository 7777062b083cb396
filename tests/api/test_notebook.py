"""The view in a notebook: one output, drawn anew at most once a second, of escaped text; and a real notebook."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from terminal.test_tables import EPOCHS, trial
from toys import toy_config

from cnn_tuner.api import notebook, running
from cnn_tuner.api.notebook import NotebookReporter
from cnn_tuner.errors import UsageError
from cnn_tuner.runs.machine import Workers
from cnn_tuner.terminal.live_view import LiveReporter
from cnn_tuner.terminal.reporters import Reporter


class Handle:
    """The output of a cell."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def update(self, html: str) -> None:
        self.shown.append(html)


@pytest.fixture
def output(monkeypatch) -> Handle:
    """Stands in for IPython, in whose kernel this process would be."""
    handle, module, display = Handle(), ModuleType("IPython"), ModuleType("IPython.display")
    module.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.HTML = lambda text: text
    display.display = lambda html, display_id: handle.update(html) or handle
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return handle


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def reporter(output, tmp_path) -> NotebookReporter:
    made = NotebookReporter()
    made.run = SimpleNamespace(folder=tmp_path / "toy", config=toy_config(max_trials=10))
    return made


def test_what_shows_a_run_suits_where_it_is(output, monkeypatch):
    assert type(running.reporter_of("auto")) is NotebookReporter
    assert type(running.reporter_of(1)) is Reporter
    assert running.reporter_of(0).console.quiet
    sys.modules["IPython"].get_ipython = lambda: SimpleNamespace()  # a terminal's IPython
    assert type(running.reporter_of("auto")) in (LiveReporter, Reporter)
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.is_here()
    with pytest.raises(UsageError, match=r"^verbose: must be 'auto', 0 \(silent\) or 1"):
        running.reporter_of(2)


def test_it_is_drawn_once_a_second_at_most_and_stays(reporter, output, clock):
    reporter.trial_started(trial(1, "running", None, epochs=()), 4)
    assert len(output.shown) == 1
    for epoch in EPOCHS:
        reporter.epoch_ended(1, epoch)
    assert len(output.shown) == 1
    clock[0] += 1
    reporter.epoch_ended(1, EPOCHS[2])
    assert len(output.shown) == 2
    reporter.trial_ended(trial(1), trial(1))
    reporter.close()
    assert len(output.shown) == 3
    assert "<progress" in output.shown[1] and "<progress" not in output.shown[2]
    assert "0.7500  trial 1: 4k3p2" in output.shown[2]


def test_it_says_what_a_terminal_says(reporter, clock):
    reporter.workers_chosen(Workers(2, 1, "float32"), 12 * 2**20)
    for number, reached in enumerate((0.5, 0.6, 0.75), 1):
        reporter.trial_ended(trial(number, score=reached), trial(number, score=reached))
    reporter.time_left(300.0)
    reporter.trial_started(trial(4, "running", None, epochs_done=0), 4)
    reporter.epoch_ended(4, EPOCHS[0])
    html = reporter.html()
    for text in ("trial 3: 4k3p2", "epoch 1 of 4  0.5000", "3/10 done, 5:00 left", "2 worker processes", "<polyline"):
        assert text in html
    assert 'value="3.250" max="10.000"' in html
    reporter.phase("training trial 3 to the end", 9)
    reporter.epoch_ended(3, EPOCHS[1])
    html = reporter.html()
    assert "1/9 epochs, trial 3 0.5000, 5:00 left" in html and "trial 3: 4k3p2" in html
    assert "no result yet" in NotebookReporter().html()


def test_names_are_anybodys(reporter):
    hostile = "<script>alert(1)</script>"
    reporter.line(hostile)
    reporter.phase(hostile)
    reporter.trial_ended(trial(1, "failed", None, message=hostile, epochs=()), None)
    reporter.trial_started(trial(2, "running", None, epochs_done=0), 4)
    reporter.job_placed(2, hostile)
    html = reporter.html()
    assert html.count("&lt;script&gt;") >= 4 and "<script" not in html


CELLS = """
import pathlib
import cnn_tuner
import numpy as np
rng = np.random.default_rng(0)
y = np.arange(160) % 4
x = rng.integers(0, 60, (160, 8, 8), dtype=np.uint8)
x[np.arange(160), y] = 200
run = cnn_tuner.tune((x, y), {space!r}, max_trials=2, max_epochs=2, finalists=1, final_seeds=1, runs={runs!r})
#
run
#
len(run.exported.predict(x[:4]))
"""


@pytest.mark.slow
def test_a_real_notebook(toy, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    cells = CELLS.format(space=str(toy.space), runs=str(tmp_path)).split("#\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    tuned, shown, said = (cell.outputs for cell in book.cells)
    [html] = [each["data"]["text/html"] for each in tuned if each["output_type"] == "display_data"]
    assert "best score over 2 trials" in html and "<progress" not in html
    assert not [each for each in tuned if each["output_type"] == "stream" and each["name"] == "stdout"]
    assert "memory-toy-1" in shown[0]["data"]["text/html"]
    assert said[0]["data"]["text/plain"] == "4"


STOPPED = """
import cnn_tuner
import numpy as np
rng = np.random.default_rng(0)
y = np.arange(160) % 4
x = rng.integers(0, 60, (160, 8, 8), dtype=np.uint8)
x[np.arange(160), y] = 200

class Begins(cnn_tuner.Callback):
    def on_trial_end(self, trial, best):
        print("ended", trial.number, flush=True)

run = cnn_tuner.tune((x, y), {space!r}, max_trials=10**6, final_epochs=1, finalists=1, final_seeds=1, runs={runs!r},
                     callbacks=[Begins()])
print("exported", run.exported.path.is_dir(), flush=True)
"""


@pytest.mark.slow
def test_the_stop_button_ends_a_search_with_its_best_exported(toy, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    jupyter_client = pytest.importorskip("jupyter_client")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    manager, client = jupyter_client.manager.start_new_kernel(kernel_name="python3")
    told = ""
    try:
        asked = client.execute(STOPPED.format(space=str(toy.space), runs=str(tmp_path)))
        is_interrupted = False
        while (message := client.get_iopub_msg(timeout=120))["msg_type"] != "status" or (
            message["content"]["execution_state"] != "idle" or message["parent_header"].get("msg_id") != asked
        ):
            if message["msg_type"] == "stream":
                told += message["content"]["text"]
            if "ended 2" in told and not is_interrupted:
                manager.interrupt_kernel()  # as the button does
                is_interrupted = True
            assert message["msg_type"] != "error", message["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert "exported True" in told
