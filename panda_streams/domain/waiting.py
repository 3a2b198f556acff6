"""The orders of one instrument by what wakes them, a moment or a price: a tick costs nothing for the others.

Sorted lists of (key, number, order_id): the first one is the first to be reached. The number says who came first.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping
from decimal import Decimal

from panda_streams.domain.orders import Order, OrderState
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Tick

__all__ = ["NEVER", "Waiting"]

NEVER = 2**62
"""A moment that does not come."""

_List = list[tuple[int, int, str]]


class Waiting:
    """Where each working order waits. `decimals` is the instrument's."""

    def __init__(self, decimals: int) -> None:
        self._decimals = decimals
        self._count = 0
        self._number: dict[str, int] = {}
        """Who came first: orders at the same tick take their turns in it."""
        self._coming: _List = []
        """Orders on their way, by the event time from which they are on the market."""
        self._at_market: dict[str, None] = {}
        self._buys: _List = []
        self._sells: _List = []
        """Limit orders on the market, by price in smallest units, with its sign turned for purchases."""
        self._rising: _List = []
        self._falling: _List = []
        """Stop orders on the market, by trigger, with its sign turned for falling prices."""
        self._due: list[tuple[int, str]] = []
        """When something happens to an order by itself."""

    def enter(self, order: Order) -> None:
        """Take an order in, after all others."""
        self._count += 1
        self._number[order.order_id] = self._count
        if order.looked:
            self.put_on_market(order)
        else:
            insort(self._coming, (order.live_at, self._count, order.order_id))
        self._plan(order)

    def replace(self, before: Order, order: Order) -> None:
        """Let an order that has changed wait where its new form belongs; it keeps its number."""
        if _way(before) != _way(order):
            self._take_out(before)
            insort(self._coming, (order.live_at, self._number[order.order_id], order.order_id))
        self._plan(order)

    def leave(self, order: Order) -> None:
        """Forget an order, in the form in which it was entered or replaced last."""
        self._take_out(order)
        del self._number[order.order_id]

    # Moments

    @property
    def due(self) -> int:
        """The next event time at which something may happen to an order by itself; NEVER if nothing does."""
        return self._due[0][0] if self._due else NEVER

    def pop_due(self) -> tuple[int, str]:
        """The next such moment and its order, which may have ended or changed since."""
        return self._due.pop(0)

    def arrive(self, orders: Mapping[str, Order], time: int, place: tuple[int, int]) -> list[str]:
        """Put the orders on the market that are there from a tick on, which stands at `place` (offset, row) of the log:
        those whose time has come, and whose cause stands before it."""
        coming, arrived, early = self._coming, list[tuple[int, int, str]](), list[tuple[int, int, str]]()
        while coming and coming[0][0] <= time:
            entry = coming.pop(0)
            cause = orders[entry[2]].cause
            (arrived if place > (cause.offset, cause.row) else early).append(entry)
        for entry in early:
            insort(coming, entry)
        for _, _, name in arrived:
            self.put_on_market(orders[name])
        return [name for _, _, name in arrived]

    # Prices

    def put_on_market(self, order: Order) -> None:
        """Let an order wait for its price; one without any is reached by every tick."""
        name, number = order.order_id, self._number[order.order_id]
        buying = order.side is Side.BUY
        if order.state is OrderState.TRIGGER_PENDING:
            assert order.trigger is not None
            units = int(order.trigger.scaleb(self._decimals))
            insort(self._rising if buying else self._falling, (units if buying else -units, number, name))
        elif order.price is None:
            self._at_market[name] = None
        else:
            units = int(order.price.scaleb(self._decimals))
            insort(self._buys if buying else self._sells, (-units if buying else units, number, name))

    def triggered(self, price: int) -> list[str]:
        """Take out the stop orders whose trigger a last price reaches."""
        names = []
        for stops, reached in ((self._rising, price), (self._falling, -price)):
            while stops and stops[0][0] <= reached:
                names.append(stops.pop(0)[2])
        return names

    def reached(self, tick: Tick, first: Collection[str]) -> list[str]:
        """The orders that look at the market at a tick, in their turns: those whose price it reaches, those without
        any, and those that look for the first time."""
        names = dict.fromkeys(self._at_market)
        low = tick.price if tick.ask is None else min(tick.price, tick.ask)
        for units, _, name in self._buys:
            if -units < low:
                break
            names[name] = None
        high = tick.price if tick.bid is None else max(tick.price, tick.bid)
        for units, _, name in self._sells:
            if units > high:
                break
            names[name] = None
        if first:
            names |= dict.fromkeys(first)
        return sorted(names, key=self._number.__getitem__) if len(names) > 1 else list(names)

    # The lists

    def _plan(self, order: Order) -> None:
        for at in (order.cancel_at, order.expires_at, order.amendments[0].at if order.amendments else None):
            if at is not None:
                due = (at, order.order_id)
                found = bisect_left(self._due, due)
                if found == len(self._due) or self._due[found] != due:
                    self._due.insert(found, due)

    def _take_out(self, order: Order) -> None:
        name, number, scale = order.order_id, self._number[order.order_id], self._decimals
        self._at_market.pop(name, None)
        places: list[tuple[_List, int]] = [(self._coming, order.live_at)]
        if order.price is not None:
            units = int(order.price.scaleb(scale))
            places.append((self._buys, -units) if order.side is Side.BUY else (self._sells, units))
        if order.trigger is not None:
            units = int(order.trigger.scaleb(scale))
            places.append((self._rising, units) if order.side is Side.BUY else (self._falling, -units))
        for entries, key in places:
            entry = (key, number, name)
            found = bisect_left(entries, entry)
            if found < len(entries) and entries[found] == entry:
                del entries[found]


def _way(order: Order) -> tuple[Decimal | None, Decimal | None, int, bool]:
    """What decides where an order waits; once it is another, the order arrives anew."""
    return order.price, order.trigger, order.live_at, order.looked
