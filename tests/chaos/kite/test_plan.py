"""The plan of a torture is a function of its seed, and holds what was asked for."""

from __future__ import annotations

import pytest
import yaml

from panda_streams.kitesim.faults import Fault, Scenario
from tests.chaos.kills import Point
from tests.chaos.kite.faults import KINDS, SETTINGS, WEBSOCKET, scenario
from tests.chaos.kite.plan import POINTS, draw


def test_the_same_seed_plans_the_same() -> None:
    assert draw(3, 5000) == draw(3, 5000)
    assert draw(3, 5000) != draw(4, 5000)


def test_ten_thousand_orders_meet_every_crash_point_and_every_kind_of_death() -> None:
    kills = [kill for plan in draw(1, 10_000) for kill in plan.kills]

    assert {(kill.at.agent, kill.at.point) for kill in kills if isinstance(kill.at, Point)} == set(POINTS)
    assert {kill.name for kill in kills} >= {"arm:random", "arm:frozen", "kitesim:random", "feed:random"}


@pytest.mark.parametrize("websocket", [False, True])
def test_a_scenario_is_one_that_kitesim_takes(websocket: bool) -> None:
    found = Scenario.model_validate(yaml.safe_load(scenario(7, websocket=websocket, each=True)))

    assert {armed.kind.value for armed in found.faults} == {*KINDS, *(WEBSOCKET if websocket else ())}
    assert {*KINDS, *WEBSOCKET} == {kind.value for kind in Fault}


def test_an_order_is_never_hidden_for_as_long_as_the_arm_waits() -> None:
    found = Scenario.model_validate(yaml.safe_load(scenario(7, websocket=True, each=False)))

    seconds = {armed.kind: armed.seconds for armed in found.faults}
    assert seconds[Fault.LATE_BOOK] < float(SETTINGS["PANDA_KITE_ABSENT_AFTER_S"])
    assert seconds[Fault.TIMEOUT_AFTER] > float(SETTINGS["PANDA_KITE_TIMEOUT_S"])
