"""The desk of one instrument at one account: working orders and positions, and what ticks and time do to them.

A desk is changed in place, and everything that it does is a function of what it holds and of what it is told, in that
order. A tick costs nothing for orders whose price it does not reach: orders wait in sorted lists.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Protocol

from panda_streams.domain.calendar import Session
from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.lifecycle import OrderEvent, advance, fill_order
from panda_streams.domain.matching import Match, Sight, Trade
from panda_streams.domain.orders import Amendment, Fill, Order, OrderState, Product, Reason, Role, Ticket, order_id
from panda_streams.domain.signals import OrderType, Side, Signal, Validity, identify
from panda_streams.domain.ticks import Depth, Tick, TickRef
from panda_streams.domain.values import Value

__all__ = ["Change", "Desk", "Exchange", "Place", "Position", "accept"]

NEVER = 2**62


class Position(Value):
    """What a strategy holds: a negative quantity is a short position."""

    quantity: int
    product: Product
    since: int
    """Event time of the fill that opened it, milliseconds since the epoch."""


class Change(NamedTuple):
    """An order after something happened to it, with the fill or the reason."""

    order: Order
    time: int
    """Event time of the change."""
    fill: Fill | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record of the tick log stands."""

    source: str
    run: str
    shard: int
    offset: int

    def ref(self, row: int, time: int) -> TickRef:
        return TickRef(source=self.source, run=self.run, row=row, shard=self.shard, offset=self.offset, time=time)


class Exchange(Protocol):
    """What a desk asks of the market that its account trades on; each answer is a function of its arguments alone."""

    def latency(self, order_id: str) -> int:
        """Event time in milliseconds from an order's cause until the market can fill it."""

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        """What a look at the market gives an order that is on it."""

    def charges(self, order: Order, instrument: Instrument, trade: Trade, on: date) -> dict[str, Decimal]:
        """The charges of a trade by head, before the order counts it."""

    def session(self, instrument: Instrument, time: int) -> Session | None:
        """The session of the day of `time`, an event time; None if there is none that day."""


def accept(signal: Signal, ticket: Ticket, verdict_at: int, instrument: Instrument, exchange: Exchange) -> Order:
    """The order that a ticket of a validated signal is: it lives from the signal's cause plus latency on, and no
    earlier than its verdict. `verdict_at` is event time."""
    terms = signal.terms
    live_at = max(signal.cause.time + exchange.latency(ticket.order_id), verdict_at)
    session = exchange.session(instrument, live_at)
    expires_at = session.closes if session is not None else live_at
    if terms.ttl_minutes is not None:
        expires_at = min(expires_at, live_at + 60_000 * terms.ttl_minutes)
    entering = ticket.role is Role.ENTRY
    if entering and ticket.product is Product.MIS and session is not None and session.square_off is not None:
        expires_at = min(expires_at, session.square_off)
    return Order(
        order_id=ticket.order_id,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        side=ticket.side,
        role=ticket.role,
        product=ticket.product,
        quantity=ticket.quantity,
        order_type=terms.order_type,
        validity=terms.validity,
        price=terms.price,
        trigger=terms.trigger,
        cause=signal.cause,
        live_at=live_at,
        expires_at=expires_at,
        target=terms.target if entering else None,
        stop=terms.stop if entering else None,
    )


class Desk:
    """Working orders and positions in one instrument.

    The caller gives it ticks and time in the order of the log: `meet` for each tick of the instrument, `pass_time` for
    each beat. Each returns the changes, in the order in which they happened.
    """

    def __init__(
        self,
        namespace: str,
        instrument: Instrument,
        exchange: Exchange,
        orders: Iterable[Order] = (),
        positions: Mapping[str, Position] | None = None,
    ) -> None:
        self._namespace = namespace
        self._instrument = instrument
        self._exchange = exchange
        self.orders: dict[str, Order] = {}
        """Working orders by id, oldest first."""
        self.positions: dict[str, Position] = dict(positions or {})
        """By strategy_id; what is flat is absent."""
        self.changed = False
        """True if it differs from what was stored; set to False by who stores it."""
        self._count = 0
        self._number: dict[str, int] = {}
        """Who came first: orders at the same tick take their turns in it."""
        self._awaited: list[tuple[int, int, str]] = []
        """Orders that are on their way, by the time from which they are on the market."""
        self._at_market: dict[str, None] = {}
        self._buys: list[tuple[int, int, str]] = []
        self._sells: list[tuple[int, int, str]] = []
        """Limit orders on the market, the first one first reached: by price, downwards for purchases."""
        self._rising: list[tuple[int, int, str]] = []
        self._falling: list[tuple[int, int, str]] = []
        """Stop orders on the market, by trigger, the first one first reached."""
        self._due: list[tuple[int, str]] = []
        """When something happens to an order by itself."""
        self._square_off = NEVER
        self._signal_id = ""
        """Of a desk for orders that are late: the signal that they came from, a part of the ids that it gives."""
        self._open = (0, 0)
        """Bounds of continuous trading on the day of the last tick."""
        for order in orders:
            self._enter(order)
        for strategy_id in self.positions:
            self._plan_square_off(strategy_id)

    # What is asked of it

    def place(self, order: Order, time: int) -> list[Change]:
        """Take an order in at event time `time`, or refuse it."""
        self.changed = True
        refusal = self._refusal(order)
        if refusal is not None:
            return [Change(advance(order, OrderEvent.REJECT), time, reason=refusal)]
        if order.reduces and not self._closable(order):
            return [Change(advance(order, OrderEvent.CANCEL), time, reason=Reason.POSITION_CLOSED)]
        stops = order.order_type in (OrderType.SL, OrderType.SL_M)
        order = advance(order, OrderEvent.ARM if stops else OrderEvent.OPEN)
        self._enter(order)
        return [Change(order, time)]

    def cancel(self, strategy_id: str, side: Side, at: int) -> None:
        """Cancel a strategy's working orders on a side, legs of brackets apart; it acts at event time `at`."""
        for order in self._of_signals(strategy_id, side):
            if order.cancel_at is None:
                self._replace(order.model_copy(update={"cancel_at": at}))

    def modify(self, strategy_id: str, side: Side, at: int, price: Decimal | None, trigger: Decimal | None) -> None:
        """Give a strategy's working orders on a side other prices, as far as they have such; it acts at `at`."""
        for order in self._of_signals(strategy_id, side):
            amendment = Amendment(
                at=at,
                price=price if order.price is not None else None,
                trigger=trigger if order.state is OrderState.TRIGGER_PENDING else None,
            )
            if amendment.price is not None or amendment.trigger is not None:
                self._replace(order.model_copy(update={"amendment": amendment}))

    def expire(self, before: int, time: int, reason: Reason) -> list[Change]:
        """End the working orders that were caused before an offset of the tick log."""
        return [
            self._end(order, OrderEvent.EXPIRE, time, reason)
            for order in list(self.orders.values())
            if order.cause.offset < before
        ]

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
            quantity, _ = adjusted_quantity(position.quantity, ratio)
            if quantity:
                self.positions[strategy_id] = position.model_copy(update={"quantity": quantity})
            else:
                del self.positions[strategy_id]
        return changes

    def late(self, strategy_id: str, signal_id: str) -> Desk:
        """A desk with a strategy's position and no order, for a signal's orders that must meet ticks which have passed.

        This desk has met those ticks: what it decided there by itself is not decided again.
        """
        held = self.positions.get(strategy_id)
        late = Desk(self._namespace, self._instrument, self._exchange, (), {strategy_id: held} if held else {})
        late._signal_id = signal_id
        if self._squaring(strategy_id):
            late._square_off = NEVER
        return late

    def join(self, late: Desk, strategy_id: str, time: int) -> list[Change]:
        """Take over what is left on a strategy's desk of `late`, at the event time that this desk has come to."""
        self.changed = True
        held = late.positions.get(strategy_id)
        closed = held is None and self.positions.pop(strategy_id, None) is not None
        for order in late.orders.values():
            self._enter(order)
        if held is not None:
            self.positions[strategy_id] = held
            self._plan_square_off(strategy_id)
        return self._nothing_left(strategy_id, time) if closed else []

    # What the log says

    def meet(self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None) -> list[Change]:
        """Meet a tick of the instrument. `book` gives the order book of a row, if there is one; `traded` are the shares
        that changed hands since the tick before, None if the source does not say."""
        time = tick.time
        changes: list[Change] = []
        if (self._due and self._due[0][0] <= time) or self._square_off <= time:
            changes = self._pass(time, place)
        if not self.orders or not self._trading(time):
            return changes
        arriving = self._arrive(tick, place) if self._awaited and self._awaited[0][0] <= time else []
        reached = [(self._number[name], name, False) for name in self._at_market]
        self._reach(reached, tick)
        reached += [(self._number[name], name, True) for name in self._trigger(tick, arriving, changes)]
        if not reached:
            return changes
        depth = book(tick.row)
        known = dict[str, bool]()
        for _, name, new in sorted(reached):
            known[name] = known.get(name, False) or new
        for name, new in known.items():
            order = self.orders.get(name)
            if order is not None:  # else what came before it at this tick has ended it
                changes += self._match(order, Sight(tick, depth, traded, new), place.ref(tick.row, time))
        return changes

    def pass_time(self, time: int, place: Place) -> list[Change]:
        """Take note that event time has reached `time`: no tick up to it follows."""
        if (self._due and self._due[0][0] <= time) or self._square_off <= time:
            return self._pass(time, place)
        return []

    # Time

    def _pass(self, time: int, place: Place) -> list[Change]:
        """What happens by itself up to `time`, in the order of its moments."""
        changes: list[Change] = []
        while (self._due and self._due[0][0] <= time) or self._square_off <= time:
            if self._square_off <= (self._due[0][0] if self._due else NEVER):
                changes += self._close_intraday(time, place)
                continue
            at, name = self._due.pop(0)
            order = self.orders.get(name)
            if order is None:
                continue
            if order.cancel_at == at:
                changes.append(self._end(order, OrderEvent.CANCEL, at, Reason.CANCELLED_BY_STRATEGY))
            elif order.expires_at == at:
                reason = Reason.TTL_ENDED if order.validity is Validity.TTL else Reason.DAY_ENDED
                changes.append(self._end(order, OrderEvent.EXPIRE, at, reason))
            elif order.amendment is not None and order.amendment.at == at:
                changes.append(self._amend(order, order.amendment))
        return changes

    def _amend(self, order: Order, amendment: Amendment) -> Change:
        amended = advance(
            order,
            OrderEvent.MODIFY,
            price=amendment.price or order.price,
            trigger=amendment.trigger or order.trigger,
            amendment=None,
            queue=None,
            looked=False,
            live_at=max(order.live_at, amendment.at),
        )
        self._replace(amended)
        return Change(amended, amendment.at, reason=Reason.MODIFIED_BY_STRATEGY)

    def _close_intraday(self, time: int, place: Place) -> list[Change]:
        """Close what has to be closed before the session ends: entries first, then positions at the market."""
        at, self._square_off = self._square_off, NEVER
        changes: list[Change] = []
        for strategy_id, position in sorted(self.positions.items()):
            if self._squaring(strategy_id):
                continue
            due = self._square_off_of(position)
            if due > at:
                self._square_off = min(self._square_off, due)
                continue
            changes += [
                self._end(order, OrderEvent.CANCEL, time, Reason.SQUARED_OFF)
                for order in list(self.orders.values())
                if order.strategy_id == strategy_id and not order.reduces
            ]
            cause = place.ref(-1, time)
            moment = f"{at}/{place.offset}{self._signal_id}"
            order = self._own_order(strategy_id, position, Role.SQUARE_OFF, cause, moment)
            changes += self._decide(order, time)
        return changes

    def _squaring(self, strategy_id: str) -> bool:
        return any(o.role is Role.SQUARE_OFF and o.strategy_id == strategy_id for o in self.orders.values())

    def _square_off_of(self, position: Position) -> int:
        if position.product is not Product.MIS:
            return NEVER
        session = self._exchange.session(self._instrument, position.since)
        if session is None or session.square_off is None:
            return NEVER
        return max(session.square_off, position.since)

    def _plan_square_off(self, strategy_id: str) -> None:
        if not self._squaring(strategy_id):
            self._square_off = min(self._square_off, self._square_off_of(self.positions[strategy_id]))

    def _trading(self, time: int) -> bool:
        """Whether the market trades continuously at `time`."""
        if self._open[0] <= time < self._open[1]:
            return True
        session = self._exchange.session(self._instrument, time)
        self._open = (session.opens, session.closes) if session is not None else (0, 0)
        return self._open[0] <= time < self._open[1]

    # Matching

    def _arrive(self, tick: Tick, place: Place) -> list[str]:
        """The orders that are on the market from this tick on."""
        arrived, waiting = list[tuple[int, int, str]](), list[tuple[int, int, str]]()
        while self._awaited and self._awaited[0][0] <= tick.time:
            entry = self._awaited.pop(0)
            cause = self.orders[entry[2]].cause
            later = (place.offset, tick.row) > (cause.offset, cause.row)
            (arrived if later else waiting).append(entry)
        for entry in waiting:
            insort(self._awaited, entry)
        for _, number, name in arrived:
            self._put_on_market(self.orders[name], number)
        return [name for _, _, name in sorted(arrived, key=lambda entry: entry[1])]

    def _put_on_market(self, order: Order, number: int) -> None:
        scale = self._instrument.decimals
        if order.state is OrderState.TRIGGER_PENDING:
            assert order.trigger is not None
            units = int(order.trigger.scaleb(scale))
            if order.side is Side.BUY:
                insort(self._rising, (units, number, order.order_id))
            else:
                insort(self._falling, (-units, number, order.order_id))
        elif order.price is None:
            self._at_market[order.order_id] = None
        else:
            units = int(order.price.scaleb(scale))
            if order.side is Side.BUY:
                insort(self._buys, (-units, number, order.order_id))
            else:
                insort(self._sells, (units, number, order.order_id))

    def _reach(self, reached: list[tuple[int, str, bool]], tick: Tick) -> None:
        """Add the limit orders whose price the tick reaches."""
        low = tick.price if tick.ask is None else min(tick.price, tick.ask)
        for units, number, name in self._buys:
            if -units < low:
                break
            reached.append((number, name, False))
        high = tick.price if tick.bid is None else max(tick.price, tick.bid)
        for units, number, name in self._sells:
            if units > high:
                break
            reached.append((number, name, False))

    def _trigger(self, tick: Tick, arriving: list[str], changes: list[Change]) -> list[str]:
        """The orders that look at the market for the first time: those that arrive, and stops that are triggered."""
        first = [name for name in arriving if self.orders[name].state is OrderState.WORKING]
        for stops, price in ((self._rising, tick.price), (self._falling, -tick.price)):
            while stops and stops[0][0] <= price:
                _, number, name = stops.pop(0)
                order = advance(self.orders[name], OrderEvent.TRIGGER)
                self.orders[name] = order
                self.changed = True
                self._put_on_market(order, number)
                changes.append(Change(order, tick.time, reason=Reason.TRIGGERED))
                first.append(name)
        return first

    def _match(self, order: Order, sight: Sight, ref: TickRef) -> list[Change]:
        if order.reduces and not self._closable(order):
            return [self._end(order, OrderEvent.CANCEL, ref.time, Reason.POSITION_CLOSED)]
        match = self._exchange.match(order, self._instrument, sight)
        changes: list[Change] = []
        if match.queue != order.queue or not order.looked:
            order = order.model_copy(update={"queue": match.queue, "looked": True})
            self.orders[order.order_id] = order
            self.changed = True
        for trade in match.trades:
            left = self.orders.get(order.order_id)
            if left is None:
                break
            quantity = min(trade.quantity, self._closable(left)) if left.reduces else trade.quantity
            changes += self._filled(left, Trade(quantity, trade.price), ref)
        left = self.orders.get(order.order_id)
        if left is not None and left.validity is Validity.IOC:
            changes.append(self._end(left, OrderEvent.CANCEL, ref.time, Reason.IOC_REMAINDER))
        return changes

    def _filled(self, order: Order, trade: Trade, ref: TickRef) -> list[Change]:
        """Count a trade, and do what follows from it."""
        exchange, session = self._exchange, self._exchange.session(self._instrument, ref.time)
        assert session is not None, "the market traded on a day without a session"
        fill = Fill(
            fill_id=identify("fill", order.order_id, len(order.fill_ids) + 1),
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
            charges=exchange.charges(order, self._instrument, trade, session.date),
            time=ref.time,
            tick=ref,
        )
        return self.apply(order, fill)

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
        self._move(filled, fill)
        changes = [Change(filled, fill.time, fill)]
        if not filled.reduces:
            changes += self._grow_legs(filled, fill)
        elif filled.parent is not None:
            changes += self._shrink_sibling(filled, fill)
        if fill.strategy_id not in self.positions:
            changes += self._nothing_left(fill.strategy_id, fill.time)
        return changes

    def _move(self, order: Order, fill: Fill) -> None:
        before = self.positions.get(fill.strategy_id)
        quantity = (before.quantity if before else 0) + order.signed * fill.quantity
        if not quantity:
            self.positions.pop(fill.strategy_id, None)
            return
        since = before.since if before and before.quantity * quantity > 0 else fill.time
        self.positions[fill.strategy_id] = Position(quantity=quantity, product=fill.product, since=since)
        self._plan_square_off(fill.strategy_id)

    def _closable(self, order: Order) -> int:
        """How much of an order which only reduces can still do so."""
        position = self.positions.get(order.strategy_id)
        return max(-position.quantity * order.signed, 0) if position else 0

    def _nothing_left(self, strategy_id: str, time: int) -> list[Change]:
        return [
            self._end(order, OrderEvent.CANCEL, time, Reason.POSITION_CLOSED)
            for order in list(self.orders.values())
            if order.reduces and order.strategy_id == strategy_id
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
            leg = advance(leg, OrderEvent.MODIFY, quantity=leg.quantity + fill.quantity)
            self._replace(leg)
            changes.append(Change(leg, fill.time, reason=Reason.ENTRY_FILLED))
        return changes

    def _leg(self, parent: str, role: Role) -> Order | None:
        return next((order for order in self.orders.values() if order.parent == parent and order.role is role), None)

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
            return [self._end(sibling, OrderEvent.CANCEL, fill.time, Reason.OTHER_LEG_FILLED)]
        sibling = advance(sibling, OrderEvent.MODIFY, quantity=sibling.quantity - fill.quantity)
        self._replace(sibling)
        return [Change(sibling, fill.time, reason=Reason.OTHER_LEG_FILLED)]

    # The lists

    def _decide(self, order: Order, time: int) -> list[Change]:
        """Take in an order that the arm has decided by itself: no rule of the exchange is asked for it."""
        self.changed = True
        order = advance(order, OrderEvent.ARM if order.order_type is OrderType.SL_M else OrderEvent.OPEN)
        self._enter(order)
        return [Change(order, time)]

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
        self._count += 1
        self.orders[order.order_id] = order
        self._number[order.order_id] = self._count
        if order.looked:
            self._put_on_market(order, self._count)
        else:
            insort(self._awaited, (order.live_at, self._count, order.order_id))
        self._plan(order)

    def _plan(self, order: Order) -> None:
        for at in (order.cancel_at, order.expires_at, order.amendment.at if order.amendment else None):
            if at is not None and (at, order.order_id) not in self._due:
                insort(self._due, (at, order.order_id))

    def _replace(self, order: Order) -> None:
        """Put an order's new form in the place of the old one, and into the lists where that belongs."""
        self.changed = True
        before, self.orders[order.order_id] = self.orders[order.order_id], order
        placed = [(one.price, one.trigger, one.live_at, one.looked) for one in (before, order)]
        if placed[0] != placed[1]:
            self._unlist(before)
            insort(self._awaited, (order.live_at, self._number[order.order_id], order.order_id))
        self._plan(order)

    def _end(self, order: Order, event: OrderEvent, time: int, reason: Reason) -> Change:
        ended = advance(order, event)
        self._leave(ended)
        return Change(ended, time, reason=reason)

    def _leave(self, order: Order) -> None:
        self.changed = True
        self._unlist(self.orders.pop(order.order_id))
        del self._number[order.order_id]
        if order.role is Role.SQUARE_OFF and order.strategy_id in self.positions:
            self._plan_square_off(order.strategy_id)

    def _unlist(self, order: Order) -> None:
        name, number, scale = order.order_id, self._number[order.order_id], self._instrument.decimals
        self._at_market.pop(name, None)
        places: list[tuple[list[tuple[int, int, str]], int]] = [(self._awaited, order.live_at)]
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
