"""Hand-written stand-ins for what an agent touches besides its rows: its configuration and the mirror."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from agents.context import Context
from panda_streams.brokers.paper import PaperTrader
from panda_streams.domain.calendar import Calendar
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.risk.limits import LimitSet
from panda_streams.identity import Home, Identity, Ports, Role, World
from panda_streams.levels import Levels
from panda_streams.limit_files import strategy_limits
from panda_streams.topics import Topics
from strategies.config import StrategyConfig
from tests.unit.builders import CALL, FUTURE, INDEX, SHARE

TICKS = "market.ticks"


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
        SHARE,
        Instrument(exchange="NSE", symbol="TCS", kind=InstrumentKind.EQUITY),
        INDEX,
        FUTURE,
        CALL,
    ]
)

TRADER = PaperTrader(
    Calendar.simulated(),
    PaperMarket(
        latency_ms=500,
        latency_spread_ms=0,
        slippage=Decimal("0.001"),
        participation=Decimal(1),
        queue=QueueModel.THROUGH,
    ),
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
    *configs: StrategyConfig, namespace: str | None = "paper", partitions: int = 1, ordered: bool = False
) -> Any:
    role = Role.ARM if namespace else Role.BRAIN
    identity = Identity(role, namespace, 0, World("sim"), Home(Path("home")), Ports(20_000), "")
    return Context(
        identity=identity,
        topics=Topics(""),
        instruments=INSTRUMENTS,
        strategies={config.strategy_id: config for config in configs},
        levels=Levels(),
        limits=strategy_limits(configs, namespace) if namespace else LimitSet(),
        mirror=FakeMirror(),  # type: ignore[arg-type]
        partitions=partitions,
        ordered=ordered,
    )
