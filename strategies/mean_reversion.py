"""Mean reversion: buys a stock far below its own recent mean, and sells it back there, in time, or at a stop."""

from __future__ import annotations

from math import sqrt
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple
from pydantic import Field

from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.ticks import Tick
from panda_streams.domain.values import Value
from strategies.config import StrategyConfig
from strategies.indicators import Spread, spread
from strategies.interface import Strategy

__all__ = ["Entry", "MeanReversion", "MeanReversionParams", "Stock"]


class MeanReversionParams(Value):
    """Parameters of mean reversion. Mean and sigma are exponentially weighted, of the ticks before this one."""

    half_life_s: float = Field(180, gt=0)
    """Half-life of mean and sigma, event seconds."""
    entry_sigmas: float = Field(1.5, gt=0)
    """A stock is bought when its price is further than this below the mean, in sigmas."""
    min_deviation_bps: float = Field(10, ge=0)
    """The least distance below the mean for a purchase, basis points of the mean: about what buying and selling
    costs, so that the way back can earn it."""
    stop_sigmas: float = Field(3.0, gt=0)
    """A stock is sold at a loss this far below the mean of its purchase, in the sigmas of `entry_sigmas`."""
    max_hold_s: float = Field(600, gt=0)
    """A stock is sold after this long, wherever its price is, event seconds."""
    warmup_s: float = Field(120, ge=0)
    """Event seconds that a stock must have been seen before it is bought, again after a silence of that length."""
    cooldown_s: float = Field(30, ge=0)
    """Least event seconds from a sale to the next purchase of an instrument; sales never wait."""


class Entry(Struct, frozen=True, gc=False):
    """The purchase that was said last: event time and the price at or below which it is given up."""

    time: int
    stop: float


class Stock(Struct, frozen=True, gc=False):
    """A stock's spread since it has been seen without a long silence, its purchase if any, and its last sale."""

    spread: Spread
    since: int
    entry: Entry | None
    sold: int | None


class MeanReversion(Strategy[dict[str, Stock]]):
    """Long only: ENTRY BUY far below the mean, EXIT SELL back at it, after max_hold_s, or at the stop.

    Decides on ticks of the stocks that it trades; ticks of other instruments change nothing.
    """

    Params = MeanReversionParams
    params: MeanReversionParams

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        if config.contracts:
            raise ValueError(f"trades: mean_reversion trades shares alone, found {', '.join(config.contracts)}")
        entry, stop = self.params.entry_sigmas, self.params.stop_sigmas
        if stop <= entry:
            raise ValueError(f"params.stop_sigmas: {stop:g} must be more than entry_sigmas {entry:g}")
        self._trades = frozenset(config.trades)
        # Read once: a field of a pydantic model costs a look-up more at each tick.
        self._half_life_s = self.params.half_life_s
        self._entry_sigmas, self._min_deviation_bps = entry, self.params.min_deviation_bps
        self._stop_share = stop / entry
        self._warmup_ms = self.params.warmup_s * 1000.0
        self._cooldown_ms = self.params.cooldown_s * 1000.0
        self._max_hold_ms = self.params.max_hold_s * 1000.0

    def initial(self) -> dict[str, Stock]:
        return {}

    def step(self, state: dict[str, Stock], tick: Tick) -> tuple[dict[str, Stock], tuple[Decision, ...]]:
        instrument, price, time = tick.instrument, tick.price, tick.time
        # Some feeds send 0 before the first trade of the day.
        if price <= 0 or instrument not in self._trades:
            return state, ()
        before = state.get(instrument)
        decisions: tuple[Decision, ...] = ()
        if before is None:
            stock = Stock(spread(None, price, time, self._half_life_s), time, None, None)
        else:
            seen, since, entry, sold = before.spread, before.since, before.entry, before.sold
            if time - seen.time > self._warmup_ms:
                since = time
            if entry is not None:
                if price >= seen.mean or price <= entry.stop or time - entry.time >= self._max_hold_ms:
                    entry, sold = None, time
                    decisions = (Decision(instrument=instrument, side=Side.SELL, intent=Intent.EXIT),)
            elif time - since >= self._warmup_ms and (sold is None or time - sold >= self._cooldown_ms):
                entry = self._enters(seen, price, time)
                if entry is not None:
                    decisions = (Decision(instrument=instrument, side=Side.BUY, intent=Intent.ENTRY),)
            stock = Stock(spread(seen, price, time, self._half_life_s), since, entry, sold)
        stocks = state.copy()
        stocks[instrument] = stock
        return stocks, decisions

    def _enters(self, before: Spread, price: int, time: int) -> Entry | None:
        """The purchase that this tick asks for; a price already through its stop asks for none."""
        distance = max(self._entry_sigmas * sqrt(before.variance), before.mean * self._min_deviation_bps / 10_000.0)
        if price >= before.mean - distance:
            return None
        stop = before.mean - distance * self._stop_share
        return Entry(time, stop) if price > stop else None

    def dump(self, state: dict[str, Stock]) -> Any:
        return {
            name: [*astuple(stock.spread), stock.since, astuple(stock.entry) if stock.entry else None, stock.sold]
            for name, stock in state.items()
        }

    def load(self, data: Any) -> dict[str, Stock]:
        return {
            name: Stock(Spread(mean, variance, time), since, Entry(*entry) if entry else None, sold)
            for name, (mean, variance, time, since, entry, sold) in data.items()
        }
