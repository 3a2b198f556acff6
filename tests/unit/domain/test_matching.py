"""The paper market: what one look at a tick gives one order."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.matching import Match, PaperMarket, QueueModel, Sight, draw
from panda_streams.domain.orders import Order
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Depth, DepthLevel
from tests.unit.builders import a_tick
from tests.unit.domain.desks import SHARE, a_book, a_market, an_order

BUY, SELL = Side.BUY, Side.SELL
LOTS = Instrument(
    exchange="NFO",
    symbol="NIFTY26JANFUT",
    kind=InstrumentKind.FUTURE,
    lot=50,
    underlying="NSE:NIFTY 50",
    expiry=date(2026, 1, 29),
)
BANDED = structs.replace(SHARE, lower_circuit=Decimal(90), upper_circuit=Decimal(110))
ASKS = [(10_000, 10), (10_010, 20), (10_030, 500)]
BIDS = [(9_990, 10), (9_980, 20), (9_950, 500)]


def look(
    order: Order,
    price: int = 10_000,
    *,
    market: PaperMarket | None = None,
    instrument: Instrument = SHARE,
    book: Depth | None = None,
    traded: int | None = None,
    arriving: bool = True,
    **tick: int,
) -> Match:
    """What the market gives an order at a tick; with `book`, the tick has its best prices too."""
    if book is not None:
        best = {"bid": book.bids[0].price if book.bids else None, "ask": book.asks[0].price if book.asks else None}
        tick = {**best, **tick}
    return (market or a_market()).match(order, instrument, Sight(a_tick(price, **tick), book, traded, arriving))


def got(match: Match) -> list[tuple[int, str]]:
    return [(trade.quantity, f"{trade.price:.2f}") for trade in match.trades]


# An order that takes


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (BUY, [(10, "100.00"), (20, "100.10"), (15, "100.30")]),
        (SELL, [(10, "99.90"), (20, "99.80"), (15, "99.50")]),
    ],
)
def test_a_book_is_walked_level_by_level(side: Side, expected: list[tuple[int, str]]) -> None:
    assert got(look(an_order(side, 45), book=a_book(BIDS, ASKS))) == expected


@pytest.mark.parametrize(("side", "limit"), [(BUY, "100.10"), (SELL, "99.80")])
def test_an_arriving_limit_order_walks_the_book_no_further_than_its_limit(side: Side, limit: str) -> None:
    match = look(an_order(side, 45, limit=limit), book=a_book(BIDS, ASKS))

    assert [quantity for quantity, _ in got(match)] == [10, 20]
    assert got(match)[-1] == (20, limit)


def test_what_a_book_does_not_hold_is_not_given() -> None:
    assert got(look(an_order(quantity=45), book=a_book(BIDS, [(10_000, 10)]))) == [(10, "100.00")]


def test_an_empty_level_of_a_book_gives_no_trade() -> None:
    assert got(look(an_order(quantity=5), book=a_book(BIDS, [(10_000, 0), (10_010, 9)]))) == [(5, "100.10")]


@pytest.mark.parametrize(("side", "expected"), [(BUY, "100.05"), (SELL, "99.95")])
def test_without_a_book_the_best_bid_or_ask_is_taken(side: Side, expected: str) -> None:
    match = look(an_order(side), market=a_market(slippage=Decimal("0.01")), bid=9_995, ask=10_005)

    assert got(match) == [(10, expected)]


@pytest.mark.parametrize(("side", "expected"), [(BUY, "100.05"), (SELL, "99.90")])
def test_the_last_price_alone_slips_and_is_rounded_against_the_trader(side: Side, expected: str) -> None:
    match = look(an_order(side), 9_998, market=a_market(slippage=Decimal("0.0004")))

    assert got(match) == [(10, expected)]


def test_a_price_never_slips_to_nothing() -> None:
    assert got(look(an_order(SELL), 5, market=a_market(slippage=Decimal("0.5")))) == [(10, "0.05")]


@pytest.mark.parametrize(("side", "price", "expected"), [(BUY, 10_995, "110.00"), (SELL, 9_005, "90.00")])
def test_a_price_never_slips_out_of_the_band_of_the_day(side: Side, price: int, expected: str) -> None:
    match = look(an_order(side), price, market=a_market(slippage=Decimal("0.01")), instrument=BANDED)

    assert got(match) == [(10, expected)]


@pytest.mark.parametrize(
    ("side", "book", "best"),
    [(BUY, a_book(bids=BIDS), {"ask": None}), (SELL, a_book(asks=ASKS), {"bid": None})],
)
def test_an_empty_side_of_a_book_gives_nothing(side: Side, book: Depth, best: dict[str, Any]) -> None:
    assert look(an_order(side), book=book, **best) == Match()


def test_a_best_price_is_taken_where_its_side_of_the_book_was_not_recorded() -> None:
    assert got(look(an_order(), book=a_book(bids=BIDS), ask=10_005)) == [(10, "100.05")]


@pytest.mark.parametrize(
    ("side", "limit", "taken"), [(BUY, "99.95", False), (BUY, "100.00", True), (SELL, "100.05", False)]
)
def test_an_arriving_limit_order_takes_a_last_price_only_within_its_limit(side: Side, limit: str, taken: bool) -> None:
    assert bool(look(an_order(side, limit=limit)).trades) is taken


# How much of what traded


@pytest.mark.parametrize(("traded", "expected"), [(None, 100), (0, 0), (39, 9), (400, 100), (1_000, 100)])
def test_an_order_gets_its_share_of_what_traded(traded: int | None, expected: int) -> None:
    match = look(an_order(quantity=100), market=a_market(participation=Decimal("0.25")), traded=traded)

    assert sum(trade.quantity for trade in match.trades) == expected


@pytest.mark.parametrize(("traded", "expected"), [(99, 0), (100, 50), (399, 150), (9_999, 200)])
def test_a_share_of_what_traded_is_whole_lots(traded: int, expected: int) -> None:
    market = a_market(participation=Decimal("0.5"))
    match = look(an_order(quantity=200), market=market, instrument=LOTS, traded=traded)

    assert sum(trade.quantity for trade in match.trades) == expected


def test_a_book_that_shows_what_there_is_is_not_shared() -> None:
    assert got(look(an_order(), book=a_book(BIDS, ASKS), traded=0)) == [(10, "100.00")]


# An order that waits


@pytest.mark.parametrize("queue", QueueModel)
@pytest.mark.parametrize(("side", "limit", "through"), [(BUY, "100.00", 9_995), (SELL, "100.00", 10_005)])
def test_a_waiting_order_gets_its_own_limit_once_the_market_trades_beyond_it(
    queue: QueueModel, side: Side, limit: str, through: int
) -> None:
    order = an_order(side, limit=limit)
    away = 20_000 - through

    assert look(order, away, market=a_market(queue=queue), arriving=False) == Match()
    assert got(look(order, through, market=a_market(queue=queue), arriving=False)) == [(10, limit)]


@pytest.mark.parametrize("side", Side)
def test_at_its_limit_a_waiting_order_is_filled_only_as_if_it_were_first_in_the_queue(side: Side) -> None:
    given = {
        queue: bool(look(an_order(side, limit="100"), market=a_market(queue=queue), arriving=False).trades)
        for queue in QueueModel
    }

    assert given == {QueueModel.THROUGH: False, QueueModel.QUEUE: False, QueueModel.TOUCH: True}


@pytest.mark.parametrize(
    ("ahead", "traded", "filled", "left"),
    [(50, 20, 0, 30), (50, 50, 0, 0), (50, 53, 3, 0), (0, 99, 10, 0), (50, 0, 0, 50), (50, None, 0, 50)],
)
def test_an_order_in_a_queue_gets_what_trades_at_its_price_beyond_those_before_it(
    ahead: int, traded: int | None, filled: int, left: int
) -> None:
    order = an_order(limit="100", queue=ahead)
    match = look(order, market=a_market(queue=QueueModel.QUEUE), traded=traded, arriving=False)

    assert (sum(trade.quantity for trade in match.trades), match.queue) == (filled, left)


def test_what_passes_a_queue_is_whole_lots() -> None:
    order = an_order(quantity=200, limit="100", queue=10)
    match = look(order, instrument=LOTS, market=a_market(queue=QueueModel.QUEUE), traded=149, arriving=False)

    assert got(match) == [(100, "100.00")]


def test_beyond_the_limit_a_waiting_order_gets_its_share_of_what_traded() -> None:
    market = a_market(participation=Decimal("0.25"))

    assert got(look(an_order(limit="100"), 9_900, market=market, traded=12, arriving=False)) == [(3, "100.00")]
    assert look(an_order(limit="100"), 9_900, market=market, traded=3, arriving=False) == Match()


@pytest.mark.parametrize(
    ("side", "limit", "book"),
    [(BUY, "100.20", a_book(BIDS, [(10_010, 4)])), (SELL, "99.80", a_book([(9_990, 4)], ASKS))],
)
def test_whoever_comes_to_a_waiting_order_trades_at_its_limit(side: Side, limit: str, book: Depth) -> None:
    assert got(look(an_order(side, limit=limit), book=book, arriving=False)) == [(4, limit)]


def test_a_waiting_order_is_met_by_a_best_price_alone() -> None:
    assert got(look(an_order(limit="100.20"), 10_050, bid=9_990, ask=10_010, arriving=False)) == [(10, "100.20")]


def test_slippage_does_not_keep_a_waiting_order_from_its_limit() -> None:
    market = a_market(slippage=Decimal("0.1"))

    assert got(look(an_order(limit="100"), 9_995, market=market, arriving=False)) == [(10, "100.00")]


# Its place in the queue


@pytest.mark.parametrize(
    ("side", "limit", "ahead"),
    [
        (BUY, "99.80", 20),
        (BUY, "99.85", 0),
        (BUY, "99.95", 0),
        (BUY, "99.40", None),
        (SELL, "100.10", 20),
        (SELL, "100.05", 0),
        (SELL, "100.40", None),
    ],
)
def test_an_arriving_order_sees_who_is_before_it_as_far_as_the_book_is_shown(
    side: Side, limit: str, ahead: int | None
) -> None:
    match = look(an_order(side, limit=limit), book=a_book(BIDS, ASKS))

    assert match == Match(queue=ahead)


def test_without_a_book_nobody_knows_who_is_before_an_order() -> None:
    assert look(an_order(limit="99")) == Match(queue=None)


def test_an_order_is_first_on_a_side_that_is_empty() -> None:
    assert look(an_order(limit="99"), book=a_book(asks=ASKS)) == Match(queue=0)


def test_an_order_for_the_market_has_no_place_in_a_queue() -> None:
    assert look(an_order(quantity=5), book=a_book(BIDS, ASKS)).queue is None


# Circuit limits


@pytest.mark.parametrize(("side", "price"), [(BUY, 11_000), (SELL, 9_000)])
@pytest.mark.parametrize("limit", [None, "100"])
def test_at_a_circuit_limit_with_nobody_on_the_other_side_nothing_trades(
    side: Side, price: int, limit: str | None
) -> None:
    order = an_order(side, limit=limit, queue=7)

    assert look(order, price, instrument=BANDED) == Match(queue=7)


@pytest.mark.parametrize(("side", "price"), [(SELL, 11_000), (BUY, 9_000)])
def test_at_a_circuit_limit_the_side_that_is_wanted_trades(side: Side, price: int) -> None:
    assert got(look(an_order(side), price, instrument=BANDED)) == [(10, f"{price / 100:.2f}")]


@pytest.mark.parametrize(
    ("side", "price", "there"),
    [
        (BUY, 11_000, {"ask": 11_000}),
        (BUY, 11_000, {"book": a_book(asks=[(11_000, 99)])}),
        (SELL, 9_000, {"bid": 9_000}),
        (SELL, 9_000, {"book": a_book(bids=[(9_000, 99)])}),
    ],
)
def test_at_a_circuit_limit_who_is_on_the_other_side_is_met(side: Side, price: int, there: dict[str, Any]) -> None:
    assert got(look(an_order(side), price, instrument=BANDED, **there)) == [(10, f"{price / 100:.2f}")]


# Latency


def test_a_constant_latency_is_that_of_every_order() -> None:
    market = a_market(latency_ms=500)

    assert {market.latency(str(number)) for number in range(50)} == {500}


def test_a_drawn_latency_is_a_function_of_the_order_alone() -> None:
    market = a_market(latency_ms=200, latency_spread_ms=300)
    names = [f"order {number}" for number in range(200)]
    drawn = [market.latency(name) for name in names]

    assert drawn == [market.latency(name) for name in names]
    assert len(set(drawn)) > 100
    assert market.latency("3f2a") == 828  # on every machine


def test_a_drawn_latency_has_the_mean_and_the_tail_of_an_exponential_delay() -> None:
    market = a_market(latency_ms=200, latency_spread_ms=300)
    beyond = [market.latency(str(number)) - 200 for number in range(20_000)]

    assert min(beyond) >= 0
    assert sum(beyond) / len(beyond) == pytest.approx(300, rel=0.03)
    assert sum(delay > 600 for delay in beyond) / len(beyond) == pytest.approx(0.1353, abs=0.01)


def test_a_draw_is_never_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Highest:
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr("hashlib.blake2b", lambda *args, **kwargs: Highest())

    assert draw("any") < 1.0
    assert a_market(latency_ms=0, latency_spread_ms=300).latency("any") > 9_000


# Whatever the order and the tick


@st.composite
def books(draw: st.DrawFn) -> Depth | None:
    """No book, or one of up to five levels a side around 100.00, some of them empty."""
    if draw(st.booleans()):
        return None
    middle = draw(st.integers(1_940, 2_060)) * 5
    shares = st.integers(0, 60)
    bids, asks = (sorted(draw(st.sets(st.integers(1, 40), max_size=5))) for _ in range(2))
    return Depth(
        tuple(DepthLevel(middle - 5 * step, draw(shares)) for step in bids),
        tuple(DepthLevel(middle + 5 * step, draw(shares)) for step in asks),
    )


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    book = draw(books())
    price = draw(st.integers(1_900, 2_100)) * 5
    bid, ask = (draw(st.none() | st.integers(1_900, 2_100)) for _ in range(2))
    if book is not None:
        bid, ask = (side[0].price // 5 if side else None for side in (book.bids, book.asks))
    best = {"bid": None if bid is None else bid * 5, "ask": None if ask is None else ask * 5}
    traded = draw(st.none() | st.integers(0, 300))
    return Sight(a_tick(price, **best), book, traded, draw(st.booleans()))


markets = st.builds(
    a_market,
    slippage=st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("0.02")]),
    participation=st.sampled_from([Decimal("0.1"), Decimal("0.25"), Decimal(1)]),
    queue=st.sampled_from(QueueModel),
)
limits = st.none() | st.integers(1_900, 2_100).map(lambda units: f"{units * 5 / 100:.2f}")
instruments = st.sampled_from([SHARE, BANDED, LOTS])


@st.composite
def orders(draw: st.DrawFn) -> Order:
    limit = draw(limits)
    queue = draw(st.none() | st.integers(0, 300)) if limit is not None else None
    quantity = draw(st.integers(1, 8)) * 50
    return an_order(draw(st.sampled_from(Side)), quantity, limit=limit, queue=queue, filled=draw(st.integers(0, 49)))


@given(markets, orders(), instruments, sights())
def test_no_look_gives_more_than_remains_or_a_price_beyond_the_limit(
    market: PaperMarket, order: Order, instrument: Instrument, sight: Sight
) -> None:
    match = market.match(order, instrument, sight)

    assert all(trade.quantity > 0 and trade.price > 0 for trade in match.trades)
    assert sum(trade.quantity for trade in match.trades) <= order.remaining
    if order.price is not None:
        assert all(order.signed * trade.price <= order.signed * order.price for trade in match.trades)


@given(markets, orders(), instruments, sights())
def test_prices_of_one_look_go_against_the_trader_and_lie_on_steps(
    market: PaperMarket, order: Order, instrument: Instrument, sight: Sight
) -> None:
    prices = [trade.price for trade in market.match(order, instrument, sight).trades]

    assert prices == sorted(prices, reverse=order.side is SELL)
    assert all(price % instrument.tick_size == 0 for price in prices)


@given(markets, orders(), instruments, sights())
def test_no_level_of_a_book_gives_more_than_it_has(
    market: PaperMarket, order: Order, instrument: Instrument, sight: Sight
) -> None:
    if sight.depth is None or not sight.arriving:
        return
    side = sight.depth.asks if order.side is BUY else sight.depth.bids
    held = {Decimal(level.price) / 100: level.quantity for level in side}

    if side:
        assert all(trade.quantity <= held[trade.price] for trade in market.match(order, instrument, sight).trades)


@given(markets, orders(), instruments, sights())
def test_an_order_for_the_market_is_never_filled_better_than_the_best_there_is(
    market: PaperMarket, order: Order, instrument: Instrument, sight: Sight
) -> None:
    if order.price is not None:
        return
    best = sight.tick.ask if order.side is BUY else sight.tick.bid
    best = sight.tick.price if best is None else best

    assert all(
        order.signed * trade.price >= order.signed * Decimal(best) / 100
        for trade in market.match(order, instrument, sight).trades
    )


@given(markets, orders(), instruments, sights())
def test_those_before_an_order_in_the_queue_never_become_more(
    market: PaperMarket, order: Order, instrument: Instrument, sight: Sight
) -> None:
    match = market.match(order, instrument, sight._replace(arriving=False))

    if order.price is not None:
        assert (match.queue is None) is (order.queue is None)
        assert match.queue is None or match.queue <= (order.queue or 0)
