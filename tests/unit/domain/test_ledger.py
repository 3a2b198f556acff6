"""The ledger: average price, realised profit and cash on every kind of fill and booking."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.bookings import BookingKind
from panda_streams.domain.corporate_actions import CorporateAction
from panda_streams.domain.ledger import LedgerError, Portfolio, Position, apply_booking, apply_fill, apply_prices
from panda_streams.domain.orders import Fill, Product
from panda_streams.domain.signals import Side
from tests.unit.builders import INFY, T0, a_booking, a_fill, an_action

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


def test_delivery_never_goes_short() -> None:
    held = apply_fill(Portfolio.open("Momentum", Decimal(10_000)), a_fill(BUY, 10, "100", product=Product.CNC))

    with pytest.raises(LedgerError, match="sells 11 NSE:INFY as CNC, but Momentum holds 10"):
        apply_fill(held, a_fill(SELL, 11, "100", number=1, product=Product.CNC))


def test_products_do_not_net() -> None:
    held = apply_fill(Portfolio.open("Momentum", Decimal(10_000)), a_fill(BUY, 10, "100", product=Product.CNC))

    with pytest.raises(LedgerError, match="holds 10 as CNC: close them under CNC first"):
        apply_fill(held, a_fill(SELL, 10, "100", number=1, product=Product.MIS))


def test_a_flat_position_takes_the_product_of_its_next_fill() -> None:
    book = Portfolio.open("Momentum", Decimal(10_000))
    for number, (side, product) in enumerate([(BUY, Product.CNC), (SELL, Product.CNC), (SELL, Product.MIS)]):
        book = apply_fill(book, a_fill(side, 10, "100", number=number, product=product))

    assert (book.positions[INFY].product, book.positions[INFY].quantity) == (Product.MIS, -10)


def test_money_that_comes_in_or_goes_out_is_no_profit() -> None:
    before = booked(a_fill(BUY, 10, "100"), a_fill(SELL, 10, "110", number=1))

    after = apply_booking(before, a_booking(BookingKind.DEPOSIT, "500"))
    after = apply_booking(after, a_booking(BookingKind.WITHDRAWAL, "-200"))

    assert (after.cash, after.capital) == (before.cash + 300, before.capital + 300)
    assert (after.realised, after.fills, after.bookings) == (before.realised, 2, 2)


def test_a_contract_note_corrects_the_charges() -> None:
    before = booked(a_fill(BUY, 10, "100", charges="3"))

    after = apply_booking(
        before,
        a_booking(BookingKind.CONTRACT_NOTE, "-0.5", charges={"stt": Decimal(1), "gst": Decimal("-0.5")}, time=T0 + 5),
    )

    assert (after.charges, after.cash, after.time) == (Decimal("3.5"), before.cash - Decimal("0.5"), T0 + 5)
    assert after.capital == before.capital


def test_a_reset_begins_with_the_new_capital_and_shows_old_positions_as_empty() -> None:
    before = booked(a_fill(BUY, 10, "100", charges="3"), a_fill(SELL, 10, "110", number=1))

    after = apply_booking(before, a_booking(BookingKind.RESET, "5000"))

    assert (after.capital, after.cash, after.charges, after.realised, after.fills) == (5000, 5000, 0, 0, 0)
    assert after.gains == {}
    assert after.positions == {INFY: Position(instrument=INFY, last_price=Decimal(110), priced_at=T0)}


def test_a_book_with_an_open_position_is_not_reset() -> None:
    with pytest.raises(LedgerError, match="while it holds 10 NSE:INFY: close its positions first"):
        apply_booking(booked(a_fill(BUY, 10, "100")), a_booking(BookingKind.RESET, "5000"))


@pytest.mark.parametrize("action", CorporateAction)
def test_a_split_or_a_bonus_changes_the_number_of_shares_and_not_what_they_cost(action: CorporateAction) -> None:
    before = booked(a_fill(BUY, 10, "100"))

    after = apply_booking(before, an_action(action, 5, 2, time=T0 + 1))

    position = after.positions[INFY]
    assert (position.quantity, position.cost, position.average_price) == (25, 1000, 40)
    assert (position.last_price, position.priced_at) == (40, T0 + 1)
    assert (after.equity, after.cash, after.realised) == (before.equity, before.cash, 0)


def test_a_part_of_a_share_is_paid_out_and_earns_its_price_less_its_cost() -> None:
    before = booked(a_fill(BUY, 3, "90"))

    after = apply_booking(before, an_action(CorporateAction.SPLIT, 3, 2, price="99", time=T0 + 1))

    position = after.positions[INFY]
    assert (position.quantity, position.cost) == (4, 240)
    assert after.cash == before.cash + 33
    assert position.realised == 33 - 30


def test_an_action_on_what_was_never_held_changes_no_position() -> None:
    before = booked()

    after = apply_booking(before, an_action(CorporateAction.SPLIT, 5, 1))

    assert (after.positions, after.cash) == ({}, before.cash)


def test_a_price_from_after_a_split_stands() -> None:
    before = apply_prices(booked(a_fill(BUY, 10, "100")), {INFY: Decimal(21)}, T0 + 5)

    after = apply_booking(before, an_action(CorporateAction.SPLIT, 5, 1, time=T0 + 5))

    assert after.positions[INFY].last_price == 21


def test_a_mark_from_before_a_split_changes_nothing() -> None:
    split = apply_booking(booked(a_fill(BUY, 10, "100")), an_action(CorporateAction.SPLIT, 5, 1, time=T0 + 5))

    assert apply_prices(split, {INFY: Decimal(101)}, T0 + 4) is split


def test_what_the_broker_holds_beyond_the_books_is_capital() -> None:
    before = Portfolio.open("_unattributed", Decimal(0))

    shares = {"instrument": INFY, "product": Product.CNC, "quantity": 10, "price": Decimal(100)}
    after = apply_booking(before, a_booking(BookingKind.UNATTRIBUTED, "50", **shares))
    after = apply_booking(after, a_booking(BookingKind.UNATTRIBUTED, "-20"))

    assert (after.cash, after.capital, after.equity, after.realised) == (30, 1030, 1030, 0)
    assert (after.positions[INFY].quantity, after.positions[INFY].product) == (10, Product.CNC)


def test_a_future_moves_no_cash_but_its_profit_and_charges() -> None:
    trades = [(BUY, 10, "100"), (BUY, 10, "110"), (SELL, 5, "120"), (SELL, 20, "90")]
    book, cash = Portfolio.open("Momentum", Decimal(10_000)), []
    for number, (side, quantity, price) in enumerate(trades):
        fill = a_fill(side, quantity, price, charges="1", number=number, product=Product.NRML)
        book = apply_fill(book, fill.model_copy(update={"margined": True}))
        cash.append(book.cash - 10_000)

    # 5 closed at 120 and 15 at 90, of an average of 105; what is opened short after that earns nothing yet.
    assert cash == [-1, -2, -3 + 75, -4 + 75 - 225]
    assert book.equity == book.cash
