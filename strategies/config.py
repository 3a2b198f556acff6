"""Strategy configurations: the YAML files of strategies/configs, checked field by field."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, StrictBool, ValidationError, field_validator, model_validator

from panda_streams.brokers.port import Broker
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.orders import Product
from panda_streams.domain.values import Value
from panda_streams.errors import BadInput

__all__ = ["AccountConfig", "StrategyConfig", "load_strategies"]

DEFAULT_DIRECTORY = Path(__file__).parent / "configs"


class AccountConfig(Value):
    """What one broker account gives a strategy. No part of it reaches the signal."""

    capital: Decimal = Field(gt=0)
    """Money that the strategy starts with there, in the account's currency."""
    share_of_capital: Decimal = Field(gt=0, le=1)
    """Share of the capital that one entry may cost; the quantity is the lots that fit into it."""
    max_position: int = Field(gt=0)
    """Most shares of one instrument that the strategy may hold there."""
    product: Product = Product.MIS
    """MIS: positions are squared off before the session ends. CNC or NRML: they may be held overnight, as CNC for
    shares and NRML for derivatives."""
    shorts: StrictBool = False
    """True lets it open short positions, of shares under MIS alone."""
    btst: StrictBool = False
    """True lets it sell shares that were bought for delivery the day before and have not been delivered."""
    max_quote_age_s: int = Field(60, gt=0)
    """Event seconds after which the last quote of an instrument is too old to enter by."""


class StrategyConfig(Value):
    """One strategy: which class, what it watches and trades, for which brokers, with which parameters."""

    strategy_id: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,39}$")
    """Name of its books, on every topic, in Redis and on the screen: letters, digits and _."""
    strategy: str
    """A registered strategy (momentum, mean_reversion), or `module:Class` of one's own on the PYTHONPATH."""
    watches: tuple[str, ...] = ()
    """Instruments whose ticks it sees beside those that it trades; an index may be watched."""
    trades: tuple[str, ...] = Field(min_length=1)
    """Instruments that it may trade, as NSE:INFY; never an index."""
    brokers: tuple[str, ...] = Field(min_length=1)
    """Broker accounts that receive its signals. Paper is always among them unless `paper: false`."""
    paper: StrictBool = True
    """False takes paper off its brokers: no paper book to compare with."""
    consents: dict[str, StrictBool] = Field(default={})
    """Consent to real orders, by broker (`<broker>_trading_enabled`): without it a live arm refuses each signal."""
    params: dict[str, Any] = Field(default={})
    """Parameters of the strategy's class; those not given have its defaults."""
    accounts: dict[str, AccountConfig]
    """Capital, size and limits per broker."""

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("expected a mapping of settings")
        if "consents" in data:
            raise ValueError("write `<broker>_trading_enabled: true` instead of `consents`")
        data = dict(data)
        suffix = "_trading_enabled"
        flags = [key for key in data if isinstance(key, str) and key.endswith(suffix)]
        data["consents"] = {key.removesuffix(suffix): data.pop(key) for key in flags}
        brokers = data.get("brokers") or []
        if isinstance(brokers, list):
            if data.get("paper", True) and "paper" not in brokers:
                brokers = ["paper", *brokers]
            if not data.get("paper", True) and "paper" in brokers:
                raise ValueError("`paper: false` contradicts paper in `brokers`")
            data["brokers"] = brokers
        return data

    @field_validator("watches", "trades", "brokers")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # A broker listed twice would receive every signal twice.
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is listed twice")
        return names

    @cached_property
    def version(self) -> str:
        """Changes with whatever decides its signals, and with nothing else."""
        decides = self.model_dump(mode="json", include={"strategy_id", "strategy", "watches", "trades", "params"})
        return hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=6).hexdigest()

    @property
    def instruments(self) -> frozenset[str]:
        """All instruments whose ticks the strategy sees."""
        return frozenset((*self.watches, *self.trades))

    def check(self, instruments: Instruments, brokers: dict[str, Broker]) -> None:
        """Raise ValueError for an instrument, a broker or an account that does not exist or cannot do its part."""
        for name in self.watches:
            if name not in instruments:
                raise ValueError(f"watches {name}, which is not in the list of instruments")
            if instruments[name].tradable and name not in self.trades:
                raise ValueError(f"watches {name} without trading it; only an index can be watched alone")
        for name in self.trades:
            if name not in instruments:
                raise ValueError(f"trades {name}, which is not in the list of instruments")
            if not instruments[name].tradable:
                raise ValueError(f"trades {name}, which is an index; watch it instead")
        for broker in (*self.brokers, *self.consents, *self.accounts):
            if broker not in brokers:
                raise ValueError(f"names the broker {broker}, which no installed package registers")
        for broker in self.brokers:
            if broker not in self.accounts:
                raise ValueError(f"lists the broker {broker} without `accounts: {broker}:`")


def load_strategies(
    directory: Path | None, instruments: Instruments, brokers: dict[str, Broker]
) -> tuple[StrategyConfig, ...]:
    """Read every *.yaml of a directory, sorted by strategy_id; raise BadInput that names file, place and fix."""
    folder = directory or DEFAULT_DIRECTORY
    paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not paths:
        raise BadInput(f"no strategy in {folder}", fix="put a *.yaml there, or set PANDA_STRATEGIES to a directory")
    configs: dict[str, StrategyConfig] = {}
    for path in paths:
        config = _load(path, instruments, brokers)
        if config.strategy_id in configs:
            raise BadInput(f"{path}: strategy_id {config.strategy_id} is used twice", fix="rename one of them")
        configs[config.strategy_id] = config
    return tuple(configs[name] for name in sorted(configs))


def _load(path: Path, instruments: Instruments, brokers: dict[str, Broker]) -> StrategyConfig:
    fix = "correct it there; strategies/configs/momentum_strategy.yaml shows the form"
    try:
        config = StrategyConfig.model_validate(yaml.safe_load(path.read_text()))
        config.check(instruments, brokers)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", fix="make it a readable file") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}", fix=fix) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"{path}, {place}: {first['msg']}", fix=fix) from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}", fix=fix) from None
    return config
