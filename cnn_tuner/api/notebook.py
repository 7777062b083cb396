"""A run in a notebook: one output that is drawn anew while it goes on, of HTML and SVG alone, and stays at its end."""

from __future__ import annotations

import sys
import time
from collections import deque
from html import escape
from typing import Any

from rich.console import Console

from cnn_tuner.report.texts import score
from cnn_tuner.terminal.view_state import ViewState

LEAST_SECONDS = 1.0  # between two drawings
MOST_LINES = 200
WIDTH, HEIGHT = 320, 60  # of the curve, in pixels
STYLE = (
    ".cnn-tuner{font-size:13px;line-height:1.5} .cnn-tuner th{text-align:left;font-weight:normal;opacity:.65} "
    ".cnn-tuner td,.cnn-tuner th{padding:0 1em 0 0;text-align:left;background:none;white-space:pre} "
    ".cnn-tuner progress{width:320px} .cnn-tuner pre{max-height:20em;overflow:auto}"
)


def is_here() -> bool:
    """Whether this program runs in the kernel of a notebook."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(found, "kernel", None) is not None


class NotebookReporter(ViewState):
    """What the live view of a terminal shows, in the output of a cell."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._handle: Any = None
        self._drawn = 0.0

    def line(self, text: str, more: str = "") -> None:
        self._lines.append(f"{text}  {more}" if more else text)
        self.show()

    def phase(self, text: str, epochs: int = 0) -> None:
        self._lines.append(text)
        super().phase(text, epochs)

    def show(self) -> None:
        if time.monotonic() - self._drawn >= LEAST_SECONDS:
            self._draw(self.html())

    def close(self) -> None:
        self._draw(self.html(is_over=True))

    def _draw(self, html: str) -> None:
        from IPython.display import HTML, display

        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))

    def html(self, is_over: bool = False) -> str:
        """The view as it is now; without what is under way once that `is_over`."""
        bar = self.bar()
        shown = [] if is_over else [*self.lines(), (bar.title, bar.state)]
        if self.best is not None and "best" not in dict(shown):
            shown.insert(0, ("best", self.best_line()))
        rows = "".join(f"<tr><th>{escape(title)}</th><td>{escape(text)}</td></tr>" for title, text in shown)
        share = "" if bar.total is None else f' value="{bar.done:.3f}" max="{bar.total:.3f}"'
        progress = "" if is_over else f"<progress{share}></progress>"
        told = escape("\n".join(self._lines))
        last = f"<p>{escape(self._lines[-1])}</p>" if self._lines else ""
        return (
            f'<div class="cnn-tuner"><style>{STYLE}</style>{last}{progress}<table>{rows}</table>{self._curve()}'
            f"<details><summary>all lines</summary><pre>{told}</pre></details></div>"
        )

    def _curve(self) -> str:
        """The best score over the trials, as SVG."""
        if len(self.bests) < 2:
            return ""
        low, high = min(self.bests), max(self.bests)
        across, down = (WIDTH - 2) / (len(self.bests) - 1), (HEIGHT - 2) / ((high - low) or 1.0)
        points = " ".join(f"{1 + i * across:.1f},{HEIGHT - 1 - (y - low) * down:.1f}" for i, y in enumerate(self.bests))
        told = f"best score over {len(self.bests)} trials, from {score(self.bests[0])} to {score(self.bests[-1])}"
        return (
            f'<svg role="img" aria-label="{told}" width="{WIDTH}" height="{HEIGHT}"><title>{told}</title>'
            f'<polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="2"/></svg>'
        )
