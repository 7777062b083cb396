"""cnn-tuner serve: an export behind TensorFlow Serving's REST path, to this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cnn_tuner.api.words import RUNS
from cnn_tuner.commands.options import ModelArgument, RunsOption, open_export
from cnn_tuner.commands.output import say
from cnn_tuner.errors import UsageError

if TYPE_CHECKING:
    from cnn_tuner.export.served import Served
    from cnn_tuner.server.requests import Model


def serve(
    model: ModelArgument = None,
    name: Annotated[str | None, typer.Option(help="The model's name in addresses. Default: the data's.")] = None,
    port: Annotated[int | None, typer.Option(help="Port on this machine. Default: 8501, or the next free one.")] = None,
    wait_ms: Annotated[
        float, typer.Option(help="Milliseconds in which requests that arrive together are collected for one call.")
    ] = 3.0,
    max_images: Annotated[int, typer.Option(help="Images a request may have.")] = 256,
    max_body: Annotated[int, typer.Option(help="MiB that a request may have.")] = 32,
    folder: RunsOption = RUNS,
) -> None:
    """Answer requests for predictions as TensorFlow Serving does, to this machine only. Ctrl-C ends it."""
    from cnn_tuner.report.serving import PORT

    for flag, value in (("--max-images", max_images), ("--max-body", max_body)):
        if value < 1:
            raise UsageError(f"{flag}: must be a whole number >= 1, got {value}")
    if not 0 <= wait_ms <= 1000:
        raise UsageError(f"--wait-ms: must be 0..1000 milliseconds, got {wait_ms:g}")
    listening = _listening()
    exported = open_export(folder, model)
    from cnn_tuner.export.served import Served

    served = Served(exported)
    from cnn_tuner.server.app import App
    from cnn_tuner.server.requests import Limits

    described = _model(served, exported, name)
    _warm(served)
    with listening.listen(port, PORT) as listener:
        url = f"http://{listening.LOOPBACK}:{listener.getsockname()[1]}/v1/models/{described.name}"
        say(f"{exported} at {url} (Ctrl-C ends it)")
        say(_curl(url))
        app = App(described, served.answer, Limits(max_body * 2**20, max_images), wait_ms / 1000)
        listening.server(app).run(sockets=[listener])


def _listening() -> Any:
    try:
        from cnn_tuner.server import listening
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "h11"):
            raise
        raise UsageError("serve: needs uvicorn; install it with: pip install 'cnn-tuner[serve]'") from error
    return listening


def _model(served: Served, exported: Path, name: str | None) -> Model:
    """What is served; a name and a version are read from the folder, `export/NAME/VERSION`."""
    from cnn_tuner.data.assembling import slug
    from cnn_tuner.server.requests import Model

    path = exported.resolve()
    is_version = path.name.isdecimal()
    chosen = slug(path.parent.name if is_version else path.name) if name is None else name
    return Model(chosen, path.name if is_version else "1", served.image_shape, served.signatures, served.fit)


def _warm(served: Served) -> None:
    """The first call of each signature sets it up, which takes a second; nobody should wait for that."""
    import numpy as np

    for signature in served.signatures:
        served.answer(signature, np.zeros((1, *served.image_shape), np.uint8))


def _curl(url: str) -> str:
    content = '\'{"instances": [{"b64": "\'$(base64 < IMAGE.png | tr -d "\\n")\'"}]}\''
    return f"echo {content} | curl --data @- {url}:predict"
