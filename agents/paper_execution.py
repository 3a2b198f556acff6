"""The execution agent of a simulated account: its orders meet the tick log. Inputs: market.ticks,
`<ns>.signals.validated`.

An order that comes after ticks which it should have met looks them up (on the wall clock: docs/clock.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.context import Context
from agents.desks.books import Books
from agents.desks.lookback import Late, LookBack, decoded
from agents.desks.shard import Seen
from agents.execution import Execution
from agents.execution import Memory as ShardMemory
from panda_streams.brokers.port import SimulatedTrader
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.lifecycle import OrderEvent
from panda_streams.domain.orders import Reason
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.signals import Intent
from panda_streams.domain.ticks import Place, traded_since
from panda_streams.events import Beat, TickBatch, Validated
from panda_streams.streams.agent import Output, Part
from panda_streams.streams.inputs import Item, Received, Wanted
from tables.execution import ExecutionRow

__all__ = ["PaperExecution"]


@dataclass(slots=True)
class Memory(ShardMemory):
    passed: LookBack = field(default_factory=LookBack)
    """Ticks for orders that come after them (wall clock only)."""
    late: Late | None = None
    """The verdict that the log is read again for."""


class PaperExecution(Execution[PaperDesk]):
    """Fills the orders of one account from the ticks of this worker's shards."""

    def __init__(self, context: Context, trader: SimulatedTrader) -> None:
        super().__init__(context, trader)
        self._market_of = trader

    def open(self, part: Part) -> None:
        part.memory = Memory(first=part.inputs.logs[self._ticks].handled)

    def _make_desk(self, instrument: Instrument, row: ExecutionRow) -> PaperDesk:
        namespace = self._context.namespace
        return PaperDesk(namespace, instrument, self._market_of, row.orders, row.positions, self._protections)

    def _market(self, part: Part, event: TickBatch | Beat, offset: int) -> list[Output]:
        if not self._context.ordered:
            part.memory.passed.add(offset, event)
        return super()._market(part, event, offset)

    # Verdicts

    def wants(self, part: Part, item: Item) -> Wanted | None:
        if self._context.ordered or not isinstance(item.event, Validated) or not self._trades(part, item.event):
            return None
        late = self._late(part, item.event)
        wanted = part.memory.passed.wants(late, part.inputs.logs[self._ticks].handled)
        return Wanted(self._ticks, *wanted) if wanted is not None else None

    def supply(self, part: Part, wanted: Wanted, records: list[Received]) -> None:
        late = part.memory.late
        assert late is not None, "nobody asked for it"
        for offset, market in decoded(records):
            self._meet_late(part, late, market, offset)
        late.next = wanted.end

    def _trades(self, part: Part, validated: Validated) -> bool:
        signal = validated.signal
        known = signal.instrument in self._context.instruments
        return bool(validated.tickets) and known and signal.cause.offset >= self._shard(part).first

    def _admit(self, part: Part, validated: Validated) -> list[Output]:
        signal, shard = validated.signal, self._shard(part)
        if not self._trades(part, validated):
            return self._refused(part, validated, OrderEvent.EXPIRE, Reason.TICKS_GONE)
        row = self._row(part, signal.instrument)
        if self._context.ordered:
            changes = self._place(row.desk, validated)
            quoted = self._quoted(signal)
            if signal.instrument not in shard.seen and quoted is not None:
                shard.seen[signal.instrument] = quoted
            return self._say(part, signal.instrument, row, changes)
        late = self._late(part, validated)
        part.memory.late = None
        for offset, market in part.memory.passed.window(late):
            if not late.desk.orders:
                break
            self._meet_late(part, late, market, offset)
        changes = [*late.changes, *row.desk.join(late.desk, max(shard.time, validated.time))]
        if signal.instrument not in shard.seen:
            last = part.memory.passed.last_seen(late, part.inputs.logs[self._ticks].handled)
            if last is not None:
                shard.seen[signal.instrument] = last
        said = self._say(part, signal.instrument, row, changes)
        # After the end of the data no beat follows that could carry the marks of what was filled late.
        return said + (list(self._marked(part, shard, shard.ended)) if late.changes and shard.ended else [])

    def _change(self, part: Part, validated: Validated) -> list[Output]:
        """Modify or cancel working orders: from the cause plus latency on, and nothing that has passed is undone."""
        signal, shard = validated.signal, self._shard(part)
        row = self._row(part, signal.instrument)
        at = max(signal.cause.time + self._trader.latency(signal.signal_id), validated.time)
        at = at if self._context.ordered else max(at, shard.time + 1)
        if signal.intent is Intent.CANCEL:
            row.desk.cancel(signal.strategy_id, signal.side, at)
        else:
            row.desk.modify(signal.strategy_id, signal.side, at, signal.terms.price, signal.terms.trigger)
        return self._say(part, signal.instrument, row, []) if row.desk.changed else []

    def _late(self, part: Part, validated: Validated) -> Late:
        """The verdict's orders on a desk of their own, for ticks that may have passed."""
        signal = validated.signal
        late: Late | None = part.memory.late
        if late is None or late.signal_id != signal.signal_id:
            desk = self._row(part, signal.instrument).desk.late()
            late = Late(signal.signal_id, signal.instrument, desk, signal.cause.offset, self._quoted(signal))
            late.changes += self._place(desk, validated)
            part.memory.late = late
        return late

    def _meet_late(self, part: Part, late: Late, market: TickBatch | Beat, offset: int) -> None:
        place = Place(market.source, market.run, part.partition, offset)
        if isinstance(market, Beat):
            late.changes += late.desk.pass_time(market.time, place)
            if market.end:
                late.changes += late.desk.expire(offset, market.time, Reason.END_OF_DATA)
            return
        books = Books(market)
        for tick in market.ticks:
            if tick.instrument == late.instrument:
                shares = traded_since(late.seen.volume if late.seen is not None else None, tick.volume)
                late.seen = Seen(tick.price, tick.volume)
                late.changes += late.desk.meet(tick, place, books.get, shares)
