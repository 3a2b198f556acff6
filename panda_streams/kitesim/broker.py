"""The broker: takes orders, brings them to the exchange, and keeps the account's books. No I/O.

What changes is collected in an Outbox, which the server makes durable before anybody hears of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from panda_streams.domain.calendar import Calendar, market_of, trading_date
from panda_streams.domain.instruments import Instrument, Instruments
from panda_streams.domain.matching import PaperMarket
from panda_streams.domain.orders import Product
from panda_streams.domain.signals import OrderType, Side, Validity
from panda_streams.domain.ticks import Tick
from panda_streams.kitesim.account import Account, Funds
from panda_streams.kitesim.errors import ErrorType, Refused
from panda_streams.kitesim.exchange import Exchange
from panda_streams.kitesim.gtt import LIFE_MS, Gtt, GttChange, GttOrder, GttResult, Gtts, GttState
from panda_streams.kitesim.market import Book, MarketView
from panda_streams.kitesim.orders import (
    ZERO,
    Amendment,
    BookOrder,
    BookTrade,
    Change,
    Iceberg,
    Stage,
    Status,
    Variety,
)
from panda_streams.kitesim.rules import OrderForm, Slicing, check, check_change, check_live

__all__ = ["Broker", "Child", "Counters", "Outbox"]


class Counters(msgspec.Struct, kw_only=True):
    """Numbers that go on where they were after a restart."""

    time: int | None = None
    """kitesim's clock: event time."""
    date: int = 0
    """The trading date of the books, as an ordinal."""
    version: int = 0
    """Changes of the order book so far."""
    orders: int = 0
    gtts: int = 0
    refused: int = 0
    """Calls that were refused without an order id."""
    rate_day: int = 0
    rate_count: int = 0


class Outbox(NamedTuple):
    """What has changed since it was last taken."""

    changes: list[Change]
    gtts: dict[int, Gtt]


class Child(NamedTuple):
    """What became of one slice: its order's id, or why there is none."""

    order_id: str | None
    refusal: Refused | None


class Broker:
    """One account at the simulated broker.

    Times that are passed in are event times; the clock never goes back.
    """

    def __init__(
        self, market: PaperMarket, instruments: Instruments, calendar: Calendar, cash: Decimal, view: MarketView
    ) -> None:
        self.instruments = instruments
        self.calendar = calendar
        self.view = view
        self.exchange = Exchange(market, instruments, calendar)
        self.account = Account(instruments, cash)
        self.gtts = Gtts()
        self.counters = Counters()
        self.orders: dict[str, BookOrder] = {}
        """Today's book, in the order in which it came."""
        self.trades: list[BookTrade] = []
        """Today's."""
        self.hidden: dict[str, float] = {}
        """Wall times until which the book does not show an order: an injected fault."""
        self._outbox = Outbox([], {})

    @property
    def time(self) -> int | None:
        return self.counters.time

    def restore(
        self, counters: Counters, orders: Iterable[BookOrder], trades: Iterable[BookTrade], gtts: Iterable[Gtt]
    ) -> None:
        """Take up what was stored: the orders and trades of its last day."""
        self.counters = counters
        for order in orders:
            self.orders[order.order_id] = order
            self.exchange.put(order)
        self.trades = list(trades)
        for gtt in gtts:
            self.gtts.put(gtt)

    def take(self) -> Outbox:
        """What is to be made durable; nobody may hear of it before."""
        taken, self._outbox = self._outbox, Outbox([], {})
        return taken

    # Time and ticks

    def pass_time(self, time: int) -> None:
        """Take note that event time has reached `time`."""
        if self.counters.time is None or time > self.counters.time:
            self._turn_page(time)
            self.counters.time = time
        for change in self.exchange.pass_time(time):
            self._keep(change)
        for gtt in self.gtts.due(time):
            self._keep_gtt(gtt)

    def meet(self, tick: Tick, book: Book) -> None:
        """Take a tick in: it changes the market's state, and may fill orders and reach triggers."""
        self.pass_time(tick.time)
        look = self.view.see(tick, book)
        if self.exchange.expected(tick.instrument):
            for change in self.exchange.meet(tick, book, look):
                self._keep(change)
        for gtt in self.gtts.waiting(tick.instrument):
            self._meet_gtt(gtt, tick.time)

    def _turn_page(self, time: int) -> None:
        on = trading_date(time)
        if on.toordinal() <= self.counters.date:
            return
        if self.counters.date:
            for change in self.exchange.pass_time(_midnight(on)):
                self._keep(change)
            held = {position.instrument for position in self.account.positions.values()}
            prices = {name: self.view.price(self.instruments[name]) for name in held}
            self.account.begin_day(on, {name: price for name, price in prices.items() if price is not None})
            self.orders = {order.order_id: order for order in self.exchange.live.values()}
            self.trades = []
        self.counters.date = on.toordinal()

    def _keep(self, change: Change) -> None:
        """Enter a change into the books."""
        order = change.order
        self.orders[order.order_id] = order
        self._outbox.changes.append(change)
        if not change.row:
            return
        self.counters.version += 1
        if change.trade is not None:
            self.trades.append(change.trade)
            self.account.book(change.trade)
        if order.status is Status.COMPLETE and order.iceberg is not None:
            self._next_leg(order, order.iceberg)

    # Orders

    def moment(self, at: int | None) -> int | None:
        """When a call counts: at the event time of its cause, or kitesim's clock if that is later."""
        if at is None or self.counters.time is None:
            return at if at is not None else self.counters.time
        return max(at, self.counters.time)

    def place(self, form: OrderForm, at: int | None) -> str:
        """Take an order into the book; the order's id. Raises Refused if it does not get there."""
        moment = self._checked(form, at)
        return self._enter(form, form.quantity, moment).order_id

    def place_slices(self, form: OrderForm, at: int | None) -> tuple[str, list[Child]]:
        """Take an order above the freeze quantity into the book in slices; a slice may lack the margin.

        The id that stands for all of them is no order's own.
        """
        moment = self._checked(form, at)
        quantities = Slicing.of(form).quantities
        parent, _ = self._next_id(moment)
        children: list[Child] = []
        for quantity in quantities:
            short = self._short_of_margin(form, quantity)
            if short is not None:
                children.append(Child(None, Refused(ErrorType.MARGIN, short)))
            else:
                children.append(Child(self._enter(form, quantity, moment, sliced=parent).order_id, None))
        return parent, children

    def _checked(self, form: OrderForm, at: int | None) -> int:
        moment = self.moment(at)
        check(form, self.calendar, moment)
        assert moment is not None
        return moment

    def _enter(
        self, form: OrderForm, quantity: int, at: int, *, gtt: int | None = None, sliced: str | None = None
    ) -> BookOrder:
        iceberg = None
        if form.variety is Variety.ICEBERG:
            assert form.legs is not None
            assert form.leg_quantity is not None
            iceberg = Iceberg(
                leg=1,
                legs=form.legs,
                leg_quantity=form.leg_quantity,
                total_quantity=quantity,
                remaining_quantity=quantity,
            )
            quantity = form.leg_quantity
        limited = form.order_type in (OrderType.LIMIT, OrderType.SL)
        stopped = form.order_type in (OrderType.SL, OrderType.SL_M)
        order = self._number(
            BookOrder(
                order_id="",
                number=0,
                variety=form.variety,
                instrument=form.instrument.id,
                side=form.side,
                product=form.product,
                asked=form.order_type,
                validity=form.validity,
                ttl_minutes=form.ttl_minutes,
                quantity=quantity,
                disclosed=form.disclosed,
                price=form.price if limited else None,
                trigger=form.trigger if stopped else None,
                protection=form.protection,
                tag=form.tag,
                received_at=at,
                live_at=at,
                expires_at=at,
                changed_at=at,
                iceberg=iceberg,
                gtt=gtt,
                sliced=sliced,
            ),
            at,
        )
        objection = self._objection(form, order)
        self._keep(Change(order))
        self._keep(Change(replace(order, status=Status.VALIDATION)))
        if objection is not None:
            rejected = replace(
                order, status=Status.REJECTED, stage=Stage.DONE, message=objection, message_raw=f"RMS:{objection}"
            )
            self._keep(Change(rejected))
            return rejected
        return self._send(order)

    def _number(self, order: BookOrder, at: int) -> BookOrder:
        """Give an order its number and id, from which its latency is drawn."""
        name, number = self._next_id(at)
        live_at = at + self.exchange.latency(name)
        session = self.calendar.session_at(market_of(self.instruments[order.instrument]), at)
        expires_at = session.closes if session is not None else at
        if order.validity is Validity.TTL and order.ttl_minutes is not None:
            expires_at = min(expires_at, live_at + 60_000 * order.ttl_minutes)
        return replace(
            order, order_id=name, number=number, received_at=at, live_at=live_at, expires_at=expires_at, changed_at=at
        )

    def _next_id(self, at: int) -> tuple[str, int]:
        self._turn_page(at)
        self.counters.orders += 1
        return f"{trading_date(at):%y%m%d}{self.counters.orders:013d}", self.counters.orders

    def _send(self, order: BookOrder) -> BookOrder:
        sent = replace(order, status=Status.OPEN_PENDING)
        self.exchange.put(sent)
        self._keep(Change(sent))
        return sent

    def _next_leg(self, order: BookOrder, iceberg: Iceberg) -> None:
        remaining = iceberg.remaining_quantity - order.quantity
        if remaining <= 0:
            return
        quantity = min(iceberg.leg_quantity, remaining)
        at = order.changed_at
        following = replace(
            order,
            parent_id=order.parent_id or order.order_id,
            quantity=quantity,
            iceberg=replace(iceberg, leg=iceberg.leg + 1, remaining_quantity=remaining),
            status=Status.RECEIVED,
            stage=Stage.SENT,
            exchange_order_id=None,
            exchange_at=None,
            filled=0,
            turnover=ZERO,
            trades=0,
            queue=None,
            looked=False,
            modified=False,
            modifications=0,
            message=None,
            message_raw=None,
        )
        numbered = self._number(following, at)
        self._keep(Change(numbered))
        self._send(numbered)

    def _objection(self, form: OrderForm, order: BookOrder) -> str | None:
        """Why an order that is in the book is rejected at once; None if it is not."""
        instrument = form.instrument
        freeze = instrument.freeze_quantity
        if freeze is not None and order.quantity > freeze:
            return f"Order quantity {order.quantity} exceeds the freeze quantity {freeze}."
        band = self.view.band(instrument)
        if band is not None:
            lower, upper = band
            for price in (order.price, order.trigger):
                if price is not None and not lower <= price <= upper:
                    return f"Price {price} is outside of the circuit limits {lower} to {upper}."
        if order.product is Product.CNC and order.side is Side.SELL:
            sellable = self.account.sellable(instrument.id, self.exchange.live.values())
            if order.quantity > sellable:
                return f"Insufficient stock holding: {max(sellable, 0)} of {order.quantity} can be sold."
        total = order.iceberg.total_quantity if order.iceberg is not None else order.quantity
        return self._short_of_margin(form, total)

    def _short_of_margin(self, form: OrderForm, quantity: int) -> str | None:
        before = self.funds().free
        probe = BookOrder(
            order_id="",
            number=0,
            variety=form.variety,
            instrument=form.instrument.id,
            side=form.side,
            product=form.product,
            asked=form.order_type,
            validity=form.validity,
            quantity=quantity,
            price=form.price,
            trigger=form.trigger,
            received_at=0,
            live_at=0,
            expires_at=0,
            changed_at=0,
        )
        needed = before - self.funds(probe).free
        if needed <= max(before, ZERO):
            return None
        return f"Insufficient funds. Required margin is {needed:.2f} but available margin is {before:.2f}."

    def funds(self, *more: BookOrder) -> Funds:
        """The account's money, with all orders that work, and `more` that are asked for."""
        return self.account.funds((order, self._reckoned(order)) for order in (*self.exchange.live.values(), *more))

    def _reckoned(self, order: BookOrder) -> Decimal:
        """The price at which an order blocks margin."""
        price = order.price or order.trigger
        return price if price is not None else self.view.price(self.instruments[order.instrument]) or ZERO

    def hide(self, order_id: str, until: float) -> None:
        """Keep an order out of the book that is shown, until a wall time."""
        self.hidden[order_id] = until

    def find(self, order_id: str) -> BookOrder:
        """An order of today's book; raises Refused."""
        order = self.orders.get(order_id)
        if order is None:
            raise Refused(ErrorType.GENERAL, "Couldn't find that `order_id`.", 404)
        return order

    def modify(self, order_id: str, change: Amendment, at: int | None) -> str:
        """Take a modification; it acts once it is at the exchange. Raises Refused."""
        order = self.find(order_id)
        instrument = self.instruments[order.instrument]
        check_change(order, change, instrument)
        moment = self.moment(at)
        assert moment is not None, "there is an order, so there was a time"
        number = order.modifications + 1
        acts = max(moment + self.exchange.latency(f"{order_id}/modify/{number}"), order.live_at)
        if order.amendments:
            acts = max(acts, order.amendments[-1].at + 1)
        taken = replace(
            order,
            modifications=number,
            status=Status.MODIFY_VALIDATION,
            amendments=(*order.amendments, replace(change, at=acts)),
            changed_at=moment,
        )
        self._keep(Change(taken))
        sent = replace(taken, status=Status.MODIFY_PENDING)
        self.exchange.put(sent)
        self._keep(Change(sent))
        return order_id

    def cancel(self, order_id: str, at: int | None) -> str:
        """Take a cancellation; it acts once it is at the exchange. Raises Refused."""
        order = self.find(order_id)
        check_live(order, "cancelled")
        moment = self.moment(at)
        assert moment is not None, "there is an order, so there was a time"
        acts = max(moment + self.exchange.latency(f"{order_id}/cancel"), order.live_at)
        sent = replace(order, status=Status.CANCEL_PENDING, cancel_at=acts, changed_at=moment)
        self.exchange.put(sent)
        self._keep(Change(sent))
        return order_id

    # Triggers

    def place_gtt(self, gtt: Gtt, at: int | None) -> int:
        """Take a trigger; it is reached by prices once it is there. Its number; raises Refused."""
        moment = self._gtt_moment(at)
        self.counters.gtts += 1
        number = self.counters.gtts
        live_at = moment + self.exchange.latency(f"gtt/{number}")
        times = {"created_at": moment, "updated_at": moment, "expires_at": moment + LIFE_MS, "live_at": live_at}
        self._keep_gtt(replace(gtt, number=number, **times))
        return number

    def modify_gtt(self, number: int, terms: Gtt, at: int | None) -> int:
        """Give a trigger other terms; they act once they are there. Raises Refused."""
        gtt = self._active_gtt(number)
        if terms.instrument != gtt.instrument:
            raise Refused(ErrorType.INPUT, "The instrument of a trigger cannot be changed.")
        acts = self._acts(gtt, at)
        change = GttChange(at=acts, kind=terms.kind, triggers=terms.triggers, last=terms.last, orders=terms.orders)
        self._keep_gtt(replace(gtt, changes=(*gtt.changes, change)))
        return number

    def delete_gtt(self, number: int, at: int | None) -> int:
        """Take a deletion; it acts once it is there. Raises Refused."""
        gtt = self._active_gtt(number)
        if not gtt.deleting:
            self._keep_gtt(replace(gtt, changes=(*gtt.changes, GttChange(at=self._acts(gtt, at), kind=gtt.kind))))
        return number

    def _active_gtt(self, number: int) -> Gtt:
        gtt = self.gtts.find(number)
        if gtt.state is not GttState.ACTIVE:
            raise Refused(ErrorType.INPUT, f"The trigger is {gtt.state}.")
        return gtt

    def _gtt_moment(self, at: int | None) -> int:
        moment = self.moment(at)
        if moment is None:
            raise Refused(ErrorType.GENERAL, "No price is known yet.")
        return moment

    def _acts(self, gtt: Gtt, at: int | None) -> int:
        """When a change of a trigger that is asked for now acts: after those before it."""
        moment = self._gtt_moment(at)
        acts = max(moment + self.exchange.latency(f"gtt/{gtt.number}/{moment}"), gtt.live_at)
        return max(acts, gtt.changes[-1].at + 1) if gtt.changes else acts

    def _keep_gtt(self, gtt: Gtt) -> None:
        self.counters.version += 1
        self.gtts.put(gtt)
        self._outbox.gtts[gtt.number] = gtt

    def _meet_gtt(self, gtt: Gtt, at: int) -> None:
        instrument = self.instruments[gtt.instrument]
        price = self.view.price(instrument)
        leg = gtt.reached(price) if price is not None else None
        if at >= gtt.expires_at:
            self._keep_gtt(replace(gtt, state=GttState.EXPIRED, updated_at=at, changes=()))
        elif at < gtt.live_at:
            return
        elif leg is not None and price is not None and self.calendar.is_open(market_of(instrument), at):
            result = self._place_triggered(gtt, gtt.orders[leg], instrument, price, at)
            orders = tuple(replace(one, result=result) if n == leg else one for n, one in enumerate(gtt.orders))
            self._keep_gtt(replace(gtt, state=GttState.TRIGGERED, updated_at=at, orders=orders, changes=()))

    def _place_triggered(self, gtt: Gtt, order: GttOrder, instrument: Instrument, price: Decimal, at: int) -> GttResult:
        form = OrderForm(
            variety=Variety.REGULAR,
            instrument=instrument,
            side=order.side,
            quantity=order.quantity,
            product=order.product,
            order_type=order.order_type,
            price=order.price,
        )
        try:
            check(form, self.calendar, at)
        except Refused as refused:
            return GttResult(at=at, price=price, order_id="", rejection=refused.message)
        placed = self._enter(form, form.quantity, at, gtt=gtt.number)
        rejection = (placed.message or "") if placed.status is Status.REJECTED else ""
        return GttResult(at=at, price=price, order_id="" if rejection else placed.order_id, rejection=rejection)


def _midnight(on: date) -> int:
    """Event time at which an Indian date begins."""
    return (on.toordinal() - date(1970, 1, 1).toordinal()) * 86_400_000 - 19_800_000
