"""The risk agent: a verdict for each signal, once, and levels and consents obeyed."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from agents.risk import RiskAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.orders import Fill, OrderState
from panda_streams.domain.signals import Intent, Side, Signal
from panda_streams.errors import BadEvent
from panda_streams.events import Level, OrderUpdate, Rejected, Validated
from panda_streams.streams.loop import Record
from panda_streams.topics import level_key
from strategies.config import StrategyConfig
from tests.unit.agents.fakes import FakeLoop, FakeTable, a_config, a_context
from tests.unit.builders import INFY, T0, a_fill, a_signal

PAPER = Broker("paper", "Paper", "INR", live=False, trader=None)
ZERODHA = Broker("zerodha", "Zerodha", "INR", live=True, trader=None)


class Arm:
    """A risk agent on fakes."""

    def __init__(self, config: StrategyConfig | None = None, broker: Broker = PAPER) -> None:
        self.config = config or a_config()
        self.loop, self.table = FakeLoop(), FakeTable()
        self.broker, self.namespace = broker, broker.namespace
        self.restart()

    def restart(self) -> None:
        self.loop.crash_before = ""
        self.context = a_context(self.config, namespace=self.namespace, loop=self.loop)
        self.agent = RiskAgent(self.context, self.table, self.broker)  # type: ignore[arg-type]

    def handle(self, topic: str, offset: int, value: bytes) -> None:
        asyncio.run(self.agent.handle(Record(f"{self.namespace}.{topic}", 0, offset, b"", value)))

    def signal(self, offset: int, intent: Intent = Intent.ENTRY, *, config: str | None = None) -> Signal:
        signal = a_signal(intent, price="1000", sequence=offset, config=config or self.config.version)
        self.handle("signals.raw", offset, encode(signal))
        return signal

    def update(self, offset: int, order_id: str, state: OrderState, fill: Fill | None) -> None:
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
            time=T0,
            fill=fill,
            producer=f"execution/{INFY}",
            sequence=offset,
        )
        self.handle("orders.updates", offset, encode(update))

    def validated(self) -> list[Validated]:
        return [decode(Validated, output.value) for output in self.loop.to(f"{self.namespace}.signals.validated")]

    def rejected(self) -> list[Rejected]:
        return [decode(Rejected, output.value) for output in self.loop.to(f"{self.namespace}.signals.rejected")]


def test_a_validated_signal_goes_to_the_shard_of_its_cause() -> None:
    arm = Arm()

    signal = arm.signal(0)

    (output,) = arm.loop.to("paper.signals.validated")
    (validated,) = arm.validated()
    assert output.partition == signal.cause.shard
    assert (validated.signal, validated.quantity) == (signal, 10)
    assert all(finding.passed for finding in validated.rules)


def test_a_signal_at_a_repeated_offset_or_sequence_is_judged_once() -> None:
    arm = Arm()
    signal = arm.signal(0)

    arm.handle("signals.raw", 0, encode(signal))
    arm.handle("signals.raw", 1, encode(signal))

    assert len(arm.validated()) == 1


def test_a_kill_before_the_row_is_written_says_nothing_until_the_signal_comes_again() -> None:
    arm = Arm()
    arm.loop.crash_before = "row"
    with pytest.raises(InterruptedError):
        arm.signal(0)
    arm.restart()

    arm.signal(0)

    assert len(arm.validated()) == 1


def test_a_verdict_that_a_kill_kept_back_is_said_unchanged_although_the_arm_has_been_halted_since() -> None:
    arm = Arm()
    arm.loop.crash_before = "outputs"
    with pytest.raises(InterruptedError):
        arm.signal(0)
    arm.restart()
    level = Level(world="sim", scope="paper", setting="mode", value="HALTED", who="me", at=0, reason="")
    arm.context.levels.apply("control", level_key("paper", "mode"), encode(level))

    arm.signal(0)
    arm.signal(1)

    assert [verdict.sequence for verdict in arm.validated()] == [0]
    assert [verdict.sequence for verdict in arm.rejected()] == [1]


def test_the_last_verdict_is_said_again_after_a_restart_in_the_same_words() -> None:
    arm = Arm()
    arm.signal(0)
    arm.restart()

    arm.signal(1)

    first, again, second = arm.loop.to("paper.signals.validated")
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

    def set_mode(value: str) -> None:
        level = Level(world="sim", scope=scope, setting="mode", value=value, who="me", at=0, reason="lunch")
        arm.context.levels.apply("control", level_key(scope, "mode"), encode(level))

    set_mode("HALTED")
    arm.signal(0)
    set_mode("ACTIVE")
    arm.signal(1)

    assert [rejected.codes for rejected in arm.rejected()] == [("ARM_HALTED",)]
    assert len(arm.validated()) == 1


def test_a_halt_of_another_arm_is_not_obeyed() -> None:
    arm = Arm()
    level = Level(world="sim", scope="zerodha", setting="mode", value="HALTED", who="me", at=0, reason="")
    arm.context.levels.apply("control", level_key("zerodha", "mode"), encode(level))

    arm.signal(0)

    assert len(arm.validated()) == 1


def test_a_signal_of_another_configuration_is_refused() -> None:
    arm = Arm()

    arm.signal(0, config="older")

    assert arm.rejected()[0].codes == ("STRATEGY_NOT_LISTED",)


def test_what_cannot_be_decoded_is_a_bad_event_that_names_the_field() -> None:
    arm = Arm()

    with pytest.raises(BadEvent, match="not a Signal: world: Field required"):
        arm.handle("signals.raw", 0, b"{}")


def test_the_mirror_shows_refusals_by_reason() -> None:
    arm = Arm()
    arm.signal(0, Intent.EXIT)

    view = orjson.loads(arm.context.mirror.values["paper:risk"])

    assert (view["signals"], view["rejected"], view["refusals"]) == (1, 1, {"NOTHING_TO_EXIT": 1})
    assert view["recent_refusals"][0]["codes"] == ["NOTHING_TO_EXIT"]
