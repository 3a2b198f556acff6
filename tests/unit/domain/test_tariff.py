"""The schedule of rates: which rate holds on which day."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest

from panda_streams.domain.tariff import SCHEDULE, Rates, Segment, rates_on


@pytest.mark.parametrize(
    ("segment", "item", "since", "before", "after"),
    [
        (Segment.NSE_DELIVERY, "transaction", date(2026, 3, 1), "0.0000297", "0.000030699"),
        (Segment.NSE_DELIVERY, "ipft", date(2026, 3, 1), "0.000001", "0.000000001"),
        (Segment.NFO_FUTURES, "tax_sell", date(2026, 4, 1), "0.0002", "0.0005"),
        (Segment.NFO_OPTIONS, "tax_sell", date(2026, 4, 1), "0.001", "0.0015"),
        (Segment.NFO_OPTIONS, "tax_exercise", date(2026, 4, 1), "0.00125", "0.0015"),
        (Segment.BFO_SENSEX_BANKEX_OPTIONS, "transaction", date(2024, 10, 1), "0.000495", "0.000325"),
        (Segment.NSE_DELIVERY, "dp", date(2024, 10, 1), "13.5", "13"),
    ],
)
def test_a_rate_changes_on_its_day_and_not_before(segment, item, since, before, after):
    the_day_before = date.fromordinal(since.toordinal() - 1)

    assert getattr(rates_on(segment, the_day_before), item) == Decimal(before)
    assert getattr(rates_on(segment, since), item) == Decimal(after)


@pytest.mark.parametrize(("segment", "charge"), [(Segment.NSE_INTRADAY, 307), (Segment.NFO_FUTURES, 183)])
def test_what_nse_takes_of_a_crore_did_not_change_in_march_2026(segment, charge):
    for day in (date(2026, 2, 27), date(2026, 3, 2)):
        rates = rates_on(segment, day)
        assert (rates.transaction + rates.ipft) * 10_000_000 == charge


@pytest.mark.parametrize("segment", Segment)
def test_a_day_before_the_first_row_takes_the_first_row(segment):
    assert rates_on(segment, date(1999, 1, 1)).gst == Decimal("0.18")
    assert rates_on(segment, date(1999, 1, 1)).stamp == rates_on(segment, date(2020, 7, 1)).stamp


@pytest.mark.parametrize("segment", Segment)
@pytest.mark.parametrize("item", Rates.model_fields)
def test_rows_of_an_item_and_segment_are_in_the_order_of_their_days(item, segment):
    days = [rate.since for rate in SCHEDULE if rate.item == item and segment in rate.segments]

    assert all(earlier < later for earlier, later in pairwise(days))


def test_every_row_sets_a_rate_and_names_its_source():
    assert all(rate.item in Rates.model_fields and rate.source for rate in SCHEDULE)
