"""docs/alerts.md: the kinds of alerts."""

from __future__ import annotations

from pathlib import Path

from docs.generator.fields import docstrings
from docs.generator.markdown import head_of, table
from panda_streams.alerts.config import DEFAULTS
from panda_streams.alerts.kinds import AlertKind

__all__ = ["alerts_page"]


def alerts_page(page: Path) -> str:
    rows = [(f"`{kind}`", DEFAULTS[kind].value, docstrings(AlertKind)[kind.name]) for kind in AlertKind]
    return f"{head_of(page)}\n## Kinds\n\n" + table(("kind", "default", "sent when"), rows)
