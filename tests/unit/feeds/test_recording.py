from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.domain.shards import ShardMap
from panda_streams.domain.ticks import Tick, price_of
from panda_streams.errors import BadInput
from panda_streams.events import TickBatch
from panda_streams.feeds.batching import Batcher, Frame
from panda_streams.feeds.recorder import Collector
from panda_streams.feeds.recording import Faults, Header, SymbolMap, open_recording, write_recording
from panda_streams.feeds.replay import Replay
from panda_streams.feeds.simulator import Simulator
from panda_streams.instrument_files import load_instruments
from tests.unit.builders import T0, a_tick
from tests.unit.feeds.wire import on_the_wire

INSTRUMENTS = load_instruments()
COLUMNS = "timestamp,symbol,ltp,volume"
NINE = "2021-06-08T09:15:31+05:30"
NINE_MS = 1_623_123_931_000


@dataclass
class Reading:
    """What a replay gave, and what it complained about."""

    ticks: list[Tick] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=lambda: Faults(print))
    run: str = ""


def read(*paths: Path, extra: dict[str, str] | None = None) -> Reading:
    reading = Reading()
    reading.faults = Faults(reading.said.append)
    replay = Replay(paths, SymbolMap(INSTRUMENTS, extra), reading.faults)
    reading.ticks = [tick for frame in replay.frames(None) for tick in frame.ticks]
    reading.run = replay.run
    return reading


def csv_file(directory: Path, *lines: str, name: str = "june.csv") -> Path:
    path = directory / name
    text = "".join(f"{line}\n" for line in (COLUMNS, *lines))
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["june.csv", "june.csv.gz"])
def test_a_row_becomes_a_tick_that_invents_nothing(tmp_path: Path, name: str) -> None:
    path = csv_file(tmp_path, f"{NINE},INFY,1390.05,7893", f"{NINE},NIFTY_BANK,35000.1,0", name=name)

    assert read(path).ticks == [
        Tick("NSE:INFY", 139005, None, 7893, None, None, NINE_MS, 0),
        Tick("NSE:NIFTY BANK", 3500010, None, 0, None, None, NINE_MS, 1),
    ]


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 3)), min_size=1))
def test_prices_are_exact(prices: list[tuple[int, int]]) -> None:
    texts = [f"{price_of(units, 2):f}" + "0" * zeros for units, zeros in prices]
    with TemporaryDirectory() as directory:
        reading = read(csv_file(Path(directory), *[f"{NINE},INFY,{text}," for text in texts]))

    assert [(tick.price, tick.volume) for tick in reading.ticks] == [(units, None) for units, _ in prices]
    assert [price_of(tick.price, 2) for tick in reading.ticks] == [Decimal(text) for text in texts]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"{NINE},INFY,1390.05", "expected 4 columns"),
        (f"{NINE},INFY,1390.05,1,2", "expected 4 columns"),
        ("2021-06-08T09:15:31,INFY,1390.05,1", "has no offset"),
        ("yesterday,INFY,1390.05,1", "expected a time like"),
        (f"{NINE},INFY,1390.051,1", "at most 2 decimals"),
        (f"{NINE},INFY,1e3,1", "expected a price like"),
        (f"{NINE},INFY,-5,1", "expected a price like"),
        (f"{NINE},INFY,²,1", "expected a price like"),
        (f"{NINE},INFY,0.00,1", "expected a price above 0"),
        (f"{NINE},INFY,{'9' * 30},1", "expected a price like"),
        (f"{NINE},INFY,1390.05,many", "expected a volume like"),
        (f"{NINE},INFY,1390.05,-1", "expected a volume like"),
        ('"', "expected 4 columns"),
    ],
)
def test_a_bad_line_is_reported_with_its_place_and_the_others_keep_their_rows(
    tmp_path: Path, line: str, found: str
) -> None:
    reading = read(csv_file(tmp_path, f"{NINE},INFY,1390,1", line, f"{NINE},INFY,1391,2"))

    assert [(tick.price, tick.row) for tick in reading.ticks] == [(139000, 0), (139100, 2)]
    assert reading.faults.bad_lines == 1
    assert reading.said[0].startswith(f"{tmp_path / 'june.csv'} line 3: ")
    assert found in reading.said[0]


def test_after_five_bad_lines_the_rest_is_only_counted(tmp_path: Path) -> None:
    reading = read(csv_file(tmp_path, *["nonsense"] * 50, f"{NINE},INFY,1390,1"))

    assert (reading.faults.bad_lines, len(reading.said), len(reading.ticks)) == (50, 6, 1)


def test_unknown_symbols_are_left_out_and_counted_by_name(tmp_path: Path) -> None:
    lines = [f"{NINE},{symbol},10,1" for symbol in ("ZOMATO", "INFY", "ZOMATO", "NIFTY_MOON")]
    reading = read(csv_file(tmp_path, *lines))

    assert [tick.row for tick in reading.ticks] == [1]
    assert reading.faults.unknown == {"ZOMATO": 2, "NIFTY_MOON": 1}
    assert [said.split(": ")[1].split(" is ")[0] for said in reading.said] == ["'ZOMATO'", "'NIFTY_MOON'"]


@pytest.mark.parametrize(
    ("symbol", "instrument"),
    [
        ("NIFTY", "NSE:NIFTY 50"),
        ("NIFTY_BANK", "NSE:NIFTY BANK"),
        ("NIFTY_FINSERV", "NSE:NIFTY FIN SERVICE"),
        ("NIFTY_PSU_BANK", "NSE:NIFTY PSU BANK"),
        ("BAJAJ-AUTO", "NSE:BAJAJ-AUTO"),
        ("M&M", "NSE:M&M"),
    ],
)
def test_symbols_of_recordings_find_their_instruments(symbol: str, instrument: str) -> None:
    assert SymbolMap(INSTRUMENTS).find(symbol) == (instrument, 2)


def test_a_symbol_map_adds_names_and_makes_another_run(tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"{NINE},INFOSYS,1390,1", f"{NINE},INFY,1390,1")
    (tmp_path / "map.yaml").write_text("INFOSYS: NSE:INFY\n")
    extra = SymbolMap.read(INSTRUMENTS, tmp_path / "map.yaml").extra

    assert [tick.instrument for tick in read(path, extra=extra).ticks] == ["NSE:INFY", "NSE:INFY"]
    assert read(path, extra=extra).run != read(path).run == read(path).run


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("INFOSYS: NSE:NOWHERE", "entry INFOSYS: 'NSE:NOWHERE' is not a known instrument"),
        ("- INFY", "expected a mapping, found list"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_symbol_map_names_the_place(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "map.yaml").write_text(text)

    with pytest.raises(BadInput, match=r"map\.yaml") as error:
        SymbolMap.read(INSTRUMENTS, tmp_path / "map.yaml")
    assert found in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"a,b,c\n", b"\x1f\x8bnot gzip", b'{"format": "panda-recording", "version": 2}\n', b"[1]\n", b"{}"]
)
def test_what_is_no_recording_is_refused_before_anything_is_published(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)

    with pytest.raises(BadInput, match=r"x\.csv"):
        open_recording(tmp_path / "x.csv")


def test_a_recording_without_a_known_tick_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no tick of a known instrument"):
        read(csv_file(tmp_path, f"{NINE},ZOMATO,10,1"))


def test_a_cut_off_file_gives_what_it_holds_and_says_where_it_breaks_off(tmp_path: Path) -> None:
    path = csv_file(tmp_path, *[f"{NINE},INFY,{price},1" for price in range(1000, 9000)], name="june.csv.gz")
    path.write_bytes(path.read_bytes()[:-2000])

    reading = read(path)

    assert 0 < len(reading.ticks) < 8000
    assert reading.faults.bad_lines == 1
    assert "cut off here" in reading.said[0]


def test_rows_are_counted_through_several_files(tmp_path: Path) -> None:
    first = csv_file(tmp_path, f"{NINE},INFY,1,1", f"{NINE},INFY,2,1", "nonsense", name="a.csv")
    second = csv_file(tmp_path, f"{NINE},INFY,4,1", name="b.csv.gz")

    assert [(tick.price, tick.row) for tick in read(first, second).ticks] == [(100, 0), (200, 1), (400, 3)]


def recorded(frames: list[Frame], path: Path) -> Path:
    with write_recording(path, Header("sim", "sim", simulated=True)) as write:
        for frame in frames:
            write(frame)
    return path


def test_a_recording_of_a_world_replays_the_same_ticks_and_order_books(tmp_path: Path) -> None:
    frames = list(islice(Simulator(INSTRUMENTS, 1, 0.5).frames(None), 300))
    collector = Collector(4)
    kept: list[Frame] = []
    for step in Batcher("sim", "sim", "1-0.5", ShardMap(4, INSTRUMENTS)).steps(frames):
        for record in step.records:
            kept += collector.add(record.shard, on_the_wire(record))
    kept += collector.rest()

    replay = Replay([recorded(kept, tmp_path / "sim.gz")], SymbolMap(INSTRUMENTS), Faults(print))

    assert list(replay.frames(None)) == [frame for frame in frames if frame.ticks]
    assert replay.source == "recording:sim"


def test_a_recording_of_the_same_frames_has_the_same_bytes_and_is_never_overwritten(tmp_path: Path) -> None:
    frames = [Frame(T0, [a_tick()], {})]
    first, second = recorded(frames, tmp_path / "a.gz"), recorded(frames, tmp_path / "b.gz")

    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(BadInput, match="exists"):
        recorded(frames, first)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"time": 1, "depth": [], "ticks": [["NSE:INFY", 1.5, null, null, null, null, 1, 1]]}',
        b'{"time": 1, "depth": [], "ticks": [["NSE:INFY", 150, null, null, null, null, 1]]}',
        b'{"time": 1, "depth": [], "ticks": [["NSE:INFY", 150, "x", null, null, null, 1, 1]]}',
        b'{"time": 1, "depth": [[1, [[1, null]], []]], "ticks": []}',
    ],
)
def test_a_bad_line_of_an_own_recording_is_reported_with_its_place(tmp_path: Path, line: bytes) -> None:
    path = recorded([Frame(T0, [a_tick()], {})], tmp_path / "own.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + line + b"\n"))

    reading = read(path)

    assert reading.ticks == [a_tick()]
    assert reading.said[0].startswith(f"{path} line 3: ")


def test_rows_of_a_worlds_later_runs_are_raised_above_those_of_the_earlier() -> None:
    collector = Collector(1)
    kept: list[Frame] = []
    for number, run in enumerate(["r1", "r2"]):
        ticks = tuple(a_tick(row=row, time=T0 + number * 1000) for row in range(3))
        kept += collector.add(0, TickBatch("sim", "recording", run, 0, ticks[0].time, ticks))

    kept += collector.rest()

    assert [tick.row for frame in kept for tick in frame.ticks] == [0, 1, 2, 3, 4, 5]
