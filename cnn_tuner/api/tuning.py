"""tune: a search from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_tuner.api import asking, running
from cnn_tuner.api.events import Callback
from cnn_tuner.api.run import Run, completed
from cnn_tuner.api.running import Verbose
from cnn_tuner.api.words import HANG_SECONDS, RUNS, told_in_keywords


@told_in_keywords()
def tune(
    data: Any = "digits",
    space: str | Path | None = None,
    *,
    task: str | None = None,
    budget: str | float | None = None,
    max_trials: int | None = None,
    max_epochs: int | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    max_activation_bytes: int | None = None,
    oracle: str | None = None,
    sampler: str | None = None,
    objective: str | None = None,
    cost: str | None = None,
    max_latency: str | float | None = None,
    finalists: int = 3,
    final_seeds: int | None = None,
    final_epochs: int | None = None,
    refit: bool = True,
    prefer: str = "accurate",
    seed: int = 0,
    val_fraction: float | None = None,
    test_fraction: float = 0.2,
    folds: int | None = None,
    image_size: str | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "stretch",
    skip_broken: bool = False,
    follow_links: bool = False,
    leave_out: str | Sequence[str] | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    group_by: str | None = None,
    split: str | Path | None = None,
    allow_leakage: bool = False,
    cache: str | Path | None = None,
    cache_limit: str | int | None = None,
    keep: int = 3,
    formats: str | Sequence[str] | None = None,
    workers: str | int | None = None,
    executor: str | None = None,
    address: str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    shared_dir: str | Path | None = None,
    precision: str = "auto",
    timeout: float = HANG_SECONDS,
    name: str | None = None,
    runs: str | Path = RUNS,
    hypermodel: Any = None,
    callbacks: Sequence[Callback] = (),
    verbose: Verbose = "auto",
) -> Run:
    """Search architectures, train the best to the end, evaluate it once on the test part, export and verify it.

    What `cnn-tuner tune` does, by the same code: the same seed and `max_trials` give the same run. It returns when the
    run has ended. The first Ctrl-C (or a notebook's stop button) ends it with the best so far exported, a second one at
    once; `Run.resume` goes on after either. Trials are trained in processes of their own, for which a script needs no
    `if __name__ == "__main__"`.

    Args:
        data: images and labels. Arrays `(x, y)`, x (N, H, W) or (N, H, W, C) of whole numbers 0 to 255, or floats 0 to
            1 or 0 to 255, y (N,) or (N, K); `((x_train, y_train), (x_test, y_test))`; a dict of such pairs under
            `train`, `val` and `test`, with `class_names` if there are any; `([paths], [labels])` of image files; a
            `tf.data.Dataset` or `keras.utils.PyDataset` in place of a pair; or text or a path as --data has it: a
            folder of class folders, `labels.csv`, `arrays.npz`, `digits`, ... Nothing of what is in memory is kept with
            the run: hand it over again to `resume`, `extend`, `export` and `evaluate`.
        space: `auto`, made for the images; a shipped space by name; a YAML file. None: auto, `quick` for the digits.
        task: binary, multiclass, multilabel or regression. None: as the labels look.
        budget: active time in all, export included: `"30m"`, `"1h30m"`, or seconds. None: the space's.
        max_trials: points to try; without `budget` no time ends the search.
        max_epochs: epochs for one trial at most. None: the space's.
        max_params, max_macs: parameters of a model, and multiply-adds for one image, at most.
        max_activation_bytes: input plus output of one layer at most, for one image in float32.
        oracle, sampler: what suggests points: asha (tpe or random), random, grid, bayesian or hyperband.
        objective: what to improve, such as `val_balanced_accuracy` or `val_loss`. None: the task's.
        cost: a second objective, as small as can be: params, macs or latency.
        max_latency: time for one image at most, measured on this machine: `"2ms"`, or seconds.
        finalists, final_seeds, final_epochs: trials that are trained to the end, with how many seeds, for how many
            epochs, at most.
        refit: whether the winner is trained again on train and validation for the export.
        prefer: accurate, or small: the smallest finalist that is about as good as the best wins.
        seed: the same gives the same trials and scores.
        val_fraction, test_fraction: shares of the images, where the data has no such part.
        folds: for few images: score each trial by so many networks, each validated on another fold.
        image_size: (height, width) or `"32x32"` that image files are made of; None: from the images, at most 128x128.
        channels: 1 (grey) or 3 (colour) for image files. None: from the images.
        fit: what becomes of image files of another aspect: stretch, pad (black) or crop.
        skip_broken: skip image files that cannot be read.
        follow_links: read what links in an image folder lead to, wherever it lies.
        leave_out: names of folders in an image folder that are no data.
        image_column, label_column, split_column, group_column: of a table.
        group_by: a regular expression: image files in whose paths it finds the same stay on one side of a split.
        split: a file that says which image is in which part, as `split.csv` of every run does.
        allow_leakage: go on with images that are in two parts, pixel for pixel.
        cache, cache_limit: folder of decoded images, and what it may take: `"20GB"`, bytes, or 0 for no cache. None:
            the environment's CNN_TUNER_CACHE and CNN_TUNER_CACHE_LIMIT, else ~/.cache/cnn_tuner/images and 50 GB.
        keep: training states to keep on disk.
        formats: beside the SavedModel: keras, litert, litert_int8, onnx; text with commas or a sequence.
        workers: processes that train at once, or `auto`, which measures what is fastest here.
        executor, address, cpus_per_trial, gpus_per_trial, shared_dir: of a Ray cluster.
        precision: float32, bfloat16 or auto.
        timeout: seconds without progress after which a trial's process is ended.
        name: the run's. None: data-space-number.
        runs: folder that holds the runs.
        hypermodel: networks of your own, in the place of a space: a function `build(hp)` that returns a compiled
            `keras.Model`, a `keras_tuner.HyperModel`, or `"module:name"` of one. Its networks are given pixels as
            floats from 0 to 255, or from 0 to 1 where `data` has such floats. Epochs, callbacks and stopping are the
            search's; weights are averaged, and a learning rate that is a number falls in the final training.
        callbacks: are told what the run does, and can stop it.
        verbose: `"auto"`: a live view in a notebook or a terminal, a line a trial elsewhere; 0: silent; 1: a line a
            trial.

    Returns:
        The run, also where it was stopped (`Run.is_interrupted`).

    Raises:
        UsageError: a value breaks its rule; nothing was begun.
        DataError: images or labels are wrong.
        SearchError: no trial completed.
        StorageError: the disk is full, or cannot be written; the run can be gone on with.
        VerificationError: the export does not predict what was measured, or lacks a format; the run is there.

    Example:
        >>> run = cnn_tuner.tune(data, space, max_trials=1, max_epochs=2, runs=folder, verbose=0)
        >>> print(run.best.score, run.test["accuracy"])
    """
    given = dict(locals())  # every keyword, as `asking.request` has them
    del given["callbacks"], given["verbose"]
    from cnn_tuner.search.tuning import Tuning

    request = asking.request(**given, command=asking.call("cnn_tuner.tune", asking.request, given))
    request = replace(request, cache=running.hushed(request.cache, verbose))
    return completed(lambda observer: Tuning(request, observer), callbacks, verbose)
