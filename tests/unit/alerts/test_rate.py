"""How often alerts of a kind pass, and what becomes of the rest."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from panda_streams.alerts.kinds import Alert, AlertKind
from panda_streams.alerts.rate import Limiter, Rate

TWO_A_MINUTE = Rate(count=2, seconds=60)


def an_alert(title: str = "feed died", kind: AlertKind = AlertKind.WORKER_DIED) -> Alert:
    return Alert(kind, title, f"{title}.")


def test_as_many_as_the_rate_allows_pass_and_no_more():
    limiter = Limiter(TWO_A_MINUTE)

    assert [limiter.admit(an_alert(), now) for now in (0, 1, 2, 59)] == [True, True, False, False]


def test_a_kind_does_not_use_up_the_rate_of_another():
    limiter = Limiter(Rate(count=1, seconds=60))
    limiter.admit(an_alert(), 0)

    assert limiter.admit(an_alert(kind=AlertKind.HALT), 0)


def test_what_was_held_back_is_summed_up_once_the_kind_is_free():
    limiter = Limiter(TWO_A_MINUTE)
    for title in ("feed died", "feed died", "feed died", "feed died", "arm died"):
        limiter.admit(an_alert(title), 0)

    assert (limiter.due(59.9), limiter.next_due) == ([], 60)
    [told] = limiter.due(60)

    assert told.title == "arm died, and 2 more"
    assert told.body.splitlines() == ["Held back:", "2 x feed died", "1 x arm died", "", "The last one:", "arm died."]
    assert (limiter.due(1000), limiter.next_due) == ([], None)


def test_a_single_one_that_was_held_back_comes_as_it_is():
    limiter = Limiter(Rate(count=1, seconds=60))
    limiter.admit(an_alert(), 0)
    limiter.admit(an_alert("arm died"), 1)

    assert limiter.due(60) == [an_alert("arm died")]


def test_a_sum_names_ten_at_the_most():
    limiter = Limiter(Rate(count=1, seconds=60))
    for number in range(13):
        limiter.admit(an_alert(f"worker {number} died"), 0)

    [told] = limiter.due(60)

    assert told.body.count(" x ") == 10
    assert "and 2 others" in told.body


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from("abc")), max_size=60), st.integers(1, 4))
def test_nothing_is_lost_and_the_rate_is_kept(steps, count):
    limiter, now, told = Limiter(Rate(count=count, seconds=60)), 0.0, []
    for pause, title in steps:
        now += pause
        told += [(now, alert) for alert in limiter.due(now)]
        if limiter.admit(an_alert(title), now):
            told.append((now, an_alert(title)))
    last = limiter.due(math.inf)

    assert sum(map(_stands_for, [alert for _, alert in told] + last)) == len(steps)
    times = [when for when, _ in told]
    assert all(later >= earlier + 60 for earlier, later in zip(times, times[count:], strict=False))


def _stands_for(alert: Alert) -> int:
    """How many alerts one that was told stands for."""
    more = re.search(r", and (\d+) more$", alert.title)
    return 1 + int(more[1]) if more else 1
