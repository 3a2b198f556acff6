"""A desk with its tick log, and the orders and markets that tests of it are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.desk import Change
from panda_streams.domain.exchange import Exchange
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Order, Product, Reason, Role
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Depth, DepthLevel, Place, TickRef
from tests.unit.builders import INFY, T0, a_ref, a_tick

SHARE = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
HOUR = 3_600_000
SQUARE_OFF = 6 * HOUR + 5 * 60_000
"""15:20, in milliseconds from T0."""
CLOSE = 6 * HOUR + 15 * 60_000
"""15:30."""
DAY = 24 * HOUR


def a_market(**fields: Any) -> PaperMarket:
    """A market that delays nothing, costs nothing and gives all that traded."""
    plain = {
        "latency_ms": 0,
        "latency_spread_ms": 0,
        "slippage": Decimal(0),
        "participation": Decimal(1),
        "queue": QueueModel.THROUGH,
    }
    return PaperMarket(**{**plain, **fields})


def a_venue(calendar: Calendar | None = None, **fields: Any) -> PaperTrader:
    return PaperTrader(calendar or Calendar.simulated(), a_market(**fields))


def a_book(bids: Iterable[tuple[int, int]] = (), asks: Iterable[tuple[int, int]] = ()) -> Depth:
    """An order book of (price in paise, shares), best first."""
    return Depth(tuple(DepthLevel(*level) for level in bids), tuple(DepthLevel(*level) for level in asks))


def an_order(
    side: Side = Side.BUY,
    quantity: int = 10,
    *,
    name: str = "order",
    limit: str | None = None,
    trigger: str | None = None,
    cause: TickRef | None = None,
    live_at: int = 0,
    **fields: Any,
) -> Order:
    """An order caused at T0 by the first row of the log; `live_at` is in milliseconds from T0."""
    kinds = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (True, True): OrderType.SL,
        (False, True): OrderType.SL_M,
    }
    plain: dict[str, Any] = {
        "strategy_id": "Momentum",
        "role": Role.ENTRY,
        "product": Product.MIS,
        "validity": Validity.DAY,
        "expires_at": T0 + CLOSE,
    }
    return Order(
        order_id=name,
        signal_id=f"signal of {name}",
        instrument=INFY,
        side=side,
        quantity=quantity,
        order_type=kinds[limit is not None, trigger is not None],
        price=None if limit is None else Decimal(limit),
        trigger=None if trigger is None else Decimal(trigger),
        cause=cause or a_ref(),
        live_at=T0 + live_at,
        **{**plain, **fields},
    )


class Floor:
    """A desk and the log that it is told, a record a call; times are milliseconds from T0, prices paise."""

    def __init__(
        self,
        venue: Exchange | None = None,
        instrument: Instrument = SHARE,
        protections: Mapping[str, Protection] | None = None,
    ) -> None:
        self.venue = venue or a_venue()
        self.instrument = instrument
        self.protections = protections
        self.desk = PaperDesk("paper", instrument, self.venue, protections=protections)
        self.offset = 0
        self.row = 0
        self.said: list[Change] = []

    def _place(self) -> Place:
        self.offset += 1
        return Place("sim", "1", 0, self.offset)

    def place(self, order: Order, at: int = 0) -> list[Change]:
        return self._say(self.desk.place(order, T0 + at))

    def hold(self, quantity: int, *, strategy_id: str = "Momentum", at: int = 0, **fields: Any) -> None:
        """Open a position at 100.00 by an order of its own."""
        side = Side.BUY if quantity > 0 else Side.SELL
        cause = a_ref(offset=self.offset, row=self.row, time=T0 + at)
        name = f"opens {strategy_id} {self.offset}"
        self.place(
            an_order(side, abs(quantity), name=name, strategy_id=strategy_id, cause=cause, live_at=at, **fields), at
        )
        self.tick(10_000, at)

    def tick(
        self, price: int, at: int = 0, *, traded: int | None = None, book: Depth | None = None, **fields: int
    ) -> list[Change]:
        self.row += 1
        tick = a_tick(price, row=self.row, time=T0 + at, **fields)
        return self._say(self.desk.meet(tick, self._place(), lambda row: book, traded))

    def beat(self, at: int) -> list[Change]:
        return self._say(self.desk.pass_time(T0 + at, self._place()))

    def reload(self) -> None:
        """Go on with a desk that is made of what a row keeps of this one."""
        orders, positions = tuple(self.desk.orders.values()), self.desk.positions
        self.desk = PaperDesk("paper", self.instrument, self.venue, orders, positions, self.protections)

    def _say(self, changes: list[Change]) -> list[Change]:
        self.said += changes
        return changes

    @property
    def position(self) -> int:
        held = self.desk.positions.get("Momentum")
        return held.quantity if held else 0


def fills(changes: Iterable[Change]) -> list[tuple[str, int, str]]:
    """Order, shares and price of each fill."""
    return [(c.fill.order_id, c.fill.quantity, f"{c.fill.price:.2f}") for c in changes if c.fill is not None]


def ends(changes: Iterable[Change]) -> dict[str, Reason | None]:
    """Why each order that has ended did; None for one that was filled."""
    return {change.order.order_id: change.reason for change in changes if change.order.state.terminal}
