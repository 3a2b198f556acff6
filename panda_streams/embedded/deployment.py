"""Brings the servers of a world up: embedded Kafka and Redis where none is configured, running.json, topics, stamps."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from panda_streams.embedded.kafka import kafka_program
from panda_streams.embedded.processes import ProcessRow, ProcessState
from panda_streams.embedded.redis import redis_program
from panda_streams.embedded.supervisor import Ended, Program, Supervised, Supervisor
from panda_streams.embedded.watchdog import Watchdog
from panda_streams.errors import ServerUnreachable
from panda_streams.identity import World, locked
from panda_streams.servers import Running, Servers, clock_of, kafka_hosts, topic_prefix, write_running
from panda_streams.settings import Settings
from panda_streams.worlds import prepare

__all__ = ["Deployment", "deploy"]

READY_WITHIN_S = 60.0
"""An embedded server that is not ready by then never will be, even on a slow machine."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The servers of a world, ready for its processes, which `supervisor` runs."""

    servers: Servers
    supervisor: Supervisor


@asynccontextmanager
async def deploy(
    settings: Settings,
    world: World,
    say: Callable[[str], None],
    changed: Callable[[ProcessRow, str], None],
    ended: Callable[[Ended], None] = lambda end: None,
) -> AsyncIterator[Deployment]:
    """Run the servers of `world` as the one deployment of its home; stop all that the supervisor runs at the end.

    `say` gets a line about each step of the way up, from other threads too; `changed` each change of a process, `ended`
    each end that was not asked for. Raises AlreadyRunning if the home has a deployment, or another PandaError if a
    server, a topic or a stamp is not right.
    """
    home = settings.home_dir
    with _the_only_one(home.path):
        supervisor = Supervisor(home, world, changed, Watchdog(home, world, settings.ports), ended)
        await supervisor.start()
        try:
            servers, running = await _start_servers(settings, world, supervisor, say)
            say("topics are checked")
            new = await prepare(settings, servers)
            say(f"topics: {len(new)} created" if new else "topics: all there")
            write_running(home, running)
            yield Deployment(servers, supervisor)
        finally:
            await supervisor.stop()
            home.running.unlink(missing_ok=True)


async def _start_servers(
    settings: Settings, world: World, supervisor: Supervisor, say: Callable[[str], None]
) -> tuple[Servers, Running]:
    home, ports = settings.home_dir, settings.ports
    directory, logs = home.world(world), home.logs(world)
    programs = []
    if settings.kafka_broker_url is None:
        kafka = f"127.0.0.1:{ports.kafka}"
        programs.append(await _in_thread(lambda say: kafka_program(directory, logs, home.jars, ports, say), say))
    else:
        kafka = kafka_hosts(settings.kafka_broker_url)
    if settings.redis_url is None:
        redis = shown_redis = f"redis://127.0.0.1:{ports.redis}/0"
        programs.append(await _in_thread(lambda say: redis_program(directory, logs, ports, say), say))
    else:
        redis, shown_redis = settings.redis_url.get_secret_value(), ""
    if programs:
        await _await_ready(supervisor, await supervisor.run(programs))
    prefix = topic_prefix(settings, world, given=settings.kafka_broker_url is not None)
    clock = clock_of(settings, world)
    return (
        Servers(world=world, kafka=kafka, redis=redis, prefix=prefix, clock=clock),
        Running(pid=os.getpid(), world=world.name, kafka=kafka, redis=shown_redis, prefix=prefix, clock=clock),
    )


async def _in_thread(make: Callable[[Callable[[str], None]], Program], say: Callable[[str], None]) -> Program:
    """Run `make` in a thread, which ends at its next step when this task is cancelled."""
    cancelled = threading.Event()

    def say_or_end(text: str) -> None:
        if cancelled.is_set():
            raise InterruptedError("the deployment is stopped")
        say(text)

    try:
        return await asyncio.to_thread(make, say_or_end)
    except asyncio.CancelledError:
        cancelled.set()
        raise


async def _await_ready(supervisor: Supervisor, processes: list[Supervised]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    for process in processes:
        while process.row.state is not ProcessState.RUNNING:
            if supervisor.crash_reason is not None:
                raise supervisor.crash_reason
            if time.monotonic() > deadline or process.row.state is ProcessState.FAILED:
                lines = "".join(f"\n  | {line}" for line in process.last_lines)
                raise ServerUnreachable(
                    f"the embedded {process.program.name} does not get ready{lines}",
                    fix=f"see {process.program.log}",
                )
            await asyncio.sleep(0.05)


@contextmanager
def _the_only_one(home: Path) -> Iterator[None]:
    with locked(
        home / "up.lock",
        f"a deployment in {home}",
        fix="stop it first, or set PANDA_HOME and PANDA_PORT_BASE for a second one",
    ):
        yield
