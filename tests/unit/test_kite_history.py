from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from panda_streams.errors import BadInput, PandaError, ServerUnreachable
from panda_streams.identity import World
from panda_streams.kite_access import KiteAccess, kite_access
from panda_streams.kite_api import KiteApi, LoggedOut, numbered
from panda_streams.kite_history import COLUMNS, Fetched, Interval, Request, fetch, pieces, read_head
from panda_streams.settings import Settings
from tests.fake_kite import FakeKite, fake_kite
from tests.unit.builders import INDEX, SHARE

INDIA = ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 8, 25, 11, 0, tzinfo=INDIA)
HALF_A_YEAR = Request("NSE:INFY", 408065, Interval.MINUTE, date(2026, 1, 1), date(2026, 6, 30))
CANDLES = [
    ["2026-01-01T09:15:00+0530", 1573.7, 1575, 1570.05, 1574.4, 1200, 0],
    ["2026-03-05T09:15:00+0530", 1600.0, 1601.1, 1599.95, 1600.5, 700, 0],
    ["2026-06-30T15:29:00+0530", 1610.0, 1611, 1609, 1610.25, 90, 0],
]


def run(story: Callable[[FakeKite, KiteApi], Awaitable[None]]) -> None:
    async def with_kite() -> None:
        async with fake_kite() as kite, ClientSession() as http:
            kite.candles = CANDLES
            await story(kite, KiteApi(access_to(kite), http, pause_s=0.001))

    asyncio.run(with_kite())


def access_to(kite: FakeKite) -> KiteAccess:
    return kite_access(Settings(), World("sim"), kite.address)


async def fetched(api: KiteApi, directory: Path, request: Request = HALF_A_YEAR, now: datetime = NOW) -> Fetched:
    return await fetch(api, request, "kite:simulator", directory, now=lambda: now)


def test_candles_are_written_as_kite_tells_them_with_their_source(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        done = await fetched(api, tmp_path)

        head, columns, *lines = gzip.decompress(done.path.read_bytes()).decode().splitlines()
        told = json.loads(head.removeprefix("# "))
        assert (told["source"], told["instrument"], told["candles"]) == ("kite:simulator", "NSE:INFY", 3)
        assert (told["from"], told["to"], told["complete"]) == ("2026-01-01", "2026-06-30", True)
        assert columns == COLUMNS
        assert lines[0] == "2026-01-01T09:15:00+05:30,1573.7,1575,1570.05,1574.4,1200,0"
        assert lines[2] == "2026-06-30T15:29:00+05:30,1610.0,1611,1609,1610.25,90,0"

    run(story)


def test_each_request_asks_for_as_many_days_as_kite_gives(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        done = await fetched(api, tmp_path)

        assert done.requests == 4
        assert [(query["from"], query["to"]) for _, query in kite.asked] == [
            ("2026-01-01 00:00:00", "2026-03-01 23:59:59"),
            ("2026-03-02 00:00:00", "2026-04-30 23:59:59"),
            ("2026-05-01 00:00:00", "2026-06-29 23:59:59"),
            ("2026-06-30 00:00:00", "2026-06-30 23:59:59"),
        ]
        assert {path for path, _ in kite.asked} == {"/instruments/historical/408065/minute"}

    run(story)


def test_a_fetch_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        whole = await fetched(api, tmp_path / "whole")
        refusal = json.dumps({"status": "error", "error_type": "InputException", "message": "no"})
        kite.asked.clear()

        def fail_at_the_third(share: float) -> None:
            if share == 0.5:
                kite.failures = [(400, refusal)]

        with pytest.raises(BadInput, match="InputException: no"):
            await fetch(api, HALF_A_YEAR, "kite:simulator", tmp_path, fail_at_the_third, now=lambda: NOW)
        resumed = await fetched(api, tmp_path)

        assert resumed.requests == 2
        assert resumed.path.read_bytes() == whole.path.read_bytes()

    run(story)

    assert {path.name for path in tmp_path.iterdir()} == {"whole", f"{HALF_A_YEAR.name}.csv.gz"}


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        first = await fetched(api, tmp_path)
        again = await fetched(api, tmp_path)

        assert (again.path, again.candles, again.requests) == (first.path, 3, 0)
        assert len(kite.asked) == 4

    run(story)


def test_a_day_that_has_not_ended_is_fetched_again(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        today = Request("NSE:INFY", 408065, Interval.MINUTE, NOW.date(), NOW.date())
        kite.candles = []
        first = await fetched(api, tmp_path, today)
        kite.candles = [["2026-08-25T11:00:00+0530", 1, 1, 1, 1, 5, 0]]
        second = await fetched(api, tmp_path, today, NOW + timedelta(days=1))
        third = await fetched(api, tmp_path, today, NOW + timedelta(days=1))

        assert [(one.candles, one.requests, one.complete) for one in (first, second, third)] == [
            (0, 1, False),
            (1, 1, True),
            (1, 0, True),
        ]

    run(story)


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        path = tmp_path / f"{HALF_A_YEAR.name}.csv.gz"
        path.write_bytes(gzip.compress(b"mine"))

        with pytest.raises(BadInput, match="is no history"):
            await fetched(api, tmp_path)
        assert gzip.decompress(path.read_bytes()) == b"mine"

    run(story)


@pytest.mark.parametrize("status", [429, 500, 502, 504])
def test_kite_is_asked_again_where_that_may_help(tmp_path: Path, status: int) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        kite.failures = [(status, "<html>busy</html>")] * 2
        day = Request("NSE:INFY", 408065, Interval.DAY, date(2026, 1, 1), date(2026, 1, 1))

        assert (await fetched(api, tmp_path, day)).candles == 1
        assert len(kite.asked) == 3

    run(story)


def test_a_kite_that_goes_on_failing_is_an_error_that_says_so(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        kite.failures = [(503, "")] * 9

        with pytest.raises(ServerUnreachable, match="did not answer 5 times: HTTP 503"):
            await fetched(api, tmp_path)

    run(story)


def test_a_token_that_died_is_replaced_at_the_simulator(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        await fetched(api, tmp_path / "a")
        kite.tokens = set()

        assert (await fetched(api, tmp_path / "b")).candles == 3
        assert kite.logins == 2

    run(story)


@pytest.mark.parametrize(("stored", "told"), [(None, "nobody is logged in"), ("old", "has refused the access token")])
def test_without_a_good_token_the_fix_is_to_log_in(tmp_path: Path, stored: str | None, told: str) -> None:
    async def token(refused: str | None) -> str | None:
        return stored

    async def story() -> None:
        async with fake_kite() as kite, ClientSession() as http:
            there = access_to(kite)
            access = KiteAccess(there.profile, there.api_root, "", there.ws_root, {}, "key", token)
            with pytest.raises(LoggedOut, match=told) as error:
                await fetched(KiteApi(access, http, pause_s=0.001), tmp_path)
            assert "panda kite login" in error.value.fix

    asyncio.run(story())


def test_an_answer_without_candles_is_an_error(tmp_path: Path) -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        kite.failures = [(200, '{"status": "success"}')]

        with pytest.raises(PandaError, match="holds no candles"):
            await fetched(api, tmp_path)

    run(story)


def test_official_candles_are_read(shared_data: Path, tmp_path: Path) -> None:
    mock = json.loads((shared_data / "kiteconnect-mocks" / "historical_oi.json").read_text())

    async def story(kite: FakeKite, api: KiteApi) -> None:
        kite.candles = mock["data"]["candles"]
        day = date(2019, 12, 4)
        done = await fetched(api, tmp_path, Request("NFO:X", 1, Interval.MINUTE, day, day))

        assert done.candles == len(kite.candles)
        assert read_head(done.path)["instrument"] == "NFO:X"
        line = gzip.decompress(done.path.read_bytes()).decode().splitlines()[2]
        assert line == "2019-12-04T09:15:00+05:30,12009.9,12019.35,12001.25,12001.5,163275,13667775"

    run(story)


def test_numbers_come_from_the_list_and_else_from_kite() -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        assert await numbered(api, [SHARE, INDEX]) == {408065: SHARE, 256265: INDEX}

    run(story)


def test_what_kite_does_not_list_is_named() -> None:
    async def story(kite: FakeKite, api: KiteApi) -> None:
        with pytest.raises(BadInput, match="Kite does not list NSE:ZOMATO"):
            await numbered(api, [type(SHARE)(exchange="NSE", symbol="ZOMATO", kind=SHARE.kind)])

    run(story)


days = st.dates(date(2015, 1, 1), date(2026, 12, 31))


@given(days, days, st.sampled_from(Interval))
def test_pieces_cover_every_day_once_within_the_limit(one: date, other: date, interval: Interval) -> None:
    begins, ends = min(one, other), max(one, other)

    shares = list(pieces(begins, ends, interval))

    assert shares[0][0] == begins
    assert shares[-1][1] == ends
    assert all(after[0] - before[1] == timedelta(days=1) for before, after in pairwise(shares))
    assert all(0 <= (last - first).days < interval.days for first, last in shares)
