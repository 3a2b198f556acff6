"""The broker's memory: SQLite, so that an order that was answered is there after any end of the process.

What belongs together is written as one transaction. It is safe from the death of the process; a power cut may cost
the last moments, as it may cost Kafka its last ones.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from panda_streams.errors import BadInput
from panda_streams.kitesim.account import Account, Holding, Position
from panda_streams.kitesim.broker import Counters, Outbox
from panda_streams.kitesim.gtt import Gtt
from panda_streams.kitesim.market import Candle, InstrumentState, MarketView
from panda_streams.kitesim.orders import BookOrder, BookTrade
from panda_streams.kitesim.sessions import Session

__all__ = ["Store"]

T = TypeVar("T")

_LAYOUT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, day INTEGER, order_id TEXT UNIQUE, body TEXT);
CREATE TABLE IF NOT EXISTS history (place INTEGER PRIMARY KEY, order_id TEXT, body TEXT);
CREATE INDEX IF NOT EXISTS history_of ON history (order_id);
CREATE TABLE IF NOT EXISTS trades (trade_id TEXT PRIMARY KEY, day INTEGER, order_id TEXT, body TEXT);
CREATE INDEX IF NOT EXISTS trades_of ON trades (day);
CREATE TABLE IF NOT EXISTS gtts (number INTEGER PRIMARY KEY, body TEXT);
CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, body TEXT);
CREATE TABLE IF NOT EXISTS market (instrument TEXT PRIMARY KEY, body TEXT);
CREATE TABLE IF NOT EXISTS candles (
    instrument TEXT, start INTEGER, body TEXT, PRIMARY KEY (instrument, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (shard INTEGER PRIMARY KEY, next_offset INTEGER);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, body TEXT);
"""


class _Books(msgspec.Struct):
    cash: Decimal
    positions: list[Position]
    holdings: list[Holding]


class Store:
    """One file. Raises BadInput if it cannot be used."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            with ExitStack() as opened:
                opened.callback(self._db.close)
                self._prepare()
                opened.pop_all()
        except sqlite3.Error as error:
            raise BadInput(
                f"{path}: {error}", fix="move that file away: kitesim then starts with an empty book"
            ) from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        layout = self.fact("layout", int)
        if layout is None:
            self._db.execute("INSERT INTO facts VALUES ('layout', ?)", (_text(_LAYOUT),))
        elif layout != _LAYOUT:
            raise BadInput(
                f"{self._path} has the layout {layout}, this version knows {_LAYOUT}", fix="move that file away"
            )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        """Begin a transaction; it is kept if the block ends without an error."""
        self._db.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")

    # Reading

    def fact(self, name: str, kind: type[T]) -> T | None:
        row = self._db.execute("SELECT body FROM facts WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0], type=kind) if row else None

    def counters(self) -> Counters:
        return self.fact("counters", Counters) or Counters()

    def orders(self, day: int | None = None) -> list[BookOrder]:
        """Those of a trading date, or all."""
        return self._read("SELECT body FROM orders WHERE ? IS NULL OR day = ? ORDER BY number", (day, day), BookOrder)

    def trades(self, day: int | None = None) -> list[BookTrade]:
        return self._read("SELECT body FROM trades WHERE ? IS NULL OR day = ? ORDER BY rowid", (day, day), BookTrade)

    def history(self, order_id: str) -> list[BookOrder]:
        return self._read("SELECT body FROM history WHERE order_id = ? ORDER BY place", (order_id,), BookOrder)

    def gtts(self) -> list[Gtt]:
        return self._read("SELECT body FROM gtts ORDER BY number", (), Gtt)

    def sessions(self) -> list[Session]:
        return self._read("SELECT body FROM sessions", (), Session)

    def candles(self, instrument: str, start: int, until: int) -> list[Candle]:
        return self._read(
            "SELECT body FROM candles WHERE instrument = ? AND start BETWEEN ? AND ? ORDER BY start",
            (instrument, start, until),
            Candle,
        )

    def places(self) -> dict[int, int]:
        """The offset of the first record of each shard that is not wholly worked through."""
        return dict(self._db.execute("SELECT shard, next_offset FROM places"))

    def load_account(self, account: Account) -> None:
        books = self.fact("books", _Books)
        if books is not None:
            account.cash = books.cash
            account.positions = {(one.instrument, one.product): one for one in books.positions}
            account.holdings = {one.instrument: one for one in books.holdings}

    def load_market(self, view: MarketView) -> None:
        for state in self._read("SELECT body FROM market", (), InstrumentState):
            view.restore(state)

    def _read(self, query: str, values: tuple[object, ...], kind: type[T]) -> list[T]:
        decoder = msgspec.json.Decoder(kind)
        return [decoder.decode(body) for (body,) in self._db.execute(query, values)]

    # Writing, inside of a transaction

    def keep(self, outbox: Outbox, counters: Counters, account: Account) -> None:
        """Keep what the broker has decided."""
        last: dict[int, BookOrder] = {}
        for change in outbox.changes:
            order = last[change.order.number] = change.order
            if change.row:
                self._db.execute("INSERT INTO history (order_id, body) VALUES (?, ?)", (order.order_id, _text(order)))
            if (trade := change.trade) is not None:
                self._db.execute(
                    "INSERT INTO trades VALUES (?, ?, ?, ?)",
                    (trade.trade_id, counters.date, trade.order_id, _text(trade)),
                )
        self._db.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET body = excluded.body",
            [(number, counters.date, order.order_id, _text(order)) for number, order in last.items()],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO gtts VALUES (?, ?)", [(number, _text(gtt)) for number, gtt in outbox.gtts.items()]
        )
        self.keep_fact("counters", counters)
        if account.changed:
            books = _Books(account.cash, list(account.positions.values()), list(account.holdings.values()))
            self.keep_fact("books", books)
            account.changed = False

    def keep_market(self, view: MarketView, places: Mapping[int, int]) -> None:
        """Keep the states and candles that are new, and where in the tick log they come from."""
        self._db.executemany(
            "INSERT OR REPLACE INTO market VALUES (?, ?)", [(name, _text(view.states[name])) for name in view.changed]
        )
        self.keep_candles(view.candles)
        self._db.executemany("INSERT OR REPLACE INTO places VALUES (?, ?)", places.items())
        view.changed, view.candles = {}, []

    def keep_candles(self, candles: Iterable[tuple[str, Candle]]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO candles VALUES (?, ?, ?)",
            [(name, candle.start, _text(candle)) for name, candle in candles],
        )

    def keep_sessions(self, sessions: Iterable[Session]) -> None:
        """Keep exactly these."""
        self._db.execute("DELETE FROM sessions")
        self._db.executemany(
            "INSERT INTO sessions VALUES (?, ?)", [(session.token, _text(session)) for session in sessions]
        )

    def keep_fact(self, name: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, _text(value)))


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
