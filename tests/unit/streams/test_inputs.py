"""Inputs: which record is next is a function of what was said, whatever the batching, the restarts and the bounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from panda_streams.errors import BadEvent
from panda_streams.streams import inputs as inputs_module
from panda_streams.streams.inputs import Bound, Input, Inputs, Item, Received, StreamCursor, Wanted
from tests.properties import examples

ONE, MANY, NOW = "one", "many", "now"
"""A topic with one writer, one with two, and one that is urgent."""


class Said(NamedTuple):
    """What a writer says: a record with a text and a sequence, or a beat without."""

    writer: str
    time: int
    text: str = ""
    sequence: int | None = None
    rank: int = 0


def record(offset: int, said: Said | bytes) -> Received:
    return Received(offset, None, said if isinstance(said, bytes) else orjson.dumps(tuple(said)))


def decode(value: bytes | None) -> Item:
    try:
        writer, time, text, sequence, rank = orjson.loads(value or b"")
    except ValueError as error:
        raise BadEvent("not a record of these tests") from error
    if not text:
        return Item(None, writer, time, watermark=time)
    return Item(text, writer, time, writer, sequence, None, rank)


def make(*, ordered: bool = True, delay: int = 0, bounds: Sequence[Bound] = (Bound.WATERMARK,) * 2) -> Inputs:
    one = Input(ONE, ONE, decode, ("w",), 0, bounds[0])
    many = Input(MANY, MANY, decode, ("a", "b"), delay, bounds[1])
    return Inputs([one, many], ordered=ordered)


def make_urgent(*, ordered: bool = True, bound: Bound = Bound.WATERMARK) -> Inputs:
    """Beside the others an urgent input, whose writer says no beats."""
    one = Input(ONE, ONE, decode, ("w",))
    many = Input(MANY, MANY, decode, ("a", "b"))
    return Inputs([one, many, Input(NOW, NOW, decode, ("u",), bound=bound, urgent=True)], ordered=ordered)


def offer(inputs: Inputs, topic: str, records: Iterable[Said | bytes], start: int | None = None) -> None:
    first = inputs.expected(topic) if start is None else start
    inputs.offer(topic, [record(offset, said) for offset, said in enumerate(records, first)])


def pop(inputs: Inputs) -> Any:
    """Take the next record out, if one may be handled."""
    found = inputs.next()
    return None if found is None else inputs.pop(*found).item.event


def drain(inputs: Inputs) -> list[Any]:
    events = []
    while (event := pop(inputs)) is not None:
        events.append(event)
    return events


# What enters


def test_a_repeat_of_what_is_held_is_dropped_at_the_door() -> None:
    inputs = make(ordered=False)

    offer(inputs, ONE, [Said("w", 1, "x", 0), Said("w", 1, "x", 0), Said("w", 2, "y", 1)])

    assert drain(inputs) == ["x", "y"]


def test_a_repeat_of_what_was_handled_is_dropped_after_a_restart_too() -> None:
    inputs = make(ordered=False)
    offer(inputs, ONE, [Said("w", 1, "x", 0)])
    drain(inputs)
    again = make(ordered=False)
    again.restore(inputs.cursors(), {})

    offer(again, ONE, [Said("w", 1, "x", 0), Said("w", 2, "y", 1)])

    assert drain(again) == ["y"]


def test_what_has_no_sequence_may_be_said_twice() -> None:
    inputs = make(ordered=False)

    offer(inputs, ONE, [Said("w", 1, "x"), Said("w", 1, "x")])

    assert drain(inputs) == ["x", "x"]


def test_each_producer_of_a_writer_has_a_mark_of_its_own() -> None:
    def two_producers(value: bytes | None) -> Item:
        item = decode(value)
        return replace(item, producer=item.event)

    inputs = Inputs([Input(ONE, ONE, two_producers, ("w",))], ordered=False)

    offer(inputs, ONE, [Said("w", 1, "x", 5), Said("w", 1, "y", 0), Said("w", 2, "x", 5), Said("w", 2, "y", 1)])

    assert drain(inputs) == ["x", "y", "y"]
    assert inputs.cursors()[ONE]["w"].marks == {"x": 5, "y": 1}


def test_an_offset_that_was_taken_is_dropped() -> None:
    inputs = make(ordered=False)
    offer(inputs, ONE, [Said("w", 1, "x"), Said("w", 2, "y")])

    offer(inputs, ONE, [Said("w", 2, "y"), Said("w", 3, "z")], start=1)

    assert drain(inputs) == ["x", "y", "z"]
    assert inputs.expected(ONE) == 3


def test_a_new_log_begins_at_the_first_offset_that_is_kept() -> None:
    inputs = make()

    inputs.restore({}, {ONE: 7})

    assert (inputs.expected(ONE), inputs.expected(MANY)) == (7, 0)
    assert inputs.handled() == {ONE: 7, MANY: 0}


# What comes out


def test_without_an_order_the_record_that_came_first_is_next() -> None:
    inputs = make(ordered=False)

    offer(inputs, MANY, [Said("a", 9, "first"), Said("b", 1, "second")])
    offer(inputs, ONE, [Said("w", 0, "third")])

    assert drain(inputs) == ["first", "second", "third"]


def test_with_an_order_the_smallest_effect_time_is_next_whatever_came_first() -> None:
    inputs = make(delay=5)

    offer(inputs, ONE, [Said("w", 3, "w3"), Said("w", 8, "w8"), Said("w", 99)])
    offer(inputs, MANY, [Said("b", 2, "b2+5"), Said("a", 1, "a1+5"), Said("a", 99), Said("b", 99)])

    assert drain(inputs) == ["w3", "a1+5", "b2+5", "w8"]


def test_at_one_effect_time_rank_decides_and_then_the_order_of_the_writers() -> None:
    inputs = make()

    offer(inputs, MANY, [Said("b", 1, "b", rank=1), Said("a", 1, "a", rank=1), Said("a", 1), Said("b", 1)])
    offer(inputs, ONE, [Said("w", 1, "w", rank=2), Said("w", 1)])

    assert drain(inputs) == ["a", "b", "w"]


def test_records_of_one_writer_keep_their_order_whatever_their_times() -> None:
    inputs = make(bounds=(Bound.WATERMARK, Bound.NONE))

    offer(inputs, MANY, [Said("a", 99), Said("b", 99)])
    offer(inputs, ONE, [Said("w", 8, "w8"), Said("w", 3, "w3")])

    assert drain(inputs) == ["w8", "w3"]


def test_a_record_waits_for_every_empty_stream_that_could_bring_an_earlier_one() -> None:
    inputs = make(delay=5)
    offer(inputs, ONE, [Said("w", 10, "w")])
    waits = [inputs.waits_for()]

    for said in (Said("a", 5), Said("b", 4), Said("b", 5)):
        assert pop(inputs) is None
        offer(inputs, MANY, [said])
        waits.append(inputs.waits_for())

    assert waits == [["many of a", "many of b"], ["many of b"], ["many of b"], []]
    assert pop(inputs) == "w"


def test_an_input_that_nothing_can_come_on_is_not_waited_for() -> None:
    inputs = make(delay=5)
    offer(inputs, ONE, [Said("w", 10, "w")])
    assert pop(inputs) is None

    inputs.logs[MANY].awaited = False

    assert (inputs.waits_for(), pop(inputs)) == ([], "w")


def test_what_comes_all_the_same_on_an_input_that_is_not_waited_for_keeps_its_order() -> None:
    inputs = make()
    inputs.logs[MANY].awaited = False
    offer(inputs, ONE, [Said("w", 10, "w")])

    offer(inputs, MANY, [Said("a", 3, "a")])

    assert drain(inputs) == ["a", "w"]


def test_nothing_is_waited_for_where_no_order_is_kept() -> None:
    inputs = make(ordered=False)
    offer(inputs, ONE, [Said("w", 10, "w")])

    assert inputs.waits_for() == []
    assert pop(inputs) == "w"


def test_a_beat_that_goes_back_frees_and_holds_nothing() -> None:
    inputs = make()
    offer(inputs, MANY, [Said("a", 10), Said("b", 10), Said("b", 3)])

    offer(inputs, ONE, [Said("w", 10, "w")])

    assert pop(inputs) == "w"


def test_what_cannot_be_decoded_and_what_an_unknown_writer_says_wait_for_nobody() -> None:
    inputs = make()

    offer(inputs, MANY, [b"{", Said("stranger", 1, "x")])

    strays = drain(inputs)
    assert [str(stray) for stray in strays] == [
        "not a record of these tests",
        "written by 'stranger', expected one of a, b",
    ]
    assert inputs.handled() == {ONE: 0, MANY: 2}


def test_a_stray_is_not_handled_before_it_is_taken_out() -> None:
    inputs = make()

    offer(inputs, MANY, [Said("a", 1), b"{", Said("a", 2)])

    assert inputs.handled()[MANY] == 1


# What is urgent


@pytest.mark.parametrize("ordered", [True, False])
def test_an_urgent_record_is_handled_before_all_that_wait(ordered: bool) -> None:
    inputs = make_urgent(ordered=ordered)
    offer(inputs, ONE, [Said("w", 1, "w1"), Said("w", 2, "w2")])
    offer(inputs, MANY, [Said("a", 9), Said("b", 9)])

    offer(inputs, NOW, [Said("u", 5, "u5"), Said("u", 0, "u0")])

    assert drain(inputs) == ["u5", "u0", "w1", "w2"]


def test_an_urgent_record_waits_for_nobody() -> None:
    inputs = make_urgent()
    offer(inputs, ONE, [Said("w", 10, "w")])

    offer(inputs, NOW, [Said("u", 99, "u")])

    waits = inputs.waits_for()
    assert (waits, pop(inputs)) == ([], "u")
    assert (inputs.waits_for(), pop(inputs)) == (["many of a", "many of b"], None)


@pytest.mark.parametrize("bound", Bound)
def test_an_urgent_input_holds_nobody_up(bound: Bound) -> None:
    inputs = make_urgent(bound=bound)
    offer(inputs, ONE, [Said("w", 4000, "w"), Said("w", 9000)])
    offer(inputs, MANY, [Said("a", 9000), Said("b", 9000)])
    offer(inputs, NOW, [Said("u", 1000, "u")])
    before = inputs.reached()

    handled = drain(inputs)

    assert (before, handled, inputs.reached()) == (3000, ["u", "w"], 9000)


def test_an_urgent_input_may_be_the_only_one() -> None:
    inputs = Inputs([Input(NOW, NOW, decode, ("u",), urgent=True)], ordered=True)

    offer(inputs, NOW, [Said("u", 9, "x", 0), b"{", Said("u", 1, "y", 1), Said("u", 1, "y", 1)])

    assert [str(event) for event in drain(inputs)] == ["x", "not a record of these tests", "y"]
    assert inputs.handled() == {NOW: 4}


def test_an_urgent_input_keeps_its_place_after_a_restart() -> None:
    log = [Said("u", 3, "u3", 0), Said("u", 1, "u1", 1), Said("u", 1, "u2")]
    inputs = make_urgent()
    offer(inputs, NOW, log)
    handled = [pop(inputs), pop(inputs)]
    again = make_urgent()
    again.restore(inputs.cursors(), {})

    start = again.expected(NOW)
    offer(again, NOW, [*log[start:], Said("u", 1, "u1", 1)])

    assert (handled, start) == (["u3", "u1"], 2)
    assert drain(again) == ["u2"]


def test_an_input_that_was_added_starts_where_its_log_is_kept_from() -> None:
    inputs = make()
    offer(inputs, ONE, [Said("w", 1, "w", 0)])
    again = make_urgent()

    again.restore(inputs.cursors(), {NOW: 7})

    assert (again.expected(ONE), again.expected(NOW)) == (0, 7)


# How far event time has come


@pytest.mark.parametrize(
    ("bound", "reached"),
    [(Bound.WATERMARK, 3000), (Bound.HELD, 9000), (Bound.NONE, 9000)],
    ids=lambda value: str(value),
)
def test_an_empty_stream_bounds_by_its_watermark_as_its_input_says(bound: Bound, reached: int) -> None:
    inputs = make(bounds=(Bound.WATERMARK, bound))

    offer(inputs, ONE, [Said("w", 9000)])
    offer(inputs, MANY, [Said("a", 3000), Said("b", 4000)])

    assert inputs.reached() == reached


@pytest.mark.parametrize(("bound", "reached"), [(Bound.WATERMARK, 4000), (Bound.HELD, 4000), (Bound.NONE, 9000)])
def test_a_held_record_is_a_watermark_too_rounded_down_to_a_beat(bound: Bound, reached: int) -> None:
    inputs = make(bounds=(Bound.WATERMARK, bound))

    offer(inputs, MANY, [Said("a", 5000, "x"), Said("a", 9000), Said("b", 9000)])
    offer(inputs, ONE, [Said("w", 9000)])

    assert inputs.reached() == reached


def test_nothing_is_reached_before_every_stream_that_bounds_has_said_something() -> None:
    inputs = make()

    offer(inputs, ONE, [Said("w", 9000)])
    offer(inputs, MANY, [Said("a", 9000)])
    silent = inputs.reached()
    offer(inputs, MANY, [Said("b", 9000)])

    assert (silent, inputs.reached()) == (None, 9000)


def test_the_feedback_delay_does_not_bound_what_may_be_said() -> None:
    inputs = make(delay=5000)

    offer(inputs, ONE, [Said("w", 9000)])
    offer(inputs, MANY, [Said("a", 7000, "x"), Said("b", 9000)])

    assert inputs.reached() == 6000


# Where it stands


def test_a_cursor_has_the_watermark_at_its_offset_and_not_what_was_read_ahead() -> None:
    inputs = make()

    offer(inputs, MANY, [Said("a", 1000), Said("a", 2000, "x", 0), Said("a", 9000)])

    assert inputs.cursors()[MANY]["a"] == StreamCursor(1, 1000, {})
    assert inputs.handled()[MANY] == 1


def test_a_writer_that_is_ahead_of_another_keeps_its_place_after_a_restart() -> None:
    records = [Said("a", 1, "a1", 0), Said("b", 9, "b9", 0), Said("a", 2, "a2", 1), Said("a", 8)]
    inputs = make()
    offer(inputs, ONE, [Said("w", 5)])
    offer(inputs, MANY, records)
    assert drain(inputs) == ["a1", "a2"]
    again = make()
    again.restore(inputs.cursors(), {})

    offer(again, ONE, [Said("w", 50)])
    start = again.expected(MANY)
    offer(again, MANY, [*records[start:], Said("a", 50), Said("b", 50)])

    assert start == 1
    assert drain(again) == ["b9"]


def test_a_record_without_a_sequence_that_was_handled_is_not_handled_again_after_a_restart() -> None:
    inputs = make()
    offer(inputs, ONE, [Said("w", 5)])
    records = [Said("b", 9, "b9"), Said("a", 2, "a2"), Said("a", 8)]
    offer(inputs, MANY, records)
    assert drain(inputs) == ["a2"]
    again = make()
    again.restore(inputs.cursors(), {})

    offer(again, ONE, [Said("w", 50)])
    offer(again, MANY, [*records, Said("a", 50), Said("b", 50)])

    assert drain(again) == ["b9"]


def test_places_do_not_go_back_when_they_are_stored_before_the_log_was_read_again() -> None:
    records: list[Said | bytes] = [Said("b", 9, "b9"), Said("a", 2, "a2"), b"stray", Said("a", 8)]
    inputs = make()
    offer(inputs, ONE, [Said("w", 5)])
    offer(inputs, MANY, records)
    assert [str(event) for event in drain(inputs)] == ["not a record of these tests", "a2"]
    first = make()
    first.restore(inputs.cursors(), {})

    assert first.expected(MANY) == 0
    assert first.cursors() == inputs.cursors()
    assert first.handled() == inputs.handled()
    second = make()
    second.restore(first.cursors(), {})
    offer(second, ONE, [Said("w", 50)])
    offer(second, MANY, [*records, Said("a", 50), Said("b", 50)])
    assert drain(second) == ["b9"]


# Bounds


@pytest.fixture
def _tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_module, "HOLD", 2)


def refill(inputs: Inputs, log: Sequence[Said]) -> int:
    """Read what did not fit again from the log, as the loop does; how many records were read."""
    read = 0
    while (wanted := inputs.lacking()) is not None:
        inputs.refill(wanted, [record(offset, log[offset]) for offset in range(wanted.start, wanted.end)])
        read += wanted.end - wanted.start
    return read


@pytest.mark.usefixtures("_tight")
def test_a_partition_with_one_writer_is_held_back_when_it_is_full() -> None:
    inputs = make()

    offer(inputs, ONE, [Said("w", 1, "x"), Said("w", 2, "y")])

    assert inputs.overfull(ONE)
    assert not inputs.overfull(MANY)
    offer(inputs, MANY, [Said("a", 9), Said("b", 9)])
    drain(inputs)
    assert not inputs.overfull(ONE)


@pytest.mark.usefixtures("_tight")
def test_a_partition_with_several_writers_is_never_held_back_and_what_did_not_fit_is_read_again() -> None:
    inputs = make()
    log = [Said("a", time, f"a{time}", time) for time in range(6)] + [Said("b", 9, "b9", 0), Said("a", 9), Said("b", 9)]
    offer(inputs, MANY, log)
    full = inputs.overfull(MANY)
    offer(inputs, ONE, [Said("w", 9)])

    handled = []
    while (event := pop(inputs)) is not None:
        handled.append(event)
        refill(inputs, log)

    assert not full
    assert handled == [*[f"a{time}" for time in range(6)], "b9"]
    assert inputs.handled() == {ONE: 1, MANY: 9}


@pytest.mark.usefixtures("_tight")
def test_what_did_not_fit_is_read_again_only_once_half_of_the_room_is_free() -> None:
    inputs = make()
    log = [Said("a", time, f"a{time}", time) for time in range(6)]
    offer(inputs, MANY, [*log, Said("b", 9)])

    full = inputs.lacking()
    offer(inputs, ONE, [Said("w", 9)])
    pop(inputs)

    assert full is None
    assert inputs.lacking() == (MANY, 2, 6)


@pytest.mark.usefixtures("_tight")
def test_what_is_read_again_is_bounded_too() -> None:
    inputs = make()
    log = [Said("a", time, f"a{time}", time) for time in range(6)]
    offer(inputs, MANY, [*log, Said("b", 9)])
    offer(inputs, ONE, [Said("w", 9)])
    drain(inputs)

    inputs.refill(Wanted(MANY, 2, 6), [record(offset, log[offset]) for offset in range(2, 6)])

    assert inputs.logs[MANY].held == 2


@pytest.mark.usefixtures("_tight")
def test_what_one_writer_lacks_is_not_taken_twice_from_another_that_lacks_less() -> None:
    inputs = make()
    log = [
        *[Said("a", 1, "a"), Said("a", 1, "a"), Said("a", 2, "lacking a")],
        *[Said("b", 3, "b"), Said("b", 3, "b"), Said("b", 4, "lacking b")],
        *[Said("a", 9), Said("b", 9)],
    ]
    offer(inputs, MANY, log)
    offer(inputs, ONE, [Said("w", 9)])

    handled = drain(inputs)
    while inputs.lacking():
        refill(inputs, log)
        handled += drain(inputs)

    assert handled == ["a", "a", "lacking a", "b", "b", "lacking b"]


@pytest.mark.usefixtures("_tight")
def test_an_empty_stream_that_lags_holds_back_what_comes_after() -> None:
    inputs = make()
    log = [*[Said("a", time, f"a{time}", time) for time in range(4)], Said("b", 3, "b3", 0), Said("a", 9), Said("b", 9)]
    offer(inputs, MANY, log)
    offer(inputs, ONE, [Said("w", 9)])

    handled = drain(inputs)

    assert handled == ["a0", "a1"]
    assert inputs.waits_for() == ["many of a"]
    while inputs.lacking():
        refill(inputs, log)
        handled += drain(inputs)
    assert handled == ["a0", "a1", "a2", "a3", "b3"]


@pytest.mark.usefixtures("_tight")
def test_a_cursor_of_a_stream_that_lags_is_where_it_must_be_read_again() -> None:
    inputs = make()
    log = [*[Said("a", time, f"a{time}", time) for time in range(4)], Said("a", 9), Said("b", 9)]
    offer(inputs, MANY, log)
    offer(inputs, ONE, [Said("w", 9)])
    drain(inputs)

    assert inputs.cursors()[MANY]["a"].next == 2
    assert inputs.cursors()[MANY]["b"].next == 6
    assert inputs.handled()[MANY] == 2


@pytest.mark.usefixtures("_tight")
def test_on_the_wall_clock_every_partition_is_held_back_when_it_is_full() -> None:
    inputs = make(ordered=False)

    offer(inputs, MANY, [Said("a", 1, "x"), Said("b", 2, "y"), Said("b", 3, "z")])

    assert inputs.overfull(MANY)
    assert inputs.lacking() is None
    assert drain(inputs) == ["x", "y", "z"]


# The claim that all of it serves


@st.composite
def writers(draw: st.DrawFn) -> dict[str, list[Said]]:
    """What each writer says: records whose times never go back, beats that keep their word, and a last beat."""
    said: dict[str, list[Said]] = {}
    for writer in ("w", "a", "b"):
        records, time, floor = [], 0, 0
        for step in draw(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12)):
            is_beat, forward = step
            if is_beat:
                floor = time = time + forward
                records.append(Said(writer, time))
            else:
                time = max(time + forward, floor + 1)
                number = sum(1 for one in records if one.text)
                sequence = draw(st.sampled_from([number, None]))
                records.append(Said(writer, time, f"{writer}{number}@{time}", sequence, draw(st.integers(0, 1))))
        said[writer] = [*records, Said(writer, 1000)]
    return said


def logs_of(said: dict[str, list[Said]], draw: Any) -> dict[str, list[Said]]:
    """One possible log of each topic: writers interleaved, and some records said again later."""
    one, many = list(said["w"]), []
    left = {writer: list(said[writer]) for writer in ("a", "b")}
    while any(left.values()):
        writer = draw(st.sampled_from([name for name, records in left.items() if records]))
        many.append(left[writer].pop(0))
        again = [one for one in many if one.sequence is not None or not one.text]
        if again and draw(st.integers(0, 4)) == 0:
            many.append(draw(st.sampled_from(again)))
    return {ONE: one, MANY: many}


Cursors = dict[str, dict[str, StreamCursor]]


def stored(inputs: Inputs) -> Cursors:
    """The cursors as they are now, apart from what happens next."""
    return {
        name: {writer: cursor._replace(marks=dict(cursor.marks)) for writer, cursor in streams.items()}
        for name, streams in inputs.cursors().items()
    }


@settings(max_examples=examples(60))
@given(said=writers(), delay=st.integers(0, 4), hold=st.sampled_from([2, 3, 4096]), data=st.data())
def test_no_split_no_restart_and_no_bound_changes_the_order_that_comes_out(
    said: dict[str, list[Said]], delay: int, hold: int, data: Any
) -> None:
    logs, draw = logs_of(said, data.draw), data.draw
    plain = make(delay=delay)
    for topic in (ONE, MANY):
        offer(plain, topic, [one for writer in (("w",) if topic == ONE else ("a", "b")) for one in said[writer]])
    expected = drain(plain)
    assert len(expected) == sum(1 for records in said.values() for one in records if one.text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs_module, "HOLD", hold)
        inputs, handled = make(delay=delay), []
        durable: tuple[Cursors, list[Any]] = ({}, [])
        for move in [*draw(st.lists(st.sampled_from(["one", "many", "pop", "write", "kill"]), max_size=30)), "rest"]:
            if move == "pop":
                if (event := pop(inputs)) is not None:
                    handled.append(event)
            elif move == "write":
                durable = (stored(inputs), list(handled))
            elif move == "kill":
                inputs, handled = make(delay=delay), list(durable[1])
                inputs.restore(durable[0], {})
            elif move == "rest":
                for _ in range(200):
                    for topic, log in logs.items():
                        if not inputs.overfull(topic):
                            start = inputs.expected(topic)
                            offer(inputs, topic, log[start : start + 1])
                    refill(inputs, logs[MANY])
                    handled += drain(inputs)
            else:
                start, count = inputs.expected(move), draw(st.integers(1, 4))
                offer(inputs, move, logs[move][start : start + count])
                refill(inputs, logs[MANY])

    assert handled == expected
    assert inputs.handled() == {topic: len(log) for topic, log in logs.items()}
