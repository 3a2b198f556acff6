"""The rules: each judges a signal against the account and one limit, and says what it saw.

All rules are evaluated for every signal, so that a refusal names everything that is wrong with it. Missing reference
data refuses: a rule that cannot be judged is not passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.risk.account import Account
from panda_streams.domain.signals import Intent, Side, Signal
from panda_streams.domain.values import Value

__all__ = ["Allowance", "Finding", "Rule", "Verdict", "judge"]

CASH_MARGIN = Decimal("1.01")
"""A buy order needs its cash and 1 % more: price and charges may move between the quote and the fill."""


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
    QUOTE_MISSING = "QUOTE_MISSING"
    """An entry carries no quote of the instrument, so that no price can be judged."""
    INTENT_INVALID = "INTENT_INVALID"
    """An entry must buy and an exit must sell: this version holds long positions only."""
    NOTHING_TO_EXIT = "NOTHING_TO_EXIT"
    """The strategy holds no share of the instrument here that is not already being sold."""
    SIZE_BELOW_LOT = "SIZE_BELOW_LOT"
    """The share of capital for one entry does not buy a lot."""
    POSITION_LIMIT = "POSITION_LIMIT"
    """Held, in flight and ordered shares together exceed the strategy's limit for one instrument."""
    CASH_INSUFFICIENT = "CASH_INSUFFICIENT"
    """Cash less what is held back does not cover the order."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What this arm allows a strategy: facts and limits that a signal does not carry."""

    listed: bool
    consented: bool
    halted: bool
    capital: Decimal
    share_of_capital: Decimal
    max_position: int

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


class Verdict(Value):
    """All findings on a signal, and the quantity that it may trade: 0 if any rule refuses."""

    quantity: int
    price: Decimal | None
    """Price that the quantity was judged at."""
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Rule, ...]:
        return tuple(finding.rule for finding in self.findings if not finding.passed)


def judge(account: Account, signal: Signal, allowance: Allowance, instrument: Instrument | None) -> Verdict:
    """Judge a signal against the account as it is now: a pure function of its arguments."""
    tradable = instrument is not None and instrument.tradable
    price = signal.quote.price if signal.quote else None
    findings = [
        Finding(rule=Rule.STRATEGY_NOT_LISTED, passed=allowance.listed),
        Finding(rule=Rule.LIVE_NOT_ENABLED, passed=allowance.consented),
        Finding(rule=Rule.ARM_HALTED, passed=not allowance.halted),
        Finding(rule=Rule.INSTRUMENT_UNKNOWN, passed=tradable, value=signal.instrument),
        Finding(rule=Rule.QUOTE_MISSING, passed=price is not None or signal.intent is Intent.EXIT),
        _intent(signal),
    ]
    if signal.intent is Intent.EXIT:
        quantity, more = _exit(account, signal, allowance)
    elif instrument is None or price is None or price <= 0:
        quantity, more = 0, []
    else:
        quantity, more = _entry(account, signal, allowance, instrument, price)
    findings += more
    if not all(finding.passed for finding in findings):
        quantity = 0
    return Verdict(quantity=quantity, price=price, findings=tuple(findings))


def _intent(signal: Signal) -> Finding:
    expected = Side.BUY if signal.intent is Intent.ENTRY else Side.SELL
    return Finding(rule=Rule.INTENT_INVALID, passed=signal.side is expected, value=signal.side, limit=expected)


def _exit(account: Account, signal: Signal, allowance: Allowance) -> tuple[int, list[Finding]]:
    held = account.book(signal.strategy_id, allowance.capital).positions.get(signal.instrument, 0)
    free = held - account.in_flight(signal.strategy_id, signal.instrument, Side.SELL)
    return max(free, 0), [Finding(rule=Rule.NOTHING_TO_EXIT, passed=free > 0, value=str(free), limit="1")]


def _entry(
    account: Account, signal: Signal, allowance: Allowance, instrument: Instrument, price: Decimal
) -> tuple[int, list[Finding]]:
    book = account.book(signal.strategy_id, allowance.capital)
    budget = allowance.capital * allowance.share_of_capital
    quantity = int(budget / price) // instrument.lot * instrument.lot
    held = book.positions.get(signal.instrument, 0)
    position = held + account.in_flight(signal.strategy_id, signal.instrument, Side.BUY) + quantity
    needed = quantity * price * CASH_MARGIN
    free = book.cash - account.reserved_cash(signal.strategy_id)
    return quantity, [
        Finding(
            rule=Rule.SIZE_BELOW_LOT, passed=quantity > 0, value=f"{budget:f}", limit=f"{price * instrument.lot:f}"
        ),
        Finding(
            rule=Rule.POSITION_LIMIT,
            passed=position <= allowance.max_position,
            value=str(position),
            limit=str(allowance.max_position),
        ),
        Finding(rule=Rule.CASH_INSUFFICIENT, passed=needed <= free, value=f"{needed:f}", limit=f"{free:f}"),
    ]
