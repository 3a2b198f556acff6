"""What an arm has to say, from its inputs alone: no loop and no schedule, only desks of the domain and risk's step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from agents.reading import FEEDBACK_MS, brain_writer, execution_writer, risk_writer
from panda_streams.codec import decode, decode_any, decode_depth, decode_market
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.desk import Change
from panda_streams.domain.exchange import accept
from panda_streams.domain.orders import Order, Reason, Role, Ticket
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.settlement_price import settlement_price
from panda_streams.domain.signals import Intent, Signal
from panda_streams.domain.ticks import Place, Tick, price_of
from panda_streams.events import Beat, DayEnd, OrderUpdate, Prices, Silence, TickBatch, Validated
from panda_streams.streams.agent import Part, Rows
from panda_streams.streams.inputs import Inputs, Item
from tests.chaos.compare import Entry, once
from tests.simulation.market import CALENDAR, INSTRUMENTS, PARTITIONS, SHARDS
from tests.simulation.world import Arm, World

__all__ = ["check_fates", "check_order"]


class _Record(NamedTuple):
    """A record of market.ticks."""

    offset: int
    market: TickBatch | Beat


def check_fates(world: World, arm: Arm, log: list[Entry]) -> Iterator[str]:
    """Each order's updates are what the tick log gives it: of the desks on the replay clock, of each entry alone on
    the wall's."""
    said: dict[str, list[OrderUpdate]] = defaultdict(list)
    verdicts: dict[int, list[Validated]] = defaultdict(list)
    for entry in sorted(once(log).values(), key=lambda entry: entry.event["sequence"]):
        if entry.topic == "orders.updates" and entry.event["kind"] == "order":
            update = decode(OrderUpdate, entry.value)
            said[update.instrument].append(update)
        elif entry.topic == "signals.validated":
            validated = decode(Validated, entry.value)
            verdicts[validated.signal.cause.shard].append(validated)
    check = _check_desks if world.market.scenario.ordered else _check_entries
    for shard in range(PARTITIONS):
        yield from check(arm, shard, _records(world, shard), verdicts[shard], said)


def _records(world: World, shard: int) -> list[_Record]:
    """The shard's records; what was written twice stands once."""
    records, seen = [], set()
    for record in world.ticks(shard):
        market = decode_market(record.value)
        if (market.run, market.sequence) not in seen:
            seen.add((market.run, market.sequence))
            records.append(_Record(record.offset, market))
    return records


def _check_desks(
    arm: Arm,
    shard: int,
    records: list[_Record],
    verdicts: list[Validated],
    said: dict[str, list[OrderUpdate]],
) -> Iterator[str]:
    """What an instrument's desk says is what it gives when each verdict of t comes before ticks of t."""
    floor, waiting = _Floor(arm, shard), list(reversed(verdicts))
    for record in records:
        while waiting and waiting[-1].time <= record.market.time:
            floor.take(waiting.pop())
        floor.pass_record(record)
    if waiting:
        yield f"fate: {len(waiting)} verdicts on shard {shard} are later than all ticks"
    for name, desk_said in floor.said.items():
        yield from _differing(name, [_heard(update) for update in said[name]], [_told(change) for change in desk_said])


class _Floor:
    """The desks of one shard of an arm."""

    def __init__(self, arm: Arm, shard: int) -> None:
        self._arm = arm
        self._shard = shard
        names = [one.id for one in INSTRUMENTS if one.tradable and shard in SHARDS.shards(one.id)]
        self._desks = {name: _desk(arm, name) for name in names}
        self.said: dict[str, list[Change]] = {name: [] for name in names}
        self._last: dict[str, Tick] = {}
        self._spots: dict[str, int] = {}
        """Last price of an underlying since a contract on it is held, or it is traded itself."""
        self._ended: set[Any] = set()

    def take(self, validated: Validated) -> None:
        signal = validated.signal
        name, at = signal.instrument, signal.cause.time + self._arm.trader.latency(signal.signal_id)
        desk = self._desks[name]
        if signal.intent is Intent.CANCEL:
            desk.cancel(signal.strategy_id, signal.side, max(at, validated.time))
        elif signal.intent is Intent.MODIFY:
            terms = signal.terms
            desk.modify(signal.strategy_id, signal.side, max(at, validated.time), terms.price, terms.trigger)
        for ticket in validated.tickets:
            self.said[name] += desk.place(_order(self._arm, validated, ticket), validated.time)
        if signal.quote is not None and self._followed(name):
            self._spots.setdefault(name, int(signal.quote.price * 100))

    def pass_record(self, record: _Record) -> None:
        market = record.market
        place = Place(market.source, market.run, self._shard, record.offset)
        if isinstance(market, Beat):
            self._pass_time(market, place)
            return
        books = decode_depth(market)
        for tick in market.ticks:
            name = tick.instrument
            traded = _traded(self._last.get(name), tick)
            self._last[name] = tick
            if self._followed(name):
                self._spots[name] = tick.price
            if name in self._desks:
                self._say(name, self._desks[name].meet(tick, place, books.get, traded))

    def _pass_time(self, beat: Beat, place: Place) -> None:
        for name, desk in self._desks.items():
            self._say(name, desk.pass_time(beat.time, place))
            if beat.end:
                self._say(name, desk.expire(place.offset + 1, beat.time, Reason.END_OF_DATA))
        today = trading_date(beat.time)
        over = CALENDAR.last_close(today)
        if over is None or beat.time < over or today in self._ended:
            return
        self._ended.add(today)
        for name, desk in self._desks.items():
            contract = INSTRUMENTS[name]
            if desk.positions and contract.expiry is not None and contract.expiry <= today:
                spot = self._spots.get(contract.underlying or "")
                at = None if spot is None else price_of(spot, 2)
                worth = settlement_price(contract, at, price_of(self._last[name].price, 2))
                self._say(name, desk.settle(worth, place, beat.time))

    def _say(self, name: str, changes: list[Change]) -> None:
        self.said[name] += changes
        for known in [known for known in self._spots if not self._followed(known)]:
            del self._spots[known]

    def _followed(self, name: str) -> bool:
        own = self._desks.get(name)
        if own is not None and (own.orders or own.positions):
            return True
        return any(desk.positions and INSTRUMENTS[held].underlying == name for held, desk in self._desks.items())


def _check_entries(
    arm: Arm,
    shard: int,
    records: list[_Record],
    verdicts: list[Validated],
    said: dict[str, list[OrderUpdate]],
) -> Iterator[str]:
    """An entry that no signal has changed gets what it gets on a desk of its own.

    Whether a position is squared off depends on other orders, too: an entry that ends then is compared up to there.
    """
    changed = (Reason.CANCELLED_BY_STRATEGY, Reason.MODIFIED_BY_STRATEGY)
    for validated in verdicts:
        for ticket in validated.tickets:
            heard = [u for u in said[validated.signal.instrument] if u.order_id == ticket.order_id]
            if ticket.role is not Role.ENTRY or any(update.reason in changed for update in heard):
                continue
            order = _order(arm, validated, ticket)
            told = [c for c in _alone(arm, shard, order, validated.time, records) if c.order.order_id == order.order_id]
            squared = any(one.reason is Reason.SQUARED_OFF for one in (*heard, *told))
            found = [_heard(update) for update in heard if update.reason not in _CLOSING]
            due = [_told(change) for change in told if change.reason not in _CLOSING]
            both = min(len(found), len(due)) if squared else None
            yield from _differing(order.order_id, found[:both], due[:both])


_CLOSING = (Reason.SQUARED_OFF, Reason.DAY_ENDED, Reason.TTL_ENDED)


def _alone(arm: Arm, shard: int, order: Order, time: int, records: Iterable[_Record]) -> list[Change]:
    desk = _desk(arm, order.instrument)
    changes, last = desk.place(order, time), None
    for record in records:
        market = record.market
        place = Place(market.source, market.run, shard, record.offset)
        if isinstance(market, Beat):
            if record.offset > order.cause.offset:
                changes += desk.pass_time(market.time, place)
                changes += desk.expire(record.offset, market.time, Reason.END_OF_DATA) if market.end else []
            continue
        books = decode_depth(market)
        for tick in market.ticks:
            if tick.instrument == order.instrument:
                if record.offset >= order.cause.offset:
                    changes += desk.meet(tick, place, books.get, _traded(last, tick))
                last = tick
    return changes


def _desk(arm: Arm, name: str) -> PaperDesk:
    return PaperDesk(arm.namespace, INSTRUMENTS[name], arm.trader, protections=arm.protections)


def _order(arm: Arm, validated: Validated, ticket: Ticket) -> Order:
    instrument = INSTRUMENTS[validated.signal.instrument]
    return accept(validated.signal, ticket, validated.time, instrument, arm.trader)


def _traded(before: Tick | None, tick: Tick) -> int | None:
    """Shares that changed hands at a tick; of the first one of a day it is not known."""
    if tick.volume is None:
        return None
    return max(tick.volume - before.volume, 0) if before is not None and before.volume is not None else 0


def _heard(update: OrderUpdate) -> tuple[Any, ...]:
    done = update.quantity, update.filled, update.price, update.trigger
    return update.order_id, update.state, update.reason, update.time, *done, update.fill


def _told(change: Change) -> tuple[Any, ...]:
    order = change.order
    done = order.quantity, order.filled, order.price, order.trigger
    return order.order_id, order.state, change.reason, change.time, *done, change.fill


def _differing(name: str, said: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> Iterator[str]:
    """The first of what was said that the tick log does not say, too."""
    for number in range(max(len(said), len(expected))):
        found, due = (one[number] if number < len(one) else None for one in (said, expected))
        if found != due:
            yield f"fate: update {number} of {name} is {found}, the ticks say {due}"
            return


def check_order(arm: Arm, log: list[Entry]) -> Iterator[str]:
    """What risk says is what its step gives when all that it heard acts in the order of event time."""
    streams: dict[str, list[tuple[tuple[int, int, int], Item]]] = defaultdict(list)
    said: list[tuple[int, bytes]] = []
    for entry in once(log).values():
        if entry.topic == "signals.raw":
            signal = decode(Signal, entry.value)
            shard = signal.cause.shard
            item = Item(signal, brain_writer(shard), signal.cause.time)
            streams[item.writer].append(((item.time, 2, shard), item))
        elif entry.topic == "orders.updates":
            update = decode_any(entry.value, OrderUpdate, Prices, Silence, DayEnd)
            shard = PARTITIONS + int(update.producer.removeprefix(execution_writer(0)[:-1]))
            item = Item(update, update.producer, update.time)
            streams[item.writer].append(((item.time + FEEDBACK_MS, 0, shard), item))
        elif entry.event["producer"] == risk_writer():
            said.append((entry.event["sequence"], entry.value))
    agent, expected = arm.risk.agent, list[bytes]()
    part = Part(arm.risk.partition, Rows(lambda _: None, agent.load, agent.dump), Inputs((), ordered=True))
    waiting = [iter(stream) for stream in streams.values()]
    heads = {n: head for n, stream in enumerate(waiting) if (head := next(stream, None)) is not None}
    while heads:
        first = min(heads, key=lambda n: heads[n][0])
        expected += [output.value for output in agent.step(part, heads[first][1], 0)]
        following = next(waiting[first], None)
        if following is None:
            del heads[first]
        else:
            heads[first] = following
    for (_, found), due in zip(sorted(said), expected, strict=False):
        if found != due:
            yield f"order: risk says {found.decode()}, in the order of event time {due.decode()}"
            return
    if len(said) != len(expected):
        yield f"order: risk has said {len(said)} things, in the order of event time {len(expected)}"
