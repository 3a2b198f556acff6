"""docs/instruments.md: the form of a list of instruments."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

from msgspec.structs import fields

from docs.generator.fields import docstrings, type_text, yaml
from docs.generator.markdown import head_of, table
from panda_streams.domain.instruments import Instrument

__all__ = ["instruments_page"]


def instruments_page(page: Path) -> str:
    rows = []
    for field in fields(Instrument):
        default = "required" if field.required else "unset" if field.default is None else f"`{yaml(field.default)}`"
        kind = type_text(get_type_hints(Instrument)[field.name], missing="")
        rows.append((f"`{field.name}`", kind, default, docstrings(Instrument)[field.name]))
    form = "One entry of a list in YAML, as `{exchange: NSE, symbol: INFY, kind: equity}`. Prices are text, exact."
    return f"{head_of(page)}\n## The form\n\n{form}\n\n" + table(("field", "type", "default", "meaning"), rows)
