"""What the code says of its classes and fields: types as a reader of JSON calls them, bounds, docstrings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct
from pydantic import BaseModel, SecretStr

from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.orders import Fill, OrderState, Product, Reason, Role, Ticket
from panda_streams.domain.risk.modes import Latch, StopReason
from panda_streams.domain.risk.rules import Finding, Rule
from panda_streams.domain.signals import Intent, OrderType, Quote, Side, Signal, Terms, Validity
from panda_streams.domain.ticks import Tick, TickRef
from panda_streams.events import Mode, Phase

__all__ = [
    "ENUMS",
    "PARTS",
    "bounds",
    "docstrings",
    "meanings",
    "members",
    "prose",
    "type_text",
    "typed_fields",
    "yaml",
]

PARTS = (TickRef, Quote, Terms, Ticket, Fill, Booking, Ratio, Finding, Latch)
"""Parts of several events."""
ENUMS = (
    Side,
    Intent,
    OrderType,
    Validity,
    Role,
    OrderState,
    Reason,
    Product,
    BookingKind,
    CorporateAction,
    Phase,
    Mode,
    StopReason,
)
"""Those that have a section of events.md; the members of others stand where they are used."""

_ANCHORS: dict[Any, str] = {
    **{kind: kind.__name__.lower() for kind in (Signal, Tick, *PARTS, *ENUMS)},
    Rule: "reason-codes",
}
"""The sections of events.md that types link to."""

_TYPES: dict[Any, str] = {
    Any: "any",
    Decimal: "decimal",
    NoneType: "null",
    Path: "path",
    date: "date",
    SecretStr: "text",
    bool: "true or false",
    float: "number",
    int: "integer",
    str: "text",
}


def type_text(annotation: Any, *, missing: str = "null") -> str:
    """A type as a reader of JSON calls it."""
    if annotation in _TYPES:
        return _TYPES[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        named = [type_text(arg) for arg in args if arg is not NoneType]
        return " or ".join([*named, missing] if missing and NoneType in args else named)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum) and annotation not in _ANCHORS:
        return ", ".join(f"`{member.value}`" for member in annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is tuple:
        return f"list of {type_text(args[0])}"
    if origin is dict:
        return f"object of {type_text(args[1])}"
    name = str(annotation.__name__)
    return f"[{name}](#{_ANCHORS[annotation]})" if annotation in _ANCHORS else name


def bounds(metadata: Iterable[Any]) -> str:
    """What a field may be, from its metadata: `, from 0, below 1`."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    return "".join(
        f", {word} {getattr(bound, name)}"
        for bound in metadata
        for name, word in words.items()
        if getattr(bound, name, None) is not None
    )


def yaml(value: Any) -> str:
    """A default as it is written in YAML."""
    return str(value).lower() if isinstance(value, bool) else str(value).replace("()", "[]")


def typed_fields(kind: type) -> Iterator[tuple[str, Any]]:
    """The fields of a pydantic model or msgspec struct, with their types."""
    if issubclass(kind, BaseModel):
        yield from ((name, field.annotation) for name, field in kind.model_fields.items())
    else:
        assert issubclass(kind, Struct)
        hints = get_type_hints(kind)
        yield from ((name, hints[name]) for name in kind.__struct_fields__)


@cache
def docstrings(kind: type) -> dict[str, str]:
    """The docstrings below the fields or members of a class, which Python itself does not keep."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, docstring in zip(definition.body, definition.body[1:], strict=False):
        target: ast.expr | None = None
        if isinstance(field, ast.AnnAssign):
            target = field.target
        elif isinstance(field, ast.Assign):
            [target] = field.targets
        if isinstance(target, ast.Name) and isinstance(docstring, ast.Expr):
            found[target.id] = " ".join(str(ast.literal_eval(docstring.value)).split())
    return found


def prose(kind: type) -> str:
    """A class's docstring; LookupError if there is none."""
    if not kind.__doc__:
        raise LookupError(f"{kind.__module__}.{kind.__name__} has no docstring")
    return inspect.cleandoc(kind.__doc__)


def meanings(enum: type[StrEnum]) -> list[tuple[str, str]]:
    """The members of an enum, and what is written below each."""
    return [(f"`{member.value}`", docstrings(enum).get(member.name, "")) for member in enum]


def members(enum: type[StrEnum]) -> str:
    """The values of an enum, in a line."""
    return ", ".join(f"`{member.value}`" for member in enum) + "\n"
