"""What people see in a browser: TensorBoard on a real run, its report and its lesson, with names that try to be markup.

Needs the system's chromium: `make test-browser`. Screenshots are left in `browser-shots/` to be looked at.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from toys import toy_part

from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.store import RunStore
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.tuning import Request, Tuning

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]
SHOTS = Path(__file__).parent.parent / "browser-shots"
NAMES = ["<script>alert(1)</script>", 'größe "eins"', "**three**", "four|4"]
SPACE = """
description: Small networks.
blocks: 1
block:
  filters: [2, 4, 6]
  pool_size: 2
  dropout: [0.0, 0.2]
dense:
  layers: [0, 1]
  units: [8, 16]
training:
  learning_rate: {min: 0.003, max: 0.03, sampling: log}
  batch_size: [16, 32]
search: {oracle: random}
"""
STEPS = ("convolution", "padding", "relu", "max-pooling", "dropout", "flattening", "full-connection")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunStore:
    """12 trials by random search, one of which failed, with its winner, export and report."""
    folder = tmp_path_factory.mktemp("browser")
    train, test = toy_part("multiclass", 240, 0), toy_part("multiclass", 80, 1)
    np.savez(
        folder / "toy.npz", x_train=train.x, x_test=test.x, y_train=train.y, y_test=test.y, class_names=np.array(NAMES)
    )
    (folder / "toy.yaml").write_text(SPACE, encoding="utf-8")
    request = Request(
        f"npz:{folder / 'toy.npz'}",
        str(folder / "toy.yaml"),
        max_trials=12,
        epochs=4,
        final_seeds=1,
        seed=1,
        runs=folder / "runs",
        command="cnn-tuner tune --seed <b>1</b>",
        workers=Workers(executor="inline"),
    )
    tuning = Tuning(request, Silent())
    tuning.trainer = "fake_trainers:open_with_a_failure"
    opened = RunStore.open(tuning.run().folder)
    statuses = [trial.status for trial in opened.trials()]
    assert (len(statuses), statuses.count("failed")) == (12, 1)
    assert opened.config.data.class_names == tuple(NAMES)
    return opened


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


class Watched:
    """A page, and everything that went wrong in it."""

    def __init__(self, context) -> None:
        self.page = context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        self.page.on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status} {r.url}"))
        self.page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture
def watched(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    found = Watched(context)
    yield found
    context.close()
    assert found.wrong == []


# TensorBoard


@pytest.fixture(scope="module")
def board(run):
    """The address at which `cnn-tuner tensorboard` serves the run."""
    command = [sys.executable, "-m", "cnn_tuner.cli", "tensorboard", run.folder.name, "--port", "0"]
    command += ["--runs", str(run.folder.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert found, line
            yield found[0]
        finally:
            process.terminate()
            process.wait(20)


def ask(address: str, path: str, body: dict | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def eventually(look, what: str):
    """Asks until the answer is true: TensorBoard reads its files again every few seconds."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < until, what
    return found


GROUPS = {
    "startIndex": 0,
    "sliceSize": 100,
    "colParams": [],
    "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
}


def test_hparams_has_a_row_a_trial(board):
    def rows():
        found = json.loads(ask(board, "experiment/defaultExperimentId/data/plugin/hparams/session_groups", GROUPS))
        return found["sessionGroups"] if found["totalSize"] == 12 else None

    groups = eventually(rows, "12 rows")
    failed = [group for group in groups if group["hparams"]["1 status"] == "failed"]
    assert len(failed) == 1
    assert "trial/objective" not in {value["name"]["tag"] for value in failed[0].get("metricValues", [])}


def test_the_best_model_shows_its_seven_steps_its_graph_and_its_card(board):
    tags = eventually(lambda: json.loads(ask(board, "data/plugin/images/tags")).get("best"), "images")
    for number, step in enumerate(STEPS, 1):
        assert any(tag.startswith(f"step-{number}-{step}/") for tag in tags), step
    for tag in tags:
        place = urllib.parse.urlencode({"run": "best", "tag": tag, "sample": 0, "index": 0})
        [picture] = json.loads(ask(board, f"data/plugin/images/images?{place}"))
        content = ask(board, f"data/plugin/images/individualImage?{picture['query']}")
        assert content.startswith(b"\x89PNG\r\n\x1a\n"), tag
        assert int.from_bytes(content[16:20], "big") >= 200, tag
    assert "best" in json.loads(ask(board, "data/plugin/graphs/info"))
    place = urllib.parse.urlencode({"run": "best", "tag": "model card"})
    text = json.loads(ask(board, f"data/plugin/text/text?{place}"))[0]["text"]
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    plugins = {"scalars", "images", "graphs", "text", "hparams", "pr_curves", "custom_scalars", "projector"}

    def missing():
        listing = json.loads(ask(board, "data/plugins_listing"))
        return {name for name in plugins if not listing[name]["enabled"]}

    eventually(lambda: not missing(), f"all of {plugins}")


def test_hparams_draws_a_line_for_each_completed_trial(board, watched):
    page = watched.page
    page.goto(f"{board}#hparams")
    table = page.locator("#sessionGroupsTable")
    table.wait_for()
    page.wait_for_function(
        "() => { const find = (root) => { for (const e of root.querySelectorAll('*')) {"
        " if (e.id === 'sessionGroupsTable') return e; const f = e.shadowRoot && find(e.shadowRoot); if (f) return f; }"
        " return null; }; const t = find(document); return t && t.items && t.items.length === 12; }"
    )
    page.screenshot(path=SHOTS / "tensorboard-hparams.png")
    page.get_by_text("PARALLEL COORDINATES VIEW").click()
    lines = page.locator("g.foreground path")
    eventually(lambda: lines.count() >= 11, "a line for each of 11 trials")
    assert lines.count() in (11, 12), "the failed one has no objective"
    page.screenshot(path=SHOTS / "tensorboard-parallel.png")


def test_images_of_every_step_are_drawn(board, watched):
    page = watched.page
    page.goto(f"{board}#images&tagFilter=step-")
    images = page.locator("tf-image-loader img")
    eventually(lambda: images.count() >= 7, "images")
    sizes = eventually(
        lambda: (w := [image.evaluate("e => e.naturalWidth") for image in images.all()]) and all(w) and w, "loaded"
    )
    assert all(size >= 400 for size in sizes)
    page.screenshot(path=SHOTS / "tensorboard-images.png")


def test_the_graph_and_the_text_are_drawn(board, watched):
    page = watched.page
    page.goto(f"{board}#graphs&run=best")
    eventually(lambda: page.locator("g.node").count() > 3, "nodes of the graph")
    page.screenshot(path=SHOTS / "tensorboard-graph.png")
    page.goto(f"{board}#text")
    page.locator("tf-text-loader table").first.wait_for()
    assert page.get_by_text("<script>alert(1)</script>").count() > 0
    page.screenshot(path=SHOTS / "tensorboard-text.png")


def test_the_projector_and_curves_are_drawn(board, watched):
    page = watched.page
    page.goto(f"{board}#timeseries")
    page.locator("card-view").first.wait_for()
    page.screenshot(path=SHOTS / "tensorboard-timeseries.png")
    page.goto(f"{board}#custom_scalars")
    page.get_by_text("training against validation").first.wait_for()
    page.goto(f"{board}#pr_curves")
    page.get_by_text("precision and recall").first.wait_for()
    page.screenshot(path=SHOTS / "tensorboard-pr-curves.png")


# Pages of one file


@pytest.fixture(scope="module")
def lesson(run) -> Path:
    """The page of `cnn-tuner explain`."""
    command = [sys.executable, "-m", "cnn_tuner.cli", "explain", run.folder.name, "--runs", str(run.folder.parent)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["page"])


@pytest.fixture(params=["report", "lesson"])
def file(request, run) -> Path:
    """A page that is one file."""
    return run.folder / "report.html" if request.param == "report" else request.getfixturevalue("lesson")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_a_page_works_from_the_disk_alone(browser, file, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    watched = Watched(context)
    page = watched.page
    page.goto(file.as_uri())
    charts = page.locator(".chart")
    for index in range(charts.count()):
        chart = charts.nth(index)
        chart.scroll_into_view_if_needed()
        eventually(lambda chart=chart: chart.locator("svg path, svg rect").count() > 2, f"chart {index} is drawn")
    assert charts.count() >= (5 if file.name == "report.html" else 0)
    for image in page.locator("img").all():
        assert image.evaluate("e => e.complete && e.naturalWidth > 0")
        assert image.get_attribute("alt") is not None
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.screenshot(path=SHOTS / f"{file.stem}-{width}-{scheme}.png", full_page=True)
    assert overflow <= 0, f"{overflow} pixels wider than the screen"
    text = page.locator("body").inner_text()
    assert NAMES[0] in text
    assert 'größe "eins"' in text
    assert watched.wrong == []
    assert [url for url in watched.asked if not url.startswith(("file:", "data:"))] == []
    context.close()


def test_a_page_is_used_by_keyboard(browser, file):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(file.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('#main *')")
    context.close()
