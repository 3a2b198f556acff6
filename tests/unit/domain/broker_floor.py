"""A desk at a real broker, and the broker: an exchange floor in memory that does what the test says."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from panda_streams.brokers.indian import IndianAccount
from panda_streams.domain.broker_desk import Ask, BrokerDesk
from panda_streams.domain.brokerage import BrokerOrder, BrokerStatus, BrokerTrade, Known, Word
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.desk import Change
from panda_streams.domain.orders import Order, OrderState
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Place
from tests.unit.builders import INFY, T0, a_tick
from tests.unit.domain.desks import SHARE, an_order

__all__ = ["BrokerFloor"]


class _Account(IndianAccount):
    def latency(self, order_id: str) -> int:
        return 0


class BrokerFloor:
    """Times are milliseconds from T0, prices paise; `freeze` is the most that the exchange takes in one order."""

    def __init__(self, *, freeze: int | None = None, **protection: Any) -> None:
        self.share = replace(SHARE, freeze_quantity=freeze)
        self.protections: Mapping[str, Protection] = (
            {"Momentum": Protection.model_validate(protection)} if protection else {}
        )
        self.account = _Account(Calendar.simulated())
        self.desk = self._make()
        self.offset = 0
        self.said: list[Change] = []
        self.asked: list[Ask] = []
        self.book: dict[str, BrokerOrder] = {}
        """What the broker has, by our order's id."""
        self.trades: dict[str, list[BrokerTrade]] = {}
        self.net = 0
        """What the broker's account holds."""
        self._number = 0

    def _make(self, **stored: Any) -> BrokerDesk:
        return BrokerDesk("zerodha", self.share, self.account, protections=self.protections, **stored)

    def reload(self) -> None:
        """Go on with a desk that is made of what a row keeps of this one."""
        desk = self.desk
        self.desk = self._make(orders=tuple(desk.orders.values()), positions=desk.positions, made=desk.made)

    # What the desk is told

    def place(self, order: Order, at: int = 0) -> list[Change]:
        return self._say(self.desk.place(order, T0 + at))

    def tick(self, price: int, at: int = 0) -> list[Change]:
        tick = a_tick(price, row=self.offset, time=T0 + at)
        return self._say(self.desk.meet(tick, self._place(), lambda row: None, None))

    def beat(self, at: int) -> list[Change]:
        return self._say(self.desk.pass_time(T0 + at, self._place()))

    def flatten(self, at: int = 0) -> list[Change]:
        self._number += 1
        return self._say(self.desk.flatten(f"action {self._number}", self._place().ref(-1, T0 + at), T0 + at))

    def finds(self, quantity: int, at: int = 0, product: str = "CNC") -> list[Change]:
        """The account has gained shares that are nobody's, at 100.00."""
        self._number += 1
        found = Stranger(
            key=f"trade/NSE/{self._number}/1",
            instrument=INFY,
            quantity=quantity,
            price=Decimal(100),
            product=product,
            time=T0 + at,
            text="by hand",
        )
        return self._say(self.desk.take_over(found, self._place().ref(-1, T0 + at)))

    def gives(self, strategy_id: str | None, action: str = "a", at: int = 0) -> list[Change]:
        """An operator gives a strategy what is nobody's, or has it closed."""
        return self._say(self.desk.hand_over(strategy_id, action, self._place().ref(-1, T0 + at)))

    def hear(self, name: str, known: Known, at: int = 0, **fields: Any) -> list[Change]:
        word = Word(known=known, time=T0 + at, **fields)
        return self._say(self.desk.hear(name, word, self._place(), T0 + at))

    # What the broker does, and says

    def sends(self, name: str, at: int = 0) -> None:
        """The trader sends an order, and the broker takes it."""
        self.hear(name, Known.SENDING, at)
        self.takes(name, at)

    def takes(self, name: str, at: int = 0, status: BrokerStatus | None = None) -> None:
        order = self.desk.orders[name]
        self._number += 1
        waits = BrokerStatus.TRIGGER_PENDING if order.trigger is not None else BrokerStatus.OPEN
        self.book[name] = BrokerOrder(
            broker_id=str(self._number),
            tag=None,
            instrument=INFY,
            side=order.side,
            product=order.product,
            order_type=order.order_type,
            status=status or waits,
            quantity=order.quantity,
            filled=0,
            price=order.price,
            trigger=order.trigger,
            time=T0 + at,
        )
        self.trades[name] = []
        self.tells(name, at)

    def trades_of(self, name: str, quantity: int, price: str = "100", at: int = 0, *, tell: bool = True) -> None:
        """The exchange gives an order some shares."""
        order = self.book[name]
        self._number += 1
        filled = order.filled + quantity
        status = BrokerStatus.COMPLETE if filled == order.quantity else BrokerStatus.OPEN
        self.book[name] = order.model_copy(update={"filled": filled, "status": status, "time": T0 + at})
        self.trades[name].append(
            BrokerTrade(
                trade_id=str(self._number),
                exchange="NSE",
                broker_id=order.broker_id,
                instrument=INFY,
                side=order.side,
                product=order.product,
                quantity=quantity,
                price=Decimal(price),
                time=T0 + at,
            )
        )
        self.net += quantity if order.side is Side.BUY else -quantity
        if tell:
            self.tells(name, at)

    def cancels(self, name: str, at: int = 0) -> None:
        self.book[name] = self.book[name].model_copy(update={"status": BrokerStatus.CANCELLED, "time": T0 + at})
        self.tells(name, at)

    def rejects(self, name: str, at: int = 0) -> None:
        self.book[name] = self.book[name].model_copy(
            update={"status": BrokerStatus.REJECTED, "text": "RMS:Margin Exceeds", "time": T0 + at}
        )
        self.tells(name, at)

    def tells(self, name: str, at: int = 0, **fields: Any) -> list[Change]:
        """The trader has read the book: it says all that is known of the order."""
        order = self.book[name]
        known = {"broker_id": order.broker_id, "order": order, "trades": tuple(self.trades[name])}
        return self.hear(name, Known.BOOK, at, **known, **fields)

    def settles(self, name: str, at: int = 0, text: str = "", **terms: Any) -> list[Change]:
        """The broker has done with all changes of an order: it has these terms now, else those of before."""
        self.book[name] = self.book[name].model_copy(update=terms)
        return self.tells(name, at, changes=self.desk.orders[name].modified, text=text)

    def holds(self, quantity: int = 10, at: int = 0, **fields: Any) -> None:
        """Open a position at 100.00."""
        order = an_order(Side.BUY if quantity > 0 else Side.SELL, abs(quantity), name="entry", **fields)
        self.place(order, at)
        self.sends("entry", at)
        self.trades_of("entry", abs(quantity), at=at)
        self.tick(10_000, at)

    # What came of it

    def _place(self) -> Place:
        self.offset += 1
        return Place("sim", "1", 0, self.offset)

    def _say(self, changes: list[Change]) -> list[Change]:
        self.said += changes
        self.asked += self.desk.asks
        self.desk.asks.clear()
        return changes

    @property
    def position(self) -> int:
        held = self.desk.positions.get("Momentum")
        return held.quantity if held else 0

    def asks(self) -> list[tuple[str, str]]:
        """What was asked of the trader since the last time: place, change or cancel, and the role of the order."""
        asked, self.asked = self.asked, []
        return [
            ("cancel" if ask.cancel else "change" if ask.change is not None else "place", ask.order.role.value)
            for ask in asked
        ]

    def working(self, role: str) -> Order:
        """The one working order of a role."""
        [order] = [order for order in self.desk.orders.values() if order.role == role]
        return order

    def state(self, name: str) -> OrderState:
        return next(change.order.state for change in reversed(self.said) if change.order.order_id == name)
