"""Metrics that count each class alike, batch by batch, against those of all images at once."""

import numpy as np
import pytest
from metrics.test_scores import unequal_case

from cnn_tuner.metrics import scores
from cnn_tuner.metrics.tasks import Output
from cnn_tuner.models.class_metrics import ClassMetric


@pytest.mark.parametrize(("task", "units"), [("binary", 1), ("multiclass", 4)])
@pytest.mark.parametrize("name", scores.BY_CLASS)
def test_batches_together_give_what_all_images_do(name, task, units):
    y, found = unequal_case(task)
    metric = ClassMetric(name, Output(task, units))
    for _ in range(2):  # epochs
        for at in range(0, len(y), 32):
            metric.update_state(y[at : at + 32], found[at : at + 32], sample_weight=np.ones(len(y[at : at + 32])))
        assert float(metric.result()) == pytest.approx(scores.told(task, y, found)[name], abs=1e-6)
        metric.reset_state()
    assert float(metric.result()) == 0.0
