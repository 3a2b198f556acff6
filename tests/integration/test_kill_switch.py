"""The kill switch on real processes under load: what an operator has halted trades no more, whatever dies."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.busy import QUICK, SLOW, WORKER, Arm, Trades, add_strategies, following, new_tickets
from tests.integration.conftest import fresh_world, spawning
from tests.integration.reading import write_record
from tests.polling import eventually
from tests.servers import RunningServers

pytestmark = pytest.mark.integration

VALIDATED, AUDIT = "paper.signals.validated", "paper.audit"


@pytest.fixture(scope="module")
def arm(servers: RunningServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm]:
    """The one arm of these tests: each finds it halted or not, and begins with its resumption."""
    directory = tmp_path_factory.mktemp("busy")
    with ExitStack() as stack:
        world = stack.enter_context(fresh_world(servers, directory, name="sim"))
        spawn = stack.enter_context(spawning(directory, lambda: world.env))
        add_strategies(world, directory, QUICK + SLOW)
        arm = Arm(world, spawn, stack.enter_context(following(world)))
        arm.spawn("faust", "-A", "faust_app", "worker")
        arm.start()
        arm.spawn("panda", "feed", "sim", "--speed", "20", "--rate", "1")
        eventually(lambda: arm.tickets(), timeout_s=60, what="the first order is allowed")
        yield arm


def test_no_order_follows_a_halt_that_was_confirmed(arm: Arm, rounds: int | None) -> None:
    for number in range(rounds or 6):
        arm.resume()

        said = arm.done("halt", ("paper", "all")[number % 2], "--reason", f"round {number}")
        after = arm.log.end(VALIDATED), arm.log.end("paper.signals.rejected")

        assert "paper-0: HALTED" in said
        arm.await_refusals(after[1], "ARM_HALTED")
        assert arm.tickets(after[0]) == []


def test_an_arm_that_is_killed_right_after_the_halt_is_still_halted(arm: Arm, rounds: int | None) -> None:
    for number in range(rounds or 2):
        arm.resume()

        arm.done("halt", ("paper", "all")[number % 2], "--reason", f"round {number}")
        arm.kill()
        before, place = arm.log.read(VALIDATED), arm.log.end("paper.signals.rejected")
        arm.start()

        arm.await_refusals(place, "ARM_HALTED")
        assert new_tickets(before, arm.log.read(VALIDATED)) == []
        assert arm.reported() == "HALTED"


def test_a_worker_that_starts_under_a_halt_of_all_obeys_it_and_confirms_the_next_one(arm: Arm) -> None:
    arm.resume()
    arm.done("halt", "all", "--reason", "holiday")
    halted = arm.log.end(VALIDATED)

    arm.start(instance=1)
    try:
        eventually(lambda: arm.reported(1) == "HALTED", timeout_s=40, what="the second worker is halted")
        arm.await_refusals(arm.log.end("paper.signals.rejected"), "ARM_HALTED")
        assert arm.tickets(halted) == []
        arm.resume()
        said = arm.done("halt", "paper", "--reason", "both of them")
        before, place = arm.log.read(VALIDATED), arm.log.end("paper.signals.rejected")
        assert {"paper-0: HALTED", "paper-1: HALTED"} <= set(said.splitlines())
        arm.await_refusals(place, "ARM_HALTED")
        # The account may move to the other worker now, which says the last verdicts again.
        assert new_tickets(before, arm.log.read(VALIDATED)) == []
    finally:
        arm.stop(1)
        # The group gives its partitions back to the first worker once its session has run out.
        arm.await_refusals(arm.log.end("paper.signals.rejected"), "ARM_HALTED")


def test_an_arm_that_reduces_lets_exits_pass_and_nothing_else(arm: Arm) -> None:
    arm.resume()
    eventually(arm.positions, timeout_s=30, what="positions that can be closed")

    arm.done("reduce", "paper", "--reason", "enough for today")
    after = arm.log.end(VALIDATED), arm.log.end("paper.signals.rejected")

    arm.await_refusals(after[1], "ARM_REDUCING")
    exits = eventually(lambda: arm.tickets(after[0]), what="an exit is allowed")
    assert {ticket["role"] for ticket in exits} == {"EXIT"}
    refused = [event for event in arm.refusals(after[1]) if "ARM_REDUCING" in event["codes"]]
    assert {event["signal"]["intent"] for event in refused} == {"ENTRY"}


def test_flattening_leaves_nothing_and_halts_though_the_arm_is_killed_in_the_middle(arm: Arm) -> None:
    arm.resume()
    eventually(lambda: arm.positions() and arm.working(), timeout_s=30, what="positions and working orders")
    start = arm.log.end(AUDIT)

    flattening = arm.spawn("panda", "flatten", "paper", "--yes", "--wait", "60", "--reason", "out of here")
    eventually(lambda: arm.log.end(AUDIT) != start, timeout_s=20, what="the command is written")
    arm.kill()
    arm.start()

    assert flattening.wait(60) == 0, flattening.output()
    assert "all positions are closed; halted" in flattening.output()
    place = arm.log.end("paper.signals.rejected")
    assert (arm.positions(), arm.working()) == ({}, {})
    action = [event for event in arm.audit("action") if event["what"] == "FLATTEN"][-1]
    (completed,) = [event for event in arm.audit("completed") if event["action_id"] == action["action_id"]]
    assert completed["done"]
    assert why(arm.await_refusals(place, "ARM_HALTED")[0]).startswith("FLATTENED: out of here")


def test_an_action_that_comes_twice_is_done_once(arm: Arm) -> None:
    arm.resume()
    arm.done("flatten", "paper", "--yes", "--reason", "once")
    action = [event for event in arm.audit("action") if event["what"] == "FLATTEN"][-1]
    commands = len(flattens(arm))
    arm.resume()
    place = arm.log.end(VALIDATED)

    topic = f"{arm.world.servers.prefix}{AUDIT}"
    home = next(line.partition for line in arm.log.read(AUDIT))
    write_record(arm.world.servers.kafka, topic, b"paper", json.dumps(action).encode(), home)

    eventually(lambda: len(arm.tickets(place)) > 50, timeout_s=30, what="orders go on")
    assert len(flattens(arm)) == commands
    assert Counter(event["action_id"] for event in arm.audit("completed"))[action["action_id"]] == 1


@pytest.fixture
def replayed(servers: RunningServers, tmp_path: Path) -> Iterator[tuple[Arm, Arm]]:
    """Two runs of a recording in which a share falls by 3 % while a strategy buys, at different speeds."""
    recording, limits = tmp_path / "fall.csv", tmp_path / "limits.yaml"
    rows = [f"2021-06-08T09:{15 + n // 60}:{n % 60:02}+05:30,INFY,{1400 - n * 0.15:.2f},{n * 1000}" for n in range(300)]
    recording.write_text("\n".join(["timestamp,symbol,ltp,volume", *rows]))
    limits.write_text("paper: {account: {max_daily_loss: 5000}}")
    with ExitStack() as stack:
        arms = []
        for speed in ("max", "100"):
            directory = tmp_path / speed
            directory.mkdir()
            world = stack.enter_context(fresh_world(servers, directory, name="replay:fall"))
            world.env["PANDA_LIMITS"] = str(limits)
            add_strategies(world, directory, [Trades("INFY", 0)])
            spawn = stack.enter_context(spawning(directory, partial(dict, world.env)))
            arms.append(Arm(world, spawn, stack.enter_context(following(world))))
            arms[-1].spawn(*WORKER)
            arms[-1].start()
            arms[-1].spawn("panda", "feed", "replay", str(recording), "--speed", speed)
        for arm in arms:
            eventually(lambda arm=arm: arm.judged() >= 300, timeout_s=60, what="all signals are judged")
        yield arms[0], arms[1]


def test_a_daily_loss_stops_the_arm_at_one_moment_in_every_run_until_it_is_resumed(replayed: tuple[Arm, Arm]) -> None:
    stops, refusals = ([arm.audit("stopped") for arm in replayed], [arm.refusals() for arm in replayed])
    assert stops[0] == stops[1]
    assert refusals[0] == refusals[1]
    ((stopped,), refused) = stops[0], refusals[0]
    since = stopped["latch"]["since"]
    assert (stopped["latch"]["reason"], stopped["latch"]["level"]) == ("DAILY_LOSS", "account")
    halted = [event["time"] for event in refused if "ARM_HALTED" in event["codes"]]
    allowed = [line.event["time"] for line in replayed[0].log.read(VALIDATED) if "tickets" in line.event]
    assert max(allowed) <= since < min(halted)
    assert why(refused[-1]).startswith("DAILY_LOSS: ")

    arm = replayed[0]
    arm.kill()
    killed = time.time() * 1000
    arm.start()
    eventually(lambda: arm.account()["at"] > killed, timeout_s=40, what="the arm runs again")
    assert arm.account()["mode"] == "HALTED"

    assert "taken back: DAILY_LOSS of account" in arm.done("resume", "paper")
    eventually(lambda: arm.account()["mode"] == "ACTIVE", what="the arm is resumed")


def why(refused: dict[str, Any]) -> str:
    """What an arm that is halted says of the reason."""
    return next(rule["value"] for rule in refused["rules"] if rule["rule"] == "ARM_HALTED")


def flattens(arm: Arm) -> set[Any]:
    return {line.said for line in arm.log.read(VALIDATED) if line.event["kind"] == "flatten"}
