"""TensorBoard's logs written again from the store: the same as those that the search wrote."""

from __future__ import annotations

import pytest
from search.test_loop import FormulaExecutor, searched, toy_run
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.util.tensor_util import make_ndarray

from cnn_tuner.logs import rebuilding


def read(folder) -> dict[tuple[str, str], list]:
    """Every scalar, by run and tag: steps and values."""
    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    return {
        (run, tag): [(event.step, make_ndarray(event.tensor_proto).tolist()) for event in events.Tensors(run, tag)]
        for run, tags in events.Runs().items()
        for tag in tags["tensors"]
    }


@pytest.mark.slow
def test_what_is_rebuilt_is_what_the_search_wrote(tmp_path):
    run = toy_run(tmp_path, oracle="asha", max_trials=9, epochs=9)
    searched(run, FormulaExecutor(slots=2, node="node-7"))
    expected = read(run.tensorboard)
    assert expected["trial-0001", "trial/node"][-1] == (9, b"node-7")
    (run.tensorboard / "left-over").mkdir()
    rebuilding.rebuild(run)
    found = read(run.tensorboard)
    assert not (run.tensorboard / "left-over").exists()
    declared = {(".", "_hparams_/experiment"), (".", "custom_scalars__config__")}
    assert set(found) == set(expected) | declared
    for (name, tag), curve in expected.items():
        if tag.startswith("trial/"):  # of a trial that was trained on, the last row stands for all
            assert found[name, tag] == curve[-1:]
        elif "second" not in tag and not tag.startswith("_hparams_"):
            assert found[name, tag] == curve, (name, tag)
    best = [value for _, value in found[".", "search/best val_accuracy by second"]]
    assert best == [value for _, value in found[".", "search/best val_accuracy"]]


def test_what_cannot_be_rebuilt_leaves_what_was_there(tmp_path, monkeypatch):
    run = toy_run(tmp_path, max_trials=2)
    searched(run)
    expected = read(run.tensorboard)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(rebuilding, "_write_progress", full)
    with pytest.raises(OSError, match="no space left"):
        rebuilding.rebuild(run)
    assert read(run.tensorboard) == expected
    assert [path.name for path in run.folder.iterdir() if path.name.startswith(".tensorboard")] == []
