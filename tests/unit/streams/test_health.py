"""Health: what a worker says of itself, when it gives itself up, and what it calls a stall."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from panda_streams.streams import health as module
from panda_streams.streams.health import EXIT_UNWELL, Health, Patience, Stalls, Standing, WorkerHealth, give_up

HERE, THERE = TP("in", 0), TP("in", 1)


class FakeConsumer:
    """The consumer of a worker, which like aiokafka asserts that a partition is its own."""

    def __init__(self, *assigned: TP) -> None:
        self.assigned = set(assigned)
        self.ends: dict[TP, int | None] = {HERE: 7, THERE: 7}
        self.true_ends: dict[TP, int] | Exception = {}
        self.done: dict[TP, int] = {}
        self._committed_offset: dict[TP, int] = {HERE: 5, THERE: 5}
        self.read: dict[TP, int] = {HERE: 6, THERE: 6}
        self.held: set[TP] = set()
        self.coordination_ended = False
        coordination = SimpleNamespace(done=lambda: self.coordination_ended)
        coordinator = SimpleNamespace(_coordination_task=coordination)
        self._thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=coordinator))

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, place: TP) -> int | None:
        assert place in self.assigned, "Partition is not assigned"
        return self.ends[place]

    async def highwaters(self, *places: TP) -> dict[TP, int]:
        if isinstance(self.true_ends, Exception):
            raise self.true_ends
        return self.true_ends

    def acknowledged(self, place: TP) -> int:
        return self.done.get(place, 0)

    def fetched(self, place: TP) -> int:
        return self.read[place] + 1

    def is_held(self, place: TP) -> bool:
        return place in self.held


class Worker:
    """A worker on fakes, whose clock the test sets; its one agent is `only`, with the topic `in`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, consumer: FakeConsumer, *, handled: int = 5) -> None:
        self.now = 1000.0
        self.consumer = consumer
        self.meanwhile: Callable[[], None] = lambda: None
        client = SimpleNamespace(force_metadata_update=self._update_metadata)
        self.remaining = 0
        self.tables = SimpleNamespace(
            actives_ready=True, recovery=SimpleNamespace(active_remaining_total=lambda: self.remaining)
        )
        self.app: Any = SimpleNamespace(
            consumer=consumer,
            producer=SimpleNamespace(_producer=SimpleNamespace(client=client)),
            tables=self.tables,
            rebalancing=False,
        )
        self.loop: Any = SimpleNamespace(
            positions={("in", 0): handled, ("in", 1): 5}, blocked=set(), topics=frozenset({"in"})
        )
        self.health = WorkerHealth(self.app, self.loop)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def _update_metadata(self) -> bool:
        await asyncio.sleep(0)
        self.meanwhile()
        return True

    def look(self) -> Health:
        return asyncio.run(self.health.look())

    def after(self, seconds: float) -> Health:
        """A look now, and one `seconds` later, with nothing changed between them."""
        self.look()
        self.now += seconds
        return self.look()


def test_a_worker_is_ready_and_knows_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Worker(monkeypatch, FakeConsumer(HERE, THERE), handled=6).look()

    assert health.ready
    assert (health.lag, health.behind) == (1 + 2, {"in"})


def test_a_worker_that_has_handled_all_is_behind_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Worker(monkeypatch, FakeConsumer(HERE), handled=7).look()

    assert (health.lag, health.behind) == (0, frozenset())


def test_a_partition_that_leaves_while_kafka_is_asked_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE, THERE)
    worker = Worker(monkeypatch, consumer)
    worker.meanwhile = lambda: consumer.assigned.discard(THERE)

    health = worker.look()

    assert (health.ready, health.lag) == (True, 2)


def test_a_partition_whose_end_is_not_known_yet_is_not_taken_for_a_handled_one(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE, THERE)
    consumer.ends[THERE] = None

    health = Worker(monkeypatch, consumer).look()

    assert (health.lag, health.behind) == (None, {"in"})


def test_the_end_that_kafka_tells_counts_where_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE)
    consumer.true_ends = {HERE: 107}

    assert Worker(monkeypatch, consumer).look().lag == 102


def test_ends_that_cannot_be_asked_for_leave_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE)
    consumer.true_ends = KafkaConnectionError()

    assert Worker(monkeypatch, consumer).look().lag == 2


def test_a_kafka_that_does_not_answer_makes_a_worker_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError("gone")

    worker = Worker(monkeypatch, FakeConsumer(HERE))
    worker.meanwhile = refuse

    health = worker.look()

    assert not health.ready
    assert health.detail == "Kafka does not answer (ConnectionError)"


def test_a_worker_that_has_not_joined_its_group_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE)

    def refuse() -> set[TP]:
        raise ConsumerNotStarted

    monkeypatch.setattr(consumer, "assignment", refuse)

    assert "not a member of its group yet" in Worker(monkeypatch, consumer).look().detail


def test_a_recovery_says_how_much_there_is_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(monkeypatch, FakeConsumer(HERE))
    worker.tables.actives_ready, worker.remaining = False, 12_345

    assert worker.look().detail == "recovering its tables: 12,345 records to go"


def test_a_coordinator_that_has_died_makes_a_worker_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = FakeConsumer(HERE)
    consumer.coordination_ended = True

    assert Worker(monkeypatch, consumer).look().detail == "the group coordination has died"


def test_records_that_nothing_handles_are_a_stall_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(monkeypatch, FakeConsumer(HERE))

    assert worker.after(15.0).ready
    assert worker.after(1.0).checks["stalled"] == "records are not handled on in-0"


def test_a_record_that_waits_for_a_beat_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(monkeypatch, FakeConsumer(HERE))
    worker.loop.blocked = {HERE}

    assert worker.after(3600.0).ready


def test_an_agent_that_waits_does_not_excuse_its_other_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(monkeypatch, FakeConsumer(HERE, THERE))
    worker.loop.blocked = {THERE}

    assert worker.after(16.0).checks["stalled"] == "records are not handled on in-0"


@pytest.mark.parametrize("unsteady", ["recovery", "rebalance", "outage"])
def test_a_stall_is_not_counted_while_nothing_can_move(monkeypatch: pytest.MonkeyPatch, unsteady: str) -> None:
    def refuse() -> None:
        raise ConnectionError("gone")

    worker = Worker(monkeypatch, FakeConsumer(HERE))
    worker.look()
    worker.now += 600.0
    if unsteady == "recovery":
        worker.tables.actives_ready = False
    elif unsteady == "rebalance":
        worker.app.rebalancing = True
    else:
        worker.meanwhile = refuse
    worker.look()
    worker.tables.actives_ready, worker.app.rebalancing, worker.meanwhile = True, False, lambda: None

    assert worker.look().ready


def standing(**changes: Any) -> Standing:
    """All done, but for `changes`."""
    fields = {"end": 9, "fetched": 9, "handled": 9, "acknowledged": 9, "committed": 9, "waits": False, "held": False}
    return Standing(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (standing(committed=8), "commits stand still on in-0"),
        (standing(handled=8), "records are not handled on in-0"),
        (standing(fetched=8, handled=8), "records are not fetched on in-0"),
        (standing(handled=8, waits=True, committed=8), "commits stand still on in-0"),
        (standing(fetched=8, handled=7, waits=True), "records are not fetched on in-0"),
        (standing(fetched=8, handled=7, waits=True, held=True), ""),
        (standing(handled=8, waits=True), ""),
        # Nothing but beats came: they are handled, and written with the next row.
        (standing(acknowledged=5, committed=5), ""),
        (standing(), ""),
    ],
)
def test_a_stall_is_work_that_does_not_move(found: Standing, named: str) -> None:
    stalls = Stalls()
    stalls.find({HERE: found}, 0.0)

    assert stalls.find({HERE: found}, 15.1) == named


def test_whatever_moves_is_no_stall() -> None:
    stalls = Stalls()

    found = [stalls.find({HERE: standing(end=99, handled=n, fetched=9)}, 14.0 * n) for n in range(9)]

    assert found == [""] * 9


def test_a_partition_that_was_away_begins_anew() -> None:
    stalls = Stalls()
    stalls.find({HERE: standing(handled=8)}, 0.0)
    stalls.find({}, 10.0)

    assert stalls.find({HERE: standing(handled=8)}, 20.0) == ""


def judge(looks: Iterable[tuple[float, dict[str, str]]]) -> list[str]:
    """What a worker decides at each of some looks, given as time and checks."""
    patience = Patience()
    return [patience.judge(Health(checks), now) for now, checks in looks]


RECOVERING = {"recovered": "recovering its tables"}


def test_a_worker_that_does_not_get_ready_within_two_minutes_ends() -> None:
    decided = judge([(0, RECOVERING), (119, RECOVERING), (121, RECOVERING)])

    assert decided[:2] == ["", ""]
    assert decided[2] == "not ready for 120 s without any progress: recovering its tables"


def test_a_recovery_that_goes_on_is_waited_for() -> None:
    looks = [(100.0 * n, {"recovered": f"recovering its tables: {9 - n} records to go"}) for n in range(9)]

    assert judge(looks) == [""] * 9


def test_an_outage_of_kafka_is_waited_for_and_the_time_begins_anew() -> None:
    down = {"recovered": "", "flowing": "the group is rebalancing", "broker": "Kafka does not answer"}
    back = down | {"broker": ""}

    assert judge([(0, back), (100, down), (5000, down), (5001, back), (5120, back)]) == [""] * 5


def test_a_worker_that_is_ready_in_between_has_all_the_time_again() -> None:
    assert judge([(0, RECOVERING), (100, {}), (101, RECOVERING), (220, RECOVERING)]) == [""] * 4


def test_what_no_waiting_mends_ends_a_worker_at_the_second_look() -> None:
    dead = {"coordinator": "it died"}

    assert judge([(0, dead), (1, {}), (2, dead), (3, dead)]) == ["", "", "", "it died"]


def test_a_stall_is_left_to_the_supervisor() -> None:
    stalled = {"stalled": "records are not handled on in-0"}

    assert judge([(0, stalled), (1000, stalled)]) == ["", ""]


def test_giving_up_ends_the_process_at_once_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(module.os, "_exit", codes.append)
    monkeypatch.setattr(module.logging, "shutdown", lambda: None)

    give_up("the group coordination has died")

    assert codes == [EXIT_UNWELL] == [75]
