"""The fate of an order: what the tick log gives it, as a function of that log alone.

An order is live from its cause plus the account's latency on, and meets each tick alone: own orders never compete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Fill, Order, OrderState
from panda_streams.domain.signals import Signal, identify
from panda_streams.domain.ticks import Depth, Tick, TickRef

__all__ = ["Change", "Execution", "Match", "Tape", "accept", "expire", "meet"]


@dataclass(frozen=True, slots=True)
class Execution:
    """One trade that the market gave an order: price per share and charges in the account's currency, exact."""

    quantity: int
    price: Decimal
    charges: Decimal


Match = Callable[[Order, Instrument, Tick, Depth | None], Sequence[Execution]]
"""Says what a tick gives an order: nothing, or trades that fill it whole, one for each price."""


class Tape(NamedTuple):
    """The ticks of one record of the tick log, with their order books by row, and where they stand."""

    source: str
    run: str
    shard: int
    offset: int
    ticks: Sequence[Tick]
    books: Mapping[int, Depth]


class Change(NamedTuple):
    """A change of an order's state, with the fill that caused it."""

    order: Order
    state: OrderState
    time: int
    """Event time of the change."""
    fill: Fill | None = None
    reason: str | None = None


def accept(order_id: str, signal: Signal, quantity: int, verdict_at: int, latency_ms: int) -> Order:
    """The order that a validated signal becomes: it lives from its cause plus latency, and no earlier than its verdict.

    Latency is event time, in milliseconds.
    """
    return Order(
        order_id=order_id,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        side=signal.side,
        quantity=quantity,
        cause=signal.cause,
        live_at=max(signal.cause.time + latency_ms, verdict_at),
    )


def meet(order: Order, tape: Tape, instrument: Instrument, match: Match) -> list[Change]:
    """What a working order gets from a record of the tick log, whose other instruments are passed over."""
    for tick in tape.ticks:
        if tick.instrument != order.instrument or tick.time < order.live_at:
            continue
        if (tape.offset, tick.row) <= (order.cause.offset, order.cause.row):
            continue
        executions = match(order, instrument, tick, tape.books.get(tick.row))
        if executions:
            return _filled(order, tape, tick, executions)
    return []


def _filled(order: Order, tape: Tape, tick: Tick, executions: Iterable[Execution]) -> list[Change]:
    ref = TickRef(source=tape.source, run=tape.run, row=tick.row, shard=tape.shard, offset=tape.offset, time=tick.time)
    changes, filled = [], 0
    for leg, execution in enumerate(executions, start=1):
        filled += execution.quantity
        fill = Fill(
            fill_id=identify("fill", order.order_id, leg),
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            instrument=order.instrument,
            side=order.side,
            quantity=execution.quantity,
            price=execution.price,
            charges=execution.charges,
            time=tick.time,
            tick=ref,
        )
        state = OrderState.FILLED if filled >= order.quantity else OrderState.WORKING
        changes.append(Change(order, state, tick.time, fill))
    return changes


def expire(orders: Iterable[Order], end_offset: int, time: int) -> list[Change]:
    """End the orders that were caused before the end of a run: no tick of it follows that could fill them.

    An order can be here before the end is: then a later run in the same log has caused it.
    """
    return [
        Change(order, OrderState.EXPIRED, time, reason="END_OF_DATA")
        for order in orders
        if order.cause.offset < end_offset
    ]
