"""What a case must get, told tick by tick in plain integers: no lists in order of price, no indices, no decimals.

Written from the rules of docs and settings, not from the desk: each order of the case looks at every tick in turn.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Product, Reason, Role, order_id
from panda_streams.domain.signals import OrderType, Side, Validity
from tests.orders.cases import Asked, Case, Plan
from tests.orders.tape import Tape

__all__ = ["Outcome", "tell"]

_MINUTE = 60_000
_NEVER = 2**62
_SLIPPAGE = 10_000
"""The last price slips by one part of so many."""
_PARTICIPATION = 4
"""An order gets one share of so many that traded."""


@dataclass(slots=True)
class Outcome:
    """Fills as (row, order's role, shares, paise), and how each order ended, by role and number."""

    fills: list[tuple[int, str, int, int]] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    position: int = 0


@dataclass(slots=True, eq=False)
class _Order:
    name: str
    role: Role
    buys: bool
    quantity: int
    limit: int | None
    trigger: int | None
    ioc: bool
    row: int
    """It looks at no tick up to this one."""
    live_at: int
    until: int
    ttl: bool = False
    waits: bool = False
    """For its trigger."""
    looked: bool = False
    ahead: int | None = None
    filled: int = 0
    fills: int = 0
    cancel_at: int = _NEVER
    changes: list[tuple[int, int | None, int | None]] = field(default_factory=list)
    over: bool = False


class _Teller:
    def __init__(self, case: Case, tape: Tape, market: PaperMarket, session: tuple[int, int, int]) -> None:
        self.case, self.tape, self.market = case, tape, market
        self.opens, self.square_off, self.closes = session
        self.sign = 1 if case.side is Side.BUY else -1
        self.orders: list[_Order] = []
        self.outcome = Outcome()
        self.opened_at = 0
        self.squared = False

    def tell(self) -> Outcome:
        case, ticks = self.case, self.tape.ticks
        self._place(case.entry, Role.ENTRY)
        asked = list(case.asked)
        exit = case.exit
        row = case.entry.row
        while True:
            # A tick that causes something has been met before that is done.
            while asked and asked[0].row == row:
                self._ask(asked.pop(0))
            if exit is not None and exit.row == row:
                self._place(exit, Role.EXIT)
                exit = None
            row += 1
            if row == len(ticks):
                break
            if not self.orders and not asked and exit is None:
                if not self.outcome.position or case.product is not Product.MIS:
                    break
                # Nothing happens to the position before it is squared off.
                row = max(row, bisect_left(ticks, self.square_off, key=lambda tick: tick.time))
                if row == len(ticks):
                    break
            self._meet(row)
        self._pass(self.closes, row)
        return self.outcome

    # Orders

    def _place(self, plan: Plan, role: Role) -> None:
        time, entering = self.tape.ticks[plan.row].time, role is Role.ENTRY
        live_at = time + self.market.latency(plan.name)
        until = self.square_off if entering and self.case.product is Product.MIS else self.closes
        if plan.minutes is not None:
            until = min(until, live_at + plan.minutes * _MINUTE)
        order = _Order(
            name=plan.name,
            role=role,
            buys=(self.sign > 0) is entering,
            quantity=plan.quantity,
            limit=plan.limit,
            trigger=plan.trigger,
            ioc=plan.validity is Validity.IOC,
            row=plan.row,
            live_at=live_at,
            until=until,
            ttl=plan.minutes is not None,
            waits=plan.kind in (OrderType.SL, OrderType.SL_M),
        )
        if live_at >= min(until, self.closes):
            self._end(order, Reason.MARKET_CLOSED)
        elif not entering and not self._closable(order):
            self._end(order, Reason.POSITION_CLOSED)
        else:
            self.orders.append(order)

    def _ask(self, asked: Asked) -> None:
        at = self.tape.ticks[asked.row].time + self.market.latency(asked.name)
        for order in self.orders:
            if order.role is not Role.ENTRY:
                continue
            if asked.limit is None and asked.trigger is None:
                order.cancel_at = at if order.cancel_at == _NEVER else order.cancel_at
                continue
            limit = asked.limit if order.limit is not None else None
            trigger = asked.trigger if order.waits else None
            if limit is not None or trigger is not None:
                order.changes.append((max([at, *(change[0] for change in order.changes)]), limit, trigger))

    def _closable(self, order: _Order) -> int:
        return max(self.outcome.position * (-1 if order.buys else 1), 0)

    def _end(self, order: _Order, reason: Reason | None) -> None:
        order.over = True
        if order in self.orders:
            self.orders.remove(order)
        self.outcome.ends.append((order.role.value, reason.value if reason else "FILLED"))

    # Time

    def _pass(self, time: int, row: int) -> None:
        held = self.outcome.position and self.case.product is Product.MIS
        if held and not self.squared and time >= max(self.square_off, self.opened_at):
            self._square_off(row, max(self.square_off, self.opened_at))
        for order in list(self.orders):
            while not order.over and (order.cancel_at <= time or order.until <= time or order.changes):
                changes_at = order.changes[0][0] if order.changes else _NEVER
                at, kind = min((order.cancel_at, 0), (order.until, 1), (changes_at, 2))
                if at > time:
                    break
                if kind == 0:
                    self._end(order, Reason.CANCELLED_BY_STRATEGY)
                elif kind == 1:
                    self._end(order, self._why(order, at))
                else:
                    _, limit, trigger = order.changes.pop(0)
                    order.limit = limit or order.limit
                    order.trigger = trigger or order.trigger
                    order.live_at = max(order.live_at, at)
                    order.looked, order.ahead = False, None

    def _why(self, order: _Order, at: int) -> Reason:
        if at == self.closes:
            return Reason.DAY_ENDED
        if at == self.square_off and self.case.product is Product.MIS and order.role is Role.ENTRY:
            return Reason.SQUARED_OFF
        return Reason.TTL_ENDED

    def _square_off(self, row: int, moment: int) -> None:
        self.squared = True
        cause = f"{self.case.strategy_id}/{self.tape.share.id}/{moment}/{row}"
        name = order_id("paper", cause, Role.SQUARE_OFF)
        position = self.outcome.position
        order = _Order(
            name=name,
            role=Role.SQUARE_OFF,
            buys=position < 0,
            quantity=abs(position),
            limit=None,
            trigger=None,
            ioc=False,
            row=row - 1,
            live_at=moment + self.market.latency(name),
            until=_NEVER,
        )
        self.orders.append(order)

    # A tick

    def _meet(self, row: int) -> None:
        tick = self.tape.ticks[row]
        self._pass(tick.time, row)
        if not self.opens <= tick.time < self.closes:
            return
        there = [order for order in self.orders if tick.time >= order.live_at and row > order.row]
        # All triggers are seen before anything trades.
        for order in there:
            if order.waits and order.trigger is not None:
                order.waits = tick.price < order.trigger if order.buys else tick.price > order.trigger
        for order in there:
            if not order.over and not order.waits:
                self._look(order, row)

    def _look(self, order: _Order, row: int) -> None:
        given = self._given(order, row, first=not order.looked)
        order.looked = True
        for shares, price in given:
            if order.over:
                return
            self._fill(order, row, shares if order.role is Role.ENTRY else min(shares, self._closable(order)), price)
        if not order.over and order.ioc:
            self._end(order, Reason.IOC_REMAINDER)

    # What it is given

    def _given(self, order: _Order, row: int, *, first: bool) -> list[tuple[int, int]]:
        tick, book, left = self.tape.ticks[row], self.tape.books[row], order.quantity - order.filled
        best = tick.ask if order.buys else tick.bid
        share = min(left, self.tape.traded[row] // _PARTICIPATION)
        offered: list[tuple[int, int]] = []
        levels = (book.asks if order.buys else book.bids) if book is not None else ()
        if levels:
            for level in levels:
                taken = min(left - sum(shares for shares, _ in offered), level.quantity)
                if taken and self._within(order, level.price):
                    offered.append((taken, level.price))
        elif best is not None:
            offered = [(share, best)]
        elif book is None:
            offered = [(share, self._slipped(tick.price, order.buys))]
        offered = [(shares, price) for shares, price in offered if shares and self._within(order, price)]
        if order.limit is None:
            return offered
        if first:
            order.ahead = self._ahead(order, row)
            return offered
        if offered and best is not None:
            return [(sum(shares for shares, _ in offered), order.limit)]
        beyond = tick.price < order.limit if order.buys else tick.price > order.limit
        if beyond or (tick.price == order.limit and self.market.queue is QueueModel.TOUCH):
            return [(share, order.limit)] if share else []
        traded = self.tape.traded[row]
        if tick.price == order.limit and self.market.queue is QueueModel.QUEUE and order.ahead is not None and traded:
            passed, order.ahead = max(traded - order.ahead, 0), max(order.ahead - traded, 0)
            return [(min(passed, left), order.limit)] if passed else []
        return []

    @staticmethod
    def _within(order: _Order, price: int) -> bool:
        return order.limit is None or (price <= order.limit if order.buys else price >= order.limit)

    @staticmethod
    def _slipped(price: int, buys: bool) -> int:
        if buys:
            return -(-price * (_SLIPPAGE + 1) // (5 * _SLIPPAGE)) * 5
        return price * (_SLIPPAGE - 1) // (5 * _SLIPPAGE) * 5

    def _ahead(self, order: _Order, row: int) -> int | None:
        book = self.tape.books[row]
        if book is None or order.limit is None:
            return None
        own = {level.price: level.quantity for level in (book.bids if order.buys else book.asks)}
        if own and (order.limit < min(own) if order.buys else order.limit > max(own)):
            return None
        return own.get(order.limit, 0)

    # What follows from a fill

    def _fill(self, order: _Order, row: int, shares: int, price: int) -> None:
        time = self.tape.ticks[row].time
        if not self.outcome.position:
            self.opened_at = time
        order.filled += shares
        order.fills += 1
        self.outcome.position += shares if order.buys else -shares
        self.outcome.fills.append((row, order.role.value, shares, price))
        if order.filled == order.quantity:
            self._end(order, None)
        if order.role is Role.ENTRY:
            self._grow(order, row, shares, time)
        elif order.role in (Role.TARGET, Role.STOP):
            for other in [one for one in self.orders if one.role in (Role.TARGET, Role.STOP) and one is not order]:
                if other.quantity - other.filled <= shares:
                    self._end(other, Reason.OTHER_LEG_FILLED)
                else:
                    other.quantity -= shares
        if not self.outcome.position:
            self.squared = False
            for closer in [one for one in self.orders if one.role is not Role.ENTRY]:
                self._end(closer, Reason.POSITION_CLOSED)

    def _grow(self, entry: _Order, row: int, shares: int, time: int) -> None:
        for role, price in ((Role.TARGET, self.case.target), (Role.STOP, self.case.stop)):
            if price is None:
                continue
            leg = next((one for one in self.orders if one.role is role), None)
            if leg is not None:
                leg.quantity += shares
                continue
            name = order_id("paper", entry.name, role, leg=entry.fills)
            takes = role is Role.TARGET
            leg = _Order(
                name=name,
                role=role,
                buys=not entry.buys,
                quantity=shares,
                limit=price if takes else None,
                trigger=None if takes else price,
                ioc=False,
                row=row,
                live_at=time + self.market.latency(name),
                until=_NEVER,
                waits=not takes,
            )
            self.orders.append(leg)


def tell(case: Case, tape: Tape, market: PaperMarket, session: tuple[int, int, int]) -> Outcome:
    """Tell what a case must get; `session` is when the market opens, squares off and closes."""
    return _Teller(case, tape, market, session).tell()
