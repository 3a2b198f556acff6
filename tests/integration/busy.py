"""An arm under load: the simulator, a brain that says something at every tick, and the records as they come."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result

from panda_streams.cli import panda
from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.polling import eventually

__all__ = ["QUICK", "SLOW", "WORKER", "Arm", "Log", "Place", "Trades", "add_strategies", "following", "new_tickets"]

T = TypeVar("T")
Place = Mapping[int, int]
"""Next offset of each partition of a topic."""

WORKER = ["faust", "-A", "faust_app", "worker"]

CODE = """
from decimal import Decimal

from panda_streams.domain.signals import Decision, Intent, OrderType, Side, Terms, Validity
from panda_streams.domain.values import Value
from strategies.interface import Strategy


class Busy(Strategy):
    '''Buys for some ticks and sells for as many; now and then with a limit order below the market, for a minute.'''

    class Params(Value):
        turn: int
        first: int = 0

    def initial(self):
        return self.params.first

    def step(self, state, tick):
        sells = self.params.turn and state // self.params.turn % 2
        side, intent, terms = (Side.SELL, Intent.EXIT, Terms()) if sells else (Side.BUY, Intent.ENTRY, Terms())
        if state % 20 == 0 and not sells:
            price = (Decimal(tick.price) / 100 * Decimal("0.98")).quantize(Decimal(1))
            terms = Terms(order_type=OrderType.LIMIT, price=price, validity=Validity.TTL, ttl_minutes=1)
        return state + 1, (Decision(instrument=tick.instrument, side=side, intent=intent, terms=terms),)

    def dump(self, state):
        return state

    def load(self, data):
        return data
"""
CONFIG = """
strategy_id: {name}
strategy: busy_strategy:Busy
trades: ["NSE:{share}"]
brokers: [paper]
params: {{turn: {turn}, first: {first}}}
accounts:
  paper: {{capital: "10000000", share_of_capital: "0.02", max_position: 5000}}
"""


@dataclass(frozen=True, slots=True)
class Trades:
    """A strategy of one share: it buys for `turn` ticks and sells for as many, from the `first` on; 0 only buys."""

    share: str
    turn: int
    first: int = 0


QUICK = [Trades(share, 2) for share in ("RELIANCE", "HDFCBANK", "INFY", "ICICIBANK", "TCS", "ITC")]
SLOW = [Trades(share, 120, first) for share, first in (("SBIN", 0), ("LT", 60), ("TITAN", 120), ("WIPRO", 180))]
"""Of these at least two hold a position at any moment, and sell it within two minutes of event time."""


def add_strategies(world: FreshWorld, directory: Path, strategies: Iterable[Trades]) -> None:
    """Give the world strategies, and make its topics."""
    code, configs = directory / "code", directory / "strategies"
    code.mkdir()
    configs.mkdir()
    (code / "busy_strategy.py").write_text(CODE)
    for trades in strategies:
        text = CONFIG.format(name=f"Busy_{trades.share}", **asdict(trades))
        (configs / f"{trades.share}.yaml").write_text(text)
    world.env.update(PANDA_STRATEGIES=str(configs), PYTHONPATH=str(code), PANDA_PAPER_LATENCY_MS="10")
    asyncio.run(prepare(world.settings, world.servers))


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a topic, beats apart."""

    partition: int
    offset: int
    event: dict[str, Any]

    @property
    def said(self) -> tuple[str, int]:
        """What was said: the same in a record that a crash made its producer say again."""
        return self.event["producer"], self.event["sequence"]


class Log:
    """Reads a world's topics with one plain client, which stays connected: to ask where a log ends takes a millisecond.

    Close it in the end: it has a thread.
    """

    def __init__(self, kafka: str, prefix: str, partitions: int) -> None:
        self._kafka, self._prefix, self._partitions = kafka, prefix, range(partitions)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._consumer: AIOKafkaConsumer = self._do(self._connect())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._kafka, enable_auto_commit=False, auto_offset_reset="none")
        await consumer.start()
        return consumer

    def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(f"{self._prefix}{topic}", number) for number in self._partitions]

    def end(self, topic: str) -> Place:
        """Where the next records of a topic will stand."""
        ends = self._do(self._consumer.end_offsets(self._places(topic)))
        return {place.partition: offset for place, offset in ends.items()}

    def read(self, topic: str, start: Place | None = None) -> list[Line]:
        """The records of a topic from a place, or from its beginning, to its end now."""
        return self._do(self._read(self._places(topic), start))

    async def _read(self, places: list[TopicPartition], start: Place | None) -> list[Line]:
        consumer = self._consumer
        consumer.assign(places)
        begin = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begin[place] if start is None else start[place.partition])
        lines: list[Line] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(*places, timeout_ms=200)).values():
                found = [Line(record.partition, record.offset, json.loads(record.value)) for record in records]
                lines += [line for line in found if line.event["kind"] != "beat"]
        return lines

    def close(self) -> None:
        self._do(self._consumer.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def following(world: FreshWorld) -> Iterator[Log]:
    log = Log(world.servers.kafka, world.servers.prefix, world.settings.partitions)
    try:
        yield log
    finally:
        log.close()


class Arm:
    """The paper arm of a world as its operator has it: commands, what its log says, and what its books hold."""

    def __init__(self, world: FreshWorld, spawn: Callable[..., Spawned], log: Log) -> None:
        self.world, self.log, self._spawn = world, log, spawn
        self.workers: dict[int, Spawned] = {}

    # Processes and commands

    def start(self, instance: int = 0) -> None:
        env = {**self.world.env, "BROKER_NAMESPACE": "paper", "PANDA_INSTANCE": str(instance)}
        self.workers[instance] = self._spawn(WORKER, env=env)

    def kill(self, instance: int = 0) -> None:
        """SIGKILL: it acknowledges, commits and says nothing any more."""
        self.workers.pop(instance).kill()

    def spawn(self, *command: str) -> Spawned:
        return self._spawn(list(command), env=self.world.env)

    def ask(self, *command: str) -> Result:
        """Run a `panda` command in this process, so that no time passes between its return and the next look."""
        return CliRunner().invoke(panda, list(command), env=self.world.env)

    def done(self, *command: str) -> str:
        """Run a `panda` command that is to succeed; what it printed."""
        result = self.ask(*command)
        assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
        return result.output

    def resume(self) -> None:
        """Take back whatever holds the arm, and wait for orders."""
        start = self.log.end("paper.signals.validated")
        self.ask("resume", "all")  # refused if the arm is halted by itself too
        self.done("resume", "paper")
        eventually(lambda: self.tickets(start), timeout_s=30, what="orders are allowed again")

    # What it has said

    def tickets(self, start: Place | None = None) -> list[dict[str, Any]]:
        """Orders that risk has allowed."""
        lines = self.log.read("paper.signals.validated", start)
        return [ticket for line in lines for ticket in line.event.get("tickets", ())]

    def refusals(self, start: Place | None = None) -> list[dict[str, Any]]:
        return [line.event for line in self.log.read("paper.signals.rejected", start)]

    def judged(self) -> int:
        """How many signals have a verdict."""
        verdicts = self.log.read("paper.signals.validated") + self.log.read("paper.signals.rejected")
        return len({line.said for line in verdicts if "signal" in line.event})

    def await_refusals(self, start: Place, code: str, many: int = 20) -> list[dict[str, Any]]:
        """Wait until some signals after a place were refused under a code: that many show that signals keep coming."""

        def refused() -> list[dict[str, Any]]:
            found = [event for event in self.refusals(start) if code in event["codes"]]
            return found if len(found) >= many else []

        return eventually(refused, timeout_s=40, what=f"{many} signals are refused under {code}")

    def audit(self, kind: str) -> list[dict[str, Any]]:
        """What the audit topic holds of a kind; a record that was said twice counts once."""
        lines = [line for line in self.log.read("paper.audit") if line.event["kind"] == kind]
        return list({line.said if kind != "action" else line.offset: line.event for line in lines}.values())

    def positions(self) -> dict[tuple[str, str], int]:
        """What the fills come to, by strategy and instrument; what is flat is absent."""
        fills = {
            line.event["fill"]["fill_id"]: line.event["fill"]
            for line in self.log.read("paper.orders.filled")
            if line.event["kind"] == "fill"
        }
        held: dict[tuple[str, str], int] = defaultdict(int)
        for fill in fills.values():
            quantity = fill["quantity"] if fill["side"] == "BUY" else -fill["quantity"]
            held[fill["strategy_id"], fill["instrument"]] += quantity
        return {name: quantity for name, quantity in held.items() if quantity}

    def working(self) -> dict[str, str]:
        """Orders that have not ended, by id, with their last state."""
        ended = ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "ABSENT")
        updates = {line.said: line.event for line in self.log.read("paper.orders.updates") if "order_id" in line.event}
        states = {event["order_id"]: event["state"] for _, event in sorted(updates.items())}
        return {name: state for name, state in states.items() if state not in ended}

    def _mirrored(self, key: str) -> dict[str, Any] | None:
        with redis.Redis.from_url(self.world.env["REDIS_URL"], decode_responses=True) as client:
            text = client.get(f"paper:{key}")
        return json.loads(text) if text else None

    def reported(self, instance: int = 0) -> str | None:
        """The mode that a running worker reports; None before its first word."""
        health = self._mirrored(f"health:{instance}")
        return health["mode"] if health and health["pid"] == self.workers[instance].pid else None

    def account(self) -> dict[str, Any]:
        """What the screen shows of the account."""
        return self._mirrored("risk") or {}


def new_tickets(before: list[Line], after: list[Line]) -> list[dict[str, Any]]:
    """Orders that `after` allows and `before` does not: a verdict that a restart says again is not new."""
    known = {line.said for line in before}
    return [ticket for line in after if line.said not in known for ticket in line.event.get("tickets", ())]
