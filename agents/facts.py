"""What a worker knows that people may have to hear of: the facts that its alerts are made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field
from msgspec.json import decode

from agents.context import Context
from agents.risk import RiskAgent
from agents.strategy import Brain
from panda_streams.alerts.watch import Facts
from panda_streams.events import Level
from panda_streams.levels import ALL, MODE, STRATEGY_STATE, strategy_scope
from panda_streams.streams.loop import AgentLoop
from panda_streams.streams.rows import LogTable
from panda_streams.streams.sender import partition_of

__all__ = ["arm_facts", "brain_facts"]

_FIRST_SHARD = 0


class _Account(Struct, frozen=True):
    tallies: dict[str, Any] = field(default_factory=dict)


class _Days(Struct, frozen=True):
    """The part of a RiskRow that tells of contract notes: the whole row is too dear to decode every second."""

    noted: str = ""
    account: _Account = _Account()


def brain_facts(context: Context, loop: AgentLoop) -> Facts:
    """The brain that has the first shard speaks for all of them."""
    scopes = [(strategy_scope(strategy_id), STRATEGY_STATE) for strategy_id in context.strategies]
    return Facts(loop.runs(Brain.name, _FIRST_SHARD), loop.dead_letters, _levels(context, scopes))


def arm_facts(context: Context, loop: AgentLoop, account: LogTable) -> Facts:
    """The worker that has the account speaks for the arm; `account` is the table of risk."""
    namespace = context.namespace
    home = partition_of(namespace.encode(), context.partitions)
    levels = _levels(context, [(namespace, MODE), (ALL, MODE)])
    if not loop.runs(RiskAgent.name, home):
        return Facts(False, loop.dead_letters, levels)
    row = account.read(home, namespace.encode())
    days = _Days() if row is None else decode(row, type=_Days)
    return Facts(True, loop.dead_letters, levels, days.noted, frozenset(days.account.tallies))


def _levels(context: Context, scopes: Iterable[tuple[str, str]]) -> dict[str, Level]:
    found = {scope: context.levels.last(scope, setting) for scope, setting in scopes}
    return {scope: level for scope, level in found.items() if level is not None}
