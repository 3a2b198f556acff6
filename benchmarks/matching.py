"""A tick through matching, CPU time, with working orders: on other instruments, and on its own.

The ticks walk up and down by steps around one price. Orders wait on both sides, further away than the walk goes: limit
orders and stops, each of a strategy of its own. A tick reaches none of them, so what it costs more than without any is
the price of their being there. What an order costs that is reached is reported: a LIMIT order is placed before each
tick, and filled by it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from random import Random

import click

from benchmarks.measure import Result, cpu_us
from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Order, Product, Role
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Place, Tick, TickRef

_OPEN = 1_623_123_900_000
"""09:15 on a trading day, milliseconds since the epoch."""
_CLOSE = _OPEN + 22_500_000
_TICKS = 2_000
_PRICE = 100_000
"""Paise, around which the ticks walk by at most `_WALK`."""
_WALK = 500
_OTHERS = 500
"""Instruments beside the one whose ticks are measured."""
_FEW, _MANY = 100, 10_000
_VENUE = PaperTrader(
    Calendar.simulated(),
    PaperMarket(0, 0, slippage=Decimal("0.0001"), participation=Decimal(1), queue=QueueModel.THROUGH),
)


def _share(number: int) -> Instrument:
    return Instrument(exchange="NSE", symbol=f"SHARE{number:03}", kind=InstrumentKind.EQUITY)


def _ticks() -> list[Tick]:
    random, price, ticks = Random(1), _PRICE, []
    for row in range(1, _TICKS + 1):
        price = min(max(price + 5 * random.randrange(-3, 4), _PRICE - _WALK), _PRICE + _WALK)
        ticks.append(Tick(_share(0).id, price, None, row, None, None, _OPEN + row, row))
    return ticks


def _order(share: Instrument, number: int, away: int, kind: OrderType) -> Order:
    """An order whose price is `away` paise from where the ticks walk: even ones below it, odd ones above."""
    below = number % 2 == 0
    price = Decimal(_PRICE - _WALK - away if below else _PRICE + _WALK + away) / 100
    limited = kind is OrderType.LIMIT
    return Order(
        order_id=f"{share.symbol}/{number}",
        signal_id="signal",
        strategy_id=f"Strategy_{number}",
        instrument=share.id,
        side=Side.BUY if below is limited else Side.SELL,
        role=Role.ENTRY,
        product=Product.MIS,
        quantity=10,
        order_type=kind,
        validity=Validity.DAY,
        price=price if limited else None,
        trigger=None if limited else price,
        cause=TickRef(source="bench", run="1", row=0, shard=0, offset=0, time=_OPEN),
        live_at=_OPEN,
        expires_at=_CLOSE,
    )


def _desk(share: Instrument, orders: int) -> PaperDesk:
    """A desk on which so many orders wait."""
    desk = PaperDesk("paper", share, _VENUE)
    for number in range(orders):
        kind = OrderType.LIMIT if number // 2 % 2 else OrderType.SL_M
        desk.place(_order(share, number, 5 + 5 * (number % 4_000), kind), _OPEN)
    return desk


def _walk(desks: dict[str, PaperDesk], ticks: list[Tick]) -> Callable[[], None]:
    """Tell a desk all ticks; none of its orders is reached."""
    offsets = count(1)

    def told() -> None:
        place = Place("bench", "1", 0, next(offsets))
        for tick in ticks:
            assert not desks[tick.instrument].meet(tick, place, _no_book, 1)

    return told


def _no_book(row: int) -> None:
    return None


def _filling(desk: PaperDesk, share: Instrument, ticks: list[Tick]) -> Callable[[], None]:
    """Place an order before each tick, which fills it at once."""
    offsets, numbers = count(1), count(_MANY)

    def told() -> None:
        place = Place("bench", "1", 0, next(offsets))
        for tick in ticks:
            order = _order(share, 2 * next(numbers), -3 * _WALK, OrderType.LIMIT)
            desk.place(order, tick.time)
            (filled,) = desk.meet(tick, place, _no_book, 10)
            assert filled.fill is not None

    return told


def measure() -> list[Result]:
    share, ticks = _share(0), _ticks()
    beside = {one.id: _desk(one, _MANY // _OTHERS) for one in map(_share, range(1, _OTHERS + 1))}
    desks = [{share.id: _desk(share, orders)} for orders in (0, _FEW, _MANY)]
    others = {share.id: _desk(share, _FEW), **beside}
    filling = [_filling(_desk(share, orders), share, ticks[:100]) for orders in (_FEW, _MANY)]
    none, few, many, with_others, fill_few, fill_many = cpu_us(
        [*(_walk(one, ticks) for one in desks), _walk(others, ticks), *filling]
    )
    per_second = {
        "none": none,
        f"{_FEW}": few,
        f"{_MANY:,}": many,
        f"{_FEW}, and {_MANY:,} on {_OTHERS} other instruments": with_others,
    }
    for orders, time in per_second.items():
        click.echo(f"{1e6 * _TICKS / time:,.0f} ticks a CPU second, working orders: {orders}")
    name = "a tick through matching, CPU microseconds"
    reached = f"{name}, an order placed and filled at it"
    return [
        Result.at_most(f"{name}, {_FEW} orders, against none", few / _TICKS, none / _TICKS),
        Result.at_most(f"{name}, {_MANY} orders, against {_FEW}", many / _TICKS, few / _TICKS, 2),
        Result.at_most(f"{name}, {_MANY} on other instruments, against none", with_others / _TICKS, few / _TICKS, 1.2),
        Result.at_most(f"{reached}, {_MANY} others, against {_FEW}", fill_many / 100, fill_few / 100, 2),
    ]
