"""An alerter delivers in the background, whatever its targets do."""

from __future__ import annotations

import logging
import time

import pytest

from panda_streams.alerts.alerter import _QUEUE, Counts
from panda_streams.alerts.kinds import Alert, AlertKind, Loudness
from panda_streams.alerts.rate import Rate
from tests.polling import eventually
from tests.unit.alerts.fakes import DIED, FakeTarget, an_alerter


def test_an_alert_reaches_every_target_with_its_origin():
    targets = FakeTarget(), FakeTarget()
    alerter = an_alerter(*targets)

    alerter.send(DIED)
    alerter.close()

    for target in targets:
        [message] = target.messages
        assert message.title == "SIMULATED: feed died"
        assert message.body.splitlines() == [
            "feed ended with exit code 1.",
            "",
            "WORKER_DIED in world sim, namespace paper, instance 0",
        ]


def test_what_is_real_is_not_marked_as_simulated():
    target = FakeTarget()
    alerter = an_alerter(target, world="live")

    alerter.send(DIED)
    alerter.close()

    assert target.messages[0].title == "feed died"


@pytest.mark.parametrize(
    ("loudness", "silent"), [(Loudness.ON, [False]), (Loudness.SILENT, [True]), (Loudness.OFF, [])]
)
def test_a_kind_is_as_loud_as_it_is_set(loudness, silent):
    target = FakeTarget()
    alerter = an_alerter(target, kinds={AlertKind.WORKER_DIED: loudness})

    alerter.send(DIED)
    alerter.close()

    assert [message.silent for message in target.messages] == silent


def test_a_dead_target_holds_up_neither_the_caller_nor_the_others():
    dead, alive = FakeTarget(dead=True), FakeTarget()
    alerter = an_alerter(dead, alive)

    begun = time.monotonic()
    for _ in range(3 * _QUEUE):
        alerter.send(DIED)
    took = time.monotonic() - begun

    assert took < 1
    eventually(lambda: alive.messages, what="the other target has the alert")
    begun = time.monotonic()
    alerter.close(timeout_s=0.1)
    assert time.monotonic() - begun < 5
    assert dead.messages == []
    dead.revive()


def test_a_full_queue_drops_the_oldest_and_counts_them():
    target = FakeTarget(dead=True)
    alerter = an_alerter(target)
    alerter.send(Alert(AlertKind.HALT, "in hand", ""))
    assert target.reached.wait(15)

    for number in range(_QUEUE + 3):
        alerter.send(Alert(AlertKind.HALT, f"{number}", ""))

    assert alerter.counts.dropped == 3
    target.revive()
    alerter.close()
    titles = [message.title.removeprefix("SIMULATED: ") for message in target.messages]
    assert titles == ["in hand", *(f"{number}" for number in range(3, _QUEUE + 3))]


def test_what_the_rate_holds_back_is_delivered_when_the_alerter_ends():
    target = FakeTarget()
    alerter = an_alerter(target, rate=Rate(count=1, seconds=600))

    for _ in range(13):
        alerter.send(DIED)
    alerter.close()

    assert [message.title for message in target.messages] == [
        "SIMULATED: feed died",
        "SIMULATED: feed died, and 11 more",
    ]


def test_what_the_rate_holds_back_is_delivered_once_it_may_be():
    target = FakeTarget()
    alerter = an_alerter(target, rate=Rate(count=1, seconds=1))

    alerter.send(DIED)
    alerter.send(DIED)

    eventually(lambda: len(target.messages) == 2, what="the second one is delivered")
    alerter.close()


def test_failures_are_counted_and_logged_without_a_word_of_the_error(caplog):
    secret = "https://hooks.example/s3cr3t"
    alerter = an_alerter(FakeTarget(raises=OSError(secret)), FakeTarget(fails="it has refused the message"))

    with caplog.at_level(logging.DEBUG):
        alerter.send(DIED)
        alerter.send(DIED)
        alerter.close()

    assert alerter.counts == Counts(delivered=0, failed=4, dropped=0)
    assert "OSError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_long_alert_is_cut_and_still_says_where_it_comes_from():
    target = FakeTarget()
    alerter = an_alerter(target)

    alerter.send(Alert(AlertKind.HALT, "t" * 5000, "b" * 50_000))
    alerter.close()

    [message] = target.messages
    assert len(message.title) + len(message.body) < 4096
    assert message.body.endswith("world sim, namespace paper, instance 0")


def test_without_targets_nothing_happens():
    alerter = an_alerter()

    alerter.send(DIED)
    alerter.close()

    assert (alerter.idle, alerter.counts) == (True, Counts())
