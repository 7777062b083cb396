"""What became of the time of finished runs: how much of it was training, and what it reached.

    .venv/bin/python benchmarks/usage.py runs/fashion-mnist-quick-1 runs/fashion-mnist-quick-2

Prints a Markdown row a run. "Training" is the share of the cores' time that went into epochs, from the start of the
first job to the end of the last; a job of the final training that ran alone had all cores. "Beside epochs" is the share
of the jobs' own time that went into setting up and saving. Images a second are those of the longest job; one that is
only looked at counts as a third.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from cnn_tuner.runs.config import BACKWARDS, RunConfig
from cnn_tuner.runs.records import Epoch, JobRecord
from cnn_tuner.runs.store import RunStore

HEAD = "| run | budget | seconds | trials | test | best simple model | training | beside epochs | images/s |"


@dataclass(frozen=True)
class Work:
    """One job that ended: what was recorded of it, and its epochs."""

    job: JobRecord
    epochs: tuple[Epoch, ...]

    @property
    def seconds(self) -> float:
        return math.fsum(epoch.seconds for epoch in self.epochs)

    @property
    def ends_at(self) -> float:
        return self.job.started_at + self.job.seconds

    def cores(self, others: Sequence[Work], slots: int) -> int:
        is_alone = all(other is self or other.ends_at <= self.job.started_at or self.ends_at <= other.job.started_at
                       for other in others)  # fmt: skip
        return slots if self.job.suggestion is None and is_alone else 1

    def images_per_second(self, config: RunConfig) -> float:
        train, val, _ = config.data.images
        of_search = self.job.suggestion is not None
        images = (config.epoch_share if of_search else 1.0) * train + val / BACKWARDS
        whole = self.epochs[:-1] or self.epochs  # the last one may have ended with the time
        return images * len(whole) / math.fsum(epoch.seconds for epoch in whole)


def row(folder: Path) -> str:
    with closing(RunStore.open(folder)) as run:
        config, trials = run.config, len(run.trials())
        jobs = [*run.jobs(), *(job for trial in run.trials() for job in run.final_jobs(trial.number).values())]
        works = [Work(job, tuple(run.epochs(job.number))) for job in {job.number: job for job in jobs}.values()]
        slots, seconds = int(run.sessions()[-1]["workers"].split(maxsplit=1)[0]), run.active_seconds()
    works = [work for work in works if work.job.seconds]
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    name, value = next(iter(result["test"].items()))
    simple = max(each["test"][name] for each in result["baselines"])
    span = max(work.ends_at for work in works) - min(work.job.started_at for work in works)
    training = math.fsum(work.seconds * work.cores(works, slots) for work in works) / (slots * span)
    beside = 1 - math.fsum(work.seconds for work in works) / math.fsum(work.job.seconds for work in works)
    speed = max(works, key=lambda work: work.seconds).images_per_second(config)
    return (
        f"| {folder.name} | {config.search.budget_seconds:g} s | {seconds:.0f} | {trials} | {value:.4f} | {simple:.4f} "
        f"| {training:.0%} | {beside:.1%} | {speed:,.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    for folder in parser.parse_args().runs:
        print(row(folder), flush=True)


if __name__ == "__main__":
    main()
