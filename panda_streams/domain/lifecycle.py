"""The life of an order: one state machine for paper and real brokers. docs/orders.md is drawn from it.

A transition that is not in the table cannot be made, an order ends once, and a fill that was counted is not counted
again.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.orders import Fill, Order, OrderState

__all__ = ["TRANSITIONS", "IllegalTransition", "OrderEvent", "advance", "fill_order"]


class OrderEvent(StrEnum):
    """What can happen to an order."""

    SEND = "SEND"
    """It is about to be sent: durable before it is."""
    LOSE = "LOSE"
    """No answer to it came, or one that does not say whether it was taken."""
    MISS = "MISS"
    """The broker's book, read late enough, does not hold it."""
    OPEN = "OPEN"
    """Exchange or paper market has taken it."""
    ARM = "ARM"
    """Exchange or paper market has taken it, and it waits for its trigger price."""
    TRIGGER = "TRIGGER"
    """Its trigger price was traded."""
    MODIFY = "MODIFY"
    """Price, trigger or quantity were changed."""
    FILL = "FILL"
    """A part of it was traded."""
    COMPLETE = "COMPLETE"
    """The last of it was traded."""
    CANCEL = "CANCEL"
    """It was taken away before it was done."""
    EXPIRE = "EXPIRE"
    """Its time was over before it was done."""
    REJECT = "REJECT"
    """It was refused before it could trade."""


_E, _S = OrderEvent, OrderState
_ENDS = {_E.CANCEL: _S.CANCELLED, _E.EXPIRE: _S.EXPIRED, _E.REJECT: _S.REJECTED}
_TAKEN = {_E.OPEN: _S.WORKING, _E.ARM: _S.TRIGGER_PENDING, _E.FILL: _S.WORKING, _E.COMPLETE: _S.FILLED}
"""A broker's word can come out of order: an order is known by its first fill before it is known as open."""

TRANSITIONS: dict[OrderState, dict[OrderEvent, OrderState]] = {
    _S.INTENT: {_E.SEND: _S.SENDING, _E.OPEN: _S.WORKING, _E.ARM: _S.TRIGGER_PENDING, **_ENDS},
    _S.SENDING: {_E.LOSE: _S.UNKNOWN, **_TAKEN, **_ENDS},
    _S.UNKNOWN: {_E.MISS: _S.ABSENT, **_TAKEN, **_ENDS},
    _S.TRIGGER_PENDING: {
        _E.TRIGGER: _S.WORKING,
        _E.MODIFY: _S.TRIGGER_PENDING,
        _E.FILL: _S.WORKING,
        _E.COMPLETE: _S.FILLED,
        **_ENDS,
    },
    _S.WORKING: {_E.MODIFY: _S.WORKING, _E.FILL: _S.WORKING, _E.COMPLETE: _S.FILLED, **_ENDS},
    _S.FILLED: {},
    _S.CANCELLED: {},
    _S.EXPIRED: {},
    _S.REJECTED: {},
    _S.ABSENT: {},
}


class IllegalTransition(Exception):
    """An event that an order cannot meet in its state: a broken invariant."""

    def __init__(self, order: Order, event: OrderEvent) -> None:
        super().__init__(f"order {order.order_id} is {order.state}, which {event} cannot follow")


def advance(order: Order, event: OrderEvent, **changed: object) -> Order:
    """The order after an event, with other fields `changed` by it; raise IllegalTransition if it cannot meet it."""
    state = TRANSITIONS[order.state].get(event)
    if state is None:
        raise IllegalTransition(order, event)
    return order.model_copy(update={**changed, "state": state})


def fill_order(order: Order, fill: Fill) -> Order:
    """The order after a fill; the same order if that fill was counted before.

    Raises IllegalTransition for a fill of an order that has ended, and ValueError for one beyond its quantity.
    """
    if fill.fill_id in order.fill_ids:
        return order
    if fill.quantity <= 0 or fill.quantity > order.remaining:
        raise ValueError(f"fill {fill.fill_id} of {fill.quantity}: order {order.order_id} has {order.remaining} left")
    return advance(
        order,
        OrderEvent.COMPLETE if fill.quantity == order.remaining else OrderEvent.FILL,
        filled=order.filled + fill.quantity,
        turnover=order.turnover + Decimal(fill.quantity) * fill.price,
        fill_ids=(*order.fill_ids, fill.fill_id),
    )
