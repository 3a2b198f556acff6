from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from panda_streams.domain.risk.limits import Limits, LimitSet
from panda_streams.domain.signals import OrderType, Side
from panda_streams.errors import ServerUnreachable
from panda_streams.gateway.server import Gateway
from panda_streams.gateway.state import Raw
from panda_streams.gateway.views import State
from panda_streams.identity import World
from tests.unit.agents.execution_arm import Arm, a_validated, ticks_log
from tests.unit.agents.risk_arm import RiskArm
from tests.unit.builders import T0, a_fill
from tests.unit.gateway import records
from tests.unit.gateway.records import arm, book, order, raw, risk, stop

API = [
    "/api/v1/namespaces",
    "/api/v1/portfolios/paper",
    "/api/v1/portfolios/paper/summary",
    "/api/v1/portfolios/paper/M",
    "/api/v1/orders/paper",
    "/api/v1/risk/paper",
    "/api/v1/strategies",
    "/api/v1/processes",
    "/api/v1/page",
]


class FakeReader:
    """Holds records instead of a Redis; None is a Redis that does not answer."""

    def __init__(self, found: Raw | None) -> None:
        self.raw = found

    async def stamp(self) -> str | None:
        return self._found().stamp

    async def state(self) -> State:
        return records.state(self._found())

    def _found(self) -> Raw:
        if self.raw is None:
            raise ServerUnreachable("Redis at 127.0.0.1:6379 does not answer: ConnectionError", fix="start it")
        return self.raw


def serving(reader: FakeReader, test: Callable[[TestClient[Any, Any]], Awaitable[None]]) -> None:
    async def run() -> None:
        gateway = Gateway(reader, World("sim"), interval_s=0.02)  # type: ignore[arg-type]
        async with TestClient(TestServer(gateway.app())) as client:
            await test(client)

    asyncio.run(run())


def get(path: str, found: Raw | None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one answer."""
    answer: list[tuple[int, Any]] = []

    async def ask(client: TestClient[Any, Any]) -> None:
        async with client.get(path, headers=headers) as response:
            answer.append((response.status, json.loads(await response.text())))

    serving(FakeReader(found), ask)
    return answer[0]


@pytest.mark.parametrize("path", API)
def test_every_answer_says_which_world_it_is_of(path: str) -> None:
    status, answer = get(path, raw())

    assert status == 200
    assert (answer["world"], answer["simulated"]) == ("sim", True)


def test_money_is_text_as_it_was_stored() -> None:
    _, answer = get("/api/v1/portfolios/paper/M", raw())

    assert (answer["cash"], answer["charges"], answer["equity"]) == (
        "850000.10",
        "75.000000000000000001",
        "1000024.90",
    )
    assert (answer["open_positions"], answer["fills"], answer["age_ms"]) == (1, 3, 1000)
    (position,) = answer["positions"]
    assert (position["instrument"], position["quantity"], position["average_price"]) == ("NSE:INFY", 100, "1500.0000")


@pytest.mark.parametrize("path", API)
def test_no_answer_holds_a_float(path: str) -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        async with client.get(path) as response:

            def refuse(number: str) -> None:
                raise AssertionError(f"{number} is a float")

            json.loads(await response.text(), parse_float=refuse)

    serving(FakeReader(raw(arms={"paper": arm(orders={"o": order("o", price="1.5", trigger="1.45")})})), ask)


def test_namespaces_show_an_arm_and_a_broker_without_one() -> None:
    _, answer = get("/api/v1/namespaces", raw())

    shown = {view["namespace"]: (view["arm"], view["mode"], view["signals_waiting"]) for view in answer["namespaces"]}
    assert shown == {"paper": ("running", "ACTIVE", 5), "zerodha": ("none", None, 37)}


def test_orders_are_the_working_ones() -> None:
    _, answer = get("/api/v1/orders/paper", raw(arms={"paper": arm(orders={"o1": order("o1")})}))

    (found,) = answer["orders"]
    expected = {
        "order_id": "o1",
        "role": "ENTRY",
        "product": "MIS",
        "order_type": "LIMIT",
        "quantity": 10,
        "filled": 4,
        "price": "1399.5",
        "trigger": None,
    }
    assert {name: found[name] for name in expected} == expected


def test_what_a_worker_writes_of_a_working_order_is_what_the_gateway_reads() -> None:
    worker = Arm(ticks_log([140_000]))
    worker.tick(0)
    worker.order(a_validated(0, order_type=OrderType.SL, price="1402", trigger="1401.5"))
    written = worker.context.mirror.values["paper:orders:order-0"].decode()

    _, answer = get("/api/v1/orders/paper", raw(arms={"paper": arm(orders={"order-0": written})}))

    (found,) = answer["orders"]
    assert {name: value for name, value in found.items() if name != "at"} == {
        name: value for name, value in json.loads(written).items() if name != "at"
    }


def test_the_risk_page_of_an_account_has_its_mode_stops_day_and_refusals() -> None:
    stopped = risk(mode="HALTED", mode_reason="DAILY_LOSS: 600 is more than 500", stops=[stop()])

    _, answer = get("/api/v1/risk/paper", raw(arms={"paper": arm(risk=stopped)}))

    assert (answer["mode"], answer["operators_mode"]) == ("HALTED", "ACTIVE")
    assert answer["mode_reason"] == "DAILY_LOSS: 600 is more than 500"
    (found,) = answer["stops"]
    assert {name: found[name] for name in stop()} == stop()
    assert "panda resume paper" in found["fix"]
    assert answer["day"] == {
        "date": "2021-06-16",
        "orders": 30,
        "equity": "1000024.90",
        "profit": "24.900000000000000001",
    }
    assert (answer["currency"], answer["refusals"]) == ("INR", {"POSITION_LIMIT": 10})
    assert answer["recent_refusals"][0]["findings"] == ["POSITION_LIMIT 1057, limit 1000"]


def test_the_risk_page_of_a_broker_without_an_arm_says_why_there_is_nothing() -> None:
    _, answer = get("/api/v1/risk/zerodha", raw())

    assert (answer["mode"], answer["stops"], answer["day"], answer["age_ms"]) == (None, [], None, None)
    assert "no trader" in answer["reason"]


def test_what_the_arm_writes_of_its_account_is_what_the_gateway_reads() -> None:
    worker = RiskArm(limits=LimitSet(account=Limits(max_daily_loss=Decimal(500))))
    worker.signal(0)
    worker.filled(0, a_fill(Side.BUY, 10, "1000", order_id=worker.validated()[0].tickets[0].order_id))
    worker.prices(1, "940", time=T0 + 1000)
    worker.signal(1, time=T0 + 3000)
    written = worker.context.mirror.values["paper:risk"].decode()

    _, answer = get("/api/v1/risk/paper", raw(arms={"paper": arm(risk=written)}))

    said = json.loads(written)
    assert [found["reason"] for found in said["stops"]] == ["DAILY_LOSS"]
    for name in ("mode", "mode_reason", "day", "signals", "validated", "rejected", "refusals", "recent_refusals"):
        assert answer[name] == said[name], name
    assert [{name: found[name] for name in said["stops"][0]} for found in answer["stops"]] == said["stops"]


@pytest.mark.parametrize(
    ("path", "code", "names"),
    [
        ("/api/v1/portfolios/papr/summary", "NAMESPACE_UNKNOWN", ["paper", "zerodha"]),
        ("/api/v1/portfolios/papr", "NAMESPACE_UNKNOWN", ["paper", "zerodha"]),
        ("/api/v1/risk/papr", "NAMESPACE_UNKNOWN", ["paper", "zerodha"]),
        ("/api/v1/orders/papr", "NAMESPACE_UNKNOWN", ["paper", "zerodha"]),
        ("/api/v1/portfolios/papr/M", "NAMESPACE_UNKNOWN", ["paper", "zerodha"]),
        ("/api/v1/portfolios/paper/X", "STRATEGY_UNKNOWN", ["M", "R"]),
        ("/api/v1/portfolios/paper/R", "PORTFOLIO_ABSENT", []),
        ("/api/v1/portfolios/zerodha/M", "PORTFOLIO_ABSENT", ["37"]),
        ("/api/v2", "PATH_UNKNOWN", []),
    ],
)
def test_what_is_not_there_is_a_404_that_names_what_is(path: str, code: str, names: list[str]) -> None:
    status, answer = get(path, raw())

    assert (status, answer["error"]["code"]) == (404, code)
    assert answer["error"]["message"]
    assert all(name in answer["error"]["fix"] for name in names)


@pytest.mark.parametrize("path", [*API, "/ready"])
def test_an_outage_of_redis_is_a_503_that_says_so(path: str) -> None:
    status, answer = get(path, None)

    assert (status, answer["error"]["code"]) == (503, "REDIS_UNAVAILABLE")
    assert "does not answer" in answer["error"]["message"]


@pytest.mark.parametrize("path", [*API, "/ready"])
def test_another_worlds_numbers_are_never_shown(path: str) -> None:
    status, answer = get(path, raw(stamp='{"world": "live"}'))

    assert (status, answer["error"]["code"]) == (503, "WORLD_MISMATCH")


def test_it_is_not_ready_on_a_database_without_a_stamp() -> None:
    assert get("/ready", raw())[0] == 200
    assert get("/ready", raw(stamp=None))[0] == 503


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:27600", 200),
        ("localhost:27600", 200),
        ("LOCALHOST", 200),
        ("[::1]:27600", 200),
        ("evil.example:27600", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.1.5:27600", 403),
    ],
)
def test_only_this_machines_own_names_are_answered(host: str, status: int) -> None:
    assert get("/ready", raw(), Host=host)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_only_reads(method: str) -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        async with client.request(method, "/api/v1/namespaces") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET, HEAD"

    serving(FakeReader(raw()), ask)


@pytest.mark.parametrize("path", ["/", "/page.js", "/amounts.js", "/page.css", "/api/v1/namespaces", "/nowhere"])
def test_a_browser_is_told_to_run_no_script_but_the_pages_own(path: str) -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        async with client.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"

    serving(FakeReader(raw()), ask)


async def next_event(lines: Any) -> tuple[str, Any]:
    """The next server-sent event: its name and its data."""
    name = ""
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith(b"event: "):
                name = line.removeprefix(b"event: ").strip().decode()
            if line.startswith(b"data: "):
                return name, json.loads(line.removeprefix(b"data: "))
    raise AssertionError("the stream has ended")


def test_an_open_page_is_told_of_a_change_an_outage_and_its_end() -> None:
    reader = FakeReader(raw())

    async def watch(client: TestClient[Any, Any]) -> None:
        async with client.get("/api/v1/events") as response:
            seen = [(await next_event(response.content))[0]]
            reader.raw = raw(arms={"paper": arm(portfolios={"M": book(cash="7")})})
            name, page = await next_event(response.content)
            assert page["namespaces"][0]["portfolios"][0]["cash"] == "7"
            seen.append(name)
            reader.raw = None
            name, outage = await next_event(response.content)
            assert "does not answer" in outage["message"]
            seen.append(name)
            reader.raw = raw()
            seen.append((await next_event(response.content))[0])
            assert seen == ["state", "state", "outage", "state"]

    serving(reader, watch)


def test_an_unchanged_state_is_sent_once_to_each_page() -> None:
    reader = FakeReader(raw())

    async def watch(client: TestClient[Any, Any]) -> None:
        async with client.get("/api/v1/events") as first, client.get("/api/v1/events") as second:
            await next_event(first.content)
            await next_event(second.content)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):  # fifteen readings
                    await next_event(first.content)

    serving(reader, watch)
