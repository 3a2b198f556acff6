"""Positions and margins, against an arithmetic of their own."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteConnect

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from panda_streams.kitesim.account import Position, margin
from tests.unit.builders import CALL, FUTURE, SHARE
from tests.unit.kitesim.bench import Bench, placed

TRADES = st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(1, 10_000)), max_size=30)


@given(trades=TRADES, last=st.integers(1, 10_000))
def test_what_is_realised_and_held_is_worth_what_was_paid_and_received(
    trades: list[tuple[Side, int, int]], last: int
) -> None:
    position = Position(instrument=SHARE.id, product=Product.MIS)
    cash, held = Fraction(0), 0
    for side, quantity, price in trades:
        position.trade(side, quantity, Decimal(price))
        signed = quantity if side is Side.BUY else -quantity
        cash -= signed * price
        held += signed

    assert position.quantity == held
    profit = position.realised + held * (last - position.average)
    assert abs(Fraction(profit) - (cash + held * last)) < Fraction(1, 10**15)
    assert (position.average > 0) == (held != 0)


@pytest.mark.parametrize(
    ("instrument", "product", "side", "expected"),
    [
        (SHARE, Product.MIS, Side.BUY, 2_000),
        (SHARE, Product.MIS, Side.SELL, 2_000),
        (SHARE, Product.CNC, Side.BUY, 10_000),
        (SHARE, Product.CNC, Side.SELL, 0),
        (FUTURE, Product.NRML, Side.SELL, 2_000),
        (CALL, Product.NRML, Side.BUY, 10_000),
        (CALL, Product.NRML, Side.SELL, 300_000),
    ],
)
def test_a_margin_is_a_fifth_of_the_value_or_all_of_it(
    instrument: Instrument, product: Product, side: Side, expected: int
) -> None:
    assert margin(instrument, product, side, 100, Decimal(100)) == expected


def test_an_order_that_closes_blocks_nothing_more(bench: Bench, kite: KiteConnect) -> None:
    placed(kite, quantity=100)
    bench.tick(150_000, at=3000, volume=3000)
    assert kite.margins("equity")["utilised"]["debits"] == 30_000

    placed(kite, "SELL", quantity=100, price=1510)
    assert kite.margins("equity")["utilised"]["debits"] == 30_000
    placed(kite, "SELL", quantity=100, price=1510)
    assert kite.margins("equity")["utilised"]["debits"] == 60_200


def test_what_was_won_is_free_again(bench: Bench, kite: KiteConnect) -> None:
    placed(kite, quantity=100)
    bench.tick(150_000, at=3000, volume=3000)
    placed(kite, "SELL", quantity=100)
    bench.tick(151_000, at=4000, volume=4000)

    margins = kite.margins("equity")
    assert (margins["net"], margins["utilised"]["m2m_realised"]) == (1_001_000, 1000)
    assert [(one["quantity"], one["pnl"]) for one in kite.positions()["day"]] == [(0, 1000)]


def test_margins_and_charges_are_reckoned_without_trading(bench: Bench, kite: KiteConnect) -> None:
    buy = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "variety": "regular"}
    buy |= {"product": "MIS", "order_type": "LIMIT", "quantity": 100, "price": 1500, "trigger_price": 0}
    sell = {**buy, "transaction_type": "SELL"}

    assert [row["total"] for row in kite.order_margins([buy, sell])] == [30_000, 30_000]
    basket = kite.basket_order_margins([buy, sell])
    assert (basket["initial"]["total"], basket["final"]["total"]) == (60_000, 30_000)
    note = kite.get_virtual_contract_note([{**buy, "order_id": "1", "average_price": 1500}])
    charges = note[0]["charges"]
    assert charges["brokerage"] == 20
    assert charges["stamp_duty"] == pytest.approx(4.5)
    assert charges["total"] == pytest.approx(
        charges["brokerage"]
        + charges["stamp_duty"]
        + charges["exchange_turnover_charge"]
        + charges["sebi_turnover_charge"]
        + charges["gst"]["total"]
    )
    assert kite.orders() == []
