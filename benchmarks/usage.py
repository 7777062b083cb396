"""What became of the time of finished runs: how much of it was training, and what it reached.

    .venv/bin/python benchmarks/usage.py runs/fashion-mnist-quick-1 runs/fashion-mnist-quick-2

Prints a Markdown row a run, and then what the whole time went into, from the command's start to its end. "Training" is
the share of the cores' time that went into epochs, from the start of the first job to the end of the last; a job of the
final training that ran alone had all cores. "Beside epochs" is the share of the jobs' own time that went into setting
up and saving. Images a second are those of the longest job; one that is only looked at counts as a third, which is also
how an epoch is divided into training and validation.
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

PARTS = {
    "start": "data, simple models, workers that load TensorFlow",
    "tracing": "networks set up, traced, their states written, epochs thrown away",
    "training": "",
    "validation": "",
    "idle": "workers that wait: for the engine and its logs, for the last one of a phase, for new workers",
    "end": "the winner evaluated, exported, verified; the report",
}
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

    def images(self, config: RunConfig) -> tuple[float, float]:
        """Of an epoch: those that are trained with, and what those that are looked at count."""
        train, val, _ = config.data.images
        if self.job.is_refit:
            return train + val, 0.0
        return (config.epoch_share if self.job.suggestion is not None else 1.0) * train, val / BACKWARDS

    def looking(self, config: RunConfig) -> float:
        """The share of its epochs in which it validates."""
        trained, looked = self.images(config)
        return looked / (trained + looked)

    def images_per_second(self, config: RunConfig) -> float:
        images = math.fsum(self.images(config))
        whole = self.epochs[:-1] or self.epochs  # the last one may have ended with the time
        return images * len(whole) / math.fsum(epoch.seconds for epoch in whole)


class Run:
    """A finished run of one session: its jobs, and the seconds between its first one's start and its last one's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with closing(RunStore.open(folder)) as run:
            self.config, self.trials = run.config, len(run.trials())
            jobs = [*run.jobs(), *(job for trial in run.trials() for job in run.final_jobs(trial.number).values())]
            works = [Work(job, tuple(run.epochs(job.number))) for job in {job.number: job for job in jobs}.values()]
            session = run.sessions()[-1]
            self.slots, self.seconds = int(session["workers"].split(maxsplit=1)[0]), run.active_seconds()
        self.works = [work for work in works if work.job.seconds]
        self.begins = min(work.job.started_at for work in self.works)
        self.ends = max(work.ends_at for work in self.works)
        self.result = json.loads((folder / "result.json").read_text(encoding="utf-8"))

    def training(self) -> float:
        """Seconds of one core in epochs."""
        return math.fsum(work.seconds * work.cores(self.works, self.slots) for work in self.works)

    def row(self) -> str:
        name, value = next(iter(self.result["test"].items()))
        simple = max(each["test"][name] for each in self.result["baselines"])
        training = self.training() / (self.slots * (self.ends - self.begins))
        jobs = math.fsum(work.job.seconds for work in self.works)
        beside = 1 - math.fsum(work.seconds for work in self.works) / jobs
        speed = max(self.works, key=lambda work: work.seconds).images_per_second(self.config)
        return (
            f"| {self.folder.name} | {self.config.search.budget_seconds:g} s | {self.seconds:.0f} | {self.trials} "
            f"| {value:.4f} | {simple:.4f} | {training:.0%} | {beside:.1%} | {speed:,.0f} |"
        )

    def parts(self) -> dict[str, float]:
        """The share of the whole time that went into each of PARTS, all cores together."""
        whole = self.slots * self.seconds
        ended_at = (self.folder / "result.json").stat().st_mtime
        jobs = math.fsum(work.job.seconds * work.cores(self.works, self.slots) for work in self.works)
        looked = math.fsum(
            work.seconds * work.cores(self.works, self.slots) * work.looking(self.config) for work in self.works
        )
        end = self.slots * (ended_at - self.ends)
        start = whole - end - self.slots * (self.ends - self.begins)
        return {
            "start": start / whole,
            "tracing": (jobs - self.training()) / whole,
            "training": (self.training() - looked) / whole,
            "validation": looked / whole,
            "idle": (self.slots * (self.ends - self.begins) - jobs) / whole,
            "end": end / whole,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    runs = [Run(folder) for folder in parser.parse_args().runs]
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    print(*(run.row() for run in runs), sep="\n")
    print(f"\n| of all cores' time | {' | '.join(run.folder.name for run in runs)} |")
    print("|---" * (len(runs) + 1) + "|")
    each = [run.parts() for run in runs]
    for name, told in PARTS.items():
        shares = " | ".join(f"{parts[name]:.1%}" for parts in each)
        print(f"| {name}{told and ': '}{told} | {shares} |")


if __name__ == "__main__":
    main()
