"""A victim dies as planned and comes back; an end that nobody planned is taken down."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.compare import Kind
from tests.chaos.kills import CRASH_POINT, Kill, Moment, Point
from tests.chaos.victims import GaveUp, Victim
from tests.polling import eventually

LIVES = "import time; time.sleep(60)"
DIES_AT_ITS_POINT = f"import os; os.environ.get({CRASH_POINT!r}) == 'risk:sent:3' and os.kill(os.getpid(), 9); {LIVES}"

Make = Callable[[str], Victim]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(program)`: a victim that runs a Python program; all are stopped at the end."""
    made: list[Victim] = []

    def victim(program: str) -> Victim:
        made.append(Victim("arm", [sys.executable, "-c", program], os.environ, tmp_path / "log", tmp_path / "tables"))
        return made[-1]

    yield victim
    for one in made:
        one.stop()


def await_peace(victim: Victim) -> None:
    def at_peace() -> bool:
        victim.look()
        return victim.at_peace

    eventually(at_peace, what="every planned kill has happened")


def test_a_victim_dies_at_each_planned_moment(make: Make) -> None:
    victim = make(LIVES)
    victim.plan([Kill("arm", Moment(0.0)), Kill("arm", Moment(0.1))])
    victim.start()

    await_peace(victim)

    assert victim.died == ["arm:random", "arm:random"]
    assert victim.findings == []


def test_a_victim_that_runs_in_peace_takes_the_kill_of_another(make: Make) -> None:
    victim = make(LIVES)
    victim.start()
    victim.plan([Kill("arm", Moment(0.0))])

    await_peace(victim)

    assert victim.died == ["arm:random"]


def test_a_frozen_victim_stands_still_and_goes_on_without_a_death(make: Make, tmp_path: Path) -> None:
    victim = make(
        "import pathlib, time\nwhile True: pathlib.Path('beat').write_text(str(time.time())); time.sleep(0.01)"
    )
    victim.plan([Kill("arm", Moment(0.0), freeze_s=0.5)])
    victim.start()
    beat = tmp_path / "beat"
    eventually(lambda: beat.exists() and beat.read_text(), what="it lives")

    victim.look()  # freezes it
    eventually(lambda: time.time() - beat.stat().st_mtime > 0.1, what="it stands still for ten of its beats")
    before = beat.read_text()
    eventually(lambda: time.time() - beat.stat().st_mtime > 0.2, what="it stands still for ten more")
    assert beat.read_text() == before
    await_peace(victim)

    eventually(lambda: beat.read_text() not in ("", before), what="it goes on")
    assert (victim.died, victim.findings) == (["arm:frozen"], [])


def test_a_victim_dies_at_the_crash_point_that_its_environment_names(make: Make) -> None:
    victim = make(DIES_AT_ITS_POINT)
    victim.plan([Kill("arm", Point("risk", "sent", 3))])
    victim.start()

    await_peace(victim)

    assert victim.died == ["risk:sent"]
    assert victim.unreached == 0


def test_a_wiping_kill_takes_the_tables_files(make: Make, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    victim = make(LIVES)
    victim.plan([Kill("arm", Moment(0.0), wipe=True)])
    victim.start()

    await_peace(victim)

    assert not (tmp_path / "tables").exists()
    assert victim.wiped == 1


def test_an_end_of_its_own_is_taken_down_and_the_kill_stays_planned(make: Make, tmp_path: Path) -> None:
    victim = make(f"import pathlib, sys; p = pathlib.Path('once'); p.exists() or p.touch() or sys.exit(70); {LIVES}")
    victim.plan([Kill("arm", Moment(2.0))])
    victim.start()

    await_peace(victim)

    assert [finding.kind for finding in victim.findings] == [Kind.ENDED]
    assert "exit code 70" in victim.findings[0].what
    assert victim.died == ["arm:random"]


def test_a_process_that_ends_by_itself_again_and_again_ends_the_torture(make: Make) -> None:
    victim = make("raise SystemExit(70)")
    victim.plan([Kill("arm", Moment(60.0))])
    victim.start()

    with pytest.raises(GaveUp):
        await_peace(victim)


def test_a_feed_that_finishes_first_keeps_its_kill_for_another(make: Make) -> None:
    victim = make("")
    victim.plan([Kill("feed", Moment(60.0))])
    victim.start()

    def finished() -> bool:
        victim.look()
        return victim.finished

    eventually(finished, what="it has finished")
    assert [kill.process for kill in victim.planned] == ["feed"]
