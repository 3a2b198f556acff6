"""The desk of one instrument at a real broker: what it asks of the trader, and what it makes of a broker's word.

Nothing is taken for done that the broker has not said. What only reduces never has more at the broker than there is to
close: an order that would waits until those before it have ended, stops that rest at the exchange make way for it, and
what is left of the position gets a stop of its own again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from panda_streams.domain.broker_orders import (
    another_try,
    given_key,
    got_key,
    moved_by_hand,
    pieces,
    resting_leg,
    resting_stop,
    stop_limit,
    stop_trigger,
)
from panda_streams.domain.brokerage import BrokerOrder, BrokerStatus, BrokerTrade, Known, Modification, Word
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.desk import Change, Desk
from panda_streams.domain.exchange import Exchange
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.lifecycle import OrderEvent, advance
from panda_streams.domain.matching import Trade
from panda_streams.domain.orders import UNATTRIBUTED, Order, OrderState, Product, Reason, Role
from panda_streams.domain.positions import Position
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import OrderType, Side, identify
from panda_streams.domain.ticks import Depth, Place, Tick, TickRef, price_of
from panda_streams.domain.waiting import NEVER

__all__ = ["Ask", "BrokerDesk"]

_CLAIMS = {
    Role.STOP: 0,
    Role.TARGET: 1,
    Role.EXIT: 2,
    Role.PROTECTION: 3,
    Role.SQUARE_OFF: 4,
    Role.FLATTEN: 5,
    Role.SETTLEMENT: 6,
}
"""Who makes way for whom among the orders that close a position."""
_BREACH_MS = 5000
"""Event time that a stop at the exchange has for closing a position whose stop was reached; then the arm does."""
_CALM_MS, _CALMEST_MS = 5000, 300_000
"""Event time for which the arm decides no exit after the broker has refused one, twice as long after each further
refusal: an exit that is refused all day must not use up the day's orders."""
_TRAIL = Decimal("0.002")
"""A trailing stop at the exchange is moved once it is to move by this share: a broker takes 25 changes of an order."""
_MODIFICATIONS = 25
"""Changes of one order that a broker takes."""
_OWN_MODIFICATIONS = 20
"""Of which as many may follow the price: the last five are for its quantity."""
_KEPT = 5
"""How often an order is asked to grow that the broker has kept smaller."""


class Ask(NamedTuple):
    """What the desk asks of the trader: to place an order, to change it if `change` is given, or to cancel it."""

    order: Order
    time: int
    """Event time at which it was decided."""
    cancel: bool = False
    change: Modification | None = None


class BrokerDesk(Desk):
    """Working orders and positions in one instrument of an account at a broker.

    `asks` are for the trader, in their order; who stores the desk takes them.
    """

    def __init__(
        self,
        namespace: str,
        instrument: Instrument,
        exchange: Exchange,
        orders: Iterable[Order] = (),
        positions: Mapping[str, Position] | None = None,
        protections: Mapping[str, Protection] | None = None,
        made: int = 0,
    ) -> None:
        self.asks: list[Ask] = []
        super().__init__(namespace, instrument, exchange, orders, positions, protections)
        self.made = made

    # What is asked of it

    def cancel(self, strategy_id: str, side: Side, time: int) -> list[Change]:
        """Have a strategy's working orders on a side cancelled, legs of brackets apart."""
        return [
            change
            for order in self._of_signals(strategy_id, side)
            for change in self._withdraw(order, OrderEvent.CANCEL, time, Reason.CANCELLED_BY_STRATEGY)
        ]

    def modify(
        self, strategy_id: str, side: Side, time: int, price: Decimal | None, trigger: Decimal | None
    ) -> list[Change]:
        """Have a strategy's working orders on a side get other prices, as far as they have such."""
        changes = []
        for order in self._of_signals(strategy_id, side):
            update: dict[str, Decimal | int] = {
                **({"price": price} if price is not None and order.price is not None else {}),
                **({"trigger": trigger} if trigger is not None and order.trigger is not None else {}),
            }
            if update and order.withdrawn is None:
                changes.append(self._reword(order, update, time, Reason.MODIFIED_BY_STRATEGY))
        return changes

    # What the broker says

    def hear(self, name: str, word: Word, place: Place, time: int) -> list[Change]:
        """Take in what is known of an order; nothing of an order that has ended, or that is not of this desk.

        `place` is where the tick log stands, `time` the event time at which the word acts.
        """
        order = self.orders.get(name)
        if order is None:
            return []
        if word.broker_id is not None and order.broker_id != word.broker_id:
            order = order.model_copy(update={"broker_id": word.broker_id})
            self._replace(order)
        cause = place.ref(-1, time)
        changes = self._learn(order, word, cause)
        if order.withdrawn is Reason.FLATTENED and not order.reduces:
            changes += self._flatten_late([change.order for change in changes if change.fill is not None], cause)
        elif order.withdrawn is Reason.ENTRY_FILLED and order.parent is not None and name not in self.orders:
            changes += self._replace_leg(changes[-1].order, cause.time)
        return changes + self._settle_claims(order.strategy_id, cause)

    def _flatten_late(self, filled: list[Order], cause: TickRef) -> list[Change]:
        """Close what an entry was filled after a flatten: the exchange was faster than the cancellation."""
        held = self.positions.get(filled[-1].strategy_id) if filled else None
        if held is None:
            return []
        entry = filled[-1]
        closers = self._closers(entry.strategy_id)
        left = abs(held.quantity) - sum(order.remaining for order in closers if order.role is Role.FLATTEN)
        if left <= 0:
            return []
        moment = f"flatten/{entry.order_id}/{entry.filled}"
        order = self._own_order(entry.strategy_id, held, Role.FLATTEN, cause, moment)
        return self._decide(order.model_copy(update={"quantity": left}), cause.time)

    def _replace_leg(self, leg: Order, time: int) -> list[Change]:
        """Have another order for the leg of a bracket that was to grow and had no changes left."""
        if not leg.remaining or not self._closable(leg):
            return []
        return self._decide(another_try(self._namespace, leg, overnight=leg.overnight), time)

    def _learn(self, order: Order, word: Word, cause: TickRef) -> list[Change]:
        state, time = order.state, cause.time
        match word.known:
            case Known.SENDING if state is OrderState.INTENT:
                return [self._step(order, OrderEvent.SEND, time)]
            case Known.UNKNOWN if state is OrderState.SENDING:
                return [self._step(order, OrderEvent.LOSE, time)]
            case Known.DROPPED:
                if word.reason is not None:
                    self._calm_down(order, time)
                reason = word.reason or order.withdrawn or Reason.BROKER_CANCELLED
                return [self._end(order, OrderEvent.CANCEL, time, reason)]
            case Known.REFUSED:
                return self._refused(order, word, cause)
            case Known.ABSENT:
                return self._absent(order, time)
            case Known.BOOK if word.order is not None:
                return self._read(order, word, cause)
        return []

    def _read(self, order: Order, word: Word, cause: TickRef) -> list[Change]:
        """Take in an order as the broker's book has it."""
        assert word.order is not None
        changes: list[Change] = []
        if order.state in (OrderState.INTENT, OrderState.SENDING, OrderState.UNKNOWN):
            if order.state is OrderState.INTENT:
                order = advance(order, OrderEvent.SEND)
            # One with a trigger that is on its way to the exchange will wait there, too.
            coming = word.order.status is BrokerStatus.PENDING and order.trigger is not None
            waits = coming or word.order.status is BrokerStatus.TRIGGER_PENDING
            changes.append(self._step(order, OrderEvent.ARM if waits else OrderEvent.OPEN, cause.time))
        self._fit(self.orders[order.order_id], word.order, word.trades, cause.time)
        for trade in word.trades:
            found = self.orders.get(order.order_id)
            if found is None:
                return changes
            changes += self._traded(found, trade, cause)
        left = self.orders.get(order.order_id)
        if left is None:
            return changes
        status, counted = word.order.status, left.filled >= word.order.filled
        if status is BrokerStatus.OPEN and left.state is OrderState.TRIGGER_PENDING:
            changes.append(self._step(left, OrderEvent.TRIGGER, cause.time, Reason.TRIGGERED))
        if not status.terminal:
            changes += self._read_terms(self.orders[order.order_id], word, cause.time)
        elif status is BrokerStatus.REJECTED and counted:
            changes += self._refused(left, word, cause)
        elif counted:
            changes.append(self._end(left, OrderEvent.CANCEL, cause.time, left.withdrawn or Reason.BROKER_CANCELLED))
        return changes

    def _fit(self, order: Order, there: BrokerOrder, trades: Iterable[BrokerTrade], time: int) -> None:
        """Have an order be as large as what it has traded, and larger while it may trade more at the broker: it was
        asked to be made smaller, and the exchange was faster, or it was changed by hand. Else it would have ended here,
        and what it trades from then on would be in no book."""
        traded = order.filled + sum(trade.quantity for trade in trades if _fill_id(trade) not in order.fill_ids)
        if traded < order.quantity:
            return
        lives = not there.status.terminal and traded < there.quantity
        quantity = there.quantity if lives else traded
        if quantity == order.quantity:
            return
        order = order.model_copy(update={"quantity": quantity})
        self._replace(order)
        if lives and order.reduces:
            self._withdraw(order, OrderEvent.CANCEL, time, Reason.POSITION_CLOSED)

    def _read_terms(self, order: Order, word: Word, time: int) -> list[Change]:
        """Take the terms that the broker's book has for those of an order, once no change of it is on its way. An entry
        that was made larger by hand is left to its trades."""
        there = word.order
        if there is None or word.changes != order.modified or order.withdrawn is not None:
            return []
        update: dict[str, Decimal | int] = {}
        wanted = order.quantity
        if order.price is not None and there.price and there.price != order.price:
            update["price"] = there.price
        if order.trigger is not None and there.trigger and there.trigger != order.trigger:
            update["trigger"] = there.trigger
        smaller = order.filled < there.quantity < order.quantity
        if smaller:
            update |= {"quantity": there.quantity, "kept": order.kept + 1}
        changes: list[Change] = []
        if update:
            order = order.model_copy(update=update)
            self._replace(order)
            changes.append(Change(order, time, reason=Reason.BROKER_TERMS, note=word.text))
        if smaller and order.parent is not None and order.kept < _KEPT:
            # A leg of a bracket is to be as large as its entry.
            changes.append(self._reword(order, {"quantity": wanted}, time, Reason.ENTRY_FILLED))
        if order.reduces and there.quantity > order.quantity:
            changes.append(self._reword(order, {"quantity": order.quantity}, time, Reason.POSITION_CLOSED))
        return changes

    def _traded(self, order: Order, trade: BrokerTrade, cause: TickRef) -> list[Change]:
        fill_id = _fill_id(trade)
        if fill_id in order.fill_ids:
            return []
        dealt = Trade(trade.quantity, trade.price)
        charges = self._exchange.charges(order, self._instrument, dealt, trading_date(trade.time))
        fill = self._fill_of(order, dealt, fill_id, charges, cause, trade.time)
        return [change._replace(time=cause.time) for change in self.apply(order, fill)]

    def _refused(self, order: Order, word: Word, cause: TickRef) -> list[Change]:
        time = cause.time
        self._calm_down(order, time)
        held = self.positions.get(order.strategy_id)
        if order.overnight and held is not None:
            plain = {"plain_on": trading_date(time).isoformat()}
            self.positions[order.strategy_id] = held.model_copy(update=plain)
        ended = self._end(order, OrderEvent.REJECT, time, word.reason or Reason.BROKER_REFUSED)
        return [ended._replace(note=word.text), *self._instead(order, word, cause)]

    def _instead(self, order: Order, word: Word, cause: TickRef) -> list[Change]:
        """What limits the loss in place of the leg of a bracket that was to rest overnight, and was refused: a stop of
        the day, or the market, if the stop was reached and only its order was refused."""
        if not order.overnight or order.parent is None or order.withdrawn is not None or not self._closable(order):
            return []
        if word.known is Known.BOOK:
            return self._stop_now(order, cause)
        return self._decide(another_try(self._namespace, order, overnight=False), cause.time)

    def _calm_down(self, order: Order, time: int) -> None:
        """Decide no exit of a position for a while, after one that the arm has decided could not be placed."""
        held = self.positions.get(order.strategy_id)
        if order.reduces and order.signal_id is None and held is not None and time >= held.calm_until:
            wait = min(_CALM_MS * 2 ** min(held.refused, 10), _CALMEST_MS)
            calm = {"calm_until": time + wait, "refused": held.refused + 1}
            self.positions[order.strategy_id] = held.model_copy(update=calm)

    def _absent(self, order: Order, time: int) -> list[Change]:
        """It never reached the broker: an entry ends; what closes is tried again, under an id of its own."""
        if order.state is not OrderState.UNKNOWN:
            return []
        ended = self._end(order, OrderEvent.MISS, time, order.withdrawn or Reason.NEVER_ARRIVED)
        if not order.reduces or order.withdrawn is not None or not self._closable(order):
            return [ended]
        return [ended, *self._decide(another_try(self._namespace, order, overnight=order.overnight), time)]

    def take_over(self, stranger: Stranger, cause: TickRef) -> list[Change]:
        """Book what the account holds beyond the orders of its arm: as an order of nobody's that was filled at once."""
        kind = self._instrument.kind
        carried = Product.CNC if kind is InstrumentKind.EQUITY else Product.NRML
        found = Product(stranger.product) if stranger.product in tuple(Product) else carried
        changes = self._moved_by_hand(UNATTRIBUTED, stranger.quantity, stranger.price, found, stranger.key, cause)
        changes = [change._replace(note=stranger.text) for change in changes]
        return changes + [more for name, _ in self._managed() for more in self._settle_claims(name, cause)]

    def _moved_by_hand(
        self, strategy_id: str, quantity: int, price: Decimal, product: Product, key: str, cause: TickRef
    ) -> list[Change]:
        """Book shares in a strategy's book that no order of this arm has traded, without charges."""
        held = self.positions.get(strategy_id)
        closes = held is not None and held.quantity * quantity < 0
        order = moved_by_hand(
            self._namespace, self._instrument, strategy_id, quantity, product, key, cause, closes=closes
        )
        self._enter(order)
        fill_id = identify("fill", "stranger", key)
        fill = self._fill_of(order, Trade(order.quantity, price), fill_id, {}, cause, cause.time)
        return [change._replace(time=cause.time) for change in self.apply(order, fill)]

    def hand_over(self, strategy_id: str | None, action: str, cause: TickRef) -> list[Change]:
        """Give a strategy what is nobody's, at what it cost; or close it at the market, for None. What is being closed
        is left to that."""
        held = self.positions.get(UNATTRIBUTED)
        if held is None or self._is_closing(UNATTRIBUTED, Role.FLATTEN):
            return []
        if strategy_id is None:
            return self._decide(self._own_order(UNATTRIBUTED, held, Role.FLATTEN, cause, action), cause.time)
        price = (held.cost / held.quantity).quantize(self._instrument.tick_size)
        changes = self._moved_by_hand(UNATTRIBUTED, -held.quantity, price, held.product, given_key(action), cause)
        return changes + self._moved_by_hand(strategy_id, held.quantity, price, held.product, got_key(action), cause)

    def _managed(self) -> list[tuple[str, Position]]:
        """What is nobody's stays: an operator closes it by name, for it may be what the account's owner holds."""
        return [(name, position) for name, position in super()._managed() if name != UNATTRIBUTED]

    def _square_off_of(self, position: Position) -> int:
        """Not while the arm is to be calm, and not once the market has closed: the broker would refuse it."""
        due = super()._square_off_of(position)
        if due == NEVER or position.calm_until <= due:
            return due
        session = self._exchange.session(self._instrument, position.calm_until)
        return position.calm_until if session is not None and position.calm_until < session.closes else NEVER

    def _watch(self, strategy_id: str) -> None:
        if strategy_id != UNATTRIBUTED:
            super()._watch(strategy_id)

    # What ticks and time do

    def meet(self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None) -> list[Change]:
        changes = super().meet(tick, place, book, traded)
        if self.positions and self._trading(tick.time):
            for strategy_id in list(self.positions):
                changes += self._settle_claims(strategy_id, place.ref(tick.row, tick.time))
        return changes

    def _meet_orders(
        self, tick: Tick, place: Place, book: Callable[[int], Depth | None], traded: int | None
    ) -> list[Change]:
        """Of all orders, only targets look at prices here: the exchange does for the others."""
        price, changes = price_of(tick.price, self._instrument.decimals), list[Change]()
        for order in list(self.orders.values()):
            if order.role is not Role.TARGET or order.price is None or order.withdrawn is not None:
                continue
            sells = order.side is Side.SELL
            if not order.sent:
                if not order.looked and (price >= order.price if sells else price <= order.price):
                    self._replace(order.model_copy(update={"looked": True}))
            elif order.stop is not None and (price <= order.stop if sells else price >= order.stop):
                # Its stop has made way for it, and the price has come back.
                self._withdraw(order, OrderEvent.CANCEL, tick.time, Reason.STOP_LOSS)
                changes += self._stop_now(order, place.ref(tick.row, tick.time))
        return changes

    def _stop_now(self, leg: Order, cause: TickRef) -> list[Change]:
        """Close at the market what a leg was to close."""
        held = self.positions.get(leg.strategy_id)
        if held is None or self.frozen or self._is_closing(leg.strategy_id, Role.PROTECTION, Role.FLATTEN):
            return []
        order = self._own_order(leg.strategy_id, held, Role.PROTECTION, cause, f"leg/{leg.order_id}")
        order = order.model_copy(update={"quantity": min(order.quantity, leg.remaining)})
        return [change._replace(reason=Reason.STOP_LOSS) for change in self._decide(order, cause.time)]

    def _meet_positions(self, tick: Tick, place: Place) -> list[Change]:
        changes: list[Change] = []
        for strategy_id, guard in list(self._guards.items()):
            best = guard.best
            reason = guard.see(tick.price)
            position = self.positions[strategy_id]
            if guard.best != best:
                position = self._note(strategy_id, best=guard.best)
            if reason in (Reason.STOP_LOSS, Reason.TRAILING_STOP) and self._resting(strategy_id):
                if position.breached_at is None:
                    position = self._note(strategy_id, breached_at=tick.time)
                assert position.breached_at is not None
                if tick.time - position.breached_at < _BREACH_MS:
                    continue  # the exchange has seen the price before this arm has
            elif position.breached_at is not None and reason is None:
                position = self._note(strategy_id, breached_at=None)
            if reason is not None and not self.frozen and tick.time >= position.calm_until:
                changes += self._protect(strategy_id, reason, place.ref(tick.row, tick.time))
        return changes

    def _note(self, strategy_id: str, **update: int | None) -> Position:
        position = self.positions[strategy_id].model_copy(update=update)
        self.positions[strategy_id] = position
        self.changed = True
        return position

    def _fall_due(self, order: Order, at: int) -> list[Change]:
        session = self._exchange.session(self._instrument, at)
        if order.expires_at != at:
            return []
        if order.sent and order.state is not OrderState.INTENT and session is not None and at >= session.closes:
            return []  # the exchange ends it, and the broker's book will say so
        return self._withdraw(order, OrderEvent.EXPIRE, at, self._why_expired(order, at))

    # What is asked of the trader

    def _decide(self, order: Order, time: int) -> list[Change]:
        self.changed = True
        if order.role is Role.SETTLEMENT:
            order = advance(order, OrderEvent.OPEN)  # by the exchange, without an order
        elif order.role is Role.STOP and order.order_type is OrderType.SL_M:
            target = self._leg(order.parent, Role.TARGET) if order.parent is not None else None
            if target is not None:
                self._replace(target.model_copy(update={"stop": order.trigger}))
            order = resting_leg(order, self._instrument)
        if order.role is Role.SETTLEMENT or not order.reduces:
            self._enter(order)
            if not order.reduces:
                self._send(order, time)
            return [Change(order, time)]
        changes = []
        for piece in pieces(self._namespace, order, self._instrument):
            self._enter(piece)
            changes.append(Change(piece, time))
        cause = order.cause.model_copy(update={"time": time})
        return changes + self._settle_claims(order.strategy_id, cause)

    def _withdraw(self, order: Order, event: OrderEvent, time: int, reason: Reason) -> list[Change]:
        if not order.sent:
            return [self._end(order, event, time, reason)]
        if order.withdrawn is None:
            order = order.model_copy(update={"withdrawn": reason})
            self._replace(order)
            self.asks.append(Ask(order, time, cancel=True))
        return []

    def _resize(self, order: Order, quantity: int, time: int, reason: Reason) -> list[Change]:
        return [self._reword(order, {"quantity": quantity}, time, reason)]

    def _reword(self, order: Order, update: dict[str, Decimal | int], time: int, reason: Reason) -> Change:
        """Give an order other terms; the broker is asked to, and what it trades meanwhile is counted all the same."""
        asks = order.sent and order.withdrawn is None
        if asks and order.modified >= _MODIFICATIONS:
            order = order.model_copy(update=update)
            self._replace(order)
            self._withdraw(order, OrderEvent.CANCEL, time, reason)
            return Change(self.orders[order.order_id], time, reason=reason)
        order = order.model_copy(update={**update, "modified": order.modified + asks})
        self._replace(order)
        if asks:
            change = Modification(
                quantity=order.quantity if "quantity" in update else None,
                price=order.price if "price" in update else None,
                trigger=order.trigger if "trigger" in update else None,
            )
            self.asks.append(Ask(order, time, change=change))
        return Change(order, time, reason=reason)

    def _send(self, order: Order, time: int) -> None:
        order = order.model_copy(update={"sent": True})
        self._replace(order)
        self.asks.append(Ask(order, time))

    # Who may close

    def _settle_claims(self, strategy_id: str, cause: TickRef) -> list[Change]:
        """Send what may be sent of the orders that close a position, have stops make way, and let one rest."""
        position = self.positions.get(strategy_id)
        if position is None:
            return []
        closing = self._closers(strategy_id)
        most = self._most(strategy_id, position)
        free = most - sum(order.remaining for order in closing if order.sent)
        if free < 0 and most < abs(position.quantity):
            for order in closing:
                if order.sent and order.order_type is not OrderType.MARKET:
                    self._withdraw(order, OrderEvent.CANCEL, cause.time, Reason.POSITION_CLOSED)
        held = [order for order in closing if not order.sent and self._due(order)]
        for order in sorted(held, key=lambda order: -_CLAIMS[order.role]):
            others = [
                other
                for other in closing
                if other.sent and _CLAIMS[other.role] < _CLAIMS[order.role] and other.order_type is not OrderType.MARKET
            ]
            wanted = min(order.remaining, most)
            if not others and order.signal_id is None and free > 0:
                wanted = min(wanted, free)  # nothing makes way any more: what else closes does the rest
            if 0 < wanted <= free:
                if wanted < order.remaining:
                    order = order.model_copy(update={"quantity": order.filled + wanted})
                self._send(order, cause.time)
                free -= wanted
                continue
            for other in others:
                self._withdraw(other, OrderEvent.CANCEL, cause.time, Reason.MADE_WAY)
            return []
        return self._rest(strategy_id, position, free, cause)

    def _most(self, strategy_id: str, position: Position) -> int:
        """What may be closed of a position: all of it, unless the account holds less. What is nobody's on the other
        side was most likely sold by hand to close it, and an exit would open a new one."""
        nobodys = self.positions.get(UNATTRIBUTED)
        if strategy_id == UNATTRIBUTED or nobodys is None or nobodys.quantity * position.quantity > 0:
            return abs(position.quantity)
        there, closing = -abs(nobodys.quantity), 0
        for name, held in self.positions.items():
            if name != UNATTRIBUTED and held.quantity * position.quantity > 0:
                there += abs(held.quantity)
                if name != strategy_id:
                    closing += sum(order.remaining for order in self._closers(name) if order.sent)
        return min(abs(position.quantity), max(there - closing, 0))

    @staticmethod
    def _due(order: Order) -> bool:
        """Whether an order is to be sent now: a target waits for its price, so that its stop can rest till then."""
        return order.role is not Role.TARGET or order.looked

    def _resting(self, strategy_id: str) -> list[Order]:
        """The stops of a position's protection that rest at the exchange: several where it takes no larger ones."""
        closers = self._closers(strategy_id)
        return [order for order in closers if order.role is Role.STOP and order.parent is None and order.sent]

    def _rest(self, strategy_id: str, position: Position, free: int, cause: TickRef) -> list[Change]:
        """Let stops rest at the exchange for what nothing else closes, and follow its price."""
        resting, guard = self._resting(strategy_id), self._guards.get(strategy_id)
        stop = guard.stop if guard is not None else None
        if self.frozen or stop is None or not self._trading(cause.time):
            return []
        trigger = stop_trigger(self._instrument, stop, sells=position.quantity > 0)
        changes: list[Change] = []
        if free < 0:
            free = min(free + sum(order.remaining for order in resting if order.withdrawn is not None), 0)
        for order in resting:
            if order.withdrawn is not None or order.state is not OrderState.TRIGGER_PENDING:
                continue
            fits = self._fitting(order, free)
            free -= fits - order.quantity
            changes += self._follow(order, fits, trigger, cause.time)
        largest = self._instrument.largest_order
        waits = any(
            order.withdrawn is not None or largest is None or (order.quantity < largest and order.kept < _KEPT)
            for order in resting
        )
        if free <= 0 or waits or cause.time < position.calm_until:
            return changes
        self.made += 1
        order = resting_stop(self._namespace, self._instrument, strategy_id, position, free, trigger, cause, self.made)
        self.changed = True
        for piece in pieces(self._namespace, order, self._instrument):
            self._enter(piece)
            self._send(piece, cause.time)
            changes.append(Change(piece, cause.time))
        return changes

    def _fitting(self, stop: Order, free: int) -> int:
        """How large a stop is to be, if so much more of the position is to be covered, or less."""
        if free <= 0:
            return max(stop.quantity + free, stop.filled)
        if stop.kept >= _KEPT:
            return stop.quantity
        largest = self._instrument.largest_order
        return stop.quantity + (free if largest is None else min(free, max(largest - stop.quantity, 0)))

    def _follow(self, stop: Order, quantity: int, trigger: Decimal, time: int) -> list[Change]:
        """Have a stop that rests get another quantity, or follow the price."""
        if quantity <= stop.filled:
            return self._withdraw(stop, OrderEvent.CANCEL, time, Reason.POSITION_CLOSED)
        assert stop.trigger is not None
        update: dict[str, Decimal | int] = {} if quantity == stop.quantity else {"quantity": quantity}
        sells = stop.side is Side.SELL
        tightens = trigger > stop.trigger if sells else trigger < stop.trigger
        moved = abs(trigger - stop.trigger) >= _TRAIL * stop.trigger
        if tightens and moved and stop.modified < _OWN_MODIFICATIONS:
            update |= {"trigger": trigger, "price": stop_limit(self._instrument, trigger, sells=sells)}
        if not update:
            return []
        reason = Reason.ENTRY_FILLED if "quantity" in update else Reason.TRAILING_STOP
        return [self._reword(stop, update, time, reason)]

    # The lists

    def _step(self, order: Order, event: OrderEvent, time: int, reason: Reason | None = None) -> Change:
        stepped = advance(order, event)
        self._replace(stepped)
        return Change(stepped, time, reason=reason)


def _fill_id(trade: BrokerTrade) -> str:
    return identify("fill", trade.exchange, trade.trade_id, trade.broker_id)
