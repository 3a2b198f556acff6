"""Limits at three levels, the account, a strategy and an instrument: what each holds, and which is the tightest."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from panda_streams.domain.values import Value

__all__ = [
    "ACCOUNT",
    "NONE",
    "Breach",
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

Count = Annotated[int, Field(ge=0)]
Rupees = Annotated[Decimal, Field(ge=0)]
Loss = Annotated[Decimal, Field(gt=0)]
Seconds = Annotated[Decimal, Field(gt=0, decimal_places=3)]


class Breach(StrEnum):
    """What becomes of a level once it has lost too much, or its market cannot be trusted."""

    HALTED = "HALTED"
    """It sends no order."""
    REDUCING = "REDUCING"
    """It only closes positions."""


class OrderLimits(Value):
    """Limits on one order: of those that the three levels set, the tightest judges it."""

    min_order_quantity: int | None = Field(None, ge=1)
    """Fewest shares of an order that opens a position. The largest of the three levels is the tightest."""
    max_order_quantity: Count | None = None
    """Most shares of an order; 0 allows none."""
    max_order_notional: Rupees | None = None
    """Most rupees of an order: quantity times price."""
    price_collar: Decimal | None = Field(None, gt=0, le=1)
    """Share of the quote's price that a limit or a trigger may be away from it: 0.05 is 5 %."""
    max_slices: int | None = Field(None, ge=1)
    """Most orders into which one signal is cut where the exchange takes no larger ones."""
    max_quote_age_s: Seconds | None = None
    """Event seconds after which the last quote of an instrument is too old to enter by."""
    max_signal_age_s: Seconds | None = None
    """Event seconds after its cause at which a signal is too old to enter by."""
    max_clock_skew_s: Annotated[Decimal, Field(ge=0, decimal_places=3)] | None = None
    """Event seconds that a signal or its quote may be ahead of the account's clock."""
    duplicate_window_s: Seconds | None = None
    """Event seconds within which a strategy enters an instrument on one side only once. The largest of the three levels
    is the tightest."""
    shrink: bool | None = None
    """True: a quantity above a limit is reduced to it, in whole lots, instead of refused. False at one level is the
    tightest; unset at all: refused."""


class TotalLimits(Value):
    """Limits on what adds up: each level has a total of its own, and every one of them judges."""

    max_orders_per_second: Count | None = None
    """Most orders in an event second."""
    max_orders_per_minute: Count | None = None
    """Most orders in an event minute."""
    max_orders_per_day: Count | None = None
    """Most orders on a trading day."""
    max_cancels_per_day: Count | None = None
    """Most cancellations and changes of orders on a trading day."""
    max_open_orders: Count | None = None
    """Most orders that work at the same time."""
    max_position: Count | None = None
    """Most shares of one instrument, long or short, held and on order. For a strategy its own; for the account and for
    an instrument those of all strategies together."""
    max_gross_exposure: Rupees | None = None
    """Most rupees in positions, long and short ones added up."""
    max_net_exposure: Rupees | None = None
    """Most rupees in positions, long ones less short ones, to either side."""
    max_daily_loss: Loss | None = None
    """Rupees lost since the trading day's start, open positions and charges included, at which `on_breach` is done."""
    max_drawdown: Loss | None = None
    """Rupees lost since the highest equity so far, at which `on_breach` is done."""
    max_rejections_per_day: Count | None = None
    """Orders that the market rejects on a trading day; with one more `on_breach` is done."""
    max_unknown_orders: Count | None = None
    """Orders of which the broker has not said what became of them; with one more `on_breach` is done."""
    feed_stale_s: Seconds | None = None
    """Event seconds of trading hours without a tick, at which `on_breach` is done. For a strategy: of none of its
    instruments; for the account: of none at all."""
    on_breach: Breach | None = None
    """What is done to this level, and to it alone, once its loss, its drawdown or another limit of this kind is
    reached; unset: HALTED."""

    @property
    def after_breach(self) -> Breach:
        """`on_breach`, or what holds where it is unset."""
        return self.on_breach or Breach.HALTED


class Limits(TotalLimits, OrderLimits):
    """What one level sets; what is unset has no limit there."""


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
    if isinstance(value, Breach):
        return list(Breach).index(value)
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
