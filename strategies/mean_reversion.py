"""Mean reversion: buys a stock far below its own recent mean, and sells it back there, in time, or at a stop."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

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


class Entry(NamedTuple):
    """The purchase that was said last: event time and the price at or below which it is given up."""

    time: int
    stop: float


class Stock(NamedTuple):
    """A stock's spread since it has been seen without a long silence, its purchase if any, and its last sale."""

    spread: Spread
    since: int
    entry: Entry | None
    sold: int | None


class MeanReversion(Strategy[Mapping[str, Stock]]):
    """Long only: ENTRY BUY far below the mean, EXIT SELL back at it, after max_hold_s, or at the stop.

    Decides on ticks of the stocks that it trades; ticks of other instruments change nothing.
    """

    Params = MeanReversionParams
    params: MeanReversionParams

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        entry, stop = self.params.entry_sigmas, self.params.stop_sigmas
        if stop <= entry:
            raise ValueError(f"params.stop_sigmas: {stop:g} must be more than entry_sigmas {entry:g}")
        self._trades = frozenset(config.trades)
        self._stop_share = stop / entry
        self._warmup_ms = self.params.warmup_s * 1000.0
        self._cooldown_ms = self.params.cooldown_s * 1000.0
        self._max_hold_ms = self.params.max_hold_s * 1000.0

    def initial(self) -> Mapping[str, Stock]:
        return {}

    def step(self, state: Mapping[str, Stock], tick: Tick) -> tuple[Mapping[str, Stock], tuple[Decision, ...]]:
        # Some feeds send 0 before the first trade of the day.
        if tick.price <= 0 or tick.instrument not in self._trades:
            return state, ()
        before = state.get(tick.instrument)
        after = spread(before.spread if before else None, tick.price, tick.time, self.params.half_life_s)
        decisions: tuple[Decision, ...] = ()
        if before is None:
            stock = Stock(after, tick.time, None, None)
        else:
            silent = tick.time - before.spread.time > self._warmup_ms
            since = tick.time if silent else before.since
            entry, sold = before.entry, before.sold
            if entry is not None:
                if self._leaves(before, entry, tick):
                    entry, sold = None, tick.time
                    decisions = (Decision(instrument=tick.instrument, side=Side.SELL, intent=Intent.EXIT),)
            elif tick.time - since >= self._warmup_ms and (sold is None or tick.time - sold >= self._cooldown_ms):
                entry = self._enters(before.spread, tick)
                if entry is not None:
                    decisions = (Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY),)
            stock = Stock(after, since, entry, sold)
        return {**state, tick.instrument: stock}, decisions

    def _enters(self, before: Spread, tick: Tick) -> Entry | None:
        """The purchase that this tick asks for; a price already through its stop asks for none."""
        least = before.mean * self.params.min_deviation_bps / 10_000.0
        distance = max(self.params.entry_sigmas * sqrt(before.variance), least)
        stop = before.mean - distance * self._stop_share
        return Entry(tick.time, stop) if stop < tick.price < before.mean - distance else None

    def _leaves(self, before: Stock, entry: Entry, tick: Tick) -> bool:
        return (
            tick.price >= before.spread.mean or tick.price <= entry.stop or tick.time - entry.time >= self._max_hold_ms
        )

    def dump(self, state: Mapping[str, Stock]) -> Any:
        return {
            name: [*stock.spread, stock.since, list(stock.entry) if stock.entry else None, stock.sold]
            for name, stock in state.items()
        }

    def load(self, data: Any) -> Mapping[str, Stock]:
        return {
            name: Stock(Spread(mean, variance, time), since, Entry(*entry) if entry else None, sold)
            for name, (mean, variance, time, since, entry, sold) in data.items()
        }
