"""The day's contract note of one account: what it rounds, what the depository adds, and which strategy bears it.

Fills carry unrounded charges. A contract note adds them up over the account and rounds each head of each of its
columns once; the depository charges each scrip once. So the account's true charges are known at the day's end alone,
and the difference is posted to its strategies then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import StrEnum

from panda_streams.domain.charges import Charges, Head, intrinsic_value, merge, segment_of
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.domain.tariff import COMMODITIES, SHARES, ZERO, Segment, rates_on
from panda_streams.domain.values import Value

__all__ = ["Column", "Part", "Tally", "add", "add_exercise", "contract_note", "depository_charge", "printed"]

_PAISA = Decimal("0.01")
_RUPEE = Decimal(1)


class Column(StrEnum):
    """A column of the note; commodities have a note of their own."""

    CASH = "cash"
    DERIVATIVES = "derivatives"
    COMMODITIES = "commodities"


class Part(Value):
    """One strategy's part of the account's day."""

    turnover: dict[Column, Decimal] = {}  # noqa: RUF012  pydantic copies defaults
    delivered: Decimal = ZERO
    """Turnover of the shares that it sold from delivery."""
    scrips: tuple[int, ...] = ()
    """Which ones: places in the tally's `scrips`."""


class Tally(Value):
    """What a contract note needs to know of one account's trading day so far; a new day begins with a new one."""

    charges: dict[Column, Charges] = {}  # noqa: RUF012
    """What the fills have been charged, unrounded, all strategies together."""
    parts: dict[str, Part] = {}  # noqa: RUF012
    """By strategy_id."""
    scrips: tuple[str, ...] = ()
    """Symbols sold from delivery. Not by exchange: a share sold at two leaves the depository once."""


def add(
    tally: Tally,
    strategy_id: str,
    instrument: Instrument,
    product: Product,
    side: Side,
    quantity: int,
    price: Decimal,
    charges: Mapping[str, Decimal],
) -> Tally:
    """Add a fill and its charges (those of fill_charges).

    The order of fills does not matter. The caller drops repeats: a fill that is added twice counts twice.
    """
    segment = segment_of(instrument, product)
    turnover = quantity * price
    part = tally.parts.get(strategy_id, Part())
    scrips = tally.scrips
    if product is Product.CNC and side is Side.SELL:
        if instrument.symbol not in scrips:
            scrips = (*scrips, instrument.symbol)
        place = scrips.index(instrument.symbol)
        part = part.model_copy(
            update={
                "delivered": part.delivered + turnover,
                "scrips": part.scrips if place in part.scrips else (*part.scrips, place),
            }
        )
    return _grown(tally, strategy_id, part, _column(segment), turnover, charges).model_copy(update={"scrips": scrips})


def add_exercise(
    tally: Tally,
    strategy_id: str,
    instrument: Instrument,
    quantity: int,
    settlement: Decimal,
    charges: Mapping[str, Decimal],
) -> Tally:
    """Add an exercised option and its charges (those of exercise_charges); its intrinsic value is its turnover."""
    part = tally.parts.get(strategy_id, Part())
    column = _column(segment_of(instrument, Product.NRML))
    return _grown(tally, strategy_id, part, column, quantity * intrinsic_value(instrument, settlement), charges)


def printed(tally: Tally) -> dict[Column, Charges]:
    """Compute the amounts that the note prints.

    STT, CTT and stamp duty of shares and their derivatives are whole rupees, half a rupee up; everything else is in
    paise (Zerodha support, "How is the STT calculated"; contract notes of 2025 and 2026). Tax is rounded to the paisa
    first, as Zerodha's calculator does: 0.495 is 0.50 and so 1.
    """
    return {
        column: {head: _rounded(column, head, amount) for head, amount in charges.items()}
        for column, charges in tally.charges.items()
    }


def depository_charge(on: date) -> Decimal:
    """What a scrip costs that was sold from delivery on that day, whatever its quantity: rupees, GST included.

    It is not printed on the note: the broker debits it from the account that evening.
    """
    rates = rates_on(Segment.NSE_DELIVERY, on)
    return (rates.dp * (1 + rates.gst)).quantize(_PAISA, ROUND_HALF_UP)


def contract_note(tally: Tally, on: date) -> dict[str, Charges]:
    """Compute what must still be posted to each strategy so that the account has paid the note to the paisa.

    The amounts, some negative, are what rounding adds or takes and the depository's charges. Each is divided by the
    turnover in its column, that of a scrip among those who sold it by what they sold from delivery. Together with the
    charges of the fills they make the note's amounts exactly. Strategies to which nothing is to be posted are absent.
    """
    posts: list[tuple[str, str, Decimal]] = []
    for column, amounts in printed(tally).items():
        weights = {name: part.turnover[column] for name, part in tally.parts.items() if column in part.turnover}
        for head, amount in amounts.items():
            shares = _divide(amount - tally.charges[column][head], weights)
            posts += [(name, head, share) for name, share in shares.items()]
    for place in range(len(tally.scrips)):
        sellers = {name: part.delivered for name, part in tally.parts.items() if place in part.scrips}
        posts += [(name, Head.DP.value, share) for name, share in _divide(depository_charge(on), sellers).items()]
    note: dict[str, Charges] = {}
    for name, head, share in sorted(posts):
        note[name] = merge(note.get(name, {}), {head: share})
    return {
        name: present
        for name, charges in note.items()
        if (present := {head: amount for head, amount in charges.items() if amount})
    }


def _grown(
    tally: Tally, strategy_id: str, part: Part, column: Column, turnover: Decimal, charges: Mapping[str, Decimal]
) -> Tally:
    grown = part.model_copy(update={"turnover": {**part.turnover, column: part.turnover.get(column, ZERO) + turnover}})
    return tally.model_copy(
        update={
            "charges": {**tally.charges, column: merge(tally.charges.get(column, {}), charges)},
            "parts": {**tally.parts, strategy_id: grown},
        }
    )


def _column(segment: Segment) -> Column:
    if segment in SHARES:
        return Column.CASH
    return Column.COMMODITIES if segment in COMMODITIES else Column.DERIVATIVES


def _rounded(column: Column, head: str, amount: Decimal) -> Decimal:
    if head == Head.STAMP and column is not Column.COMMODITIES:
        return amount.quantize(_RUPEE, ROUND_HALF_UP)
    paise = amount.quantize(_PAISA, ROUND_HALF_UP)
    return paise.quantize(_RUPEE, ROUND_HALF_UP) if head in (Head.STT, Head.CTT) else paise


def _divide(amount: Decimal, weights: Mapping[str, Decimal]) -> Charges:
    """Divide an amount by weights of a positive sum, by largest remainder in paise; the shares add up exactly.

    Equal remainders go by strategy_id. What is below a paisa falls to the largest weight.
    """
    names = sorted(weights)
    weight = sum(weights.values(), ZERO)
    paise = (abs(amount) / _PAISA).to_integral_value(ROUND_DOWN)
    quotients = {name: divmod(paise * weights[name], weight) for name in names}
    left = int(paise - sum((whole for whole, _ in quotients.values()), ZERO))
    favoured = sorted(names, key=lambda name: -quotients[name][1])[:left]
    unit = _PAISA.copy_sign(amount)
    shares = {name: (quotients[name][0] + (name in favoured)) * unit for name in names}
    largest = max(names, key=lambda name: weights[name])
    shares[largest] += amount - paise * unit
    return shares
