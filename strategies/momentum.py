"""Momentum: buys a stock that rises while the market rises, and sells it when either turns."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import astuple
from pydantic import Field

from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from strategies.config import StrategyConfig
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


class Trend(Struct, frozen=True, gc=False):
    """A price's fast and slow average at `time`, and the time since which it has been seen without a long silence."""

    fast: float
    slow: float
    time: int
    since: int

    @property
    def gap_bps(self) -> float:
        return (self.fast / self.slow - 1.0) * 10_000.0


class Stock(Struct, frozen=True, gc=False):
    """A stock's trend and what was last said of it: `long` since or flat since the signal at `signalled`."""

    trend: Trend
    long: bool
    signalled: int | None


class MomentumState(Struct, frozen=True, gc=False):
    """The market's trend and the stocks of one shard."""

    market: Trend | None
    stocks: dict[str, Stock]


class Momentum(Strategy[MomentumState]):
    """Long only: ENTRY BUY on a stock's rise in a rising market, EXIT SELL when the stock or the market turns.

    Watches exactly one index as the market filter; decides on ticks of the stocks that it trades.
    """

    Params = MomentumParams
    params: MomentumParams

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        if config.contracts:
            raise ValueError(f"trades: momentum trades shares alone, found {', '.join(config.contracts)}")
        if self.params.slow_s <= self.params.fast_s:
            raise ValueError(f"params.slow_s: {self.params.slow_s:g} must be more than fast_s {self.params.fast_s:g}")
        markets = [name for name in config.watches if name not in config.trades]
        if len(markets) != 1:
            raise ValueError(f"watches: momentum needs exactly one index as its market, found {markets or 'none'}")
        self._market = markets[0]
        # Read once: a field of a pydantic model costs a look-up more at each tick.
        self._fast_ms, self._slow_ms = 1000.0 * self.params.fast_s, 1000.0 * self.params.slow_s
        self._entry_bps, self._exit_bps = self.params.entry_bps, self.params.exit_bps
        self._warmup_ms = self.params.warmup_s * 1000.0
        self._cooldown_ms = self.params.cooldown_s * 1000.0

    def initial(self) -> MomentumState:
        return MomentumState(None, {})

    def step(self, state: MomentumState, tick: Tick) -> tuple[MomentumState, tuple[Decision, ...]]:
        instrument, time, market = tick.instrument, tick.time, state.market
        if tick.price <= 0:  # some feeds send 0 before the first trade of the day
            return state, ()
        if instrument == self._market:
            return MomentumState(self._follow(market, tick.price, time), state.stocks), ()
        before = state.stocks.get(instrument)
        if before is None:
            trend, long, signalled = self._follow(None, tick.price, time), False, None
        else:
            trend, long, signalled = self._follow(before.trend, tick.price, time), before.long, before.signalled
        decisions: tuple[Decision, ...] = ()
        if market is not None and self._turns(trend, market, long, signalled, time):
            decisions = (
                Decision(instrument=instrument, side=Side.SELL, intent=Intent.EXIT)
                if long
                else Decision(instrument=instrument, side=Side.BUY, intent=Intent.ENTRY),
            )
            long, signalled = not long, time
        stocks = state.stocks.copy()
        stocks[instrument] = Stock(trend, long, signalled)
        return MomentumState(market, stocks), decisions

    def _follow(self, trend: Trend | None, price: int, time: int) -> Trend:
        if trend is None:
            return Trend(float(price), float(price), time, time)
        elapsed = time - trend.time
        if elapsed <= 0:
            return trend
        fast, slow = trend.fast, trend.slow
        # Two `ema` that share their time, written out: one call less for each tick and average.
        return Trend(
            fast + (1.0 - 0.5 ** (elapsed / self._fast_ms)) * (price - fast),
            slow + (1.0 - 0.5 ** (elapsed / self._slow_ms)) * (price - slow),
            time,
            time if elapsed > self._warmup_ms else trend.since,
        )

    def _turns(self, trend: Trend, market: Trend, long: bool, signalled: int | None, time: int) -> bool:
        """Say whether a long stock is to be sold, or a flat one to be bought."""
        if signalled is not None and time - signalled < self._cooldown_ms:
            return False
        if time - trend.since < self._warmup_ms or time - market.since < self._warmup_ms:
            return False
        if long:
            return trend.gap_bps < 0.0 or market.gap_bps < -self._exit_bps
        return trend.gap_bps > self._entry_bps and market.gap_bps > 0.0

    def dump(self, state: MomentumState) -> Any:
        return {
            "market": astuple(state.market) if state.market else None,
            "stocks": {
                name: [*astuple(stock.trend), stock.long, stock.signalled] for name, stock in state.stocks.items()
            },
        }

    def load(self, data: Any) -> MomentumState:
        return MomentumState(
            Trend(*data["market"]) if data["market"] else None,
            {name: Stock(Trend(*trend), long, signalled) for name, (*trend, long, signalled) in data["stocks"].items()},
        )
