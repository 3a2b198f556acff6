"""Splits and bonus issues: what a number of shares becomes, and the cash for a part of a share that cannot exist."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from panda_streams.domain.values import Value

__all__ = ["CorporateAction", "Ratio", "adjusted_price", "adjusted_quantity", "cash_in_lieu"]

_PAISA = Decimal("0.01")
_PRICE_STEP = Decimal("0.000001")


class CorporateAction(StrEnum):
    """What a company did to its shares.

    Both change the number of shares and not what they cost. For tax they differ: split shares keep their dates, bonus
    shares cost nothing and are held from their allotment.
    """

    SPLIT = "SPLIT"
    """A face value is divided, or several are put together."""
    BONUS = "BONUS"
    """Further shares without payment."""


class Ratio(Value):
    """`new` shares for every `old` ones: a split of Rs 10 into Rs 2 is 5 for 1, a bonus of 1 for 2 held is 3 for 2."""

    new: Annotated[int, Field(gt=0)]
    """Shares after the action."""
    old: Annotated[int, Field(gt=0)]
    """Shares before it."""


def adjusted_quantity(quantity: int, ratio: Ratio) -> tuple[int, int]:
    """Return the whole shares that `quantity` becomes, and what is left over in parts of 1/old share.

    Both have the sign of `quantity`: for a short position too, nothing is rounded up.
    """
    whole, left = divmod(abs(quantity) * ratio.new, ratio.old)
    return (whole, left) if quantity >= 0 else (-whole, -left)


def cash_in_lieu(left: int, ratio: Ratio, price: Decimal) -> Decimal:
    """Return the cash for `left` parts of 1/old share, to the paisa, half to even; it has the sign of `left`.

    `price` is that of a share before the action: a new share is worth price * old / new.
    """
    return (left * price / ratio.new).quantize(_PAISA, ROUND_HALF_EVEN)


def adjusted_price(price: Decimal, ratio: Ratio) -> Decimal:
    """Return the price of a new share, to 10^-6, where an old one had this price."""
    return (price * ratio.old / ratio.new).quantize(_PRICE_STEP, ROUND_HALF_EVEN)
