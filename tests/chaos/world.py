"""A world of one run: its processes die as planned and start again; at its end its log and its books are read."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from panda_streams.identity import Role
from panda_streams.keys import Keys
from panda_streams.servers import find_servers, identify_process
from panda_streams.worlds import prepare
from tests.chaos.compare import (
    COMPARED,
    ArmBook,
    Entry,
    Finding,
    Kind,
    check_account,
    check_books,
    check_log,
)
from tests.chaos.kills import Kill
from tests.chaos.mirrored import read_books
from tests.chaos.progress import behind, delete_topics
from tests.chaos.victims import GaveUp, Victim
from tests.integration.conftest import clean_environment, given_settings
from tests.integration.reading import read_topic
from tests.servers import RunningServers

__all__ = ["ChaosWorld", "Outcome"]

_ROOT = Path(__file__).parents[2]
_HERE = Path(__file__).parent
_NAME = "replay:chaos"
"""The same for all runs, since each record carries it; what keeps the runs apart is topic prefix, Redis and home."""
_INPUTS = {
    "brain": ("market.ticks",),
    "paper": (
        "market.ticks",
        "paper.signals.raw",
        "paper.orders.updates",
        "paper.signals.validated",
        "paper.orders.filled",
        "paper.marks",
        "paper.audit",
    ),
}
"""By group."""
_LOOK_S = 0.02
_ASK_S = 0.4
_FEED_WITHIN_S = 120.0
"""From the last kill to the end of the feed."""
_STALLED_S = 30.0
"""No worker that is well commits nothing for so long while it has input."""
_MIRRORED_WITHIN_S = 10.0
_databases = itertools.cycle(range(1, 200))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves, and what is wrong with it by itself."""

    log: tuple[Entry, ...]
    books: dict[str, ArmBook]
    findings: tuple[Finding, ...]
    died: tuple[str, ...]
    """Names of the kills, as they happened."""
    unreached: int
    wiped: int
    seconds: float


class ChaosWorld:
    """Feed, brain and paper arm of one run, on servers that other runs share."""

    def __init__(self, directory: Path, servers: RunningServers, recording: Path, speed: str) -> None:
        directory.mkdir(parents=True)
        self._prefix = f"{directory.name}."
        self._partitions = 4
        self._redis = servers.redis(next(_databases))
        env = {
            **clean_environment(),
            "PYTHONPATH": str(_ROOT),
            "PANDA_HOME": str(directory),
            "PANDA_WORLD": _NAME,
            "PANDA_PORT_BASE": str(servers.ports.base),
            "PANDA_TOPIC_PREFIX": self._prefix,
            "PANDA_STRATEGIES": str(_HERE / "strategies"),
            "PANDA_CALENDAR": str(_HERE / "calendar.yaml"),
            "PANDA_LIMITS": str(_HERE / "limits.yaml"),
            "KAFKA_BROKER_URL": f"kafka://{servers.kafka}",
            "REDIS_URL": self._redis,
        }
        arm_env = {**env, "BROKER_NAMESPACE": "paper"}
        self._settings = given_settings(env)
        self._servers = find_servers(self._settings)
        files = {
            role: identify_process(given_settings(some), self._servers, role).data_dir
            for role, some in ((Role.BRAIN, env), (Role.ARM, arm_env))
        }
        worker = ["faust", "-A", "tests.chaos.app", "worker"]
        feed = ["panda", "feed", "replay", str(recording), "--speed", speed]
        self._victims = {
            "feed": Victim("feed", feed, env, directory / "feed.log", None),
            "brain": Victim("brain", worker, env, directory / "brain.log", files[Role.BRAIN]),
            "arm": Victim("arm", worker, arm_env, directory / "arm.log", files[Role.ARM]),
        }

    def run(self, kills: Iterable[Kill]) -> Outcome:
        """Start everything, kill as planned, wait for the end of all work, and read what is there."""
        begun = time.monotonic()
        with redis.Redis.from_url(self._redis) as client:
            client.flushdb()
        asyncio.run(prepare(self._settings, self._servers))
        victims = self._victims.values()
        for kill in kills:
            self._victims[kill.process].plan([kill])
        try:
            for victim in victims:
                victim.start()
            found = self._work()
            log = tuple(self._read_log())
            found += [*check_log(log), *self._dead_letters()]
            books, wrong = self._read_books(log)
        finally:
            for victim in victims:
                victim.stop()
        return Outcome(
            log=log,
            books=books,
            findings=(*found, *wrong, *(finding for victim in victims for finding in victim.findings)),
            died=tuple(name for victim in victims for name in victim.died),
            unreached=sum(victim.unreached for victim in victims),
            wiped=sum(victim.wiped for victim in victims),
            seconds=time.monotonic() - begun,
        )

    def delete(self) -> None:
        asyncio.run(delete_topics(self._servers.kafka, self._prefix))

    def _work(self) -> list[Finding]:
        """Kill and start again until nothing is left to do."""
        try:
            while not all(victim.at_peace for victim in self._victims.values()):
                self._look()
            return list(self._await_end())
        except GaveUp as error:
            return [Finding(Kind.ENDED, str(error))]

    def _look(self) -> None:
        for victim in self._victims.values():
            victim.look()
        feed = self._victims["feed"]
        if feed.finished and feed.planned:
            # It has nothing left to be killed at: the arm, which has most to do, dies in its place.
            self._victims["arm"].plan(Kill("arm", kill.at) for kill in feed.planned)
            feed.planned.clear()
        time.sleep(_LOOK_S)

    def _await_end(self) -> Iterator[Finding]:
        inputs = {
            f"{self._prefix}panda-{group}": [f"{self._prefix}{topic}" for topic in topics]
            for group, topics in _INPUTS.items()
        }
        left, asked, deadline = {"the feed": 1}, 0.0, time.monotonic() + _FEED_WITHIN_S
        while left:
            self._look()
            now = time.monotonic()
            if now > deadline:
                text = f"not at its end: without a kill nothing goes on. Not committed: {left}. {self._health()}"
                yield Finding(Kind.ENDED, text)
                return
            if self._victims["feed"].finished and now - asked >= _ASK_S:
                before, left = left, asyncio.run(behind(self._servers.kafka, inputs, self._partitions))
                asked, deadline = now, deadline if left == before else now + _STALLED_S

    def _health(self) -> str:
        """What brain and arm say of themselves, where a run does not come to its end."""
        with redis.Redis.from_url(self._redis, decode_responses=True) as client:
            return "; ".join(f"{scope}: {client.get(Keys(scope).health(0))}" for scope in ("brain", "paper"))

    def _read_log(self) -> Iterator[Entry]:
        for topic in COMPARED:
            for line in read_topic(self._servers.kafka, f"{self._prefix}paper.{topic}"):
                entry = Entry.of(topic, line.partition, line.offset, line.value)
                if entry is not None:
                    yield entry

    def _dead_letters(self) -> Iterator[Finding]:
        for scope in ("brain", "paper"):
            for line in read_topic(self._servers.kafka, f"{self._prefix}{scope}.dlq"):
                yield Finding(Kind.DEAD_LETTER, f"{scope}.dlq: {line.value.decode(errors='replace')}")

    def _read_books(self, log: Sequence[Entry]) -> tuple[dict[str, ArmBook], list[Finding]]:
        """The arm's books, and what is wrong with them once the mirror has had time to follow."""
        deadline = time.monotonic() + _MIRRORED_WITHIN_S
        while True:
            books, account = read_books(self._redis, "paper")
            wrong = [*check_books(log, books), *check_account(log, account, books)]
            if not wrong or time.monotonic() > deadline:
                return books, wrong
            time.sleep(_ASK_S)
