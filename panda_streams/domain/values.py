"""The base of every value that is stored or sent: frozen, strict about unknown fields, described by docstrings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Value"]


class Value(BaseModel):
    """An immutable value; decimals are strings in JSON, and fields keep the order in which they are declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
