"""Fixtures for tests with real servers and processes: `servers`, `world`, `spawn`, and `free_port_base`.

`fresh_world` and `spawning` are the two of them in the middle for a test, or a module's tests, with several worlds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic_settings import PydanticBaseSettingsSource

from panda_streams.embedded.jars import fetch_jars, read_lock
from panda_streams.embedded.supervisor import die_with_parent
from panda_streams.identity import Home, World
from panda_streams.servers import Servers, clock_of, topic_prefix
from panda_streams.settings import Settings
from tests.servers import RunningServers, project_home, run_servers
from tests.servers import free_port_base as new_port_base

_redis_databases = count(1)


@dataclass(frozen=True, slots=True)
class FreshWorld:
    """A fresh world on the servers of the session: topics, Redis database, home and ports of its own.

    Its topics are not created yet: `asyncio.run(worlds.prepare(world.settings, world.servers))` does that.
    """

    name: str
    env: dict[str, str]
    """The whole environment for its processes. Copy it to change it."""
    settings: Settings
    """What a process with this environment reads."""
    servers: Servers
    """What a process with this environment finds."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process of a test; both of its outputs go to `log`."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = 20.0) -> int:
        """Return its exit code; raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout)


class _GivenSettings(Settings):
    """Settings that come from nowhere but the arguments."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: Any, init_settings: PydanticBaseSettingsSource, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def given_settings(env: Mapping[str, str]) -> Settings:
    """What `load_settings` gives in a process with this environment."""
    return _GivenSettings(**{name: value for name, value in env.items() if value})


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The directory with the jars of Kafka: fetched for the first test that needs them, outside of its deadlines."""
    jars = project_home().jars
    fetch_jars(read_lock(), jars, lambda present, of: None)
    return jars


@pytest.fixture
def home(tmp_path: Path, kafka_jars: Path) -> Home:
    """A PANDA_HOME of its own for a deployment with embedded servers."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    home.jars.symlink_to(kafka_jars)
    return home


@pytest.fixture
def free_port_base() -> int:
    """A value for PANDA_PORT_BASE: a range of free ports below those that the kernel hands out to clients."""
    return new_port_base()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, kafka_jars: Path) -> Iterator[RunningServers]:
    """An embedded Kafka and Redis for the whole session."""
    with run_servers(tmp_path_factory.mktemp("servers"), kafka_jars, new_port_base()) as servers:
        yield servers


@pytest.fixture
def world(request: pytest.FixtureRequest, servers: RunningServers, tmp_path: Path) -> Iterator[FreshWorld]:
    """A fresh world on its default clock, or on the one of an indirect parameter; its topics are deleted afterwards."""
    with fresh_world(servers, tmp_path, clock=getattr(request, "param", None)) as world:
        yield world


@contextmanager
def fresh_world(
    servers: RunningServers, directory: Path, *, name: str | None = None, clock: str | None = None
) -> Iterator[FreshWorld]:
    """A fresh world with its home in `directory`. Worlds of one `name` say the same things, and never meet."""
    unique = f"t{os.urandom(5).hex()}"
    name = name or f"replay:{unique}"
    env = {
        **clean_environment(),
        "PANDA_HOME": str(directory / "home"),
        "PANDA_WORLD": name,
        "PANDA_TOPIC_PREFIX": f"{unique}.",
        "PANDA_PORT_BASE": str(new_port_base()),
        "KAFKA_BROKER_URL": f"kafka://{servers.kafka}",
        "REDIS_URL": servers.redis(next(_redis_databases)),
        **({"PANDA_CLOCK": clock} if clock else {}),
    }
    settings, own = given_settings(env), World(name)
    prefix = topic_prefix(settings, own, given=True)
    yield FreshWorld(
        name, env, settings, Servers(own, servers.kafka, env["REDIS_URL"], prefix, clock_of(settings, own))
    )
    asyncio.run(_delete_topics(servers.kafka, prefix))


@pytest.fixture
def spawn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Spawned]]:
    """`spawn(command, env=…)` starts a process, by default with the environment of the test's `world`.

    `panda`, `faust` and `python` are those of this environment.
    """
    with spawning(tmp_path, lambda: request.getfixturevalue("world").env) as spawn:
        yield spawn


@contextmanager
def spawning(directory: Path, default_env: Callable[[], Mapping[str, str]]) -> Iterator[Callable[..., Spawned]]:
    """Give a `spawn(command, env=…, cwd=…)`; all that it started is ended in the end (SIGTERM, SIGKILL after 20 s).

    The tail of each log is shown if the test failed.
    """
    started: list[Spawned] = []

    def start(command: list[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Spawned:
        log = directory / f"{len(started)}-{Path(command[0]).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=default_env() if env is None else env,
                cwd=cwd or directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        started.append(Spawned(process, log))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.process.send_signal(signal.SIGCONT)
            one.process.terminate()
        for one in started:
            try:
                one.process.wait(20)
            except subprocess.TimeoutExpired:
                one.kill()
            # pytest shows what a failed test printed.
            print(f"--- {one.process.args} (exit code {one.process.returncode}), tail of {one.log}")
            print("\n".join(one.output().splitlines()[-40:]))


def clean_environment() -> dict[str, str]:
    """This environment without any setting of the project, and with this Python's commands first."""
    settings = {field.alias for field in Settings.model_fields.values()}
    env = {name: value for name, value in os.environ.items() if name not in settings}
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return {**env, "PATH": path, "PYTHONUNBUFFERED": "1"}


async def _delete_topics(kafka: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        own = [topic for topic in await admin.list_topics() if topic.startswith(prefix)]
        if own:
            await admin.delete_topics(own)
    finally:
        await admin.close()
