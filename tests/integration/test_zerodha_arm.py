"""The Zerodha arm on the local Kite, as real processes: what operators see and do, and that no secret shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests
from kiteconnect import KiteConnect

from panda_streams.brokers.zerodha.session import read_session
from panda_streams.identity import World
from panda_streams.topics import Topics
from panda_streams.worlds import prepare
from tests.chaos.kite.market import SHARES, trading_days, write_calendar, write_recording
from tests.integration.conftest import FreshWorld, Spawned, given_settings
from tests.integration.reading import get, read_topic
from tests.polling import eventually

pytestmark = pytest.mark.integration

Spawn = Callable[..., Spawned]

ROOT = Path(__file__).parents[2]
SECRET, KEY = "planted-secret-0b7c4e", "planted-key-93ad1f"
STRATEGY = """
strategy_id: Restless_1
strategy: tests.chaos.kite.restless:Restless
paper: false
brokers: [zerodha]
zerodha_trading_enabled: simulated
trades: ["NSE:INFY", "NSE:TCS", "NSE:SBIN", "NSE:ITC"]
params: {every_s: 5}
accounts:
  zerodha: {capital: "10000000", share_of_capital: "0.01", max_position: 100000, shorts: true, market_protection: "-1"}
"""


class Deployment:
    """Feed, brain, kitesim, arm and gateway of a world whose broker stumbles now and then."""

    def __init__(self, world: FreshWorld, spawn: Spawn, directory: Path) -> None:
        days = trading_days(1, 240)
        (directory / "strategies").mkdir()
        (directory / "strategies" / "restless.yaml").write_text(STRATEGY)
        self._recording = write_recording(days, 3, directory / "recording.csv.gz")
        self.env = {
            **world.env,
            "PYTHONPATH": str(ROOT),
            "PANDA_STRATEGIES": str(directory / "strategies"),
            "PANDA_CALENDAR": str(write_calendar(days, directory / "calendar.yaml")),
            "KITE_API_KEY": KEY,
            "KITE_API_SECRET": SECRET,
            "PANDA_KITE_TIMEOUT_S": "0.5",
            "PANDA_KITE_ABSENT_AFTER_S": "2",
        }
        self.world, self._spawn = world, spawn
        self.settings = given_settings(self.env)
        self.kite_url = f"http://127.0.0.1:{self.settings.ports.kitesim}"
        self.page = f"http://127.0.0.1:{self.settings.ports.gateway}"
        asyncio.run(prepare(self.settings, world.servers))
        self.processes = [
            self._start("panda", "kitesim"),
            self._start("faust", "-A", "faust_app", "worker"),
            self._start("faust", "-A", "faust_app", "worker", BROKER_NAMESPACE="zerodha"),
            self._start("panda", "gateway"),
        ]
        for url in (f"{self.page}/ready", f"{self.kite_url}/sim/clock"):
            eventually(lambda url=url: get(url)[0] == 200, timeout_s=60, what=f"{url} answers")

    def _start(self, *command: str, **env: str) -> Spawned:
        return self._spawn(list(command), env={**self.env, **env}, cwd=ROOT)

    def feed(self, speed: str) -> None:
        self.processes.append(self._start("panda", "feed", "replay", str(self._recording), "--speed", speed))

    def fault(self, kind: str, **fields: Any) -> None:
        requests.post(f"{self.kite_url}/sim/faults", json={"kind": kind, **fields}, timeout=5).raise_for_status()

    def view(self) -> dict[str, Any]:
        """What the dashboard shows of the arm."""
        _, page = get(f"{self.page}/api/v1/page")
        return next((one for one in page["namespaces"] if one["namespace"] == "zerodha"), {}) if page else {}

    def ledger(self) -> dict[str, Any]:
        return requests.get(f"{self.kite_url}/sim/ledger", timeout=5).json()  # type: ignore[no-any-return]

    def run(self, *command: str) -> str:
        """The output of a command that has to succeed."""
        process = self._start(*command)
        assert process.wait(60) == 0, process.output()
        return process.output()

    def by_hand(self) -> KiteConnect:
        """A client of the account's owner, with the arm's session: a login of his own would end it."""
        session = read_session(self.settings, World(self.world.name))
        assert session is not None
        return KiteConnect(KEY, session.access_token.get_secret_value(), root=self.kite_url)

    def positions(self) -> dict[str, dict[str, int]]:
        """Open positions by strategy and instrument, as the gateway shows them."""
        view = self.view()
        return {
            book["strategy_id"]: {
                position["instrument"]: position["quantity"] for position in book["positions"] if position["quantity"]
            }
            for book in view.get("portfolios", [])
        }


@pytest.fixture
def deployment(world: FreshWorld, spawn: Spawn, tmp_path: Path) -> Deployment:
    return Deployment(world, spawn, tmp_path)


def _traces(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    """All that processes have left where somebody may see it, by where it is."""
    settings, servers = deployment.settings, deployment.world.servers
    for process in deployment.processes:
        yield str(process.process.args), process.output().encode()
        if process.process.poll() is not None:
            continue
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            yield f"command line of {one.pid}", " ".join(one.cmdline()).encode()
    for path in settings.home_dir.path.rglob("*"):
        # The broker knows its own tokens.
        if path.is_file() and "kitesim" not in path.parts:
            yield str(path), path.read_bytes()
    with redis.Redis.from_url(servers.redis) as client:
        for key in client.scan_iter():
            for value in _values(client, key):
                yield f"Redis {key!r}", key + value
    for topic in Topics(servers.prefix).specs(["zerodha"]):
        for line in read_topic(servers.kafka, topic):
            yield topic, (line.key or b"") + line.value
    for path in ("page", "portfolios/zerodha/summary", "orders/zerodha", "strategies", "processes"):
        yield path, json.dumps(get(f"{deployment.page}/api/v1/{path}")[1]).encode()


def _values(client: Any, key: bytes) -> list[bytes]:
    match client.type(key):
        case b"string":
            return [client.get(key)]
        case b"hash":
            return [part for pair in client.hgetall(key).items() for part in pair]
        case _:
            return list(client.smembers(key))


def test_no_secret_shows_anywhere_whatever_the_broker_answers(deployment: Deployment) -> None:
    for kind in ("html_502_after", "error_5xx_after", "reset_after", "ambiguous_400_before", "timeout_before"):
        deployment.fault(kind, count=2)
    deployment.fault("token_expiry", count=1)
    deployment.feed("max")
    eventually(
        lambda: sum(requests.get(f"{deployment.kite_url}/sim/faults", timeout=5).json()["fired"].values()) >= 8,
        timeout_s=90,
        what="the broker has stumbled",
    )
    eventually(lambda: len(deployment.ledger()["trades"]) > 10, timeout_s=60, what="trades go on")

    session = read_session(deployment.settings, World(deployment.world.name))
    assert session is not None
    planted = [SECRET.encode(), KEY.encode(), session.access_token.get_secret_value().encode()]
    searched = 0
    for where, found in _traces(deployment):
        searched += 1
        assert not [secret for secret in planted if secret in found], f"a secret in {where}"
    assert searched > 500


def test_what_the_owner_trades_by_hand_is_nobodys_until_an_operator_decides(deployment: Deployment) -> None:
    deployment.feed("4")
    eventually(lambda: deployment.view().get("at_broker"), timeout_s=60, what="the arm has its account")
    eventually(lambda: len(deployment.ledger()["trades"]) > 0, timeout_s=60, what="the market trades")
    share = next(symbol for symbol in SHARES if symbol not in ("INFY", "TCS", "SBIN", "ITC"))
    kite = deployment.by_hand()
    kite.place_order("regular", "NSE", share, "BUY", 7, "CNC", "MARKET", market_protection=-1)
    name = f"NSE:{share}"
    eventually(
        lambda: deployment.positions().get("_unattributed", {}).get(name) == 7, timeout_s=60, what="it is nobody's"
    )
    told = json.loads(deployment.run("panda", "reconcile", "zerodha", "--json"))
    assert [(held["instrument"], held["quantity"]) for held in told["unattributed"]] == [(name, 7)]

    deployment.run("panda", "unattributed", "assign", "zerodha", name, "Restless_1", "--reason", "mine")
    eventually(
        lambda: deployment.positions().get("Restless_1", {}).get(name) == 7, timeout_s=60, what="it is the strategy's"
    )

    assert name not in deployment.positions().get("_unattributed", {})
    assert deployment.view()["link"]["endpoint"] == "simulator"
