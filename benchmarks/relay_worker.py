"""The relay on the shared loop: `faust -A benchmarks.relay_worker worker`."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import uvloop

from benchmarks.meter import follow
from benchmarks.relay import RECORDS, Relay, source, topic
from panda_streams.identity import Role
from panda_streams.servers import find_servers, identify_process
from panda_streams.settings import load_settings
from panda_streams.streams.agent import Stray
from panda_streams.streams.app import BROKER_REBALANCE_S, BROKER_SESSION_S, PandaApp, make_app
from panda_streams.streams.client import client_options
from panda_streams.streams.faust_fixes import mend_recovery
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import ListTopic, install
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.rows import make_table
from panda_streams.streams.sender import Sender

__all__ = ["app"]


def _build() -> PandaApp:
    mend_recovery()
    asyncio.set_event_loop(uvloop.new_event_loop())
    settings = load_settings()
    servers = find_servers(settings)
    identity = identify_process(settings, servers, Role.BRAIN)
    identity.data_dir.mkdir(parents=True, exist_ok=True)
    app = make_app(identity, settings, servers.kafka)
    options = client_options(settings, servers.kafka)
    loop = AgentLoop(
        app,
        Sender(options, settings.partitions),
        ReadBack(options),
        Lease(BROKER_SESSION_S, BROKER_REBALANCE_S),
        topic("brain.dlq"),
        _no_stray,
    )
    app.agent_loop = loop
    agent = Relay(source(), topic("worker"))
    loop.add(agent, make_table(app, agent.name, "a row a key"))

    async def run(stream: Any) -> None:
        async for delivery in stream:
            loop.take(agent.name, delivery)

    app.agent(ListTopic.of(app, [source()]), name=agent.name)(run)
    install(app, loop.topics, loop.starts, loop.assigned, loop.release)
    return app


def _no_stray(stray: Stray) -> bytes:
    raise AssertionError(stray.reason)


app = _build()
_records = int(os.environ[RECORDS])

follow(app, lambda: sum(app.agent_loop.positions.values()) >= _records)
