"""Whether a worker has confirmed what an operator has set: that very level or a later one, not merely its mode."""

from __future__ import annotations

import pytest

from panda_streams.cli.control import _obeys
from panda_streams.events import Health, Level, Mode


def health(mode: Mode | None, **modes_set: int) -> Health:
    return Health(
        world="sim",
        role="arm",
        namespace="paper",
        instance=0,
        pid=1,
        state="running",
        ready=True,
        mode=mode,
        modes_set=modes_set,
        detail="",
        lag=0,
        events=0,
        last_event_time=None,
        started_at=0,
        at=0,
        url="",
    )


def level(mode: Mode, scope: str = "paper") -> Level:
    return Level(world="sim", scope=scope, setting="mode", value=mode, who="asha", at=10, reason="lunch")


@pytest.mark.parametrize(
    ("said", "asked", "obeys"),
    [
        (health(Mode.HALTED, paper=10), level(Mode.HALTED), True),
        (health(Mode.HALTED_HARD, paper=11), level(Mode.HALTED), True),
        (health(Mode.REDUCING, paper=10), level(Mode.HALTED), False),
        # An earlier halt that it has not yet heard to be over.
        (health(Mode.HALTED, paper=9), level(Mode.HALTED), False),
        (health(Mode.HALTED, paper=10), level(Mode.HALTED, "all"), False),
        (health(Mode.ACTIVE, paper=10), level(Mode.ACTIVE), True),
        (health(Mode.HALTED, paper=10, all=3), level(Mode.ACTIVE), False),
        (health(None), level(Mode.HALTED), False),
    ],
)
def test_a_worker_confirms_a_level_that_it_has_heard_and_obeys(said: Health, asked: Level, obeys: bool) -> None:
    assert _obeys(said, asked) is obeys
