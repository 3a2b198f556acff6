"""The contract note of a day: its rounding, the depository's charges, and shares that add up to the paisa."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from panda_streams.domain.charges import Charges, Head, exercise_charges, fill_charges, merge, total
from panda_streams.domain.contract_note import (
    Column,
    Tally,
    add,
    add_exercise,
    contract_note,
    depository_charge,
    printed,
)
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from tests.unit.domain.test_charges import BUY, CALL, CNC, FUTURE, INFY, MIS, NOW, NRML, PUT, SELL

TCS = replace(INFY, symbol="TCS")
CRUDE_CALL = replace(CALL, exchange="MCX", symbol="CRUDEOILM25JUL6300CE")


class Trade(NamedTuple):
    strategy_id: str
    instrument: Instrument
    product: Product
    side: Side
    quantity: int
    price: str

    def charges(self, on: date = NOW) -> Charges:
        return fill_charges(*self[1:5], Decimal(self.price), on, Decimal(0))


def tallied(*trades: Trade, on: date = NOW) -> Tally:
    tally = Tally()
    for trade in trades:
        tally = add(tally, *trade[:5], Decimal(trade.price), trade.charges(on))
    return tally


def test_a_commodity_note_of_june_2025_is_reproduced_to_the_paisa():
    # Two orders of ten barrels each way at these average prices; Zerodha's note came to 109.25.
    day = date(2025, 6, 18)
    bought = Trade("Crude", CRUDE_CALL, NRML, BUY, 10, "491.45")
    sold = Trade("Crude", CRUDE_CALL, NRML, SELL, 10, "475.60")

    note = printed(tallied(bought, bought, sold, sold, on=day))[Column.COMMODITIES]

    assert note == {
        Head.BROKERAGE: Decimal("80.00"),
        Head.TRANSACTION: Decimal("8.08"),
        Head.CTT: Decimal(5),
        Head.SEBI: Decimal("0.02"),
        Head.STAMP: Decimal("0.29"),
        Head.GST: Decimal("15.86"),
    }
    assert total(note) == Decimal("109.25")


def test_tax_and_stamp_duty_of_shares_are_whole_rupees_and_the_rest_are_paise():
    note = printed(tallied(Trade("A", INFY, CNC, BUY, 1, "29424.15")))

    assert note == {
        Column.CASH: {
            Head.STT: Decimal(29),
            Head.TRANSACTION: Decimal("0.90"),
            Head.SEBI: Decimal("0.03"),
            Head.STAMP: Decimal(4),
            Head.GST: Decimal("0.17"),
        }
    }


@pytest.mark.parametrize(("tax", "rupees"), [("0.494", 0), ("0.495", 1), ("0.5", 1), ("1.494999", 1)])
def test_tax_is_rounded_to_the_paisa_and_then_to_the_rupee(tax, rupees):
    tally = add(Tally(), "A", INFY, MIS, SELL, 1, Decimal(100), {Head.STT: Decimal(tax)})

    assert printed(tally)[Column.CASH][Head.STT] == rupees


def test_shares_and_derivatives_are_rounded_in_columns_of_their_own():
    # 0.40 of tax in either column are two notes' worth of nothing, and would be one rupee together.
    tally = add(Tally(), "A", INFY, MIS, SELL, 1, Decimal(1600), {Head.STT: Decimal("0.4")})
    tally = add(tally, "A", FUTURE, NRML, SELL, 1, Decimal(800), {Head.STT: Decimal("0.4")})

    assert contract_note(tally, NOW) == {"A": {Head.STT: Decimal("-0.8")}}


def test_rounding_is_divided_by_turnover_in_whole_paise():
    tally = add(Tally(), "A", INFY, MIS, SELL, 1, Decimal(1000), {Head.STT: Decimal("0.3")})
    tally = add(tally, "B", INFY, MIS, SELL, 1, Decimal(2000), {Head.STT: Decimal("0.6")})

    assert contract_note(tally, NOW) == {"A": {Head.STT: Decimal("0.03")}, "B": {Head.STT: Decimal("0.07")}}


def test_equal_remainders_go_by_strategy_id():
    tally = Tally()
    for name in ("C", "A", "B"):
        tally = add(tally, name, INFY, MIS, SELL, 1, Decimal(1000), {Head.STT: Decimal("0.32")})

    note = contract_note(tally, NOW)

    assert {name: charges[Head.STT] for name, charges in note.items()} == {
        "A": Decimal("0.02"),
        "B": Decimal("0.01"),
        "C": Decimal("0.01"),
    }


def test_the_depository_charges_a_scrip_once_a_day_and_its_sellers_share_it_by_what_they_sold():
    tally = tallied(
        Trade("A", INFY, CNC, SELL, 30, "1000"),
        Trade("A", INFY, CNC, SELL, 30, "1000"),
        Trade("B", replace(INFY, exchange="BSE"), CNC, SELL, 40, "1000"),
        Trade("B", TCS, CNC, BUY, 40, "3000"),
    )

    note = contract_note(tally, NOW)

    assert (note["A"][Head.DP], note["B"][Head.DP]) == (Decimal("9.20"), Decimal("6.14"))


def test_intraday_sales_never_reach_the_depository():
    note = contract_note(tallied(Trade("A", INFY, MIS, SELL, 30, "1000")), NOW)

    assert Head.DP not in note["A"]


@pytest.mark.parametrize(("day", "charge"), [(date(2024, 9, 30), "15.93"), (date(2024, 10, 1), "15.34")])
def test_the_depository_became_cheaper_in_october_2024(day, charge):
    assert depository_charge(day) == Decimal(charge)


def test_the_tax_of_an_exercise_is_rounded_with_that_of_the_derivatives():
    charges = exercise_charges(CALL, 65, Decimal(25101), NOW)
    tally = add_exercise(Tally(), "A", CALL, 65, Decimal(25101), charges)

    assert charges == {Head.STT: Decimal("9.8475")}
    assert contract_note(tally, NOW) == {"A": {Head.STT: Decimal("0.1525")}}


def test_a_day_without_trades_has_an_empty_note():
    assert contract_note(Tally(), NOW) == {}


def test_what_is_exact_already_is_not_posted():
    tally = add(Tally(), "A", INFY, MIS, SELL, 1, Decimal(4000), {Head.STT: Decimal(1)})

    assert contract_note(tally, NOW) == {}


fills = st.builds(
    lambda name, held, side, quantity, price: Trade(name, *held, side, quantity, str(price)),
    st.sampled_from(["Mean", "Momentum", "Zeta"]),
    st.sampled_from(
        [(INFY, MIS), (INFY, CNC), (TCS, CNC), (FUTURE, NRML), (CALL, NRML), (PUT, MIS), (CRUDE_CALL, NRML)]
    ),
    st.sampled_from(Side),
    st.integers(1, 10_000),
    st.decimals("0.05", "99999.95", places=2),
)
some_fills = st.lists(fills, max_size=12)
days = st.sampled_from([date(2021, 6, 8), date(2024, 10, 1), date(2026, 3, 2), NOW])


@given(some_fills, days)
def test_the_charges_of_fills_and_what_is_posted_are_the_note_to_the_paisa(trades, on):
    tally = tallied(*trades, on=on)

    paid = merge(*(trade.charges(on) for trade in trades), *contract_note(tally, on).values())

    scrips = {trade.instrument.symbol for trade in trades if (trade.product, trade.side) == (CNC, SELL)}
    owed = merge(*printed(tally).values(), {Head.DP: len(scrips) * depository_charge(on)})
    assert {head: amount for head, amount in paid.items() if amount} == {
        head: amount for head, amount in owed.items() if amount
    }
    assert total(paid) % Decimal("0.01") == 0


@given(some_fills.flatmap(lambda trades: st.tuples(st.just(trades), st.permutations(trades))), days)
def test_the_order_of_fills_does_not_matter(orders, on):
    trades, shuffled = orders

    assert contract_note(tallied(*trades, on=on), on) == contract_note(tallied(*shuffled, on=on), on)


@given(some_fills, days)
def test_a_note_is_posted_to_those_who_traded_and_rounds_off_less_than_a_rupee_a_line(trades, on):
    note = contract_note(tallied(*trades, on=on), on)

    assert set(note) <= {trade.strategy_id for trade in trades}
    rounding = [amount for charges in note.values() for head, amount in charges.items() if head != Head.DP]
    assert all(abs(amount) < len(Column) for amount in rounding)


@given(some_fills)
def test_a_tally_survives_json(trades):
    tally = tallied(*trades)

    assert Tally.model_validate_json(tally.model_dump_json()) == tally


def test_the_tally_of_a_hundred_strategies_that_sold_fifty_scrips_each_is_small():
    tally = Tally()
    for strategy in range(100):
        for scrip in range(50):
            share = replace(INFY, symbol=f"SYMBOL{scrip:02}")
            for trade in (
                Trade(f"Momentum_NIFTY_{strategy:03}", share, CNC, SELL, 1234, "4321.05"),
                Trade(f"Momentum_NIFTY_{strategy:03}", FUTURE, NRML, BUY, 1234, "24321.05"),
            ):
                tally = add(tally, *trade[:5], Decimal(trade.price), trade.charges())

    assert len(tally.model_dump_json()) < 60 * 1024
