"""Working orders in the mirror, for people to read."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from agents.context import Context
from panda_streams.domain.orders import Order
from panda_streams.keys import Keys

__all__ = ["mirror_orders"]


def mirror_orders(context: Context, orders: Iterable[Order], ended: Iterable[str], version: int) -> None:
    """Put an instrument's working orders into the mirror, and take out those that have ended, by id."""
    keys, mirror, at = Keys(context.namespace), context.mirror, context.now_ms()
    for order in orders:
        view = {
            "order_id": order.order_id,
            "strategy_id": order.strategy_id,
            "instrument": order.instrument,
            "side": order.side,
            "role": order.role,
            "product": order.product,
            "order_type": order.order_type,
            "quantity": order.quantity,
            "filled": order.filled,
            "state": order.state,
            "price": None if order.price is None else f"{order.price:f}",
            "trigger": None if order.trigger is None else f"{order.trigger:f}",
            "time": order.cause.time,
            "at": at,
        }
        mirror.put(keys.order(order.order_id), orjson.dumps(view), version=version)
        mirror.add(keys.orders, order.order_id)
    for order_id in ended:
        mirror.remove(keys.order(order_id))
        mirror.discard(keys.orders, order_id)
