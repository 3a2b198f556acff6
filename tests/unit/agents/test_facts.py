"""What a worker tells its alerts: of the arm or of all brains only if it speaks for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from agents.facts import arm_facts, brain_facts
from panda_streams.alerts.watch import Facts
from panda_streams.codec import encode
from panda_streams.domain.contract_note import Tally
from panda_streams.domain.risk.account import Account, Book
from panda_streams.domain.risk.modes import Latch, Mode, StopReason
from panda_streams.domain.risk.watch import Day
from panda_streams.events import Level
from panda_streams.levels import Levels
from panda_streams.streams.packing import pack
from panda_streams.streams.sender import partition_of
from panda_streams.topics import level_key
from tables.risk import RiskRow

PARTITIONS = 4
HOME = partition_of(b"paper", PARTITIONS)


@dataclass
class FakeContext:
    """What facts are made from beside the rows."""

    namespace: str = "paper"
    partitions: int = PARTITIONS
    strategies: tuple[str, ...] = ()
    levels: Levels = field(default_factory=Levels)


class FakeLoop:
    def __init__(self, *runs: tuple[str, int], dead_letters: int = 0) -> None:
        self._runs = runs
        self.dead_letters = dead_letters

    def runs(self, name: str, partition: int) -> bool:
        return (name, partition) in self._runs


class FakeTable:
    def __init__(self, row: RiskRow | None) -> None:
        self._row = row

    def read(self, partition: int, key: bytes) -> bytes | None:
        assert (partition, key) == (HOME, b"paper")
        return None if self._row is None else pack(self._row.model_dump_json().encode())


def set_level(context: FakeContext, scope: str, setting: str, value: str) -> Level:
    level = Level(world="sim", scope=scope, setting=setting, value=value, who="asha", at=1, reason="")
    context.levels.apply("control", level_key(scope, setting), encode(level))
    return level


def test_the_worker_that_has_the_account_speaks_for_the_arm():
    context = FakeContext()
    own, every = set_level(context, "paper", "mode", "HALTED"), set_level(context, "all", "mode", "ACTIVE")
    stop = Latch(reason=StopReason.DAILY_LOSS, mode=Mode.REDUCING, level="account", detail="lost 1200", since=1)
    row = RiskRow(
        account=Account(tallies={"2021-06-09": Tally()}),
        day=Day(date="2021-06-09", rejections={"account": 3, "strategy:Momentum": 3}),
        latches=(stop,),
        flattening="an action",
        noted="2021-06-08",
    )

    facts = arm_facts(context, FakeLoop(("risk", HOME), dead_letters=2), FakeTable(row))

    assert facts == Facts(
        speaks=True,
        namespace="paper",
        dead_letters=2,
        levels={"paper": own, "all": every},
        noted="2021-06-08",
        traded=frozenset({"2021-06-09"}),
        stops=(stop,),
        flattening=True,
        refused=("2021-06-09", 3),
    )


def test_an_account_that_has_no_row_yet_has_no_notes():
    facts = arm_facts(FakeContext(), FakeLoop(("risk", HOME)), FakeTable(None))

    assert facts == Facts(True, namespace="paper")


def test_the_account_speaks_however_large_its_row_is() -> None:
    row = RiskRow(
        account=Account(books={f"Momentum_{n}": Book(cash=Decimal(n)) for n in range(1000)}), noted="2021-06-08"
    )

    facts = arm_facts(FakeContext(), FakeLoop(("risk", HOME)), FakeTable(row))

    assert (facts.speaks, facts.noted) == (True, "2021-06-08")


def test_another_worker_of_the_arm_does_not_speak():
    loop = FakeLoop(("risk", (HOME + 1) % PARTITIONS), ("execution", HOME))

    assert not arm_facts(FakeContext(), loop, FakeTable(RiskRow())).speaks


def test_the_brain_of_the_first_shard_tells_of_the_strategies_that_it_runs():
    context = FakeContext(strategies=("Momentum",))
    paused = set_level(context, "strategy:Momentum", "state", "PAUSED")
    set_level(context, "strategy:Gone", "state", "PAUSED")

    assert brain_facts(context, FakeLoop(("strategy", 0))) == Facts(True, 0, {"strategy:Momentum": paused})
    assert not brain_facts(context, FakeLoop(("strategy", 1))).speaks
