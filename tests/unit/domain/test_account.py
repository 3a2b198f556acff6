"""The account: what orders hold back until they end; its cash is the ledger's, whatever is filled in which order."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.ledger import Portfolio, apply_fill
from panda_streams.domain.orders import Fill, OrderState, Product, Role
from panda_streams.domain.risk.account import Account, Reservation, Scope, carried, order_changed, reserve
from panda_streams.domain.risk.limits import TotalLimits, strategy_level
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance, Part, judge
from panda_streams.domain.risk.watch import Day
from panda_streams.domain.settlement import Holdings
from panda_streams.domain.signals import Intent, Side
from tests.properties import examples
from tests.unit.builders import CALL, FUTURE, INFY, SHARE, T0, a_fill, a_signal

BUY, SELL = Side.BUY, Side.SELL
CAPITAL = Decimal(100_000)
WORKING, FILLED, EXPIRED = OrderState.WORKING, OrderState.FILLED, OrderState.EXPIRED


def an_order(side: Side = BUY, quantity: int = 10, *, closes: bool = False, instrument: str = INFY) -> Reservation:
    return Reservation(
        strategy_id="Momentum",
        instrument=instrument,
        side=side,
        quantity=quantity,
        hold=Decimal(0 if closes else 1000),
        closes=closes,
        price=Decimal(1000),
    )


def reserved(*orders: Reservation, product: Product = Product.MIS) -> Account:
    """An account with orders in flight: o0, o1, …"""
    return reserve(Account(), {f"o{n}": order for n, order in enumerate(orders)}, CAPITAL, product)


def filled(account: Account, fill: Fill, order_id: str = "o0", instrument: Instrument = SHARE) -> Account:
    return order_changed(account, order_id, FILLED, fill, instrument)


def test_slices_of_a_signal_are_held_back_one_by_one() -> None:
    account = reserved(an_order(quantity=10), an_order(quantity=4))

    assert account.reserved_cash("Momentum") == 14_000
    assert account.in_flight("Momentum", INFY, BUY, closing=False) == 14
    assert account.in_flight("Momentum", INFY, BUY, closing=True) == 0


def test_a_part_fill_releases_its_part_and_the_end_releases_the_rest() -> None:
    account = reserved(an_order())

    account = order_changed(account, "o0", WORKING, a_fill(BUY, 4, "1000"), SHARE)
    partly = account.reserved_cash("Momentum")
    account = order_changed(account, "o0", EXPIRED, None, SHARE)

    assert (partly, account.reservations) == (6000, {})


def test_an_update_that_is_not_the_last_releases_nothing() -> None:
    account = reserved(an_order())

    assert order_changed(account, "o0", WORKING, None, SHARE) == account


def test_a_fill_moves_shares_and_cash_and_releases_the_order() -> None:
    account = filled(reserved(an_order()), a_fill(BUY, 10, "1001", charges="5"))

    book = account.books["Momentum"]
    assert (book.cash, book.positions, book.fills, book.product) == (89_985, {INFY: 10}, 1, Product.MIS)
    assert account.reservations == {}


def test_an_order_that_the_arm_decided_by_itself_is_booked_although_it_held_nothing_back() -> None:
    held = filled(reserved(an_order()), a_fill(BUY, 10, "1000"))

    account = filled(held, a_fill(SELL, 10, "990", role=Role.STOP), "a leg")

    assert (account.books["Momentum"].cash, account.books["Momentum"].positions) == (99_900, {})


def test_a_fill_of_a_strategy_without_a_book_is_a_broken_invariant() -> None:
    with pytest.raises(KeyError, match="Momentum"):
        filled(Account(), a_fill(BUY, 1, "1"))


# What positions tie up


def test_a_short_sale_ties_up_its_proceeds_and_as_much_again_until_it_is_bought_back() -> None:
    short = filled(reserved(an_order(SELL)), a_fill(SELL, 10, "1000"))
    half = filled(short, a_fill(BUY, 5, "900"), "o1")
    flat = filled(half, a_fill(BUY, 5, "900"), "o2")

    books = [account.books["Momentum"] for account in (short, half, flat)]
    assert [book.cash for book in books] == [110_000, 105_500, 101_000]
    assert [book.blocked for book in books] == [{INFY: 20_000}, {INFY: 10_000}, {}]


def test_of_a_future_only_the_profit_is_paid_and_a_margin_is_tied_up() -> None:
    bought = a_fill(BUY, 10, "1000", instrument=FUTURE.id, margined=True)
    account = filled(reserved(an_order(instrument=FUTURE.id)), bought, instrument=FUTURE)
    opened = account.books["Momentum"]
    sold = a_fill(SELL, 15, "1100", instrument=FUTURE.id, margined=True)
    turned = filled(account, sold, instrument=FUTURE).books["Momentum"]

    assert (opened.cash, opened.blocked, opened.costs) == (100_000, {FUTURE.id: 2000}, {FUTURE.id: 10_000})
    assert (turned.cash, turned.blocked, turned.costs) == (101_000, {FUTURE.id: 1100}, {FUTURE.id: -5500})


def test_an_option_that_is_written_ties_up_its_premium_and_a_share_of_its_strike() -> None:
    account = filled(
        reserved(an_order(SELL, instrument=CALL.id)), a_fill(SELL, 10, "100", instrument=CALL.id), instrument=CALL
    )

    book = account.books["Momentum"]
    assert (book.cash, book.blocked) == (101_000, {CALL.id: 10 * (100 + 3000)})


def test_an_option_that_is_bought_ties_up_nothing() -> None:
    fill = a_fill(BUY, 10, "100", instrument=CALL.id)

    assert filled(reserved(an_order(instrument=CALL.id)), fill, instrument=CALL).books["Momentum"].blocked == {}


def test_shares_bought_for_delivery_are_under_way() -> None:
    account = reserved(an_order(), product=Product.CNC)
    bought = filled(account, a_fill(BUY, 10, "1000", product=Product.CNC))
    sold = filled(bought, a_fill(SELL, 10, "1000", product=Product.CNC), "o1")

    assert bought.books["Momentum"].holdings == {INFY: Holdings(pending={"2021-06-08": 10})}
    assert sold.books["Momentum"].holdings == {}


# The product


def test_an_order_that_ends_without_a_fill_leaves_no_product() -> None:
    account = order_changed(reserved(an_order()), "o0", EXPIRED, None, SHARE)

    assert account.books["Momentum"].product is None


def test_a_position_that_is_closed_while_an_entry_is_in_flight_leaves_the_entry_its_product() -> None:
    account = filled(reserved(an_order(), an_order(instrument="NSE:TCS")), a_fill(BUY, 10, "1000"))
    account = filled(account, a_fill(SELL, 10, "1000"), "exit")
    waiting = account.books["Momentum"].product

    account = filled(account, a_fill(BUY, 10, "1000", instrument="NSE:TCS"), "o1")

    assert (waiting, account.books["Momentum"].product) == (Product.MIS, Product.MIS)


@pytest.mark.parametrize(
    ("product", "instrument", "held_as"),
    [
        (Product.MIS, SHARE, Product.MIS),
        (Product.MIS, FUTURE, Product.MIS),
        (Product.CNC, SHARE, Product.CNC),
        (Product.CNC, CALL, Product.NRML),
        (Product.NRML, SHARE, Product.CNC),
        (Product.NRML, FUTURE, Product.NRML),
    ],
)
def test_what_is_carried_overnight_is_delivery_for_shares_and_nrml_for_derivatives(
    product: Product, instrument: Instrument, held_as: Product
) -> None:
    assert carried(product, instrument) is held_as


# Any sequence of signals, fills and ends


class Live:
    """An order in flight, as the market sees it."""

    def __init__(self, part: Part, instrument: Instrument, product: Product) -> None:
        self.role, self.side, self.left = part
        self.instrument, self.product = instrument, product


class Trading(RuleBasedStateMachine):
    """Risk and the ledger beside each other: orders are judged by the one, and their fills are booked in both."""

    @initialize(product=st.sampled_from(Product), shorts=st.booleans())
    def open(self, product: Product, shorts: bool) -> None:
        self.allowance = Allowance(
            listed=True,
            consented=True,
            mode=Mode.ACTIVE,
            capital=CAPITAL,
            share_of_capital=Decimal("0.1"),
            totals=((Scope(strategy_level("Momentum"), strategy_id="Momentum"), TotalLimits(max_position=40)),),
            product=product,
            shorts=shorts,
            entries=(T0, T0 + 1000),
            today=date(2021, 6, 8),
            settled_before=date(2021, 6, 7),
        )
        self.account = reserve(Account(), {}, CAPITAL, product)
        self.ledger = Portfolio.open("Momentum", CAPITAL)
        self.live: dict[str, Live] = {}
        self.number = 0

    @rule(
        intent=st.sampled_from([Intent.ENTRY, Intent.EXIT, Intent.TARGET]),
        side=st.sampled_from(Side),
        instrument=st.sampled_from([SHARE, FUTURE, CALL]),
        price=st.integers(400, 1200),
        size=st.sampled_from(["0", "0.5", "1", "2"]),
    )
    def signal(self, intent: Intent, side: Side, instrument: Instrument, price: int, size: str) -> None:
        self.number += 1
        asked = a_signal(intent, side=side, price=str(price), size=size, sequence=self.number, instrument=instrument.id)
        verdict = judge(self.account, Day(), asked, self.allowance, instrument)
        product = carried(self.allowance.product, instrument)
        orders = {}
        for part in verdict.parts:
            name = f"{part.role}-{self.number}"
            closes = part.role is Role.EXIT
            self.live[name] = Live(part, instrument, product)
            orders[name] = Reservation(
                strategy_id="Momentum",
                instrument=instrument.id,
                side=part.side,
                quantity=part.quantity,
                hold=Decimal(0) if closes else verdict.hold,
                closes=closes,
                price=verdict.price or Decimal(0),
            )
        self.account = reserve(self.account, orders, CAPITAL, self.allowance.product)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), price=st.decimals("0.05", "1500", places=2), charge=st.decimals(0, 50, places=4))
    def fill(self, data: st.DataObject, price: Decimal, charge: Decimal) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        order = self.live[name]
        most = order.left
        if order.role is not Role.ENTRY:
            held = self._held(order.instrument.id)
            most = min(most, max(held if order.side is SELL else -held, 0))
        if not most:
            return self._over(name, OrderState.CANCELLED)
        quantity = data.draw(st.integers(1, most))
        order.left -= quantity
        self.number += 1
        fill = a_fill(
            order.side,
            quantity,
            str(price),
            charges=str(charge),
            number=self.number,
            instrument=order.instrument.id,
            product=order.product,
            margined=order.instrument is FUTURE,
        )
        state = WORKING if order.left else FILLED
        self.account = order_changed(self.account, name, state, fill, order.instrument)
        self.ledger = apply_fill(self.ledger, fill)
        if state is FILLED:
            del self.live[name]
        return None

    @precondition(lambda self: self.live)
    @rule(data=st.data(), state=st.sampled_from([EXPIRED, OrderState.CANCELLED, OrderState.REJECTED]))
    def end(self, data: st.DataObject, state: OrderState) -> None:
        self._over(data.draw(st.sampled_from(sorted(self.live))), state)

    def _over(self, name: str, state: OrderState) -> None:
        self.account = order_changed(self.account, name, state, None, self.live.pop(name).instrument)

    def _held(self, instrument: str) -> int:
        position = self.ledger.positions.get(instrument)
        return position.quantity if position else 0

    @invariant()
    def cash_and_positions_are_the_ledgers(self) -> None:
        book = self.account.book("Momentum", CAPITAL)
        held = {name: position.quantity for name, position in self.ledger.positions.items() if position.quantity}
        assert (book.cash, book.positions, book.fills) == (self.ledger.cash, held, self.ledger.fills)
        assert book.costs == {name: self.ledger.positions[name].cost for name in held if name == FUTURE.id}

    @invariant()
    def what_is_held_back_is_what_the_orders_in_flight_may_still_take(self) -> None:
        assert {name: o.quantity for name, o in self.account.reservations.items()} == {
            name: order.left for name, order in self.live.items()
        }

    @invariant()
    def only_open_positions_tie_cash_up_and_only_those_that_could_cost_more_than_was_paid(self) -> None:
        book = self.account.book("Momentum", CAPITAL)
        tying = {name for name, held in book.positions.items() if held < 0 or name == FUTURE.id}
        assert set(book.blocked) == tying
        assert all(amount > 0 for amount in book.blocked.values())

    @invariant()
    def delivered_shares_are_the_position(self) -> None:
        book = self.account.book("Momentum", CAPITAL)
        delivered = carried(self.allowance.product, SHARE) is Product.CNC
        held = book.positions.get(INFY, 0) if delivered else 0
        assert {name: shares.total for name, shares in book.holdings.items()} == ({INFY: held} if held else {})

    @invariant()
    def the_product_is_known_while_something_is_held_or_may_be(self) -> None:
        book = self.account.book("Momentum", CAPITAL)
        bound = bool(book.positions) or any(not o.closes for o in self.account.reservations.values())
        assert book.product is (self.allowance.product if bound else None)

    @invariant()
    def nobody_goes_short_without_leave_or_beyond_the_limit(self) -> None:
        book = self.account.book("Momentum", CAPITAL)
        for instrument in (SHARE, FUTURE, CALL):
            name = instrument.id
            held = book.positions.get(name, 0)
            flying = {side: self.account.in_flight("Momentum", name, side, closing=False) for side in Side}
            assert max(held, 0) + flying[BUY] <= 40
            if not self.allowance.shorts:
                assert held >= 0
                assert not flying[SELL]


TestTrading = Trading.TestCase
TestTrading.settings = settings(max_examples=examples(60), stateful_step_count=30)
