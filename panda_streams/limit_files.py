"""Reads the limits of PANDA_LIMITS and of the strategies' files: what holds until an operator sets another one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from panda_streams.brokers.port import Broker
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.risk.limits import LimitSet, parse_override
from panda_streams.yaml_texts import TextFile
from strategies.config import StrategyConfig

__all__ = ["check_override", "load_limits", "read_limits", "schema", "strategy_limits"]

_FILE: TypeAdapter[dict[str, LimitSet]] = TypeAdapter(dict[str, LimitSet])
_FIX = "correct that entry; docs/risk.md shows the form and every limit"


def load_limits(
    path: Path | None, strategies: Iterable[StrategyConfig], instruments: Instruments, brokers: dict[str, Broker]
) -> dict[str, LimitSet]:
    """Read the limits of every broker account, by namespace: the tighter of what the files say at each level.

    `path` is the file of PANDA_LIMITS; without one only the strategies' own files say something. Raises BadInput that
    names file, entry and fix, also for a namespace, a strategy or an instrument that does not exist.
    """
    configs = tuple(strategies)
    read = read_limits(path, configs, instruments, brokers)
    return {name: read.get(name, LimitSet()).tightened(strategy_limits(configs, name)) for name in brokers}


def read_limits(
    path: Path | None, strategies: Iterable[StrategyConfig], instruments: Instruments, brokers: dict[str, Broker]
) -> dict[str, LimitSet]:
    """What the file of PANDA_LIMITS says alone, by namespace; raises BadInput as `load_limits` does."""
    if path is None:
        return {}
    file = TextFile(path, "limits file", "PANDA_LIMITS", _FIX)
    found = file.read(_validated)
    known = [config.strategy_id for config in strategies]
    for namespace, limits in found.items():
        if namespace not in brokers:
            raise file.wrong(namespace, f"there is no broker {namespace}, only {', '.join(brokers)}")
        for strategy_id in limits.strategies:
            if strategy_id not in known:
                place = f"{namespace}.strategies.{strategy_id}"
                raise file.wrong(place, f"there is no strategy {strategy_id}, only {', '.join(known)}")
        for name in limits.instruments:
            if wrong := _not_tradable(name, instruments):
                raise file.wrong(f"{namespace}.instruments.{name}", wrong)
    return found


def strategy_limits(strategies: Iterable[StrategyConfig], namespace: str) -> LimitSet:
    """What the strategies' own files say of their limits at one broker."""
    return LimitSet(
        strategies={
            config.strategy_id: config.accounts[namespace].limits
            for config in strategies
            if namespace in config.accounts
        }
    )


def check_override(key: str, text: str, strategies: Iterable[str], instruments: Instruments) -> None:
    """Raise ValueError that names what is possible if an override cannot be set: as `strategy:Mine/max_position`."""
    kind, _, name = parse_override(key, text).level.partition(":")
    known = tuple(strategies)
    if kind == "strategy" and name not in known:
        raise ValueError(f"there is no strategy {name}, only {', '.join(known)}")
    if kind == "instrument" and (wrong := _not_tradable(name, instruments)):
        raise ValueError(wrong)


def schema() -> str:
    """The JSON schema of the file, with every limit's meaning: editors complete and check by it."""
    made = _FILE.json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Limits", **made}, indent=2)


def _not_tradable(name: str, instruments: Instruments) -> str:
    found = instruments.get(name)
    if found is None:
        return f"there is no instrument {name} in the list; see `panda instruments show`"
    return "" if found.tradable else f"{name} is an index, which nobody trades"


def _validated(content: Any) -> dict[str, LimitSet]:
    return _FILE.validate_python({} if content is None else _filled(content))


def _filled(content: Any) -> Any:
    """Leave out what has no value: a limit without one is no limit, a section without one sets nothing."""
    if isinstance(content, dict):
        return {key: _filled(value) for key, value in content.items() if value is not None}
    return content
