"""The whole line on real ticks: feed, brain, paper arm, Redis, gateway; every figure computed again from the topics.

On the replay clock a run is compared with the undisturbed one: kills, a late start and several workers change nothing.
"""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import fresh_world, spawning
from tests.integration.line import (
    STRATEGIES,
    TRADED,
    Deployed,
    Run,
    assert_books_equal_the_topics,
    assert_charges_are_those_of_the_day,
    assert_each_order_ends_once,
    assert_fills_follow_the_tick_log,
    assert_no_id_has_two_contents,
)
from tests.polling import eventually
from tests.servers import RunningServers

pytestmark = pytest.mark.integration

TICKS = 220_000
A_MINUTE_MS = 60_000
"""How far the stages' time goes beyond the end of the data."""
WORLD = "replay:line"
"""The same for all runs that are compared, since each record carries it."""


@contextmanager
def deployed(
    servers: RunningServers,
    directory: Path,
    *,
    clock: str | None = None,
    strategies: Mapping[str, str] = STRATEGIES,
) -> Iterator[Deployed]:
    with (
        fresh_world(servers, directory, name=WORLD, clock=clock) as world,
        spawning(directory, lambda: world.env) as spawn,
    ):
        yield Deployed(world, spawn, directory, strategies)


@pytest.fixture
def line(servers: RunningServers, tmp_path: Path) -> Iterator[Deployed]:
    """A deployment without any worker."""
    with deployed(servers, tmp_path) as line:
        yield line


@pytest.fixture(scope="module")
def recording(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first ticks of a real session: an hour and a quarter."""
    part = tmp_path_factory.mktemp("recording") / "session.csv.gz"
    source = shared_data / "nse_ticks_2021" / "nse_ticks_2021-06-08.csv.gz"
    with gzip.open(source, "rt") as whole, gzip.open(part, "wt", compresslevel=1) as file:
        file.writelines(itertools.islice(whole, TICKS + 1))
    return part


@pytest.fixture(scope="module")
def undisturbed(servers: RunningServers, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with deployed(servers, tmp_path_factory.mktemp("undisturbed")) as line:
        line.brain()
        line.arm()
        line.replay(recording)
        line.await_quiet()
        return line.read()


def assert_equal(run: Run, expected: Run) -> None:
    """Byte by byte the same signals, verdicts, updates and fills, and the same books."""
    for name in TRADED:
        assert run.said(name) == expected.said(name), name
    assert run.books() == expected.books()
    assert_no_id_has_two_contents(run)
    assert (run.topics["paper.dlq"], run.topics["brain.dlq"]) == ([], [])


def test_real_ticks_become_books_that_can_be_computed_again(undisturbed: Run) -> None:
    raw, refused = undisturbed.events("signals.raw"), undisturbed.events("signals.rejected")

    assert sorted({tick[7] for _, _, tick in undisturbed.ticks()}) == list(range(TICKS))
    assert len(raw) > 200
    assert len(undisturbed.fills()) > 200
    assert {booking["kind"] for booking in undisturbed.bookings()} == {"CONTRACT_NOTE"}
    assert any(updates[0]["role"] == "SQUARE_OFF" for updates in undisturbed.orders().values())
    assert {event["strategy_id"] for event in raw} == {"Momentum_NIFTY_1", "MeanReversion_1"}
    # Limits bind, so what was filled before decides what is refused: books would show another order of things.
    assert {code for event in refused for code in event["codes"]} >= {"CASH_INSUFFICIENT"}
    assert_no_id_has_two_contents(undisturbed)
    assert_each_order_ends_once(undisturbed)
    assert_fills_follow_the_tick_log(undisturbed)
    assert_charges_are_those_of_the_day(undisturbed)
    assert_books_equal_the_topics(undisturbed)
    assert (undisturbed.topics["paper.dlq"], undisturbed.topics["brain.dlq"]) == ([], [])


def test_every_listed_broker_gets_the_very_same_signals_and_nothing_else(undisturbed: Run) -> None:
    momentum = [line.value for line in undisturbed.topics["paper.signals.raw"] if b'"Momentum_NIFTY_1"' in line.value]
    zerodha = undisturbed.namespaces["zerodha"]

    # In the order of each shard: shards are handled side by side.
    assert Counter(line.value for line in undisturbed.topics["zerodha.signals.raw"]) == Counter(momentum)
    for name in ("signals.validated", "signals.rejected", "orders.updates", "orders.filled", "marks"):
        assert undisturbed.topics[f"zerodha.{name}"] == []
        assert {event["namespace"] for event in undisturbed.events(name)} <= {"paper"}
    assert (zerodha["arm"], zerodha["signals_waiting"]) == ("none", len(momentum))
    assert {key.split(":")[0] for key in undisturbed.mirrored} == {"panda", "feed", "brain", "paper", "gateway"}
    of_books = [
        key for key in undisturbed.mirrored if any(kind in key for kind in ("portfolio", "positions", "orders"))
    ]
    assert all(key.startswith("paper:") for key in of_books)


def test_kills_change_neither_a_verdict_nor_a_book(line: Deployed, recording: Path, undisturbed: Run) -> None:
    brain, arm = line.brain(), line.arm()
    feed = line.feed(recording)
    for kills in range(1, 4):
        eventually(lambda least=kills * 40: len(line.topic("orders.filled")) > least, timeout_s=90, what="fills")
        arm.kill()
        brain.kill()
        arm, brain = line.arm(), line.brain()
    assert feed.wait(120) == 0, feed.output()
    line.await_quiet()

    assert_equal(line.read(), undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_arm_that_starts_an_hour_behind_the_ticks_gives_the_same_books(
    line: Deployed, recording: Path, undisturbed: Run, workers: int
) -> None:
    line.brain()
    line.replay(recording)
    expected = len(undisturbed.said("signals.raw"))
    eventually(lambda: len(line.once("signals.raw")) == expected, timeout_s=60, what="the brain has said it all")
    for instance in range(workers):
        line.arm(instance)
    line.await_quiet(workers=1 + workers)

    assert_equal(line.read(), undisturbed)


def test_two_workers_share_an_arm_and_a_brain_under_kills(line: Deployed, recording: Path, undisturbed: Run) -> None:
    def goes_on(more: int) -> None:
        least = line.judged() + more
        eventually(lambda: line.judged() > least, timeout_s=60, what="the arm goes on judging signals")

    brain, arm = line.brain(), line.arm()
    feed = line.feed(recording, speed="100")
    goes_on(20)
    second_arm, second_brain = line.arm(1), line.brain(1)
    goes_on(20)
    arm.kill()  # and back within the session: it keeps its partitions
    brain.kill()
    arm, brain = line.arm(), line.brain()
    goes_on(20)
    second_arm.kill()  # for good: the first one takes its partitions over once the session has ended
    second_brain.kill()
    goes_on(60)
    second_arm = line.arm(1)
    assert feed.wait(180) == 0, feed.output()
    line.await_quiet(workers=3)

    for process in (arm, brain, second_arm):
        assert process.process.poll() is None, process.output()
    assert_equal(line.read(), undisturbed)


def test_sigterm_ends_brain_and_arm_in_about_a_second_with_nothing_left_to_repeat(
    line: Deployed, recording: Path, tmp_path: Path
) -> None:
    with gzip.open(recording, "rt") as whole:
        (tmp_path / "part.csv").write_text("".join(itertools.islice(whole, 60_001)))
    workers = [line.brain(), line.arm()]
    feed = line.feed(tmp_path / "part.csv", speed="100")
    eventually(lambda: len(line.topic("orders.filled")) > 5, timeout_s=60, what="fills")

    began = time.monotonic()
    for worker in workers:
        worker.process.terminate()
    codes = [worker.wait(20) for worker in workers]
    took = time.monotonic() - began
    said_again = line.outboxes()
    line.brain()
    line.arm()
    assert feed.wait(60) == 0, feed.output()
    line.await_quiet()
    run = line.read()

    assert codes == [0, 0]
    assert took < 4  # both of them; they were in mid-work, on a machine that works too
    for name in TRADED:
        times = Counter(record.value for record in run.topics[f"paper.{name}"])
        assert {value for value in times if times[value] > 1} <= said_again, name
    assert_books_equal_the_topics(run)


def test_on_the_wall_clock_nobody_waits_and_the_books_equal_the_topics(
    servers: RunningServers, recording: Path, tmp_path: Path
) -> None:
    with deployed(servers, tmp_path, clock="wall") as line:
        line.brain()
        arm = line.arm()
        # At full speed all signals were judged before the first fill is known, and hardly any would pass.
        feed = line.feed(recording, speed="200")
        eventually(lambda: len(line.topic("orders.filled")) > 20, timeout_s=90, what="fills")
        arm.kill()
        line.arm()
        assert feed.wait(120) == 0, feed.output()
        line.await_quiet()
        run = line.read()

    assert_no_id_has_two_contents(run)
    assert_each_order_ends_once(run)
    assert_fills_follow_the_tick_log(run)
    assert_charges_are_those_of_the_day(run)
    assert_books_equal_the_topics(run)
    assert run.topics["paper.dlq"] == []


def test_a_recording_may_end_in_mid_second_and_an_unlisted_namespace_hears_how_far_time_has_come(
    servers: RunningServers, recording: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.csv"
    with gzip.open(recording, "rt") as whole:
        lines = list(itertools.islice(whole, 60_001))
    last = lines[-1].partition("+05:30")[0]
    # Every tick of the last second comes 400 ms into it, and nothing follows.
    part.write_text("".join(text.replace(f"{last}+", f"{last}.400+") for text in lines))

    with deployed(servers, tmp_path, strategies={"mean_reversion.yaml": STRATEGIES["mean_reversion.yaml"]}) as line:
        line.brain()
        line.arm()
        line.replay(part)
        line.await_quiet()
        run = line.read()
        heard = [json.loads(record.value) for record in line.whole_topic("zerodha.signals.raw")]

    assert max(tick[6] for _, _, tick in run.ticks()) % 1000 == 400
    assert run.events("orders.filled")
    assert_each_order_ends_once(run)
    assert_fills_follow_the_tick_log(run)
    assert_books_equal_the_topics(run)
    end = max(json.loads(record.value.split(b"\n")[0])["time"] for record in run.market)
    reached = {beat["producer"]: beat["time"] for beat in heard}
    assert {event["kind"] for event in heard} == {"beat"}
    assert reached == {f"brain/{shard}": end + A_MINUTE_MS for shard in range(4)}
