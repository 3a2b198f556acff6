"""How an arm stops: by its losses, by silence, by an operator who flattens it; and how it is resumed."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from agents.reading import FEEDBACK_MS
from panda_streams.domain.orders import UNATTRIBUTED, OrderState, Role
from panda_streams.domain.risk.limits import Limits, LimitSet
from panda_streams.domain.risk.modes import Mode, StopReason
from panda_streams.domain.signals import Intent, Side
from panda_streams.events import ActionKind
from panda_streams.streams.sender import partition_of
from tests.unit.agents.risk_arm import SECOND, RiskArm
from tests.unit.bench import Killed
from tests.unit.builders import T0, a_fill

DAY = 86_400_000
LOST = OrderState.UNKNOWN


def losing(**limits: object) -> RiskArm:
    """An arm with 10 shares bought at 1000, which stops above a loss of 500."""
    arm = RiskArm(limits=LimitSet(account=Limits(max_daily_loss=Decimal(500), **limits)))
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.filled(0, a_fill(Side.BUY, 10, "1000", order_id=order_id))
    return arm


# Losses


@pytest.mark.parametrize(("price", "stopped"), [("950", False), ("949.95", True)])
def test_a_loss_at_the_last_prices_stops_the_arm_from_the_next_moment_on(price: str, stopped: bool) -> None:
    arm = losing()
    arm.prices(1, price, time=T0 + SECOND)

    arm.signal(1, time=T0 + 3 * SECOND)

    assert [latch.reason for latch in arm.stopped()] == ([StopReason.DAILY_LOSS] if stopped else [])
    assert [verdict.codes for verdict in arm.rejected()] == ([("ARM_HALTED",)] if stopped else [])


def test_the_mirror_shows_the_day_of_the_account_and_its_stops() -> None:
    arm = losing()
    arm.prices(1, "940", time=T0 + SECOND)
    arm.signal(1, time=T0 + 3 * SECOND)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])

    assert view["day"] == {"date": "2021-06-08", "orders": 1, "equity": "99400", "profit": "-600"}
    assert [(stop["reason"], stop["mode"], stop["level"]) for stop in view["stops"]] == [
        ("DAILY_LOSS", "HALTED", "account")
    ]
    assert (view["mode"], view["mode_reason"]) == ("HALTED", "DAILY_LOSS: 600 is more than 500")


def test_all_that_acts_at_one_moment_has_acted_before_losses_are_looked_at() -> None:
    arm = losing()
    arm.prices(1, "900", time=T0 + SECOND)
    arm.prices(2, "960", time=T0 + SECOND, shard=0)

    arm.signal(1, time=T0 + SECOND + FEEDBACK_MS)
    arm.signal(2, time=T0 + 3 * SECOND)

    assert arm.stopped() == []


@pytest.mark.parametrize(
    ("what", "amount", "price", "stopped"),
    [
        (ActionKind.WITHDRAW, "5000", "950", False),
        (ActionKind.WITHDRAW, "5000", "949.95", True),
        (ActionKind.DEPOSIT, "5000", "949.95", True),
    ],
)
def test_money_that_an_operator_moves_is_neither_loss_nor_gain(
    what: ActionKind, amount: str, price: str, stopped: bool
) -> None:
    arm = losing(max_drawdown=Decimal(500))
    arm.act(what, amount=amount, strategy_id="Momentum")
    arm.prices(1, price, time=T0 + SECOND)

    arm.signal(1, time=T0 + 3 * SECOND)

    expected = [StopReason.DAILY_LOSS, StopReason.DRAWDOWN] if stopped else []
    assert [latch.reason for latch in arm.stopped()] == expected


def test_what_is_nobodys_is_neither_loss_nor_cash_nor_exposure_of_the_arm() -> None:
    arm = losing(max_gross_exposure=Decimal(30_000))
    arm.filled(1, a_fill(Side.BUY, 1000, "1000", order_id="found", strategy_id=UNATTRIBUTED))
    arm.prices(2, "990", time=T0 + SECOND)
    arm.signal(1, time=T0 + 3 * SECOND)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])
    assert arm.stopped() == []
    assert arm.rejected() == []
    assert (view["cash"], view["day"]["equity"], view["day"]["profit"]) == ("90000", "99900", "-100")


def test_a_reset_begins_the_day_anew() -> None:
    arm = losing(max_drawdown=Decimal(500))
    arm.prices(1, "960", time=T0 + SECOND)
    arm.filled(2, a_fill(Side.SELL, 10, "960", order_id="stop", time=T0 + SECOND))

    arm.act(ActionKind.RESET, amount="50000", strategy_id="Momentum")
    arm.signal(1, time=T0 + 3 * SECOND)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])
    assert arm.stopped() == []
    assert (view["day"]["equity"], view["day"]["profit"]) == ("50000", "0")


def test_a_stop_is_said_once_and_names_what_was_seen() -> None:
    arm = losing()
    arm.prices(1, "940", time=T0 + SECOND)

    for number in (1, 2, 3):
        arm.signal(number, time=T0 + (number + 2) * SECOND)

    (latch,) = arm.stopped()
    assert (latch.level, latch.mode, latch.detail) == ("account", Mode.HALTED, "600 is more than 500")
    assert arm.rejected()[0].rules[2].value == "DAILY_LOSS: 600 is more than 500"


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_a_stop(point: str) -> None:
    arm = losing()
    arm.prices(1, "940", time=T0 + SECOND)
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.signal(1, time=T0 + 3 * SECOND)

    arm.bench.restart()
    arm.signal(2, time=T0 + 4 * SECOND)

    assert {latch.since for latch in arm.stopped()} == {T0 + SECOND + FEEDBACK_MS}
    assert {verdict.codes for verdict in arm.rejected()} == {("ARM_HALTED",)}


def test_an_arm_that_only_reduces_takes_exits() -> None:
    arm = losing(on_breach="REDUCING")
    arm.prices(1, "940", time=T0 + SECOND)

    arm.signal(1, time=T0 + 3 * SECOND)
    arm.signal(2, Intent.EXIT, time=T0 + 4 * SECOND)

    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_REDUCING",)]
    assert [ticket.side for ticket in arm.validated()[-1].tickets] == [Side.SELL]


def test_a_strategy_that_has_lost_too_much_stops_alone() -> None:
    strategies = {"Momentum": Limits(max_daily_loss=Decimal(500)), "Other": Limits(max_daily_loss=Decimal(500))}
    arm = RiskArm(limits=LimitSet(strategies=strategies))
    arm.signal(0)
    arm.filled(0, a_fill(Side.BUY, 10, "1000", order_id=arm.validated()[0].tickets[0].order_id))
    arm.prices(1, "940", time=T0 + SECOND)

    arm.signal(1, time=T0 + 3 * SECOND)

    assert [latch.level for latch in arm.stopped()] == ["strategy:Momentum"]
    assert orjson.loads(arm.context.mirror.values["paper:risk"])["mode"] == "ACTIVE"
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]


def test_orders_that_the_market_refuses_stop_the_arm() -> None:
    arm = RiskArm(limits=LimitSet(account=Limits(max_rejections_per_day=1)))
    for number in range(3):
        arm.signal(number, time=T0 + 3 * number * SECOND)
        time = T0 + 3 * number * SECOND
        if len(arm.validated()) > number:
            order_id = arm.validated()[number].tickets[0].order_id
            arm.update(number, order_id, OrderState.REJECTED, None, time=time)

    assert [latch.reason for latch in arm.stopped()] == [StopReason.REJECTIONS]
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]


def unknown(*states: tuple[str, OrderState]) -> RiskArm:
    """An arm that stops above one unknown order, after updates of orders a second apart."""
    arm = RiskArm(limits=LimitSet(account=Limits(max_unknown_orders=1)))
    for number, (order_id, state) in enumerate(states):
        arm.update(number, order_id, state, None, time=T0 + number * SECOND)
    return arm


def test_orders_that_nobody_knows_of_stop_the_arm() -> None:
    arm = unknown(("a", LOST), ("a", LOST), ("b", LOST))
    arm.signal(0, time=T0 + 4 * SECOND)

    assert [(latch.reason, latch.detail) for latch in arm.stopped()] == [
        (StopReason.UNKNOWN_ORDERS, "2 is more than 1")
    ]
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]


@pytest.mark.parametrize("known", [OrderState.WORKING, OrderState.FILLED, OrderState.ABSENT])
def test_an_order_that_is_known_again_no_longer_counts(known: OrderState) -> None:
    arm = unknown(("a", LOST), ("a", known), ("b", LOST))
    arm.signal(0, time=T0 + 4 * SECOND)

    assert arm.stopped() == []
    assert len(arm.validated()) == 1


def test_a_new_day_does_not_forget_the_orders_that_nobody_knows_of() -> None:
    arm = unknown(("a", LOST), ("b", LOST))
    arm.signal(0, time=T0 + DAY)

    arm.act(ActionKind.RESUME)
    arm.signal(1, time=T0 + DAY + SECOND)

    assert [latch.reason for latch in arm.stopped()] == [StopReason.UNKNOWN_ORDERS] * 2
    assert len(arm.rejected()) == 2


def test_a_new_day_counts_its_own_losses_but_does_not_resume() -> None:
    arm = losing()
    arm.prices(1, "940", time=T0 + SECOND)
    arm.signal(1, time=T0 + 3 * SECOND)

    arm.signal(2, time=T0 + DAY)
    arm.act(ActionKind.RESUME)
    arm.signal(3, time=T0 + DAY + 3 * SECOND)

    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",), ("ARM_HALTED",)]
    assert len(arm.stopped()) == 1
    assert arm.validated()[-1].signal.cause.time == T0 + DAY + 3 * SECOND


def test_a_stop_whose_cause_still_holds_is_found_again_after_a_resumption() -> None:
    arm = losing()
    arm.prices(1, "940", time=T0 + SECOND)
    arm.signal(1, time=T0 + 3 * SECOND)

    said = arm.act(ActionKind.RESUME)
    arm.signal(2, time=T0 + 4 * SECOND)

    assert (said.done, said.detail) == (True, "taken back: DAILY_LOSS of account")
    assert [latch.reason for latch in arm.stopped()] == [StopReason.DAILY_LOSS] * 2
    assert len(arm.rejected()) == 2


def test_a_resumption_of_an_arm_that_has_not_stopped_itself_says_so() -> None:
    arm = RiskArm()
    arm.set_mode("paper", "HALTED")

    said = arm.act(ActionKind.RESUME)
    arm.signal(0)

    assert (said.done, said.detail) == (True, "the arm had not stopped itself")
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]


# Silence


def test_the_arm_stops_once_all_shards_are_silent() -> None:
    limits = LimitSet(account=Limits(feed_stale_s=Decimal(30)))
    arm = RiskArm(limits=limits, shards=2, partition=partition_of(b"paper", 2))

    arm.silence(0, time=T0 + 31 * SECOND)
    one = arm.stopped()
    arm.silence(0, since=T0 + SECOND, time=T0 + 32 * SECOND, shard=1)

    (latch,) = arm.stopped()
    assert one == []
    assert (latch.reason, latch.mode, latch.detail) == (StopReason.FEED_STALE, Mode.HALTED, "no tick for 31 s")


def test_ticks_that_come_again_on_a_shard_end_its_silence_but_not_the_stop() -> None:
    limits = LimitSet(account=Limits(feed_stale_s=Decimal(30)))
    arm = RiskArm(limits=limits, shards=2, partition=partition_of(b"paper", 2))
    arm.silence(0, time=T0 + 31 * SECOND)
    arm.silence(1, silent=False, time=T0 + 32 * SECOND)

    arm.silence(0, time=T0 + 33 * SECOND, shard=1)
    alone = arm.stopped()
    arm.silence(2, time=T0 + 70 * SECOND)
    arm.silence(3, silent=False, time=T0 + 71 * SECOND)
    arm.signal(0, time=T0 + 72 * SECOND)

    assert alone == []
    assert len(arm.stopped()) == 1
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]


# Flattening


def test_flattening_halts_commands_every_shard_and_is_done_when_all_is_flat() -> None:
    arm = RiskArm(shards=2, partition=partition_of(b"paper", 2))
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.filled(0, a_fill(Side.BUY, 10, "1000", order_id=order_id))

    arm.deliver_action(ActionKind.FLATTEN)
    waiting = arm.completed()
    arm.signal(1, time=T0 + SECOND)
    arm.filled(1, a_fill(Side.SELL, 10, "990", order_id="flat", number=1))

    assert [(shard, command.action_id) for shard, command in arm.flattens()] == [(0, "a1"), (1, "a1")]
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]
    assert waiting == []
    assert [(said.action_id, said.done) for said in arm.completed()] == [("a1", True)]


def test_flattening_waits_for_orders_in_flight_too() -> None:
    arm = RiskArm()
    arm.signal(0)

    arm.deliver_action(ActionKind.FLATTEN)
    waiting = arm.completed()
    arm.update(0, arm.validated()[0].tickets[0].order_id, OrderState.CANCELLED, None)

    assert waiting == []
    assert [said.done for said in arm.completed()] == [True]


def test_flattening_what_is_flat_is_done_at_once_and_halts() -> None:
    arm = RiskArm()

    said = arm.act(ActionKind.FLATTEN)
    arm.signal(0)

    assert said.done
    assert [verdict.codes for verdict in arm.rejected()] == [("ARM_HALTED",)]
    assert arm.rejected()[0].rules[2].value == "FLATTENED: because (me)"


def test_a_flattening_whose_order_is_refused_ends_undone_and_may_be_asked_for_again() -> None:
    arm = losing()
    arm.deliver_action(ActionKind.FLATTEN)

    arm.update(1, "flat", OrderState.REJECTED, None, role=Role.FLATTEN, note="RMS: no")
    arm.deliver_action(ActionKind.FLATTEN, "a2")

    [said] = arm.completed()
    assert (said.action_id, said.done) == ("a1", False)
    assert said.detail.startswith("10 NSE:INFY of Momentum are still open, their order is REJECTED: RMS: no")
    assert {command.action_id for _, command in arm.flattens()} == {"a1", "a2"}


def test_a_flattening_whose_order_never_arrived_goes_on() -> None:
    arm = losing()
    arm.deliver_action(ActionKind.FLATTEN)

    arm.update(1, "flat", OrderState.ABSENT, None, role=Role.FLATTEN)

    assert arm.completed() == []


def test_an_arm_is_not_resumed_while_it_is_being_flattened() -> None:
    arm = losing()
    arm.deliver_action(ActionKind.FLATTEN)

    refused = arm.act(ActionKind.RESUME, "a2")
    arm.filled(1, a_fill(Side.SELL, 10, "1000", order_id="flat", number=1))
    resumed = arm.act(ActionKind.RESUME, "a3")
    arm.signal(1)

    assert (refused.done, refused.detail) == (False, "positions are still being closed: wait for the end of that")
    assert (resumed.done, resumed.detail) == (True, "taken back: FLATTENED of account")
    assert arm.rejected() == []


def test_a_second_flattening_is_refused_while_one_is_under_way() -> None:
    arm = losing()
    arm.deliver_action(ActionKind.FLATTEN)

    refused = arm.act(ActionKind.FLATTEN, "a2")

    assert (refused.done, refused.detail) == (False, "positions are being closed already: wait for the end of that")
    assert {command.action_id for _, command in arm.flattens()} == {"a1"}


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_a_flattening(point: str) -> None:
    arm = losing()
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.deliver_action(ActionKind.FLATTEN)

    arm.bench.restart()
    arm.deliver_action(ActionKind.FLATTEN)

    assert len({command.sequence for _, command in arm.flattens()}) == 1
