"""Facts of one second and the next: what people hear of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from panda_streams.alerts.ends import alert_of
from panda_streams.alerts.kinds import AlertKind
from panda_streams.alerts.watch import RECENT_MS, Facts, compare
from panda_streams.domain.risk.modes import Latch, Mode, StopReason
from panda_streams.embedded.supervisor import Ended
from panda_streams.events import Level

AT = 1_700_000_000_000
QUIET = Facts(speaks=True, namespace="paper")


def a_level(value: str, scope: str = "paper", *, at: int = AT, setting: str = "mode") -> Level:
    return Level(world="sim", scope=scope, setting=setting, value=value, who="asha", at=at, reason="checking a fill")


def facts(*levels: Level, **fields) -> Facts:
    return replace(QUIET, levels={level.scope: level for level in levels}, **fields)


def told(before: Facts | None, now: Facts) -> list[tuple[AlertKind, str]]:
    return [(alert.kind, alert.title) for alert in compare(before, now, AT)]


@pytest.mark.parametrize("mode", ["REDUCING", "HALTED", "HALTED_HARD"])
def test_a_halt_is_told_once_with_who_and_why(mode):
    halted = facts(a_level(mode))

    [alert] = compare(QUIET, halted, AT)

    assert (alert.kind, alert.title) == (AlertKind.HALT, f"arm paper is {mode}")
    assert alert.body == f"arm paper is {mode}, by asha: checking a fill"
    assert told(halted, halted) == []


def test_a_resume_is_told_and_one_of_what_was_not_halted_is_not():
    active = facts(a_level("ACTIVE"))

    assert told(facts(a_level("HALTED")), active) == [(AlertKind.RESUME, "arm paper is resumed")]
    assert told(QUIET, active) == []
    assert told(facts(a_level("ACTIVE", at=1)), active) == []


def test_a_halt_of_all_arms_is_told_beside_one_of_its_own():
    own, every = a_level("HALTED"), a_level("HALTED", "all")

    assert told(facts(own), facts(own, every)) == [(AlertKind.HALT, "every arm is HALTED")]


def test_a_paused_strategy_is_told_and_so_is_its_end():
    paused = facts(a_level("PAUSED", "strategy:Momentum", setting="state"))
    active = facts(a_level("ACTIVE", "strategy:Momentum", setting="state"))

    assert told(QUIET, paused) == [(AlertKind.STRATEGY_PAUSED, "strategy Momentum is PAUSED")]
    assert told(paused, active) == [(AlertKind.RESUME, "strategy Momentum is resumed")]


@pytest.mark.parametrize("before", [None, Facts(speaks=False)])
def test_who_begins_to_speak_tells_what_is_recent_alone(before):
    fresh, old = a_level("HALTED", at=AT - RECENT_MS + 1), a_level("HALTED", "all", at=AT - RECENT_MS)

    assert told(before, facts(fresh, old)) == [(AlertKind.HALT, "arm paper is HALTED")]


def test_one_that_does_not_speak_tells_of_its_own_dead_letters_alone():
    now = facts(a_level("HALTED"), speaks=False, dead_letters=2)

    assert told(Facts(speaks=True), now) == [(AlertKind.DEAD_LETTER, "dead letters")]


def test_new_dead_letters_are_counted():
    [first] = compare(None, Facts(speaks=False, dead_letters=3), AT)
    [second] = compare(Facts(speaks=False, dead_letters=3), Facts(speaks=False, dead_letters=4), AT)

    assert first.body.startswith("3 records could")
    assert second.body.startswith("1 record could")


def test_a_contract_note_is_told_when_it_is_posted():
    trading = facts(traded=frozenset({"2021-06-08"}), noted="2021-06-07")
    posted = facts(traded=frozenset({"2021-06-09"}), noted="2021-06-08")

    assert told(QUIET, trading) == []
    assert told(trading, posted) == [(AlertKind.CONTRACT_NOTE, "contract note of 2021-06-08")]
    assert told(None, posted) == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (StopReason.DAILY_LOSS, AlertKind.AUTOMATIC_HALT),
        (StopReason.REJECTIONS, AlertKind.AUTOMATIC_HALT),
        (StopReason.FEED_STALE, AlertKind.FEED_STALE),
        (StopReason.FLATTENED, AlertKind.FLATTEN),
    ],
)
def test_a_stop_is_told_once_and_so_is_its_end(reason, kind):
    stop = Latch(reason=reason, mode=Mode.REDUCING, level="account", detail="lost 1200, the limit is 1000", since=AT)
    stopped = facts(stops=(stop,))

    [alert] = compare(QUIET, stopped, AT)

    assert (alert.kind, alert.title) == (kind, f"{reason} stops account")
    assert alert.body == "account is REDUCING now: lost 1200, the limit is 1000; `panda resume paper` takes it back."
    assert told(stopped, stopped) == []
    assert told(stopped, QUIET) == [(AlertKind.RESUME, f"{reason} stops account no longer")]


def test_who_begins_to_speak_tells_of_every_stop_in_force():
    stop = Latch(reason=StopReason.DRAWDOWN, mode=Mode.HALTED, level="strategy:Momentum", detail="", since=1)

    assert told(None, facts(stops=(stop,))) == [(AlertKind.AUTOMATIC_HALT, "DRAWDOWN stops strategy:Momentum")]


def test_the_end_of_a_flattening_is_told():
    flattening = facts(flattening=True)

    assert told(flattening, QUIET) == [(AlertKind.FLATTEN, "the account is flat")]
    assert told(QUIET, flattening) == told(None, QUIET) == []


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (("2021-06-08", 1), ("2021-06-08", 3), ["The market refused 2 orders: 3 on 2021-06-08."]),
        (("2021-06-08", 3), ("2021-06-09", 1), ["The market refused 1 order: 1 on 2021-06-09."]),
        (("2021-06-08", 3), ("2021-06-08", 3), []),
        (("2021-06-08", 3), ("2021-06-09", 0), []),
    ],
)
def test_refused_orders_are_counted_by_day(before, now, words):
    assert [alert.body for alert in compare(facts(refused=before), facts(refused=now), AT)] == words


@pytest.mark.parametrize(
    ("end", "kind", "words"),
    [
        (
            Ended("feed", "ended with exit code 1", 3.21, 2.0, False),
            AlertKind.WORKER_DIED,
            "after 3.2 s. It starts again",
        ),
        (Ended("paper", "ended with exit code 5", 1, None, False), AlertKind.WORKER_DIED, "not started again"),
        (
            Ended("brain", "was killed (stalled)", 9, 1.0, True),
            AlertKind.WORKER_STALLED,
            "killed (stalled) after 9.0 s",
        ),
    ],
)
def test_the_end_of_a_process_is_told_with_what_follows(end, kind, words):
    alert = alert_of(end)

    assert alert.kind is kind
    assert alert.title.startswith(end.name)
    assert words in alert.body
