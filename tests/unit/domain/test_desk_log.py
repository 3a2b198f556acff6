"""The fate of an order is a function of the ticks after its cause, however they are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.desk import Change
from panda_streams.domain.orders import Order
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Place, Tick
from tests.unit.builders import T0, a_ref, a_tick
from tests.unit.domain.desk_events import PRICES, STRATEGIES, WAITS, protections, quantities, sides, terms, venues
from tests.unit.domain.desks import SHARE, SQUARE_OFF, an_order

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
    """What happened to whom, when and at which price; ids apart that orders of the arm's own take from the log."""
    said = []
    for change in changes:
        order, fill = change.order, change.fill
        name = order.order_id if order.signal_id is not None else None
        traded = (fill.quantity, fill.price, fill.tick.row) if fill else None
        said.append((name, order.strategy_id, order.role, order.state, change.time, change.reason, traded))
    return said


def untimed(protections: dict[str, Protection]) -> dict[str, Protection]:
    """Protections without time exits: those are decided at the first beat or tick after their time."""
    return {who: one.model_copy(update={"time_exit_minutes": None}) for who, one in protections.items()}


def a_log(
    ticks: list[tuple[Tick, int | None]], cuts: set[int], beats: set[int]
) -> Iterator[tuple[Place, list[tuple[Tick, int | None]] | int]]:
    """The records of a log: ticks cut before these places, and beats at these times wherever they can stand."""
    edges = sorted({0, len(ticks)} | {cut for cut in cuts if cut < len(ticks)})
    told, places = T0 - 1, (Place("sim", "1", 0, offset) for offset in count(1))
    for begin, end in pairwise(edges):
        for at in sorted(beats):
            if told < at < ticks[begin][0].time:
                yield next(places), at
                told = at
        yield next(places), ticks[begin:end]
        told = max(told, ticks[end - 1][0].time)
    yield next(places), told


@given(
    moments,
    entries,
    st.sampled_from([0, SQUARE_OFF - 1_500]),
    st.sets(st.integers(1, 24)),
    st.sets(st.integers(0, 70)),
    protections.map(untimed),
    venues.filter(lambda venue: not venue.market.latency_spread_ms),
)
def test_however_ticks_are_cut_into_records_and_beats_strewn_between_them_the_fates_are_the_same(
    waits: list[tuple[int, int, int | None]],
    entries: list[tuple[str, Side, int, dict[str, Any], int, int]],
    start: int,
    cuts: set[int],
    seconds: set[int],
    protections: dict[str, Protection],
    venue: PaperTrader,
) -> None:
    ticks = logged(waits, start)

    def fates(cuts: set[int], beats: set[int]) -> list[tuple[Any, ...]]:
        log = list(a_log(ticks, cuts, beats))
        stands = {tick.row: place.offset for place, record in log if isinstance(record, list) for tick, _ in record}
        desk, said = PaperDesk("paper", SHARE, venue, protections=protections), list[Change]()
        for order in placed(entries, ticks, stands):
            said += desk.place(order, order.cause.time)
        for place, record in log:
            if isinstance(record, int):
                said += desk.pass_time(record, place)
            else:
                for tick, traded in record:
                    said += desk.meet(tick, place, lambda row: None, traded)
        return fate(said)

    assert fates(cuts, {T0 + start + 1_000 * second for second in seconds}) == fates(set(range(1, 25)), set())


@given(moments, entries, st.integers(0, 25), venues)
def test_an_order_that_comes_after_its_ticks_has_the_fate_of_one_that_came_before_them(
    waits: list[tuple[int, int, int | None]],
    entries: list[tuple[str, Side, int, dict[str, Any], int, int]],
    passed: int,
    venue: PaperTrader,
) -> None:
    ticks = logged(waits, 0)
    (order,) = placed(entries[:1], ticks, {tick.row: tick.row for tick, _ in ticks})

    def meet(desk: PaperDesk, told: Sequence[tuple[Tick, int | None]]) -> list[Change]:
        said = list[Change]()
        for tick, traded in told:
            said += desk.meet(tick, Place("sim", "1", 0, tick.row), lambda row: None, traded)
        return said

    early = PaperDesk("paper", SHARE, venue)
    in_time = [*early.place(order, T0), *meet(early, ticks)]
    desk = PaperDesk("paper", SHARE, venue)
    meet(desk, ticks[:passed])
    late = desk.late()
    afterwards = [*late.place(order, T0), *meet(late, ticks[:passed])]
    afterwards += [*desk.join(late, T0), *meet(desk, ticks[passed:])]

    assert afterwards == in_time
    assert (desk.orders, desk.positions) == (early.orders, early.positions)
