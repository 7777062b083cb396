"""Pages that are one file: text stays text, pictures are inside and sharp."""

from __future__ import annotations

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from cnn_tuner.report import templates


def test_a_label_appears_as_text(monkeypatch):
    own = jinja2.DictLoader({"toy.html": "<p>{{ label }}</p>"})
    monkeypatch.setattr(templates._environment(), "loader", own)
    assert templates.render("toy.html", label='<script>alert(1)</script> "größe"') == (
        "<p>&lt;script&gt;alert(1)&lt;/script&gt; &#34;größe&#34;</p>"
    )
    with pytest.raises(jinja2.UndefinedError, match="'label' is undefined"):
        templates.render("toy.html")


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (8, 6, 3), (8, 6, 4)])
def test_a_small_picture_is_magnified_without_blur(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri = templates.data_uri(picture, least_pixels=30)
    assert uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        shown = np.asarray(image)
    assert shown.shape[:2] == (32, 24)
    np.testing.assert_array_equal(shown[::4, ::4], picture.reshape(shown[::4, ::4].shape))
