"""The paper trader: the paper market, Zerodha's charges and the Indian calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from panda_streams.domain.calendar import Calendar, Session, market_of
from panda_streams.domain.charges import exercise_charges, fill_charges
from panda_streams.domain.contract_note import Tally, add, add_exercise, contract_note
from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.domain.matching import Match, PaperMarket, Sight, Trade
from panda_streams.domain.orders import Fill, Order, Role
from panda_streams.domain.signals import Side
from panda_streams.settings import Settings

__all__ = ["PaperTrader"]


@dataclass(frozen=True, slots=True)
class PaperTrader:
    """Fills orders from the tick log, and charges what a Zerodha account would be charged."""

    market: PaperMarket
    calendar: Calendar

    @classmethod
    def from_settings(cls, settings: Settings, calendar: Calendar) -> PaperTrader:
        market = PaperMarket(
            latency_ms=settings.paper_latency_ms,
            latency_spread_ms=settings.paper_latency_spread_ms,
            slippage=settings.paper_slippage,
            participation=settings.paper_participation,
            queue=settings.paper_queue,
        )
        return cls(market, calendar)

    def latency(self, order_id: str) -> int:
        return self.market.latency(order_id)

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        return self.market.match(order, instrument, sight)

    def charges(self, order: Order, instrument: Instrument, trade: Trade, on: date) -> dict[str, Decimal]:
        if order.role is Role.SETTLEMENT:
            if order.side is Side.BUY or instrument.kind is not InstrumentKind.OPTION or not trade.price:
                return {}
            return exercise_charges(instrument, trade.quantity, _underlying(instrument, trade.price), on)
        return fill_charges(
            instrument, order.product, order.side, trade.quantity, trade.price, on, before=order.turnover
        )

    def counted(self, tally: Tally, fill: Fill, instrument: Instrument) -> Tally:
        who, traded = fill.strategy_id, (fill.quantity, fill.price)
        if fill.role is not Role.SETTLEMENT:
            return add(tally, who, instrument, fill.product, fill.side, *traded, fill.charges)
        if not fill.charges:
            return tally
        return add_exercise(tally, who, instrument, fill.quantity, _underlying(instrument, fill.price), fill.charges)

    def contract_note(self, tally: Tally, on: date) -> dict[str, dict[str, Decimal]]:
        return contract_note(tally, on)

    def session(self, instrument: Instrument, time: int) -> Session | None:
        return self.calendar.session_at(market_of(instrument), time)


def _underlying(option: Instrument, worth: Decimal) -> Decimal:
    """The underlying's price at which an option in the money is worth this much."""
    assert option.strike is not None
    return option.strike + worth if option.right is Right.CALL else option.strike - worth
