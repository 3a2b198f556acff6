"""`panda data fetch`: what it writes, what it prints for a program, and how it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner, Result

from panda_streams.cli.data import data
from panda_streams.errors import BadInput
from tests.fake_kite import FakeKite, fake_kite


@pytest.fixture
def kite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKite]:
    """A Kite in a thread, as long as the test."""
    monkeypatch.setenv("PANDA_HOME", str(tmp_path / "home"))
    for name in ("PANDA_WORLD", "PANDA_KITE_PROFILE", "PANDA_INSTRUMENTS"):
        monkeypatch.delenv(name, raising=False)
    found: list[FakeKite] = []
    ready, over = Event(), Event()

    async def serve() -> None:
        async with fake_kite() as kite:
            found.append(kite)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    over.set()
    thread.join(10)


def run(kite: FakeKite, *arguments: str) -> Result:
    command = ["fetch", *arguments, "--root", kite.address]
    return CliRunner().invoke(data, command, catch_exceptions=False)


def test_a_file_an_instrument_is_written_and_reported(kite: FakeKite, tmp_path: Path) -> None:
    kite.candles = [["2026-01-01T00:00:00+0530", 1573.7, 1575, 1570.05, 1574.4, 1200, 0]]

    result = run(
        kite, "NSE:INFY", "NSE:NIFTY 50", "--from", "2026-01-01", "--to", "2026-01-31", "--interval", "day", "--json"
    )

    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["source"] == "kite:simulator"
    assert [(one["instrument"], one["candles"], one["complete"]) for one in report["files"]] == [
        ("NSE:INFY", 1, True),
        ("NSE:NIFTY 50", 1, True),
    ]
    folder = tmp_path / "home" / "history"
    assert sorted(path.name for path in folder.iterdir()) == [
        "NSE_INFY_day_2026-01-01_2026-01-31.csv.gz",
        "NSE_NIFTY_50_day_2026-01-01_2026-01-31.csv.gz",
    ]


def test_a_second_call_says_that_all_was_there(kite: FakeKite) -> None:
    command = ["NSE:INFY", "--from", "2026-01-01", "--to", "2026-01-31", "--interval", "day"]
    run(kite, *command)

    assert "which was there" in run(kite, *command).stdout


def test_an_instrument_that_kite_does_not_list_is_named(kite: FakeKite) -> None:
    with pytest.raises(BadInput, match="Kite does not list NSE:ZOMATO"):
        run(kite, "NSE:ZOMATO", "--from", "2026-01-01")


@pytest.mark.parametrize("days", [("2026-02-01", "2026-01-01"), ("2999-01-01", "2999-01-02")])
def test_days_that_make_no_sense_are_refused(kite: FakeKite, days: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match="is after"):
        run(kite, "NSE:INFY", "--from", days[0], "--to", days[1])


def test_another_interval_is_a_usage_error_that_lists_them(kite: FakeKite) -> None:
    result = run(kite, "NSE:INFY", "--from", "2026-01-01", "--interval", "hour")

    assert result.exit_code == 2
    assert "60minute" in result.output
