"""The loop: the order in which a micro-batch is carried out, and what happens to it when something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from faust.types import TP

from panda_streams.streams import inputs as inputs_module
from panda_streams.streams import loop as loop_module
from panda_streams.streams import runner as runner_module
from panda_streams.streams.agent import Output
from panda_streams.streams.inputs import Received
from panda_streams.streams.lists import Delivery
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.readback import LogGone
from panda_streams.streams.runner import EXIT_BROKEN
from panda_streams.streams.task import CURSOR, OUTBOX
from tests.polling import eventually_async
from tests.unit.streams.counting import BEATS, IN, OTHER, OUT, Counting, words

CHANGELOG = "counting-changelog"


class FakeTable:
    """One partition of a table, as the loop uses it; `last` is the changelog offset that it holds."""

    changelog = CHANGELOG

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.stored: dict[bytes, bytes] = {}
        self.last: int | None = None

    def read(self, partition: int, key: bytes) -> bytes | None:
        return self.stored.get(key)

    def stored_offset(self, partition: int) -> int | None:
        return self.last

    def store(self, partition: int, rows: Mapping[bytes, bytes | None], offset: int) -> None:
        self.events.append(("stored", offset))
        for key, value in rows.items():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value


class FakeKafka:
    """Stands for the sender and for reading back: logs by topic, whose writes are acknowledged one turn later."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.logs: dict[str, list[Received]] = {}
        self.known: list[str] = []
        self.first: dict[str, int] = {}
        self.forgets_places = False
        self.reads: list[tuple[str, int, int]] = []
        self.fails: Exception | None = None

    async def start(self, topic: str = "", partition: int = 0) -> int:
        """Start the sender; or, of a topic, the first offset that is kept."""
        if not topic:
            self.events.append("started")
        return self.first.get(topic, 0)

    async def stop(self) -> None:
        self.events.append("stopped")

    async def learn(self, topic: str) -> None:
        self.known.append(topic)

    async def append(self, topic: str, partition: int, rows: Mapping[bytes, bytes | None]) -> tuple[int, int] | None:
        assert topic in self.known, "the first write would wait for Kafka to be asked"
        log = self.logs.setdefault(topic, [])
        log += [Received(len(log) + n, key, value) for n, (key, value) in enumerate(rows.items())]
        await asyncio.sleep(0)
        self.events.append(("written", sorted(key.decode() for key in rows if not key.startswith(b"\x00"))))
        return None if self.forgets_places else (len(log) - len(rows), len(log) - 1)

    async def send(self, outputs: Sequence[Output]) -> list[Awaitable[Any]]:
        if outputs and self.fails is not None:
            raise self.fails
        if outputs:
            self.events.append(("sent", [output.value.decode() for output in outputs]))
        for output in outputs:
            log = self.logs.setdefault(output.topic, [])
            log.append(Received(len(log), output.key, output.value))
        return [self._acknowledge() for _ in outputs[:1]]

    async def _acknowledge(self) -> None:
        await asyncio.sleep(0)
        self.events.append("acknowledged")

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        self.reads.append((topic, start, end))
        if start < self.first.get(topic, 0):
            raise LogGone(f"{topic} begins at {self.first[topic]}")
        for record in self.logs[topic][start:end]:
            yield record

    async def end(self, topic: str, partition: int) -> int:
        return len(self.logs[topic])

    def values(self, topic: str) -> list[str]:
        return [(record.value or b"").decode() for record in self.logs.get(topic, [])]


class FakeConsumer:
    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.places = {TP(IN, 0)}
        self.ends: dict[str, int] = {}
        self.held: list[tuple[str, bool]] = []
        self.done: dict[str, int] = {}

    def assignment(self) -> set[TP]:
        return self.places

    def highwater(self, place: TP) -> int | None:
        assert place in self.places
        return self.ends.get(place.topic)

    def hold(self, place: TP, on: bool) -> None:
        self.held.append((place.topic, on))

    def handled(self, place: TP, offset: int) -> None:
        self.events.append(("handled", place.topic, offset))
        self.done[place.topic] = offset


class FakeLease:
    def __init__(self) -> None:
        self.good = True
        self.asked = 0
        self.said: list[str] = []

    def valid(self) -> bool:
        self.asked += 1
        return self.good

    def follow(self) -> None:
        self.said.append("follow")

    def assigned(self) -> None:
        self.said.append("assigned")

    def revoked(self) -> None:
        self.said.append("revoked")


class Worker:
    """A loop with one agent on partition 0; `events` is all that happened to the outside, in its order."""

    def __init__(self, agent: Counting | None = None) -> None:
        self.agent = agent or Counting()
        self.events: list[Any] = []
        self.table, self.kafka = FakeTable(self.events), FakeKafka(self.events)
        self.consumer, self.lease = FakeConsumer(self.events), FakeLease()
        self.consumer.places = {TP(source.topic, 0) for source in self.agent.inputs}
        self.app = SimpleNamespace(consumer=self.consumer, consumer_generation_id=1, recovered=1)
        self.deaths: list[int] = []
        self.make()

    def make(self) -> None:
        """Start the process, as it were."""
        kafka: Any = self.kafka
        table: Any = self.table
        lease: Any = self.lease
        self.loop = AgentLoop(self.app, kafka, kafka, lease, "dlq", lambda stray: stray.reason.encode())
        self.loop.add(self.agent, table)

    def deliver(self, records: Sequence[Received], *, topic: str = IN, generation: int = 1) -> None:
        self.loop.take(self.agent.name, Delivery(topic, 0, records, generation))

    async def until(self, check: Callable[[], Any], what: str) -> None:
        async def checked() -> Any:
            return self.deaths or check()

        await eventually_async(checked, timeout_s=5, what=what)

    async def handled(self, offset: int, topic: str = IN) -> None:
        await self.until(lambda: self.consumer.done.get(topic) == offset, f"{topic} is acknowledged up to {offset}")

    def run(self, *moves: Callable[[], Any]) -> None:
        """Take the partition over, make the moves, awaiting those that can be awaited, and give it up."""

        async def run() -> None:
            self.loop.assigned(1)
            self.loop.begin()
            try:
                for move in moves:
                    made = move()
                    if made is not None:
                        await made
            finally:
                await self.loop.release()

        asyncio.run(run())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_FENCE_S", 0.001)
    monkeypatch.setattr(runner_module, "_IDLE_S", 0.02)
    monkeypatch.setattr(runner_module, "_WRITE_S", 0.02)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    worker = Worker()
    _let_die(worker, monkeypatch)
    return worker


def _let_die(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panda_streams.streams.runner.os._exit", worker.deaths.append)
    monkeypatch.setattr("panda_streams.streams.runner.logging.shutdown", lambda: None)


# A micro-batch


def test_rows_are_durable_before_what_they_say_is_sent_and_that_before_the_input_is_acknowledged(
    worker: Worker,
) -> None:
    worker.run(lambda: worker.deliver(words("x", "y")), lambda: worker.handled(2))

    assert worker.events == [
        ("handled", IN, 0),
        ("written", ["x", "y"]),
        ("stored", 3),
        ("sent", ["1@0", "1@1"]),
        "acknowledged",
        ("handled", IN, 2),
    ]


def test_without_an_outbox_what_is_said_is_acknowledged_before_the_rows_that_stand_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker(Counting(outbox=False))
    _let_die(worker, monkeypatch)
    monkeypatch.setattr(runner_module, "_WRITE_S", 0.0)

    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))

    assert worker.events[1:] == [
        ("sent", ["1@0"]),
        "acknowledged",
        ("written", ["x"]),
        ("stored", 1),
        ("handled", IN, 1),
    ]


def test_each_step_of_a_micro_batch_can_be_watched(worker: Worker) -> None:
    points = []
    worker.loop.probe = lambda name, point: points.append((name, point))

    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))

    steps = ("stepped", "written", "stored", "sent", "said", "acknowledged")
    assert points == [("counting", step) for step in steps]


def test_a_micro_batch_that_says_nothing_is_written_within_a_moment(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("quiet")), lambda: worker.handled(1))

    assert worker.events[1:] == [("written", ["quiet"]), ("stored", 1), ("handled", IN, 1)]


def test_a_beat_follows_the_outputs_of_its_micro_batch(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x", "beat", "x", "beat")), lambda: worker.handled(4))

    assert [event for event in worker.events if event[0] == "sent"] == [("sent", ["1@0", "2@2", "3000"])]


def test_a_beat_needs_no_record_to_be_handled(worker: Worker) -> None:
    worker.run(
        lambda: worker.deliver(words("beat", "beat")),
        lambda: worker.until(lambda: worker.kafka.values(BEATS), "the beat is passed on"),
    )

    assert worker.kafka.values(BEATS) == ["1000"]


def test_what_cannot_be_processed_is_dead_lettered_and_counted(worker: Worker) -> None:
    records = [*words("x", "bad"), Received(2, b"k", b"{"), *words("x", start=3)]

    worker.run(lambda: worker.deliver(records), lambda: worker.handled(4))

    assert worker.kafka.values("dlq") == ["a bad word", "not a word"]
    assert worker.kafka.values(OUT) == ["1@0", "2@3"]
    assert (worker.loop.dead_letters, worker.loop.events) == (2, 4)
    assert worker.loop.last_event_time == 3000


def test_what_a_step_needs_from_the_log_is_read_for_it(worker: Worker) -> None:
    worker.kafka.logs[IN] = words("x", "far")

    worker.run(lambda: worker.deliver(words("x", "far")), lambda: worker.handled(2))

    assert worker.kafka.values(OUT) == ["1@0", "1@1"]
    assert worker.agent.supplied == words("x")


# A record that is not delivered, or twice


def test_what_was_skipped_before_a_list_is_read_from_the_log(worker: Worker) -> None:
    worker.kafka.logs[IN] = words("a", "b", "c", "d", "e")

    worker.run(
        lambda: worker.deliver(words("a")),
        lambda: worker.handled(1),
        lambda: worker.deliver(words("d", "e", start=3)),
        lambda: worker.handled(5),
    )

    assert worker.kafka.values(OUT) == ["1@0", "1@1", "1@2", "1@3", "1@4"]
    assert worker.kafka.reads == [(IN, 1, 3)]


def test_what_was_skipped_at_the_end_of_the_log_is_read_once_the_partition_is_silent(worker: Worker) -> None:
    worker.kafka.logs[IN] = words("a", "b", "c")
    worker.consumer.ends[IN] = 3

    worker.run(lambda: worker.deliver(words("a")), lambda: worker.handled(3))

    assert worker.kafka.values(OUT) == ["1@0", "1@1", "1@2"]


def test_a_list_that_comes_again_changes_nothing(worker: Worker) -> None:
    worker.run(
        lambda: worker.deliver(words("a", "b")),
        lambda: worker.deliver(words("b", "c", start=1)),
        lambda: worker.handled(3),
    )

    assert worker.kafka.values(OUT) == ["1@0", "1@1", "1@2"]


def test_a_list_of_an_earlier_assignment_is_dropped(worker: Worker) -> None:
    worker.run(
        lambda: worker.deliver(words("stale"), generation=0),
        lambda: worker.deliver(words("a")),
        lambda: worker.handled(1),
    )

    assert worker.kafka.values(OUT) == ["1@0"]
    assert b"a" in worker.table.stored


def test_a_list_that_comes_before_the_tables_are_recovered_for_good_is_kept(worker: Worker) -> None:
    worker.app.recovered = None
    begin = worker.loop.begin

    def recovered() -> None:
        worker.app.recovered = 1
        begin()

    worker.run(lambda: worker.deliver(words("a")), recovered, lambda: worker.handled(1))

    assert worker.kafka.values(OUT) == ["1@0"]


# Enough in hand


def test_a_partition_is_held_back_while_too_much_of_it_is_in_hand(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "HOLD", 3)
    monkeypatch.setattr(inputs_module, "HOLD", 3)

    worker.run(lambda: worker.deliver(words(*"abcde")), lambda: worker.handled(5))

    assert worker.consumer.held == [(IN, True), (IN, False)]


def test_a_partition_that_is_held_back_is_not_taken_for_a_silent_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The agent waits for its other input, where an order is kept; what is not fetched on purpose is not read either.
    monkeypatch.setattr(inputs_module, "HOLD", 2)
    worker = Worker(Counting(inputs=2))
    worker.agent.ordered = True
    worker.make()
    worker.consumer.ends[IN] = 9
    worker.kafka.logs[OTHER] = words("beat", "beat")

    worker.run(
        lambda: worker.deliver(words("x", "y")),
        lambda: worker.until(lambda: worker.consumer.held, "the partition is held back"),
        lambda: worker.deliver(words("beat", "beat"), topic=OTHER),
        lambda: worker.handled(2),
    )

    assert worker.consumer.held == [(IN, True), (IN, False)]
    assert worker.loop.events == 2
    assert (IN, 2, 9) not in worker.kafka.reads[:-1]


# Taking over and giving up


def test_what_was_said_last_and_how_far_event_time_had_come_are_said_again_before_anything_new(
    worker: Worker,
) -> None:
    worker.run(lambda: worker.deliver(words("x", "beat")), lambda: worker.handled(2))
    worker.events.clear()
    worker.make()

    worker.run(lambda: worker.deliver(words("y", start=2)), lambda: worker.handled(3))

    assert worker.events[:5] == [
        ("sent", ["1@0"]),
        "acknowledged",
        ("sent", ["1000"]),
        "acknowledged",
        ("handled", IN, 2),
    ]
    assert worker.kafka.values(OUT) == ["1@0", "1@0", "1@2"]


def test_a_partition_is_wanted_from_where_its_rows_stand(worker: Worker) -> None:
    before = worker.loop.starts()
    worker.run(lambda: worker.deliver(words("x", "x")), lambda: worker.handled(2))

    assert (before, worker.loop.starts()) == ({}, {TP(IN, 0): 2})


def test_an_input_without_a_cursor_begins_where_its_log_does(worker: Worker) -> None:
    worker.kafka.first[IN] = 5

    worker.run(lambda: worker.deliver(words("x", start=5)), lambda: worker.handled(6))

    assert worker.kafka.values(OUT) == ["1@5"]
    assert worker.kafka.reads == []


def test_what_was_put_off_is_written_and_acknowledged_when_the_partition_is_given_up(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_WRITE_S", 60.0)

    worker.run(
        lambda: worker.deliver(words("quiet", "quiet")),
        lambda: worker.until(lambda: worker.loop.events == 2, "both are handled"),
    )

    assert worker.table.stored[b"quiet"] == b"2"
    assert worker.consumer.done[IN] == 2
    assert worker.lease.said == ["assigned", "revoked"]


def test_a_recovery_that_ends_after_its_partitions_were_taken_away_starts_nothing(worker: Worker) -> None:
    async def live() -> None:
        worker.loop.assigned(1)
        await worker.loop.release()
        worker.loop.begin()
        worker.loop.assigned(2)
        worker.loop.begin()
        assert worker.loop.positions == {}
        worker.app.recovered = 2
        worker.loop.begin()
        assert worker.loop.positions == {(IN, 0): 0}
        await worker.loop.release()

    asyncio.run(live())


def test_a_partition_that_was_given_up_is_neither_shown_nor_worked_on(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))

    worker.deliver(words("x", start=1))

    assert (worker.loop.positions, worker.loop.reached, worker.loop.waiting) == ({}, {}, {})
    assert worker.consumer.done == {IN: 1}


def test_a_worker_whose_lease_has_run_out_writes_and_says_nothing_until_it_is_renewed(worker: Worker) -> None:
    async def wait_for_the_lease() -> None:
        asked = worker.lease.asked
        await worker.until(lambda: worker.lease.asked >= asked + 3, "the lease is asked for, again and again")

    written: list[Any] = []
    worker.run(
        lambda: worker.handled(0),
        lambda: setattr(worker.lease, "good", False),
        lambda: worker.deliver(words("x")),
        wait_for_the_lease,
        lambda: written.extend(worker.events[1:]),
        lambda: setattr(worker.lease, "good", True),
        lambda: worker.handled(1),
    )

    assert written == []
    assert worker.kafka.values(OUT) == ["1@0"]


def test_a_worker_whose_lease_has_run_out_gives_its_partition_up_without_a_word(worker: Worker) -> None:
    worker.run(
        lambda: worker.handled(0),
        lambda: setattr(worker.lease, "good", False),
        lambda: worker.deliver(words("x")),
        lambda: worker.until(lambda: worker.lease.asked >= 3, "the lease is asked for"),
    )

    assert worker.events == [("handled", IN, 0)]
    assert worker.deaths == []


def test_a_worker_without_a_lease_does_not_even_say_again_what_it_said_last(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))
    worker.events.clear()
    worker.make()
    worker.lease.good = False
    asked = worker.lease.asked

    worker.run(lambda: worker.until(lambda: worker.lease.asked >= asked + 3, "the lease is asked for"))

    assert worker.events == []


def test_what_is_in_hand_is_told_until_it_has_been_said(worker: Worker) -> None:
    said: list[bool] = []

    async def ask() -> None:
        said.append(await worker.loop.carried_out(0.05))

    async def wait_for_the_lease() -> None:
        asked = worker.lease.asked
        await worker.until(lambda: worker.lease.asked >= asked + 3, "the lease is asked for, again and again")

    worker.run(
        lambda: worker.handled(0),
        ask,
        lambda: setattr(worker.lease, "good", False),
        lambda: worker.deliver(words("x")),
        wait_for_the_lease,
        ask,
        lambda: setattr(worker.lease, "good", True),
        ask,
        lambda: said.append(worker.kafka.values(OUT) == ["1@0"]),
    )

    assert said == [True, False, True, True]


def test_what_was_said_last_is_in_hand_until_it_is_said_again(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))
    worker.make()
    worker.lease.good = False
    said: list[bool] = []

    async def ask() -> None:
        said.append(await worker.loop.carried_out(0.05))

    worker.run(ask, lambda: setattr(worker.lease, "good", True), ask)

    assert said == [False, True]


def test_what_the_loop_sends_with_is_connected_before_anything_is_delivered(worker: Worker) -> None:
    async def live() -> None:
        await worker.loop.start()
        worker.loop.assigned(1)
        await worker.loop.stop()

    asyncio.run(live())

    assert worker.kafka.known == [IN, "dlq"]
    assert worker.lease.said == ["follow", "assigned"]
    assert worker.events == ["started", "stopped", "stopped"]


# The changelog


def test_a_write_whose_place_kafka_has_forgotten_is_looked_up_at_the_end_of_the_changelog(worker: Worker) -> None:
    worker.kafka.forgets_places = True
    worker.kafka.logs[CHANGELOG] = words("old")

    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))

    assert ("stored", 3) in worker.events


def test_rows_that_another_process_has_overwritten_are_written_again(worker: Worker) -> None:
    worker.table.stored = {b"x": b"7", b"y": b"8"}
    worker.table.last = 0
    zombie = [Received(1, b"x", b"0"), Received(2, b"y", b"0"), Received(3, b"new", b"0"), Received(4, CURSOR, b"old")]
    worker.kafka.logs[CHANGELOG] = [Received(0, b"x", b"7"), *zombie]

    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))

    assert [event for event in worker.events if event[0] == "written"] == [
        ("written", ["x"]),
        ("written", ["new", "y"]),
    ]
    recovered: dict[bytes | None, bytes | None] = {}
    for record in worker.kafka.logs[CHANGELOG]:
        recovered[record.key] = record.value
    assert {key: recovered.pop(key) for key in (b"x", b"y", b"new")} == {b"x": b"8", b"y": b"8", b"new": None}
    assert recovered == {key: worker.table.stored[key] for key in (CURSOR, OUTBOX)}


def test_a_changelog_that_only_this_worker_writes_needs_no_repair(worker: Worker) -> None:
    worker.table.last = 0
    worker.kafka.logs[CHANGELOG] = words("old")

    worker.run(
        lambda: worker.deliver(words("x")),
        lambda: worker.handled(1),
        lambda: worker.deliver(words("x", start=1)),
        lambda: worker.handled(2),
    )

    assert worker.kafka.reads == []


# Death


def test_a_broken_invariant_ends_the_process_with_nothing_of_the_micro_batch_done(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x", "boom")), lambda: worker.until(lambda: False, "the end"))

    assert worker.deaths == [EXIT_BROKEN]
    assert worker.events == [("handled", IN, 0)]


def test_a_send_that_fails_for_good_ends_the_process_and_a_restart_says_it(worker: Worker) -> None:
    worker.kafka.fails = ConnectionError("gone for longer than is waited")
    worker.run(lambda: worker.deliver(words("x")), lambda: worker.until(lambda: False, "the end"))
    worker.kafka.fails = None
    died = worker.deaths.copy()
    worker.deaths.clear()
    worker.make()

    worker.run(lambda: worker.handled(1))

    assert died == [EXIT_BROKEN]
    assert worker.kafka.values(OUT) == ["1@0"]


def test_a_log_that_no_longer_has_what_must_be_read_ends_the_process(worker: Worker) -> None:
    worker.kafka.logs[IN] = words("a", "b", "c")

    worker.run(
        lambda: worker.deliver(words("a")),
        lambda: worker.handled(1),
        lambda: worker.kafka.first.update({IN: 2}),
        lambda: worker.deliver(words("c", start=2)),
        lambda: worker.until(lambda: False, "the end"),
    )

    assert worker.deaths == [EXIT_BROKEN]
    assert worker.kafka.values(OUT) == ["1@0"]


# What people ask


def test_people_see_where_each_partition_is_how_far_event_time_has_come_and_what_is_waited_for() -> None:
    worker = Worker(Counting(inputs=2))
    worker.agent.ordered = True
    worker.make()
    seen: list[Any] = []

    worker.run(
        lambda: worker.deliver(words("beat", "beat", "x", "beat")),
        lambda: worker.deliver(words("beat", "beat"), topic=OTHER),
        lambda: worker.until(lambda: worker.kafka.values(BEATS), "the first beat is said"),
        lambda: seen.extend([worker.loop.positions, worker.loop.reached, worker.loop.waiting]),
        lambda: seen.append(worker.loop.blocked),
    )

    assert seen == [
        {(IN, 0): 2, (OTHER, 0): 2},
        {"counting": 1000},
        {"counting/0": "other of w"},
        {TP(IN, 0), TP(OTHER, 0)},
    ]


def test_the_topics_of_a_loop_are_the_inputs_of_its_agents() -> None:
    assert Worker(Counting(inputs=2)).loop.topics == {IN, OTHER}


def test_a_dead_letter_is_any_bytes_as_text() -> None:
    assert loop_module.payload_text(b"\xff\x00") == "/wA="
    assert loop_module.payload_text(None) == ""
    assert orjson.dumps(loop_module.payload_text(b"\xff"))


# A worker that was suspended


def test_a_worker_that_was_suspended_before_a_write_keeps_its_store_where_its_successor_began(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.table.stored, worker.table.last = {b"x": b"7", b"y": b"8"}, 1
    worker.kafka.logs[CHANGELOG] = [Received(0, b"x", b"7"), Received(1, b"y", b"8")]
    append = worker.kafka.append

    async def suspended(topic: str, partition: int, rows: Any) -> Any:
        worker.kafka.logs[CHANGELOG] += [Received(2, b"y", b"9"), Received(3, b"y", b"10")]
        worker.lease.good = False
        return await append(topic, partition, rows)

    monkeypatch.setattr(worker.kafka, "append", suspended)

    worker.run(lambda: worker.deliver(words("x")), lambda: worker.until(lambda: not worker.lease.good, "it has slept"))

    assert worker.table.last == 1
    assert worker.kafka.values(OUT) == []


def test_a_worker_that_was_suspended_in_a_write_leaves_its_outbox_to_its_successor(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = worker.kafka.append

    async def suspended(topic: str, partition: int, rows: Any) -> Any:
        worker.lease.good = False
        return await append(topic, partition, rows)

    monkeypatch.setattr(worker.kafka, "append", suspended)

    worker.run(
        lambda: worker.deliver(words("x", "beat")), lambda: worker.until(lambda: not worker.lease.good, "it has slept")
    )

    assert (worker.kafka.values(OUT), worker.kafka.values(BEATS)) == ([], [])


# Logs that are silent, or shorter than they were


def test_the_end_of_one_input_is_looked_at_while_another_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(Counting(inputs=2))
    _let_die(worker, monkeypatch)
    worker.consumer.ends[OTHER] = 1
    worker.kafka.logs[OTHER] = words("lost")
    offsets = iter(range(10_000))

    def goes_on() -> bool:
        worker.deliver(words("quiet", start=next(offsets)))
        return "1@0" in worker.kafka.values(OUT)

    worker.run(lambda: worker.until(goes_on, "what was lost at the end of the other is handled"))

    assert worker.deaths == []


def test_records_that_the_next_one_replaces_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    _let_die(worker, monkeypatch)
    worker.agent.inputs = tuple(replace(source, replaceable=True) for source in worker.agent.inputs)
    worker.run(lambda: worker.deliver(words("a")), lambda: worker.handled(1))
    worker.make()
    worker.kafka.logs[IN] = []
    worker.kafka.first[IN] = worker.consumer.ends[IN] = 3

    worker.run(
        lambda: worker.until(lambda: worker.loop.positions[IN, 0] == 3, "what is gone is passed over"),
        lambda: worker.deliver(words("d", start=3)),
        lambda: worker.handled(4),
    )

    assert worker.deaths == []


def test_the_last_beats_are_acknowledged_once_nothing_more_comes(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x", "beat", "beat")), lambda: worker.handled(3))

    assert worker.kafka.values(OUT) == ["1@0"]


def test_beats_after_a_restart_are_acknowledged_though_no_record_comes(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("x")), lambda: worker.handled(1))
    worker.make()

    worker.run(lambda: worker.deliver(words("beat", "beat", start=1)), lambda: worker.handled(3))

    assert worker.deaths == []


# What comes from outside of every log


def test_an_agent_that_wakes_the_loop_has_its_news_carried_out_at_once(worker: Worker) -> None:
    def hear() -> None:
        assert worker.agent.part is not None
        worker.agent.outside.append("x")
        worker.agent.part.wake()

    worker.run(
        lambda: worker.until(lambda: worker.agent.part, "the partition is taken over"),
        hear,
        lambda: worker.until(lambda: worker.kafka.values(OUT) == ["1@-1"], "it is said"),
    )

    assert worker.events[1:4] == [("written", ["x"]), ("stored", 2), ("sent", ["1@-1"])]


def test_an_agent_may_end_what_it_began_when_its_partition_is_given_up(worker: Worker) -> None:
    worker.run()

    assert (worker.agent.opened, worker.agent.closed) == (1, 1)


def test_an_agent_may_end_what_it_began_when_its_worker_dies(worker: Worker) -> None:
    worker.run(lambda: worker.deliver(words("boom")), lambda: worker.until(lambda: worker.deaths, "it dies"))

    assert worker.agent.closed == 1
