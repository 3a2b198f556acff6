"""The fate of an order: a function of the ticks after its cause, whoever looks and in whatever portions."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from panda_streams.domain.fate import Change, Execution, Tape, accept, expire, meet

from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.orders import Order, OrderState
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from tests.unit.builders import INFY, T0, a_ref, a_signal, a_tick

SHARE = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)


def an_order(*, offset: int = 0, row: int = 0, latency_ms: int = 0, verdict_at: int = T0, quantity: int = 5) -> Order:
    """An order caused at T0 by the tick at (offset, row)."""
    signal = a_signal(cause=a_ref(offset=offset, row=row, time=T0))
    return accept("order", signal, quantity, verdict_at, latency_ms)


def a_tape(*ticks: Tick, offset: int = 1, books: dict[int, Depth] | None = None) -> Tape:
    return Tape("sim", "1", 0, offset, ticks, books or {})


def at_last_price(order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> Sequence[Execution]:
    return (Execution(order.quantity, Decimal(tick.price), Decimal(1)),)


def never(order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> Sequence[Execution]:
    return ()


def prices(changes: Sequence[Change]) -> list[int]:
    return [int(change.fill.price) for change in changes if change.fill]


def test_an_order_is_what_its_signal_asked_for_in_the_quantity_that_risk_allowed() -> None:
    order = an_order(quantity=7)

    assert (order.instrument, order.side, order.quantity, order.cause) == (INFY, "BUY", 7, a_ref())


@pytest.mark.parametrize(
    ("latency_ms", "verdict_at", "live_at"), [(500, T0, 500), (500, T0 + 900, 900), (0, T0 - 9, 0)]
)
def test_an_order_lives_from_its_cause_plus_latency_and_no_earlier_than_its_verdict(
    latency_ms: int, verdict_at: int, live_at: int
) -> None:
    assert an_order(latency_ms=latency_ms, verdict_at=verdict_at).live_at == T0 + live_at


def test_an_order_gets_the_first_tick_of_its_instrument_that_it_lives_at() -> None:
    tape = a_tape(
        a_tick(1, row=1, time=T0 + 499),
        a_tick(2, row=2, time=T0 + 500, instrument="NSE:TCS"),
        a_tick(3, row=3, time=T0 + 500),
        a_tick(4, row=4, time=T0 + 501),
    )

    (change,) = meet(an_order(latency_ms=500), tape, SHARE, at_last_price)

    assert change.fill is not None
    assert (change.state, change.time, change.fill.tick.row) == (OrderState.FILLED, T0 + 500, 3)


@pytest.mark.parametrize(
    ("offset", "row", "met"), [(4, 9, False), (5, 1, False), (5, 2, False), (5, 3, True), (6, 0, True)]
)
def test_an_order_meets_only_ticks_after_its_cause_in_the_log(offset: int, row: int, met: bool) -> None:
    tape = a_tape(a_tick(1, row=row), offset=offset)

    assert bool(meet(an_order(offset=5, row=2), tape, SHARE, at_last_price)) is met


def test_an_order_that_a_tick_gives_nothing_waits_for_the_next() -> None:
    asked = []

    def from_the_third(order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> Sequence[Execution]:
        asked.append(tick.row)
        return at_last_price(order, instrument, tick, depth) if tick.row == 3 else ()

    changes = meet(an_order(), a_tape(*[a_tick(row, row=row) for row in range(1, 6)]), SHARE, from_the_third)

    assert prices(changes) == [3]
    assert asked == [1, 2, 3]
    assert meet(an_order(), a_tape(a_tick(row=1)), SHARE, never) == []


def test_a_tick_is_matched_with_its_own_order_book() -> None:
    book = Depth((), (DepthLevel(1, 1),))
    seen = []

    def look(order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> Sequence[Execution]:
        seen.append(depth)
        return ()

    meet(an_order(), a_tape(a_tick(row=1), a_tick(row=2), books={2: book}), SHARE, look)

    assert seen == [None, book]


def test_each_price_is_a_fill_of_its_own_and_the_last_one_ends_the_order() -> None:
    def two_levels(order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> Sequence[Execution]:
        return (Execution(3, Decimal(10), Decimal(1)), Execution(2, Decimal(11), Decimal(2)))

    first, last = meet(an_order(quantity=5), a_tape(a_tick(row=1)), SHARE, two_levels)

    assert (first.state, last.state) == (OrderState.WORKING, OrderState.FILLED)
    assert first.fill is not None
    assert last.fill is not None
    assert (first.fill.quantity, last.fill.quantity, last.fill.charges) == (3, 2, Decimal(2))
    assert first.fill.fill_id != last.fill.fill_id


def test_the_same_tick_gives_a_fill_of_the_same_identity() -> None:
    tape = a_tape(a_tick(row=1))

    assert meet(an_order(), tape, SHARE, at_last_price) == meet(an_order(), tape, SHARE, at_last_price)


def test_the_end_of_a_run_ends_the_orders_that_it_caused_and_no_later_ones() -> None:
    before, after = an_order(offset=3), an_order(offset=7)

    changes = expire([before, after], end_offset=5, time=T0 + 9)

    assert changes == [Change(before, OrderState.EXPIRED, T0 + 9, None, "END_OF_DATA")]


ticks = st.lists(
    st.tuples(st.sampled_from([INFY, "NSE:TCS"]), st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=20
)


@given(ticks=ticks, cuts=st.sets(st.integers(1, 19)), latency_ms=st.integers(0, 2000))
def test_however_the_ticks_are_cut_into_records_the_fill_is_at_the_same_tick(
    ticks: list[tuple[str, int, int]], cuts: set[int], latency_ms: int
) -> None:
    time, log = T0, []
    for row, (instrument, forward, price) in enumerate(ticks, start=1):
        time += forward
        log.append(a_tick(price, row=row, time=time, instrument=instrument))

    def rows(cuts: set[int]) -> list[int]:
        """Rows of the ticks that fill the order, if they come in records cut there."""
        edges = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
        order = an_order(latency_ms=latency_ms)
        for offset, (start, end) in enumerate(pairwise(edges), start=1):
            changes = meet(order, a_tape(*log[start:end], offset=offset), SHARE, at_last_price)
            if changes:
                return [change.fill.tick.row for change in changes if change.fill]
        return []

    expected = [t.row for t in log if t.instrument == INFY and t.time >= T0 + latency_ms][:1]

    assert rows(cuts) == rows(set()) == expected
