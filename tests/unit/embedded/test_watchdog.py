"""The supervisor's watch over its workers: who is looked at, and what has them killed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from panda_streams.embedded.watchdog import Limits, Observation, Watchdog, workers_of
from panda_streams.identity import Home, Ports, World

SIM, PORTS = World("sim"), Ports(24_600)
LIMITS = Limits(silent_s=30.0, start_s=120.0)


def lock(home: Home, name: str, pid: str) -> None:
    path = home.world(SIM) / "run" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pid)


def test_the_holders_of_the_workers_locks_are_found_with_their_pages(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.slot("zerodha")
    home.slot("paper")
    for name, pid in {"brain-1": "11", "arm-paper-0": "12", "feed-0": "13", "gateway-0": "14", "brain-0": ""}.items():
        lock(home, name, pid)

    found = workers_of(home, SIM, PORTS)

    assert found == {11: "http://127.0.0.1:24611/ready/", 12: "http://127.0.0.1:24630/ready/"}


def test_a_world_in_which_nothing_has_run_has_no_workers(tmp_path: Path) -> None:
    assert workers_of(Home(tmp_path), SIM, PORTS) == {}


def silences(observation: Observation, times: Iterable[float]) -> list[str]:
    return [observation.silent(now) for now in times]


def test_a_page_that_fell_silent_has_its_worker_killed_after_the_limit() -> None:
    observation = Observation(LIMITS, 0.0)
    observation.answered({}, 100.0)

    assert silences(observation, [110, 120, 129, 131]) == ["", "", "", "its page has not answered for 31 s"]


def test_a_page_that_answers_now_and_then_is_well() -> None:
    observation = Observation(LIMITS, 0.0)

    for start in (0.0, 29.0, 58.0):
        observation.answered({}, start)
        assert silences(observation, [start + 10, start + 20, start + 28]) == ["", "", ""]


def test_a_worker_that_is_starting_has_more_time() -> None:
    observation = Observation(LIMITS, 0.0)

    assert silences(observation, [50, 100, 119, 121]) == ["", "", "", "its page has never answered for 121 s"]


def test_one_silence_after_the_supervisor_was_suspended_itself_kills_nobody() -> None:
    observation = Observation(LIMITS, 0.0)
    observation.answered({}, 1.0)

    assert silences(observation, [5000]) == [""]
    assert observation.answered({}, 5002.0) == ""


def test_a_stall_that_lasts_has_the_worker_killed() -> None:
    observation = Observation(LIMITS, 0.0)
    stalled = {"stalled": "commits stand still on in-0"}

    decided = [observation.answered(checks, 1.0) for checks in (stalled, {"stalled": ""}, stalled, stalled)]

    assert decided == ["", "", "", "commits stand still on in-0"]


@pytest.mark.parametrize("check", ["broker", "recovered", "flowing", "coordinator"])
def test_a_worker_that_answers_is_not_killed_for_what_it_waits_for_or_ends_for_itself(check: str) -> None:
    observation = Observation(LIMITS, 0.0)

    assert [observation.answered({check: "not well"}, n) for n in range(5)] == [""] * 5


def test_a_worker_of_another_process_group_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    lock(home, "brain-0", str(os.getpid()))
    watchdog = Watchdog(home, SIM, PORTS, Limits(silent_s=0.0, start_s=0.0, answer_s=0.5))

    async def look_often(leaders: set[int]) -> list[dict[int, str]]:
        return [await watchdog.look(leaders) for _ in range(3)]

    own = os.getpgid(0)
    assert asyncio.run(look_often({own + 1})) == [{}, {}, {}]
    assert list(asyncio.run(look_often({own}))[-1]) == [own]
