"""The orders that a desk at a real broker makes by itself: stops that rest there, further tries, what moved by hand."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from panda_streams.domain.calendar import trading_date
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Order, OrderState, Product, Role, order_id
from panda_streams.domain.positions import Position
from panda_streams.domain.signals import OrderType, Side, Validity, identify
from panda_streams.domain.ticks import TickRef

__all__ = [
    "another_try",
    "given_key",
    "got_key",
    "moved_by_hand",
    "moved_id",
    "pieces",
    "resting_leg",
    "resting_stop",
    "stop_limit",
    "stop_trigger",
]

_STOP_LIMIT = Decimal("0.02")
"""How far beyond its trigger a stop at the exchange may trade: a share of it. A stop without a limit is not taken for
options, and one with too narrow a limit is jumped over."""


def stop_trigger(instrument: Instrument, stop: Decimal, *, sells: bool) -> Decimal:
    """The trigger for a stop, given in smallest units, on a step of the price: never further from the market."""
    tick, price = instrument.tick_size, stop.scaleb(-instrument.decimals)
    return (price / tick).to_integral_value(ROUND_CEILING if sells else ROUND_FLOOR) * tick


def stop_limit(instrument: Instrument, trigger: Decimal, *, sells: bool) -> Decimal:
    """The furthest price at which a stop that was triggered may trade, on a step of the price."""
    tick = instrument.tick_size
    limit = trigger * (1 - _STOP_LIMIT if sells else 1 + _STOP_LIMIT)
    return max((limit / tick).to_integral_value(ROUND_FLOOR if sells else ROUND_CEILING), Decimal(1)) * tick


def resting_stop(
    namespace: str,
    instrument: Instrument,
    strategy_id: str,
    position: Position,
    quantity: int,
    trigger: Decimal,
    cause: TickRef,
    number: int,
) -> Order:
    """The stop of a position's protection: the `number`th that its instrument's desk makes."""
    sells = position.quantity > 0
    return Order(
        order_id=order_id(namespace, f"{strategy_id}/{instrument.id}/rest/{number}", Role.STOP),
        signal_id=None,
        strategy_id=strategy_id,
        instrument=instrument.id,
        side=Side.SELL if sells else Side.BUY,
        role=Role.STOP,
        product=position.product,
        quantity=quantity,
        order_type=OrderType.SL,
        validity=Validity.DAY,
        price=stop_limit(instrument, trigger, sells=sells),
        trigger=trigger,
        cause=cause,
        live_at=cause.time,
        overnight=position.product is Product.CNC and position.plain_on != trading_date(cause.time).isoformat(),
    )


def resting_leg(leg: Order, instrument: Instrument) -> Order:
    """The leg of a bracket that limits the loss, in the form in which it rests."""
    assert leg.trigger is not None
    limit = stop_limit(instrument, leg.trigger, sells=leg.side is Side.SELL)
    overnight = leg.product is Product.CNC
    return leg.model_copy(update={"order_type": OrderType.SL, "price": limit, "overnight": overnight})


def another_try(namespace: str, order: Order, *, overnight: bool) -> Order:
    """What is left of an order, to be tried under an id of its own."""
    attempt = order.attempt + 1
    fresh = {
        "order_id": order_id(namespace, order.order_id, order.role, attempt=attempt),
        "attempt": attempt,
        "overnight": overnight,
        "state": OrderState.INTENT,
        "sent": False,
        "broker_id": None,
        "quantity": order.remaining,
        "filled": 0,
        "fill_ids": (),
        "turnover": Decimal(0),
        "withdrawn": None,
        "modified": 0,
        "kept": 0,
    }
    return order.model_copy(update=fresh)


def pieces(namespace: str, order: Order, instrument: Instrument) -> list[Order]:
    """An order cut into ones that the exchange takes: the first keeps its id."""
    first, *others = instrument.cut(order.quantity)
    cut = [order.model_copy(update={"quantity": first})]
    for number, quantity in enumerate(others, 2):
        name = order_id(namespace, order.order_id, order.role, leg=number)
        cut.append(order.model_copy(update={"order_id": name, "quantity": quantity}))
    return cut


def moved_id(namespace: str, key: str) -> str:
    """The order_id of what was moved by hand: `key` is its identity."""
    return identify("stranger", namespace, key)


def given_key(action_id: str) -> str:
    """The identity of what an operator's action takes out of one book."""
    return f"{action_id}/from"


def got_key(action_id: str) -> str:
    """The identity of what an operator's action puts into another book."""
    return f"{action_id}/to"


def moved_by_hand(
    namespace: str,
    instrument: Instrument,
    strategy_id: str,
    quantity: int,
    product: Product,
    key: str,
    cause: TickRef,
    *,
    closes: bool,
) -> Order:
    """Shares, negative for a sale, that come into a strategy's book without an order of the arm: `key` is their
    identity."""
    return Order(
        order_id=moved_id(namespace, key),
        signal_id=None,
        strategy_id=strategy_id,
        instrument=instrument.id,
        side=Side.BUY if quantity > 0 else Side.SELL,
        role=Role.EXIT if closes else Role.ENTRY,
        product=product,
        quantity=abs(quantity),
        order_type=OrderType.MARKET,
        validity=Validity.DAY,
        cause=cause,
        live_at=cause.time,
        state=OrderState.WORKING,
    )
