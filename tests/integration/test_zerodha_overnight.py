"""A stop of a delivery position rests at the local Kite: it holds overnight, and while the arm is down."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect

from panda_streams.brokers.zerodha.session import read_session
from panda_streams.identity import World
from panda_streams.worlds import prepare
from tests.chaos.kite.market import Day, trading_days, write_calendar
from tests.integration.conftest import FreshWorld, Spawned, given_settings
from tests.integration.reading import get, is_beat, read_topic
from tests.polling import eventually

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
STRATEGY = """
strategy_id: Holder_1
strategy: tests.integration.holder:Holder
paper: false
brokers: [zerodha]
zerodha_trading_enabled: simulated
trades: ["NSE:INFY"]
accounts:
  zerodha: {capital: "1000000", share_of_capital: "0.1", max_position: 1000, product: CNC, market_protection: "-1",
    protection: {trailing_stop: "0.01"}}
"""
SECONDS = 120
"""Of each of two sessions."""


def _price(day: int, second: int) -> float:
    """1400, up to 1430 on the first day, and on the second one down to 1405, where it stays."""
    if day == 0:
        return 1400 + min(max(second - 20, 0) * 1.5, 30)
    return 1430 - min(max(second - 60, 0) * 5, 25)


def _write_recording(days: list[Day], path: Path) -> Path:
    rows = ["timestamp,symbol,ltp,volume"]
    for number, day in enumerate(days):
        for second in range(1, SECONDS + 10):
            at = (day.opens + timedelta(seconds=second)).isoformat()
            rows.append(f"{at},INFY,{_price(number, second):.2f},{second * 1000}")
    path.write_bytes(gzip.compress("\n".join([*rows, ""]).encode()))
    return path


class Deployment:
    """Feed, brain, kitesim and arm of a world with two short days."""

    def __init__(self, world: FreshWorld, spawn: Callable[..., Spawned], directory: Path) -> None:
        days = trading_days(2, SECONDS)
        (directory / "strategies").mkdir()
        (directory / "strategies" / "holder.yaml").write_text(STRATEGY)
        self.end = int(days[1].closes.timestamp()) * 1000
        self._recording = _write_recording(days, directory / "recording.csv.gz")
        self._env = {
            **world.env,
            "PYTHONPATH": str(ROOT),
            "PANDA_STRATEGIES": str(directory / "strategies"),
            "PANDA_CALENDAR": str(write_calendar(days, directory / "calendar.yaml")),
        }
        self._world, self._spawn = world, spawn
        self._settings = given_settings(self._env)
        self.url = f"http://127.0.0.1:{self._settings.ports.kitesim}"
        asyncio.run(prepare(self._settings, world.servers))
        self._start("panda", "kitesim")
        self._start("faust", "-A", "faust_app", "worker")
        eventually(lambda: get(f"{self.url}/sim/clock")[0] == 200, timeout_s=60, what="kitesim answers")

    def _start(self, *command: str, **env: str) -> Spawned:
        return self._spawn(list(command), env={**self._env, **env}, cwd=ROOT)

    def arm(self) -> Spawned:
        return self._start("faust", "-A", "faust_app", "worker", BROKER_NAMESPACE="zerodha")

    def feed(self, speed: str) -> Spawned:
        return self._start("panda", "feed", "replay", str(self._recording), "--speed", speed)

    def triggers(self) -> list[dict[str, Any]]:
        """What the official client lists, with the arm's session."""
        session = read_session(self._settings, World(self._world.name))
        return (
            []
            if session is None
            else _list(KiteConnect(session.api_key, session.access_token.get_secret_value(), root=self.url))
        )

    def triggers_by_hand(self) -> list[dict[str, Any]]:
        """The same with a login of one's own, which ends the arm's."""
        settings = self._settings
        kite = KiteConnect(settings.kite_api_key, root=self.url)
        login = requests.post(f"{self.url}/sim/login", json={"api_key": settings.kite_api_key}, timeout=5).json()
        kite.generate_session(login["request_token"], settings.kite_api_secret.get_secret_value())
        return _list(kite)

    def advance(self) -> bool:
        """Let kitesim match what there is; True once it has come to the end."""
        answer = requests.post(f"{self.url}/sim/clock", json={"until": self.end}, timeout=15).json()
        return bool(answer["time"] >= self.end)

    def trades(self) -> list[tuple[str, int, Decimal]]:
        """The broker's own."""
        ledger = requests.get(f"{self.url}/sim/ledger", timeout=5).json()
        return [
            (row["transaction_type"], row["quantity"], Decimal(str(row["average_price"]))) for row in ledger["trades"]
        ]

    def said(self, topic: str) -> list[dict[str, Any]]:
        lines = read_topic(self._world.servers.kafka, f"{self._world.servers.prefix}zerodha.{topic}")
        return [json.loads(line.value) for line in lines if not is_beat(line.value)]

    def fills(self) -> list[tuple[str, int, Decimal]]:
        """Those in the arm's books, in the order of their trades."""
        fills = {
            event["fill"]["fill_id"]: event["fill"] for event in self.said("orders.filled") if event["kind"] == "fill"
        }
        return [(fill["side"], fill["quantity"], Decimal(fill["price"])) for fill in fills.values()]


def _list(kite: KiteConnect) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kite.get_gtts()
    kite.reqsession.close()
    return found


def _trigger(row: dict[str, Any]) -> float:
    [value] = row["condition"]["trigger_values"]
    return float(value)


def test_a_stop_follows_the_price_holds_overnight_and_closes_the_position_while_the_arm_is_down(
    world: FreshWorld, spawn: Callable[..., Spawned], tmp_path: Path
) -> None:
    deployment = Deployment(world, spawn, tmp_path)
    fault = {"kind": "error_5xx_after", "count": 2}  # both orders are there, and no answer says so
    requests.post(f"{deployment.url}/sim/faults", json=fault, timeout=5).raise_for_status()
    arm, feed = deployment.arm(), deployment.feed("8")

    def follows() -> bool:
        return [(row["status"], _trigger(row)) for row in deployment.triggers()] == [("active", 1414.25)]

    eventually(follows, timeout_s=90, what="the stop has followed the price")
    arm.kill()
    assert feed.wait(120) == 0
    eventually(deployment.advance, timeout_s=60, what="the second day is over at kitesim")
    [row] = deployment.triggers_by_hand()
    assert (row["status"], row["created_at"][:10], row["updated_at"][:10]) == ("triggered", "2021-06-07", "2021-06-08")
    trades = deployment.trades()
    assert sum(quantity if side == "BUY" else -quantity for side, quantity, _ in trades) == 0
    assert len(deployment.fills()) < len(trades)

    deployment.arm()
    eventually(lambda: len(deployment.fills()) == len(trades), timeout_s=90, what="the arm knows of the sale")

    assert sorted(deployment.fills()) == sorted(trades)
    updates = [event for event in deployment.said("orders.updates") if event["kind"] == "order"]
    assert {event["role"] for event in updates if event["state"] == "UNKNOWN"} == {"ENTRY", "STOP"}
    last = {event["order_id"]: event for event in updates}
    assert [(one["role"], one["state"]) for one in last.values()] == [("ENTRY", "FILLED"), ("STOP", "FILLED")]
    commands = [event["what"] for event in deployment.said("broker.commands") if event["kind"] == "command"]
    assert (commands.count("PLACE"), commands.count("MODIFY") > 0, commands.count("CANCEL")) == (2, True, 0)
