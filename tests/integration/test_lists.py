"""Lists on a real Kafka: each way in which Faust can lose or repeat records does harm without its mend alone."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from panda_streams.streams.admin import create_topics
from panda_streams.streams.runner import EXIT_BROKEN
from panda_streams.streams.task import CURSOR, OUTBOX
from panda_streams.topics import TopicKey, TopicSpec
from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.list_app import ADDER, NUMBERS, SUMS, Plan
from tests.integration.reading import read_topic, write_records
from tests.polling import eventually

pytestmark = pytest.mark.integration

T = TypeVar("T")

_ROOT = Path(__file__).parents[2]
_PARTITIONS = range(4)
_COMMIT_S = 20.0


class Adders:
    """Workers of list_app in a world of their own, and what they are given and say."""

    def __init__(self, world: FreshWorld, spawn: Callable[..., Spawned]) -> None:
        self._world = world
        self._spawn = spawn
        self.given: dict[int, list[int]] = {partition: [] for partition in _PARTITIONS}
        asyncio.run(prepare(world.settings, world.servers))
        specs = {f"{world.servers.prefix}{name}": TopicSpec(name, TopicKey.SHARD, "", "") for name in (NUMBERS, SUMS)}
        asyncio.run(create_topics(world.settings, world.servers.kafka, specs))

    def start(self, plan: Plan = Plan(), instance: int = 0) -> Spawned:  # noqa: B008  frozen
        env = {**self._world.env, "BROKER_NAMESPACE": "paper", "PANDA_INSTANCE": str(instance), **plan.env()}
        command = ["faust", "-A", "tests.integration.list_app", "worker"]
        return self._spawn(command, env={**env, "PYTHONPATH": str(_ROOT)})

    def ready(self, plan: Plan = Plan(), instance: int = 0) -> Spawned:  # noqa: B008  frozen
        worker = self.start(plan, instance)
        eventually(
            lambda: "Worker ready" in worker.output() or worker.process.poll() is not None,
            timeout_s=40,
            what="the worker is ready",
        )
        assert worker.process.poll() is None, worker.output()
        return worker

    def give(self, count: int, partitions: Any = _PARTITIONS) -> None:
        """Append the next `count` numbers to each partition."""
        records = []
        for partition in partitions:
            numbers = range(len(self.given[partition]) + 1, len(self.given[partition]) + 1 + count)
            self.given[partition] += numbers
            records += [(None, str(number).encode(), partition) for number in numbers]
        write_records(self._world.servers.kafka, self._topic(NUMBERS), records)

    def expected(self) -> set[tuple[int, int, int]]:
        """(partition, offset, total) of each sum that is to be said, computed again."""
        said = set()
        for partition, numbers in self.given.items():
            totals: dict[int, int] = defaultdict(int)
            for offset, number in enumerate(numbers):
                totals[offset % 8] += number
                said.add((partition, offset, totals[offset % 8]))
        return said

    def said(self) -> Counter[tuple[int, int, int]]:
        """How often each (partition, offset, total) was said."""
        lines = read_topic(self._world.servers.kafka, self._topic(SUMS))
        events = [(line.partition, json.loads(line.value)) for line in lines]
        return Counter((partition, event["offset"], event["total"]) for partition, event in events)

    def offsets(self) -> set[tuple[int, int]]:
        """(partition, offset) of each number of which a sum was said."""
        return {(partition, offset) for partition, offset, _ in self.said()}

    def lost(self) -> set[int]:
        """The offsets of numbers of which no sum was said on some partition."""
        said = self.offsets()
        return {offset for partition, offset, _ in self.expected() if (partition, offset) not in said}

    def rows(self) -> dict[str, int]:
        """The rows as another worker would recover them."""
        rows = {line.key: line.value for line in self.changelog()}
        return {key.decode(): int(value) for key, value in rows.items() if key not in (CURSOR, OUTBOX, None)}

    def changelog(self) -> list[Any]:
        return read_topic(self._world.servers.kafka, self._topic(f"panda-paper-{ADDER}-changelog"))

    def batches(self) -> dict[int, list[int]]:
        """By partition: the numbers of the micro-batches, in the order in which their cursors were written."""
        numbers: dict[int, list[int]] = defaultdict(list)
        for line in self.changelog():
            if line.key == CURSOR:
                numbers[line.partition].append(json.loads(line.value)["batch"])
        return numbers

    def outbox(self) -> set[tuple[int, int, int]]:
        """What is said again by whoever takes over: what the last micro-batch of each partition said."""
        rows = {line.partition: json.loads(line.value) for line in self.changelog() if line.key == OUTBOX}
        outputs = [
            (partition, json.loads(value)) for partition, row in rows.items() for _, _, value, _ in row["outputs"]
        ]
        return {(partition, event["offset"], event["total"]) for partition, event in outputs}

    def repeated(self) -> set[tuple[int, int, int]]:
        return {said for said, times in self.said().items() if times > 1}

    def cursors(self) -> dict[int, int]:
        """By partition: the offset up to which the rows have taken the numbers in."""
        values = {line.partition: line.value for line in self.changelog() if line.key == CURSOR}
        return {partition: json.loads(value)["inputs"][NUMBERS]["test"][0] for partition, value in values.items()}

    def committed(self) -> dict[int, int | None]:
        """The group's committed offset of each partition."""

        async def ask(group: AIOKafkaConsumer) -> dict[int, int | None]:
            return {place.partition: await group.committed(place) for place in self._places()}

        return self._as_group(ask)

    def commit(self, offset: int) -> None:
        """Commit an offset on all partitions in the name of the group, which must have no member."""

        async def commit(group: AIOKafkaConsumer) -> None:
            group.assign(self._places())
            await group.commit({place: offset for place in self._places()})

        def committed() -> bool:
            # A member that was killed is one until its session has ended.
            with suppress(KafkaError):
                self._as_group(commit)
            return set(self.committed().values()) == {offset}

        eventually(committed, timeout_s=40, what="the offset is committed")

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic(NUMBERS), number) for number in _PARTITIONS]

    def _as_group(self, ask: Callable[[AIOKafkaConsumer], Awaitable[T]]) -> T:
        async def run() -> T:
            group = f"{self._world.servers.prefix}panda-paper"
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._world.servers.kafka, group_id=group, enable_auto_commit=False
            )
            await consumer.start()
            try:
                return await ask(consumer)
            finally:
                await consumer.stop()

        return asyncio.run(run())

    def _topic(self, name: str) -> str:
        return f"{self._world.servers.prefix}{name}"

    def await_all(self, timeout_s: float = 40) -> None:
        """Return once every number was added: each sum is right, and the rows hold the last ones."""

        def all_said() -> bool:
            assert set(self.said()) == self.expected()
            last = {f"{partition}/{offset % 8}": total for partition, offset, total in sorted(self.expected())}
            assert self.rows() == last
            return True

        eventually(all_said, timeout_s=timeout_s, what="every number is added once")


@pytest.fixture
def adders(world: FreshWorld, spawn: Callable[..., Spawned]) -> Adders:
    return Adders(world, spawn)


def test_lists_are_added_up_and_acknowledged(adders: Adders) -> None:
    adders.ready()
    adders.give(500)

    adders.await_all()

    assert set(adders.said().values()) == {1}
    eventually(
        lambda: adders.committed() == {partition: 500 for partition in _PARTITIONS},
        timeout_s=_COMMIT_S,
        what="all is acknowledged",
    )


@pytest.mark.parametrize("lease", [True, False])
def test_a_worker_that_was_suspended_leaves_its_successors_rows_alone(adders: Adders, lease: bool) -> None:
    # Two seconds of work in one partition for each of the two, and for the successor while the other one sleeps.
    plan = Plan(step_s=0.01, lease=lease)
    adders.give(2500, partitions=[0])
    zombie = adders.ready(plan)
    eventually(lambda: len(adders.batches()[0]) >= 5, what="the first worker writes")
    zombie.process.send_signal(signal.SIGSTOP)
    before = len(adders.batches()[0])
    successor = adders.start(Plan(step_s=0.01), instance=1)
    eventually(lambda: len(adders.batches()[0]) >= before + 5, timeout_s=40, what="the second worker has taken over")

    zombie.process.send_signal(signal.SIGCONT)

    def overwritten() -> bool:
        batches = adders.batches()[0]
        return batches != sorted(set(batches))

    if lease:
        eventually(lambda: zombie.output().count("Worker ready") == 2, timeout_s=40, what="it is a member again")
        adders.await_all(60)
        assert not overwritten()
        assert "another process wrote" not in successor.output() + zombie.output()
    else:
        eventually(overwritten, what="the suspended worker has written")
        zombie.kill()
        adders.await_all(90)
        assert "another process wrote" in successor.output()


@pytest.mark.parametrize("read_back", [True, False])
@pytest.mark.parametrize(
    "fault",
    [Plan(skipped=(10, 20)), Plan(unrewound=10)],
    ids=["a list in mid-log is skipped", "a new group is not rewound at its first rebalance"],
)
def test_a_gap_in_what_is_delivered_is_read_from_the_log(adders: Adders, fault: Plan, read_back: bool) -> None:
    plan = Plan(skipped=fault.skipped, unrewound=fault.unrewound, read_back=read_back)
    adders.give(30)

    adders.ready(plan)

    if read_back:
        adders.await_all()
        return
    last = {(partition, 29) for partition in _PARTITIONS}
    eventually(lambda: last <= adders.offsets(), what="what comes after the gap is handled")
    assert adders.lost() == (set(range(10, 20)) if fault.skipped else set(range(10)))


@pytest.mark.parametrize("look_at_tail", [True, False])
def test_what_was_skipped_at_the_end_of_the_log_is_found_when_nothing_more_comes(
    adders: Adders, look_at_tail: bool
) -> None:
    worker, idle = adders.ready(Plan(skipped=(20, 30), look_at_tail=look_at_tail)), "adder-0 is idle"
    adders.give(20)
    eventually(lambda: len(adders.offsets()) == 80, what="what was delivered is handled")

    adders.give(10)

    if look_at_tail:
        adders.await_all()
        return
    so_far = worker.output().count(idle)
    eventually(lambda: worker.output().count(idle) >= so_far + 3, what="the partition was idle for long")
    assert len(adders.offsets()) == 80


@pytest.mark.parametrize("seek", [True, False])
def test_a_commit_that_is_ahead_of_the_rows_loses_nothing(adders: Adders, seek: bool) -> None:
    first = adders.ready()
    adders.give(10)
    adders.await_all()
    first.kill()
    adders.give(20)
    adders.commit(25)

    adders.ready(Plan(seek=seek, read_back=False))

    if seek:
        adders.await_all()
        return
    last = {(partition, 29) for partition in _PARTITIONS}
    eventually(lambda: last <= adders.offsets(), what="what comes after the commit is handled")
    assert adders.lost() == set(range(10, 25))


@pytest.mark.parametrize("cap", [True, False])
def test_a_rebalance_waits_for_a_micro_batch_and_not_for_a_backlog(adders: Adders, cap: bool) -> None:
    backlog = 200  # sixteen seconds of work
    adders.give(backlog, partitions=[0])
    adders.ready(Plan(step_s=0.08, cap=cap))

    # The second worker has said nothing yet when it is looked at: each of its steps takes long enough.
    adders.ready(Plan(step_s=0.08 if cap else 1.0), instance=1)

    done = len(adders.offsets())
    if cap:
        assert 0 < done < backlog
        adders.await_all(60)
    else:
        # The group has gone on without the first worker, whose micro-batch must not be written any more.
        assert done == 0


def test_workers_that_join_and_leave_a_new_group_lose_and_repeat_nothing_else(adders: Adders) -> None:
    slow = Plan(step_s=0.005)
    adders.give(400)
    adders.start(slow)
    second = adders.start(slow, instance=1)
    eventually(lambda: "Worker ready" in second.output(), timeout_s=40, what="both are members")
    adders.give(200)
    second.process.terminate()
    assert second.wait(20) == 0
    adders.give(50)
    adders.start(slow, instance=1)

    adders.await_all(90)


def test_a_step_that_raises_ends_the_worker_with_nothing_of_it_acknowledged(adders: Adders) -> None:
    adders.give(60, partitions=[1])
    worker = adders.start(Plan(poison=41, step_s=0.01))

    assert worker.wait(40) == EXIT_BROKEN, worker.output()

    stands = (adders.committed()[1] or 0, max((offset for _, offset in adders.offsets()), default=-1) + 1)
    assert max(stands) <= 40
    assert "this step has a mistake" in worker.output()
    outbox = adders.outbox()
    adders.ready()
    adders.await_all()
    assert adders.repeated() <= outbox


def test_sigterm_ends_a_worker_in_about_a_second_with_nothing_left_to_repeat(adders: Adders) -> None:
    adders.give(3000)
    worker = adders.ready(Plan(step_s=0.001))
    eventually(lambda: len(adders.offsets()) > 100, what="the worker works")
    began = time.monotonic()
    worker.process.terminate()
    code = worker.wait(20)
    took = time.monotonic() - began
    cursors, committed, outbox = adders.cursors(), adders.committed(), adders.outbox()

    adders.ready()
    adders.await_all(60)

    assert code == 0
    assert took < 2.5
    assert committed == cursors
    assert adders.repeated() <= outbox
