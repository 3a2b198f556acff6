from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from panda_streams.embedded.processes import ProcessRow, ProcessState, read_processes
from panda_streams.identity import Clock, Home, World
from panda_streams.servers import read_running
from panda_streams.worlds import enter
from tests.integration.conftest import FreshWorld, Spawned, clean_environment
from tests.polling import eventually

pytestmark = pytest.mark.integration

Spawn = Callable[..., Spawned]


@pytest.fixture
def procfile(tmp_path: Path) -> Path:
    path = tmp_path / "Procfile"
    path.write_text(
        "feed: exec sleep 100\nbrain: echo world=$PANDA_WORLD feed=$PANDA_FEED ns=$BROKER_NAMESPACE; exec sleep 100\n"
    )
    return path


def rows_when(world: FreshWorld, **states: ProcessState) -> dict[str, ProcessRow]:
    """The processes, once each of `states` is as it says."""

    def check() -> dict[str, ProcessRow] | None:
        rows = {row.name: row for row in read_processes(world.settings.home_dir, World(world.name)) or []}
        return rows if all(name in rows and rows[name].state is state for name, state in states.items()) else None

    return eventually(check, timeout_s=40, what=f"processes are {states}")


def test_up_prepares_the_world_runs_the_procfile_and_stops_it_on_ctrl_c(
    world: FreshWorld, spawn: Spawn, procfile: Path
) -> None:
    up = spawn(["panda", "up"], env={**world.env, "BROKER_NAMESPACE": "paper"})
    rows = rows_when(world, feed=ProcessState.RUNNING, brain=ProcessState.RUNNING)
    eventually(
        lambda: f"world={world.name} feed=sim ns=\n" in Path(rows["brain"].log).read_text(), what="it has spoken"
    )
    asyncio.run(enter(world.settings, world.servers))
    running = read_running(world.settings.home_dir)
    up.process.send_signal(signal.SIGINT)

    assert up.wait() == 0
    assert "everything is stopped" in up.output()
    assert running is not None
    assert (running.world, running.prefix, running.redis) == (world.name, world.servers.prefix, "")
    assert not any(psutil.pid_exists(row.pid) for row in rows.values() if row.pid)
    assert read_running(world.settings.home_dir) is None


def test_a_world_keeps_the_clock_that_it_was_created_with(world: FreshWorld, spawn: Spawn, procfile: Path) -> None:
    first = spawn(["panda", "up", "--clock", "wall"])
    rows_when(world, brain=ProcessState.RUNNING)
    running = read_running(world.settings.home_dir)
    first.process.terminate()
    assert first.wait() == 0

    second = spawn(["panda", "up"])

    assert running is not None
    assert running.clock is Clock.WALL
    assert second.wait() == 5
    assert "PANDA_CLOCK=wall" in second.output()


def test_a_second_up_in_the_same_home_is_refused(world: FreshWorld, spawn: Spawn, procfile: Path) -> None:
    first = spawn(["panda", "up"])
    rows_when(world, feed=ProcessState.RUNNING)

    second = spawn(["panda", "up"])

    assert second.wait() == 6
    assert f"already runs (pid {first.pid})" in second.output()
    assert first.process.poll() is None


def test_a_process_that_fails_is_shown_and_the_others_go_on(world: FreshWorld, spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("feed: exec sleep 100\nbrain: exec panda --env-file nowhere.env status\n")

    up = spawn(["panda", "up"])
    rows = rows_when(world, feed=ProcessState.RUNNING, brain=ProcessState.FAILED)

    assert rows["brain"].exit_code == 2
    eventually(lambda: "nowhere.env" in up.output(), what="its last lines are shown")


def test_a_recording_is_replayed_in_a_world_of_its_own(
    world: FreshWorld, spawn: Spawn, procfile: Path, tmp_path
) -> None:
    (tmp_path / "June 8.csv").write_text("")
    env = {name: value for name, value in world.env.items() if name != "PANDA_WORLD"}
    own = World("replay:june-8")

    spawn(
        ["panda", "up", "--feed", "June 8.csv", "--speed", "max"],
        env={**env, "PANDA_TOPIC_PREFIX": f"{world.servers.prefix}"},
    )

    log = world.settings.home_dir.logs(own) / "brain.log"
    eventually(
        lambda: log.exists() and f"world=replay:june-8 feed={tmp_path / 'June 8.csv'}" in log.read_text(),
        timeout_s=40,
        what="the processes run in the recording's world",
    )


def test_a_feed_that_is_no_file_is_refused(world: FreshWorld, spawn: Spawn, procfile: Path) -> None:
    up = spawn(["panda", "up", "--feed", "missing.csv"])

    assert up.wait() == 2
    assert "missing.csv" in up.output()


def test_an_unreachable_kafka_is_an_error_within_ten_seconds(world: FreshWorld, spawn: Spawn, procfile: Path) -> None:
    up = spawn(["panda", "up"], env={**world.env, "KAFKA_BROKER_URL": "kafka://127.0.0.1:1"})

    assert up.wait(timeout=12) == 3
    assert "KAFKA_BROKER_URL" in up.output()


def test_embedded_servers_end_with_a_killed_up_and_a_second_one_goes_on_from_there(
    spawn: Spawn, procfile: Path, home: Home, free_port_base: int
) -> None:
    env = {**clean_environment(), "PANDA_HOME": str(home.path), "PANDA_PORT_BASE": str(free_port_base)}

    def all_run() -> list[ProcessRow] | None:
        rows = read_processes(home, World("sim")) or []
        return rows if len(rows) == 4 and all(row.state is ProcessState.RUNNING for row in rows) else None

    first = spawn(["panda", "up"], env=env)
    rows = eventually(all_run, timeout_s=60, what="servers and processes run")
    first.kill()
    processes = [psutil.Process(row.pid) for row in rows if row.pid and psutil.pid_exists(row.pid)]
    eventually(lambda: not any(process.is_running() for process in processes), what="nothing is left of the first")
    second = spawn(["panda", "up"], env=env)
    eventually(all_run, timeout_s=60, what="servers and processes run again")
    second.process.terminate()

    assert second.wait() == 0
    assert [row.name for row in rows] == ["kafka", "redis", "feed", "brain"]
    assert "topics: all there" in second.output()
