from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from panda_streams.cli.leaving import Leaving
from panda_streams.cli.up import _run, _settings, _world
from panda_streams.errors import BadInput, SettingsError
from panda_streams.identity import Clock


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_its_clean_up_is_waited_for(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []

    async def main(stopping: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.sleep(30)
        finally:
            os.kill(os.getpid(), number)  # an impatient second one
            await asyncio.sleep(0.05)
            done.append("cleaned up")

    _run(main)

    assert done == ["cleaned up"]
    assert capsys.readouterr().out == "everything is stopped\n"


def test_ctrl_c_asks_first_while_something_would_stay_at_a_broker(capsys: pytest.CaptureFixture[str]) -> None:
    leaving = Leaving()
    leaving.behind = "zerodha (production) has 2 open positions and 1 working order"
    went_on = []

    async def main(stopping: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
        went_on.append(not stopping.is_set())
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)

    _run(main, leaving)

    assert went_on == [True]
    assert leaving.behind in capsys.readouterr().err


def test_a_supervisor_of_the_whole_is_not_asked_back() -> None:
    leaving = Leaving()
    leaving.behind = "zerodha (production) has 2 open positions and 1 working order"

    async def main(stopping: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(30)

    _run(main, leaving)


def test_a_question_that_nobody_answered_is_asked_again() -> None:
    leaving = Leaving()
    leaving.behind = "something"

    assert leaving.question(100.0)
    assert not leaving.question(109.0)
    assert leaving.question(120.0)


def test_a_library_that_loses_the_cancellation_does_not_keep_the_command_running() -> None:
    lost = []

    async def main(stopping: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            lost.append(True)
        await asyncio.wait_for(stopping.wait(), 5)

    _run(main)

    assert lost == [True]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "NSE ticks (2021-06-08).csv.gz"
    path.write_bytes(b"")
    return path


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PANDA_FEED", "PANDA_FEED_SPEED", "PANDA_WORLD", "PANDA_CLOCK", "PANDA_KITE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_simulator_runs_in_sim_and_a_recording_in_a_world_of_its_own(recording: Path) -> None:
    assert _world(_settings(None, None, None), None).name == "sim"
    assert _world(_settings(str(recording), None, None), None).name == "replay:nse-ticks-2021-06-08"


@pytest.mark.parametrize(("profile", "world"), [("production", "live"), ("sandbox", "sim")])
def test_the_real_kite_feeds_the_world_live_and_the_sandbox_another(
    monkeypatch: pytest.MonkeyPatch, profile: str, world: str
) -> None:
    monkeypatch.setenv("PANDA_KITE_PROFILE", profile)

    assert _world(_settings("kite", None, None), None).name == world


def test_a_deployment_is_not_fed_by_a_simulator_that_it_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_FEED", "kite")

    with pytest.raises(SettingsError, match="PANDA_KITE_PROFILE is simulator"):
        _settings(None, None, None)


def test_a_world_that_is_named_wins(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _world(_settings(str(recording), None, None), "replay:mine").name == "replay:mine"

    monkeypatch.setenv("PANDA_WORLD", "replay:other")

    assert _world(_settings(str(recording), None, None), None).name == "replay:other"
    with pytest.raises(SettingsError, match="--world replay:mine"):
        _world(_settings(None, None, None), "replay:mine")


def test_a_recording_is_found_from_every_directory(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recording.parent)
    monkeypatch.setenv("PANDA_FEED", recording.name)

    assert _settings(None, "max", None).feed == str(recording)
    assert _settings(None, "max", None).feed_speed == "max"


def test_a_recording_that_is_not_there_is_refused_with_the_name_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDA_FEED", "nowhere.csv")

    with pytest.raises(BadInput, match=r"PANDA_FEED.*nowhere\.csv"):
        _settings(None, None, None)


def test_the_clock_of_the_command_line_wins_and_without_one_the_settings_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _settings(None, None, None).clock is None

    monkeypatch.setenv("PANDA_CLOCK", "replay")

    assert _settings(None, None, None).clock is Clock.REPLAY
    assert _settings(None, None, Clock.WALL).clock is Clock.WALL
