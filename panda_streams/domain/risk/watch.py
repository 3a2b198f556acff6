"""What risk watches over a trading day: counts, loss, drawdown, and when the arm stops itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal

from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.orders import UNATTRIBUTED
from panda_streams.domain.risk.account import Account, Book, valued
from panda_streams.domain.risk.limits import ACCOUNT, TotalLimits, levels_of, strategy_level
from panda_streams.domain.risk.modes import Latch, StopReason
from panda_streams.domain.signals import Intent, Side, Signal
from panda_streams.domain.values import Value

__all__ = ["Day", "allowed", "breaches", "counted", "entry_key", "funded", "rolled"]

ZERO = Decimal(0)
_MINUTE_MS = 60_000


class Day(Value):
    """Counts and marks of one trading date. Counts are by level: of the account, of strategies, of instruments."""

    date: str = ""
    """The trading date; empty before the first one."""
    start: dict[str, Decimal] = {}  # noqa: RUF012  pydantic copies defaults
    """Equity as the day began, by strategy_id."""
    peak: dict[str, Decimal] = {}  # noqa: RUF012
    """Highest equity so far, by level; it goes on from day to day."""
    orders: dict[str, int] = {}  # noqa: RUF012
    """Orders that were allowed."""
    cancels: dict[str, int] = {}  # noqa: RUF012
    """Cancellations and modifications that were allowed."""
    rejections: dict[str, int] = {}  # noqa: RUF012
    """Orders that the market refused."""
    recent: dict[str, tuple[int, ...]] = {}  # noqa: RUF012
    """Event times of the orders of the last minute, oldest first."""
    entered: dict[str, int] = {}  # noqa: RUF012
    """Event time of the last entry by strategy, instrument and side, as long as it could be a duplicate's."""

    def orders_since(self, level: str, time: int) -> int:
        """Orders of a level that were allowed after `time`, at most a minute back."""
        return sum(1 for at in self.recent.get(level, ()) if at > time)


def rolled(day: Day, account: Account, on: date) -> Day:
    """The day of an event on `on`, before it acts: a new date begins with what the books are worth then."""
    today = on.isoformat()
    if today <= day.date:
        return day
    start = {name: worth.equity for name, worth in valued(account.books, account.prices).of.items()}
    return Day(date=today, start=start, peak=day.peak, recent=day.recent, entered=day.entered)


def entry_key(strategy_id: str, instrument: str, side: Side) -> str:
    """Names entries of which a second one may be a duplicate."""
    return f"{strategy_id} {instrument} {side}"


def allowed(day: Day, signal: Signal, orders: int, window_ms: int | None) -> Day:
    """The day after a signal was allowed as so many orders: what rates, day counts and duplicates are judged by."""
    who, time = signal.strategy_id, signal.cause.time
    levels = levels_of(who, signal.instrument)
    if signal.intent in (Intent.CANCEL, Intent.MODIFY):
        return day.model_copy(update={"cancels": counted(day.cancels, levels)})
    recent = {name: kept for name, times in day.recent.items() if (kept := _since(times, time - _MINUTE_MS))}
    for level in levels:
        recent[level] = (*recent.get(level, ()), *((time,) * orders))
    entered = day.entered
    if window_ms is not None and signal.intent is Intent.ENTRY:
        young = {key: at for key, at in entered.items() if at > time - window_ms}
        entered = {**young, entry_key(who, signal.instrument, signal.side): time}
    return day.model_copy(update={"orders": counted(day.orders, levels, orders), "recent": recent, "entered": entered})


def _since(times: tuple[int, ...], time: int) -> tuple[int, ...]:
    if times[0] > time:
        return times
    return tuple(at for at in times if at > time)


def counted(counts: Mapping[str, int], levels: Iterable[str], more: int = 1) -> dict[str, int]:
    """Counts with some more at each of the levels."""
    return {**counts, **{level: counts.get(level, 0) + more for level in levels}}


def funded(day: Day, booking: Booking, book: Book, capital: Decimal) -> Day:
    """The day after a deposit, a withdrawal or a reset of a flat book: money that is moved is neither gain nor loss.

    `book` is the strategy's before it, `capital` what one began with that the day's start does not know. A reset begins
    the day of the strategy anew.
    """
    if booking.kind not in (BookingKind.DEPOSIT, BookingKind.WITHDRAWAL, BookingKind.RESET):
        return day
    who, level = booking.strategy_id, strategy_level(booking.strategy_id)
    anew = booking.kind is BookingKind.RESET
    amount = booking.amount - book.cash if anew else booking.amount
    start = booking.amount if anew else day.start.get(who, capital) + amount
    peak = {name: at + amount if name in (ACCOUNT, level) else at for name, at in day.peak.items()}
    if anew and level in peak:
        peak[level] = start
    return day.model_copy(update={"start": {**day.start, who: start}, "peak": peak})


def breaches(
    day: Day,
    account: Account,
    limits: Mapping[str, TotalLimits],
    capitals: Mapping[str, Decimal],
    time: int,
    unknown: int = 0,
) -> tuple[Day, list[Latch]]:
    """Look at loss, drawdown, refusals and unknown orders once everything of a moment has acted.

    `limits` are those of the account and of strategies, by level. `capitals` is what a book began with, by strategy_id:
    the start of one that did not exist as the day began. `unknown` counts the orders of which nobody knows whether the
    broker has them. Returns the day with its peaks moved on.
    """
    if not limits:
        return day, []
    now, start = {}, {}
    books = valued(account.books, account.prices)
    for strategy_id, worth in books.of.items():
        if strategy_id == UNATTRIBUTED:
            continue
        level = strategy_level(strategy_id)
        now[level] = worth.equity
        start[level] = day.start.get(strategy_id, capitals.get(strategy_id, worth.equity))
    now[ACCOUNT], start[ACCOUNT] = books.total.equity, sum(start.values(), ZERO)
    peak = dict(day.peak)
    for level in limits:
        if level in now:
            peak[level] = max(peak.get(level, start[level]), now[level])
    latches = [
        latch
        for level, limit in limits.items()
        if level in now
        for latch in _breaches(day, level, now[level], start[level], peak[level], limit, time, unknown)
    ]
    return day if peak == day.peak else day.model_copy(update={"peak": peak}), latches


def _breaches(
    day: Day, level: str, now: Decimal, start: Decimal, peak: Decimal, limit: TotalLimits, time: int, unknown: int
) -> Iterator[Latch]:
    refused = day.rejections.get(level, 0)
    seen: tuple[tuple[StopReason, Decimal | int, Decimal | int | None], ...] = (
        (StopReason.DAILY_LOSS, start - now, limit.max_daily_loss),
        (StopReason.DRAWDOWN, peak - now, limit.max_drawdown),
        (StopReason.REJECTIONS, refused, limit.max_rejections_per_day),
        (StopReason.UNKNOWN_ORDERS, unknown, limit.max_unknown_orders),
    )
    for reason, value, most in seen:
        if most is not None and value > most:
            detail = f"{_text(value)} is more than {_text(most)}"
            yield Latch(reason=reason, mode=limit.after_breach, level=level, detail=detail, since=time)


def _text(value: Decimal | int) -> str:
    """For people: rupees to the paisa."""
    return f"{round(Decimal(value), 2).normalize():f}"
