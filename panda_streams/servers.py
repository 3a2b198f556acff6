"""Which Kafka and Redis a process uses, and which world: the environment's, else those that `panda up` runs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field

import psutil

from panda_streams.errors import SettingsError
from panda_streams.identity import Clock, Home, Identity, Role, World, check_namespace
from panda_streams.settings import Settings

__all__ = [
    "Running",
    "Servers",
    "clock_of",
    "find_servers",
    "identify_process",
    "kafka_hosts",
    "read_running",
    "topic_prefix",
    "write_running",
]

_HOST = re.compile(r"[^\s/,@]+:\d{1,5}")


@dataclass(frozen=True, slots=True)
class Running:
    """What `panda up` or `panda servers` writes to running.json while it runs."""

    pid: int
    world: str
    kafka: str
    """host:port, several separated by commas."""
    redis: str
    """A redis:// address; empty if REDIS_URL names a server, for such an address may hold a password."""
    prefix: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of one world, and its clock. `prefix` is put before topic and group names."""

    world: World
    kafka: str
    redis: str = field(repr=False)
    prefix: str
    clock: Clock


def write_running(home: Home, running: Running) -> None:
    home.path.mkdir(parents=True, exist_ok=True)
    temporary = home.running.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(running), indent=1))
    temporary.replace(home.running)


def read_running(home: Home) -> Running | None:
    """What runs now, or None: a file whose process has ended says nothing."""
    try:
        fields = json.loads(home.running.read_text())
        running = Running(**{**fields, "clock": Clock(fields["clock"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return running if psutil.pid_exists(running.pid) else None


def kafka_hosts(url: str) -> str:
    """Turn KAFKA_BROKER_URL into the comma separated hosts that Kafka clients take."""
    hosts = [part.strip().removeprefix("kafka://").removeprefix("aiokafka://") for part in url.split(";")]
    if any("@" in host for host in hosts):
        # Not quoted: what stands before the @ may be a password.
        raise SettingsError(
            "KAFKA_BROKER_URL holds a user or a password",
            fix="write kafka://host:9092, and set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
        )
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise SettingsError(
            f"KAFKA_BROKER_URL={url!r} is not an address", fix="write kafka://host:9092, several separated by ;"
        )
    return ",".join(hosts)


def find_servers(settings: Settings, *, kafka_needed: bool = True) -> Servers:
    """Resolve the servers of this process; raise SettingsError that names the ways to have some.

    A process that reads Redis alone needs no Kafka: its address is then empty if there is none.
    """
    running = read_running(settings.home_dir)
    wanted = World(settings.world) if settings.world else None
    if running is not None and wanted is not None and running.world != wanted.name:
        if settings.kafka_broker_url is None or settings.redis_url is None:
            raise SettingsError(
                f"PANDA_WORLD={wanted.name}, but {settings.home} runs the world {running.world}",
                fix="unset PANDA_WORLD, or stop that deployment first",
            )
        running = None
    world = wanted or World(running.world if running else "sim")
    if settings.kafka_broker_url:
        kafka = kafka_hosts(settings.kafka_broker_url)
        prefix = topic_prefix(settings, world, given=True)
    elif running:
        kafka, prefix = running.kafka, running.prefix
    elif not kafka_needed:
        kafka, prefix = "", ""
    else:
        raise SettingsError(
            f"no Kafka: KAFKA_BROKER_URL is not set and nothing runs in {settings.home}",
            fix="start `make run`, `panda up` or `panda servers` first, or set KAFKA_BROKER_URL",
        )
    if settings.redis_url:
        redis = settings.redis_url.get_secret_value()
    elif running and running.redis:
        redis = running.redis
    else:
        raise SettingsError(
            f"no Redis: REDIS_URL is not set and nothing runs in {settings.home}",
            fix="start `make run`, `panda up` or `panda servers` first, or set REDIS_URL",
        )
    clock = running.clock if running and settings.clock is None else clock_of(settings, world)
    return Servers(world, kafka, redis, prefix, clock)


def clock_of(settings: Settings, world: World) -> Clock:
    """The clock that a world is created with; raise SettingsError for one that it cannot have."""
    if settings.clock is Clock.REPLAY and not world.simulated:
        raise SettingsError("PANDA_CLOCK=replay, but the world is live: nobody can wait there", fix="unset PANDA_CLOCK")
    return settings.clock or world.clock


def topic_prefix(settings: Settings, world: World, *, given: bool) -> str:
    """The prefix of topic names: none on a world's own Kafka, `<world>.` on a given one, or what the user set."""
    if settings.topic_prefix is not None:
        return settings.topic_prefix
    return f"{world.slug}." if given else ""


def identify_process(settings: Settings, servers: Servers, role: Role) -> Identity:
    """The identity of this process in the world of its servers."""
    namespace = None
    if role is Role.ARM:
        namespace = check_namespace(settings.broker_namespace or "")
    return Identity(
        role=role,
        namespace=namespace,
        instance=settings.instance if role in (Role.ARM, Role.BRAIN) else 0,
        world=servers.world,
        home=settings.home_dir,
        ports=settings.ports,
        prefix=servers.prefix,
    )
