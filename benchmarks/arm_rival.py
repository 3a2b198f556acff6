"""The arm by hand: the same steps, sends and rows on aiokafka and rocksdict, a second of event time after the other.

A second's signals are judged and its orders placed before its ticks are matched, and the next second waits until all
of that has come back: one process can count what is under way. Every row and every output is acknowledged, and
commits go on in the background. No outbox, no marks, no beats, no mirror: a kill loses or doubles what is in hand.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rocksdict import Options, Rdict, WriteBatch

from agents.context import Context
from agents.paper_execution import PaperExecution
from agents.portfolio import PortfolioAgent
from agents.risk import RiskAgent
from benchmarks.commits import Commits
from benchmarks.market import PARTITIONS
from benchmarks.meter import Meter
from panda_streams.brokers.port import find_broker, registered_brokers
from panda_streams.calendar_files import calendar_of
from panda_streams.domain.shards import ShardMap
from panda_streams.identity import Role
from panda_streams.instrument_files import load_instruments
from panda_streams.levels import Levels
from panda_streams.limit_files import load_limits
from panda_streams.mirror import Mirror
from panda_streams.servers import find_servers, identify_process
from panda_streams.settings import load_settings
from panda_streams.streams.agent import Agent, Output, Part, Rows
from panda_streams.streams.inputs import Inputs, Item
from panda_streams.streams.sender import partition_of
from panda_streams.topics import Topics
from strategies.config import load_strategies

__all__ = ["changelog"]


def changelog(agent: str) -> str:
    return f"aiokafka-{agent}-changelog"


def _agents() -> list[Agent]:
    settings = load_settings()
    servers = find_servers(settings)
    identity = identify_process(settings, servers, Role.ARM)
    instruments, brokers = load_instruments(settings.instruments), registered_brokers()
    configs = load_strategies(settings.strategies, instruments, brokers)
    context = Context(
        identity,
        Topics(servers.prefix),
        instruments,
        {config.strategy_id: config for config in configs},
        load_limits(settings.limits, configs, instruments, brokers)["paper"],
        Levels(),
        Mirror(servers.redis, identity.scope),
        PARTITIONS,
        ordered=True,
    )
    broker = find_broker("paper")
    assert broker.trader is not None
    trader = broker.trader(settings, calendar_of(identity.world, settings.calendar))
    return [
        RiskAgent(context, broker, trader, ShardMap(PARTITIONS, instruments)),
        PaperExecution(context, trader),
        PortfolioAgent(context, broker),
    ]


class Desk:
    """One agent on one partition, with its rows."""

    def __init__(self, agent: Agent, partition: int, directory: Path) -> None:
        self.agent = agent
        self.partition = partition
        self.changelog = f"{os.environ['PANDA_TOPIC_PREFIX']}{changelog(agent.name)}"
        self._store = Rdict(str(directory / f"{agent.name}-{partition}"), Options(raw_mode=True))
        rows = Rows(self._store.get, agent.load, agent.dump)
        self.part = Part(partition, rows, Inputs(agent.inputs, ordered=True))
        agent.open(self.part)
        self._written: dict[bytes, bytes] = {}

    def rows(self) -> dict[bytes, bytes]:
        """The changed rows, to be acknowledged before `store`."""
        self._written = self.part.rows.encoded()
        return self._written

    def store(self) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in self._written.items():
            batch.put(key, value)
        self._store.write(batch)
        self.part.rows.stored()

    def close(self) -> None:
        self._store.close()


class Hand(NamedTuple):
    """A decoded record on its way to a desk."""

    desk: Desk
    item: Item
    offset: int


class Seconds:
    """Holds signals and ticks back until their second is whole: its signals come first."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], list[Hand]] = {}
        self._watermarks: dict[tuple[str, str, int], int] = {}

    def hold(self, topic: str, hand: Hand) -> None:
        item = hand.item
        writer = (topic, item.writer, hand.desk.partition)
        if item.watermark is not None:
            self._watermarks[writer] = item.watermark
        else:
            self._watermarks.setdefault(writer, item.time - 1)
        if item.event is not None:
            ticks = hand.desk.agent.name == "execution"
            self._held.setdefault((-(-item.time // 1000), ticks), []).append(hand)

    @property
    def due(self) -> bool:
        writers = 2 * PARTITIONS  # the feed and the brain, shard by shard
        if not self._held or len(self._watermarks) < writers:
            return False
        return 1000 * min(self._held)[0] <= min(self._watermarks.values())

    def pop(self) -> list[Hand]:
        return self._held.pop(min(self._held)) if self.due else []


async def main() -> None:
    prefix, hosts = os.environ["PANDA_TOPIC_PREFIX"], os.environ["KAFKA_BROKER_URL"].removeprefix("kafka://")
    directory = Path(os.environ["PANDA_HOME"]) / "rival"
    directory.mkdir(parents=True)
    agents = _agents()
    inputs = {source.topic: (agent, source.decode) for agent in agents for source in agent.inputs}
    given = {f"{prefix}market.ticks", f"{prefix}paper.signals.raw"}
    desks = {(agent.name, n): Desk(agent, n, directory) for agent in agents for n in range(PARTITIONS)}
    producer = AIOKafkaProducer(bootstrap_servers=hosts, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        *inputs,
        bootstrap_servers=hosts,
        group_id=f"{prefix}arm-rival",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    commits = Commits(consumer)
    seconds, under_way, left = Seconds(), 0, int(os.environ["BENCH_RECORDS"])
    meter = Meter()
    meter.ready()
    while left or under_way or seconds.due:
        hands: list[Hand] = []
        ready = seconds.due and not under_way
        fetched = await consumer.getmany(timeout_ms=0 if ready else 1000)
        for place, records in fetched.items():
            agent, decode = inputs[place.topic]
            desk = desks[agent.name, place.partition]
            for record in records:
                hand = Hand(desk, decode(record.value), record.offset)
                if place.topic in given:
                    seconds.hold(place.topic, hand)
                    left -= 1
                else:
                    hands.append(hand)
                    under_way -= 1
        if not under_way and not hands:
            hands = seconds.pop()
        outputs: list[Output] = []
        for desk, item, offset in hands:
            outputs += desk.agent.step(desk.part, item, offset)
        under_way += sum(output.topic in inputs for output in outputs)
        await _carry_out(producer, {id(hand.desk): hand.desk for hand in hands}.values(), outputs)
        commits.done(fetched)
    meter.done()
    await commits.stop()
    await consumer.stop()
    await producer.stop()
    for desk in desks.values():
        desk.close()


async def _carry_out(producer: AIOKafkaProducer, desks: Collection[Desk], outputs: list[Output]) -> None:
    rows = [(desk, key, value) for desk in desks for key, value in desk.rows().items()]
    await asyncio.gather(*[await producer.send(desk.changelog, row, key, desk.partition) for desk, key, row in rows])
    for desk in desks:
        desk.store()
    sent = []
    for output in outputs:
        number = partition_of(output.key, PARTITIONS) if output.partition is None else output.partition
        sent.append(await producer.send(output.topic, output.value, output.key, number))
    await asyncio.gather(*sent)


if __name__ == "__main__":
    uvloop.run(main())
