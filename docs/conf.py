"""How Sphinx makes these pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from cnn_tuner import __version__

project = "cnn_tuner"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated", "public_names"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"cnn_tuner {__version__}"
html_show_copyright = False
html_copy_source = False
smartquotes = False  # "--data" is an option, not a dash

myst_heading_anchors = 3  # links to headings are those that GitHub makes

default_role = "code"  # in docstrings
maximum_signature_line_length = 100  # a longer one has a line a parameter
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Types of other packages, whose pages are not asked for: nothing is fetched while these are made.
nitpick_ignore_regex = [(r"py:.*", r"(?!cnn_tuner\b).*")]
