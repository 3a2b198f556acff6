"""Forty kills of feed, brain and arm, at every crash point: the books are those of a run that nobody disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.harness import RESULTS, torture
from tests.chaos.kills import POINTS
from tests.chaos.recording import SESSION
from tests.servers import free_port_base, project_home

pytestmark = pytest.mark.integration

KILLS = 40


def test_killed_processes_leave_what_an_undisturbed_run_leaves(shared_data: Path, tmp_path: Path) -> None:
    home = project_home()

    results = torture(
        session=shared_data / SESSION,
        directory=tmp_path / "chaos",
        jars=home.jars,
        port_base=free_port_base(),
        kills=KILLS,
        seed=1,
        say=print,
    )

    results.write(home.path / RESULTS)
    print(results.summary())
    assert results.refold == []
    assert results.identity == []
    assert results.kills == KILLS
    # Limits that bind: without refusals and fills in number, a verdict would not depend on what was before.
    assert results.records["signals.rejected"] > 100
    assert results.records["orders.filled"] > 100
    reached = {name for run in results.runs for name in run.died}
    assert len(reached & set(POINTS)) >= 20
