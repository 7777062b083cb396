"""Training one job: exact continuation, seeds, stopping, failures as results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toys import toy_part

from cnn_tuner import training
from cnn_tuner.records import Job, Result
from cnn_tuner.tasks import Objective, Output

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
    "batch_size": 20,  # 96 images: the last batch is a short one
}


@pytest.fixture(scope="module")
def data() -> training.Data:
    return training.Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))


@pytest.fixture
def job(tmp_path) -> Job:
    objective = Objective("val_accuracy", "max")
    state = str(tmp_path / "checkpoints" / "state.npz")
    return Job(1, VALUES, (8, 8, 1), Output("multiclass", 4), objective, epochs=4, seed=0, state_file=state)


def train(job: Job, data: training.Data) -> Result:
    return training.train(job, data, on_epoch=lambda epoch: None, should_stop=lambda: False)


def metrics(result: Result) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in result.epochs]


def weights(job: Job) -> list[np.ndarray]:
    return training.load_best(job).get_weights()


def test_training_on_equals_training_without_a_break_to_the_last_bit(job, data, tmp_path):
    whole = train(job, data)
    part = replace(job, state_file=str(tmp_path / "part.npz"))
    first = train(replace(part, epochs=1), data)
    then = train(replace(part, initial_epoch=1), data)
    assert metrics(first) + metrics(then) == metrics(whole)
    assert (then.score, then.best_epoch) == (whole.score, whole.best_epoch)
    for a, b in zip(weights(job), weights(part), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_trains_the_same_and_another_does_not(job, data):
    first = train(job, data)
    assert metrics(train(job, data)) == metrics(first)
    assert metrics(train(replace(job, seed=1), data)) != metrics(first)


def test_it_learns(job, data):
    result = train(replace(job, epochs=25), data)
    assert result.status == "completed"
    assert result.score > 0.9


def test_the_score_is_the_best_epochs_and_the_best_weights_are_kept(job, data):
    result = train(replace(job, epochs=6), data)
    values = [epoch.metrics["val_accuracy"] for epoch in result.epochs]
    assert result.score == max(values)
    model = training.load_best(job)
    found = model.evaluate(data.val, verbose=0, return_dict=True)
    best = result.epochs[result.best_epoch - 1].metrics
    assert found["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(best["val_loss"], abs=1e-5)


def test_of_epochs_with_the_same_score_the_one_with_the_lowest_loss_is_the_best(job, data):
    result = train(replace(job, epochs=25), data)
    equals = [e for e in result.epochs if e.metrics["val_accuracy"] == result.score]
    assert len(equals) > 1, "this test needs a tie"
    assert result.best_epoch == min(equals, key=lambda e: e.metrics["val_loss"]).number


def test_patience_ends_training_that_no_longer_improves(job, data):
    wild = replace(job, values=VALUES | {"learning_rate": 0.3}, epochs=50, patience=2)
    result = train(replace(wild, objective=Objective("val_loss", "min")), data)
    assert result.status == "completed"
    assert len(result.epochs) == result.best_epoch + 2 < 50


def test_each_epoch_is_told_when_it_ends(job, data):
    told = []
    result = training.train(job, data, on_epoch=told.append, should_stop=lambda: False)
    assert tuple(told) == result.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert set(told[0].metrics) == {"accuracy", "loss", "val_accuracy", "val_loss"}


def test_a_request_to_stop_drops_the_epoch_under_way_and_what_was_reached_counts(job, data):
    told = []
    result = training.train(job, data, on_epoch=told.append, should_stop=lambda: len(told) == 2)
    assert (result.status, len(result.epochs)) == ("stopped", 2)
    rest = train(replace(job, initial_epoch=2), data)
    assert metrics(result) + metrics(rest) == metrics(train(job, data))


def test_a_job_stopped_before_its_first_epoch_has_no_score(job, data):
    result = training.train(job, data, on_epoch=lambda epoch: None, should_stop=lambda: True)
    assert (result.status, result.score, result.epochs) == ("stopped", None, ())


def test_a_loss_that_is_not_finite_is_a_failure_with_a_reason(job, data):
    broken = replace(job, output=Output("regression", 1, (1e30,), (0.0,)), objective=Objective("val_mae", "min"))
    x = toy_part("regression", 96, 0)
    result = train(broken, training.Data(x, x))
    assert result.status == "failed"
    assert result.message == "the loss was no longer finite in epoch 1; a smaller learning rate may help"


def test_a_state_that_cannot_be_written_is_no_failure_of_the_trial(job, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train(replace(job, state_file=str(tmp_path / "file" / "state.npz"), epochs=1), data)


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own(data):
    batches = list(data.batches(seed=3, batch_size=20, initial_epoch=0).take(10))
    epochs = [np.concatenate([x.numpy() for x, _ in batches[i : i + 5]]) for i in (0, 5)]
    sorted_ = [np.sort(epoch.reshape(96, -1), axis=0) for epoch in epochs]
    np.testing.assert_array_equal(sorted_[0], sorted_[1])
    assert not np.array_equal(epochs[0], epochs[1])
    [(later, _)] = list(data.batches(seed=3, batch_size=20, initial_epoch=1).take(1))
    np.testing.assert_array_equal(later.numpy(), epochs[1][:20])


@pytest.mark.parametrize(
    ("steps", "macs", "expected"), [(36, 1, 18), (37, 1, 1), (20, 1, 20), (36, 10**9, 1), (36, 3 * 10**8, 4)]
)
def test_steps_at_once_divide_the_epoch_and_stay_short(steps, macs, expected):
    assert training._steps_per_execution(steps, macs) == expected
