"""Which instruments a decision on a contract is about, and what has been entered under each contract's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

from panda_streams.domain.contracts import Contract, ContractNotFound, resolve
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.signals import Intent
from strategies.config import StrategyConfig
from tables.brain import Entered

__all__ = ["Contracts", "quoted"]

_MARKET_TIME = timezone(timedelta(hours=5, minutes=30))


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
        self,
        config: StrategyConfig,
        name: str,
        intent: Intent,
        instruments: Instruments,
        spot: Decimal | None,
        time: int,
    ) -> tuple[str, ...]:
        """Say what a decision on the contract `name` is about, and keep what it enters.

        `spot` is the underlying's last price, `time` the cause's event time. An ENTRY is about the instrument that the
        contract means at that price on that trading day. An EXIT is about what was entered since the EXIT before it,
        or, if nothing was, once more about what that EXIT was about: never about what the contract would mean by now.
        What has expired is settled and no longer exited. Empty, and counted, if there is no such instrument.
        """
        strategy_id, contract = config.strategy_id, config.contracts[name]
        on = datetime.fromtimestamp(time / 1000, _MARKET_TIME).date()
        own = self.entered.setdefault(strategy_id, {})
        before = own.get(name, Entered())
        held = _alive(before.instruments, instruments, on)
        if intent is Intent.EXIT:
            if not held:
                gone = ", ".join(before.instruments)
                reason = f"{gone} has expired or is not listed" if gone else "nothing has been entered under this name"
                return self._none(strategy_id, name, f"{contract}: {reason}")
            self._told.discard((strategy_id, name))
            own[name] = Entered(instruments=held, exited=True)
            return held
        found = self._resolve(strategy_id, name, contract, instruments, spot, on)
        if found is not None:
            others = () if before.exited else tuple(one for one in held if one != found)
            own[name] = Entered(instruments=(*others, found))
        return () if found is None else (found,)

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
            self._none(strategy_id, name, str(error))
            return None
        self._told.discard((strategy_id, name))
        return found.id

    def _none(self, strategy_id: str, name: str, reason: str) -> tuple[str, ...]:
        self.unresolved[strategy_id] = self.unresolved.get(strategy_id, 0) + 1
        if (strategy_id, name) not in self._told:
            self._told.add((strategy_id, name))
            self.news.append(f"strategy {strategy_id} decided on {name}, no signal was made: {reason}")
        return ()


def _alive(names: Iterable[str], instruments: Instruments, on: date) -> tuple[str, ...]:
    listed: Mapping[str, date | None] = {name: one.expiry for name in names if (one := instruments.get(name))}
    return tuple(name for name, expiry in listed.items() if expiry is not None and expiry >= on)
