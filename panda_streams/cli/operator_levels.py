"""What the commands of operators share: they set levels in the user's name, and read those in force."""

from __future__ import annotations

import getpass
import time

from panda_streams.codec import encode
from panda_streams.events import Level
from panda_streams.levels import Levels
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.streams.levels import publish_level, read_levels
from panda_streams.topics import level_key
from panda_streams.worlds import enter

__all__ = ["levels_in_force", "set_level"]


async def set_level(
    settings: Settings, servers: Servers, topic: str, scope: str, setting: str, value: str, reason: str
) -> None:
    """Write a level to a control topic, in the name of the user who runs this; returns once it is acknowledged.

    Raises ServerUnreachable, TopicsError, or StampMismatch if the servers belong to another world.
    """
    await enter(settings, servers)
    level = Level(
        world=servers.world.name,
        scope=scope,
        setting=setting,
        value=value,
        who=getpass.getuser(),
        at=time.time_ns() // 1_000_000,
        reason=reason,
    )
    await publish_level(client_options(settings, servers.kafka), topic, level_key(scope, setting), encode(level))


async def levels_in_force(settings: Settings, servers: Servers, topic: str) -> Levels:
    """Read a control topic to its end."""
    levels = Levels()
    for key, value in (await read_levels(client_options(settings, servers.kafka), topic)).items():
        levels.apply(topic, key, value)
    return levels
