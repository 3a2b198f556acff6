"""The tables: one module each, with key, row, schema version and how the row is rebuilt."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError, field_validator

from panda_streams.domain.values import Value

__all__ = ["Row", "read_row"]


class Row(Value):
    """A row as it is stored, with the version of its form."""

    schema_version: int = 1

    @field_validator("schema_version")
    @classmethod
    def _of_this_version(cls, found: int) -> int:
        expected = cls.model_fields["schema_version"].default
        if found != expected:
            raise ValueError(f"it has form {found}, this version has form {expected}")
        return found


R = TypeVar("R", bound=Row)


def read_row(kind: type[R], data: bytes) -> R:
    """Decode a row; ValueError names the table's form and what to do if it is of another version."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(
            f"a stored {kind.__name__} cannot be read by this version ({error.errors()[0]['msg']}); "
            "rows are not converted: go back to the version that wrote it, or begin the world anew "
            "(docs/running.md, Reset a world)"
        ) from error
