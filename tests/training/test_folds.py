"""One job that trains a network for each fold: means, exact continuation, a stop in its midst, what fails."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import toy_part

from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.runs.checkpoints import fold_file
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.training import fit, folds
from cnn_tuner.training.batches import Data
from cnn_tuner.training.network import KeptNetwork
from cnn_tuner.training.seven_steps import SevenSteps
from cnn_tuner.training.state import Progress, save_state

VALUES = {
    "blocks": 1,
    "block_1.convolutions": 1,
    "block_1.filters": 4,
    "block_1.kernel_size": 3,
    "block_1.strides": 1,
    "block_1.padding": "same",
    "block_1.pool_size": 2,
    "block_1.dropout": 0.3,
    "dense_layers": 1,
    "dense_1.units": 8,
    "dense_1.dropout": 0.2,
    "learning_rate": 0.01,
    "batch_size": 20,
}
FOLD_OF = np.repeat([2, 3], [20, 20])  # of 40 training images, and 21 are of fold 1: two folds need a batch more


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(toy_part("multiclass", 40, 0), toy_part("multiclass", 21, 1), FOLD_OF)


@pytest.fixture
def job(tmp_path) -> Job:
    state, output = str(tmp_path / "checkpoints" / "job-00001.npz"), Output("multiclass", 4)
    return Job(1, 1, VALUES, (8, 8, 1), output, Objective("val_accuracy", "max"), 2, 0, state, folds=3)


def train(job: Job, data: Data, kept: KeptNetwork | None = None) -> tuple[Result, list[Epoch]]:
    heard: list[Epoch] = []
    return fit.train(job, data, heard.append, lambda: False, kept), heard


def metrics(epochs) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in epochs]


@pytest.mark.slow
def test_what_is_told_are_the_means_of_networks_trained_alone(job, data, tmp_path):
    result, heard = train(job, data)
    alone = [
        train(replace(job, folds=0, split=split, epoch_steps=2, state_file=str(tmp_path / f"{split}.npz")), data)[0]
        for split in range(3)
    ]
    assert result.status == "completed"
    assert result.best_epoch == 2
    for number, epoch in enumerate(result.epochs):
        of_each = [each.epochs[number].metrics for each in alone]
        spread = statistics.stdev(found["val_accuracy"] for found in of_each)
        expected = {name: statistics.fmean(found[name] for found in of_each) for name in of_each[0]}
        assert epoch.metrics == expected | {"val_accuracy_spread": spread}
    assert result.score == result.epochs[-1].metrics["val_accuracy"]
    assert metrics(heard) == metrics(result.epochs)
    assert len({each.score for each in alone}) > 1


def test_each_image_is_for_validation_in_one_fold_alone(data):
    parts = [data.redrawn(split, by_class=True) for split in range(3)]
    rows = [part._rows[1] for part in parts]
    assert sorted(np.concatenate(rows)) == list(range(61))
    for part in parts:
        assert not set(part._rows[0]) & set(part._rows[1])
        assert part.images(with_val=True) == 61
    assert parts[0] is data
    np.testing.assert_array_equal(rows[1], np.flatnonzero(FOLD_OF == 2))
    np.testing.assert_array_equal(data.redrawn(4, True)._rows[1], rows[1])


@pytest.mark.slow
def test_a_network_that_is_set_up_once_gives_what_a_new_one_does(job, data, monkeypatch):
    set_up, original = [], SevenSteps.set_up
    monkeypatch.setattr(SevenSteps, "set_up", lambda *given: set_up.append(1) or original(*given))
    expected, _ = train(replace(job, state_file=job.state_file.replace("00001", "00002")), data)
    assert len(set_up) == 1, "though an epoch of two folds would have a batch more"
    kept = KeptNetwork(SevenSteps())
    found, _ = train(job, data, kept)
    assert metrics(found.epochs) == metrics(expected.epochs)
    later = replace(job, epochs=3, initial_epoch=2, initial_state=job.state_file, state_file=job.state_file + "3.npz")
    assert train(later, data, kept)[0].epochs


@pytest.mark.slow
def test_training_on_equals_training_without_a_break(job, data):
    whole, _ = train(replace(job, epochs=3), data)
    first = replace(job, epochs=1, state_file=job.state_file.replace("00001", "00002"))
    then = replace(
        job,
        epochs=3,
        initial_epoch=1,
        initial_state=first.state_file,
        state_file=job.state_file.replace("00001", "00003"),
    )
    assert metrics([*train(first, data)[0].epochs, *train(then, data)[0].epochs]) == metrics(whole.epochs)


@pytest.mark.slow
def test_what_was_stopped_counts_as_far_as_all_folds_are_and_goes_on_to_the_same_end(job, data):
    whole = replace(job, epochs=3, state_file=job.state_file.replace("00001", "00002"))
    expected, _ = train(whole, data)
    heard, job = [], replace(job, epochs=3)
    stopped = fit.train(job, data, heard.append, lambda: bool(heard))
    assert stopped.status == "stopped"
    assert metrics(stopped.epochs) == metrics(heard) == metrics(expected.epochs[:1])
    assert stopped.score == heard[0].metrics["val_accuracy"]
    assert fit.load_state(Path(job.state_file), job, grows=True).epochs_done == 1, "no more than is counted"
    again = fit.train(replace(job, attempt=2), data, lambda epoch: None, lambda: True)
    assert metrics(again.epochs) == metrics(stopped.epochs), "what was reached stays, however soon it is stopped"
    found, heard = train(replace(job, attempt=3), data)
    assert metrics(found.epochs) == metrics(heard) == metrics(expected.epochs)
    assert fit.load_best(job).count_params()
    assert found.seconds > stopped.seconds
    names = sorted(path.name for path in Path(job.state_file).parent.glob("job-00001*"))
    assert names == ["job-00001.fold2.npz", "job-00001.fold3.npz", "job-00001.npz"]
    never = fit.train(replace(job, state_file=job.state_file + "4.npz"), data, heard.append, lambda: True)
    assert (never.status, never.score, never.epochs) == ("stopped", None, ())


@pytest.mark.slow
def test_a_fold_that_fails_is_named(job, data, monkeypatch):
    original = fit._fit

    def fails(one, *others):
        if one.split == 1:
            raise ArithmeticError("of no use")
        return original(one, *others)

    monkeypatch.setattr(fit, "_fit", fails)
    result, heard = train(job, data)
    assert (result.status, result.score, result.epochs, heard) == ("failed", None, (), [])
    assert result.message == "fold 2: ArithmeticError: of no use"


def test_all_folds_are_trained_in_turns_and_their_seconds_add_up(job):
    trained, heard = [], []

    def one(own, tell):
        trained.append((own.split, own.epochs))
        epochs = tuple(
            Epoch(n, {"loss": 0.1, "val_accuracy": n / 10 + own.split / 100}, 2.0) for n in range(3, own.epochs + 1)
        )
        for epoch in epochs:
            tell(epoch)
        return Result(
            own.number, "completed", epochs[-1].metrics["val_accuracy"], own.epochs, epochs, 2.5 * len(epochs)
        )

    found = folds.train_folds(replace(job, initial_epoch=2, epochs=6), heard.append, one)
    assert trained == [(split, upto) for upto in (3, 5, 6) for split in (1, 2, 0)]
    assert [epoch.number for epoch in heard] == [3, 4, 5, 6]
    assert tuple(heard) == found.epochs
    assert (found.seconds, found.best_epoch, found.score) == (30.0, 6, pytest.approx(0.61))
    assert found.epochs[0].metrics["val_accuracy_spread"] == pytest.approx(0.01)
    assert found.epochs[0].seconds == 6.0


@pytest.mark.slow
def test_a_state_that_was_lost_is_trained_anew_and_nothing_is_told_of_some_folds(job, data):
    expected, _ = train(replace(job, epochs=3, state_file=job.state_file.replace("00001", "00002")), data)
    stopped = fit.train(replace(job, epochs=3), data, (heard := []).append, lambda: bool(heard))
    assert len(stopped.epochs) == 1
    fold_file(Path(job.state_file), 1).unlink()
    found, heard = train(replace(job, epochs=3, attempt=2), data)
    assert metrics(found.epochs) == metrics(heard) == metrics(expected.epochs)


def test_a_model_over_the_limit_trains_no_fold(job, data, monkeypatch):
    monkeypatch.setattr(fit, "measure_latency", lambda built: 0.005)
    monkeypatch.setattr(fit, "_fit", None)
    limited = replace(job, measures_latency=True, max_latency_seconds=0.001)
    result, heard = train(limited, data)
    assert (result.status, result.latency_seconds, heard) == ("failed", 0.005, [])
    assert result.message == "one image takes 5 ms, over the limit of 1 ms"


def test_later_folds_take_up_their_own_states(job):
    later = replace(job, initial_state=job.state_file.replace("00001", "00000"))
    one = folds.of_fold(later, 1)
    assert [Path(str(path)).name for path in (one.state_file, one.initial_state)] == [
        "job-00001.fold2.npz",
        "job-00000.fold2.npz",
    ]
    save_state(one, Progress(epochs_done=1, score=0.5))
    with pytest.raises(ValueError, match="another trial"):
        fit.load_state(Path(one.state_file), folds.of_fold(later, 2))
