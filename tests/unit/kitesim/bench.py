"""A kitesim in a thread, on the replay clock, whose ticks a test gives; and the unmodified client on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import requests
from aiohttp import web
from kiteconnect import KiteConnect

from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.ticks import Depth, DepthLevel, Tick
from panda_streams.identity import Clock
from panda_streams.kitesim.broker import Broker
from panda_streams.kitesim.engine import Engine
from panda_streams.kitesim.market import MarketView
from panda_streams.kitesim.server import Kitesim, Options
from panda_streams.kitesim.store import Store
from panda_streams.settings import Settings
from tests.conftest import _free_port
from tests.unit.builders import CALL, FUTURE, INDEX, SHARE, T0, a_tick

T = TypeVar("T")

SECRET = "panda-secret"
LATENCY = 100
TCS = Instrument(
    exchange="NSE",
    symbol="TCS",
    kind=InstrumentKind.EQUITY,
    token=2953217,
    freeze_quantity=1000,
    lower_circuit=Decimal(2700),
    upper_circuit=Decimal(3300),
)
INSTRUMENTS = Instruments([SHARE, TCS, INDEX, FUTURE, CALL])
DEPTH = Depth(
    tuple(DepthLevel(149_995 - 5 * level, 10 * (level + 1)) for level in range(5)),
    tuple(DepthLevel(150_005 + 5 * level, 20 * (level + 1)) for level in range(5)),
)
"""An order book around 1500.00: ten shares at the best bid, twenty at the best ask."""


class Tape:
    """A clock that matches the ticks it was given, as far as it is told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ticks: list[tuple[Tick, Depth | None]] = []
        self.newest: int | None = None

    def add(self, tick: Tick, depth: Depth | None = None) -> None:
        self._ticks.append((tick, depth))
        self.newest = tick.time

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def advance(self, until: int) -> None:
        due = [entry for entry in self._ticks if entry[0].time <= until]
        self._ticks = self._ticks[len(due) :]
        for tick, depth in due:
            self._engine.broker.meet(tick, lambda row, depth=depth: depth)
        self._engine.broker.pass_time(until)
        self._engine.commit()


def a_broker(cash: int = 1_000_000, **changes: Any) -> Broker:
    numbers = {
        "latency_ms": LATENCY,
        "latency_spread_ms": 0,
        "slippage": Decimal(0),
        "participation": Decimal("0.5"),
        "queue": QueueModel.THROUGH,
    }
    market = PaperMarket(**(numbers | changes))
    return Broker(market, INSTRUMENTS, Calendar.simulated(), Decimal(cash), MarketView())


class Bench:
    """A running kitesim, and what tests do to it from outside."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kitesim: Kitesim, tape: Tape) -> None:
        self._loop = loop
        self.kitesim = kitesim
        self.tape = tape
        self.url = kitesim.url

    def client(self, api_key: str = "panda", timeout: float = 5.0) -> KiteConnect:
        """A client that is logged in."""
        kite = KiteConnect(api_key=api_key, root=self.url, timeout=timeout)
        token = requests.post(f"{self.url}/sim/login", json={"api_key": api_key}, timeout=5).json()["request_token"]
        kite.generate_session(token, api_secret=SECRET)
        return kite

    def tick(self, price: int, *, at: int, depth: Depth | None = None, **fields: Any) -> None:
        """Let the market trade at a price, `at` milliseconds after the opening, and match up to then."""
        self.inside(lambda: self.add(price, at=at, depth=depth, **fields))
        self.advance(at)

    def add(self, price: int, *, at: int, depth: Depth | None = None, **fields: Any) -> None:
        """Let a price be there that is not matched yet; to be called inside."""
        self.tape.add(a_tick(price, time=T0 + at, **fields), depth)

    def advance(self, until: int) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/sim/clock", json={"until": T0 + until}, timeout=5).json()
        assert isinstance(answer, dict)
        return answer

    def inside(self, act: Callable[[], T]) -> T:
        """Do something in kitesim's own thread."""

        async def acted() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(acted(), self._loop).result(5)

    def ledger(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/sim/ledger", timeout=5).json()
        assert isinstance(answer, dict)
        return answer


@contextmanager
def a_bench(
    directory: Path, cash: int = 1_000_000, options: Callable[[int], Options] | None = None, **changes: Any
) -> Iterator[Bench]:
    """Run a kitesim whose books lie in `directory`, for as long as the block runs."""
    loop = asyncio.new_event_loop()
    port = _free_port()
    started = threading.Event()
    found: list[Bench] = []
    stop = asyncio.Event()

    async def run() -> None:
        store = Store(directory / "kitesim.sqlite")
        engine = Engine(store, a_broker(cash, **changes), SECRET)
        tape = Tape(engine)
        kitesim = Kitesim(
            Settings(),
            options(port) if options else Options(port=port),
            engine,
            tape,
            Clock.REPLAY,
            Calendar.simulated(),
        )
        runner = web.AppRunner(kitesim.app(), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        found.append(Bench(loop, kitesim, tape))
        started.set()
        await stop.wait()
        await runner.cleanup()
        store.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def placed(kite: KiteConnect, side: str = "BUY", quantity: int = 10, **fields: Any) -> str:
    """Place an order in INFY, as MIS at the market unless `fields` say otherwise; its id."""
    order = {"variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "product": "MIS"}
    order |= {"order_type": "LIMIT" if "price" in fields else "MARKET", **fields}
    if order["order_type"] in ("MARKET", "SL-M"):
        order.setdefault("market_protection", -1)
    return str(kite.place_order(transaction_type=side, quantity=quantity, **order))


def statuses(kite: KiteConnect, order_id: str) -> list[str]:
    return [row["status"] for row in kite.order_history(order_id)]
