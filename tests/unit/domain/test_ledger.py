"""The ledger: average price, realised profit and cash on every kind of fill, and nothing created or lost."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.ledger import Portfolio, Position, apply_fill, apply_prices
from panda_streams.domain.orders import Fill
from panda_streams.domain.signals import Side
from tests.unit.builders import INFY, T0, a_fill

BUY, SELL = Side.BUY, Side.SELL


def booked(*fills: Fill, capital: str = "100000") -> Portfolio:
    portfolio = Portfolio.open("Momentum", Decimal(capital))
    for fill in fills:
        portfolio = apply_fill(portfolio, fill)
    return portfolio


@pytest.mark.parametrize(
    ("fills", "quantity", "average", "realised", "cash"),
    [
        ([(BUY, 10, "100")], 10, "100", "0", "99000"),
        ([(BUY, 10, "100"), (BUY, 30, "120")], 40, "115", "0", "95400"),
        ([(BUY, 10, "100"), (SELL, 4, "110")], 6, "100", "40", "99440"),
        ([(BUY, 10, "100"), (SELL, 10, "90")], 0, None, "-100", "99900"),
        ([(BUY, 10, "100"), (SELL, 15, "110")], -5, "110", "100", "100650"),
        ([(SELL, 10, "100"), (BUY, 4, "90")], -6, "100", "40", "100640"),
        ([(SELL, 10, "100"), (BUY, 15, "90")], 5, "90", "100", "99650"),
    ],
    ids=["open", "increase", "reduce", "close", "turn short", "cover part", "turn long"],
)
def test_a_position_follows_its_fills(
    fills: list[tuple[Side, int, str]], quantity: int, average: str | None, realised: str, cash: str
) -> None:
    portfolio = booked(*[a_fill(*fill, number=number) for number, fill in enumerate(fills)])

    position = portfolio.positions[INFY]
    assert position.quantity == quantity
    assert position.average_price == (None if average is None else Decimal(average))
    assert position.realised == Decimal(realised)
    assert portfolio.cash == Decimal(cash)


def test_charges_leave_cash_and_never_the_cost_of_a_position() -> None:
    portfolio = booked(a_fill(BUY, 10, "100", charges="3.21"))

    assert portfolio.cash == Decimal("98996.79")
    assert portfolio.charges == Decimal("3.21")
    assert portfolio.positions[INFY].average_price == Decimal(100)


def test_a_mark_moves_unrealised_profit_alone() -> None:
    before = booked(a_fill(BUY, 10, "100"))

    after = apply_prices(before, {INFY: Decimal("101.5"), "NSE:TCS": Decimal(1)}, T0 + 1000)

    assert (after.unrealised, after.realised, after.cash) == (Decimal(15), before.realised, before.cash)
    assert after.equity == before.equity + 15


def test_a_mark_older_than_the_last_price_changes_nothing() -> None:
    portfolio = booked(a_fill(BUY, 10, "100", time=T0))

    assert apply_prices(portfolio, {INFY: Decimal(1)}, T0 - 1) is portfolio


def test_a_position_without_a_price_has_no_unrealised_profit() -> None:
    assert Position(instrument=INFY, quantity=5, cost=Decimal(500)).unrealised == 0


prices = st.decimals(min_value="0.05", max_value="99999.95", places=2)
random_fills = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 5000), prices, st.decimals("0", "500", places=6)), max_size=40
)


@given(random_fills)
def test_cash_moves_by_turnover_and_charges_and_by_nothing_else(
    fills: list[tuple[Side, int, Decimal, Decimal]],
) -> None:
    portfolio = booked(*[a_fill(side, q, str(price), charges=str(charges)) for side, q, price, charges in fills])

    turnover = sum((q * price * (1 if side is BUY else -1) for side, q, price, _ in fills), Decimal(0))
    charges = sum((charge for *_, charge in fills), Decimal(0))
    assert portfolio.cash == portfolio.capital - turnover - charges
    assert portfolio.charges == charges


@given(random_fills)
def test_equity_is_cash_and_positions_at_their_last_prices(fills: list[tuple[Side, int, Decimal, Decimal]]) -> None:
    portfolio = booked(*[a_fill(side, q, str(price), charges=str(charges)) for side, q, price, charges in fills])

    worth = sum((p.quantity * (p.last_price or 0) for p in portfolio.positions.values()), Decimal(0))
    assert portfolio.equity == portfolio.cash + worth


@given(random_fills)
def test_a_flat_position_costs_nothing(fills: list[tuple[Side, int, Decimal, Decimal]]) -> None:
    portfolio = booked(*[a_fill(side, q, str(price)) for side, q, price, _ in fills])
    held = portfolio.positions[INFY].quantity if fills else 0

    if held:
        portfolio = apply_fill(portfolio, a_fill(SELL if held > 0 else BUY, abs(held), "77.70"))

    assert all(position.cost == 0 for position in portfolio.positions.values())
    assert portfolio.equity == portfolio.cash


def test_a_fill_older_than_the_last_mark_leaves_the_mark() -> None:
    before = apply_prices(booked(a_fill(BUY, 10, "100")), {INFY: Decimal(120)}, T0 + 5000)

    after = apply_fill(before, a_fill(BUY, 10, "110", number=1, time=T0 + 1000))

    position = after.positions[INFY]
    assert (position.last_price, position.priced_at) == (Decimal(120), T0 + 5000)
    assert after.unrealised == 20 * 120 - 2100
