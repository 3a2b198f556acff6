"""What holds of every order, on any course of calls and ticks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side
from panda_streams.kitesim.broker import Broker
from panda_streams.kitesim.errors import Refused
from panda_streams.kitesim.exchange import protected
from panda_streams.kitesim.orders import Amendment, BookOrder, BookTrade, Stage, Status
from panda_streams.kitesim.rules import read_form
from tests.unit.builders import CALL, INFY, SHARE, T0, a_tick
from tests.unit.kitesim.bench import INSTRUMENTS, TCS, a_broker

CLOSE = 22_500_000
PRICES = st.integers(1990, 2010)
"""In steps of 0.05: around 100.00."""
STEP = Decimal("0.05")
TERMINAL = (Status.COMPLETE, Status.CANCELLED, Status.REJECTED)

ticks = st.tuples(st.just("tick"), st.integers(1, 3000), PRICES, st.integers(0, 200))
orders = st.tuples(
    st.just("place"),
    st.sampled_from(Side),
    st.sampled_from(OrderType),
    st.integers(1, 60),
    PRICES,
    st.sampled_from(["DAY", "DAY", "IOC", "TTL"]),
)
changes = st.tuples(
    st.just("modify"), st.integers(0, 5), st.one_of(st.none(), PRICES), st.one_of(st.none(), st.integers(1, 60))
)
cancels = st.tuples(st.just("cancel"), st.integers(0, 5))
courses = st.lists(st.one_of(ticks, ticks, orders, changes, cancels), max_size=40)


class Told:
    """A broker that is led through a course, and everything that it said."""

    def __init__(self) -> None:
        self.broker: Broker = a_broker(latency_spread_ms=300)
        self.rows: dict[str, list[BookOrder]] = defaultdict(list)
        self.trades: list[BookTrade] = []
        self._volume = 0

    def lead(self, course: list[tuple[Any, ...]], between: Callable[[Broker, int], None] = lambda *_: None) -> None:
        time = T0
        self._tick(time, 2000, 0)
        for action, *values in course:
            if action == "tick":
                before, time = time, time + values[0]
                for moment in range(before, time, 500):
                    between(self.broker, moment)
                self._tick(time, values[1], values[2])
            else:
                with suppress(Refused):
                    getattr(self, f"_{action}")(*values)
            self._hear()
        self.broker.pass_time(T0 + CLOSE)
        self._hear()

    def _tick(self, time: int, price: int, traded: int) -> None:
        self._volume += traded
        tick = a_tick(5 * price, time=time, volume=self._volume)
        self.broker.meet(tick, lambda row: None)

    def _place(self, side: Side, kind: OrderType, quantity: int, price: int, validity: str) -> None:
        fields = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": side, "product": "MIS"}
        fields |= {"order_type": kind, "quantity": str(quantity), "price": str(price * STEP), "validity": validity}
        fields |= {"trigger_price": str(price * STEP), "market_protection": "1"}
        fields |= {"validity_ttl": "1"} if validity == "TTL" else {}
        self.broker.place(read_form("regular", fields, INSTRUMENTS), None)

    def _modify(self, number: int, price: int | None, quantity: int | None) -> None:
        if number < len(self.broker.orders):
            wanted = None if price is None else price * STEP
            change = Amendment(at=0, price=wanted, trigger=wanted, quantity=quantity)
            self.broker.modify(list(self.broker.orders)[number], change, None)

    def _cancel(self, number: int) -> None:
        if number < len(self.broker.orders):
            self.broker.cancel(list(self.broker.orders)[number], None)

    def _hear(self) -> None:
        for change in self.broker.take().changes:
            if change.row:
                self.rows[change.order.order_id].append(change.order)
            if change.trade is not None:
                self.trades.append(change.trade)


@given(course=courses)
def test_every_order_ends_once_and_its_trades_add_up(course: list[tuple[Any, ...]]) -> None:
    told = Told()
    told.lead(course)

    for rows in told.rows.values():
        ends = [row.status in TERMINAL for row in rows]
        assert ends == [False] * (len(ends) - 1) + [True]
        assert rows[0].status is Status.RECEIVED
        assert rows[-1].stage is Stage.DONE
        times = [row.changed_at for row in rows]
        assert times == sorted(times)
        last = rows[-1]
        own = [trade for trade in told.trades if trade.order_id == last.order_id]
        assert sum(trade.quantity for trade in own) == last.filled <= last.quantity
        assert sum(trade.quantity * trade.price for trade in own) == last.turnover
        assert (last.status is Status.COMPLETE) == (last.filled == last.quantity)
        assert all(trade.at >= last.received_at + 100 for trade in own), "nothing trades before its latency"
    assert len({trade.trade_id for trade in told.trades}) == len(told.trades)
    held = sum(trade.quantity if trade.side is Side.BUY else -trade.quantity for trade in told.trades)
    assert told.broker.account.held(INFY, Product.MIS) == held
    assert not told.broker.exchange.live


@given(course=courses)
def test_no_trade_is_beyond_the_limit_of_its_order(course: list[tuple[Any, ...]]) -> None:
    told = Told()
    told.lead([step for step in course if step[0] != "modify"])

    limits = {name: rows[-1].price for name, rows in told.rows.items()}
    for trade in told.trades:
        limit = limits[trade.order_id]
        assert limit is not None
        assert trade.price <= limit if trade.side is Side.BUY else trade.price >= limit


@given(course=courses)
def test_how_often_time_is_told_changes_nothing(course: list[tuple[Any, ...]]) -> None:
    once, often = Told(), Told()
    once.lead(course)
    often.lead(course, lambda broker, moment: broker.pass_time(moment))

    assert often.trades == once.trades
    assert _states(often) == _states(once)


def _states(told: Told) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [(row.status, row.changed_at, row.filled) for row in rows] for name, rows in told.rows.items()}


@pytest.mark.parametrize(
    ("instrument", "side", "last", "protection", "expected"),
    [
        (SHARE, Side.BUY, 1500, 1, "1515.00"),
        (SHARE, Side.SELL, 1500, 1, "1485.00"),
        (SHARE, Side.BUY, 1500, -1, "1507.50"),
        (SHARE, Side.BUY, 99, -1, "100.95"),
        (SHARE, Side.SELL, 300, -1, "297.00"),
        (CALL, Side.BUY, 9, -1, "9.45"),
        (CALL, Side.SELL, 50, -1, "48.50"),
        (TCS, Side.BUY, 3290, 2, "3300"),
        (TCS, Side.SELL, 2710, 2, "2700"),
    ],
)
def test_a_protection_is_on_a_tick_and_inside_of_the_band(
    instrument: Instrument, side: Side, last: int, protection: int, expected: str
) -> None:
    assert protected(instrument, side, Decimal(last), Decimal(protection)) == Decimal(expected)
