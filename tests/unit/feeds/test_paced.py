from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from panda_streams.cli.feed import feed, parse_speed
from panda_streams.errors import PandaError, SettingsError
from panda_streams.events import Beat, Phase
from panda_streams.feeds.batching import Standing
from panda_streams.feeds.paced import Feed, Pace
from panda_streams.feeds.simulator import Simulator
from panda_streams.feeds.standings import Last, check_start, event_clock, standing_of
from panda_streams.identity import World
from panda_streams.instrument_files import load_instruments
from panda_streams.servers import Servers
from panda_streams.settings import Settings
from tests.unit.builders import T0, a_batch, a_tick


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_steps_are_spaced_so_that_event_time_passes_at_the_given_speed() -> None:
    clock = Clock()
    pace = Pace(10, clock)

    waits = []
    for _ in range(4):
        waits.append(round(pace.next_wait(), 6))
        clock.now += waits[-1] + 0.03  # it takes its time over each

    assert waits == [0.0, 0.07, 0.07, 0.07]


def test_a_feed_that_was_held_up_goes_on_at_its_pace_instead_of_catching_up() -> None:
    clock = Clock()
    pace = Pace(1, clock)
    pace.next_wait()
    clock.now += 60

    assert [pace.next_wait(), pace.next_wait(), pace.next_wait()] == [0.0, 1.0, 2.0]


def test_at_max_nothing_waits() -> None:
    pace = Pace(None, Clock())

    assert [pace.next_wait() for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("0.5", 0.5), ("250", 250.0), ("max", None)])
def test_a_speed_is_a_number_or_max(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "inf", ""])
def test_another_speed_is_a_usage_error_that_says_what_is_expected(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").touch()
    result = CliRunner().invoke(feed, ["replay", str(tmp_path / "x.csv"), "--speed", text])

    assert result.exit_code == 2
    assert "expected max, or event seconds a wall second" in result.output


@pytest.mark.parametrize(("name", "value"), [("PANDA_FEED_SPEED", "quick"), ("PANDA_FEED", "/nowhere.csv")])
def test_an_unusable_setting_of_the_feed_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        CliRunner().invoke(feed, [], catch_exceptions=False)


def last(time: int, run: str, sequence: int = 5) -> Last:
    return Last(Beat("sim", "recording", run, sequence, time, Phase.OPEN), 10)


def test_shards_stand_where_the_last_record_of_this_very_run_is() -> None:
    batch = Last(a_batch(a_tick(time=T0 + 400), sequence=8), 20)
    beat = Last(Beat("sim", "sim", "1", 9, T0 + 1000, Phase.OPEN), 20)

    assert standing_of({0: batch, 1: beat, 2: last(T0, "r1")}, "sim", "1") == {
        0: Standing(T0 + 1000, beat=False, sequence=8),
        1: Standing(T0 + 1000, beat=True, sequence=9),
    }


def test_a_run_that_begins_before_what_the_world_has_reached_is_refused_with_both_times() -> None:
    with pytest.raises(PandaError) as error:
        check_start({0: last(T0, "r1"), 1: last(T0 + 3_600_000, "r1")}, "sim", "1", T0)

    assert event_clock(T0) in str(error.value)
    assert event_clock(T0 + 3_600_000) in str(error.value)
    assert "PANDA_WORLD=replay:<name>" in error.value.fix


@pytest.mark.parametrize("reached", [{}, {0: last(T0, "r1")}, {0: last(T0 + 9000, "r2")}])
def test_a_later_run_the_same_run_and_a_new_world_are_welcome(reached: dict[int, Last]) -> None:
    check_start(reached, "recording", "r2", T0)


def test_no_simulated_or_recorded_tick_enters_the_world_live() -> None:
    world = World("live")
    servers = Servers(world, "127.0.0.1:1", "redis://127.0.0.1:1/0", "", world.clock)

    with pytest.raises(SettingsError, match="world live"):
        Feed(Settings(), servers, Simulator(load_instruments(), 1, 0.5), None)
