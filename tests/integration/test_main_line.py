"""The whole line on real ticks: feed, brain, paper arm, Redis, gateway; every figure computed again from the topics."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import redis

from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.reading import Line, get, read_topic
from tests.polling import eventually

pytestmark = pytest.mark.integration

TICKS = 220_000
LATENCY_MS, SLIPPAGE, CHARGE_RATE = 500, Decimal("0.0001"), Decimal("0.0005")
TICK_SIZE = Decimal("0.05")
TRADED = ("signals.raw", "signals.validated", "signals.rejected", "orders.updates", "orders.filled")

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
    "mean_reversion.yaml": """
strategy_id: MeanReversion_1
strategy: mean_reversion
trades: [NSE:RELIANCE, NSE:HDFCBANK, NSE:INFY, NSE:ICICIBANK, NSE:TCS, NSE:SBIN, NSE:LT, NSE:AXISBANK, NSE:BHARTIARTL,
  NSE:TITAN, NSE:MARUTI, NSE:WIPRO, NSE:ITC, NSE:ASIANPAINT, NSE:ULTRACEMCO, NSE:TATASTEEL, NSE:SUNPHARMA]
brokers: [paper]
params: {min_deviation_bps: 6}
accounts:
  paper: {capital: "2000000", share_of_capital: "0.04", max_position: 5000}
""",
}


@pytest.fixture
def recording(shared_data: Path, tmp_path: Path) -> Path:
    """The first ticks of a real session."""
    part = tmp_path / "session.csv.gz"
    source = shared_data / "nse_ticks_2021" / "nse_ticks_2021-06-08.csv.gz"
    with gzip.open(source, "rt") as whole, gzip.open(part, "wt", compresslevel=1) as file:
        file.writelines(itertools.islice(whole, TICKS + 1))
    return part


def start(world: FreshWorld, spawn: Callable[..., Spawned], tmp_path: Path) -> tuple[Spawned, Spawned, str]:
    """Start brain, paper arm and gateway on this module's strategies; return brain, arm and the gateway's address."""
    directory = tmp_path / "strategies"
    directory.mkdir()
    for name, text in STRATEGIES.items():
        (directory / name).write_text(text)
    world.env["PANDA_STRATEGIES"] = str(directory)
    asyncio.run(prepare(world.settings, world.servers))
    brain = spawn(["faust", "-A", "faust_app", "worker"])
    arm = spawn(["faust", "-A", "faust_app", "worker"], env={**world.env, "BROKER_NAMESPACE": "paper"})
    spawn(["panda", "gateway"])
    gateway = f"http://127.0.0.1:{world.env['PANDA_PORT_BASE']}"
    eventually(lambda: get(f"{gateway}/ready")[0] == 200, timeout_s=30, what="the gateway is ready")
    return brain, arm, gateway


def await_quiet(world: FreshWorld, gateway: str) -> None:
    """Return once the brain has seen every tick and the arm has ended every order and booked every fill."""

    def quiet() -> bool:
        _, processes = get(f"{gateway}/api/v1/processes")
        rows = {row["role"]: row for row in processes["processes"]}
        if not {"brain", "arm"} <= rows.keys():
            return False
        if any(not rows[role]["ready"] or rows[role]["lag"] != 0 for role in ("brain", "arm")):
            return False
        said = {name: len(once(world, name)) for name in TRADED}
        ended = sum(json.loads(value)["state"] != "WORKING" for value in once(world, "orders.updates"))
        booked = sum(portfolio["fills"] for portfolio in portfolios(gateway))
        judged = said["signals.validated"] + said["signals.rejected"]
        return (
            said["signals.raw"] > 0
            and judged == said["signals.raw"]
            and ended == said["signals.validated"]
            and booked == said["orders.filled"]
        )

    eventually(quiet, timeout_s=180, what="brain and arm have done all their work")


def topic(world: FreshWorld, name: str, namespace: str = "paper") -> list[Line]:
    return read_topic(world.servers.kafka, f"{world.servers.prefix}{namespace}.{name}")


def once(world: FreshWorld, name: str) -> set[bytes]:
    """The records of a paper topic; one that a crash made its producer say again counts once."""
    return {line.value for line in topic(world, name)}


def events(world: FreshWorld, name: str, namespace: str = "paper") -> list[dict[str, Any]]:
    return [json.loads(line.value, parse_float=Decimal) for line in topic(world, name, namespace)]


def portfolios(gateway: str) -> list[dict[str, Any]]:
    status, answer = get(f"{gateway}/api/v1/portfolios/paper")
    return (
        [get(f"{gateway}/api/v1/portfolios/paper/{p['strategy_id']}")[1] for p in answer["portfolios"]]
        if status == 200
        else []
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
        price, charges = Fraction(fill["price"]), Fraction(fill["charges"])
        self.cash -= quantity * price + charges
        self.charges += charges
        held, average = self.held.get(fill["instrument"], (0, Fraction(0)))
        assert held + quantity >= 0, "no strategy here may ever be short"
        if quantity > 0:
            average = (held * average + quantity * price) / (held + quantity)
        else:
            self.realised += -quantity * (price - average)
        self.held[fill["instrument"]] = (held + quantity, average)


def paisa(amount: Any) -> Decimal:
    value = Fraction(amount)
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(Decimal("0.01"))


def market_ticks(world: FreshWorld) -> Iterator[tuple[int, int, list[Any]]]:
    """(partition, offset, tick array) in the order of the log."""
    for line in read_topic(world.servers.kafka, f"{world.servers.prefix}market.ticks"):
        head = json.loads(line.value.split(b"\n")[0])
        for tick in head.get("ticks", []):
            yield line.partition, line.offset, tick


def assert_fills_follow_the_tick_log(world: FreshWorld) -> None:
    """Each fill is at the first tick of its instrument half a second after its cause, slipped by one basis point."""
    after: dict[tuple[int, str], list[tuple[int, list[Any]]]] = defaultdict(list)
    for partition, offset, tick in market_ticks(world):
        after[partition, tick[0]].append((offset, tick))
    orders = {event["order_id"]: event for event in events(world, "signals.validated")}
    for event in events(world, "orders.filled"):
        fill, cause = event["fill"], orders[event["fill"]["order_id"]]["signal"]["cause"]
        assert fill["quantity"] == orders[fill["order_id"]]["quantity"]
        tick = next(
            tick
            for offset, tick in after[cause["shard"], fill["instrument"]]
            if (offset, tick[7]) > (cause["offset"], cause["row"]) and tick[6] >= cause["time"] + LATENCY_MS
        )
        last, buying = Decimal(tick[1]) / 100, fill["side"] == "BUY"
        slipped = last * (1 + SLIPPAGE if buying else 1 - SLIPPAGE)
        steps = (slipped / TICK_SIZE).to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR)
        assert Decimal(fill["price"]) == steps * TICK_SIZE
        assert Decimal(fill["charges"]) == Decimal(fill["price"]) * fill["quantity"] * CHARGE_RATE
        assert (fill["tick"]["row"], fill["time"]) == (tick[7], tick[6])


def assert_books_equal_the_topics(world: FreshWorld, gateway: str) -> None:
    """What the gateway answers is, to the paisa, what the fills say."""
    books: dict[str, Book] = defaultdict(Book)
    # A record can stand twice in a log, after a crash of its producer, but never with two contents.
    filled = {event["fill"]["fill_id"]: event["fill"] for event in events(world, "orders.filled")}
    for fill in sorted(filled.values(), key=lambda fill: (fill["time"], fill["tick"]["offset"])):
        books[fill["strategy_id"]].fill(fill)

    shown = {portfolio["strategy_id"]: portfolio for portfolio in portfolios(gateway)}

    assert shown.keys() == books.keys()
    for strategy_id, book in books.items():
        portfolio = shown[strategy_id]
        assert paisa(portfolio["cash"]) == paisa(Fraction(portfolio["capital"]) + book.cash)
        assert paisa(portfolio["charges"]) == paisa(book.charges)
        assert paisa(portfolio["realised"]) == paisa(book.realised)
        positions = {row["instrument"]: row["quantity"] for row in portfolio["positions"] if row["quantity"]}
        assert positions == {name: quantity for name, (quantity, _) in book.held.items() if quantity}
    _, summary = get(f"{gateway}/api/v1/portfolios/paper/summary")
    assert Decimal(summary["cash"]) == sum(Decimal(portfolio["cash"]) for portfolio in shown.values())


def assert_no_id_has_two_contents(world: FreshWorld) -> None:
    for name in TRADED:
        contents: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        for line in topic(world, name):
            event = json.loads(line.value)
            contents[event["producer"], event["sequence"]].add(line.value)
        assert all(len(values) == 1 for values in contents.values()), name


def test_real_ticks_become_books_that_can_be_computed_again(
    world: FreshWorld, spawn: Callable[..., Spawned], recording: Path, tmp_path: Path
) -> None:
    _, _, gateway = start(world, spawn, tmp_path)
    feed = spawn(["panda", "feed", "replay", str(recording), "--speed", "max"])
    assert feed.wait(120) == 0, feed.output()
    await_quiet(world, gateway)

    raw, fills = topic(world, "signals.raw"), topic(world, "orders.filled")
    by_strategy = Counter(json.loads(line.value)["strategy_id"] for line in raw)
    rows = {tick[7] for _, _, tick in market_ticks(world)}
    assert len(rows) == TICKS
    assert len(raw) > 200
    assert len(fills) > 200
    assert by_strategy.keys() == {"Momentum_NIFTY_1", "MeanReversion_1"}

    # The very same bytes for every listed broker, and nothing else on the other broker's topics.
    momentum = [line.value for line in raw if json.loads(line.value)["strategy_id"] == "Momentum_NIFTY_1"]
    assert [line.value for line in topic(world, "signals.raw", "zerodha")] == momentum
    for name in ("signals.validated", "signals.rejected", "orders.updates", "orders.filled", "marks"):
        assert topic(world, name, "zerodha") == []
        assert {event["namespace"] for event in events(world, name)} <= {"paper"}

    with redis.Redis.from_url(world.env["REDIS_URL"], decode_responses=True) as client:
        keys = list(client.scan_iter(count=1000))
    assert {key.split(":")[0] for key in keys} == {"panda", "feed", "brain", "paper", "gateway"}
    assert all(key.startswith("paper:") for key in keys if "portfolio" in key or "positions" in key or "orders" in key)

    # Each validated order ends in exactly one terminal update.
    ended = Counter(u["order_id"] for u in events(world, "orders.updates") if u["state"] != "WORKING")
    assert ended == Counter(event["order_id"] for event in events(world, "signals.validated"))

    assert_no_id_has_two_contents(world)
    assert_fills_follow_the_tick_log(world)
    assert_books_equal_the_topics(world, gateway)
    assert topic(world, "dlq") == []

    _, namespaces = get(f"{gateway}/api/v1/namespaces")
    zerodha = next(row for row in namespaces["namespaces"] if row["namespace"] == "zerodha")
    assert (zerodha["arm"], zerodha["signals_waiting"]) == ("none", len(momentum))


def test_a_killed_brain_and_arm_leave_books_that_equal_their_topics(
    world: FreshWorld, spawn: Callable[..., Spawned], recording: Path, tmp_path: Path
) -> None:
    brain, arm, gateway = start(world, spawn, tmp_path)
    feed = spawn(["panda", "feed", "replay", str(recording), "--speed", "max"])
    arm_env = {**world.env, "BROKER_NAMESPACE": "paper"}
    for kills in range(1, 4):
        eventually(lambda least=kills * 30: len(topic(world, "orders.filled")) > least, timeout_s=90, what="fills")
        arm.kill()
        brain.kill()
        arm = spawn(["faust", "-A", "faust_app", "worker"], env=arm_env)
        brain = spawn(["faust", "-A", "faust_app", "worker"])
    assert feed.wait(120) == 0, feed.output()
    await_quiet(world, gateway)

    assert_fills_follow_the_tick_log(world)
    assert_books_equal_the_topics(world, gateway)
    assert topic(world, "dlq") == []
