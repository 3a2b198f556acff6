"""What a contract is worth at its expiry."""

from __future__ import annotations

from decimal import Decimal

from panda_streams.domain.charges import intrinsic_value
from panda_streams.domain.instruments import Instrument, InstrumentKind

__all__ = ["settlement_price"]


def settlement_price(contract: Instrument, underlying: Decimal | None, last: Decimal) -> Decimal:
    """Price at which a future or option is closed at its expiry, in cash.

    `underlying` is the underlying's last price of the day: the exchange takes the average of its last half hour, which
    is not known here. Without one, the contract's own `last` price stands in.
    """
    if underlying is None:
        return last
    return intrinsic_value(contract, underlying) if contract.kind is InstrumentKind.OPTION else underlying
