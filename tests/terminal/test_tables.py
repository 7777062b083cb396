"""What a person sees: exact lines, and a live view that counts trials at once."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from toys import toy_config, toy_dataset, toy_space

from cnn_tuner.commands import serve
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.report import texts
from cnn_tuner.runs.machine import Workers
from cnn_tuner.runs.records import AS_SEARCHED, CUT_SHORT, Baseline, Epoch, Trial, Winner
from cnn_tuner.search.session import Outcome
from cnn_tuner.spaces import architecture
from cnn_tuner.terminal import live_view, screen, tables, view_state
from cnn_tuner.terminal.live_view import LiveReporter
from cnn_tuner.terminal.reporters import Reporter

VALUES = {
    "blocks": 1,
    "block_1.convolutions": 1,
    "block_1.filters": 4,
    "block_1.kernel_size": 3,
    "block_1.strides": 1,
    "block_1.pool_size": 2,
    "dense_layers": 0,
    "learning_rate": 0.01,
    "batch_size": 32,
}
EPOCHS = tuple(Epoch(n, {"val_accuracy": 0.5}, 1.0) for n in (1, 2, 3))


def trial(number: int, status: str = "completed", score: float | None = 0.75, **change: object) -> Trial:
    facts = {"best_epoch": 3, "seconds": 65.0, "epochs_done": 3, "epochs": EPOCHS, **change}
    return Trial(number, VALUES, 0, 1234, 5678, status, score, **facts)


@pytest.fixture
def run(tmp_path) -> SimpleNamespace:
    return SimpleNamespace(folder=tmp_path / "toy", config=toy_config(max_trials=10))


def said(reporter: Reporter) -> list[str]:
    return reporter.console.file.getvalue().splitlines()


@pytest.fixture
def plain(run) -> Reporter:
    reporter = Reporter(Console(file=StringIO(), width=200))
    reporter.run = run
    return reporter


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def live(run):
    reporter = LiveReporter(Console(force_terminal=True, file=StringIO(), width=200))
    reporter.run = run
    reporter._progress.live.auto_refresh = False
    yield reporter
    reporter.close()


def state(reporter: LiveReporter) -> tuple[float, str]:
    """How far the bar is, and what stands behind it."""
    [task] = reporter._progress.tasks
    return task.completed, task.fields["state"]


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_shortens_what_is_told_and_not_of_what(width):
    screen = Console(file=StringIO(), width=width)
    view = live_view._View(screen)
    view.lines = {"best": "trial 3, val_accuracy 0.9", "workers": "2 worker processes, 1 thread each, " * 3}
    table, _ = view.get_renderables()
    with screen.capture() as shown:
        screen.print(table)
    best, workers = shown.get().splitlines()
    assert best.startswith("best     trial 3")
    assert workers.startswith("workers  2 worker processes") and len(workers) == width


def lines(reporter: LiveReporter) -> list[tuple[str, str]]:
    """What stands above the bar."""
    return list(reporter._progress.lines.items())


def test_a_run_opens_with_its_data_and_what_was_asked_for(plain, run):
    plain.run_opened(run, toy_dataset())
    assert said(plain) == [
        "toy: 96 training, 32 validation, 40 test images of 8x8x1, 4 classes (multiclass)",
        "  about 24 training images a class",
        f"{run.folder}: random search of toy, 10 trials of up to 3 epochs for the best val_accuracy",
    ]


@pytest.mark.parametrize(
    ("workers", "count", "text"),
    [
        (Workers(2, 1, "float32"), 12 * 2**20, "2 worker processes, 1 thread each, float32; "),
        (Workers(1, 4, "bfloat16", reason="fast"), 12 * 2**20, "1 worker process, 4 threads each, bfloat16 (fast); "),
    ],
)
def test_workers_are_told_with_what_the_checkpoints_take(plain, workers, count, text):
    plain.workers_chosen(workers, count)
    assert said(plain) == [text + "checkpoints take at most 12 MB"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "1 MB"), (2**20, "1 MB"), (300 * 2**20, "300 MB"), (3 * 2**29, "1.5 GB")]
)
def test_sizes(count, text):
    assert texts.size(count) == text


def test_a_first_search_says_nothing_of_earlier_ones(plain):
    plain.search_restored([], None)
    assert said(plain) == []


def test_a_restored_search_says_what_it_goes_on_after(plain):
    plain.search_restored([trial(1), trial(2, score=0.5), trial(3, "running", None)], trial(1))
    assert said(plain) == ["going on after 2 trials, 1 to be gone on with; best so far: trial 1, 0.7500"]


def test_a_restored_search_without_running_trials_or_a_best(plain):
    plain.search_restored([trial(1)], trial(1))
    plain.search_restored([trial(1, "failed", None), trial(2, "failed", None)], None)
    assert said(plain) == ["going on after 1 trials; best so far: trial 1, 0.7500", "going on after 2 trials"]


def test_a_lost_job_is_told_with_its_reason(plain):
    plain.job_lost(3, "its process was killed (signal 9)")
    assert said(plain) == ["trial 3: its process was killed (signal 9); run again"]


def test_a_trial_is_a_line_with_a_star_for_the_best(plain):
    plain.trial_ended(trial(7), trial(7))
    plain.trial_ended(trial(8, score=0.5), trial(7))
    plain.trial_ended(trial(9, "failed", None, message="out of memory", epochs=()), trial(7))
    assert said(plain) == [
        "trial  7/10  0.7500    3 epochs      1,234 params   1:05  4k3p2 | no dense | lr 0.01, batch 32 *",
        "trial  8/10  0.5000    3 epochs      1,234 params   1:05  4k3p2 | no dense | lr 0.01, batch 32",
        "trial  9/10  -    0 epochs      1,234 params   1:05  out of memory",
    ]


def test_what_a_message_brackets_is_no_markup(plain):
    plain.job_lost(1, "[red]exit code 1[/red]")
    assert said(plain) == ["trial 1: [red]exit code 1[/red]; run again"]


def test_two_trials_at_once_are_shown_with_their_epochs(live):
    for number in (1, 2):
        live.trial_started(trial(number, "running", None, epochs_done=0), 4)
    live.epoch_ended(2, EPOCHS[0])
    live.epoch_ended(1, EPOCHS[1])
    completed, text = state(live)
    assert completed == 0.75
    assert text == "0/10 done"
    assert lines(live) == [
        ("best", "no result yet"),
        ("trial 1", "epoch 2 of 4  0.5000  ▁"),
        ("trial 2", "epoch 1 of 4  0.5000  ▁"),
    ]


def test_a_trial_that_ended_leaves_the_other_and_counts(live):
    for number in (1, 2):
        live.trial_started(trial(number, "running", None, epochs_done=0), 4)
    live.trial_ended(trial(1), trial(1))
    live.epoch_ended(2, EPOCHS[1])
    completed, text = state(live)
    assert completed == 1.5
    assert text == "1/10 done"
    assert lines(live) == [
        ("best", "0.7500  trial 1: 4k3p2 | no dense | lr 0.01, batch 32"),
        ("trial 2", "epoch 2 of 4  0.5000  ▁"),
    ]
    assert any("trial  1/10  0.7500" in line for line in said(live))


def test_the_time_left_is_what_the_run_says_and_runs_down(live, monkeypatch):
    live.search_restored([trial(n) for n in (1, 2, 3, 4)], trial(1))
    monkeypatch.setattr(view_state.time, "monotonic", lambda: 1000.0)
    live.time_left(300.0)
    live.trial_started(trial(5, "running", None, epochs_done=0), 4)
    assert state(live) == (4, "4/10 done, 5:00 left")
    monkeypatch.setattr(view_state.time, "monotonic", lambda: 1060.0)
    live.epoch_ended(5, EPOCHS[0])
    assert state(live)[1] == "4/10 done, 4:00 left"


def test_without_a_number_of_trials_the_bar_is_of_the_time(live, run, monkeypatch):
    run.config = toy_config(max_trials=None, budget_seconds=600)
    live.started = 1000.0
    monkeypatch.setattr(view_state.time, "monotonic", lambda: 1060.0)
    live.time_left(540.0)
    live.trial_started(trial(5, "running", None, epochs_done=0), 4)
    [task] = live._progress.tasks
    assert (task.completed, task.total) == (60, 600)
    assert task.fields["state"] == "0 done, 9:00 left"
    live.trial_ended(trial(5), trial(5))
    assert any("trial    5  0.7500" in line for line in said(live))


def test_a_trial_that_is_trained_on_counts_once(live):
    live.trial_started(trial(1, "running", None, epochs_done=0), 3)
    live.trial_ended(trial(1), trial(1))
    live.trial_started(trial(1, "running", epochs_done=3), 9)
    completed, text = state(live)
    assert completed == pytest.approx(1 / 3)
    assert text == "0/10 done"
    assert lines(live)[1] == ("trial 1", "epoch 3 of 9  0.5000  ▁▁▁")
    live.trial_ended(trial(1), trial(1))
    live.trial_started(trial(2, "running", None, epochs_done=0), 3)
    assert state(live)[0] == 1


def test_a_restored_trial_that_is_gone_on_with_is_not_counted_as_done(live):
    live.search_restored([trial(1), trial(2, "running", None)], trial(1))
    live.trial_started(trial(2, "running", None, epochs_done=0), 4)
    live.epoch_ended(2, EPOCHS[1])
    assert state(live)[0] == 1.5
    live.trial_ended(trial(2), trial(1))
    live.trial_started(trial(3, "running", None, epochs_done=0), 4)
    assert state(live)[0] == 2


def test_the_bar_never_runs_over_its_end(live):
    live.search_restored([trial(n) for n in range(1, 11)], trial(1))
    live.trial_started(trial(3, "running", epochs_done=3), 9)  # promoted
    assert state(live)[0] == 10


def test_the_final_training_is_a_bar_of_its_own(live):
    live.trial_started(trial(1, "running", None, epochs_done=0), 4)
    live.phase("training trial 1 to the end", 9)
    live.epoch_ended(1, Epoch(5, {"val_accuracy": 0.8}, 1.0))
    live.epoch_ended(2, Epoch(1, {"val_accuracy": 0.7}, 1.0))
    assert state(live) == (2, "2/9 epochs, trial 2 0.7000")
    assert live._progress.tasks[0].description == "training trial 1 to the end"


def test_a_training_on_train_and_validation_has_no_score(live):
    live.phase("training trial 1 again, on train and validation", 9)
    live.epoch_ended(1, Epoch(1, {"accuracy": 0.8, "loss": 0.3}, 1.0))
    assert state(live) == (1, "1/9 epochs, trial 1 -")


def test_lines_and_bar_go_to_the_terminal_together(live):
    live.trial_started(trial(1, "running", None, epochs_done=0), 4)
    live.job_lost(1, "it hung")
    live._progress.refresh()
    text = "\n".join(said(live))
    assert "trial 1: it hung; run again" in text
    assert "no result yet" in text
    assert "0/10 done" in text


def test_the_view_says_how_the_best_grew_what_failed_and_with_what_it_trains(live):
    live.workers_chosen(Workers(2, 1, "float32"), 12 * 2**20)
    for number, reached in enumerate((0.5, 0.6, 0.75), 1):
        live.trial_started(trial(number, "running", None, epochs=()), 4)
        live.trial_ended(trial(number, score=reached), trial(number, score=reached))
    for number in (4, 5):
        live.trial_ended(trial(number, "failed", None, message="out of [b]memory", epochs=()), trial(3))
    live.trial_started(trial(6, "running", None, epochs=()), 4)
    assert lines(live) == [
        ("best", "0.7500  trial 3: 4k3p2 | no dense | lr 0.01, batch 32  ▁▄███  0.2500 better in 4 trials"),
        ("trial 6", "epoch 3 of 4"),
        ("failed", "2 failed, the last one trial 5: out of [b]memory"),
        ("workers", "2 worker processes, 1 thread each, float32"),
    ]
    live._progress.refresh()
    assert any("out of [b]memory" in line for line in said(live)), "no markup"


def test_where_a_trial_is_trained_is_shown_while_it_is(live):
    live.trial_started(trial(1, "running", None, epochs=()), 4)
    live.job_placed(1, "node-7")
    assert lines(live)[1] == ("trial 1", "epoch 3 of 4 on node-7")
    live.job_placed(1, "node-8")  # after it was lost
    live.epoch_ended(1, EPOCHS[0])
    assert lines(live)[1] == ("trial 1", "epoch 1 of 4 on node-8  0.5000  ▁")
    live.trial_ended(trial(1), trial(1))
    live.trial_started(trial(1, "running", epochs=()), 9)
    assert lines(live)[1] == ("trial 1", "epoch 3 of 9")
    live.phase("training trial 1 to the end", 9)
    live.job_placed(1, "node-7")
    live.epoch_ended(1, Epoch(5, {"val_accuracy": 0.8}, 1.0))
    assert state(live) == (1, "1/9 epochs, trial 1 0.8000 on node-7")


def test_after_the_search_its_lines_are_gone(live):
    live.trial_started(trial(1, "running", None, epochs_done=0), 4)
    live.phase("evaluating on the test part")
    assert lines(live) == []


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [((), 4, ""), ((1, 1), 4, "▁▁"), ((0, 1, 7), 4, "▁▂█"), (range(100), 4, "▁▃▅█"), ((3, 2, 1), 8, "█▅▁")],
)
def test_numbers_as_a_row_of_bars(values, width, text):
    assert texts.sparkline(list(values), width) == text


def test_a_table_says_what_became_of_each_trial():
    table = Console(file=StringIO(), width=200)
    stopped = trial(2, "stopped", 0.5, epochs=EPOCHS[:1])
    failed = trial(3, "failed", None, best_epoch=None, message="out of [b]memory", epochs=())
    table.print(tables.trials_table([trial(1), stopped, failed], Objective("val_accuracy", "max")))
    rows = table.file.getvalue().splitlines()
    assert rows[1].split()[:7] == ["1", "0.7500", "3", "1,234", "5,678", "1:05", "▁▁▁"]
    assert "stopped after 1 epoch: 4k3p2 | no dense" in rows[2]
    assert "failed: out of [b]memory" in rows[3]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (200, "trial val_accuracy epoch params multiply-adds time curve blocks"),
        (80, "trial val_accuracy epoch params time blocks"),
        (56, "trial val_accuracy blocks"),
    ],
)
def test_a_narrow_terminal_has_room_for_what_was_tried(width, expected):
    screen = Console(file=StringIO(), width=width)
    screen.print(tables.trials_table([trial(1), trial(12)], Objective("val_accuracy", "max"), width))
    head, *rows = screen.file.getvalue().splitlines()
    assert head.split()[: len(expected.split())] == expected.split()
    assert max(map(len, rows)) <= width
    assert rows[0].split()[:2] == ["1", "0.7500"]


@pytest.mark.parametrize(
    ("width", "titles"), [(40, "output"), (60, "output params sees"), (80, "output params mult-adds sees")]
)
def test_a_narrow_terminal_has_room_for_the_steps(width, titles):
    network = architecture.build(toy_space().sample(random.Random(0)), (28, 28, 1), Output("multiclass", 10))
    terminal = Console(file=StringIO(), width=width)
    terminal.print(tables.steps_table(network, width))
    head, *rows = terminal.file.getvalue().splitlines()
    assert head.split() == ["step", *titles.split()]
    assert "1 convolution:" in terminal.file.getvalue()
    assert max(map(len, rows)) <= width


@pytest.mark.parametrize(
    ("file", "environment", "expected"),
    [
        (Terminal(), {}, LiveReporter),
        (Terminal(), {"NO_COLOR": "1"}, LiveReporter),
        (Terminal(), {"TERM": "dumb"}, Reporter),
        (Terminal(), {"TTY_COMPATIBLE": "0"}, Reporter),
        (StringIO(), {}, Reporter),
        (StringIO(), {"FORCE_COLOR": "1"}, Reporter),
    ],
)
def test_there_is_a_live_view_where_it_can_be_drawn_over_only(file, environment, expected):
    console = Console(file=file, _environ={"TERM": "xterm"} | environment)
    assert type(live_view.reporter(console)) is expected


class Tee:
    """All that many a program puts in the place of stdout."""

    def __init__(self) -> None:
        self.told = ""

    def write(self, text: str) -> None:
        self.told += text

    def flush(self) -> None: ...


def test_what_has_the_place_of_stdout_need_not_know_terminals(monkeypatch):
    closed = StringIO()
    closed.close()
    for file in (Tee(), closed):
        monkeypatch.setattr(sys, "stdout", file)
        assert type(live_view.reporter(screen.console())) is Reporter
    monkeypatch.setattr(sys, "stdout", tee := Tee())
    Reporter(screen.console()).line("told")
    assert tee.told == "told\n"


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_a_file_has_no_folded_tables(monkeypatch, environment):
    monkeypatch.setattr(sys, "stdout", StringIO())
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert screen.console().width == 160


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            40,
            [
                "trial  7/10  0.9000    3 epochs",
                "       1,234 params   1:05",
                "    4k3p2 | no dense | lr 0.01, batch 32",
                "    *",
            ],
        ),
        (
            80,
            ["trial  7/10  0.9000    3 epochs      1,234 params   1:05", "    4k3p2 | no dense | lr 0.01, batch 32 *"],
        ),
        (200, ["trial  7/10  0.9000    3 epochs      1,234 params   1:05  4k3p2 | no dense | lr 0.01, batch 32 *"]),
    ],
)
def test_the_line_of_a_trial_is_broken_between_words(run, width, expected):
    reporter = Reporter(Console(file=Terminal(), width=width, _environ={}))
    reporter.run = run
    reporter.trial_ended(trial(7, score=0.9), trial(7, score=0.9))
    assert [line.rstrip() for line in said(reporter)] == expected


def test_what_is_behind_a_title_goes_on_below_itself_and_commands_stay_whole():
    console = Console(file=Terminal(), width=30, _environ={})
    told = screen.wrapped(console, "scores    0.4407 in the search, 0.9963 in the end")
    assert told.splitlines() == ["scores    0.4407 in the", "          search, 0.9963 in", "          the end"]
    curl = serve._curl("http://127.0.0.1:8501/v1/models/digits-quick-1")
    for command in ("next      cnn-tuner explain; cnn-tuner tensorboard", curl):
        assert screen.wrapped(console, command) == command
    path = "photos/of/a/very/long/name/that/has/no/end"
    assert screen.wrapped(console, f"export    {path}").splitlines() == ["export", f"          {path}"]


def test_a_line_in_a_file_stays_whole(run):
    reporter = Reporter(Console(file=StringIO(), width=40))
    reporter.run = run
    reporter.trial_ended(trial(7, score=0.9), None)
    assert len(said(reporter)) == 1


def winner(**change: object) -> Winner:
    facts = {"looks": 1} | change
    return Winner(3, 12, 9, 0.9, 0.95, 0.94, {"accuracy": 0.93}, 1000, 1234, 5678, 30.0, **facts)


def test_a_winner_whose_epochs_had_a_part_of_the_images_is_told_with_its_passes():
    told = tables.winner_lines(winner(passes=7.25), "val_accuracy")[1]
    assert "trained to the end (12 epochs, 7.2 passes over the training images)" in told


@pytest.mark.parametrize(
    ("why", "what"), [(AS_SEARCHED, "as the search left it"), (CUT_SHORT, "where its training was cut short")]
)
def test_a_winner_that_was_not_trained_to_the_end_is_not_said_to_be(why, what):
    assert f"0.9500 {what} (12 epochs)" in tables.winner_lines(winner(refit=why), "val_accuracy")[1]


def test_the_winner_is_told_with_all_its_scores():
    assert tables.winner_lines(winner(), "val_accuracy") == [
        "winner    trial 3: 1,234 parameters, 5,678 multiply-adds an image",
        "scores    val_accuracy 0.9000 in the search, 0.9500 trained to the end (12 epochs), 0.9400 in float32",
        "test      accuracy 0.9300 on 1,000 images, looked at once",
    ]


@pytest.mark.parametrize(
    ("refit", "line"),
    [
        ("done", "refit     trained again on train and validation for the export; these scores are its twin's"),
        ("not asked for", "refit     not trained again on train and validation: not asked for"),
    ],
)
def test_what_became_of_the_refit_is_told(refit, line):
    assert tables.winner_lines(winner(refit=refit), "val_accuracy")[2] == line


def baseline(name: str, accuracy: float) -> Baseline:
    return Baseline(name, 100, {"accuracy": 0.5}, {"accuracy": accuracy}, 0.5)


def test_simple_models_stand_beside_the_winner():
    worse = (baseline("constant", 0.1), baseline("RBF SVM", 0.92))
    lines = tables.winner_lines(winner(baselines=worse), "val_accuracy")
    assert lines[0].startswith("winner ")
    assert lines[-1] == "compared  accuracy on the test part: constant 0.1000, RBF SVM 0.9200"


@pytest.mark.parametrize("accuracy", [0.93, 0.95])
def test_a_network_that_is_no_better_is_the_first_thing_that_is_told(accuracy):
    found = (baseline("constant", 0.1), baseline("RBF SVM", accuracy))
    assert tables.winner_lines(winner(baselines=found), "val_accuracy")[0] == (
        f"warning   RBF SVM reaches accuracy {accuracy:.4f} on the test part, this network 0.9300: use it, or search "
        "longer (--budget), with more images or in a larger space"
    )


def test_a_test_part_that_was_looked_at_more_than_once_is_told():
    last = tables.winner_lines(winner(looks=3), "val_accuracy")[-1]
    assert last == "test      accuracy 0.9300 on 1,000 images, looked at 3 times: once for each winner so far"


@pytest.mark.parametrize(
    ("name", "value", "interval", "text"),
    [
        ("accuracy", 0.98888, [0.97178, 0.9957], "accuracy 0.9889 (95 % interval 0.972 to 0.996)"),
        ("mae", 12.3456, [11.111, 13.2], "mae 12.3456 (95 % interval 11.11 to 13.2)"),
        ("auc", float("nan"), None, "auc nan"),
    ],
)
def test_a_metric_is_told_with_its_interval(name, value, interval, text):
    assert texts.metric(name, value, interval) == text


def test_a_point_says_of_its_training_what_is_not_as_usual():
    assert texts.summary(VALUES).endswith("| lr 0.01, batch 32")
    recipe = {"optimizer": "sgd", "schedule": "one_cycle", "weight_decay": 0.001, "label_smoothing": 0.1}
    found = texts.summary(VALUES | recipe | {"flip": "both", "erase": 0.25, "warmup": 0.0})
    assert found.endswith("| sgd, lr 0.01 one_cycle, batch 32, decay 0.001, smoothing 0.1, augmented: flip erase")


@pytest.mark.parametrize(
    ("home", "there"),
    [("runs", ""), ("./runs", ""), ("/srv/my runs", " --runs '/srv/my runs'"), ("other", " --runs other")],
)
def test_what_comes_next_finds_the_run(home, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(home) / "toy-1"
    outcome = Outcome(
        folder, [], Objective("val_accuracy", "max"), winner(), VALUES, folder / "export", {"keras": 0.0}, 1.0, False
    )
    told = tables.outcome_lines(outcome, "cnn-tuner")[-1]
    assert (
        told == f"next      cnn-tuner explain{there}; cnn-tuner tensorboard{there}; cnn-tuner predict IMAGE...{there}"
    )
    assert "explain" not in tables.outcome_lines(replace(outcome, values={"units": 8}), "cnn-tuner")[-1]
