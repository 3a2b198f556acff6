"""Contracts: futures and options named by what they mean, as "next week's call one strike above the price"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import Field, field_validator, model_validator

from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments, Right
from panda_streams.domain.values import Value

__all__ = ["Contract", "ContractNotFound", "Expiry", "resolve", "underlying_id"]

INDICES: Mapping[str, str] = {
    "NIFTY": "NSE:NIFTY 50",
    "BANKNIFTY": "NSE:NIFTY BANK",
    "FINNIFTY": "NSE:NIFTY FIN SERVICE",
    "MIDCPNIFTY": "NSE:NIFTY MID SELECT",
    "NIFTYNXT50": "NSE:NIFTY NEXT 50",
    "SENSEX": "BSE:SENSEX",
    "BANKEX": "BSE:BANKEX",
    "SENSEX50": "BSE:SNSX50",
}
"""The indices by the names that their derivatives bear."""


class ContractNotFound(LookupError):
    """No listed instrument is what a contract means; says what was looked for and what there is."""


class Expiry(StrEnum):
    """Which of the listed expiries is meant."""

    CURRENT = "current"
    """The nearest one."""
    NEXT = "next"
    """The one after the nearest."""
    WEEKLY = "weekly"
    """The nearest one, of an underlying that has several in a month."""
    MONTHLY = "monthly"
    """The nearest one that is the last of its month."""


class Contract(Value):
    """A future or an option of an underlying, named by expiry and strike relative to the moment of a signal."""

    underlying: str
    """`NIFTY`, `BANKNIFTY`, `SENSEX`, a share of the NSE such as `INFY`, or an id as `NSE:NIFTY 50`."""
    kind: Literal[InstrumentKind.FUTURE, InstrumentKind.OPTION]
    """`future` or `option`."""
    right: Right | None = None
    """Of an option: `CE`, a call, or `PE`, a put."""
    expiry: Expiry = Expiry.CURRENT
    """Which of the listed expiries that `roll_days` has left. `current`: the nearest. `next`: the one after it.
    `weekly`: the nearest, of an underlying that has several in a month; of another it is not found. `monthly`: the
    nearest one that is the last of its month."""
    strike: str = Field("ATM", pattern=r"^ATM([+-][1-9][0-9]{0,2})?$")
    """Of an option: `ATM`, the listed strike nearest to the price of the underlying (of two the lower), or so many
    listed strikes above or below it, as `ATM+2` or `ATM-1`."""
    roll_days: int = Field(1, ge=0, le=90)
    """Calendar days: an expiry that is fewer days away is passed over. 1 passes over the expiry day itself, on which
    shares may have to be delivered and options lose the rest of their time value; 0 trades it."""

    @field_validator("underlying")
    @classmethod
    def _id(cls, name: str) -> str:
        # One spelling, so that the version of a strategy does not depend on which one its author chose.
        return underlying_id(name)

    @model_validator(mode="after")
    def _whole(self) -> Contract:
        option = self.kind is InstrumentKind.OPTION
        if option and self.right is None:
            raise ValueError("an option needs `right: CE` or `right: PE`")
        if not option and (self.right or self.strike != "ATM"):
            raise ValueError("a future has no right and no strike")
        return self

    def __str__(self) -> str:
        strike = f" {self.strike}" if self.kind is InstrumentKind.OPTION else ""
        return f"{self.expiry} {self.right or self.kind} of {self.underlying}{strike}"

    @property
    def steps(self) -> int:
        """How many listed strikes it lies above the nearest one; below if negative."""
        return int(self.strike.removeprefix("ATM") or 0)


def underlying_id(name: str, exchange: str = "NSE") -> str:
    """The id of what derivatives of this name are derived from: an index, else a share of `exchange`."""
    return name if ":" in name else INDICES.get(name, f"{exchange}:{name}")


def resolve(contract: Contract, instruments: Instruments, spot: Decimal | None, on: date) -> Instrument:
    """Find the instrument that a contract means on a trading day, with its underlying's price at `spot`.

    A function of its arguments. A future needs no price. Raises ContractNotFound.
    """
    by_expiry = instruments.series(contract.underlying, contract.kind, contract.right)
    expiry = _expiry(contract, tuple(by_expiry), on)
    series = by_expiry[expiry]
    if contract.kind is InstrumentKind.FUTURE:
        return series[0]
    if spot is None or not spot.is_finite() or spot <= 0:
        raise ContractNotFound(f"{contract}: expected a price of {contract.underlying} above 0, found {spot}")
    place = series.nearest(spot) + contract.steps
    if not 0 <= place < len(series):
        raise ContractNotFound(
            f"{contract}: the strikes of {expiry} go from {series[0].strike} to {series[-1].strike}; "
            f"none is that far from {spot}"
        )
    return series[place]


def _expiry(contract: Contract, listed: Sequence[date], on: date) -> date:
    """The expiry that is meant; `listed` is sorted."""
    alive = [expiry for expiry in listed if expiry >= on]
    months = Counter((expiry.year, expiry.month) for expiry in alive)
    left = [expiry for expiry in alive if (expiry - on).days >= contract.roll_days]
    if contract.expiry is Expiry.NEXT:
        left = left[1:]
    elif contract.expiry is Expiry.WEEKLY and months and max(months.values()) == 1:
        raise ContractNotFound(f"{contract}: it has one expiry a month, from {alive[0]} on; use current or monthly")
    elif contract.expiry is Expiry.MONTHLY:
        last = {(expiry.year, expiry.month): expiry for expiry in alive}
        left = [expiry for expiry in left if expiry in last.values()]
    if not left:
        found = ", ".join(str(expiry) for expiry in alive[:4]) or "none"
        raise ContractNotFound(
            f"{contract}: expected an expiry at least {contract.roll_days} days after {on}, found {found}"
        )
    return left[0]
