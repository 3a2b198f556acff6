"""Whatever the broker does, and whenever it says so: no exit opens a position, and the books are the broker's."""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from panda_streams.domain.broker_desk import Ask
from panda_streams.domain.brokerage import BrokerStatus, Known, Modification
from panda_streams.domain.orders import Product, Role
from panda_streams.domain.signals import Side
from tests.properties import examples
from tests.unit.domain.broker_floor import BrokerFloor
from tests.unit.domain.desks import an_order


class AnAccount(RuleBasedStateMachine):
    """Buys and sells one share by one strategy, which is protected; it is never short on purpose."""

    product = Product.MIS
    freeze: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.floor = BrokerFloor(freeze=self.freeze, stop_loss="0.01", trailing_stop="0.02", target="0.05")
        self.outbox: deque[Ask] = deque()
        self.unknown: list[str] = []
        self.untold: set[str] = set()
        self.settled: Counter[str] = Counter()
        """Changes that the broker has made or refused, by order."""
        self.names = 0
        self.at = 0
        self.price = 10_000

    def _take(self) -> None:
        self.outbox += self.floor.asked
        self.floor.asked.clear()

    def _live(self) -> list[str]:
        return [name for name, order in self.floor.book.items() if not order.status.terminal]

    @initialize(quantity=st.integers(0, 20))
    def holds(self, quantity: int) -> None:
        """Most of what can go wrong does with a position, and a stop that rests."""
        if not quantity:
            return
        self.floor.holds(quantity, product=self.product)
        self.names += 1
        self._take()
        self.outbox.popleft()
        self.carries_out_what_was_asked_first(["taken"])

    # The strategy and the market

    @rule(quantity=st.integers(1, 20), bracket=st.booleans(), limit=st.booleans())
    def enters(self, quantity: int, bracket: bool, limit: bool) -> None:
        self.names += 1
        quantity = min(quantity, self.freeze or quantity)
        legs = {"target": Decimal(104), "stop": Decimal(97)} if bracket else {}
        order = an_order(
            Side.BUY,
            quantity,
            name=f"entry{self.names}",
            limit="100" if limit else None,
            product=self.product,
            live_at=self.at,
            **legs,
        )
        self.floor.place(order, self.at)
        self._take()

    @rule(quantity=st.integers(1, 20), limit=st.booleans())
    def exits(self, quantity: int, limit: bool) -> None:
        self.names += 1
        order = an_order(
            Side.SELL,
            quantity,
            name=f"exit{self.names}",
            limit="101" if limit else None,
            role=Role.EXIT,
            product=self.product,
            live_at=self.at,
        )
        self.floor.place(order, self.at)
        self._take()

    @rule(side=st.sampled_from(Side))
    def cancels_all(self, side: Side) -> None:
        self.floor._say(self.floor.desk.cancel("Momentum", side, self.at))
        self._take()

    @rule(really=st.integers(0, 4))
    def is_flattened(self, really: int) -> None:
        if really:
            return  # a flatten ends all that could be tried
        self.floor.flatten(self.at)
        self._take()

    @rule(price=st.integers(9_900, 10_400) | st.integers(9_000, 11_500), passes=st.integers(0, 7_000))
    def ticks(self, price: int, passes: int) -> None:
        self.at += passes
        self.price = price
        self.floor.tick(price, self.at)
        self._take()

    @rule(by=st.integers(20, 80))
    def rises(self, by: int) -> None:
        """The price goes its way, and stops follow it."""
        self.price += by
        self.floor.tick(self.price, self.at)
        self._take()

    # The trader and the broker

    @precondition(lambda self: self.outbox)
    @rule(fates=st.lists(st.sampled_from(["taken", "refused", "lost", "dropped"]), min_size=1, max_size=4))
    def carries_out_what_was_asked_first(self, fates: list[str]) -> None:
        for fate in fates:
            if self.outbox:
                self._carry_out(self.outbox.popleft(), fate)

    def _carry_out(self, ask: Ask, fate: str) -> None:
        name = ask.order.order_id
        there = self.floor.book.get(name)
        if ask.cancel or ask.change is not None:
            if there is None or there.status.terminal:
                return
            if ask.cancel:
                self.floor.book[name] = there.model_copy(update={"status": BrokerStatus.CANCELLED})
            else:
                self._change(name, ask.change or Modification(), refuse=fate == "refused")
            self.untold.add(name)
            return
        if name not in self.floor.desk.orders:
            return
        if fate == "dropped":
            self.floor.hear(name, Known.DROPPED, self.at)
        else:
            self.floor.hear(name, Known.SENDING, self.at)
            if fate == "refused":
                self.floor.hear(name, Known.REFUSED, self.at, text="no")
            elif fate == "taken":
                self.floor.takes(name, self.at)
            else:
                self.floor.hear(name, Known.UNKNOWN, self.at)
                self.unknown.append(name)
        self._take()

    def _change(self, name: str, change: Modification, *, refuse: bool) -> None:
        there, wanted = self.floor.book[name], change.model_dump(exclude_none=True)
        if refuse and wanted.get("quantity", there.quantity) < there.quantity:
            self.floor.book[name] = there.model_copy(update={"status": BrokerStatus.CANCELLED})
        elif not refuse and wanted.get("quantity", there.quantity) > there.filled:
            self.floor.book[name] = there.model_copy(update=wanted)
        self.settled[name] += 1

    @precondition(lambda self: self.unknown)
    @rule(arrived=st.booleans())
    def finds_out_about_an_unknown_order(self, arrived: bool) -> None:
        name = self.unknown.pop(0)
        if arrived:
            self.floor.takes(name, self.at)
        else:
            self.floor.hear(name, Known.ABSENT, self.at)
        self._take()

    @precondition(lambda self: self._live())
    @rule(data=st.data(), tell=st.booleans())
    def trades(self, data: st.DataObject, tell: bool) -> None:
        name = data.draw(st.sampled_from(self._live()))
        order = self.floor.book[name]
        quantity = data.draw(st.integers(1, order.quantity - order.filled))
        self.floor.trades_of(name, quantity, at=self.at, tell=False)
        self.untold.add(name)
        if tell:
            self.tells_all()

    @precondition(lambda self: self._live())
    @rule(data=st.data(), status=st.sampled_from([BrokerStatus.CANCELLED, BrokerStatus.REJECTED]))
    def ends_an_order_by_itself(self, data: st.DataObject, status: BrokerStatus) -> None:
        name = data.draw(st.sampled_from(self._live()))
        self.floor.book[name] = self.floor.book[name].model_copy(update={"status": status})
        self.untold.add(name)

    @rule()
    def tells_all(self) -> None:
        for name in sorted(self.untold):
            self.floor.tells(name, self.at, changes=self.settled[name])
            order, there = self.floor.desk.orders.get(name), self.floor.book[name]
            if order is not None and order.withdrawn is None and order.modified == self.settled[name]:
                assert (order.price, order.trigger) == (there.price, there.trigger)
                assert order.quantity <= there.quantity
        self.untold.clear()
        self._take()

    @rule()
    def restarts(self) -> None:
        self.floor.reload()

    @invariant()
    def is_never_short(self) -> None:
        assert self.floor.net >= 0

    @invariant()
    def never_has_more_at_the_broker_than_there_is_to_close(self) -> None:
        selling = sum(
            order.quantity - order.filled
            for order in self.floor.book.values()
            if order.side is Side.SELL and not order.status.terminal
        )
        assert selling <= self.floor.net

    def teardown(self) -> None:
        self.tells_all()
        ends = Counter(change.order.order_id for change in self.floor.said if change.order.state.terminal)
        ended = {name for name, order in self.floor.book.items() if order.status.terminal}
        assert set(ends.values()) <= {1}
        assert ended <= set(ends)
        assert not set(ends) & set(self.floor.desk.orders)
        assert sum(position.quantity for position in self.floor.desk.positions.values()) == self.floor.net


class AnAccountWithAnOwner(AnAccount):
    """Goes short too, by two strategies, and its owner trades by hand, changes orders and gives shares away: nobody can
    say what is too much to close, and the books are the broker's all the same."""

    def is_never_short(self) -> None: ...

    def never_has_more_at_the_broker_than_there_is_to_close(self) -> None: ...

    @rule(quantity=st.integers(1, 20), strategy_id=st.sampled_from(["Momentum", "Other"]), side=st.sampled_from(Side))
    def enters_on_any_side(self, quantity: int, strategy_id: str, side: Side) -> None:
        self.names += 1
        name = f"any{self.names}"
        order = an_order(side, quantity, name=name, limit="100", live_at=self.at, strategy_id=strategy_id)
        self.floor.place(order, self.at)
        self._take()

    @rule(quantity=st.integers(-20, 20).filter(bool))
    def owner_trades(self, quantity: int) -> None:
        self.floor.net += quantity
        self.floor.finds(quantity, self.at, product="MIS")
        self._take()

    @rule(whom=st.sampled_from(["Momentum", None]))
    def what_is_nobodys_is_handed_over(self, whom: str | None) -> None:
        self.names += 1
        self.floor.gives(whom, f"hand{self.names}", self.at)
        self._take()

    @precondition(lambda self: self._live())
    @rule(data=st.data(), quantity=st.integers(1, 40))
    def owner_changes_an_order(self, data: st.DataObject, quantity: int) -> None:
        name = data.draw(st.sampled_from(self._live()))
        order = self.floor.book[name]
        if quantity > order.filled:
            self.floor.book[name] = order.model_copy(update={"quantity": quantity})
            self.untold.add(name)


class ADeliveryAccount(AnAccount):
    """Its stops rest overnight."""

    product = Product.CNC


class AnAccountWithSmallOrders(AnAccount):
    """The exchange takes no large orders."""

    freeze = 6

    @invariant()
    def closes_with_small_orders(self) -> None:
        assert all(order.quantity <= 6 for order in self.floor.desk.orders.values() if order.reduces)


TestAnAccount = AnAccount.TestCase
TestADeliveryAccount = ADeliveryAccount.TestCase
TestAnAccount.settings = settings(max_examples=examples(150), stateful_step_count=40)
TestAnAccountWithAnOwner = AnAccountWithAnOwner.TestCase
TestAnAccountWithAnOwner.settings = settings(max_examples=examples(150), stateful_step_count=40)
TestADeliveryAccount.settings = TestAnAccount.settings
TestAnAccountWithSmallOrders = AnAccountWithSmallOrders.TestCase
TestAnAccountWithSmallOrders.settings = TestAnAccount.settings
