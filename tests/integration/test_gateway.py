from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from panda_streams.mirror import Mirror
from tests.integration.browser import find_chromium, open_page
from tests.integration.conftest import clean_environment
from tests.polling import eventually

pytestmark = pytest.mark.integration

STAMP = json.dumps({"world": "sim", "clock": "wall", "kafka": "", "prefix": ""})


class RunningGateway:
    """`panda gateway` of one test, on the Redis of the test and with no Kafka anywhere."""

    def __init__(self, directory: Path, redis_url: str, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/"
        self._log = directory / "gateway.log"
        self._env = clean_environment() | {
            "PANDA_HOME": str(directory / "home"),
            "PANDA_WORLD": "sim",
            "PANDA_PORT_BASE": str(port),
            "KAFKA_BROKER_URL": "kafka://127.0.0.1:1",
            "REDIS_URL": redis_url,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("panda"), "gateway"], env=self._env, stdout=log, stderr=log
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(20)

    def output(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and answer; (0, None) while nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read().decode()
            kind = response.headers.get_content_type()
            return response.status, json.loads(text) if kind == "application/json" else text
        except ConnectionError:
            return 0, None
        finally:
            connection.close()

    def await_status(self, path: str, status: int) -> Any:
        def check() -> list[Any]:
            found, answer = self.get(path)
            return [answer] if found == status else []

        return eventually(check, what=f"{path} answers {status}\n{self.output()}")[0]


@pytest.fixture
def gateway(tmp_path: Path, redis_server: Any, free_port_base: int) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path, redis_server.url, free_port_base)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def put(redis_url: str, scope: str, write: Callable[[Mirror], None]) -> None:
    """Write as a worker does: through its mirror."""

    async def run() -> None:
        mirror = Mirror(redis_url, scope)
        await mirror.start()
        write(mirror)
        await mirror.stop()

    asyncio.run(run())


def stamp(redis_server: Any, text: str = STAMP) -> None:
    with redis_server.client() as client:
        client.set("panda:stamp", text)


def trade_on_paper(mirror: Mirror, cash: str = "999.25", version: int = 1) -> None:
    book = {
        "world": "sim",
        "namespace": "paper",
        "strategy_id": "M",
        "currency": "INR",
        "simulated": True,
        "capital": "1000",
        "cash": cash,
        "realised": "0",
        "unrealised": "0.50",
        "charges": "0.05",
        "equity": "1000.45",
        "positions": 1,
        "fills": 1,
        "bookings": 0,
        "bookings_waiting": 0,
        "gains": {},
        "time": 5000,
        "at": time.time_ns() // 1_000_000,
        "version": version,
    }
    position = {
        "instrument": "NSE:INFY",
        "product": "MIS",
        "quantity": 1,
        "lots": 1,
        "oldest_lot": "2021-06-08",
        "average_price": "0.70",
        "last_price": "1.20",
        "realised": "0",
        "unrealised": "0.50",
        "time": 5000,
        "at": book["at"],
    }
    mirror.put("paper:portfolio:M", json.dumps(book).encode(), version)
    mirror.add("paper:index:portfolio", "M")
    mirror.put("paper:positions:M:NSE:INFY", json.dumps(position).encode(), version)
    mirror.add("paper:index:positions:M", "NSE:INFY")


def judge_on_paper(mirror: Mirror, **changes: Any) -> None:
    """Write what risk and execution say: an arm that has stopped itself, a bracket at work, one refusal."""
    now = time.time_ns() // 1_000_000
    account = {
        "mode": "HALTED",
        "mode_reason": "DAILY_LOSS: 2600.5 is more than 2500",
        "stops": [
            {
                "reason": "DAILY_LOSS",
                "mode": "HALTED",
                "level": "account",
                "detail": "2600.5 is more than 2500",
                "since": 1_623_815_100_000,
            }
        ],
        "day": {"date": "2021-06-16", "orders": 12, "equity": "997399.5", "profit": "-2600.5"},
        "signals": 9,
        "validated": 8,
        "rejected": 1,
        "refusals": {"MARKET_CLOSED": 1, "POSITION_LIMIT": 1},
        "recent_refusals": [
            {
                "signal_id": "s1",
                "strategy_id": "<b>M</b>",
                "instrument": "NSE:INFY",
                "codes": ["MARKET_CLOSED", "POSITION_LIMIT"],
                "findings": [
                    "MARKET_CLOSED 1623839400000, limit 1623815100000 to 1623836700000",
                    "POSITION_LIMIT 1057, limit 1000",
                ],
                "time": 1_623_839_400_000,
            }
        ],
        "time": 1_623_839_400_000,
        "at": now,
    }
    mirror.put("paper:risk", json.dumps(account | changes).encode(), now)
    stop, target = {"order_type": "SL-M", "trigger": "1390.05"}, {"order_type": "LIMIT", "price": "1420.5"}
    for number, (role, terms) in enumerate([("STOP", stop), ("TARGET", target)]):
        order = {
            "order_id": f"o{number}",
            "strategy_id": "M",
            "instrument": "NSE:INFY",
            "side": "SELL",
            "role": role,
            "product": "MIS",
            "quantity": 1200,
            "filled": 75 * number,
            "state": "WORKING",
            "time": 1_623_815_100_000,
            "at": now,
        }
        mirror.put(f"paper:orders:o{number}", json.dumps(order | terms).encode(), 1)
        mirror.add("paper:index:orders", f"o{number}")


def run_on_paper(mirror: Mirror) -> None:
    """Write the health of an arm that runs, as operators have set it: ACTIVE."""
    now = time.time_ns() // 1_000_000
    report = {
        "kind": "health",
        "world": "sim",
        "role": "arm",
        "namespace": "paper",
        "instance": 0,
        "pid": 1,
        "state": "running",
        "ready": True,
        "mode": "ACTIVE",
        "detail": "",
        "lag": 0,
        "events": 9,
        "last_event_time": 1_623_839_400_000,
        "started_at": now,
        "at": now + 60_000,
        "url": None,
    }
    mirror.put("paper:health:0", json.dumps(report).encode(), now)
    mirror.add("paper:index:health", "0")


def test_what_an_arm_mirrors_is_what_the_gateway_answers(gateway: RunningGateway, redis_server: Any) -> None:
    stamp(redis_server)
    put(redis_server.url, "paper", trade_on_paper)
    gateway.start()

    ready = gateway.await_status("/ready", 200)
    _, book = gateway.get("/api/v1/portfolios/paper/M")
    _, total = gateway.get("/api/v1/portfolios/paper/summary")

    assert ready["world"] == "sim"
    assert (book["cash"], total["cash"], total["open_positions"]) == ("999.25", "999.25", 1)
    (position,) = book["positions"]
    assert (position["instrument"], position["product"], position["quantity"]) == ("NSE:INFY", "MIS", 1)
    assert gateway.get("/")[0] == 200


def test_it_reports_its_own_health_and_says_that_it_was_stopped(gateway: RunningGateway, redis_server: Any) -> None:
    stamp(redis_server)
    gateway.start()
    gateway.await_status("/ready", 200)

    processes = eventually(lambda: gateway.get("/api/v1/processes")[1]["processes"], what="the gateway has reported")
    code = gateway.end()

    assert [(found["role"], found["state"], found["ready"]) for found in processes] == [("gateway", "running", True)]
    with redis_server.client() as client:
        assert json.loads(client.get("gateway:health:0"))["state"] == "stopped"
    assert code == 0


def test_an_outage_of_redis_is_said_and_survived(gateway: RunningGateway, redis_server: Any) -> None:
    stamp(redis_server)
    put(redis_server.url, "paper", trade_on_paper)
    gateway.start()
    gateway.await_status("/api/v1/portfolios/paper/summary", 200)

    redis_server.stop()
    answer = gateway.await_status("/api/v1/portfolios/paper/summary", 503)
    redis_server.start()
    stamp(redis_server)
    put(redis_server.url, "paper", lambda mirror: trade_on_paper(mirror, cash="998.00", version=2))

    assert answer["error"]["code"] == "REDIS_UNAVAILABLE"
    assert gateway.await_status("/api/v1/portfolios/paper/summary", 200)["cash"] == "998.00"
    assert gateway.await_status("/ready", 200)["ready"] is True


def test_an_open_page_does_not_keep_it_from_stopping(gateway: RunningGateway, redis_server: Any) -> None:
    stamp(redis_server)
    gateway.start()
    gateway.await_status("/ready", 200)
    page = http.client.HTTPConnection("127.0.0.1", gateway._port, timeout=10)
    page.request("GET", "/api/v1/events")
    stream = page.getresponse()
    assert stream.readline() == b"event: state\n"

    code = gateway.end()

    stream.close()
    page.close()
    assert code == 0


@pytest.mark.parametrize("found", [None, '{"world": "replay:june"}'])
def test_it_refuses_a_redis_of_no_world_or_another(
    gateway: RunningGateway, redis_server: Any, found: str | None
) -> None:
    if found is not None:
        stamp(redis_server, found)

    gateway.start()

    assert gateway.wait() == 5
    assert "fix:" in gateway.output()


def test_no_redis_at_the_start_is_an_error_within_ten_seconds(gateway: RunningGateway, redis_server: Any) -> None:
    redis_server.stop()
    started = time.monotonic()

    gateway.start()

    assert gateway.wait() == 3
    assert time.monotonic() - started < 10
    assert "REDIS_URL" in gateway.output()


def test_a_second_gateway_of_a_world_is_refused(gateway: RunningGateway, redis_server: Any) -> None:
    stamp(redis_server)
    gateway.start()
    gateway.await_status("/ready", 200)
    first = gateway.process
    assert first is not None

    gateway.start()
    code = gateway.wait()
    first.terminate()

    assert code == 6
    assert first.wait(15) == 0


def list_strategies(mirror: Mirror, strategy_id: str) -> None:
    """Write what the brain says of one strategy on paper and Zerodha, and of seven signals for the latter."""
    view = {
        "strategies": [
            {
                "strategy_id": strategy_id,
                "version": "1",
                "brokers": ["paper", "zerodha"],
                "consents": {"zerodha": False},
                "state": "active",
                "reason": "",
            }
        ],
        "brokers": [
            {"namespace": "paper", "title": "Paper", "currency": "INR", "live": False, "trader": True},
            {"namespace": "zerodha", "title": "Zerodha", "currency": "INR", "live": True, "trader": False},
        ],
        "at": time.time_ns() // 1_000_000,
    }
    mirror.put("brain:strategies", json.dumps(view).encode(), 1)
    mirror.put("brain:fanout:0", json.dumps({"counts": {"paper": 7, "zerodha": 7}}).encode(), 1)
    mirror.add("brain:index:fanout", "0")


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_shows_every_namespace_side_by_side_and_nothing_that_is_not_known(
    gateway: RunningGateway, redis_server: Any, tmp_path: Path, width: int
) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no chromium on this machine; on Debian and Ubuntu: apt install chromium")
    stamp(redis_server)
    put(redis_server.url, "paper", lambda mirror: trade_on_paper(mirror, cash="1234567.25"))
    put(redis_server.url, "brain", lambda mirror: list_strategies(mirror, "<script>document.title='owned'</script>"))
    gateway.start()
    gateway.await_status("/ready", 200)

    async def look() -> tuple[str, str, bool, str]:
        async with open_page(chromium, gateway.url, tmp_path / "profile", width=width) as page:
            first = await page.shows("₹12,34,567.25", "NSE:INFY", "7 signals waiting", "Simulated market")
            wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
            title = await page.evaluate("document.title")
            put_later = asyncio.to_thread(
                put, redis_server.url, "paper", lambda mirror: trade_on_paper(mirror, cash="1234568.50", version=2)
            )
            await put_later
            return first, str(title), bool(wide), await page.shows("₹12,34,568.50")

    first, title, wide, _ = asyncio.run(look())

    assert "<script>document.title='owned'</script>" in first
    assert "owned" not in title
    assert not wide
    assert "no consent to trade live" in first


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_shows_why_an_arm_has_stopped_what_it_refused_and_what_works(
    gateway: RunningGateway, redis_server: Any, tmp_path: Path, width: int
) -> None:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no chromium on this machine; on Debian and Ubuntu: apt install chromium")
    stamp(redis_server)
    for write in (trade_on_paper, run_on_paper, judge_on_paper):
        put(redis_server.url, "paper", write)
    gateway.start()
    gateway.await_status("/ready", 200)

    async def look() -> tuple[str, bool, str]:
        async with open_page(chromium, gateway.url, tmp_path / "profile", width=width) as page:
            text = await page.shows("panda resume paper", "2 working orders", "\u2212₹2,600.50")
            wide = await page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
            resumed = partial(judge_on_paper, mode="ACTIVE", mode_reason="", stops=[])
            await asyncio.to_thread(put, redis_server.url, "paper", resumed)
            return text, bool(wide), await page.shows("ACTIVE")

    stopped, wide, active = asyncio.run(look())

    for words in (
        "DAILY_LOSS · account HALTED since 09:15:00",
        "2600.5 is more than 2500",
        "MARKET_CLOSED 16:00:00, limit 09:15:00 to 15:15:00",
        "POSITION_LIMIT 1057, limit 1000",
        "<b>M</b>",
        "75 / 1,200",
        "trigger 1,390.05",
        "1,420.50",
        "SL-M",
    ):
        assert words in stopped
    assert not wide
    assert "panda resume" not in active
