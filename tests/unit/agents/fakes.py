"""Hand-written stand-ins for what an agent touches: a table, the loop's sends, the log and the mirror."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.context import Context
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.identity import Home, Identity, Ports, Role, World
from panda_streams.levels import Levels
from panda_streams.streams.loop import Output, Record
from panda_streams.topics import Topics
from strategies.config import StrategyConfig

TICKS = "market.ticks"


class FakeTable:
    """A table in a dict."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.unacknowledged = 0

    def get(self, key: bytes) -> bytes | None:
        return self.stored.get(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.stored[key] = value

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self.stored.items())

    async def acknowledged(self) -> None:
        return None


class FakeLoop:
    """Keeps what was sent; `crash_before`, "row" or "outputs", ends the next step there, as a kill would."""

    def __init__(self) -> None:
        self.sent: list[Output] = []
        self.crash_before = ""
        self.log = logging.getLogger("test")

    async def send(self, outputs: Sequence[Output]) -> None:
        if outputs and self.crash_before == "outputs":
            raise InterruptedError("killed before the outputs")
        self.sent += outputs

    async def write(self, table: FakeTable, rows: Mapping[bytes, bytes]) -> None:
        if self.crash_before == "row":
            raise InterruptedError("killed before the row")
        table.stored.update(rows)

    def to(self, topic: str) -> list[Output]:
        return [output for output in self.sent if output.topic == topic]


class FakeReadBack:
    """The log of one partition."""

    def __init__(self, log: list[bytes]) -> None:
        self.log = log
        self.reads = 0

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Record]:
        assert topic == TICKS
        self.reads += start < end
        for offset in range(start, min(end, len(self.log))):
            yield Record(topic, partition, offset, None, self.log[offset])

    async def end(self, topic: str, partition: int) -> int:
        return len(self.log)


class FakeMirror:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.members: set[tuple[str, str]] = set()

    def put(self, key: str, value: bytes, version: int) -> None:
        self.values[key] = value

    def remove(self, key: str) -> None:
        self.values.pop(key, None)

    def add(self, set_key: str, member: str) -> None:
        self.members.add((set_key, member))

    def discard(self, set_key: str, member: str) -> None:
        self.members.discard((set_key, member))


INSTRUMENTS = Instruments(
    [
        Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY),
        Instrument(exchange="NSE", symbol="TCS", kind=InstrumentKind.EQUITY),
        Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX),
    ]
)


def a_config(strategy_id: str = "Momentum", **fields: Any) -> StrategyConfig:
    account = {"capital": "100000", "share_of_capital": "0.1", "max_position": 100}
    data = {
        "strategy_id": strategy_id,
        "strategy": "momentum",
        "trades": ["NSE:INFY"],
        "brokers": ["paper", "zerodha"],
        "accounts": {"paper": account, "zerodha": account},
    }
    return StrategyConfig.model_validate({**data, **fields})


def a_context(
    *configs: StrategyConfig, namespace: str | None = "paper", loop: FakeLoop | None = None, home: str = "home"
) -> Any:
    role = Role.ARM if namespace else Role.BRAIN
    identity = Identity(role, namespace, 0, World("sim"), Home(Path(home)), Ports(20_000), "")
    return Context(
        identity=identity,
        topics=Topics(""),
        instruments=INSTRUMENTS,
        strategies={config.strategy_id: config for config in configs},
        levels=Levels(),
        loop=loop or FakeLoop(),  # type: ignore[arg-type]
        mirror=FakeMirror(),  # type: ignore[arg-type]
    )
