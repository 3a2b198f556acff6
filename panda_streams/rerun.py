"""Runs one order of a simulated broker again: what the log says of it, met with the same ticks once more.

The market's part is computed: when the order is live, triggered, filled, expired, at which price and charges. What its
strategy, its bracket or its position did to it is taken from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain.calendar import Session
from panda_streams.domain.desk import Change
from panda_streams.domain.exchange import Market, accept
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.lifecycle import OrderEvent, advance
from panda_streams.domain.matching import Match, Sight, Trade
from panda_streams.domain.orders import Amendment, Fill, Order, OrderState, Product, Reason, Role, order_id
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.positions import Position
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Depth, Place, Tick, TickRef, traded_since
from panda_streams.events import OrderUpdate, Validated

__all__ = ["Facts", "Look", "Moment", "Rerun", "began", "clock", "rerun"]

_COMPUTED = (
    None,
    Reason.TRIGGERED,
    Reason.IOC_REMAINDER,
    Reason.DAY_ENDED,
    Reason.TTL_ENDED,
    Reason.SQUARED_OFF,
    Reason.MARKET_CLOSED,
    Reason.CIRCUIT_LIMIT,
)
"""Changes that order and ticks decide; all others are told by the log."""
_INDIA = timezone(timedelta(hours=5, minutes=30))
_ALWAYS = 2**62
_NOWHERE = Place("", "", 0, 0)
_ENDS = {
    OrderState.CANCELLED: OrderEvent.CANCEL,
    OrderState.EXPIRED: OrderEvent.EXPIRE,
    OrderState.REJECTED: OrderEvent.REJECT,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the log says of an order."""

    updates: tuple[OrderUpdate, ...]
    """All of it, in the order in which it was said; at least one."""
    fills: tuple[tuple[int, Fill], ...]
    """Every fill of its strategy in its instrument, by the sequence of its update: those of other orders too."""
    validated: Validated | None
    """The verdict on its signal; None for what the arm decided by itself."""

    complete: bool = True
    """False if fills before them are no longer kept, or shares were split: what the strategy held is not known."""

    @property
    def first(self) -> OrderUpdate:
        return self.updates[0]

    @property
    def last(self) -> OrderUpdate:
        return self.updates[-1]


class Moment(NamedTuple):
    """A tick of the instrument, or a record of the tick log that only says how far event time has come."""

    place: Place
    time: int
    tick: Tick | None
    depth: Depth | None = None


class Look(NamedTuple):
    """One look of the order at the market: what it was, what it saw, what it got."""

    order: Order
    sight: Sight
    match: Match


@dataclass(slots=True)
class Rerun:
    """What came of it."""

    order: Order
    looks: list[Look] = field(default_factory=list)
    passed: int = 0
    """Ticks of the instrument that it met while it was working."""
    difference: str = ""
    """Where the log says something else; empty if it nowhere does."""


def began(facts: Facts, moments: Sequence[Moment], instrument: Instrument, exchange: Market) -> Order | None:
    """The order as it was decided; None if the log does not say from what, or if it never met the market."""
    first = facts.first
    if first.role is Role.SETTLEMENT or first.reason in (Reason.TICKS_GONE, Reason.INSTRUMENT_UNKNOWN):
        return None
    if first.parent is not None or first.signal_id is None:
        leg = first.parent is not None
        cause = _filled_entry(facts) if leg else _decided_at(facts, moments)
        return None if cause is None else _own_order(first, cause, exchange)
    if facts.validated is None:
        return None
    for ticket in facts.validated.tickets:
        if ticket.order_id == first.order_id:
            order = accept(facts.validated.signal, ticket, facts.validated.time, instrument, exchange)
            # Its legs are orders of their own.
            return order.model_copy(update={"target": None, "stop": None})
    return None


def _filled_entry(facts: Facts) -> TickRef | None:
    """The tick of the fill from which a leg of a bracket came."""
    first, number = facts.first, 0
    for _, fill in facts.fills:
        if fill.order_id == first.parent:
            number += 1
            if order_id(first.namespace, fill.order_id, first.role, leg=number) == first.order_id:
                return fill.tick
    return None


def _decided_at(facts: Facts, moments: Sequence[Moment]) -> TickRef | None:
    """The place in the tick log at which the arm decided an order by itself: its id is derived from that."""
    first = facts.first
    if first.role is Role.FLATTEN:
        # Its id comes from the operator's action: it acted after all that the shard had met by then.
        filled = min((update.fill.tick.offset for update in facts.updates if update.fill is not None), default=_ALWAYS)
        passed = [moment for moment in moments if moment.time <= first.time and moment.place.offset < filled]
        return passed[-1].place.ref(2**31, first.time) if passed else None
    for moment in moments:
        offset, row = moment.place.offset, -1
        cause = f"{first.time}/{offset}"
        if first.role is Role.PROTECTION:
            row = moment.tick.row if moment.tick is not None and first.reason is not Reason.TIME_EXIT else -1
            cause = f"{first.reason}/{offset}/{row}"
        name = f"{first.strategy_id}/{first.instrument}/{cause}"
        if moment.time >= first.time and order_id(first.namespace, name, first.role) == first.order_id:
            return moment.place.ref(row, first.time)
    return None


def _own_order(first: OrderUpdate, cause: TickRef, exchange: Market) -> Order:
    return Order(
        order_id=first.order_id,
        signal_id=first.signal_id,
        strategy_id=first.strategy_id,
        instrument=first.instrument,
        side=first.side,
        role=first.role,
        product=first.product,
        quantity=first.quantity,
        order_type=first.order_type,
        validity=Validity.DAY,
        price=first.price,
        trigger=first.trigger,
        cause=cause,
        live_at=first.time + exchange.latency(first.order_id),
        parent=first.parent,
    )


def rerun(
    facts: Facts,
    order: Order,
    moments: Iterable[Moment],
    instrument: Instrument,
    exchange: Market,
    volume: int | None,
) -> Rerun:
    """Let an order meet the moments of its life again, and stop where the log says something else.

    `order` is what `began` returned; `moments` begin at its cause or before it, and end no earlier than its life.
    `volume` is that of the day at the instrument's tick before the first of them.
    """
    return _Again(facts, order, instrument, exchange, volume).run(moments)


class _Again:
    def __init__(
        self, facts: Facts, order: Order, instrument: Instrument, exchange: Market, volume: int | None
    ) -> None:
        self._facts = facts
        self._instrument = instrument
        self._result = Rerun(order)
        self._exchange = _Watched(exchange, order.order_id, self._result.looks)
        self._volume = volume
        self._said = 0
        """Updates of the log that were met again."""

    def run(self, moments: Iterable[Moment]) -> Rerun:
        result = self._result
        self._take(self._begin())
        for moment in moments:
            self._hear(moment.time, moment.place)
            if result.difference or result.order.state.terminal:
                break
            self._meet(moment)
            self._miss(moment)
        if not result.difference:
            self._hear(_ALWAYS, _NOWHERE)
            if (update := self._next) is not None:
                self._differs("nothing of it", update)
        return result

    @property
    def _next(self) -> OrderUpdate | None:
        """What the log says next."""
        return self._facts.updates[self._said] if self._said < len(self._facts.updates) else None

    def _begin(self) -> list[Change]:
        order, first = self._result.order, self._facts.first
        if order.signal_id is None or order.parent is not None:
            event = OrderEvent.ARM if order.order_type is OrderType.SL_M else OrderEvent.OPEN
            return [Change(advance(order, event), first.time, None, first.reason)]
        if first.reason not in _COMPUTED:
            return [_followed(order, first)]
        return self._desk(order, self._position(None)).place(order, first.time)

    # One moment

    def _meet(self, moment: Moment) -> None:
        traded = None
        if moment.tick is not None:
            traded, self._volume = traded_since(self._volume, moment.tick.volume), moment.tick.volume
            self._result.passed += moment.time >= self._result.order.live_at
        if self._look(moment, traded):
            self._hear(moment.time, moment.place)
            if not self._result.order.state.terminal and not self._result.difference:
                self._look(moment, traded)

    def _look(self, moment: Moment, traded: int | None) -> bool:
        """Let the order meet a moment; True if others did something to it between its trigger and its turn."""
        result, order, looks = self._result, self._result.order, len(self._result.looks)
        desk = self._desk(order, self._position(moment), order)
        if moment.tick is None:
            changes = desk.pass_time(moment.time, moment.place)
        else:
            changes = desk.meet(moment.tick, moment.place, lambda _: moment.depth, traded)
        for change in changes:
            if change.order.order_id == order.order_id:
                self._take([change])
                update = self._next
                told = update is not None and update.reason not in _COMPUTED and update.time == moment.time
                if change.reason is Reason.TRIGGERED and told:
                    del result.looks[looks:]
                    return True
        result.order = desk.orders.get(order.order_id, result.order)
        return False

    def _miss(self, moment: Moment) -> None:
        """Notice that what the log says of this moment or an earlier one did not come."""
        update = self._next
        if update is None or update.reason not in _COMPUTED or self._result.difference:
            return
        passed = update.time < moment.time
        if update.fill is not None and moment.tick is not None:
            ref = update.fill.tick
            passed = (ref.offset, ref.row) <= (moment.place.offset, moment.tick.row)
        if passed:
            self._differs("nothing of it", update)

    def _hear(self, time: int, place: Place) -> None:
        """Do to the order what, as the log says, others did to it up to `time`."""
        while (update := self._next) is not None and update.reason not in _COMPUTED and update.time <= time:
            order = self._result.order
            if order.state.terminal or self._result.difference:
                return
            if update.reason is Reason.MODIFIED_BY_STRATEGY:
                amendment = Amendment(at=update.time, price=update.price, trigger=update.trigger)
                desk = self._desk(order, 0, order.model_copy(update={"amendments": (amendment,)}))
                self._take(desk.pass_time(update.time, place))
                if self._next is update:
                    self._differs("nothing of it", update)
            else:
                self._take([_followed(order, update)])

    def _desk(self, order: Order, held: int, *orders: Order) -> PaperDesk:
        """A desk with the order alone, and with its strategy's position where that bounds it."""
        # Under NRML the desk leaves a position alone: what was squared off is told by the log.
        position = Position(quantity=held, product=Product.NRML, since=0, cost=Decimal(0), best=0)
        positions = {order.strategy_id: position} if held and order.reduces else {}
        return PaperDesk(self._facts.first.namespace, self._instrument, self._exchange, orders, positions)

    def _position(self, moment: Moment | None) -> int:
        """The strategy's position just before the order takes its turn at a moment; None: before its first."""
        order = self._result.order
        if not self._facts.complete:
            return -order.signed * order.remaining
        began = self._facts.first.sequence
        # All orders that are triggered at a tick are, before any of them takes its turn.
        later = (one.sequence for one in self._facts.updates[self._said :] if one.reason is not Reason.TRIGGERED)
        until = next(later, _ALWAYS)
        here = (-1, -1)
        if moment is not None:
            here = (moment.place.offset, moment.tick.row if moment.tick is not None else _ALWAYS)
        held = 0
        for sequence, fill in self._facts.fills:
            if sequence < began or (sequence < until and (fill.tick.offset, fill.tick.row) <= here):
                held += fill.quantity if fill.side is Side.BUY else -fill.quantity
        return held

    # Against the log

    def _take(self, changes: Sequence[Change]) -> None:
        result = self._result
        for change in changes:
            if result.difference:
                return
            if self._said == len(self._facts.updates):
                result.difference = (
                    f"the log says nothing more, but it would be {_words(change)} at {clock(change.time)}"
                )
                return
            update = self._facts.updates[self._said]
            found = _differing(change, update)
            if found:
                self._differs(found, update)
                return
            self._said += 1
            result.order = change.order

    def _differs(self, computed: str, update: OrderUpdate) -> None:
        log = f"{update.state}, {update.filled} of {update.quantity} filled"
        if update.fill is not None:
            log += f", the last {update.fill.quantity} at {update.fill.price:f}"
        self._result.difference = f"the log says {log}; computed again: {computed}"


@dataclass(frozen=True, slots=True)
class _Watched:
    """An exchange whose answers to one order are written down."""

    exchange: Market
    order_id: str
    looks: list[Look]

    def latency(self, order_id: str) -> int:
        return self.exchange.latency(order_id)

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        match = self.exchange.match(order, instrument, sight)
        if order.order_id == self.order_id:
            self.looks.append(Look(order, sight, match))
        return match

    def charges(self, order: Order, instrument: Instrument, trade: Trade, on: date) -> dict[str, Decimal]:
        return self.exchange.charges(order, instrument, trade, on)

    def session(self, instrument: Instrument, time: int) -> Session | None:
        return self.exchange.session(instrument, time)


def _followed(order: Order, update: OrderUpdate) -> Change:
    """What the log says that others did to the order, done to it."""
    event = _ENDS.get(update.state, OrderEvent.MODIFY)
    return Change(advance(order, event, quantity=update.quantity), update.time, None, update.reason)


def clock(time_ms: int) -> str:
    """An event time as people in India read it, to the millisecond."""
    return f"{datetime.fromtimestamp(time_ms / 1000, _INDIA):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _differing(change: Change, update: OrderUpdate) -> str:
    """What a change says otherwise than the log; empty if nothing."""
    order, fill = change.order, change.fill
    if fill is not None and update.fill is not None and fill != update.fill:
        names = [name for name in Fill.model_fields if getattr(fill, name) != getattr(update.fill, name)]
        if names == ["charges"]:
            return f"charges of {fill.charged:f}, the log has {update.fill.charged:f}"
        return f"a fill of {fill.quantity} at {fill.price:f} on tick {fill.tick.key}"
    mine = (order.state, order.filled, order.quantity, change.reason, change.time, fill is None)
    logged = (update.state, update.filled, update.quantity, update.reason, update.time, update.fill is None)
    return "" if mine == logged else f"{_words(change)} at {clock(change.time)}"


def _words(change: Change) -> str:
    order = change.order
    reason = f" ({change.reason})" if change.reason is not None else ""
    return f"{order.state}{reason}, {order.filled} of {order.quantity} filled"
