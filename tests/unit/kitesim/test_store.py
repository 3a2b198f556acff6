"""What is left after any death of the process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from panda_streams.domain.calendar import Calendar
from panda_streams.errors import BadInput
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.orders import Amendment
from panda_streams.kitesim.rules import read_form
from panda_streams.kitesim.shapes import Shapes
from panda_streams.kitesim.store import Store
from panda_streams.kitesim.tokens import Tokens
from tests.unit.builders import T0, a_tick
from tests.unit.kitesim.bench import INSTRUMENTS, SECRET, Tape, a_bench, a_broker

ORDER = {"exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS", "validity": "DAY"}


class Died(Exception):
    """Stands for a SIGKILL."""


class Mortal(Store):
    """A store that dies at its n-th statement that writes: before the commit, or after it if that is the statement."""

    def __init__(self, path: Path, deadline: int) -> None:
        super().__init__(path)
        self._left = deadline
        self._db.set_trace_callback(self._count)
        self.dead = False

    def _count(self, statement: str) -> None:
        if statement.startswith(("INSERT", "DELETE", "COMMIT")):
            self._left -= 1
            self.dead |= self._left == 0

    def __exit__(self, *raised: Any) -> None:
        if self.dead:
            self._db.execute("ROLLBACK")
            raise Died
        super().__exit__(*raised)
        if self.dead:
            raise Died


def engine_of(path: Path, deadline: int = -1) -> Engine:
    return Engine(Mortal(path, deadline), a_broker(latency_spread_ms=40), SECRET)


def form(side: str, **fields: str) -> Any:
    return read_form("regular", {**ORDER, "transaction_type": side, **fields}, INSTRUMENTS)


def plan() -> list[Callable[[Engine], None]]:
    """A day of orders and ticks, each followed by a commit."""

    def match(at: int, price: int) -> Callable[[Engine], None]:
        def act(engine: Engine) -> None:
            if (engine.broker.time or 0) >= T0 + at:
                return  # matched before the death
            tape = Tape(engine)
            tape.add(a_tick(price, time=T0 + at, volume=10 * at))
            asyncio.run(tape.advance(T0 + at))

        return act

    def place(number: int, side: str, **fields: str) -> Callable[[Engine], None]:
        def act(engine: Engine) -> None:
            if engine.broker.counters.orders < number:
                engine.broker.place(form(side, **fields), None)
                engine.commit()

        return act

    def change(number: int, price: str | None) -> Callable[[Engine], None]:
        def act(engine: Engine) -> None:
            order = list(engine.broker.orders.values())[number - 1]
            if price is not None and order.modifications == 0:
                engine.broker.modify(order.order_id, Amendment(at=0, price=Decimal(price)), None)
                engine.commit()
            elif price is None and order.cancel_at is None and order.status != "CANCELLED":
                engine.broker.cancel(order.order_id, None)
                engine.commit()

        return act

    market = {"order_type": "MARKET", "market_protection": "-1"}
    return [
        match(1000, 150_000),
        place(1, "BUY", quantity="100", **market),
        place(2, "SELL", quantity="50", order_type="LIMIT", price="1502"),
        match(2000, 150_000),
        change(2, "1501"),
        match(2010, 150_010),
        place(3, "SELL", quantity="10", order_type="SL", trigger_price="1490", price="1489"),
        match(3000, 150_200),
        change(3, None),
        match(4000, 150_200),
        match(5000, 149_000),
        place(4, "SELL", quantity="50", **market),
        match(6000, 149_000),
    ]


def books(engine: Engine) -> list[Any]:
    """Everything that the broker holds."""
    broker, store = engine.broker, engine.store
    shapes = Shapes(INSTRUMENTS, Tokens(INSTRUMENTS), broker.view, Calendar.simulated())
    return [
        store.orders(),
        store.trades(),
        [store.history(order.order_id) for order in store.orders()],
        broker.counters,
        shapes.positions(broker.account.positions.values()),
        broker.view.states,
    ]


def run(path: Path, deaths: list[int]) -> list[Any]:
    """Carry the plan out, and die as often; after a death the engine is opened again, and the step is done again."""
    engine = engine_of(path, deaths.pop(0) if deaths else -1)
    for step in plan():
        while True:
            try:
                step(engine)
                break
            except Died:
                engine.store.close()
                engine = engine_of(path, deaths.pop(0) if deaths else -1)
    assert not deaths
    found = books(engine)
    engine.store.close()
    return found


def test_a_death_at_any_statement_leaves_no_order_half_made(tmp_path: Path) -> None:
    undisturbed = run(tmp_path / "calm.sqlite", [])
    assert len(undisturbed[1]) >= 3

    for deadline in range(1, 90, 3):
        assert run(tmp_path / f"death-{deadline}.sqlite", [deadline]) == undisturbed
    assert run(tmp_path / "many.sqlite", [5, 9, 14, 8, 20, 3]) == undisturbed


def test_a_restart_knows_sessions_orders_and_counters(tmp_path: Path) -> None:
    with a_bench(tmp_path) as bench:
        bench.tick(150_000, at=1000, volume=1000)
        kite = bench.client()
        order_id = kite.place_order("regular", "NSE", "INFY", "BUY", 10, "MIS", "LIMIT", price=1490, tag="kept")
        before = bench.ledger()
        token = kite.access_token
        kite.reqsession.close()
    with a_bench(tmp_path) as bench:
        kite = bench.client("another")
        kite.api_key = "panda"
        kite.set_access_token(token)

        assert bench.ledger() == before
        assert [order["tag"] for order in kite.orders()] == ["kept"]
        bench.tick(148_000, at=2000, volume=3000)
        assert kite.order_history(order_id)[-1]["status"] == "COMPLETE"
        kite.reqsession.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kitesim.sqlite"
    path.write_text("no database at all, but long enough to be looked at" * 20)

    with pytest.raises(BadInput, match=r"kitesim\.sqlite"):
        Store(path)


def test_a_file_of_another_layout_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "kitesim.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE facts SET body = '0' WHERE name = 'layout'")

    with pytest.raises(BadInput, match="layout 0") as refused:
        Store(path)
    assert refused.value.fix
    assert not path.with_name("kitesim.sqlite-wal").exists()  # an open connection keeps it
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT body FROM facts WHERE name = 'layout'").fetchall() == [("0",)]
