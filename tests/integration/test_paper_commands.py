"""`panda paper` on a running arm: money in and out, and an order explained from the topics and the ticks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from panda_streams.codec import encode_batch, encode_beat
from panda_streams.domain.ticks import Tick
from panda_streams.events import Beat, Phase, TickBatch
from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.reading import get, read_topic, write_records
from tests.polling import eventually

pytestmark = pytest.mark.integration

WORKER = ["faust", "-A", "faust_app", "worker"]
INFY, SHARD = "NSE:INFY", 2
T0 = 1_767_584_700_000
"""A Monday, 2026-01-05 09:15:00 in India."""

ONCE = """
from panda_streams.domain.signals import Decision, Intent, Side, Terms
from panda_streams.domain.values import Value
from strategies.interface import Strategy

class Params(Value):
    pass

class Once(Strategy):
    '''Buys at its first tick, with a target.'''
    Params = Params

    def initial(self):
        return False

    def step(self, state, tick):
        if state:
            return state, ()
        terms = Terms(target="1410", stop="1390")
        return True, (Decision(instrument=tick.instrument, side=Side.BUY, intent=Intent.ENTRY, terms=terms),)

    def dump(self, state):
        return state

    def load(self, data):
        return data
"""
CONFIG = """
strategy_id: Once
strategy: once_strategy:Once
trades: [NSE:INFY]
brokers: [paper]
accounts:
  paper: {capital: "100000", share_of_capital: "0.5", max_position: 1000}
"""


@pytest.fixture
def arm(world: FreshWorld, spawn: Callable[..., Spawned], tmp_path: Path) -> FreshWorld:
    """A world with a brain and a paper arm, ready, and no tick yet."""
    code, configs = tmp_path / "code", tmp_path / "strategies"
    code.mkdir()
    configs.mkdir()
    (code / "once_strategy.py").write_text(ONCE)
    (configs / "once.yaml").write_text(CONFIG)
    world.env.update(PANDA_STRATEGIES=str(configs), PYTHONPATH=str(code))
    asyncio.run(prepare(world.settings, world.servers))
    spawn(WORKER)
    spawn(WORKER, env={**world.env, "BROKER_NAMESPACE": "paper"})
    base = int(world.env["PANDA_PORT_BASE"])
    pages = [f"http://127.0.0.1:{base + offset}/ready/" for offset in (10, 20)]
    eventually(lambda: all(get(page)[0] == 200 for page in pages), timeout_s=60, what="brain and arm are ready")
    return world


def publish(world: FreshWorld, prices: list[int]) -> None:
    """A tick of each price a second, with volumes, and beats on all shards; then the end."""
    partitions = world.settings.partitions
    sequences = [0] * partitions
    records: list[tuple[bytes | None, bytes, int | None]] = []

    def number(shard: int) -> int:
        sequences[shard] += 1
        return sequences[shard] - 1

    def beat(at: int, *, end: bool = False) -> None:
        for shard in range(partitions):
            value = encode_beat(Beat(world.name, "test", "1", number(shard), at, Phase.OPEN, end))
            records.append((b"3", value, shard))

    beat(T0 - 1000)
    for row, price in enumerate(prices):
        at = T0 + row * 1000
        tick = Tick(INFY, price, 1, 40 * row, None, None, at, row)
        records.append((b"3", encode_batch(TickBatch(world.name, "test", "1", number(SHARD), at, (tick,))), SHARD))
        beat(at)
    beat(T0 + len(prices) * 1000, end=True)
    write_records(world.servers.kafka, f"{world.servers.prefix}market.ticks", records)


def events(world: FreshWorld, name: str) -> list[dict[str, Any]]:
    lines = read_topic(world.servers.kafka, f"{world.servers.prefix}paper.{name}")
    return [event for line in lines if (event := json.loads(line.value))["kind"] != "beat"]


def test_money_goes_in_and_out_once_and_a_refusal_says_why(arm: FreshWorld, spawn: Callable[..., Spawned]) -> None:
    deposited = spawn(["panda", "paper", "deposit", "Once", "25000.50", "--reason", "more room"])
    assert deposited.wait(30) == 0, deposited.output()
    assert "Once now has 125000.50 in cash" in deposited.output()

    refused = spawn(["panda", "paper", "withdraw", "Once", "125000.51", "--reason", "all of it"])
    assert refused.wait(30) == 1, refused.output()
    assert "125000.50 free" in refused.output()

    reset = spawn(["panda", "paper", "reset", "Once", "--reason", "anew"])
    assert reset.wait(30) == 0, reset.output()
    assert "Once now has 100000 in cash" in reset.output()

    booked = [event["booking"] for event in events(arm, "orders.filled")]
    assert [(one["kind"], Decimal(one["amount"])) for one in booked] == [
        ("DEPOSIT", Decimal("25000.50")),
        ("RESET", Decimal(100000)),
    ]


def test_every_order_is_the_same_when_it_is_run_again_and_another_one_under_other_settings(
    arm: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    publish(arm, [140_000, 140_010, 140_050, 140_100, 141_200, 141_300, 141_300, 141_300])

    def ended() -> bool:
        last = {event["order_id"]: event["state"] for event in events(arm, "orders.updates") if "order_id" in event}
        return len(last) == 3 and set(last.values()) <= {"FILLED", "CANCELLED", "EXPIRED"}

    eventually(ended, timeout_s=40, what="the entry and both legs have ended")
    listed = spawn(["panda", "paper", "orders", "--all", "--json"])
    assert listed.wait(30) == 0, listed.output()
    orders = json.loads(listed.output())["orders"]

    assert [order["role"] for order in orders] == ["ENTRY", "TARGET", "STOP"]
    for order in orders:
        told = spawn(["panda", "paper", "explain", order["order_id"][:12], "--json"])
        assert told.wait(30) == 0, told.output()
        explanation = json.loads(told.output())
        assert (explanation["difference"], explanation["missing"]) == ("", [])
        fills = [line for line in explanation["lines"] if line["part"] == "FILL"]
        assert bool(fills) is (order["filled"] > 0)

    entry = orders[0]["order_id"]
    other = spawn(["panda", "paper", "explain", entry], env={**arm.env, "PANDA_PAPER_SLIPPAGE": "0.01"})
    assert other.wait(30) == 1, other.output()
    assert "is another one" in other.output()
    assert "PANDA_PAPER_" in other.output()
