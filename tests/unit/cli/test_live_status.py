from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from panda_streams.cli.live_status import HealthReader, PlainScreen, RichScreen
from panda_streams.embedded.processes import ProcessRow, ProcessState
from panda_streams.events import Health
from tests.unit.gateway.records import health, risk

T0 = 1_623_123_900_000


def a_row(name: str, state: ProcessState, *, pid: int | None = None, exit_code: int | None = None) -> ProcessRow:
    return ProcessRow(name, f"exec {name}", pid, state, 3, T0, exit_code, f"logs/{name}.log")


ROWS = [
    a_row("paper", ProcessState.RUNNING, pid=11),
    a_row("brain", ProcessState.FAILED, exit_code=2),
    a_row("other", ProcessState.RUNNING, pid=12),
]
HEALTH = {
    11: Health(
        world="sim",
        role="arm",
        namespace="paper",
        instance=0,
        pid=11,
        state="recovering",
        ready=False,
        mode="HALTED",
        detail="[waiting] for Kafka",
        lag=1234,
        events=98765,
        last_event_time=T0,
        started_at=T0,
        at=T0,
        url=None,
    )
}


def test_the_table_joins_what_the_supervisor_and_the_processes_say() -> None:
    output = io.StringIO()
    screen = RichScreen(Console(file=output, force_terminal=True, width=160, color_system=None))

    screen.refresh(ROWS, HEALTH)
    screen.close()

    text = output.getvalue()
    for word in ("recovering", "HALTED", "1,234", "98,765", "08 Jun 2021 09:15:00", "[waiting] for Kafka"):
        assert word in text
    assert "exit code 2: see logs/brain.log" in text


def test_lines_printed_above_the_table_do_not_disturb_it() -> None:
    output = io.StringIO()
    screen = RichScreen(Console(file=output, force_terminal=True, width=160, color_system=None))

    screen.refresh(ROWS, HEALTH)
    screen.changed(ROWS[1], "brain [failed]: why")
    screen.close()

    assert "brain [failed]: why" in output.getvalue()
    assert "[red]" not in output.getvalue()


def test_without_a_terminal_a_summary_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()

    screen.refresh(ROWS, HEALTH)
    screen.refresh(ROWS, HEALTH)

    [line] = capsys.readouterr().out.splitlines()
    assert "paper recovering, HALTED, lag 1,234, 98,765 events, 08 Jun 2021 09:15:00, 3 restarts" in line
    assert "brain failed" in line


def test_a_step_that_goes_on_is_a_line_a_second_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()

    for text in ["Java 21", *[f"Kafka jars {number}/46" for number in range(47)], "topics are checked"]:
        screen.step(text)

    assert capsys.readouterr().out.splitlines() == [
        "Java 21",
        "Kafka jars 0/46",
        "Kafka jars 46/46",
        "topics are checked",
    ]


@pytest.mark.parametrize(("account", "mode"), [(risk(mode="REDUCING"), "REDUCING"), (None, "ACTIVE")])
def test_the_mode_of_an_arm_is_the_one_in_force(redis_server: Any, account: str | None, mode: str) -> None:
    with redis_server.client() as client:
        client.set("paper:health:0", health("arm", "paper"))
        client.sadd("paper:index:health", "0")
        client.set("brain:health:0", health("brain"))
        client.sadd("brain:index:health", "0")
        if account is not None:
            client.set("paper:risk", account)

    async def read() -> dict[int, Health]:
        reader = HealthReader(redis_server.url, ["brain", "paper"])
        try:
            return await reader.read()
        finally:
            await reader.close()

    found = asyncio.run(read())

    assert {report.role: report.mode for report in found.values()} == {"brain": None, "arm": mode}
