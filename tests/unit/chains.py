"""Futures and options of invented expiries and strikes, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from panda_streams.domain.instruments import Instrument, InstrumentKind, Right

NIFTY = "NSE:NIFTY 50"


def a_future(expiry: date, underlying: str = NIFTY, **fields: Any) -> Instrument:
    symbol = f"{underlying.partition(':')[2]}{expiry:%y%m%d}FUT".replace(" ", "")
    return Instrument(
        exchange="NFO", symbol=symbol, kind=InstrumentKind.FUTURE, underlying=underlying, expiry=expiry, **fields
    )


def an_option(
    expiry: date, strike: int | str, right: Right = Right.CALL, underlying: str = NIFTY, **fields: Any
) -> Instrument:
    symbol = f"{underlying.partition(':')[2]}{expiry:%y%m%d}{strike}{right}".replace(" ", "")
    return Instrument(
        exchange="NFO",
        symbol=symbol,
        kind=InstrumentKind.OPTION,
        underlying=underlying,
        expiry=expiry,
        strike=Decimal(strike),
        right=right,
        **fields,
    )


def a_chain(
    expiries: Iterable[date], strikes: Iterable[int], rights: Iterable[Right] = Right, underlying: str = NIFTY
) -> list[Instrument]:
    wanted = [(expiry, strike, right) for expiry in expiries for strike in strikes for right in rights]
    return [an_option(expiry, strike, right, underlying) for expiry, strike, right in wanted]
