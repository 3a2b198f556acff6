"""The execution agent. Inputs: market.ticks, `<ns>.signals.validated`. Rows: one an instrument, one a shard. Output:
updates and fills, in one sequence a shard.

On the replay clock a verdict is applied before the ticks of its time. On the wall clock it may come after them: ticks
that passed before the order arrived are looked up, in a short window and beyond it in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.context import Context
from agents.lookback import LookBack
from agents.reading import execution_writer, read_ticks, read_validated
from panda_streams.brokers.port import Trader
from panda_streams.codec import decode_depth, encode
from panda_streams.domain.fate import Change, Tape, accept, expire, meet
from panda_streams.domain.orders import Order, OrderState
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import price_of
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, Filled, Mark, OrderUpdate, StageBeat, TickBatch, Validated
from panda_streams.keys import Keys
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item, Received, Wanted
from panda_streams.streams.sender import partition_of
from tables import Row, read_row
from tables.execution import ExecutionRow, ShardRow, shard_key

__all__ = ["ExecutionAgent", "apply_changes"]

_MARK_INTERVAL_S = 1.0
_ENDED = 20
"""Ended orders that a row remembers: more than end between two flushes of the mirror."""


def apply_changes(row: ExecutionRow, changes: Iterable[Change]) -> ExecutionRow:
    """Take changes of the row's orders in: positions move with fills, and what has ended leaves."""
    orders, positions, ended = dict(row.orders), dict(row.positions), list(row.ended)
    for change in changes:
        order = change.order
        if change.state.terminal:
            orders.pop(order.order_id, None)
            ended.append(order.order_id)
        else:
            orders[order.order_id] = order
        if change.fill is not None:
            signed = change.fill.quantity if order.side is Side.BUY else -change.fill.quantity
            positions[order.strategy_id] = positions.get(order.strategy_id, 0) + signed
    held = {strategy_id: shares for strategy_id, shares in positions.items() if shares}
    return row.model_copy(update={"orders": orders, "positions": held, "ended": tuple(ended[-_ENDED:])})


@dataclass(slots=True)
class Memory:
    """What the agent holds of one shard beside its rows."""

    first: int
    """Where the shard's log began when this worker took it over; what a new shard has taken from the start."""
    passed: LookBack = field(default_factory=LookBack)
    """Ticks for orders that come after them (wall clock only)."""
    looking: Order | None = None
    """The order that the log is read again for."""
    marked_at: float = float("-inf")


class ExecutionAgent(Agent):
    """Works the orders of one account on this worker's shards."""

    name = "execution"

    def __init__(self, context: Context, trader: Trader) -> None:
        self._context = context
        self.ordered = context.ordered
        self._trader = trader
        self._ticks = context.topics.ticks
        self._updates = context.topic("orders.updates")
        self._filled = context.topic("orders.filled")
        self._marks = context.topic("marks")
        self._account = context.namespace.encode()
        self._home = partition_of(self._account, context.partitions)
        self.inputs = (read_ticks(self._ticks), read_validated(context.topic("signals.validated")))

    def open(self, part: Part) -> None:
        part.memory = Memory(first=part.inputs.logs[self._ticks].handled)

    def load(self, key: str, data: bytes) -> Row:
        return read_row(ShardRow if key.startswith("shard/") else ExecutionRow, data)

    def wants(self, part: Part, item: Item) -> Wanted | None:
        if self._context.ordered or not isinstance(item.event, Validated):
            return None
        order = self._accepted(item.event)
        if order.instrument not in self._context.instruments or self._gone(part, order):
            return None
        wanted = part.memory.passed.wants(order, part.inputs.logs[self._ticks].handled)
        if wanted is None:
            return None
        part.memory.looking = order
        return Wanted(self._ticks, *wanted)

    def supply(self, part: Part, wanted: Wanted, records: list[Received]) -> None:
        order: Order = part.memory.looking
        part.memory.passed.meet(records, wanted.end, lambda offset, market: self._met(part, order, market, offset))

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: TickBatch | Beat | Validated = item.event
        if isinstance(event, Validated):
            return self._order(part, event)
        if part.rows.get(shard_key(part.partition)) is None:
            part.rows.put(shard_key(part.partition), _shard(part))
        if not self._context.ordered:
            part.memory.passed.add(offset, event)
        if isinstance(event, Beat):
            return self._beat(part, event, offset)
        return self._match(part, event, offset)

    # Orders

    def _accepted(self, validated: Validated) -> Order:
        latency = self._trader.latency_ms
        return accept(validated.order_id, validated.signal, validated.quantity, validated.time, latency)

    def _order(self, part: Part, validated: Validated) -> list[Output]:
        order, at = self._accepted(validated), validated.time
        accepted = Change(order, OrderState.WORKING, at)
        if order.instrument not in self._context.instruments:
            # Its list has changed since the verdict: the order still ends, so that risk releases what it holds back.
            late = [Change(order, OrderState.EXPIRED, at, reason="INSTRUMENT_UNKNOWN")]
        elif self._gone(part, order):
            late = [Change(order, OrderState.EXPIRED, at, reason="TICKS_GONE")]
        elif self._context.ordered:
            late = []
        else:
            late = part.memory.passed.changes(order, lambda offset, market: self._met(part, order, market, offset))
        said = self._say(part, {order.instrument: [accepted, *late]})
        return said + self._priced(part, order.instrument) if late else said

    def _gone(self, part: Part, order: Order) -> bool:
        """Whether the ticks after the order's cause were no longer kept when this arm first looked at its shard."""
        return order.cause.offset < _shard(part).first

    def _met(self, part: Part, order: Order, market: TickBatch | Beat, offset: int) -> list[Change]:
        """What a record of market.ticks gives an order."""
        if isinstance(market, Beat):
            return expire([order], offset, market.time) if market.end else []
        return self._meet(order, _tape(part, market, offset))

    def _priced(self, part: Part, instrument: str) -> list[Output]:
        """Take the last price of a late fill's instrument; after the end of the data, mark it now."""
        shard = _shard(part)
        price = part.memory.passed.last_price(instrument)
        if instrument in shard.prices and price is not None:
            shard = shard.model_copy(update={"prices": {**shard.prices, instrument: price}})
            part.rows.put(shard_key(part.partition), shard)
        return [] if shard.ended is None else list(self._marked(part, shard, shard.ended))

    def _match(self, part: Part, batch: TickBatch, offset: int) -> list[Output]:
        shard = _shard(part)
        if not shard.working and not shard.prices:
            return []
        working = set(shard.working)
        held = working | set(shard.prices)
        met: dict[str, list[Change]] = {}
        prices: dict[str, int] = {}
        tape: Tape | None = None
        for tick in batch.ticks:
            name = tick.instrument
            if name in held:
                prices[name] = tick.price
            if name in working:
                working.discard(name)
                tape = tape or _tape(part, batch, offset)
                row = part.rows.get(name)
                changes = [change for order in row.orders.values() for change in self._meet(order, tape)]
                if changes:
                    met[name] = changes
        said = self._say(part, met) if met else []
        if prices:
            shard = _shard(part)
            moved = {name: price for name, price in prices.items() if shard.prices.get(name, price) != price}
            if moved:
                part.rows.put(shard_key(part.partition), shard.model_copy(update={"prices": {**shard.prices, **moved}}))
        return said

    def _meet(self, order: Order, tape: Tape) -> list[Change]:
        return meet(order, tape, self._context.instruments[order.instrument], self._trader.match)

    def _beat(self, part: Part, beat: Beat, offset: int) -> list[Output]:
        shard = _shard(part)
        if not beat.end:
            if shard.ended is not None:
                part.rows.put(shard_key(part.partition), shard.model_copy(update={"ended": None}))
            return []
        part.rows.put(shard_key(part.partition), shard.model_copy(update={"ended": beat.time}))
        ended = {name: expire(part.rows.get(name).orders.values(), offset, beat.time) for name in shard.working}
        return self._say(part, {name: changes for name, changes in ended.items() if changes})

    # What is said

    def _say(self, part: Part, changed: Mapping[str, list[Change]]) -> list[Output]:
        """Put the rows of instruments whose orders changed, and say each change under the shard's next number."""
        shard = _shard(part)
        sequence, working, prices = shard.sequence, dict.fromkeys(shard.working), dict(shard.prices)
        outputs: list[Output] = []
        for name, changes in changed.items():
            row = apply_changes(part.rows.get(name) or ExecutionRow(), changes)
            part.rows.put(name, row)
            if row.orders:
                working[name] = None
            else:
                working.pop(name, None)
            fills = [change.fill for change in changes if change.fill is not None]
            if not row.positions:
                prices.pop(name, None)
            elif fills and name not in prices:
                prices[name] = int(fills[-1].price.scaleb(self._context.instruments[name].decimals))
            for change in changes:
                outputs += self._outputs(part.partition, change, sequence)
                sequence += 1
        update = {"sequence": sequence, "working": tuple(working), "prices": prices}
        part.rows.put(shard_key(part.partition), _shard(part).model_copy(update=update))
        return outputs

    def _outputs(self, shard: int, change: Change, sequence: int) -> Iterator[Output]:
        context, order, writer = self._context, change.order, execution_writer(shard)
        update = OrderUpdate(
            world=context.world,
            namespace=context.namespace,
            order_id=order.order_id,
            signal_id=order.signal_id,
            strategy_id=order.strategy_id,
            instrument=order.instrument,
            side=order.side,
            quantity=order.quantity,
            state=change.state,
            reason=change.reason,
            time=change.time,
            fill=change.fill,
            producer=writer,
            sequence=sequence,
        )
        yield Output(self._updates, self._account, encode(update), self._home)
        if change.fill is not None:
            filled = Filled(
                world=context.world,
                namespace=context.namespace,
                fill=change.fill,
                producer=writer,
                sequence=sequence,
            )
            yield Output(self._filled, order.strategy_id.encode(), encode(filled))

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        """The shard's beat, and the last prices of what is held: once a second, and at the end of the data."""
        beat = StageBeat(world=self._context.world, producer=execution_writer(part.partition), time=reached)
        outputs = [Output(self._updates, self._account, encode(beat), self._home)]
        shard, memory = _shard(part), part.memory
        if not shard.prices or (now - memory.marked_at < _MARK_INTERVAL_S and shard.ended is None):
            return outputs
        memory.marked_at = now
        return [*outputs, *self._marked(part, shard, shard.ended or reached)]

    def _marked(self, part: Part, shard: ShardRow, time: int) -> Iterator[Output]:
        """A mark for each strategy that holds a position on the shard."""
        context = self._context
        prices: dict[str, dict[str, int]] = {}
        for instrument, price in shard.prices.items():
            row = part.rows.get(instrument)
            for strategy_id in row.positions:
                prices.setdefault(strategy_id, {})[instrument] = price
        for strategy_id, found in prices.items():
            mark = Mark(
                world=context.world,
                namespace=context.namespace,
                strategy_id=strategy_id,
                shard=part.partition,
                time=time,
                prices={name: price_of(units, context.instruments[name].decimals) for name, units in found.items()},
                producer=execution_writer(part.partition),
            )
            yield Output(self._marks, strategy_id.encode(), encode(mark))

    # The mirror

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        version = _shard(part).sequence
        for row in rows.values():
            if isinstance(row, ExecutionRow):
                self._mirror(row, version)

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again, a row at a time: the working orders."""
        for key, value in rows:
            if not key.startswith(b"shard/"):
                self._mirror(read_row(ExecutionRow, value), 0)
            yield

    def _mirror(self, row: ExecutionRow, version: int) -> None:
        keys, mirror, at = Keys(self._context.namespace), self._context.mirror, self._context.now_ms()
        for order in row.orders.values():
            view = {
                "order_id": order.order_id,
                "strategy_id": order.strategy_id,
                "instrument": order.instrument,
                "side": order.side,
                "quantity": order.quantity,
                "state": OrderState.WORKING,
                "price": None,
                "time": order.cause.time,
                "at": at,
            }
            mirror.put(keys.order(order.order_id), orjson.dumps(view), version=version)
            mirror.add(keys.orders, order.order_id)
        for order_id in row.ended:
            mirror.remove(keys.order(order_id))
            mirror.discard(keys.orders, order_id)


def _shard(part: Part) -> ShardRow:
    row: ShardRow = part.rows.get(shard_key(part.partition)) or ShardRow(first=part.memory.first)
    return row


def _tape(part: Part, batch: TickBatch, offset: int) -> Tape:
    try:
        books = decode_depth(batch)
    except BadEvent:
        # Unusable order books: the batch is matched by its ticks alone, whenever an order meets it.
        books = {}
    return Tape(batch.source, batch.run, part.partition, offset, batch.ticks, books)
