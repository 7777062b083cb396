"""A run as a page: what it tells, whatever the run has reached, and that a user's text stays text."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from finished_runs import SCRIPT, add_trials, add_winner, begun_run, finished_run, hostile_names

from cnn_tuner import cli
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics.tasks import TASKS
from cnn_tuner.report import page as report
from cnn_tuner.report import templates
from cnn_tuner.runs.store import RunStore

ECHARTS = "6.1.0"
ECHARTS_SHA256 = "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"


class Page(HTMLParser):
    """What a browser sees of a page: headings, text, scripts by id, addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.text = ""
        self.options: dict[str, dict] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self._open: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.tags.append(tag)
        self.ids += [facts["id"]] if "id" in facts else []
        self.addresses += [facts[name] for name in ("src", "href") if name in facts]
        if tag not in ("meta", "img", "br", "link"):
            self._open.append((tag, facts))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, facts = self._open[-1] if self._open else ("", {})
        if tag == "script":
            if facts.get("type") == "application/json":
                self.options[facts["id"].removesuffix("-options")] = json.loads(data)
        elif tag != "style":
            self.text += data
            if tag in ("h1", "h2"):
                self.headings.append(data)


def told(run: RunStore) -> Page:
    return Page(report.render(report.gather(run)))


ALWAYS = {"trials", "time", "parallel", "importance", "front-params", "winner-loss"}
OF_TASK = {
    "binary": {"winner-accuracy", "confusion", "reliability"},
    "multiclass": {"winner-accuracy", "confusion", "reliability"},
    "multilabel": {"winner-auc", "reliability"},
    "regression": {"winner-mae", "predicted-0"},
}


@pytest.mark.parametrize("task", TASKS)
def test_a_finished_run_has_every_section_and_chart(tmp_path, task):
    run = finished_run(tmp_path, task)
    found = told(run)
    assert found.headings == [
        "toy",
        "The winner and its seven steps",
        "Scores side by side",
        "Learning",
        "Which hyperparameters mattered",
        "Score and cost",
        "What it answers on the test part",
        "Trials that failed",
        "Data",
        "How to serve it",
        "How to repeat it",
    ]
    assert set(found.options) == ALWAYS | OF_TASK[task]
    assert "7 full connection" in found.text
    assert "95 % interval" in found.text
    assert "out of memory at …/job-1.npz <b>" in found.text
    assert run.config.data.fingerprint in found.text


def test_every_chart_is_described_and_told_as_a_table(tmp_path):
    text = report.render(report.gather(finished_run(tmp_path)))
    found = Page(text)
    assert text.count("<details>") == len(found.options) == text.count('class="chart"')
    for options in found.options.values():
        assert len(options["aria"]["label"]["description"]) > 30
        assert options["tooltip"]["renderMode"] == "richText"
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.addresses if link.startswith("#")} <= set(found.ids)


@pytest.mark.parametrize("task", TASKS)
def test_a_users_text_is_text(tmp_path, task):
    names = hostile_names(task)
    text = report.render(report.gather(finished_run(tmp_path, task, names=names)))
    assert SCRIPT not in text
    assert "alert(1)" in text
    found = Page(text)
    assert found.tags.count("script") == len(found.options) + 2
    assert all(" ".join(name.split()) in " ".join(found.text.split()) for name in names)
    shown = json.dumps(found.options)
    if task in ("binary", "multiclass"):
        assert all(json.dumps(" ".join(name.split()))[1:-1] in shown for name in names)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_fetched_and_no_place_on_this_machine_is_told(tmp_path, task):
    text = report.render(report.gather(finished_run(tmp_path, task)))
    assert all(link.startswith(("#", "data:")) for link in Page(text).addresses)
    assert "default-src 'none'" in text
    told = text.replace(templates.script("echarts.min.js"), "")
    assert not re.search(r"/Users/|/srv/|secret", told)
    assert str(tmp_path) not in told
    assert "npz:…/arrays.npz" in told


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = finished_run(tmp_path)
    first = report.write(run)
    before = first.read_bytes()
    run.finish({"run": "toy"})
    again = report.write(RunStore.open(run.folder), tmp_path / "again.html")
    assert first == run.folder / "report.html"
    assert again.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_run_without_a_trial_has_a_report(tmp_path):
    found = told(begun_run(tmp_path))
    assert "No trial has begun yet." in found.text
    assert "cnn-tuner resume toy goes on" in found.text
    assert "The best so far and its seven steps" in found.headings
    assert found.options == {}


def test_a_run_without_a_winner_shows_its_best_so_far(tmp_path):
    run = begun_run(tmp_path)
    add_trials(run, 4)
    found = told(run)
    assert "best val_accuracy so far" in found.text
    assert "too few trials to tell: 4 with a score, at least 10 are needed" in found.text
    assert set(found.options) == {"trials", "time", "parallel", "front-params"}
    assert "Scores side by side" not in found.headings


def test_a_run_of_which_every_trial_failed_tells_why(tmp_path):
    run = begun_run(tmp_path)
    add_trials(run, 2, fails=(1, 2))
    found = told(run)
    assert "No trial has a score yet." in found.text
    assert found.text.count("out of memory") == 2


def test_an_older_run_without_answers_and_export_says_so(tmp_path):
    run = begun_run(tmp_path)
    add_trials(run, 3)
    add_winner(run, has_evaluation=False, has_export=False)
    found = told(run)
    assert "What the winner answered on each test image was not kept" in found.text
    assert "There is no export yet: cnn-tuner export toy makes one." in found.text
    assert "How to serve it" not in found.headings


def test_a_damaged_evaluation_is_as_good_as_none(tmp_path):
    run = finished_run(tmp_path)
    run.evaluation.write_bytes(b"damaged")
    assert "was not kept" in told(run).text


def test_one_trial_is_enough(tmp_path):
    found = told(finished_run(tmp_path, trials=1))
    assert {"trials", "time", "front-params", "winner-accuracy"} <= set(found.options)
    assert "parallel" not in found.options


@pytest.mark.parametrize("cost", ["params", "macs"])
def test_a_second_objective_has_its_front(tmp_path, cost):
    found = told(finished_run(tmp_path, cost=cost))
    assert {f"front-{cost}", "front-params"} <= set(found.options)


def test_a_cut_search_says_so(tmp_path):
    run = finished_run(tmp_path)
    run.set_search_ended(False)
    assert "The search was cut short: cnn-tuner resume toy goes on" in told(run).text


def test_a_report_is_not_written_over_a_folder(tmp_path):
    run = begun_run(tmp_path)
    with pytest.raises(UsageError, match=r"^--output: must be a file in a folder that exists, got .*/nowhere/a.html$"):
        report.write(run, tmp_path / "nowhere" / "a.html")
    with pytest.raises(UsageError, match=r"^--output: must be a file in a folder that exists"):
        report.write(run, tmp_path)


def test_the_chart_library_is_the_one_that_is_noted():
    pages = resources.files("cnn_tuner.report") / "pages"
    content = (pages / "echarts.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == ECHARTS_SHA256
    assert f'version="{ECHARTS}"'.encode() in content
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"echarts := {ECHARTS}\necharts_sha256 := {ECHARTS_SHA256}\n" in makefile
    assert "Apache License" in (pages / "echarts.LICENSE").read_text()


def test_a_script_that_would_end_its_own_element_is_refused(tmp_path, monkeypatch):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "bad.js").write_text("'</SCRIPT>'")
    monkeypatch.setattr(templates.resources, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"^pages/bad.js: would end its own element$"):
        templates.script("bad.js")


COMMAND = """
import sys
from cnn_tuner.report import page
from cnn_tuner.runs.store import RunStore
page.write(RunStore.open(__import__("pathlib").Path(sys.argv[1])))
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "keras_tuner", "torch"}))
"""


def test_neither_tensorflow_nor_keras_is_loaded(tmp_path):
    run = finished_run(tmp_path)
    done = subprocess.run([sys.executable, "-c", COMMAND, run.folder], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_prints_where_the_report_lies(tmp_path, capsys):
    finished_run(tmp_path)
    cli.app(["report", "toy", "--runs", str(tmp_path)], standalone_mode=False)
    assert capsys.readouterr().out == f"report    {tmp_path}/toy/report.html\n"
    other = tmp_path / "other.html"
    cli.app(["report", "toy", "--runs", str(tmp_path), "--json", "--output", str(other)], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {"report": str(other)}
    assert other.read_bytes() == (tmp_path / "toy" / "report.html").read_bytes()
