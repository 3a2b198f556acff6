"""The desk at a real broker: what it asks, what it makes of a broker's word, and that no exit ever opens a position."""

from __future__ import annotations

from decimal import Decimal

from panda_streams.domain.brokerage import BrokerStatus, Known
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Product, Reason, Role
from panda_streams.domain.signals import OrderType, Side
from tests.unit.builders import T0
from tests.unit.domain.broker_floor import BrokerFloor
from tests.unit.domain.desks import CLOSE, SQUARE_OFF, an_order


def test_an_entry_is_given_to_the_trader_at_once_and_is_an_intent_until_he_says_more() -> None:
    floor = BrokerFloor()

    floor.place(an_order(name="entry"))

    assert floor.asks() == [("place", "ENTRY")]
    assert floor.state("entry") is OrderState.INTENT


def test_an_order_goes_from_intent_over_sending_to_working_and_is_filled_by_trades_alone() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10))

    floor.hear("entry", Known.SENDING)
    floor.hear("entry", Known.TAKEN, broker_id="7")
    floor.takes("entry")
    floor.trades_of("entry", 4)
    floor.trades_of("entry", 6)

    assert [change.order.state for change in floor.said] == [
        OrderState.INTENT,
        OrderState.SENDING,
        OrderState.WORKING,
        OrderState.WORKING,
        OrderState.FILLED,
    ]
    assert floor.position == 10


def test_the_same_book_read_twice_changes_nothing() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    said = len(floor.said)

    floor.tells("entry")
    floor.reload()
    floor.tells("entry")

    assert len(floor.said) == said
    assert floor.position == 10


def test_a_completed_order_whose_trades_are_not_all_there_has_not_ended() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10))
    floor.sends("entry")
    complete = floor.book["entry"].model_copy(update={"status": BrokerStatus.COMPLETE, "filled": 10})

    floor.hear("entry", Known.BOOK, broker_id=complete.broker_id, order=complete, trades=())

    assert floor.state("entry") is OrderState.WORKING


def test_an_unknown_order_that_is_found_goes_on() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry"))
    floor.hear("entry", Known.SENDING)
    floor.hear("entry", Known.UNKNOWN)
    assert floor.state("entry") is OrderState.UNKNOWN

    floor.takes("entry")

    assert floor.state("entry") is OrderState.WORKING


def test_an_entry_that_never_arrived_ends_absent_and_is_not_tried_again() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry"))
    floor.hear("entry", Known.SENDING)
    floor.hear("entry", Known.UNKNOWN)
    floor.asks()

    floor.hear("entry", Known.ABSENT)

    assert floor.state("entry") is OrderState.ABSENT
    assert floor.asks() == []


def test_an_exit_that_never_arrived_is_tried_again_under_an_id_of_its_own() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT, limit="101"))
    floor.hear("exit", Known.SENDING)
    floor.hear("exit", Known.UNKNOWN)
    floor.desk.modify("Momentum", Side.SELL, T0, Decimal(102), None)
    floor.desk.asks.clear()
    floor.asks()

    floor.hear("exit", Known.ABSENT)

    again = floor.working("EXIT")
    assert floor.state("exit") is OrderState.ABSENT
    assert (again.attempt, again.quantity, again.state) == (2, 10, OrderState.INTENT)
    assert (again.price, again.modified) == (Decimal(102), 0)
    assert again.order_id != "exit"
    assert floor.asks() == [("place", "EXIT")]


def test_an_absent_exit_that_was_to_be_taken_back_is_not_tried_again() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    floor.hear("exit", Known.SENDING)
    floor.hear("exit", Known.UNKNOWN)
    floor.desk.cancel("Momentum", Side.SELL, T0)

    floor.hear("exit", Known.ABSENT)

    assert not floor.desk.orders


def test_a_refused_order_carries_the_brokers_words() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry"))
    floor.hear("entry", Known.SENDING)

    [change] = floor.hear("entry", Known.REFUSED, text="Insufficient funds.")

    assert (change.order.state, change.reason, change.note) == (
        OrderState.REJECTED,
        Reason.BROKER_REFUSED,
        "Insufficient funds.",
    )


def test_a_cancellation_is_only_a_wish_until_the_broker_says_so() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", limit="90"))
    floor.sends("entry")
    floor.asks()

    floor._say(floor.desk.cancel("Momentum", Side.BUY, T0))
    assert floor.asks() == [("cancel", "ENTRY")]
    assert floor.state("entry") is OrderState.WORKING
    floor.trades_of("entry", 4)
    floor.cancels("entry")

    assert floor.said[-1].reason is Reason.CANCELLED_BY_STRATEGY
    assert floor.position == 4


def test_an_order_that_somebody_cancelled_at_the_broker_says_so() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", limit="90"))
    floor.sends("entry")

    floor.cancels("entry")

    assert floor.said[-1].reason is Reason.BROKER_CANCELLED


def test_a_stop_rests_at_the_exchange_once_there_is_a_position() -> None:
    floor = BrokerFloor(stop_loss="0.01")

    floor.holds(10)

    stop = floor.working("STOP")
    assert floor.asks() == [("place", "ENTRY"), ("place", "STOP")]
    assert (stop.order_type, stop.trigger, stop.price, stop.quantity, stop.side) == (
        OrderType.SL,
        Decimal("99.00"),
        Decimal("97.00"),
        10,
        Side.SELL,
    )


def test_a_stop_grows_with_the_position() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.place(an_order(name="entry", quantity=10))
    floor.sends("entry")
    floor.trades_of("entry", 4)
    floor.tick(10_000)
    floor.sends(floor.working("STOP").order_id)
    floor.asks()

    floor.trades_of("entry", 6)
    floor.tick(10_000, 1)

    assert floor.asks() == [("change", "STOP")]
    assert floor.working("STOP").quantity == 10


def a_resting_stop() -> tuple[BrokerFloor, str]:
    """Ten shares are held, with a stop for ten at the broker."""
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.asks()
    return floor, stop


def a_stop_that_was_to_be_made_smaller() -> tuple[BrokerFloor, str]:
    """Ten shares were held, with a stop for ten at the broker; four were sold by an order of another kind."""
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.place(an_order(Side.SELL, 4, name="other"))
    floor.sends("other")
    floor.trades_of("other", 4)
    floor.tick(10_000, 1)
    assert floor.asks()[-1] == ("change", "STOP")
    assert floor.working("STOP").quantity == 6
    return floor, stop


def test_what_a_stop_trades_beyond_what_it_was_to_be_made_smaller_to_is_in_the_book() -> None:
    floor, stop = a_stop_that_was_to_be_made_smaller()

    floor.trades_of(stop, 6, "99", tell=False)
    floor.trades_of(stop, 4, "99")

    assert floor.position == floor.net == -4


def test_a_stop_that_has_traded_all_it_was_to_is_taken_away_and_lives_until_the_broker_says_that_it_has_ended() -> None:
    floor, stop = a_stop_that_was_to_be_made_smaller()

    floor.trades_of(stop, 6, "99")
    assert floor.asks() == [("cancel", "STOP")]
    floor.trades_of(stop, 1, "99")
    floor.cancels(stop)

    assert floor.position == floor.net == -1
    assert floor.state(stop) is OrderState.CANCELLED


def test_an_order_that_was_made_larger_by_hand_is_followed_to_its_end() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10))
    floor.sends("entry")
    floor.book["entry"] = floor.book["entry"].model_copy(update={"quantity": 15})

    floor.trades_of("entry", 10)
    floor.trades_of("entry", 5)

    assert floor.position == 15
    assert floor.state("entry") is OrderState.FILLED


def test_a_trailing_stop_is_moved_at_the_exchange_and_only_ever_tightens() -> None:
    floor = BrokerFloor(trailing_stop="0.01")
    floor.holds(10)
    floor.sends(floor.working("STOP").order_id)
    floor.asks()

    floor.tick(11_000, 1)
    assert floor.asks() == [("change", "STOP")]
    assert floor.working("STOP").trigger == Decimal("108.90")
    floor.tick(10_950, 2)

    assert floor.asks() == []
    assert floor.working("STOP").trigger == Decimal("108.90")


def test_a_stop_that_was_first_seen_on_its_way_to_the_exchange_waits_there_and_follows_the_price() -> None:
    floor = BrokerFloor(trailing_stop="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.hear(stop, Known.SENDING)
    floor.takes(stop, status=BrokerStatus.PENDING)
    floor.asks()

    floor.tick(11_000, 1)

    assert floor.state(stop) is OrderState.TRIGGER_PENDING
    assert floor.asks() == [("change", "STOP")]


def test_a_trailing_stop_uses_less_changes_than_a_broker_takes() -> None:
    floor = BrokerFloor(trailing_stop="0.01")
    floor.holds(10)
    floor.sends(floor.working("STOP").order_id)

    for n in range(60):
        floor.tick(11_000 + 100 * n, n + 1)

    assert floor.working("STOP").modified == 20


def test_an_order_has_the_terms_that_the_broker_has_once_its_change_was_refused() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", limit="99"))
    floor.sends("entry")
    floor.desk.modify("Momentum", Side.BUY, T0, Decimal(98), None)
    assert floor.desk.orders["entry"].price == Decimal(98)

    assert floor.tells("entry", changes=0) == []
    assert floor.tells("entry", changes=None) == []
    [change] = floor.settles("entry", text="Price is out of the band")

    assert (change.reason, change.note) == (Reason.BROKER_TERMS, "Price is out of the band")
    assert floor.desk.orders["entry"].price == Decimal(99)
    assert floor.settles("entry") == []


def test_a_trailing_stop_that_could_not_be_moved_is_moved_with_the_next_price() -> None:
    floor = BrokerFloor(trailing_stop="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.tick(11_000, 1)
    floor.asks()

    floor.settles(stop, 2)

    assert floor.working("STOP").trigger == Decimal("108.90")
    assert floor.asks() == [("change", "STOP")]
    assert [change.reason for change in floor.said[-2:]] == [Reason.BROKER_TERMS, Reason.TRAILING_STOP]


def test_a_stop_that_the_broker_keeps_smaller_is_asked_to_grow_five_times_and_goes_on_resting() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.place(an_order(name="entry", quantity=10))
    floor.sends("entry")
    floor.trades_of("entry", 4)
    floor.tick(10_000)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.trades_of("entry", 6)

    for n in range(10):
        floor.settles(stop, n)

    assert floor.asks()[2:] == [("change", "STOP")] * 5
    assert (floor.working("STOP").quantity, floor.working("STOP").trigger) == (4, Decimal(99))
    floor.tick(9_890, 20)
    floor.tick(9_890, 6_000)
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop, 6_100)
    assert floor.working("PROTECTION").quantity == 10


def test_a_leg_of_a_bracket_that_could_not_grow_is_asked_to_again() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10, stop=Decimal(95)))
    floor.sends("entry")
    floor.trades_of("entry", 4)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.trades_of("entry", 6)
    floor.asks()

    floor.settles(stop, text="too many")

    assert floor.asks() == [("change", "STOP")]
    assert floor.working("STOP").quantity == 10
    for n in range(30):
        floor.settles(stop, n)
    assert floor.working("STOP").quantity == 4
    assert floor.working("STOP").modified == 5


def test_a_stop_that_is_larger_at_the_broker_is_made_smaller() -> None:
    floor, stop = a_resting_stop()

    floor.settles(stop, quantity=16)

    assert floor.asks() == [("change", "STOP")]
    assert floor.working("STOP").quantity == 10
    floor.settles(stop, quantity=10)
    assert floor.asks() == []


def resting(floor: BrokerFloor) -> list[int]:
    """Quantities of the stops that are to rest."""
    return [order.quantity for order in floor.desk.orders.values() if order.role is Role.STOP]


def at_the_broker(floor: BrokerFloor) -> None:
    """All that was asked for is placed there."""
    for name, order in list(floor.desk.orders.items()):
        if order.sent and order.state is OrderState.INTENT:
            floor.sends(name)


def test_a_position_above_the_freeze_quantity_has_several_stops_that_grow_and_follow_together() -> None:
    floor = BrokerFloor(freeze=10, trailing_stop="0.01")
    floor.holds(25)
    assert resting(floor) == [10, 10, 5]
    at_the_broker(floor)

    floor.place(an_order(name="more", quantity=8))
    floor.sends("more")
    floor.trades_of("more", 8)
    floor.tick(10_000, 1)
    assert resting(floor) == [10, 10, 10, 3]
    at_the_broker(floor)
    floor.tick(11_000, 2)

    stops = [order for order in floor.desk.orders.values() if order.role is Role.STOP]
    assert {order.trigger for order in stops} == {Decimal("108.90")}
    assert len({order.order_id for order in stops}) == 4


def test_stops_above_the_freeze_quantity_shrink_with_the_position() -> None:
    floor = BrokerFloor(freeze=10, stop_loss="0.01")
    floor.holds(25)
    at_the_broker(floor)
    floor.asks()
    floor.place(an_order(Side.SELL, 12, name="other"))
    floor.sends("other")

    floor.trades_of("other", 12)
    floor.tick(10_000, 1)

    assert [ask for ask in floor.asks() if ask != ("place", "ENTRY")] == [("cancel", "STOP"), ("change", "STOP")]
    gone = next(name for name, order in floor.desk.orders.items() if order.withdrawn is not None)
    floor.cancels(gone, 2)
    floor.tick(10_000, 3)
    assert sum(resting(floor)) == 13
    assert floor.asks() == []


def test_what_is_closed_above_the_freeze_quantity_is_closed_by_several_orders() -> None:
    floor = BrokerFloor(freeze=10, stop_loss="0.01")
    floor.holds(25)
    at_the_broker(floor)
    floor.asks()

    floor.flatten()
    assert floor.asks() == [("cancel", "STOP")] * 3
    for name, order in list(floor.desk.orders.items()):
        if order.role is Role.STOP:
            floor.cancels(name)
    assert floor.asks() == [("place", "FLATTEN")] * 3
    closing = [order for order in floor.desk.orders.values() if order.role is Role.FLATTEN]
    assert [order.quantity for order in closing] == [10, 10, 5]
    for order in closing:
        floor.sends(order.order_id)
        floor.trades_of(order.order_id, order.quantity)

    assert floor.position == floor.net == 0


def test_stops_that_are_refused_together_are_refused_once() -> None:
    floor = BrokerFloor(freeze=5, stop_loss="0.01")
    floor.holds(25)
    for name in [name for name, order in floor.desk.orders.items() if order.role is Role.STOP]:
        floor.hear(name, Known.SENDING, 1)
        floor.hear(name, Known.REFUSED, 1)
    floor.asks()

    floor.tick(9_000, 4_999)
    assert floor.asks() == []
    floor.tick(9_000, 5_001)

    assert floor.asks() == [("place", "PROTECTION")] * 5


def test_a_piece_is_cut_to_what_is_left_once_nothing_makes_way_any_more() -> None:
    floor = BrokerFloor(freeze=6, stop_loss="0.01")
    floor.holds(18)
    at_the_broker(floor)
    floor.flatten()
    first, *others = [name for name, order in floor.desk.orders.items() if order.role is Role.STOP]
    floor.trades_of(first, 3)
    for name in (first, *others):
        floor.cancels(name)

    closing = [order.quantity for order in floor.desk.orders.values() if order.role is Role.FLATTEN and order.sent]
    assert closing == [6, 6, 3]


def test_protection_is_under_way_until_its_last_piece_has_ended() -> None:
    floor = BrokerFloor(freeze=6, stop_loss="0.01")
    floor.holds(12)
    for name in [name for name, order in floor.desk.orders.items() if order.role is Role.STOP]:
        floor.hear(name, Known.SENDING, 1)
        floor.hear(name, Known.REFUSED, 1)
    floor.tick(9_000, 6_000)
    first, second = [order.order_id for order in floor.desk.orders.values() if order.role is Role.PROTECTION]

    floor.sends(first, 6_001)
    floor.trades_of(first, 6, "90", at=6_002)
    floor.tick(9_000, 60_000)

    assert list(floor.desk.orders) == [second]


def test_the_leg_of_a_bracket_outlives_the_changes_that_a_broker_takes() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=60, stop=Decimal(97)))
    floor.sends("entry")
    floor.trades_of("entry", 2)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    for _ in range(29):
        floor.trades_of("entry", 2)
    assert floor.asks()[-1] == ("cancel", "STOP")

    floor.cancels(stop)

    assert floor.asks() == [("place", "STOP")]
    assert (floor.working("STOP").quantity, floor.working("STOP").modified) == (60, 0)
    assert floor.working("STOP").order_id != stop


def test_what_an_entry_gets_while_a_flatten_is_under_way_is_closed_too() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.place(an_order(name="late", quantity=5, limit="100"))
    floor.sends("late")
    floor.flatten(1)

    floor.trades_of("late", 5, at=2)

    closing = [order for order in floor.desk.orders.values() if order.role is Role.FLATTEN]
    assert [order.quantity for order in closing] == [10, 5]
    for order in closing:
        floor.sends(order.order_id, 3)
        floor.trades_of(order.order_id, order.quantity, at=4)
    assert floor.position == floor.net == 0


def test_what_was_changed_by_hand_at_the_broker_is_seen() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10, limit="99"))
    floor.sends("entry")

    floor.settles("entry", price=Decimal(97), quantity=6)

    assert (floor.desk.orders["entry"].price, floor.desk.orders["entry"].quantity) == (Decimal(97), 6)
    floor.trades_of("entry", 6)
    assert floor.state("entry") is OrderState.FILLED


def test_a_stop_makes_way_for_an_exit_and_the_exit_waits_until_it_has_ended() -> None:
    floor, stop = a_resting_stop()

    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop)

    assert floor.asks() == [("place", "EXIT")]
    assert next(change.reason for change in floor.said if change.order.state is OrderState.CANCELLED) is Reason.MADE_WAY


def test_an_exit_whose_stop_was_faster_is_never_sent() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    floor.asks()

    floor.trades_of(stop, 10, "99")

    assert floor.asks() == []
    assert floor.said[-1].reason is Reason.POSITION_CLOSED
    assert floor.position == 0


def test_an_exit_is_cut_to_what_its_stop_has_left() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    floor.trades_of(stop, 3, "99")

    floor.cancels(stop)

    assert floor.working("EXIT").quantity == 7


def test_a_stop_that_the_exchange_does_not_carry_out_is_carried_out_by_the_arm() -> None:
    floor, stop = a_resting_stop()

    floor.tick(9_600, 1_000)
    assert floor.asks() == []
    floor.tick(9_600, 6_000)
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop, 6_100)

    assert floor.asks() == [("place", "PROTECTION")]


def test_a_refused_stop_is_not_tried_again_at_once() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)
    stop = floor.working("STOP").order_id
    floor.hear(stop, Known.SENDING)
    floor.asks()

    floor.hear(stop, Known.REFUSED, 1_000, text="no")
    floor.tick(10_000, 2_000)
    assert floor.asks() == []
    floor.tick(10_000, 6_000)

    assert floor.asks() == [("place", "STOP")]


def test_the_target_of_a_bracket_waits_for_its_price_while_the_stop_rests() -> None:
    floor = BrokerFloor()
    floor.holds(10, target=Decimal(110), stop=Decimal(95))
    assert floor.asks() == [("place", "ENTRY"), ("place", "STOP")]
    stop = floor.working("STOP").order_id
    floor.sends(stop)

    floor.tick(11_000, 1_000)
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop, 1_000)

    assert floor.asks() == [("place", "TARGET")]


def test_a_target_whose_price_has_come_back_to_the_stop_is_given_up_for_the_market() -> None:
    floor = BrokerFloor()
    floor.holds(10, target=Decimal(110), stop=Decimal(95))
    stop = floor.working("STOP").order_id
    floor.sends(stop)
    floor.tick(11_000, 1_000)
    floor.cancels(stop, 1_000)
    target = floor.working("TARGET").order_id
    floor.sends(target, 1_000)
    floor.asks()

    floor.tick(9_500, 2_000)
    assert floor.asks() == [("cancel", "TARGET")]
    floor.cancels(target, 2_000)

    assert floor.asks() == [("place", "PROTECTION")]


def test_intraday_positions_are_squared_off_once_their_stop_has_made_way() -> None:
    floor, stop = a_resting_stop()

    floor.beat(SQUARE_OFF)
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop, SQUARE_OFF)

    assert floor.asks() == [("place", "SQUARE_OFF")]


def test_what_an_entry_gets_after_a_flatten_is_closed_too() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", quantity=10, limit="90"))
    floor.sends("entry")
    floor.flatten()
    floor.asks()

    floor.trades_of("entry", 10, "90")

    assert floor.asks() == [("place", "FLATTEN")]


def test_what_is_nobodys_has_a_book_of_its_own_which_a_flatten_leaves_alone() -> None:
    floor = BrokerFloor(stop_loss="0.01")

    changes = floor.finds(-5)
    floor.flatten()
    floor.tick(20_000, 1)

    assert [(change.order.state, change.note) for change in changes] == [(OrderState.FILLED, "by hand")]
    assert floor.desk.positions[UNATTRIBUTED].quantity == -5
    assert floor.asks() == []


def test_a_position_that_was_closed_by_hand_is_not_closed_again() -> None:
    floor, stop = a_resting_stop()

    floor.finds(-10, product="MIS")
    assert floor.asks() == [("cancel", "STOP")]
    floor.cancels(stop)
    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    floor.tick(9_000, 2)
    floor.beat(SQUARE_OFF)
    assert floor.asks() == []

    floor.gives("Momentum")
    assert floor.desk.positions == {}
    assert floor.desk.orders == {}


def test_of_a_position_that_was_closed_in_part_by_hand_an_exit_closes_the_rest() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.finds(-6, product="MIS")
    floor.asks()

    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))

    assert [ask.order.quantity for ask in floor.asked] == [4]


def test_what_was_sold_by_hand_may_be_any_strategys_and_all_exits_together_close_the_rest() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.place(an_order(name="other", strategy_id="Other"))
    floor.sends("other")
    floor.trades_of("other", 10)
    floor.finds(-10, product="MIS")
    floor.asks()

    floor.place(an_order(Side.SELL, 10, name="exit", role=Role.EXIT))
    floor.place(an_order(Side.SELL, 10, name="other exit", role=Role.EXIT, strategy_id="Other"))

    assert [ask.order.order_id for ask in floor.asked] == ["exit"]


def test_what_is_nobodys_is_not_squared_off_with_what_strategies_hold() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    floor.finds(5, product="MIS")
    floor.asks()

    floor.beat(SQUARE_OFF)

    assert [(ask.order.strategy_id, ask.order.quantity) for ask in floor.asked] == [("Momentum", 10)]


def test_what_is_nobodys_and_is_being_closed_is_given_to_nobody() -> None:
    floor = BrokerFloor()
    floor.finds(5)

    floor.gives(None, "close")
    floor.gives("Momentum", "assign")

    assert floor.position == 0
    assert floor.desk.positions[UNATTRIBUTED].quantity == 5


def test_an_order_that_its_strategy_took_back_before_it_was_sent_says_so() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", limit="100"))
    floor._say(floor.desk.cancel("Momentum", Side.BUY, T0))

    floor.hear("entry", Known.DROPPED)

    assert floor.said[-1].reason is Reason.CANCELLED_BY_STRATEGY


def test_a_refused_square_off_is_tried_again_after_a_while_and_only_as_long_as_the_market_trades() -> None:
    floor = BrokerFloor()
    floor.holds(10)
    refused: list[int] = []

    for at in range(SQUARE_OFF, CLOSE + 60_000, 1000):
        floor.beat(at)
        for name in list(floor.desk.orders):
            floor.hear(name, Known.SENDING, at)
            floor.hear(name, Known.REFUSED, at, text="no")
            refused.append(at)

    assert [at - SQUARE_OFF for at in refused] == [0, 5000, 15_000, 35_000, 75_000, 155_000, 315_000]


def test_a_stop_for_which_the_days_limit_leaves_no_room_is_not_decided_anew_at_every_tick() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.holds(10)

    floor.hear(floor.working("STOP").order_id, Known.DROPPED, reason=Reason.BROKER_LIMIT)
    floor.asks()
    floor.tick(10_000, 100)
    floor.tick(10_000, 200)

    assert floor.asks() == []


def test_an_exit_that_the_trader_could_not_send_all_day_is_taken_back_at_its_end() -> None:
    floor = BrokerFloor()
    floor.holds(10, product=Product.CNC)
    floor.place(an_order(Side.SELL, 10, name="exit", limit="101", role=Role.EXIT, product=Product.CNC))
    floor.asks()

    floor.beat(CLOSE)
    asked = floor.asks()
    floor.hear("exit", Known.DROPPED, CLOSE)

    assert asked == [("cancel", "EXIT")]
    assert floor.said[-1].reason is Reason.DAY_ENDED


def test_an_order_that_is_at_the_exchange_is_ended_by_it_at_the_days_end() -> None:
    floor = BrokerFloor()
    floor.place(an_order(name="entry", limit="90", product=Product.CNC))
    floor.sends("entry")
    floor.asks()

    floor.beat(CLOSE)

    assert floor.asks() == []


def test_a_desk_of_a_hard_halt_decides_nothing() -> None:
    floor = BrokerFloor(stop_loss="0.01")
    floor.desk.frozen = True

    floor.holds(10)
    floor.tick(9_000, 10_000)

    assert floor.asks() == [("place", "ENTRY")]
