"""A desk under any sequence of orders, changes, ticks, beats and reloads, beside what its changes must add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents.shard import DeskRow
from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.desk import Change, Desk, Place
from panda_streams.domain.matching import QueueModel
from panda_streams.domain.orders import Fill, Order, Reason, Role
from panda_streams.domain.signals import Side, Validity
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from tables import read_row
from tables.execution import ExecutionRow
from tests.unit.builders import T0, a_ref, a_tick
from tests.unit.domain.desks import CLOSE, SHARE, SQUARE_OFF, a_venue, an_order

STRATEGIES = ["Momentum", "Reversion"]
PRICES = st.integers(-6, 6).map(lambda steps: 10_000 + 5 * steps)
"""Close together, so that orders meet ticks and one another."""
WAITS = st.sampled_from([0, 1, 200, 300, 1_000, 60_000])

sides = st.sampled_from(Side)
quantities = st.integers(1, 20)
rupees = PRICES.map(lambda paise: f"{paise / 100:.2f}")


@st.composite
def terms(draw: st.DrawFn) -> dict[str, Any]:
    """The prices, validity and legs of an order; the expiry counts from the time at which it is live."""
    kind = draw(st.sampled_from(["MARKET", "LIMIT", "SL", "SL-M"]))
    validity = draw(st.sampled_from(Validity))
    return {
        "limit": draw(rupees) if kind in ("LIMIT", "SL") else None,
        "trigger": draw(rupees) if kind in ("SL", "SL-M") else None,
        "validity": validity,
        "works": draw(st.sampled_from([200, 1_000, 60_000])) if validity is Validity.TTL else None,
        "target": draw(st.none() | rupees.map(Decimal)),
        "stop": draw(st.none() | rupees.map(Decimal)),
    }


@st.composite
def sights(draw: st.DrawFn) -> tuple[int, dict[str, int], Depth | None, int | None]:
    """Last price, best prices, order book, and what has traded."""
    traded = draw(st.none() | st.integers(0, 60))
    if draw(st.booleans()):
        return draw(PRICES), {}, None, traded
    bid, spread = draw(PRICES), draw(st.integers(1, 3)) * 5
    best = {"bid": bid, "ask": bid + spread}
    if draw(st.booleans()):
        return draw(PRICES), best, None, traded
    shares = st.integers(0, 15)
    bids = tuple(DepthLevel(bid - 5 * step, draw(shares)) for step in range(draw(st.integers(1, 3))))
    asks = tuple(DepthLevel(bid + spread + 5 * step, draw(shares)) for step in range(draw(st.integers(1, 3))))
    return draw(PRICES), best, Depth(bids, asks), traded


venues = st.builds(
    a_venue,
    latency_ms=st.sampled_from([0, 300]),
    latency_spread_ms=st.sampled_from([0, 200]),
    slippage=st.sampled_from([Decimal(0), Decimal("0.0005")]),
    participation=st.sampled_from([Decimal("0.25"), Decimal(1)]),
    queue=st.sampled_from(QueueModel),
)


class Account:
    """What the changes of a desk add up to; each one is checked against those before it."""

    def __init__(self) -> None:
        self.positions: defaultdict[str, int] = defaultdict(int)
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, Fill] = {}
        self.turnover: defaultdict[str, Decimal] = defaultdict(Decimal)

    def hear(self, change: Change) -> None:
        order, before = change.order, self.orders.get(change.order.order_id)
        assert before is None or not before.state.terminal, "an order ends once"
        filled = order.filled - (before.filled if before else 0)
        assert filled == (change.fill.quantity if change.fill else 0), "only a fill fills"
        assert 0 <= order.filled <= order.quantity
        self.orders[order.order_id] = order
        if change.fill is not None:
            self._count(order, change.fill)
        assert order.turnover == self.turnover[order.order_id]

    def _count(self, order: Order, fill: Fill) -> None:
        assert fill.fill_id not in self.fills
        self.fills[fill.fill_id] = fill
        self.turnover[order.order_id] += fill.quantity * fill.price
        if order.role is not Role.SETTLEMENT:
            assert (fill.tick.offset, fill.tick.row) > (order.cause.offset, order.cause.row)
            assert fill.time == fill.tick.time >= order.live_at
            assert order.expires_at is None or fill.time < order.expires_at
        if order.price is not None:
            assert order.signed * fill.price <= order.signed * order.price, "never worse than the limit"
        held = self.positions[order.strategy_id]
        self.positions[order.strategy_id] = after = held + order.signed * fill.quantity
        if order.reduces:
            assert abs(after) == abs(held) - fill.quantity, "what only reduces never opens or turns"

    def held(self) -> dict[str, int]:
        return {strategy_id: quantity for strategy_id, quantity in self.positions.items() if quantity}

    def legs(self, entry: str) -> int:
        """What all legs of an entry have closed."""
        return sum(order.filled for order in self.orders.values() if order.parent == entry)


def reloaded(desk: Desk, venue: PaperTrader) -> Desk:
    """A desk made of the row that an agent stores of this one."""
    row = read_row(ExecutionRow, DeskRow(desk).dump())
    return Desk("paper", SHARE, venue, row.orders, row.positions)


class DeskMachine(RuleBasedStateMachine):
    """Three desks that are told the same: one is left alone, its twin too, and one is reloaded at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.time = T0
        self.offset = self.row = self.number = 0
        self.account = Account()
        self.log: list[tuple[Tick, Place, Depth | None, int | None]] = []

    @initialize(venue=venues, start=st.sampled_from([0, SQUARE_OFF - 1_500, CLOSE - 60_000]))
    def begin(self, venue: PaperTrader, start: int) -> None:
        self.venue = venue
        self.time = T0 + start
        self.desks = [Desk("paper", SHARE, venue) for _ in range(3)]

    def _tell(self, told: Callable[[Desk], list[Change]]) -> list[Change]:
        rows = [DeskRow(desk).dump() for desk in self.desks]
        for desk in self.desks:
            desk.changed = False
        said, *others = [told(desk) for desk in self.desks]
        assert others == [said, said], "desks that hold the same say the same"
        for desk, row in zip(self.desks, rows, strict=True):
            assert desk.changed or DeskRow(desk).dump() == row, "what has changed is to be stored"
        for change in said:
            self.account.hear(change)
        return said

    def _place(self) -> Place:
        self.offset += 1
        return Place("sim", "1", 0, self.offset)

    def _order(self, strategy_id: str, role: Role, side: Side, quantity: int, fields: dict[str, Any]) -> Order:
        self.number += 1
        name = f"order {self.number}"
        works, entering = fields["works"], role is Role.ENTRY
        live_at = self.time + self.venue.latency(name)
        until = min(T0 + (SQUARE_OFF if entering else CLOSE), live_at + works if works else T0 + CLOSE)
        legs = {leg: fields[leg] if entering else None for leg in ("target", "stop")}
        cause = a_ref(offset=self.offset, row=self.row, time=self.time)
        plain = {key: value for key, value in fields.items() if key not in ("works", *legs)}
        return an_order(
            side,
            quantity,
            name=name,
            strategy_id=strategy_id,
            role=role,
            cause=cause,
            live_at=live_at - T0,
            expires_at=until,
            **plain,
            **legs,
        )

    @rule(who=st.sampled_from(STRATEGIES), side=sides, quantity=quantities, fields=terms())
    def enter(self, who: str, side: Side, quantity: int, fields: dict[str, Any]) -> None:
        order = self._order(who, Role.ENTRY, side, quantity, fields)
        self._tell(lambda desk: desk.place(order, self.time))

    @rule(who=st.sampled_from(STRATEGIES), quantity=quantities, fields=terms())
    def leave(self, who: str, quantity: int, fields: dict[str, Any]) -> None:
        side = Side.BUY if self.account.positions[who] < 0 else Side.SELL
        order = self._order(who, Role.EXIT, side, quantity, fields)
        self._tell(lambda desk: desk.place(order, self.time))

    @rule(who=st.sampled_from(STRATEGIES), side=sides, wait=WAITS)
    def cancel(self, who: str, side: Side, wait: int) -> None:
        self._tell(lambda desk: desk.cancel(who, side, self.time + wait) or [])

    @rule(who=st.sampled_from(STRATEGIES), side=sides, wait=WAITS, price=st.none() | rupees, trigger=st.none() | rupees)
    def modify(self, who: str, side: Side, wait: int, price: str | None, trigger: str | None) -> None:
        new = [Decimal(text) if text else None for text in (price, trigger)]
        self._tell(lambda desk: desk.modify(who, side, self.time + wait, *new) or [])

    @rule(wait=WAITS, sight=sights())
    def tick(self, wait: int, sight: tuple[int, dict[str, int], Depth | None, int | None]) -> None:
        price, best, book, traded = sight
        self.time += wait
        self.row += 1
        told = a_tick(price, row=self.row, time=self.time, **best), self._place(), book, traded
        self.log.append(told)
        self._tell(lambda desk: self._meet(desk, *told))

    @staticmethod
    def _meet(desk: Desk, tick: Tick, place: Place, book: Depth | None, traded: int | None) -> list[Change]:
        return desk.meet(tick, place, lambda row: book if row == tick.row else None, traded)

    @rule(wait=WAITS)
    def beat(self, wait: int) -> None:
        self.time += wait
        place = self._place()
        self._tell(lambda desk: desk.pass_time(self.time, place))

    @rule(ratio=st.sampled_from([(2, 1), (3, 2), (1, 5)]))
    def split(self, ratio: tuple[int, int]) -> None:
        shares = Ratio(new=ratio[0], old=ratio[1])
        self._tell(lambda desk: desk.adjust(shares, self.time))
        for strategy_id, quantity in self.account.positions.items():
            self.account.positions[strategy_id], _ = adjusted_quantity(quantity, shares)

    @rule()
    def end_the_data(self) -> None:
        place = self._place()
        self._tell(
            lambda desk: desk.pass_time(self.time, place) + desk.expire(place.offset, self.time, Reason.END_OF_DATA)
        )
        self.time += 1

    @rule(price=rupees)
    def settle(self, price: str) -> None:
        place = self._place()
        self._tell(lambda desk: desk.settle(Decimal(price), place, self.time))
        assert not self.account.held()
        self.time += 1  # a contract expires once

    @precondition(lambda self: self.log)
    @rule(who=st.sampled_from(STRATEGIES), side=sides, quantity=quantities, fields=terms(), ticks=st.integers(1, 4))
    def enter_late(self, who: str, side: Side, quantity: int, fields: dict[str, Any], ticks: int) -> None:
        """An order meets ticks that its desk has met, and joins."""
        passed = self.log[-ticks:]
        cause = a_ref(offset=passed[0][1].offset, row=-1, time=passed[0][0].time)
        order = self._order(who, Role.ENTRY, side, quantity, fields).model_copy(
            update={"cause": cause, "live_at": cause.time}
        )

        def told(desk: Desk) -> list[Change]:
            late = desk.late()
            said = late.place(order, cause.time)
            for one in passed:
                said += self._meet(late, *one)
            return [*said, *desk.join(late, self.time)]

        self._tell(told)

    @rule()
    def reload(self) -> None:
        self.desks[2] = reloaded(self.desks[2], self.venue)

    @precondition(lambda self: any(order.fill_ids for order in self.desks[0].orders.values()))
    @rule()
    def hear_of_fills_again(self) -> None:
        for desk in self.desks:
            desk.changed = False
            for order in desk.orders.values():
                for fill_id in order.fill_ids:
                    assert desk.apply(order, self.account.fills[fill_id]) == []
            assert not desk.changed

    @invariant()
    def the_desks_are_what_was_said_of_them(self) -> None:
        working = {name: order for name, order in self.account.orders.items() if not order.state.terminal}
        for desk in getattr(self, "desks", ()):
            assert {who: position.quantity for who, position in desk.positions.items()} == self.account.held()
            assert desk.orders.keys() == working.keys()
            for name, order in desk.orders.items():
                assert (order.filled, order.quantity, order.state) == (
                    working[name].filled,
                    working[name].quantity,
                    working[name].state,
                )

    @invariant()
    def no_leg_closes_more_than_its_entry_opened(self) -> None:
        for name in {order.parent for order in self.account.orders.values() if order.parent is not None}:
            assert self.account.legs(name) <= self.account.orders[name].filled

    @invariant()
    def legs_of_one_entry_have_as_much_left(self) -> None:
        left: defaultdict[str | None, set[int]] = defaultdict(set)
        for desk in getattr(self, "desks", ())[:1]:
            for order in desk.orders.values():
                left[order.parent].add(order.remaining)
        assert all(len(found) == 1 for parent, found in left.items() if parent is not None)

    @invariant()
    def a_flat_strategy_has_nothing_that_only_reduces(self) -> None:
        for desk in getattr(self, "desks", ())[:1]:
            reducing = {order.strategy_id for order in desk.orders.values() if order.reduces}
            assert reducing <= desk.positions.keys()


TestDeskMachine = DeskMachine.TestCase
TestDeskMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# The log


moments = st.lists(st.tuples(WAITS, PRICES, st.none() | st.integers(0, 60)), min_size=1, max_size=25)
entries = st.lists(
    st.tuples(st.sampled_from(STRATEGIES), sides, quantities, terms(), st.integers(0, 10), st.sampled_from([0, 300])),
    min_size=1,
    max_size=5,
)


def logged(waits: Sequence[tuple[int, int, int | None]], start: int) -> list[tuple[Tick, int | None]]:
    """Ticks with what traded before them."""
    time, ticks = T0 + start, list[tuple[Tick, int | None]]()
    for row, (wait, price, traded) in enumerate(waits, start=1):
        time += wait
        ticks.append((a_tick(price, row=row, time=time), traded))
    return ticks


def placed(
    entries: Sequence[tuple[str, Side, int, dict[str, Any], int, int]],
    ticks: list[tuple[Tick, int | None]],
    offsets: dict[int, int],
) -> list[Order]:
    """Entries that were caused by ticks of a log in which the rows stand at these offsets."""
    orders = []
    for number, (who, side, quantity, fields, at, latency) in enumerate(entries):
        tick, _ = ticks[min(at, len(ticks) - 1)]
        live_at = tick.time + latency
        works = fields["works"]
        orders.append(
            an_order(
                side,
                quantity,
                name=f"order {number}",
                strategy_id=who,
                cause=a_ref(offset=offsets[tick.row], row=tick.row, time=tick.time),
                live_at=live_at - T0,
                expires_at=min(T0 + SQUARE_OFF, live_at + works) if works else T0 + SQUARE_OFF,
                **{key: value for key, value in fields.items() if key != "works"},
            )
        )
    return orders


def fate(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    """What happened to whom, when and at which price; identities and offsets apart that a square-off takes from the
    log."""
    said = []
    for change in changes:
        order, fill = change.order, change.fill
        name = "square-off" if order.role is Role.SQUARE_OFF else order.order_id
        traded = (fill.quantity, fill.price, fill.tick.row) if fill else None
        said.append((name, order.strategy_id, order.role, order.state, change.time, change.reason, traded))
    return said


@settings(deadline=None)
@given(
    moments,
    entries,
    st.sampled_from([0, SQUARE_OFF - 1_500]),
    st.sets(st.integers(1, 24)),
    st.sets(st.integers(0, 70)),
    venues.filter(lambda venue: not venue.market.latency_spread_ms),
)
def test_however_ticks_are_cut_into_records_and_beats_strewn_between_them_the_fates_are_the_same(
    waits: list[tuple[int, int, int | None]],
    entries: list[tuple[str, Side, int, dict[str, Any], int, int]],
    start: int,
    cuts: set[int],
    beats: set[int],
    venue: PaperTrader,
) -> None:
    ticks = logged(waits, start)
    end = ticks[-1][0].time

    def fates(cuts: set[int], beats: set[int]) -> list[tuple[Any, ...]]:
        edges = [0, *sorted(cut for cut in cuts if cut < len(ticks)), len(ticks)]
        records = [ticks[begin:stop] for begin, stop in pairwise(edges)]
        offsets, log, offset = dict[int, int](), list[tuple[int, list[tuple[Tick, int | None]] | int]](), 0
        told = T0
        for record in records:
            for at in sorted(T0 + start + 1_000 * beat for beat in beats):
                if told < at < record[0][0].time:
                    log.append((offset := offset + 1, at))
                    told = at
            log.append((offset := offset + 1, record))
            offsets.update((tick.row, offset) for tick, _ in record)
            told = max(told, record[-1][0].time)
        log.append((offset + 1, end))
        desk, said = Desk("paper", SHARE, venue), list[Change]()
        for order in placed(entries, ticks, offsets):
            said += desk.place(order, order.cause.time)
        for offset, record in log:
            place = Place("sim", "1", 0, offset)
            if isinstance(record, int):
                said += desk.pass_time(record, place)
            else:
                for tick, traded in record:
                    said += desk.meet(tick, place, lambda row: None, traded)
        return fate(said)

    assert fates(cuts, beats) == fates(set(range(1, 25)), set())


@settings(deadline=None)
@given(moments, entries, st.integers(0, 25), venues)
def test_an_order_that_comes_after_its_ticks_has_the_fate_of_one_that_came_before_them(
    waits: list[tuple[int, int, int | None]],
    entries: list[tuple[str, Side, int, dict[str, Any], int, int]],
    passed: int,
    venue: PaperTrader,
) -> None:
    ticks = logged(waits, 0)
    (order,) = placed(entries[:1], ticks, {tick.row: tick.row for tick, _ in ticks})

    def meet(desk: Desk, told: Sequence[tuple[Tick, int | None]]) -> list[Change]:
        said = list[Change]()
        for tick, traded in told:
            said += desk.meet(tick, Place("sim", "1", 0, tick.row), lambda row: None, traded)
        return said

    early = Desk("paper", SHARE, venue)
    in_time = [*early.place(order, T0), *meet(early, ticks)]
    desk = Desk("paper", SHARE, venue)
    meet(desk, ticks[:passed])
    late = desk.late()
    afterwards = [*late.place(order, T0), *meet(late, ticks[:passed])]
    afterwards += [*desk.join(late, T0), *meet(desk, ticks[passed:])]

    assert afterwards == in_time
    assert (desk.orders, desk.positions) == (early.orders, early.positions)
