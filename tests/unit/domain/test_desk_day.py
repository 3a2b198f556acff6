"""A desk through the day: square-off, holidays and auctions, expiry, corporate actions, and orders that come late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from msgspec import structs

from panda_streams.domain.calendar import Calendar, Hours, Market, SpecialSession
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.desk import Change, Desk
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import OrderState, Product, Reason, Role
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Place
from tests.unit.builders import INFY, T0, a_ref, a_tick
from tests.unit.chains import an_option
from tests.unit.domain.desks import CLOSE, DAY, HOUR, SHARE, SQUARE_OFF, Floor, a_venue, an_order, ends, fills

BUY, SELL = Side.BUY, Side.SELL
MINUTE = 60_000
OPTION = an_option(date(2021, 6, 8), 1400, underlying=INFY)


def squared(changes: list[Change]) -> list[tuple[int, OrderState]]:
    """Time and state of the changes of square-off orders."""
    return [(c.time - T0, c.order.state) for c in changes if c.order.role is Role.SQUARE_OFF]


# Square-off


@pytest.mark.parametrize("quantity", [10, -10])
def test_an_intraday_position_is_closed_before_the_session_ends(quantity: int) -> None:
    floor = Floor(a_venue(latency_ms=500))
    floor.hold(quantity)
    assert not floor.beat(SQUARE_OFF - 1)

    assert squared(floor.beat(SQUARE_OFF)) == [(SQUARE_OFF, OrderState.WORKING)]
    assert not floor.tick(10_000, SQUARE_OFF + 499)
    assert squared(floor.tick(10_000, SQUARE_OFF + 500)) == [(SQUARE_OFF + 500, OrderState.FILLED)]
    assert not floor.desk.positions


@pytest.mark.parametrize(("instrument", "product"), [(SHARE, Product.CNC), (OPTION, Product.NRML)])
def test_what_is_held_overnight_is_not_squared_off(instrument: Instrument, product: Product) -> None:
    floor = Floor(instrument=instrument)
    floor.hold(10, product=product)

    assert not floor.beat(CLOSE)
    assert floor.position == 10


def test_a_position_in_a_silent_instrument_is_squared_off_once_by_beats_alone() -> None:
    floor = Floor()
    floor.hold(10)

    said = [squared(floor.beat(at)) for at in (SQUARE_OFF - 1000, SQUARE_OFF, SQUARE_OFF + 1000, CLOSE)]

    assert said == [[], [(SQUARE_OFF, OrderState.WORKING)], [], []]


def test_a_square_off_without_a_beat_is_caused_at_its_moment_and_meets_the_next_tick() -> None:
    floor = Floor()
    floor.hold(10)

    changes = floor.tick(10_000, SQUARE_OFF + 7_000)

    assert squared(changes) == [(SQUARE_OFF, OrderState.WORKING), (SQUARE_OFF + 7_000, OrderState.FILLED)]


@pytest.mark.parametrize("wakes", [SQUARE_OFF, SQUARE_OFF + 4 * MINUTE])
def test_an_arm_that_was_down_squares_off_once_when_it_reads_on(wakes: int) -> None:
    floor = Floor()
    floor.hold(10)
    floor.reload()

    assert [state for _, state in squared(floor.beat(wakes))] == [OrderState.WORKING]
    floor.reload()
    assert not floor.beat(wakes + 1)
    floor.reload()
    assert fills(floor.tick(10_000, wakes + 2))[0][1] == 10
    assert not floor.beat(CLOSE - 1)


def test_a_position_of_yesterday_that_could_not_be_closed_is_closed_at_the_next_open() -> None:
    floor = Floor()
    floor.hold(10)
    floor.beat(SQUARE_OFF)
    floor.beat(CLOSE)

    assert [state for _, state in squared(floor.tick(9_000, DAY))] == [OrderState.FILLED]


def test_legs_and_square_off_together_close_a_position_once() -> None:
    floor = Floor()
    floor.place(an_order(stop=Decimal(95), target=Decimal(105)))
    floor.tick(10_000)
    floor.beat(SQUARE_OFF)

    changes = floor.tick(9_000, SQUARE_OFF + 1)

    assert sum(change.fill.quantity for change in changes if change.fill) == 10
    assert (floor.position, floor.desk.orders) == (0, {})


def test_an_intraday_entry_ends_when_positions_are_squared_off() -> None:
    floor = Floor()
    floor.place(an_order(name="of a flat strategy", limit="90", expires_at=T0 + SQUARE_OFF))
    floor.place(an_order(name="overnight", limit="90", product=Product.CNC, strategy_id="Other"))

    (change,) = floor.tick(8_000, SQUARE_OFF + 1)[:1]

    assert (change.order.order_id, change.order.state) == ("of a flat strategy", OrderState.EXPIRED)
    assert (change.reason, change.time) == (Reason.SQUARED_OFF, T0 + SQUARE_OFF)
    assert floor.position == 0


def test_each_strategy_is_squared_off_by_an_order_of_its_own() -> None:
    floor = Floor()
    floor.hold(10)
    floor.hold(-4, strategy_id="Other")

    floor.beat(SQUARE_OFF)
    changes = floor.tick(10_000, SQUARE_OFF + 1)

    assert sorted((c.fill.strategy_id, c.fill.side, c.fill.quantity) for c in changes if c.fill) == [
        ("Momentum", SELL, 10),
        ("Other", BUY, 4),
    ]
    assert len({change.order.order_id for change in changes}) == 2


def test_a_position_that_opens_after_the_square_off_is_closed_at_once() -> None:
    floor = Floor()
    floor.hold(10)
    floor.hold(4, strategy_id="Late", at=SQUARE_OFF + MINUTE)

    assert list(floor.desk.positions) == ["Late"]
    assert [state for _, state in squared(floor.tick(10_000, SQUARE_OFF + MINUTE + 1))] == ["WORKING", "FILLED"]
    assert not floor.desk.positions


@pytest.mark.parametrize("again", [False, True])
def test_a_square_off_that_ends_with_the_data_is_made_once_more_when_it_goes_on(again: bool) -> None:
    floor = Floor()
    floor.hold(10)
    first, *_ = floor.beat(SQUARE_OFF)
    floor.desk.expire(floor.offset + 1, T0 + SQUARE_OFF + 5, Reason.END_OF_DATA)
    if again:
        floor.reload()

    second, *_ = floor.beat(SQUARE_OFF + 9)

    assert (second.order.role, second.time) == (Role.SQUARE_OFF, T0 + SQUARE_OFF + 6)
    assert second.order.order_id != first.order.order_id
    assert fills(floor.tick(10_000, SQUARE_OFF + 10))[0][1] == 10


@pytest.mark.parametrize("again", [False, True])
def test_a_position_that_an_operator_closes_is_closed_by_nothing_else(again: bool) -> None:
    floor = Floor(protections={"Momentum": Protection(stop_loss=Decimal("0.01"))})
    floor.hold(10)
    floor.desk.flatten("action", Place("sim", "1", 0, 1).ref(9, T0), T0 + SQUARE_OFF - 1)
    if again:
        floor.reload()

    floor.tick(9_000, SQUARE_OFF, traded=0)

    assert [order.role for order in floor.desk.orders.values()] == [Role.FLATTEN]


# The calendar


def a_calendar(**sessions: Hours) -> Calendar:
    """Trading from 09:15 to 15:30; on 9 June 2021 there is none, or that of the market named."""
    day = Hours(opens="09:15", closes="15:30", square_off="15:20")
    special = {date(2021, 6, 9): SpecialSession(name="Muhurat", hours=hours) for hours in sessions.values()}
    return Calendar({market: {date.min: day} for market in Market}, {date(2021, 6, 9): "Holiday"}, special, None)


def test_on_a_holiday_orders_are_refused_and_those_that_wait_meet_nothing() -> None:
    floor = Floor(a_venue(a_calendar()))
    assert ends(floor.place(an_order(name="late", live_at=DAY))) == {"late": Reason.MARKET_CLOSED}
    floor.place(an_order(product=Product.CNC, expires_at=None))

    assert not floor.tick(10_000, DAY)
    assert fills(floor.tick(10_000, 2 * DAY))


def test_a_special_session_on_a_holiday_is_traded_in_its_own_hours() -> None:
    floor = Floor(a_venue(a_calendar(evening=Hours(opens="18:15", closes="19:15"))))
    evening = DAY + 9 * HOUR

    assert ends(floor.place(an_order(name="noon", live_at=DAY))) == {"noon": Reason.MARKET_CLOSED}
    floor.place(an_order(live_at=evening, expires_at=T0 + evening + HOUR))
    assert fills(floor.tick(10_000, evening))
    assert not floor.beat(evening + HOUR)  # a session without a square-off


def test_nothing_trades_in_the_closing_auction_of_a_share_with_derivatives() -> None:
    calendar = Calendar(
        {
            market: {date.min: Hours(opens="09:15", closes="15:15" if market is Market.SHARES_FNO else "15:30")}
            for market in Market
        },
        {},
        {},
        None,
    )
    auction = CLOSE - 15 * MINUTE

    def traded(instrument: Instrument) -> bool:
        floor = Floor(a_venue(calendar), instrument)
        floor.place(an_order(expires_at=None))
        return bool(fills(floor.tick(10_000, auction)))

    assert not traded(structs.replace(SHARE, has_derivatives=True))
    assert traded(SHARE)


# Expiry and corporate actions


def test_an_expiry_closes_every_position_at_its_worth_and_ends_every_order() -> None:
    floor = Floor(instrument=OPTION)
    floor.hold(10, product=Product.NRML)
    floor.hold(-4, strategy_id="Other", product=Product.NRML)
    floor.place(an_order(name="entry", limit="90", product=Product.NRML))

    changes = floor.desk.settle(Decimal("12.50"), Place("sim", "1", 0, 99), T0 + CLOSE)

    assert changes[0].reason is Reason.CONTRACT_EXPIRED
    settled = [change.fill for change in changes if change.fill]
    assert [(f.role, f.strategy_id, f.side, f.quantity, f.price) for f in settled] == [
        (Role.SETTLEMENT, "Momentum", SELL, 10, Decimal("12.50")),
        (Role.SETTLEMENT, "Other", BUY, 4, Decimal("12.50")),
    ]
    assert (floor.desk.orders, floor.desk.positions) == ({}, {})


def test_an_option_without_worth_is_closed_for_nothing() -> None:
    floor = Floor(instrument=OPTION)
    floor.hold(10, product=Product.NRML)

    *_, last = floor.desk.settle(Decimal(0), Place("sim", "1", 0, 99), T0 + CLOSE)

    assert last.fill is not None
    assert (last.fill.price, last.fill.charges, floor.position) == (0, {}, 0)


@pytest.mark.parametrize(("ratio", "expected"), [((5, 1), 35), ((3, 2), 10), ((1, 10), 0)])
def test_a_split_changes_positions_and_ends_orders_on_the_old_share(ratio: tuple[int, int], expected: int) -> None:
    floor = Floor()
    floor.hold(7, product=Product.CNC)
    floor.place(an_order(limit="90", product=Product.CNC))
    floor.desk.changed = False

    changes = floor.desk.adjust(Ratio(new=ratio[0], old=ratio[1]), T0 + HOUR)

    assert ends(changes) == {"order": Reason.CORPORATE_ACTION}
    assert (floor.position, floor.desk.changed) == (expected, True)


@pytest.mark.parametrize("again", [False, True])
def test_a_split_while_a_position_is_squared_off_lets_it_be_squared_off_again(again: bool) -> None:
    floor = Floor()
    floor.hold(10)
    floor.beat(SQUARE_OFF)
    floor.desk.adjust(Ratio(new=2, old=1), T0 + SQUARE_OFF + 1)
    if again:
        floor.reload()

    assert fills(floor.tick(10_000, SQUARE_OFF + 5))[0][1] == 20


# Orders that come after their ticks


def catch_up(floor: Floor, *tell: Callable[[Desk, Place], list[Change]]) -> tuple[Desk, list[Change]]:
    """A late desk that was told records at the offsets from 1 on."""
    late, changes = floor.desk.late(), list[Change]()
    late.place(an_order(name="late"), T0)
    for offset, record in enumerate(tell, start=1):
        changes += record(late, Place("sim", "1", 0, offset))
    return late, changes


def passed(price: int, at: int) -> Callable[[Desk, Place], list[Change]]:
    return lambda desk, place: desk.meet(a_tick(price, row=place.offset, time=T0 + at), place, lambda row: None, None)


def test_an_order_that_comes_late_meets_the_ticks_that_passed() -> None:
    floor = Floor()
    floor.tick(10_000, 1)

    late, changes = catch_up(floor, passed(10_000, 1))
    floor.desk.join(late, T0 + 1)

    assert fills(changes) == [("late", 10, "100.00")]
    assert floor.position == 10


def test_what_is_left_of_a_late_order_works_on_with_its_legs() -> None:
    floor = Floor()
    late = floor.desk.late()
    late.place(an_order(name="waits", limit="90"), T0)
    late.place(an_order(name="bracket", stop=Decimal(95)), T0)
    passed(10_000, 1)(late, Place("sim", "1", 0, 1))
    floor.desk.join(late, T0 + 1)
    floor.offset = 1

    assert [order.role for order in floor.desk.orders.values()] == [Role.ENTRY, Role.STOP]
    assert [(quantity, price) for _, quantity, price in fills(floor.tick(8_900, 2))] == [(10, "90.00"), (10, "89.00")]
    assert floor.position == 10


def test_an_exit_that_comes_late_and_closes_the_position_ends_what_else_could_have() -> None:
    floor = Floor()
    floor.hold(10)
    floor.place(an_order(SELL, name="exit", limit="120", role=Role.EXIT))
    late = floor.desk.late()
    late.place(an_order(SELL, name="late", role=Role.EXIT, cause=a_ref(offset=1, row=1)), T0 + 1)
    passed(10_000, 1)(late, Place("sim", "1", 0, 2))

    assert ends(floor.desk.join(late, T0 + 2)) == {"exit": Reason.POSITION_CLOSED}
    assert (floor.desk.orders, floor.position) == ({}, 0)


def test_a_late_desk_squares_nothing_off_that_its_desk_is_squaring_off() -> None:
    floor = Floor(a_venue(participation=Decimal("0.5")))
    floor.hold(10)
    floor.beat(SQUARE_OFF)
    floor.tick(10_000, SQUARE_OFF + 1, traded=6)

    late, changes = catch_up(floor, lambda desk, place: desk.pass_time(T0 + SQUARE_OFF, place))
    assert not changes
    floor.desk.join(late, T0 + SQUARE_OFF + 1)

    assert [order.role for order in floor.desk.orders.values()] == [Role.SQUARE_OFF, Role.ENTRY]


def test_a_late_desk_closes_no_position_that_its_desk_protects() -> None:
    floor = Floor(protections={"Momentum": Protection(stop_loss=Decimal("0.01"))})
    floor.hold(10)
    floor.tick(9_900, 1, traded=0)
    assert [order.role for order in floor.desk.orders.values()] == [Role.PROTECTION]

    late, changes = catch_up(floor, passed(9_900, 1))
    floor.desk.join(late, T0 + 1)

    assert [change.order.role for change in changes] == [Role.ENTRY]
    assert fills(floor.tick(9_800, 2))[0][1] == 10


def test_a_position_that_a_late_order_opens_is_squared_off_by_its_desk() -> None:
    floor = Floor()
    floor.beat(SQUARE_OFF)
    late, _ = catch_up(floor, passed(10_000, SQUARE_OFF - 1), lambda desk, place: desk.pass_time(T0 + CLOSE, place))
    floor.desk.join(late, T0 + SQUARE_OFF)

    assert fills(floor.tick(10_000, SQUARE_OFF + 1))[0][1] == 10


def test_a_desk_is_changed_by_what_joins_it() -> None:
    floor = Floor()
    assert not floor.desk.changed

    floor.desk.join(floor.desk.late(), T0)

    assert floor.desk.changed
