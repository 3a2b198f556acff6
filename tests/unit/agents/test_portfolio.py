"""The portfolio agent: a fill is booked once, whatever is delivered again."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from agents.portfolio import PortfolioAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.signals import Side
from panda_streams.events import Filled, Mark, Snapshot
from tests.unit.agents.fakes import a_config, a_context
from tests.unit.bench import Bench, Killed
from tests.unit.builders import INFY, T0, a_fill

PAPER = Broker("paper", "Paper", "INR", live=False, trader=None)


class Arm:
    """A portfolio agent on a bench, whose fills come from two shards."""

    def __init__(self) -> None:
        self.context = a_context(a_config(), partitions=2)
        self.bench = Bench(lambda: PortfolioAgent(self.context, PAPER))

    def fill(
        self, offset: int, sequence: int, side: Side, price: str, *, strategy_id: str = "Momentum", shard: int = 0
    ) -> None:
        fill = a_fill(side, 10, price, charges="1", strategy_id=strategy_id)
        producer = f"execution/{shard}"
        event = Filled(world="sim", namespace="paper", fill=fill, producer=producer, sequence=sequence)
        self.bench.deliver("paper.orders.filled", offset, encode(event))

    def mark(self, offset: int, price: str) -> None:
        event = Mark(
            world="sim",
            namespace="paper",
            strategy_id="Momentum",
            shard=0,
            time=T0 + 1,
            prices={INFY: Decimal(price)},
            producer="execution/0",
        )
        self.bench.deliver("paper.marks", offset, encode(event))

    def snapshots(self) -> list[Snapshot]:
        return [decode(Snapshot, output.value) for output in self.bench.to("paper.portfolio.snapshots")]

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


def test_fills_of_two_shards_are_told_apart() -> None:
    arm = Arm()

    arm.fill(0, 0, Side.BUY, "100", shard=0)
    arm.fill(1, 0, Side.BUY, "100", shard=1)

    assert arm.mirrored("paper:portfolio:Momentum")["fills"] == 2


@pytest.mark.parametrize("point", ["write", "send"])
def test_a_kill_neither_loses_nor_doubles_a_fill(point: str) -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.bench.kill_at = point
    with pytest.raises(Killed):
        arm.fill(1, 1, Side.BUY, "100")

    arm.bench.restart()

    said = {snapshot.sequence: snapshot for snapshot in arm.snapshots()}
    assert [said[sequence].cash for sequence in sorted(said)] == [Decimal(98_999), Decimal(97_998)]
    assert all(snapshot == said[snapshot.sequence] for snapshot in arm.snapshots())


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


def test_a_fill_of_a_strategy_that_is_configured_no_more_is_booked_on_a_capital_of_nothing() -> None:
    arm = Arm()

    arm.fill(0, 0, Side.BUY, "100", strategy_id="Stranger")

    (snapshot,) = arm.snapshots()
    assert (snapshot.strategy_id, snapshot.capital) == ("Stranger", 0)
    assert snapshot.cash < 0


def test_the_mirror_is_written_again_from_the_rows() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    mirror = arm.context.mirror
    mirror.values.clear()

    list(arm.bench.task.agent.mirror(arm.bench.table()))

    assert arm.mirrored("paper:portfolio:Momentum")["cash"] == "98999"
    assert arm.mirrored(f"paper:positions:Momentum:{INFY}")["quantity"] == 10
