"""What books are worth at the last prices, whatever was asked before."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.orders import Product
from panda_streams.domain.risk.account import Account, Book, Scope, Worth, reserve, valued
from panda_streams.domain.risk.limits import ACCOUNT, strategy_level
from tests.unit.builders import FUTURE, INFY
from tests.unit.domain.test_account import CAPITAL, an_order

TCS = "NSE:TCS"
LONG = Book(cash=Decimal(1_000), positions={INFY: 10})
SHORT = Book(cash=Decimal(5_000), positions={INFY: -4, TCS: 1})
BOUGHT = Book(cash=Decimal(1_000), positions={FUTURE.id: 5}, costs={FUTURE.id: Decimal(500)})
AT = {INFY: Decimal(100), FUTURE.id: Decimal(110)}


def of(book: Book, prices: Mapping[str, Decimal] = AT) -> Worth:
    return valued({"Momentum": book}, prices).of["Momentum"]


def test_a_book_is_worth_its_cash_and_its_positions_at_the_last_prices() -> None:
    assert of(LONG) == Worth(Decimal(2_000), long=Decimal(1_000), short=Decimal(0))


def test_what_is_short_is_taken_off_and_what_has_no_price_counts_as_nothing() -> None:
    assert of(SHORT) == Worth(Decimal(4_600), long=Decimal(0), short=Decimal(400))


def test_of_a_future_only_its_profit_counts() -> None:
    assert of(BOUGHT) == Worth(Decimal(1_050), long=Decimal(550), short=Decimal(0))
    assert of(BOUGHT, {}).equity == 1_000


def test_exposure_is_of_all_books_or_of_one() -> None:
    account = Account(books={"Momentum": LONG, "Reversion": SHORT}, prices=AT)
    one, none = (Scope(strategy_level(name), strategy_id=name) for name in ("Reversion", "Unheard"))

    assert account.exposure(Scope(ACCOUNT)) == (1_000, 400)
    assert account.exposure(one) == (0, 400)
    assert account.exposure(none) == (0, 0)


_BOOKS = [{"Momentum": LONG, "Reversion": SHORT}, {"Momentum": LONG, "Reversion": LONG}, {"Momentum": BOUGHT}, {}]
_PRICES = [AT, {**AT, INFY: Decimal(101)}, {TCS: Decimal(5)}, {}]


@given(st.lists(st.tuples(st.sampled_from(_BOOKS), st.sampled_from(_PRICES)), min_size=1, max_size=8))
def test_what_was_valued_before_does_not_matter(asked: list[tuple[dict[str, Book], dict[str, Decimal]]]) -> None:
    found = [valued(books, prices) for books, prices in asked]

    fresh = [valued(dict(books), dict(prices)) for books, prices in asked]

    assert found == fresh
    assert [one.total.equity for one in found] == [sum(worth.equity for worth in one.of.values()) for one in found]


def test_an_order_under_the_product_that_its_book_has_leaves_the_books_as_they_are() -> None:
    account = reserve(Account(), {"o0": an_order()}, CAPITAL, Product.MIS)

    assert reserve(account, {"o1": an_order()}, CAPITAL, Product.MIS).books is account.books
