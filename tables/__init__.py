"""The tables: one module each, with key, row, schema version and how the row is rebuilt."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from panda_streams.domain.values import Value

__all__ = ["Row", "read_row"]


class Row(Value):
    """A row as it is stored, with the version of its form."""

    schema_version: int = 1


R = TypeVar("R", bound=Row)


def read_row(kind: type[R], data: bytes) -> R:
    """Decode a row; ValueError names the table's form and what to do if it is of another version."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(
            f"a stored {kind.__name__} cannot be read by this version ({error.errors()[0]['msg']}); "
            "go back to the version that wrote it, or start another world"
        ) from error
