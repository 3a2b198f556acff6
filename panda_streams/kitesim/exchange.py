"""The exchange: orders on their way to it and on its market, and what time and ticks do to them. No I/O.

Each order is matched alone against the tape, by the same market as paper orders but with numbers of its own. An order
at the market is a limit order at its protection, which takes what is on offer at every look until it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from heapq import heappop, heappush

from msgspec.structs import replace

from panda_streams.domain.calendar import Calendar, market_of
from panda_streams.domain.instruments import Instrument, InstrumentKind, Instruments
from panda_streams.domain.matching import PaperMarket, Sight, Trade
from panda_streams.domain.orders import Order, Role
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Tick, TickRef, price_of
from panda_streams.kitesim.market import Book, Look, on_tick
from panda_streams.kitesim.orders import Amendment, BookOrder, BookTrade, Change, Stage, Status

__all__ = ["Exchange", "protected"]

_SHARES_AND_FUTURES = ((100, Decimal(2)), (500, Decimal(1)), (None, Decimal("0.5")))
_OPTIONS = ((10, Decimal(5)), (100, Decimal(3)), (500, Decimal(2)), (None, Decimal(1)))
"""Automatic protection in per cent, by last price up to. A choice of kitesim: Zerodha's table was not found."""
_NO_TICK = TickRef(source="", run="", row=0, shard=0, offset=0, time=0)
_EXCHANGE_ORDERS = 1_000_000_000_000_000
_TRADES_AN_ORDER = 100_000

DAY_ENDED = "Unmatched order cancelled by the exchange at the end of the session."
IOC_ENDED = "Unmatched quantity of an IOC order cancelled by the exchange."
TTL_ENDED = "Order cancelled: its validity has ended."
CLOSED = "The market is closed."


class Exchange:
    """The live orders of the account. Every method that changes any returns or yields the changes, in their order."""

    def __init__(self, market: PaperMarket, instruments: Instruments, calendar: Calendar) -> None:
        self._market = market
        self._instruments = instruments
        self._calendar = calendar
        self.live: dict[str, BookOrder] = {}
        self._of: dict[str, dict[str, None]] = {}
        """Ids of live orders by instrument, first come first."""
        self._due: list[tuple[int, int, str]] = []

    def latency(self, draw_from: str) -> int:
        """Event time in milliseconds until what is sent arrives."""
        return self._market.latency(draw_from)

    def expected(self, instrument_id: str) -> bool:
        """Whether any order waits for ticks of the instrument."""
        return instrument_id in self._of

    def put(self, order: BookOrder) -> None:
        """Take an order in, or the new form of one that is here; one that is done leaves."""
        if order.stage is Stage.DONE:
            self.live.pop(order.order_id, None)
            of = self._of.get(order.instrument)
            if of is not None:
                of.pop(order.order_id, None)
                if not of:
                    del self._of[order.instrument]
            return
        self.live[order.order_id] = order
        self._of.setdefault(order.instrument, {}).setdefault(order.order_id)
        heappush(self._due, (_due(order), order.number, order.order_id))

    # Time

    def pass_time(self, time: int) -> Iterator[Change]:
        """What happens by itself up to `time`, in the order of its moments."""
        while self._due and self._due[0][0] <= time:
            at, _, name = heappop(self._due)
            order = self.live.get(name)
            if order is None or _due(order) != at:
                continue
            if order.stage is Stage.SENT and order.live_at == at:
                yield from self._arrive(order)
            elif order.amendments and order.amendments[0].at == at:
                yield from self._amend(order)
            elif order.cancel_at == at:
                yield self._end(order, Status.CANCELLED, at)
            elif order.stage is Stage.SENT:
                yield self._end(order, Status.REJECTED, at, CLOSED)
            else:
                ttl = order.validity is Validity.TTL and at < self._closes(order, at)
                yield self._end(order, Status.CANCELLED, at, TTL_ENDED if ttl else DAY_ENDED)

    def _closes(self, order: BookOrder, at: int) -> int:
        session = self._calendar.session_at(market_of(self._instruments[order.instrument]), at)
        return session.closes if session is not None else at

    def _arrive(self, order: BookOrder) -> Iterator[Change]:
        at = order.live_at
        if order.expires_at <= at:
            yield self._end(order, Status.REJECTED, at, CLOSED)
            return
        waits = order.stopped
        yield self._put(
            replace(
                order,
                stage=Stage.WAITING if waits else Stage.OPEN,
                status=Status.TRIGGER_PENDING if waits else Status.OPEN,
                exchange_order_id=str(_EXCHANGE_ORDERS + order.number),
                exchange_at=at,
                changed_at=at,
            )
        )

    def _amend(self, order: BookOrder) -> Iterator[Change]:
        amendment, *later = order.amendments
        at = amendment.at
        kept = replace(order, amendments=tuple(later), changed_at=at)
        waiting = Status.TRIGGER_PENDING if order.stage is Stage.WAITING else Status.OPEN
        if amendment.quantity is not None and amendment.quantity <= order.filled:
            message = f"Modification rejected: {order.filled} are traded already."
            yield self._put(replace(kept, status=waiting, message=message))
            return
        amended = _amended(kept, amendment)
        yield self._put(replace(amended, status=Status.MODIFIED))
        yield self._put(amended)

    def _end(self, order: BookOrder, status: Status, at: int, message: str | None = None) -> Change:
        return self._put(
            replace(
                order,
                status=status,
                stage=Stage.DONE,
                message=message or order.message,
                message_raw=message or order.message_raw,
                changed_at=at,
                amendments=(),
                cancel_at=None,
            )
        )

    def _put(self, order: BookOrder, trade: BookTrade | None = None, *, row: bool = True) -> Change:
        self.put(order)
        return Change(order, trade, row)

    # Ticks

    def meet(self, tick: Tick, book: Book, look: Look) -> list[Change]:
        """Let the orders of an instrument meet its tick; `pass_time` has been called with the tick's time."""
        names = self._of.get(tick.instrument)
        if not names:
            return []
        instrument = self._instruments[tick.instrument]
        if not self._calendar.is_open(market_of(instrument), tick.time):
            return []
        changes: list[Change] = []
        for name in tuple(names):
            order = self.live[name]
            if order.stage is Stage.SENT or order.live_at > tick.time:
                continue
            if order.stage is Stage.WAITING:
                if not _triggered(order, price_of(tick.price, instrument.decimals)):
                    continue
                status = Status.OPEN if order.status is Status.TRIGGER_PENDING else order.status
                order = replace(order, stage=Stage.OPEN, status=status, looked=False, changed_at=tick.time)
                changes.append(self._put(order))
            changes += self._match(order, instrument, tick, book, look)
        return changes

    def _match(self, order: BookOrder, instrument: Instrument, tick: Tick, book: Book, look: Look) -> list[Change]:
        before = order
        if order.at_market and order.price is None:
            last = order.trigger if order.stopped else None
            if last is None:
                last = price_of(look.before if look.before is not None else tick.price, instrument.decimals)
            order = replace(order, price=protected(instrument, order.side, last, order.protection))
        arriving = order.at_market or not order.looked
        sight = Sight(tick, book(tick.row), look.traded, arriving)
        given = self._market.match(_paper(order), instrument, sight)
        order = replace(order, queue=given.queue, looked=True)
        changes: list[Change] = []
        for trade in given.trades:
            order, booked = _traded(order, trade, tick.time)
            changes.append(self._put(order, booked))
        if order.stage is not Stage.DONE:
            if order.validity is Validity.IOC:
                changes.append(self._end(order, Status.CANCELLED, tick.time, IOC_ENDED))
            elif not changes and order != before:
                changes.append(self._put(order, row=False))
        return changes


def protected(instrument: Instrument, side: Side, last: Decimal, protection: Decimal | None) -> Decimal:
    """The limit that an order at the market has at the exchange: on a step of the price, inside of the price band."""
    percent = protection
    if percent is None or percent < 0:
        table = _OPTIONS if instrument.kind is InstrumentKind.OPTION else _SHARES_AND_FUTURES
        percent = next(share for limit, share in table if limit is None or last < limit)
    if side is Side.BUY:
        price = on_tick(last * (1 + percent / 100), instrument, ROUND_FLOOR)
        return price if instrument.upper_circuit is None else min(price, instrument.upper_circuit)
    price = on_tick(last * (1 - percent / 100), instrument, ROUND_CEILING)
    return price if instrument.lower_circuit is None else max(price, instrument.lower_circuit)


def _due(order: BookOrder) -> int:
    """When something happens to an order by itself."""
    moments = [order.expires_at]
    if order.stage is Stage.SENT:
        moments.append(order.live_at)
    if order.amendments:
        moments.append(order.amendments[0].at)
    if order.cancel_at is not None:
        moments.append(order.cancel_at)
    return min(moments)


def _amended(order: BookOrder, amendment: Amendment) -> BookOrder:
    asked = amendment.order_type or order.asked
    at_market = asked in (OrderType.MARKET, OrderType.SL_M)
    stopped = asked in (OrderType.SL, OrderType.SL_M)
    waits = stopped and (order.stage is Stage.WAITING or not order.stopped)
    return replace(
        order,
        asked=asked,
        quantity=amendment.quantity if amendment.quantity is not None else order.quantity,
        disclosed=amendment.disclosed if amendment.disclosed is not None else order.disclosed,
        price=None if at_market else amendment.price if amendment.price is not None else order.price,
        trigger=(amendment.trigger if amendment.trigger is not None else order.trigger) if stopped else None,
        protection=amendment.protection if amendment.protection is not None else order.protection,
        stage=Stage.WAITING if waits else Stage.OPEN,
        status=Status.TRIGGER_PENDING if waits else Status.OPEN,
        live_at=max(order.live_at, amendment.at),
        modified=True,
        looked=False,
        queue=None,
    )


def _triggered(order: BookOrder, price: Decimal) -> bool:
    assert order.trigger is not None
    return price >= order.trigger if order.side is Side.BUY else price <= order.trigger


def _traded(order: BookOrder, trade: Trade, at: int) -> tuple[BookOrder, BookTrade]:
    assert order.exchange_order_id is not None
    assert order.exchange_at is not None
    booked = BookTrade(
        trade_id=str(order.number * _TRADES_AN_ORDER + order.trades + 1),
        order_id=order.order_id,
        exchange_order_id=order.exchange_order_id,
        instrument=order.instrument,
        side=order.side,
        product=order.product,
        quantity=trade.quantity,
        price=trade.price,
        at=at,
        order_at=order.exchange_at,
    )
    filled = order.filled + trade.quantity
    done = filled == order.quantity
    after = replace(
        order,
        filled=filled,
        turnover=order.turnover + trade.quantity * trade.price,
        trades=order.trades + 1,
        changed_at=at,
        status=Status.COMPLETE if done else order.status,
        stage=Stage.DONE if done else order.stage,
    )
    return (replace(after, amendments=(), cancel_at=None) if done else after), booked


def _paper(order: BookOrder) -> Order:
    """The order as the paper market understands it."""
    return Order(
        order_id=order.order_id,
        signal_id=None,
        strategy_id="",
        instrument=order.instrument,
        side=order.side,
        role=Role.ENTRY,
        product=order.product,
        quantity=order.quantity,
        order_type=OrderType.LIMIT,
        validity=Validity.DAY,
        price=order.price,
        cause=_NO_TICK,
        live_at=order.live_at,
        filled=order.filled,
        queue=order.queue,
    )
