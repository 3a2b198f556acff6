"""Workers on real servers: what must not stop them, what must keep them from starting, and a third broker."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from panda_streams.codec import encode_batch, encode_beat
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.identity import Home
from panda_streams.servers import read_running
from panda_streams.worlds import enter, prepare
from tests.integration.conftest import FreshWorld, Spawned, clean_environment
from tests.integration.reading import get, read_topic, write_record, write_records
from tests.polling import eventually

pytestmark = pytest.mark.integration

WORKER = ["faust", "-A", "faust_app", "worker"]
INFY, SHARD = "NSE:INFY", 2
T0 = 1_767_584_700_000

FLIP = """
from panda_streams.domain.signals import Decision, Intent, Side
from panda_streams.domain.values import Value
from strategies.interface import Strategy

class Params(Value):
    bomb: int = 0

class Flip(Strategy):
    '''Buys and sells at every tick in turn; raises at the price `bomb`.'''
    Params = Params

    def initial(self):
        return False

    def step(self, state, tick):
        if tick.price == self.params.bomb:
            raise RuntimeError("this strategy has a mistake")
        side, intent = (Side.SELL, Intent.EXIT) if state else (Side.BUY, Intent.ENTRY)
        return not state, (Decision(instrument=tick.instrument, side=side, intent=intent),)

    def dump(self, state):
        return state

    def load(self, data):
        return data
"""
CONFIG = """
strategy_id: {name}
strategy: flip_strategy:Flip
trades: [{trades}]
brokers: [{brokers}]
params: {{bomb: {bomb}}}
accounts:
{accounts}
"""
ACCOUNT = '  {broker}: {{capital: "100000", share_of_capital: "0.1", max_position: 1000}}'
ACME = """
from decimal import Decimal

from panda_streams.brokers.paper import PaperTrader
from panda_streams.brokers.port import Broker

class AcmeTrader(PaperTrader):
    '''Takes a rupee for each trade, and sends no contract note.'''

    def latency(self, order_id):
        return 700

    def charges(self, order, instrument, trade, on):
        return {"commission": Decimal(1)}

    def counted(self, tally, fill, instrument):
        return tally

    def contract_note(self, tally, on):
        return {}

BROKER = Broker("acme", "Acme", "INR", live=False, trader=AcmeTrader.from_settings)
"""


class Market:
    """Publishes a tick of one share on its shard each second, and beats on all, as a feed would."""

    def __init__(self, world: FreshWorld) -> None:
        self.world, self.count = world, 0
        self._sequences = [0] * world.settings.partitions
        self._beat(T0 - 1000)

    def tick(self, price: int) -> None:
        at = T0 + self.count * 1000
        tick = Tick(INFY, price, None, None, None, None, at, self.count)
        batch = TickBatch(self.world.name, "test", "1", self._number(SHARD), at, (tick,))
        self._send([(SHARD, encode_batch(batch))])
        self._beat(at)
        self.count += 1

    def raw(self, value: bytes) -> None:
        self._send([(SHARD, value)])

    def _beat(self, at: int) -> None:
        shards = range(len(self._sequences))
        beats = [Beat(self.world.name, "test", "1", self._number(shard), at, Phase.OPEN) for shard in shards]
        self._send([(shard, encode_beat(beat)) for shard, beat in enumerate(beats)])

    def _number(self, shard: int) -> int:
        self._sequences[shard] += 1
        return self._sequences[shard] - 1

    def _send(self, records: list[tuple[int, bytes]]) -> None:
        topic = f"{self.world.servers.prefix}market.ticks"
        write_records(self.world.servers.kafka, topic, [(b"3", value, shard) for shard, value in records])


@pytest.fixture
def flip(world: FreshWorld, tmp_path: Path) -> Callable[..., None]:
    """Adds a strategy that flips at every tick; the first call makes the world's topics too."""
    code, configs = tmp_path / "code", tmp_path / "strategies"
    code.mkdir()
    configs.mkdir()
    (code / "flip_strategy.py").write_text(FLIP)
    world.env.update(PANDA_STRATEGIES=str(configs), PYTHONPATH=str(code), PANDA_PAPER_LATENCY_MS="500")

    def add(name: str = "Flip", *, trades: str = INFY, brokers: str = "paper", bomb: int = 0) -> None:
        accounts = "\n".join(ACCOUNT.format(broker=broker) for broker in brokers.split(", "))
        text = CONFIG.format(name=name, trades=trades, brokers=brokers, bomb=bomb, accounts=accounts)
        (configs / f"{name}.yaml").write_text(text)

    return add


def topic(world: FreshWorld, name: str) -> list[dict[str, Any]]:
    """The readable records of a topic, beats apart."""
    lines = read_topic(world.servers.kafka, f"{world.servers.prefix}{name}")
    return [event for line in lines if (event := _json(line.value)) and event["kind"] != "beat"]


def port(world: FreshWorld, offset: int) -> str:
    return f"http://127.0.0.1:{int(world.env['PANDA_PORT_BASE']) + offset}"


def start_brain_and_arm(world: FreshWorld, spawn: Callable[..., Spawned], namespace: str = "paper") -> None:
    asyncio.run(prepare(world.settings, world.servers))
    spawn(WORKER)
    spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": namespace})
    pages = [port(world, offset) + "/ready/" for offset in (10, 20)]
    eventually(lambda: all(get(page)[0] == 200 for page in pages), timeout_s=40, what="brain and arm are ready")


def test_bad_records_and_a_raising_strategy_stop_nothing(
    world: FreshWorld, spawn: Callable[..., Spawned], flip: Callable[..., None]
) -> None:
    flip("Sound")
    flip("Broken", bomb=140_100)
    start_brain_and_arm(world, spawn)
    market = Market(world)
    market.tick(140_000)
    market.raw(b"\xff not JSON")
    inputs = ("signals.raw", "signals.validated", "orders.updates", "orders.filled", "marks")
    for name in inputs:
        full = f"{world.servers.prefix}paper.{name}"
        write_record(world.servers.kafka, full, b"paper", b"{broken", SHARD if name == "signals.validated" else None)
    for price in (140_100, 140_200, 140_300, 140_400):
        market.tick(price)

    def letters(namespace: str) -> set[str]:
        return {letter["topic"].removeprefix(world.servers.prefix) for letter in topic(world, f"{namespace}.dlq")}

    def judged() -> int:
        return len(topic(world, "paper.signals.validated")) + len(topic(world, "paper.signals.rejected"))

    # Five of the sound strategy and the first one of the broken one.
    eventually(lambda: judged() == 6, timeout_s=40, what="a verdict on every signal")

    def filled_since() -> bool:
        return any(filled["fill"]["time"] > T0 + 1000 for filled in topic(world, "paper.orders.filled"))

    eventually(filled_since, timeout_s=20, what="a fill after the bad records")
    expected = {"market.ticks", *(f"paper.{name}" for name in inputs)}
    eventually(lambda: len(letters("paper")) >= len(expected), timeout_s=20, what="dead letters")
    assert letters("paper") == expected
    assert letters("brain") == {"market.ticks"}
    letter = next(one for one in topic(world, "brain.dlq") if one["topic"].endswith("market.ticks"))
    assert (letter["partition"], letter["offset"]) == (SHARD, 3)
    assert "not a tick batch" in letter["reason"]

    made = [one["strategy_id"] for one in topic(world, "paper.signals.raw")]
    assert (made.count("Sound"), made.count("Broken")) == (5, 1)
    (paused,) = [level for level in topic(world, "control") if level["setting"] == "state"]
    assert (paused["scope"], paused["value"]) == ("strategy:Broken", "PAUSED")
    assert "this strategy has a mistake" in paused["reason"]
    assert all(get(port(world, offset) + "/ready/")[0] == 200 for offset in (10, 20))


def test_a_halt_is_obeyed_across_a_restart_until_resumed(
    world: FreshWorld, spawn: Callable[..., Spawned], flip: Callable[..., None]
) -> None:
    flip()
    asyncio.run(prepare(world.settings, world.servers))
    spawn(WORKER)
    arm = spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": "paper"})
    eventually(lambda: get(port(world, 20) + "/ready/")[0] == 200, timeout_s=40, what="the arm is ready")
    market = Market(world)

    halted = spawn(["panda", "halt", "paper", "--reason", "lunch"])
    assert halted.wait(20) == 0, halted.output()
    assert "paper-0: HALTED" in halted.output()
    arm.kill()
    spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": "paper"})
    market.tick(140_000)
    eventually(lambda: topic(world, "paper.signals.rejected"), timeout_s=30, what="a refusal")
    resumed = spawn(["panda", "resume", "paper"])
    assert resumed.wait(20) == 0, resumed.output()
    market.tick(140_100)
    market.tick(140_200)
    eventually(lambda: topic(world, "paper.signals.validated"), timeout_s=30, what="a validated signal")

    (refused, *_) = topic(world, "paper.signals.rejected")
    assert refused["codes"] == ["ARM_HALTED"]


def test_a_halt_is_not_confirmed_for_an_arm_that_hangs(
    world: FreshWorld, spawn: Callable[..., Spawned], flip: Callable[..., None]
) -> None:
    flip()
    asyncio.run(prepare(world.settings, world.servers))
    arm = spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": "paper"})
    eventually(lambda: get(port(world, 20) + "/ready/")[0] == 200, timeout_s=40, what="the arm is ready")
    arm.process.send_signal(signal.SIGSTOP)

    halted = spawn(["panda", "halt", "paper", "--reason", "it hangs"])

    try:
        assert halted.wait(30) == 1, halted.output()
        assert "not yet confirmed as HALTED by paper-0" in halted.output()
    finally:
        arm.process.send_signal(signal.SIGCONT)


def test_a_halt_of_all_arms_is_not_taken_back_by_the_resume_of_one(
    world: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    halted = spawn(["panda", "halt", "all", "--reason", "holiday"])
    assert halted.wait(20) == 0, halted.output()

    resumed = spawn(["panda", "resume", "paper"])

    assert resumed.wait(20) == 1, resumed.output()
    assert "holiday" in resumed.output()
    assert "panda resume all" in resumed.output()


def test_a_halt_of_one_arm_is_not_taken_back_by_the_resume_of_all(
    world: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    halted = spawn(["panda", "halt", "paper", "--reason", "lunch"])
    assert halted.wait(20) == 0, halted.output()

    resumed = spawn(["panda", "resume", "all"])

    assert resumed.wait(20) == 1, resumed.output()
    assert "paper is HALTED: lunch" in resumed.output()
    assert "panda resume paper" in resumed.output()


def test_a_third_broker_is_one_class_one_value_and_one_entry(
    world: FreshWorld, spawn: Callable[..., Spawned], flip: Callable[..., None], tmp_path: Path
) -> None:
    package = tmp_path / "code"
    (package / "acme_broker.py").write_text(ACME)
    info = package / "acme_broker-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[panda_streams.brokers]\nacme = acme_broker:BROKER\n")
    flip(brokers="paper, acme")
    created = spawn(["panda", "topics", "create"])
    assert created.wait(30) == 0, created.output()
    spawn(WORKER)
    spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": "acme"})
    eventually(lambda: get(port(world, 20) + "/ready/")[0] == 200, timeout_s=40, what="the arm is ready")
    market = Market(world)
    for price in (140_000, 140_100):
        market.tick(price)

    fills = eventually(lambda: topic(world, "acme.orders.filled"), timeout_s=30, what="a fill at Acme")

    assert {fill["namespace"] for fill in fills} == {"acme"}
    assert fills[0]["fill"]["charges"] == {"commission": "1"}
    eventually(lambda: len(topic(world, "paper.signals.raw")) == 2, what="both signals are on the paper topic too")
    assert topic(world, "paper.signals.validated") == []


def test_a_worker_of_another_world_refuses_to_start(world: FreshWorld, spawn: Callable[..., Spawned]) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    foreign = {**world.env, "PANDA_WORLD": "replay:other", "PANDA_TOPIC_PREFIX": world.servers.prefix}

    for command, more in ((WORKER, {}), (WORKER, {"BROKER_NAMESPACE": "paper"}), (["panda", "feed", "sim"], {})):
        process = spawn(command, env={**foreign, **more})
        assert process.wait(30) == 5, process.output()
        assert f"world is '{world.name}', this process has 'replay:other'" in process.output()
        assert "fix:" in process.output()


def test_a_data_directory_of_another_kafka_is_refused(world: FreshWorld, spawn: Callable[..., Spawned]) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    stamp = asyncio.run(enter(world.settings, world.servers))
    directory = Path(world.env["PANDA_HOME"]) / "worlds" / world.name.replace(":", "-") / "data" / "brain-0"
    directory.mkdir(parents=True)
    (directory / "stamp.json").write_text(stamp.model_copy(update={"kafka": "another-cluster"}).model_dump_json())

    brain = spawn(WORKER)

    assert brain.wait(30) == 5, brain.output()
    assert "kafka is 'another-cluster'" in brain.output()
    assert "move" in brain.output()


def test_a_worker_whose_kafka_is_replaced_by_another_one_ends(
    spawn: Callable[..., Spawned], home: Home, free_port_base: int
) -> None:
    env = {**clean_environment(), "PANDA_HOME": str(home.path), "PANDA_PORT_BASE": str(free_port_base)}
    first = spawn(["panda", "servers"], env={**env, "PANDA_WORLD": "replay:first"})
    eventually(lambda: read_running(home), timeout_s=60, what="the first world's servers run")
    arm = spawn(WORKER, env={**env, "BROKER_NAMESPACE": "paper"})
    page = f"http://127.0.0.1:{free_port_base + 20}/ready/"
    eventually(lambda: get(page)[0] == 200, timeout_s=40, what="the arm is ready")

    first.process.terminate()
    assert first.wait(40) == 0, first.output()
    spawn(["panda", "servers"], env={**env, "PANDA_WORLD": "replay:second"})

    assert arm.wait(60) == 5, arm.output()
    assert "now cluster" in arm.output()


def test_a_second_worker_of_the_same_instance_is_refused(
    world: FreshWorld, spawn: Callable[..., Spawned], flip: Callable[..., None]
) -> None:
    flip()
    asyncio.run(prepare(world.settings, world.servers))
    first = spawn(WORKER)
    eventually(lambda: get(port(world, 10) + "/ready/")[0] == 200, timeout_s=40, what="the brain is ready")

    second = spawn(WORKER)

    assert second.wait(30) == 6, second.output()
    assert f"pid {first.pid}" in second.output()
    assert "PANDA_INSTANCE" in second.output()


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"KAFKA_BROKER_URL": "kafka://127.0.0.1:1"}, 3, "KAFKA_BROKER_URL"),
        ({"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}, 3, "REDIS_URL"),
        ({"PANDA_PORT_BASE": "40000"}, 2, "PANDA_PORT_BASE"),
        ({"PANDA_WORLD": "moon"}, 2, "PANDA_WORLD"),
        ({"BROKER_NAMESPACE": "nobody"}, 2, "nobody"),
        ({"BROKER_NAMESPACE": "zerodha", "PANDA_KITE_PROFILE": "production"}, 2, "PANDA_KITE_PROFILE"),
        ({"PANDA_PARTITIONS": "8"}, 4, "partitions"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_worker_that_cannot_work_says_why_and_how_to_mend_it(
    world: FreshWorld, spawn: Callable[..., Spawned], changed: dict[str, str], code: int, words: str
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    began = time.monotonic()

    worker = spawn(WORKER, env={**world.env, **changed})

    assert worker.wait(30) == code, worker.output()
    assert words in worker.output()
    assert "fix:" in worker.output()
    assert "Traceback" not in worker.output()
    assert "secret" not in worker.output()
    assert time.monotonic() - began < 15


def _json(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return None
