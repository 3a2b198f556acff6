"""The desk of one instrument at one account: working orders and positions, and what ticks and time do to them.

A desk is changed in place, and everything that it does is a function of what it holds and of what it is told, in that
order. A tick costs nothing for orders whose price it does not reach: orders wait in sorted lists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.exchange import Exchange
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.lifecycle import OrderEvent, advance, fill_order
from panda_streams.domain.matching import Trade
from panda_streams.domain.orders import Fill, Order, Product, Reason, Role, order_id
from panda_streams.domain.positions import Position, adjusted, moved
from panda_streams.domain.protection import Guard, Protection
from panda_streams.domain.signals import OrderType, Side, Validity, identify
from panda_streams.domain.ticks import Depth, Place, Tick, TickRef
from panda_streams.domain.waiting import NEVER, Waiting

__all__ = ["Change", "Desk"]

_OWN = (Role.SQUARE_OFF, Role.PROTECTION, Role.FLATTEN)
"""Orders that the arm has decided by itself to close a position at the market."""


class Change(NamedTuple):
    """An order after something happened to it, with the fill or the reason."""

    order: Order
    time: int
    """Event time of the change."""
    fill: Fill | None = None
    reason: Reason | None = None
    note: str = ""
    """A real broker's own words."""


class Desk(ABC):
    """Working orders and positions in one instrument: what is decided here, whoever trades.

    The caller gives it ticks and time in the order of the log: `meet` for each tick of the instrument, `pass_time` for
    each beat. Each returns the changes, in the order in which they happened. How an order comes to be, changes and
    ends is the market's: paper_desk.py, broker_desk.py.
    """

    def __init__(
        self,
        namespace: str,
        instrument: Instrument,
        exchange: Exchange,
        orders: Iterable[Order] = (),
        positions: Mapping[str, Position] | None = None,
        protections: Mapping[str, Protection] | None = None,
        *,
        watches: bool = True,
    ) -> None:
        self._namespace = namespace
        self._instrument = instrument
        self._exchange = exchange
        self._protections = protections or {}
        """By strategy_id."""
        self._watches = watches
        self.orders: dict[str, Order] = {}
        """Working orders by id, oldest first."""
        self.positions: dict[str, Position] = dict(positions or {})
        """By strategy_id; what is flat is absent."""
        self.changed = False
        """True if it differs from what was stored; set to False by who stores it."""
        self.made = 0
        """Orders that were ever decided here without a cause of their own: their ids are counted with it."""
        self.frozen = False
        """True while the arm decides no exit by itself: a hard halt."""
        self._waiting = Waiting(instrument.decimals)
        self._legs: dict[tuple[str, Role], str] = {}
        """Working legs of brackets, by entry and role."""
        self._reducing: dict[str, dict[str, None]] = {}
        """Orders that only reduce, by strategy, oldest first."""
        self._square_off = NEVER
        self._guards: dict[str, Guard] = {}
        """Of the positions that are closed by themselves, by strategy_id."""
        self._time_exit = NEVER
        """When the first of them is, whatever its price."""
        self._open = (0, 0)
        """Bounds of continuous trading on the day of the last tick."""
        for order in orders:
            self._enter(order)
        for strategy_id in self.positions:
            self._watch(strategy_id)

    # How the market takes what is decided

    @abstractmethod
    def _decide(self, order: Order, time: int) -> list[Change]:
        """Take an order in: no rule of the exchange is asked for it."""

    @abstractmethod
    def _withdraw(self, order: Order, event: OrderEvent, time: int, reason: Reason) -> list[Change]:
        """See to it that a working order ends, and say what follows from that now."""

    @abstractmethod
    def _resize(self, order: Order, quantity: int, time: int, reason: Reason) -> list[Change]:
        """Give a working leg another quantity."""

    @abstractmethod
    def _meet_orders(
        self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None
    ) -> list[Change]:
        """What a tick does to the working orders."""

    @abstractmethod
    def _fall_due(self, order: Order, at: int) -> list[Change]:
        """What was planned for an order at this moment."""

    # What is asked of it

    def place(self, order: Order, time: int) -> list[Change]:
        """Take an order in at event time `time`, or refuse it."""
        self.changed = True
        refusal = self._refusal(order)
        if refusal is not None:
            return [Change(advance(order, OrderEvent.REJECT), time, reason=refusal)]
        if order.reduces and not self._closable(order):
            return [Change(advance(order, OrderEvent.CANCEL), time, reason=Reason.POSITION_CLOSED)]
        return self._decide(order, time)

    def expire(self, before: int, time: int, reason: Reason) -> list[Change]:
        """End the working orders that were caused before an offset of the tick log."""
        orders = [order for order in self.orders.values() if order.cause.offset < before]
        return [change for order in orders for change in self._withdraw(order, OrderEvent.EXPIRE, time, reason)]

    def flatten(self, action: str, cause: TickRef, time: int) -> list[Change]:
        """End all orders, and close all positions at the market: an operator's `action`, by its id."""
        changes: list[Change] = []
        for order in list(self.orders.values()):
            changes += self._withdraw(order, OrderEvent.CANCEL, time, Reason.FLATTENED)
        for strategy_id, position in self._managed():
            changes += self._decide(self._own_order(strategy_id, position, Role.FLATTEN, cause, action), time)
            self._watch(strategy_id)
        return changes

    def settle(self, price: Decimal, place: Place, time: int) -> list[Change]:
        """Close everything at what the contract is worth at its expiry, without the market."""
        changes = self.expire(NEVER, time, Reason.CONTRACT_EXPIRED)
        for strategy_id, position in sorted(self.positions.items()):
            order = self._own_order(strategy_id, position, Role.SETTLEMENT, place.ref(-1, time), f"{time}")
            changes += self._decide(order, time)
            changes += self._filled(self.orders[order.order_id], Trade(order.quantity, price), place.ref(-1, time))
        return changes

    def adjust(self, ratio: Ratio, time: int) -> list[Change]:
        """Carry out a split or bonus issue: positions change, and working orders on the old share end."""
        changes = self.expire(NEVER, time, Reason.CORPORATE_ACTION)
        self.changed = True
        for strategy_id, position in list(self.positions.items()):
            after = adjusted(position, ratio)
            if after is None:
                del self.positions[strategy_id]
            else:
                self.positions[strategy_id] = after
            self._watch(strategy_id)
        return changes

    # What the log says

    def meet(self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None) -> list[Change]:
        """Meet a tick of the instrument. `book` gives the order book of a row, if there is one; `traded` are the shares
        that changed hands since the tick before, None if the source does not say."""
        time = tick.time
        changes = self.pass_time(time, place)
        if not (self.orders or self._guards) or not self._trading(time):
            return changes
        if self.orders:
            changes += self._meet_orders(tick, place, book, traded)
        if self._guards:
            changes += self._meet_positions(tick, place)
        return changes

    def pass_time(self, time: int, place: Place) -> list[Change]:
        """Take note that event time has reached `time`: no tick up to it follows."""
        changes: list[Change] = []
        if self._waiting.due <= time or (self._square_off <= time and not self.frozen):
            changes += self._pass(time, place)
        if self._time_exit <= time and not self.frozen and self._trading(time):
            changes += self._end_positions(time, place)
        return changes

    # Time

    def _pass(self, time: int, place: Place) -> list[Change]:
        """What happens by itself up to `time`, in the order of its moments."""
        changes: list[Change] = []
        while self._waiting.due <= time or (self._square_off <= time and not self.frozen):
            if not self.frozen and self._square_off <= self._waiting.due:
                changes += self._close_intraday(place)
                continue
            at, name = self._waiting.pop_due()
            order = self.orders.get(name)
            if order is None:
                continue
            changes += self._fall_due(order, at)
        return changes

    def _why_expired(self, order: Order, at: int) -> Reason:
        session = self._exchange.session(self._instrument, at)
        if session is None or at == session.closes:
            return Reason.DAY_ENDED
        if at == session.square_off and order.product is Product.MIS and not order.reduces:
            return Reason.SQUARED_OFF
        return Reason.TTL_ENDED if order.validity is Validity.TTL else Reason.DAY_ENDED

    def _close_intraday(self, place: Place) -> list[Change]:
        """Close at the market what has to be closed before the session ends.

        An order for it is caused at the moment itself and lives from then plus latency on, whenever the first tick or
        beat after it comes.
        """
        at, self._square_off = self._square_off, NEVER
        changes: list[Change] = []
        for strategy_id, position in self._managed():
            if self._is_closing(strategy_id, Role.SQUARE_OFF, Role.FLATTEN):
                continue
            due = self._square_off_of(position)
            if due > at:
                self._square_off = min(self._square_off, due)
                continue
            order = self._own_order(strategy_id, position, Role.SQUARE_OFF, place.ref(-1, at), f"{at}/{place.offset}")
            changes += self._decide(order, at)
        return changes

    # Positions that are closed by themselves

    def _managed(self) -> list[tuple[str, Position]]:
        """The positions that the arm may close, by strategy_id."""
        return sorted(self.positions.items())

    def _meet_positions(self, tick: Tick, place: Place) -> list[Change]:
        """Close the positions whose protection says so at this price."""
        changes: list[Change] = []
        for strategy_id, guard in list(self._guards.items()):
            best = guard.best
            reason = guard.see(tick.price)
            if guard.best != best:
                position = self.positions[strategy_id]
                self.positions[strategy_id] = position.model_copy(update={"best": guard.best})
                self.changed = True
            if reason is not None and not self.frozen:
                changes += self._protect(strategy_id, reason, place.ref(tick.row, tick.time))
        return changes

    def _end_positions(self, time: int, place: Place) -> list[Change]:
        """Close the positions that were held for as long as their protection allows."""
        changes: list[Change] = []
        for strategy_id, guard in list(self._guards.items()):
            if guard.ends_at is not None and guard.ends_at <= time:
                changes += self._protect(strategy_id, Reason.TIME_EXIT, place.ref(-1, time))
        self._time_exit = min((g.ends_at for g in self._guards.values() if g.ends_at is not None), default=NEVER)
        return changes

    def _protect(self, strategy_id: str, reason: Reason, cause: TickRef) -> list[Change]:
        del self._guards[strategy_id]
        moment = f"{reason}/{cause.offset}/{cause.row}"
        order = self._own_order(strategy_id, self.positions[strategy_id], Role.PROTECTION, cause, moment)
        return [change._replace(reason=reason) for change in self._decide(order, cause.time)]

    def _watch(self, strategy_id: str) -> None:
        """Plan what happens to a position by itself, after it or an order that was to close it has changed."""
        position = self.positions.get(strategy_id)
        self._guards.pop(strategy_id, None)
        if position is None or not self._watches:
            return
        if not self._is_closing(strategy_id, Role.SQUARE_OFF, Role.FLATTEN):
            self._square_off = min(self._square_off, self._square_off_of(position))
        protection = self._protections.get(strategy_id)
        if protection is None or self._is_closing(strategy_id, Role.PROTECTION, Role.FLATTEN):
            return
        average = (position.cost / position.quantity).scaleb(self._instrument.decimals)
        guard = Guard(protection, long=position.quantity > 0, average=average, since=position.since, best=position.best)
        self._guards[strategy_id] = guard
        if guard.ends_at is not None:
            self._time_exit = min(self._time_exit, guard.ends_at)

    def _closers(self, strategy_id: str) -> list[Order]:
        """A strategy's orders that only reduce, the oldest first."""
        return [self.orders[name] for name in self._reducing.get(strategy_id, ())]

    def _is_closing(self, strategy_id: str, *roles: Role) -> bool:
        return any(order.role in roles for order in self._closers(strategy_id))

    def _square_off_of(self, position: Position) -> int:
        if position.product is not Product.MIS:
            return NEVER
        session = self._exchange.session(self._instrument, position.since)
        if session is None or session.square_off is None:
            return NEVER
        return max(session.square_off, position.since)

    def _trading(self, time: int) -> bool:
        """Whether the market trades continuously at `time`."""
        if self._open[0] <= time < self._open[1]:
            return True
        session = self._exchange.session(self._instrument, time)
        self._open = (session.opens, session.closes) if session is not None else (0, 0)
        return self._open[0] <= time < self._open[1]

    # Matching

    def _filled(self, order: Order, trade: Trade, ref: TickRef) -> list[Change]:
        """Count a trade, and do what follows from it."""
        exchange, session = self._exchange, self._exchange.session(self._instrument, ref.time)
        assert session is not None, "the market traded on a day without a session"
        fill_id = identify("fill", order.order_id, len(order.fill_ids) + 1)
        charges = exchange.charges(order, self._instrument, trade, session.date)
        return self.apply(order, self._fill_of(order, trade, fill_id, charges, ref, ref.time))

    def _fill_of(
        self, order: Order, trade: Trade, fill_id: str, charges: dict[str, Decimal], tick: TickRef, time: int
    ) -> Fill:
        """A trade of an order, for the books."""
        return Fill(
            fill_id=fill_id,
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            instrument=order.instrument,
            side=order.side,
            role=order.role,
            product=order.product,
            quantity=trade.quantity,
            price=trade.price,
            margined=self._instrument.kind is InstrumentKind.FUTURE,
            charges=charges,
            time=time,
            tick=tick,
        )

    def apply(self, order: Order, fill: Fill) -> list[Change]:
        """Count a fill of a working order: the position moves, and legs of brackets follow."""
        filled = fill_order(order, fill)
        if filled is order:
            return []
        self.changed = True
        if filled.state.terminal:
            self._leave(filled)
        else:
            self._replace(filled)
        closed = self._move(filled, fill)
        changes = [Change(filled, fill.time, fill)]
        if not filled.reduces:
            changes += self._grow_legs(filled, fill)
        elif filled.parent is not None:
            changes += self._shrink_sibling(filled, fill)
        if closed:
            changes += self._nothing_left(fill.strategy_id, fill.time)
        return changes

    def _move(self, order: Order, fill: Fill) -> bool:
        """Move the position by a fill; True if that closed it, be it that one on the other side begins."""
        before = self.positions.get(fill.strategy_id)
        after = moved(before, order.signed * fill.quantity, fill, self._instrument.decimals)
        if after is None:
            self.positions.pop(fill.strategy_id, None)
        else:
            self.positions[fill.strategy_id] = after
        self._watch(fill.strategy_id)
        return after is None or (before is not None and before.quantity * after.quantity < 0)

    def _closable(self, order: Order) -> int:
        """How much of an order which only reduces can still do so."""
        position = self.positions.get(order.strategy_id)
        return max(-position.quantity * order.signed, 0) if position else 0

    def _nothing_left(self, strategy_id: str, time: int) -> list[Change]:
        """End a strategy's orders that could only close what it no longer holds."""
        return [
            change
            for order in self._closers(strategy_id)
            if not self._closable(order)
            for change in self._withdraw(order, OrderEvent.CANCEL, time, Reason.POSITION_CLOSED)
        ]

    # Brackets

    def _grow_legs(self, entry: Order, fill: Fill) -> list[Change]:
        """The legs of a bracket hold what its entry has been filled, less what they were."""
        changes = []
        for role, price in ((Role.TARGET, entry.target), (Role.STOP, entry.stop)):
            if price is None:
                continue
            leg = self._leg(entry.order_id, role)
            if leg is None:
                changes += self._new_leg(entry, role, price, fill)
                continue
            changes += self._resize(leg, leg.quantity + fill.quantity, fill.time, Reason.ENTRY_FILLED)
        return changes

    def _leg(self, parent: str, role: Role) -> Order | None:
        name = self._legs.get((parent, role))
        return self.orders[name] if name is not None else None

    def _new_leg(self, entry: Order, role: Role, price: Decimal, fill: Fill) -> list[Change]:
        takes_profit = role is Role.TARGET
        # Both legs of an earlier fill may have ended already: this fill's have ids of their own.
        name = order_id(self._namespace, entry.order_id, role, leg=len(entry.fill_ids))
        leg = Order(
            order_id=name,
            signal_id=entry.signal_id,
            strategy_id=entry.strategy_id,
            instrument=entry.instrument,
            side=Side.SELL if entry.side is Side.BUY else Side.BUY,
            role=role,
            product=entry.product,
            quantity=fill.quantity,
            order_type=OrderType.LIMIT if takes_profit else OrderType.SL_M,
            validity=Validity.DAY,
            price=price if takes_profit else None,
            trigger=None if takes_profit else price,
            cause=fill.tick,
            live_at=fill.time + self._exchange.latency(name),
            parent=entry.order_id,
        )
        return self._decide(leg, fill.time)

    def _shrink_sibling(self, leg: Order, fill: Fill) -> list[Change]:
        """One cancels the other: what one leg was filled, the other no longer holds."""
        assert leg.parent is not None
        other = Role.STOP if leg.role is Role.TARGET else Role.TARGET
        sibling = self._leg(leg.parent, other)
        if sibling is None:
            return []
        if sibling.remaining <= fill.quantity:
            return self._withdraw(sibling, OrderEvent.CANCEL, fill.time, Reason.OTHER_LEG_FILLED)
        return self._resize(sibling, sibling.quantity - fill.quantity, fill.time, Reason.OTHER_LEG_FILLED)

    # The lists

    def _own_order(self, strategy_id: str, position: Position, role: Role, cause: TickRef, moment: str) -> Order:
        """A MARKET order that closes a position, decided by the arm at a moment."""
        name = order_id(self._namespace, f"{strategy_id}/{self._instrument.id}/{moment}", role)
        return Order(
            order_id=name,
            signal_id=None,
            strategy_id=strategy_id,
            instrument=self._instrument.id,
            side=Side.SELL if position.quantity > 0 else Side.BUY,
            role=role,
            product=position.product,
            quantity=abs(position.quantity),
            order_type=OrderType.MARKET,
            validity=Validity.DAY,
            cause=cause,
            live_at=cause.time + self._exchange.latency(name),
        )

    def _refusal(self, order: Order) -> Reason | None:
        if not self._instrument.tradable:
            return Reason.INSTRUMENT_UNKNOWN
        session = self._exchange.session(self._instrument, order.live_at)
        if session is None or not session.opens <= order.live_at < session.closes:
            return Reason.MARKET_CLOSED
        if order.expires_at is not None and order.expires_at <= order.live_at:
            return Reason.MARKET_CLOSED
        lower, upper = self._instrument.lower_circuit, self._instrument.upper_circuit
        for price in (order.price, order.trigger):
            if price is not None and ((lower and price < lower) or (upper and price > upper)):
                return Reason.CIRCUIT_LIMIT
        return None

    def _of_signals(self, strategy_id: str, side: Side) -> list[Order]:
        return [
            order
            for order in self.orders.values()
            if order.strategy_id == strategy_id and order.side is side and order.role in (Role.ENTRY, Role.EXIT)
        ]

    def _enter(self, order: Order) -> None:
        self.orders[order.order_id] = order
        if order.reduces:
            self._reducing.setdefault(order.strategy_id, {})[order.order_id] = None
        if order.parent is not None:
            self._legs[order.parent, order.role] = order.order_id
        self._waiting.enter(order)

    def _replace(self, order: Order) -> None:
        """Put an order's new form in the place of the old one, and into the lists where that belongs."""
        self.changed = True
        before, self.orders[order.order_id] = self.orders[order.order_id], order
        self._waiting.replace(before, order)

    def _end(self, order: Order, event: OrderEvent, time: int, reason: Reason) -> Change:
        ended = advance(order, event)
        self._leave(ended)
        held = self.positions.get(order.strategy_id)
        if order.role in _OWN and held is not None:
            if order.role is Role.SQUARE_OFF:
                self.positions[order.strategy_id] = held.model_copy(update={"since": time + 1})
            self._watch(order.strategy_id)
        return Change(ended, time, reason=reason)

    def _leave(self, order: Order) -> None:
        self.changed = True
        self._waiting.leave(self.orders.pop(order.order_id))
        if order.reduces:
            kept = self._reducing[order.strategy_id]
            del kept[order.order_id]
            if not kept:
                del self._reducing[order.strategy_id]
        if order.parent is not None:
            del self._legs[order.parent, order.role]
