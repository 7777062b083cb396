"""What can be copied from the pages as a browser shows them is what the other tests run."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks


class Code(HTMLParser):
    """The text of each block of code of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self._inside = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag == "pre":
            self._inside = True
            self.blocks.append("")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "pre"

    def handle_data(self, data):
        if self._inside:
            self.blocks[-1] += data


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx is not installed: make docs")
def test_code_is_shown_as_it_was_written(tmp_path):
    subprocess.run([sys.executable, "-m", "sphinx", "--quiet", "docs", tmp_path], cwd=ROOT, check=True)
    shown = 0
    for page in (each for each in PAGES if each.startswith("docs/")):
        there = Code(tmp_path / Path(page).relative_to("docs").with_suffix(".html")).blocks
        for language in ("console", "python", "yaml"):
            for name, written in blocks(language):
                if name == page:
                    assert written in there, page
                    shown += 1
    assert shown
