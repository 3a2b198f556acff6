"""The desk of one instrument on paper: its orders are matched against the tick log, and nothing is ever unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from panda_streams.domain.desk import Change, Desk
from panda_streams.domain.exchange import Market
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.lifecycle import OrderEvent, advance
from panda_streams.domain.matching import Sight, Trade
from panda_streams.domain.orders import Amendment, Order, OrderState, Reason
from panda_streams.domain.positions import Position
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Depth, Place, Tick, TickRef

__all__ = ["PaperDesk"]


class PaperDesk(Desk):
    """Working orders and positions in one instrument, filled from the ticks that it is given."""

    def __init__(
        self,
        namespace: str,
        instrument: Instrument,
        market: Market,
        orders: Iterable[Order] = (),
        positions: Mapping[str, Position] | None = None,
        protections: Mapping[str, Protection] | None = None,
        *,
        watches: bool = True,
    ) -> None:
        self._market = market
        super().__init__(namespace, instrument, market, orders, positions, protections, watches=watches)

    def cancel(self, strategy_id: str, side: Side, at: int) -> None:
        """Cancel a strategy's working orders on a side, legs of brackets apart; it acts at event time `at`."""
        for order in self._of_signals(strategy_id, side):
            if order.cancel_at is None:
                self._replace(order.model_copy(update={"cancel_at": at}))

    def modify(self, strategy_id: str, side: Side, at: int, price: Decimal | None, trigger: Decimal | None) -> None:
        """Give a strategy's working orders on a side other prices, as far as they have such; it acts at `at`, and not
        before what was asked for earlier."""
        for order in self._of_signals(strategy_id, side):
            asked = order.amendments
            amendment = Amendment(
                at=max(at, asked[-1].at) if asked else at,
                price=price if order.price is not None else None,
                trigger=trigger if order.state is OrderState.TRIGGER_PENDING else None,
            )
            if amendment.price is not None or amendment.trigger is not None:
                self._replace(order.model_copy(update={"amendments": (*asked, amendment)}))

    def late(self) -> PaperDesk:
        """A desk with the same positions and no order, for an order that must meet ticks which have passed.

        It closes nothing by itself: this desk does, now or once they are joined.
        """
        return PaperDesk(self._namespace, self._instrument, self._market, (), self.positions, watches=False)

    def join(self, late: PaperDesk, time: int) -> list[Change]:
        """Take over what is left on a desk of `late`, at the event time that this desk has come to."""
        self.changed = True
        gone = self.positions.keys() - late.positions.keys()
        self.positions = late.positions
        for strategy_id in (*gone, *self.positions):
            self._watch(strategy_id)
        for order in late.orders.values():
            self._enter(order)
        return [change for strategy_id in sorted(self._reducing) for change in self._nothing_left(strategy_id, time)]

    # What the log says

    def _meet_orders(
        self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None
    ) -> list[Change]:
        time, changes = tick.time, list[Change]()
        waiting, orders = self._waiting, self.orders
        arrived = waiting.arrive(orders, time, (place.offset, tick.row))
        first = {name for name in arrived if orders[name].state is OrderState.WORKING}
        for name in waiting.triggered(tick.price):
            order = orders[name] = advance(orders[name], OrderEvent.TRIGGER)
            self.changed = True
            waiting.put_on_market(order)
            changes.append(Change(order, time, reason=Reason.TRIGGERED))
            first.add(name)
        reached = waiting.reached(tick, first)
        if not reached:
            return changes
        depth = book(tick.row)
        for name in reached:
            order_now = orders.get(name)
            if order_now is not None:  # else what came before it at this tick has ended it
                sight = Sight(tick, depth, traded, name in first)
                changes += self._match(order_now, sight, place.ref(tick.row, time))
        return changes

    def _match(self, order: Order, sight: Sight, ref: TickRef) -> list[Change]:
        if order.reduces and not self._closable(order):
            return [self._end(order, OrderEvent.CANCEL, ref.time, Reason.POSITION_CLOSED)]
        match = self._market.match(order, self._instrument, sight)
        changes: list[Change] = []
        if match.queue != order.queue or not order.looked:
            order = order.model_copy(update={"queue": match.queue, "looked": True})
            self.orders[order.order_id] = order
            self.changed = True
        for trade in match.trades:
            left = self.orders.get(order.order_id)
            if left is None:
                break
            quantity = min(trade.quantity, self._closable(left)) if left.reduces else trade.quantity
            changes += self._filled(left, Trade(quantity, trade.price), ref)
        left = self.orders.get(order.order_id)
        if left is not None and left.validity is Validity.IOC:
            changes.append(self._end(left, OrderEvent.CANCEL, ref.time, Reason.IOC_REMAINDER))
        return changes

    # Time

    def _fall_due(self, order: Order, at: int) -> list[Change]:
        if order.cancel_at == at:
            return [self._end(order, OrderEvent.CANCEL, at, Reason.CANCELLED_BY_STRATEGY)]
        if order.expires_at == at:
            return [self._end(order, OrderEvent.EXPIRE, at, self._why_expired(order, at))]
        if order.amendments and order.amendments[0].at == at:
            return [self._amend(order)]
        return []

    def _amend(self, order: Order) -> Change:
        amendment, *later = order.amendments
        amended = advance(
            order,
            OrderEvent.MODIFY,
            price=amendment.price or order.price,
            trigger=amendment.trigger or order.trigger,
            amendments=tuple(later),
            queue=None,
            looked=False,
            live_at=max(order.live_at, amendment.at),
        )
        self._replace(amended)
        return Change(amended, amendment.at, reason=Reason.MODIFIED_BY_STRATEGY)

    # What the desk decides

    def _decide(self, order: Order, time: int) -> list[Change]:
        self.changed = True
        stops = order.order_type in (OrderType.SL, OrderType.SL_M)
        order = advance(order, OrderEvent.ARM if stops else OrderEvent.OPEN)
        self._enter(order)
        return [Change(order, time)]

    def _withdraw(self, order: Order, event: OrderEvent, time: int, reason: Reason) -> list[Change]:
        return [self._end(order, event, time, reason)]

    def _resize(self, order: Order, quantity: int, time: int, reason: Reason) -> list[Change]:
        resized = advance(order, OrderEvent.MODIFY, quantity=quantity)
        self._replace(resized)
        return [Change(resized, time, reason=reason)]
