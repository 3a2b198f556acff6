"""Splits and bonus issues: whole shares, and cash for what is no whole share."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.corporate_actions import Ratio, adjusted_price, adjusted_quantity, cash_in_lieu


@pytest.mark.parametrize(
    ("held", "new", "old", "whole", "cash"),
    [
        (10, 5, 1, 50, "0.00"),
        (3, 3, 2, 4, "33.33"),
        (-3, 3, 2, -4, "-33.33"),
        (7, 1, 10, 0, "700.00"),
        (0, 5, 1, 0, "0.00"),
    ],
    ids=["split", "bonus of 1 for 2", "short", "less than one share", "nothing held"],
)
def test_what_is_no_whole_share_is_paid_at_its_price(held: int, new: int, old: int, whole: int, cash: str) -> None:
    ratio = Ratio(new=new, old=old)

    shares, left = adjusted_quantity(held, ratio)

    assert shares == whole
    assert cash_in_lieu(left, ratio, Decimal(100)) == Decimal(cash)


@given(st.integers(-(10**6), 10**6), st.integers(1, 50), st.integers(1, 50))
def test_no_part_of_a_share_is_lost(held: int, new: int, old: int) -> None:
    whole, left = adjusted_quantity(held, Ratio(new=new, old=old))

    assert whole + Fraction(left, old) == Fraction(held * new, old)
    assert abs(left) < old


def test_a_price_follows_the_ratio() -> None:
    assert adjusted_price(Decimal(1000), Ratio(new=5, old=1)) == 200
    assert adjusted_price(Decimal(100), Ratio(new=3, old=2)) == Decimal("66.666667")
