"""Training one job: exact continuation, also of a job that was killed, seeds, stopping, failures as results."""

from __future__ import annotations

import errno
import io
import math
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from later import later
from PIL import Image
from toys import toy_dataset, toy_part

from cnn_tuner.data.dataset import Part, Selection
from cnn_tuner.data.shared import opened, shared
from cnn_tuner.data.undecoded import Undecoded
from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Objective, Output
from cnn_tuner.models import builder
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.spaces.recipe import Augmentation
from cnn_tuner.training import fit, network, recorder, seven_steps
from cnn_tuner.training import state as training_state
from cnn_tuner.training.batches import Data
from cnn_tuner.training.network import KeptNetwork, steps_per_execution
from cnn_tuner.training.seven_steps import SevenSteps

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
def data() -> Data:
    return Data(toy_part("multiclass", 96, 0), toy_part("multiclass", 32, 1))


def job_in(folder: Path) -> Job:
    objective = Objective("val_accuracy", "max")
    state = str(folder / "checkpoints" / "state.npz")
    return Job(1, 1, VALUES, (8, 8, 1), Output("multiclass", 4), objective, epochs=4, seed=0, state_file=state)


@pytest.fixture
def job(tmp_path) -> Job:
    return job_in(tmp_path)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> tuple[Job, Result]:
    """The job, trained without a break, and what it reached."""
    job = job_in(tmp_path_factory.mktemp("whole"))
    return job, train(job, data)


@pytest.fixture
def part(whole, tmp_path) -> Job:
    """The first epoch of the same trial."""
    return replace(whole[0], epochs=1, state_file=str(tmp_path / "part.npz"))


def train(job: Job, data: Data, kept: KeptNetwork | None = None, stops: bool = False) -> Result:
    heard: list[Epoch] = []
    return fit.train(job, data, heard.append, lambda: stops and bool(heard), kept)


def metrics(result: Result) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in result.epochs]


def weights(job: Job) -> list[np.ndarray]:
    return fit.load_best(job).get_weights()


def arrays(path: str | Path) -> dict[str, np.ndarray]:
    """What a state file holds, apart from seconds and other facts."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "facts"}


def assert_same_state(a: Job, b: Job) -> None:
    """That two jobs left the same weights, optimizer with its averages, and random states, to the last bit."""
    first, second = arrays(a.state_file), arrays(b.state_file)
    assert list(first) == list(second)
    assert {name.rsplit("_", 1)[0] for name in first} == {"variables", "optimizer"}
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def elsewhere(job: Job, name: str = "other") -> Job:
    return replace(job, state_file=str(Path(job.state_file).with_name(f"{name}.npz")))


def continued(job: Job, initial: Job, initial_epoch: int) -> Job:
    """A later job of the trial that begins with the state that an earlier one left."""
    return replace(elsewhere(job, "later"), initial_state=initial.state_file, initial_epoch=initial_epoch)


def test_training_on_equals_training_without_a_break_to_the_last_bit(whole, part, job, data):
    expected = whole[1]
    first, later = train(part, data), continued(job, part, 1)
    then = train(later, data)
    assert metrics(first) + metrics(then) == metrics(expected)
    assert (then.score, then.best_epoch) == (expected.score, expected.best_epoch)
    assert_same_state(whole[0], later)


@pytest.fixture
def set_up(monkeypatch) -> list[Job]:
    """The jobs whose networks are set up, in their order."""
    jobs: list[Job] = []

    def counted(own, job, data, original=SevenSteps.set_up):
        jobs.append(job)
        return original(own, job, data)

    monkeypatch.setattr(SevenSteps, "set_up", counted)
    return jobs


@pytest.mark.slow
@pytest.mark.parametrize("metric", scores.BY_CLASS)
def test_a_search_may_have_the_classes_count_alike(metric, job, data):
    """What is told of each epoch is what the exported model, which knows no such metric, then is found to have."""
    part = toy_part("multiclass", 32, 1)
    searched = replace(job, epochs=2, objective=Objective(f"val_{metric}", "max"))
    result = train(searched, data)
    best = fit.load_best(searched)
    assert result.score == pytest.approx(fit.evaluate(best, part, searched.output)[metric], abs=1e-6)
    assert metric not in best.get_compile_config()["metrics"]


def test_a_network_that_is_still_set_up_trains_on_to_the_last_bit(whole, part, job, data, set_up):
    kept, later = KeptNetwork(SevenSteps()), continued(job, part, 1)
    first, then = train(part, data, kept), train(later, data, kept)
    assert set_up == [part]
    assert metrics(first) + metrics(then) == metrics(whole[1])
    assert_same_state(whole[0], later)


@pytest.mark.slow
def test_a_network_that_is_still_set_up_serves_its_own_trial_from_its_own_state_only(whole, part, data, set_up):
    kept = KeptNetwork(SevenSteps())
    train(part, data, kept)
    other = replace(elsewhere(part), seed=1)
    train(other, data, kept)
    assert set_up == [part, other]
    lost = replace(continued(other, part, 1), initial_state=f"{part.state_file}.lost", epochs=2)
    again = train(lost, data, kept)
    assert set_up == [part, other, lost], "from its initial weights, not from those that were trained"
    assert metrics(again) == metrics(train(lost, data))


@pytest.mark.slow
def test_a_network_that_was_stopped_within_an_epoch_is_set_up_anew(whole, part, job, data, set_up):
    kept = KeptNetwork(SevenSteps())
    stopped = train(replace(part, epochs=4), data, kept, stops=True)
    assert (stopped.status, len(stopped.epochs)) == ("stopped", 1)
    later = continued(job, part, 1)
    assert metrics(train(later, data, kept)) == metrics(whole[1])[1:]
    assert len(set_up) == 2


def test_a_step_of_training_is_traced_once(job, data, monkeypatch):
    traced = []
    original = keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda self, batch: traced.append(1) or original(self, batch))
    train(replace(job, epochs=2), data)
    assert len(traced) == 1, "twice takes half a second longer"


RECIPES = {
    "a schedule": {"schedule": "one_cycle", "optimizer": "sgd", "weight_decay": 0.01},
    "a warm-up": {"schedule": "constant", "warmup": 0.5, "label_smoothing": 0.1},
    "augmentation": {"flip": "both", "shift": 0.1, "rotate": 20.0, "zoom": 0.2, "erase": 0.5},
    "class weights": {"class_weights": "balanced", "label_smoothing": 0.1},
    "sampled classes": {"class_weights": "sampled"},
}


ALL = {name: value for recipe in reversed(RECIPES.values()) for name, value in recipe.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [ALL, *(pytest.param(recipe, marks=pytest.mark.slow) for recipe in RECIPES.values())],
    ids=["all at once", *RECIPES],
)
def test_training_on_is_exact_whatever_the_recipe(recipe, job, data):
    whole = replace(job, values=VALUES | recipe, course_steps=20)
    part = replace(elsewhere(whole, "part"), epochs=2)
    expected, first = train(whole, data), train(part, data)
    then = train(continued(whole, part, 2), data)
    assert metrics(first) + metrics(then) == metrics(expected)
    assert_same_state(whole, continued(whole, part, 2))


@pytest.mark.slow
def test_the_length_of_the_course_and_not_of_the_job_decides(job, data):
    cosine = replace(job, values=VALUES | {"schedule": "cosine"}, epochs=2, course_steps=10)
    longer = replace(elsewhere(cosine), course_steps=40)
    assert metrics(train(cosine, data)) != metrics(train(longer, data))


@pytest.mark.parametrize("steps", [later(5), 7, later(13)])
def test_a_course_that_ends_within_an_epoch_ends_the_job_there(job, data, steps, monkeypatch):
    monkeypatch.setattr(network, "MACS_AT_ONCE", 1.0)  # a batch at once
    cosine = replace(job, values=VALUES | {"schedule": "cosine"}, epochs=4, course_steps=steps)
    result = train(cosine, data)
    assert len(result.epochs) == math.ceil(steps / 5)
    assert (result.status, result.score) == ("completed", result.epochs[-1].metrics["val_accuracy"])
    iterations = training_state.load_state(Path(cosine.state_file), cosine).optimizer[0]
    assert int(iterations) == steps


class Clock:
    """Time that goes on by 0.1 s with each batch."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(recorder, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: self.now))
        original = recorder.Recorder.on_train_batch_end

        def counted(own, batch, logs=None):
            self.now += 0.1
            original(own, batch, logs)

        monkeypatch.setattr(recorder.Recorder, "on_train_batch_end", counted)


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, 9), later(1.6, 15), later(60.0, 20)])
def test_a_job_ends_its_course_when_its_time_is_over(job, data, monkeypatch, seconds, steps):
    monkeypatch.setattr(network, "MACS_AT_ONCE", 1.0)  # a batch at once
    Clock(monkeypatch)
    timed = replace(job, values=VALUES | {"schedule": "cosine"}, epochs=4, course_steps=20, seconds=seconds)
    result = train(timed, data)
    state = training_state.load_state(Path(timed.state_file), timed)
    assert int(state.optimizer[0]) == state.course[2] == pytest.approx(steps, abs=1)
    assert len(result.epochs) == math.ceil(state.course[2] / 5)


@pytest.mark.slow
def test_the_time_of_a_job_that_is_gone_on_with_counts_from_its_new_beginning(job, data, monkeypatch, saves_each_epoch):
    monkeypatch.setattr(network, "MACS_AT_ONCE", 1.0)
    Clock(monkeypatch)
    timed = replace(job, values=VALUES | {"schedule": "cosine"}, epochs=4, course_steps=20, seconds=60.0)
    kill(timed, data, 3)
    again = replace(timed, attempt=2, seconds=0.7)
    train(again, data)
    state = training_state.load_state(Path(timed.state_file), again)
    assert state.course[2] == pytest.approx(16, abs=1), "10 batches before, and 6 in its own time"


@pytest.mark.slow
@pytest.mark.parametrize(("pays", "begun"), [(True, [(1, 0)]), (False, [])])
def test_where_it_pays_a_training_begins_with_filters_that_have_seen_the_images(job, data, monkeypatch, pays, begun):
    seen = []
    monkeypatch.setattr(seven_steps, "pays", lambda images: pays)
    monkeypatch.setattr(seven_steps, "whiten", lambda model, images, seed: seen.append((images.shape[-1], seed)))
    train(job, data)
    train(replace(job, epochs=job.epochs + 1, attempt=2), data)  # goes on from its own state
    assert seen == begun


@pytest.mark.slow
def test_an_epoch_of_one_batch_tells_the_time_too(job, data, monkeypatch):
    Clock(monkeypatch)
    result = train(replace(job, values=VALUES | {"batch_size": 96}, seconds=0.35), data)
    assert len(result.epochs) == 3


def test_a_first_epoch_is_told_to_take_what_later_ones_do(monkeypatch):
    now = 0.0
    monkeypatch.setattr(recorder, "time", SimpleNamespace(monotonic=lambda: now))
    pace = recorder._Pace(validation_share=0.1)
    for epoch, validation in enumerate((3.0, 0.25)):
        pace.begin(8 * epoch)
        for at_once in range(2):
            now += 1.0 if epoch or at_once else 5.0  # it is traced
            pace.note(8 * epoch + 4 * (at_once + 1))
        pace.pause()
        now += validation  # the first one is traced, too
        pace.resume(8)
        assert pace.seconds(8) == pytest.approx(2.0 + (0.1 * 2.0, 0.25)[epoch])


@pytest.mark.parametrize(("seconds", "epochs"), [later(0.1, 1), (1.4, 2), later(1.6, 3), later(60.0, 4)])
def test_a_job_without_an_end_in_sight_trains_as_many_epochs_as_its_time_has(job, data, monkeypatch, seconds, epochs):
    monkeypatch.setattr(network, "MACS_AT_ONCE", 1.0)  # a batch at once, and 5 an epoch: half a second
    Clock(monkeypatch)
    result = train(replace(job, seconds=seconds), data)
    assert (result.status, len(result.epochs)) == ("completed", epochs)


def grown(whole: tuple[Job, Result], name: str, **how) -> Job:
    """Two epochs more of what `whole` trained, in which the rate falls."""
    shorter = {"values": VALUES, "epochs": 6, "course_steps": 10, "grows": True} | how
    return replace(
        continued(elsewhere(whole[0], name), whole[0], 4), state_file=f"{whole[0].state_file}-{name}", **shorter
    )


@pytest.mark.slow
def test_what_grows_in_the_process_of_its_trunk_is_not_traced_anew(whole, data, set_up):
    kept, trunk = KeptNetwork(SevenSteps()), elsewhere(whole[0], "kept")
    train(trunk, data, kept)
    branch = grown((trunk, whole[1]), "twin")
    then = train(branch, data, kept)
    assert set_up == [trunk]
    expected = grown(whole, "expected")
    assert metrics(train(expected, data)) == metrics(then)
    assert_same_state(expected, branch)


@pytest.mark.slow
def test_a_job_grows_from_another_ones_weights_and_its_rate_falls_from_its_highest(whole, data, monkeypatch):
    rates = []
    original = recorder.Recorder.on_train_batch_end

    def noted(own, batch, logs=None):
        rates.append(float(own.model.optimizer.learning_rate))
        original(own, batch, logs)

    monkeypatch.setattr(network, "MACS_AT_ONCE", 1.0)
    monkeypatch.setattr(recorder.Recorder, "on_train_batch_end", noted)
    values = VALUES | {"schedule": "one_cycle"}
    trunk = replace(whole[0], values=values, state_file=f"{whole[0].state_file}-trunk")
    train(trunk, data)
    rates.clear()
    result = train(grown((trunk, None), "branch", values=values), data)
    assert [epoch.number for epoch in result.epochs] == [5, 6]
    assert rates[0] == pytest.approx(0.01, rel=0.1) and rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001
    state = training_state.load_state(Path(f"{trunk.state_file}-branch"), grown((trunk, None), "branch", values=values))
    assert int(state.optimizer[0]) == 4 * 5 + 10, "the steps of both"


@pytest.mark.slow
def test_what_grows_from_the_same_may_have_other_images_and_leaves_it_as_it_was(whole, data):
    before = Path(whole[0].state_file).read_bytes()
    own, both = grown(whole, "own"), grown(whole, "both", with_val=True)
    assert train(own, data).score is not None
    assert train(both, data).score is None
    assert Path(whole[0].state_file).read_bytes() == before
    assert any((a != b).any() for a, b in zip(weights(own), weights(both), strict=True))


@pytest.mark.slow
def test_a_job_that_grows_and_was_killed_goes_on_to_the_same_end(whole, data, saves_each_epoch):
    expected, broken = grown(whole, "unbroken", values=whole[0].values), grown(whole, "broken")
    result = train(expected, data)
    kill(broken, data, epoch=6)
    assert metrics(train(broken, data)) == metrics(result)
    assert_same_state(expected, broken)


def test_a_job_cannot_grow_from_what_is_lost_or_another_network_left(whole, data):
    for lost in (
        replace(grown(whole, "lost"), initial_state=f"{whole[0].state_file}-none"),
        grown(whole, "other", values=VALUES | {"dense_1.units": 9}),
    ):
        result = train(lost, data)
        assert (result.status, result.message) == ("failed", "the training that it goes on with was lost")


@pytest.mark.slow
def test_an_epoch_of_some_images_draws_others_each_time_and_training_on_is_exact(job, data):
    whole = replace(job, epoch_steps=2)
    part = replace(elsewhere(whole, "part"), epochs=1)
    expected, first = train(whole, data), train(part, data)
    then = train(continued(whole, part, 1), data)
    assert metrics(first) + metrics(then) == metrics(expected)
    assert_same_state(whole, continued(whole, part, 1))
    assert int(training_state.load_state(Path(whole.state_file), whole).optimizer[0]) == 4 * 2
    drawn = [y.tolist() for _, y in data.batches(0, 20, 0, steps=2).take(4).as_numpy_iterator()]
    assert drawn[:2] != drawn[2:]
    assert drawn[2:] == [y.tolist() for _, y in data.batches(0, 20, 1, steps=2).take(2).as_numpy_iterator()]


def test_parts_of_passes_follow_each_other_and_images_are_mirrored_in_turn():
    x = np.arange(90, dtype=np.uint8).reshape(90, 1, 1, 1).repeat(2, axis=2)
    x[:, :, 1] += 100
    part = Part(x, np.arange(90, dtype=np.int32))

    def shown(first, epochs):
        batches = Data(part, part).batches(5, 8, first, Augmentation("horizontal"), steps=4).take(4 * epochs)
        return [np.concatenate(each) for each in zip(*batches.as_numpy_iterator(), strict=True)]

    images, numbers = shown(0, 9)  # 288 images: three passes and the beginning of a fourth
    for begin in range(0, 270, 90):
        assert sorted(numbers[begin : begin + 90]) == list(range(90)), "all of them before any comes again"
    assert numbers[:90].tolist() != numbers[90:180].tolist()
    is_mirrored = np.empty((3, 90), bool)
    for number in range(3):
        at = slice(90 * number, 90 * number + 90)
        is_mirrored[number, numbers[at]] = images[at, 0, 0, 0] >= 100
    assert (is_mirrored[0] != is_mirrored[1]).all() and (is_mirrored[0] == is_mirrored[2]).all()
    assert 25 < is_mirrored[0].sum() < 65
    again, their_numbers = shown(2, 7)
    np.testing.assert_array_equal(their_numbers, numbers[64:])
    np.testing.assert_array_equal(again, images[64:])


def test_a_job_on_train_and_validation_has_no_score_and_sees_every_image(job, data):
    both = replace(job, with_val=True, epochs=2, course_steps=14)
    result = train(both, data)
    assert (result.status, result.score) == ("completed", None)
    assert [set(epoch.metrics) for epoch in result.epochs] == [{"accuracy", "loss"}] * 2
    seen = np.concatenate([y for _, y in data.batches(0, 20, 0, with_val=True).take(7).as_numpy_iterator()])
    assert np.bincount(seen).tolist() == np.bincount([*data.y.numpy(), *data._val_y.numpy()]).tolist()


@pytest.mark.slow
def test_a_later_job_leaves_the_state_that_it_began_with(job, data):
    first = replace(job, epochs=1)
    train(first, data)
    before = Path(first.state_file).read_bytes()
    train(continued(job, first, 1), data)
    assert Path(first.state_file).read_bytes() == before


class KilledError(BaseException):
    """What ends a job under way as a kill does: at once, with no chance to save."""


@pytest.fixture
def saves_each_epoch(monkeypatch):
    monkeypatch.setattr(recorder, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "MOST_SAVING", 0)


def kill(job: Job, data: Data, epoch: int) -> list[Epoch]:
    """Trains until the end of `epoch`, which is told but not saved; the epochs that were told."""
    told: list[Epoch] = []

    def on_epoch(ended: Epoch) -> None:
        told.append(ended)
        if ended.number == epoch:
            raise KilledError

    with pytest.raises(KilledError):
        fit.train(job, data, on_epoch, should_stop=lambda: False)
    return told


@pytest.mark.parametrize("epoch", [1, 2, 4])
@pytest.mark.slow
def test_a_job_that_was_killed_goes_on_to_the_same_end_to_the_last_bit(whole, job, data, saves_each_epoch, epoch):
    expected = whole[1]
    kill(job, data, epoch)
    result = train(replace(job, attempt=2), data)
    assert metrics(result) == metrics(expected)
    assert (result.score, result.best_epoch, result.attempt) == (expected.score, expected.best_epoch, 2)
    assert_same_state(whole[0], job)


@pytest.mark.slow
def test_a_job_without_dropout_that_was_killed_goes_on_to_the_same_end(job, data, saves_each_epoch):
    job = replace(job, values=VALUES | {"block_1.dropout": 0.0, "dense_1.dropout": 0.0})
    expected, again = train(job, data), elsewhere(job)
    kill(again, data, 3)
    assert metrics(train(again, data)) == metrics(expected)
    assert_same_state(job, again)


@pytest.mark.slow
def test_a_later_job_that_was_killed_again_and_again_goes_on_with_its_own_state(
    whole, part, job, data, saves_each_epoch
):
    train(part, data)
    later = continued(job, part, 1)
    kill(later, data, 2)
    kill(later, data, 3)
    Path(part.state_file).unlink()  # it is no longer needed
    kill(later, data, 4)
    assert metrics(train(later, data)) == metrics(whole[1])[1:]
    assert_same_state(whole[0], later)


@pytest.mark.slow
def test_epochs_of_an_earlier_attempt_are_told_again_as_they_were(job, data, saves_each_epoch):
    first = kill(job, data, 3)
    told: list[Epoch] = []
    result = fit.train(job, data, told.append, should_stop=lambda: False)
    assert told[:2] == first[:2], "those that were saved, with their seconds"
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert result.epochs == tuple(told)
    assert told[2].metrics == first[2].metrics


@pytest.mark.slow
def test_the_seconds_of_an_earlier_attempt_count(job, data, saves_each_epoch):
    kill(job, data, 3)
    before = training_state.load_state(Path(job.state_file), job).seconds
    assert 0 < before < train(job, data).seconds


def test_a_job_that_ended_but_was_not_recorded_has_its_result_at_once(whole, data, monkeypatch):
    job, before = whole
    state = arrays(job.state_file)
    monkeypatch.setattr(builder, "build", None)  # no model is needed
    told: list[Epoch] = []
    again = fit.train(replace(job, attempt=2), data, told.append, should_stop=lambda: False)
    assert replace(again, seconds=before.seconds, attempt=1) == before
    assert again.seconds == pytest.approx(before.seconds, abs=1)
    assert tuple(told) == before.epochs
    for name, array in arrays(job.state_file).items():
        np.testing.assert_array_equal(array, state[name])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    """Changes one byte in the middle, which the checksum of the archive tells."""
    content = bytearray(path.read_bytes())
    at = content.index(b"NUMPY", len(content) // 2) + 200
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def array_bytes() -> bytes:
    """A file that NumPy reads, but as one array."""
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "a byte changed": garble,
    "garbage": lambda path: path.write_bytes(b"not an archive" * 100),
    "an array": lambda path: path.write_bytes(array_bytes()),
    "another archive": lambda path: np.savez(path, x=np.arange(3)),
    "an older archive": lambda path: np.savez(path, facts=np.array("{}")),
    "facts that are no object": lambda path: np.savez(path, facts=np.array("[1]")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_counts_as_none(whole, part, damage):
    shutil.copy(whole[0].state_file, part.state_file)
    assert training_state.take_up(part).epochs_done == 4
    DAMAGES[damage](Path(part.state_file))
    for job in (part, continued(part, part, 1)):
        assert training_state.take_up(job) == training_state.Progress()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"values": VALUES | {"learning_rate": 0.02}}, {"precision": "bfloat16"}, {"course_steps": 9}],
    ids=str,
)
def test_the_state_of_another_trial_counts_as_none(whole, part, change):
    shutil.copy(whole[0].state_file, part.state_file)
    assert training_state.take_up(replace(part, **change)) == training_state.Progress()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
@pytest.mark.slow
def test_a_state_that_is_missing_or_damaged_costs_time_only(whole, part, job, data, damage):
    expected = whole[1]
    train(part, data)
    DAMAGES[damage](Path(part.state_file))
    told: list[Epoch] = []
    later = continued(job, part, 1)
    result = fit.train(later, data, told.append, should_stop=lambda: False)
    assert [epoch.number for epoch in told] == [2, 3, 4], "what was told before is not told again"
    assert metrics(result) == metrics(expected)[1:]
    assert (result.score, result.best_epoch) == (expected.score, expected.best_epoch)
    assert_same_state(whole[0], later)


@pytest.mark.slow
def test_an_own_state_that_is_damaged_leaves_the_one_of_the_earlier_job(whole, part, job, data, saves_each_epoch):
    train(part, data)
    later = continued(job, part, 1)
    kill(later, data, 3)
    truncate(Path(later.state_file))
    assert metrics(train(later, data)) == metrics(whole[1])[1:]
    assert_same_state(whole[0], later)


def test_a_state_that_does_not_fit_is_a_failure_with_its_reason(whole, part, data):
    with np.load(whole[0].state_file) as file:
        state = dict(file)
    state["variables_0"] = state["variables_0"][..., :2]
    facts = state["facts"].item().replace('"has_ended": true', '"has_ended": false').replace('_done": 4', '_done": 3')
    np.savez(part.state_file, **state | {"facts": np.array(facts)})
    result = train(replace(part, epochs=4), data)
    assert (result.status, result.message[:12]) == ("failed", "ValueError: ")


@pytest.mark.slow
def test_the_same_seed_trains_the_same_and_another_does_not(job, data):
    first = train(job, data)
    assert metrics(train(elsewhere(job), data)) == metrics(first)
    assert metrics(train(replace(job, seed=1, state_file=f"{job.state_file}2"), data)) != metrics(first)


def test_it_learns(job, data):
    result = train(replace(job, epochs=25), data)
    assert result.status == "completed"
    assert result.score > 0.9


def test_the_score_is_the_last_epochs_of_the_averaged_weights_and_they_are_exported(whole, data):
    job, result = whole
    last = result.epochs[-1].metrics
    assert (result.score, result.best_epoch) == (last["val_accuracy"], 4)
    found = fit.load_best(job).evaluate(data.val, verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(last["val_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(last["val_loss"], abs=1e-5)
    state = training_state.load_state(Path(job.state_file), job)
    assert not np.array_equal(fit.load_best(job).get_weights()[0], state.variables[0]), "those that go on are others"


def scaled(part: Part, by: float) -> Part:
    return Part(part.x, (part.y * by).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("by", [1e-6, 1e6])
def test_the_unit_of_a_regressions_targets_changes_nothing(job, by):
    def trained(by: float, name: str) -> tuple[Result, np.ndarray]:
        train_part, val = (scaled(toy_part("regression", n, seed), by) for n, seed in ((96, 0), (32, 1)))
        scale, offset = train_part.y.std(axis=0), train_part.y.mean(axis=0)
        output = Output("regression", len(scale), tuple(map(float, scale)), tuple(map(float, offset)))
        own = replace(elsewhere(job, name), output=output, objective=Objective("val_loss", "min"), epochs=8)
        result = train(own, Data(train_part, val))
        found = fit.evaluate(fit.load_best(own), val, output)
        assert found["loss"] == pytest.approx(result.score, rel=1e-3)
        return result, fit.predict(fit.load_best(own), val.x) / by

    (plain, expected), (other, found) = trained(1.0, "plain"), trained(by, "other")
    assert (plain.status, other.status) == ("completed", "completed")
    assert [e.metrics["val_loss"] for e in other.epochs] == pytest.approx(
        [e.metrics["val_loss"] for e in plain.epochs], rel=1e-3
    )
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())


def test_each_epoch_is_told_when_it_ends(job, data):
    told = []
    result = fit.train(job, data, on_epoch=told.append, should_stop=lambda: False)
    assert tuple(told) == result.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert set(told[0].metrics) == {"accuracy", "loss", "val_accuracy", "val_loss"}


@pytest.mark.slow
def test_a_request_to_stop_drops_the_epoch_under_way_and_what_was_reached_counts(whole, job, data):
    told: list[Epoch] = []
    result = fit.train(job, data, told.append, should_stop=lambda: len(told) == 2)
    assert (result.status, len(result.epochs)) == ("stopped", 2)
    assert metrics(result) == metrics(whole[1])[:2]
    assert metrics(train(continued(job, job, 2), data)) == metrics(whole[1])[2:]
    assert metrics(train(job, data)) == metrics(whole[1]), "the stopped job itself can be gone on with"
    assert_same_state(whole[0], job)


@pytest.mark.slow
def test_a_request_to_stop_in_the_middle_of_validation_drops_that_epoch(whole, job, data, monkeypatch):
    asked = []
    begin = lambda self, batch, logs=None: asked.append(batch)  # noqa: E731
    monkeypatch.setattr(recorder.Recorder, "on_test_batch_begin", begin, raising=False)
    told: list[Epoch] = []
    result = fit.train(job, data, told.append, should_stop=lambda: len(asked) == 2)
    assert (result.status, len(result.epochs), len(told)) == ("stopped", 1, 1)
    assert metrics(train(job, data)) == metrics(whole[1])


def test_a_job_stopped_before_its_first_epoch_has_no_score(job, data):
    result = fit.train(job, data, on_epoch=lambda epoch: None, should_stop=lambda: True)
    assert (result.status, result.score, result.epochs) == ("stopped", None, ())


def test_a_loss_that_is_not_finite_is_a_failure_with_a_reason(job, data):
    wild = VALUES | {"optimizer": "sgd", "learning_rate": 1e30}
    broken = replace(job, values=wild, output=Output("regression", 1), objective=Objective("val_mae", "min"))
    x = toy_part("regression", 96, 0)
    result = train(broken, Data(x, x))
    assert result.status == "failed"
    assert result.message == "the loss was no longer finite in epoch 1; a smaller learning rate may help"


def test_a_state_that_cannot_be_written_is_no_failure_of_the_trial(job, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        train(replace(job, state_file=str(tmp_path / "file" / "state.npz"), epochs=1), data)


def test_a_state_for_which_there_is_no_room_is_not_begun(job, data, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, training_state.RESERVED_BYTES))
    with pytest.raises(OSError, match=r"No space left on device: '.*/checkpoints/state\.npz'$") as error:
        train(replace(job, epochs=1), data)
    assert error.value.errno == errno.ENOSPC
    assert list(Path(job.state_file).parent.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_while_a_state_is_written_keeps_the_one_before(job, data, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    train(replace(job, epochs=1), data)
    before = Path(job.state_file).read_bytes()
    monkeypatch.setattr(training_state.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        train(continued(job, job, 1), data)
    assert [path.read_bytes() for path in Path(job.state_file).parent.iterdir()] == [before]


def test_a_job_that_reached_no_epoch_leaves_no_state(job, data):
    fit.train(job, data, on_epoch=lambda epoch: None, should_stop=lambda: True)
    assert not Path(job.state_file).exists()


def test_states_are_saved_now_and_then_only(job, data):
    kill(job, data, 3)
    assert not Path(job.state_file).exists(), "not every epoch of a short job"


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own(data):
    batches = list(data.batches(seed=3, batch_size=20, initial_epoch=0).take(10))
    epochs = [np.concatenate([x.numpy() for x, _ in batches[i : i + 5]]) for i in (0, 5)]
    sorted_ = [np.sort(epoch.reshape(96, -1), axis=0) for epoch in epochs]
    np.testing.assert_array_equal(sorted_[0], sorted_[1])
    assert not np.array_equal(epochs[0], epochs[1])
    [(later, _)] = list(data.batches(seed=3, batch_size=20, initial_epoch=1).take(1))
    np.testing.assert_array_equal(later.numpy(), epochs[1][:20])


def rows(data: Data, part: int) -> list[bytes]:
    """The images of the training part, 0, or of the validation part, 1."""
    return sorted(image.tobytes() for image in data.pixels.numpy()[data._rows[part]])


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_parts_that_are_drawn_anew_share_out_the_same_images(task):
    train_part, val_part = toy_part(task, 96, 0), toy_part(task, 32, 1)
    own = Data(train_part, val_part)
    assert own.redrawn(0, True) is own
    first, again, other = (own.redrawn(split, task == "multiclass") for split in (1, 1, 2))
    assert rows(first, 1) == rows(again, 1)
    assert rows(first, 1) != rows(other, 1) and rows(first, 1) != rows(own, 1)
    for each in (first, other):
        assert (each.images(), each.images(with_val=True)) == (96, 128)
        assert sorted(rows(each, 0) + rows(each, 1)) == sorted(rows(own, 0) + rows(own, 1))
        if task == "multiclass":
            np.testing.assert_array_equal(np.bincount(each._val_y.numpy()), np.bincount(val_part.y))


@pytest.mark.slow
def test_a_job_of_another_split_is_trained_and_judged_on_it(job, data):
    own, other = replace(job, epochs=2), replace(elsewhere(job), epochs=2, split=1)
    expected = train(replace(own, state_file=other.state_file + "2.npz"), data.redrawn(1, True))
    found = train(other, data)
    assert metrics(found) == metrics(expected) != metrics(train(own, data))
    with pytest.raises(ValueError, match="another trial"):
        training_state.load_state(Path(other.state_file), own)


def test_the_outcomes_of_a_job_are_by_image_what_its_score_is_on_average(whole, job):
    part = toy_part("multiclass", 32, 1)
    found = fit.outcomes(whole[0], part)
    assert found.shape == (32,)
    assert found.mean() == pytest.approx(whole[1].score, abs=1e-6)


@pytest.mark.parametrize("column", [False, True], ids=["multiclass", "binary"])
def test_by_its_weight_each_class_counts_alike_and_an_image_on_average_as_1(column):
    part = toy_part("multiclass", 20, 0)
    y = np.repeat([0, 2], [15, 5])  # of class 1 there is none
    y = y[:, np.newaxis].astype(np.float32) if column else y.astype(np.int32)
    both = Part(part.x, y)
    [(_, labels, weights)] = list(Data(both, both).batches(3, 20, 0, class_weights="balanced").take(1))
    by_class = [weights.numpy()[labels.numpy().reshape(-1) == each].sum() for each in (0, 2)]
    assert by_class == pytest.approx([10, 10])


def test_class_weights_are_for_tasks_whose_images_are_of_one_class(data, job):
    values = VALUES | {"class_weights": "balanced"}
    weighted = SevenSteps().set_up(replace(job, values=values), data)
    batches = SevenSteps().batches(replace(job, values=values), data, weighted, 0)
    assert len(batches.element_spec) == 3
    other = replace(job, values=values, output=replace(job.output, task="multilabel"))
    assert len(SevenSteps().batches(other, data, weighted, 0).element_spec) == 2


def test_sampled_classes_come_as_often_and_without_a_weight(job):
    x, y = toy_part("multiclass", 60, 0).x, np.repeat([0, 2], [50, 10]).astype(np.int32)
    own, values = Data(Part(x, y), Part(x[:4], y[:4])), VALUES | {"class_weights": "sampled"}
    sampled = SevenSteps().set_up(replace(job, values=values), own)
    batches = list(SevenSteps().batches(replace(job, values=values), own, sampled, 0).take(3))
    assert np.bincount(np.concatenate([labels for _, labels in batches])).tolist() == [30, 0, 30]


@pytest.mark.parametrize(
    ("steps", "macs", "expected"), [(36, 1, 18), (37, 1, 1), (20, 1, 10), (1, 1, 1), (36, 10**9, 1), (36, 3 * 10**8, 4)]
)
def test_steps_at_once_divide_the_epoch_and_stay_short(steps, macs, expected):
    assert steps_per_execution(steps, macs) == expected


def test_the_best_model_of_a_job_without_a_state_is_missed(job):
    with pytest.raises(FileNotFoundError):
        fit.load_best(job)


@pytest.fixture
def in_bfloat16(job) -> Job:
    return replace(job, precision="bfloat16")


@pytest.mark.slow
def test_bfloat16_learns_and_trains_unlike_float32(whole, in_bfloat16, data):
    result = train(replace(in_bfloat16, epochs=25), data)
    assert result.status == "completed"
    assert result.score > 0.9
    assert metrics(result)[:4] != metrics(whole[1])


@pytest.mark.slow
def test_the_state_of_a_bfloat16_job_is_float32(in_bfloat16, data):
    train(replace(in_bfloat16, epochs=1), data)
    state = arrays(in_bfloat16.state_file)
    kinds = {name.rsplit("_", 1)[0]: set() for name in state}
    for name, array in state.items():
        kinds[name.rsplit("_", 1)[0]].add(str(array.dtype))
    integers = {"int64", "uint32", "int32"}  # the random state of dropout, the optimizer's steps
    assert [found - integers for found in kinds.values()] == [{"float32"}] * 2


@pytest.mark.slow
def test_the_best_model_of_a_bfloat16_job_computes_in_float32(in_bfloat16, data):
    result = train(in_bfloat16, data)
    built = fit.load_best(in_bfloat16)
    assert {layer.compute_dtype for layer in built.layers if layer.name != "image"} == {"float32"}
    assert {str(w.dtype) for w in built.trainable_variables} == {"float32"}
    found = fit.evaluate(built, toy_part("multiclass", 32, 1), in_bfloat16.output)
    assert found["accuracy"] == pytest.approx(result.score, abs=0.1)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_a_bfloat16_job_is_continued_to_the_last_bit(in_bfloat16, data, saves_each_epoch):
    job = replace(in_bfloat16, epochs=3)
    expected = train(job, data)
    part = replace(elsewhere(job), epochs=1)
    train(part, data)
    later = continued(job, part, 1)
    kill(later, data, 3)
    assert metrics(train(later, data)) == metrics(expected)[1:]
    assert_same_state(job, later)


@pytest.mark.slow
def test_training_on_files_that_are_decoded_as_needed_equals_training_on_arrays(whole, job, data, tmp_path):
    rows = np.arange(128)
    pixels = data._arrays[0]
    files = [tmp_path / f"{row}.png" for row in rows]
    for row, file in zip(rows, files, strict=True):
        Image.fromarray(pixels[row, ..., 0]).save(file)
    nowhere = Undecoded(files, (8, 8, 1), "stretch")
    parts = [Part(Selection(nowhere, own), y) for own, y in zip(np.split(rows, [96]), data._arrays[1:], strict=True)]
    assert metrics(train(job, Data(*parts))) == metrics(whole[1])
    assert_same_state(job, whole[0])
    files[5].unlink()
    again = train(elsewhere(job), Data(*parts))
    assert again.status == "failed"
    assert "5.png" in again.message


@pytest.mark.slow
def test_training_on_mapped_parts_equals_training_on_arrays_in_memory_to_the_last_bit(whole, job, tmp_path):
    dataset = toy_dataset()  # whose parts are those of `data`
    with shared(dataset, tmp_path / "data") as folder:
        mapped = train(job, Data(*opened(folder)))
    assert metrics(mapped) == metrics(whole[1])
    assert_same_state(whole[0], job)


def test_a_mapped_part_becomes_a_tensor_without_a_copy(tmp_path):
    with shared(toy_dataset(), tmp_path / "data") as folder:
        parts = opened(folder)
        data = Data(*parts)
        parts[0].x.array[0, 0, 0, 0] = 77  # copy-on-write: seen by whoever shares the array's memory
        assert int(data.pixels[0, 0, 0, 0]) == 77


def test_a_part_that_may_not_be_shared_is_copied():
    part = toy_part("multiclass", 32, 0)
    part.x.flags.writeable = False
    data = Data(part, part)
    np.testing.assert_array_equal(data.pixels.numpy(), np.concatenate([part.x, part.x]))


def python(code: str, *arguments: object) -> str:
    """What a new Python process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return done.stdout


CONTINUES = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from cnn_tuner.data.shared import shared
from cnn_tuner.executors.base import Settings, load_trainer
from training.test_fit import VALUES
from toys import toy_dataset
from cnn_tuner.runs.records import Job
from cnn_tuner.metrics.tasks import Objective, Output

folder = Path(sys.argv[1])
with shared(toy_dataset(), folder / "data") as data:
    train = load_trainer(Settings("cnn_tuner.training.fit:open_trainer", str(data), threads=1))
    run = lambda job: train(job, lambda epoch: None, lambda: False)
    objective = Objective("val_accuracy", "max")
    whole = Job(1, 1, VALUES, (8, 8, 1), Output("multiclass", 4), objective, 9, 0, str(folder / "whole.npz"))
    first = replace(whole, epochs=3, state_file=str(folder / "first.npz"))
    then = replace(whole, initial_epoch=3, initial_state=first.state_file, state_file=str(folder / "then.npz"))
    results = [run(job) for job in (whole, first, then)]
import tensorflow as tf
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
nine, three, six = ([epoch.metrics for epoch in result.epochs] for result in results)
assert (len(three), len(six)) == (3, 6)
assert three + six == nine
with np.load(folder / "whole.npz") as a, np.load(folder / "then.npz") as b:
    assert a.files == b.files
    compared = [name for name in a.files if name != "facts"]
    assert sum(name.startswith("optimizer") for name in compared) > 4
    for name in compared:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
print(len(compared))
"""


@pytest.mark.slow
def test_three_epochs_and_six_more_are_nine_epochs_in_a_process_with_one_thread(tmp_path):
    assert int(python(CONTINUES, tmp_path)) > 20


MEASURES = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from cnn_tuner.data.dataset import Dataset, Part
from cnn_tuner.data.shared import opened, shared
from cnn_tuner.executors.memory import resident_bytes
from cnn_tuner.training.batches import Data

part = Part(np.zeros((200_000, 32, 32, 1), np.uint8), np.zeros(200_000, np.int32))
small = Part(part.x[:10], part.y[:10])
with shared(Dataset("x", "x", "multiclass", ("a", "b"), part, small, small), Path(sys.argv[1]) / "data") as folder:
    del part, small
    few = Data(*(Part(np.zeros((64, 32, 32, 1), np.uint8), np.zeros(64, np.int32)) for _ in "ab"))
    list(few.batches(0, 32, 0).take(4))  # TensorFlow itself is awake
    before = resident_bytes()
    data = Data(*opened(folder))
    mapped = resident_bytes() - before
    for x, y in data.batches(seed=0, batch_size=1000, initial_epoch=0).take(200):
        x.numpy().sum()
    print(mapped, resident_bytes() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_mapping_200_mb_and_reading_all_of_it_copies_none_of_it(tmp_path):
    mapped, read = map(int, python(MEASURES, tmp_path).split())
    assert mapped < 10 * 2**20
    assert read < 40 * 2**20, "batches, and the order of an epoch"
