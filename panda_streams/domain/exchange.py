"""What a desk asks of the market that its account trades on, and the order that a ticket becomes there."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Protocol

from panda_streams.domain.calendar import Session
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.matching import Match, Sight, Trade
from panda_streams.domain.orders import Order, Product, Role, Ticket
from panda_streams.domain.signals import Signal

__all__ = ["Exchange", "Market", "accept", "order_of"]


class Exchange(Protocol):
    """What a desk asks of the market that its account trades on; each answer is a function of its arguments alone."""

    def latency(self, order_id: str) -> int:
        """Event time in milliseconds from an order's cause until the market can fill it."""

    def charges(self, order: Order, instrument: Instrument, trade: Trade, on: date) -> dict[str, Decimal]:
        """The charges of a trade by head, before the order counts it."""

    def session(self, instrument: Instrument, time: int) -> Session | None:
        """The session of the day of `time`, an event time; None if there is none that day."""


class Market(Exchange, Protocol):
    """An exchange that fills orders from the tick log alone."""

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        """What a look at the market gives an order that is on it."""


def accept(signal: Signal, ticket: Ticket, verdict_at: int, instrument: Instrument, exchange: Exchange) -> Order:
    """The order that a ticket of a validated signal is: it lives from the signal's cause plus latency on, and no
    earlier than its verdict. `verdict_at` is event time. An intraday entry works until positions are squared off."""
    terms = signal.terms
    entering = ticket.role is Role.ENTRY
    live_at = max(signal.cause.time + exchange.latency(ticket.order_id), verdict_at)
    session = exchange.session(instrument, live_at)
    expires_at = session.closes if session is not None else live_at
    if session is not None and session.square_off is not None and entering and ticket.product is Product.MIS:
        expires_at = session.square_off
    if terms.ttl_minutes is not None:
        expires_at = min(expires_at, live_at + 60_000 * terms.ttl_minutes)
    placed = {
        "price": terms.price,
        "trigger": terms.trigger,
        "expires_at": expires_at,
        "target": terms.target if entering else None,
        "stop": terms.stop if entering else None,
    }
    return order_of(signal, ticket, live_at).model_copy(update=placed)


def order_of(signal: Signal, ticket: Ticket, live_at: int) -> Order:
    """The order that a ticket of a validated signal is, before the market has any say in it: it has no prices."""
    return Order(
        order_id=ticket.order_id,
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        instrument=signal.instrument,
        side=ticket.side,
        role=ticket.role,
        product=ticket.product,
        quantity=ticket.quantity,
        order_type=signal.terms.order_type,
        validity=signal.terms.validity,
        cause=signal.cause,
        live_at=live_at,
    )
