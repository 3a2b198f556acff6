"""A desk under any sequence of orders, changes, ticks, beats and reloads, beside what its changes must add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents.desks.shard import DeskRow
from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.corporate_actions import Ratio, adjusted_quantity
from panda_streams.domain.desk import Change
from panda_streams.domain.orders import Order, Reason, Role
from panda_streams.domain.paper_desk import PaperDesk
from panda_streams.domain.protection import Protection
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Depth, Place, Tick
from tables import read_row
from tables.execution import ExecutionRow
from tests.orders.account import Account
from tests.properties import examples
from tests.unit.builders import T0, a_ref, a_tick
from tests.unit.domain.desk_events import (
    STRATEGIES,
    WAITS,
    protections,
    quantities,
    rupees,
    sides,
    sights,
    terms,
    venues,
)
from tests.unit.domain.desks import CLOSE, SHARE, SQUARE_OFF, an_order


class DeskMachine(RuleBasedStateMachine):
    """Three desks that are told the same: one is left alone, its twin too, and one is reloaded at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.time = T0
        self.offset = self.row = self.number = 0
        self.account = Account()
        self.log: list[tuple[Tick, Place, Depth | None, int | None]] = []

    @initialize(venue=venues, protections=protections, start=st.sampled_from([0, SQUARE_OFF - 1_500, CLOSE - 60_000]))
    def begin(self, venue: PaperTrader, protections: dict[str, Protection], start: int) -> None:
        self.venue = venue
        self.protections = protections
        self.time = T0 + start
        self.desks = [PaperDesk("paper", SHARE, venue, protections=protections) for _ in range(3)]

    def _tell(self, told: Callable[[PaperDesk], list[Change]]) -> list[Change]:
        rows = [DeskRow(desk).dump() for desk in self.desks]
        for desk in self.desks:
            desk.changed = False
        said, *others = [told(desk) for desk in self.desks]
        assert others == [said, said], "desks that hold the same say the same"
        for desk, row in zip(self.desks, rows, strict=True):
            assert desk.changed or DeskRow(desk).dump() == row, "what has changed is to be stored"
        for change in said:
            self.account.hear(change)
        return said

    def _place(self) -> Place:
        self.offset += 1
        return Place("sim", "1", 0, self.offset)

    def _order(self, strategy_id: str, role: Role, side: Side, quantity: int, fields: dict[str, Any]) -> Order:
        self.number += 1
        name = f"order {self.number}"
        works, entering = fields["works"], role is Role.ENTRY
        live_at = self.time + self.venue.latency(name)
        until = min(T0 + (SQUARE_OFF if entering else CLOSE), live_at + works if works else T0 + CLOSE)
        legs = {leg: fields[leg] if entering else None for leg in ("target", "stop")}
        cause = a_ref(offset=self.offset, row=self.row, time=self.time)
        plain = {key: value for key, value in fields.items() if key not in ("works", *legs)}
        return an_order(
            side,
            quantity,
            name=name,
            strategy_id=strategy_id,
            role=role,
            cause=cause,
            live_at=live_at - T0,
            expires_at=until,
            **plain,
            **legs,
        )

    @rule(who=st.sampled_from(STRATEGIES), side=sides, quantity=quantities, fields=terms())
    def enter(self, who: str, side: Side, quantity: int, fields: dict[str, Any]) -> None:
        order = self._order(who, Role.ENTRY, side, quantity, fields)
        self._tell(lambda desk: desk.place(order, self.time))

    @rule(who=st.sampled_from(STRATEGIES), quantity=quantities, fields=terms())
    def leave(self, who: str, quantity: int, fields: dict[str, Any]) -> None:
        side = Side.BUY if self.account.positions[who] < 0 else Side.SELL
        order = self._order(who, Role.EXIT, side, quantity, fields)
        self._tell(lambda desk: desk.place(order, self.time))

    @rule(who=st.sampled_from(STRATEGIES), side=sides, wait=WAITS)
    def cancel(self, who: str, side: Side, wait: int) -> None:
        self._tell(lambda desk: desk.cancel(who, side, self.time + wait) or [])

    @rule(who=st.sampled_from(STRATEGIES), side=sides, wait=WAITS, price=st.none() | rupees, trigger=st.none() | rupees)
    def modify(self, who: str, side: Side, wait: int, price: str | None, trigger: str | None) -> None:
        new = [Decimal(text) if text else None for text in (price, trigger)]
        self._tell(lambda desk: desk.modify(who, side, self.time + wait, *new) or [])

    @rule(wait=WAITS, sight=sights())
    def tick(self, wait: int, sight: tuple[int, dict[str, int], Depth | None, int | None]) -> None:
        price, best, book, traded = sight
        self.time += wait
        self.row += 1
        told = a_tick(price, row=self.row, time=self.time, **best), self._place(), book, traded
        self.log.append(told)
        self._tell(lambda desk: self._meet(desk, *told))

    @staticmethod
    def _meet(desk: PaperDesk, tick: Tick, place: Place, book: Depth | None, traded: int | None) -> list[Change]:
        return desk.meet(tick, place, lambda row: book if row == tick.row else None, traded)

    @rule(wait=WAITS)
    def beat(self, wait: int) -> None:
        self.time += wait
        place = self._place()
        self._tell(lambda desk: desk.pass_time(self.time, place))

    @rule(ratio=st.sampled_from([(2, 1), (3, 2), (1, 5)]))
    def split(self, ratio: tuple[int, int]) -> None:
        shares = Ratio(new=ratio[0], old=ratio[1])
        self._tell(lambda desk: desk.adjust(shares, self.time))
        for strategy_id, quantity in self.account.positions.items():
            self.account.positions[strategy_id], _ = adjusted_quantity(quantity, shares)

    @rule()
    def end_the_data(self) -> None:
        place = self._place()
        self._tell(
            lambda desk: desk.pass_time(self.time, place) + desk.expire(place.offset, self.time, Reason.END_OF_DATA)
        )
        self.time += 1

    @rule(price=rupees)
    def settle(self, price: str) -> None:
        place = self._place()
        self._tell(lambda desk: desk.settle(Decimal(price), place, self.time))
        assert not self.account.held()
        self.time += 1  # a contract expires once

    @precondition(lambda self: self.log)
    @rule(who=st.sampled_from(STRATEGIES), side=sides, quantity=quantities, fields=terms(), ticks=st.integers(1, 4))
    def enter_late(self, who: str, side: Side, quantity: int, fields: dict[str, Any], ticks: int) -> None:
        """An order meets ticks that its desk has met, and joins."""
        passed = self.log[-ticks:]
        cause = a_ref(offset=passed[0][1].offset, row=-1, time=passed[0][0].time)
        order = self._order(who, Role.ENTRY, side, quantity, fields).model_copy(
            update={"cause": cause, "live_at": cause.time}
        )

        def told(desk: PaperDesk) -> list[Change]:
            late = desk.late()
            said = late.place(order, cause.time)
            for one in passed:
                said += self._meet(late, *one)
            return [*said, *desk.join(late, self.time)]

        self._tell(told)

    @rule()
    def reload(self) -> None:
        """Make a desk anew of the row that an agent stores of it."""
        row = read_row(ExecutionRow, DeskRow(self.desks[2]).dump())
        frozen = self.desks[2].frozen
        self.desks[2] = PaperDesk("paper", SHARE, self.venue, row.orders, row.positions, self.protections)
        self.desks[2].frozen = frozen

    @rule()
    def halt_hard_or_resume(self) -> None:
        for desk in self.desks:
            desk.frozen = not desk.frozen

    @rule()
    def flatten(self) -> None:
        self.number += 1
        cause = self._place().ref(-1, self.time)
        self._tell(lambda desk: desk.flatten(f"action {self.number}", cause, self.time))

    @precondition(lambda self: any(order.fill_ids for order in self.desks[0].orders.values()))
    @rule()
    def hear_of_fills_again(self) -> None:
        for desk in self.desks:
            desk.changed = False
            for order in desk.orders.values():
                for fill_id in order.fill_ids:
                    assert desk.apply(order, self.account.fills[fill_id]) == []
            assert not desk.changed

    @invariant()
    def the_desks_are_what_was_said_of_them(self) -> None:
        working = {name: order for name, order in self.account.orders.items() if not order.state.terminal}
        for desk in getattr(self, "desks", ()):
            assert {who: position.quantity for who, position in desk.positions.items()} == self.account.held()
            assert desk.orders.keys() == working.keys()
            for name, order in desk.orders.items():
                assert (order.filled, order.quantity, order.state) == (
                    working[name].filled,
                    working[name].quantity,
                    working[name].state,
                )

    @invariant()
    def no_leg_closes_more_than_its_entry_opened(self) -> None:
        for name in {order.parent for order in self.account.orders.values() if order.parent is not None}:
            assert self.account.legs(name) <= self.account.orders[name].filled

    @invariant()
    def legs_of_one_entry_have_as_much_left(self) -> None:
        left: defaultdict[str | None, set[int]] = defaultdict(set)
        for desk in getattr(self, "desks", ())[:1]:
            for order in desk.orders.values():
                left[order.parent].add(order.remaining)
        assert all(len(found) == 1 for parent, found in left.items() if parent is not None)

    @invariant()
    def a_flat_strategy_has_nothing_that_only_reduces(self) -> None:
        for desk in getattr(self, "desks", ())[:1]:
            reducing = {order.strategy_id for order in desk.orders.values() if order.reduces}
            assert reducing <= desk.positions.keys()


TestDeskMachine = DeskMachine.TestCase
TestDeskMachine.settings = settings(max_examples=examples(60), stateful_step_count=40)
