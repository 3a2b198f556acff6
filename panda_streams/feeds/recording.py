"""Recordings: reads CSV files and the project's own format tick by tick, and writes the latter.

The own format is gzip of JSON lines. The first line is
`{"format": "panda-recording", "version": 1, "world": …, "source": …, "simulated": …}`, each other one a frame:
`{"time": …, "ticks": [[…], …], "depth": [[row, bids, asks], …]}` with ticks and depth as in codec.py.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson
import yaml
from msgspec.json import encode
from msgspec.structs import replace

from panda_streams.domain.instruments import Instruments
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.errors import BadInput
from panda_streams.feeds.batching import Frame

__all__ = ["COLUMNS", "Faults", "Header", "RecordingFile", "SymbolMap", "open_recording", "write_recording"]

COLUMNS = ["timestamp", "symbol", "ltp", "volume"]
_FORMAT = "panda-recording"
_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SHOWN = 5
"""Bad lines and unknown symbols reported one by one; after that they are counted."""

_DIGITS = 15
"""Longer numbers are no prices or volumes, and JSON readers do not agree on them."""

_Ticks = Generator[tuple[Tick, Depth | None], None, int]


@dataclass(slots=True)
class Faults:
    """What a reading could not use. `report` hears of the first five bad lines and unknown symbols."""

    report: Callable[[str], None]
    bad_lines: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    def bad_line(self, path: Path, line: int, found: str) -> None:
        self.bad_lines += 1
        if self.bad_lines <= _SHOWN:
            self.report(f"{path} line {line}: {found}; the line is left out")
        if self.bad_lines == _SHOWN:
            self.report("further bad lines are only counted")

    def unknown_symbol(self, path: Path, line: int, symbol: str) -> None:
        self.unknown[symbol] += 1
        if self.unknown[symbol] == 1 and len(self.unknown) <= _SHOWN:
            self.report(f"{path} line {line}: {symbol!r} is not a known instrument; its ticks are left out")


class SymbolMap:
    """Finds the instrument of a recording's symbol: `NIFTY` is NSE:NIFTY 50, `NIFTY_IT` is NSE:NIFTY IT.

    `extra` goes first; what it and the rules below do not know is an NSE symbol as it stands.
    """

    _RULES: Mapping[str, str] = {
        "NIFTY": "NSE:NIFTY 50",
        "NIFTY_BANK": "NSE:NIFTY BANK",
        "NIFTY_FINSERV": "NSE:NIFTY FIN SERVICE",
    }

    def __init__(self, instruments: Instruments, extra: Mapping[str, str] | None = None) -> None:
        self._instruments = instruments
        self.extra = dict(extra or {})

    @classmethod
    def read(cls, instruments: Instruments, path: Path | None) -> SymbolMap:
        """Read the additions of a YAML file, a mapping of symbols to instruments; raise BadInput with the place."""
        if path is None:
            return cls(instruments)
        fix = "write lines like `NIFTY: NSE:NIFTY 50`, each with an instrument of the instruments file"
        try:
            extra = yaml.safe_load(path.read_text())
        except OSError as error:
            raise BadInput(f"symbol map {path}: {error.strerror}", fix="name an existing file after --map") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadInput(f"symbol map {path} is not YAML: {error}", fix=fix) from None
        if not isinstance(extra, dict):
            raise BadInput(f"symbol map {path}: expected a mapping, found {type(extra).__name__}", fix=fix)
        for symbol, name in extra.items():
            if not isinstance(symbol, str) or name not in instruments:
                raise BadInput(f"symbol map {path}, entry {symbol}: {name!r} is not a known instrument", fix=fix)
        return cls(instruments, extra)

    def find(self, symbol: str) -> tuple[str, int] | None:
        """The instrument's id and decimals, or None."""
        name = self.extra.get(symbol) or self._RULES.get(symbol)
        if name is None:
            name = f"NSE:NIFTY {symbol[6:].replace('_', ' ')}" if symbol.startswith("NIFTY_") else f"NSE:{symbol}"
        instrument = self._instruments.get(name)
        return (instrument.id, instrument.decimals) if instrument else None

    def knows(self, instrument_id: str) -> bool:
        """Say whether an instrument id, as the own format has it, is known."""
        return instrument_id in self._instruments


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of the own format: where the ticks come from."""

    world: str
    source: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A recording whose first line has been checked. `header` is None for a CSV file."""

    path: Path
    header: Header | None

    def ticks(self, symbols: SymbolMap, faults: Faults, first_row: int, place: Callable[[float], None]) -> _Ticks:
        """Yield the file's ticks with rows from `first_row` on, and return the row after the file's last.

        `place` is told now and then what share of the file has been read. Bad lines and unknown symbols go to
        `faults`, and so does the place where a damaged file breaks off: what stands before it is used.
        """
        with _open_text(self.path) as (text, share):
            text.readline()
            lines = _lines(self.path, text, faults, share, place)
            next_row = yield from (_own if self.header else _csv)(self.path, lines, symbols, faults, first_row)
        place(1.0)
        return next_row


def open_recording(path: Path) -> RecordingFile:
    """Check that a file is a recording; raise BadInput that says what was expected and found."""
    fix = f"give a CSV or CSV.gz file with the columns {','.join(COLUMNS)}, or one written by `panda record`"
    try:
        with _open_text(path) as (text, _):
            first = text.readline(100_000)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"recording {path}: {error}", fix=fix) from None
    if first.startswith("{"):
        try:
            head: Any = orjson.loads(first)
            if head["format"] == _FORMAT and head["version"] == _VERSION:
                return RecordingFile(path, Header(str(head["world"]), str(head["source"]), bool(head["simulated"])))
        except (ValueError, KeyError, TypeError):
            head = None
    elif [name.strip() for name in first.strip().split(",")] == COLUMNS:
        return RecordingFile(path, None)
    raise BadInput(
        f"recording {path} line 1: expected the columns {','.join(COLUMNS)} or the first line of a {_FORMAT} of "
        f"version {_VERSION}, found {first.strip()[:80]!r}",
        fix=fix,
    )


@contextmanager
def write_recording(path: Path, header: Header) -> Iterator[Callable[[Frame], None]]:
    """Give a function that writes a frame; the file appears, whole, when the context ends without an error.

    The same frames give the same bytes. Raises BadInput if the file is there already.
    """
    if path.exists():
        raise BadInput(f"{path} exists", fix="name another file, or remove that one")
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file:
        head = {"format": _FORMAT, "version": _VERSION, "world": header.world, "source": header.source}
        file.write(orjson.dumps({**head, "simulated": header.simulated}) + b"\n")

        def write(frame: Frame) -> None:
            depth = [(row, book.bids, book.asks) for row, book in frame.depth.items()]
            file.write(encode({"time": frame.time, "ticks": frame.ticks, "depth": depth}) + b"\n")

        yield write
    temporary.replace(path)


@contextmanager
def _open_text(path: Path) -> Iterator[tuple[TextIO, Callable[[], float]]]:
    """Open a plain or gzipped file as text, with a function that says what share of it has been read."""
    with path.open("rb") as raw:
        size = path.stat().st_size or 1
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        data: BinaryIO = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        # What is not UTF-8 becomes a bad line, not the end of the feed.
        with io.TextIOWrapper(data, encoding="utf-8-sig", errors="replace") as text:
            yield text, lambda: min(1.0, raw.tell() / size)


def _lines(
    path: Path, text: TextIO, faults: Faults, share: Callable[[], float], place: Callable[[float], None]
) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not blank, from the second on."""
    number = 1
    try:
        for number, line in enumerate(text, start=2):
            if number % 4096 == 0:
                place(share())
            if line != "\n":
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        faults.bad_line(path, number + 1, f"the file is damaged or cut off here ({error}); nothing follows")


def _csv(path: Path, lines: Iterator[tuple[int, str]], symbols: SymbolMap, faults: Faults, first_row: int) -> _Ticks:
    stamp, time = "", 0
    known: dict[str, tuple[str, int] | None] = {}
    prices: dict[tuple[str, int], int] = {}
    row = first_row - 1
    for row, (number, line) in enumerate(lines, start=first_row):
        try:
            fields = next(csv.reader([line])) if '"' in line else line.rstrip("\n").split(",")
            if len(fields) != 4:
                raise ValueError(f"expected 4 columns {','.join(COLUMNS)}, found {len(fields)}: {line.strip()[:80]!r}")
            if fields[0] != stamp:
                time = _time(fields[0])
                stamp = fields[0]
            symbol = fields[1]
            if symbol not in known:
                known[symbol] = symbols.find(symbol)
            instrument = known[symbol]
            if instrument is None:
                faults.unknown_symbol(path, number, symbol)
                continue
            name, decimals = instrument
            price = prices.get((fields[2], decimals))
            if price is None:
                price = prices[fields[2], decimals] = _price(fields[2], decimals)
            volume = _volume(fields[3]) if fields[3] else None
        except (ValueError, csv.Error) as error:
            faults.bad_line(path, number, str(error))
            continue
        yield Tick(name, price, None, volume, None, None, time, row), None
    return row + 1


def _time(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time with an offset."""
    wanted = f"expected a time like 2021-06-08T09:15:31+05:30, found {text[:40]!r}"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(wanted) from None
    if time.utcoffset() is None:
        raise ValueError(f"{wanted}, which has no offset from UTC")
    if time < _EPOCH:
        raise ValueError(f"{wanted}, which is before 1970")
    return (time - _EPOCH) // _MILLISECOND


def _price(text: str, decimals: int) -> int:
    """A price in smallest units, exactly."""
    whole, _, part = text.partition(".")
    digits = whole + part
    if not (whole and digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise ValueError(f"expected a price like 1573.70, found {text[:40]!r}")
    if len(part) > decimals and part[decimals:].strip("0"):
        raise ValueError(f"expected a price with at most {decimals} decimals, found {text[:40]!r}")
    price = int(whole + part[:decimals].ljust(decimals, "0"))
    if price == 0:
        raise ValueError(f"expected a price above 0, found {text[:40]!r}")
    return price


def _volume(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(f"expected a volume like 7893, found {text[:40]!r}")
    return int(text)


def _own(path: Path, lines: Iterator[tuple[int, str]], symbols: SymbolMap, faults: Faults, first_row: int) -> _Ticks:
    next_row = first_row
    known: dict[str, bool] = {}
    for number, line in lines:
        try:
            frame: Any = orjson.loads(line)
            books = {row: Depth(_levels(bids), _levels(asks)) for row, bids, asks in frame["depth"]}
            ticks = [_own_tick(fields) for fields in frame["ticks"]]
        except (ValueError, KeyError, TypeError) as error:
            found = f"expected a frame of a {_FORMAT}, found {line.strip()[:80]!r} ({type(error).__name__}: {error})"
            faults.bad_line(path, number, found)
            continue
        for tick in ticks:
            name, row = tick.instrument, tick.row + first_row
            next_row = max(next_row, row + 1)
            if name not in known:
                known[name] = symbols.knows(name)
            if not known[name]:
                faults.unknown_symbol(path, number, name)
                continue
            yield (replace(tick, row=row) if first_row else tick), books.get(tick.row)
    return next_row


def _own_tick(fields: list[Any]) -> Tick:
    tick = Tick(*fields)
    if type(tick.instrument) is not str or not all(_fits(value) for value in (tick.price, tick.time, tick.row)):
        raise ValueError(f"tick {fields!r}: instrument must be text, price, time and row whole numbers")
    if not all(value is None or _fits(value) for value in (tick.quantity, tick.volume, tick.bid, tick.ask)):
        raise ValueError(f"tick {fields!r}: quantity, volume, bid and ask must be whole numbers or null")
    if tick.price == 0:
        raise ValueError(f"tick {fields!r}: the price must be above 0")
    return tick


def _levels(levels: Iterable[tuple[Any, Any]]) -> tuple[DepthLevel, ...]:
    read = tuple([DepthLevel(*level) for level in levels])
    if not all(_fits(level.price) and _fits(level.quantity) for level in read):
        raise ValueError("price and quantity of an order book's level must be whole numbers")
    return read


def _fits(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**_DIGITS
