"""The rules: each judges a signal against the account and one limit, and says what it saw.

All rules are evaluated for every signal, so that a refusal names everything that is wrong with it. Missing reference
data refuses: a rule that cannot be judged is not passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product, Role
from panda_streams.domain.risk.account import Account, Book, carried, margin
from panda_streams.domain.settlement import Holdings, sellable
from panda_streams.domain.signals import Intent, Side, Signal
from panda_streams.domain.values import Value

__all__ = ["Allowance", "Finding", "Part", "Rule", "Verdict", "judge"]

CASH_MARGIN = Decimal("1.01")
"""An order needs its cash and 1 % more: price and charges may move between the quote and the fill."""


class Rule(StrEnum):
    """Reason codes."""

    STRATEGY_NOT_LISTED = "STRATEGY_NOT_LISTED"
    """The arm's configuration of the strategy does not list this broker, or has another version than the signal."""
    LIVE_NOT_ENABLED = "LIVE_NOT_ENABLED"
    """The broker moves real money and the strategy has not consented to it."""
    ARM_HALTED = "ARM_HALTED"
    """An operator has halted the arm."""
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    """The instrument is not in the arm's list, or cannot be traded."""
    MARKET_CLOSED = "MARKET_CLOSED"
    """An entry outside of continuous trading, or of an intraday position once such positions are squared off."""
    QUOTE_MISSING = "QUOTE_MISSING"
    """An entry carries no quote of the instrument, so that no price can be judged."""
    QUOTE_STALE = "QUOTE_STALE"
    """An entry's quote is older than the account allows: the instrument is silent. Milliseconds."""
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
    POSITION_LIMIT = "POSITION_LIMIT"
    """Held, in flight and ordered shares together exceed the strategy's limit for one instrument."""
    CASH_INSUFFICIENT = "CASH_INSUFFICIENT"
    """Cash less what is held back and tied up does not cover the order."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What this arm allows a strategy: facts and limits that a signal does not carry."""

    listed: bool
    consented: bool
    halted: bool
    capital: Decimal
    share_of_capital: Decimal
    max_position: int
    product: Product = Product.MIS
    shorts: bool = False
    btst: bool = False
    max_quote_age_ms: int = 60_000
    entries: tuple[int, int] | None = None
    """Event times from which and before which the instrument may be entered on the signal's day; None: never."""
    today: date | None = None
    """The signal's trading date."""
    settled_before: date | None = None
    """The trading day before the signal's: what was bought for delivery earlier has been delivered."""

    @classmethod
    def nothing(cls, *, halted: bool) -> Allowance:
        """What a strategy is allowed that the arm does not know."""
        return cls(
            listed=False,
            consented=False,
            halted=halted,
            capital=Decimal(0),
            share_of_capital=Decimal(0),
            max_position=0,
        )


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
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return all(finding.passed for finding in self.findings)

    @property
    def refusals(self) -> tuple[Rule, ...]:
        return tuple(finding.rule for finding in self.findings if not finding.passed)


def judge(account: Account, signal: Signal, allowance: Allowance, instrument: Instrument | None) -> Verdict:
    """Judge a signal against the account as it is now: a pure function of its arguments."""
    findings = [
        Finding(rule=Rule.STRATEGY_NOT_LISTED, passed=allowance.listed),
        Finding(rule=Rule.LIVE_NOT_ENABLED, passed=allowance.consented),
        # A cancellation takes risk away: a halt does not keep it back.
        Finding(rule=Rule.ARM_HALTED, passed=not allowance.halted or signal.intent is Intent.CANCEL),
        Finding(
            rule=Rule.INSTRUMENT_UNKNOWN,
            passed=instrument is not None and instrument.tradable,
            value=signal.instrument,
        ),
    ]
    parts: tuple[Part, ...] = ()
    hold = Decimal(0)
    if instrument is not None and instrument.tradable:
        case = _Case(account, signal, allowance, instrument)
        findings += case.prices()
        parts, more = case.parts()
        findings += more
        if signal.quote is not None:
            hold = margin(instrument, signal.side, signal.quote.price)
    verdict = Verdict(parts=parts, hold=hold, findings=tuple(findings))
    return verdict if verdict.passed else verdict.model_copy(update={"parts": ()})


class _Case:
    """One signal against the account: what the rules look at, looked up once."""

    def __init__(self, account: Account, signal: Signal, allowance: Allowance, instrument: Instrument) -> None:
        self.account = account
        self.signal = signal
        self.allowance = allowance
        self.instrument = instrument
        self.book: Book = account.book(signal.strategy_id, allowance.capital)
        self.held = self.book.positions.get(signal.instrument, 0)
        self.price = signal.quote.price if signal.quote is not None else None

    def prices(self) -> list[Finding]:
        """Rules on the prices that the signal names."""
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
        return findings

    def _bracket(self) -> Finding:
        terms, at = self.signal.terms, self.signal.terms.price or self.price
        low, high = (terms.stop, terms.target) if self.signal.side is Side.BUY else (terms.target, terms.stop)
        fits = at is not None and (low is None or low < at) and (high is None or high > at)
        passed = fits and self.signal.intent is Intent.ENTRY
        return Finding(rule=Rule.BRACKET_INVALID, passed=passed, value=f"{low} to {high}", limit=f"{at}")

    def parts(self) -> tuple[tuple[Part, ...], list[Finding]]:
        """What the signal comes to, and the rules on it."""
        match self.signal.intent:
            case Intent.CANCEL | Intent.MODIFY:
                return (), []
            case Intent.EXIT:
                return self._exit(self._closable())
            case Intent.ENTRY:
                return self._entry()
            case Intent.TARGET:
                return self._target()

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
        budget = self.allowance.capital * self.allowance.share_of_capital * self.signal.size
        return int(budget / self.price) // self.instrument.lot * self.instrument.lot

    def _quoted(self) -> list[Finding]:
        quote, time, hours = self.signal.quote, self.signal.cause.time, self.allowance.entries
        findings = [
            Finding(
                rule=Rule.MARKET_CLOSED,
                passed=hours is not None and hours[0] <= time < hours[1],
                value=str(time),
                limit=None if hours is None else f"{hours[0]} to {hours[1]}",
            ),
            Finding(rule=Rule.QUOTE_MISSING, passed=self.price is not None and self.price > 0),
        ]
        if quote is not None:
            age, most = self.signal.cause.time - quote.tick.time, self.allowance.max_quote_age_ms
            findings.append(Finding(rule=Rule.QUOTE_STALE, passed=age <= most, value=str(age), limit=str(most)))
        return findings

    def _entry(self) -> tuple[tuple[Part, ...], list[Finding]]:
        findings, side = self._quoted(), self.signal.side
        if self.price is None or self.price <= 0:
            return (), findings
        quantity = self._size()
        against = self.held * (1 if side is Side.BUY else -1) < 0
        findings.append(Finding(rule=Rule.POSITION_OPPOSITE, passed=not against, value=str(self.held)))
        needed = self.allowance.capital * self.allowance.share_of_capital * self.signal.size
        findings.append(
            Finding(
                rule=Rule.SIZE_BELOW_LOT,
                passed=quantity > 0,
                value=f"{needed:f}",
                limit=f"{self.price * self.instrument.lot:f}",
            )
        )
        findings += self._opening(quantity, side, 0)
        return (Part(Role.ENTRY, side, quantity),), findings

    def _opening(self, quantity: int, side: Side, closing: int) -> list[Finding]:
        """Rules on `quantity` shares that are opened once `closing` shares of the other side are closed."""
        allowance, book = self.allowance, self.book
        assert self.price is not None
        sign = 1 if side is Side.BUY else -1
        # Orders in flight may close the other side, too, but never more of it than there is.
        closing = min(closing + self._flying(side, closing=True), max(-self.held * sign, 0))
        position = self.held * sign + closing + self._flying(side, closing=False) + quantity
        needed = quantity * margin(self.instrument, side, self.price) * CASH_MARGIN
        free = book.cash - sum(book.blocked.values()) - self.account.reserved_cash(self.signal.strategy_id)
        delivered = carried(allowance.product, self.instrument) is Product.CNC
        return [
            Finding(
                rule=Rule.SHORT_NOT_ALLOWED,
                passed=side is Side.BUY or (allowance.shorts and not delivered),
                value=side,
            ),
            Finding(
                rule=Rule.PRODUCT_CONFLICT,
                passed=book.product in (None, allowance.product),
                value=book.product,
                limit=allowance.product,
            ),
            Finding(
                rule=Rule.POSITION_LIMIT,
                passed=position <= allowance.max_position,
                value=str(position),
                limit=str(allowance.max_position),
            ),
            Finding(rule=Rule.CASH_INSUFFICIENT, passed=needed <= free, value=f"{needed:f}", limit=f"{free:f}"),
        ]

    def _target(self) -> tuple[tuple[Part, ...], list[Finding]]:
        """Trade the difference between what is asked for and what is held and in flight."""
        flat = self.signal.size == 0
        findings = [] if flat else self._quoted()
        if not flat and (self.price is None or self.price <= 0):
            return (), findings
        wanted = (0 if flat else self._size()) * (1 if self.signal.side is Side.BUY else -1)
        flying = {
            side: self._flying(side, closing=False) + self._flying(side, closing=True) for side in (Side.BUY, Side.SELL)
        }
        missing = wanted - (self.held + flying[Side.BUY] - flying[Side.SELL])
        findings.append(Finding(rule=Rule.TARGET_REACHED, passed=missing != 0, value=str(wanted)))
        side = Side.BUY if missing > 0 else Side.SELL
        held = max(self.held if side is Side.SELL else -self.held, 0)
        closing = min(abs(missing), max(held - self._flying(side, closing=True), 0))
        opening = abs(missing) - closing
        parts = []
        if closing:
            parts.append(Part(Role.EXIT, side, closing))
            if self.signal.instrument in self.book.holdings:
                findings.append(self._settled(closing))
        if opening and wanted * missing > 0:
            parts.append(Part(Role.ENTRY, side, opening))
            findings += self._opening(opening, side, closing)
        elif not parts:
            # What is in flight goes beyond what is asked for, and cannot be closed before it is filled.
            findings.append(Finding(rule=Rule.NOTHING_TO_EXIT, passed=missing == 0, value="0", limit="1"))
        return tuple(parts), findings
