"""What the changes of a desk add up to: every fill once, none beyond its order, none that opens what was to close."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from panda_streams.domain.desk import Change
from panda_streams.domain.orders import Fill, Order, Role


class Account:
    """What the changes of a desk add up to; each one is checked against those before it."""

    def __init__(self) -> None:
        self.positions: defaultdict[str, int] = defaultdict(int)
        self.orders: dict[str, Order] = {}
        self.fills: dict[str, Fill] = {}
        self.turnover: defaultdict[str, Decimal] = defaultdict(Decimal)

    def hear(self, change: Change) -> None:
        order, before = change.order, self.orders.get(change.order.order_id)
        assert before is None or not before.state.terminal, "an order ends once"
        filled = order.filled - (before.filled if before else 0)
        assert filled == (change.fill.quantity if change.fill else 0), "only a fill fills"
        assert 0 <= order.filled <= order.quantity
        self.orders[order.order_id] = order
        if change.fill is not None:
            self._count(order, change.fill)
        assert order.turnover == self.turnover[order.order_id]

    def _count(self, order: Order, fill: Fill) -> None:
        assert fill.fill_id not in self.fills
        self.fills[fill.fill_id] = fill
        self.turnover[order.order_id] += fill.quantity * fill.price
        if order.role is not Role.SETTLEMENT:
            assert (fill.tick.offset, fill.tick.row) > (order.cause.offset, order.cause.row)
            assert fill.time == fill.tick.time >= order.live_at
            assert order.expires_at is None or fill.time < order.expires_at
        if order.price is not None:
            assert order.signed * fill.price <= order.signed * order.price, "never worse than the limit"
        held = self.positions[order.strategy_id]
        self.positions[order.strategy_id] = after = held + order.signed * fill.quantity
        if order.reduces:
            assert abs(after) == abs(held) - fill.quantity, "what only reduces never opens or turns"

    def held(self) -> dict[str, int]:
        return {strategy_id: quantity for strategy_id, quantity in self.positions.items() if quantity}

    def legs(self, entry: str) -> int:
        """What all legs of an entry have closed."""
        return sum(order.filled for order in self.orders.values() if order.parent == entry)
