"""The execution agent. Inputs: market.ticks, `<ns>.signals.validated`. Row: one an instrument. Output: updates, fills.

An order's fate is a function of the tick log from its cause on, not of when a process got round to it: ticks that
passed before the order arrived are looked up, in a short window and beyond it in the log.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import orjson

from agents.context import Context
from panda_streams.brokers.port import Trader
from panda_streams.codec import decode, decode_depth, decode_market, encode
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Fill, Order, OrderState
from panda_streams.domain.shards import ShardMap
from panda_streams.domain.signals import Side, identify
from panda_streams.domain.ticks import TickRef, price_of
from panda_streams.errors import BadEvent
from panda_streams.events import Beat, Filled, Mark, OrderUpdate, TickBatch, Validated
from panda_streams.keys import Keys
from panda_streams.streams.loop import Output, Record
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.rows import LogTable
from tables import read_row
from tables.execution import ExecutionRow

__all__ = ["ExecutionAgent", "step_batch", "step_end", "step_validated"]

_WINDOW = 512
"""Records of market.ticks that a shard remembers for orders that arrive after their ticks."""
_MARK_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a step says: updates of orders, and the fills among them."""

    updates: tuple[OrderUpdate, ...] = ()

    @property
    def fills(self) -> Iterator[OrderUpdate]:
        return (update for update in self.updates if update.fill is not None)


def step_validated(row: ExecutionRow, validated: Validated, latency_ms: int) -> tuple[ExecutionRow, Said]:
    """Take a validated order: it works from its cause plus the account's latency on."""
    signal = validated.signal
    order = Order(
        order_id=validated.order_id,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        side=signal.side,
        quantity=validated.quantity,
        cause=signal.cause,
        live_at=signal.cause.time + latency_ms,
    )
    update = _update(row, 0, validated.namespace, validated.world, order, OrderState.WORKING, signal.cause.time)
    row = row.model_copy(
        update={
            "heard": {**row.heard, validated.producer: validated.sequence},
            "sequence": row.sequence + 1,
            "orders": {**row.orders, order.order_id: order},
        }
    )
    return row, Said((update,))


def step_batch(
    row: ExecutionRow, batch: TickBatch, place: tuple[int, int], instrument: Instrument, trader: Trader, namespace: str
) -> tuple[ExecutionRow, Said]:
    """Match the row's working orders against a batch's ticks of its instrument; `place` is (shard, offset)."""
    ticks = [tick for tick in batch.ticks if tick.instrument == instrument.id]
    if not ticks or not row.orders:
        return row, Said()
    books = decode_depth(batch)
    shard, offset = place
    said: list[OrderUpdate] = []
    orders, positions = dict(row.orders), dict(row.positions)
    for order in row.orders.values():
        for tick in ticks:
            passed = (offset, tick.row) <= (order.cause.offset, order.cause.row)
            if passed or tick.time < order.live_at:
                continue
            executions = trader.match(order, instrument, tick, books.get(tick.row))
            if not executions:
                continue
            ref = TickRef(source=batch.source, run=batch.run, row=tick.row, shard=shard, offset=offset, time=tick.time)
            filled = 0
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
                said.append(_update(row, len(said), namespace, batch.world, order, state, tick.time, fill=fill))
            del orders[order.order_id]
            signed = filled if order.side is Side.BUY else -filled
            positions[order.strategy_id] = positions.get(order.strategy_id, 0) + signed
            break
    if not said:
        return row, Said()
    held = {strategy_id: shares for strategy_id, shares in positions.items() if shares}
    changed = {"orders": orders, "positions": held, "sequence": row.sequence + len(said)}
    return row.model_copy(update=changed), Said(tuple(said))


def step_end(row: ExecutionRow, beat: Beat, offset: int, namespace: str) -> tuple[ExecutionRow, Said]:
    """End the working orders that were caused before this end of a run: no tick of it follows that could fill them.

    An order can be here before the end is: then a later run in the same log has caused it.
    """
    ended = [order for order in row.orders.values() if order.cause.offset < offset]
    said = [
        _update(row, number, namespace, beat.world, order, OrderState.EXPIRED, beat.time, reason="END_OF_DATA")
        for number, order in enumerate(ended)
    ]
    left = {order.order_id: order for order in row.orders.values() if order.cause.offset >= offset}
    return row.model_copy(update={"orders": left, "sequence": row.sequence + len(said)}), Said(tuple(said))


def _update(
    row: ExecutionRow,
    number: int,
    namespace: str,
    world: str,
    order: Order,
    state: OrderState,
    at: int,
    *,
    fill: Fill | None = None,
    reason: str | None = None,
) -> OrderUpdate:
    """The `number`-th thing that a step says on this row."""
    return OrderUpdate(
        world=world,
        namespace=namespace,
        order_id=order.order_id,
        signal_id=order.signal_id,
        strategy_id=order.strategy_id,
        instrument=order.instrument,
        side=order.side,
        quantity=order.quantity,
        state=state,
        reason=reason,
        time=at,
        fill=fill,
        producer=f"execution/{order.instrument}",
        sequence=row.sequence + number,
    )


@dataclass(slots=True)
class Shard:
    """What the agent holds of one shard between two records."""

    rows: dict[str, ExecutionRow]
    """By instrument."""
    window: deque[tuple[int, TickBatch | Beat]] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    """The last records of market.ticks with their offsets, without a gap."""
    next: int | None = None
    """Offset of the next record of market.ticks; None before the first."""
    prices: dict[str, int] = field(default_factory=dict)
    """Last price by instrument."""
    marked: bool = True
    """Whether the prices of what is held have been said."""
    marked_at: float = 0.0
    end: Beat | None = None
    """The end of the data, once it has passed: no beat follows that could carry a mark."""


class ExecutionAgent:
    """Works the orders of one account on this worker's shards."""

    def __init__(self, context: Context, table: LogTable, trader: Trader, shards: ShardMap, readback: ReadBack) -> None:
        self._context = context
        self._table = table
        self._trader = trader
        self._map = shards
        self._readback = readback
        self._validated = context.topic("signals.validated")
        self._shards: dict[int, Shard] = {}

    @property
    def topics(self) -> list[str]:
        return [self._context.topics.ticks, self._validated]

    def forget(self) -> None:
        """Drop what is held in memory: the rows may have changed hands."""
        self._shards.clear()

    async def handle(self, record: Record) -> int | None:
        shard = self._shards.get(record.partition) or await self._load(record.partition)
        if record.topic == self._validated:
            return await self._order(record, shard)
        market = decode_market(record.value)
        if shard.next is not None and record.offset < shard.next:
            return market.time
        if record.offset != shard.next:
            # The first record since the rows were loaded, or a gap: match what was not seen by this process.
            for instrument in [name for name, row in shard.rows.items() if row.orders]:
                await self._catch_up(record, shard, instrument, record.offset)
            shard.window.clear()
        shard.window.append((record.offset, market))
        shard.next = record.offset + 1
        await self._market(record, shard, market)
        return market.time

    async def _market(self, record: Record, shard: Shard, market: TickBatch | Beat) -> None:
        if isinstance(market, Beat):
            shard.end = market if market.end else None
            if market.end:
                for instrument in [name for name, row in shard.rows.items() if row.orders]:
                    row, said = step_end(shard.rows[instrument], market, record.offset, self._context.namespace)
                    await self._say(shard, instrument, row, said)
            await self._mark(record.partition, shard, market)
            return
        for instrument in dict.fromkeys(tick.instrument for tick in market.ticks):
            if instrument in shard.rows and shard.rows[instrument].orders:
                await self._match(shard, instrument, record.offset, record.partition, market)
        for tick in market.ticks:
            shard.prices[tick.instrument] = tick.price
            if tick.instrument in shard.rows and shard.rows[tick.instrument].positions:
                shard.marked = False

    async def _match(self, shard: Shard, instrument: str, offset: int, number: int, batch: TickBatch) -> None:
        row, said = step_batch(
            shard.rows[instrument],
            batch,
            (number, offset),
            self._context.instruments[instrument],
            self._trader,
            self._context.namespace,
        )
        await self._say(shard, instrument, row, said)

    async def _order(self, record: Record, shard: Shard) -> int | None:
        validated = decode(Validated, record.value)
        instrument = validated.signal.instrument
        if instrument not in self._context.instruments:
            raise BadEvent(f"validated for {instrument}, which is not in the list of instruments")
        row = shard.rows.get(instrument, ExecutionRow())
        if record.offset > row.applied and validated.sequence > row.heard.get(validated.producer, -1):
            row, said = step_validated(row, validated, self._trader.latency_ms)
            await self._say(shard, instrument, row.model_copy(update={"applied": record.offset}), said)
        elif not row.orders:
            return None
        # Also for a repeat: the process that took the order may have died before it looked at the ticks that passed,
        # and no tick may come any more.
        # Before its first tick the agent does not know where it stands: then the whole log has passed.
        until = shard.next
        if until is None:
            until = await self._readback.end(self._context.topics.ticks, record.partition)
        await self._catch_up(record, shard, instrument, until)
        if shard.end is not None and shard.rows[instrument].positions:
            shard.marked = False
            await self._mark(record.partition, shard, shard.end)
        return validated.signal.cause.time

    async def _catch_up(self, record: Record, shard: Shard, instrument: str, until: int) -> None:
        """Match an instrument's orders against the ticks after their causes and before the offset `until`."""
        start = min(order.cause.offset for order in shard.rows[instrument].orders.values())
        async for offset, market in self._passed(record.partition, shard, start, until):
            if isinstance(market, TickBatch):
                try:
                    await self._match(shard, instrument, offset, record.partition, market)
                except BadEvent as error:
                    # Unusable order books: such a batch fills nobody, whenever an order meets it.
                    self._context.loop.log.error("passing over ticks %d@%d: %s", record.partition, offset, error)
            elif market.end:
                row, said = step_end(shard.rows[instrument], market, offset, self._context.namespace)
                await self._say(shard, instrument, row, said)
            if not shard.rows[instrument].orders:
                return

    async def _passed(
        self, number: int, shard: Shard, start: int, until: int
    ) -> AsyncIterator[tuple[int, TickBatch | Beat]]:
        """The records of market.ticks in [start, until): from the log what is older than the window."""
        known_from = shard.window[0][0] if shard.window else until
        async for record in self._readback.read(self._context.topics.ticks, number, start, min(known_from, until)):
            try:
                yield record.offset, decode_market(record.value)
            except BadEvent:
                continue  # dead-lettered when it came by
        for offset, market in list(shard.window):
            if start <= offset < until:
                yield offset, market

    async def _say(self, shard: Shard, instrument: str, row: ExecutionRow, said: Said) -> None:
        if not said.updates:
            return
        row = row.model_copy(update={"said": said.updates})
        await self._context.loop.write(self._table, {instrument.encode(): row.model_dump_json().encode()})
        shard.rows[instrument] = row
        await self._context.loop.send(self._outputs(said))
        for update in said.updates:
            self._mirror(update)

    def _outputs(self, said: Said) -> list[Output]:
        context = self._context
        account = context.namespace.encode()
        outputs = [Output(context.topic("orders.updates"), account, encode(update)) for update in said.updates]
        for update in said.fills:
            assert update.fill is not None
            filled = Filled(
                world=update.world,
                namespace=update.namespace,
                fill=update.fill,
                producer=update.producer,
                sequence=update.sequence,
            )
            outputs.append(Output(context.topic("orders.filled"), update.strategy_id.encode(), encode(filled)))
        return outputs

    async def _mark(self, number: int, shard: Shard, beat: Beat) -> None:
        """Say the last prices of what is held: at most once a wall second, and at the end of the data."""
        due = time.monotonic() - shard.marked_at >= _MARK_INTERVAL_S
        if shard.marked or not (due or beat.end):
            return
        shard.marked, shard.marked_at = True, time.monotonic()
        by_strategy: dict[str, dict[str, int]] = {}
        for instrument, row in shard.rows.items():
            for strategy_id in row.positions:
                if instrument in shard.prices:
                    by_strategy.setdefault(strategy_id, {})[instrument] = shard.prices[instrument]
        context = self._context
        marks = [
            Mark(
                world=beat.world,
                namespace=context.namespace,
                strategy_id=strategy_id,
                shard=number,
                time=beat.time,
                prices={name: price_of(units, context.instruments[name].decimals) for name, units in prices.items()},
            )
            for strategy_id, prices in by_strategy.items()
        ]
        topic = context.topic("marks")
        await context.loop.send([Output(topic, mark.strategy_id.encode(), encode(mark)) for mark in marks])

    async def _load(self, number: int) -> Shard:
        rows = {
            key.decode(): read_row(ExecutionRow, value)
            for key, value in self._table.rows()
            if number in self._map.shards(key.decode())
        }
        # Whoever wrote a row may have died before this was sent; who has heard it drops it by its sequence.
        said = [update for row in rows.values() for update in row.said]
        await self._context.loop.send(self._outputs(Said(tuple(said))))
        shard = self._shards[number] = Shard(rows)
        return shard

    def mirror_rows(self) -> None:
        """Write this worker's part of the mirror again: the working orders."""
        for _, value in self._table.rows():
            row = read_row(ExecutionRow, value)
            # The last change may not have reached the mirror before a crash: an order that has ended leaves it.
            for update in row.said:
                self._mirror(update)
            for number, order in enumerate(row.orders.values()):
                update = _update(
                    row,
                    number - len(row.orders),
                    self._context.namespace,
                    self._context.world,
                    order,
                    OrderState.WORKING,
                    order.cause.time,
                )
                self._mirror(update)

    def _mirror(self, update: OrderUpdate) -> None:
        """Show a working order; one that has ended stands on `<ns>.orders.updates` and leaves the mirror."""
        keys, mirror = Keys(self._context.namespace), self._context.mirror
        if update.state.terminal:
            mirror.remove(keys.order(update.order_id))
            mirror.discard(keys.orders, update.order_id)
            return
        view = {
            "order_id": update.order_id,
            "strategy_id": update.strategy_id,
            "instrument": update.instrument,
            "side": update.side,
            "quantity": update.quantity,
            "state": update.state,
            "price": str(update.fill.price) if update.fill else None,
            "time": update.time,
            "at": self._context.now_ms(),
        }
        mirror.put(keys.order(update.order_id), orjson.dumps(view), version=update.sequence)
        mirror.add(keys.orders, update.order_id)
