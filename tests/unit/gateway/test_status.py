from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from panda_streams.cli import status as command
from panda_streams.cli.status import Report, examine
from panda_streams.embedded.processes import ProcessRow, ProcessState
from panda_streams.errors import ServerUnreachable
from tests.unit.gateway import records
from tests.unit.gateway.records import NOW, arm, health, processes, raw, risk, stop


def row(name: str, pid: int | None, state: ProcessState = ProcessState.RUNNING, **changes: Any) -> ProcessRow:
    fields: dict[str, Any] = {"restarts": 0, "started_at": NOW, "exit_code": None, "log": f"/logs/{name}.log"}
    return ProcessRow(name=name, command=name, pid=pid, state=state, **(fields | changes))


def supervised(**changes: ProcessRow) -> list[ProcessRow]:
    names = {"kafka": 1, "redis": 2, "feed": 11, "brain": 12, "paper": 13, "gateway": 14}
    return [changes.get(name, row(name, pid)) for name, pid in names.items()]


def looked(rows: list[ProcessRow] | None = None, **reports: str) -> Report:
    return examine("sim", rows, records.state(raw(health=processes(**reports))), NOW)


def texts(report: Report) -> list[str]:
    return [problem.text for problem in report.problems]


def test_all_is_well_under_a_supervisor() -> None:
    report = looked(supervised())

    assert (report.ok, texts(report)) == (True, [])
    assert [found.name for found in report.processes] == ["kafka", "redis", "feed", "brain", "paper", "gateway"]
    paper = report.processes[4]
    assert (paper.role, paper.namespace, paper.pid, paper.state, paper.mode) == (
        "arm",
        "paper",
        13,
        "running",
        "ACTIVE",
    )
    assert (paper.ready, paper.lag, paper.events, paper.restarts, paper.age_ms) == (True, 0, 500, 0, 500)


def test_all_is_well_without_a_supervisor() -> None:
    report = looked(None)

    assert report.ok
    assert [found.name for found in report.processes] == ["feed-0", "brain-0", "arm-paper-0", "gateway-0"]


def test_a_broker_without_an_arm_is_a_note_with_the_signals_waiting() -> None:
    report = looked(supervised())

    assert report.ok
    assert len(report.notes) == 1
    assert "zerodha" in report.notes[0]
    assert "37 signals waiting" in report.notes[0]


def test_a_halted_arm_is_well_and_is_shown() -> None:
    halted = raw(
        arms={"paper": arm(risk=risk(mode="HALTED", mode_reason="by hand (me)"))},
        health=processes(**{"paper:health:0": health("arm", "paper", mode="HALTED")}),
    )

    report = examine("sim", supervised(), records.state(halted), NOW)

    assert report.ok
    assert report.processes[4].mode == "HALTED"
    held = next(note for note in report.notes if "HALTED" in note)
    assert held == "arm paper is set to HALTED: by hand (me)"


def of_paper(account: str, mode: str = "ACTIVE") -> Report:
    """The report on a world whose paper arm is set to a mode and says this of its account."""
    found = raw(
        arms={"paper": arm(risk=account)}, health=processes(**{"paper:health:0": health("arm", "paper", mode=mode)})
    )
    return examine("sim", supervised(), records.state(found), NOW)


def test_why_operators_have_halted_an_arm_is_a_note() -> None:
    report = of_paper(risk(mode="HALTED_HARD", mode_reason="by hand (me)"), mode="HALTED_HARD")

    assert "arm paper is set to HALTED_HARD: by hand (me)" in report.notes


def test_an_arm_that_has_stopped_itself_is_a_problem_with_its_mode_and_remedy() -> None:
    report = of_paper(risk(mode="HALTED", mode_reason="DAILY_LOSS: 600 is more than 500", stops=[stop()]))

    assert report.processes[4].mode == "HALTED"
    (problem,) = report.problems
    assert problem.text == "arm paper is HALTED: DAILY_LOSS, 600 is more than 500"
    assert "panda resume paper" in problem.fix
    assert "account/max_daily_loss" in problem.fix
    assert not any("set to" in note for note in report.notes)


def test_a_strategy_that_the_arm_has_stopped_is_a_problem_and_the_arm_is_active() -> None:
    report = of_paper(risk(stops=[stop(level="strategy:M", mode="REDUCING")]))

    assert report.processes[4].mode == "ACTIVE"
    assert texts(report) == ["strategy M of paper is REDUCING: DAILY_LOSS, 600 is more than 500"]


def test_an_arm_that_an_operator_has_flattened_is_well_and_noted() -> None:
    flat = stop(reason="FLATTENED", detail="going home (me)")

    report = of_paper(risk(mode="HALTED", mode_reason="FLATTENED: going home (me)", stops=[flat]))

    assert (report.ok, report.processes[4].mode) == (True, "HALTED")
    assert "arm paper is HALTED: FLATTENED, going home (me); panda resume paper" in report.notes


def test_a_finished_feed_is_well() -> None:
    rows = supervised(feed=row("feed", None, ProcessState.FINISHED, exit_code=0))
    report = looked(rows, **{"feed:health:0": health("feed", state="finished", at=NOW - 3_600_000)})

    assert (report.ok, report.processes[2].state) == (True, "finished")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (row("brain", None, ProcessState.FAILED, exit_code=2), "brain failed (exit code 2)"),
        (row("brain", None, ProcessState.BACKOFF, exit_code=-9, restarts=3), "brain ended (exit code -9)"),
        (row("brain", None, ProcessState.STOPPED), "brain is stopped"),
        (row("brain", 77, ProcessState.STARTING), "brain is starting"),
        (row("brain", 77), "brain runs and has not reported yet"),
    ],
)
def test_a_process_that_its_supervisor_worries_about_is_a_problem(changed: ProcessRow, named: str) -> None:
    report = looked(supervised(brain=changed))

    assert not report.ok
    assert [text for text in texts(report) if named in text]
    assert len(report.processes) == 6
    assert all(problem.fix for problem in report.problems)


@pytest.mark.parametrize("rows", [None, supervised()])
@pytest.mark.parametrize(
    ("reports", "named"),
    [
        ({"brain:health:0": health("brain", at=NOW - 15_000)}, "has not reported for 15 s"),
        ({"brain:health:0": health("brain", ready=False, state="recovering", detail="2 of 4")}, "not ready: 2 of 4"),
        ({"paper:health:0": health("arm", "paper", ready=False)}, "not ready"),
        ({"feed:health:0": health("feed", state="waiting", detail="Kafka is away")}, "Kafka is away"),
    ],
)
def test_a_process_that_is_not_well_by_its_own_word_is_a_problem(
    rows: list[ProcessRow] | None, reports: dict[str, str], named: str
) -> None:
    report = looked(rows, **reports)

    assert not report.ok
    assert len(report.problems) == 1
    assert named in report.problems[0].text


@pytest.mark.parametrize("role", ["feed", "brain", "gateway"])
def test_what_every_world_needs_is_missed(role: str) -> None:
    found = processes()
    del found[f"{role}:health:0"]

    report = examine("sim", None, records.state(raw(health=found)), NOW)

    assert texts(report) == [f"no {role} has reported"]


def test_an_arm_that_was_stopped_by_hand_is_a_note() -> None:
    report = looked(None, **{"paper:health:0": health("arm", "paper", state="stopped", ready=False, at=NOW - 90_000)})

    assert report.ok
    assert any("arm-paper-0 was stopped" in note for note in report.notes)


def test_a_paused_strategy_is_a_problem_that_says_who_and_why() -> None:
    listed = json.loads(records.strategies("M"))
    listed["strategies"][0] |= {"state": "paused", "paused_by": "brain-0", "reason": "ValueError: a mistake"}
    state = records.state(raw(strategies=json.dumps(listed), health=processes()))

    report = examine("sim", supervised(), state, NOW)

    assert "strategy M is paused by brain-0: ValueError: a mistake" in texts(report)
    assert any("panda strategy resume M" in problem.fix for problem in report.problems)


def test_an_unreadable_record_is_a_problem() -> None:
    report = examine("sim", supervised(), records.state(raw(strategies="{")), NOW)

    assert not report.ok
    assert "brain:strategies" in report.problems[0].text


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A deployment on given servers whose Kafka answers."""
    for name, value in {
        "PANDA_HOME": str(tmp_path),
        "PANDA_WORLD": "sim",
        "KAFKA_BROKER_URL": "kafka://127.0.0.1:1",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }.items():
        monkeypatch.setenv(name, value)

    async def answers(*_: object, **__: object) -> None:
        return

    monkeypatch.setattr(command, "await_kafka", answers)


def fill(url: str, client: Any, reports: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a world whose processes have just reported into a real Redis."""
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setattr(command, "_now", lambda: NOW)
    monkeypatch.setattr("panda_streams.gateway.reader.time.time_ns", lambda: NOW * 1_000_000)
    client.set("panda:stamp", '{"world": "sim"}')
    client.set("brain:strategies", records.strategies())
    for key, text in reports.items():
        client.set(key, text)
        client.sadd(f"{key.split(':')[0]}:index:health", "0")


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("reports", "code"), [(processes(), 0), (processes(**{"brain:health:0": health("brain", ready=False)}), 1)]
)
def test_the_exit_code_says_whether_all_is_well(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch, reports: dict[str, str], code: int
) -> None:
    with redis_server.client() as client:
        fill(redis_server.url, client, reports, monkeypatch)

    printed = CliRunner().invoke(command.status, ["--json"])
    shown = CliRunner().invoke(command.status)

    report = json.loads(printed.output)
    assert (printed.exit_code, shown.exit_code) == (code, code)
    assert (report["world"], report["ok"]) == ("sim", code == 0)
    assert [found["role"] for found in report["processes"]] == ["feed", "brain", "arm", "gateway"]
    assert "paper" in shown.output


@pytest.mark.usefixtures("deployment")
def test_a_redis_that_does_not_answer_is_exit_code_three_and_is_named() -> None:
    printed = CliRunner().invoke(command.status, ["--json"])

    assert printed.exit_code == 3
    report = json.loads(printed.output)
    assert not report["ok"]
    assert "Redis at 127.0.0.1:1" in report["problems"][0]["text"]


@pytest.mark.usefixtures("deployment")
def test_a_kafka_that_does_not_answer_is_exit_code_three_and_the_table_is_shown(
    redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object, **__: object) -> None:
        raise ServerUnreachable("Kafka at 127.0.0.1:1 does not answer", fix="start it")

    with redis_server.client() as client:
        fill(redis_server.url, client, processes(), monkeypatch)
    monkeypatch.setattr(command, "await_kafka", silent)

    printed = CliRunner().invoke(command.status, ["--json"])

    report = json.loads(printed.output)
    assert printed.exit_code == 3
    assert [problem["text"] for problem in report["problems"]] == ["Kafka at 127.0.0.1:1 does not answer"]
    assert len(report["processes"]) == 4
