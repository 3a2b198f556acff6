"""Kite's dump: every kind of row is read, and one that cannot be used is named with its line and passed over."""

from __future__ import annotations

import csv
import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.errors import BadInput
from panda_streams.kite_dump import read_dump

INFY = {
    "instrument_token": "408065",
    "exchange_token": "1594",
    "tradingsymbol": "INFY",
    "name": "INFOSYS, LIMITED",
    "last_price": "0.0",
    "expiry": "",
    "strike": "0.0",
    "tick_size": "0.05",
    "lot_size": "1",
    "instrument_type": "EQ",
    "segment": "NSE",
    "exchange": "NSE",
}
INDEX = INFY | {
    "instrument_token": "256265",
    "tradingsymbol": "NIFTY 50",
    "name": "NIFTY 50",
    "tick_size": "0.0",
    "lot_size": "0",
    "segment": "INDICES",
}
FUTURE = INFY | {
    "instrument_token": "14866434",
    "tradingsymbol": "NIFTY26AUGFUT",
    "name": "NIFTY",
    "expiry": "2026-08-25",
    "tick_size": "0.1",
    "lot_size": "65",
    "instrument_type": "FUT",
    "segment": "NFO-FUT",
    "exchange": "NFO",
}
OPTION = FUTURE | {
    "instrument_token": "15813634",
    "tradingsymbol": "NIFTY26AUG24000CE",
    "strike": "24000.0",
    "tick_size": "0.05",
    "instrument_type": "CE",
    "segment": "NFO-OPT",
}
DOLLAR = FUTURE | {"tradingsymbol": "USDINR26AUGFUT", "segment": "CDS-FUT", "exchange": "CDS", "tick_size": "0.0025"}
GOLD = FUTURE | {"tradingsymbol": "GOLD26AUGFUT", "segment": "MCX-FUT", "exchange": "MCX"}


def a_dump(folder: Path, *rows: dict[str, str], name: str = "dump.csv", head: dict[str, str] = INFY) -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(row.values() for row in rows)
    return path


def test_each_kind_of_row_becomes_its_instrument(tmp_path: Path) -> None:
    dump = read_dump(a_dump(tmp_path, INFY, INDEX, FUTURE, OPTION))

    assert dump.problems == []
    assert list(dump.instruments.values()) == [
        Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY, token=408065),
        Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX, token=256265),
        Instrument(
            exchange="NFO",
            symbol="NIFTY26AUGFUT",
            kind=InstrumentKind.FUTURE,
            token=14866434,
            tick_size=Decimal("0.1"),
            lot=65,
            underlying="NSE:NIFTY 50",
            expiry=date(2026, 8, 25),
        ),
        Instrument(
            exchange="NFO",
            symbol="NIFTY26AUG24000CE",
            kind=InstrumentKind.OPTION,
            token=15813634,
            lot=65,
            underlying="NSE:NIFTY 50",
            expiry=date(2026, 8, 25),
            strike=Decimal(24_000),
            right=Right.CALL,
        ),
    ]


@pytest.mark.parametrize(
    ("name", "exchange", "underlying"),
    [
        ("BANKNIFTY", "NFO", "NSE:NIFTY BANK"),
        ("MIDCPNIFTY", "NFO", "NSE:NIFTY MID SELECT"),
        ("SENSEX", "BFO", "BSE:SENSEX"),
        ("INFY", "NFO", "NSE:INFY"),
        ("BAJAJ-AUTO", "NFO", "NSE:BAJAJ-AUTO"),
        ("INFY", "BFO", "BSE:INFY"),
    ],
)
def test_the_name_of_a_derivative_is_its_underlying(tmp_path: Path, name: str, exchange: str, underlying: str) -> None:
    (found,) = read_dump(a_dump(tmp_path, FUTURE | {"name": name, "exchange": exchange})).instruments.values()

    assert found.underlying == underlying


def test_a_gzipped_dump_is_the_same_whatever_its_name(tmp_path: Path) -> None:
    plain = a_dump(tmp_path, INFY, FUTURE)
    zipped = tmp_path / "zipped.csv"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))

    assert read_dump(zipped) == read_dump(plain)


def test_rows_of_other_markets_are_counted_and_no_problem(tmp_path: Path) -> None:
    dump = read_dump(a_dump(tmp_path, DOLLAR, INFY, GOLD, DOLLAR))

    assert (dump.unsupported, dump.problems) == ({"CDS-FUT": 2, "MCX-FUT": 1}, [])
    assert list(dump.instruments) == ["NSE:INFY"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (INFY | {"instrument_token": "x"}, "instrument_token cannot be read: 'x'"),
        (INFY | {"tick_size": ""}, "tick_size cannot be read"),
        (INFY | {"tick_size": "0.0"}, "tick_size must be"),
        (INFY | {"lot_size": "0"}, "lot must be"),
        (INFY | {"instrument_type": "FUT"}, "instrument_type EQ"),
        (INFY | {"tradingsymbol": ""}, "symbol must not be empty"),
        (FUTURE | {"expiry": ""}, "expiry cannot be read"),
        (FUTURE | {"expiry": "25-08-2026"}, "expiry cannot be read"),
        (FUTURE | {"name": ""}, "name of the underlying"),
        (FUTURE | {"instrument_type": "EQ"}, "FUT, CE, PE"),
        (OPTION | {"strike": "0.0"}, "strike must be above 0"),
        (OPTION | {"strike": "many"}, "strike cannot be read"),
        ({"one": "field", **FUTURE}, "expected 12 fields, found 13"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_passed_over(tmp_path: Path, row: dict[str, str], what: str) -> None:
    path = a_dump(tmp_path, INDEX, row, OPTION)

    dump = read_dump(path)

    (problem,) = dump.problems
    assert problem.place == f"{path}, line 3"
    assert what in problem.what
    assert problem.fix
    assert list(dump.instruments) == ["NSE:NIFTY 50", "NFO:NIFTY26AUG24000CE"]


def test_a_row_that_comes_twice_is_taken_once_and_reported(tmp_path: Path) -> None:
    dump = read_dump(a_dump(tmp_path, INFY, FUTURE, INFY))

    assert list(dump.instruments) == ["NSE:INFY", "NFO:NIFTY26AUGFUT"]
    assert [problem.what for problem in dump.problems] == ["NSE:INFY is listed twice, the same as in line 2"]


def test_of_rows_that_disagree_none_is_taken(tmp_path: Path) -> None:
    dump = read_dump(a_dump(tmp_path, INFY, INFY | {"lot_size": "5"}, INFY))

    assert dump.instruments == {}
    assert "neither is taken" in dump.problems[0].what


def test_a_file_without_the_columns_is_no_dump(tmp_path: Path) -> None:
    head = {name: value for name, value in INFY.items() if name not in ("strike", "expiry")}

    with pytest.raises(BadInput, match=r"dump\.csv, line 1: has no column expiry, strike"):
        read_dump(a_dump(tmp_path, head=head))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = a_dump(tmp_path, INFY, FUTURE, OPTION)
    content = gzip.compress(path.read_bytes()) if zipped else path.read_bytes()
    path.write_bytes(content[:-20])

    with pytest.raises(BadInput, match=r"dump\.csv") as caught:
        read_dump(path)

    assert "download it again" in caught.value.fix


@pytest.mark.parametrize("content", [b"", b"\x1f\x8bnothing", b"\xff\xfe,\n", b"<html>\n"])
def test_what_is_no_dump_at_all_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dump.csv"
    path.write_bytes(content)

    with pytest.raises(BadInput, match=r"dump\.csv"):
        read_dump(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.csv: No such file"):
        read_dump(tmp_path / "nowhere.csv")
