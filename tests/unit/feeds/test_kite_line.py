from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientSession

from panda_streams.errors import SettingsError
from panda_streams.feeds.kite import MOST_INSTRUMENTS, share_out
from panda_streams.feeds.kite_line import Gap, Line, LineState, Patience, Watch
from panda_streams.identity import World
from panda_streams.kite_access import KiteAccess, kite_access
from panda_streams.kite_frames import Mode, decode
from panda_streams.settings import Settings
from tests.fake_kite import FakeKite, fake_kite
from tests.polling import eventually_async
from tests.unit.kite_packets import INFY_TOKEN, NIFTY_TOKEN, a_full

TOKENS = [NIFTY_TOKEN, INFY_TOKEN]


@dataclass
class Heard:
    """What a line says."""

    line: Line
    frames: list[bytes] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


def access_to(kite: FakeKite) -> KiteAccess:
    return kite_access(Settings(), World("replay:t"), kite.address)


@asynccontextmanager
async def a_line(
    access: KiteAccess, patience: Patience | None = None, is_open: Callable[[], bool] = lambda: True
) -> AsyncIterator[Heard]:
    frames: list[bytes] = []
    gaps: list[Gap] = []
    watch = Watch(patience or Patience(), is_open)
    line = Line(1, access, TOKENS, Mode.FULL, watch, is_open, frames.append, gaps.append)
    async with ClientSession() as http:
        running = asyncio.create_task(line.run(http))
        try:
            yield Heard(line, frames, gaps)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def until(check: Callable[[], object], what: str) -> None:
    async def checked() -> object:
        return check()

    await eventually_async(checked, what=what)


def test_a_line_subscribes_and_hands_over_what_comes() -> None:
    async def story() -> None:
        async with fake_kite() as kite, a_line(access_to(kite)) as heard:
            await until(lambda: kite.modes, "the mode is set")
            await kite.send([a_full()])
            await until(lambda: heard.frames, "a frame arrives")

            assert kite.subscriptions == [TOKENS]
            assert kite.modes == [("full", TOKENS)]
            assert kite.headers[0]["X-Kite-Version"] == "3"
            assert decode(heard.frames[0]).packets == [a_full()]
            assert (heard.line.state, heard.gaps) == (LineState.OPEN, [])

    asyncio.run(story())


def test_a_connection_that_is_closed_is_made_again_and_the_gap_is_told() -> None:
    async def story() -> None:
        async with fake_kite() as kite, a_line(access_to(kite)) as heard:
            await until(lambda: kite.modes, "the line is open")
            await kite.hang_up()
            await until(lambda: heard.gaps, "the gap is told")

            (gap,) = heard.gaps
            assert "Kite closed the connection" in gap.reason
            assert gap.open
            assert 0 <= gap.begins <= gap.ends
            assert kite.subscriptions == [TOKENS, TOKENS]
            assert kite.logins == 1

    asyncio.run(story())


def test_a_kite_that_answers_with_an_error_is_tried_again() -> None:
    async def story() -> None:
        async with fake_kite() as kite:
            kite.ticker_status = 502
            async with a_line(access_to(kite)) as heard:
                await until(lambda: heard.line.reason, "it is refused")
                assert (heard.line.state, heard.line.reason) == (LineState.AWAY, "Kite answered with HTTP 502")
                kite.ticker_status = None
                await until(lambda: heard.line.state is LineState.OPEN, "it is open")
                assert heard.gaps == []

    asyncio.run(story())


def test_a_kite_that_is_not_there_is_waited_for() -> None:
    async def story() -> None:
        access = kite_access(Settings(), World("replay:t"), "127.0.0.1:9")
        async with a_line(access) as heard:
            await until(lambda: heard.line.reason, "nobody answers")
            assert heard.line.state is LineState.AWAY
            assert heard.line.down_s > 0
            assert "cannot be reached" in heard.line.reason

    asyncio.run(story())


def test_a_connection_on_which_not_even_a_heartbeat_comes_is_made_again() -> None:
    async def story() -> None:
        patience = Patience(silent_s=0.6, tickless_s=60)
        async with fake_kite() as kite, a_line(access_to(kite), patience, lambda: False) as heard:
            await until(lambda: kite.modes, "the line is open")
            kite.heartbeat = False
            await until(lambda: heard.gaps, "the gap is told")

            assert heard.gaps[0].reason == "nothing was heard for 0.6 s"
            assert not heard.gaps[0].open

    asyncio.run(story())


def test_a_connection_without_ticks_is_made_again_only_while_the_market_trades() -> None:
    async def story() -> None:
        trades = [False]
        patience = Patience(silent_s=5, tickless_s=0.6)
        async with fake_kite() as kite, a_line(access_to(kite), patience, lambda: trades[0]) as heard:
            await until(lambda: kite.modes, "the line is open")
            before = kite.beats
            await until(lambda: kite.beats > before + 10, "longer than the patience has passed")
            assert heard.line.connections == 1
            trades[0] = True
            await until(lambda: heard.gaps, "the gap is told")

            assert "while the market trades" in heard.gaps[0].reason

    asyncio.run(story())


def test_a_refused_token_is_said_and_a_new_one_is_taken_up() -> None:
    async def story() -> None:
        stored: list[str | None] = [None]

        async def token(refused: str | None) -> str | None:
            return stored[0]

        async with fake_kite() as kite:
            there = access_to(kite)
            access = KiteAccess(there.profile, there.api_root, "", there.ws_root, {}, "key", token)
            async with a_line(access) as heard:
                await until(lambda: heard.line.state is LineState.LOGGED_OUT, "nobody is logged in")
                assert "panda kite login" in heard.line.reason
                stored[0] = "old"
                await until(lambda: "refused" in heard.line.reason, "the token is refused")
                kite.tokens = {"new"}
                stored[0] = "new"
                await until(lambda: heard.line.state is LineState.OPEN, "the new token is taken up")
                assert heard.line.reason == ""

    asyncio.run(story())


def test_what_kite_says_in_words_is_kept_and_no_address_with_a_token_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async with fake_kite() as kite, a_line(access_to(kite)) as heard:
            await until(lambda: kite.modes, "the line is open")
            await kite.send_text({"type": "order", "data": {"order_id": "1"}})
            await kite.send_text({"type": "error", "data": "Too many instruments"})
            await until(lambda: heard.line.complaint, "the error is kept")
            assert heard.line.complaint == "Too many instruments"
            kite.tokens = set()
            await kite.hang_up()
            await until(lambda: heard.line.connections == 2, "the line is open again")

    with caplog.at_level("DEBUG"):
        asyncio.run(story())

    assert "secret" not in caplog.text


def test_a_line_that_hardly_trades_is_given_more_patience_each_time() -> None:
    watch = Watch(Patience(silent_s=15, tickless_s=60), lambda: True)
    complaints, now = [], 0.0
    for _ in range(3):
        watch.connected(now)
        begun = now
        watch.heard(now, tick=True)
        while watch.complaint(now) is None:
            now += 1
            watch.heard(now, tick=False)
        complaints.append(now - begun)

    assert complaints == [61, 121, 241]
    watch.connected(now)
    watch.heard(now + 16, tick=True)
    watch.heard(now + 76, tick=False)
    assert watch.complaint(now + 76) is None
    watch.heard(now + 77, tick=False)
    assert watch.complaint(now + 77) is not None


def test_patience_begins_when_the_market_opens() -> None:
    trades = [False]
    watch = Watch(Patience(silent_s=15, tickless_s=60), lambda: trades[0])
    watch.connected(0)
    watch.heard(600, tick=False)
    assert watch.complaint(600) is None
    trades[0] = True

    watch.heard(659, tick=False)
    assert watch.complaint(600) is None
    assert watch.complaint(659) is None
    watch.heard(661, tick=False)
    assert watch.complaint(661) is not None


def test_instruments_are_shared_out_to_as_few_lines_as_can_take_them() -> None:
    assert [len(tokens) for tokens in share_out(list(range(3000)))] == [3000]
    assert [len(tokens) for tokens in share_out(list(range(MOST_INSTRUMENTS)))] == [3000, 3000, 3000]


def test_more_instruments_than_kite_gives_are_an_error_that_says_how_many() -> None:
    with pytest.raises(SettingsError, match="9,001 instruments are wanted, and Kite gives 3 connections of 3,000"):
        share_out(list(range(MOST_INSTRUMENTS + 1)))
