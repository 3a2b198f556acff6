"""Instruments: what can be watched and traded, and how two lists of them differ."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import msgspec

__all__ = ["Change", "Changes", "Instrument", "InstrumentKind", "Instruments", "Right", "Series", "changes"]


class InstrumentKind(StrEnum):
    EQUITY = "equity"
    INDEX = "index"
    FUTURE = "future"
    OPTION = "option"


class Right(StrEnum):
    """What an option gives its holder the right to do at the strike: CALL to buy, PUT to sell."""

    CALL = "CE"
    PUT = "PE"


class Instrument(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """One instrument of an exchange, identified as `NSE:INFY`.

    Raises ValueError for one that cannot exist, as an option without a strike. A struct, since a market has more than
    a hundred thousand of them: as a pydantic model each costs four times the time and six times the memory.
    """

    exchange: str
    """Exchange, as NSE, BSE, NFO or BFO."""
    symbol: str
    """Its symbol there; the two identify it, as NSE:INFY."""
    kind: InstrumentKind
    """`equity`, `index` (watched, never traded), `future` or `option`."""
    decimals: Annotated[int, msgspec.Meta(ge=0, le=9)] = 2
    """Ticks carry prices as integers of 10^-decimals: 2 means paise."""
    tick_size: Decimal = Decimal("0.05")
    """Smallest step of its price."""
    lot: int = 1
    """Quantities are multiples of it: shares, or units of the underlying of a derivative."""
    token: int | None = None
    """Its number at Kite; numbers are used again after an expiry."""
    freeze_quantity: int | None = None
    """The exchange takes no single order above it; unset where none is known."""
    underlying: str | None = None
    """Of a derivative: the id of its underlying, as `NSE:NIFTY 50`."""
    expiry: date | None = None
    """Of a derivative: the last day on which it trades."""
    strike: Decimal | None = None
    """Of an option: the price at which it can be exercised."""
    right: Right | None = None
    """Of an option: `CE`, a call, or `PE`, a put."""
    has_derivatives: bool = False
    """True for a share on which futures and options are listed: its trading day ends in a closing auction."""
    lower_circuit: Decimal | None = None
    """Today's lowest price that the exchange takes an order at, where it is known."""
    upper_circuit: Decimal | None = None
    """Today's highest price that the exchange takes an order at, where it is known."""
    weight: Decimal | None = None
    """Rough weight in the simulated NIFTY 50; used by the market simulator alone."""
    reference_price: Decimal | None = None
    """Price near which the market simulator starts."""

    def __post_init__(self) -> None:
        if not (self.exchange and self.symbol):
            raise ValueError("exchange and symbol must not be empty")
        if not (self.tick_size.is_finite() and self.tick_size > 0 and _places(self.tick_size) <= self.decimals):
            raise ValueError(f"tick_size must be a multiple of 10^-{self.decimals} above 0, found {self.tick_size}")
        if self.lot < 1:
            raise ValueError(f"lot must be at least 1, found {self.lot}")
        if self.freeze_quantity is not None and self.freeze_quantity < self.lot:
            raise ValueError(f"freeze_quantity {self.freeze_quantity} is less than a lot of {self.lot}")
        if self.derivative is (self.underlying is None or self.expiry is None):
            raise ValueError("a future or an option, and nothing else, has an underlying and an expiry")
        if (self.kind is InstrumentKind.OPTION) is (self.strike is None or self.right is None):
            raise ValueError("an option, and nothing else, has a strike and a right")
        if self.strike is not None and not (self.strike.is_finite() and self.strike > 0):
            raise ValueError(f"strike must be above 0, found {self.strike}")

    @property
    def id(self) -> str:
        return f"{self.exchange}:{self.symbol}"

    @property
    def largest_order(self) -> int | None:
        """The most that the exchange takes in one order, in whole lots; None where no freeze quantity is known."""
        return None if self.freeze_quantity is None else self.freeze_quantity // self.lot * self.lot

    def cut(self, quantity: int) -> list[int]:
        """The quantities of the orders that so many shares or units become, each as large as the exchange takes."""
        most = self.largest_order or max(quantity, 1)
        return [min(most, quantity - start) for start in range(0, quantity, most)]

    @property
    def tradable(self) -> bool:
        return self.kind is not InstrumentKind.INDEX

    @property
    def derivative(self) -> bool:
        return self.kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION)


class Series(tuple[Instrument, ...]):
    """The derivatives of one underlying, kind, right and expiry, by strike; a single one if they are futures."""

    __slots__ = ()

    def nearest(self, price: Decimal) -> int:
        """The place of the strike nearest to `price`; of two equally near ones the lower. Options only."""
        after = bisect_left(self, price, key=_strike)
        if after == 0:
            return 0
        if after == len(self):
            return after - 1
        return after if _strike(self[after]) - price < price - _strike(self[after - 1]) else after - 1


class Instruments:
    """All known instruments, by id. Raises ValueError if one is listed twice."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        by_id: dict[str, Instrument] = {}
        for instrument in instruments:
            if instrument.id in by_id:
                raise ValueError(f"{instrument.id} is listed twice")
            by_id[instrument.id] = instrument
        self._by_id: Mapping[str, Instrument] = by_id

    def get(self, instrument_id: str) -> Instrument | None:
        return self._by_id.get(instrument_id)

    def __getitem__(self, instrument_id: str) -> Instrument:
        return self._by_id[instrument_id]

    def __contains__(self, instrument_id: object) -> bool:
        return instrument_id in self._by_id

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    @cached_property
    def version(self) -> str:
        """Changes with whatever is said of any instrument, and with nothing else: their order does not matter."""
        text = msgspec.json.encode([self._by_id[name] for name in sorted(self._by_id)])
        return hashlib.blake2b(text, digest_size=6).hexdigest()

    def by_token(self, token: int) -> Instrument | None:
        """The instrument with this number; of several the one that expires last, since numbers are used again."""
        return self._by_token.get(token)

    def derivatives(self, underlying_id: str) -> tuple[Instrument, ...]:
        """Every future and option on an underlying, by expiry, then strike; futures come first."""
        return self._derivatives.get(underlying_id, ())

    def series(self, underlying_id: str, kind: InstrumentKind, right: Right | None = None) -> Mapping[date, Series]:
        """The futures on an underlying, or its options of one right, by expiry, the earliest first."""
        return self._series.get((underlying_id, kind, right), {})

    @cached_property
    def _by_token(self) -> Mapping[int, Instrument]:
        found: dict[int, Instrument] = {}
        for instrument in sorted(self, key=lambda one: (one.expiry or date.max, one.id)):
            if instrument.token is not None:
                found[instrument.token] = instrument
        return found

    @cached_property
    def _derivatives(self) -> Mapping[str, tuple[Instrument, ...]]:
        found: dict[str, list[Instrument]] = {}
        for instrument in self:
            if instrument.underlying is not None:
                found.setdefault(instrument.underlying, []).append(instrument)
        return {underlying: tuple(sorted(listed, key=_place)) for underlying, listed in found.items()}

    @cached_property
    def _series(self) -> Mapping[tuple[str, InstrumentKind, Right | None], Mapping[date, Series]]:
        found: dict[tuple[str, InstrumentKind, Right | None], dict[date, list[Instrument]]] = {}
        for underlying, listed in self._derivatives.items():
            for one in listed:
                assert one.expiry is not None
                found.setdefault((underlying, one.kind, one.right), {}).setdefault(one.expiry, []).append(one)
        return {
            key: {expiry: Series(members) for expiry, members in by_expiry.items()} for key, by_expiry in found.items()
        }


def _places(number: Decimal) -> int:
    """How many digits it has behind the point."""
    return -int(number.normalize().as_tuple().exponent)


def _strike(instrument: Instrument) -> Decimal:
    assert instrument.strike is not None
    return instrument.strike


def _place(instrument: Instrument) -> tuple[date, Decimal, str, str]:
    return instrument.expiry or date.max, instrument.strike or Decimal(0), instrument.right or "", instrument.id


_COMPARED = (
    "kind",
    "decimals",
    "tick_size",
    "lot",
    "freeze_quantity",
    "token",
    "underlying",
    "expiry",
    "strike",
    "right",
    "has_derivatives",
)
"""What trading rests on; price bands change every day, and the simulator's fields concern nobody else."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of an instrument that two lists tell differently."""

    instrument: str
    field: str
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class Changes:
    """How a list of instruments differs from an earlier one; ids are sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]
    missing: tuple[str, ...]
    """Those that somebody needs and the later list does not have."""


def changes(old: Instruments, new: Instruments, needed: Iterable[str] = ()) -> Changes:
    """Compare two lists in what trading rests on; `needed` are ids that the later one should have."""
    return Changes(
        added=tuple(sorted(one.id for one in new if one.id not in old)),
        removed=tuple(sorted(one.id for one in old if one.id not in new)),
        changed=tuple(
            Change(name, field, getattr(before, field), getattr(after, field))
            for name, before, after in sorted((one.id, one, new[one.id]) for one in old if one.id in new)
            if before != after
            for field in _COMPARED
            if getattr(before, field) != getattr(after, field)
        ),
        missing=tuple(sorted(name for name in set(needed) if name not in new)),
    )
