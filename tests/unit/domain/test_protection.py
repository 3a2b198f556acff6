"""Protection: positions that are closed by themselves."""

from __future__ import annotations

from decimal import Decimal

import pytest

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.desk import Change
from panda_streams.domain.exchange import accept
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Product, Reason, Role, Ticket
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Place
from tests.unit.builders import T0, a_ref, a_signal, a_tick

SHARE = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
TRADER = PaperTrader(
    Calendar.simulated(), PaperMarket(0, 0, slippage=Decimal(0), participation=Decimal(1), queue=QueueModel.THROUGH)
)
PLACE = Place("sim", "1", 0, 1)
SECOND = 1000


def a_desk(side: Side = Side.BUY, **protection: object) -> PaperDesk:
    """A desk with a position of 10 shares at 1000.00, opened at T0 + 1 s."""
    desk = PaperDesk("paper", SHARE, TRADER, (), {}, {"Momentum": Protection.model_validate(protection)})
    ticket = Ticket(order_id="entry", role=Role.ENTRY, side=side, quantity=10, product=Product.MIS)
    desk.place(accept(a_signal(side=side, cause=a_ref(time=T0)), ticket, T0, SHARE, TRADER), T0)
    desk.meet(a_tick(100_000, row=1, time=T0 + SECOND), PLACE, lambda row: None, None)
    assert desk.positions["Momentum"].quantity == (10 if side is Side.BUY else -10)
    return desk


def walk(desk: PaperDesk, prices: list[int]) -> list[Change]:
    return [
        change
        for n, price in enumerate(prices, start=2)
        for change in desk.meet(a_tick(price, row=n, time=T0 + n * SECOND), PLACE, lambda row: None, None)
    ]


@pytest.mark.parametrize(
    ("side", "protection", "prices", "reason", "closed_at"),
    [
        (Side.BUY, {"stop_loss": "0.01"}, [99_001, 99_000, 98_500], Reason.STOP_LOSS, "985"),
        (Side.SELL, {"stop_loss": "0.01"}, [100_999, 101_000, 101_500], Reason.STOP_LOSS, "1015"),
        (Side.BUY, {"target": "0.02"}, [101_999, 102_000, 101_900], Reason.TAKE_PROFIT, "1019"),
        (Side.SELL, {"target": "0.02"}, [98_001, 98_000, 98_100], Reason.TAKE_PROFIT, "981"),
        (Side.BUY, {"trailing_stop": "0.01"}, [110_000, 108_901, 108_900, 108_000], Reason.TRAILING_STOP, "1080"),
        (Side.SELL, {"trailing_stop": "0.01"}, [90_000, 90_899, 90_900, 91_000], Reason.TRAILING_STOP, "910"),
    ],
)
def test_a_position_is_closed_at_the_tick_after_the_one_that_reached_its_limit(
    side: Side, protection: dict[str, str], prices: list[int], reason: Reason, closed_at: str
) -> None:
    desk = a_desk(side, **protection)

    placed, filled = walk(desk, prices)

    assert (placed.order.role, placed.reason, placed.time) == (Role.PROTECTION, reason, T0 + len(prices) * SECOND)
    assert filled.fill is not None
    assert (filled.fill.price, filled.fill.quantity) == (Decimal(closed_at), 10)
    assert not desk.positions


def test_a_position_is_closed_after_its_time_even_if_the_instrument_is_silent() -> None:
    desk = a_desk(time_exit_minutes=5)

    assert desk.pass_time(T0 + 300 * SECOND, PLACE) == []
    (placed,) = desk.pass_time(T0 + 301 * SECOND, PLACE)
    assert (placed.order.role, placed.reason) == (Role.PROTECTION, Reason.TIME_EXIT)
    assert desk.pass_time(T0 + 302 * SECOND, PLACE) == []


def test_a_trailing_stop_goes_on_from_the_best_price_that_was_stored() -> None:
    before = a_desk(trailing_stop="0.01")
    walk(before, [110_000])
    assert before.changed
    protections = {"Momentum": Protection(trailing_stop=Decimal("0.01"))}

    after = PaperDesk("paper", SHARE, TRADER, before.orders.values(), before.positions, protections)

    assert [change.reason for change in walk(after, [108_900])] == [Reason.TRAILING_STOP]


def test_a_feed_that_sends_no_price_stops_nobody_out() -> None:
    assert walk(a_desk(stop_loss="0.01"), [0]) == []
