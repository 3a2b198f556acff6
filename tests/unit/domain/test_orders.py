"""Orders and fills: identities, and what is left."""

from __future__ import annotations

from itertools import product

import pytest

from panda_streams.domain.orders import OrderState, Role, order_id
from panda_streams.domain.signals import Side
from tests.unit.builders import a_fill
from tests.unit.domain.desks import an_order


def test_an_order_id_is_a_function_of_its_cause_role_leg_attempt_and_account() -> None:
    parts = list(product(["paper", "zerodha"], ["signal 1", "signal 2"], Role, [1, 2], [1, 2]))

    assert len({order_id(*part) for part in parts}) == len(parts)
    assert [order_id(*part) for part in parts] == [order_id(*part) for part in parts]


def test_slices_and_attempts_are_the_first_ones_unless_told() -> None:
    assert order_id("paper", "signal", Role.ENTRY) == order_id("paper", "signal", Role.ENTRY, leg=1, attempt=1)


@pytest.mark.parametrize("role", Role)
def test_every_order_but_an_entry_only_reduces(role: Role) -> None:
    assert an_order(role=role).reduces is (role is not Role.ENTRY)


def test_what_remains_is_what_was_not_filled() -> None:
    order = an_order(Side.SELL, 10, filled=4)

    assert (order.remaining, order.signed) == (6, -1)


def test_the_states_that_end_an_order_are_five() -> None:
    ends = {state for state in OrderState if state.terminal}

    assert ends == {"FILLED", "CANCELLED", "EXPIRED", "REJECTED", "ABSENT"}


def test_what_a_fill_was_charged_is_the_sum_of_its_heads() -> None:
    fill = a_fill(Side.BUY, 1, "100").model_copy(update={"charges": {"brokerage": 3, "stt": 4}})

    assert (fill.charged, a_fill(Side.BUY, 1, "100").charged) == (7, 0)
