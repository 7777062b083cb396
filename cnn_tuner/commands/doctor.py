"""cnn-tuner doctor: what this machine is, and what it trains fastest with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cnn_tuner.api.words import HANG_SECONDS, worker_options
from cnn_tuner.commands.options import AddressOption, CpusOption, GpusOption, JsonOption
from cnn_tuner.commands.output import say
from cnn_tuner.errors import UsageError
from cnn_tuner.metrics import strict_json

if TYPE_CHECKING:
    from cnn_tuner.runs.machine import Workers


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the measurement, which takes some seconds.")
    ] = False,
    address: AddressOption = None,
    cpus_per_trial: CpusOption = None,
    gpus_per_trial: GpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine is, which versions are installed, and what it trains fastest with.

    Measured is the median network of the space seven_steps on images of 28x28; a search measures its own. With
    --address, say which nodes a Ray cluster has, for how many trials they have room, and how fast each trains with all
    of that.
    """
    if address is not None:
        asked = worker_options(None, "auto", HANG_SECONDS, "ray", address, cpus_per_trial, gpus_per_trial)
        _nodes(asked, quick, as_json)
        return
    for flag, given in (("--cpus-per-trial", cpus_per_trial), ("--gpus-per-trial", gpus_per_trial)):
        if given is not None:
            raise UsageError(f"{flag}: is for a cluster; name one with --address")
    from cnn_tuner.search import measuring
    from cnn_tuner.training import devices

    facts = devices.facts(Path.cwd())
    width = max(map(len, facts))
    if not as_json:
        for name, value in facts.items():
            say(f"{name:<{width}}  {value}")
    if quick:
        if as_json:
            print(strict_json.dumps(facts))
        return
    speeds = measuring.measure_reference()
    best = measuring.fastest(speeds)
    if as_json:
        found = [vars(speed) for speed in speeds]
        print(strict_json.dumps(facts | {"speeds": found, "fastest": vars(best)}))
        return
    for speed in speeds:
        say(f"{'measured' if speed is speeds[0] else '':<{width}}  {speed}{'  <- fastest' if speed is best else ''}")


def _nodes(workers: Workers, quick: bool, as_json: bool) -> None:
    """The nodes of a cluster that are alive, their room, and what they train with it."""
    from cnn_tuner.executors.connecting import nodes

    cluster = workers.cluster
    assert cluster is not None
    from cnn_tuner.search import measuring

    threads = max(1, round(cluster.cpus_per_trial))
    found = nodes(cluster, None if quick else partial(measuring.room_speeds, threads=threads))
    speeds = [[] if node.told is None else node.told for node in found]
    if as_json:
        rows = [
            {name: value for name, value in vars(node).items() if name != "told"} | {"speeds": [vars(s) for s in told]}
            for node, told in zip(found, speeds, strict=True)
        ]
        print(strict_json.dumps({"nodes": rows, "room": sum(each.room for each in found)}))
        return
    for node, told in zip(found, speeds, strict=True):
        cpus = f"{node.cpus:g} CPU{'' if node.cpus == 1 else 's'}"
        gpus = f", {node.gpus:g} GPU{'' if node.gpus == 1 else 's'}" if node.gpus else ""
        fast = "".join(f", {speed.images_per_second:,.0f} images/s in {speed.precision}" for speed in told)
        why_not = f", not measured: {node.why_not}" if node.why_not else ""
        room = f"room for {node.room} trial{'' if node.room == 1 else 's'}"
        say(f"{node.name}  {cpus}{gpus}, {node.memory / 2**30:.1f} GiB: {room}{fast}{why_not}")
    say(f"in all  room for {sum(each.room for each in found)} trials of {cluster.of_each}")
    best = {measuring.fastest(told).precision for told in speeds if told}
    if best == {"bfloat16"}:
        say("bfloat16 is the fastest on every node: --precision bfloat16")
