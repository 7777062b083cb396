"""Networks that a budget cannot train long enough: told by how fast the run's own jobs train, not by how they score."""

import math

import pytest
from toys import NoLogs, toy_config, toy_run

from cnn_tuner.executors.simulated import Simulated, SimulatedExecutor
from cnn_tuner.runs.budget import LARGEST_FINAL_SHARE, Budget
from cnn_tuner.runs.config import BACKWARDS, RunConfig
from cnn_tuner.runs.records import Epoch, Job, Result
from cnn_tuner.search.affordable import GUESSED_RATE, LEAST_EPOCHS, Affordable
from cnn_tuner.search.final_plan import gain_of
from cnn_tuner.search.forecast import Forecast
from cnn_tuner.search.loop import Search
from cnn_tuner.search.observer import Silent
from cnn_tuner.search.suggesting import make_oracle
from cnn_tuner.spaces import tree
from cnn_tuner.spaces.architecture import build
from cnn_tuner.spaces.tree import Point

FILTERS = (2, 4, 8, 16, 32, 64, 128, 256)
SIZES = f"""
description: From few multiply-adds to many.
blocks: 1
block: {{filters: {list(FILTERS)}, pool_size: 1}}
dense: {{layers: 0}}
training: {{batch_size: [16]}}
"""
IMAGES = 96 + 32 / BACKWARDS  # of the toy data, in images that are trained on
BUDGET = 600.0


def config_of(budget: float | None = BUDGET) -> RunConfig:
    return toy_config(SIZES, budget_seconds=budget, max_trials=None)


def macs(values: Point) -> int:
    config = config_of()
    return build(values, config.data.image_shape, config.output).macs


POINTS = {values["block_1.filters"]: values for values in config_of().search_space().points()}
RATE = macs(POINTS[64]) * 1.01 * LEAST_EPOCHS * IMAGES / (LARGEST_FINAL_SHARE * BUDGET)  # 64 filters are affordable


def trained(job: Job) -> Simulated:
    """Epochs as long as the network is large."""
    seconds = macs(job.values) * IMAGES / RATE
    numbers = range(job.initial_epoch + 1, job.epochs + 1)
    return Simulated(tuple(Epoch(n, {"loss": 0.1, "val_accuracy": 0.5, "val_loss": 0.1}, seconds) for n in numbers))


def ended(affordable: Affordable, filters: int, seconds: float) -> None:
    config = config_of()
    shape, output = config.data.image_shape, config.output
    job = Job(1, 1, POINTS[filters], shape, output, config.objective, 2, 0, "")
    epochs = tuple(Epoch(n, {}, seconds) for n in (1, 2))
    affordable.job_ended(job, Result(1, "completed", 0.5, 2, epochs, 2 * seconds))


def test_without_a_budget_nothing_is_too_large():
    affordable = Affordable(config_of(None), 2)
    assert (affordable.most_macs, affordable.share) == (math.inf, 1.0)
    assert affordable.why_not(POINTS[256]) is None


@pytest.mark.parametrize("slots", [1, 4])
def test_what_is_affordable_follows_from_how_fast_the_jobs_train(slots):
    affordable = Affordable(config_of(), slots)
    epochs_of_one = LARGEST_FINAL_SHARE * BUDGET / (LEAST_EPOCHS * IMAGES)
    assert affordable.most_macs == pytest.approx(gain_of(slots) * GUESSED_RATE * epochs_of_one), "until a job told"
    ended(affordable, 64, macs(POINTS[64]) * IMAGES / RATE)
    assert affordable.most_macs == pytest.approx(gain_of(slots) * RATE * epochs_of_one)


def test_a_gpu_is_taken_for_faster_and_has_no_cores_to_share():
    one, four = (Affordable(config_of(), slots, has_gpu=True).most_macs for slots in (1, 4))
    assert one == four > 10 * Affordable(config_of(), 4).most_macs


@pytest.mark.parametrize(("side", "images"), [(28, 50_000), (128, 2_000), (224, 10_000)])
def test_the_networks_that_are_tried_first_are_narrow_enough_for_the_budget(side, images):
    config = toy_config(tree.load("quick").source, oracle="asha", budget_seconds=BUDGET, max_trials=None)
    data = config.data.model_copy(update={"image_shape": (side, side, 3), "images": (images, 500, 500)})
    config = config.model_copy(update={"data": data})
    affordable = Affordable(config, 2)
    first = make_oracle(config, affordable).search.first
    assert first and all(affordable.why_not(point) is None for point in first)


def test_too_large_is_what_would_be_trained_for_fewer_epochs():
    affordable = Affordable(config_of(), 1, [RATE])
    assert affordable.why_not(POINTS[64]) is None
    assert affordable.why_not(POINTS[128]) == "max_macs: 106,496 is over what the budget trains for 8 epochs, 53,780"
    assert affordable.share == pytest.approx(6 / 8, abs=0.15), "of points drawn at random"


def test_the_smallest_networks_of_a_space_never_are_too_large():
    affordable = Affordable(config_of(), 1, [1.0])
    assert [filters for filters, values in POINTS.items() if affordable.why_not(values) is None] == [2, 4]


@pytest.mark.parametrize(("flips", "left_out"), [("[none, horizontal]", [64]), ("horizontal", [])])
def test_images_are_moved_only_where_the_epochs_are_enough_for_it(flips, left_out):
    """Or where the space asks for it."""
    text = SIZES + f"augmentation: {{flip: {flips}}}"
    affordable = Affordable(toy_config(text, budget_seconds=BUDGET, max_trials=None), 1, [RATE])
    reasons = {filters: affordable.why_not(POINTS[filters] | {"flip": "horizontal"}) for filters in (16, 32, 64)}
    assert [filters for filters, reason in reasons.items() if reason is not None] == left_out
    assert {reason for reason in reasons.values() if reason is not None} <= {
        "augmentation: the budget trains it for fewer than 12 epochs"
    }
    assert affordable.why_not(POINTS[64]) is None


def test_a_search_leaves_out_what_its_budget_cannot_train(tmp_path):
    class Told(Silent):
        share = 0.0

        def left_out(self, share: float, most_macs: float) -> None:
            self.share = share

    run = toy_run(tmp_path, SIZES, budget_seconds=BUDGET, max_trials=None, final_epochs=12)
    executor, observer, affordable = SimulatedExecutor(1, trained), Told(), Affordable(run.config, 1)
    forecast = Forecast(run.config, Budget(BUDGET, 0.0, 0.0))
    oracle = make_oracle(run.config, affordable)
    Search(run, oracle, executor, NoLogs(), observer, forecast, lambda: executor.now, affordable).run()
    first, *others = [trial.values["block_1.filters"] for trial in run.trials()]
    assert sorted(others) == [filters for filters in FILTERS if filters <= 64 and filters != first]
    assert observer.share == 1 - affordable.share > 0
