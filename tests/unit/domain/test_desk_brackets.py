"""Brackets, and orders that only reduce: one leg cancels the other, and nothing closes more than is held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain.orders import OrderState, Reason, Role
from panda_streams.domain.signals import OrderType, Side
from tests.unit.builders import T0
from tests.unit.domain.desks import Floor, a_book, a_venue, an_order, ends, fills

BUY, SELL = Side.BUY, Side.SELL


def a_bracket(side: Side = BUY, **fields: Any) -> Floor:
    """An entry of 10 for the market with both legs, 5.00 away from 100.00, that was not filled yet."""
    target, stop = (105, 95) if side is BUY else (95, 105)
    floor = Floor(a_venue(**fields))
    floor.place(an_order(side, name="entry", target=Decimal(target), stop=Decimal(stop)))
    return floor


def legs(floor: Floor) -> dict[Role, tuple[int, int]]:
    """Quantity and what is filled of the working legs."""
    return {order.role: (order.quantity, order.filled) for order in floor.desk.orders.values() if order.parent}


def roles(floor: Floor) -> list[tuple[Role, int, str]]:
    """Role, shares and price of every fill so far."""
    return [(c.fill.role, c.fill.quantity, f"{c.fill.price:.2f}") for c in floor.said if c.fill is not None]


@pytest.mark.parametrize(
    ("side", "price", "role"),
    [
        (BUY, 10_550, Role.TARGET),
        (BUY, 9_450, Role.STOP),
        (SELL, 9_450, Role.TARGET),
        (SELL, 10_550, Role.STOP),
    ],
)
def test_one_leg_closes_the_position_and_cancels_the_other(side: Side, price: int, role: Role) -> None:
    floor = a_bracket(side)
    floor.tick(10_000)

    changes = floor.tick(price, 1)

    assert [(c.fill.role, c.fill.quantity) for c in changes if c.fill] == [(role, 10)]
    assert Reason.OTHER_LEG_FILLED in ends(changes).values()
    assert (floor.position, floor.desk.orders) == (0, {})


def test_legs_are_a_limit_and_a_stop_of_the_entry_s_signal() -> None:
    floor = a_bracket()
    floor.tick(10_000)
    target, stop = floor.desk.orders.values()

    assert (target.order_type, target.price, target.trigger) == (OrderType.LIMIT, 105, None)
    assert (stop.order_type, stop.price, stop.trigger) == (OrderType.SL_M, None, 95)
    assert {(leg.parent, leg.signal_id, leg.side) for leg in (target, stop)} == {("entry", "signal of entry", SELL)}
    assert target.state is OrderState.WORKING
    assert stop.state is OrderState.TRIGGER_PENDING


@pytest.mark.parametrize("only", [{"target": Decimal(105)}, {"stop": Decimal(95)}])
def test_an_entry_may_have_one_leg_alone(only: dict[str, Decimal]) -> None:
    floor = Floor()
    floor.place(an_order(**only))
    floor.tick(10_000)

    assert [role.value.lower() for role in legs(floor)] == list(only)
    assert fills(floor.tick(10_500 if "target" in only else 9_500, 1))
    assert (floor.position, floor.desk.orders) == (0, {})


def test_legs_arrive_after_the_fill_and_its_latency() -> None:
    floor = a_bracket(latency_ms=500)
    floor.tick(10_000)

    assert not floor.tick(9_400, 499)
    assert fills(floor.tick(9_400, 500))


def test_legs_grow_with_every_fill_of_their_entry() -> None:
    floor = a_bracket(participation=Decimal("0.5"))
    floor.tick(10_000, 0, traded=6)
    grown = floor.tick(10_000, 1, traded=8)

    assert [change.reason for change in grown] == [None, Reason.ENTRY_FILLED, Reason.ENTRY_FILLED]
    assert legs(floor) == {Role.TARGET: (7, 0), Role.STOP: (7, 0)}


def test_a_part_of_one_leg_is_taken_from_the_other() -> None:
    floor = a_bracket(participation=Decimal("0.5"))
    floor.tick(10_000, 0, traded=20)
    shrunk = floor.tick(10_550, 1, traded=8)

    assert [change.reason for change in shrunk] == [None, Reason.OTHER_LEG_FILLED]
    assert legs(floor) == {Role.TARGET: (10, 4), Role.STOP: (6, 0)}
    assert [quantity for _, quantity, _ in fills(floor.tick(9_400, 2, traded=100))] == [6]
    assert floor.position == 0


def test_a_leg_that_grows_at_the_tick_that_reaches_it_still_closes_no_more_than_is_held() -> None:
    floor = a_bracket(participation=Decimal("0.5"))
    floor.tick(10_000, 0, traded=8)
    floor.tick(10_550, 1, traded=8)

    assert floor.position == 4
    assert legs(floor) == {Role.TARGET: (8, 4), Role.STOP: (4, 0)}


def test_what_an_entry_gets_after_its_legs_have_ended_has_legs_of_its_own() -> None:
    floor = Floor(a_venue(participation=Decimal("0.5")))
    floor.place(an_order(name="entry", limit="100", target=Decimal(105), stop=Decimal(95)))
    floor.tick(10_000, 0, traded=8)
    first = set(floor.desk.orders) - {"entry"}
    floor.tick(10_550, 1, traded=8)
    assert (floor.position, list(floor.desk.orders)) == (0, ["entry"])

    floor.tick(9_990, 2, traded=8)

    assert legs(floor) == {Role.TARGET: (4, 0), Role.STOP: (4, 0)}
    assert first.isdisjoint(floor.desk.orders)


def test_legs_outlive_the_cancellation_of_the_rest_of_their_entry() -> None:
    floor = a_bracket(participation=Decimal("0.5"))
    floor.tick(10_000, 0, traded=8)
    floor.desk.cancel("Momentum", BUY, T0 + 1)
    floor.desk.cancel("Momentum", SELL, T0 + 1)
    floor.beat(1)

    assert legs(floor) == {Role.TARGET: (4, 0), Role.STOP: (4, 0)}
    assert fills(floor.tick(9_400, 2))[0][1] == 4


def test_when_both_legs_are_reached_at_one_tick_only_one_of_them_trades() -> None:
    floor = a_bracket()
    floor.tick(10_000)

    changes = floor.tick(9_500, 1, bid=10_500, ask=10_550)

    assert [(c.fill.role, c.fill.quantity) for c in changes if c.fill] == [(Role.TARGET, 10)]
    assert (floor.position, floor.desk.orders) == (0, {})


def test_when_both_legs_are_reached_at_one_tick_the_second_trades_only_what_the_first_left() -> None:
    floor = a_bracket()
    floor.tick(10_000)

    changes = floor.tick(9_500, 1, book=a_book(bids=[(10_500, 3)]), bid=10_500)
    traded = [(c.fill.role, c.fill.quantity) for c in changes if c.fill]

    assert traded == [(Role.TARGET, 3), (Role.STOP, 3)]
    assert legs(floor) == {Role.TARGET: (7, 3), Role.STOP: (7, 3)}
    floor.tick(9_400, 2)
    assert floor.position == 0


def test_legs_of_two_entries_close_what_each_of_them_opened() -> None:
    floor = a_bracket()
    floor.place(an_order(quantity=5, name="wide", target=Decimal(110), stop=Decimal(90)))
    floor.tick(10_000)

    floor.tick(9_400, 1)
    assert floor.position == 5
    floor.tick(11_100, 2)
    assert floor.position == 0
    assert roles(floor)[2:] == [(Role.STOP, 10, "94.00"), (Role.TARGET, 5, "110.00")]


# Orders that only reduce


def test_an_exit_trades_no_more_than_is_held() -> None:
    floor = Floor()
    floor.hold(4)
    floor.place(an_order(SELL, 10, name="exit", role=Role.EXIT))

    changes = floor.tick(10_000, 1)

    assert fills(changes) == [("exit", 4, "100.00")]
    assert ends(changes) == {"exit": Reason.POSITION_CLOSED}


def test_two_exits_at_one_tick_never_turn_a_position() -> None:
    floor = Floor()
    floor.hold(10)
    floor.place(an_order(SELL, 7, name="one", role=Role.EXIT))
    floor.place(an_order(SELL, 7, name="two", role=Role.EXIT))

    assert fills(floor.tick(10_000, 1)) == [("one", 7, "100.00"), ("two", 3, "100.00")]
    assert floor.position == 0


def test_an_exit_that_closes_a_position_ends_what_else_could_have() -> None:
    floor = a_bracket()
    floor.tick(10_000)
    floor.place(an_order(SELL, name="limit", limit="120", role=Role.EXIT))
    floor.place(an_order(SELL, name="exit", role=Role.EXIT))

    ended = ends(floor.tick(10_000, 1))

    assert [ended.pop(name) for name in ("exit", "limit")] == [None, Reason.POSITION_CLOSED]
    assert list(ended.values()) == [Reason.POSITION_CLOSED, Reason.POSITION_CLOSED]
    assert not floor.desk.orders


def test_a_closed_position_ends_no_order_of_another_strategy_and_no_entry() -> None:
    floor = Floor()
    floor.hold(5, strategy_id="Other")
    floor.place(an_order(SELL, name="other", limit="120", strategy_id="Other", role=Role.EXIT))
    floor.hold(5)
    floor.place(an_order(name="entry", limit="90"))
    floor.place(an_order(SELL, 5, name="exit", role=Role.EXIT))
    floor.tick(10_000, 1)

    assert list(floor.desk.orders) == ["other", "entry"]


def test_an_exit_is_capped_to_its_own_strategy_s_position() -> None:
    floor = Floor()
    floor.hold(3)
    floor.hold(50, strategy_id="Other")
    floor.place(an_order(SELL, 10, name="exit", role=Role.EXIT))

    assert fills(floor.tick(10_000, 1)) == [("exit", 3, "100.00")]
    assert floor.desk.positions["Other"].quantity == 50


def test_an_entry_that_turns_a_position_ends_what_could_only_close_the_old_one() -> None:
    floor = a_bracket()
    floor.tick(10_000)
    floor.place(an_order(SELL, 25, name="turns", target=Decimal(90), stop=Decimal(110)))

    ended = ends(floor.tick(10_000, 1))

    assert floor.position == -15
    assert [reason for name, reason in ended.items() if name != "turns"] == [Reason.POSITION_CLOSED] * 2
    assert {order.side for order in floor.desk.orders.values()} == {BUY}


def test_an_exit_whose_position_was_closed_before_it_could_look_ends() -> None:
    floor = Floor()
    floor.hold(10)
    floor.place(an_order(SELL, name="first", role=Role.EXIT))
    floor.place(an_order(SELL, name="second", role=Role.EXIT))

    assert ends(floor.tick(10_000, 1)) == {"first": None, "second": Reason.POSITION_CLOSED}


@pytest.mark.parametrize("side", Side)
def test_no_order_of_exits_and_legs_leaves_a_position_on_the_other_side(side: Side) -> None:
    floor = a_bracket(side)
    floor.tick(10_000)
    out = SELL if side is BUY else BUY
    for number in range(3):
        floor.place(an_order(out, 10, name=f"exit {number}", role=Role.EXIT))

    floor.tick(9_500, 1, bid=10_500, ask=9_500)

    assert (floor.position, floor.desk.orders) == (0, {})
    assert sum(quantity for role, quantity, _ in roles(floor) if role is not Role.ENTRY) == 10


def test_a_fill_that_is_told_again_changes_nothing() -> None:
    floor = Floor(a_venue(participation=Decimal("0.5")))
    floor.place(an_order())
    (change,) = floor.tick(10_000, traded=8)
    floor.desk.changed = False
    assert change.fill is not None

    assert floor.desk.apply(floor.desk.orders["order"], change.fill) == []
    assert (floor.position, floor.desk.changed) == (4, False)
