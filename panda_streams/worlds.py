"""The stamp of a world: on its Kafka, its Redis database and every data directory, so that worlds never mix."""

from __future__ import annotations

import json
import time
from pathlib import Path

from redis.exceptions import RedisError

from panda_streams.brokers.port import registered_brokers
from panda_streams.codec import decode, encode
from panda_streams.domain.values import Value
from panda_streams.errors import ServerUnreachable, StampMismatch
from panda_streams.events import Level
from panda_streams.identity import Clock, Identity
from panda_streams.keys import STAMP
from panda_streams.mirror import connect
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from panda_streams.streams.admin import check_topics, create_topics
from panda_streams.streams.client import await_kafka, client_options, cluster_id
from panda_streams.streams.follower import publish_level, read_levels
from panda_streams.topics import Topics, level_key

__all__ = ["Stamp", "enter", "prepare", "stamp_directory"]

_KEY = level_key("world", "stamp")
_LAYOUT = 2


class Stamp(Value):
    """Which world some stored state belongs to."""

    world: str
    clock: Clock
    """Whether agents wait for event time."""
    layout: int = 1
    """Form of the tables and topics: what an older version has written cannot be gone on with."""
    kafka: str
    """Cluster id of the Kafka that the world's log is on."""
    prefix: str


async def prepare(settings: Settings, servers: Servers) -> list[str]:
    """Create what a world needs on its servers, and stamp them; safe to repeat. Returns the topics that are new.

    Raises ServerUnreachable, TopicsError, or StampMismatch if the servers belong to another world.
    """
    await await_kafka(settings, servers.kafka)
    specs = Topics(servers.prefix).specs(list(registered_brokers()))
    new = await create_topics(settings, servers.kafka, specs)
    stamp = await _stamp_of(settings, servers)
    found = await _kafka_stamp(settings, servers)
    if found is None:
        level = Level(
            world=stamp.world,
            scope="world",
            setting="stamp",
            value=stamp.model_dump_json(),
            who="panda",
            at=time.time_ns() // 1_000_000,
            reason="first start of this world",
        )
        topic = Topics(servers.prefix).control
        await publish_level(client_options(settings, servers.kafka), topic, _KEY, encode(level))
    else:
        _compare(stamp, found, _kafka_place(servers), _KAFKA_FIX)
    await _check_redis(servers, stamp, claim=True)
    return new


async def enter(settings: Settings, servers: Servers, identity: Identity | None = None) -> Stamp:
    """Check, before a process touches anything, that the servers are there, complete and of its world.

    With an `identity` its data directory is checked and stamped too. Raises ServerUnreachable within 10 seconds,
    TopicsError or StampMismatch.
    """
    await await_kafka(settings, servers.kafka)
    await check_topics(settings, servers.kafka, list(Topics(servers.prefix).specs(list(registered_brokers()))))
    stamp = await _stamp_of(settings, servers)
    found = await _kafka_stamp(settings, servers)
    if found is None:
        raise StampMismatch(
            f"{_kafka_place(servers)} has never been prepared for a world",
            fix="run `panda topics create` once with the same settings",
        )
    _compare(stamp, found, _kafka_place(servers), _KAFKA_FIX)
    await _check_redis(servers, stamp, claim=False)
    if identity is not None:
        stamp_directory(identity.data_dir, stamp)
    return stamp


def stamp_directory(directory: Path, stamp: Stamp) -> None:
    """Stamp a data directory, or raise StampMismatch if it carries another stamp."""
    file = directory / "stamp.json"
    if file.exists():
        _compare(
            stamp,
            Stamp.model_validate_json(file.read_text()),
            f"the data directory {directory}",
            f"move {directory} away: the tables are then rebuilt from Kafka",
        )
        return
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text(stamp.model_dump_json(indent=1))


_KAFKA_FIX = "use this world's own Kafka, or unset PANDA_TOPIC_PREFIX so that worlds are kept apart on a shared one"


def _kafka_place(servers: Servers) -> str:
    return f"Kafka at {servers.kafka} (topic prefix {servers.prefix!r})"


async def _stamp_of(settings: Settings, servers: Servers) -> Stamp:
    kafka = await cluster_id(settings, servers.kafka)
    return Stamp(world=servers.world.name, clock=servers.clock, layout=_LAYOUT, kafka=kafka, prefix=servers.prefix)


async def _kafka_stamp(settings: Settings, servers: Servers) -> Stamp | None:
    levels = await read_levels(client_options(settings, servers.kafka), Topics(servers.prefix).control)
    value = levels.get(_KEY)
    return Stamp.model_validate_json(decode(Level, value).value) if value else None


def _compare(own: Stamp, found: Stamp, place: str, fix: str) -> None:
    differing = [
        f"{name} is {theirs!r}, this process has {mine!r}"
        for name, mine, theirs in zip(
            Stamp.model_fields, own.model_dump().values(), found.model_dump().values(), strict=True
        )
        if mine != theirs
    ]
    if found.layout != own.layout:
        fix = "go on with the version that made it, or use another world (PANDA_WORLD) or PANDA_HOME"
    elif found.model_copy(update={"clock": own.clock}) == own:
        fix = f"set PANDA_CLOCK={found.clock}, which this world was created with, or use another world"
    if differing:
        raise StampMismatch(f"{place} belongs to another world: {'; '.join(differing)}", fix=fix)


async def _check_redis(servers: Servers, stamp: Stamp, *, claim: bool) -> None:
    client = connect(servers.redis)
    try:
        if claim:
            await client.set(STAMP, stamp.model_dump_json(), nx=True)
        text = await client.get(STAMP)
    except (RedisError, OSError) as error:
        raise ServerUnreachable(
            f"Redis does not answer: {type(error).__name__}", fix="start it, or correct REDIS_URL"
        ) from None
    finally:
        await client.aclose()
    fix = "use another Redis database (the number at the end of REDIS_URL), or empty this one with FLUSHDB"
    if text is None:
        raise StampMismatch(
            "the Redis database has no stamp of a world", fix="run `panda topics create` once with the same settings"
        )
    try:
        found = Stamp.model_validate(json.loads(text))
    except ValueError:
        raise StampMismatch(f"the key {STAMP} of the Redis database is not a stamp", fix=fix) from None
    _compare(stamp, found, "the Redis database", fix)
