"""A recipe's optimizer: its kind, its learning rate over time, its weight decay."""

import keras
import numpy as np
import pytest

from cnn_tuner.models.optimizers import (
    CYCLE_END,
    OPTIMIZERS,
    Course,
    averages,
    averaging,
    averaging_optimizer,
    learning_rate,
    make_optimizer,
)
from cnn_tuner.spaces.recipe import Recipe
from cnn_tuner.spaces.rules import Training

KINDS = {
    "adam": keras.optimizers.Adam,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


def rates(steps=100, **settings) -> np.ndarray:
    """The learning rate before each of `steps` batches and at the end."""
    rate = learning_rate(Recipe(0.5, 1, **settings), steps)
    return np.array([float(rate(step)) for step in range(steps + 1)])


def after_one_step(gradient, **settings) -> tuple[float, float]:
    """A kernel and a bias that were 1, after one step along `gradient`."""
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer = make_optimizer(Recipe(0.1, 1, **settings), None)
    optimizer.build([kernel, bias])
    optimizer.apply([keras.ops.array([gradient]), keras.ops.array([gradient])])
    return float(kernel.numpy()[0]), float(bias.numpy()[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_asked_for_and_learns(name):
    assert Training(optimizer=name).optimizer == (name,)
    assert type(make_optimizer(Recipe(0.1, 1, optimizer=name), None)) is KINDS[name]
    assert after_one_step(1.0, optimizer=name)[0] < 1


def test_the_space_file_knows_no_optimizer_that_is_not_here():
    known = [name for name in KINDS if Training(optimizer=name)]
    assert sorted(known) == sorted(OPTIMIZERS)


def test_sgd_has_nesterovs_momentum():
    optimizer = make_optimizer(Recipe(0.1, 1, optimizer="sgd"), None)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)


def test_a_constant_rate_is_a_number():
    assert learning_rate(Recipe(0.5, 1), 10) == 0.5


def test_cosine_falls_along_half_a_wave_to_a_hundredth():
    found = rates(schedule="cosine")
    wave = 0.5 * (0.01 + 0.99 * (1 + np.cos(np.pi * np.arange(101) / 100)) / 2)
    np.testing.assert_allclose(found, wave, rtol=1e-5)
    assert found[-1] == pytest.approx(0.005)


def test_one_cycle_rises_for_three_tenths_and_ends_near_nothing():
    found = rates(schedule="one_cycle")
    assert found[0] == pytest.approx(0.5 / 25)
    assert found.argmax() == 30 and found.max() == pytest.approx(0.5)
    assert found[-1] == pytest.approx(0.5e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warmup_grows_evenly_from_nothing(schedule):
    found = rates(schedule=schedule, warmup=0.2)
    np.testing.assert_allclose(found[:21], 0.5 * np.arange(21) / 20, atol=1e-6)


def test_a_constant_rate_stays_after_its_warmup():
    np.testing.assert_allclose(rates(schedule="constant", warmup=0.2)[20:], 0.5, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"schedule": "cosine"}, {"schedule": "one_cycle"}, {"warmup": 0.5}], ids=str)
def test_after_its_course_the_rate_stays_where_it_is(settings):
    rate = learning_rate(Recipe(0.5, 1, **settings), 40)
    assert float(rate(40)) == float(rate(41)) == float(rate(4000))


def test_without_a_length_the_rate_is_constant():
    assert float(make_optimizer(Recipe(0.5, 1, schedule="cosine"), None).learning_rate) == pytest.approx(0.5)


def test_weight_decay_is_apart_from_the_gradient_and_spares_biases():
    kernel, bias = after_one_step(0.0, optimizer="adam", weight_decay=0.5)
    assert kernel == pytest.approx(1 - 0.1 * 0.5)
    assert bias == 1


def test_no_weight_decay_is_none():
    assert after_one_step(0.0, optimizer="adam")[0] == 1


def course(steps: int, **settings) -> Course:
    return Course(Recipe(0.5, 32, **settings), steps)


def followed(found: Course, first: int, last: int) -> np.ndarray:
    return np.array([float(found(step)) for step in range(first, last)])


@pytest.mark.parametrize("settings", [{"schedule": "one_cycle"}, {"schedule": "cosine", "warmup": 0.2}])
def test_a_course_is_the_schedule_of_the_recipe(settings):
    expected = learning_rate(Recipe(0.5, 32, **settings), 100)
    np.testing.assert_allclose(
        followed(course(100, **settings), 0, 100), [float(expected(step)) for step in range(100)], rtol=1e-4, atol=1e-6
    )


def test_without_an_end_in_sight_the_rate_grows_for_a_moment_and_stays():
    rates = followed(course(0, schedule="one_cycle"), 0, 200)
    assert (np.diff(rates[:50]) > 0).all()
    np.testing.assert_allclose(rates[50:], 0.5)


def test_an_end_that_is_moved_is_reached_without_a_jump():
    found = course(100, schedule="one_cycle")
    before = float(found(60))
    found.move_end(60, 80)
    assert found.end == 80
    assert float(found(60)) == pytest.approx(before, rel=1e-5)
    rates = followed(found, 60, 81)
    assert (np.diff(rates) < 0).all()
    assert rates[-1] == pytest.approx(0.5 * CYCLE_END, rel=1e-2)
    found.move_end(70, 200)
    assert float(found(70)) == pytest.approx(rates[10], rel=1e-4)


@pytest.mark.slow
def test_the_average_is_over_the_last_tenth_of_the_steps_and_weights_stay_their_own():
    weight = keras.Variable(np.zeros(1, np.float32))
    optimizer = averaging_optimizer(Recipe(1.0, 32, optimizer="sgd"))
    optimizer.build([weight])
    reached = []
    for step in range(1000):
        weight.assign([float(step)])
        optimizer.apply([np.zeros(1, np.float32)], [weight])
        reached.append(float(averages(optimizer)[0].numpy()[0]))
    assert reached[0] == pytest.approx(0.0)
    assert reached[-1] == pytest.approx(999 - 1000 / 10, abs=10), "of a line, its value a tenth of the way back"
    optimizer.finalize_variable_values([weight])
    assert float(weight.numpy()[0]) == 999.0


def test_an_optimizer_that_averages_decays_what_it_decayed_before():
    weights = [keras.Variable(np.ones(1), name=name) for name in ("kernel", "bias", "gamma")]
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=weights[2:], var_names=["bias"])
    found = averaging(optimizer)
    assert [found._use_weight_decay(weight) for weight in weights] == [True, False, False]
