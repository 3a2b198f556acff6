"""The orders of a verdict that cannot be processed, as far as they can be read: each has to end all the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import orjson

from agents.reading import risk_writer
from panda_streams.domain.orders import Order, Product, Role
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import TickRef

__all__ = ["LostVerdict", "read_lost_verdict"]

E = TypeVar("E", bound=StrEnum)


class LostVerdict(NamedTuple):
    """What could be read of it."""

    sequence: int
    """Risk's number of it: a verdict that was said again has the same."""
    orders: tuple[Order, ...]


def read_lost_verdict(value: bytes | None, shard: int, time: int) -> LostVerdict | None:
    """Read what risk has said in a form that this version does not know; None if it is not known whose orders end.

    Writer, sequence and order ids must be there. Whatever else cannot be read is empty, or what most orders are:
    MARKET orders of an entry. `time` stands in for the time of the verdict.
    """
    try:
        said = orjson.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(said, dict) or (said.get("kind"), said.get("producer")) != ("validated", risk_writer()):
        return None
    sequence, signal = said.get("sequence"), _fields(said.get("signal"))
    if type(sequence) is not int:
        return None
    tickets = said.get("tickets")
    found = [_fields(ticket) for ticket in tickets] if isinstance(tickets, list) else []
    decided = _number(said.get("time"), time)
    orders = [_order(ticket, signal, shard, decided) for ticket in found if _text(ticket.get("order_id"))]
    return LostVerdict(sequence, tuple(orders)) if orders else None


def _order(ticket: dict[str, Any], signal: dict[str, Any], shard: int, time: int) -> Order:
    return Order(
        order_id=_text(ticket.get("order_id")),
        signal_id=_text(signal.get("signal_id")) or None,
        strategy_id=_text(signal.get("strategy_id")),
        instrument=_text(signal.get("instrument")),
        side=_member(Side, ticket.get("side"), Side.BUY),
        role=_member(Role, ticket.get("role"), Role.ENTRY),
        product=_member(Product, ticket.get("product"), Product.MIS),
        quantity=_number(ticket.get("quantity"), 0),
        order_type=OrderType.MARKET,
        validity=Validity.DAY,
        cause=TickRef(source="", run="", row=0, shard=shard, offset=0, time=time),
        live_at=time,
    )


def _fields(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _number(found: object, default: int) -> int:
    return found if isinstance(found, int) and 0 <= found <= 2**53 else default


def _member(kind: type[E], found: object, default: E) -> E:
    return kind(found) if isinstance(found, str) and found in tuple(kind) else default
