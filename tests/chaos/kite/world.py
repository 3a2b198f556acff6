"""A world of one run: feed, brain, kitesim and the Zerodha arm, which die and freeze as planned; in the end all that
they left is read and judged."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import requests

from panda_streams.identity import Role
from panda_streams.keys import Keys
from panda_streams.servers import find_servers, identify_process
from panda_streams.worlds import prepare
from tests.chaos.compare import Entry, Finding, Kind, check_account, check_books, check_log
from tests.chaos.kills import Kill, Moment
from tests.chaos.kite.faults import AMBIGUOUS, SETTINGS, scenario
from tests.chaos.kite.ledger import (
    BrokerLedger,
    asked_orders,
    check_closing,
    check_ledger,
    check_positions,
    once_unknown,
)
from tests.chaos.kite.market import SHARES
from tests.chaos.mirrored import read_books
from tests.chaos.progress import behind, delete_topics
from tests.chaos.victims import GaveUp, Victim
from tests.integration.conftest import clean_environment, given_settings
from tests.integration.reading import read_topic
from tests.servers import RunningServers

__all__ = ["ARM", "KiteWorld", "Outcome", "Scene"]

_ROOT = Path(__file__).parents[3]
_NAME = "replay:kite-chaos"
ARM = "zerodha"
_WORKER = ["faust", "-A", "tests.chaos.app", "worker"]
_LOG = ("signals.raw", "signals.validated", "signals.rejected", "orders.updates", "orders.filled", "audit")
_INPUTS = {
    "brain": ("market.ticks",),
    ARM: (
        "market.ticks",
        *(
            f"{ARM}.{name}"
            for name in (
                "signals.raw",
                "orders.updates",
                "signals.validated",
                "broker.commands",
                "broker.reports",
                "orders.filled",
                "marks",
                "audit",
            )
        ),
    ),
}
"""By group."""
_PARTITIONS = 4
_LOOK_S = 0.02
_ASK_S = 0.4
_STALLED_S = 45.0
"""No arm that is well does nothing for so long while it has input: each unknown order is looked for in seconds."""
_MIRRORED_WITHIN_S = 10.0
_STRATEGIES = {
    "restless.yaml": """
strategy_id: Restless_1
strategy: tests.chaos.kite.restless:Restless
paper: false
brokers: [zerodha]
zerodha_trading_enabled: simulated
trades: [{names}]
params: {{every_s: {every_s}}}
accounts:
  zerodha: {{capital: "20000000", share_of_capital: "0.01", max_position: 100000, shorts: true,
    market_protection: "-1", protection: {{stop_loss: "0.0015"}}}}
""",
    "restless_too.yaml": """
strategy_id: Restless_2
strategy: tests.chaos.kite.restless:Restless
paper: false
brokers: [zerodha]
zerodha_trading_enabled: simulated
trades: [{some}]
params: {{every_s: {every_s}, away_bps: 3, bracket_bps: 5}}
accounts:
  zerodha: {{capital: "20000000", share_of_capital: "0.01", max_position: 100000, shorts: true,
    market_protection: "-1"}}
""",
}
"""Two strategies, one of them in a part of the other's shares: an account whose books are the sum of two."""
_databases = itertools.cycle(range(200, 400))


@dataclass(frozen=True, slots=True)
class Scene:
    """What a world is made of, beside its processes."""

    recording: Path
    calendar: Path
    seed: int
    """Of the faults."""
    speed: str
    wall: bool = False
    """True for a world on the wall's clock: the arm listens to the broker's websocket there."""
    every_s: float = 4
    """Event seconds between two rounds of a strategy in one share."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, and what is wrong with it."""

    orders: int
    unsure: int
    """Orders of which the arm did not know at some time whether the broker had them."""
    left_unknown: int
    fired: Counter[str]
    """Faults by kind."""
    trades: int
    died: tuple[str, ...]
    unreached: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def ambiguous(self) -> int:
        return sum(self.fired[kind] for kind in AMBIGUOUS)


class KiteWorld:
    """The processes of one run, on servers that other runs share. `ports` is a free PANDA_PORT_BASE."""

    def __init__(self, directory: Path, servers: RunningServers, ports: int, scene: Scene) -> None:
        directory.mkdir(parents=True)
        self._scene = scene
        self._prefix = f"{directory.name}."
        self._redis = servers.redis(next(_databases))
        self._broker = f"http://127.0.0.1:{ports + 4}"
        self._faults_file = directory / "faults.yaml"
        self._fired: Counter[str] = Counter()
        self._fired_before: Counter[str] = Counter()
        self._lives = 0
        strategies = directory / "strategies"
        strategies.mkdir()
        names = [f"NSE:{symbol}" for symbol in SHARES]
        for name, text in _STRATEGIES.items():
            filled = text.format(names=", ".join(names), some=", ".join(names[::3]), every_s=scene.every_s)
            (strategies / name).write_text(filled)
        env = {
            **clean_environment(),
            "PYTHONPATH": str(_ROOT),
            "PANDA_HOME": str(directory),
            "PANDA_WORLD": _NAME,
            "PANDA_PORT_BASE": str(ports),
            "PANDA_TOPIC_PREFIX": self._prefix,
            "PANDA_STRATEGIES": str(strategies),
            "PANDA_CALENDAR": str(scene.calendar),
            "PANDA_KITESIM_FAULTS": str(self._faults_file),
            "PANDA_KITESIM_CASH": "100000000",
            "PANDA_KITE_PROFILE": "simulator",
            "KAFKA_BROKER_URL": f"kafka://{servers.kafka}",
            "REDIS_URL": self._redis,
            **SETTINGS,
            **({"PANDA_CLOCK": "wall"} if scene.wall else {}),
        }
        self._settings = given_settings(env)
        self._servers = find_servers(self._settings)
        self._directory = directory
        self._env = env
        self._feed = Victim(
            "feed",
            ["panda", "feed", "replay", str(scene.recording), "--speed", scene.speed],
            env,
            directory / "feed.log",
            None,
        )
        self._kitesim = Victim("kitesim", ["panda", "kitesim"], env, directory / "kitesim.log", None)
        self.arm = self._worker("arm", {**env, "BROKER_NAMESPACE": ARM}, Role.ARM)
        self._victims = [
            self._kitesim,
            self._feed,
            self.arm,
            Victim("brain", _WORKER, env, directory / "brain.log", None),
        ]

    def second_arm(self) -> Victim:
        """Start another worker of the arm."""
        env = {**self._env, "BROKER_NAMESPACE": ARM, "PANDA_INSTANCE": "1"}
        self._victims.append(self._worker("arm", env, Role.ARM, name="second"))
        self._victims[-1].start()
        return self._victims[-1]

    def _worker(self, process: str, env: Mapping[str, str], role: Role, name: str = "") -> Victim:
        files = identify_process(given_settings(env), self._servers, role).data_dir
        log = self._directory / f"{name or process}.log"
        return Victim(process, _WORKER, env, log, files)

    def prepare(self) -> None:
        """Make the topics, and start all but the feed."""
        with redis.Redis.from_url(self._redis) as client:
            client.flushdb()
        asyncio.run(prepare(self._settings, self._servers))
        self._write_scenario()
        for victim in self._victims:
            if victim is not self._feed:
                victim.start()

    def run(self, kills: Iterable[Kill]) -> Outcome:
        """Start everything, kill as planned, wait for the end of all work, and judge."""
        begun = time.monotonic()
        by_name = {victim.name: victim for victim in self._victims}
        for kill in kills:
            by_name[kill.process].plan([kill])
        try:
            self.prepare()
            self.start_feed()
            return self.finish(begun)
        finally:
            self.stop()

    def start_feed(self) -> None:
        self._feed.start()

    def finish(self, begun: float, wrong: Iterable[Finding] = ()) -> Outcome:
        """Wait for the end of all work, and judge; `wrong` is what was found before."""
        return self._judge([*wrong, *self._work()], begun)

    def stop(self) -> None:
        for victim in self._victims:
            victim.stop()

    def delete(self) -> None:
        asyncio.run(delete_topics(self._servers.kafka, self._prefix))

    def look(self) -> None:
        """Kill, bury, thaw and start again what is due."""
        for victim in self._victims:
            died = len(victim.died)
            if victim is self._kitesim and not victim.alive:
                self._lives += 1
                self._write_scenario()
            victim.look()
            if victim is self._kitesim and len(victim.died) > died:
                self._fired_before += self._fired
                self._fired = Counter()
        if self._feed.finished and self._feed.planned:
            # It has nothing left to be killed at: the arm dies in its place.
            self.arm.plan(Kill("arm", kill.at) for kill in self._feed.planned)
            self._feed.planned.clear()
        time.sleep(_LOOK_S)

    def ready(self, instance: int = 0) -> bool:
        """Whether a worker of the arm says that it works."""
        health = self._mirrored(Keys(ARM).health(instance))
        return bool(health and health["ready"] and time.time() * 1000 - health["at"] < 5000)

    def kill_kitesim(self) -> None:
        self._kitesim.plan([Kill("kitesim", Moment(0))])

    def set_fault(self, kind: str, *, count: int, seconds: float) -> bool:
        """Have the next orders meet a fault, in place of what the scenario says of its kind; False without kitesim."""
        fault = {"kind": kind, "count": count, "seconds": seconds, "calls": ["place"]}
        try:
            return requests.post(f"{self._broker}/sim/faults", json=fault, timeout=5).ok
        except requests.ConnectionError:
            return False

    def fired(self) -> Counter[str]:
        """The faults so far, by kind."""
        self._note_faults()
        return self._fired_before + self._fired

    def _work(self) -> list[Finding]:
        try:
            return list(self._await_end())
        except GaveUp as error:
            return [Finding(Kind.ENDED, str(error))]

    def _await_end(self) -> Iterator[Finding]:
        inputs = {
            f"{self._prefix}panda-{group}": [f"{self._prefix}{topic}" for topic in topics]
            for group, topics in _INPUTS.items()
        }
        left: dict[str, Any] = {"the feed": 1}
        seen: dict[str, Any] = {}
        asked, deadline = 0.0, time.monotonic() + _STALLED_S
        while left or not self._at_peace:
            self.look()
            now = time.monotonic()
            if now > deadline:
                yield Finding(Kind.ENDED, f"not at its end: nothing goes on. Not committed, or at the broker: {seen}")
                return
            if now - asked < _ASK_S:
                continue
            asked = now
            self._note_faults()
            left = asyncio.run(behind(self._servers.kafka, inputs, _PARTITIONS))
            trader = self._mirrored(Keys(ARM).trader) or {}
            left |= {f"calls {state}": count for state, count in trader.get("calls", {}).items() if count}
            if not self._feed.finished:
                left["the feed"] = 1
            reached = {**left, "clock": trader.get("clock")}
            if reached != seen or not self._at_peace:
                seen, deadline = reached, now + _STALLED_S

    @property
    def _at_peace(self) -> bool:
        return all(victim.at_peace for victim in self._victims)

    def _mirrored(self, key: str) -> dict[str, Any] | None:
        with redis.Redis.from_url(self._redis, decode_responses=True) as client:
            text = client.get(key)
        return json.loads(text) if text else None

    # The broker

    def _write_scenario(self) -> None:
        """For the next life of kitesim: it comes back with other faults, or each life would begin with the same."""
        seed = 1000 * self._scene.seed + self._lives
        self._faults_file.write_text(scenario(seed, websocket=self._scene.wall, each=self._lives == 0))

    def _note_faults(self) -> None:
        """Take down which faults have fired: a kitesim that dies forgets them."""
        try:
            self._fired = Counter(requests.get(f"{self._broker}/sim/faults", timeout=2).json()["fired"])
        except requests.RequestException:
            return  # it has died, or is on its way up

    def _ledger(self) -> BrokerLedger:
        found = requests.get(f"{self._broker}/sim/ledger", timeout=60).json()
        return BrokerLedger(found["orders"], found["trades"])

    # The end

    def _judge(self, found: list[Finding], begun: float) -> Outcome:
        log = tuple(self._entries(_LOG))
        commands = tuple(self._entries(("broker.commands",)))
        self._note_faults()
        asked, ledger = asked_orders(commands), self._ledger()
        states = {entry.event["order_id"]: entry.event["state"] for entry in log if "state" in entry.event}
        whole = [*log, *commands, *self._entries(("broker.reports",))]
        found += [*check_log(whole), *check_ledger(log, asked, ledger), *check_closing(log)]
        found += [*self._check_books(log, ledger), *self._aside()]
        if found:
            self._keep(whole, ledger)
        return Outcome(
            orders=len(asked),
            unsure=len(once_unknown(log)),
            left_unknown=sum(state == "UNKNOWN" for state in states.values()),
            fired=self._fired_before + self._fired,
            trades=len(ledger.trades),
            died=tuple(name for victim in self._victims for name in victim.died),
            unreached=sum(victim.unreached for victim in self._victims),
            findings=(*found, *(finding for victim in self._victims for finding in victim.findings)),
            seconds=time.monotonic() - begun,
        )

    def _keep(self, log: Iterable[Entry], ledger: BrokerLedger) -> None:
        """Leave the evidence beside the logs of the processes."""
        lines = (json.dumps({"place": entry.place, "topic": entry.topic, **entry.event}) + "\n" for entry in log)
        (self._directory / "log.jsonl").write_text("".join(lines))
        (self._directory / "ledger.json").write_text(json.dumps({"orders": ledger.orders, "trades": ledger.trades}))

    def _entries(self, topics: Sequence[str]) -> Iterator[Entry]:
        for topic in topics:
            for line in read_topic(self._servers.kafka, f"{self._prefix}{ARM}.{topic}"):
                entry = Entry.of(topic, line.partition, line.offset, line.value)
                if entry is not None:
                    yield entry

    def _check_books(self, log: Sequence[Entry], ledger: BrokerLedger) -> list[Finding]:
        """What is wrong with the arm's books once the mirror has had time to follow."""
        deadline = time.monotonic() + _MIRRORED_WITHIN_S
        while True:
            books, account = read_books(self._redis, ARM)
            wrong = [
                *check_books(log, books, capped=False),
                *check_account(log, account, books),
                *check_positions(books, ledger),
            ]
            if not wrong or time.monotonic() > deadline:
                return wrong
            time.sleep(_ASK_S)

    def _aside(self) -> Iterator[Finding]:
        """What was put aside: dead letters, and what no book of the arm explains."""
        for scope in ("brain", ARM):
            for line in read_topic(self._servers.kafka, f"{self._prefix}{scope}.dlq"):
                yield Finding(Kind.DEAD_LETTER, f"{scope}.dlq: {line.value.decode(errors='replace')}")
        trader = self._mirrored(Keys(ARM).trader) or {}
        for name in ("unknown", "quarantine", "unlisted"):
            for one in trader.get(name, ()):
                yield Finding(Kind.LOST, f"{name}: {one}")
        for line in read_topic(self._servers.kafka, f"{self._prefix}{ARM}.broker.reports"):
            event = json.loads(line.value)
            if "stranger" in event:
                yield Finding(Kind.DIFFERENT, f"taken for somebody else's: {event['stranger']}")
