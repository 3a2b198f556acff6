"""docs/settings.md: the settings."""

from __future__ import annotations

from typing import get_args

from pydantic import SecretStr

from docs.generator.fields import bounds, type_text
from docs.generator.markdown import GENERATED, table
from panda_streams.settings import Settings

__all__ = ["settings_page"]


def settings_page() -> str:
    rows = []
    for field in Settings.model_fields.values():
        secret = "**Secret.** " if SecretStr in (field.annotation, *get_args(field.annotation)) else ""
        default = "unset" if field.default is None or field.default == "" else f"`{field.default}`"
        kind = type_text(field.annotation, missing="") + bounds(field.metadata)
        rows.append((f"`{field.alias}`", kind, default, secret + (field.description or "")))
    return f"""# Settings

{GENERATED.format(source="panda_streams/settings.py")}

Each setting is an environment variable of every process; `panda --env-file FILE` reads them from a file, and what the
environment sets wins. An empty value counts as unset. A setting that cannot be used is an error which names it, never
its value.

{table(("variable", "type", "default", "meaning"), rows)}"""
