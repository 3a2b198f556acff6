"""How each topic is read: who writes it, whose sequence a record carries, and when it acts."""

from __future__ import annotations

from panda_streams.codec import decode, decode_any, decode_market
from panda_streams.events import (
    Action,
    Adjusted,
    Beat,
    Booked,
    Command,
    Completed,
    Counted,
    DayEnd,
    Filled,
    Flatten,
    Handover,
    Mark,
    OrderReport,
    OrderUpdate,
    Prices,
    Signal,
    Silence,
    StageBeat,
    Stopped,
    StrangerReport,
    TickBatch,
    Validated,
)
from panda_streams.streams.inputs import Bound, Input, Item

__all__ = [
    "FEEDBACK_MS",
    "brain_writer",
    "execution_writer",
    "read_actions",
    "read_commands",
    "read_fills",
    "read_marks",
    "read_reports",
    "read_signals",
    "read_ticks",
    "read_updates",
    "read_validated",
    "risk_writer",
    "trader_writer",
]

FEEDBACK_MS = 1000
"""What execution says at u acts in risk at u plus this event time: never below the interval of beats."""
_FEED = "feed"
_OPERATOR = "operator"


def brain_writer(shard: int) -> str:
    return f"brain/{shard}"


def risk_writer() -> str:
    return "risk"


def trader_writer() -> str:
    return "trader"


def execution_writer(shard: int) -> str:
    return f"execution/{shard}"


def read_ticks(topic: str) -> Input:
    """market.ticks: one writer, whose beats carry a sequence and are handed to the step."""
    return Input("market.ticks", topic, _market, (_FEED,))


def _market(value: bytes | None) -> Item:
    market = decode_market(value)
    producer = f"{market.source}/{market.run}"
    if type(market) is TickBatch:
        # A batch has the time of its last tick: orders that act before it can be filled by it.
        return Item(market, _FEED, market.time, producer, market.sequence, None, 1)
    assert isinstance(market, Beat)
    return Item(market, _FEED, market.time, producer, market.sequence, market.reached, 1)


def read_signals(topic: str, shards: int) -> Input:
    """`<ns>.signals.raw`: each shard of the brain is a writer; a sequence for each strategy on it."""
    return Input("signals.raw", topic, _signal, tuple(brain_writer(shard) for shard in range(shards)))


def _signal(value: bytes | None) -> Item:
    event: Signal | StageBeat = decode_any(value, Signal, StageBeat)
    if isinstance(event, StageBeat):
        return _beat(event)
    return Item(event, brain_writer(event.cause.shard), event.cause.time, event.producer, event.sequence, None, 2)


def read_updates(topic: str, shards: int) -> Input:
    """`<ns>.orders.updates`: each shard of execution is a writer; what it says acts after the feedback delay."""
    return Input("orders.updates", topic, _update, _execution_writers(shards), FEEDBACK_MS, Bound.NONE)


def _update(value: bytes | None) -> Item:
    event: OrderUpdate | Prices | Silence | DayEnd | StageBeat = decode_any(
        value, OrderUpdate, StageBeat, Prices, Silence, DayEnd
    )
    if isinstance(event, StageBeat):
        return _beat(event)
    return Item(event, event.producer, event.time, event.producer, event.sequence)


def read_actions(topic: str) -> Input:
    """`<ns>.audit`: what operators want done. It comes from outside of event time: nobody waits for it."""
    return Input("audit", topic, _action, (_OPERATOR,), 0, Bound.NONE, urgent=True)


def _action(value: bytes | None) -> Item:
    event: Action | Completed | Stopped = decode_any(value, Action, Completed, Stopped)
    # What became of an action is written beside it, for people.
    return Item(event if isinstance(event, Action) else None, _OPERATOR, 0)


def read_validated(topic: str) -> Input:
    """`<ns>.signals.validated`: risk writes; a verdict of v is applied before ticks of v."""
    return Input("signals.validated", topic, _validated, (risk_writer(),), 0, Bound.HELD)


def _validated(value: bytes | None) -> Item:
    event: Validated | Adjusted | Flatten | Handover | StageBeat = decode_any(
        value, Validated, StageBeat, Adjusted, Flatten, Handover
    )
    if isinstance(event, StageBeat):
        return _beat(event)
    return Item(event, event.producer, event.time, event.producer, event.sequence)


def read_commands(topic: str, shards: int) -> Input:
    """`<ns>.broker.commands`: each shard of execution is a writer."""
    return Input("broker.commands", topic, _command, _execution_writers(shards))


def _command(value: bytes | None) -> Item:
    event: Command | Counted | StageBeat = decode_any(value, Command, Counted, StageBeat)
    if isinstance(event, StageBeat):
        return _beat(event)
    return Item(event, event.producer, event.time, event.producer, event.sequence)


def read_reports(topic: str) -> Input:
    """`<ns>.broker.reports`: the trader writes; what a broker has said acts after the feedback delay."""
    return Input("broker.reports", topic, _report, (trader_writer(),), FEEDBACK_MS, Bound.NONE)


def _report(value: bytes | None) -> Item:
    event: OrderReport | StrangerReport | StageBeat = decode_any(value, OrderReport, StrangerReport, StageBeat)
    if isinstance(event, StageBeat):
        return _beat(event)
    return Item(event, event.producer, event.time, event.producer, event.sequence)


def read_fills(topic: str, shards: int) -> Input:
    """`<ns>.orders.filled`: each shard of execution writes fills, and risk writes bookings."""
    writers = (*_execution_writers(shards), risk_writer())
    return Input("orders.filled", topic, _fill, writers, 0, Bound.NONE)


def _fill(value: bytes | None) -> Item:
    event: Filled | Booked = decode_any(value, Filled, Booked)
    time = event.booking.time if isinstance(event, Booked) else event.fill.time
    return Item(event, event.producer, time, event.producer, event.sequence)


def read_marks(topic: str, shards: int) -> Input:
    """`<ns>.marks`: prices without a sequence, since the next ones replace them."""
    return Input("marks", topic, _mark, _execution_writers(shards), 0, Bound.NONE, replaceable=True)


def _mark(value: bytes | None) -> Item:
    event = decode(Mark, value)
    return Item(event, event.producer, event.time)


def _execution_writers(shards: int) -> tuple[str, ...]:
    return tuple(execution_writer(shard) for shard in range(shards))


def _beat(event: StageBeat) -> Item:
    return Item(None, event.producer, event.time, watermark=event.time)
