"""What is nobody's, given to a strategy or closed: an operator hears of its end, not of its beginning."""

from __future__ import annotations

from typing import Any

import pytest

from panda_streams.domain.broker_orders import given_key, got_key, moved_id
from panda_streams.domain.orders import UNATTRIBUTED, Fill, OrderState, Reason, Role
from panda_streams.domain.signals import Side
from panda_streams.events import ActionKind
from tests.unit.agents.fakes import a_config
from tests.unit.agents.risk_arm import ZERODHA, RiskArm
from tests.unit.bench import Killed
from tests.unit.builders import INFY, a_fill


def an_arm() -> RiskArm:
    """Momentum holds 10; nobody holds 7."""
    account = {"capital": "100000", "share_of_capital": "0.1", "max_position": 100, "market_protection": "1"}
    config = a_config(brokers=["zerodha"], accounts={"zerodha": account}, zerodha_trading_enabled=True)
    arm = RiskArm(config, ZERODHA)
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.filled(0, a_fill(Side.BUY, 10, "1000", order_id=order_id))
    arm.filled(1, nobodys(Side.BUY, 7, order_id="hand", number=1))
    return arm


def nobodys(side: Side, quantity: int, **fields: Any) -> Fill:
    return a_fill(side, quantity, "1000", strategy_id=UNATTRIBUTED, **fields)


def given(arm: RiskArm, sequence: int, action: str = "a1") -> None:
    """Execution takes it out of nobody's book."""
    name = moved_id("zerodha", given_key(action))
    arm.filled(sequence, nobodys(Side.SELL, 7, order_id=name, number=sequence))


def got(arm: RiskArm, sequence: int, action: str = "a1") -> None:
    """Execution puts it into the strategy's book."""
    name = moved_id("zerodha", got_key(action))
    fill = a_fill(Side.BUY, 7, "1000", order_id=name, number=sequence)
    arm.update(sequence, name, OrderState.FILLED, fill, quantity=7)


def closing(
    arm: RiskArm, sequence: int, state: OrderState, sold: int = 0, *, name: str = "close", **changes: Any
) -> None:
    """Execution tells of an order that closes what is nobody's, and of what it has sold."""
    fill = nobodys(Side.SELL, sold, order_id=name, number=sequence) if sold else None
    of = {"strategy_id": UNATTRIBUTED, "instrument": INFY, "role": Role.FLATTEN}
    arm.update(sequence, name, state, fill, **{**of, **changes})


def ends(arm: RiskArm) -> list[tuple[str, bool, str]]:
    return [(said.action_id, said.done, said.detail) for said in arm.completed()]


def test_what_is_assigned_is_done_once_it_is_in_the_strategys_book() -> None:
    arm = an_arm()

    arm.deliver_action(ActionKind.ASSIGN, instrument=INFY, strategy_id="Momentum")
    given(arm, 2)
    assert [(command.action_id, command.strategy_id) for command in arm.handovers()] == [("a1", "Momentum")]
    assert ends(arm) == []
    got(arm, 3)

    assert ends(arm) == [("a1", True, "7 NSE:INFY are Momentum's now")]
    assert arm.account().books["Momentum"].positions == {INFY: 17}


def test_what_is_closed_is_done_once_nothing_is_left() -> None:
    arm = an_arm()

    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)
    closing(arm, 2, OrderState.WORKING)
    closing(arm, 3, OrderState.WORKING, sold=3)
    assert ends(arm) == []
    closing(arm, 4, OrderState.FILLED, sold=4)

    assert ends(arm) == [("a1", True, "nothing is left of NSE:INFY in the book _unattributed")]


def test_what_the_broker_does_not_close_is_not_done_and_may_be_asked_for_again() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)

    closing(arm, 2, OrderState.INTENT)
    closing(arm, 3, OrderState.REJECTED, note="RMS: market closed")
    arm.deliver_action(ActionKind.CLOSE, "a2", instrument=INFY)

    assert ends(arm) == [
        ("a1", False, "7 NSE:INFY are in the book _unattributed, the order to close is REJECTED: RMS: market closed")
    ]
    assert [command.action_id for command in arm.handovers()] == ["a1", "a2"]


def test_a_closing_order_that_never_arrived_is_tried_again_by_itself() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)

    closing(arm, 2, OrderState.INTENT)
    closing(arm, 3, OrderState.ABSENT, reason=Reason.NEVER_ARRIVED)
    closing(arm, 4, OrderState.INTENT, name="again")
    assert ends(arm) == []
    closing(arm, 5, OrderState.REJECTED, name="again", note="no")

    assert [(action, done) for action, done, _ in ends(arm)] == [("a1", False)]


def test_a_closing_order_that_was_taken_back_while_it_was_unknown_is_not_tried_again() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)

    closing(arm, 2, OrderState.INTENT)
    closing(arm, 3, OrderState.ABSENT, reason=Reason.FLATTENED)

    assert [(action, done) for action, done, _ in ends(arm)] == [("a1", False)]


def test_what_is_closed_by_several_orders_has_ended_with_the_last_of_them() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)

    closing(arm, 2, OrderState.INTENT)
    closing(arm, 3, OrderState.INTENT, name="second")
    closing(arm, 4, OrderState.FILLED, sold=4)
    assert ends(arm) == []
    closing(arm, 5, OrderState.REJECTED, name="second", note="no")

    assert [(action, done) for action, done, _ in ends(arm)] == [("a1", False)]


def test_a_closing_order_that_sells_a_part_alone_says_what_is_left() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)

    closing(arm, 2, OrderState.WORKING, sold=3)
    closing(arm, 3, OrderState.CANCELLED, reason=Reason.BROKER_CANCELLED)

    assert ends(arm) == [
        ("a1", False, "4 NSE:INFY are in the book _unattributed, the order to close is CANCELLED: BROKER_CANCELLED")
    ]


def test_what_is_on_its_way_is_given_to_nobody_else() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)
    arm.deliver_action(ActionKind.ASSIGN, "a2", instrument=INFY, strategy_id="Momentum")

    closing(arm, 2, OrderState.INTENT)
    closing(arm, 3, OrderState.REJECTED, note="no")
    arm.deliver_action(ActionKind.ASSIGN, "a3", instrument=INFY, strategy_id="Momentum")
    given(arm, 4, "a3")
    got(arm, 5, "a3")

    assert [(action, done) for action, done, _ in ends(arm)] == [("a2", False), ("a1", False), ("a3", True)]
    assert ends(arm)[0][2] == "it is on its way to the market already: wait for the end of that"


def test_the_late_end_of_an_order_of_an_earlier_handover_ends_no_later_one() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.CLOSE, instrument=INFY)
    closing(arm, 2, OrderState.INTENT)
    arm.filled(3, nobodys(Side.SELL, 7, order_id="hand2", number=3))
    arm.filled(4, nobodys(Side.BUY, 3, order_id="hand3", number=4))
    arm.deliver_action(ActionKind.CLOSE, "a2", instrument=INFY)

    closing(arm, 5, OrderState.CANCELLED, reason=Reason.POSITION_CLOSED)
    closing(arm, 6, OrderState.INTENT, name="later")
    closing(arm, 7, OrderState.FILLED, sold=3, name="later")

    assert [(action, done) for action, done, _ in ends(arm)] == [("a1", True), ("a2", True)]


def test_what_its_owner_has_sold_meanwhile_cannot_be_assigned() -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.ASSIGN, instrument=INFY, strategy_id="Momentum")

    arm.filled(2, nobodys(Side.SELL, 7, order_id="hand2", number=2))

    assert ends(arm) == [("a1", False, "nothing was left of NSE:INFY in the book _unattributed")]


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_the_end_of_a_handover(point: str) -> None:
    arm = an_arm()
    arm.deliver_action(ActionKind.ASSIGN, instrument=INFY, strategy_id="Momentum")
    given(arm, 2)
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        got(arm, 3)

    arm.bench.restart()
    got(arm, 3)

    assert {(action, done) for action, done, _ in ends(arm)} == {("a1", True)}
    assert len({said.sequence for said in arm.completed()}) == 1
