"""The plan of a torture: complete, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

from tests.chaos.kills import POINTS, Point, draw


def test_forty_kills_take_each_crash_point_once() -> None:
    taken = Counter(kill.name for run in draw(7, 40, 10) for kill in run if isinstance(kill.at, Point))

    assert taken == dict.fromkeys(POINTS, 1)


def test_the_other_kills_are_at_random_moments_of_every_process() -> None:
    others = Counter(kill.process for run in draw(7, 40, 10) for kill in run if not isinstance(kill.at, Point))

    assert others == {"feed": 6, "brain": 3, "arm": 4}


def test_a_seed_is_a_plan() -> None:
    assert draw(7, 95, 10) == draw(7, 95, 10)
    assert draw(7, 95, 10) != draw(8, 95, 10)


def test_the_last_run_has_what_is_left() -> None:
    assert [len(run) for run in draw(7, 25, 10)] == [10, 10, 5]
