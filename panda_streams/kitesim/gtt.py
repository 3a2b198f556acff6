"""Good-till-triggered: orders that wait at the broker for a price, for up to a year."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side
from panda_streams.kitesim.errors import ErrorType, Refused

__all__ = ["LIFE_MS", "Gtt", "GttChange", "GttKind", "GttOrder", "GttResult", "GttState", "Gtts", "read_gtt"]

LIFE_MS = 365 * 86_400_000


class GttKind(StrEnum):
    SINGLE = "single"
    TWO_LEG = "two-leg"


class GttState(StrEnum):
    ACTIVE = "active"
    TRIGGERED = "triggered"
    EXPIRED = "expired"
    DELETED = "deleted"


class GttResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order whose trigger was reached."""

    at: int
    price: Decimal
    order_id: str
    rejection: str


class GttOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that a trigger places."""

    side: Side
    product: Product
    order_type: OrderType
    quantity: int
    price: Decimal
    result: GttResult | None = None


class GttChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a trigger becomes at `at`: other terms, or nothing if there are no orders."""

    at: int
    kind: GttKind
    triggers: tuple[Decimal, ...] = ()
    last: Decimal = Decimal(0)
    orders: tuple[GttOrder, ...] = ()


class Gtt(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger: one price and its order, or a lower and an upper one with an order each, of which one is placed."""

    number: int
    kind: GttKind
    instrument: str
    triggers: tuple[Decimal, ...]
    last: Decimal
    """The last price as whoever placed it knew it: it says from which side the price comes."""
    orders: tuple[GttOrder, ...]
    state: GttState = GttState.ACTIVE
    created_at: int
    updated_at: int
    expires_at: int
    live_at: int = 0
    """Event time from which prices reach it."""
    changes: tuple[GttChange, ...] = ()
    """That were asked for and have not acted yet, the first one first."""

    @property
    def deleting(self) -> bool:
        return bool(self.changes) and not self.changes[-1].orders

    def changed(self, time: int) -> Gtt:
        """The trigger as it is at a time."""
        gtt = self
        while gtt.changes and gtt.changes[0].at <= time:
            change, *later = gtt.changes
            gtt = replace(gtt, updated_at=change.at, changes=tuple(later))
            if change.orders:
                terms = {"kind": change.kind, "triggers": change.triggers, "last": change.last, "orders": change.orders}
                gtt = replace(gtt, **terms)
            else:
                gtt = replace(gtt, state=GttState.DELETED)
        return gtt

    def reached(self, price: Decimal) -> int | None:
        """Which of its orders a price triggers."""
        if self.kind is GttKind.TWO_LEG:
            lower, upper = self.triggers
            return 0 if price <= lower else 1 if price >= upper else None
        trigger = self.triggers[0]
        return 0 if (price >= trigger if trigger >= self.last else price <= trigger) else None


class Gtts:
    """All triggers, by number."""

    def __init__(self) -> None:
        self.all: dict[int, Gtt] = {}
        self._active: dict[str, dict[int, None]] = {}
        self._changing: dict[int, None] = {}

    def put(self, gtt: Gtt) -> None:
        self.all[gtt.number] = gtt
        if gtt.changes:
            self._changing.setdefault(gtt.number)
        else:
            self._changing.pop(gtt.number, None)
        active = self._active.setdefault(gtt.instrument, {})
        if gtt.state is GttState.ACTIVE:
            active.setdefault(gtt.number)
        else:
            active.pop(gtt.number, None)
        if not active:
            del self._active[gtt.instrument]

    def due(self, time: int) -> tuple[Gtt, ...]:
        """Those that have changed by a time, as they are then."""
        changing = (self.all[number] for number in self._changing)
        return tuple(gtt.changed(time) for gtt in changing if gtt.changes[0].at <= time)

    def waiting(self, instrument_id: str) -> tuple[Gtt, ...]:
        """Those that wait for a price of the instrument."""
        return tuple(self.all[number] for number in self._active.get(instrument_id, ()))

    def find(self, number: int) -> Gtt:
        """One that is not deleted; raises Refused."""
        gtt = self.all.get(number)
        if gtt is None or gtt.state is GttState.DELETED:
            raise Refused(ErrorType.GENERAL, "Trigger does not exist.", 404)
        return gtt


def read_gtt(
    kind: str,
    condition: Mapping[str, Any],
    orders: list[Mapping[str, Any]],
    instruments: Instruments,
) -> Gtt:
    """Read the fields of a call that places or modifies a trigger, without number and times; raises Refused."""
    try:
        return _read(GttKind(kind), condition, orders, instruments)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise _bad(f"Invalid trigger: {type(error).__name__} {error}") from None


def _read(
    kind: GttKind,
    condition: Mapping[str, Any],
    orders: list[Mapping[str, Any]],
    instruments: Instruments,
) -> Gtt:
    instrument = instruments.get(f"{condition['exchange']}:{condition['tradingsymbol']}")
    if instrument is None or not instrument.tradable:
        raise _bad("The instrument of the trigger has either expired or does not exist.")
    triggers = tuple(_price(value, instrument) for value in condition["trigger_values"])
    last = Decimal(str(condition["last_price"]))
    wanted = 1 if kind is GttKind.SINGLE else 2
    if len(triggers) != wanted or len(orders) != wanted:
        raise _bad(f"A trigger of the type {kind} has {wanted} trigger values and orders.")
    if kind is GttKind.SINGLE and triggers[0] == last:
        raise _bad("Trigger price should differ from the last price.")
    if kind is GttKind.TWO_LEG and not triggers[0] < last < triggers[1]:
        raise _bad("The last price should lie between the trigger values.")
    return Gtt(
        number=0,
        kind=kind,
        instrument=instrument.id,
        triggers=triggers,
        last=last,
        orders=tuple(_order(order, instrument) for order in orders),
        created_at=0,
        updated_at=0,
        expires_at=0,
    )


def _order(fields: Mapping[str, Any], instrument: Instrument) -> GttOrder:
    quantity = int(fields["quantity"])
    if quantity <= 0 or quantity % instrument.lot:
        raise _bad(f"Quantity should be a multiple of {instrument.lot}.")
    if fields["order_type"] != OrderType.LIMIT:
        raise _bad("Orders of a trigger are LIMIT orders.")
    return GttOrder(
        side=Side(fields["transaction_type"]),
        product=Product(fields["product"]),
        order_type=OrderType.LIMIT,
        quantity=quantity,
        price=_price(fields["price"], instrument),
    )


def _price(value: Any, instrument: Instrument) -> Decimal:
    price = Decimal(str(value))
    if not price.is_finite() or price <= 0 or price % instrument.tick_size:
        raise _bad(f"Price should be a multiple of the tick size {instrument.tick_size}.")
    return price


def _bad(message: str) -> Refused:
    return Refused(ErrorType.INPUT, message)
