"""How far each stage of an arm has come: what people see of what its processes report."""

from __future__ import annotations

from typing import Any

import pytest

from panda_streams.cli import status as command
from panda_streams.cli.status import examine
from panda_streams.gateway import answers
from panda_streams.gateway.views import StageView
from tests.unit.gateway import records
from tests.unit.gateway.records import EVENT, NOW, health, processes, raw


def arm(execution: int, *, portfolio: int | None = None, risk: int | None = EVENT - 2000, **changes: Any) -> str:
    reached = {"execution": execution, "portfolio": execution if portfolio is None else portfolio}
    return health("arm", "paper", **({"reached": reached | ({"risk": risk} if risk else {})} | changes))


def way(**reports: str) -> dict[str, StageView]:
    """The stages of paper with a brain at the feed, and `reports` by Redis key without its prefix."""
    brain = {"brain:health:0": health("brain", reached={"strategy": EVENT})}
    view = records.state(raw(health=processes(**(brain | reports)))).namespace("paper")
    assert view is not None
    return {stage.stage: stage for stage in view.stages}


def paper(*reports: str) -> dict[str, str]:
    return {f"paper:health:{number}": report for number, report in enumerate(reports)}


def test_each_stage_shows_where_it_is_and_how_far_behind_the_feed() -> None:
    found = way(**paper(arm(EVENT - 3000, portfolio=EVENT - 60_000)))

    assert list(found) == ["feed", "brain", "risk", "execution", "portfolio"]
    assert [(stage.reached, stage.behind_ms) for stage in found.values()] == [
        (EVENT, None),
        (EVENT, 0),
        (EVENT - 2000, 2000),
        (EVENT - 3000, 3000),
        (EVENT - 60_000, 60_000),
    ]
    assert [stage.waits for stage in found.values()] == [""] * 5


def test_of_two_workers_of_an_arm_the_lowest_counts() -> None:
    found = way(**paper(arm(EVENT - 1000), arm(EVENT - 9000, risk=None, instance=1, pid=23)))

    assert (found["execution"].behind_ms, found["portfolio"].behind_ms) == (9000, 9000)
    assert found["risk"].behind_ms == 2000


def test_a_worker_that_left_does_not_hold_its_arm_back() -> None:
    left = arm(EVENT - 900_000, instance=1, state="stopped", ready=False)
    silent = arm(EVENT - 900_000, instance=2, at=NOW - 60_000)

    assert way(**paper(arm(EVENT - 1000), left, silent))["execution"].behind_ms == 1000


def test_what_a_stage_waits_for_is_named_with_its_shards() -> None:
    waiting = {
        "execution/3": "signals.validated of risk",
        "execution/0": "signals.validated of risk",
        "risk/2": "signals.raw of brain/1",
    }

    found = way(**paper(arm(EVENT, waiting=waiting)))

    assert found["execution"].waits == "waits for signals.validated of risk (shard 0, 3)"
    assert found["risk"].waits == "waits for signals.raw of brain/1"
    assert found["portfolio"].waits == ""


def test_after_the_end_of_a_run_nothing_is_ahead_of_the_feed() -> None:
    found = way(**paper(arm(EVENT + 60_000, risk=EVENT + 60_000)))

    assert {(stage.reached, stage.behind_ms) for stage in found.values()} == {(EVENT, None), (EVENT, 0)}


def test_a_stage_that_has_said_nothing_is_not_at_zero() -> None:
    found = way(**paper(health("arm", "paper")))

    assert (found["risk"].reached, found["risk"].behind_ms) == (None, None)


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (arm(EVENT, state="recovering", ready=False, detail="9 records to go"), "the arm is recovering: 9 records to"),
        (arm(EVENT, state="stopped", ready=False), "the arm was stopped"),
        (arm(EVENT, at=NOW - 60_000), "the arm does not report any more"),
    ],
)
def test_a_stage_whose_process_is_not_well_says_so(report: str, why: str) -> None:
    found = way(**paper(report))

    assert all(why in found[name].waits for name in ("risk", "execution", "portfolio"))
    assert found["brain"].waits == ""


def test_a_worker_that_is_not_well_is_named_among_several() -> None:
    unwell = arm(EVENT, instance=1, state="waiting", ready=False, detail="Kafka is away")

    assert way(**paper(arm(EVENT), unwell))["risk"].waits == "the arm 1 is waiting: Kafka is away"


def test_a_feed_that_does_not_publish_says_why() -> None:
    waiting = {"feed:health:0": health("feed", state="waiting", detail="Kafka is away")}

    assert way(**paper(arm(EVENT)), **waiting)["feed"].waits == "the feed is waiting: Kafka is away"


def test_without_a_feed_no_stage_has_an_age() -> None:
    reports = processes(**paper(arm(EVENT)))
    del reports["feed:health:0"]

    view = records.state(raw(health=reports)).namespace("paper")

    assert view is not None
    assert [(stage.reached, stage.behind_ms) for stage in view.stages[2:]] == [
        (EVENT - 2000, None),
        *[(EVENT, None)] * 2,
    ]
    assert view.stages[0].waits == "no feed has reported"


def test_a_broker_without_an_arm_has_no_stages() -> None:
    view = records.state().namespace("zerodha")

    assert view is not None
    assert view.stages == ()


def test_the_api_and_the_page_have_the_stages() -> None:
    state = records.state(raw(health=processes(**paper(arm(EVENT - 3000)))))

    for answer in (answers.namespaces(state), answers.page(state)):
        shown = answer["namespaces"][0]["stages"]
        assert shown[3] == {"stage": "execution", "reached": EVENT - 3000, "behind_ms": 3000, "waits": ""}


def test_panda_status_has_the_stages_of_each_arm(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = {"execution/0": "signals.validated of risk"}
    brain = {"brain:health:0": health("brain", reached={"strategy": EVENT})}
    state = records.state(raw(health=processes(**brain, **paper(arm(EVENT - 3000, waiting=waiting)))))

    report = examine("sim", None, state, NOW)
    command._print(report, now=NOW)

    assert [(way.namespace, way.stages[3].behind_ms) for way in report.stages] == [("paper", 3000)]
    *_, line = [line for line in capsys.readouterr().out.splitlines() if line.startswith("paper")]
    assert " ".join(line.split()) == (
        "paper 2021-06-16 09:20:00 09:20:00 (-0 s) 09:19:58 (-2 s) 09:19:57 (-3 s) 09:19:57 (-3 s) "
        "execution: waits for signals.validated of risk (shard 0)"
    )
