"""An arm with a hundred thousand rows: how soon it is back at work after a kill that left its files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal

import pytest

from panda_streams.domain.orders import Product
from panda_streams.domain.positions import Position
from panda_streams.domain.signals import Side, identify
from panda_streams.worlds import prepare
from tables.execution import ExecutionRow
from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.reading import get, read_topic, write_records
from tests.polling import eventually

pytestmark = pytest.mark.integration

_ROWS = 100_000
_WITHIN_S = 5.0


def test_an_arm_with_a_hundred_thousand_rows_is_back_within_five_seconds_of_a_kill(
    world: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    env = {**world.env, "BROKER_NAMESPACE": "paper"}
    page = f"http://127.0.0.1:{int(world.env['PANDA_PORT_BASE']) + 20}"

    def ready_arm(timeout_s: float) -> Spawned:
        arm = spawn(["faust", "-A", "faust_app", "worker"], env=env)
        eventually(lambda: get(f"{page}/ready/")[0] == 200, timeout_s=timeout_s, what="the arm is ready")
        return arm

    ready_arm(40).kill()  # its changelogs exist now
    position = Position(quantity=100, product=Product.CNC, since=0, cost=Decimal(140_000), best=140_000)
    row = ExecutionRow(
        positions={f"Strategy_{number}": position for number in range(4)},
        ended=tuple(identify("order", "paper", str(number), Side.BUY, 1) for number in range(8)),
    )
    value = row.model_dump_json().encode()
    changelog = f"{world.servers.prefix}panda-paper-execution-changelog"
    write_records(
        world.servers.kafka, changelog, [(f"NSE:ROW{number}".encode(), value, number % 4) for number in range(_ROWS)]
    )
    ready_arm(120).kill()
    began = time.monotonic()
    ready_arm(40)
    took = time.monotonic() - began

    tables = get(f"{page}/tables/?format=json")[1]["tables"]
    print(f"{len(value)} bytes a row, ready after {took:.1f} s")
    assert {table["name"]: table["rows"] for table in tables}["execution"] == _ROWS
    assert len(read_topic(world.servers.kafka, changelog)) == _ROWS
    assert took < _WITHIN_S
