"""Which instruments a decision on a contract is about, and what has been entered under each contract's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from panda_streams.domain.calendar import trading_date
from panda_streams.domain.contracts import Contract, ContractNotFound, resolve
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.signals import Decision, Intent
from strategies.config import StrategyConfig
from tables.brain import Entered

__all__ = ["Contracts", "quoted"]


def quoted(configs: Iterable[StrategyConfig], instruments: Instruments) -> frozenset[str]:
    """The instruments whose last prices contracts need: the underlyings, and all that a contract can stand for."""
    found: set[str] = set()
    for config in configs:
        for contract in config.contracts.values():
            found.add(contract.underlying)
            for series in instruments.series(contract.underlying, contract.kind, contract.right).values():
                found.update(one.id for one in series)
    return frozenset(found)


@dataclass(slots=True)
class Contracts:
    """What the contracts of all strategies stand for on one shard: a function of its log."""

    entered: dict[str, dict[str, Entered]] = field(default_factory=dict)
    """By strategy_id and name of the contract."""
    unresolved: dict[str, int] = field(default_factory=dict)
    """Decisions of which no signal was made, by strategy_id."""
    news: list[str] = field(default_factory=list)
    """Why, to be logged: once for each contract, until it is found again."""
    _told: set[tuple[str, str]] = field(default_factory=set, init=False, repr=False)

    def choose(
        self, config: StrategyConfig, decision: Decision, instruments: Instruments, spot: Decimal | None, time: int
    ) -> tuple[str, ...]:
        """Say which instruments a decision on a contract is about, and keep what it enters.

        `spot` is the underlying's last price, `time` the cause's event time. What opens a position, an ENTRY, or a
        TARGET while none is open, is about the instrument that the contract means at that price on that trading day.
        A later TARGET is about the one entered last. What closes or changes something, an EXIT, a TARGET of 0, MODIFY
        or CANCEL, is about all that was entered since the last close, or, if nothing was, about what that close was
        about: never about what the contract would mean by now. What has expired is settled, and left out. Empty, and
        counted, if there is no such instrument.
        """
        strategy_id, name, intent = config.strategy_id, decision.instrument, decision.intent
        contract = config.contracts[name]
        own = self.entered.setdefault(strategy_id, {})
        before = own.get(name, Entered())
        on = trading_date(time)
        held = _alive(before.instruments, instruments, on)
        is_open = bool(held) and not before.exited
        sized = intent is Intent.TARGET and decision.size > 0
        if sized and is_open:
            return held[-1:]
        if sized or intent is Intent.ENTRY:
            found = self._resolve(strategy_id, name, contract, instruments, spot, on)
            if found is None:
                return ()
            others = tuple(one for one in held if one != found) if is_open else ()
            own[name] = Entered(instruments=(*others, found))
            return (found,)
        if not held:
            gone = ", ".join(before.instruments)
            reason = f"{gone} has expired or is not listed" if gone else "nothing has been entered under this name"
            self._count(strategy_id, name, f"{contract}: {reason}")
        else:
            self._told.discard((strategy_id, name))
            if intent in (Intent.EXIT, Intent.TARGET):
                own[name] = Entered(instruments=held, exited=True)
        return held

    def _resolve(
        self,
        strategy_id: str,
        name: str,
        contract: Contract,
        instruments: Instruments,
        spot: Decimal | None,
        on: date,
    ) -> str | None:
        try:
            found = resolve(contract, instruments, spot, on)
        except ContractNotFound as error:
            self._count(strategy_id, name, str(error))
            return None
        self._told.discard((strategy_id, name))
        return found.id

    def _count(self, strategy_id: str, name: str, reason: str) -> None:
        self.unresolved[strategy_id] = self.unresolved.get(strategy_id, 0) + 1
        if (strategy_id, name) not in self._told:
            self._told.add((strategy_id, name))
            self.news.append(f"strategy {strategy_id} decided on {name}, no signal was made: {reason}")


def _alive(names: Iterable[str], instruments: Instruments, on: date) -> tuple[str, ...]:
    listed: Mapping[str, date | None] = {name: one.expiry for name in names if (one := instruments.get(name))}
    return tuple(name for name, expiry in listed.items() if expiry is not None and expiry >= on)
