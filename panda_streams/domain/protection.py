"""Exits that live in the arm: when a position is closed by itself, whatever its strategy says or whether it runs."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from panda_streams.domain.orders import Reason
from panda_streams.domain.values import Value

__all__ = ["Guard", "Protection"]

_MINUTE_MS = 60_000


class Protection(Value):
    """When a strategy's positions at one account are closed at the market. What is absent does not happen.

    Shares are of the position's average price, as `"0.01"` for one per cent; a trailing stop's is of the best last
    price since the position was opened.
    """

    stop_loss: Decimal | None = Field(None, gt=0, lt=1)
    """Once the last price has moved against the position by this share."""
    trailing_stop: Decimal | None = Field(None, gt=0, lt=1)
    """Once the last price has come back from its best by this share."""
    target: Decimal | None = Field(None, gt=0)
    """Once the last price has moved with the position by this share."""
    time_exit_minutes: int | None = Field(None, gt=0)
    """So many minutes of event time after the position was opened."""


class Guard:
    """Watches one position. Prices are last prices in smallest units; `average` is the position's, exact."""

    __slots__ = ("_best", "_ends_at", "_long", "_stop", "_target", "_trailing")

    def __init__(self, protection: Protection, *, long: bool, average: Decimal, since: int, best: int) -> None:
        self._long = long
        sign = 1 if long else -1
        stop, target = protection.stop_loss, protection.target
        self._stop = None if stop is None else average * (1 - sign * stop)
        self._target = None if target is None else average * (1 + sign * target)
        self._trailing = None if protection.trailing_stop is None else 1 - sign * protection.trailing_stop
        self._best = best
        minutes = protection.time_exit_minutes
        self._ends_at = None if minutes is None else since + minutes * _MINUTE_MS

    @property
    def best(self) -> int:
        """The best price that the position has seen; what a trailing stop follows."""
        return self._best

    @property
    def stop(self) -> Decimal | None:
        """The last price at which a loss is stopped now, the trailing stop's included; None without either."""
        trailing = None if self._trailing is None else self._best * self._trailing
        stops = [stop for stop in (self._stop, trailing) if stop is not None]
        return (max(stops) if self._long else min(stops)) if stops else None

    @property
    def ends_at(self) -> int | None:
        """Event time at which the position is closed whatever its price."""
        return self._ends_at

    def see(self, price: int) -> Reason | None:
        """Take a last price in; why the position is to be closed, if it is."""
        if price <= 0:
            return None  # some feeds send 0 before the first trade of the day
        if self._long:
            self._best = max(self._best, price)
            if self._stop is not None and price <= self._stop:
                return Reason.STOP_LOSS
            if self._target is not None and price >= self._target:
                return Reason.TAKE_PROFIT
            if self._trailing is not None and price <= self._best * self._trailing:
                return Reason.TRAILING_STOP
            return None
        self._best = min(self._best, price)
        if self._stop is not None and price >= self._stop:
            return Reason.STOP_LOSS
        if self._target is not None and price <= self._target:
            return Reason.TAKE_PROFIT
        if self._trailing is not None and price >= self._best * self._trailing:
            return Reason.TRAILING_STOP
        return None
