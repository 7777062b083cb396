"""Pages that are one file, for a browser without a network: templates, pictures inside, nothing fetched.

Whatever a template is given is text, and appears as text: Jinja escapes it.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

TILE_PIXELS = 128  # the least height and width at which a small picture is shown


@cache
def _environment() -> Environment:
    loader = PackageLoader("cnn_tuner.report", "pages")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **values: Any) -> str:
    """A page from one of the templates in `cnn_tuner/report/pages/`."""
    return _environment().get_template(template).render(**values)


def script(name: str) -> Markup:
    """A script of `cnn_tuner/report/pages/`, to stand in a page as it is: it is ours, and is not read as a template.

    Raises:
        ValueError: it would end the element that it stands in.
    """
    text = resources.files("cnn_tuner.report").joinpath(f"pages/{name}").read_text(encoding="utf-8")
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError(f"pages/{name}: would end its own element")
    return Markup(text)


def png(picture: np.ndarray, least_pixels: int = 1) -> bytes:
    """A picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 as PNG; magnified by whole numbers, without blur."""
    array = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    times = max(1, -(-least_pixels // max(array.shape[:2])))
    file = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(array, times, axis=0), times, axis=1)).save(file, "PNG", optimize=True)
    return file.getvalue()


def data_uri(picture: np.ndarray, least_pixels: int = TILE_PIXELS) -> str:
    """The same, as the address of an image inside the page."""
    return "data:image/png;base64," + base64.b64encode(png(picture, least_pixels)).decode("ascii")
