"""Levels that set limits at run time: the last of each key is in force, and one that cannot be read changes nothing."""

from __future__ import annotations

import pytest

from panda_streams.codec import encode
from panda_streams.events import Level, Mode
from panda_streams.levels import MODE, UNSET, Levels, limit_setting
from panda_streams.topics import level_key

LOSS = "account/max_daily_loss"


def set_limit(levels: Levels, key: str, value: str, *, namespace: str = "paper", who: str = "asha") -> None:
    level = Level(
        world="sim", scope=namespace, setting=limit_setting(key), value=value, who=who, at=0, reason="a nervous day"
    )
    levels.apply("paper.control", level_key(namespace, level.setting), encode(level))


def test_the_last_value_of_a_limit_is_in_force_with_who_set_it():
    levels = Levels()
    set_limit(levels, LOSS, "100")
    set_limit(levels, LOSS, "50", who="ravi")
    set_limit(levels, "strategy:A/max_position", "none")

    assert levels.limits("paper") == {LOSS: "50", "strategy:A/max_position": "none"}
    assert levels.limit_levels("paper")[LOSS].who == "ravi"


def test_the_limits_of_an_arm_are_its_own():
    levels = Levels()
    set_limit(levels, LOSS, "100")
    set_limit(levels, LOSS, "50", namespace="zerodha")

    assert (levels.limits("paper"), levels.limits("zerodha")) == ({LOSS: "100"}, {LOSS: "50"})


def test_what_is_taken_back_is_no_longer_in_force():
    levels = Levels()
    set_limit(levels, LOSS, "100")
    set_limit(levels, LOSS, UNSET)

    assert levels.limits("paper") == {}
    assert levels.revision == 2


@pytest.mark.parametrize(
    ("key", "value"), [(LOSS, "much"), ("account/max_happiness", "5"), ("nobody/max_position", "5")]
)
def test_a_limit_that_this_version_cannot_read_is_passed_over(key, value):
    levels = Levels()
    set_limit(levels, LOSS, "100")
    set_limit(levels, key, value)

    assert levels.limits("paper") == {LOSS: "100"}
    assert levels.revision == 1


def test_a_halt_that_comes_while_another_thread_looks_for_the_mode_is_in_force() -> None:
    class Interrupted(Levels):
        halts = 1

        def _mode(self, namespace: str) -> tuple[Mode, Level | None]:
            found = super()._mode(namespace)
            if self.halts:
                self.halts -= 1
                halt = Level(world="sim", scope="all", setting=MODE, value="HALTED", who="asha", at=0, reason="now")
                self.apply("control", level_key("all", MODE), encode(halt))
                self.mode(namespace)
            return found

    levels = Interrupted()
    levels.mode("zerodha")

    assert levels.mode("zerodha")[0] is Mode.HALTED
