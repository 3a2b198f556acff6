"""The risk rules: each at its boundary, and what a signal that passes comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product, Role
from panda_streams.domain.risk.account import Account, Book, Reservation, Scope, reserve
from panda_streams.domain.risk.limits import OrderLimits, TotalLimits, strategy_level
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance, Part, Rule, Verdict, judge
from panda_streams.domain.risk.watch import Day
from panda_streams.domain.settlement import Holdings
from panda_streams.domain.signals import Intent, OrderType, Side, Signal, Terms
from tests.unit.builders import CALL, FUTURE, INDEX, INFY, SHARE, T0, a_ref, a_signal

BUY, SELL = Side.BUY, Side.SELL
ENTRY, EXIT, TARGET = Intent.ENTRY, Intent.EXIT, Intent.TARGET
MONDAY, TUESDAY = date(2021, 6, 7), date(2021, 6, 8)


def at_most(shares: int) -> tuple[tuple[Scope, TotalLimits], ...]:
    """A strategy's limit for one instrument."""
    return ((Scope(strategy_level("Momentum"), strategy_id="Momentum"), TotalLimits(max_position=shares)),)


ALLOWED = Allowance(
    listed=True,
    consented=True,
    mode=Mode.ACTIVE,
    capital=Decimal(100_000),
    share_of_capital=Decimal("0.1"),
    order=OrderLimits(max_quote_age_s=Decimal(60)),
    totals=at_most(20),
    entries=(T0, T0 + 1000),
    today=TUESDAY,
    settled_before=MONDAY,
)
"""At a price of 1000 an entry is 10 shares."""
SHORTS = replace(ALLOWED, shorts=True)
DELIVERY = replace(ALLOWED, product=Product.CNC)


def holding(shares: int, cash: str = "100000", *, instrument: str = INFY, **fields: Any) -> Account:
    positions = {instrument: shares} if shares else {}
    return Account(books={"Momentum": Book(cash=Decimal(cash), positions=positions, **fields)})


def flying(account: Account, side: Side, quantity: int, *, closes: bool = False, hold: str = "1000") -> Account:
    """The account with one more order in flight."""
    held_back = Reservation(
        strategy_id="Momentum",
        instrument=INFY,
        side=side,
        quantity=quantity,
        hold=Decimal(0 if closes else hold),
        closes=closes,
        price=Decimal(1000),
    )
    name = f"order-{len(account.reservations)}"
    return reserve(account, {name: held_back}, ALLOWED.capital, ALLOWED.product)


def signal(intent: Intent = ENTRY, side: Side | None = None, *, price: str | None = "1000", **fields: Any) -> Signal:
    return a_signal(intent, side=side, price=price, **fields)


def judged(
    account: Account, asked: Signal, allowance: Allowance = ALLOWED, instrument: Instrument | None = SHARE
) -> Verdict:
    return judge(account, Day(), asked, allowance, instrument)


def found(verdict: Verdict, rule: Rule) -> tuple[str | None, str | None]:
    """What a rule saw, and its limit."""
    finding = next(finding for finding in verdict.findings if finding.rule is rule)
    return finding.value, finding.limit


# Who may trade at all


def test_an_entry_buys_the_share_of_capital() -> None:
    verdict = judged(Account(), signal())

    assert verdict.parts == (Part(Role.ENTRY, BUY, 10),)
    assert (verdict.hold, verdict.refusals) == (1000, ())


@pytest.mark.parametrize(
    ("allowance", "rule"),
    [
        (replace(ALLOWED, listed=False), Rule.STRATEGY_NOT_LISTED),
        (replace(ALLOWED, consented=False), Rule.LIVE_NOT_ENABLED),
        (replace(ALLOWED, mode=Mode.HALTED), Rule.ARM_HALTED),
    ],
)
@pytest.mark.parametrize("intent", [ENTRY, EXIT, TARGET, Intent.MODIFY])
def test_an_arm_refuses_what_it_was_not_allowed(allowance: Allowance, rule: Rule, intent: Intent) -> None:
    verdict = judged(holding(5), signal(intent), allowance)

    assert verdict.refusals == (rule,)
    assert verdict.parts == ()


def test_a_halted_arm_cancels() -> None:
    verdict = judged(holding(5), signal(Intent.CANCEL), replace(ALLOWED, mode=Mode.HALTED))

    assert (verdict.passed, verdict.parts) == (True, ())


@pytest.mark.parametrize("instrument", [None, INDEX])
def test_an_unknown_instrument_and_an_index_are_refused(instrument: Instrument | None) -> None:
    assert judged(Account(), signal(), instrument=instrument).refusals == (Rule.INSTRUMENT_UNKNOWN,)


def test_a_refusal_names_every_rule_that_is_broken() -> None:
    verdict = judged(holding(20, "5"), signal(), replace(ALLOWED, mode=Mode.HALTED))

    assert set(verdict.refusals) == {Rule.ARM_HALTED, Rule.POSITION_LIMIT, Rule.CASH_INSUFFICIENT}
    assert found(verdict, Rule.POSITION_LIMIT) == ("30", "20")


# The quote


@pytest.mark.parametrize("intent", [ENTRY, TARGET])
@pytest.mark.parametrize("price", [None, "0"])
def test_what_opens_needs_a_price(intent: Intent, price: str | None) -> None:
    assert judged(Account(), signal(intent, price=price)).refusals == (Rule.QUOTE_MISSING,)


def test_what_only_closes_needs_no_quote() -> None:
    exit_ = judged(holding(5), signal(EXIT, price=None))
    flat = judged(holding(5), signal(TARGET, price=None, size="0"))

    assert exit_.parts == flat.parts == (Part(Role.EXIT, SELL, 5),)


@pytest.mark.parametrize(("age", "refused"), [(60_000, False), (60_001, True)])
@pytest.mark.parametrize("intent", [ENTRY, TARGET])
def test_an_entry_needs_a_quote_that_is_young_enough(intent: Intent, age: int, refused: bool) -> None:
    asked = signal(intent)
    assert asked.quote is not None
    old = asked.quote.model_copy(update={"tick": a_ref(time=asked.cause.time - age)})

    verdict = judged(Account(), asked.model_copy(update={"quote": old}))

    assert (Rule.QUOTE_STALE in verdict.refusals) is refused
    assert found(verdict, Rule.QUOTE_STALE) == (str(age), "60000")


def test_an_exit_by_an_old_quote_passes() -> None:
    asked = signal(EXIT)
    assert asked.quote is not None
    old = asked.quote.model_copy(update={"tick": a_ref(time=0)})

    assert judged(holding(5), asked.model_copy(update={"quote": old})).passed


# Prices that the signal names


@pytest.mark.parametrize("price", ["990.05", "990.04"])
@pytest.mark.parametrize(
    ("name", "order_type"),
    [("price", OrderType.LIMIT), ("trigger", OrderType.SL_M), ("stop", OrderType.MARKET)],
)
def test_prices_are_multiples_of_the_tick_size(name: str, order_type: OrderType, price: str) -> None:
    terms = Terms.model_validate({"order_type": order_type, name: price})

    verdict = judged(Account(), signal(terms=terms))

    assert verdict.refusals == (() if price == "990.05" else (Rule.PRICE_OFF_TICK,))
    assert found(verdict, Rule.PRICE_OFF_TICK) == (None if verdict.passed else "990.04", "0.05")


def test_the_price_of_a_change_is_a_multiple_of_the_tick_size_too() -> None:
    terms = Terms(order_type=OrderType.LIMIT, price=Decimal("990.04"))

    assert judged(Account(), signal(Intent.MODIFY, terms=terms)).refusals == (Rule.PRICE_OFF_TICK,)


@pytest.mark.parametrize(
    ("side", "stop", "target", "fits"),
    [
        (BUY, "999.95", "1000.05", True),
        (BUY, "1000", "1000.05", False),
        (BUY, "999.95", "1000", False),
        (BUY, None, "1000.05", True),
        (BUY, "1000.05", None, False),
        (SELL, "1000.05", "999.95", True),
        (SELL, "1000", "999.95", False),
        (SELL, "1000.05", "1000", False),
        (SELL, "999.95", None, False),
    ],
)
def test_stop_and_target_lie_on_either_side_of_the_price(
    side: Side, stop: str | None, target: str | None, fits: bool
) -> None:
    verdict = judged(
        Account(), signal(ENTRY, side, terms=Terms.model_validate({"stop": stop, "target": target})), SHORTS
    )

    assert verdict.refusals == (() if fits else (Rule.BRACKET_INVALID,))


def test_a_bracket_is_held_against_the_limit_and_not_the_quote() -> None:
    terms = Terms(order_type=OrderType.LIMIT, price=Decimal(900), stop=Decimal(890), target=Decimal(950))

    assert judged(Account(), signal(terms=terms)).passed


@pytest.mark.parametrize("intent", [EXIT, TARGET])
def test_only_an_entry_has_a_bracket(intent: Intent) -> None:
    asked = signal(intent, SELL if intent is EXIT else BUY, terms=Terms(stop=Decimal(1100), target=Decimal(900)))

    assert Rule.BRACKET_INVALID in judged(holding(5), asked).refusals


@pytest.mark.parametrize("intent", [Intent.CANCEL, Intent.MODIFY])
def test_what_changes_working_orders_becomes_no_order(intent: Intent) -> None:
    terms = Terms(order_type=OrderType.LIMIT, price=Decimal(990))

    verdict = judged(holding(0, "0"), signal(intent, terms=terms))

    assert (verdict.passed, verdict.parts) == (True, ())


# Size


@pytest.mark.parametrize(("price", "quantity"), [("999", 9), ("1000", 9), ("1111", 9), ("1112", 6)])
def test_an_entry_is_in_whole_lots(price: str, quantity: int) -> None:
    verdict = judged(Account(), signal(price=price), instrument=msgspec.structs.replace(SHARE, lot=3))

    assert verdict.parts == (Part(Role.ENTRY, BUY, quantity),)


@pytest.mark.parametrize(("size", "quantity"), [("0.5", 5), ("1.99", 19), ("2", 20)])
def test_the_size_of_a_signal_multiplies_the_share_of_capital(size: str, quantity: int) -> None:
    assert judged(Account(), signal(size=size)).parts == (Part(Role.ENTRY, BUY, quantity),)


@pytest.mark.parametrize(("price", "refused"), [("10000", False), ("10000.05", True)])
def test_the_share_of_capital_must_buy_a_lot(price: str, refused: bool) -> None:
    verdict = judged(Account(), signal(price=price))

    assert verdict.refusals == ((Rule.SIZE_BELOW_LOT,) if refused else ())
    assert found(verdict, Rule.SIZE_BELOW_LOT) == ("0" if refused else "1", f"1 at {price}")


# Limits


@pytest.mark.parametrize(("held", "refused"), [(10, False), (11, True)])
def test_held_and_ordered_shares_stay_within_the_position_limit(held: int, refused: bool) -> None:
    assert judged(holding(held), signal()).refusals == ((Rule.POSITION_LIMIT,) if refused else ())


@pytest.mark.parametrize(("held", "refused"), [(-10, False), (-11, True)])
def test_the_position_limit_holds_for_short_positions_too(held: int, refused: bool) -> None:
    verdict = judged(holding(held), signal(ENTRY, SELL), SHORTS)

    assert verdict.refusals == ((Rule.POSITION_LIMIT,) if refused else ())


def test_shares_in_flight_count_against_the_position_limit() -> None:
    account = flying(holding(10), BUY, 1)

    assert judged(account, signal()).refusals == (Rule.POSITION_LIMIT,)


def test_shares_that_another_strategy_has_in_flight_do_not_count() -> None:
    account = flying(holding(10), BUY, 10)
    theirs = {name: order.model_copy(update={"strategy_id": "Other"}) for name, order in account.reservations.items()}

    assert judged(account.model_copy(update={"reservations": theirs}), signal()).passed


@pytest.mark.parametrize(("cash", "refused"), [("10100", False), ("10099.99", True)])
def test_an_entry_needs_its_cash_and_one_percent_more(cash: str, refused: bool) -> None:
    assert judged(holding(0, cash), signal()).refusals == ((Rule.CASH_INSUFFICIENT,) if refused else ())


def test_cash_in_flight_is_not_free() -> None:
    account = flying(holding(0, "20099.99"), BUY, 10)

    verdict = judged(account, signal())

    assert verdict.refusals == (Rule.CASH_INSUFFICIENT,)
    assert found(verdict, Rule.CASH_INSUFFICIENT) == ("10100.00", "10099.99")


def test_cash_that_is_tied_up_is_not_free() -> None:
    account = holding(0, "30000", blocked={"NSE:TCS": Decimal("19900.01")})

    assert judged(account, signal()).refusals == (Rule.CASH_INSUFFICIENT,)


@pytest.mark.parametrize(
    ("instrument", "side", "price", "hold"),
    [
        (FUTURE, BUY, "1000", "200"),
        (FUTURE, SELL, "1000", "200"),
        (CALL, BUY, "100", "100"),
        (CALL, SELL, "100", "3000"),
        (SHARE, SELL, "1000", "1000"),
    ],
)
@pytest.mark.parametrize("short_of", ["0", "0.01"])
def test_what_is_opened_takes_its_price_or_its_margin(
    instrument: Instrument, side: Side, price: str, hold: str, short_of: str
) -> None:
    allowance = replace(SHORTS, totals=at_most(1000))
    asked = signal(ENTRY, side, price=price, instrument=instrument.id)
    quantity = 10_000 // int(price)
    cash = Decimal(hold) * quantity * Decimal("1.01") - Decimal(short_of)

    verdict = judged(holding(0, str(cash)), asked, allowance, instrument)

    assert verdict.hold == Decimal(hold)
    assert verdict.refusals == (() if short_of == "0" else (Rule.CASH_INSUFFICIENT,))


# Short positions and products


@pytest.mark.parametrize(
    ("allowance", "instrument", "passed"),
    [
        (ALLOWED, SHARE, False),
        (SHORTS, SHARE, True),
        (replace(SHORTS, product=Product.CNC), SHARE, False),
        (replace(SHORTS, product=Product.NRML), SHARE, False),
        (replace(SHORTS, product=Product.CNC), FUTURE, True),
        (replace(ALLOWED, product=Product.NRML), FUTURE, False),
    ],
)
def test_short_positions_need_leave_and_are_none_of_delivery(
    allowance: Allowance, instrument: Instrument, passed: bool
) -> None:
    verdict = judged(Account(), signal(ENTRY, SELL, instrument=instrument.id), allowance, instrument)

    assert verdict.refusals == (() if passed else (Rule.SHORT_NOT_ALLOWED,))


def test_another_product_than_that_of_the_positions_is_refused() -> None:
    account = holding(5, product=Product.MIS)

    assert judged(account, signal()).passed
    assert judged(account, signal(), DELIVERY).refusals == (Rule.PRODUCT_CONFLICT,)
    assert judged(account, signal(EXIT), DELIVERY).passed


@pytest.mark.parametrize(("held", "side"), [(5, SELL), (-5, BUY)])
def test_an_entry_against_the_position_is_refused(held: int, side: Side) -> None:
    assert judged(holding(held), signal(ENTRY, side), SHORTS).refusals == (Rule.POSITION_OPPOSITE,)


# Exits


def test_an_exit_closes_what_is_held_and_not_already_being_closed() -> None:
    assert judged(flying(holding(10), SELL, 4, closes=True), signal(EXIT)).parts == (Part(Role.EXIT, SELL, 6),)
    assert judged(flying(holding(-10), BUY, 4, closes=True), signal(EXIT, BUY)).parts == (Part(Role.EXIT, BUY, 6),)


@pytest.mark.parametrize(("held", "side"), [(0, SELL), (10, BUY), (-10, SELL)])
def test_an_exit_of_nothing_is_refused(held: int, side: Side) -> None:
    assert judged(holding(held), signal(EXIT, side)).refusals == (Rule.NOTHING_TO_EXIT,)


def test_an_exit_of_what_is_already_being_closed_is_refused() -> None:
    account = flying(holding(10), SELL, 10, closes=True)

    assert judged(account, signal(EXIT)).refusals == (Rule.NOTHING_TO_EXIT,)


@pytest.mark.parametrize(
    ("bought", "btst", "passed"),
    [
        ("2021-06-08", False, True),
        ("2021-06-07", False, False),
        ("2021-06-07", True, True),
        ("2021-06-04", False, True),
    ],
)
def test_delivered_shares_are_sold_on_the_day_or_once_they_are_settled(bought: str, btst: bool, passed: bool) -> None:
    account = holding(10, holdings={INFY: Holdings(pending={bought: 10})})

    verdict = judged(account, signal(EXIT), replace(DELIVERY, btst=btst))

    assert verdict.refusals == (() if passed else (Rule.NOT_SETTLED,))
    assert found(verdict, Rule.NOT_SETTLED) == ("10", "10" if passed else "0")


def test_settled_shares_that_are_already_being_sold_are_not_sold_twice() -> None:
    account = flying(holding(10, holdings={INFY: Holdings(settled=6, pending={"2021-06-07": 4})}), SELL, 6, closes=True)

    verdict = judged(account, signal(EXIT), DELIVERY)

    assert verdict.refusals == (Rule.NOT_SETTLED,)
    assert found(verdict, Rule.NOT_SETTLED) == ("4", "0")


def test_whose_day_is_not_known_sells_no_delivered_shares() -> None:
    account = holding(10, holdings={INFY: Holdings(settled=10)})

    verdict = judged(account, signal(EXIT), Allowance.nothing(Mode.ACTIVE))

    assert set(verdict.refusals) == {Rule.STRATEGY_NOT_LISTED, Rule.LIVE_NOT_ENABLED, Rule.NOT_SETTLED}


# Targets


def entry(side: Side, quantity: int) -> Part:
    return Part(Role.ENTRY, side, quantity)


def leave(side: Side, quantity: int) -> Part:
    return Part(Role.EXIT, side, quantity)


@pytest.mark.parametrize(
    ("held", "side", "size", "parts"),
    [
        (0, BUY, "1", (entry(BUY, 10),)),
        (4, BUY, "1", (entry(BUY, 6),)),
        (15, BUY, "1", (leave(SELL, 5),)),
        (10, BUY, "0", (leave(SELL, 10),)),
        (-10, SELL, "0", (leave(BUY, 10),)),
        (0, SELL, "1", (entry(SELL, 10),)),
        (-15, SELL, "1", (leave(BUY, 5),)),
        (5, SELL, "1", (leave(SELL, 5), entry(SELL, 10))),
        (-5, BUY, "1", (leave(BUY, 5), entry(BUY, 10))),
    ],
)
def test_a_target_trades_the_difference_and_closes_before_it_opens(
    held: int, side: Side, size: str, parts: tuple[Part, ...]
) -> None:
    verdict = judged(holding(held), signal(TARGET, side, size=size), SHORTS)

    assert (verdict.parts, verdict.refusals) == (parts, ())


@pytest.mark.parametrize(("held", "bought", "sold"), [(10, 0, 0), (4, 6, 0), (14, 0, 4), (10, 5, 5)])
def test_a_target_that_is_held_and_in_flight_is_reached(held: int, bought: int, sold: int) -> None:
    account = holding(held)
    if bought:
        account = flying(account, BUY, bought)
    if sold:
        account = flying(account, SELL, sold, closes=True)

    verdict = judged(account, signal(TARGET, BUY))

    assert Rule.TARGET_REACHED in verdict.refusals
    assert verdict.parts == ()


def test_a_target_counts_what_is_in_flight() -> None:
    rising = judged(flying(holding(2), BUY, 3), signal(TARGET, BUY))
    turning = judged(flying(holding(10), SELL, 4, closes=True), signal(TARGET, SELL), SHORTS)

    assert rising.parts == (entry(BUY, 5),)
    assert turning.parts == (leave(SELL, 6), entry(SELL, 10))


def test_what_is_in_flight_beyond_a_target_cannot_be_closed_before_it_is_filled() -> None:
    verdict = judged(flying(holding(0), BUY, 15), signal(TARGET, BUY))

    assert verdict.refusals == (Rule.NOTHING_TO_EXIT,)


def test_a_target_closes_what_it_can_of_what_is_too_much() -> None:
    verdict = judged(flying(holding(4), BUY, 15), signal(TARGET, BUY))

    assert verdict.parts == (leave(SELL, 4),)


@pytest.mark.parametrize(("most", "refused"), [(10, False), (9, True)])
@pytest.mark.parametrize("closing", [0, 5])
def test_a_target_that_turns_a_position_stays_within_the_limit(most: int, refused: bool, closing: int) -> None:
    account = flying(holding(-5), BUY, closing, closes=True) if closing else holding(-5)

    verdict = judged(account, signal(TARGET, BUY), replace(SHORTS, totals=at_most(most)))

    assert verdict.refusals == ((Rule.POSITION_LIMIT,) if refused else ())
    assert found(verdict, Rule.POSITION_LIMIT) == ("10", str(most))


def test_a_target_opens_no_short_position_without_leave_and_then_closes_nothing_either() -> None:
    verdict = judged(holding(5), signal(TARGET, SELL))

    assert (verdict.parts, verdict.refusals) == ((), (Rule.SHORT_NOT_ALLOWED,))


def test_a_target_sells_no_shares_that_have_not_been_delivered() -> None:
    account = holding(15, holdings={INFY: Holdings(settled=4, pending={"2021-06-07": 11})}, product=Product.CNC)

    verdict = judged(account, signal(TARGET, BUY), DELIVERY)

    assert verdict.refusals == (Rule.NOT_SETTLED,)
    assert found(verdict, Rule.NOT_SETTLED) == ("5", "4")


def test_a_target_that_opens_needs_its_cash() -> None:
    verdict = judged(holding(4, "6059.99"), signal(TARGET, BUY))

    assert verdict.refusals == (Rule.CASH_INSUFFICIENT,)
    assert found(verdict, Rule.CASH_INSUFFICIENT) == ("6060.00", "6059.99")
