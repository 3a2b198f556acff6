"""What the broker takes: the form of an order, its limits, and how many come how fast."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar

import msgspec

from panda_streams.domain.calendar import Calendar, market_of, trading_date
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.orders import Amendment, BookOrder, Stage, Status, Variety

__all__ = ["MODIFICATIONS", "OrderForm", "OrderRate", "Slicing", "check", "check_change", "read_change", "read_form"]

MODIFICATIONS = 25
"""Of one order at the most."""
A_SECOND, A_MINUTE, A_DAY = 10, 400, 5000
"""Orders of an account."""
SLICES = 10
_TAG = re.compile(r"[A-Za-z0-9]{1,20}")
_LEGS = range(2, 51)
_TTL = range(1, 361)
E = TypeVar("E", bound=StrEnum)


class OrderForm(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it was asked for."""

    variety: Variety
    instrument: Instrument
    side: Side
    quantity: int
    product: Product
    order_type: OrderType
    price: Decimal | None = None
    trigger: Decimal | None = None
    validity: Validity = Validity.DAY
    ttl_minutes: int | None = None
    disclosed: int = 0
    protection: Decimal | None = None
    tag: str | None = None
    legs: int | None = None
    leg_quantity: int | None = None
    autoslice: bool = False


class Slicing(msgspec.Struct, frozen=True):
    """How an order above the freeze quantity is cut."""

    quantities: tuple[int, ...]

    @classmethod
    def of(cls, form: OrderForm) -> Slicing:
        """Cut it into whole lots; raises Refused for one of more than ten slices."""
        freeze = form.instrument.freeze_quantity
        if freeze is None or form.quantity <= freeze:
            return cls((form.quantity,))
        most = freeze // form.instrument.lot * form.instrument.lot
        whole, rest = divmod(form.quantity, most)
        quantities = (most,) * whole + ((rest,) if rest else ())
        if len(quantities) > SLICES:
            raise _bad(f"Autoslice makes {SLICES} orders at the most; {len(quantities)} would be needed.")
        return cls(quantities)


def read_form(variety: str, fields: Mapping[str, str], instruments: Instruments) -> OrderForm:
    """Read the fields of a call that places an order; raises Refused. Fields that Kite does not know are ignored."""
    if variety in ("amo", "co", "auction"):
        raise _bad(f"Orders of the variety {variety} are not served by kitesim.")
    exchange, symbol = fields.get("exchange", ""), fields.get("tradingsymbol", "")
    if not exchange or not symbol:
        raise _bad("Missing or empty field `tradingsymbol`" if exchange else "Missing or empty field `exchange`")
    instrument = instruments.get(f"{exchange}:{symbol}")
    if instrument is None or not instrument.tradable:
        raise _bad("The instrument you are placing an order for has either expired or does not exist.")
    if fields.get("auction_number"):
        raise _bad("Auctions are not served by kitesim.")
    return OrderForm(
        variety=_word(Variety, "variety", variety),
        instrument=instrument,
        side=_word(Side, "transaction_type", fields.get("transaction_type")),
        quantity=_whole("quantity", fields.get("quantity")) or 0,
        product=_word(Product, "product", fields.get("product")),
        order_type=_word(OrderType, "order_type", fields.get("order_type")),
        price=_amount("price", fields.get("price")),
        trigger=_amount("trigger_price", fields.get("trigger_price")),
        validity=_word(Validity, "validity", fields.get("validity") or Validity.DAY),
        ttl_minutes=_whole("validity_ttl", fields.get("validity_ttl")),
        disclosed=_whole("disclosed_quantity", fields.get("disclosed_quantity")) or 0,
        protection=_amount("market_protection", fields.get("market_protection")),
        tag=fields.get("tag") or None,
        legs=_whole("iceberg_legs", fields.get("iceberg_legs")),
        leg_quantity=_whole("iceberg_quantity", fields.get("iceberg_quantity")),
        autoslice=fields.get("autoslice") == "true",
    )


def check(form: OrderForm, calendar: Calendar, at: int | None) -> None:
    """Refuse an order that the broker does not take into its book. `at` is event time; None before the first tick."""
    instrument = form.instrument
    if form.tag is not None and not _TAG.fullmatch(form.tag):
        raise _bad("Invalid `tag`. It should be alphanumeric and at most 20 characters.")
    if form.quantity <= 0:
        raise _bad("Quantity should be a positive whole number.")
    _check_lot(form.quantity, instrument)
    if form.product is (Product.CNC if instrument.derivative else Product.NRML):
        raise _bad(f"{form.product} is not a product of {instrument.exchange}.")
    _check_prices(form.order_type, form.price, form.trigger, form.protection, form.side, instrument)
    if (form.validity is Validity.TTL) is (form.ttl_minutes is None):
        raise _bad("`validity_ttl` is needed for the validity TTL, and for no other.")
    if form.ttl_minutes is not None and form.ttl_minutes not in _TTL:
        raise _bad("`validity_ttl` should be from 1 to 360 minutes.")
    if form.disclosed and (instrument.derivative or form.disclosed > form.quantity):
        raise _bad("Disclosed quantity is for equity, and at most the quantity.")
    _check_iceberg(form)
    session = calendar.session_at(market_of(instrument), at) if at is not None else None
    if at is None or session is None or not session.opens <= at < session.closes:
        raise _bad("Markets are closed right now. Use GTT for placing long standing orders instead.", ErrorType.ORDER)
    if instrument.expiry is not None and instrument.expiry < session.date:
        raise _bad("The instrument you are placing an order for has either expired or does not exist.")


def _check_lot(quantity: int, instrument: Instrument) -> None:
    if quantity % instrument.lot:
        raise _bad(f"Quantity should be a multiple of {instrument.lot}.")


def _check_prices(
    order_type: OrderType,
    price: Decimal | None,
    trigger: Decimal | None,
    protection: Decimal | None,
    side: Side,
    instrument: Instrument,
) -> None:
    limited = order_type in (OrderType.LIMIT, OrderType.SL)
    stopped = order_type in (OrderType.SL, OrderType.SL_M)
    if limited and not price:
        raise _bad(f"Price is needed for an order of the type {order_type}.")
    if stopped and not trigger:
        raise _bad(f"Trigger price is needed for an order of the type {order_type}.")
    for name, value in (("Price", price if limited else None), ("Trigger price", trigger if stopped else None)):
        if value is not None and (value < 0 or value % instrument.tick_size):
            raise _bad(f"{name} should be a multiple of the tick size {instrument.tick_size}.")
    if order_type is OrderType.SL and price is not None and trigger is not None:
        if side is Side.BUY and trigger > price:
            raise _bad("Trigger price should be at most the price of a stoploss buy order.")
        if side is Side.SELL and trigger < price:
            raise _bad("Trigger price should be at least the price of a stoploss sell order.")
    if order_type in (OrderType.MARKET, OrderType.SL_M):
        if not protection:
            raise _bad(f"{order_type} orders are not allowed without `market_protection`.")
        if protection != -1 and not 0 < protection <= 100:
            raise _bad("`market_protection` should be -1, or above 0 and at most 100.")


def _check_iceberg(form: OrderForm) -> None:
    if form.variety is not Variety.ICEBERG:
        return
    if form.legs is None or form.legs not in _LEGS:
        raise _bad(f"`iceberg_legs` should be from {_LEGS.start} to {_LEGS.stop - 1}.")
    if form.leg_quantity is None or not 0 < form.leg_quantity < form.quantity:
        raise _bad("`iceberg_quantity` should be the quantity divided by the number of legs.")
    if -(-form.quantity // form.leg_quantity) != form.legs:
        raise _bad("`iceberg_quantity` should be the quantity divided by the number of legs.")
    _check_lot(form.leg_quantity, form.instrument)
    if form.validity is Validity.IOC or form.order_type not in (OrderType.LIMIT, OrderType.SL):
        raise _bad("Iceberg orders are LIMIT or SL orders of the day.")


def read_change(fields: Mapping[str, str], at: int) -> Amendment:
    """Read the fields of a call that modifies an order; what is absent stays as it is."""
    kind = fields.get("order_type")
    return Amendment(
        at=at,
        quantity=_whole("quantity", fields.get("quantity")),
        order_type=_word(OrderType, "order_type", kind) if kind else None,
        price=_amount("price", fields.get("price")),
        trigger=_amount("trigger_price", fields.get("trigger_price")),
        protection=_amount("market_protection", fields.get("market_protection")),
        disclosed=_whole("disclosed_quantity", fields.get("disclosed_quantity")),
    )


def check_change(order: BookOrder, change: Amendment, instrument: Instrument) -> None:
    """Refuse a modification that the broker does not take."""
    check_live(order, "modified")
    if order.modifications >= MODIFICATIONS:
        raise _bad("Maximum allowed order modifications exceeded.", ErrorType.ORDER)
    asked = change.order_type or order.asked
    if change.quantity is not None:
        if change.quantity <= order.filled:
            raise _bad(f"Quantity should be more than the {order.filled} that are traded.")
        _check_lot(change.quantity, instrument)
    kept = None if order.at_market else order.price
    _check_prices(
        asked,
        change.price if change.price is not None else kept,
        change.trigger if change.trigger is not None else order.trigger,
        change.protection if change.protection is not None else order.protection,
        order.side,
        instrument,
    )


def check_live(order: BookOrder, what: str) -> None:
    """Refuse a change of an order that is done, or that is being cancelled."""
    if order.stage is Stage.DONE or order.status is Status.CANCEL_PENDING:
        raise _bad(f"Order cannot be {what} as it is being processed. Try later.", ErrorType.ORDER)


class OrderRate:
    """Counts the orders of an account by calendar second and minute of one clock, and by day.

    Refused ones count too: the day's cap is of requests.
    """

    def __init__(self, day: int = 0, count: int = 0) -> None:
        self.day = day
        self.count = count
        self._seconds: Counter[int] = Counter()
        self._minutes: Counter[int] = Counter()

    def take(self, time_ms: int) -> None:
        """Count a call; raises Refused with status 429 for one too many, which is not counted."""
        day = trading_date(time_ms).toordinal()
        if day > self.day:
            self.day, self.count = day, 0
            self._seconds.clear()
            self._minutes.clear()
        second, minute = time_ms // 1000, time_ms // 60_000
        if self._seconds[second] >= A_SECOND or self._minutes[minute] >= A_MINUTE or self.count >= A_DAY:
            raise too_many()
        self._seconds[second] += 1
        self._minutes[minute] += 1
        self.count += 1
        if len(self._seconds) > 1000:
            # A cause may be some seconds old, not minutes.
            for old in [one for one in self._seconds if one < second - 600]:
                del self._seconds[old]


def too_many() -> Refused:
    return Refused(ErrorType.NETWORK, "Too many requests", 429)


def _bad(message: str, kind: ErrorType = ErrorType.INPUT) -> Refused:
    return Refused(kind, message)


def _word(words: type[E], name: str, text: str | None) -> E:
    try:
        return words(text or "")
    except ValueError:
        raise _bad(f"Invalid `{name}`." if text else f"Missing or empty field `{name}`") from None


def _whole(name: str, text: str | None) -> int | None:
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError:
        raise _bad(f"Invalid `{name}`.") from None


def _amount(name: str, text: str | None) -> Decimal | None:
    if text is None or text == "":
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise _bad(f"Invalid `{name}`.") from None
    if not (amount.is_finite() and abs(amount) < 10**9):
        raise _bad(f"Invalid `{name}`.")
    return amount
