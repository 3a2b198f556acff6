"""Settlement of delivered shares (CNC) at T+1: which of them may be sold on a day.

Shares bought on T are credited at the end of T+1, so from T+2 on they are sold as settled holdings. On T they net
against that day's sales; on T+1 they can be sold only as BTST (buy today, sell tomorrow), which carries the risk that
their seller does not deliver, and which an account must permit. The caller knows the calendar and passes dates.

Sales take that day's purchases first, then settled shares, then what is under way, oldest first. Shares that are
sold and bought back on one day count as bought that day: at the broker the two net to nothing.
"""

from __future__ import annotations

from datetime import date

from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.values import Value

__all__ = ["Holdings", "adjust", "bought", "sellable", "settle", "sold"]


class Holdings(Value):
    """Shares of one instrument that one strategy holds for delivery; what has nothing under way has no `pending`."""

    settled: int = 0
    """Shares that were credited."""
    pending: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Shares under way, by the ISO date on which they were bought, oldest first."""

    @property
    def total(self) -> int:
        return self.settled + sum(self.pending.values())


def bought(holdings: Holdings, quantity: int, on: date) -> Holdings:
    """Add shares bought on a trading day."""
    day = on.isoformat()
    pending = {**holdings.pending, day: holdings.pending.get(day, 0) + quantity}
    return holdings.model_copy(update={"pending": dict(sorted(pending.items()))})


def sold(holdings: Holdings, quantity: int, on: date) -> Holdings:
    """Take off shares sold on a trading day; ValueError if there are fewer than `quantity`.

    What was sold must have been `sellable`: BTST shares are taken without asking.
    """
    if quantity > holdings.total:
        raise ValueError(f"{quantity} shares are sold on {on}, but only {holdings.total} are held: sell what is held")
    left = quantity
    pending = dict(holdings.pending)
    today = on.isoformat()
    settled = holdings.settled
    for day in (today, "", *(day for day in pending if day != today)):
        taken = min(left, pending.get(day, 0) if day else settled)
        left -= taken
        if day:
            pending[day] = pending.get(day, 0) - taken
        else:
            settled -= taken
    return Holdings(settled=settled, pending={day: shares for day, shares in pending.items() if shares})


def sellable(holdings: Holdings, on: date, *, btst: bool, settled_before: date) -> int:
    """Count the shares that may be sold on the trading day `on`.

    `settled_before` is the trading day before `on`: what was bought earlier than that has been credited. `btst` says
    whether shares may be sold that have not.
    """
    if btst:
        return holdings.total
    today, due = on.isoformat(), settled_before.isoformat()
    return holdings.settled + sum(shares for day, shares in holdings.pending.items() if day == today or day < due)


def settle(holdings: Holdings, through: date) -> Holdings:
    """Take what was bought on `through` or earlier as credited: to be called before a trading day two days later."""
    last = through.isoformat()
    credited = sum(shares for day, shares in holdings.pending.items() if day <= last)
    if not credited:
        return holdings
    pending = {day: shares for day, shares in holdings.pending.items() if day > last}
    return Holdings(settled=holdings.settled + credited, pending=pending)


def adjust(holdings: Holdings, ratio: Ratio) -> Holdings:
    """Carry out a split or a bonus issue; together the shares become what `adjusted_quantity` gives for their total."""
    reached = holdings.settled
    settled, _ = adjusted_quantity(reached, ratio)
    whole, pending = settled, {}
    for day, shares in holdings.pending.items():
        reached += shares
        total, _ = adjusted_quantity(reached, ratio)
        if total > whole:
            pending[day] = total - whole
        whole = total
    return Holdings(settled=settled, pending=pending)
