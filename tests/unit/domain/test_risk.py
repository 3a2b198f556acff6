"""The risk rules: each at its boundary, and what is held back until an order ends."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.orders import OrderState
from panda_streams.domain.risk.account import Account, Book, Reservation, order_changed, reserve
from panda_streams.domain.risk.rules import Allowance, Rule, judge
from panda_streams.domain.signals import Intent, Side
from tests.unit.builders import INFY, a_fill, a_signal

ALLOWED = Allowance(
    listed=True,
    consented=True,
    halted=False,
    capital=Decimal(100_000),
    share_of_capital=Decimal("0.1"),
    max_position=20,
)
SHARE = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
INDEX = Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX)


def holding(shares: int, cash: str = "100000") -> Account:
    return Account(books={"Momentum": Book(cash=Decimal(cash), positions={INFY: shares} if shares else {})})


def in_flight(account: Account, side: Side, quantity: int, order_id: str = "o1", price: str = "1000") -> Account:
    held_back = Reservation(strategy_id="Momentum", instrument=INFY, side=side, quantity=quantity, price=Decimal(price))
    return reserve(account, order_id, held_back, ALLOWED.capital)


def test_an_entry_buys_the_share_of_capital_in_whole_lots() -> None:
    verdict = judge(Account(), a_signal(price="999"), ALLOWED, msgspec.structs.replace(SHARE, lot=3))

    assert verdict.quantity == 9
    assert verdict.refusals == ()


@pytest.mark.parametrize(
    ("allowance", "rule"),
    [
        (replace(ALLOWED, listed=False), Rule.STRATEGY_NOT_LISTED),
        (replace(ALLOWED, consented=False), Rule.LIVE_NOT_ENABLED),
        (replace(ALLOWED, halted=True), Rule.ARM_HALTED),
    ],
)
def test_an_arm_refuses_what_it_was_not_allowed(allowance: Allowance, rule: Rule) -> None:
    verdict = judge(Account(), a_signal(price="1000"), allowance, SHARE)

    assert verdict.refusals == (rule,)
    assert verdict.quantity == 0


@pytest.mark.parametrize("instrument", [None, INDEX])
def test_an_unknown_instrument_and_an_index_are_refused(instrument: Instrument | None) -> None:
    assert Rule.INSTRUMENT_UNKNOWN in judge(Account(), a_signal(price="1000"), ALLOWED, instrument).refusals


def test_an_entry_without_a_quote_is_refused_and_an_exit_is_not() -> None:
    entry = judge(Account(), a_signal(price=None), ALLOWED, SHARE)
    leaving = judge(holding(5), a_signal(Intent.EXIT, price=None), ALLOWED, SHARE)

    assert entry.refusals == (Rule.QUOTE_MISSING,)
    assert leaving.quantity == 5


@pytest.mark.parametrize(("intent", "side"), [(Intent.ENTRY, Side.SELL), (Intent.EXIT, Side.BUY)])
def test_a_side_against_its_intent_is_refused(intent: Intent, side: Side) -> None:
    verdict = judge(holding(5), a_signal(intent, side=side, price="1000"), ALLOWED, SHARE)

    assert Rule.INTENT_INVALID in verdict.refusals


@pytest.mark.parametrize(("price", "refused"), [("10000", False), ("10000.05", True)])
def test_the_share_of_capital_must_buy_a_lot(price: str, refused: bool) -> None:
    assert (Rule.SIZE_BELOW_LOT in judge(Account(), a_signal(price=price), ALLOWED, SHARE).refusals) is refused


@pytest.mark.parametrize(("held", "refused"), [(10, False), (11, True)])
def test_held_and_ordered_shares_stay_within_the_position_limit(held: int, refused: bool) -> None:
    verdict = judge(holding(held), a_signal(price="1000"), ALLOWED, SHARE)

    assert (Rule.POSITION_LIMIT in verdict.refusals) is refused


def test_shares_in_flight_count_against_the_position_limit() -> None:
    account = in_flight(holding(10), Side.BUY, 1)

    assert judge(account, a_signal(price="1000"), ALLOWED, SHARE).refusals == (Rule.POSITION_LIMIT,)


@pytest.mark.parametrize(("cash", "refused"), [("10100", False), ("10099.99", True)])
def test_an_entry_needs_its_cash_and_one_percent_more(cash: str, refused: bool) -> None:
    verdict = judge(holding(0, cash), a_signal(price="1000"), ALLOWED, SHARE)

    assert (Rule.CASH_INSUFFICIENT in verdict.refusals) is refused


def test_cash_in_flight_is_not_free() -> None:
    account = in_flight(holding(0, "20099"), Side.BUY, 10)

    assert judge(account, a_signal(price="1000"), ALLOWED, SHARE).refusals == (Rule.CASH_INSUFFICIENT,)


def test_an_exit_sells_what_is_held_and_not_already_being_sold() -> None:
    account = in_flight(holding(10), Side.SELL, 4)

    assert judge(account, a_signal(Intent.EXIT), ALLOWED, SHARE).quantity == 6


def test_nothing_to_exit_is_refused() -> None:
    account = in_flight(holding(10), Side.SELL, 10)

    assert judge(account, a_signal(Intent.EXIT), ALLOWED, SHARE).refusals == (Rule.NOTHING_TO_EXIT,)


def test_a_refusal_names_every_rule_that_is_broken() -> None:
    verdict = judge(holding(20, "5"), a_signal(price="1000"), replace(ALLOWED, halted=True), SHARE)

    assert set(verdict.refusals) == {Rule.ARM_HALTED, Rule.POSITION_LIMIT, Rule.CASH_INSUFFICIENT}
    limit = next(finding for finding in verdict.findings if finding.rule is Rule.POSITION_LIMIT)
    assert (limit.value, limit.limit) == ("30", "20")


def test_a_terminal_update_releases_what_was_held_back() -> None:
    account = in_flight(holding(0), Side.BUY, 10)

    account = order_changed(account, "o1", OrderState.EXPIRED, None)

    assert account.reservations == {}


def test_a_fill_moves_shares_and_cash_and_releases_the_order() -> None:
    account = in_flight(holding(0), Side.BUY, 10)

    account = order_changed(account, "o1", OrderState.FILLED, a_fill(Side.BUY, 10, "1001", charges="5"))

    assert account.books["Momentum"] == Book(cash=Decimal(89_985), positions={INFY: 10})
    assert account.reservations == {}


@given(st.lists(st.tuples(st.sampled_from(Intent), st.booleans()), max_size=30))
def test_no_sequence_of_signals_and_endings_sells_what_is_not_held(moves: list[tuple[Intent, bool]]) -> None:
    account = Account()
    for number, (intent, fills) in enumerate(moves):
        signal = a_signal(intent, price="1000", sequence=number)
        verdict = judge(account, signal, ALLOWED, SHARE)
        if not verdict.quantity:
            continue
        order_id = f"o{number}"
        held_back = Reservation(
            strategy_id="Momentum", instrument=INFY, side=signal.side, quantity=verdict.quantity, price=Decimal(1000)
        )
        account = reserve(account, order_id, held_back, ALLOWED.capital)
        if number % 3:  # every third order stays in flight
            fill = a_fill(signal.side, verdict.quantity, "1000") if fills else None
            account = order_changed(account, order_id, OrderState.FILLED if fills else OrderState.EXPIRED, fill)

        held = account.book("Momentum", ALLOWED.capital).positions.get(INFY, 0)
        assert 0 <= account.in_flight("Momentum", INFY, Side.SELL) <= held
        assert held + account.in_flight("Momentum", INFY, Side.BUY) <= ALLOWED.max_position
        assert account.book("Momentum", ALLOWED.capital).cash >= account.reserved_cash("Momentum")
