"""`panda gateway`: serves the screen and the read API until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time

import click
from aiohttp import web

from panda_streams.brokers.port import registered_brokers
from panda_streams.codec import encode
from panda_streams.errors import SettingsError, StampMismatch
from panda_streams.events import Health
from panda_streams.gateway.reader import Reader
from panda_streams.gateway.server import STAMP_FIX, Gateway
from panda_streams.gateway.state import broker_records, stamp_problem
from panda_streams.identity import Identity, Role
from panda_streams.keys import Keys
from panda_streams.mirror import Mirror
from panda_streams.servers import Servers, find_servers, identify_process
from panda_streams.settings import load_settings

__all__ = ["gateway", "serve"]


@click.command()
def gateway() -> None:
    """Serve the screen and the read API of all arms on 127.0.0.1.

    Reads Redis alone: it needs no secret of a broker and no Kafka.
    """
    settings = load_settings()
    servers = find_servers(settings, kafka_needed=False)
    identity = identify_process(settings, servers, Role.GATEWAY)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # One line a request would fill the log with the page's own questions.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    with identity.lock():
        asyncio.run(serve(servers, identity))


async def serve(servers: Servers, identity: Identity) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises ServerUnreachable within ten seconds, StampMismatch, or SettingsError if the port is taken.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    mirror = Mirror(servers.redis, identity.scope)
    await mirror.start()
    reader = Reader(servers.redis, servers.world, broker_records(registered_brokers()))
    try:
        problem = stamp_problem(await reader.stamp(), servers.world.name)
        if problem:
            raise StampMismatch(problem, fix=STAMP_FIX)
        site = Gateway(reader, servers.world)
        runner = web.AppRunner(site.app(), shutdown_timeout=2.0)
        await runner.setup()
        try:
            await _listen(runner, identity)
            click.echo(f"gateway of world {servers.world.name}: {identity.canonical_url}")
            await _report(mirror, identity, site, stopped)
        finally:
            await runner.cleanup()
    finally:
        await reader.close()
        await mirror.stop()


async def _listen(runner: web.AppRunner, identity: Identity) -> None:
    try:
        await web.TCPSite(runner, "127.0.0.1", identity.web_port).start()
    except OSError as error:
        raise SettingsError(
            f"port {identity.web_port} of 127.0.0.1 cannot be used: {error.strerror}",
            fix="stop what listens there, or set PANDA_PORT_BASE",
        ) from None


async def _report(mirror: Mirror, identity: Identity, site: Gateway, stopped: asyncio.Event) -> None:
    """Report the gateway's own health every second, and the last time that it was stopped."""
    keys = Keys(identity.scope)
    started_at = _now()
    while True:
        now = _now()
        health = Health(
            world=identity.world.name,
            role=identity.role.value,
            namespace=None,
            instance=identity.instance,
            pid=os.getpid(),
            state="stopped" if stopped.is_set() else "running",
            ready=mirror.healthy and not stopped.is_set(),
            mode=None,
            detail="" if mirror.healthy else "Redis does not answer",
            lag=None,
            events=site.requests,
            last_event_time=None,
            started_at=started_at,
            at=now,
            url=identity.canonical_url,
        )
        mirror.put(keys.health(identity.instance), encode(health), now)
        mirror.add(keys.instances, str(identity.instance))
        if stopped.is_set():
            return
        try:
            await asyncio.wait_for(stopped.wait(), timeout=1.0)
        except TimeoutError:
            continue


def _now() -> int:
    return time.time_ns() // 1_000_000
