"""The desk: when an order meets the market, what it is given there, and how it ends."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from panda_streams.domain.exchange import accept
from panda_streams.domain.instruments import InstrumentKind
from panda_streams.domain.matching import QueueModel
from panda_streams.domain.orders import OrderState, Product, Reason, Role, Ticket
from panda_streams.domain.signals import OrderType, Side, Terms, Validity
from panda_streams.domain.ticks import Place
from tests.unit.builders import INFY, T0, a_ref, a_signal, a_tick
from tests.unit.domain.desks import (
    CLOSE,
    DAY,
    HOUR,
    SHARE,
    SQUARE_OFF,
    Floor,
    a_book,
    a_venue,
    an_order,
    ends,
    fills,
)

BUY, SELL = Side.BUY, Side.SELL
MINUTE = 60_000


def a_ticket(**fields: Any) -> Ticket:
    plain = {"order_id": "ticket", "role": Role.ENTRY, "side": BUY, "quantity": 7, "product": Product.MIS}
    return Ticket.model_validate({**plain, **fields})


# What a ticket becomes


def test_an_order_is_what_its_ticket_allows_and_its_signal_asks_for() -> None:
    terms = Terms(order_type=OrderType.SL, price=Decimal(101), trigger=Decimal(100), stop=Decimal(90))
    signal = a_signal().model_copy(update={"terms": terms})

    order = accept(signal, a_ticket(), T0, SHARE, a_venue())

    assert (order.instrument, order.side, order.quantity, order.product) == (INFY, BUY, 7, Product.MIS)
    assert (order.price, order.trigger, order.stop, order.target) == (101, 100, 90, None)
    assert (order.signal_id, order.cause, order.state) == (signal.signal_id, signal.cause, OrderState.INTENT)


def test_only_an_entry_carries_the_prices_of_a_bracket() -> None:
    signal = a_signal().model_copy(update={"terms": Terms(target=Decimal(110), stop=Decimal(90))})

    order = accept(signal, a_ticket(role=Role.EXIT), T0, SHARE, a_venue())

    assert (order.target, order.stop) == (None, None)


@pytest.mark.parametrize(
    ("latency_ms", "verdict_at", "live_at"), [(500, 0, 500), (500, 900, 900), (0, -9, 0), (500, 500, 500)]
)
def test_an_order_lives_from_its_cause_plus_latency_and_no_earlier_than_its_verdict(
    latency_ms: int, verdict_at: int, live_at: int
) -> None:
    order = accept(a_signal(cause=a_ref()), a_ticket(), T0 + verdict_at, SHARE, a_venue(latency_ms=latency_ms))

    assert order.live_at == T0 + live_at


@pytest.mark.parametrize(
    ("product", "role", "ttl", "expires_at"),
    [
        (Product.CNC, Role.ENTRY, None, CLOSE),
        (Product.MIS, Role.ENTRY, None, SQUARE_OFF),
        (Product.MIS, Role.EXIT, None, CLOSE),
        (Product.MIS, Role.ENTRY, 5, 5 * MINUTE),
        (Product.CNC, Role.ENTRY, 360, 360 * MINUTE),
    ],
)
def test_an_order_works_until_its_minutes_its_product_or_its_session_end(
    product: Product, role: Role, ttl: int | None, expires_at: int
) -> None:
    terms = Terms() if ttl is None else Terms(validity=Validity.TTL, ttl_minutes=ttl)
    signal = a_signal(cause=a_ref()).model_copy(update={"terms": terms})

    order = accept(signal, a_ticket(product=product, role=role), T0, SHARE, a_venue())

    assert order.expires_at == T0 + expires_at


def test_the_minutes_of_an_order_do_not_outlast_its_session() -> None:
    signal = a_signal(cause=a_ref(time=T0 + CLOSE - MINUTE))
    signal = signal.model_copy(update={"terms": Terms(validity=Validity.TTL, ttl_minutes=5)})

    assert accept(signal, a_ticket(product=Product.CNC), T0, SHARE, a_venue()).expires_at == T0 + CLOSE


# What is refused


@pytest.mark.parametrize("live_at", [-1, CLOSE, CLOSE + HOUR, 4 * DAY])
def test_an_order_that_would_arrive_outside_of_trading_is_refused(live_at: int) -> None:
    (change,) = Floor().place(an_order(live_at=live_at, expires_at=None))

    assert (change.order.state, change.reason) == (OrderState.REJECTED, Reason.MARKET_CLOSED)


def test_an_order_that_has_no_time_to_work_is_refused() -> None:
    (change,) = Floor().place(an_order(live_at=SQUARE_OFF, expires_at=T0 + SQUARE_OFF))

    assert change.reason is Reason.MARKET_CLOSED


def test_an_order_for_what_cannot_be_traded_is_refused() -> None:
    floor = Floor(instrument=structs.replace(SHARE, kind=InstrumentKind.INDEX))

    assert ends(floor.place(an_order())) == {"order": Reason.INSTRUMENT_UNKNOWN}


@pytest.mark.parametrize(
    ("prices", "refused"),
    [
        ({"limit": "110.05"}, True),
        ({"limit": "110"}, False),
        ({"limit": "89.95"}, True),
        ({"limit": "90"}, False),
        ({"trigger": "120"}, True),
        ({"limit": "100", "trigger": "80"}, True),
        ({}, False),
    ],
)
def test_an_order_whose_price_lies_outside_of_the_band_is_refused(prices: dict[str, str], refused: bool) -> None:
    band = {"lower_circuit": Decimal(90), "upper_circuit": Decimal(110)}
    floor = Floor(instrument=structs.replace(SHARE, **band))

    assert ends(floor.place(an_order(**prices))) == ({"order": Reason.CIRCUIT_LIMIT} if refused else {})


def test_an_order_that_closes_needs_a_position() -> None:
    floor = Floor()

    assert ends(floor.place(an_order(SELL, role=Role.EXIT))) == {"order": Reason.POSITION_CLOSED}


def test_what_is_refused_leaves_nothing_behind() -> None:
    floor = Floor()
    floor.place(an_order(live_at=CLOSE))

    assert not floor.desk.orders
    assert not floor.tick(10_000)


# When it meets the market


def test_an_order_gets_the_first_tick_of_its_instrument_that_it_lives_at() -> None:
    floor = Floor()
    floor.place(an_order(live_at=500))

    assert not floor.tick(10_100, 499)
    (change,) = floor.tick(10_200, 500)
    assert (change.order.state, change.time) == (OrderState.FILLED, T0 + 500)
    assert change.fill is not None
    assert (change.fill.price, change.fill.tick.row, change.fill.tick.offset) == (102, 2, 2)


@pytest.mark.parametrize(
    ("offset", "row", "met"), [(4, 9, False), (5, 1, False), (5, 2, False), (5, 3, True), (6, 0, True)]
)
def test_an_order_meets_only_ticks_after_its_cause_in_the_log(offset: int, row: int, met: bool) -> None:
    floor = Floor()
    floor.place(an_order(cause=a_ref(offset=5, row=2)))
    place = Place("sim", "1", 0, offset)

    assert bool(floor.desk.meet(a_tick(row=row), place, lambda row: None, None)) is met
    floor.offset, floor.row = 6, 9
    assert bool(floor.tick(10_000, 1)) is not met


def test_an_order_meets_no_tick_outside_of_trading() -> None:
    floor = Floor()
    floor.place(an_order(product=Product.CNC, expires_at=None))

    assert not floor.tick(10_000, -1)
    assert not floor.tick(10_000, CLOSE)
    assert not floor.tick(10_000, 5 * DAY - 1)
    assert fills(floor.tick(10_000, 6 * DAY)) == [("order", 10, "100.00")]


def test_a_tick_is_matched_with_its_own_order_book() -> None:
    floor = Floor()
    floor.place(an_order())

    changes = floor.tick(10_000, book=a_book(asks=[(10_000, 4), (10_010, 9)]), ask=10_000)

    assert fills(changes) == [("order", 4, "100.00"), ("order", 6, "100.10")]


def test_no_order_book_is_decoded_that_no_order_looks_at() -> None:
    floor, asked = Floor(), list[int]()
    floor.place(an_order(limit="90"))
    floor.tick(10_000)

    floor.desk.meet(a_tick(10_000, row=2, time=T0 + 1), Place("sim", "1", 0, 2), asked.append, None)

    assert not asked


def test_each_price_is_a_fill_of_its_own_and_the_last_one_ends_the_order() -> None:
    floor = Floor()
    floor.place(an_order(quantity=5))

    first, last = floor.tick(10_000, book=a_book(asks=[(10_000, 3), (10_010, 9)]))

    assert (first.order.state, last.order.state) == (OrderState.WORKING, OrderState.FILLED)
    assert first.fill is not None
    assert last.fill is not None
    assert first.fill.fill_id != last.fill.fill_id
    assert last.order.turnover == Decimal("500.20")
    assert floor.position == 5


def test_the_charges_of_a_fill_go_on_from_those_of_the_order() -> None:
    def brokerage(*levels: tuple[int, int]) -> Decimal:
        floor = Floor()
        floor.place(an_order(quantity=1_000))
        changes = floor.tick(10_000, book=a_book(asks=levels))
        return sum((change.fill.charges["brokerage"] for change in changes if change.fill), Decimal(0))

    assert brokerage((10_000, 400), (10_000, 600)) == brokerage((10_000, 1_000)) == 20


def test_orders_at_one_tick_take_their_turns_in_the_order_in_which_they_came() -> None:
    floor = Floor()
    floor.place(an_order(name="limit", limit="100"))
    floor.place(an_order(name="market"))
    floor.place(an_order(name="stop", trigger="99"))

    assert [name for name, _, _ in fills(floor.tick(10_000))] == ["limit", "market", "stop"]


def test_own_orders_do_not_compete() -> None:
    floor = Floor()
    floor.place(an_order(name="one"))
    floor.place(an_order(name="two"))

    assert fills(floor.tick(10_000, traded=10)) == [("one", 10, "100.00"), ("two", 10, "100.00")]


def test_a_market_order_waits_for_what_it_was_not_given() -> None:
    floor = Floor(a_venue(participation=Decimal("0.5")))
    floor.place(an_order())

    given = [fills(floor.tick(10_000, number, traded=8)) for number in range(4)]

    assert [sum(quantity for _, quantity, _ in one) for one in given] == [4, 4, 2, 0]


# Limit orders


def test_an_arriving_limit_order_takes_what_is_better_and_a_waiting_one_gets_its_limit() -> None:
    floor = Floor()
    floor.place(an_order(name="crosses", limit="100"))
    floor.place(an_order(name="waits", limit="98"))

    assert fills(floor.tick(9_900)) == [("crosses", 10, "99.00")]
    assert not floor.tick(9_800, 1)
    assert fills(floor.tick(9_500, 2)) == [("waits", 10, "98.00")]


def test_what_an_arriving_limit_order_does_not_get_waits_at_its_limit() -> None:
    floor = Floor()
    floor.place(an_order(SELL, limit="100"))

    assert fills(floor.tick(10_100, book=a_book(bids=[(10_050, 4), (9_990, 9)]))) == [("order", 4, "100.50")]
    assert fills(floor.tick(10_050, 1)) == [("order", 6, "100.00")]


def test_a_best_price_reaches_an_order_that_the_last_price_does_not() -> None:
    floor = Floor()
    floor.place(an_order(name="buys", limit="99"))
    floor.place(an_order(SELL, name="sells", limit="101"))
    floor.tick(10_000)

    assert [name for name, _, _ in fills(floor.tick(10_000, 1, bid=9_800, ask=9_900))] == ["buys"]
    assert [name for name, _, _ in fills(floor.tick(10_000, 2, bid=10_100, ask=10_200))] == ["sells"]


def test_the_queue_before_an_order_is_counted_down_to_its_turn() -> None:
    floor = Floor(a_venue(queue=QueueModel.QUEUE))
    floor.place(an_order(limit="100"))
    floor.tick(10_010, book=a_book(bids=[(10_000, 30)], asks=[(10_010, 5)]), bid=10_000, ask=10_010)

    assert not floor.tick(10_000, 1, traded=25)
    assert fills(floor.tick(10_000, 2, traded=9)) == [("order", 4, "100.00")]


# Stops


@pytest.mark.parametrize(("side", "before", "reached"), [(BUY, 10_495, 10_500), (SELL, 9_505, 9_500)])
def test_a_stop_waits_for_its_last_price_and_then_goes_to_the_market(side: Side, before: int, reached: int) -> None:
    floor = Floor()
    (placed,) = floor.place(an_order(side, trigger=f"{reached / 100:.2f}"))

    assert placed.order.state is OrderState.TRIGGER_PENDING
    assert not floor.tick(before, bid=9_000, ask=11_000)
    triggered, filled = floor.tick(reached, 1, bid=9_000, ask=11_000)
    assert (triggered.order.state, triggered.reason) == (OrderState.WORKING, Reason.TRIGGERED)
    assert filled.order.state is OrderState.FILLED
    assert filled.fill is not None
    assert filled.fill.price == (110 if side is BUY else 90)


def test_no_quote_triggers_a_stop() -> None:
    floor = Floor()
    floor.place(an_order(trigger="105"))

    assert not floor.tick(10_000, bid=10_600, ask=10_700)


@pytest.mark.parametrize(
    ("side", "trigger", "limit", "beyond"), [(BUY, "105", "106", 10_700), (SELL, "95", "94", 9_300)]
)
def test_a_stop_limit_order_waits_at_its_limit_once_it_is_triggered(
    side: Side, trigger: str, limit: str, beyond: int
) -> None:
    floor = Floor()
    floor.place(an_order(side, trigger=trigger, limit=limit))
    floor.tick(10_000)

    (triggered,) = floor.tick(beyond, 1)
    assert triggered.reason is Reason.TRIGGERED
    assert not floor.tick(beyond, 2)
    assert fills(floor.tick(10_000, 3)) == [("order", 10, f"{limit}.00")]


def test_a_stop_limit_order_that_is_triggered_within_its_limit_takes_the_market() -> None:
    floor = Floor()
    floor.place(an_order(trigger="105", limit="106"))

    assert fills(floor.tick(10_500, bid=10_450, ask=10_550)) == [("order", 10, "105.50")]


def test_stops_are_triggered_in_the_order_of_their_prices_and_filled_in_that_of_their_coming() -> None:
    floor = Floor()
    for name, trigger in (("high", "106"), ("low", "105"), ("higher", "107"), ("too high", "109")):
        floor.place(an_order(name=name, trigger=trigger))

    changes = floor.tick(10_800)

    assert [c.order.order_id for c in changes if c.reason is Reason.TRIGGERED] == ["low", "high", "higher"]
    assert [name for name, _, _ in fills(changes)] == ["high", "low", "higher"]


def test_a_stop_that_was_triggered_before_the_market_gave_it_anything_stays_on_the_market() -> None:
    floor = Floor()
    floor.place(an_order(trigger="105"))

    assert [c.reason for c in floor.tick(10_500, traded=0)] == [Reason.TRIGGERED]
    assert fills(floor.tick(10_000, 1)) == [("order", 10, "100.00")]


# How it ends


def test_what_an_ioc_order_does_not_get_at_its_first_look_is_cancelled() -> None:
    floor = Floor()
    floor.place(an_order(validity=Validity.IOC))

    changes = floor.tick(10_000, book=a_book(asks=[(10_000, 4)]))

    assert fills(changes) == [("order", 4, "100.00")]
    assert ends(changes) == {"order": Reason.IOC_REMAINDER}
    assert changes[-1].order.filled == 4


def test_an_ioc_stop_takes_its_look_when_it_is_triggered() -> None:
    floor = Floor()
    floor.place(an_order(trigger="105", limit="105", validity=Validity.IOC))

    assert not floor.tick(10_000)
    assert ends(floor.tick(10_600, 1)) == {"order": Reason.IOC_REMAINDER}


@pytest.mark.parametrize("told", ["tick", "beat"])
def test_an_order_ends_with_its_minutes_whoever_brings_the_time(told: str) -> None:
    floor = Floor()
    floor.place(an_order(limit="90", validity=Validity.TTL, expires_at=T0 + MINUTE))

    assert not floor.tick(10_000, MINUTE - 1)
    (change,) = floor.tick(8_000, 2 * MINUTE) if told == "tick" else floor.beat(2 * MINUTE)
    assert (change.order.state, change.reason, change.time) == (
        OrderState.EXPIRED,
        Reason.TTL_ENDED,
        T0 + MINUTE,
    )


@pytest.mark.parametrize("validity", [Validity.DAY, Validity.TTL])
def test_an_order_ends_with_its_session(validity: Validity) -> None:
    floor = Floor()
    floor.place(an_order(limit="90", validity=validity, expires_at=T0 + CLOSE, product=Product.CNC))

    assert ends(floor.beat(CLOSE)) == {"order": Reason.DAY_ENDED}


def test_an_order_is_filled_no_more_at_the_tick_at_which_it_ends() -> None:
    floor = Floor()
    floor.place(an_order(limit="100", expires_at=T0 + 5))

    assert fills(floor.tick(9_000, 5)) == []


def test_the_end_of_a_run_ends_the_orders_that_it_caused_and_no_later_ones() -> None:
    floor = Floor()
    floor.place(an_order(name="before", cause=a_ref(offset=3)))
    floor.place(an_order(name="after", cause=a_ref(offset=7)))

    assert ends(floor.desk.expire(5, T0 + 9, Reason.END_OF_DATA)) == {"before": Reason.END_OF_DATA}
    assert list(floor.desk.orders) == ["after"]


# Cancellations and modifications


def test_a_cancellation_acts_at_its_time_and_undoes_nothing() -> None:
    floor = Floor(a_venue(participation=Decimal("0.1")))
    floor.place(an_order(limit="100"))
    floor.tick(10_100)
    floor.desk.cancel("Momentum", BUY, T0 + 10)

    assert fills(floor.tick(9_900, 9, traded=40)) == [("order", 4, "100.00")]
    (change,) = floor.tick(9_900, 11, traded=400)
    assert (change.order.state, change.reason) == (OrderState.CANCELLED, Reason.CANCELLED_BY_STRATEGY)
    assert (change.time, change.order.filled) == (T0 + 10, 4)


def test_a_cancellation_is_of_one_strategy_and_side_and_the_first_one_counts() -> None:
    floor = Floor()
    floor.hold(10)
    floor.place(an_order(name="entry", limit="90"))
    floor.place(an_order(name="other strategy", limit="90", strategy_id="Other"))
    floor.place(an_order(SELL, name="exit", limit="110", role=Role.EXIT))
    floor.desk.cancel("Momentum", BUY, T0 + 5)
    floor.desk.cancel("Momentum", BUY, T0 + 3)

    assert not floor.beat(4)
    assert ends(floor.beat(9)) == {"entry": Reason.CANCELLED_BY_STRATEGY}
    assert list(floor.desk.orders) == ["other strategy", "exit"]


def test_a_cancellation_that_comes_after_the_end_of_an_order_finds_nothing() -> None:
    floor = Floor()
    floor.place(an_order())
    floor.desk.cancel("Momentum", BUY, T0 + 10)
    floor.tick(10_000, 5)

    assert not floor.beat(20)


def test_a_modified_limit_acts_at_its_time() -> None:
    floor = Floor()
    floor.place(an_order(limit="95"))
    floor.tick(10_000)
    floor.desk.modify("Momentum", BUY, T0 + 10, Decimal(101), None)

    assert not floor.tick(10_000, 9)
    modified, filled = floor.tick(10_000, 10)
    assert (modified.reason, modified.time) == (Reason.MODIFIED_BY_STRATEGY, T0 + 10)
    assert fills([filled]) == [("order", 10, "100.00")]


def test_a_modified_order_loses_its_place_in_the_queue() -> None:
    floor = Floor(a_venue(queue=QueueModel.QUEUE))
    book = {"bid": 10_000, "ask": 10_010}
    floor.place(an_order(limit="100"))
    floor.tick(10_010, book=a_book(bids=[(10_000, 5)], asks=[(10_010, 1)]), **book)
    floor.desk.modify("Momentum", BUY, T0 + 1, Decimal(100), None)
    floor.tick(10_010, 1, book=a_book(bids=[(10_000, 500)], asks=[(10_010, 1)]), **book)

    assert floor.desk.orders["order"].queue == 500
    assert not floor.tick(10_000, 2, traded=50)


def test_modifications_act_one_after_the_other_and_none_swallows_another() -> None:
    floor = Floor()
    floor.place(an_order(limit="106", trigger="105"))
    floor.desk.modify("Momentum", BUY, T0 + 10, None, Decimal(103))
    floor.desk.modify("Momentum", BUY, T0 + 20, Decimal(104), None)
    floor.desk.modify("Momentum", BUY, T0 + 15, Decimal(107), None)

    assert [(c.time - T0, c.order.price, c.order.trigger) for c in floor.beat(30)] == [
        (10, 106, 103),
        (20, 104, 103),
        (20, 107, 103),
    ]


def test_a_trigger_is_moved_while_it_waits() -> None:
    floor = Floor()
    floor.place(an_order(trigger="105"))
    floor.tick(10_000)
    floor.desk.modify("Momentum", BUY, T0 + 5, None, Decimal(102))

    assert fills(floor.tick(10_200, 6)) == [("order", 10, "102.00")]


def test_an_order_for_the_market_has_no_price_to_modify() -> None:
    floor = Floor(a_venue(participation=Decimal("0.1")))
    floor.place(an_order())
    floor.tick(10_000, traded=10)
    floor.desk.modify("Momentum", BUY, T0 + 5, Decimal(90), Decimal(90))

    assert not floor.beat(9)
    assert floor.desk.orders["order"].price is None


@pytest.mark.parametrize("again", [False, True])
def test_a_modification_that_changes_no_price_lets_an_order_arrive_anew_reloaded_or_not(again: bool) -> None:
    floor = Floor()
    floor.place(an_order(limit="100"))
    floor.tick(10_100)
    floor.desk.modify("Momentum", BUY, T0, Decimal(100), None)
    floor.beat(1)
    if again:
        floor.reload()

    assert fills(floor.tick(9_900, 2)) == [("order", 10, "99.00")]


def test_a_modification_that_overtakes_its_order_lets_it_arrive_no_earlier() -> None:
    floor = Floor()
    floor.place(an_order(limit="100", live_at=900))
    floor.desk.modify("Momentum", BUY, T0 + 300, Decimal(101), None)

    assert [change.reason for change in floor.tick(10_000, 899)] == [Reason.MODIFIED_BY_STRATEGY]
    assert fills(floor.tick(10_000, 900)) == [("order", 10, "100.00")]
