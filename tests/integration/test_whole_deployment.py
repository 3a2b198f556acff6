"""`panda up` with nothing given: embedded servers, the project's own Procfile, kills of every kind, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psutil
import pytest

from panda_streams.identity import Home
from tests.integration.conftest import Spawned, clean_environment
from tests.integration.reading import get
from tests.polling import eventually

pytestmark = pytest.mark.integration

Spawn = Callable[..., Spawned]


class Deployment:
    """A deployment of its own on embedded servers: the simulator at 60 times the pace of the clock."""

    def __init__(self, home: Home, port_base: int, spawn: Spawn) -> None:
        self.env = {
            **clean_environment(),
            "PANDA_HOME": str(home.path),
            "PANDA_PORT_BASE": str(port_base),
            "PANDA_FEED_SPEED": "60",
        }
        self._spawn = spawn
        self.gateway = f"http://127.0.0.1:{port_base}"

    def up(self) -> Spawned:
        up = self._spawn(["panda", "up"], env=self.env)
        eventually(lambda: f"dashboard: {self.gateway}" in up.output(), timeout_s=90, what="the dashboard's address")
        return up

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def status(self) -> tuple[int, dict[str, Any]]:
        """Exit code, and the processes by name."""
        done = self.run("panda", "status", "--json")
        answer = json.loads(done.stdout or "{}")
        return done.returncode, {row["namespace"] or row["role"]: row for row in answer.get("processes", [])}

    def summary(self) -> dict[str, Any]:
        status, answer = get(f"{self.gateway}/api/v1/portfolios/paper/summary")
        return answer if status == 200 else {}

    def await_fills(self, more_than: int) -> int:
        return int(
            eventually(
                lambda: (fills := self.summary().get("fills", 0)) > more_than and fills,
                timeout_s=90,
                what=f"more than {more_than} fills",
            )
        )

    def await_well(self) -> dict[str, Any]:
        def well() -> dict[str, Any]:
            code, rows = self.status()
            return rows if code == 0 else {}

        return eventually(well, timeout_s=60, what="panda status says that all is well")


@pytest.fixture
def deployment(home: Home, free_port_base: int, spawn: Spawn) -> Deployment:
    return Deployment(home, free_port_base, spawn)


def test_one_command_trades_survives_kills_and_goes_on_after_a_stop(deployment: Deployment) -> None:
    up = deployment.up()
    fills = deployment.await_fills(4)
    rows = deployment.await_well()
    assert rows.keys() >= {"kafka", "redis", "feed", "brain", "paper", "kitesim", "zerodha", "gateway"}
    assert all(row["restarts"] == 0 for name, row in rows.items() if name in ("brain", "paper", "kafka", "redis"))

    # A killed process is restarted alone.
    os.kill(rows["brain"]["pid"], signal.SIGKILL)
    eventually(lambda: deployment.status()[1]["brain"]["restarts"] == 1, timeout_s=30, what="the brain is restarted")
    assert deployment.await_well()["paper"]["pid"] == rows["paper"]["pid"]
    fills = deployment.await_fills(fills)

    # The servers too; what Redis showed is there again, and trading goes on.
    os.kill(rows["redis"]["pid"], signal.SIGKILL)
    os.kill(rows["kafka"]["pid"], signal.SIGKILL)
    eventually(
        lambda: all(deployment.status()[1][name]["restarts"] == 1 for name in ("redis", "kafka")),
        timeout_s=30,
        what="both servers are restarted",
    )
    deployment.await_well()
    fills = deployment.await_fills(fills)

    pids = [row["pid"] for row in deployment.await_well().values()]
    up.process.send_signal(signal.SIGINT)
    assert up.wait(40) == 0, up.output()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert "everything is stopped" in up.output()
    assert "Traceback" not in up.output()

    deployment.up()
    deployment.await_well()
    assert deployment.summary()["fills"] >= fills
    deployment.await_fills(fills)
    summary = deployment.summary()
    equity = Decimal(summary["capital"]) + Decimal(summary["realised"]) + Decimal(summary["unrealised"])
    assert Decimal(summary["equity"]) == equity - Decimal(summary["charges"])


def test_a_worker_typed_in_a_shell_finds_the_running_servers(deployment: Deployment, spawn: Spawn) -> None:
    spawn(["panda", "servers"], env=deployment.env)
    eventually(lambda: deployment.run("panda", "topics", "list").returncode == 0, timeout_s=60, what="the servers run")

    arm = spawn(["faust", "-A", "faust_app", "worker"], env={**deployment.env, "BROKER_NAMESPACE": "paper"})
    page = deployment.gateway.rsplit(":", 1)[0] + f":{int(deployment.env['PANDA_PORT_BASE']) + 20}"
    _, ready = eventually(
        lambda: (answer := get(f"{page}/ready/"))[0] == 200 and answer, timeout_s=40, what="the arm is ready"
    )

    assert ready["name"] == "arm-paper-0"
    assert get(f"{page}/tables/?format=json")[1]["tables"][0]["name"] == "risk"
    assert get(f"{page}/tables/nothing/")[0] == 404
    with urllib.request.urlopen(f"{page}/tables/risk/", timeout=5) as answer:
        assert "No row is on this worker" in answer.read().decode()
    arm.process.terminate()
    assert arm.wait(20) == 0
