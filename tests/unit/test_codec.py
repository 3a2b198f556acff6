"""The codec: what is encoded comes back the same, and what cannot be decoded says why."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.codec import decode, decode_depth, decode_market, encode, encode_batch, encode_beat
from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.orders import Fill
from panda_streams.domain.signals import Intent, Quote, Side, Signal
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, TickRef
from panda_streams.errors import BadEvent
from panda_streams.events import (
    WIRE_EVENTS,
    Beat,
    Booked,
    DayEnd,
    Filled,
    Mark,
    OrderUpdate,
    Phase,
    TickBatch,
    Validated,
)

integers = st.integers(-(2**53), 2**53)
counts = st.integers(0, 2**53)
ticks = st.builds(
    Tick,
    instrument=st.text(),
    price=integers,
    quantity=st.none() | counts,
    volume=st.none() | counts,
    bid=st.none() | integers,
    ask=st.none() | integers,
    time=counts,
    row=counts,
)
batches = st.builds(
    TickBatch,
    world=st.text(),
    source=st.text(),
    run=st.text(),
    sequence=counts,
    time=counts,
    ticks=st.lists(ticks, max_size=5).map(tuple),
)
levels = st.lists(st.builds(DepthLevel, counts, counts), max_size=5).map(tuple)
books = st.dictionaries(counts, st.builds(Depth, levels, levels), max_size=3)
beats = st.builds(
    Beat,
    world=st.text(),
    source=st.text(),
    run=st.text(),
    sequence=counts,
    time=counts,
    phase=st.sampled_from(Phase),
    end=st.booleans(),
)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12)
refs = st.builds(TickRef, time=counts, row=counts, shard=counts, offset=counts)
signals = st.builds(
    Signal,
    kind=st.just("signal"),
    quote=st.none() | st.builds(Quote, tick=refs, price=decimals, bid=st.none() | decimals, ask=st.none() | decimals),
    cause=refs,
)
trades = st.builds(Fill, price=decimals, charges=st.dictionaries(st.text(), decimals, max_size=3), tick=refs)
fills = st.builds(Filled, kind=st.just("fill"), fill=trades)
updates = st.builds(
    OrderUpdate,
    kind=st.just("order"),
    price=st.none() | decimals,
    trigger=st.none() | decimals,
    fill=st.none() | trades,
)
validated = st.builds(Validated, kind=st.just("validated"), signal=signals)
deposits = st.builds(
    Booking, kind=st.just(BookingKind.DEPOSIT), amount=decimals.filter(lambda amount: amount > 0), reason=st.text()
)
bookings = st.builds(Booked, kind=st.just("booking"), booking=deposits)
day_ends = st.builds(DayEnd, kind=st.just("day-end"))
marks = st.builds(Mark, kind=st.just("mark"), prices=st.dictionaries(st.text(), decimals, max_size=3))


@given(batches, books)
def test_a_batch_comes_back_with_its_depth(batch, depth):
    decoded = decode_market(encode_batch(batch, depth))

    assert isinstance(decoded, TickBatch)
    assert (decoded.world, decoded.source, decoded.run) == (batch.world, batch.source, batch.run)
    assert (decoded.sequence, decoded.time, decoded.ticks) == (batch.sequence, batch.time, batch.ticks)
    assert decode_depth(decoded) == depth


@given(batches)
def test_a_batch_without_depth_is_one_line(batch):
    data = encode_batch(batch)

    assert b"\n" not in data
    assert decode_market(data) == batch


def test_the_bytes_of_the_wire_are_these():
    light = TickBatch("sim", "s", "r\u00e9\n", 4, 9, (Tick("NSE:M&M", 139055, 1, None, 139050, 139060, 9, 7),), b"old")
    depth = {7: Depth((DepthLevel(139050, 5), DepthLevel(139045, 6)), ())}

    assert encode_batch(light, depth).decode() == (
        '{"kind":"ticks","world":"sim","source":"s","run":"r\u00e9\\n","sequence":4,"time":9,'
        '"ticks":[["NSE:M&M",139055,1,null,139050,139060,9,7]]}\n'
        "[[7,[[139050,5],[139045,6]],[]]]"
    )
    assert encode_beat(Beat("sim", "s", "r", 5, 10, Phase.OPEN)) == (
        b'{"kind":"beat","world":"sim","source":"s","run":"r","sequence":5,"time":10,"phase":"open","end":false}'
    )


@given(beats)
def test_a_beat_comes_back(beat):
    assert decode_market(encode_beat(beat)) == beat


@given(st.one_of(signals, fills, marks, updates, validated, bookings, day_ends))
def test_an_event_comes_back_to_the_last_digit(event):
    data = encode(event)

    decoded = decode(type(event), data)

    assert decoded == event
    assert encode(decoded) == data


@given(signals)
def test_the_same_event_gives_the_same_bytes(signal):
    assert encode(signal) == encode(signal.model_copy(deep=True))


@given(decimals)
def test_money_is_text_on_the_wire(price):
    mark = Mark(
        world="sim",
        namespace="paper",
        strategy_id="S",
        shard=0,
        time=1,
        prices={"NSE:INFY": price},
        producer="execution/0",
    )

    assert orjson.loads(encode(mark))["prices"] == {"NSE:INFY": str(price)}


def head(**changes: object) -> dict[str, object]:
    return {
        "kind": "ticks",
        "world": "sim",
        "source": "s",
        "run": "r",
        "sequence": 0,
        "time": 1,
        "ticks": [["NSE:INFY", 139055, 1, 2, None, None, 1, 0]],
    } | changes


BEAT = {
    "kind": "beat",
    "world": "sim",
    "source": "s",
    "run": "r",
    "sequence": 0,
    "time": 1,
    "phase": "open",
    "end": False,
}


def test_the_examples_that_the_bad_ones_differ_from_are_good():
    assert isinstance(decode_market(orjson.dumps(head())), TickBatch)
    assert isinstance(decode_market(orjson.dumps(BEAT)), Beat)


def with_tick(place: int, value: object) -> bytes:
    tick: list[object] = ["NSE:INFY", 139055, 1, 2, 139050, 139060, 1, 0]
    tick[place] = value
    return orjson.dumps(head(ticks=[tick]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "not a tick batch or a beat"),
        (b"", "not a tick batch or a beat"),
        (b"\xff\xfe", "not a tick batch or a beat"),
        (b"[]", "not a tick batch or a beat"),
        (b"7", "not a tick batch or a beat"),
        (b"{}", "missing required field `kind`"),
        (orjson.dumps(head(kind="signal")), "'signal' - at `$.kind`"),
        (orjson.dumps(head(sequence="0")), "Expected `int`, got `str` - at `$.sequence`"),
        (orjson.dumps(head(time=1.5)), "Expected `int`, got `float` - at `$.time`"),
        (orjson.dumps(head(world=None)), "Expected `str`, got `null` - at `$.world`"),
        (orjson.dumps(head(colour="red")), "unknown field `colour`"),
        (orjson.dumps(head(depth_line="W10=")), "depth_line is no field"),
        (orjson.dumps(head(ticks=5)), "Expected `array`, got `int` - at `$.ticks`"),
        (orjson.dumps(head(ticks=[["NSE:INFY", 1]])), "length 8, got 2 - at `$.ticks[0]`"),
        (orjson.dumps(head(ticks=[["NSE:INFY", 1, 1, 2, None, None, 1, 0, 0]])), "at most length 8"),
        (orjson.dumps(BEAT | {"phase": "lunch"}), "'lunch' - at `$.phase`"),
        (orjson.dumps(BEAT | {"end": 1}), "Expected `bool`, got `int` - at `$.end`"),
        (orjson.dumps({name: BEAT[name] for name in BEAT if name != "phase"}), "missing required field `phase`"),
        (with_tick(0, None), "Expected `str`, got `null` - at `$.ticks[0][0]`"),
        (with_tick(1, 1390.55), "Expected `int`, got `float` - at `$.ticks[0][1]`"),
        (with_tick(1, 1390.0), "Expected `int`, got `float` - at `$.ticks[0][1]`"),
        (with_tick(1, "139055"), "Expected `int`, got `str` - at `$.ticks[0][1]`"),
        (with_tick(1, True), "Expected `int`, got `bool` - at `$.ticks[0][1]`"),
        (with_tick(2, "1"), "Expected `int | null`, got `str` - at `$.ticks[0][2]`"),
        (with_tick(3, 0.5), "Expected `int | null`, got `float` - at `$.ticks[0][3]`"),
        (with_tick(4, "139050"), "Expected `int | null`, got `str` - at `$.ticks[0][4]`"),
        (with_tick(5, []), "Expected `int | null`, got `array` - at `$.ticks[0][5]`"),
        (with_tick(6, None), "Expected `int`, got `null` - at `$.ticks[0][6]`"),
        (with_tick(6, 2**63), "Expected `int` <= 9223372036854775807 - at `$.ticks[0][6]`"),
        (with_tick(7, "0"), "Expected `int`, got `str` - at `$.ticks[0][7]`"),
    ],
)
def test_what_is_no_market_record_says_why(data, reason):
    with pytest.raises(BadEvent) as caught:
        decode_market(data)

    assert reason in str(caught.value)


@given(st.binary())
def test_no_bytes_at_all_raise_anything_else(data):
    with suppress(BadEvent):
        assert isinstance(decode_market(data), TickBatch | Beat)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[[1]]", b'[[1, [["a", 1]], []]]', b"[[1, [[1]], []]]", b"[[1, 2, 3]]", b"[[1, [], [], []]]"]
)
def test_a_bad_line_of_depth_is_a_bad_event(line):
    batch = TickBatch("sim", "s", "r", 0, 1, (), line)

    with pytest.raises(BadEvent, match="not a line of order books"):
        decode_depth(batch)


@pytest.mark.parametrize("kind", sorted({kind for kinds in WIRE_EVENTS.values() for kind in kinds}, key=str))
@pytest.mark.parametrize("data", [None, b"", b"\xff", b"null", b"[]", b"{}", b'{"kind": "nonsense"}'])
def test_every_event_refuses_what_it_is_not(kind, data):
    with pytest.raises(BadEvent, match=f"not a {kind.__name__}: "):
        decode(kind, data)


def test_a_bad_field_is_named():
    signal = Signal(
        world="sim",
        signal_id="a",
        strategy_id="S",
        config="c",
        instrument="NSE:INFY",
        side=Side.BUY,
        intent=Intent.ENTRY,
        cause=TickRef(source="s", run="r", row=0, shard=0, offset=0, time=0),
        quote=None,
        producer="brain/0",
        sequence=0,
    )
    fields = orjson.loads(encode(signal))

    with pytest.raises(BadEvent, match=r"not a Signal: cause\.row: "):
        decode(Signal, orjson.dumps(fields | {"cause": fields["cause"] | {"row": "first"}}))
    with pytest.raises(BadEvent, match="not a Signal: capital: "):
        decode(Signal, orjson.dumps(fields | {"capital": "1"}))


@pytest.mark.parametrize("price", ["NaN", "Infinity", "1,5", ""])
def test_what_is_no_amount_is_a_bad_event(price):
    mark = {"world": "sim", "namespace": "paper", "strategy_id": "S", "shard": 0, "time": 1, "producer": "execution/0"}

    with pytest.raises(BadEvent, match=r"not a Mark: prices\.NSE:INFY: "):
        decode(Mark, orjson.dumps(mark | {"prices": {"NSE:INFY": price}}))
    good = decode(Mark, orjson.dumps(mark | {"prices": {"NSE:INFY": "1.50"}}))
    assert good.prices == {"NSE:INFY": Decimal("1.50")}
