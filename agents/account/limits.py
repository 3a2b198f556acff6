"""The limits that risk judges by at the moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agents.context import Context
from panda_streams.domain.risk.account import Scope
from panda_streams.domain.risk.limits import (
    ACCOUNT,
    LimitSet,
    OrderLimits,
    TotalLimits,
    instrument_level,
    strategy_level,
    with_overrides,
)

__all__ = ["InForce", "LimitsNow"]


@dataclass(frozen=True, slots=True)
class InForce:
    """What the files say, with what operators have set since; looked up once for each strategy and instrument."""

    limits: LimitSet
    revision: int
    """Of the levels that it has taken in."""
    losses: Mapping[str, TotalLimits]
    """Limits on which the arm stops itself, by level."""
    _orders: dict[tuple[str, str], OrderLimits] = field(default_factory=dict)
    _totals: dict[tuple[str, str], tuple[tuple[Scope, TotalLimits], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, limits: LimitSet, overrides: Mapping[str, str], revision: int) -> InForce:
        limits = with_overrides(limits, overrides)
        levels = {ACCOUNT: limits.account, **{strategy_level(name): own for name, own in limits.strategies.items()}}
        return cls(limits, revision, {level: own for level, own in levels.items() if _stops(own)})

    def order(self, strategy_id: str, instrument: str) -> OrderLimits:
        """The tightest limits on one order."""
        found = self._orders.get((strategy_id, instrument))
        if found is None:
            found = self._orders[strategy_id, instrument] = self.limits.resolve(strategy_id, instrument).order
        return found

    def totals(self, strategy_id: str, instrument: str) -> tuple[tuple[Scope, TotalLimits], ...]:
        """The limits on what adds up, of the account, the strategy and the instrument."""
        found = self._totals.get((strategy_id, instrument))
        if found is None:
            scopes = (
                Scope(ACCOUNT),
                Scope(strategy_level(strategy_id), strategy_id=strategy_id),
                Scope(instrument_level(instrument), instrument=instrument),
            )
            found = tuple((scope, self.limits.of(scope.level)) for scope in scopes)
            self._totals[strategy_id, instrument] = found
        return found


class LimitsNow:
    """The limits in force, made anew once a level has changed."""

    def __init__(self) -> None:
        self._known: InForce | None = None

    def now(self, context: Context) -> InForce:
        """Those of the context's account."""
        levels = context.levels
        if self._known is None or self._known.revision != levels.revision:
            self._known = InForce.of(context.limits, levels.limits(context.namespace), levels.revision)
        return self._known


def _stops(limits: TotalLimits) -> bool:
    watched = (limits.max_daily_loss, limits.max_drawdown, limits.max_rejections_per_day, limits.max_unknown_orders)
    return any(limit is not None for limit in watched)
