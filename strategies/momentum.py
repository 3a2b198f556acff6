"""Momentum: buys a stock that rises while the market rises, and sells it when either turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field

from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from strategies.config import StrategyConfig
from strategies.indicators import Ema, ema
from strategies.interface import Strategy

__all__ = ["Momentum", "MomentumParams", "MomentumState", "Stock", "Trend"]


class MomentumParams(Value):
    """Parameters of momentum. A gap is how far the fast average is above the slow one, in basis points of it."""

    fast_s: float = Field(15, gt=0)
    """Half-life of the fast average, event seconds."""
    slow_s: float = Field(90, gt=0)
    """Half-life of the slow average, event seconds; longer than the fast one."""
    entry_bps: float = Field(3, ge=0)
    """A stock is bought when its gap is above this while the index's gap is above 0, basis points."""
    exit_bps: float = Field(3, ge=0)
    """A stock is sold when its own gap is below 0, or the index's gap below minus this, basis points."""
    warmup_s: float = Field(120, ge=0)
    """Event seconds that a stock and the index must have been seen before the first signal, again after a silence
    of that length."""
    cooldown_s: float = Field(30, ge=0)
    """Least event seconds between two signals of one instrument."""


class Trend(NamedTuple):
    """A price's fast and slow average, and the event time since which it has been seen without a long silence."""

    fast: Ema
    slow: Ema
    since: int

    @property
    def gap_bps(self) -> float:
        return (self.fast.value / self.slow.value - 1.0) * 10_000.0


class Stock(NamedTuple):
    """A stock's trend and what was last said of it: `long` since or flat since the signal at `signalled`."""

    trend: Trend
    long: bool
    signalled: int | None


class MomentumState(NamedTuple):
    """The market's trend and the stocks of one shard."""

    market: Trend | None
    stocks: Mapping[str, Stock]


class Momentum(Strategy[MomentumState]):
    """Long only: ENTRY BUY on a stock's rise in a rising market, EXIT SELL when the stock or the market turns.

    Watches exactly one index as the market filter; decides on ticks of the stocks that it trades.
    """

    Params = MomentumParams
    params: MomentumParams

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        if self.params.slow_s <= self.params.fast_s:
            raise ValueError(f"params.slow_s: {self.params.slow_s:g} must be more than fast_s {self.params.fast_s:g}")
        markets = [name for name in config.watches if name not in config.trades]
        if len(markets) != 1:
            raise ValueError(f"watches: momentum needs exactly one index as its market, found {markets or 'none'}")
        self._market = markets[0]
        self._warmup_ms = self.params.warmup_s * 1000.0
        self._cooldown_ms = self.params.cooldown_s * 1000.0

    def initial(self) -> MomentumState:
        return MomentumState(None, {})

    def step(self, state: MomentumState, tick: Tick) -> tuple[MomentumState, tuple[Decision, ...]]:
        if tick.price <= 0:  # some feeds send 0 before the first trade of the day
            return state, ()
        if tick.instrument == self._market:
            return MomentumState(self._follow(state.market, tick), state.stocks), ()
        before = state.stocks.get(tick.instrument)
        if before is None:
            stock = Stock(self._follow(None, tick), False, None)
        else:
            stock = Stock(self._follow(before.trend, tick), before.long, before.signalled)
        decisions: tuple[Decision, ...] = ()
        if self._turns(stock, state.market, tick.time):
            decisions = (
                Decision(instrument=tick.instrument, side=Side.SELL, intent=Intent.EXIT)
                if stock.long
                else Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY),
            )
            stock = Stock(stock.trend, not stock.long, tick.time)
        return MomentumState(state.market, {**state.stocks, tick.instrument: stock}), decisions

    def _follow(self, trend: Trend | None, tick: Tick) -> Trend:
        price, time = tick.price, tick.time
        if trend is None:
            return Trend(ema(None, price, time, 1.0), ema(None, price, time, 1.0), time)
        return Trend(
            ema(trend.fast, price, time, self.params.fast_s),
            ema(trend.slow, price, time, self.params.slow_s),
            time if time - trend.slow.time > self._warmup_ms else trend.since,
        )

    def _turns(self, stock: Stock, market: Trend | None, time: int) -> bool:
        """Say whether a long stock is to be sold, or a flat one to be bought."""
        if stock.signalled is not None and time - stock.signalled < self._cooldown_ms:
            return False
        if market is None or time - max(stock.trend.since, market.since) < self._warmup_ms:
            return False
        if stock.long:
            return stock.trend.gap_bps < 0.0 or market.gap_bps < -self.params.exit_bps
        return stock.trend.gap_bps > self.params.entry_bps and market.gap_bps > 0.0

    def dump(self, state: MomentumState) -> Any:
        return {
            "market": _dump(state.market) if state.market else None,
            "stocks": {
                name: [*_dump(stock.trend), stock.long, stock.signalled] for name, stock in state.stocks.items()
            },
        }

    def load(self, data: Any) -> MomentumState:
        return MomentumState(
            _load(*data["market"]) if data["market"] else None,
            {name: Stock(_load(*trend), long, signalled) for name, (*trend, long, signalled) in data["stocks"].items()},
        )


def _dump(trend: Trend) -> list[Any]:
    return [trend.fast.value, trend.slow.value, trend.slow.time, trend.since]


def _load(fast: float, slow: float, time: int, since: int) -> Trend:
    return Trend(Ema(fast, time), Ema(slow, time), since)
