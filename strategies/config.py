"""Strategy configurations: the YAML files of strategies/configs, checked field by field."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, StrictBool, ValidationError, field_validator, model_validator

from panda_streams.brokers.port import Broker
from panda_streams.domain.contracts import Contract
from panda_streams.domain.instruments import Instruments
from panda_streams.domain.orders import Product
from panda_streams.domain.protection import Protection
from panda_streams.domain.risk.limits import Limits
from panda_streams.domain.values import Value
from panda_streams.errors import BadInput

__all__ = ["AccountConfig", "StrategyConfig", "load_strategies", "needed_instruments"]

DEFAULT_DIRECTORY = Path(__file__).parent / "configs"
_CONTRACT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


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
    market_protection: Decimal | None = Field(None, ge=-1, le=100)
    """Of orders at the market with real money: the furthest from the last price, in per cent; -1 leaves it to the
    broker. Without it such orders are refused."""
    protection: Protection = Protection()
    """Exits that the arm makes by itself, for each position: they work when the brain is down."""
    max_quote_age_s: int = Field(60, gt=0)
    """Event seconds after which the last quote of an instrument is too old to enter by."""

    @property
    def limits(self) -> Limits:
        """What it sets of the strategy's limits there."""
        return Limits(max_position=self.max_position, max_quote_age_s=Decimal(self.max_quote_age_s))


class StrategyConfig(Value):
    """One strategy: which class, what it watches and trades, for which brokers, with which parameters."""

    strategy_id: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{1,39}$")
    """Name of its books, on every topic, in Redis and on the screen: letters, digits and _."""
    strategy: str
    """A registered strategy (momentum, mean_reversion), or `module:Class` of one's own on the PYTHONPATH."""
    watches: tuple[str, ...] = ()
    """Instruments whose ticks it sees beside those that it trades; an index may be watched."""
    trades: tuple[str, ...] = Field(min_length=1)
    """What it may trade: instruments as NSE:INFY, never an index; and contracts, each a mapping with a name of its own,
    as `{name: CALL, underlying: NIFTY, kind: option, right: CE}`."""
    contracts: dict[str, Contract] = Field(default={})
    """What the names in `trades` that are no instruments stand for."""
    brokers: tuple[str, ...] = Field(min_length=1)
    """Broker accounts that receive its signals. Paper is always among them unless `paper: false`."""
    paper: StrictBool = True
    """False takes paper off its brokers: no paper book to compare with."""
    consents: dict[str, StrictBool | Literal["simulated"]] = Field(default={})
    """Consent to orders of a live arm, by broker (`<broker>_trading_enabled`): without it the arm refuses each signal.
    `simulated` consents in simulated and replayed worlds alone, where no real money moves."""
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
        if "contracts" in data:
            raise ValueError("write each contract into `trades`, as a mapping with a `name`")
        data = dict(data)
        if isinstance(data.get("trades"), list):
            data["trades"], data["contracts"] = _names(data["trades"])
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

    def consents_to(self, broker: str, *, simulated: bool) -> bool:
        """Whether it consents to orders of a live arm, in a world that is `simulated` or not."""
        consent = self.consents.get(broker, False)
        return simulated if consent == "simulated" else consent is True

    @cached_property
    def version(self) -> str:
        """Changes with whatever decides its signals, and with nothing else."""
        decides = self.model_dump(mode="json", include={"strategy_id", "strategy", "watches", "trades", "params"})
        if self.contracts:
            decides["contracts"] = {name: contract.model_dump(mode="json") for name, contract in self.contracts.items()}
        return hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=6).hexdigest()

    @property
    def instruments(self) -> frozenset[str]:
        """All instruments whose ticks the strategy sees: of a contract it sees the underlying's."""
        underlyings = (contract.underlying for contract in self.contracts.values())
        return frozenset((*self.watches, *underlyings, *(name for name in self.trades if name not in self.contracts)))

    def check(self, instruments: Instruments, brokers: dict[str, Broker]) -> None:
        """Raise ValueError for an instrument, a broker or an account that does not exist or cannot do its part."""
        underlyings = {contract.underlying for contract in self.contracts.values()}
        for name in self.watches:
            if name not in instruments:
                raise ValueError(f"watches {name}, which is not in the list of instruments")
            if instruments[name].tradable and name not in self.trades and name not in underlyings:
                raise ValueError(f"watches {name} without trading it; only an index can be watched alone")
        for name in self.trades:
            if name in self.contracts:
                _check_contract(name, self.contracts[name], instruments)
                continue
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


def _names(trades: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Take the contracts out of `trades`: their names stay, and what they stand for is returned beside."""
    names, contracts = [], {}
    for entry in trades:
        if not isinstance(entry, dict):
            names.append(entry)
            continue
        form = dict(entry)
        name = form.pop("name", None)
        if not (isinstance(name, str) and _CONTRACT_NAME.fullmatch(name)):
            raise ValueError(f"a contract in `trades` needs a `name` of letters, digits and _, found {name!r}")
        names.append(name)
        contracts[name] = form
    return names, contracts


def _check_contract(name: str, contract: Contract, instruments: Instruments) -> None:
    if contract.underlying not in instruments:
        raise ValueError(f"trades {name}, whose underlying {contract.underlying} is not in the list of instruments")
    if not instruments.series(contract.underlying, contract.kind, contract.right):
        raise ValueError(
            f"trades {name}, but the list of instruments has no {contract.right or contract.kind} of "
            f"{contract.underlying}; add a dump that lists them to PANDA_INSTRUMENTS"
        )


def load_strategies(
    directory: Path | None, instruments: Instruments, brokers: dict[str, Broker]
) -> tuple[StrategyConfig, ...]:
    """Read every *.yaml of a directory, sorted by strategy_id; raise BadInput that names file, place and fix."""
    configs = _read(directory)
    for path, config in configs:
        try:
            config.check(instruments, brokers)
        except ValueError as error:
            raise BadInput(f"{path}: {error}", fix=_FIX) from None
    return tuple(sorted((config for _, config in configs), key=lambda config: config.strategy_id))


def needed_instruments(directory: Path | None) -> frozenset[str]:
    """What the strategies of a directory watch and trade, listed or not; raise BadInput as `load_strategies` does."""
    return frozenset(name for _, config in _read(directory) for name in config.instruments)


_FIX = "correct it there; strategies/configs/momentum_strategy.yaml shows the form"


def _read(directory: Path | None) -> list[tuple[Path, StrategyConfig]]:
    folder = directory or DEFAULT_DIRECTORY
    paths = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not paths:
        raise BadInput(f"no strategy in {folder}", fix="put a *.yaml there, or set PANDA_STRATEGIES to a directory")
    configs: dict[str, tuple[Path, StrategyConfig]] = {}
    for path in paths:
        config = _load(path)
        if config.strategy_id in configs:
            raise BadInput(f"{path}: strategy_id {config.strategy_id} is used twice", fix="rename one of them")
        configs[config.strategy_id] = path, config
    return list(configs.values())


def _load(path: Path) -> StrategyConfig:
    try:
        return StrategyConfig.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", fix="make it a readable file") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}", fix=_FIX) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadInput(f"{path}, {place}: {first['msg']}", fix=_FIX) from None
    except ValueError as error:
        raise BadInput(f"{path}: {error}", fix=_FIX) from None
