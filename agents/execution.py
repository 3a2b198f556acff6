"""What every execution agent does, whoever trades. Rows: one an instrument, one a shard.

Outputs: every change of an order, each fill, the end of each trading day, marks. paper_execution.py fills orders from
the tick log, broker_execution.py has them worked by a broker.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from agents.account.limits import LimitsNow
from agents.context import Context
from agents.desks.books import Books
from agents.desks.dead_letters import read_lost_verdict
from agents.desks.mirrored import mirror_orders
from agents.desks.said import Said
from agents.desks.shard import DeskRow, Seen, Shard
from agents.reading import read_ticks, read_validated
from panda_streams.brokers.port import Trader
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.corporate_actions import adjusted_price
from panda_streams.domain.desk import Change, Desk
from panda_streams.domain.exchange import accept, order_of
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.lifecycle import OrderEvent, advance
from panda_streams.domain.orders import Order, Reason
from panda_streams.domain.protection import Protection
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.settlement_price import settlement_price
from panda_streams.domain.signals import Intent, Signal
from panda_streams.domain.ticks import Place, price_of, traded_since
from panda_streams.events import (
    Adjusted,
    Beat,
    Flatten,
    TickBatch,
    Validated,
)
from panda_streams.streams.agent import Agent, Output, Part
from panda_streams.streams.inputs import Item, Received
from tables import read_row
from tables.execution import ExecutionRow, ShardRow, shard_key

__all__ = ["Execution", "Memory"]

_MARK_INTERVAL_S = 1.0


D = TypeVar("D", bound=Desk)


@dataclass(slots=True)
class Memory:
    """What the agent holds of one shard beside its rows."""

    first: int
    """Where the shard's log began when this worker took it over; what a new shard has taken from the start."""
    marked_at: float = float("-inf")


class Execution(Agent, Generic[D]):
    """Works the orders of one account on this worker's shards."""

    name = "execution"

    def __init__(self, context: Context, trader: Trader) -> None:
        self._context = context
        self.ordered = context.ordered
        self._trader = trader
        self._limits = LimitsNow()
        self._ticks = context.topics.ticks
        self._said = Said(context)
        self._protections = {
            strategy_id: config.accounts[context.namespace].protection
            for strategy_id, config in context.strategies.items()
            if context.namespace in config.accounts and config.accounts[context.namespace].protection != Protection()
        }
        self.inputs = (read_ticks(self._ticks), read_validated(context.topic("signals.validated")))

    def open(self, part: Part) -> None:
        part.memory = Memory(first=part.inputs.logs[self._ticks].handled)

    def load(self, key: str, data: bytes) -> Shard | DeskRow[D]:
        if key.startswith("shard/"):
            return Shard.of(read_row(ShardRow, data))
        row = read_row(ExecutionRow, data)
        return DeskRow(self._desk(key, row), row.ended)

    def dump(self, row: Shard | DeskRow[D]) -> bytes:
        return row.dump()

    # What differs by who trades

    @abstractmethod
    def _make_desk(self, instrument: Instrument, row: ExecutionRow) -> D:
        """A desk of one instrument with what it was stored with."""

    @abstractmethod
    def _admit(self, part: Part, validated: Validated) -> list[Output]:
        """Take in the orders of a verdict."""

    @abstractmethod
    def _change(self, part: Part, validated: Validated) -> list[Output]:
        """Modify or cancel working orders."""

    def _desk(self, name: str, row: ExecutionRow) -> D:
        if name not in self._context.instruments:
            raise RuntimeError(
                f"{name} has working orders or positions and is not in the list of instruments: put it back into the "
                "files of PANDA_INSTRUMENTS and start again"
            )
        return self._make_desk(self._context.instruments[name], row)

    # Records

    def step(self, part: Part, item: Item, offset: int) -> list[Output]:
        event: TickBatch | Beat | Validated | Adjusted | Flatten = item.event
        if isinstance(event, Validated):
            return self._validated(part, event)
        if isinstance(event, Adjusted):
            return self._adjusted(part, event)
        if isinstance(event, Flatten):
            return self._flatten(part, event)
        return self._market(part, event, offset)

    def _market(self, part: Part, event: TickBatch | Beat, offset: int) -> list[Output]:
        shard = self._shard(part)
        shard.time, shard.place = event.time, (event.source, event.run, offset)
        if isinstance(event, TickBatch):
            shard.ticked = event.time
        part.rows.put(shard_key(part.partition), shard)
        place = Place(event.source, event.run, part.partition, offset)
        return self._beat(part, event, place) if isinstance(event, Beat) else self._match(part, event, place)

    def _shard(self, part: Part) -> Shard:
        shard: Shard | None = part.rows.get(shard_key(part.partition))
        if shard is None:
            shard = Shard(first=part.memory.first)
            part.rows.put(shard_key(part.partition), shard)
        return shard

    def _row(self, part: Part, name: str) -> DeskRow[D]:
        row: DeskRow[D] = part.rows.get(name) or DeskRow(self._desk(name, ExecutionRow()))
        row.desk.frozen = self._context.levels.mode(self._context.namespace)[0] is Mode.HALTED_HARD
        return row

    def _match(self, part: Part, batch: TickBatch, place: Place) -> list[Output]:
        shard = self._shard(part)
        seen, outputs, moved = shard.seen, list[Output](), False
        if not seen and not shard.working and not shard.held:
            return []
        books = Books(batch)
        for tick in batch.ticks:
            name = tick.instrument
            before = seen.get(name)
            followed = name in shard.working or name in shard.held
            if before is None and not followed and not self._settles(shard, name):
                continue
            if before is None or tick.price != before.price or tick.volume != before.volume:
                seen[name] = Seen(tick.price, tick.volume)
                moved = True
            if followed:
                row = self._row(part, name)
                changes = row.desk.meet(
                    tick, place, books.get, traded_since(before.volume if before is not None else None, tick.volume)
                )
                if changes or row.desk.changed:
                    outputs += self._say(part, name, row, changes)
        if moved:
            part.rows.put(shard_key(part.partition), shard)
        return outputs

    def _settles(self, shard: Shard, name: str) -> bool:
        """Whether a contract that is held is settled by this instrument's price."""
        return any(self._context.instruments[held].underlying == name for held in shard.held)

    def _beat(self, part: Part, beat: Beat, place: Place) -> list[Output]:
        shard = self._shard(part)
        outputs: list[Output] = []
        for name in dict.fromkeys((*shard.working, *shard.held)):
            row = self._row(part, name)
            changes = row.desk.pass_time(beat.time, place)
            if beat.end:
                # With what was decided at this very beat.
                changes += row.desk.expire(place.offset + 1, beat.time, Reason.END_OF_DATA)
            if changes or row.desk.changed:
                outputs += self._say(part, name, row, changes)
        outputs += self._prices(part, beat.time)
        outputs += self._listen(part, beat.time)
        outputs += self._end_days(part, beat, place)
        ended = beat.time if beat.end else None
        if shard.ended != ended:
            shard.ended = ended
            part.rows.put(shard_key(part.partition), shard)
        return outputs

    def _prices(self, part: Part, time: int) -> list[Output]:
        """Tell risk the prices of what is held, as far as they have changed: what it computes losses with."""
        shard = self._shard(part)
        now = {name: shard.seen[name].price for name in shard.held}
        moved = {name: units for name, units in now.items() if shard.told.get(name) != units}
        if now.keys() != shard.told.keys() or moved:
            shard.told = now
            part.rows.put(shard_key(part.partition), shard)
        if not moved:
            return []
        return [self._said.prices(part.partition, shard, moved, time)]

    def _listen(self, part: Part, time: int) -> list[Output]:
        """Tell risk that no tick has come for too long while the market trades, and that they come again."""
        shard, context = self._shard(part), self._context
        limit = self._limits.now(context).limits.account.feed_stale_s
        opened = self._trader.calendar.open_since(time) if limit is not None else None
        last = max(shard.ticked, opened or 0)
        silent = limit is not None and opened is not None and time - last > 1000 * limit
        if silent == shard.silent:
            return []
        shard.silent = silent
        part.rows.put(shard_key(part.partition), shard)
        return [self._said.silence(part.partition, shard, last, time, silent=silent)]

    def _flatten(self, part: Part, command: Flatten) -> list[Output]:
        """End all orders and close all positions of the shard, at the place that it has come to."""
        shard, outputs = self._shard(part), list[Output]()
        source, run, offset = shard.place
        time = max(command.time, shard.time)
        cause = Place(source, run, part.partition, offset).ref(2**31, time)  # after every row of that record
        for name in dict.fromkeys((*shard.working, *shard.held)):
            row = self._row(part, name)
            outputs += self._say(part, name, row, row.desk.flatten(command.action_id, cause, time))
        return outputs

    # The end of a trading day

    def _end_days(self, part: Part, beat: Beat, place: Place) -> list[Output]:
        """Say the end of the trading day, once, at the first beat at which all its markets have closed."""
        shard, today = self._shard(part), trading_date(beat.time)
        over = self._trader.calendar.last_close(today)
        if over is None or beat.time < over or shard.day_ended == today.isoformat():
            return []
        outputs = []
        for name in list(shard.held):
            expiry = self._context.instruments[name].expiry
            if expiry is not None and expiry <= today:
                outputs += self._settle(part, shard, name, place, beat.time)
        shard.day_ended = today.isoformat()
        outputs.append(self._said.day_end(part.partition, shard, today, beat.time))
        part.rows.put(shard_key(part.partition), shard)
        return outputs

    def _settle(self, part: Part, shard: Shard, name: str, place: Place, time: int) -> list[Output]:
        instruments, row = self._context.instruments, self._row(part, name)
        contract = instruments[name]
        spot = shard.seen.get(contract.underlying or "")
        underlying = instruments.get(contract.underlying or "")
        last = price_of(shard.seen[name].price, contract.decimals)
        at = price_of(spot.price, underlying.decimals) if spot is not None and underlying is not None else None
        return self._say(part, name, row, row.desk.settle(settlement_price(contract, at, last), place, time))

    # Verdicts

    def _validated(self, part: Part, validated: Validated) -> list[Output]:
        signal = validated.signal
        if signal.instrument not in self._context.instruments:
            # Its list has changed since the verdict: the orders still end, so that risk releases what it holds back.
            return self._refused(part, validated, OrderEvent.REJECT, Reason.INSTRUMENT_UNKNOWN)
        if signal.intent in (Intent.CANCEL, Intent.MODIFY):
            return self._change(part, validated)
        if self._context.levels.mode(self._context.namespace)[0].rank >= Mode.HALTED.rank:
            # Risk says again, after a kill, what it had decided before a halt.
            return self._refused(part, validated, OrderEvent.CANCEL, Reason.ARM_HALTED)
        return self._admit(part, validated)

    def _quoted(self, signal: Signal) -> Seen | None:
        """The state of its instrument that a signal carries."""
        quote = signal.quote
        if quote is None:
            return None
        units = int(quote.price.scaleb(self._context.instruments[signal.instrument].decimals))
        return Seen(units, quote.volume)

    def _place(self, desk: D, validated: Validated) -> list[Change]:
        signal, instrument = validated.signal, self._context.instruments[validated.signal.instrument]
        changes: list[Change] = []
        for ticket in validated.tickets:
            order = accept(signal, ticket, validated.time, instrument, self._trader)
            changes += desk.place(order, validated.time)
        return changes

    def _adjusted(self, part: Part, event: Adjusted) -> list[Output]:
        name, row, shard = event.instrument, self._row(part, event.instrument), self._shard(part)
        seen = shard.seen.get(name)
        if seen is not None:
            # Until it trades again, the old share's price would mark the new shares.
            units = adjusted_price(Decimal(seen.price), event.ratio).to_integral_value()
            shard.seen[name] = Seen(int(units), seen.volume)
        return self._say(part, name, row, row.desk.adjust(event.ratio, event.time))

    def _refused(self, part: Part, validated: Validated, event: OrderEvent, reason: Reason) -> list[Output]:
        """End the orders of a verdict before they could begin."""
        orders = [order_of(validated.signal, ticket, validated.time) for ticket in validated.tickets]
        return self._end(part, orders, event, reason)

    def _end(self, part: Part, orders: Iterable[Order], event: OrderEvent, reason: Reason) -> list[Output]:
        """End orders that no desk has taken."""
        shard = self._shard(part)
        changes = [Change(advance(order, event), order.live_at, reason=reason) for order in orders]
        part.rows.put(shard_key(part.partition), shard)
        return self._said.changes(part.partition, shard, changes)

    def stray(self, part: Part, topic: str, record: Received) -> list[Output]:
        """End the orders of a verdict that cannot be processed, so that risk releases what it holds back for them."""
        shard = self._shard(part)
        lost = read_lost_verdict(record.value, part.partition, shard.time) if topic != self._ticks else None
        if lost is None or lost.sequence <= shard.lost:
            return []
        shard.lost = lost.sequence
        return self._end(part, lost.orders, OrderEvent.REJECT, Reason.DEAD_LETTERED)

    # What is said

    def _say(self, part: Part, name: str, row: DeskRow[D], changes: list[Change]) -> list[Output]:
        """Put the rows that changed, and say each change under the shard's next number."""
        shard = self._shard(part)
        outputs = self._said.changes(part.partition, shard, changes)
        row.take(changes)
        row.desk.changed = False
        part.rows.put(name, row)
        shard.follow(name, row.desk, self._context.instruments)
        part.rows.put(shard_key(part.partition), shard)
        return outputs

    def beat(self, part: Part, reached: int, now: float) -> list[Output]:
        """The shard's beat, and the last prices of what is held: once a second, and at the end of the data."""
        outputs = [self._said.beat(part.partition, reached)]
        shard, memory = part.rows.get(shard_key(part.partition)), part.memory
        if shard is None or not shard.held or (now - memory.marked_at < _MARK_INTERVAL_S and shard.ended is None):
            return outputs
        memory.marked_at = now
        return [*outputs, *self._marked(part, shard, shard.ended or reached)]

    def _marked(self, part: Part, shard: Shard, time: int) -> Iterator[Output]:
        """A mark for each strategy that holds a position on the shard."""
        prices: dict[str, dict[str, int]] = {}
        for instrument in shard.held:
            for strategy_id in self._row(part, instrument).desk.positions:
                prices.setdefault(strategy_id, {})[instrument] = shard.seen[instrument].price
        return self._said.marks(part.partition, prices, time)

    # The mirror

    def stored(self, part: Part, rows: Mapping[str, Any]) -> None:
        version = self._shard(part).sequence
        for row in rows.values():
            if isinstance(row, DeskRow):
                mirror_orders(self._context, row.desk.orders.values(), row.ended, version)
                row.forget()

    def mirror(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterable[None]:
        """Write this worker's part of the mirror again, a row at a time: the working orders."""
        for key, value in rows:
            if not key.startswith(b"shard/"):
                row = read_row(ExecutionRow, value)
                mirror_orders(self._context, row.orders, row.ended, 0)
            yield
