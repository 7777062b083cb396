"""cnn-tuner doctor: what this machine is."""

from __future__ import annotations

import json
from pathlib import Path

from cnn_tuner.commands.options import JsonOption
from cnn_tuner.commands.output import say
from cnn_tuner.commands.quiet import quiet_tensorflow


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine is, which versions are installed and what a search will use."""
    with quiet_tensorflow():
        from cnn_tuner import machine  # loads TensorFlow

        facts = machine.facts(Path.cwd())
    if as_json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name:<{width}}  {value}")
