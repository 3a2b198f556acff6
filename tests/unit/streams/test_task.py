"""The task: what a micro-batch comes to, when it is written, and what a restart makes of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from panda_streams.streams import agent as agent_module
from panda_streams.streams import task as task_module
from panda_streams.streams.agent import Output, Rows, Stray
from panda_streams.streams.inputs import Received, StreamCursor, Wanted
from panda_streams.streams.rows import MAX_WRITE_BYTES
from panda_streams.streams.task import CURSOR, OUTBOX, Batch, Task
from tests.unit.streams.counting import BEATS, IN, Counting, words


class Table(dict[bytes, bytes]):
    """Stored rows that count how often they are read."""

    reads = 0

    def read(self, key: bytes) -> bytes | None:
        self.reads += 1
        return self.get(key)


def letter(stray: Stray) -> Output:
    return Output("dlq", stray.record.key or b"", f"{stray.topic}@{stray.record.offset}: {stray.reason}".encode())


def a_task(table: Table | None = None, agent: Counting | None = None, *texts: str) -> Task:
    """A task that has taken over `table`, with words to handle from offset 0 on."""
    task = Task(agent or Counting(), 0, (Table() if table is None else table).read, letter)
    task.restore({})
    task.inputs.offer(IN, words(*texts))
    return task


def polled(task: Task, limit: int = 100, *, write: bool = False, enough: bool = False) -> Batch:
    batch = task.poll(limit, lambda: enough, write=write)
    assert isinstance(batch, Batch)
    return batch


def values(outputs: list[Output]) -> list[str]:
    return [output.value.decode().strip() for output in outputs]


def own(batch: Batch) -> dict[bytes, bytes]:
    """The rows of a batch that are the agent's."""
    assert batch.rows is not None
    return {key: value for key, value in batch.rows.items() if not key.startswith(b"\x00")}


# A micro-batch


def test_a_micro_batch_is_one_write_of_each_changed_row_with_its_last_value_the_outbox_and_the_cursor() -> None:
    task = a_task(None, None, "x", "y", "x")

    batch = polled(task)

    assert own(batch) == {b"x": b"2", b"y": b"1"}
    assert batch.rows is not None
    assert set(batch.rows) == {b"x", b"y", OUTBOX, CURSOR}
    assert list(batch.rows)[-1] == CURSOR
    assert orjson.loads(batch.rows[CURSOR]) == {
        "batch": 1,
        "inputs": {IN: {"w": [3, -(2**62), {"w": 2}], "": [3, -(2**62), {}]}},
    }
    assert values(batch.outputs) == ["1@0", "1@1", "2@2"]
    assert (batch.items, batch.time) == (3, 2000)


def test_there_is_nothing_to_do_without_records() -> None:
    assert a_task().poll(100, lambda: False, write=True) is None


def test_a_step_sees_what_earlier_steps_of_its_micro_batch_have_put_and_else_what_is_stored() -> None:
    task = a_task(Table({b"x": b"40"}), None, "x", "x")

    assert values(polled(task).outputs) == ["41@0", "42@1"]


def test_a_micro_batch_ends_at_its_limit_and_the_next_one_goes_on() -> None:
    task = a_task(None, None, "x", "x", "x")

    batches = []
    for _ in range(2):
        batches.append(polled(task, 2))
        task.settle(batches[-1])

    assert [values(batch.outputs) for batch in batches] == [["1@0", "2@1"], ["3@2"]]
    assert task.poll(2, lambda: False, write=False) is None


def test_a_micro_batch_that_has_taken_long_enough_ends_after_at_least_one_record() -> None:
    task = a_task(None, None, "x", "x")

    assert polled(task, enough=True).items == 1


def test_a_micro_batch_ends_when_its_outputs_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "_MAX_BYTES", 1000)
    agent = Counting()
    agent.bytes = 400
    task = a_task(None, agent, *["x"] * 9)

    assert polled(task).items == 3


def test_the_bound_on_outputs_leaves_room_for_them_in_one_batch_of_kafka() -> None:
    assert 4 * task_module._MAX_BYTES < MAX_WRITE_BYTES


def test_a_broken_invariant_is_not_caught() -> None:
    task = a_task(None, None, "x", "boom")

    with pytest.raises(ZeroDivisionError):
        task.poll(100, lambda: False, write=False)


def test_a_record_that_cannot_be_processed_is_dead_lettered_in_its_place_and_the_next_one_is_handled() -> None:
    task = a_task(None, None, "x", "bad", "x")

    batch = polled(task)

    assert values(batch.outputs) == ["1@0", "in@1: a bad word", "2@2"]
    assert (batch.outputs[1].topic, batch.outputs[1].key) == ("dlq", b"k")
    assert orjson.loads((batch.rows or {})[CURSOR])["inputs"][IN]["w"][2] == {"w": 2}


def test_a_record_that_cannot_be_decoded_is_dead_lettered_once() -> None:
    table = Table()
    task = a_task(table, None)
    task.inputs.offer(IN, [Received(0, b"k", b"{")])

    batch = polled(task)
    table.update(batch.rows or {})
    task.settle(batch)
    again = Task(Counting(), 0, table.read, letter)
    again.restore({})
    again.inputs.offer(IN, [Received(0, b"k", b"{")])

    assert values(batch.outputs) == ["in@0: not a word"]
    assert again.poll(100, lambda: False, write=False) is None


class Grieving(Counting):
    """Counts what goes to the dead-letter topic, and says so."""

    def stray(self, part: Any, topic: str, record: Received) -> list[Output]:
        count = (part.rows.get("strays") or 0) + 1
        part.rows.put("strays", count)
        return [Output("said", b"", f"{count}: {topic}@{record.offset}".encode())]


def test_what_an_agent_says_of_a_dead_lettered_record_follows_its_letter() -> None:
    task = a_task(None, Grieving(), "x", "bad")
    undecodable = Received(2, b"k", b"{")
    task.inputs.offer(IN, [undecodable, *words("x", start=3)])

    batch = polled(task)

    assert values(batch.outputs) == [
        "1@0",
        "in@1: a bad word",
        "1: in@1",
        "in@2: not a word",
        "2: in@2",
        "2@3",
    ]
    assert own(batch) == {b"x": b"2", b"strays": b"2"}


def test_an_agent_that_has_nothing_to_say_of_a_dead_lettered_record_says_its_letter_alone() -> None:
    task = a_task()
    task.inputs.offer(IN, [Received(0, b"k", b"{")])

    assert values(polled(task).outputs) == ["in@0: not a word"]


# What is written, and when


def test_a_micro_batch_without_outputs_is_written_only_when_it_is_asked_for() -> None:
    task = a_task(None, None, "quiet")

    batch = polled(task)
    task.settle(batch)
    later = polled(task, write=True)
    task.settle(later)

    assert (batch.rows, batch.items) == (None, 1)
    assert (own(later), later.items) == ({b"quiet": b"1"}, 0)
    assert not task.unwritten
    assert task.poll(100, lambda: False, write=True) is None


def test_what_was_put_off_is_written_with_the_next_outputs() -> None:
    task = a_task(None, None, "quiet")
    task.settle(polled(task))
    waiting = task.unwritten
    task.inputs.offer(IN, words("x", start=1))

    batch = polled(task)
    task.settle(batch)

    assert waiting
    assert own(batch) == {b"quiet": b"1", b"x": b"1"}
    assert not task.unwritten


def test_beats_alone_move_the_cursor_once_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "_BEATS", 3)
    task = a_task(None, None, "beat", "beat")
    few = task.poll(100, lambda: False, write=True)
    task.inputs.offer(IN, words("beat", start=2))

    not_asked_for = task.poll(100, lambda: False, write=False)
    many = polled(task, write=True)
    task.settle(many)

    assert (few, not_asked_for) == (None, None)
    assert (own(many), many.outputs, task.written) == ({}, [], {IN: 3})
    assert task.poll(100, lambda: False, write=True) is None


def test_an_input_is_acknowledged_only_up_to_what_is_written() -> None:
    task = a_task(None, None, "quiet")
    task.settle(polled(task))
    before = task.written

    batch = polled(task, write=True)
    during = task.written
    task.settle(batch)

    assert (before, during, task.written) == ({IN: 0}, {IN: 0}, {IN: 1})


def test_records_that_wait_are_not_acknowledged_with_those_before_them() -> None:
    task = a_task(None, None, "x", "x", "x")

    task.settle(polled(task, 2))

    assert task.written == {IN: 2}


def test_the_mirror_hears_of_rows_once_they_are_stored() -> None:
    agent = Counting()
    task = a_task(None, agent, "x", "y")

    batch = polled(task)
    before = list(agent.heard)
    task.settle(batch)

    assert (before, agent.heard) == ([], [{"x": 1, "y": 1}])


def test_a_row_that_is_stored_is_not_read_again() -> None:
    table = Table()
    task = a_task(table, None, "x")
    task.settle(polled(task))
    reads = table.reads
    task.inputs.offer(IN, words("x", start=1))

    assert values(polled(task).outputs) == ["2@1"]
    assert table.reads == reads


def test_rows_that_are_kept_decoded_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "_CACHED_ROWS", 3)
    table = Table({str(n).encode(): b"7" for n in range(10)})
    rows = Rows(table.read, lambda key, data: int(data), lambda row: str(row).encode())

    for n in range(10):
        rows.get(str(n))
    kept, dropped = [_reads(table, rows, key) for key in ("9", "0")]

    assert (kept, dropped) == (0, 1)


def test_stored_rows_that_are_kept_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "_CACHED_ROWS", 3)
    table = Table({str(n).encode(): b"7" for n in range(10)})
    rows = Rows(table.read, lambda key, data: int(data), lambda row: str(row).encode())

    for n in range(10):
        rows.put(str(n), 7)
    changed = rows.stored()
    kept, dropped = [_reads(table, rows, key) for key in ("9", "0")]

    assert (len(changed), kept, dropped) == (10, 0, 1)


def _reads(table: Table, rows: Rows, key: str) -> int:
    before = table.reads
    assert rows.get(key) == 7
    return table.reads - before


# After a restart


def carried(task: Task, table: Table, *, limit: int = 100, write: bool = False) -> Batch:
    """Carry a batch out in full."""
    batch = polled(task, limit, write=write)
    table.update(batch.rows or {})
    task.settle(batch)
    return batch


def test_what_the_last_micro_batch_said_is_said_again_after_a_restart() -> None:
    table = Table()
    task = a_task(table, None, "x", "y")
    said = carried(task, table).outputs

    assert Task(Counting(), 0, table.read, letter).restore({}) == said


def test_an_outbox_is_said_again_after_every_restart_until_something_else_is_written() -> None:
    table = Table()
    said = carried(a_task(table, None, "x"), table).outputs

    again = [Task(Counting(), 0, table.read, letter).restore({}) for _ in range(2)]

    assert again == [said, said]


def test_an_outbox_that_a_later_write_has_followed_is_not_said_again() -> None:
    table = Table()
    task = a_task(table, None, "x", "quiet")
    carried(task, table, limit=1)

    carried(task, table, write=True)

    assert Task(Counting(), 0, table.read, letter).restore({}) == []
    assert OUTBOX in table


def test_outputs_come_back_from_the_outbox_as_they_were() -> None:
    outputs = [Output("a", b"k", "₹ 1".encode(), 3), Output("b", b"", b"{}")]

    class Telling(Counting):
        def step(self, part: Any, item: Any, offset: int) -> list[Output]:
            return outputs

    table = Table()
    carried(a_task(table, Telling(), "x"), table)

    assert Task(Telling(), 0, table.read, letter).restore({}) == outputs


def test_a_restart_goes_on_behind_what_was_written_and_drops_what_comes_again() -> None:
    table = Table()
    task = a_task(table, None, "x", "x")
    carried(task, table)
    again = a_task(table, None, "x", "x", "x")

    batch = polled(again)

    assert values(batch.outputs) == ["3@2"]
    assert orjson.loads((batch.rows or {})[CURSOR])["batch"] == 2


def test_what_was_put_off_and_lost_comes_again_in_the_same_words() -> None:
    table = Table()
    task = a_task(table, None, "quiet", "x")
    polled(task, 1)

    assert values(polled(a_task(table, None, "quiet", "x")).outputs) == ["1@1"]


def test_stored_cursors_are_read_as_they_were_written() -> None:
    table = Table()
    assert a_task(table).cursors() == (0, {})
    task = a_task(table, None, "x", "x")

    carried(task, table)

    nobodys = StreamCursor(2, -(2**62), {})
    assert task.cursors() == (1, {IN: {"w": StreamCursor(2, -(2**62), {"w": 1}), "": nobodys}})


def test_a_row_that_is_written_before_a_dead_letter_does_not_pass_it() -> None:
    agent = Counting(outbox=False)
    task = a_task(None, agent)
    agent.due = True
    task.inputs.offer(IN, [Received(0, b"k", b"{")])

    refreshed = polled(task)  # and a kill right after it was written

    assert refreshed.rows is not None
    again = a_task(Table(refreshed.rows), Counting(outbox=False))
    again.inputs.offer(IN, [Received(0, b"k", b"{")][again.inputs.expected(IN) :])
    assert values(polled(again).outputs) == ["in@0: not a word"]


def test_many_large_dead_letters_are_no_micro_batch_that_cannot_be_written() -> None:
    task = a_task()
    task.inputs.offer(IN, [Received(offset, b"\xff", b"{" * 400_000) for offset in range(40)])
    big = lambda stray: Output("dlq", stray.record.key or b"", stray.record.value or b"")  # noqa: E731
    task._dead_letter = big

    batches = []
    while (batch := task.poll(100, lambda: False, write=False)) is not None:
        assert isinstance(batch, Batch)
        assert batch.rows is not None
        assert sum(map(len, batch.rows.values())) < MAX_WRITE_BYTES
        task.settle(batch)
        batches.append(batch)

    assert sum(len(batch.outputs) for batch in batches) == 40


def test_a_part_is_opened_once_when_it_is_taken_over() -> None:
    agent = Counting()

    a_task(None, agent, "x").poll(100, lambda: False, write=False)

    assert agent.opened == 1


# What a step needs besides


def test_what_a_step_needs_from_the_log_ends_the_micro_batch_before_it() -> None:
    agent = Counting()
    task = a_task(None, agent, "x", "far", "x")

    first = polled(task)
    task.settle(first)
    wanted = task.poll(100, lambda: False, write=False)
    assert isinstance(wanted, Wanted)
    task.supply(wanted, words("x"))
    rest = polled(task)

    assert values(first.outputs) == ["1@0"]
    assert wanted == (IN, 0, 1)
    assert values(rest.outputs) == ["1@1", "2@2"]


def test_what_is_not_in_the_log_is_written_before_the_next_step() -> None:
    agent = Counting(outbox=False)
    agent.due = True
    task = a_task(None, agent, "x")

    first = polled(task)
    task.settle(first)
    second = polled(task)

    assert (own(first), first.items, first.outputs) == ({b"refreshed": b"1"}, 0, [])
    assert values(second.outputs) == ["1@0"]


# Without an outbox


def test_a_checkpoint_is_written_when_it_is_asked_for_and_holds_no_outbox() -> None:
    task = a_task(None, Counting(outbox=False), "x")

    said = polled(task)
    task.settle(said)
    checkpoint = polled(task, write=True)

    assert (said.rows, values(said.outputs)) == (None, ["1@0"])
    assert checkpoint.rows is not None
    assert set(checkpoint.rows) == {b"x", CURSOR}


def test_from_a_checkpoint_the_same_outputs_come_again() -> None:
    table = Table()
    task = a_task(table, Counting(outbox=False), "x", "x", "x")
    carried(task, table, limit=1, write=True)
    said = carried(task, table).outputs

    again = a_task(table, Counting(outbox=False), "x", "x", "x")

    assert polled(again).outputs == said


# Beats


def test_a_beat_is_said_once_when_event_time_has_moved() -> None:
    task = a_task(None, None, *["beat"] * 3)
    task.poll(100, lambda: False, write=False)

    said = [task.beat(0.0), task.beat(1.0)]

    assert said == [[Output(BEATS, b"", b"2000", 0)], []]
    assert task.said == 2000


def test_a_beat_does_not_pass_a_record_that_waits() -> None:
    task = a_task(None, None, "beat", "beat", "x", "beat")
    task.inputs.next()

    before = task.beat(0.0)
    task.settle(polled(task))

    assert values(before) == ["1000"]
    assert values(task.beat(0.0)) == ["3000"]


def test_the_last_beat_is_said_again_after_a_restart() -> None:
    table = Table()
    task = a_task(table, None, "beat", "x", "beat")
    carried(task, table)
    task.beat(0.0)

    again = a_task(table)

    assert values(again.beat(0.0)) == ["2000"]


def test_nothing_is_said_of_event_time_before_it_is_known() -> None:
    assert a_task().beat(0.0) == []


# What comes from outside of every log


def test_news_are_handled_before_records_and_durable_with_what_is_said_of_them() -> None:
    task = a_task(None, None, "x")
    agent = task.agent
    assert isinstance(agent, Counting)
    agent.outside = ["y", "y"]

    first = polled(task)
    task.settle(first)

    assert (own(first), values(first.outputs)) == ({b"y": b"2"}, ["1@-1", "2@-1"])
    assert first.rows is not None
    assert OUTBOX in first.rows
    assert values(polled(task).outputs) == ["1@0"]


def test_news_that_were_not_carried_out_are_gone_after_a_restart_and_those_that_were_are_said_again() -> None:
    table = Table()
    task = a_task(table)
    agent = task.agent
    assert isinstance(agent, Counting)
    agent.outside = ["x"]
    batch = polled(task)
    assert batch.rows is not None
    table.update(batch.rows)

    again = Task(Counting(), 0, table.read, letter)

    assert values(again.restore({})) == ["1@-1"]
    assert again.poll(100, lambda: False, write=False) is None


def test_a_beat_says_no_more_than_the_agent_has_come_to() -> None:
    agent = Counting()
    agent.behind = 1000
    task = a_task(None, agent, "beat", "beat", "beat")
    task.poll(100, lambda: False, write=False)

    assert values(task.beat(0.0)) == ["1000"]
