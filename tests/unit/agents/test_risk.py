"""The risk agent: a verdict for each signal, once; levels and consents obeyed; feedback acts at its time."""

from __future__ import annotations

import orjson
import pytest

from agents.risk import RiskAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.orders import Fill, OrderState
from panda_streams.domain.signals import Intent, Side, Signal
from panda_streams.events import Level, OrderUpdate, Rejected, StageBeat, Validated
from panda_streams.streams.sender import partition_of
from panda_streams.topics import level_key
from strategies.config import StrategyConfig
from tests.unit.agents.fakes import a_config, a_context
from tests.unit.bench import DLQ, Bench, Killed
from tests.unit.builders import INFY, T0, a_beat, a_fill, a_ref, a_signal

PAPER = Broker("paper", "Paper", "INR", live=False, trader=None)
ZERODHA = Broker("zerodha", "Zerodha", "INR", live=True, trader=None)
SECOND = 1000


class Arm:
    """A risk agent on a bench; on the wall clock unless `ordered`."""

    def __init__(
        self,
        config: StrategyConfig | None = None,
        broker: Broker = PAPER,
        *,
        ordered: bool = False,
        shards: int = 1,
        partition: int = 0,
    ) -> None:
        self.config = config or a_config()
        self.namespace = broker.namespace
        self.context = a_context(self.config, namespace=self.namespace, partitions=shards, ordered=ordered)
        self.bench = Bench(lambda: RiskAgent(self.context, broker), partition)
        self.offsets = {"signals.raw": -1, "orders.updates": -1}

    def deliver(self, topic: str, value: bytes) -> None:
        self.offsets[topic] += 1
        self.bench.deliver(f"{self.namespace}.{topic}", self.offsets[topic], value)

    def signal(
        self,
        sequence: int,
        intent: Intent = Intent.ENTRY,
        *,
        config: str | None = None,
        time: int = T0,
        shard: int = 0,
        price: str = "1000",
    ) -> Signal:
        cause = a_ref(row=sequence, offset=sequence, time=time, shard=shard)
        version = config or self.config.version
        signal = a_signal(intent, price=price, sequence=sequence, config=version, cause=cause)
        self.deliver("signals.raw", encode(signal))
        return signal

    def update(
        self, sequence: int, order_id: str, state: OrderState, fill: Fill | None, *, time: int = T0, shard: int = 0
    ) -> None:
        update = OrderUpdate(
            world="sim",
            namespace=self.namespace,
            order_id=order_id,
            signal_id="signal",
            strategy_id="Momentum",
            instrument=INFY,
            side=Side.BUY,
            quantity=10,
            state=state,
            reason=None,
            time=time,
            fill=fill,
            producer=f"execution/{shard}",
            sequence=sequence,
        )
        self.deliver("orders.updates", encode(update))

    def beat(self, topic: str, producer: str, time: int) -> None:
        self.deliver(topic, encode(a_beat(producer, time)))

    def set_mode(self, scope: str, value: str) -> None:
        level = Level(world="sim", scope=scope, setting="mode", value=value, who="me", at=0, reason="lunch")
        self.context.levels.apply("control", level_key(scope, "mode"), encode(level))

    def validated(self) -> list[Validated]:
        return [decode(Validated, output.value) for output in self.bench.to(f"{self.namespace}.signals.validated")]

    def rejected(self) -> list[Rejected]:
        return [decode(Rejected, output.value) for output in self.bench.to(f"{self.namespace}.signals.rejected")]

    def beats(self) -> list[tuple[int | None, int]]:
        outputs = self.bench.beats_to(f"{self.namespace}.signals.validated")
        return [(output.partition, decode(StageBeat, output.value).time) for output in outputs]


def test_a_validated_signal_goes_to_the_shard_of_its_cause() -> None:
    arm = Arm(shards=4, partition=partition_of(b"paper", 4))

    signal = arm.signal(0, shard=3)

    (output,) = arm.bench.to("paper.signals.validated")
    (validated,) = arm.validated()
    assert output.partition == 3
    assert (validated.signal, validated.quantity, validated.time) == (signal, 10, signal.cause.time)
    assert all(finding.passed for finding in validated.rules)


def test_a_signal_that_is_said_again_is_judged_once() -> None:
    arm = Arm()
    signal = arm.signal(0)

    arm.deliver("signals.raw", encode(signal))

    assert len(arm.validated()) == 1


def test_a_kill_before_the_row_is_written_says_nothing_until_the_signal_comes_again() -> None:
    arm = Arm()
    arm.bench.kill_at = "write"
    with pytest.raises(Killed):
        arm.signal(0)
    assert arm.validated() == []

    arm.bench.restart()

    assert len(arm.validated()) == 1


def test_a_verdict_that_a_kill_kept_back_is_said_unchanged_although_the_arm_has_been_halted_since() -> None:
    arm = Arm()
    arm.bench.kill_at = "send"
    with pytest.raises(Killed):
        arm.signal(0)
    arm.set_mode("paper", "HALTED")

    arm.bench.restart()
    arm.signal(1)

    assert [verdict.sequence for verdict in arm.validated()] == [0]
    assert [verdict.sequence for verdict in arm.rejected()] == [1]


def test_the_last_verdict_is_said_again_after_a_restart_in_the_same_words() -> None:
    arm = Arm()
    arm.signal(0)
    arm.bench.restart()

    arm.signal(1)

    first, again, second = arm.bench.to("paper.signals.validated")
    assert first == again
    assert decode(Validated, second.value).sequence == 1


def test_a_fill_is_booked_once_and_can_then_be_exited() -> None:
    arm = Arm()
    arm.signal(0)
    order_id = arm.validated()[0].order_id
    fill = a_fill(Side.BUY, 10, "1000", order_id=order_id)
    arm.update(0, order_id, OrderState.FILLED, fill)
    arm.update(0, order_id, OrderState.FILLED, fill)

    arm.signal(1, Intent.EXIT)

    assert arm.validated()[-1].quantity == 10
    assert arm.validated()[-1].signal.side is Side.SELL


def test_an_exit_is_capped_to_what_is_held_and_not_already_being_sold() -> None:
    arm = Arm()
    arm.signal(0)
    order_id = arm.validated()[0].order_id
    arm.update(0, order_id, OrderState.FILLED, a_fill(Side.BUY, 10, "1000", order_id=order_id))

    arm.signal(1, Intent.EXIT)
    arm.signal(2, Intent.EXIT)

    assert [verdict.quantity for verdict in arm.validated()] == [10, 10]
    assert [verdict.codes for verdict in arm.rejected()] == [("NOTHING_TO_EXIT",)]


def test_a_live_broker_needs_the_consent_of_the_strategy() -> None:
    silent = Arm(a_config(), ZERODHA)
    consenting = Arm(a_config(zerodha_trading_enabled=True), ZERODHA)

    silent.signal(0)
    consenting.signal(0)

    assert silent.rejected()[0].codes == ("LIVE_NOT_ENABLED",)
    assert consenting.rejected() == []


@pytest.mark.parametrize("scope", ["paper", "all"])
def test_a_halted_arm_refuses_and_a_resumed_one_trades(scope: str) -> None:
    arm = Arm()

    arm.set_mode(scope, "HALTED")
    arm.signal(0)
    arm.set_mode(scope, "ACTIVE")
    arm.signal(1)

    assert [rejected.codes for rejected in arm.rejected()] == [("ARM_HALTED",)]
    assert len(arm.validated()) == 1


def test_a_halt_of_another_arm_is_not_obeyed() -> None:
    arm = Arm()
    arm.set_mode("zerodha", "HALTED")

    arm.signal(0)

    assert len(arm.validated()) == 1


def test_a_signal_of_another_configuration_is_refused() -> None:
    arm = Arm()

    arm.signal(0, config="older")

    assert arm.rejected()[0].codes == ("STRATEGY_NOT_LISTED",)


def test_what_cannot_be_decoded_is_dead_lettered_with_the_field_that_is_wrong() -> None:
    arm = Arm()

    arm.deliver("signals.raw", b"{}")
    arm.signal(1)

    (letter,) = arm.bench.to(DLQ)
    assert letter.value == b"paper.signals.raw@0: not a Signal: world: Field required"
    assert len(arm.validated()) == 1


def test_a_signal_beside_the_partition_of_its_account_is_dead_lettered() -> None:
    home = partition_of(b"paper", 4)
    arm = Arm(shards=4, partition=(home + 1) % 4)

    arm.signal(0)

    (letter,) = arm.bench.to(DLQ)
    assert f"the account paper lives on partition {home}".encode() in letter.value
    assert arm.validated() == []


def test_a_signal_of_a_shard_that_there_is_not_is_dead_lettered() -> None:
    arm = Arm()

    arm.signal(0, shard=7)

    (letter,) = arm.bench.to(DLQ)
    assert b"written by 'brain/7', expected one of brain/0" in letter.value


def test_the_mirror_shows_refusals_by_reason() -> None:
    arm = Arm()
    arm.signal(0, Intent.EXIT)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])

    assert (view["signals"], view["rejected"], view["refusals"]) == (1, 1, {"NOTHING_TO_EXIT": 1})
    assert view["recent_refusals"][0]["codes"] == ["NOTHING_TO_EXIT"]


def test_the_mirror_is_written_again_from_the_row() -> None:
    arm = Arm()
    arm.signal(0)
    mirror = arm.context.mirror
    mirror.values.clear()

    list(arm.bench.task.agent.mirror(arm.bench.table()))

    assert orjson.loads(mirror.values["paper:risk"])["validated"] == 1


# On the replay clock


def test_a_signal_waits_until_no_feedback_can_act_before_it() -> None:
    arm = Arm(ordered=True)

    arm.signal(0, time=T0 + SECOND)
    waited = arm.validated()
    arm.beat("orders.updates", "execution/0", T0)

    assert waited == []
    assert len(arm.validated()) == 1


def test_a_signal_waits_for_every_shard_of_the_brain() -> None:
    arm = Arm(ordered=True, shards=2, partition=partition_of(b"paper", 2))
    for shard in (0, 1):
        arm.beat("orders.updates", f"execution/{shard}", T0 + SECOND)

    arm.signal(0, time=T0 + SECOND)
    waited = arm.validated()
    arm.signal(0, time=T0, shard=1)  # a sequence of its own, and an earlier time
    arm.beat("signals.raw", "brain/1", T0 + SECOND)

    assert waited == []
    assert [verdict.signal.cause.time for verdict in arm.validated()] == [T0, T0 + SECOND]


def test_a_fill_acts_a_second_after_it_was_said() -> None:
    arm = Arm(ordered=True)
    arm.signal(0, time=T0)
    arm.beat("orders.updates", "execution/0", T0)
    order_id = arm.validated()[0].order_id
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
        arm = Arm(ordered=True)
        arm.signal(0, time=T0)
        arm.beat("orders.updates", "execution/0", T0)
        order_id = arm.validated()[0].order_id

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
    arm = Arm(ordered=True, shards=2, partition=partition_of(b"paper", 2))

    arm.beat("signals.raw", "brain/0", T0 + 2 * SECOND)
    arm.beat("signals.raw", "brain/1", T0 + SECOND)

    assert arm.beats() == [(0, T0 + SECOND), (1, T0 + SECOND)]


def test_risk_says_no_beat_beyond_a_signal_that_waits() -> None:
    arm = Arm(ordered=True)

    arm.signal(0, time=T0 + 2 * SECOND)
    arm.beat("signals.raw", "brain/0", T0 + 9 * SECOND)
    waiting = arm.beats()
    arm.beat("orders.updates", "execution/0", T0 + 9 * SECOND)

    assert waiting == [(0, T0 + SECOND)]
    assert arm.beats()[1:] == [(0, T0 + 9 * SECOND)]
