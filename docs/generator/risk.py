"""docs/risk.md: limits, modes and stops."""

from __future__ import annotations

from pathlib import Path

from docs.generator.fields import bounds, docstrings, meanings, prose, type_text
from docs.generator.markdown import head_of, table
from panda_streams.domain.risk.limits import OrderLimits, TotalLimits
from panda_streams.domain.risk.modes import StopReason
from panda_streams.events import Mode

__all__ = ["risk_page"]


def risk_page(page: Path) -> str:
    parts = [head_of(page)]
    for title, kind in (("Limits on one order", OrderLimits), ("Limits on a total", TotalLimits)):
        rows = [
            (f"`{name}`", type_text(field.annotation, missing="") + bounds(field.metadata), docstrings(kind)[name])
            for name, field in kind.model_fields.items()
        ]
        parts.append(f"## {title}\n\n{prose(kind)}\n\n" + table(("limit", "type", "meaning"), rows))
    parts += [
        f"## Modes\n\n{prose(Mode)}\n\n{table(('mode', 'what passes'), meanings(Mode))}",
        f"## Stops\n\n{prose(StopReason)}\n\n{table(('reason', 'stopped because'), meanings(StopReason))}",
    ]
    return "\n".join(parts)
