"""Lots: the open shares by the day on which they were bought, and what was earned by first in, first out, for tax.

A second view beside the average price: once a position is flat, both have realised the same. A sale is matched with
what was bought on the same day first, for that was never delivered, then with the oldest lots (Circular 768 of the
CBDT, 24 June 1998). A sale before that day's purchase is not matched with it again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import NamedTuple

from panda_streams.domain.corporate_actions import CorporateAction, Ratio, adjusted_quantity
from panda_streams.domain.values import Value

__all__ = [
    "Gains",
    "GainsByYear",
    "Lot",
    "Term",
    "adjust_lots",
    "financial_year",
    "portion",
    "trade_date",
    "trade_lots",
]

ZERO = Decimal(0)
_STEP = Decimal("0.000001")
_MOST_LOTS = 64
"""Lots of one instrument beyond which those of the same day become one: a row is written whole at every fill."""
_DERIVATIVES = frozenset({"NFO", "BFO", "CDS", "BCD", "MCX", "NCO"})
"""Exchange segments of futures and options, as in NFO:NIFTY26JANFUT."""
_INDIA_MS = 19_800_000
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


class Term(StrEnum):
    """How tax law sees a gain.

    Income-tax Act, 1961: s. 2(42A) and 43(5); from tax year 2026-27 Income-tax Act, 2025: s. 2(101) for the terms.
    """

    INTRADAY = "INTRADAY"
    """Shares bought and sold on one day: speculative business income, s. 43(5)."""
    SHORT = "SHORT"
    """Shares held for no more than twelve months."""
    LONG = "LONG"
    """Shares held for longer."""
    BUSINESS = "BUSINESS"
    """Futures and options: business income that is not speculative, s. 43(5)(d)."""


class Lot(Value):
    """Open shares of one day and price; negative quantity and cost for shares sold short."""

    opened: date
    """Indian date of the trade; for bonus shares of the allotment."""
    quantity: int
    cost: Decimal
    """What they cost, charges apart."""
    charges: Decimal = ZERO
    """Charges of opening them."""


class Gains(Value):
    """What was closed in one financial year under one term."""

    proceeds: Decimal = ZERO
    """What the shares were sold for."""
    cost: Decimal = ZERO
    """What they were bought for."""
    charges: Decimal = ZERO
    """Charges of both trades; not all of them may be deducted (STT may not from capital gains, s. 48)."""

    @property
    def profit(self) -> Decimal:
        return self.proceeds - self.cost


GainsByYear = dict[str, dict[Term, Gains]]
"""By financial year, as 2025-26."""


class _Closed(NamedTuple):
    """Shares that left a lot, in the lot's sign."""

    opened: date
    quantity: int
    cost: Decimal
    charges: Decimal


def trade_lots(
    lots: tuple[Lot, ...],
    gains: GainsByYear,
    instrument: str,
    quantity: int,
    price: Decimal,
    charges: Decimal,
    on: date,
) -> tuple[tuple[Lot, ...], GainsByYear]:
    """Book a trade of `quantity` shares, negative for a sale: close what it closes, open a lot for the rest."""
    held = sum(lot.quantity for lot in lots)
    closing = min(abs(quantity), abs(held)) if held * quantity < 0 else 0
    opening = quantity - closing * (1 if quantity > 0 else -1)
    closing_charges = portion(charges, closing, abs(quantity))
    if closing:
        closed, lots = _take(lots, closing, on)
        gains = _realise(gains, closed, closing * price, closing_charges, on, instrument)
    if opening:
        lots = _with(lots, Lot(opened=on, quantity=opening, cost=opening * price, charges=charges - closing_charges))
    return lots, gains


def adjust_lots(
    lots: tuple[Lot, ...],
    gains: GainsByYear,
    instrument: str,
    action: CorporateAction,
    ratio: Ratio,
    cash: Decimal,
    on: date,
) -> tuple[tuple[Lot, ...], GainsByYear]:
    """Carry out a split or a bonus issue; `cash` is what the part of a share brings that cannot exist.

    Split lots keep their dates and their cost. Where a lot has no whole share left, its cost goes to the next one.
    Bonus shares are a lot of their own that cost nothing, held from `on` (s. 55(2)(aa), s. 2(42A) Explanation 1).
    """
    held = sum(lot.quantity for lot in lots)
    whole, left = adjusted_quantity(held, ratio)
    if action is CorporateAction.BONUS:
        closed = [_Closed(on, left, ZERO, ZERO)] if left else []
        lots = _with(lots, Lot(opened=on, quantity=whole - held, cost=ZERO)) if whole != held else lots
    else:
        # In parts of 1/old share every lot is a whole number.
        parts = tuple(lot.model_copy(update={"quantity": lot.quantity * ratio.new}) for lot in lots)
        closed, parts = _take(parts, abs(left), on)
        lots = _whole(parts, ratio.old)
    if closed:
        gains = _realise(gains, closed, abs(cash), ZERO, on, instrument, traded=False)
    return lots, gains


def portion(amount: Decimal, part: int, whole: int) -> Decimal:
    """Return part / whole of an amount, rounded once to 10^-6, half to even; the whole of it exactly.

    Whoever takes a portion off keeps the rest as it is, so that nothing is created or lost.
    """
    if part == whole:
        return amount
    return (amount * part / whole).quantize(_STEP, ROUND_HALF_EVEN) if part else ZERO


def trade_date(time: int) -> date:
    """Return the Indian date of an event time in milliseconds since the epoch."""
    return date.fromordinal(_EPOCH + (time + _INDIA_MS) // _DAY_MS)


def financial_year(on: date) -> str:
    """Name the Indian financial year of a date, from April to March: 2025-26."""
    first = on.year if on.month >= 4 else on.year - 1
    return f"{first}-{(first + 1) % 100:02d}"


def _take(lots: tuple[Lot, ...], quantity: int, on: date) -> tuple[list[_Closed], tuple[Lot, ...]]:
    """Take `quantity` shares out of the lots: those of `on` first, then the oldest."""
    closed, left = [], dict(enumerate(lots))
    for number in sorted(left, key=lambda n: (lots[n].opened != on, n)):
        if not quantity:
            break
        lot = lots[number]
        held = abs(lot.quantity)
        part = min(held, quantity)
        quantity -= part
        gone = _Closed(
            lot.opened,
            part if lot.quantity > 0 else -part,
            portion(lot.cost, part, held),
            portion(lot.charges, part, held),
        )
        closed.append(gone)
        if part == held:
            del left[number]
        else:
            kept = {
                "quantity": lot.quantity - gone.quantity,
                "cost": lot.cost - gone.cost,
                "charges": lot.charges - gone.charges,
            }
            left[number] = lot.model_copy(update=kept)
    return closed, tuple(left.values())


def _realise(
    gains: GainsByYear,
    closed: Iterable[_Closed],
    value: Decimal,
    charges: Decimal,
    on: date,
    instrument: str,
    *,
    traded: bool = True,
) -> GainsByYear:
    """Add what was closed on `on` for `value` to the sums of its year."""
    parts = list(closed)
    left = sum(abs(part.quantity) for part in parts)
    year = financial_year(on)
    sums = dict(gains.get(year, {}))
    for part in parts:
        quantity = abs(part.quantity)
        closing, fee = portion(value, quantity, left), portion(charges, quantity, left)
        value, charges, left = value - closing, charges - fee, left - quantity
        opening = abs(part.cost)
        sold, bought = (closing, opening) if part.quantity > 0 else (opening, closing)
        term = _term(part.opened, on, instrument, traded=traded)
        before = sums.get(term, Gains())
        sums[term] = Gains(
            proceeds=before.proceeds + sold,
            cost=before.cost + bought,
            charges=before.charges + part.charges + fee,
        )
    return {**gains, year: sums}


def _term(opened: date, closed: date, instrument: str, *, traded: bool) -> Term:
    if instrument.partition(":")[0] in _DERIVATIVES:
        return Term.BUSINESS
    if traded and opened == closed:
        return Term.INTRADAY
    return Term.LONG if closed > _twelve_months_after(opened) else Term.SHORT


def _twelve_months_after(opened: date) -> date:
    """The last day of twelve months from a purchase: the same date a year later, 28 February for the 29th."""
    if (opened.month, opened.day) == (2, 29):
        return date(opened.year + 1, 2, 28)
    return opened.replace(year=opened.year + 1)


def _with(lots: tuple[Lot, ...], lot: Lot) -> tuple[Lot, ...]:
    """Add a lot in the order of dates, to its neighbour if that has its date and price."""
    place = len(lots)
    while place and lots[place - 1].opened > lot.opened:
        place -= 1
    before, after = lots[:place], lots[place:]
    if before and _alike(before[-1], lot):
        return (*before[:-1], _joined(before[-1], lot), *after)
    grown = (*before, lot, *after)
    if len(grown) > _MOST_LOTS:
        for number in range(len(grown) - 1):
            if grown[number].opened == grown[number + 1].opened:
                return (*grown[:number], _joined(grown[number], grown[number + 1]), *grown[number + 2 :])
    return grown


def _alike(one: Lot, other: Lot) -> bool:
    return one.opened == other.opened and one.cost * other.quantity == other.cost * one.quantity


def _joined(one: Lot, other: Lot) -> Lot:
    return Lot(
        opened=other.opened,
        quantity=one.quantity + other.quantity,
        cost=one.cost + other.cost,
        charges=one.charges + other.charges,
    )


def _whole(parts: tuple[Lot, ...], old: int) -> tuple[Lot, ...]:
    """Lots in whole shares from lots in parts of 1/old share, whose sum is a whole number of shares."""
    lots, reached, cost, charges = [], 0, ZERO, ZERO
    for part in parts:
        shares = (reached + abs(part.quantity)) // old - reached // old
        reached += abs(part.quantity)
        cost, charges = cost + part.cost, charges + part.charges
        if shares:
            quantity = shares if part.quantity > 0 else -shares
            lots.append(Lot(opened=part.opened, quantity=quantity, cost=cost, charges=charges))
            cost = charges = ZERO
    return tuple(lots)
