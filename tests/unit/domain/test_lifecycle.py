"""The life of an order: what can follow what, and that no fill is counted twice or beyond its quantity."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from panda_streams.domain.lifecycle import TRANSITIONS, IllegalTransition, OrderEvent, advance, fill_order
from panda_streams.domain.orders import Fill, Order, OrderState
from panda_streams.domain.signals import Side
from tests.properties import examples
from tests.unit.builders import a_fill
from tests.unit.domain.desks import an_order

Event, State = OrderEvent, OrderState


def an_order_that_is(state: OrderState, filled: int = 0) -> Order:
    return an_order(quantity=10, state=state, filled=filled)


def the_fill(quantity: int, price: str = "100", number: int = 0) -> Fill:
    return a_fill(Side.BUY, quantity, price, number=number)


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_only_what_the_table_has_can_happen(state: OrderState, event: OrderEvent) -> None:
    expected = TRANSITIONS[state].get(event)

    if expected is not None:
        assert advance(an_order_that_is(state), event).state is expected
    else:
        with pytest.raises(IllegalTransition, match=f"is {state}, which {event} cannot follow"):
            advance(an_order_that_is(state), event)


@pytest.mark.parametrize("state", State)
def test_an_order_that_has_ended_stays_so_and_any_other_can_still_end(state: OrderState) -> None:
    ends = [after for after in TRANSITIONS[state].values() if after.terminal]

    assert bool(ends) is not state.terminal
    assert state.terminal is (not TRANSITIONS[state])


def test_every_state_can_be_reached_from_the_first() -> None:
    reached, found = set[OrderState](), {State.INTENT}
    while found:
        reached |= found
        found = {after for state in found for after in TRANSITIONS[state].values()} - reached

    assert reached == set(State)


def test_only_what_may_have_been_sent_can_be_unknown_and_only_that_can_prove_absent() -> None:
    causes = {state for state, events in TRANSITIONS.items() if State.UNKNOWN in events.values()}
    absent = {state for state, events in TRANSITIONS.items() if State.ABSENT in events.values()}

    assert (causes, absent) == ({State.SENDING}, {State.UNKNOWN})


def test_what_an_event_changes_is_changed_with_the_state() -> None:
    order = an_order(limit="100", state=State.WORKING)

    assert advance(order, Event.MODIFY, price=Decimal(101)).price == Decimal(101)
    assert order.price == Decimal(100)


@pytest.mark.parametrize("state", [State.SENDING, State.UNKNOWN, State.TRIGGER_PENDING, State.WORKING])
def test_an_order_is_known_by_its_fill_even_if_nothing_else_was_heard_of_it(state: OrderState) -> None:
    assert fill_order(an_order_that_is(state), the_fill(4)).state is State.WORKING
    assert fill_order(an_order_that_is(state), the_fill(10)).state is State.FILLED


@pytest.mark.parametrize("state", [state for state in State if state.terminal])
def test_an_order_that_has_ended_takes_no_fill(state: OrderState) -> None:
    with pytest.raises(IllegalTransition):
        fill_order(an_order_that_is(state), the_fill(1))


@pytest.mark.parametrize("quantity", [0, -1, 4, 10])
def test_a_fill_beyond_what_remains_or_of_nothing_is_no_fill(quantity: int) -> None:
    with pytest.raises(ValueError, match="has 3 left"):
        fill_order(an_order_that_is(State.WORKING, filled=7), the_fill(quantity))


def test_a_resent_fill_changes_nothing_even_once_the_order_has_ended() -> None:
    once = fill_order(an_order_that_is(State.WORKING), the_fill(10))

    assert fill_order(once, the_fill(10)) is once


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 10_000), st.integers(0, 5)), max_size=12))
def test_what_was_filled_is_the_sum_of_the_different_fills(parts: list[tuple[int, int, int]]) -> None:
    order, counted = an_order(quantity=200, state=State.WORKING), dict[int, Fill]()
    for quantity, paise, number in parts:
        fill = the_fill(quantity, str(Decimal(paise) / 100), number)
        order = fill_order(order, fill)
        counted.setdefault(number, fill)

    assert order.filled == sum(fill.quantity for fill in counted.values())
    assert order.turnover == sum(fill.quantity * fill.price for fill in counted.values())
    assert order.fill_ids == tuple(fill.fill_id for fill in counted.values())


class OrderMachine(RuleBasedStateMachine):
    """An order of 10 under any events and fills, beside what must have been counted."""

    def __init__(self) -> None:
        super().__init__()
        self.order = an_order(quantity=10)
        self.fills: list[Fill] = []
        self.states = [self.order.state]

    def _becomes(self, order: Order) -> None:
        if order is not self.order:
            self.order = order
            self.states.append(order.state)

    @rule(event=st.sampled_from([event for event in Event if event not in (Event.FILL, Event.COMPLETE)]))
    def hear(self, event: OrderEvent) -> None:
        try:
            self._becomes(advance(self.order, event))
        except IllegalTransition:
            assert event not in TRANSITIONS[self.order.state]

    @rule(quantity=st.integers(1, 12), paise=st.integers(1, 100_000))
    def fill(self, quantity: int, paise: int) -> None:
        fill = the_fill(quantity, str(Decimal(paise) / 100), len(self.fills))
        try:
            self._becomes(fill_order(self.order, fill))
        except (IllegalTransition, ValueError):
            done = self.order.state.terminal or self.order.state is State.INTENT
            assert done or quantity > 10 - sum(counted.quantity for counted in self.fills)
        else:
            self.fills.append(fill)

    @precondition(lambda self: self.fills)
    @rule(data=st.data())
    def hear_of_a_fill_again(self, data: st.DataObject) -> None:
        again = data.draw(st.sampled_from(self.fills))

        assert fill_order(self.order, again) is self.order

    @invariant()
    def every_fill_is_counted_once(self) -> None:
        assert self.order.filled == sum(fill.quantity for fill in self.fills) <= self.order.quantity
        assert self.order.turnover == sum(fill.quantity * fill.price for fill in self.fills)

    @invariant()
    def it_ends_once_and_is_filled_only_when_nothing_remains(self) -> None:
        assert sum(state.terminal for state in self.states) <= 1
        assert not any(state.terminal for state in self.states[:-1])
        assert (self.order.state is State.FILLED) is (self.order.remaining == 0)

    @invariant()
    def it_is_the_same_after_it_was_stored(self) -> None:
        assert Order.model_validate_json(self.order.model_dump_json()) == self.order


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=examples(50), stateful_step_count=30)
