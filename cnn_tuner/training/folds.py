"""One job that trains a network for each fold, on all images but the fold's: its metrics are their means.

With few images a score is for a good part luck: of which images are for validation. Each fold's network keeps a state
of its own, so that a job that was cut short trains only what is missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cnn_tuner.runs.checkpoints import fold_file
from cnn_tuner.runs.records import Epoch, Job, Result, Status, spread_name

TrainOne = Callable[[Job, Callable[[Epoch], None]], Result]


def train_folds(job: Job, on_epoch: Callable[[Epoch], None], train: TrainOne) -> Result:
    """Trains all folds of a job in turns: an epoch of each, then two, four, ... of each, so that it soon is known.

    A fold that fails has the job fail; what counts of one that is asked to stop are the epochs that all folds have. The
    first fold, whose state is the job's, is always the last: it has no more epochs than are counted.
    """
    reached = {number: Result(job.number, "completed", None, None, (), 0.0) for number in (*range(1, job.folds), 0)}
    status: Status = "completed"
    message, told = "", job.initial_epoch

    def tell(epoch: Epoch) -> None:
        nonlocal told
        others = _of_epoch(epoch.number, [reached[number] for number in range(1, job.folds)])
        if epoch.number > told and len(others) == job.folds - 1:
            told = epoch.number
            on_epoch(mean([epoch, *others], job.objective.name))

    for upto in rounds(job):
        for number in reached:
            one = replace(of_fold(job, number), epochs=upto)
            reached[number] = found = train(one, tell if number == 0 else lambda epoch: None)
            if found.status == "failed":
                status, message = "failed", f"fold {number + 1}: {found.message}"
                break
            if found.status == "stopped":  # the others say at once how far they have come
                status = "stopped"
        if status != "completed":
            break
    seconds = sum(result.seconds for result in reached.values())
    all_of_it = replace(reached[0], seconds=seconds, message=message, status=status)
    of_each = [_of_epoch(epoch.number, list(reached.values())) for epoch in reached[0].epochs]
    epochs = tuple(mean(each, job.objective.name) for each in of_each if len(each) == job.folds)
    if not epochs or status == "failed":
        return replace(all_of_it, score=None, best_epoch=None, epochs=())
    score = epochs[-1].metrics[job.objective.name]
    return replace(all_of_it, score=score, best_epoch=epochs[-1].number, epochs=epochs)


def _of_epoch(number: int, results: Sequence[Result]) -> list[Epoch]:
    """The epoch of this number of all that have it."""
    return [epoch for result in results for epoch in result.epochs if epoch.number == number]


def rounds(job: Job) -> list[int]:
    """The epochs up to which all folds are trained before the first goes on."""
    found, length = list[int](), 1
    while not found or found[-1] < job.epochs:
        found.append(min(job.epochs, (found[-1] if found else job.initial_epoch) + length))
        length *= 2
    return found


def of_fold(job: Job, number: int) -> Job:
    """What trains the network of one fold, counted from 0; the first leaves its state where the job does."""
    if not number:
        return replace(job, folds=0)
    initial = None if job.initial_state is None else str(fold_file(Path(job.initial_state), number))
    own = str(fold_file(Path(job.state_file), number))
    return replace(job, folds=0, split=number, state_file=own, initial_state=initial)


def mean(epochs: Sequence[Epoch], objective: str) -> Epoch:
    """The metrics of the same epoch of all folds on average, how far the objective differs, and their seconds."""
    metrics = {name: statistics.fmean(each.metrics[name] for each in epochs) for name in epochs[0].metrics}
    metrics[spread_name(objective)] = statistics.stdev(each.metrics[objective] for each in epochs)
    return Epoch(epochs[0].number, metrics, sum(each.seconds for each in epochs))
