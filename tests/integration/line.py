"""The whole line on real ticks: starts its processes on two strategies, waits for their end, reads what they left."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import redis

from panda_streams.streams.task import OUTBOX
from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.reading import Line, get, is_beat, read_topic
from tests.polling import eventually

__all__ = [
    "STRATEGIES",
    "TRADED",
    "Deployed",
    "Run",
    "assert_books_equal_the_topics",
    "assert_charges_are_those_of_the_day",
    "assert_each_order_ends_once",
    "assert_fills_follow_the_tick_log",
    "assert_no_id_has_two_contents",
]

TRADED = ("signals.raw", "signals.validated", "signals.rejected", "orders.updates", "orders.filled")
_LATENCY_MS, _SLIPPAGE, _PARTICIPATION = 500, Decimal("0.0001"), Decimal("0.25")
_TICK_SIZE = Decimal("0.05")
_ENDS = ("FILLED", "CANCELLED", "EXPIRED", "REJECTED", "ABSENT")
_WORKER = ["faust", "-A", "faust_app", "worker"]

CALENDAR = """
sessions:
  2021-06-08:
    name: A session that ends with the recording
    hours: {opens: "09:15", square_off: "10:10", closes: "10:20"}
"""

STRATEGIES = {
    "momentum.yaml": """
strategy_id: Momentum_NIFTY_1
strategy: momentum
watches: ["NSE:NIFTY 50"]
trades: [NSE:RELIANCE, NSE:HDFCBANK, NSE:INFY, NSE:ICICIBANK, NSE:TCS, NSE:SBIN, NSE:LT, NSE:AXISBANK, NSE:KOTAKBANK,
  NSE:TITAN, NSE:MARUTI, NSE:WIPRO, NSE:HCLTECH, NSE:BAJFINANCE, NSE:TATASTEEL, NSE:SUNPHARMA]
brokers: [paper, zerodha]
zerodha_trading_enabled: false
params: {entry_bps: 2}
accounts:
  paper: {capital: "1000000", share_of_capital: "0.05", max_position: 5000}
  zerodha: {capital: "1000000", share_of_capital: "0.05", max_position: 5000}
""",
    # Capital for some of its positions only: which entries are refused depends on what was filled before.
    "mean_reversion.yaml": """
strategy_id: MeanReversion_1
strategy: mean_reversion
trades: [NSE:RELIANCE, NSE:HDFCBANK, NSE:INFY, NSE:ICICIBANK, NSE:TCS, NSE:SBIN, NSE:LT, NSE:AXISBANK, NSE:BHARTIARTL,
  NSE:TITAN, NSE:MARUTI, NSE:WIPRO, NSE:ITC, NSE:ASIANPAINT, NSE:ULTRACEMCO, NSE:TATASTEEL, NSE:SUNPHARMA]
brokers: [paper]
params: {min_deviation_bps: 6}
accounts:
  paper: {capital: "2000000", share_of_capital: "0.3", max_position: 5000}
""",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has left."""

    topics: dict[str, list[Line]]
    """By name without prefix, as `paper.signals.raw`: the records in the order of the log, beats apart."""
    market: list[Line]
    portfolios: dict[str, dict[str, Any]]
    """The gateway's answer by strategy_id."""
    summary: dict[str, Any]
    namespaces: dict[str, dict[str, Any]]
    mirrored: list[str]
    """Every key of Redis."""

    def events(self, name: str, namespace: str = "paper") -> list[dict[str, Any]]:
        return [json.loads(line.value, parse_float=Decimal) for line in self.topics[f"{namespace}.{name}"]]

    def fills(self) -> list[dict[str, Any]]:
        """The fills, each once, in the order of each shard."""
        found = {event["fill"]["fill_id"]: event["fill"] for event in self._booked("fill")}
        return sorted(found.values(), key=lambda fill: (fill["tick"]["shard"], fill["tick"]["offset"]))

    def bookings(self) -> list[dict[str, Any]]:
        """What risk has booked, each once."""
        return list({event["booking"]["booking_id"]: event["booking"] for event in self._booked("booking")}.values())

    def _booked(self, kind: str) -> Iterator[dict[str, Any]]:
        return (event for event in self.events("orders.filled") if event["kind"] == kind)

    def orders(self) -> dict[str, list[dict[str, Any]]]:
        """The updates of each order, each once, by order_id."""
        updates = {(e["producer"], e["sequence"]): e for e in self.events("orders.updates") if e["kind"] == "order"}
        orders: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, update in sorted(updates.items()):
            orders[update["order_id"]].append(update)
        return dict(orders)

    def tickets(self) -> dict[str, dict[str, Any]]:
        """The verdict that each order comes from, by order_id."""
        return {t["order_id"]: event for event in self.events("signals.validated") for t in event["tickets"]}

    def ticks(self) -> Iterator[tuple[int, int, list[Any]]]:
        """(partition, offset, tick array) in the order of the log."""
        for line in self.market:
            head = json.loads(line.value.split(b"\n")[0])
            for tick in head.get("ticks", []):
                yield line.partition, line.offset, tick

    def said(self, name: str) -> dict[tuple[str, int], bytes]:
        """What a paper topic says, by producer and sequence: the same in every run on the replay clock."""
        lines = [(json.loads(line.value), line.value) for line in self.topics[f"paper.{name}"]]
        return {(event["producer"], event["sequence"]): value for event, value in lines}

    def books(self) -> dict[str, dict[str, Any]]:
        """The portfolios without what only tells when and how often they were written."""
        return {
            strategy_id: {
                **{name: book[name] for name in ("capital", "cash", "realised", "unrealised", "charges")},
                **{name: book[name] for name in ("fills", "bookings")},
                "positions": {row["instrument"]: (row["quantity"], row["average_price"]) for row in book["positions"]},
            }
            for strategy_id, book in self.portfolios.items()
        }


class Deployed:
    """Feed, brain, paper arm and gateway of one world."""

    def __init__(
        self,
        world: FreshWorld,
        spawn: Callable[..., Spawned],
        directory: Path,
        strategies: Mapping[str, str] = STRATEGIES,
    ) -> None:
        self.world = world
        self._spawn = spawn
        configs = directory / "strategies"
        configs.mkdir(parents=True)
        for name, text in strategies.items():
            (configs / name).write_text(text)
        (directory / "calendar.yaml").write_text(CALENDAR)
        world.env.update(
            PANDA_STRATEGIES=str(configs),
            PANDA_CALENDAR=str(directory / "calendar.yaml"),
            PANDA_PAPER_LATENCY_MS=str(_LATENCY_MS),
            PANDA_PAPER_SLIPPAGE=str(_SLIPPAGE),
            PANDA_PAPER_PARTICIPATION=str(_PARTICIPATION),
        )
        asyncio.run(prepare(world.settings, world.servers))
        self.gateway = f"http://127.0.0.1:{world.env['PANDA_PORT_BASE']}"
        self._spawn(["panda", "gateway"], env=world.env)
        eventually(lambda: get(f"{self.gateway}/ready")[0] == 200, timeout_s=40, what="the gateway is ready")

    def brain(self, instance: int = 0) -> Spawned:
        return self._spawn(_WORKER, env={**self.world.env, "PANDA_INSTANCE": str(instance)})

    def arm(self, instance: int = 0) -> Spawned:
        env = {**self.world.env, "BROKER_NAMESPACE": "paper", "PANDA_INSTANCE": str(instance)}
        return self._spawn(_WORKER, env=env)

    def feed(self, recording: Path, speed: str = "max") -> Spawned:
        return self._spawn(["panda", "feed", "replay", str(recording), "--speed", speed], env=self.world.env)

    def replay(self, recording: Path) -> None:
        """Publish a whole recording, as quick as Kafka takes it."""
        feed = self.feed(recording)
        assert feed.wait(120) == 0, feed.output()

    def topic(self, name: str, namespace: str = "paper") -> list[Line]:
        """The records of an arm's topic, beats apart."""
        return [line for line in self.whole_topic(f"{namespace}.{name}") if not is_beat(line.value)]

    def whole_topic(self, name: str) -> list[Line]:
        return read_topic(self.world.servers.kafka, f"{self.world.servers.prefix}{name}")

    def once(self, name: str) -> set[bytes]:
        """The records of a paper topic; one that a crash made its producer say again counts once."""
        return {line.value for line in self.topic(name)}

    def judged(self) -> int:
        return len(self.once("signals.validated")) + len(self.once("signals.rejected"))

    def outboxes(self) -> set[bytes]:
        """What the last micro-batch of each agent and partition has said, which its next owner says again."""
        last = {}
        for agent, worker in (("brain", "brain"), *((name, "paper") for name in ("risk", "execution", "portfolio"))):
            for line in self.whole_topic(f"panda-{worker}-{agent}-changelog"):
                if line.key == OUTBOX:
                    last[agent, line.partition] = json.loads(line.value)["outputs"]
        return {value.encode() for outputs in last.values() for _, _, value, _ in outputs}

    def workers(self) -> list[dict[str, Any]]:
        """What brains and arms that run now say of themselves."""
        _, answer = get(f"{self.gateway}/api/v1/processes")
        rows = answer["processes"] if answer else []
        return [row for row in rows if row["role"] in ("brain", "arm") and row["fresh"]]

    def portfolios(self) -> dict[str, dict[str, Any]]:
        status, answer = get(f"{self.gateway}/api/v1/portfolios/paper")
        names = [row["strategy_id"] for row in answer["portfolios"]] if status == 200 else []
        return {name: get(f"{self.gateway}/api/v1/portfolios/paper/{name}")[1] for name in names}

    def await_quiet(self, *, workers: int = 2, timeout_s: float = 240) -> None:
        """Return once all workers are ready with nothing waiting, each order has its end and each fill its booking."""

        def idle() -> bool:
            rows = self.workers()
            return len(rows) == workers and all(row["ready"] and row["lag"] == 0 for row in rows)

        def quiet() -> bool:
            if not idle():
                return False
            said = {name: [json.loads(value) for value in self.once(name)] for name in TRADED}
            tickets = {t["order_id"] for event in said["signals.validated"] for t in event["tickets"]}
            orders = [event for event in said["orders.updates"] if event["kind"] == "order"]
            ended = {event["order_id"] for event in orders if event["state"] in _ENDS}
            booked = sum(portfolio["fills"] + portfolio["bookings"] for portfolio in self.portfolios().values())
            return (
                bool(said["signals.raw"])
                and len(said["signals.validated"]) + len(said["signals.rejected"]) == len(said["signals.raw"])
                and ended == tickets | {event["order_id"] for event in orders}
                and booked == len(said["orders.filled"])
                and idle()
            )

        eventually(quiet, timeout_s=timeout_s, what="brain and arm have done all their work")

    def read(self) -> Run:
        """Read what the run has left."""
        names = [*(f"paper.{name}" for name in (*TRADED, "marks", "dlq")), "brain.dlq"]
        names += [f"zerodha.{name}" for name in (*TRADED, "marks", "dlq")]
        with redis.Redis.from_url(self.world.env["REDIS_URL"], decode_responses=True) as client:
            mirrored = list(client.scan_iter(count=1000))
        return Run(
            topics={name: [line for line in self.whole_topic(name) if not is_beat(line.value)] for name in names},
            market=self.whole_topic("market.ticks"),
            portfolios=self.portfolios(),
            summary=get(f"{self.gateway}/api/v1/portfolios/paper/summary")[1],
            namespaces={row["namespace"]: row for row in get(f"{self.gateway}/api/v1/namespaces")[1]["namespaces"]},
            mirrored=mirrored,
        )


class Book:
    """The arithmetic of a book once more, in fractions and without a line of the code under test."""

    def __init__(self) -> None:
        self.cash = Fraction(0)
        self.charges = Fraction(0)
        self.held: dict[str, tuple[int, Fraction]] = {}
        self.realised = Fraction(0)

    def fill(self, fill: dict[str, Any]) -> None:
        quantity = fill["quantity"] * (1 if fill["side"] == "BUY" else -1)
        price, charges = Fraction(fill["price"]), _total(fill["charges"])
        self.cash -= quantity * price + charges
        self.charges += charges
        held, average = self.held.get(fill["instrument"], (0, Fraction(0)))
        assert held + quantity >= 0, "no strategy here may ever be short"
        if quantity > 0:
            average = (held * average + quantity * price) / (held + quantity)
        else:
            self.realised += -quantity * (price - average)
        self.held[fill["instrument"]] = (held + quantity, average)

    def note(self, booking: dict[str, Any]) -> None:
        assert (booking["kind"], Fraction(booking["amount"])) == ("CONTRACT_NOTE", -_total(booking["charges"]))
        self.cash += Fraction(booking["amount"])
        self.charges += _total(booking["charges"])


def _total(charges: Mapping[str, str]) -> Fraction:
    return sum(map(Fraction, charges.values()), Fraction(0))


def assert_fills_follow_the_tick_log(run: Run) -> None:
    """Each order at the market is filled by the ticks of its instrument from half a second after its cause on.

    A tick gives it a quarter of what has traded since the tick before, slipped by one basis point.
    """
    log: dict[tuple[int, str], list[tuple[int, list[Any]]]] = defaultdict(list)
    for partition, offset, tick in run.ticks():
        log[partition, tick[0]].append((offset, tick))
    tickets, fills = run.tickets(), defaultdict(list)
    for fill in run.fills():
        fills[fill["order_id"]].append(fill)
    for order_id, updates in run.orders().items():
        first, last = updates[0], updates[-1]
        verdict = tickets.get(order_id)
        if first["state"] in _ENDS:
            assert not fills[order_id]
            continue
        assert verdict is not None or first["role"] == "SQUARE_OFF"
        shard = int(first["producer"].removeprefix("execution/"))
        due = _due_fills(log[shard, first["instrument"]], first, verdict["signal"]["cause"] if verdict else None)
        left = first["quantity"]
        for fill in fills[order_id]:
            row, time, price, quantity = next(due)
            quantity, left = min(quantity, left), left - fill["quantity"]
            found = fill["tick"]["row"], fill["time"], Decimal(fill["price"])
            assert found == (row, time, price), f"{found}, expected {(row, time, price)}: {fill}, {updates}"
            # What only reduces is given no more than there is to be closed.
            capped = fill is fills[order_id][-1] and last["reason"] == "POSITION_CLOSED"
            assert fill["quantity"] <= quantity if capped else fill["quantity"] == quantity
        assert left == 0 if last["state"] == "FILLED" else left > 0
        if left and last["reason"] != "POSITION_CLOSED":
            more = next(due, None)
            assert more is None or more[1] >= last["time"], "it was on the market, and a tick gave it nothing"


def _due_fills(
    log: list[tuple[int, list[Any]]], order: dict[str, Any], cause: dict[str, Any] | None
) -> Iterator[tuple[int, int, Decimal, int]]:
    """Row, time, price and most shares of what the ticks offer an order at the market."""
    place = (cause["offset"], cause["row"]) if cause else (-1, -1)
    live_at = (cause["time"] if cause else order["time"]) + _LATENCY_MS
    buying, traded = order["side"] == "BUY", 0
    for offset, (_, paise, _, volume, _, _, time, row) in log:
        before, traded = traded or volume, volume
        shares = int((volume - before) * _PARTICIPATION)
        if (offset, row) > place and time >= live_at and shares > 0:
            slipped = Decimal(paise) / 100 * (1 + _SLIPPAGE if buying else 1 - _SLIPPAGE)
            steps = (slipped / _TICK_SIZE).to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR)
            yield row, time, steps * _TICK_SIZE, shares


def assert_charges_are_those_of_the_day(run: Run) -> None:
    """The charges of intraday trades at NSE in June 2021, computed again, and rounded by the day's contract note.

    Zerodha: 0.03 % or 20 rupees an order; STT 0.025 % of sales; NSE 0.00345 %, and 0.01 rupees a crore for its investor
    protection fund; SEBI 10 rupees a crore; stamp duty 0.003 % of purchases; GST 18 % on all but taxes and the fund.
    """
    turnover: dict[str, Fraction] = defaultdict(Fraction)
    of_the_day: dict[str, Fraction] = defaultdict(Fraction)
    for fill in run.fills():
        value = Fraction(fill["price"]) * fill["quantity"]
        before, after = turnover[fill["order_id"]], turnover[fill["order_id"]] + value
        turnover[fill["order_id"]] = after
        brokerage = min(after * 3 / 10_000, Fraction(20)) - min(before * 3 / 10_000, Fraction(20))
        exchange, fund, sebi = value * 345 / 10_000_000, value / 10**9, value / 10**6
        buying = fill["side"] == "BUY"
        due = {
            "brokerage": brokerage,
            "stt": Fraction(0) if buying else value * 25 / 100_000,
            "transaction": exchange + fund,
            "sebi": sebi,
            "stamp": value * 3 / 100_000 if buying else Fraction(0),
            "gst": (brokerage + exchange + sebi) * 18 / 100,
        }
        assert {head: Fraction(amount) for head, amount in fill["charges"].items()} == {
            head: amount for head, amount in due.items() if amount
        }
        for head, amount in due.items():
            of_the_day[head] += amount
    noted: dict[str, Fraction] = defaultdict(Fraction)
    for booking in run.bookings():
        for head, amount in booking["charges"].items():
            noted[head] += Fraction(amount)
    for head, amount in of_the_day.items():
        step = Fraction(1) if head in ("stt", "stamp") else Fraction(1, 100)
        assert amount + noted[head] == floor(amount / step + Fraction(1, 2)) * step, head


def assert_books_equal_the_topics(run: Run) -> None:
    """What the gateway answers is, to the paisa, what fills and contract notes say."""
    books: dict[str, Book] = defaultdict(Book)
    # A record can stand twice in a log, after a crash of its producer, but never with two contents.
    for fill in run.fills():
        books[fill["strategy_id"]].fill(fill)
    for booking in run.bookings():
        books[booking["strategy_id"]].note(booking)

    assert run.portfolios.keys() == books.keys()
    for strategy_id, book in books.items():
        portfolio = run.portfolios[strategy_id]
        assert _paisa(portfolio["cash"]) == _paisa(Fraction(portfolio["capital"]) + book.cash)
        assert _paisa(portfolio["charges"]) == _paisa(book.charges)
        assert _paisa(portfolio["realised"]) == _paisa(book.realised)
        positions = {row["instrument"]: row["quantity"] for row in portfolio["positions"] if row["quantity"]}
        assert positions == {name: quantity for name, (quantity, _) in book.held.items() if quantity}
    assert Decimal(run.summary["cash"]) == sum(Decimal(portfolio["cash"]) for portfolio in run.portfolios.values())


def assert_no_id_has_two_contents(run: Run) -> None:
    for name in TRADED:
        contents: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        for line in run.topics[f"paper.{name}"]:
            event = json.loads(line.value)
            contents[event["producer"], event["sequence"]].add(line.value)
        assert all(len(values) == 1 for values in contents.values()), name


def assert_each_order_ends_once(run: Run) -> None:
    orders = run.orders()
    assert orders.keys() >= run.tickets().keys()
    assert {order_id for order_id, updates in orders.items() if updates[0]["signal_id"]} == run.tickets().keys()
    for order_id, updates in orders.items():
        ends = [update["state"] in _ENDS for update in updates]
        assert ends == [False] * (len(ends) - 1) + [True], order_id


def _paisa(amount: Any) -> Decimal:
    value = Fraction(amount)
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal("0.01"))
