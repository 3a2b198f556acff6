"""Kite's dump of instruments: CSV, plain or gzipped, once a day; the columns are those of Kite Connect 3."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from sys import intern
from typing import BinaryIO, TypeVar, cast

from panda_streams.domain.contracts import underlying_id
from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.errors import BadInput

__all__ = ["Dump", "Problem", "is_dump", "read_dump"]

_COLUMNS = (
    "instrument_token",
    "tradingsymbol",
    "name",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)
_CASH = frozenset({"NSE", "BSE"})
_DERIVATIVES = {"NFO": "NSE", "BFO": "BSE"}
"""By exchange: where the shares are listed whose derivatives trade on it."""
_DERIVED = {
    "FUT": (InstrumentKind.FUTURE, None),
    "CE": (InstrumentKind.OPTION, Right.CALL),
    "PE": (InstrumentKind.OPTION, Right.PUT),
}
T = TypeVar("T")
_GZIP = b"\x1f\x8b"
_FIX = "download the dump again; a row that is wrong there too is passed over, and what it says cannot be traded"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that cannot be used: where, what, and how to mend it."""

    place: str
    """File and line."""
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}\n  fix: {self.fix}"


@dataclass(slots=True)
class Dump:
    """What a dump holds: each instrument once, what is wrong with it, and the rows of exchanges that are not traded."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unsupported: Counter[str] = field(default_factory=Counter)


def is_dump(path: Path) -> bool:
    """Say by its name whether a file is a dump."""
    return path.name.endswith((".csv", ".csv.gz"))


def read_dump(path: Path) -> Dump:
    """Read a dump; raises BadInput for a file that is none or is cut off. Rows that cannot be used are problems.

    Of an instrument that is listed twice the same is taken once, and nothing if the rows disagree.
    """
    dump, lines, disputed = Dump(), dict[str, int](), set[str]()
    for line, row in _rows(path, dump.problems):
        place = f"{path}, line {line}"
        if row["exchange"] not in _CASH and row["exchange"] not in _DERIVATIVES:
            dump.unsupported[row["segment"] or row["exchange"]] += 1
            continue
        try:
            instrument = _instrument(row)
        except ValueError as error:
            dump.problems.append(Problem(place, f"{row['exchange']}:{row['tradingsymbol']}: {error}", _FIX))
            continue
        known = dump.instruments.setdefault(instrument.id, instrument)
        first = lines.setdefault(instrument.id, line)
        if first == line:
            continue
        if known == instrument:
            what = f"{instrument.id} is listed twice, the same as in line {first}"
        else:
            what = f"{instrument.id} is listed twice, otherwise than in line {first}: neither is taken"
            disputed.add(instrument.id)
        dump.problems.append(Problem(place, what, _FIX))
    for name in disputed:
        del dump.instruments[name]
    return dump


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, str]]]:
    fix = f"use the file that Kite serves as /instruments; its first line names {', '.join(_COLUMNS)}"
    try:
        with _open(path) as binary, TextIOWrapper(binary, "utf-8", newline="") as text:
            reader = csv.reader(text)
            heads = next(reader, [])
            absent = [name for name in _COLUMNS if name not in heads]
            if absent:
                raise BadInput(f"{path}, line 1: has no column {', '.join(absent)}", fix=fix)
            places = [(name, heads.index(name)) for name in _COLUMNS]
            row = heads
            for row in reader:
                if len(row) == len(heads):
                    yield reader.line_num, {name: row[place] for name, place in places}
                else:
                    what = f"expected {len(heads)} fields, found {len(row)}"
                    problems.append(Problem(f"{path}, line {reader.line_num}", what, _FIX))
            if len(row) < len(heads):
                raise BadInput(f"{path} is cut off in line {reader.line_num}", fix="download it again")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{path}: {error}", fix="the file is cut off or damaged: download it again") from None
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", fix="name a readable file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not CSV: {error}", fix=fix) from None


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def _instrument(row: dict[str, str]) -> Instrument:
    exchange, symbol, kind = intern(row["exchange"]), row["tradingsymbol"], row["instrument_type"]
    token = _number("instrument_token", row, int)
    if exchange in _CASH:
        if kind != "EQ":
            raise ValueError(f"expected the instrument_type EQ on {exchange}, found {kind!r}")
        if row["segment"] == "INDICES":
            # Tick and lot are 0 there: an index is not traded.
            return Instrument(exchange=exchange, symbol=symbol, kind=InstrumentKind.INDEX, token=token)
        return Instrument(
            exchange=exchange,
            symbol=symbol,
            kind=InstrumentKind.EQUITY,
            token=token,
            tick_size=_number("tick_size", row, _decimal),
            lot=_number("lot_size", row, int),
        )
    if kind not in _DERIVED:
        raise ValueError(f"expected an instrument_type of {', '.join(_DERIVED)} on {exchange}, found {kind!r}")
    if not row["name"]:
        raise ValueError("the name of the underlying is empty")
    derived, right = _DERIVED[kind]
    return Instrument(
        exchange=exchange,
        symbol=symbol,
        kind=derived,
        token=token,
        tick_size=_number("tick_size", row, _decimal),
        lot=_number("lot_size", row, int),
        underlying=_underlying(row["name"], _DERIVATIVES[exchange]),
        expiry=_number("expiry", row, _date),
        strike=_number("strike", row, _decimal) if right else None,
        right=right,
    )


def _number(column: str, row: dict[str, str], parse: Callable[[str], T]) -> T:
    try:
        return parse(row[column])
    except (ValueError, InvalidOperation):
        raise ValueError(f"{column} cannot be read: {row[column]!r}") from None


# A hundred thousand rows share a few thousand dates, strikes and names: one object each saves time and memory.
_date = cache(date.fromisoformat)
_underlying = cache(underlying_id)


@cache
def _decimal(text: str) -> Decimal:
    return Decimal(text.removesuffix(".0"))
