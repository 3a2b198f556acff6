"""Instruments: what can be watched and traded, and the smallest steps of its price and quantity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.values import Value

__all__ = ["Instrument", "InstrumentKind", "Instruments", "Right"]


class InstrumentKind(StrEnum):
    EQUITY = "equity"
    INDEX = "index"
    FUTURE = "future"
    OPTION = "option"


class Right(StrEnum):
    """What an option gives its holder the right to do at the strike: CALL to buy, PUT to sell."""

    CALL = "CE"
    PUT = "PE"


class Instrument(Value):
    """One instrument of an exchange, identified as `NSE:INFY`."""

    exchange: str
    symbol: str
    kind: InstrumentKind
    decimals: int = 2
    """Ticks carry prices as integers of 10^-decimals: 2 means paise."""
    tick_size: Decimal = Decimal("0.05")
    lot: int = 1
    """Quantities are multiples of it: shares, or units of the underlying of a derivative."""
    token: int | None = None
    """Its number at Kite; numbers are used again after an expiry."""
    freeze_quantity: int | None = None
    """The exchange takes no single order above it; None where none is known."""
    underlying: str | None = None
    """Of a derivative: the id of its underlying, as `NSE:NIFTY 50`."""
    expiry: date | None = None
    strike: Decimal | None = None
    right: Right | None = None
    """Of an option: CALL or PUT."""
    has_derivatives: bool = False
    """True for a share on which futures and options are listed: its trading day ends in a closing auction."""
    lower_circuit: Decimal | None = None
    upper_circuit: Decimal | None = None
    """Today's price band, where it is known: the exchange takes no order outside of it."""
    weight: Decimal | None = None
    """Rough weight in the simulated NIFTY 50; used by the market simulator alone."""
    reference_price: Decimal | None = None
    """Price near which the market simulator starts."""

    @property
    def id(self) -> str:
        return f"{self.exchange}:{self.symbol}"

    @property
    def tradable(self) -> bool:
        return self.kind is not InstrumentKind.INDEX

    @property
    def derivative(self) -> bool:
        return self.kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION)


class Instruments:
    """All known instruments, by id."""

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
