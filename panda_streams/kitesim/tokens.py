"""Instrument tokens, and the dump that lists them: Kite's numbers, made up where the list of instruments has none."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping

from panda_streams.domain.contracts import INDICES
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments

__all__ = ["SEGMENTS", "Tokens", "dump", "segment_of"]

SEGMENTS: Mapping[str, int] = {
    "NSE": 1,
    "NFO": 2,
    "CDS": 3,
    "BSE": 4,
    "BFO": 5,
    "BCD": 6,
    "MCX": 7,
    "INDICES": 9,
    "NCO": 12,
}
"""The last byte of a token."""
_COLUMNS = (
    "instrument_token",
    "exchange_token",
    "tradingsymbol",
    "name",
    "last_price",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)
_NAMES = {index: name for name, index in INDICES.items()}
_MADE_UP = 4 << 20
"""Made-up exchange tokens lie above it, where no exchange has any; a token fits into 31 bits."""


class Tokens:
    """The token of each instrument: an exchange token times 256, plus a segment.

    A made-up one is a function of the instrument's id, and stays the same as long as no other instrument comes between
    two ids of the same hash.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._token: dict[str, int] = {one.id: one.token for one in instruments if one.token is not None}
        used = set(self._token.values())
        for one in sorted(instruments, key=lambda one: one.id):
            if one.token is None:
                token = _made_up(one)
                while token in used:
                    token += 256
                used.add(token)
                self._token[one.id] = token
        self._id: dict[int, str] = {}
        for name, token in self._token.items():
            # Kite's numbers are used again after an expiry: the later contract has it.
            found = instruments.by_token(token)
            self._id[token] = found.id if found is not None else name

    def __getitem__(self, instrument_id: str) -> int:
        return self._token[instrument_id]

    def find(self, token: int) -> str | None:
        """The instrument with this token."""
        return self._id.get(token)


def _made_up(instrument: Instrument) -> int:
    digest = hashlib.blake2b(instrument.id.encode(), digest_size=4).digest()
    exchange_token = _MADE_UP + int.from_bytes(digest) % (_MADE_UP - 4096)
    return exchange_token * 256 + segment_of(instrument)


def segment_of(instrument: Instrument) -> int:
    """The last byte of the instrument's token."""
    return SEGMENTS["INDICES" if instrument.kind is InstrumentKind.INDEX else instrument.exchange]


def dump(instruments: Iterable[Instrument], tokens: Tokens) -> str:
    """The CSV that Kite serves as /instruments."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in instruments:
        token = tokens[one.id]
        index = one.kind is InstrumentKind.INDEX
        writer.writerow(
            (
                token,
                token >> 8,
                one.symbol,
                _name(one),
                "0",
                one.expiry.isoformat() if one.expiry else "",
                str(one.strike or 0),
                "0" if index else str(one.tick_size),
                0 if index else one.lot,
                _type(one),
                _segment(one),
                one.exchange,
            )
        )
    return text.getvalue()


def _name(one: Instrument) -> str:
    if one.underlying is None:
        return one.symbol
    return _NAMES.get(one.underlying, one.underlying.partition(":")[2])


def _type(one: Instrument) -> str:
    if one.kind is InstrumentKind.FUTURE:
        return "FUT"
    return "EQ" if one.right is None else one.right.value


def _segment(one: Instrument) -> str:
    if one.kind is InstrumentKind.INDEX:
        return "INDICES"
    if one.kind is InstrumentKind.EQUITY:
        return one.exchange
    return f"{one.exchange}-{'FUT' if one.kind is InstrumentKind.FUTURE else 'OPT'}"
