"""Charges of a trade in India, head by head and unrounded; what a day rounds is in contract_note.py."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.domain.tariff import COMMODITIES, SCHEDULE, ZERO, Rates, Segment, rates_on

__all__ = [
    "SCHEDULE",
    "Charges",
    "Head",
    "Rates",
    "exercise_charges",
    "fill_charges",
    "intrinsic_value",
    "merge",
    "segment_of",
    "total",
]

Charges = dict[str, Decimal]
"""Amounts by head, in the account's currency; what is nothing is absent. Brokers elsewhere have heads of their own."""


class Head(StrEnum):
    """What Indian charges are for."""

    BROKERAGE = "brokerage"
    """The broker's fee for an executed order."""
    STT = "stt"
    """Securities transaction tax."""
    CTT = "ctt"
    """Commodities transaction tax."""
    TRANSACTION = "transaction"
    """The exchange's transaction charge and NSE's levy for its investor protection fund."""
    SEBI = "sebi"
    """SEBI's turnover fee."""
    STAMP = "stamp"
    """Stamp duty."""
    GST = "gst"
    """Goods and services tax on the services among them."""
    DP = "dp"
    """The depository's and its participant's charge for shares sold from delivery, its GST included."""


_SHARES = {
    ("NSE", Product.MIS): Segment.NSE_INTRADAY,
    ("NSE", Product.CNC): Segment.NSE_DELIVERY,
    ("BSE", Product.MIS): Segment.BSE_INTRADAY,
    ("BSE", Product.CNC): Segment.BSE_DELIVERY,
}
_DERIVATIVES = {
    ("NFO", InstrumentKind.FUTURE): Segment.NFO_FUTURES,
    ("NFO", InstrumentKind.OPTION): Segment.NFO_OPTIONS,
    ("BFO", InstrumentKind.FUTURE): Segment.BFO_FUTURES,
    ("BFO", InstrumentKind.OPTION): Segment.BFO_OTHER_OPTIONS,
    ("MCX", InstrumentKind.FUTURE): Segment.MCX_FUTURES,
    ("MCX", InstrumentKind.OPTION): Segment.MCX_OPTIONS,
}
_DEARER_AT_BFO = ("BSE:SENSEX", "BSE:BANKEX")


def total(charges: Mapping[str, Decimal]) -> Decimal:
    return sum(charges.values(), ZERO)


def merge(*parts: Mapping[str, Decimal]) -> Charges:
    """Add charges head by head."""
    merged: Charges = {}
    for part in parts:
        for head, amount in part.items():
            merged[head] = merged.get(head, ZERO) + amount
    return merged


def segment_of(instrument: Instrument, product: Product) -> Segment:
    """Find how trades of the instrument are charged.

    The product decides between intraday and delivery. To the exchange, shares bought and sold on one day are intraday
    whatever their product: a round trip under CNC within a day is charged as delivery here, which is dearer.

    Raises ValueError for what has no charges: an index, an unknown exchange, a product of the other kind.
    """
    segment = None
    if instrument.kind is InstrumentKind.EQUITY:
        segment = _SHARES.get((instrument.exchange, product))
    elif product is not Product.CNC:
        segment = _DERIVATIVES.get((instrument.exchange, instrument.kind))
    if segment is None:
        raise ValueError(
            f"no charges are known for {instrument.id} ({instrument.kind}) as {product}: expected MIS or CNC for "
            "shares of NSE and BSE, MIS or NRML for futures and options of NFO, BFO and MCX"
        )
    if segment is Segment.BFO_OTHER_OPTIONS and instrument.underlying in _DEARER_AT_BFO:
        return Segment.BFO_SENSEX_BANKEX_OPTIONS
    return segment


def fill_charges(
    instrument: Instrument,
    product: Product,
    side: Side,
    quantity: int,
    price: Decimal,
    on: date,
    before: Decimal,
) -> Charges:
    """Charge one fill: what it adds to the charges of its order, unrounded and exact.

    `quantity` counts shares or units of the underlying, `price` is that of one, `on` is the trading day in India.
    `before` is the turnover that earlier fills of the same order have made, 0 for the first: brokerage is capped by
    order, so the increments of an order's fills add up to the brokerage of the whole.

    Raises ValueError if quantity or price is not positive, if `before` is negative, or for what segment_of refuses.
    """
    if quantity <= 0 or price <= 0 or before < 0:
        raise ValueError(
            f"a fill of {instrument.id} needs a positive quantity and price and no negative turnover before it: "
            f"found quantity {quantity}, price {price}, turnover before {before}"
        )
    segment = segment_of(instrument, product)
    rates = rates_on(segment, on)
    turnover = quantity * price
    brokerage = _brokerage(rates, before + turnover) - _brokerage(rates, before)
    transaction, ipft, sebi = turnover * rates.transaction, turnover * rates.ipft, turnover * rates.sebi
    buying = side is Side.BUY
    return _present(
        {
            Head.BROKERAGE: brokerage,
            _tax_head(segment): turnover * (rates.tax_buy if buying else rates.tax_sell),
            Head.TRANSACTION: transaction + ipft,
            Head.SEBI: sebi,
            Head.STAMP: turnover * rates.stamp if buying else ZERO,
            Head.GST: (brokerage + transaction + sebi) * rates.gst + ipft * rates.gst_on_ipft,
        }
    )


def exercise_charges(instrument: Instrument, quantity: int, settlement: Decimal, on: date) -> Charges:
    """Charge the holder of an option that is exercised at expiry: STT on its intrinsic value, unrounded.

    `settlement` is the final settlement price of the underlying.

    An option that ends out of the money costs nothing, and its writer pays nothing. The delivery of shares that follows
    from the exercise of a stock option is not charged.

    Raises ValueError if the instrument is no option of NFO or BFO or the quantity is not positive.
    """
    segment = segment_of(instrument, Product.NRML)
    if segment in COMMODITIES or quantity <= 0:
        raise ValueError(
            "an exercise needs an option of NFO or BFO and a positive quantity: "
            f"found {instrument.id}, quantity {quantity}"
        )
    value = quantity * intrinsic_value(instrument, settlement)
    return _present({Head.STT: value * rates_on(segment, on).tax_exercise})


def intrinsic_value(instrument: Instrument, settlement: Decimal) -> Decimal:
    """What the exercise of one unit is worth, never negative; raises ValueError if the instrument is no option."""
    if instrument.kind is not InstrumentKind.OPTION or instrument.strike is None or instrument.right is None:
        raise ValueError(f"only an option with a strike and a right can be exercised: found {instrument.id}")
    gain = settlement - instrument.strike if instrument.right is Right.CALL else instrument.strike - settlement
    return max(gain, ZERO)


def _brokerage(rates: Rates, turnover: Decimal) -> Decimal:
    """Brokerage of an order that has made this turnover."""
    return min(rates.brokerage * turnover, rates.brokerage_cap) + (rates.order_fee if turnover else ZERO)


def _tax_head(segment: Segment) -> Head:
    return Head.CTT if segment in COMMODITIES else Head.STT


def _present(charges: Mapping[Head, Decimal]) -> Charges:
    return {head.value: amount for head, amount in charges.items() if amount}
