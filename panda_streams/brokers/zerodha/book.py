"""Reads Kite's orders, trades, triggers, positions and holdings: its JSON, as the client hands it on, becomes values.

The functions raise ValueError, KeyError or TypeError for what has another form: a book with a gap is no book.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from panda_streams.brokers.zerodha.session import INDIA
from panda_streams.domain.brokerage import BrokerHolding, BrokerOrder, BrokerStatus, BrokerTrade, BrokerTrigger
from panda_streams.domain.signals import Side

__all__ = ["TRIGGER", "money", "moment", "read_holdings", "read_order", "read_trade", "read_triggers"]

TRIGGER = "gtt:"
"""Begins the id of a trigger (GTT), so that it is no order's."""

_STATUS = {
    "COMPLETE": BrokerStatus.COMPLETE,
    "CANCELLED": BrokerStatus.CANCELLED,
    "REJECTED": BrokerStatus.REJECTED,
    "OPEN": BrokerStatus.OPEN,
    "TRIGGER PENDING": BrokerStatus.TRIGGER_PENDING,
}
"""All others are on their way, or new ("there may be other values as well", kite.trade/docs): PENDING."""
_TRIGGER_STATUS = {
    "triggered": BrokerStatus.OPEN,
    "disabled": BrokerStatus.CANCELLED,
    "expired": BrokerStatus.CANCELLED,
    "cancelled": BrokerStatus.CANCELLED,
    "deleted": BrokerStatus.CANCELLED,
    "rejected": BrokerStatus.REJECTED,
}
"""All others, and `active`, rest: what may fire counts as there."""
_CHANGED = ("exchange_update_timestamp", "exchange_timestamp", "order_timestamp")
_PLACES = 6
_PAISA = Decimal("0.01")
_KITES_TAG = "mktp"
"""Begins the tags that Kite adds to an order with market protection."""


def moment(value: object) -> int:
    """Milliseconds since the epoch of a time of Kite's: a text or a datetime, of India where it names no zone."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError(f"expected a time, found {value!r}")
    aware = value if value.tzinfo else value.replace(tzinfo=INDIA)
    return round(aware.timestamp() * 1000)


def money(value: object) -> Decimal:
    """An amount, exactly as it was written: through the text of a float, never through its binary value.

    Beyond six places it is the noise of a sum of floats, and cut.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected an amount, found {value!r}")
    try:
        exact = round(Decimal(str(value)), _PLACES).normalize()
    except InvalidOperation:
        raise ValueError(f"expected an amount, found {value!r}") from None
    if not exact.is_finite():
        raise ValueError(f"expected an amount, found {value!r}")
    exponent = exact.as_tuple().exponent
    assert isinstance(exponent, int)
    return exact.quantize(_PAISA) if exponent > -2 else exact


def read_order(row: Mapping[str, Any]) -> BrokerOrder:
    return BrokerOrder(
        broker_id=_text(row, "order_id"),
        tag=_tag(row),
        instrument=_instrument(row),
        side=Side(row["transaction_type"]),
        product=_text(row, "product"),
        order_type=_text(row, "order_type"),
        status=_STATUS.get(str(row["status"]).upper(), BrokerStatus.PENDING),
        quantity=_count(row["quantity"]),
        filled=_count(row["filled_quantity"]),
        price=money(row.get("price") or 0) or None,
        trigger=money(row.get("trigger_price") or 0) or None,
        text=str(row.get("status_message") or row.get("status_message_raw") or ""),
        time=max(moment(row[name]) for name in _CHANGED if row.get(name)),
        placed_by=_placed_by(row.get("meta")),
    )


def read_trade(row: Mapping[str, Any]) -> BrokerTrade:
    return BrokerTrade(
        trade_id=_text(row, "trade_id"),
        exchange=_text(row, "exchange"),
        broker_id=_text(row, "order_id"),
        instrument=_instrument(row),
        side=Side(row["transaction_type"]),
        product=_text(row, "product"),
        # The table of Kite's documentation calls it `filled`, the wire `quantity`.
        quantity=_count(row["quantity"] if "quantity" in row else row["filled"]),
        price=money(row["average_price"]),
        time=moment(row.get("fill_timestamp") or row["exchange_timestamp"]),
    )


def read_triggers(rows: Iterable[Mapping[str, Any]]) -> tuple[BrokerTrigger, ...]:
    """The triggers with one price and one order (`single`): no arm makes others."""
    return tuple(_read_trigger(row) for row in rows if row["type"] == "single")


def _read_trigger(row: Mapping[str, Any]) -> BrokerTrigger:
    condition, [order], [trigger] = row["condition"], row["orders"], row["condition"]["trigger_values"]
    status = _TRIGGER_STATUS.get(str(row["status"]).lower(), BrokerStatus.TRIGGER_PENDING)
    result = (order.get("result") or {}).get("order_result") or {}
    placed = str(result.get("order_id") or "") or None
    if status is BrokerStatus.OPEN and placed is None and result.get("status") == "failed":
        status = BrokerStatus.REJECTED
    return BrokerTrigger(
        broker_id=f"{TRIGGER}{_count(row['id'])}",
        instrument=_instrument(condition),
        side=Side(order["transaction_type"]),
        product=_text(order, "product"),
        quantity=_count(order["quantity"]),
        price=money(order["price"]),
        trigger=money(trigger),
        last_price=money(condition["last_price"]),
        status=status,
        placed=placed,
        text=str(result.get("rejection_reason") or ""),
        created=moment(row["created_at"]),
        time=moment(row["updated_at"]),
    )


def _placed_by(meta: object) -> str | None:
    """The trigger that an order says it comes from."""
    number = meta.get("gtt") if isinstance(meta, Mapping) else None
    return None if number is None else f"{TRIGGER}{_count(number)}"


def read_holdings(positions: Mapping[str, Any], holdings: Iterable[Mapping[str, Any]]) -> tuple[BrokerHolding, ...]:
    """What an account holds now, by instrument and product, sorted: what was carried into the day and its trades.

    Kite's net positions have no share that was in the holdings when the day began, and a sale of such shares today
    stands in them as a negative quantity; so both are added. Of the holdings what counts is what they were before
    that sale: delivered (`realised_quantity`) and still to be delivered (`t1_quantity`), for `quantity` has today's
    sale taken off already. Shares on margin (MTF) are a product of their own. An instrument is what Kite names: a
    share whose holding it lists at BSE and that was sold at NSE makes two entries, one of them negative.
    """
    held: dict[tuple[str, str], tuple[int, Decimal]] = {}

    def add(name: str, product: str, quantity: int, price: Decimal) -> None:
        held[name, product] = _together(held.get((name, product), (0, Decimal(0))), (quantity, price))

    for row in holdings:
        name, price = _instrument(row), money(row.get("average_price") or 0)
        delivered = row.get("realised_quantity")
        if delivered is None:
            delivered = _count(row["quantity"]) + _count(row.get("used_quantity") or 0)
        add(name, _text(row, "product"), _count(delivered) + _count(row.get("t1_quantity") or 0), price)
        if margin := row.get("mtf"):
            add(name, "MTF", _count(margin.get("quantity") or 0), money(margin.get("average_price") or 0))
    for row in positions["net"]:
        add(_instrument(row), _text(row, "product"), _count(row["quantity"]), money(row.get("average_price") or 0))
    return tuple(
        BrokerHolding(instrument=name, product=product, quantity=quantity, price=price)
        for (name, product), (quantity, price) in sorted(held.items())
        if quantity
    )


def _together(one: tuple[int, Decimal], other: tuple[int, Decimal]) -> tuple[int, Decimal]:
    """Two quantities at their averages as one: what is closed takes nothing from the average of what is left."""
    (first, first_price), (second, second_price) = one, other
    quantity = first + second
    if first * second > 0:
        return quantity, money(str((first * first_price + second * second_price) / quantity))
    return quantity, first_price if abs(first) > abs(second) else second_price


def _instrument(row: Mapping[str, Any]) -> str:
    return f"{_text(row, 'exchange')}:{_text(row, 'tradingsymbol')}"


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a text as {name}, found {value!r}")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"expected a whole number, found {value!r}")
    return int(value)


def _tag(row: Mapping[str, Any]) -> str | None:
    """The label that an order was placed with: Kite has it in `tag`, or among its own in `tags`."""
    labels = (row.get("tag"), *(row.get("tags") or ()))
    return next((one for one in labels if isinstance(one, str) and one and not one.startswith(_KITES_TAG)), None)
