"""An encoded record of every class that is written to Kafka or Redis."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from panda_streams import codec
from panda_streams.domain.bookings import Booking, BookingKind, booking_id
from panda_streams.domain.brokerage import Known, OrderRequest, Word
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.charges import fill_charges
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.instruments import Instrument, InstrumentKind
from panda_streams.domain.orders import Fill, OrderState, Product, Role, Ticket
from panda_streams.domain.risk.modes import Latch, StopReason
from panda_streams.domain.risk.rules import Finding, Rule
from panda_streams.domain.signals import Intent, OrderType, Quote, Side, Signal, Validity
from panda_streams.domain.ticks import Depth, DepthLevel, Tick, TickRef
from panda_streams.events import (
    Action,
    ActionKind,
    Adjusted,
    Beat,
    Booked,
    Command,
    CommandKind,
    Completed,
    Counted,
    DayEnd,
    DeadLetter,
    Filled,
    Flatten,
    Handover,
    Health,
    Level,
    Mark,
    Mode,
    OrderReport,
    OrderUpdate,
    Phase,
    Prices,
    Rejected,
    Silence,
    Snapshot,
    StageBeat,
    Stopped,
    StrangerReport,
    TickBatch,
    Validated,
)

__all__ = ["EXAMPLES"]

_CAUSE = TickRef(source="recording", run="5f1c9a", row=48211, shard=2, offset=1904, time=1623126845000)
_SIGNAL = Signal(
    world="replay:nse_ticks_2021-06-08",
    signal_id="9d1f8f0c6f1e4a0bb7f0a1c2d3e4f506",
    strategy_id="Momentum_NIFTY_1",
    config="a41be0c97d12",
    instrument="NSE:INFY",
    side=Side.BUY,
    intent=Intent.ENTRY,
    cause=_CAUSE,
    quote=Quote(tick=_CAUSE, price=Decimal("1390.55"), bid=Decimal("1390.50"), ask=Decimal("1390.60")),
    producer="brain/2/Momentum_NIFTY_1",
    sequence=(_CAUSE.offset << 16) + 1,
)
_FILL = Fill(
    fill_id="0c7e5b1f92a84d63a5d0e9f8b7c6a594",
    order_id="3b9aca00d1e24f56879a0b1c2d3e4f50",
    signal_id=_SIGNAL.signal_id,
    strategy_id=_SIGNAL.strategy_id,
    instrument=_SIGNAL.instrument,
    side=Side.BUY,
    role=Role.ENTRY,
    product=Product.MIS,
    quantity=57,
    price=Decimal("1390.60"),
    margined=False,
    charges=fill_charges(
        Instrument(exchange="NSE", symbol="INFY", kind=InstrumentKind.EQUITY),
        Product.MIS,
        Side.BUY,
        57,
        Decimal("1390.60"),
        date(2021, 6, 8),
        before=Decimal(0),
    ),
    time=1623126846000,
    tick=TickRef(source="recording", run="5f1c9a", row=48267, shard=2, offset=1905, time=1623126846000),
)
_TICKET = Ticket(order_id=_FILL.order_id, role=Role.ENTRY, side=Side.BUY, quantity=57, product=Product.MIS)
_BOOKING = Booking(
    booking_id=booking_id("paper", "note-20210608", _SIGNAL.strategy_id, BookingKind.CONTRACT_NOTE),
    strategy_id=_SIGNAL.strategy_id,
    kind=BookingKind.CONTRACT_NOTE,
    time=1623169800000,
    fills=1,
    amount=Decimal("-0.33"),
    charges={"stt": Decimal("0.37"), "gst": Decimal("-0.04")},
    reason="contract note of 2021-06-08",
)
_ARM = {"world": _SIGNAL.world, "namespace": "paper", "producer": "risk", "sequence": 12}
_PASSED = Finding(rule=Rule.POSITION_LIMIT, passed=True, value="57", limit="1000")
_TICKS = TickBatch(
    world="sim",
    source="simulator",
    run="seed-1",
    sequence=4,
    time=1623126845000,
    ticks=(
        Tick("NSE:INFY", 139055, 20, 84211, 139050, 139060, 1623126844310, 48211),
        Tick("NSE:NIFTY 50", 1570310, None, None, None, None, 1623126845000, 48212),
    ),
)
_BOOK = Depth((DepthLevel(139050, 120), DepthLevel(139045, 310)), (DepthLevel(139060, 75), DepthLevel(139065, 420)))
EXAMPLES: dict[type, bytes] = {
    TickBatch: codec.encode_batch(_TICKS, {48211: _BOOK}),
    Beat: codec.encode_beat(Beat("sim", "simulator", "seed-1", 5, 1623126845000, Phase.OPEN)),
    **{
        type(event): codec.encode(event)
        for event in (
            _SIGNAL,
            StageBeat(world=_SIGNAL.world, producer="brain/2", time=1623126845000),
            Validated(**_ARM, signal=_SIGNAL, tickets=(_TICKET,), time=_CAUSE.time, rules=(_PASSED,)),
            Adjusted(**_ARM, instrument="NSE:INFY", ratio=Ratio(new=5, old=1), time=1623126845000),
            Flatten(**_ARM, action_id="5e0d7c1a92b84f63a5d0e9f8b7c6a595", time=1623126845000),
            Handover(
                **_ARM,
                action_id="5e0d7c1a92b84f63a5d0e9f8b7c6a596",
                instrument="NSE:INFY",
                strategy_id=_SIGNAL.strategy_id,
                time=1623126845000,
            ),
            Rejected(
                **_ARM,
                signal=_SIGNAL,
                time=_CAUSE.time,
                codes=(Rule.POSITION_LIMIT,),
                rules=(Finding(rule=Rule.POSITION_LIMIT, passed=False, value="1057", limit="1000"),),
            ),
            OrderUpdate(
                **{**_ARM, "producer": "execution/2"},
                order_id=_FILL.order_id,
                signal_id=_FILL.signal_id,
                parent=None,
                strategy_id=_FILL.strategy_id,
                instrument=_FILL.instrument,
                side=_FILL.side,
                role=_FILL.role,
                product=_FILL.product,
                order_type=OrderType.MARKET,
                quantity=_FILL.quantity,
                filled=_FILL.quantity,
                price=None,
                trigger=None,
                state=OrderState.FILLED,
                reason=None,
                time=_FILL.time,
                fill=_FILL,
                broker_id="2042130686722629633",
                note="",
            ),
            Command(
                **{**_ARM, "producer": "execution/2"},
                what=CommandKind.PLACE,
                order_id=_FILL.order_id,
                shard=2,
                closes=False,
                request=OrderRequest(
                    order_id=_FILL.order_id,
                    tag=f"PS{_FILL.order_id[:18]}",
                    instrument=_FILL.instrument,
                    side=_FILL.side,
                    quantity=_FILL.quantity,
                    product=_FILL.product,
                    order_type=OrderType.MARKET,
                    validity=Validity.DAY,
                    market_protection=Decimal(-1),
                ),
                change=None,
                time=1623126845000,
                until=1623126905000,
            ),
            Counted(
                **{**_ARM, "producer": "execution/2"}, instrument=_FILL.instrument, quantity=100, time=1623126845000
            ),
            OrderReport(
                **{**_ARM, "producer": "trader"},
                order_id=_FILL.order_id,
                instrument=_FILL.instrument,
                word=Word(
                    known=Known.TAKEN, time=1623126845001, broker_id="2042130686722629633", order=None, reason=None
                ),
                time=1623126845001,
            ),
            StrangerReport(
                **{**_ARM, "producer": "trader"},
                stranger=Stranger(
                    key="trade/NSE/75894751/2042130686722629633",
                    instrument=_FILL.instrument,
                    quantity=10,
                    price=Decimal("1391.20"),
                    product="CNC",
                    time=1623126846000,
                    text="trade 75894751 of the broker's order 2042130686722629633",
                ),
                time=1623126846000,
            ),
            DayEnd(**{**_ARM, "producer": "execution/2"}, date=date(2021, 6, 8), time=1623148200000),
            Prices(**{**_ARM, "producer": "execution/2"}, time=1623126847000, prices={"NSE:INFY": Decimal("1391.20")}),
            Silence(**{**_ARM, "producer": "execution/2"}, time=1623126847000, silent=True, since=1623126787000),
            Filled(**{**_ARM, "producer": "execution/2"}, fill=_FILL),
            Booked(**_ARM, booking=_BOOKING),
            Mark(
                world=_SIGNAL.world,
                namespace="paper",
                strategy_id=_SIGNAL.strategy_id,
                shard=2,
                time=1623126847000,
                prices={"NSE:INFY": Decimal("1391.20")},
                producer="execution/2",
            ),
            Snapshot(
                **{**_ARM, "producer": "portfolio/Momentum_NIFTY_1"},
                strategy_id=_SIGNAL.strategy_id,
                time=1623126847000,
                capital=Decimal(1000000),
                cash=Decimal(1000000) - 57 * _FILL.price - _FILL.charged,
                realised=Decimal(0),
                unrealised=Decimal("34.20"),
                charges=_FILL.charged,
            ),
            Action(
                world=_SIGNAL.world,
                namespace="paper",
                action_id="5e0d7c1a92b84f63a5d0e9f8b7c6a594",
                what=ActionKind.DEPOSIT,
                strategy_id=_SIGNAL.strategy_id,
                amount=Decimal(250000),
                who="asha",
                at=1623126900000,
                reason="more room",
            ),
            Completed(
                **_ARM,
                action_id="5e0d7c1a92b84f63a5d0e9f8b7c6a594",
                done=True,
                detail="Momentum_NIFTY_1 now has 1250000 in cash",
                time=1623126845000,
            ),
            Stopped(
                **_ARM,
                latch=Latch(
                    reason=StopReason.DAILY_LOSS,
                    mode=Mode.HALTED,
                    level="account",
                    detail="lost 10120.50 since the day began, limit 10000",
                    since=1623126845000,
                ),
            ),
            Level(
                world=_SIGNAL.world,
                scope="paper",
                setting="mode",
                value=Mode.HALTED,
                who="asha",
                at=1623126900000,
                reason="reconciling by hand",
            ),
            DeadLetter(
                world=_SIGNAL.world,
                topic="market.ticks",
                partition=2,
                offset=1907,
                reason="not a tick batch or a beat: JSONDecodeError: unexpected character: line 1 column 1 (char 0)",
                key="Mg==",
                payload="bm90IGpzb24=",
            ),
            Health(
                world=_SIGNAL.world,
                role="arm",
                namespace="paper",
                instance=0,
                pid=4711,
                state="running",
                ready=True,
                mode=Mode.ACTIVE,
                modes_set={"paper": 1623126000000},
                detail="",
                lag=0,
                events=48120,
                last_event_time=1623126847000,
                reached={"risk": 1623126846000, "execution": 1623126846000},
                waiting={"risk/0": "orders.updates of execution/2"},
                started_at=1623126000000,
                at=1623126847400,
                url="http://127.0.0.1:27620",
            ),
        )
    },
}
"""An encoded record of every class that is written to Kafka or Redis."""
