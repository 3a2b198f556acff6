"""What the commands of operators share: levels and actions, each in the name of the user who runs the command."""

from __future__ import annotations

import asyncio
import getpass
import time
import uuid
from typing import Any

from panda_streams.asking import ask
from panda_streams.codec import encode
from panda_streams.errors import PandaError
from panda_streams.events import Action, ActionKind, Completed, Level
from panda_streams.levels import Levels
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from panda_streams.streams.client import client_options
from panda_streams.streams.follower import publish_level, read_levels
from panda_streams.streams.sender import partition_of
from panda_streams.topics import Topics, level_key
from panda_streams.worlds import enter

__all__ = ["carry_out", "have_done", "levels_in_force", "set_level"]


async def set_level(
    settings: Settings, servers: Servers, topic: str, scope: str, setting: str, value: str, reason: str
) -> Level:
    """Write a level to a control topic, in the name of the user who runs this; returns it once it is acknowledged.

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
    return level


async def levels_in_force(settings: Settings, servers: Servers, topic: str) -> Levels:
    """Read a control topic to its end."""
    levels = Levels()
    for key, value in (await read_levels(client_options(settings, servers.kafka), topic)).items():
        levels.apply(topic, key, value)
    return levels


def have_done(
    settings: Settings, servers: Servers, namespace: str, what: ActionKind, within_s: float, **fields: Any
) -> Completed | None:
    """Ask the arm of an account for something, and return what became of it; None if it has not said so in time.

    It is done once, by the arm that runs or by the next one that does. `fields` are those of Action. Raises
    ServerUnreachable, or StampMismatch if the servers belong to another world.
    """
    action = Action(
        world=servers.world.name,
        namespace=namespace,
        # Not derived from a cause in the log: that this operator wants it is the cause, each time anew.
        action_id=uuid.uuid4().hex,
        what=what,
        who=getpass.getuser(),
        at=time.time_ns() // 1_000_000,
        **fields,
    )
    partition = partition_of(namespace.encode(), settings.partitions)
    topic = Topics(servers.prefix).of(namespace, "audit")

    async def asked() -> Completed | None:
        await enter(settings, servers)
        return await ask(client_options(settings, servers.kafka), topic, partition, action, within_s)

    return asyncio.run(asked())


def carry_out(
    settings: Settings, servers: Servers, namespace: str, what: ActionKind, within_s: float, **fields: Any
) -> str:
    """As `have_done`; what the arm says of it. Raises PandaError too if it does not answer in time, or refuses."""
    completed = have_done(settings, servers, namespace, what, within_s, **fields)
    if completed is None:
        raise PandaError(
            f"written, but the arm {namespace} has not answered within {within_s:g} s",
            fix="do not repeat it: it is done, once, when the arm runs; look at `panda status`",
        )
    if not completed.done:
        raise PandaError(f"not done: {completed.detail}")
    return completed.detail
