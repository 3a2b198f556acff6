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
from strategies.indicators import DECAYS_MS, decays
from strategies.interface import Strategy

__all__ = ["Momentum", "MomentumParams", "Trend"]


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
    """A price's fast and slow average at `time`, the time since which it has been seen without a long silence, and for
    a stock what was said of it: `long` since or flat since the signal at `signalled`."""

    fast: float
    slow: float
    time: int
    since: int
    long: bool = False
    signalled: int | None = None


class Momentum(Strategy[dict[str, Trend]]):
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
        # Gaps as the ratio of the fast average to the slow one. Times are whole: Python compares two integers faster
        # than an integer and a float.
        self._fast_s, self._slow_s = self.params.fast_s, self.params.slow_s
        self._fast_kept, self._slow_kept = decays(self._fast_s), decays(self._slow_s)
        self._entry_ratio, self._exit_ratio = 1.0 + self.params.entry_bps / 1e4, 1.0 - self.params.exit_bps / 1e4
        self._warmup_ms, self._cooldown_ms = round(1000 * self.params.warmup_s), round(1000 * self.params.cooldown_s)

    def initial(self) -> dict[str, Trend]:
        return {}

    def step(self, state: dict[str, Trend], tick: Tick) -> tuple[dict[str, Trend], tuple[Decision, ...]]:
        instrument, price, time = tick.instrument, float(tick.price), tick.time
        if price <= 0.0:  # some feeds send 0 before the first trade of the day
            return state, ()
        before = state.get(instrument)
        state = state.copy()
        if before is None:
            state[instrument] = Trend(price, price, time, time)
            return state, ()
        # Two `ema` that share their time, written out: one call less for each tick and average.
        elapsed = time - before.time
        if 0 <= elapsed < DECAYS_MS:
            fast_kept, slow_kept = self._fast_kept[elapsed], self._slow_kept[elapsed]
        else:
            fast_kept, slow_kept = (0.5 ** (elapsed / (1000.0 * s)) for s in (self._fast_s, self._slow_s))
        fast = price + fast_kept * (before.fast - price)
        slow = price + slow_kept * (before.slow - price)
        since = time if elapsed > self._warmup_ms else before.since
        long = before.long
        trend = Trend(fast, slow, time, since, long, before.signalled)
        # Most ticks are of a flat stock that has not risen enough: nothing more is asked of them.
        asked = (long or fast > slow * self._entry_ratio) and instrument != self._market
        if asked and self._turns(trend, state.get(self._market)):
            state[instrument] = Trend(fast, slow, time, since, not long, time)
            side, intent = (Side.SELL, Intent.EXIT) if long else (Side.BUY, Intent.ENTRY)
            return state, (Decision(instrument=instrument, side=side, intent=intent),)
        state[instrument] = trend
        return state, ()

    def _turns(self, stock: Trend, market: Trend | None) -> bool:
        """Say whether a long stock is to be sold, or a flat one that has risen enough to be bought."""
        time, signalled = stock.time, stock.signalled
        if signalled is not None and time - signalled < self._cooldown_ms:
            return False
        if market is None or time - stock.since < self._warmup_ms or time - market.since < self._warmup_ms:
            return False
        if stock.long:
            return stock.fast < stock.slow or market.fast < market.slow * self._exit_ratio
        return market.fast > market.slow

    def dump(self, state: dict[str, Trend]) -> Any:
        market = state.get(self._market)
        return {
            "market": astuple(market) if market else None,
            "stocks": {name: astuple(trend) for name, trend in state.items() if name != self._market},
        }

    def load(self, data: Any) -> dict[str, Trend]:
        stocks = {name: Trend(*values) for name, values in data["stocks"].items()}
        return stocks if data["market"] is None else {self._market: Trend(*data["market"]), **stocks}
