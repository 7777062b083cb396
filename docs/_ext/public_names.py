"""Leads references to where a name is defined to where it is documented: `cnn_tuner.api.run.Run` is `cnn_tuner.Run`."""

from __future__ import annotations

from typing import Any

import cnn_tuner


def _on_missing(app: Any, environment: Any, node: Any, text: Any) -> Any:
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in cnn_tuner.__all__:
        return None
    domain, page = environment.get_domain("py"), node.get("refdoc")
    return domain.resolve_xref(environment, page, app.builder, "obj", f"cnn_tuner.{name}", node, text)


def setup(app: Any) -> dict[str, bool]:
    app.connect("missing-reference", _on_missing)
    return {"parallel_read_safe": True}
