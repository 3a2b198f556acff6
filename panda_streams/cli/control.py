"""`panda halt`, `reduce`, `flatten`, `resume`, `strategy`: what stops trading, in force until it is taken back."""

from __future__ import annotations

import asyncio
import time

import click
import psutil
from redis.exceptions import RedisError

from panda_streams.brokers.port import find_broker, registered_brokers
from panda_streams.cli.operators import have_done, levels_in_force, set_level
from panda_streams.errors import PandaError, ServerUnreachable
from panda_streams.events import ActionKind, Health, Level, Mode
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.levels import ALL, MODE, STRATEGY_STATE, strategy_scope
from panda_streams.mirror import connect
from panda_streams.servers import Servers, find_servers
from panda_streams.settings import Settings, load_settings
from panda_streams.topics import Topics
from strategies.config import load_strategies

__all__ = ["flatten", "halt", "reduce", "resume", "strategy"]

_CONFIRM_S = 10.0
_ANSWER_S = 25.0
"""The account may have no worker for the group's session, 10 s, after one of several has stopped."""
_FRESH_MS = 5_000


_reason = click.option("--reason", required=True, help="Why; shown on the dashboard and kept in the log.")


@click.command()
@click.argument("namespace")
@_reason
@click.option("--hard", is_flag=True, help="Nor does it close a position by itself: no protective exit, no square-off.")
def halt(namespace: str, reason: str, hard: bool) -> None:
    """Halt the arm NAMESPACE, or `all`: it refuses every signal but cancellations until `panda resume`.

    What protects open positions goes on, unless --hard: legs of brackets, protective exits, square-off. In force for
    arms that start later too. Returns once every running worker of the arm has confirmed; exits with 1 if one has not
    within 10 seconds.
    """
    _set_mode(namespace, Mode.HALTED_HARD if hard else Mode.HALTED, reason)


@click.command()
@click.argument("namespace")
@_reason
def reduce(namespace: str, reason: str) -> None:
    """Let the arm NAMESPACE, or `all`, only close positions until `panda resume`; confirmed as `panda halt` is."""
    _set_mode(namespace, Mode.REDUCING, reason)


@click.command()
@click.argument("namespace")
@_reason
@click.option("--wait", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Seconds to wait for it.")
@click.confirmation_option(prompt="End all orders and close all positions at the market?")
def flatten(namespace: str, reason: str, wait: float) -> None:
    """End all orders of the arm NAMESPACE, close all its positions at the market, and halt it until `panda resume`.

    A command that is done once, by the arm that runs or by the next one that does. Returns once nothing is left; exits
    with 1 if something still is after --wait seconds: positions of a market that is closed wait for it to open.
    """
    settings = load_settings()
    servers = find_servers(settings)
    find_broker(namespace)
    completed = have_done(settings, servers, namespace, ActionKind.FLATTEN, wait, reason=reason)
    if completed is None:
        raise PandaError(
            f"written, but not completed within {wait:g} s",
            fix="do not repeat it: it is done, once, by the arm; `panda status` and the dashboard show what is left",
        )
    if not completed.done:
        raise PandaError(f"not done: {completed.detail}")
    click.echo(f"{namespace}: {completed.detail}; halted")


@click.command()
@click.argument("namespace")
@click.option("--reason", default="resumed by the operator", show_default=True, help="Why.")
def resume(namespace: str, reason: str) -> None:
    """Resume the arm NAMESPACE, or `all`: takes back the halt of the same name, and stops of its own.

    An arm whose loss is still beyond its limit stops itself again at once: `panda risk set` changes the limit.
    """
    running = _set_mode(namespace, Mode.ACTIVE, reason)
    settings = load_settings()
    servers = find_servers(settings)
    for name in [broker.namespace for broker in registered_brokers().values() if broker.trader is not None]:
        if namespace in (name, ALL):
            within = _ANSWER_S if name in running else 0.0
            completed = have_done(settings, servers, name, ActionKind.RESUME, within, reason=reason)
            if completed is None and name in running:
                raise PandaError(
                    f"written, but {name} has not answered within {_ANSWER_S:g} s",
                    fix="do not repeat it: it is done, once, when the arm runs; look at `panda status`",
                )
            if completed is not None and not completed.done:
                raise PandaError(f"{name}: {completed.detail}")
            if completed is not None:
                click.echo(f"{name}: {completed.detail}")


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


def _set_mode(namespace: str, mode: Mode, reason: str) -> set[str]:
    """Set a mode and wait for its confirmation; the namespaces of which a worker runs."""
    settings = load_settings()
    servers = find_servers(settings)
    if namespace != ALL:
        find_broker(namespace)
    topics = Topics(servers.prefix)
    topic = topics.control if namespace == ALL else topics.of(namespace, "control")
    arms = list(registered_brokers()) if namespace == ALL else [namespace]
    level = asyncio.run(set_level(settings, servers, topic, namespace, MODE, mode, reason))
    others = asyncio.run(_other_halts(settings, servers, namespace, arms)) if mode is Mode.ACTIVE else []
    if others:
        halts = (f"{'every arm' if o.scope == ALL else o.scope} is {o.value}: {o.reason} ({o.who})" for o in others)
        commands = " and ".join(f"panda resume {other.scope}" for other in others)
        raise PandaError(f"written, but {'; '.join(halts)}", fix=f"take that back too: {commands}")
    confirmed, missing = asyncio.run(_confirmations(servers, arms, level))
    for name in confirmed:
        click.echo(f"{name}: {mode}")
    if not confirmed and not missing:
        click.echo(f"no worker of {namespace} runs; it will be {mode} when it starts")
    if missing:
        raise PandaError(
            f"written, but not yet confirmed as {mode} by {', '.join(missing)}",
            fix="look at `panda status`: such a worker obeys as soon as it reads the control topic, or is dead",
        )
    return {name.rpartition("-")[0] for name in confirmed}


def _set_strategy(strategy_id: str, state: str, reason: str) -> None:
    settings = load_settings()
    servers = find_servers(settings)
    known = load_strategies(settings.strategies, load_instruments(settings.instruments), registered_brokers())
    names = [config.strategy_id for config in known]
    if strategy_id not in names:
        raise PandaError(f"there is no strategy {strategy_id}", fix=f"use one of {', '.join(names)}")
    topic, scope = Topics(servers.prefix).control, strategy_scope(strategy_id)
    asyncio.run(set_level(settings, servers, topic, scope, STRATEGY_STATE, state, reason))
    click.echo(f"{strategy_id}: {state}")


def _obeys(health: Health, level: Level) -> bool:
    """Whether a worker has heard of a level, or of a later one, and is in its mode; a stricter one does, unless it was
    to trade again."""
    if health.mode is None or health.modes_set.get(level.scope, 0) < level.at:
        return False
    said, asked = Mode(health.mode), Mode(level.value)
    return said is asked if asked is Mode.ACTIVE else said.rank >= asked.rank


async def _other_halts(settings: Settings, servers: Servers, namespace: str, arms: list[str]) -> list[Level]:
    """What still halts an arm after a resumption of `namespace`: the level of all, or after that one of `all` their
    own."""
    topics, found = Topics(servers.prefix), list[Level | None]()
    if namespace != ALL:
        found.append((await levels_in_force(settings, servers, topics.control)).mode(ALL)[1])
    else:
        for arm in arms:
            found.append((await levels_in_force(settings, servers, topics.of(arm, "control"))).mode(arm)[1])
    return [level for level in found if level is not None]


async def _confirmations(servers: Servers, arms: list[str], level: Level) -> tuple[list[str], list[str]]:
    """Which running workers obey `level`, and which do not within ten seconds."""
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
                    (confirmed if _obeys(health, level) and not silent else missing).append(name)
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
