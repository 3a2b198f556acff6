"""The paper market: what a tick gives an order that is on the market, as a function of the two alone.

Every order is matched alone against the tape: own orders never compete. Prices are taken from the best that a tick
has: its order book, walked level by level; else its best bid and ask; else its last price and a slippage.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from math import log
from typing import NamedTuple

from panda_streams.domain.instruments import Instrument
from panda_streams.domain.orders import Order
from panda_streams.domain.signals import Side
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, price_of

__all__ = ["Match", "PaperMarket", "QueueModel", "Sight", "Trade", "draw"]


class Trade(NamedTuple):
    """What the market gave: shares at a price."""

    quantity: int
    price: Decimal


class Sight(NamedTuple):
    """One look of an order at the market."""

    tick: Tick
    depth: Depth | None
    """The tick's order book, if its source recorded one."""
    traded: int | None
    """Shares that changed hands since the instrument's tick before; None where the source does not say."""
    arriving: bool
    """True at the first look at which the order is on the market: what crosses it then is taken, not waited for."""


class Match(NamedTuple):
    """What a look gave an order, and what is before it in the queue from then on."""

    trades: tuple[Trade, ...] = ()
    queue: int | None = None


class QueueModel(StrEnum):
    """When a limit order that rests on the book is filled."""

    THROUGH = "through"
    """Once the market trades beyond its price: everyone before it was filled by then. The conservative one."""
    QUEUE = "queue"
    """As THROUGH, and also once as many shares have traded at its price as the order book showed there before it."""
    TOUCH = "touch"
    """Once the market trades at its price: as if it were first in the queue. The optimistic one."""


@dataclass(frozen=True, slots=True)
class PaperMarket:
    """A market whose every answer is a function of the order and the tick log.

    `latency_ms` is the least event time from a cause to the market; `latency_spread_ms` the mean of an exponential
    delay beyond it, drawn from the order's id. `slippage` is a share of the last price, for ticks without bid and ask.
    `participation` is the share of what traded since the tick before that one order may take, where no order book shows
    what there is; what is left waits for the next tick.
    """

    latency_ms: int
    latency_spread_ms: int
    slippage: Decimal
    participation: Decimal
    queue: QueueModel

    def latency(self, order_id: str) -> int:
        """Event time in milliseconds from an order's cause until the market can fill it."""
        if not self.latency_spread_ms:
            return self.latency_ms
        return self.latency_ms + round(-log(1.0 - draw(order_id, "latency")) * self.latency_spread_ms)

    def match(self, order: Order, instrument: Instrument, sight: Sight) -> Match:
        """What a look at the market gives an order: trades for at most what remains of it, best price first.

        A limit order trades at its limit or better. A stop order is matched once it has been triggered, as a MARKET
        order (SL-M) or a LIMIT order (SL).
        """
        limit = order.price
        if self._locked(order, instrument, sight):
            return Match(queue=order.queue)
        crossing = self._crossing(order, instrument, sight, limit)
        if limit is None or sight.arriving:
            return Match(crossing, self._ahead(order, instrument, sight) if limit is not None else None)
        return self._resting(order, instrument, sight, limit, sum(trade.quantity for trade in crossing))

    def _locked(self, order: Order, instrument: Instrument, sight: Sight) -> bool:
        """Whether the instrument stands at its circuit limit with nobody on the other side."""
        price = price_of(sight.tick.price, instrument.decimals)
        if order.side is Side.BUY:
            upper = instrument.upper_circuit
            return upper is not None and price >= upper and sight.tick.ask is None and not _asks(sight)
        lower = instrument.lower_circuit
        return lower is not None and price <= lower and sight.tick.bid is None and not _bids(sight)

    def _crossing(self, order: Order, instrument: Instrument, sight: Sight, limit: Decimal | None) -> tuple[Trade, ...]:
        """What is on offer now at the limit or better."""
        buying, tick = order.side is Side.BUY, sight.tick
        levels = _asks(sight) if buying else _bids(sight)
        if levels:
            return _walk(levels, order.remaining, instrument.decimals, limit, buying=buying)
        best = tick.ask if buying else tick.bid
        if best is not None:
            price = price_of(best, instrument.decimals)
        elif sight.depth is not None:
            return ()  # the book is there, and this side of it is empty
        else:
            price = self._slipped(price_of(tick.price, instrument.decimals), instrument, buying=buying)
        quantity = self._allowed(order, instrument, sight)
        if not quantity or (limit is not None and (price > limit if buying else price < limit)):
            return ()
        return (Trade(quantity, price),)

    def _resting(self, order: Order, instrument: Instrument, sight: Sight, limit: Decimal, crossing: int) -> Match:
        """What an order that waits in the book is given: it trades at its own limit.

        `crossing` are the shares that are on offer at its limit or better: whoever offers them meets it.
        """
        buying, price = order.side is Side.BUY, price_of(sight.tick.price, instrument.decimals)
        best = sight.tick.ask if buying else sight.tick.bid
        if crossing and best is not None:
            return Match(self._at(limit, crossing), order.queue)
        allowed = self._allowed(order, instrument, sight)
        if (price < limit if buying else price > limit) or (price == limit and self.queue is QueueModel.TOUCH):
            return Match(self._at(limit, allowed), order.queue)
        if price == limit and self.queue is QueueModel.QUEUE and order.queue is not None and sight.traded:
            beyond = max(sight.traded - order.queue, 0) // instrument.lot * instrument.lot
            return Match(self._at(limit, min(beyond, order.remaining)), max(order.queue - sight.traded, 0))
        return Match(queue=order.queue)

    @staticmethod
    def _at(limit: Decimal, quantity: int) -> tuple[Trade, ...]:
        return (Trade(quantity, limit),) if quantity else ()

    def _allowed(self, order: Order, instrument: Instrument, sight: Sight) -> int:
        """Shares that the order may take of what has traded: whole lots, all of it where the source does not say."""
        if sight.traded is None:
            return order.remaining
        lots = int(self.participation * sight.traded) // instrument.lot
        return min(order.remaining, lots * instrument.lot)

    def _slipped(self, price: Decimal, instrument: Instrument, *, buying: bool) -> Decimal:
        """The last price after slippage, on a step of the price, above zero and inside of today's band."""
        slipped = price * (1 + self.slippage if buying else 1 - self.slippage)
        steps = (slipped / instrument.tick_size).to_integral_value(ROUND_CEILING if buying else ROUND_FLOOR)
        slipped = max(steps, Decimal(1)) * instrument.tick_size
        lower, upper = instrument.lower_circuit, instrument.upper_circuit
        if buying:
            return slipped if upper is None else min(slipped, max(upper, price))
        return slipped if lower is None else max(slipped, min(lower, price))

    def _ahead(self, order: Order, instrument: Instrument, sight: Sight) -> int | None:
        """Shares that the book shows at the order's limit as it arrives; None where there is no book."""
        if sight.depth is None or order.price is None:
            return None
        own = sight.depth.bids if order.side is Side.BUY else sight.depth.asks
        limit = int(order.price.scaleb(instrument.decimals))
        if own and not any(level.price == limit for level in own):
            beyond = limit < own[-1].price if order.side is Side.BUY else limit > own[-1].price
            if beyond:
                return None  # deeper than the book is shown
        return sum(level.quantity for level in own if level.price == limit)


def draw(*parts: str) -> float:
    """A number in [0, 1) that the parts decide, on every machine."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    # As many bits as a float holds: with more of them the highest would be rounded to 1.
    return (int.from_bytes(digest) >> 11) / 2.0**53


def _asks(sight: Sight) -> tuple[DepthLevel, ...]:
    return sight.depth.asks if sight.depth is not None else ()


def _bids(sight: Sight) -> tuple[DepthLevel, ...]:
    return sight.depth.bids if sight.depth is not None else ()


def _walk(
    levels: tuple[DepthLevel, ...], quantity: int, decimals: int, limit: Decimal | None, *, buying: bool
) -> tuple[Trade, ...]:
    """Take up to `quantity` shares from a side of the book, best level first, none beyond `limit`."""
    trades, left = [], quantity
    for level in levels:
        price = price_of(level.price, decimals)
        if limit is not None and (price > limit if buying else price < limit):
            break
        shares = min(left, level.quantity)
        if shares > 0:
            trades.append(Trade(shares, price))
            left -= shares
    return tuple(trades)
