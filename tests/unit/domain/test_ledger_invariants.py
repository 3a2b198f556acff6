"""A ledger under any sequence of fills, bookings and marks: nothing is created, and nothing is lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from panda_streams.domain.bookings import BookingKind
from panda_streams.domain.corporate_actions import CorporateAction
from panda_streams.domain.ledger import Portfolio, Position, apply_booking, apply_fill, apply_prices
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import Side
from tests.properties import examples
from tests.unit.builders import INFY, T0, a_booking, a_fill, an_action

ZERO = Decimal(0)
FUTURE = "NFO:NIFTY26JANFUT"
SHARES = (INFY, "NSE:TCS")
PRODUCTS = {INFY: Product.CNC, "NSE:TCS": Product.MIS, FUTURE: Product.NRML}
MANY = 10**6
instruments = st.sampled_from(sorted(PRODUCTS))
prices = st.decimals(min_value="0.05", max_value="99999.95", places=2)
amounts = st.decimals(min_value="0.01", max_value="1000000", places=2)
small = st.decimals(min_value="0", max_value="500", places=6)


class LedgerMachine(RuleBasedStateMachine):
    """The portfolio beside what its cash and its charges must be, told from the events alone."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Portfolio.open("Momentum", Decimal(100_000))
        self.time = T0
        self._begin(Decimal(100_000))

    def _begin(self, capital: Decimal) -> None:
        self.cash = self.capital = capital
        self.noted = self.charged = ZERO

    def _book(self, kind: BookingKind, amount: Decimal, **fields: Any) -> None:
        self.book = apply_booking(self.book, a_booking(kind, str(amount), time=self.time, **fields))

    def _held(self, instrument: str) -> int:
        return self.book.positions.get(instrument, Position(instrument=instrument)).quantity

    @rule(days=st.integers(1, 500))
    def time_passes(self, days: int) -> None:
        self.time += days * 86_400_000

    @rule(instrument=instruments, side=st.sampled_from(Side), quantity=st.integers(1, 5000), price=prices, charge=small)
    def trade(self, instrument: str, side: Side, quantity: int, price: Decimal, charge: Decimal) -> None:
        if PRODUCTS[instrument] is Product.CNC and side is Side.SELL:
            quantity = min(quantity, self._held(instrument))
        if quantity:
            self._fill(instrument, side, quantity, price, charge)

    def _fill(self, instrument: str, side: Side, quantity: int, price: Decimal, charge: Decimal) -> None:
        fill = a_fill(
            side,
            quantity,
            str(price),
            charges=str(charge),
            time=self.time,
            instrument=instrument,
            product=PRODUCTS[instrument],
            margined=instrument == FUTURE,
        )
        self.book = apply_fill(self.book, fill)
        self.cash += (-quantity if side is Side.BUY else quantity) * price - charge
        self.charged += charge

    @rule(instrument=instruments, price=prices)
    def close(self, instrument: str, price: Decimal) -> None:
        held = self._held(instrument)
        if held:
            self._fill(instrument, Side.SELL if held > 0 else Side.BUY, abs(held), price, ZERO)

    @rule(instrument=instruments, price=prices)
    def mark(self, instrument: str, price: Decimal) -> None:
        self.book = apply_prices(self.book, {instrument: price}, self.time)

    @rule(amount=amounts)
    def deposit(self, amount: Decimal) -> None:
        self._book(BookingKind.DEPOSIT, amount)
        self.cash, self.capital = self.cash + amount, self.capital + amount

    @rule(amount=amounts)
    def withdraw(self, amount: Decimal) -> None:
        self._book(BookingKind.WITHDRAWAL, -amount)
        self.cash, self.capital = self.cash - amount, self.capital - amount

    @rule(stt=small.filter(bool), back=small.filter(bool))
    def correct_charges(self, stt: Decimal, back: Decimal) -> None:
        self._book(BookingKind.CONTRACT_NOTE, back - stt, charges={"stt": stt, "gst": -back})
        self.cash += back - stt
        self.noted += stt - back

    @rule(quantity=st.integers(-500, 500).filter(bool), price=prices)
    def take_in_what_the_broker_holds(self, quantity: int, price: Decimal) -> None:
        if self._held(INFY) + quantity >= 0:
            fields = {"instrument": INFY, "product": Product.CNC, "quantity": quantity, "price": price}
            self._book(BookingKind.UNATTRIBUTED, ZERO, **fields)
            self.capital += quantity * price

    @rule(
        instrument=st.sampled_from(SHARES),
        action=st.sampled_from(CorporateAction),
        new=st.integers(1, 12),
        old=st.integers(1, 12),
        price=prices,
    )
    def company_acts(self, instrument: str, action: CorporateAction, new: int, old: int, price: Decimal) -> None:
        held = self._held(instrument)
        if abs(held) > MANY or (action is CorporateAction.BONUS and new <= old):
            return
        self.time += 1
        self.book = apply_booking(
            self.book, an_action(action, new, old, price=str(price), time=self.time, instrument=instrument)
        )
        parts = abs(held) * new % old
        self.cash += round(parts * price / new, 2) * (1 if held > 0 else -1)
        assert abs(self._held(instrument)) == abs(held) * new // old

    @precondition(lambda self: not any(position.quantity for position in self.book.positions.values()))
    @rule(capital=amounts)
    def reset(self, capital: Decimal) -> None:
        self._book(BookingKind.RESET, capital)
        self._begin(capital)

    @invariant()
    def cash_is_what_the_events_leave(self) -> None:
        unpaid = sum((self.book.positions[name].cost for name in self.book.positions if name == FUTURE), ZERO)
        assert (self.book.cash - unpaid, self.book.capital) == (self.cash, self.capital)
        assert self.book.charges == self.charged + self.noted

    @invariant()
    def equity_is_cash_and_positions_at_their_last_prices(self) -> None:
        worth = sum(
            (
                p.unrealised if p.instrument == FUTURE else p.quantity * (p.last_price or 0)
                for p in self.book.positions.values()
            ),
            ZERO,
        )
        assert self.book.equity == self.book.cash + worth

    @invariant()
    def lots_are_the_position(self) -> None:
        for position in self.book.positions.values():
            assert sum(lot.quantity for lot in position.lots) == position.quantity
            assert all(lot.quantity * position.quantity > 0 for lot in position.lots)
            assert [lot.opened for lot in position.lots] == sorted(lot.opened for lot in position.lots)
            if not position.quantity:
                assert position.cost == 0

    @invariant()
    def both_views_have_earned_the_same_but_for_what_open_shares_cost(self) -> None:
        lots = [lot for position in self.book.positions.values() for lot in position.lots]
        gains = [gain for year in self.book.gains.values() for gain in year.values()]
        first_in_first_out = sum((gain.profit for gain in gains), ZERO) - sum((lot.cost for lot in lots), ZERO)
        by_average = self.book.realised - sum((p.cost for p in self.book.positions.values()), ZERO)
        assert first_in_first_out == by_average
        charges = sum((lot.charges for lot in lots), ZERO) + sum((gain.charges for gain in gains), ZERO)
        assert charges == self.charged


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=examples(60), stateful_step_count=30)
