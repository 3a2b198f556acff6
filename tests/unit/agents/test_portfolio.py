"""The portfolio agent: a fill is booked once, whatever is delivered again."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from agents.portfolio import PortfolioAgent
from panda_streams.brokers.port import Broker
from panda_streams.codec import decode, encode
from panda_streams.domain.bookings import Booking, BookingKind
from panda_streams.domain.corporate_actions import CorporateAction
from panda_streams.domain.ledger import LedgerError
from panda_streams.domain.signals import Side
from panda_streams.events import Booked, Filled, Mark, Snapshot
from tables import read_row
from tables.portfolio import PortfolioRow
from tests.unit.agents.fakes import a_config, a_context
from tests.unit.bench import Bench, Killed
from tests.unit.builders import INFY, T0, a_booking, a_fill, an_action

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

    def book(self, offset: int, sequence: int, booking: Booking, *, producer: str = "risk") -> None:
        event = Booked(world="sim", namespace="paper", booking=booking, producer=producer, sequence=sequence)
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


def test_a_mark_said_again_changes_nothing() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.mark(0, "101.5")
    rows = dict(arm.bench.table())

    arm.mark(1, "101.5")

    assert len(arm.snapshots()) == 2
    assert dict(arm.bench.table()) == rows


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


def test_a_booking_delivered_again_changes_nothing() -> None:
    arm = Arm()
    deposit = a_booking(BookingKind.DEPOSIT, "500")

    arm.book(0, 7, deposit)
    arm.book(0, 7, deposit)  # the same record
    arm.book(1, 7, deposit)  # sent again after a crash of its producer

    (snapshot,) = arm.snapshots()
    assert (snapshot.cash, snapshot.capital) == (100_500, 100_500)
    assert arm.mirrored("paper:portfolio:Momentum")["bookings"] == 1


def test_only_risk_books() -> None:
    arm = Arm()

    arm.book(0, 0, a_booking(BookingKind.DEPOSIT, "500"), producer="strategy")

    assert arm.snapshots() == []
    assert [letter.value for letter in arm.bench.to("dlq")] == [
        b"paper.orders.filled@0: written by 'strategy', expected one of execution/0, execution/1, risk"
    ]


def test_a_booking_waits_for_the_fills_that_risk_had_heard_of() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")

    arm.book(1, 0, a_booking(BookingKind.RESET, "5000", fills=2))
    arm.book(2, 1, a_booking(BookingKind.DEPOSIT, "1", fills=2))
    waiting = arm.mirrored("paper:portfolio:Momentum")["bookings_waiting"]
    arm.fill(3, 0, Side.SELL, "110", shard=1)

    assert (waiting, len(arm.snapshots())) == (2, 2)
    assert arm.snapshots()[-1].cash == 5001
    assert arm.mirrored("paper:portfolio:Momentum")["bookings_waiting"] == 0
    assert arm.mirrored(f"paper:positions:Momentum:{INFY}")["realised"] == "0"


def test_bookings_after_a_reset_count_the_fills_before_it_too() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.fill(1, 1, Side.SELL, "100")
    arm.book(2, 0, a_booking(BookingKind.RESET, "5000", fills=2))

    arm.fill(3, 2, Side.BUY, "100")
    arm.book(4, 1, an_action(CorporateAction.SPLIT, 5, 1, fills=3, time=T0 + 1))

    assert arm.mirrored(f"paper:positions:Momentum:{INFY}")["quantity"] == 50


def test_a_waiting_booking_survives_a_kill() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.book(1, 0, a_booking(BookingKind.DEPOSIT, "7", fills=2))

    arm.bench.restart()
    arm.fill(2, 1, Side.BUY, "100")

    assert arm.snapshots()[-1].capital == 100_007


def test_a_reset_of_a_book_that_risk_believed_flat_ends_the_worker() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")

    with pytest.raises(LedgerError, match="close its positions first"):
        arm.book(1, 0, a_booking(BookingKind.RESET, "5000", fills=1))


def test_the_mirror_shows_product_lots_and_gains() -> None:
    arm = Arm()
    arm.fill(0, 0, Side.BUY, "100")
    arm.fill(1, 1, Side.BUY, "101")
    arm.fill(2, 2, Side.SELL, "103")

    position = arm.mirrored(f"paper:positions:Momentum:{INFY}")
    assert (position["product"], position["lots"], position["oldest_lot"]) == ("MIS", 1, "2021-06-08")
    assert arm.mirrored("paper:portfolio:Momentum")["gains"] == {
        "2021-22": {"INTRADAY": {"proceeds": "1030", "cost": "1000", "profit": "30", "charges": "2"}}
    }


def test_a_row_of_an_older_form_is_refused_with_the_remedy() -> None:
    old = b'{"schema_version":1,"portfolio":{"strategy_id":"Momentum","capital":"1","cash":"1"},"sequence":3}'

    with pytest.raises(ValueError, match=r"form 1, this version has form 2.*begin the world anew"):
        read_row(PortfolioRow, old)
