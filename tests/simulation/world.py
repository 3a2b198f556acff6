"""A feed, a brain and arms on logs in memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from agents.context import Context
from agents.paper_execution import PaperExecution
from agents.portfolio import PortfolioAgent
from agents.risk import RiskAgent
from agents.strategy import Brain
from panda_streams.brokers.paper import PaperTrader
from panda_streams.brokers.port import Broker
from panda_streams.codec import encode_batch, encode_beat
from panda_streams.domain.protection import Protection
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.events import Beat, TickBatch
from panda_streams.feeds.batching import Batcher, Record, Standing, Step
from panda_streams.identity import Home, Identity, Ports, Role
from panda_streams.identity import World as Name
from panda_streams.levels import Levels
from panda_streams.limit_files import strategy_limits
from panda_streams.streams.agent import Agent, Output, Stray
from panda_streams.streams.inputs import Received
from panda_streams.streams.sender import partition_of
from panda_streams.streams.task import CURSOR, OUTBOX
from panda_streams.topics import Topics
from tests.chaos.compare import COMPARED, ArmAccount, ArmBook, Entry
from tests.simulation.logs import GARBAGE, Logs
from tests.simulation.market import CALENDAR, INSTRUMENTS, PARTITIONS, SHARDS, Market
from tests.simulation.runner import AT_EASE, Broken, Runner

__all__ = ["Arm", "Feed", "World"]

_WORLD = Name("replay:simulation")
_TOPICS = Topics("")
_DLQ = "dlq"
_ROUNDS = 2000
"""Rounds of everyone's turns after which a world that still moves is taken for one that runs in circles."""


class Feed:
    """Publishes a market, run after run, and goes on where the log stands after a kill."""

    def __init__(self, market: Market, logs: Logs) -> None:
        self._market = market
        self._logs = logs
        self._run = 0
        self._last: dict[int, TickBatch | Beat] = {}
        """Of the run, by shard."""
        self.reached = 0
        """Event time of the last beat's reach."""
        self._steps = self._start()

    def _start(self) -> Iterator[Step]:
        standing = {shard: Standing.of(record) for shard, record in self._last.items()}
        batcher = Batcher(_WORLD.name, "recording", str(self._run), SHARDS, standing)
        return batcher.steps(self._market.runs[self._run])

    def take_turn(self, seconds: int, *, killed: random.Random | None = None) -> bool:
        """Publish some seconds, the last of them in part if it is `killed` there; False if all was published."""
        for n in range(seconds):
            step = self._next()
            if step is None:
                return n > 0
            dies = killed is not None and n == seconds - 1
            for record in _some(step.records, killed) if dies and killed is not None else step.records:
                self._publish(record)
            if dies:
                self._steps = self._start()
        return True

    def _next(self) -> Step | None:
        while (step := next(self._steps, None)) is None:
            if self._run + 1 >= len(self._market.runs):
                return None
            self._run += 1
            self._last = {}
            self._steps = self._start()
        return step

    def _publish(self, record: Record) -> None:
        shard, value, depth = record
        data = encode_batch(value, depth) if isinstance(value, TickBatch) else encode_beat(value)
        key = str(shard).encode()
        place = self._run, shard, value.sequence
        copies = 2 if self._market.rolls("retried", *place) < self._market.scenario.retried else 1
        self._logs.put(_TOPICS.ticks, shard, [(key, data)] * copies)
        if self._market.rolls("garbage", *place) < self._market.scenario.garbage:
            self._logs.put_garbage(_TOPICS.ticks, shard)
        self._last[shard] = value
        if isinstance(value, Beat):
            self.reached = max(self.reached, value.reached)


def _some(records: list[Record], chance: random.Random) -> list[Record]:
    """What a feed gets out that dies meanwhile: of each shard's records the first ones."""
    left = {shard: chance.randrange(3) for shard in range(PARTITIONS)}
    sent = []
    for record in records:
        if left[record.shard]:
            left[record.shard] -= 1
            sent.append(record)
    return sent


class Arm:
    """The agents of one account."""

    def __init__(
        self,
        namespace: str,
        trader: PaperTrader,
        protections: dict[str, Protection],
        risk: Runner,
        execution: list[Runner],
        portfolio: list[Runner],
    ) -> None:
        self.namespace = namespace
        self.trader = trader
        self.protections = protections
        self.risk = risk
        self.execution = execution
        self.portfolio = portfolio

    @property
    def runners(self) -> list[Runner]:
        return [self.risk, *self.execution, *self.portfolio]

    @property
    def rows(self) -> dict[str, Any]:
        """What its agents have stored, but for the progress of the loop and for prices."""
        rows = {}
        for runner in (self.risk, *self.execution):
            for key, value in runner.store.rows().items():
                if key not in (CURSOR, OUTBOX):
                    rows[f"{runner.agent.name} {key.decode()}"] = orjson.loads(value)
        return rows

    @property
    def account(self) -> ArmAccount | None:
        value = self.risk.store.rows().get(self.namespace.encode())
        if value is None:
            return None
        row = orjson.loads(value)
        cash = sum((Decimal(book["cash"]) for book in row["account"]["books"].values()), Decimal(0))
        return ArmAccount(row["signals"], row["validated"], row["rejected"], cash)

    @property
    def prices(self) -> dict[str, tuple[str | None, int]]:
        """Last price of each open position, and of which time, by strategy and instrument."""
        return {
            f"{key.decode()} {place['instrument']}": (place["last_price"], place["priced_at"])
            for runner in self.portfolio
            for key, value in runner.store.rows().items()
            if key not in (CURSOR, OUTBOX)
            for place in orjson.loads(value)["portfolio"]["positions"].values()
            if place["quantity"]
        }

    @property
    def books(self) -> dict[str, ArmBook]:
        books = {}
        for runner in self.portfolio:
            for key, value in runner.store.rows().items():
                if key in (CURSOR, OUTBOX):
                    continue
                book = orjson.loads(value)["portfolio"]
                places = book["positions"].values()
                books[key.decode()] = ArmBook(
                    Decimal(book["capital"]),
                    Decimal(book["cash"]),
                    Decimal(book["charges"]),
                    sum((Decimal(place["realised"]) for place in places), Decimal(0)),
                    book["fills"],
                    book["bookings"],
                    {place["instrument"]: place["quantity"] for place in places if place["quantity"]},
                )
        return books


class World:
    """All processes of a deployment, one turn at a time."""

    def __init__(self, market: Market, chance: random.Random) -> None:
        self.market = market
        self.logs = Logs(chance)
        self.feed = Feed(market, self.logs)
        scenario = market.scenario
        brain = Brain(_context(market, None), market.strategies, SHARDS, scenario.arms)
        self.brain = [self._runner(brain, shard, chance) for shard in range(PARTITIONS)]
        self.arms = [self._arm(namespace, chance) for namespace in scenario.arms]

    def _arm(self, namespace: str, chance: random.Random) -> Arm:
        context = _context(self.market, namespace)
        trader = PaperTrader(CALENDAR, self.market.scenario.market)
        broker = Broker(namespace, namespace, "INR", live=False, trader=None)
        books = {partition_of(s.config.strategy_id.encode(), PARTITIONS) for s in self.market.strategies}
        portfolio, execution = PortfolioAgent(context, broker), PaperExecution(context, trader)
        home, risk = partition_of(namespace.encode(), PARTITIONS), RiskAgent(context, broker, trader, SHARDS)
        return Arm(
            namespace,
            trader,
            {
                strategy_id: config.accounts[namespace].protection
                for strategy_id, config in context.strategies.items()
                if namespace in config.accounts
            },
            self._runner(risk, home, chance),
            [self._runner(execution, shard, chance) for shard in range(PARTITIONS)],
            [self._runner(portfolio, partition, chance) for partition in sorted(books)],
        )

    def _runner(self, agent: Agent, partition: int, chance: random.Random) -> Runner:
        # What is decoded is frozen, so that one decoding serves all readers of a record.
        agent.inputs = tuple(replace(source, decode=_once(source.decode)) for source in agent.inputs)
        # The mirror is no part of this, and building its views costs as much as a step.
        agent.stored = _mirror_nothing  # type: ignore[method-assign]
        return Runner(agent, partition, self.logs, _dead_letter, chance)

    @property
    def runners(self) -> list[Runner]:
        return [*self.brain, *(runner for arm in self.arms for runner in arm.runners)]

    def settle(self) -> None:
        """Go on undisturbed until nothing moves; raises Broken for a world that runs in circles."""
        self.logs.calm()
        for runner in self.runners:
            runner.life = None
        for _ in range(_ROUNDS):
            moved = self.feed.take_turn(10**6)
            for runner in self.runners:
                moved |= runner.take_turn(AT_EASE)
            if not moved:
                return
        raise Broken(f"everyone has had {_ROUNDS} turns, and something still moves")

    @property
    def left(self) -> list[str]:
        """What was not done, in words, once nothing moves: a dead-lock."""
        return self._unsaid() + [line for runner in self.runners for line in runner.lacks()]

    @property
    def done(self) -> bool:
        return not self.left

    def _unsaid(self) -> list[str]:
        """Who has not said that the end was reached; only a beat shows it, where nothing else follows."""
        end = self.feed.reached
        return [
            f"{runner.name} has said {said}, and the feed has reached {end}"
            for runner in (*self.brain, *(r for arm in self.arms for r in (arm.risk, *arm.execution)))
            if (said := runner.task.said if runner.task else None) != end
        ]

    def log(self, arm: Arm) -> list[Entry]:
        """All that the arm's topics hold, beats and prices apart."""
        entries = []
        for name in (*COMPARED, "portfolio.snapshots"):
            for partition in range(PARTITIONS):
                topic = _TOPICS.of(arm.namespace, name)
                for record in self.logs.read(topic, partition, 0, self.logs.end(topic, partition)):
                    if record.value is None or record.value == GARBAGE:
                        continue
                    entry = Entry.of(name, partition, record.offset, record.value)
                    if entry is not None:
                        entries.append(entry)
        return entries

    def ticks(self, shard: int) -> list[Received]:
        """The records of market.ticks that a feed wrote."""
        records = self.logs.read(_TOPICS.ticks, shard, 0, self.logs.end(_TOPICS.ticks, shard))
        return [record for record in records if record.value != GARBAGE]

    def wrong_letters(self) -> Iterator[str]:
        """What was dead-lettered and is no garbage, or is garbage and was not."""
        letters: dict[tuple[str, int, int], str] = {}
        for partition in range(PARTITIONS):
            for record in self.logs.read(_DLQ, partition, 0, self.logs.end(_DLQ, partition)):
                topic, number, offset, reason = orjson.loads(record.value or b"")
                letters[topic, number, offset] = reason
        yield from (f"{place}: {reason}" for place, reason in letters.items() if place not in self.logs.garbage)
        yield from (f"{place} is garbage, and nobody said so" for place in self.logs.garbage - letters.keys())


@lru_cache
def _once(decode: Any) -> Any:
    return decode if hasattr(decode, "cache_info") else lru_cache(maxsize=20_000)(decode)


def _mirror_nothing(part: Any, rows: Any) -> None:
    return None


def _dead_letter(stray: Stray) -> Output:
    return Output(_DLQ, b"", orjson.dumps([stray.topic, stray.partition, stray.record.offset, stray.reason]))


def _context(market: Market, namespace: str | None) -> Context:
    role = Role.ARM if namespace else Role.BRAIN
    identity = Identity(role, namespace, 0, _WORLD, Home(Path("unused")), Ports(20_000), "")
    strategies = {strategy.config.strategy_id: strategy.config for strategy in market.strategies}
    limits = LimitSet.model_validate(market.scenario.limits)
    if namespace is not None:
        limits = limits.tightened(strategy_limits(strategies.values(), namespace))
    mirror: Any = None
    ordered = market.scenario.ordered
    return Context(identity, _TOPICS, INSTRUMENTS, strategies, limits, Levels(), mirror, PARTITIONS, ordered)
