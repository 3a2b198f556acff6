"""kitesim as a process on a world's tick log, on either clock, through deaths."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from kiteconnect import KiteConnect

from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.polling import eventually
from tests.servers import free_port_base

pytestmark = pytest.mark.integration

Spawn = Callable[..., Spawned]

ROOT = Path(__file__).parents[2]
PANDA = ["python", "-c", "from panda_streams.cli import main; main()"]
OPENS = 1_623_123_900_000
"""2021-06-08 09:15:00 in India, milliseconds since the epoch."""
PRICES = {"INFY": 1400, "TCS": 3150, "SBIN": 430}
TRADED = ["NSE:INFY", "NSE:TCS", "NSE:SBIN"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Five minutes with a tick of three shares every second, whose prices go up and down."""
    rows = []
    for second in range(1, 301):
        at = datetime.fromtimestamp(OPENS // 1000 + second, UTC).isoformat()
        for number, (symbol, price) in enumerate(PRICES.items()):
            moved = price + ((second + 7 * number) % 20) * 0.5
            rows.append(f"{at},{symbol},{moved:.2f},{second * 40}")
    path = tmp_path / "june.csv.gz"
    path.write_bytes(gzip.compress("\n".join(["timestamp,symbol,ltp,volume", *rows, ""]).encode()))
    return path


class Running:
    """A kitesim process, and its client."""

    def __init__(self, spawn: Spawn, env: dict[str, str], *options: str) -> None:
        self._spawn = spawn
        self._env = env
        self._options = options
        self.url = f"http://127.0.0.1:{int(env['PANDA_PORT_BASE']) + 4}"
        self.start()

    def start(self) -> None:
        self.process = self._spawn([*PANDA, "kitesim", *self._options], env=self._env, cwd=ROOT)
        eventually(self._answers, timeout_s=30, what="kitesim answers")

    def _answers(self) -> bool:
        assert self.process.process.poll() is None, self.process.output()
        try:
            return requests.get(f"{self.url}/sim/clock", timeout=2).ok
        except requests.ConnectionError:
            return False

    def log_in(self) -> KiteConnect:
        kite = KiteConnect(api_key="panda", root=self.url)
        token = requests.post(f"{self.url}/sim/login", json={"api_key": "panda"}, timeout=5).json()["request_token"]
        kite.generate_session(token, api_secret="panda-secret")
        return kite

    def advance(self, seconds: int) -> dict[str, Any]:
        """Let it match up to so many seconds after the opening."""
        until = OPENS + 1000 * seconds
        answer = requests.post(f"{self.url}/sim/clock", json={"until": until}, timeout=10).json()
        assert answer["time"] == until
        return answer  # type: ignore[no-any-return]

    def ledger(self) -> dict[str, Any]:
        return requests.get(f"{self.url}/sim/ledger", timeout=5).json()  # type: ignore[no-any-return]


def feed(spawn: Spawn, world: FreshWorld, recording: Path, speed: str = "max") -> Spawned:
    asyncio.run(prepare(world.settings, world.servers))
    return spawn([*PANDA, "feed", "replay", str(recording), "--speed", speed], env=world.env, cwd=ROOT)


def trade(kitesim: Running, kite: KiteConnect, *, dies_at: frozenset[int] = frozenset()) -> None:
    """Place, modify and cancel on a fixed plan; the process dies after the seconds of `dies_at`."""
    orders: list[str] = []
    for second in range(5, 300, 5):
        kitesim.advance(second)
        kite.reqsession.headers["X-Panda-Time"] = str(OPENS + 1000 * second)
        symbol = list(PRICES)[second % 3]
        side = "BUY" if second % 2 else "SELL"
        base = {"variety": "regular", "exchange": "NSE", "tradingsymbol": symbol, "transaction_type": side}
        base |= {"quantity": 100, "product": "MIS", "tag": f"t{second}"}
        if second % 15 == 0:
            orders.append(kite.place_order(**base, order_type="LIMIT", price=PRICES[symbol] + 5))
        elif second % 20 == 10 and orders:
            kite.modify_order(
                "regular",
                kite.place_order(**base, order_type="SL-M", trigger_price=PRICES[symbol] + 7, market_protection=1),
                trigger_price=PRICES[symbol] + 6,
            )
        else:
            orders.append(kite.place_order(**base, order_type="MARKET", market_protection=-1))
            if second % 4 == 0:
                kite.cancel_order("regular", orders[-1])
        if second in dies_at:
            kitesim.process.kill()
            kitesim.start()


def test_on_the_replay_clock_a_kill_changes_nothing_in_the_ledger(
    world: FreshWorld, spawn: Spawn, recording: Path, tmp_path: Path
) -> None:
    assert feed(spawn, world, recording).wait(60) == 0
    ledgers = []
    for name, deaths in (("calm", frozenset[int]()), ("stormy", frozenset({20, 85, 150, 275}))):
        env = {**world.env, "PANDA_HOME": str(tmp_path / name), "PANDA_PORT_BASE": str(free_port_base())}
        kitesim = Running(spawn, env)
        trade(kitesim, kitesim.log_in(), dies_at=deaths)
        kitesim.advance(310)
        ledgers.append(kitesim.ledger())

    calm, stormy = ledgers
    assert len(calm["orders"]) == 59
    assert len(calm["trades"]) > 40
    assert stormy == calm


@pytest.mark.parametrize("world", ["wall"], indirect=True)
def test_on_the_wall_clock_orders_are_matched_as_ticks_come_and_health_is_reported(
    world: FreshWorld, spawn: Spawn, recording: Path
) -> None:
    feed(spawn, world, recording, speed="20")
    kitesim = Running(spawn, world.env, "--no-rate")
    kite = kitesim.log_in()
    eventually(lambda: "NSE:INFY" in kite.ltp(TRADED), what="the share has a price")
    order_id = kite.place_order("regular", "NSE", "INFY", "BUY", 30, "MIS", "MARKET", market_protection=-1)

    eventually(lambda: kite.order_history(order_id)[-1]["status"] == "COMPLETE", what="the order is filled")
    kitesim.process.kill()
    kitesim.start()

    assert kite.order_history(order_id)[-1]["filled_quantity"] == 30
    assert sum(fill["quantity"] for fill in kite.order_trades(order_id)) == 30
    kitesim.process.process.terminate()
    assert kitesim.process.wait() == 0
    with redis.Redis.from_url(world.env["REDIS_URL"], decode_responses=True) as client:
        health = json.loads(client.get("kitesim:health:0"))
    assert (health["role"], health["state"]) == ("kitesim", "stopped")


def test_it_refuses_books_of_another_log(world: FreshWorld, spawn: Spawn, recording: Path) -> None:
    assert feed(spawn, world, recording).wait(60) == 0
    kitesim = Running(spawn, world.env)
    kitesim.advance(10)
    kitesim.process.process.terminate()
    assert kitesim.process.wait() == 0
    books = Path(world.env["PANDA_HOME"]) / "worlds" / world.name.replace(":", "-") / "kitesim"

    with closing(sqlite3.connect(books / "kitesim.sqlite")) as db, db:
        db.execute("UPDATE places SET next_offset = 1000000 WHERE shard = 1")
    refused = spawn([*PANDA, "kitesim"], env=world.env, cwd=ROOT)
    assert refused.wait() == 1
    assert "up to 1000000, but it ends at" in refused.output()

    stamp = json.loads((books / "stamp.json").read_text())
    (books / "stamp.json").write_text(json.dumps({**stamp, "kafka": "another"}))
    refused = spawn([*PANDA, "kitesim"], env=world.env, cwd=ROOT)
    assert refused.wait() == 5
    assert f"move {books} away" in refused.output()
