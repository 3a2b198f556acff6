"""Settlement at T+1: what may be sold on which day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.settlement import Holdings, adjust, bought, sellable, settle, sold

MONDAY, TUESDAY, WEDNESDAY, THURSDAY = (date(2026, 1, day) for day in (5, 6, 7, 8))


@pytest.mark.parametrize(
    ("on", "before", "btst", "free"),
    [
        (MONDAY, date(2026, 1, 2), False, 10),
        (TUESDAY, MONDAY, False, 0),
        (TUESDAY, MONDAY, True, 10),
        (WEDNESDAY, TUESDAY, False, 10),
    ],
    ids=["T nets", "T+1 has no delivery", "T+1 with BTST", "T+2 is settled"],
)
def test_shares_bought_on_monday_are_free_when_they_have_settled(on: date, before: date, btst: bool, free: int) -> None:
    holdings = bought(Holdings(), 10, MONDAY)

    assert sellable(holdings, on, btst=btst, settled_before=before) == free


def test_settling_moves_what_has_been_credited_and_nothing_else() -> None:
    holdings = bought(bought(Holdings(settled=1), 10, MONDAY), 20, TUESDAY)

    credited = settle(holdings, MONDAY)

    assert credited == Holdings(settled=11, pending={"2026-01-06": 20})
    assert settle(credited, MONDAY) is credited


def test_a_sale_takes_that_days_purchases_then_settled_shares_then_the_oldest_under_way() -> None:
    holdings = Holdings(settled=10, pending={"2026-01-06": 5, "2026-01-07": 4, "2026-01-08": 3})

    assert sold(holdings, 3, THURSDAY).pending == {"2026-01-06": 5, "2026-01-07": 4}
    assert sold(holdings, 12, THURSDAY).settled == 1
    assert sold(holdings, 14, THURSDAY) == Holdings(settled=0, pending={"2026-01-06": 4, "2026-01-07": 4})


def test_more_than_is_held_cannot_be_sold() -> None:
    with pytest.raises(ValueError, match="only 10 are held"):
        sold(Holdings(settled=10), 11, MONDAY)


days = st.integers(0, 5).map(lambda n: MONDAY + timedelta(n))
purchases = st.lists(st.tuples(days, st.integers(1, 1000)), max_size=6)


def _held(settled: int, trades: list[tuple[date, int]]) -> Holdings:
    holdings = Holdings(settled=settled)
    for on, quantity in trades:
        holdings = bought(holdings, quantity, on)
    return holdings


@given(st.integers(0, 1000), purchases, days, st.data())
def test_whatever_is_sellable_can_be_sold_and_leaves_no_share_uncounted(
    settled: int, trades: list[tuple[date, int]], on: date, data: st.DataObject
) -> None:
    holdings = _held(settled, [trade for trade in trades if trade[0] <= on])
    before = on - timedelta(1)
    free = sellable(holdings, on, btst=False, settled_before=before)
    quantity = data.draw(st.integers(0, free))

    left = sold(settle(holdings, before - timedelta(1)), quantity, on)

    assert left.total == holdings.total - quantity
    assert all(shares > 0 for shares in left.pending.values())
    assert sellable(left, on, btst=False, settled_before=before) == free - quantity


@given(st.integers(0, 1000), purchases, days, st.integers(0, 5))
def test_a_permit_for_btst_and_the_passing_of_days_only_ever_free_shares(
    settled: int, trades: list[tuple[date, int]], on: date, later: int
) -> None:
    holdings = _held(settled, [trade for trade in trades if trade[0] < on])
    now = sellable(holdings, on, btst=False, settled_before=on - timedelta(1))
    then = on + timedelta(later)

    assert sellable(holdings, on, btst=True, settled_before=on - timedelta(1)) == holdings.total
    assert now <= sellable(holdings, then, btst=False, settled_before=then - timedelta(1)) <= holdings.total


@given(st.integers(0, 1000), purchases, st.integers(1, 10), st.integers(1, 10))
def test_an_action_gives_the_shares_that_the_ledger_gives(
    settled: int, trades: list[tuple[date, int]], new: int, old: int
) -> None:
    holdings, ratio = _held(settled, trades), Ratio(new=new, old=old)

    after = adjust(holdings, ratio)

    assert after.total == adjusted_quantity(holdings.total, ratio)[0]
    assert all(shares > 0 for shares in after.pending.values())
