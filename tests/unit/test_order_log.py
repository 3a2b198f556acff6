"""The log of an account is read for one order: its updates, its verdict, its ticks, and what is no longer there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from panda_streams.codec import encode, encode_batch
from panda_streams.domain.orders import OrderState, Role
from panda_streams.domain.signals import Intent
from panda_streams.errors import PandaError
from panda_streams.events import StageBeat, TickBatch
from panda_streams.order_log import OrderLog
from panda_streams.streams.sender import partition_of
from panda_streams.topics import Topics
from tests.unit.story import INSTRUMENT, Story, moments_of

T = TypeVar("T")

HOME = partition_of(b"paper", 4)


class FakeLog:
    """Records by topic and partition, from the offset `first` of market.ticks on."""

    def __init__(self, story: Story, *, first: int = 0) -> None:
        beat = encode(StageBeat(world="sim", producer="execution/0", time=0))
        batches = []
        for number, moment in enumerate(story.moments):
            assert moment.tick is not None
            batch = TickBatch("sim", "sim", "1", number, moment.time, (moment.tick,))
            batches.append(encode_batch(batch, {moment.tick.row: moment.depth} if moment.depth else None))
        verdicts = {verdict for update in story.updates if (verdict := story.verdict_of(update)) is not None}
        self.first = first
        self.records = {
            ("paper.orders.updates", HOME): [beat, *(encode(update) for update in story.updates), b"{broken"],
            ("paper.signals.validated", 0): [beat, *(encode(verdict) for verdict in verdicts)],
            ("market.ticks", 0): batches,
        }

    async def start(self, topic: str, partition: int) -> int:
        return self.first if topic == "market.ticks" else 0

    async def end(self, topic: str, partition: int) -> int:
        return len(self.records.get((topic, partition), []))

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        for offset, value in list(enumerate(self.records.get((topic, partition), [])))[start:end]:
            yield SimpleNamespace(offset=offset, value=value)


def a_story() -> Story:
    story = Story(moments_of([1400, 1401, 1402, 1403, 1404, 1405], books=True))
    story.say(0, Intent.ENTRY, quantity=30)
    story.say(3, Intent.EXIT, quantity=30)
    story.run()
    return story


def log_of(story: Story, *, first: int = 0) -> OrderLog:
    return OrderLog(FakeLog(story, first=first), Topics(""), "paper", 4)  # type: ignore[arg-type]


def run(asked: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asked)


def test_each_order_is_listed_once_as_it_is_now() -> None:
    orders = run(log_of(a_story()).orders())

    assert [(order.role, order.state) for order in orders] == [
        (Role.ENTRY, OrderState.FILLED),
        (Role.EXIT, OrderState.FILLED),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_an_order_is_found_by_the_beginning_of_its_id_and_is_the_same_again(number: int) -> None:
    story = a_story()
    updates = story.orders()[number]
    log = log_of(story)

    facts = run(log.facts(updates[0].order_id[:10]))
    again, missing = run(log.again(facts, INSTRUMENT, story.trader))

    assert facts.updates == tuple(updates)
    assert missing == ""
    assert again is not None
    assert again.difference == ""
    assert again.order.filled == 30


def test_an_id_that_no_order_has_is_refused_with_the_command_that_lists_them() -> None:
    with pytest.raises(PandaError, match="panda paper orders --all"):
        run(log_of(a_story()).facts("ffff"))


def test_an_id_that_several_orders_have_is_refused_with_their_ids() -> None:
    story = a_story()

    with pytest.raises(PandaError) as refused:
        run(log_of(story).facts(""))

    assert all(updates[0].order_id in str(refused.value) for updates in story.orders())


def test_ticks_that_retention_has_removed_are_said_to_be_gone() -> None:
    story = a_story()
    log = log_of(story, first=2)

    again, missing = run(log.again(run(log.facts(story.updates[0].order_id)), INSTRUMENT, story.trader))

    assert again is None
    assert "PANDA_TICK_RETENTION_HOURS" in missing
