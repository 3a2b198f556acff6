"""Two workers of the brain and two of an arm share the partitions, while they come, leave and are killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import FreshWorld, Spawned
from tests.integration.reading import get
from tests.integration.test_main_line import (
    TRADED,
    assert_books_equal_the_topics,
    assert_fills_follow_the_tick_log,
    assert_no_id_has_two_contents,
    once,
    portfolios,
    recording,
    start,
    topic,
)
from tests.polling import eventually

pytestmark = pytest.mark.integration
__all__ = ["recording"]


def await_quiet(world: FreshWorld, gateway: str, workers: int) -> None:
    """Return once `workers` workers are ready without anything waiting, and every order and fill has its end."""

    def quiet() -> bool:
        _, answer = get(f"{gateway}/api/v1/processes")
        rows = [row for row in answer["processes"] if row["role"] in ("brain", "arm") and row["fresh"]]
        if len(rows) != workers or any(not row["ready"] or row["lag"] for row in rows):
            return False
        said = {name: len(once(world, name)) for name in TRADED}
        ended = sum(json.loads(value)["state"] != "WORKING" for value in once(world, "orders.updates"))
        booked = sum(portfolio["fills"] for portfolio in portfolios(gateway))
        return (
            said["signals.raw"] > 0
            and said["signals.validated"] + said["signals.rejected"] == said["signals.raw"]
            and ended == said["signals.validated"]
            and booked == said["orders.filled"]
        )

    eventually(quiet, timeout_s=60, what="all workers have done their work")


def test_two_workers_share_an_arm_and_a_brain_under_kills(
    world: FreshWorld, spawn: Callable[..., Spawned], recording: Path, tmp_path: Path
) -> None:
    worker = ["faust", "-A", "faust_app", "worker"]
    arm_env = {**world.env, "BROKER_NAMESPACE": "paper"}

    def judged() -> int:
        return len(once(world, "signals.validated")) + len(once(world, "signals.rejected"))

    def goes_on(more: int) -> None:
        least = judged() + more
        eventually(lambda: judged() > least, timeout_s=60, what="the arm goes on judging signals")

    brain, arm, gateway = start(world, spawn, tmp_path)
    feed = spawn(["panda", "feed", "replay", str(recording), "--speed", "100"])
    goes_on(20)
    second_arm = spawn(worker, env={**arm_env, "PANDA_INSTANCE": "1"})
    second_brain = spawn(worker, env={**world.env, "PANDA_INSTANCE": "1"})
    goes_on(20)
    arm.kill()  # and back within the session: it keeps its partitions
    brain.kill()
    arm, brain = spawn(worker, env=arm_env), spawn(worker)
    goes_on(20)
    second_arm.kill()  # for good: the first one takes its partitions over once the session has ended
    second_brain.kill()
    goes_on(60)
    second_arm = spawn(worker, env={**arm_env, "PANDA_INSTANCE": "1"})
    assert feed.wait(180) == 0, feed.output()
    await_quiet(world, gateway, workers=3)

    for process in (arm, brain, second_arm):
        assert process.process.poll() is None, process.output()
    assert_no_id_has_two_contents(world)
    assert_fills_follow_the_tick_log(world)
    assert_books_equal_the_topics(world, gateway)
    assert topic(world, "dlq") == []
