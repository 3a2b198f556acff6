"""What risk watches over a trading day: counts begin anew with a date, losses stop the arm at their limits."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.risk.account import Account, Book
from panda_streams.domain.risk.limits import ACCOUNT, TotalLimits, strategy_level
from panda_streams.domain.risk.modes import Latch, Mode, StopReason
from panda_streams.domain.risk.watch import Day, allowed, breaches, counted, entry_key, funded, rolled
from panda_streams.domain.signals import Intent, Side
from tests.unit.builders import INFY, T0, a_ref, a_signal

TUESDAY, WEDNESDAY = date(2021, 6, 8), date(2021, 6, 9)
MOMENTUM, OTHER = strategy_level("Momentum"), strategy_level("Other")
CAPITALS = {"Momentum": Decimal(1000), "Other": Decimal(1000)}


def worth(momentum: int, other: int = 1000) -> Account:
    """Two books, one of which holds a share beside its cash."""
    return Account(
        books={
            "Momentum": Book(cash=Decimal(momentum - 400), positions={INFY: 1}),
            "Other": Book(cash=Decimal(other)),
        },
        prices={INFY: Decimal(400)},
    )


def watched(day: Day, account: Account, level: str = ACCOUNT, **limits: Any) -> tuple[Day, list[Latch]]:
    return breaches(day, account, {level: TotalLimits(**limits)}, CAPITALS, T0)


def begun(account: Account) -> Day:
    return rolled(Day(), account, TUESDAY)


def test_a_date_begins_with_what_the_books_are_worth_and_without_counts() -> None:
    day = begun(worth(1000)).model_copy(update={"orders": {ACCOUNT: 3}, "cancels": {ACCOUNT: 2}, "peak": {ACCOUNT: 7}})

    day = rolled(day, worth(1100), WEDNESDAY)

    assert (day.date, day.start) == ("2021-06-09", {"Momentum": 1100, "Other": 1000})
    assert (day.orders, day.cancels, day.rejections, day.peak) == ({}, {}, {}, {ACCOUNT: 7})


@pytest.mark.parametrize(
    ("kind", "amount", "start", "peak", "account_peak"),
    [
        (BookingKind.DEPOSIT, 300, 1300, 1400, 2500),
        (BookingKind.WITHDRAWAL, -300, 700, 800, 1900),
        (BookingKind.RESET, 500, 500, 500, 1800),
    ],
)
def test_money_that_is_moved_moves_what_losses_are_counted_from(
    kind: BookingKind, amount: int, start: int, peak: int, account_peak: int
) -> None:
    day = Day(peak={ACCOUNT: Decimal(2200), MOMENTUM: Decimal(1100), OTHER: Decimal(1100)})
    booking = Booking(booking_id="b", strategy_id="Momentum", kind=kind, time=T0, amount=Decimal(amount))

    day = funded(day, booking, Book(cash=Decimal(900)), CAPITALS["Momentum"])

    assert day.start == {"Momentum": start}
    assert day.peak == {ACCOUNT: account_peak, MOMENTUM: peak, OTHER: 1100}


def test_an_event_of_an_earlier_date_begins_none() -> None:
    day = rolled(Day(), worth(1000), WEDNESDAY)

    assert rolled(day, worth(900), TUESDAY) is day


def test_orders_of_the_last_minute_are_remembered_and_no_others() -> None:
    day = Day()
    for time in (T0, T0 + 1, T0 + 60_000):
        day = allowed(day, a_signal(cause=a_ref(time=time)), 1, None)

    assert day.recent[ACCOUNT] == (T0 + 1, T0 + 60_000)
    assert day.orders == {ACCOUNT: 3, MOMENTUM: 3, f"instrument:{INFY}": 3}


def test_entries_are_remembered_as_long_as_they_could_have_a_duplicate() -> None:
    first = allowed(Day(), a_signal(instrument="NSE:TCS", cause=a_ref(time=T0)), 1, 5000)
    later = allowed(first, a_signal(cause=a_ref(time=T0 + 5000)), 1, 5000)
    exited = allowed(later, a_signal(Intent.EXIT, cause=a_ref(time=T0 + 5001)), 1, 5000)

    assert later.entered == exited.entered == {entry_key("Momentum", INFY, Side.BUY): T0 + 5000}


def test_a_change_of_orders_counts_as_such_and_not_as_an_order() -> None:
    day = allowed(Day(), a_signal(Intent.CANCEL), 0, None)

    assert (day.orders, day.cancels[ACCOUNT]) == ({}, 1)


@pytest.mark.parametrize(("lost", "stopped"), [(100, False), (101, True)])
@pytest.mark.parametrize("level", [ACCOUNT, MOMENTUM])
def test_a_loss_since_the_day_began_stops_its_level_above_the_limit(lost: int, stopped: bool, level: str) -> None:
    day = begun(worth(1500))

    _, latches = watched(day, worth(1500 - lost), level, max_daily_loss=Decimal(100))

    assert [(latch.reason, latch.level, latch.mode) for latch in latches] == (
        [(StopReason.DAILY_LOSS, level, Mode.HALTED)] if stopped else []
    )
    assert not stopped or latches[0].detail == "101 is more than 100"


def test_a_gain_of_one_strategy_pays_for_the_loss_of_another_at_the_account_alone() -> None:
    day, after = begun(worth(1000, 1000)), worth(800, 1200)

    assert watched(day, after, max_daily_loss=Decimal(1))[1] == []
    assert len(watched(day, after, MOMENTUM, max_daily_loss=Decimal(1))[1]) == 1
    assert watched(day, after, OTHER, max_daily_loss=Decimal(1))[1] == []


def test_a_book_that_was_opened_since_the_day_began_is_measured_by_its_capital() -> None:
    day = rolled(Day(), Account(), TUESDAY)

    _, latches = watched(day, worth(899), MOMENTUM, max_daily_loss=Decimal(100))

    assert [latch.detail for latch in latches] == ["101 is more than 100"]


@pytest.mark.parametrize(("equity", "stopped"), [(1150, False), (1149, True)])
def test_drawdown_is_measured_from_the_highest_equity_so_far_over_all_days(equity: int, stopped: bool) -> None:
    day, _ = watched(begun(worth(1000)), worth(1250), MOMENTUM, max_drawdown=Decimal(100))
    day = rolled(day, worth(1200), WEDNESDAY)

    day, latches = watched(day, worth(equity), MOMENTUM, max_drawdown=Decimal(100))

    assert day.peak == {MOMENTUM: 1250}
    assert [latch.reason for latch in latches] == ([StopReason.DRAWDOWN] if stopped else [])


@pytest.mark.parametrize(("refused", "stopped"), [(2, False), (3, True)])
def test_refused_orders_stop_the_arm_above_the_limit(refused: int, stopped: bool) -> None:
    day = begun(worth(1000))
    for _ in range(refused):
        day = day.model_copy(update={"rejections": counted(day.rejections, [ACCOUNT])})

    _, latches = watched(day, worth(1000), max_rejections_per_day=2, on_breach="REDUCING")

    assert [(latch.reason, latch.mode) for latch in latches] == (
        [(StopReason.REJECTIONS, Mode.REDUCING)] if stopped else []
    )


@pytest.mark.parametrize(("unknown", "stopped"), [(2, False), (3, True)])
def test_orders_that_nobody_knows_of_stop_the_account_above_the_limit(unknown: int, stopped: bool) -> None:
    limits = {ACCOUNT: TotalLimits(max_unknown_orders=2)}

    _, latches = breaches(Day(), Account(), limits, CAPITALS, T0, unknown)

    assert [(latch.reason, latch.level, latch.detail) for latch in latches] == (
        [(StopReason.UNKNOWN_ORDERS, ACCOUNT, "3 is more than 2")] if stopped else []
    )


def test_a_level_without_a_book_is_not_stopped() -> None:
    assert watched(begun(Account()), Account(), MOMENTUM, max_daily_loss=Decimal(1))[1] == []
