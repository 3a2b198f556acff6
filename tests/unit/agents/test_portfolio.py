"""The portfolio agent: a fill is booked once, whatever is delivered again."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import orjson
import pytest

from agents.portfolio import PortfolioAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.signals import Side
from panda_streams.errors import BadEvent
from panda_streams.events import Filled, Mark, Snapshot
from panda_streams.streams.loop import Record
from tests.unit.agents.fakes import FakeLoop, FakeTable, a_config, a_context
from tests.unit.builders import INFY, T0, a_fill

PAPER = Broker("paper", "Paper", "INR", live=False, trader=None)


class Arm:
    def __init__(self) -> None:
        self.loop, self.table = FakeLoop(), FakeTable()
        self.context = a_context(a_config(), loop=self.loop)
        self.agent = PortfolioAgent(self.context, self.table, PAPER)  # type: ignore[arg-type]

    def fill(self, offset: int, sequence: int, side: Side, price: str, strategy_id: str = "Momentum") -> None:
        fill = a_fill(side, 10, price, charges="1", strategy_id=strategy_id)
        event = Filled(world="sim", namespace="paper", fill=fill, producer="execution/x", sequence=sequence)
        asyncio.run(self.agent.handle(Record("paper.orders.filled", 0, offset, b"", encode(event))))

    def mark(self, offset: int, price: str) -> None:
        event = Mark(
            world="sim", namespace="paper", strategy_id="Momentum", shard=0, time=T0 + 1, prices={INFY: Decimal(price)}
        )
        asyncio.run(self.agent.handle(Record("paper.marks", 0, offset, b"", encode(event))))

    def snapshots(self) -> list[Snapshot]:
        return [decode(Snapshot, output.value) for output in self.loop.to("paper.portfolio.snapshots")]

    def mirrored(self, key: str) -> dict[str, object]:
        return dict(orjson.loads(self.context.mirror.values[key]))


def test_a_book_opens_with_the_capital_of_its_configuration() -> None:
    arm = Arm()

    arm.fill(0, 0, Side.BUY, "100")

    assert arm.snapshots()[0].cash == Decimal(100_000) - 1000 - 1


def test_a_fill_delivered_again_changes_nothing() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")

    arm.fill(0, 0, Side.BUY, "100")  # the same record
    arm.fill(1, 0, Side.BUY, "100")  # sent again after a crash of its producer

    assert len(arm.snapshots()) == 1


def test_a_mark_shows_in_the_mirror_as_unrealised_profit() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")

    arm.mark(0, "101.5")

    assert arm.mirrored("paper:portfolio:Momentum")["unrealised"] == "15.0"
    position = arm.mirrored(f"paper:positions:Momentum:{INFY}")
    assert (position["quantity"], position["average_price"], position["last_price"]) == (10, "100.0000", "101.5")


def test_a_mark_of_what_is_flat_says_nothing() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.fill(1, 1, Side.SELL, "102")

    arm.mark(0, "500")

    assert len(arm.snapshots()) == 2
    assert arm.mirrored("paper:portfolio:Momentum")["realised"] == "20"


def test_a_fill_of_an_unknown_strategy_is_a_bad_event() -> None:
    with pytest.raises(BadEvent, match="Stranger has no account at paper"):
        Arm().fill(0, 0, Side.BUY, "100", strategy_id="Stranger")
