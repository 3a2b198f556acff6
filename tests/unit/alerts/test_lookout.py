"""The lookout sends what is new, each second, and never harms its worker."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from panda_streams.alerts.lookout import Lookout
from panda_streams.alerts.watch import Facts
from tests.unit.alerts.fakes import FakeTarget, an_alerter


def test_each_change_is_sent_once_and_the_rest_when_the_worker_stops():
    target, letters = FakeTarget(), iter([0, 0, 2, 2, 3])
    lookout = Lookout(an_alerter(target), lambda: Facts(speaks=True, dead_letters=next(letters)))

    for _ in range(5):
        lookout.look()
    asyncio.run(lookout.on_stop())

    assert [message.body.split()[0] for message in target.messages] == ["2", "1"]


def test_facts_that_cannot_be_read_are_passed_over():
    answers = iter([OSError("the table is gone"), 2])

    def facts() -> Facts:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return Facts(speaks=True, dead_letters=answer)

    target = FakeTarget()
    lookout = Lookout(an_alerter(target), facts)
    lookout.look()
    lookout.look()
    asyncio.run(lookout.on_stop())

    assert len(target.messages) == 1


def test_without_targets_nothing_is_looked_at():
    def facts() -> NoReturn:
        raise AssertionError("asked for facts")

    async def run() -> None:
        lookout = Lookout(an_alerter(), facts)
        await lookout.start()
        await asyncio.sleep(0)
        await lookout.stop()
        assert lookout.crash_reason is None

    asyncio.run(run())
