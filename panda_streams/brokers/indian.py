"""An account with an Indian broker: its calendar, what a trade costs there, and the contract note of a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from panda_streams.domain.calendar import Calendar, Session, market_of
from panda_streams.domain.charges import exercise_charges, fill_charges
from panda_streams.domain.contract_note import Tally, add, add_exercise, contract_note
from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.domain.matching import Trade
from panda_streams.domain.orders import Fill, Order, Role
from panda_streams.domain.signals import Side

__all__ = ["IndianAccount"]


@dataclass(frozen=True, slots=True)
class IndianAccount:
    """Charges what a Zerodha account is charged."""

    calendar: Calendar

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
        if not fill.charges:
            return tally  # settled without a trade, or moved from one book to another
        if fill.role is not Role.SETTLEMENT:
            return add(tally, who, instrument, fill.product, fill.side, *traded, fill.charges)
        return add_exercise(tally, who, instrument, fill.quantity, _underlying(instrument, fill.price), fill.charges)

    def contract_note(self, tally: Tally, on: date) -> dict[str, dict[str, Decimal]]:
        return contract_note(tally, on)

    def session(self, instrument: Instrument, time: int) -> Session | None:
        return self.calendar.session_at(market_of(instrument), time)


def _underlying(option: Instrument, worth: Decimal) -> Decimal:
    """The underlying's price at which an option in the money is worth this much."""
    assert option.strike is not None
    return option.strike + worth if option.right is Right.CALL else option.strike - worth
