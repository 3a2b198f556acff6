"""Reads from the topics of an account what they say of its orders, and the ticks that an order met."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from panda_streams.brokers.port import SimulatedTrader
from panda_streams.codec import decode, decode_depth, decode_market
from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Fill
from panda_streams.domain.ticks import Depth, Place
from panda_streams.domain.values import Value
from panda_streams.errors import BadEvent, PandaError
from panda_streams.events import Booked, OrderUpdate, TickBatch, Validated
from panda_streams.rerun import Facts, Moment, Rerun, began, rerun
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.sender import partition_of
from panda_streams.topics import Topics

__all__ = ["OrderLog"]

E = TypeVar("E", bound=Value)

_ORDER = b'{"kind":"order"'
_VALIDATED = b'{"kind":"validated"'
_ADJUSTED = b'{"kind":"adjusted"'
_BOOKING = b'{"kind":"booking"'
_SHOWN = 5


class OrderLog:
    """The log of one account, read with a plain consumer and without a group; nothing is written."""

    def __init__(self, log: ReadBack, topics: Topics, namespace: str, partitions: int) -> None:
        self._log = log
        self._topics = topics
        self._namespace = namespace
        self._partitions = partitions

    async def orders(self) -> list[OrderUpdate]:
        """The last update of each order that the log knows, in the order in which the orders began."""
        last: dict[str, OrderUpdate] = {}
        async for value in self._values("orders.updates", self._home):
            if value.startswith(_ORDER) and (update := _read(OrderUpdate, value)) is not None:
                last[update.order_id] = update
        return list(last.values())

    async def facts(self, prefix: str) -> Facts:
        """What the log says of the order whose id begins with `prefix`; raise PandaError if that is not one order."""
        beginning = f'"order_id":"{prefix}'.encode()
        kept = [value async for value in self._values("orders.updates", self._home) if value.startswith(_ORDER)]
        found: dict[str, list[OrderUpdate]] = {}
        for value in kept:
            update = _read(OrderUpdate, value) if beginning in value else None
            if update is not None:
                found.setdefault(update.order_id, []).append(update)
        if len(found) != 1:
            raise _not_one(prefix, {name: updates[-1] for name, updates in found.items()})
        [updates] = found.values()
        first = updates[0]
        of_strategy = f'"strategy_id":"{first.strategy_id}"'.encode()
        fills: dict[int, Fill] = {}
        for value in kept:
            if of_strategy in value and b'"fill":{' in value and (update := _read(OrderUpdate, value)) is not None:
                same = (update.strategy_id, update.instrument) == (first.strategy_id, first.instrument)
                if same and update.fill is not None:
                    fills[update.sequence] = update.fill
        validated, adjusted = await self._verdict(first)
        complete = not adjusted and await self._log.start(self._topic("orders.updates"), self._home) == 0
        once = {update.sequence: update for update in updates}
        return Facts(tuple(once.values()), tuple(fills.items()), validated, complete)

    async def note(self, facts: Facts) -> Booking | None:
        """What the contract note of the day of its first fill posted to the order's strategy, if it has been posted."""
        fill = next((update.fill for update in facts.updates if update.fill is not None), None)
        if fill is None:
            return None
        day, home = trading_date(fill.time), partition_of(fill.strategy_id.encode(), self._partitions)
        async for value in self._values("orders.filled", home):
            booked = _read(Booked, value) if value.startswith(_BOOKING) else None
            if booked is not None:
                booking = booked.booking
                noted = (booking.kind, booking.strategy_id, trading_date(booking.time))
                if noted == (BookingKind.CONTRACT_NOTE, fill.strategy_id, day):
                    return booking
        return None

    async def again(self, facts: Facts, instrument: Instrument, trader: SimulatedTrader) -> tuple[Rerun | None, str]:
        """Let the order meet the ticks of its life again; else say why that cannot be done."""
        place = _place(facts)
        if place is None:
            return None, "what it was decided by is no longer kept, or it never met the market: no tick can be shown"
        shard, start, volume = place
        topic = self._topics.ticks
        first = await self._log.start(topic, shard)
        if first > start:
            return None, (
                f"ticks are kept from offset {first} of shard {shard} on, and the order began at {start}: no tick and "
                "no price can be shown (PANDA_TICK_RETENTION_HOURS says how long they are kept)"
            )
        moments = await self._moments(shard, start, facts)
        order = began(facts, moments, instrument, trader)
        if order is None:
            return None, "what it was decided by is no longer kept, or it never met the market: no tick can be shown"
        return rerun(facts, order, moments, instrument, trader, volume), ""

    async def _moments(self, shard: int, start: int, facts: Facts) -> list[Moment]:
        """The ticks and beats of the shard from an offset to the end of the order's life."""
        last = facts.last
        until = last.time if last.state.terminal else None
        moments: list[Moment] = []
        end = await self._log.end(self._topics.ticks, shard)
        async for record in self._log.read(self._topics.ticks, shard, start, end):
            try:
                market = decode_market(record.value)
            except BadEvent:
                continue  # it was dead-lettered when it came by
            place = Place(market.source, market.run, shard, record.offset)
            if not isinstance(market, TickBatch):
                moments.append(Moment(place, market.time, None))
            else:
                ticks = [tick for tick in market.ticks if tick.instrument == last.instrument]
                books = _books(market) if ticks else {}
                moments += [Moment(place, tick.time, tick, books.get(tick.row)) for tick in ticks]
            met = last.fill is None or last.fill.tick.offset < record.offset
            if until is not None and market.time > until and met:
                break
        return moments

    async def _verdict(self, update: OrderUpdate) -> tuple[Validated | None, bool]:
        """The verdict on an order's signal, and whether its shares were ever split."""
        shard = int(update.producer.rpartition("/")[2])
        wanted = f'"signal_id":"{update.signal_id}"'.encode()
        instrument = f'"instrument":"{update.instrument}"'.encode()
        found, adjusted = None, False
        async for value in self._values("signals.validated", shard):
            adjusted = adjusted or (value.startswith(_ADJUSTED) and instrument in value)
            if found is None and value.startswith(_VALIDATED) and wanted in value:
                found = _read(Validated, value)
        return found, adjusted

    async def _values(self, name: str, partition: int) -> AsyncIterator[bytes]:
        topic = self._topic(name)
        start, end = await self._log.start(topic, partition), await self._log.end(topic, partition)
        async for record in self._log.read(topic, partition, start, end):
            if record.value:
                yield record.value

    def _topic(self, name: str) -> str:
        return self._topics.of(self._namespace, name)

    @property
    def _home(self) -> int:
        return partition_of(self._namespace.encode(), self._partitions)


def _place(facts: Facts) -> tuple[int, int, int | None] | None:
    """Shard and offset from which the order's ticks must be read, and the volume of the day before them, if known."""
    first = facts.first
    shard = int(first.producer.rpartition("/")[2])
    if facts.validated is not None and first.parent is None:
        quote, cause = facts.validated.signal.quote, facts.validated.signal.cause
        return shard, cause.offset, quote.volume if quote is not None else None
    earlier = [fill.tick.offset for sequence, fill in facts.fills if sequence < first.sequence]
    if first.parent is None and first.signal_id is not None:
        return None
    return (shard, earlier[-1], None) if earlier else None


def _books(batch: TickBatch) -> Mapping[int, Depth]:
    try:
        return decode_depth(batch)
    except BadEvent:
        return {}  # as execution takes it: matched by its ticks alone


def _read(kind: type[E], value: bytes) -> E | None:
    """A record of a topic; None for one that cannot be decoded: it was dead-lettered when it came by."""
    try:
        return decode(kind, value)
    except BadEvent:
        return None


def _not_one(prefix: str, found: Mapping[str, OrderUpdate]) -> PandaError:
    if not found:
        return PandaError(
            f"no order with an id that begins with {prefix!r} is in the log",
            fix="`panda paper orders --all` lists them; they are kept for 31 days",
        )
    shown = ", ".join(f"{name} ({update.side} {update.instrument})" for name, update in list(found.items())[:_SHOWN])
    return PandaError(
        f"{len(found)} orders have an id that begins with {prefix!r}: {shown}", fix="give more of its digits"
    )
