"""An order that is run again from the ticks is the one that the desk worked; a log that says otherwise is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.matching import QueueModel
from panda_streams.domain.orders import OrderState, Product, Reason, Role
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Intent, OrderType, Terms, Validity
from panda_streams.events import OrderUpdate
from panda_streams.rerun import Facts, Moment, Rerun, began, rerun
from tests.unit.builders import T0
from tests.unit.story import INSTRUMENT, Story, a_trader, moments_of

DAY = Terms(order_type=OrderType.LIMIT, price=Decimal("1400"))
BRACKET = Terms(target=Decimal("1402"), stop=Decimal("1398"))

PROTECTIONS = [
    Protection(stop_loss=Decimal("0.001")),
    Protection(trailing_stop=Decimal("0.001")),
    Protection(target=Decimal("0.002")),
    Protection(time_exit_minutes=1),
]


def again(story: Story, updates: Sequence[OrderUpdate], *, complete: bool = True) -> Rerun:
    facts = Facts(tuple(updates), story.fills(), story.verdict_of(updates[0]), complete)
    order = began(facts, story.moments, INSTRUMENT, story.trader)
    assert order is not None
    return rerun(facts, order, story.moments, INSTRUMENT, story.trader, None)


def assert_all_the_same(story: Story) -> None:
    for updates in story.orders():
        assert again(story, updates).difference == "", updates


def test_a_market_order_is_filled_again_at_the_first_tick_after_its_latency() -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403]))
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()
    [updates] = story.orders()

    found = again(story, updates)

    assert found.difference == ""
    assert found.order.state is OrderState.FILLED
    assert [look.sight.tick.time for look in found.looks] == [T0 + 1000]


def test_both_legs_of_a_bracket_are_run_again() -> None:
    story = Story(moments_of([1400, 1400, 1401, 1401, 1403, 1403]))
    story.say(0, Intent.ENTRY, quantity=10, terms=BRACKET)
    story.run()

    assert {updates[0].role for updates in story.orders()} == {Role.ENTRY, Role.TARGET, Role.STOP}
    assert_all_the_same(story)


def test_what_the_strategy_does_to_an_order_is_taken_from_the_log() -> None:
    story = Story(moments_of([1410, 1410, 1410, 1409, 1408, 1407, 1406]))
    story.say(0, Intent.ENTRY, quantity=10, terms=DAY)
    story.say(1, Intent.MODIFY, terms=Terms(order_type=OrderType.LIMIT, price=Decimal("1407.50")))
    story.say(3, Intent.CANCEL)
    story.run()
    [updates] = story.orders()

    assert [update.reason for update in updates] == [None, Reason.MODIFIED_BY_STRATEGY, Reason.CANCELLED_BY_STRATEGY]
    assert_all_the_same(story)


def test_a_square_off_is_found_by_its_id_and_run_again() -> None:
    story = Story(moments_of([1400] * 6, 20_000, begin=T0 + 364 * 60_000))
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()

    assert [updates[0].role for updates in story.orders()] == [Role.ENTRY, Role.SQUARE_OFF]
    assert_all_the_same(story)


def test_a_position_that_grows_between_an_exits_trigger_and_its_turn_bounds_it_as_it_did_then() -> None:
    story = Story(moments_of([1396, 1396, 1396, 1396, 1396]), a_trader(latency_ms=0))
    story.say(0, Intent.ENTRY, quantity=10)
    story.say(2, Intent.ENTRY, quantity=10)
    story.say(2, Intent.EXIT, quantity=45, terms=Terms(order_type=OrderType.SL_M, trigger=Decimal("1400.50")))
    story.run()

    assert [update.fill.quantity for update in story.orders()[2] if update.fill is not None] == [20]
    assert_all_the_same(story)


def test_an_order_outside_of_the_session_is_refused_again() -> None:
    story = Story(moments_of([1400, 1400], begin=T0 - 3_600_000))
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()
    [updates] = story.orders()

    assert updates[0].reason is Reason.MARKET_CLOSED
    assert_all_the_same(story)


@pytest.mark.parametrize(
    "setting", [{"latency_ms": 1500}, {"slippage": Decimal("0.01")}, {"participation": Decimal("0.01")}]
)
def test_another_setting_of_the_market_is_noticed(setting: dict[str, object]) -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403, 1404], volumes=[0, 100, 200, 300, 400]))
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()
    story.trader = a_trader(**setting)
    [updates] = story.orders()

    assert again(story, updates).difference


def test_a_fill_that_the_log_does_not_have_is_noticed() -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403]))
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()
    [updates] = story.orders()

    assert "the log says nothing more" in again(story, updates[:1]).difference


def test_a_log_that_goes_further_than_the_order_is_noticed() -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403]))
    story.say(0, Intent.ENTRY, quantity=10, terms=DAY.model_copy(update={"price": Decimal("1300")}))
    story.run()
    [updates] = story.orders()
    filled = updates[0].model_copy(update={"state": OrderState.FILLED, "filled": 10, "time": T0 + 2000})

    assert "nothing of it" in again(story, [*updates, filled]).difference


def test_an_exit_whose_position_is_older_than_the_log_is_not_bounded_by_it() -> None:
    story = Story(moments_of([1400, 1401, 1402, 1403, 1404]))
    story.say(0, Intent.ENTRY, quantity=10)
    story.say(2, Intent.EXIT, quantity=10)
    story.run()
    story.updates = [update for update in story.updates if update.role is Role.EXIT]
    [updates] = story.orders()

    assert again(story, updates, complete=False).difference == ""
    assert again(story, updates).difference != ""


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_an_exit_that_the_arm_decides_is_found_by_its_id_and_run_again(protection: Protection) -> None:
    prices = [1400, 1400, 1404, 1404, 1390, 1390, 1390]
    story = Story(moments_of(prices, 20_000), protection=protection)
    story.say(0, Intent.ENTRY, quantity=10)
    story.run()

    assert [updates[0].role for updates in story.orders()] == [Role.ENTRY, Role.PROTECTION]
    assert_all_the_same(story)


def test_a_flattened_order_and_what_closes_its_position_are_run_again() -> None:
    story = Story(moments_of([1400, 1400, 1400, 1400]))
    story.say(0, Intent.ENTRY, quantity=10, terms=BRACKET)
    story.flatten(1)
    story.run()

    assert story.orders()[-1][0].role is Role.FLATTEN
    assert_all_the_same(story)


_prices = st.lists(st.integers(13_960, 14_040), min_size=6, max_size=40)
_terms = st.sampled_from(
    [
        Terms(),
        Terms(validity=Validity.IOC),
        BRACKET,
        Terms(target=Decimal("1400.50")),
        DAY,
        Terms(order_type=OrderType.LIMIT, price=Decimal("1400.50"), validity=Validity.TTL, ttl_minutes=1),
        Terms(order_type=OrderType.LIMIT, price=Decimal("1399.50"), validity=Validity.IOC),
        Terms(order_type=OrderType.SL_M, trigger=Decimal("1400.50")),
        Terms(order_type=OrderType.SL, trigger=Decimal("1400.50"), price=Decimal("1401")),
    ]
)
_orders = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from([Intent.ENTRY, Intent.ENTRY, Intent.EXIT, Intent.CANCEL, Intent.MODIFY]),
        st.sampled_from([10, 45]),
        _terms,
    ),
    min_size=1,
    max_size=8,
)


@given(
    prices=_prices,
    orders=_orders,
    volumes=st.booleans(),
    books=st.booleans(),
    queue=st.sampled_from(QueueModel),
    latency_ms=st.sampled_from([0, 500, 2500]),
    step_ms=st.sampled_from([0, 400, 1000, 60_000]),
    before_close=st.integers(1, 400),
    product=st.sampled_from([Product.MIS, Product.CNC]),
    protection=st.sampled_from([None, *PROTECTIONS]),
    flattened=st.none() | st.integers(0, 30),
)
def test_every_order_of_any_day_is_the_same_again(
    prices: list[int],
    orders: list[tuple[int, Intent, int, Terms]],
    volumes: bool,
    books: bool,
    queue: QueueModel,
    latency_ms: int,
    step_ms: int,
    before_close: int,
    product: Product,
    protection: Protection | None,
    flattened: int | None,
) -> None:
    counts = [7 * number * number for number in range(len(prices))] if volumes else None
    begin = T0 + (375 - before_close) * 60_000
    shown = [Decimal(price) / 10 for price in prices]
    moments: list[Moment] = moments_of(shown, step_ms, begin=begin, volumes=counts, books=books)
    story = Story(moments, a_trader(queue=queue, latency_ms=latency_ms), product, protection)
    if flattened is not None:
        story.flatten(flattened)
    for at, intent, quantity, terms in orders:
        story.say(at % len(prices), intent, quantity=quantity, terms=terms)
    story.run()

    assert_all_the_same(story)
