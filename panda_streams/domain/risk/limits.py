"""Limits at three levels, the account, a strategy and an instrument: what each holds, and which is the tightest."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.values import Value

__all__ = [
    "ACCOUNT",
    "NONE",
    "LimitSet",
    "Limits",
    "OrderLimits",
    "Override",
    "Resolved",
    "TotalLimits",
    "instrument_level",
    "levels_of",
    "limit_text",
    "parse_override",
    "strategy_level",
    "with_overrides",
]

ACCOUNT = "account"
"""The level of the whole account."""
NONE = "none"
"""Text of a limit that is taken away."""

_STRATEGY, _INSTRUMENT = "strategy:", "instrument:"


class OrderLimits(Value):
    """What one order is judged by: of the limits that the three levels set, the tightest."""

    min_order_quantity: int | None = Field(None, ge=1)
    """Fewest shares of an order that opens a position. The largest of the three levels is the tightest."""
    max_order_quantity: int | None = Field(None, ge=0)
    """Most shares of an order; 0 allows none."""
    max_order_notional: Decimal | None = Field(None, ge=0)
    """Most rupees of an order: quantity times price."""
    price_collar: Decimal | None = Field(None, gt=0, le=1)
    """Share of the quote's price that a limit or a trigger may be away from it: 0.05 is 5 %."""
    max_slices: int | None = Field(None, ge=1)
    """Most orders into which one signal is cut where the exchange takes no larger ones."""
    max_quote_age_s: Decimal | None = Field(None, gt=0, decimal_places=3)
    """Event seconds after which the last quote of an instrument is too old to enter by."""
    max_signal_age_s: Decimal | None = Field(None, gt=0, decimal_places=3)
    """Event seconds after its cause at which a signal is too old to enter by."""
    max_clock_skew_s: Decimal | None = Field(None, ge=0, decimal_places=3)
    """Event seconds by which the quote of an entry may be younger than the tick that caused it."""
    duplicate_window_s: Decimal | None = Field(None, gt=0, decimal_places=3)
    """Event seconds within which a strategy enters an instrument on one side only once. The largest of the three levels
    is the tightest."""
    shrink: bool | None = None
    """True: a quantity above a limit is reduced to it, in whole lots, instead of refused. False at one level is the
    tightest; unset at all: refused."""


class TotalLimits(Value):
    """What adds up is judged by: each level has a total of its own, and the limit of every one of them holds."""

    max_orders_per_second: int | None = Field(None, ge=0)
    """Most orders in an event second."""
    max_orders_per_minute: int | None = Field(None, ge=0)
    """Most orders in an event minute."""
    max_orders_per_day: int | None = Field(None, ge=0)
    """Most orders on a trading day."""
    max_cancels_per_day: int | None = Field(None, ge=0)
    """Most cancellations and changes of orders on a trading day."""
    max_open_orders: int | None = Field(None, ge=0)
    """Most orders that work at the same time."""
    max_position: int | None = Field(None, ge=0)
    """Most shares of one instrument, long or short, held and on order. For a strategy its own; for the account and for
    an instrument those of all strategies together."""
    max_gross_exposure: Decimal | None = Field(None, ge=0)
    """Most rupees in positions, long and short ones added up."""
    max_net_exposure: Decimal | None = Field(None, ge=0)
    """Most rupees in positions, long ones less short ones, to either side."""
    max_daily_loss: Decimal | None = Field(None, gt=0)
    """Most rupees lost since the trading day began, open positions and charges included; above it the level stops
    itself. Not of an instrument."""
    max_drawdown: Decimal | None = Field(None, gt=0)
    """Most rupees below the highest equity so far; above it the level stops itself. Not of an instrument."""
    max_rejections_per_day: int | None = Field(None, ge=0)
    """Most orders that the market rejects on a trading day; above it the level stops itself. Not of an instrument."""
    max_unknown_orders: int | None = Field(None, ge=0)
    """Most orders of which it is not known whether the broker has them; above it the account stops itself. Of the
    account alone."""
    feed_stale_s: Decimal | None = Field(None, gt=0, decimal_places=3)
    """Most seconds of trading hours without a tick of anything; above it the account stops itself. Of the account
    alone."""
    on_breach: Literal["HALTED", "REDUCING"] | None = None
    """Mode into which a level that stops itself puts itself, and itself alone; unset: HALTED. Not of an instrument."""

    @property
    def after_breach(self) -> Mode:
        """`on_breach`, or what holds where it is unset."""
        return Mode(self.on_breach or Mode.HALTED)


class Limits(TotalLimits, OrderLimits):
    """What one level sets; what is unset has no limit there."""


_ACCOUNTS = frozenset({"max_unknown_orders", "feed_stale_s"})
"""Limits that only the account has."""
_NO_INSTRUMENTS = _ACCOUNTS | {"max_daily_loss", "max_drawdown", "max_rejections_per_day", "on_breach"}
"""Limits that an instrument does not have: the account keeps no books by instrument."""
_LARGEST = frozenset({"min_order_quantity", "duplicate_window_s"})
"""Limits of which the larger is the tighter."""


class Resolved(NamedTuple):
    """The limits on one order, each the tightest of those that the levels set."""

    order: OrderLimits
    levels: Mapping[str, str]
    """The level that each limit comes from, by the limit's name; the widest of equal ones. What is unset is absent."""


def _tightest(kind: type[OrderLimits | TotalLimits], *levels: Limits) -> dict[str, tuple[Any, int]]:
    """The tightest value of each limit of `kind` that is set, and the place of the first of `levels` that sets it."""
    found: dict[str, tuple[Any, int]] = {}
    for field in kind.model_fields:
        for place, limits in enumerate(levels):
            value = getattr(limits, field)
            if value is not None and (field not in found or _rank(field, value) < _rank(field, found[field][0])):
                found[field] = value, place
    return found


def _rank(field: str, value: Any) -> Any:
    """The tighter a limit, the lower it ranks."""
    if field == "on_breach":
        return -Mode(value).rank
    return -value if field in _LARGEST else value


def strategy_level(strategy_id: str) -> str:
    return f"{_STRATEGY}{strategy_id}"


def instrument_level(instrument: str) -> str:
    return f"{_INSTRUMENT}{instrument}"


def levels_of(strategy_id: str, instrument: str) -> tuple[str, str, str]:
    """The levels whose limits an order meets, the widest first."""
    return ACCOUNT, strategy_level(strategy_id), instrument_level(instrument)


class LimitSet(Value):
    """The limits of one broker account at all levels."""

    account: Limits = Field(default_factory=Limits)
    """Limits of the whole account."""
    strategies: dict[str, Limits] = Field(default_factory=dict)
    """Limits of a strategy, by strategy_id."""
    instruments: dict[str, Limits] = Field(default_factory=dict)
    """Limits of an instrument over all strategies, by its id, as `NSE:INFY`."""

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        for level, limits in self.by_level().items():
            for field in limits.model_fields_set:
                if getattr(limits, field) is not None:
                    _check_level(level, field)
        return self

    def of(self, level: str) -> Limits:
        """What one level sets: its totals are judged by these and by no other level's.

        `level` is ACCOUNT, or comes from `strategy_level` or `instrument_level`.
        """
        return self.by_level().get(level, Limits())

    def by_level(self) -> dict[str, Limits]:
        """What each level sets, the account first; those that set nothing may be absent."""
        return {
            ACCOUNT: self.account,
            **{strategy_level(name): limits for name, limits in self.strategies.items()},
            **{instrument_level(name): limits for name, limits in self.instruments.items()},
        }

    def resolve(self, strategy_id: str | None, instrument: str | None) -> Resolved:
        """The limits on one order of a strategy in an instrument: the tightest of the account's and of theirs."""
        levels = {ACCOUNT: self.account}
        if strategy_id in self.strategies:
            levels[strategy_level(strategy_id)] = self.strategies[strategy_id]
        if instrument in self.instruments:
            levels[instrument_level(instrument)] = self.instruments[instrument]
        names, found = list(levels), _tightest(OrderLimits, *levels.values())
        return Resolved(
            OrderLimits.model_construct(**{field: value for field, (value, _) in found.items()}),
            {field: names[place] for field, (_, place) in found.items()},
        )

    def tightened(self, other: LimitSet) -> LimitSet:
        """The tighter of two sets, level by level and limit by limit."""
        return LimitSet(
            account=_tighter(self.account, other.account),
            strategies=_merged(self.strategies, other.strategies),
            instruments=_merged(self.instruments, other.instruments),
        )


def _check_level(level: str, field: str) -> None:
    """Raise ValueError for a limit that a level cannot have: one that nothing would ever judge by."""
    if level != ACCOUNT and field in _ACCOUNTS:
        raise ValueError(f"{level} cannot have {field}: only the account has it")
    if level.startswith(_INSTRUMENT) and field in _NO_INSTRUMENTS:
        raise ValueError(f"{level} cannot have {field}: only the account and strategies have it")


def _tighter(one: Limits, other: Limits) -> Limits:
    return Limits.model_construct(**{field: value for field, (value, _) in _tightest(Limits, one, other).items()})


def _merged(ours: dict[str, Limits], theirs: dict[str, Limits]) -> dict[str, Limits]:
    return {name: _tighter(ours.get(name, Limits()), theirs.get(name, Limits())) for name in {**ours, **theirs}}


class Override(NamedTuple):
    """One limit that an operator has set at run time, whatever the files say."""

    level: str
    field: str
    value: Any
    """None takes the limit away."""


def parse_override(key: str, text: str) -> Override:
    """Read an override: its key as `strategy:Momentum_NIFTY_1/max_position`, its value as text, or NONE.

    Raises ValueError that names what is possible.
    """
    level, _, field = key.rpartition("/")
    named = level.removeprefix(_STRATEGY) if level.startswith(_STRATEGY) else level.removeprefix(_INSTRUMENT)
    if level != ACCOUNT and (not named or named == level):
        raise ValueError(
            f"{key!r} is not the key of a limit: expected {ACCOUNT}/LIMIT, {_STRATEGY}STRATEGY_ID/LIMIT or "
            f"{_INSTRUMENT}INSTRUMENT/LIMIT"
        )
    if field not in Limits.model_fields:
        raise ValueError(f"there is no limit {field!r}: expected one of {', '.join(Limits.model_fields)}")
    _check_level(level, field)
    if text == NONE:
        return Override(level, field, None)
    try:
        return Override(level, field, getattr(Limits.model_validate({field: text}), field))
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise ValueError(f"{text!r} is no value of {field}: {wrong}; {NONE!r} takes the limit away") from None


def with_overrides(limits: LimitSet, overrides: Mapping[str, str]) -> LimitSet:
    """Put overrides, by key, in the place of what `limits` says at their levels; a looser one counts too.

    Raises ValueError as `parse_override` does.
    """
    for key, text in overrides.items():
        level, field, value = parse_override(key, text)
        changed = limits.of(level).model_copy(update={field: value})
        if level == ACCOUNT:
            limits = limits.model_copy(update={"account": changed})
        elif level.startswith(_STRATEGY):
            strategies = {**limits.strategies, level.removeprefix(_STRATEGY): changed}
            limits = limits.model_copy(update={"strategies": strategies})
        else:
            instruments = {**limits.instruments, level.removeprefix(_INSTRUMENT): changed}
            limits = limits.model_copy(update={"instruments": instruments})
    return limits


def limit_text(value: Any) -> str:
    """The value of a limit as `parse_override` reads it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
