from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import redis.asyncio

from panda_streams.embedded.processes import ProcessState
from panda_streams.embedded.redis import redis_program
from panda_streams.embedded.supervisor import Supervisor
from panda_streams.identity import Home, Ports, World
from tests.polling import eventually_async

pytestmark = pytest.mark.integration


def test_redis_comes_up_and_is_back_with_its_data_after_a_stop_and_after_a_kill(
    tmp_path: Path, free_port_base: int
) -> None:
    ports = Ports(free_port_base)

    async def with_redis(value: str, *, killed: bool) -> list[str | None]:
        program = redis_program(tmp_path, tmp_path, ports, print)
        supervisor = Supervisor(Home(tmp_path), World("sim"), lambda row, text: print(text))
        await supervisor.start()
        client = redis.asyncio.Redis(port=ports.redis, decode_responses=True)
        try:
            [process] = await supervisor.run([program])

            async def running(restarts: int) -> bool:
                return process.row.state is ProcessState.RUNNING and process.row.restarts == restarts

            await eventually_async(lambda: running(0), what="Redis runs")
            found = [await client.get("k")]
            await client.set("k", value)
            if killed:
                assert process.row.pid
                os.kill(process.row.pid, signal.SIGKILL)
                await eventually_async(lambda: running(1), what="Redis runs again")
                found.append(await client.get("k"))
            return found
        finally:
            await client.aclose()
            await supervisor.stop()

    assert asyncio.run(with_redis("first", killed=False)) == [None]
    assert asyncio.run(with_redis("second", killed=True)) == ["first", "second"]
