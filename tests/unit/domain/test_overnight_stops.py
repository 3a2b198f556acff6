"""Stops of delivery positions: they rest with the broker itself, also overnight, and are as careful as all others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain.brokerage import BrokerStatus, Known
from panda_streams.domain.orders import OrderState, Product, Reason, Role
from panda_streams.domain.signals import OrderType, Side
from tests.unit.domain.broker_floor import BrokerFloor
from tests.unit.domain.desks import CLOSE, DAY, an_order


def delivered(**protection: Any) -> tuple[BrokerFloor, str]:
    """A floor with ten shares of delivery, and the stop that rests for them."""
    floor = BrokerFloor(**(protection or {"stop_loss": "0.01"}))
    floor.holds(10, product=Product.CNC)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.asks()
    return floor, stop


def fires(floor: BrokerFloor, stop: str, at: int = 0) -> None:
    """The broker has placed the order of a stop, and it is on the market."""
    floor.book[stop] = floor.book[stop].model_copy(update={"status": BrokerStatus.OPEN})
    floor.tells(stop, at)


@pytest.mark.parametrize(("product", "overnight"), [(Product.CNC, True), (Product.MIS, False)])
def test_a_stop_of_a_delivery_position_rests_overnight(product: Product, overnight: bool) -> None:
    floor = BrokerFloor(stop_loss="0.01")

    floor.holds(10, product=product)

    stop = floor.working("STOP")
    assert (stop.overnight, stop.expires_at, stop.order_type) == (overnight, None, OrderType.SL)


def test_the_stop_of_a_delivery_bracket_rests_overnight_while_its_target_waits_in_the_arm() -> None:
    floor = BrokerFloor()

    floor.holds(10, product=Product.CNC, target=Decimal(110), stop=Decimal(95))

    stop, target = floor.working("STOP"), floor.working("TARGET")
    assert (stop.overnight, stop.trigger, target.overnight, target.sent) == (True, Decimal(95), False, False)


def test_a_stop_that_rests_is_still_there_the_next_day_and_is_not_doubled() -> None:
    floor, stop = delivered()

    floor.beat(CLOSE)
    floor.reload()
    floor.tick(10_000, DAY)

    assert floor.working("STOP").order_id == stop
    assert floor.asks() == []


def test_what_a_stop_has_left_at_the_end_of_its_day_gets_another_one_on_the_next() -> None:
    floor, stop = delivered()
    fires(floor, stop, 1_000)
    floor.trades_of(stop, 4, "99", 2_000)

    floor.cancels(stop, CLOSE)
    assert floor.asks() == []
    floor.tick(10_000, DAY)

    again = floor.working("STOP")
    assert (again.quantity, again.overnight, again.order_id == stop) == (6, True, False)
    assert floor.asks() == [("place", "STOP")]


def test_a_fired_stop_that_the_price_has_jumped_over_makes_way_for_the_market() -> None:
    floor, stop = delivered()
    fires(floor, stop, DAY)
    floor.tick(9_000, DAY)

    floor.tick(9_000, DAY + 6_000)
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop, DAY + 6_100)

    assert floor.asks() == [("place", "PROTECTION")]


def test_a_flatten_waits_until_the_broker_shows_that_the_stop_is_gone() -> None:
    floor, stop = delivered()

    floor.flatten(1_000)
    assert floor.asks() == [("cancel", "STOP")]
    floor.hear(stop, Known.DROPPED, 2_000)

    assert floor.asks() == [("place", "FLATTEN")]
    [ended] = [change for change in floor.said if change.order.order_id == stop and change.order.state.terminal]
    assert (ended.order.state, ended.reason) == (OrderState.CANCELLED, Reason.FLATTENED)


def test_a_stop_that_somebody_deletes_is_placed_again_after_a_while() -> None:
    floor, stop = delivered()

    floor.hear(stop, Known.DROPPED, 1_000, reason=Reason.BROKER_CANCELLED)
    floor.tick(10_000, 2_000)
    assert floor.asks() == []
    floor.tick(10_000, 6_000)

    assert floor.working("STOP").order_id != stop
    assert floor.asks() == [("place", "STOP")]


def test_where_none_may_rest_overnight_the_stop_is_one_of_the_day_until_the_next() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10, product=Product.CNC)
    refused = floor.working("STOP").order_id
    floor.hear(refused, Known.SENDING)
    floor.hear(refused, Known.REFUSED, 1_000, text="Trigger price should be 0.25% away from the last price.")

    floor.reload()
    floor.tick(10_000, 7_000)
    daily = floor.working("STOP")
    assert not daily.overnight
    floor.sends(daily.order_id, 7_000)
    floor.cancels(daily.order_id, CLOSE)
    floor.tick(10_000, DAY)

    assert floor.working("STOP").overnight


def test_where_none_may_rest_overnight_the_stop_of_a_bracket_is_one_of_the_day() -> None:
    floor = BrokerFloor()
    floor.holds(10, product=Product.CNC, target=Decimal(110), stop=Decimal(95))
    refused = floor.working("STOP").order_id
    floor.hear(refused, Known.SENDING)
    floor.asks()

    floor.hear(refused, Known.REFUSED, 1_000, text="no")

    daily = floor.working("STOP")
    assert (daily.overnight, daily.trigger, daily.quantity, daily.attempt) == (False, Decimal(95), 10, 2)
    assert floor.asks() == [("place", "STOP")]


def test_a_bracket_whose_stop_fires_and_is_rejected_is_closed_at_the_market() -> None:
    floor = BrokerFloor()
    floor.holds(10, product=Product.CNC, target=Decimal(110), stop=Decimal(95))
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.asks()

    floor.rejects(stop, 1_000)

    assert floor.asks() == [("place", "PROTECTION")]


def test_a_position_whose_stop_fires_and_is_rejected_is_closed_at_the_market() -> None:
    floor, stop = delivered()

    floor.rejects(stop, 1_000)
    floor.tick(9_800, 2_000)
    assert floor.asks() == []
    floor.tick(9_800, 6_000)

    assert floor.asks() == [("place", "PROTECTION")]


def test_an_absent_stop_is_tried_again_as_one_that_rests_overnight() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10, product=Product.CNC)
    stop = floor.working("STOP").order_id
    floor.hear(stop, Known.SENDING)
    floor.hear(stop, Known.UNKNOWN)

    floor.hear(stop, Known.ABSENT)

    again = floor.working("STOP")
    assert (again.attempt, again.overnight) == (2, True)


def test_an_exit_goes_out_once_the_stop_that_rests_has_made_way() -> None:
    floor, stop = delivered()

    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT, product=Product.CNC))
    assert floor.asks() == [("cancel", "STOP")]
    floor.hear(stop, Known.DROPPED, 1_000)

    assert floor.asks() == [("place", "EXIT")]
