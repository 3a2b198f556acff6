"""The composition root: builds the Faust application of this process's identity. The only place that knows everything.

`faust -A faust_app worker` is the brain; with BROKER_NAMESPACE set it is the arm of that broker account.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

import orjson
import uvloop

from agents.broker_execution import BrokerExecution
from agents.context import Context
from agents.facts import arm_facts, brain_facts
from agents.paper_execution import PaperExecution
from agents.portfolio import PortfolioAgent
from agents.risk import RiskAgent
from agents.strategy import Brain
from agents.trader import TraderAgent
from agents.trading.post import hire
from panda_streams.alerts import Origin, open_alerter
from panda_streams.alerts.lookout import Lookout
from panda_streams.brokers.port import Broker, ConnectedTrader, SimulatedTrader, find_broker, registered_brokers
from panda_streams.calendar_files import calendar_of
from panda_streams.codec import encode
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.domain.shards import ShardMap
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import DeadLetter
from panda_streams.identity import Clock, Identity, Role
from panda_streams.instrument_files import load_instruments
from panda_streams.keys import Keys
from panda_streams.levels import Levels
from panda_streams.limit_files import load_limits
from panda_streams.mirror import Mirror
from panda_streams.reporting import Reporter
from panda_streams.servers import Servers, find_servers, identify_process
from panda_streams.settings import Settings, load_settings
from panda_streams.streams.admin import create_topics
from panda_streams.streams.agent import Agent, Stray
from panda_streams.streams.app import BROKER_REBALANCE_S, BROKER_SESSION_S, PandaApp, make_app
from panda_streams.streams.client import client_options
from panda_streams.streams.faust_fixes import check_versions, mend_recovery
from panda_streams.streams.follower import LevelFollower
from panda_streams.streams.guard import ClusterGuard
from panda_streams.streams.health import WorkerHealth
from panda_streams.streams.lease import Lease
from panda_streams.streams.lists import ListTopic, install
from panda_streams.streams.loop import AgentLoop, payload_text
from panda_streams.streams.pages import add_pages
from panda_streams.streams.readback import ReadBack
from panda_streams.streams.rows import LogTable, changelogs, make_table
from panda_streams.streams.sender import Sender
from panda_streams.streams.worker import PandaWorker, exit_with, refuse_flags
from panda_streams.topics import Topics
from panda_streams.worlds import enter
from strategies.config import load_strategies
from strategies.interface import build as build_strategy
from tables import brain as brain_table
from tables import execution as execution_table
from tables import portfolio as portfolio_table
from tables import risk as risk_table
from tables import trader as trader_table

__all__ = ["app"]


def build_app(settings: Settings) -> PandaApp:
    """Build the application; raises PandaError that names what is wrong with the settings or files."""
    servers = find_servers(settings)
    role = Role.ARM if settings.broker_namespace else Role.BRAIN
    identity = identify_process(settings, servers, role)
    brokers = registered_brokers()
    calendar = calendar_of(identity.world, settings.calendar)
    trader, broker = _trader(settings, calendar) if role is Role.ARM else (None, None)
    if isinstance(trader, ConnectedTrader):
        trader.check(identity.world)
    instruments = load_instruments(settings.instruments)
    configs = {config.strategy_id: config for config in load_strategies(settings.strategies, instruments, brokers)}

    app = make_app(identity, settings, servers.kafka)
    topics, levels, options = Topics(servers.prefix), Levels(), client_options(settings, servers.kafka)
    mirror = Mirror(servers.redis, identity.scope)
    ordered = servers.clock is Clock.REPLAY
    limits = load_limits(settings.limits, configs.values(), instruments, brokers)
    own = limits[settings.broker_namespace] if settings.broker_namespace else LimitSet()
    context = Context(identity, topics, instruments, configs, own, levels, mirror, settings.partitions, ordered)
    loop = AgentLoop(
        app,
        Sender(options, settings.partitions),
        ReadBack(options),
        Lease(BROKER_SESSION_S, BROKER_REBALANCE_S),
        topics.of(identity.scope, "dlq"),
        lambda stray: _dead_letter(identity, stray),
    )
    app.agent_loop = loop

    shards = ShardMap(settings.partitions, instruments)
    agents: list[tuple[Agent, LogTable]]
    if role is Role.BRAIN:
        strategies = [build_strategy(config) for config in configs.values()]
        table = make_table(app, brain_table.NAME, "what the strategies know, a row a shard")
        agents = [(Brain(context, strategies, shards, list(brokers)), table)]
        facts = partial(brain_facts, context, loop)
        follow: tuple[str, ...] = (topics.control,)
    else:
        assert trader is not None
        assert broker is not None
        agents = _arm(app, context, loop, broker, trader, shards)
        caller = next((agent for agent, _ in agents if isinstance(agent, TraderAgent)), None)
        facts = partial(arm_facts, context, loop, agents[0][1], caller)
        follow = (topics.control, topics.of(context.namespace, "control"))
    for agent, table in agents:
        loop.add(agent, table)
        _declare(app, loop, agent)
    install(app, loop.topics, loop.starts, loop.assigned, loop.release)

    def rewrite() -> Iterable[None]:
        if role is Role.BRAIN:
            _mirror_strategies(context, brokers)
        for agent, table in agents:
            yield from agent.mirror(table.rows())

    follower = LevelFollower(options, follow, levels.apply)
    health = WorkerHealth(app, loop)
    guard = ClusterGuard(options)
    lookout = Lookout(open_alerter(settings, Origin.of(identity)), facts)
    app.early = (guard, follower, Reporter(app, identity, mirror, health, loop, levels, rewrite), lookout)
    add_pages(app, identity.name, [table for _, table in agents], health.look)
    _prepare_worker(settings, servers, identity, guard, [table for _, table in agents])
    return app


def _trader(settings: Settings, calendar: Calendar) -> tuple[SimulatedTrader | ConnectedTrader, Broker]:
    broker = find_broker(settings.broker_namespace or "")
    if broker.trader is None:
        raise SettingsError(
            f"the arm of {broker.title} cannot trade in this version",
            fix=f"leave it stopped: its signals are kept on {broker.namespace}.signals.raw and shown as waiting",
        )
    return broker.trader(settings, calendar), broker


def _arm(
    app: PandaApp,
    context: Context,
    loop: AgentLoop,
    broker: Broker,
    trader: SimulatedTrader | ConnectedTrader,
    shards: ShardMap,
) -> list[tuple[Agent, LogTable]]:
    risk = make_table(app, risk_table.NAME, "the account: what every limit depends on")
    execution = make_table(app, execution_table.NAME, "working orders, a row an instrument, and what a shard has said")
    portfolio = make_table(app, portfolio_table.NAME, "books, a row a strategy")
    agents: list[tuple[Agent, LogTable]] = [(RiskAgent(context, broker, trader, shards), risk)]
    if isinstance(trader, ConnectedTrader):
        calls = make_table(app, trader_table.NAME, "what the account has asked of its broker")
        agents += [
            (BrokerExecution(context, trader), execution),
            (TraderAgent(context, trader, shards, partial(hire, context, trader, loop)), calls),
        ]
    else:
        agents.append((PaperExecution(context, trader), execution))
    return [*agents, (PortfolioAgent(context, broker), portfolio)]


def _declare(app: PandaApp, loop: AgentLoop, agent: Agent) -> None:
    async def run(stream: Any) -> None:
        async for delivery in stream:
            loop.take(agent.name, delivery)

    run.__name__ = run.__qualname__ = agent.name  # what Faust shows in its log
    app.agent(ListTopic.of(app, [source.topic for source in agent.inputs]), name=agent.name)(run)


def _dead_letter(identity: Identity, stray: Stray) -> bytes:
    record = stray.record
    letter = DeadLetter(
        world=identity.world.name,
        topic=stray.topic,
        partition=stray.partition,
        offset=record.offset,
        reason=stray.reason,
        key=record.key.decode(errors="replace") if record.key is not None else None,
        payload=payload_text(record.value),
    )
    return encode(letter)


def _mirror_strategies(context: Context, brokers: dict[str, Broker]) -> None:
    strategies, simulated = [], context.identity.world.simulated
    for config in context.strategies.values():
        paused = context.levels.paused(config.strategy_id)
        strategies.append(
            {
                "strategy_id": config.strategy_id,
                "version": config.version,
                "brokers": config.brokers,
                "consents": {name: config.consents_to(name, simulated=simulated) for name in config.consents},
                "state": "paused" if paused else "active",
                "reason": paused.reason if paused else "",
                "paused_by": paused.who if paused else "",
            }
        )
    known = [
        {
            "namespace": broker.namespace,
            "title": broker.title,
            "currency": broker.currency,
            "live": broker.live,
            "trader": broker.trader is not None,
        }
        for broker in brokers.values()
    ]
    now = context.now_ms()
    view = {"strategies": strategies, "brokers": known, "at": now}
    context.mirror.put(Keys("brain").strategies, orjson.dumps(view), version=now)


def _prepare_worker(
    settings: Settings, servers: Servers, identity: Identity, guard: ClusterGuard, tables: list[LogTable]
) -> None:
    async def preflight() -> None:
        PandaWorker.held.enter_context(identity.lock())
        guard.expected = (await enter(settings, servers, identity)).kafka
        await create_topics(settings, servers.kafka, changelogs(tables))

    PandaWorker.preflight = staticmethod(preflight)


def _main() -> PandaApp:
    try:
        refuse_flags(sys.argv)
        check_versions()
        mend_recovery()
        # uvloop saves a fifth of the CPU: Faust takes the current loop, and its consumer's thread makes one of its own.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.set_event_loop(asyncio.new_event_loop())
        return build_app(load_settings())
    except PandaError as error:
        exit_with(error)


app = _main()
