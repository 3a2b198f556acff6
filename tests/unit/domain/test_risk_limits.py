"""The rules that limits and modes bring: each at its boundary, at each level, and what `shrink` leaves."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from panda_streams.domain.orders import Role
from panda_streams.domain.risk.account import Account, Book, Reservation, Scope
from panda_streams.domain.risk.limits import ACCOUNT, OrderLimits, TotalLimits, instrument_level, strategy_level
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance, Part, Rule, Verdict, judge
from panda_streams.domain.risk.watch import Day, allowed, entry_key
from panda_streams.domain.signals import Intent, OrderType, Side, Signal, Terms
from tests.unit.builders import INFY, SHARE, T0, a_ref, a_signal

BUY, SELL = Side.BUY, Side.SELL
ENTRY, EXIT, TARGET = Intent.ENTRY, Intent.EXIT, Intent.TARGET
TCS = "NSE:TCS"
ALLOWED = Allowance(
    listed=True,
    consented=True,
    mode=Mode.ACTIVE,
    capital=Decimal(100_000),
    share_of_capital=Decimal("0.1"),
    shorts=True,
    entries=(T0, T0 + 1000),
    now=T0,
)
"""At a price of 1000 an entry is 10 shares."""
SCOPES = {
    "account": Scope(ACCOUNT),
    "strategy": Scope(strategy_level("Momentum"), strategy_id="Momentum"),
    "instrument": Scope(instrument_level(INFY), instrument=INFY),
}


def ordering(**limits: Any) -> Allowance:
    return replace(ALLOWED, order=OrderLimits(**limits))


def totalling(level: str, *, shrink: bool = False, **limits: Any) -> Allowance:
    order = OrderLimits(shrink=shrink)
    return replace(ALLOWED, order=order, totals=((SCOPES[level], TotalLimits(**limits)),))


def signal(intent: Intent = ENTRY, side: Side | None = None, **fields: Any) -> Signal:
    return a_signal(intent, side=side, **{"price": "1000", **fields})


def judged(
    allowance: Allowance,
    asked: Signal | None = None,
    account: Account | None = None,
    day: Day | None = None,
    **share: Any,
) -> Verdict:
    instrument = msgspec.structs.replace(SHARE, **share)
    return judge(account or Account(), day or Day(), asked or signal(), allowance, instrument)


def holding(**books: dict[str, int]) -> Account:
    """Books by strategy: shares by instrument, each at a last price of 1000."""
    return Account(
        books={name: Book(cash=Decimal(100_000), positions=positions) for name, positions in books.items()},
        prices=dict.fromkeys((INFY, TCS), Decimal(1000)),
    )


def flying(account: Account, *, strategy_id: str = "Momentum", instrument: str = INFY, side: Side = BUY) -> Account:
    """The account with one more order of 10 shares in flight."""
    order = Reservation(
        strategy_id=strategy_id,
        instrument=instrument,
        side=side,
        quantity=10,
        hold=Decimal(0),
        closes=False,
        price=Decimal(1000),
    )
    return account.model_copy(
        update={"reservations": {**account.reservations, f"order-{len(account.reservations)}": order}}
    )


def found(verdict: Verdict, rule: Rule) -> tuple[str | None, str | None]:
    finding = next(finding for finding in verdict.findings if finding.rule is rule)
    return finding.value, finding.limit


# Modes


@pytest.mark.parametrize(
    ("allowance", "rule"),
    [
        (replace(ALLOWED, mode=Mode.REDUCING), Rule.ARM_REDUCING),
        (replace(ALLOWED, paused=True), Rule.STRATEGY_PAUSED),
    ],
)
def test_what_may_only_reduce_opens_nothing_and_closes(allowance: Allowance, rule: Rule) -> None:
    account = holding(Momentum={INFY: 5})

    assert judged(allowance, account=account).refusals == (rule,)
    assert judged(allowance, signal(TARGET, BUY), account).refusals == (rule,)
    assert judged(allowance, signal(EXIT), account).parts == (Part(Role.EXIT, SELL, 5),)
    assert judged(allowance, signal(TARGET, SELL), account).parts == (Part(Role.EXIT, SELL, 5),)
    assert judged(allowance, signal(Intent.CANCEL), account).passed


@pytest.mark.parametrize("mode", [Mode.HALTED, Mode.HALTED_HARD])
@pytest.mark.parametrize("intent", Intent)
def test_what_is_halted_cancels_and_does_nothing_else(mode: Mode, intent: Intent) -> None:
    verdict = judged(replace(ALLOWED, mode=mode, mode_reason="lunch (me)"), signal(intent), holding(Momentum={INFY: 5}))

    assert verdict.refusals == (() if intent is Intent.CANCEL else (Rule.ARM_HALTED,))
    assert found(verdict, Rule.ARM_HALTED)[0] == "lunch (me)"


# Time


@pytest.mark.parametrize(("age", "refused"), [(5000, False), (5001, True), (-1, False)])
def test_an_entry_is_judged_by_when_it_was_decided(age: int, refused: bool) -> None:
    allowance = replace(ordering(max_signal_age_s=Decimal(5)), now=T0 + age)

    assert judged(allowance).refusals == ((Rule.SIGNAL_STALE,) if refused else ())
    assert judged(allowance, signal(EXIT), holding(Momentum={INFY: 5})).passed


@pytest.mark.parametrize(("ahead", "refused"), [(2000, False), (2001, True)])
def test_a_quote_may_be_a_little_younger_than_its_cause(ahead: int, refused: bool) -> None:
    asked = signal()
    assert asked.quote is not None
    younger = asked.quote.model_copy(update={"tick": a_ref(time=T0 + ahead)})

    verdict = judged(ordering(max_clock_skew_s=Decimal(2)), asked.model_copy(update={"quote": younger}))

    assert verdict.refusals == ((Rule.CLOCK_SKEW,) if refused else ())


@pytest.mark.parametrize(("since", "refused"), [(4999, True), (5000, False)])
def test_the_same_entry_is_a_duplicate_within_the_window(since: int, refused: bool) -> None:
    day = Day(entered={entry_key("Momentum", INFY, BUY): T0 - since})

    verdict = judged(ordering(duplicate_window_s=Decimal(5)), day=day)

    assert verdict.refusals == ((Rule.DUPLICATE_SIGNAL,) if refused else ())
    assert found(verdict, Rule.DUPLICATE_SIGNAL) == (str(since), "5000")


@pytest.mark.parametrize(
    ("key", "intent"),
    [
        (entry_key("Momentum", INFY, SELL), ENTRY),
        (entry_key("Momentum", TCS, BUY), ENTRY),
        (entry_key("Other", INFY, BUY), ENTRY),
        (entry_key("Momentum", INFY, BUY), TARGET),
    ],
)
def test_another_entry_is_no_duplicate(key: str, intent: Intent) -> None:
    verdict = judged(ordering(duplicate_window_s=Decimal(5)), signal(intent, BUY), day=Day(entered={key: T0}))

    assert verdict.passed


# Prices


@pytest.mark.parametrize(
    ("order_type", "refused"), [(OrderType.MARKET, True), (OrderType.SL_M, True), (OrderType.LIMIT, False)]
)
def test_orders_at_the_market_need_a_protection_where_the_broker_wants_one(
    order_type: OrderType, refused: bool
) -> None:
    price = {"LIMIT": {"price": "1000"}, "SL-M": {"trigger": "1000"}, "MARKET": {}}[order_type]
    terms = Terms.model_validate({"order_type": order_type, **price})

    verdict = judged(replace(ALLOWED, protected=False), signal(terms=terms))

    assert verdict.refusals == ((Rule.MARKET_PROTECTION_MISSING,) if refused else ())


def at(price: str, intent: Intent = ENTRY, quote: str | None = "1000") -> Signal:
    terms = Terms(order_type=OrderType.LIMIT, price=Decimal(price))
    return signal(intent, SELL if intent is EXIT else BUY, terms=terms, price=quote)


@pytest.mark.parametrize("intent", [ENTRY, Intent.MODIFY, TARGET])
@pytest.mark.parametrize(("price", "refused"), [("950", False), ("949.95", True), ("1050", False), ("1050.05", True)])
def test_a_limit_lies_within_the_collar_around_the_quote(intent: Intent, price: str, refused: bool) -> None:
    verdict = judged(ordering(price_collar=Decimal("0.05")), at(price, intent))

    assert verdict.refusals == ((Rule.PRICE_COLLAR,) if refused else ())


def test_without_a_quote_no_collar_can_be_judged_and_an_exit_needs_none() -> None:
    collared = ordering(price_collar=Decimal("0.05"))

    assert judged(collared, at("1000", Intent.MODIFY, None)).refusals == (Rule.PRICE_COLLAR,)
    assert judged(collared, at("500", EXIT), holding(Momentum={INFY: 5})).passed


@pytest.mark.parametrize(("price", "refused"), [("900", False), ("899.95", True), ("1100", False), ("1100.05", True)])
@pytest.mark.parametrize("intent", [ENTRY, EXIT, Intent.MODIFY])
def test_a_limit_lies_within_the_circuit_limits_of_the_day(price: str, refused: bool, intent: Intent) -> None:
    account = holding(Momentum={INFY: 5})

    verdict = judged(ALLOWED, at(price, intent), account, lower_circuit=Decimal(900), upper_circuit=Decimal(1100))

    assert verdict.refusals == ((Rule.PRICE_BAND,) if refused else ())
    assert found(verdict, Rule.PRICE_BAND) == (price, "900 to 1100")


# One order


@pytest.mark.parametrize(
    ("limits", "rule", "seen"),
    [
        ({"max_order_quantity": 10}, None, None),
        ({"max_order_quantity": 9}, Rule.QUANTITY_TOO_LARGE, ("10", "9")),
        ({"min_order_quantity": 10}, None, None),
        ({"min_order_quantity": 11}, Rule.QUANTITY_TOO_SMALL, ("10", "11")),
        ({"max_order_notional": Decimal(10_000)}, None, None),
        ({"max_order_notional": Decimal("9999.99")}, Rule.NOTIONAL_TOO_LARGE, ("10000", "9999.99")),
    ],
)
def test_one_order_is_neither_too_large_nor_too_small(
    limits: dict[str, Any], rule: Rule | None, seen: tuple[str, str] | None
) -> None:
    verdict = judged(ordering(**limits))

    assert verdict.refusals == ((rule,) if rule else ())
    assert rule is None or found(verdict, rule) == seen


@pytest.mark.parametrize("limits", [{"max_order_quantity": 1}, {"max_order_notional": Decimal(1)}])
def test_an_exit_is_as_large_as_the_position(limits: dict[str, Any]) -> None:
    verdict = judged(ordering(**limits), signal(EXIT), holding(Momentum={INFY: 50}))

    assert verdict.parts == (Part(Role.EXIT, SELL, 50),)


@pytest.mark.parametrize(("most", "refused"), [(3, False), (2, True)])
def test_an_order_is_cut_into_a_limited_number_of_slices(most: int, refused: bool) -> None:
    verdict = judged(ordering(max_slices=most), freeze_quantity=4)

    assert verdict.refusals == ((Rule.TOO_MANY_SLICES,) if refused else ())
    assert found(verdict, Rule.TOO_MANY_SLICES) == ("3", str(most))


# What leaves room for less


@pytest.mark.parametrize(
    ("limits", "quantity"),
    [
        ({"max_order_quantity": 7}, 6),
        ({"max_order_notional": Decimal("8999.99")}, 6),
        ({"max_order_quantity": 9}, 9),
    ],
)
def test_an_order_shrinks_to_what_the_limits_leave_room_for_in_whole_lots(
    limits: dict[str, Any], quantity: int
) -> None:
    verdict = judged(ordering(shrink=True, **limits), lot=3)

    assert verdict.parts == (Part(Role.ENTRY, BUY, quantity),)


def test_an_order_shrinks_to_the_cash_that_is_free() -> None:
    account = Account(books={"Momentum": Book(cash=Decimal("7069.99"))})

    assert judged(ordering(shrink=True), account=account).parts == (Part(Role.ENTRY, BUY, 6),)


def test_an_order_that_shrinks_to_nothing_is_refused() -> None:
    assert judged(ordering(shrink=True, max_order_quantity=2), lot=3).refusals == (Rule.SIZE_BELOW_LOT,)


def test_an_order_shrinks_below_no_least_quantity() -> None:
    verdict = judged(ordering(shrink=True, max_order_quantity=5, min_order_quantity=6))

    assert verdict.refusals == (Rule.QUANTITY_TOO_SMALL,)


# What adds up


@pytest.mark.parametrize("level", SCOPES)
@pytest.mark.parametrize(
    ("limit", "most", "rule"),
    [
        ("max_position", 30, Rule.POSITION_LIMIT),
        ("max_gross_exposure", 30_000, Rule.GROSS_EXPOSURE),
        ("max_net_exposure", 30_000, Rule.NET_EXPOSURE),
    ],
)
def test_what_is_held_in_flight_and_ordered_stays_within_each_level(
    level: str, limit: str, most: int, rule: Rule
) -> None:
    account = flying(holding(Momentum={INFY: 10}))

    assert judged(totalling(level, **{limit: most}), account=account).passed
    assert judged(totalling(level, **{limit: most - 1}), account=account).refusals == (rule,)
    shrunk = judged(totalling(level, shrink=True, **{limit: most - 1}), account=account)
    assert shrunk.parts == (Part(Role.ENTRY, BUY, 9),)


@pytest.mark.parametrize(
    ("level", "passed"),
    [("account", False), ("strategy", True), ("instrument", False)],
)
@pytest.mark.parametrize(
    "limits", [{"max_position": 19}, {"max_gross_exposure": Decimal(19_999)}, {"max_net_exposure": Decimal(19_999)}]
)
def test_what_other_strategies_hold_counts_for_the_account_and_the_instrument(
    level: str, passed: bool, limits: dict[str, Any]
) -> None:
    held, ordered = holding(Other={INFY: 10}), flying(holding(), strategy_id="Other")

    for account in (held, ordered):
        assert judged(totalling(level, **limits), account=account).passed is passed


@pytest.mark.parametrize(("level", "passed"), [("account", False), ("strategy", False), ("instrument", True)])
def test_exposure_in_other_instruments_does_not_count_for_the_instrument(level: str, passed: bool) -> None:
    account = holding(Momentum={TCS: 10})

    assert judged(totalling(level, max_gross_exposure=Decimal(19_999)), account=account).passed is passed


def test_long_and_short_add_up_in_gross_exposure_and_cancel_out_in_net_exposure() -> None:
    account = holding(Momentum={TCS: -10})

    assert judged(totalling("account", max_gross_exposure=Decimal(19_999)), account=account).refusals == (
        Rule.GROSS_EXPOSURE,
    )
    assert judged(totalling("account", max_net_exposure=Decimal(0)), account=account).passed
    assert judged(totalling("account", max_net_exposure=Decimal(19_999)), signal(ENTRY, SELL), account).refusals == (
        Rule.NET_EXPOSURE,
    )


@pytest.mark.parametrize(("most", "passed"), [(10_000, True), (9_999, False)])
def test_what_a_target_closes_first_is_no_exposure(most: int, passed: bool) -> None:
    account = holding(Momentum={INFY: -5})

    verdict = judged(totalling("account", max_gross_exposure=Decimal(most)), signal(TARGET, BUY), account)

    assert verdict.passed is passed


@pytest.mark.parametrize("limits", [{"max_position": 0}, {"max_gross_exposure": Decimal(0)}, {"max_open_orders": 0}])
def test_an_exit_is_kept_back_by_no_total(limits: dict[str, Any]) -> None:
    assert judged(totalling("account", **limits), signal(EXIT), holding(Momentum={INFY: 5})).passed


# Counts


def after(*times: int, intent: Intent = ENTRY, orders: int = 1) -> Day:
    """A day on which signals of these times were allowed."""
    day = Day()
    for time in times:
        day = allowed(day, a_signal(intent, cause=a_ref(time=time)), orders, None)
    return day


@pytest.mark.parametrize("level", SCOPES)
@pytest.mark.parametrize(
    ("limit", "rule", "day", "refused"),
    [
        ("max_orders_per_second", Rule.ORDER_RATE, after(T0 - 999, T0), True),
        ("max_orders_per_second", Rule.ORDER_RATE, after(T0 - 1000, T0), False),
        ("max_orders_per_minute", Rule.ORDER_RATE, after(T0 - 59_999, T0), True),
        ("max_orders_per_minute", Rule.ORDER_RATE, after(T0 - 60_000, T0), False),
        ("max_orders_per_day", Rule.ORDERS_PER_DAY, after(T0 - 3_600_000, T0), True),
        ("max_orders_per_day", Rule.ORDERS_PER_DAY, after(T0 - 3_600_000), False),
    ],
)
def test_no_more_orders_than_the_limit_in_a_time(level: str, limit: str, rule: Rule, day: Day, refused: bool) -> None:
    verdict = judged(totalling(level, **{limit: 2}), day=day)

    assert verdict.refusals == ((rule,) if refused else ())


def test_each_slice_counts_as_an_order() -> None:
    assert judged(totalling("account", max_orders_per_second=3), freeze_quantity=4).passed
    assert judged(totalling("account", max_orders_per_second=2), freeze_quantity=4).refusals == (Rule.ORDER_RATE,)
    assert judged(totalling("account", max_orders_per_second=3), day=after(T0, orders=3)).refusals == (Rule.ORDER_RATE,)


def test_orders_of_another_level_do_not_count() -> None:
    day = allowed(Day(), a_signal(strategy_id="Other", instrument=TCS), 5, None)

    assert judged(totalling("account", max_orders_per_day=5), day=day).refusals == (Rule.ORDERS_PER_DAY,)
    assert judged(totalling("strategy", max_orders_per_day=5), day=day).passed
    assert judged(totalling("instrument", max_orders_per_day=5), day=day).passed


@pytest.mark.parametrize("intent", [Intent.CANCEL, Intent.MODIFY])
@pytest.mark.parametrize(("most", "refused"), [(3, False), (2, True)])
def test_cancellations_and_changes_of_a_day_are_limited(intent: Intent, most: int, refused: bool) -> None:
    day = after(T0 - 3_600_000, T0, intent=Intent.CANCEL)

    verdict = judged(totalling("strategy", max_cancels_per_day=most), signal(intent), day=day)

    assert verdict.refusals == ((Rule.CANCELS_PER_DAY,) if refused else ())


@pytest.mark.parametrize(("most", "refused"), [(3, False), (2, True)])
def test_orders_that_work_at_the_same_time_are_limited(most: int, refused: bool) -> None:
    account = flying(flying(holding()), instrument=TCS)

    verdict = judged(totalling("account", max_open_orders=most), account=account)

    assert verdict.refusals == ((Rule.OPEN_ORDERS,) if refused else ())
    assert judged(totalling("instrument", max_open_orders=2), account=account).passed
