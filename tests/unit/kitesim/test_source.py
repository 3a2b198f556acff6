"""`panda kitesim --source`: a process that needs no server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect

from panda_streams.embedded.supervisor import die_with_parent
from panda_streams.settings import Settings
from tests.conftest import _free_port
from tests.polling import eventually

ROOT = Path(__file__).parents[3]
RECORDING = "\n".join(
    [
        "timestamp,symbol,ltp,volume",
        *(f"2021-06-08T09:{15 + n // 60:02}:{n % 60:02}+05:30,INFY,{1400 + n % 7}.00,{100 * n}" for n in range(1, 120)),
        "",
    ]
)


class Process:
    def __init__(self, home: Path, *options: str) -> None:
        port = _free_port()
        given = {field.alias for field in Settings.model_fields.values()}
        env = {name: value for name, value in os.environ.items() if name not in given}
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from panda_streams.cli import main; main()",
                "kitesim",
                "--port",
                str(port),
                *options,
            ],
            cwd=ROOT,
            env={**env, "PANDA_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )

    def clock(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = requests.get(f"{self.url}/sim/clock", timeout=2).json()
        except requests.ConnectionError:
            return {}
        return answer

    def log_in(self) -> KiteConnect:
        kite = KiteConnect("panda", root=self.url)
        token = requests.post(f"{self.url}/sim/login", json={"api_key": "panda"}, timeout=5).json()["request_token"]
        kite.generate_session(token, "panda-secret")
        return kite

    def stop(self) -> str:
        """End it as its supervisor would; what it printed."""
        self.process.terminate()
        output, _ = self.process.communicate(timeout=15)
        return output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(*options: str) -> Process:
        started.append(Process(tmp_path / "home", *options))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


def test_a_recording_is_played_to_its_end_and_gone_on_with_after_a_kill(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    recording = tmp_path / "june.csv"
    recording.write_text(RECORDING)
    first = start("--source", str(recording), "--speed", "50", "--no-rate")
    eventually(lambda: first.clock().get("time"), what="time passes")
    kite = first.log_in()
    order_id = kite.place_order("regular", "NSE", "INFY", "BUY", 5, "MIS", "MARKET", market_protection=-1)
    first.process.kill()
    first.process.wait()
    kite.reqsession.close()

    second = start("--source", str(recording), "--speed", "max", "--no-rate")
    end = 1_623_124_019_000 + 5000
    eventually(lambda: second.clock().get("time") == end, what="the recording has been played")
    kite = second.log_in()

    assert kite.order_history(order_id)[-1]["status"] == "COMPLETE"
    assert kite.ltp("NSE:INFY")["NSE:INFY"]["last_price"] == 1400
    kite.reqsession.close()
    assert f"kitesim of {recording}: {second.url} (REST)" in second.stop()
    assert second.process.returncode == 0


def test_an_order_that_was_answered_is_there_after_any_kill(start: Callable[..., Process], tmp_path: Path) -> None:
    recording = tmp_path / "june.csv"
    recording.write_text(RECORDING)
    answered: list[str] = []
    for round_ in range(3):
        process = start("--source", str(recording), "--speed", "1", "--no-rate")
        eventually(lambda process=process: process.clock().get("time"), what="time passes")
        kite = process.log_in()
        killer = threading.Timer(0.02 * (round_ + 1), process.process.kill)
        killer.start()
        with suppress(requests.ConnectionError):
            for _ in range(10):
                order = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 1}
                answered.append(kite.place_order("regular", **order, product="MIS", order_type="LIMIT", price=1300))
        process.process.wait()
        kite.reqsession.close()

    process = start("--source", str(recording), "--speed", "1", "--no-rate")
    kite = eventually(lambda: process.clock() and process.log_in(), what="kitesim is back")
    book = [order["order_id"] for order in kite.orders()]
    assert set(answered) <= set(book)
    assert len(book) == len(set(book))
    for order_id in book:
        rows = [row["status"] for row in kite.order_history(order_id)]
        assert rows[:3] == ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING"]
    kite.reqsession.close()


def test_the_market_simulator_has_an_order_book(start: Callable[..., Process]) -> None:
    process = start("--source", "sim", "--speed", "20", "--no-rate")
    eventually(lambda: process.clock().get("time"), what="time passes")
    kite = process.log_in()

    quote = eventually(lambda: kite.quote("NSE:RELIANCE").get("NSE:RELIANCE"), what="the share has traded")

    assert quote["depth"]["buy"][0]["quantity"] > 0
    assert quote["buy_quantity"] == sum(level["quantity"] for level in quote["depth"]["buy"])
    kite.reqsession.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speed", "2"], "--speed without --source"),
        (["--source", "nowhere.csv"], "there is no such file"),
        (["--source", "sim", "--speed", "-1"], "--speed: expected max"),
        ([], "no Kafka"),
    ],
)
def test_what_cannot_be_served_is_said_with_a_fix(
    start: Callable[..., Process], options: list[str], message: str
) -> None:
    process = start(*options)
    output, _ = process.process.communicate(timeout=30)

    assert process.process.returncode == 2
    assert message in output
    assert "fix:" in output
