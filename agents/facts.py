"""What a worker knows that people may have to hear of: the facts that its alerts are made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field
from msgspec.json import decode

from agents.context import Context
from agents.risk import RiskAgent
from agents.strategy import Brain
from agents.trader import TraderAgent
from panda_streams.alerts.watch import Facts
from panda_streams.domain.risk.limits import ACCOUNT
from panda_streams.domain.risk.modes import Latch
from panda_streams.events import Level
from panda_streams.levels import ALL, MODE, STRATEGY_STATE, strategy_scope
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.packing import unpack
from panda_streams.streams.rows import LogTable
from panda_streams.streams.sender import partition_of

__all__ = ["arm_facts", "brain_facts"]

_FIRST_SHARD = 0


class _Account(Struct, frozen=True):
    tallies: dict[str, Any] = field(default_factory=dict)


class _Day(Struct, frozen=True):
    date: str = ""
    rejections: dict[str, int] = field(default_factory=dict)


class _Row(Struct, frozen=True):
    """The part of a RiskRow that people may have to hear of: all of it is too dear to decode every second."""

    account: _Account = _Account()
    day: _Day = _Day()
    latches: list[dict[str, Any]] = field(default_factory=list)
    flattening: str | None = None
    noted: str = ""


def brain_facts(context: Context, loop: AgentLoop) -> Facts:
    """The brain that has the first shard speaks for all of them."""
    scopes = [(strategy_scope(strategy_id), STRATEGY_STATE) for strategy_id in context.strategies]
    return Facts(loop.runs(Brain.name, _FIRST_SHARD), loop.dead_letters, _levels(context, scopes))


def arm_facts(context: Context, loop: AgentLoop, account: LogTable, trader: TraderAgent | None = None) -> Facts:
    """The worker that has the account speaks for the arm; `account` is the table of risk."""
    namespace = context.namespace
    home = partition_of(namespace.encode(), context.partitions)
    levels = _levels(context, [(namespace, MODE), (ALL, MODE)])
    if not loop.runs(RiskAgent.name, home):
        return Facts(False, loop.dead_letters, levels, namespace=namespace)
    standing = trader.standing if trader is not None else None
    stored = account.read(home, namespace.encode())
    row = _Row() if stored is None else decode(unpack(stored), type=_Row)
    return Facts(
        speaks=True,
        namespace=namespace,
        dead_letters=loop.dead_letters,
        levels=levels,
        noted=row.noted,
        traded=frozenset(row.account.tallies),
        stops=tuple(map(Latch.model_validate, row.latches)),
        flattening=row.flattening is not None,
        refused=(row.day.date, row.day.rejections.get(ACCOUNT, 0)),
        wants_login=standing.wants_login if standing is not None else False,
        found=standing.found if standing is not None else None,
    )


def _levels(context: Context, scopes: Iterable[tuple[str, str]]) -> dict[str, Level]:
    found = {scope: context.levels.last(scope, setting) for scope, setting in scopes}
    return {scope: level for scope, level in found.items() if level is not None}
