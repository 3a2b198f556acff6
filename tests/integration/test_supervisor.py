from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from panda_streams.embedded import supervisor as module
from panda_streams.embedded.processes import ProcessRow, ProcessState, read_processes
from panda_streams.embedded.supervisor import Ended, Program, Supervised, Supervisor
from panda_streams.embedded.watchdog import Limits, Watchdog
from panda_streams.identity import Home, Ports, World
from tests.polling import eventually, eventually_async

pytestmark = pytest.mark.integration

SIM = World("sim")


class Supervision:
    """Runs shell commands under a supervisor in one event loop, and keeps what it says."""

    def __init__(self, directory: Path) -> None:
        self.home = Home(directory)
        self.said: list[str] = []
        self.states: list[tuple[str, ProcessState]] = []
        self.ended: list[Ended] = []

    def of(self, scenario: Callable[[Supervisor], Awaitable[None]], watchdog: Watchdog | None = None) -> None:
        async def run() -> None:
            supervisor = Supervisor(self.home, SIM, self._changed, watchdog, self.ended.append)
            await supervisor.start()
            try:
                await scenario(supervisor)
            finally:
                await supervisor.stop()

        asyncio.run(run())

    def program(self, name: str, command: str, *, finishes: bool = False, first_delay_s: float = 0.05) -> Program:
        return Program(
            name=name,
            argv=("/bin/sh", "-c", command),
            command=command,
            log=self.home.logs(SIM) / f"{name}.log",
            finishes=finishes,
            first_delay_s=first_delay_s,
        )

    def _changed(self, row: ProcessRow, text: str) -> None:
        self.states.append((row.name, row.state))
        self.said.append(text)


@pytest.fixture
def supervision(tmp_path: Path) -> Supervision:
    return Supervision(tmp_path)


async def until(process: Supervised, state: ProcessState, *, restarts: int | None = None) -> None:
    async def check() -> bool:
        return process.row.state is state and restarts in (None, process.row.restarts)

    await eventually_async(check, what=f"{process.program.name} is {state} ({process.row})")


def test_a_killed_process_is_restarted_alone(supervision: Supervision) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        killed, other = await supervisor.run(
            [supervision.program("killed", "exec sleep 100"), supervision.program("other", "exec sleep 100")]
        )
        await until(killed, ProcessState.RUNNING)
        await until(other, ProcessState.RUNNING)
        first, beside = killed.row.pid, other.row.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(killed, ProcessState.RUNNING, restarts=1)
        assert killed.row.pid != first
        assert killed.row.exit_code == -signal.SIGKILL
        assert (other.row.pid, other.row.restarts) == (beside, 0)

    supervision.of(scenario)

    assert any("killed was killed by SIGKILL" in text for text in supervision.said)
    [end] = supervision.ended
    assert (end.name, end.how, end.again_in_s, end.hung) == ("killed", "was killed by SIGKILL", 0.05, False)


def test_each_restart_waits_twice_as_long_as_the_one_before(supervision: Supervision) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        [process] = await supervisor.run([supervision.program("flaky", "echo why; exit 1")])
        await until(process, ProcessState.BACKOFF, restarts=3)

    supervision.of(scenario)

    ends = [text for text in supervision.said if "starts again" in text]
    assert [text.partition("again in ")[2].partition(" s")[0] for text in ends[:3]] == ["0.05", "0.1", "0.2"]
    assert "| why" in ends[0]


def test_a_process_that_ran_well_starts_again_after_the_shortest_delay(
    supervision: Supervision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEALTHY_AFTER_S", 0.0)

    async def scenario(supervisor: Supervisor) -> None:
        [process] = await supervisor.run([supervision.program("flaky", "exit 1")])
        await until(process, ProcessState.BACKOFF, restarts=3)

    supervision.of(scenario)

    ends = [text for text in supervision.said if "starts again" in text]
    assert all("again in 0.05 s" in text for text in ends)


@pytest.mark.parametrize("code", [2, 4, 5, 6, 127])
def test_what_a_restart_cannot_mend_is_shown_and_not_restarted(supervision: Supervision, code: int) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        [process] = await supervisor.run([supervision.program("bad", f"echo PANDA_X is wrong >&2; exit {code}")])
        await until(process, ProcessState.FAILED)

    supervision.of(scenario)

    assert "PANDA_X is wrong" in supervision.said[-1]
    assert [(end.name, end.again_in_s) for end in supervision.ended] == [("bad", None)]
    assert supervision.states.count(("bad", ProcessState.STARTING)) == 1


def test_a_feed_that_comes_to_its_end_has_finished_and_another_process_has_not(supervision: Supervision) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        feed, worker = await supervisor.run(
            [supervision.program("feed", "exit 0", finishes=True), supervision.program("worker", "exit 0")]
        )
        await until(worker, ProcessState.BACKOFF, restarts=1)
        assert feed.row.state is ProcessState.FINISHED

    supervision.of(scenario)

    assert ("feed", ProcessState.BACKOFF) not in supervision.states
    assert {end.name for end in supervision.ended} == {"worker"}


def test_all_output_is_in_the_log_also_after_a_restart(supervision: Supervision) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        [process] = await supervisor.run([supervision.program("noisy", "echo out; echo err >&2; printf rest; exit 1")])
        await until(process, ProcessState.BACKOFF, restarts=1)

    supervision.of(scenario)

    log = (supervision.home.logs(SIM) / "noisy.log").read_text()
    assert log == "out\nerr\nrest\n" * 2


def test_a_log_file_is_rotated(supervision: Supervision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_BYTES", 2000)

    async def scenario(supervisor: Supervisor) -> None:
        program = supervision.program("noisy", "seq 1 3000; exit 2")
        [process] = await supervisor.run([program])
        await until(process, ProcessState.FAILED)

    supervision.of(scenario)

    files = sorted(supervision.home.logs(SIM).glob("noisy.log*"))
    assert [file.name for file in files] == ["noisy.log", "noisy.log.1", "noisy.log.2", "noisy.log.3"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert files[0].read_text().endswith("3000\n")


def test_a_process_that_ignores_sigterm_is_killed(supervision: Supervision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.2)
    pids = []

    async def scenario(supervisor: Supervisor) -> None:
        [process] = await supervisor.run(
            [supervision.program("deaf", "trap '' TERM; echo set; while :; do sleep 1; done")]
        )

        async def trapped() -> bool:
            return "set" in process.last_lines

        await eventually_async(trapped, what="the trap is set")
        pids.append(process.row.pid)

    supervision.of(scenario)

    assert not psutil.pid_exists(pids[0])
    assert supervision.states[-1] == ("deaf", ProcessState.STOPPED)


def test_what_was_started_last_is_stopped_first(supervision: Supervision) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        for name in ("server", "worker"):
            [process] = await supervisor.run([supervision.program(name, "exec sleep 100")])
            await until(process, ProcessState.RUNNING)

    supervision.of(scenario)

    stopped = [name for name, state in supervision.states if state is ProcessState.STOPPED]
    assert stopped == ["worker", "server"]
    assert supervision.ended == []


def test_processes_json_tells_every_process_as_it_is(supervision: Supervision) -> None:
    seen = []

    async def scenario(supervisor: Supervisor) -> None:
        runs, fails = await supervisor.run(
            [supervision.program("runs", "exec sleep 100"), supervision.program("fails", "exit 2")]
        )
        await until(runs, ProcessState.RUNNING)
        await until(fails, ProcessState.FAILED)
        seen.extend(read_processes(supervision.home, SIM) or [])
        assert seen == [runs.row, fails.row]

    supervision.of(scenario)

    runs, fails = seen
    assert (runs.state, runs.exit_code, runs.command) == (ProcessState.RUNNING, None, "exec sleep 100")
    assert runs.pid is not None
    assert runs.started_at is not None
    assert abs(runs.started_at / 1000 - time.time()) < 60
    assert runs.log == str(supervision.home.logs(SIM) / "runs.log")
    assert (fails.state, fails.exit_code, fails.pid) == (ProcessState.FAILED, 2, None)


_WORKER = """
import asyncio, os, sys
from pathlib import Path
from aiohttp import web
from panda_streams.identity import Home, Identity, Ports, Role, World

async def main():
    identity = Identity(Role.BRAIN, None, 0, World("sim"), Home(Path(sys.argv[1])), Ports(int(sys.argv[2])), "")

    async def ready(request):
        return web.json_response({"checks": {"stalled": os.environ.get("STALL", "")}})

    app = web.Application()
    app.router.add_get("/ready/", ready)
    with identity.lock():
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", identity.web_port).start()
        print("serving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
"""What a supervisor sees of a worker: its identity's lock and its readiness page."""


class Worker:
    """The command of such a worker, and a watchdog that is quick to kill it."""

    def __init__(self, supervision: Supervision, port_base: int) -> None:
        home = supervision.home
        self.command = f"exec {sys.executable} -c '{_WORKER}' {home.path} {port_base}"
        self.watchdog = Watchdog(
            home, SIM, Ports(port_base), Limits(silent_s=0.5, start_s=2.0, every_s=0.05, answer_s=0.2)
        )

    async def serving(self, process: Supervised, *, restarts: int) -> int:
        """Wait until its page is up, and return its pid."""

        async def check() -> bool:
            return process.row.restarts == restarts and "serving" in process.last_lines

        await eventually_async(check, timeout_s=30, what=f"the worker serves after {restarts} restarts")
        assert process.row.pid is not None
        return process.row.pid


def test_a_worker_that_hangs_is_killed_and_started_again_alone(supervision: Supervision, free_port_base: int) -> None:
    worker = Worker(supervision, free_port_base)

    async def scenario(supervisor: Supervisor) -> None:
        brain, other = await supervisor.run(
            [supervision.program("brain", worker.command), supervision.program("other", "exec sleep 100")]
        )
        first, beside = await worker.serving(brain, restarts=0), other.row.pid
        os.kill(first, signal.SIGSTOP)
        second = await worker.serving(brain, restarts=1)
        assert second != first
        assert brain.row.exit_code == -signal.SIGKILL
        assert (other.row.pid, other.row.restarts) == (beside, 0)

    supervision.of(scenario, worker.watchdog)

    assert any("brain was killed by its supervisor (its page has" in text for text in supervision.said)
    assert supervision.ended[0].hung


def test_a_worker_that_reports_a_stall_is_killed_and_started_again(
    supervision: Supervision, free_port_base: int
) -> None:
    worker = Worker(supervision, free_port_base)

    async def scenario(supervisor: Supervisor) -> None:
        command = f"STALL='commits stand still on in-0' {worker.command}"
        [brain] = await supervisor.run([supervision.program("brain", command)])
        await until(brain, ProcessState.BACKOFF)

    supervision.of(scenario, worker.watchdog)

    assert any("killed by its supervisor (commits stand still on in-0)" in text for text in supervision.said)


_SUPERVISOR = """
import asyncio, signal, sys
from pathlib import Path
from panda_streams.embedded.procfile import read_procfile
from panda_streams.embedded.supervisor import Supervisor
from panda_streams.identity import Home, World

async def main():
    home = Home(Path(sys.argv[1]))
    supervisor = Supervisor(home, World("sim"), lambda row, text: None)
    await supervisor.start()
    await supervisor.run(read_procfile(Path(sys.argv[2]), None, home.logs(World("sim"))))
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_killed_supervisor_leaves_no_orphans(tmp_path: Path) -> None:
    procfile = tmp_path / "Procfile"
    procfile.write_text("feed: exec sleep 100\nbrain: X=1 exec sleep 100\n")
    supervisor = subprocess.Popen([sys.executable, "-c", _SUPERVISOR, str(tmp_path), str(procfile)])
    try:

        def running() -> list[psutil.Process] | None:
            rows = read_processes(Home(tmp_path), SIM) or []
            up = [row.pid for row in rows if row.state is ProcessState.RUNNING and row.pid]
            return [psutil.Process(pid) for pid in up] if len(up) == 2 else None

        children = eventually(running, what="both processes run")
    finally:
        supervisor.kill()
        supervisor.wait()

    eventually(lambda: not any(child.is_running() for child in children), timeout_s=5, what="both have ended")
    assert read_processes(Home(tmp_path), SIM) is None
