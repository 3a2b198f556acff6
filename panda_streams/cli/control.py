"""`panda halt`, `panda resume`, `panda strategy`: levels that an operator sets, in force until set again."""

from __future__ import annotations

import asyncio
import getpass
import time

import click
import psutil
from redis.exceptions import RedisError

from panda_streams.brokers.port import find_broker, registered_brokers
from panda_streams.codec import encode
from panda_streams.errors import PandaError, ServerUnreachable
from panda_streams.events import Health, Level, Mode
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.levels import ALL, MODE, STRATEGY_STATE, Levels, strategy_scope
from panda_streams.mirror import connect
from panda_streams.servers import Servers, find_servers
from panda_streams.settings import Settings, load_settings
from panda_streams.streams.client import client_options
from panda_streams.streams.follower import publish_level, read_levels
from panda_streams.topics import Topics, level_key
from panda_streams.worlds import enter
from strategies.config import load_strategies

__all__ = ["halt", "resume", "strategy"]

_CONFIRM_S = 10.0
_FRESH_MS = 5_000


@click.command()
@click.argument("namespace")
@click.option("--reason", required=True, help="Why; shown on the dashboard and kept in the log.")
def halt(namespace: str, reason: str) -> None:
    """Halt the arm NAMESPACE, or `all`: it refuses every signal until `panda resume`.

    In force for arms that start later too. Returns once every running worker of the arm has confirmed; exits with 1
    if one has not within 10 seconds.
    """
    _set_mode(namespace, Mode.HALTED, reason)


@click.command()
@click.argument("namespace")
@click.option("--reason", default="resumed by the operator", show_default=True, help="Why.")
def resume(namespace: str, reason: str) -> None:
    """Resume the arm NAMESPACE, or `all`: takes back the halt of the same name."""
    _set_mode(namespace, Mode.ACTIVE, reason)


@click.group()
def strategy() -> None:
    """Pause and resume one strategy, on every broker at once."""


@strategy.command("pause")
@click.argument("strategy_id")
@click.option("--reason", required=True, help="Why.")
def pause_strategy(strategy_id: str, reason: str) -> None:
    """Stop the signals of STRATEGY_ID; open positions stay as they are."""
    _set_strategy(strategy_id, "PAUSED", reason)


@strategy.command("resume")
@click.argument("strategy_id")
@click.option("--reason", default="resumed by the operator", show_default=True, help="Why.")
def resume_strategy(strategy_id: str, reason: str) -> None:
    """Let STRATEGY_ID make signals again, after a pause or after it raised."""
    _set_strategy(strategy_id, "ACTIVE", reason)


def _set_mode(namespace: str, mode: Mode, reason: str) -> None:
    settings = load_settings()
    servers = find_servers(settings)
    if namespace != ALL:
        find_broker(namespace)
    topics = Topics(servers.prefix)
    topic = topics.control if namespace == ALL else topics.of(namespace, "control")
    arms = list(registered_brokers()) if namespace == ALL else [namespace]
    asyncio.run(_publish(settings, servers, topic, namespace, MODE, mode, reason))
    if mode is Mode.ACTIVE and namespace != ALL and (halt_of_all := asyncio.run(_halt_of_all(settings, servers))):
        raise PandaError(
            f"written, but every arm is halted: {halt_of_all.reason} ({halt_of_all.who})",
            fix="take that halt back too: panda resume all",
        )
    confirmed, missing = asyncio.run(_confirmations(servers, arms, mode))
    for name in confirmed:
        click.echo(f"{name}: {mode}")
    if not confirmed and not missing:
        click.echo(f"no worker of {namespace} runs; it will be {mode} when it starts")
    if missing:
        raise PandaError(
            f"written, but not yet confirmed as {mode} by {', '.join(missing)}",
            fix="look at `panda status`: such a worker obeys as soon as it reads the control topic, or is dead",
        )


def _set_strategy(strategy_id: str, state: str, reason: str) -> None:
    settings = load_settings()
    servers = find_servers(settings)
    known = load_strategies(settings.strategies, load_instruments(settings.instruments), registered_brokers())
    names = [config.strategy_id for config in known]
    if strategy_id not in names:
        raise PandaError(f"there is no strategy {strategy_id}", fix=f"use one of {', '.join(names)}")
    topic, scope = Topics(servers.prefix).control, strategy_scope(strategy_id)
    asyncio.run(_publish(settings, servers, topic, scope, STRATEGY_STATE, state, reason))
    click.echo(f"{strategy_id}: {state}")


async def _publish(
    settings: Settings, servers: Servers, topic: str, scope: str, setting: str, value: str, reason: str
) -> None:
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


async def _halt_of_all(settings: Settings, servers: Servers) -> Level | None:
    topic, levels = Topics(servers.prefix).control, Levels()
    for key, value in (await read_levels(client_options(settings, servers.kafka), topic)).items():
        levels.apply(topic, key, value)
    return levels.halted(ALL)


async def _confirmations(servers: Servers, arms: list[str], mode: Mode) -> tuple[list[str], list[str]]:
    """Which running workers report `mode`, and which do not within ten seconds."""
    client = connect(servers.redis)
    deadline = time.monotonic() + _CONFIRM_S
    try:
        while True:
            confirmed: list[str] = []
            missing: list[str] = []
            for namespace in arms:
                keys = Keys(namespace)
                for instance in sorted(await client.smembers(keys.instances)):
                    text = await client.get(keys.health(int(instance)))
                    health = Health.model_validate_json(text) if text else None
                    if health is None or health.state == "stopped":
                        continue
                    silent = time.time_ns() // 1_000_000 - health.at > _FRESH_MS
                    if silent and not psutil.pid_exists(health.pid):
                        continue
                    # One that is silent and lives, hung or stopped, has confirmed nothing.
                    name = f"{namespace}-{int(instance)}"
                    (confirmed if health.mode == mode and not silent else missing).append(name)
            if not missing or time.monotonic() > deadline:
                return confirmed, missing
            await asyncio.sleep(0.2)
    except (RedisError, OSError) as error:
        raise ServerUnreachable(
            f"written, but Redis does not answer for the confirmation: {type(error).__name__}",
            fix="look at `panda status` once it is back",
        ) from None
    finally:
        await client.aclose()
