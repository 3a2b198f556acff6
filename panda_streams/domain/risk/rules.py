"""The rules: each judges a signal against the account and one limit, and says what it saw.

All rules are evaluated for every signal, so that a refusal names everything that is wrong with it. Missing reference
data refuses: a rule that cannot be judged is not passed. Rules on time, rates and cash are for what opens a position:
a late exit passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product, Role
from panda_streams.domain.risk.account import Account, Book, Scope, carried, margin
from panda_streams.domain.risk.limits import OrderLimits, TotalLimits
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.watch import Day, entry_key
from panda_streams.domain.settlement import Holdings, sellable
from panda_streams.domain.signals import Intent, OrderType, Side, Signal
from panda_streams.domain.values import Value

__all__ = ["Allowance", "Finding", "Part", "Rule", "Verdict", "judge"]

CASH_MARGIN = Decimal("1.01")
"""An order needs its cash and 1 % more: price and charges may move between the quote and the fill."""
_SECOND_MS, _MINUTE_MS = 1000, 60_000
_NO_LIMITS = OrderLimits()


class Rule(StrEnum):
    """Reason codes."""

    STRATEGY_NOT_LISTED = "STRATEGY_NOT_LISTED"
    """The arm's configuration of the strategy does not list this broker, or has another version than the signal."""
    LIVE_NOT_ENABLED = "LIVE_NOT_ENABLED"
    """The broker moves real money and the strategy has not consented to it."""
    ARM_HALTED = "ARM_HALTED"
    """An operator has halted the arm, or it has halted itself."""
    ARM_REDUCING = "ARM_REDUCING"
    """The arm takes exits alone."""
    STRATEGY_PAUSED = "STRATEGY_PAUSED"
    """The strategy is paused: it opens nothing."""
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    """The instrument is not in the arm's list, or cannot be traded."""
    MARKET_CLOSED = "MARKET_CLOSED"
    """An entry outside of continuous trading, or of an intraday position once such positions are squared off."""
    QUOTE_MISSING = "QUOTE_MISSING"
    """An entry carries no quote of the instrument, so that no price can be judged."""
    QUOTE_STALE = "QUOTE_STALE"
    """An entry's quote is older than the account allows: the instrument is silent. Milliseconds."""
    SIGNAL_STALE = "SIGNAL_STALE"
    """An entry was decided longer ago than the limit, by the account's event time. Milliseconds."""
    CLOCK_SKEW = "CLOCK_SKEW"
    """The quote is younger than the tick on which the signal was decided, by more than the limit. Milliseconds."""
    DUPLICATE_SIGNAL = "DUPLICATE_SIGNAL"
    """The strategy has entered the same instrument on the same side within the limit. Milliseconds."""
    MARKET_PROTECTION_MISSING = "MARKET_PROTECTION_MISSING"
    """The broker takes no order at the market without a protection, and the account's configuration names none."""
    PRICE_COLLAR = "PRICE_COLLAR"
    """A limit or trigger lies further from the quote than the limit, a share of it."""
    PRICE_BAND = "PRICE_BAND"
    """A limit or trigger lies outside of today's circuit limits."""
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    """A limit, trigger, target or stop is no multiple of the instrument's tick size."""
    BRACKET_INVALID = "BRACKET_INVALID"
    """Target and stop do not lie on either side of the price, or belong to no entry."""
    SHORT_NOT_ALLOWED = "SHORT_NOT_ALLOWED"
    """The order would open a short position, which the account does not allow the strategy, or nobody for delivery."""
    PRODUCT_CONFLICT = "PRODUCT_CONFLICT"
    """The strategy holds positions under another product than the account's: they never net, so close them first."""
    POSITION_OPPOSITE = "POSITION_OPPOSITE"
    """An entry against the position: exit it first, or name a target."""
    NOTHING_TO_EXIT = "NOTHING_TO_EXIT"
    """The strategy holds nothing of the instrument here on that side that is not already being closed."""
    NOT_SETTLED = "NOT_SETTLED"
    """The shares were bought for delivery and have not been delivered yet."""
    TARGET_REACHED = "TARGET_REACHED"
    """What is held and in flight already is the position that is asked for, to a lot."""
    SIZE_BELOW_LOT = "SIZE_BELOW_LOT"
    """The share of capital for one entry does not buy a lot."""
    QUANTITY_TOO_SMALL = "QUANTITY_TOO_SMALL"
    """Fewer shares than the limit for one order."""
    QUANTITY_TOO_LARGE = "QUANTITY_TOO_LARGE"
    """More shares than the limit for one order."""
    NOTIONAL_TOO_LARGE = "NOTIONAL_TOO_LARGE"
    """Quantity times price is more than the limit for one order."""
    TOO_MANY_SLICES = "TOO_MANY_SLICES"
    """The exchange's freeze quantity would cut the order into more pieces than the limit."""
    ORDER_RATE = "ORDER_RATE"
    """More orders in a second, or in a minute, than the limit."""
    ORDERS_PER_DAY = "ORDERS_PER_DAY"
    """More orders on the trading date than the limit."""
    CANCELS_PER_DAY = "CANCELS_PER_DAY"
    """More cancellations and modifications on the trading date than the limit."""
    OPEN_ORDERS = "OPEN_ORDERS"
    """More orders in flight than the limit."""
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    """All positions and orders in flight, long and short added up, would be worth more than the limit."""
    NET_EXPOSURE = "NET_EXPOSURE"
    """All positions and orders in flight, short taken off long, would be worth more than the limit."""
    POSITION_LIMIT = "POSITION_LIMIT"
    """Held, in flight and ordered shares together exceed the strategy's limit for one instrument."""
    CASH_INSUFFICIENT = "CASH_INSUFFICIENT"
    """Cash less what is held back and tied up does not cover the order."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What this arm allows a strategy: facts and limits that a signal does not carry."""

    listed: bool
    consented: bool
    mode: Mode
    capital: Decimal
    share_of_capital: Decimal
    mode_reason: str = ""
    paused: bool = False
    product: Product = Product.MIS
    shorts: bool = False
    btst: bool = False
    protected: bool = True
    """False if the broker wants a market protection and the configuration names none."""
    entries: tuple[int, int] | None = None
    """Event times from which and before which the instrument may be entered on the signal's day; None: never."""
    today: date | None = None
    """The signal's trading date."""
    settled_before: date | None = None
    """The trading day before the signal's: what was bought for delivery earlier has been delivered."""
    now: int = 0
    """Event time that the account has come to."""
    order: OrderLimits = _NO_LIMITS
    """Limits on one order: of account, strategy and instrument the tightest."""
    totals: tuple[tuple[Scope, TotalLimits], ...] = ()
    """Limits on what adds up, of account, strategy and instrument."""

    @classmethod
    def nothing(cls, mode: Mode) -> Allowance:
        """What a strategy is allowed that the arm does not know."""
        return cls(listed=False, consented=False, mode=mode, capital=Decimal(0), share_of_capital=Decimal(0))


class Finding(Value):
    """What one rule saw: its value and the limit, as text."""

    rule: Rule
    """The rule that judged."""
    passed: bool
    """False if the signal broke it."""
    value: str | None = None
    """What the rule saw; None where it compares nothing."""
    limit: str | None = None
    """What it allows; None where it compares nothing."""

    @property
    def seen(self) -> str:
        """Value and limit for people, as `1057, limit 1000`; empty where it compares nothing."""
        return ", ".join(text for text in (self.value, self.limit and f"limit {self.limit}") if text)


class Part(NamedTuple):
    """What a signal comes to: shares to close, or to open."""

    role: Role
    """ENTRY or EXIT."""
    side: Side
    quantity: int


class Verdict(Value):
    """All findings on a signal, and what it may trade: nothing if any rule refuses, or if it changes working orders."""

    parts: tuple[Part, ...]
    """What is closed stands before what is opened."""
    hold: Decimal
    """Cash held back for each share that is opened."""
    price: Decimal | None
    """Price that it was judged at."""
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)

    @property
    def refusals(self) -> tuple[Rule, ...]:
        return tuple(dict.fromkeys(finding.rule for finding in self.findings if not finding.passed))


def judge(account: Account, day: Day, signal: Signal, allowance: Allowance, instrument: Instrument | None) -> Verdict:
    """Judge a signal against the account as it is now: a pure function of its arguments."""
    halted = allowance.mode.rank >= Mode.HALTED.rank
    findings = [
        Finding(rule=Rule.STRATEGY_NOT_LISTED, passed=allowance.listed),
        Finding(rule=Rule.LIVE_NOT_ENABLED, passed=allowance.consented),
        # A cancellation takes risk away: a halt does not keep it back.
        Finding(
            rule=Rule.ARM_HALTED,
            passed=not halted or signal.intent is Intent.CANCEL,
            value=allowance.mode_reason or None if halted else None,
        ),
        Finding(
            rule=Rule.INSTRUMENT_UNKNOWN,
            passed=instrument is not None and instrument.tradable,
            value=signal.instrument,
        ),
    ]
    parts: tuple[Part, ...] = ()
    hold = Decimal(0)
    price = signal.quote.price if signal.quote is not None else None
    if instrument is not None and instrument.tradable:
        case = _Case(account, day, signal, allowance, instrument)
        findings += case.prices()
        parts, more = case.parts()
        findings += more
        if price is not None:
            hold = margin(instrument, signal.side, price)
    verdict = Verdict(parts=parts, hold=hold, price=price, findings=tuple(findings))
    return verdict if verdict.passed else verdict.model_copy(update={"parts": ()})


class _Room(NamedTuple):
    """How many shares a limit leaves room for, and how it is shown."""

    rule: Rule
    shares: int
    value: str
    limit: str


class _Case:
    """One signal against the account: what the rules look at, looked up once."""

    def __init__(
        self, account: Account, day: Day, signal: Signal, allowance: Allowance, instrument: Instrument
    ) -> None:
        self.account = account
        self.day = day
        self.signal = signal
        self.allowance = allowance
        self.instrument = instrument
        self.book: Book = account.book(signal.strategy_id, allowance.capital)
        self.held = self.book.positions.get(signal.instrument, 0)
        self.price = signal.quote.price if signal.quote is not None else None

    # Prices that the signal names

    def prices(self) -> list[Finding]:
        terms, tick = self.signal.terms, self.instrument.tick_size
        named = [price for price in (terms.price, terms.trigger, terms.target, terms.stop) if price is not None]
        if not named:
            return []
        off = next((price for price in named if price % tick), None)
        findings = [
            Finding(
                rule=Rule.PRICE_OFF_TICK,
                passed=off is None,
                value=None if off is None else f"{off:f}",
                limit=f"{tick:f}",
            )
        ]
        if terms.target is not None or terms.stop is not None:
            findings.append(self._bracket())
        ordered = [price for price in (terms.price, terms.trigger) if price is not None]
        if ordered:
            findings += self._banded(ordered)
        return findings

    def _bracket(self) -> Finding:
        terms, at = self.signal.terms, self.signal.terms.price or self.price
        low, high = (terms.stop, terms.target) if self.signal.side is Side.BUY else (terms.target, terms.stop)
        fits = at is not None and (low is None or low < at) and (high is None or high > at)
        passed = fits and self.signal.intent is Intent.ENTRY
        return Finding(rule=Rule.BRACKET_INVALID, passed=passed, value=f"{low} to {high}", limit=f"{at}")

    def _banded(self, ordered: list[Decimal]) -> Iterator[Finding]:
        lower, upper = self.instrument.lower_circuit, self.instrument.upper_circuit
        if lower is not None or upper is not None:
            outside = [p for p in ordered if (lower is not None and p < lower) or (upper is not None and p > upper)]
            yield Finding(
                rule=Rule.PRICE_BAND,
                passed=not outside,
                value=f"{(outside or ordered)[0]:f}",
                limit=f"{lower} to {upper}",
            )
        collar = self.allowance.order.price_collar
        if collar is not None and self.signal.intent is not Intent.EXIT:
            away = None if not self.price else max(abs(price - self.price) / self.price for price in ordered)
            yield Finding(
                rule=Rule.PRICE_COLLAR,
                passed=away is not None and away <= collar,
                value=None if away is None else f"{away:.6f}",
                limit=f"{collar:f}",
            )

    def parts(self) -> tuple[tuple[Part, ...], list[Finding]]:
        """What the signal comes to, and the rules on it."""
        match self.signal.intent:
            case Intent.CANCEL | Intent.MODIFY:
                return (), self._changes()
            case Intent.EXIT:
                parts, findings = self._exit(self._closable())
            case Intent.ENTRY:
                parts, findings = self._entry()
            case Intent.TARGET:
                parts, findings = self._target()
        if self.signal.terms.order_type in (OrderType.MARKET, OrderType.SL_M) and not self.allowance.protected:
            findings.append(Finding(rule=Rule.MARKET_PROTECTION_MISSING, passed=False))
        return parts, findings

    def _changes(self) -> list[Finding]:
        return list(
            self._counts(
                Rule.CANCELS_PER_DAY,
                1,
                lambda scope: self.day.cancels.get(scope.level, 0),
                lambda limits: limits.max_cancels_per_day,
            )
        )

    def _orders(self, quantity: int) -> int:
        """How many orders a quantity becomes."""
        most = self.instrument.largest_order
        return max(-(-quantity // most), 1) if most is not None else 1

    # Closing

    def _closable(self) -> int:
        """Shares that an order on the signal's side can still close."""
        side = self.signal.side
        held = self.held if side is Side.SELL else -self.held
        return max(held - self._flying(side, closing=True), 0)

    def _exit(self, quantity: int) -> tuple[tuple[Part, ...], list[Finding]]:
        findings = [Finding(rule=Rule.NOTHING_TO_EXIT, passed=quantity > 0, value=str(quantity), limit="1")]
        if self.signal.instrument in self.book.holdings:
            findings.append(self._settled(quantity))
        return (Part(Role.EXIT, self.signal.side, quantity),), findings

    def _settled(self, quantity: int) -> Finding:
        holdings: Holdings = self.book.holdings[self.signal.instrument]
        today, before = self.allowance.today, self.allowance.settled_before
        if today is None or before is None:
            return Finding(rule=Rule.NOT_SETTLED, passed=False, value=str(quantity))
        free = sellable(holdings, today, btst=self.allowance.btst, settled_before=before)
        free -= self._flying(self.signal.side, closing=True)
        return Finding(rule=Rule.NOT_SETTLED, passed=quantity <= free, value=str(quantity), limit=str(free))

    def _flying(self, side: Side, *, closing: bool) -> int:
        return self.account.in_flight(self.signal.strategy_id, self.signal.instrument, side, closing=closing)

    # Opening

    def _size(self) -> int:
        """Shares of a whole entry times the signal's size, in whole lots."""
        assert self.price is not None
        return self._lots(self.allowance.capital * self.allowance.share_of_capital * self.signal.size / self.price)

    def _lots(self, shares: Decimal | int) -> int:
        return max(int(shares) // self.instrument.lot * self.instrument.lot, 0)

    def _timely(self) -> Iterator[Finding]:
        """Rules on when something may be opened."""
        allowance, quote, time = self.allowance, self.signal.quote, self.signal.cause.time
        limits, hours = allowance.order, allowance.entries
        yield Finding(rule=Rule.ARM_REDUCING, passed=allowance.mode is not Mode.REDUCING)
        yield Finding(rule=Rule.STRATEGY_PAUSED, passed=not allowance.paused)
        yield Finding(
            rule=Rule.MARKET_CLOSED,
            passed=hours is not None and hours[0] <= time < hours[1],
            value=str(time),
            limit=None if hours is None else f"{hours[0]} to {hours[1]}",
        )
        yield Finding(rule=Rule.QUOTE_MISSING, passed=self.price is not None and self.price > 0)
        if limits.max_signal_age_s is not None:
            yield _at_most(Rule.SIGNAL_STALE, max(allowance.now - time, 0), _SECOND_MS * limits.max_signal_age_s)
        if quote is not None:
            age = time - quote.tick.time
            if limits.max_quote_age_s is not None:
                yield _at_most(Rule.QUOTE_STALE, age, _SECOND_MS * limits.max_quote_age_s)
            if limits.max_clock_skew_s is not None:
                yield _at_most(Rule.CLOCK_SKEW, -age, _SECOND_MS * limits.max_clock_skew_s)
        if limits.duplicate_window_s is not None and self.signal.intent is Intent.ENTRY:
            before = self.day.entered.get(entry_key(self.signal.strategy_id, self.signal.instrument, self.signal.side))
            window = int(_SECOND_MS * limits.duplicate_window_s)
            since = None if before is None else time - before
            yield Finding(
                rule=Rule.DUPLICATE_SIGNAL,
                passed=since is None or since >= window,
                value=None if since is None else str(since),
                limit=str(window),
            )

    def _entry(self) -> tuple[tuple[Part, ...], list[Finding]]:
        findings, side = list(self._timely()), self.signal.side
        if self.price is None or self.price <= 0:
            return (), findings
        against = self.held * _sign(side) < 0
        findings.append(Finding(rule=Rule.POSITION_OPPOSITE, passed=not against, value=str(self.held)))
        quantity, more = self._opening(self._size(), side, 0)
        return (Part(Role.ENTRY, side, quantity),), findings + more

    def _opening(self, asked: int, side: Side, closing: int) -> tuple[int, list[Finding]]:
        """Rules on `asked` shares that are opened once `closing` shares of the other side are closed.

        Returns how many may be: all, or where the limits' policy says so what they leave room for.
        """
        allowance, price, lot = self.allowance, self.price, self.instrument.lot
        assert price is not None
        # Orders in flight may close the other side, too, but never more of it than there is.
        closing = min(closing + self._flying(side, closing=True), max(-self.held * _sign(side), 0))
        findings = [
            Finding(
                rule=Rule.SHORT_NOT_ALLOWED,
                passed=side is Side.BUY
                or (allowance.shorts and carried(allowance.product, self.instrument) is not Product.CNC),
                value=side,
            ),
            Finding(
                rule=Rule.PRODUCT_CONFLICT,
                passed=self.book.product is None
                or (self.book.product is Product.MIS) == (allowance.product is Product.MIS),
                value=self.book.product,
                limit=allowance.product,
            ),
        ]
        rooms = list(self._rooms(asked, side, closing))
        shrink = bool(allowance.order.shrink)
        quantity = min([asked, *(self._lots(room.shares) for room in rooms)]) if shrink else asked
        findings.append(
            Finding(rule=Rule.SIZE_BELOW_LOT, passed=quantity > 0, value=str(quantity), limit=f"{lot} at {price:f}")
        )
        findings += [
            Finding(rule=room.rule, passed=shrink or asked <= room.shares, value=room.value, limit=room.limit)
            for room in rooms
        ]
        least = allowance.order.min_order_quantity
        if least is not None:
            findings.append(
                Finding(rule=Rule.QUANTITY_TOO_SMALL, passed=quantity >= least, value=str(quantity), limit=str(least))
            )
        findings += self._paced(quantity)
        return quantity, findings

    def _rooms(self, asked: int, side: Side, closing: int) -> Iterator[_Room]:
        """What each limit on size leaves room for."""
        limits, price, sign = self.allowance.order, self.price, _sign(side)
        assert price is not None
        if limits.max_order_quantity is not None:
            yield _Room(Rule.QUANTITY_TOO_LARGE, limits.max_order_quantity, str(asked), str(limits.max_order_quantity))
        if limits.max_order_notional is not None:
            most = limits.max_order_notional
            yield _Room(Rule.NOTIONAL_TOO_LARGE, int(most / price), f"{asked * price:f}", f"{most:f}")
        each = margin(self.instrument, side, price) * CASH_MARGIN
        free = self.book.cash - sum(self.book.blocked.values()) - self.account.reserved_cash(self.signal.strategy_id)
        yield _Room(Rule.CASH_INSUFFICIENT, int(free / each) if free > 0 else 0, f"{asked * each:f}", f"{free:f}")
        for scope, level in self.allowance.totals:
            if level.max_position is not None:
                there = self.account.shares(scope, self.signal.instrument, side) + closing
                most_shares = level.max_position
                yield _Room(Rule.POSITION_LIMIT, most_shares - there, str(there + asked), str(most_shares))
            if level.max_gross_exposure is None and level.max_net_exposure is None:
                continue
            long, short = self.account.exposure(scope)
            # What is closed first no longer counts.
            long, short = (long, short - closing * price) if sign > 0 else (long - closing * price, short)
            if level.max_gross_exposure is not None:
                gross, most = long + short, level.max_gross_exposure
                yield _Room(Rule.GROSS_EXPOSURE, int((most - gross) / price), f"{gross + asked * price:f}", f"{most:f}")
            if level.max_net_exposure is not None:
                net, most = (long - short) * sign, level.max_net_exposure
                yield _Room(Rule.NET_EXPOSURE, int((most - net) / price), f"{net + asked * price:f}", f"{most:f}")

    def _paced(self, quantity: int) -> Iterator[Finding]:
        """Rules on how many orders there may be."""
        day, time = self.day, self.signal.cause.time
        orders, slices = self._orders(quantity), self.allowance.order.max_slices
        if slices is not None:
            yield _at_most(Rule.TOO_MANY_SLICES, orders, slices)
        for rule, seen, most in (
            (
                Rule.ORDER_RATE,
                lambda scope: day.orders_since(scope.level, time - _SECOND_MS),
                lambda limits: limits.max_orders_per_second,
            ),
            (
                Rule.ORDER_RATE,
                lambda scope: day.orders_since(scope.level, time - _MINUTE_MS),
                lambda limits: limits.max_orders_per_minute,
            ),
            (
                Rule.ORDERS_PER_DAY,
                lambda scope: day.orders.get(scope.level, 0),
                lambda limits: limits.max_orders_per_day,
            ),
            (Rule.OPEN_ORDERS, self.account.working, lambda limits: limits.max_open_orders),
        ):
            yield from self._counts(rule, orders, seen, most)

    def _counts(
        self, rule: Rule, more: int, seen: Callable[[Scope], int], most: Callable[[TotalLimits], int | None]
    ) -> Iterator[Finding]:
        """A rule on a count, at each level."""
        for scope, limits in self.allowance.totals:
            limit = most(limits)
            if limit is not None:
                yield _at_most(rule, seen(scope) + more, limit)

    def _target(self) -> tuple[tuple[Part, ...], list[Finding]]:
        """Trade the difference between what is asked for and what is held and in flight."""
        flat = self.signal.size == 0
        if not flat and (self.price is None or self.price <= 0):
            return (), list(self._timely())
        wanted = (0 if flat else self._size()) * _sign(self.signal.side)
        flying = {
            side: self._flying(side, closing=False) + self._flying(side, closing=True) for side in (Side.BUY, Side.SELL)
        }
        missing = wanted - (self.held + flying[Side.BUY] - flying[Side.SELL])
        findings = [Finding(rule=Rule.TARGET_REACHED, passed=missing != 0, value=str(wanted))]
        side = Side.BUY if missing > 0 else Side.SELL
        held = max(self.held if side is Side.SELL else -self.held, 0)
        closing = min(abs(missing), max(held - self._flying(side, closing=True), 0))
        opening = abs(missing) - closing if wanted * missing > 0 else 0
        parts = []
        if closing:
            parts.append(Part(Role.EXIT, side, closing))
            if self.signal.instrument in self.book.holdings:
                findings.append(self._settled(closing))
        if opening:
            timely = list(self._timely())
            # What closes the position passes, whatever keeps the rest back.
            if not closing or all(finding.passed for finding in timely):
                quantity, more = self._opening(opening, side, closing)
                findings += timely + more
                parts.append(Part(Role.ENTRY, side, quantity))
        elif not parts:
            # What is in flight goes beyond what is asked for, and cannot be closed before it is filled.
            findings.append(Finding(rule=Rule.NOTHING_TO_EXIT, passed=missing == 0, value="0", limit="1"))
        return tuple(parts), findings


def _sign(side: Side) -> int:
    return 1 if side is Side.BUY else -1


def _at_most(rule: Rule, value: int, limit: int | Decimal) -> Finding:
    return Finding(rule=rule, passed=value <= limit, value=str(value), limit=f"{Decimal(limit):f}")
