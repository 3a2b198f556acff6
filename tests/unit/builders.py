"""Values for tests, with what does not matter filled in."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from panda_streams.domain.bookings import Booking, BookingKind, booking_id
from panda_streams.domain.corporate_actions import CorporateAction, Ratio
from panda_streams.domain.instruments import Instrument, InstrumentKind, Right
from panda_streams.domain.orders import Fill, OrderState, Product, Role
from panda_streams.domain.signals import AT_MARKET, Intent, OrderType, Quote, Side, Signal, Terms, identify
from panda_streams.domain.ticks import Tick, TickRef
from panda_streams.events import OrderUpdate, StageBeat, TickBatch

INFY = "NSE:INFY"
T0 = 1_623_123_900_000
"""The opening of Tuesday, 8 June 2021, 09:15 in India: milliseconds since the epoch."""


SHARE = Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY)
INDEX = Instrument(exchange="NSE", symbol="NIFTY 50", kind=InstrumentKind.INDEX)
FUTURE = Instrument(
    exchange="NFO",
    symbol="NIFTY21JUNFUT",
    kind=InstrumentKind.FUTURE,
    lot=5,
    underlying=INDEX.id,
    expiry=date(2021, 6, 8),
)
"""It expires on the day of T0."""
CALL = Instrument(
    exchange="NFO",
    symbol="NIFTY21JUN15000CE",
    kind=InstrumentKind.OPTION,
    lot=5,
    underlying=INDEX.id,
    expiry=date(2021, 6, 8),
    strike=Decimal(15_000),
    right=Right.CALL,
)


def a_tick(price: int = 140_000, *, row: int = 0, time: int = T0, instrument: str = INFY, **fields: int) -> Tick:
    more = {"quantity": None, "volume": None, "bid": None, "ask": None, **fields}
    return Tick(instrument=instrument, price=price, time=time, row=row, **more)


def a_batch(*ticks: Tick, sequence: int = 0, depth_line: bytes | None = None) -> TickBatch:
    return TickBatch("sim", "sim", "1", sequence, max(tick.time for tick in ticks), ticks, depth_line)


def a_beat(producer: str, time: int = T0) -> StageBeat:
    return StageBeat(world="sim", producer=producer, time=time)


def a_ref(*, row: int = 0, offset: int = 0, time: int = T0, shard: int = 0) -> TickRef:
    return TickRef(source="sim", run="1", row=row, shard=shard, offset=offset, time=time)


def a_signal(
    intent: Intent = Intent.ENTRY,
    *,
    side: Side | None = None,
    price: str | None = "1400",
    sequence: int = 0,
    strategy_id: str = "Momentum",
    config: str = "v1",
    instrument: str = INFY,
    cause: TickRef | None = None,
    size: str = "1",
    terms: Terms = AT_MARKET,
) -> Signal:
    cause = cause or a_ref(row=sequence)
    quote = Quote(tick=cause, price=Decimal(price), bid=None, ask=None) if price is not None else None
    return Signal(
        world="sim",
        signal_id=identify("signal", strategy_id, sequence),
        strategy_id=strategy_id,
        config=config,
        instrument=instrument,
        side=side or (Side.SELL if intent is Intent.EXIT else Side.BUY),
        intent=intent,
        size=Decimal(size),
        terms=terms,
        cause=cause,
        quote=quote,
        producer=f"brain/{cause.shard}/{strategy_id}",
        sequence=sequence,
    )


def a_fill(
    side: Side,
    quantity: int,
    price: str,
    *,
    charges: str = "0",
    number: int = 0,
    time: int = T0,
    strategy_id: str = "Momentum",
    order_id: str = "order",
    instrument: str = INFY,
    product: Product = Product.MIS,
    role: Role | None = None,
    margined: bool = False,
) -> Fill:
    return Fill(
        fill_id=identify("fill", number),
        order_id=order_id,
        signal_id="signal",
        strategy_id=strategy_id,
        instrument=instrument,
        side=side,
        quantity=quantity,
        price=Decimal(price),
        role=role or (Role.ENTRY if side is Side.BUY else Role.EXIT),
        product=product,
        margined=margined,
        charges={"brokerage": Decimal(charges)} if Decimal(charges) else {},
        time=time,
        tick=a_ref(time=time),
    )


def an_update(
    order_id: str,
    state: OrderState,
    fill: Fill | None = None,
    *,
    sequence: int = 0,
    time: int = T0,
    shard: int = 0,
    namespace: str = "paper",
    strategy_id: str = "Momentum",
    instrument: str = INFY,
) -> OrderUpdate:
    return OrderUpdate(
        world="sim",
        namespace=namespace,
        order_id=order_id,
        signal_id="signal",
        parent=None,
        strategy_id=strategy_id,
        instrument=instrument,
        side=fill.side if fill else Side.BUY,
        role=fill.role if fill else Role.ENTRY,
        product=fill.product if fill else Product.MIS,
        order_type=OrderType.MARKET,
        quantity=10,
        filled=fill.quantity if fill else 0,
        price=None,
        trigger=None,
        state=state,
        reason=None,
        time=time,
        fill=fill,
        producer=f"execution/{shard}",
        sequence=sequence,
    )


def a_booking(kind: BookingKind, amount: str = "0", *, time: int = T0, fills: int = 0, **fields: Any) -> Booking:
    return Booking(
        booking_id=booking_id("paper", "cause", "Momentum", kind),
        strategy_id="Momentum",
        kind=kind,
        time=time,
        fills=fills,
        amount=Decimal(amount),
        **fields,
    )


def an_action(
    action: CorporateAction,
    new: int,
    old: int,
    *,
    price: str = "100",
    time: int = T0,
    fills: int = 0,
    instrument: str = INFY,
) -> Booking:
    return a_booking(
        BookingKind.CORPORATE_ACTION,
        time=time,
        fills=fills,
        instrument=instrument,
        action=action,
        ratio=Ratio(new=new, old=old),
        price=Decimal(price),
    )
