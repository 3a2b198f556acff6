"""Lots: first in, first out, by day, year and term."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.lots import Gains, GainsByYear, Lot, Term, adjust_lots, financial_year, trade_date, trade_lots
from tests.unit.builders import INFY

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
Trade = tuple[date, int, str]


def traded(*trades: Trade, instrument: str = INFY, charges: str = "0") -> tuple[tuple[Lot, ...], GainsByYear]:
    lots: tuple[Lot, ...] = ()
    gains: GainsByYear = {}
    for on, quantity, price in trades:
        lots, gains = trade_lots(lots, gains, instrument, quantity, Decimal(price), Decimal(charges), on)
    return lots, gains


def test_a_sale_takes_the_oldest_shares() -> None:
    lots, gains = traded((date(2026, 1, 1), 10, "100"), (MONDAY, 10, "200"), (TUESDAY, -15, "300"))

    assert [(lot.opened, lot.quantity, lot.cost) for lot in lots] == [(MONDAY, 5, 1000)]
    assert gains == {"2025-26": {Term.SHORT: Gains(proceeds=Decimal(4500), cost=Decimal(2000))}}


def test_a_sale_is_matched_with_that_days_purchase_before_older_ones() -> None:
    lots, gains = traded((MONDAY, 10, "100"), (TUESDAY, 10, "200"), (TUESDAY, -12, "210"))

    assert [(lot.opened, lot.quantity) for lot in lots] == [(MONDAY, 8)]
    assert gains["2025-26"][Term.INTRADAY].profit == 100
    assert gains["2025-26"][Term.SHORT].profit == 220


@pytest.mark.parametrize(
    ("bought", "sold", "term"),
    [
        (date(2025, 1, 6), date(2025, 1, 6), Term.INTRADAY),
        (date(2025, 1, 6), date(2026, 1, 6), Term.SHORT),
        (date(2025, 1, 6), date(2026, 1, 7), Term.LONG),
        (date(2024, 2, 29), date(2025, 2, 28), Term.SHORT),
        (date(2024, 2, 29), date(2025, 3, 1), Term.LONG),
    ],
)
def test_shares_held_for_more_than_twelve_months_are_long_term(bought: date, sold: date, term: Term) -> None:
    _, gains = traded((bought, 1, "100"), (sold, -1, "101"))

    assert list(gains[financial_year(sold)]) == [term]


def test_a_short_sale_earns_what_it_was_sold_for_less_what_it_was_bought_for() -> None:
    lots, gains = traded((MONDAY, -10, "100"), (MONDAY, 4, "90"))

    assert [(lot.quantity, lot.cost) for lot in lots] == [(-6, -600)]
    assert gains["2025-26"] == {Term.INTRADAY: Gains(proceeds=Decimal(400), cost=Decimal(360))}


def test_a_turn_closes_the_old_lots_and_opens_one() -> None:
    lots, gains = traded((MONDAY, 10, "100"), (MONDAY, -15, "110"), charges="3")

    assert [(lot.quantity, lot.cost, lot.charges) for lot in lots] == [(-5, -550, 1)]
    assert gains["2025-26"][Term.INTRADAY].charges == 3 + 2


def test_futures_and_options_are_business_on_whatever_day_they_are_closed() -> None:
    _, gains = traded((MONDAY, 50, "10"), (MONDAY, -25, "11"), (TUESDAY, -25, "12"), instrument="NFO:NIFTY26JANFUT")

    assert {term: gain.profit for term, gain in gains["2025-26"].items()} == {Term.BUSINESS: 75}


def test_shares_of_one_day_and_price_are_one_lot() -> None:
    lots, _ = traded((MONDAY, 3, "0.7"), (MONDAY, 4, "0.70"), (MONDAY, 1, "0.71"), (TUESDAY, 1, "0.71"))

    assert [lot.quantity for lot in lots] == [7, 1, 1]


def test_a_trade_that_is_heard_of_late_takes_its_place_among_the_dates() -> None:
    lots, _ = traded((TUESDAY, 1, "100"), (MONDAY, 2, "100"))

    assert [lot.quantity for lot in lots] == [2, 1]


def test_the_lots_of_a_day_do_not_grow_without_bound() -> None:
    lots, _ = traded((date(2026, 1, 1), 1, "1"), *[(MONDAY, 1, str(price)) for price in range(100, 400)])

    assert len(lots) == 64
    assert lots[0].opened == date(2026, 1, 1)
    assert sum(lot.quantity for lot in lots) == 301
    assert sum(lot.cost for lot in lots) == 1 + sum(range(100, 400))


def test_lots_of_different_days_are_kept_apart_however_many_they_are() -> None:
    first = date(2026, 1, 1).toordinal()

    lots, _ = traded(*[(date.fromordinal(first + day), 1, "100") for day in range(100)])

    assert len(lots) == 100


def test_split_shares_keep_their_dates_and_their_cost() -> None:
    lots, gains = traded((date(2024, 1, 1), 3, "100"), (MONDAY, 2, "200"))

    split, after = adjust_lots(lots, gains, INFY, CorporateAction.SPLIT, Ratio(new=5, old=1), Decimal(0), TUESDAY)

    assert [(lot.opened, lot.quantity, lot.cost) for lot in split] == [(date(2024, 1, 1), 15, 300), (MONDAY, 10, 400)]
    assert after == gains


def test_shares_put_together_leave_the_oldest_part_of_one_for_cash() -> None:
    lots, gains = traded((date(2024, 1, 1), 1, "100"), (MONDAY, 2, "200"), (MONDAY, 2, "300"))

    joined, after = adjust_lots(lots, gains, INFY, CorporateAction.SPLIT, Ratio(new=1, old=2), Decimal(150), TUESDAY)

    assert [(lot.quantity, lot.cost) for lot in joined] == [(1, 400), (1, 600)]
    assert after == {"2025-26": {Term.LONG: Gains(proceeds=Decimal(150), cost=Decimal(100))}}


def test_a_lot_without_a_whole_share_gives_its_cost_to_the_next() -> None:
    lots, gains = traded((date(2024, 1, 1), 1, "100"), (MONDAY, 1, "200"))

    joined, _ = adjust_lots(lots, gains, INFY, CorporateAction.SPLIT, Ratio(new=1, old=2), Decimal(0), TUESDAY)

    assert [(lot.opened, lot.quantity, lot.cost) for lot in joined] == [(MONDAY, 1, 300)]


def test_bonus_shares_cost_nothing_and_are_held_from_their_allotment() -> None:
    lots, gains = traded((date(2024, 1, 1), 3, "100"))

    more, after = adjust_lots(lots, gains, INFY, CorporateAction.BONUS, Ratio(new=3, old=2), Decimal(33), TUESDAY)

    assert [(lot.opened, lot.quantity, lot.cost) for lot in more] == [(date(2024, 1, 1), 3, 300), (TUESDAY, 1, 0)]
    assert after == {"2025-26": {Term.SHORT: Gains(proceeds=Decimal(33))}}


def test_a_bonus_for_too_few_shares_is_cash_alone() -> None:
    lots, gains = traded((MONDAY, 1, "100"))

    more, after = adjust_lots(lots, gains, INFY, CorporateAction.BONUS, Ratio(new=3, old=2), Decimal(33), TUESDAY)

    assert more == lots
    assert after["2025-26"][Term.SHORT].profit == 33


def test_a_year_runs_from_april_to_march() -> None:
    assert financial_year(date(2026, 3, 31)) == "2025-26"
    assert financial_year(date(2026, 4, 1)) == "2026-27"
    assert financial_year(date(1999, 4, 1)) == "1999-00"


def test_a_trade_belongs_to_the_indian_day() -> None:
    midnight = 1_767_637_800_000  # 2026-01-06 00:00 in India

    assert trade_date(midnight - 1) == MONDAY
    assert trade_date(midnight) == TUESDAY
