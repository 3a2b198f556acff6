"""The risk agent: a verdict for each signal, once; levels and consents obeyed; feedback acts at its time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest

from agents.account.steps import step_signal
from panda_streams.codec import decode, encode
from panda_streams.domain.orders import OrderState, Product, Role, Ticket
from panda_streams.domain.risk.account import Account, Book
from panda_streams.domain.risk.modes import Mode
from panda_streams.domain.risk.rules import Allowance
from panda_streams.domain.signals import AT_MARKET, Intent, OrderType, Side, Signal, Terms
from panda_streams.events import Validated
from panda_streams.streams.sender import partition_of
from tables import read_row
from tables.risk import RiskRow
from tests.unit.agents.fakes import a_config
from tests.unit.agents.risk_arm import SECOND, ZERODHA, RiskArm
from tests.unit.bench import DLQ, Killed
from tests.unit.builders import FUTURE, INFY, SHARE, T0, a_fill, a_signal

DAY = 86_400_000
OPEN, SQUARE_OFF, CLOSE = T0, T0 + 365 * 60 * SECOND, T0 + 375 * 60 * SECOND
SUNDAY = T0 - 2 * DAY


def test_a_validated_signal_goes_to_the_shard_of_its_cause() -> None:
    arm = RiskArm(shards=4, partition=partition_of(b"paper", 4))

    signal = arm.signal(0, shard=3)

    (output,) = arm.bench.to("paper.signals.validated")
    (validated,) = arm.validated()
    assert output.partition == 3
    assert (validated.signal, validated.time) == (signal, signal.cause.time)
    assert [ticket.quantity for ticket in validated.tickets] == [10]
    assert all(finding.passed for finding in validated.rules)


def test_a_signal_that_is_said_again_is_judged_once() -> None:
    arm = RiskArm()
    signal = arm.signal(0)

    arm.deliver("signals.raw", encode(signal))

    assert len(arm.validated()) == 1


def test_a_kill_before_the_row_is_written_says_nothing_until_the_signal_comes_again() -> None:
    arm = RiskArm()
    arm.bench.kill_at = "write"
    with pytest.raises(Killed):
        arm.signal(0)
    assert arm.validated() == []

    arm.bench.restart()

    assert len(arm.validated()) == 1


def test_a_verdict_that_a_kill_kept_back_is_said_unchanged_although_the_arm_has_been_halted_since() -> None:
    arm = RiskArm()
    arm.bench.kill_at = "send"
    with pytest.raises(Killed):
        arm.signal(0)
    arm.set_mode("paper", "HALTED")

    arm.bench.restart()
    arm.signal(1)

    assert [verdict.sequence for verdict in arm.validated()] == [0]
    assert [verdict.sequence for verdict in arm.rejected()] == [1]


def test_the_last_verdict_is_said_again_after_a_restart_in_the_same_words() -> None:
    arm = RiskArm()
    arm.signal(0)
    arm.bench.restart()

    arm.signal(1)

    first, again, second = arm.bench.to("paper.signals.validated")
    assert first == again
    assert decode(Validated, second.value).sequence == 1


def test_a_fill_is_booked_once_and_can_then_be_exited() -> None:
    arm = RiskArm()
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    fill = a_fill(Side.BUY, 10, "1000", order_id=order_id)
    arm.update(0, order_id, OrderState.FILLED, fill)
    arm.update(0, order_id, OrderState.FILLED, fill)

    arm.signal(1, Intent.EXIT)

    (ticket,) = arm.validated()[-1].tickets
    assert (ticket.role, ticket.side, ticket.quantity) == (Role.EXIT, Side.SELL, 10)


def test_an_exit_is_capped_to_what_is_held_and_not_already_being_sold() -> None:
    arm = RiskArm()
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.update(0, order_id, OrderState.FILLED, a_fill(Side.BUY, 10, "1000", order_id=order_id))

    arm.signal(1, Intent.EXIT)
    arm.signal(2, Intent.EXIT)

    assert [ticket.quantity for verdict in arm.validated() for ticket in verdict.tickets] == [10, 10]
    assert [verdict.codes for verdict in arm.rejected()] == [("NOTHING_TO_EXIT",)]


def test_a_live_broker_needs_the_consent_of_the_strategy() -> None:
    accounts = {"zerodha": {**an_account()["paper"], "market_protection": "1"}}
    silent = RiskArm(a_config(accounts=accounts), ZERODHA)
    consenting = RiskArm(a_config(accounts=accounts, zerodha_trading_enabled=True), ZERODHA)

    silent.signal(0)
    consenting.signal(0)

    assert silent.rejected()[0].codes == ("LIVE_NOT_ENABLED",)
    assert consenting.rejected() == []


@pytest.mark.parametrize("scope", ["paper", "all"])
def test_a_halted_arm_refuses_and_a_resumed_one_trades(scope: str) -> None:
    arm = RiskArm()

    arm.set_mode(scope, "HALTED")
    arm.signal(0)
    arm.set_mode(scope, "ACTIVE")
    arm.signal(1)

    assert [rejected.codes for rejected in arm.rejected()] == [("ARM_HALTED",)]
    assert len(arm.validated()) == 1


def test_a_halt_of_another_arm_is_not_obeyed() -> None:
    arm = RiskArm()
    arm.set_mode("zerodha", "HALTED")

    arm.signal(0)

    assert len(arm.validated()) == 1


def test_a_signal_of_another_configuration_is_refused() -> None:
    arm = RiskArm()

    arm.signal(0, config="older")

    assert arm.rejected()[0].codes == ("STRATEGY_NOT_LISTED",)


def test_what_cannot_be_decoded_is_dead_lettered_with_the_field_that_is_wrong() -> None:
    arm = RiskArm()

    arm.deliver("signals.raw", b"{}")
    arm.signal(1)

    (letter,) = arm.bench.to(DLQ)
    assert letter.value == b"paper.signals.raw@0: not a Signal: world: Field required"
    assert len(arm.validated()) == 1


def test_a_signal_beside_the_partition_of_its_account_is_dead_lettered() -> None:
    home = partition_of(b"paper", 4)
    arm = RiskArm(shards=4, partition=(home + 1) % 4)

    arm.signal(0)

    (letter,) = arm.bench.to(DLQ)
    assert f"the account paper lives on partition {home}".encode() in letter.value
    assert arm.validated() == []


def test_a_signal_of_a_shard_that_there_is_not_is_dead_lettered() -> None:
    arm = RiskArm()

    arm.signal(0, shard=7)

    (letter,) = arm.bench.to(DLQ)
    assert b"written by 'brain/7', expected one of brain/0" in letter.value


def test_the_mirror_shows_refusals_by_reason() -> None:
    arm = RiskArm()
    arm.signal(0, Intent.EXIT)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])

    assert (view["signals"], view["rejected"], view["refusals"]) == (1, 1, {"NOTHING_TO_EXIT": 1})
    assert view["recent_refusals"][0]["codes"] == ["NOTHING_TO_EXIT"]


def test_the_last_refusals_say_what_the_broken_rules_saw() -> None:
    arm = RiskArm()
    arm.signal(0, price="1000")
    for sequence in range(1, 30):
        arm.signal(sequence, price="20")

    view = orjson.loads(arm.context.mirror.values["paper:risk"])

    assert len(view["recent_refusals"]) == 20
    last = view["recent_refusals"][0]
    assert (last["codes"], last["findings"]) == (["POSITION_LIMIT"], ["POSITION_LIMIT 510, limit 100"])


def test_a_refusal_that_breaks_everything_with_many_words_stays_small() -> None:
    arm = RiskArm(broker=ZERODHA)
    arm.set_mode("zerodha", "HALTED", reason="because " * 100)
    arm.signal(0, config="older", time=SUNDAY, price="1000000")

    (refusal,) = read_row(RiskRow, arm.bench.rows[b"zerodha"]).recent

    assert len(refusal.codes) > 4
    assert len(refusal.findings) == 4
    assert refusal.findings[2].startswith("ARM_HALTED because because")
    assert max(map(len, refusal.findings)) == 80


def test_the_mirror_is_written_again_from_the_row() -> None:
    arm = RiskArm()
    arm.signal(0)
    mirror = arm.context.mirror
    mirror.values.clear()

    list(arm.bench.task.agent.mirror(arm.bench.table()))

    assert orjson.loads(mirror.values["paper:risk"])["validated"] == 1


# On the replay clock


def test_a_signal_waits_until_no_feedback_can_act_before_it() -> None:
    arm = RiskArm(ordered=True)

    arm.signal(0, time=T0 + SECOND)
    waited = arm.validated()
    arm.beat("orders.updates", "execution/0", T0)

    assert waited == []
    assert len(arm.validated()) == 1


def test_a_signal_waits_for_every_shard_of_the_brain() -> None:
    arm = RiskArm(ordered=True, shards=2, partition=partition_of(b"paper", 2))
    for shard in (0, 1):
        arm.beat("orders.updates", f"execution/{shard}", T0 + SECOND)

    arm.signal(0, time=T0 + SECOND)
    waited = arm.validated()
    arm.signal(0, time=T0, shard=1)  # a sequence of its own, and an earlier time
    arm.beat("signals.raw", "brain/1", T0 + SECOND)

    assert waited == []
    assert [verdict.signal.cause.time for verdict in arm.validated()] == [T0, T0 + SECOND]


def test_a_fill_acts_a_second_after_it_was_said() -> None:
    arm = RiskArm(ordered=True)
    arm.signal(0, time=T0)
    arm.beat("orders.updates", "execution/0", T0)
    order_id = arm.validated()[0].tickets[0].order_id
    fill = a_fill(Side.BUY, 10, "1000", order_id=order_id, time=T0 + SECOND)
    arm.update(0, order_id, OrderState.FILLED, fill, time=T0 + SECOND)
    arm.beat("orders.updates", "execution/0", T0 + 5 * SECOND)

    arm.signal(1, Intent.EXIT, time=T0 + 2 * SECOND - 1)
    arm.signal(2, Intent.EXIT, time=T0 + 2 * SECOND)
    arm.beat("signals.raw", "brain/0", T0 + 5 * SECOND)

    assert [verdict.codes for verdict in arm.rejected()] == [("NOTHING_TO_EXIT",)]
    assert [verdict.sequence for verdict in arm.validated()] == [0, 2]


def test_a_late_arrival_of_feedback_changes_no_verdict() -> None:
    def verdicts(*, early: bool) -> list[tuple[int, str]]:
        arm = RiskArm(ordered=True)
        arm.signal(0, time=T0)
        arm.beat("orders.updates", "execution/0", T0)
        order_id = arm.validated()[0].tickets[0].order_id

        def feedback() -> None:
            fill = a_fill(Side.BUY, 10, "1000", order_id=order_id, time=T0 + SECOND)
            arm.update(0, order_id, OrderState.FILLED, fill, time=T0 + SECOND)
            arm.beat("orders.updates", "execution/0", T0 + 5 * SECOND)

        if early:
            feedback()
        arm.signal(1, Intent.EXIT, time=T0 + SECOND)
        arm.signal(2, Intent.EXIT, time=T0 + 3 * SECOND)
        if not early:
            feedback()
        passed = [(verdict.sequence, "validated") for verdict in arm.validated()]
        return sorted([*passed, *[(verdict.sequence, "rejected") for verdict in arm.rejected()]])

    assert verdicts(early=True) == verdicts(early=False) == [(0, "validated"), (1, "rejected"), (2, "validated")]


def test_risk_passes_on_how_far_the_brain_is_and_waits_for_no_execution() -> None:
    arm = RiskArm(ordered=True, shards=2, partition=partition_of(b"paper", 2))

    arm.beat("signals.raw", "brain/0", T0 + 2 * SECOND)
    arm.beat("signals.raw", "brain/1", T0 + SECOND)

    assert arm.beats() == [(0, T0 + SECOND), (1, T0 + SECOND)]


def test_risk_says_no_beat_beyond_a_signal_that_waits() -> None:
    arm = RiskArm(ordered=True)

    arm.signal(0, time=T0 + 2 * SECOND)
    arm.beat("signals.raw", "brain/0", T0 + 9 * SECOND)
    waiting = arm.beats()
    arm.beat("orders.updates", "execution/0", T0 + 9 * SECOND)

    assert waiting == [(0, T0 + SECOND)]
    assert arm.beats()[1:] == [(0, T0 + 9 * SECOND)]


# What a verdict comes to

ALLOWED = Allowance(
    listed=True,
    consented=True,
    mode=Mode.ACTIVE,
    capital=Decimal(100_000),
    share_of_capital=Decimal(1),
    shorts=True,
    entries=(T0, T0 + 1000),
)


def made(signal: Signal, row: RiskRow | None = None, **instrument: Any) -> tuple[RiskRow, tuple[Ticket, ...]]:
    row, verdict = step_signal(row or RiskRow(), signal, "paper", ALLOWED, msgspec.structs.replace(SHARE, **instrument))
    assert isinstance(verdict, Validated), verdict
    return row, verdict.tickets


def test_an_order_above_the_freeze_quantity_is_sliced_in_whole_lots_with_an_id_for_each() -> None:
    row, slices = made(a_signal(price="1000", size="0.99"), freeze_quantity=40, lot=3)

    assert [ticket.quantity for ticket in slices] == [39, 39, 21]
    assert len({ticket.order_id for ticket in slices}) == 3
    assert {name: order.quantity for name, order in row.account.reservations.items()} == {
        ticket.order_id: ticket.quantity for ticket in slices
    }
    assert row.account.reserved_cash("Momentum") == 99_000


@pytest.mark.parametrize(("freeze_quantity", "quantities"), [(99, [99]), (98, [98, 1]), (None, [99])])
def test_the_freeze_quantity_itself_is_taken(freeze_quantity: int | None, quantities: list[int]) -> None:
    _, slices = made(a_signal(price="1000", size="0.99"), freeze_quantity=freeze_quantity)

    assert [ticket.quantity for ticket in slices] == quantities


def test_a_target_that_turns_becomes_slices_that_close_before_those_that_open() -> None:
    book = Book(cash=Decimal(500_000), positions={INFY: -50}, product=Product.MIS)
    row = RiskRow(account=Account(books={"Momentum": book}))

    row, slices = made(a_signal(Intent.TARGET, price="1000", size="0.6"), row, freeze_quantity=40)

    assert [(ticket.role, ticket.quantity) for ticket in slices] == [
        (Role.EXIT, 40),
        (Role.EXIT, 10),
        (Role.ENTRY, 40),
        (Role.ENTRY, 20),
    ]
    assert len({ticket.order_id for ticket in slices}) == 4
    assert row.account.in_flight("Momentum", INFY, Side.BUY, closing=True) == 50
    assert row.account.in_flight("Momentum", INFY, Side.BUY, closing=False) == 60
    assert row.account.reserved_cash("Momentum") == 60_000


def test_ids_of_orders_are_a_function_of_the_signal_and_the_account() -> None:
    signal = a_signal(price="1000", size="0.5")

    said = [
        step_signal(RiskRow(sequence=sequence), signal, namespace, ALLOWED, SHARE)[1]
        for sequence, namespace in enumerate(["paper", "paper", "zerodha"])
    ]

    first, again, other = [verdict.tickets for verdict in said if isinstance(verdict, Validated)]
    assert first == again
    assert first[0].order_id != other[0].order_id


@pytest.mark.parametrize("intent", [Intent.CANCEL, Intent.MODIFY])
def test_what_changes_working_orders_reserves_nothing(intent: Intent) -> None:
    arm = RiskArm()
    terms = Terms(order_type=OrderType.LIMIT, price=Decimal(990))

    arm.signal(0, intent, terms=terms if intent is Intent.MODIFY else AT_MARKET)

    assert [verdict.tickets for verdict in arm.validated()] == [()]
    assert arm.account() == Account()


def an_account(**fields: Any) -> dict[str, Any]:
    return {"paper": {"capital": "100000", "share_of_capital": "0.1", "max_position": 100, **fields}}


@pytest.mark.parametrize(
    ("configured", "instrument", "product"),
    [("MIS", INFY, "MIS"), ("CNC", INFY, "CNC"), ("CNC", FUTURE.id, "NRML"), ("NRML", INFY, "CNC")],
)
def test_an_order_has_the_product_of_its_account_as_its_instrument_is_held(
    configured: str, instrument: str, product: str
) -> None:
    arm = RiskArm(a_config(brokers=["paper"], accounts=an_account(product=configured)))

    arm.signal(0, instrument=instrument)

    assert [ticket.product for verdict in arm.validated() for ticket in verdict.tickets] == [product]


def test_short_positions_need_leave_of_the_configuration() -> None:
    timid = RiskArm()
    bold = RiskArm(a_config(brokers=["paper"], accounts=an_account(shorts=True)))

    for arm in (timid, bold):
        arm.signal(0, side=Side.SELL)

    assert [verdict.codes for verdict in timid.rejected()] == [("SHORT_NOT_ALLOWED",)]
    assert [ticket.side for verdict in bold.validated() for ticket in verdict.tickets] == [Side.SELL]


@pytest.mark.parametrize(("btst", "codes"), [(False, [("NOT_SETTLED",)]), (True, [])])
def test_shares_bought_on_friday_are_sold_on_monday_only_by_leave(btst: bool, codes: list[tuple[str, ...]]) -> None:
    friday, monday = T0 - 4 * DAY, T0 - DAY
    arm = RiskArm(a_config(brokers=["paper"], accounts=an_account(product="CNC", btst=btst)))
    arm.signal(0, time=friday)
    order_id = arm.validated()[0].tickets[0].order_id
    bought = a_fill(Side.BUY, 10, "1000", order_id=order_id, time=friday, product=Product.CNC)
    arm.update(0, order_id, OrderState.FILLED, bought, time=friday)

    arm.signal(1, Intent.EXIT, time=monday)

    assert [verdict.codes for verdict in arm.rejected()] == codes


def test_an_exit_of_a_strategy_that_is_configured_no_more_is_refused() -> None:
    arm = RiskArm(a_config(brokers=["paper"], accounts=an_account(product="CNC")))
    arm.signal(0)
    order_id = arm.validated()[0].tickets[0].order_id
    arm.filled(0, a_fill(Side.BUY, 10, "1000", order_id=order_id, product=Product.CNC))
    arm.context.strategies.clear()

    arm.signal(1, Intent.EXIT)

    assert arm.rejected()[0].codes == ("STRATEGY_NOT_LISTED", "LIVE_NOT_ENABLED", "NOT_SETTLED")


# Trading hours


@pytest.mark.parametrize(
    ("product", "time", "passed"),
    [
        ("MIS", OPEN - 1, False),
        ("MIS", OPEN, True),
        ("MIS", SQUARE_OFF - 1, True),
        ("MIS", SQUARE_OFF, False),
        ("CNC", SQUARE_OFF, True),
        ("CNC", CLOSE - 1, True),
        ("CNC", CLOSE, False),
        ("CNC", SUNDAY, False),
    ],
)
def test_entries_are_taken_while_the_market_trades_and_intraday_ones_until_the_square_off(
    product: str, time: int, passed: bool
) -> None:
    arm = RiskArm(a_config(brokers=["paper"], accounts=an_account(product=product)))

    arm.signal(0, time=time)

    assert [verdict.codes for verdict in arm.rejected()] == ([] if passed else [("MARKET_CLOSED",)])
