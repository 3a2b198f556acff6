"""The paper market: what a tick gives a MARKET order."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from panda_streams.domain.fate import Execution
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Order
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, price_of
from panda_streams.settings import Settings

__all__ = ["PaperTrader"]


@dataclass(frozen=True, slots=True)
class PaperTrader:
    """Fills a MARKET order in full at the first tick after its latency.

    The price comes from the best information that the tick has: the depth, walked level by level; else the best bid
    or ask; else the last price and a slippage, rounded against the trader to the instrument's tick size.
    """

    latency_ms: int
    slippage: Decimal
    """Share of the last price, where a tick has neither depth nor bid and ask."""
    charge_rate: Decimal
    """Charges as a flat share of turnover."""

    @classmethod
    def from_settings(cls, settings: Settings) -> PaperTrader:
        return cls(settings.paper_latency_ms, settings.paper_slippage, settings.paper_charge_rate)

    def match(self, order: Order, instrument: Instrument, tick: Tick, depth: Depth | None) -> tuple[Execution, ...]:
        buying = order.side is Side.BUY
        levels = (depth.asks if buying else depth.bids) if depth else ()
        best = tick.ask if buying else tick.bid
        if levels:
            taken = _walk(levels, order.quantity, instrument.decimals)
        elif best is not None:
            taken = [(order.quantity, price_of(best, instrument.decimals))]
        else:
            price = self._slipped(price_of(tick.price, instrument.decimals), instrument, buying)
            taken = [(order.quantity, price)]
        return tuple(Execution(quantity, price, price * quantity * self.charge_rate) for quantity, price in taken)

    def _slipped(self, price: Decimal, instrument: Instrument, buying: bool) -> Decimal:
        slipped = price * (1 + self.slippage if buying else 1 - self.slippage)
        steps = (slipped / instrument.tick_size).to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR)
        return steps * instrument.tick_size


def _walk(levels: tuple[DepthLevel, ...], quantity: int, decimals: int) -> list[tuple[int, Decimal]]:
    """Take `quantity` shares from the book, best level first; what the book lacks is taken at its last level."""
    taken, left = [], quantity
    for number, level in enumerate(levels, start=1):
        shares = left if number == len(levels) else min(left, level.quantity)
        if shares:
            taken.append((shares, price_of(level.price, decimals)))
            left -= shares
    return taken
