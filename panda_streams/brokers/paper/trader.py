"""The paper trader: the paper market, Zerodha's charges and the Indian calendar."""

from __future__ import annotations

from dataclasses import dataclass

from panda_streams.brokers.indian import IndianAccount
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.matching import Match, PaperMarket, Sight
from panda_streams.domain.orders import Order
from panda_streams.settings import Settings

__all__ = ["PaperTrader"]


@dataclass(frozen=True, slots=True)
class PaperTrader(IndianAccount):
    """Fills orders from the tick log."""

    market: PaperMarket

    @classmethod
    def from_settings(cls, settings: Settings, calendar: Calendar) -> PaperTrader:
        market = PaperMarket(
            latency_ms=settings.paper_latency_ms,
            latency_spread_ms=settings.paper_latency_spread_ms,
            slippage=settings.paper_slippage,
            participation=settings.paper_participation,
            queue=settings.paper_queue,
        )
        return cls(calendar, market)

    def latency(self, order_id: str) -> int:
        return self.market.latency(order_id)

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        return self.market.match(order, instrument, sight)
