"""cnn-tuner doctor: what this machine is, and what it trains fastest with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cnn_tuner.commands.options import JsonOption
from cnn_tuner.commands.output import say
from cnn_tuner.commands.quiet import quiet_tensorflow
from cnn_tuner.metrics import strict_json


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the measurement, which takes some seconds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine is, which versions are installed, and what it trains fastest with.

    Measured is the median network of the space seven_steps on images of 28x28; a search measures its own.
    """
    with quiet_tensorflow():
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
