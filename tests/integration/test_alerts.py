"""Alerts on their whole way: from a supervisor, a worker or the command line to a webhook on this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from panda_streams.alerts.alerter import Alerter
from panda_streams.alerts.config import AlertConfig
from panda_streams.alerts.ends import alert_of
from panda_streams.alerts.kinds import Alert, AlertKind, Origin
from panda_streams.alerts.targets import open_targets
from panda_streams.embedded.supervisor import Program, Supervisor
from panda_streams.identity import Home, World
from panda_streams.streams.client import client_options
from panda_streams.streams.follower import publish_level
from panda_streams.topics import Topics
from panda_streams.worlds import prepare
from tests.integration.conftest import FreshWorld, Spawned, clean_environment
from tests.polling import eventually, eventually_async

pytestmark = pytest.mark.integration

SECRET = "s3cr3t-t0k3n"
SIM = World("sim")


class Webhook(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers with `status`; with none it hangs until it is closed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[dict[str, Any]] = []
        self.status: int | None = 200
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.server_address[1]}/{SECRET}?+X-Token={SECRET}&rto=1"

    def titles(self) -> list[str]:
        return [one["title"] for one in self.posted]


class _Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status is None:
            self.server.closing.wait(30)
            return
        self.server.posted.append(content)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Not to the terminal of the tests."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def alerter(*addresses: str) -> Alerter:
    config = AlertConfig(tuple(map(SecretStr, addresses)))
    return Alerter(open_targets(config.targets), config, Origin(SIM, "supervisor"))


def panda(home: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    given = {**clean_environment(), "PANDA_HOME": str(home), **env}
    return subprocess.run(["panda", *arguments], env=given, capture_output=True, text=True, check=False)


def test_a_test_alert_arrives_and_no_address_is_printed(webhook: Webhook, tmp_path: Path) -> None:
    done = panda(tmp_path, "alert", "test", PANDA_ALERT_URLS=webhook.address)

    assert (done.returncode, done.stdout) == (0, "target 1 (JSON): has taken it\n")
    [posted] = webhook.posted
    assert (posted["title"], posted["type"]) == ("SIMULATED: a test of TEST", "info")
    assert "TEST in world sim, panda alert test" in posted["message"]
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(("loudness", "kind"), [("on", "failure"), ("silent", "info")])
def test_a_kind_is_tried_out_as_loud_as_it_is_set(webhook: Webhook, tmp_path: Path, loudness: str, kind: str) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(f"targets: ['{webhook.address}']\nkinds: {{WORKER_DIED: {loudness}}}\n")

    done = panda(tmp_path, "alert", "test", "--kind", "WORKER_DIED", PANDA_ALERTS=str(file))

    assert done.returncode == 0
    assert [one["type"] for one in webhook.posted] == [kind]


def test_a_target_that_refuses_is_named_and_the_others_still_have_it(webhook: Webhook, tmp_path: Path) -> None:
    dead = f"json://127.0.0.1:1/{SECRET}"

    done = panda(tmp_path, "alert", "test", "--json", PANDA_ALERT_URLS=f"{dead} {webhook.address}")

    assert done.returncode == 1
    first, second = json.loads(done.stdout)["targets"]
    assert first["error"]
    assert second == {"target": "target 2 (JSON)", "error": None}
    assert len(webhook.posted) == 1
    assert SECRET not in done.stdout + done.stderr


def test_a_kind_that_is_off_and_no_target_at_all_are_errors_with_a_fix(webhook: Webhook, tmp_path: Path) -> None:
    off = panda(tmp_path, "alert", "test", "--kind", "ORDER_REJECTED", PANDA_ALERT_URLS=webhook.address)
    none = panda(tmp_path, "alert", "test")

    assert (off.returncode, none.returncode) == (1, 2)
    assert "ORDER_REJECTED is off" in off.stderr
    assert "PANDA_ALERTS" in none.stderr
    assert webhook.posted == []


def test_the_list_shows_kinds_and_services_and_no_address(webhook: Webhook, tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(f"targets: ['{webhook.address}']\n")
    file.chmod(0o644)

    shown = panda(tmp_path, "alert", "list", PANDA_ALERTS=str(file))
    listed = panda(tmp_path, "alert", "list", "--json", PANDA_ALERTS=str(file))

    assert "target 1 (JSON)" in shown.stdout
    assert "other users can read" in shown.stdout
    assert json.loads(listed.stdout)["targets"] == ["target 1 (JSON)"]
    assert json.loads(listed.stdout)["kinds"]["ORDER_REJECTED"] == "off"
    assert "127.0.0.1" not in shown.stdout + listed.stdout


@pytest.mark.parametrize("status", [200, 401, 500, None], ids=["taken", "refused", "failing", "hanging"])
def test_no_library_logs_an_address_whatever_the_service_answers(
    webhook: Webhook, caplog: pytest.LogCaptureFixture, status: int | None
) -> None:
    webhook.status = status
    with caplog.at_level(logging.DEBUG):
        told = alerter(webhook.address, f"json://127.0.0.1:1/{SECRET}")
        told.send(Alert(AlertKind.HALT, "arm paper is HALTED", ""))
        told.close(timeout_s=20)

    assert told.counts.delivered + told.counts.failed == 2
    assert (told.counts.delivered == 1) is (status == 200)
    assert "did not reach target 2 (JSON)" in caplog.text
    assert SECRET not in caplog.text


def test_a_service_that_hangs_does_not_hold_up_who_tells(webhook: Webhook) -> None:
    webhook.status = None
    told = alerter(webhook.address)

    begun = time.monotonic()
    for _ in range(1000):
        told.send(Alert(AlertKind.HALT, "arm paper is HALTED", ""))
    took = time.monotonic() - begun

    assert took < 0.5
    told.close(timeout_s=0)


def test_a_process_that_dies_under_its_supervisor_is_told(webhook: Webhook, tmp_path: Path) -> None:
    told = alerter(webhook.address)
    command = f"echo {SECRET}; exec sleep 100"
    program = Program("feed", ("/bin/sh", "-c", command), tmp_path / "feed.log", first_delay_s=0.05)

    async def run() -> None:
        supervisor = Supervisor(Home(tmp_path), SIM, lambda row, text: None, ended=lambda end: told.send(alert_of(end)))
        await supervisor.start()
        try:
            [feed] = await supervisor.run([program])

            async def running() -> int | None:
                return feed.row.pid

            os.kill(await eventually_async(running, what="the feed runs"), signal.SIGKILL)

            async def arrived() -> list[str]:
                return webhook.titles()

            await eventually_async(arrived, what="the alert arrives")
        finally:
            await supervisor.stop()

    asyncio.run(run())
    told.close()

    assert webhook.titles() == ["SIMULATED: feed died"]
    [posted] = webhook.posted
    assert "feed was killed by SIGKILL" in posted["message"]
    assert posted["type"] == "failure"
    assert SECRET not in json.dumps(posted)


def test_an_arm_tells_of_its_halt_and_of_its_resumption(
    webhook: Webhook, world: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    arm = a_worker(world, spawn, webhook, BROKER_NAMESPACE="paper")

    spawn(["panda", "halt", "paper", "--reason", "checking a fill"])
    eventually(lambda: webhook.titles() == ["SIMULATED: arm paper is HALTED"], what="the halt is told")
    spawn(["panda", "resume", "paper"])
    eventually(lambda: webhook.titles()[1:] == ["SIMULATED: arm paper is resumed"], what="the resumption is told")

    assert "checking a fill" in webhook.posted[0]["message"]
    assert f"HALT in world {world.name}, namespace paper, instance 0" in webhook.posted[0]["message"]
    assert SECRET not in arm.output()


def test_a_brain_tells_of_a_paused_strategy_and_of_a_dead_letter(
    webhook: Webhook, world: FreshWorld, spawn: Callable[..., Spawned]
) -> None:
    asyncio.run(prepare(world.settings, world.servers))
    brain = a_worker(world, spawn, webhook)

    spawn(["panda", "strategy", "pause", "Momentum_NIFTY_1", "--reason", "results today"])
    eventually(lambda: webhook.titles() == ["SIMULATED: strategy Momentum_NIFTY_1 is PAUSED"], what="it is told")
    ticks = Topics(world.servers.prefix).ticks
    asyncio.run(publish_level(client_options(world.settings, world.servers.kafka), ticks, b"0", b"not a tick"))
    eventually(lambda: webhook.titles()[1:] == ["SIMULATED: dead letters"], what="the dead letter is told")

    assert "brain, instance 0" in webhook.posted[1]["message"]
    assert SECRET not in brain.output()


def a_worker(world: FreshWorld, spawn: Callable[..., Spawned], webhook: Webhook, **env: str) -> Spawned:
    worker = spawn(
        ["faust", "-A", "faust_app", "worker"], env={**world.env, "PANDA_ALERT_URLS": webhook.address, **env}
    )
    eventually(lambda: "Worker ready" in worker.output(), timeout_s=60, what="the worker is up")
    return worker
