"""Instruments: what can be watched and traded, and the smallest steps of its price and quantity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.values import Value

__all__ = ["Instrument", "InstrumentKind", "Instruments"]


class InstrumentKind(StrEnum):
    EQUITY = "equity"
    INDEX = "index"


class Instrument(Value):
    """One instrument of an exchange, identified as `NSE:INFY`."""

    exchange: str
    symbol: str
    kind: InstrumentKind
    decimals: int = 2
    """Ticks carry prices as integers of 10^-decimals: 2 means paise."""
    tick_size: Decimal = Decimal("0.05")
    lot: int = 1
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
