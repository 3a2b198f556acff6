"""Wire types: what travels on each topic. One class an event, frozen; money is a decimal string.

Tick batches and beats have a codec of their own (codec.py); every other event is the JSON of its class.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Struct
from pydantic import Field

from panda_streams.domain.bookings import Booking
from panda_streams.domain.brokerage import Modification, OrderRequest, Word
from panda_streams.domain.callbook import Stranger
from panda_streams.domain.corporate_actions import Ratio
from panda_streams.domain.orders import Fill, OrderState, Product, Reason, Role, Ticket
from panda_streams.domain.risk.modes import Latch, Mode
from panda_streams.domain.risk.rules import Finding
from panda_streams.domain.signals import OrderType, Side, Signal
from panda_streams.domain.ticks import Int64, Tick
from panda_streams.domain.values import Value

__all__ = [
    "Action",
    "ActionKind",
    "Adjusted",
    "Beat",
    "Booked",
    "Command",
    "CommandKind",
    "Completed",
    "Counted",
    "DayEnd",
    "DeadLetter",
    "END_REACH_MS",
    "Filled",
    "Flatten",
    "Handover",
    "Health",
    "Level",
    "Mark",
    "Mode",
    "OrderReport",
    "OrderUpdate",
    "Phase",
    "Prices",
    "Rejected",
    "Signal",
    "Silence",
    "Snapshot",
    "StageBeat",
    "Stopped",
    "StrangerReport",
    "TickBatch",
    "Validated",
    "WIRE_EVENTS",
]


END_REACH_MS = 60_000
"""Event time that stays free after the end of a run; the next run in the same world begins later."""


class Phase(StrEnum):
    """Phase of the trading session at a beat."""

    OPEN = "open"
    CLOSED = "closed"


class TickBatch(
    Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="ticks"
):
    """All ticks of one feed frame that belong to one shard.

    `sequence` counts the records of (source, run) on this shard from 0 without a gap, beats included. `ticks` are in
    the order of their rows.
    """

    world: str
    """The world that the record belongs to."""
    source: str
    """What published it: a recording, the simulator or a broker."""
    run: str
    """One run of that source; the same recording has the same run."""
    sequence: Int64
    """The record's number in (source, run) on this shard."""
    time: Int64
    """Highest event time of its ticks, milliseconds since the epoch."""
    ticks: tuple[Tick, ...]
    """The ticks, each an array of Tick's fields."""
    depth_line: bytes | None = None
    """The undecoded second line: see codec.decode_depth."""


class Beat(Struct, frozen=True, gc=False, forbid_unknown_fields=True, tag_field="kind", tag="beat"):
    """Event time has reached `time` on this shard: no tick with a time up to it follows. `end`: none follows at all."""

    world: str
    """The world that the record belongs to."""
    source: str
    """What published it: a recording, the simulator or a broker."""
    run: str
    """One run of that source; the same recording has the same run."""
    sequence: Int64
    """The record's number in (source, run) on this shard."""
    time: Int64
    """Event time reached, milliseconds since the epoch."""
    phase: Phase
    """Phase of the trading session."""
    end: bool = False
    """True if nothing follows from this run."""

    @property
    def reached(self) -> int:
        """Event time up to which nothing follows: a minute more at the end of a run, so that all that waits goes on."""
        return self.time + END_REACH_MS if self.end else self.time


class StageBeat(Value):
    """How far a stage has come: nothing that it says on this partition from now on has a time up to `time`."""

    kind: Literal["beat"] = "beat"
    world: str
    producer: str
    """The writer: `brain/<shard>`, `risk` or `execution/<shard>`."""
    time: Annotated[int, Field(ge=0, le=2**53)]
    """Event time reached, milliseconds since the epoch: a whole second. After the end of a run, a minute past it."""


class Validated(Value):
    """A signal that passed every rule of an arm, with the orders that it becomes there.

    One that modifies or cancels becomes no order: it acts on those that are working.
    """

    kind: Literal["validated"] = "validated"
    world: str
    namespace: str
    """The broker account."""
    signal: Signal
    """The signal as the brain said it."""
    tickets: tuple[Ticket, ...]
    """The orders that it becomes: several above the exchange's freeze quantity, or where a position turns."""
    time: int
    """Event time of the verdict, milliseconds since the epoch: no fill is earlier."""
    rules: tuple[Finding, ...]
    """The finding of every rule that was asked."""
    producer: str
    sequence: int


class Adjusted(Value):
    """A split or bonus issue on its way to an instrument's shard: positions change, working orders end."""

    kind: Literal["adjusted"] = "adjusted"
    world: str
    namespace: str
    instrument: str
    """The instrument whose shares change."""
    ratio: Ratio
    """New shares for old ones."""
    time: int
    """Event time of the change, milliseconds since the epoch."""
    producer: str
    sequence: int


class Rejected(Value):
    """A signal that an arm refused: `codes` are the rules that it broke."""

    kind: Literal["rejected"] = "rejected"
    world: str
    namespace: str
    signal: Signal
    """The signal as the brain said it."""
    codes: tuple[str, ...]
    """The rules that it broke."""
    time: int
    """Event time of the verdict, milliseconds since the epoch."""
    rules: tuple[Finding, ...]
    """The finding of every rule that was asked."""
    producer: str
    sequence: int


class OrderUpdate(Value):
    """A change of an order's state, with the fill that caused it. The last one of an order has a terminal state."""

    kind: Literal["order"] = "order"
    world: str
    namespace: str
    order_id: str
    """The order that changed."""
    signal_id: str | None
    """The signal that the order came from; null for what the arm decides by itself."""
    parent: str | None
    """Of a leg of a bracket: the entry that it belongs to."""
    strategy_id: str
    """The strategy whose order it is."""
    instrument: str
    side: Side
    role: Role
    """ENTRY or EXIT; TARGET or STOP of a bracket; PROTECTION; SQUARE_OFF; FLATTEN; SETTLEMENT."""
    product: Product
    """How the position is held: MIS, CNC or NRML."""
    order_type: OrderType
    """MARKET, LIMIT, SL or SL-M."""
    quantity: int
    """Shares ordered."""
    filled: int
    """Shares filled so far."""
    price: Decimal | None
    """Limit of a LIMIT or SL order."""
    trigger: Decimal | None
    """Last price at which an SL or SL-M order goes to the market."""
    state: OrderState
    """The state after the change."""
    reason: Reason | None
    """Why, where the state alone does not say."""
    time: int
    """Event time of the change, milliseconds since the epoch."""
    fill: Fill | None
    """The fill that changed it, if one did."""
    broker_id: str | None = None
    """A real broker's own id of the order."""
    note: str = ""
    """A real broker's own words, as why it refused the order."""
    producer: str
    sequence: int


class CommandKind(StrEnum):
    """What is asked of a trader."""

    PLACE = "PLACE"
    """Send an order, once."""
    MODIFY = "MODIFY"
    """Change one that may be at the broker."""
    CANCEL = "CANCEL"
    """Take one back."""


class Command(Value):
    """What execution asks of the trader of a real broker. It is durable before anything is sent."""

    kind: Literal["command"] = "command"
    world: str
    namespace: str
    what: CommandKind
    """PLACE, MODIFY or CANCEL."""
    order_id: str
    """The order that it is about."""
    shard: int
    """Of its instrument: where the report of it goes."""
    closes: bool
    """True for an order that only reduces: it goes first, and uses what is kept of each limit for such."""
    request: OrderRequest | None = None
    """The order, if it is to be placed."""
    change: Modification | None = None
    """What it is to become, if it is to be changed."""
    changes: int = 0
    """How many changes of the order were asked for, this one included."""
    time: int
    """Event time of its cause, milliseconds since the epoch."""
    until: int | None = None
    """Event time after which an entry is too late to be placed."""
    producer: str
    sequence: int


class Counted(Value):
    """What the arm's books hold has changed without a trade: by a split, or a contract that was settled."""

    kind: Literal["counted"] = "counted"
    world: str
    namespace: str
    instrument: str
    """The instrument held."""
    quantity: int
    """Shares that all its books have gained; negative: lost."""
    time: int
    """Event time of the change, milliseconds since the epoch."""
    producer: str
    sequence: int


class OrderReport(Value):
    """What the trader knows of an order: the only way in which a broker's word reaches execution."""

    kind: Literal["report"] = "report"
    world: str
    namespace: str
    order_id: str
    """The order that it is about."""
    instrument: str
    """Its instrument: on whose desk it is."""
    word: Word
    """What is known of it, and what the broker said."""
    time: int
    """Event time at which it was said, milliseconds since the epoch; it acts a second later on the replay clock."""
    producer: str
    sequence: int


class StrangerReport(Value):
    """What the account holds beyond the orders of its arm, on its way into the book `_unattributed`."""

    kind: Literal["stranger"] = "stranger"
    world: str
    namespace: str
    stranger: Stranger
    """What was found, and where."""
    time: int
    """Event time at which it was said, milliseconds since the epoch."""
    producer: str
    sequence: int


class DayEnd(Value):
    """A shard's trading day has ended: nothing that execution says on it later belongs to that date."""

    kind: Literal["day-end"] = "day-end"
    world: str
    namespace: str
    date: date
    """The trading date, in India."""
    time: int
    """Event time at which it was said, milliseconds since the epoch."""
    producer: str
    sequence: int


class Prices(Value):
    """Last prices of what an account holds on one shard, at a beat: those that have changed since they were said."""

    kind: Literal["prices"] = "prices"
    world: str
    namespace: str
    time: int
    """Event time of the beat, milliseconds since the epoch."""
    prices: dict[str, Decimal]
    """Instrument to its last price."""
    producer: str
    sequence: int


class Silence(Value):
    """No tick has come on a shard for longer than the account's limit while the market trades; or ticks come again."""

    kind: Literal["silence"] = "silence"
    world: str
    namespace: str
    silent: bool
    """False: ticks come again, or the market has closed."""
    since: int
    """Event time of the last tick, milliseconds since the epoch."""
    time: int
    """Event time of the beat at which it was noticed, milliseconds since the epoch."""
    producer: str
    sequence: int


class Flatten(Value):
    """All orders of an account end and all its positions are closed: an operator's command on its way to a shard."""

    kind: Literal["flatten"] = "flatten"
    world: str
    namespace: str
    action_id: str
    """The operator's action."""
    time: int
    """Event time of the command, milliseconds since the epoch."""
    producer: str
    sequence: int


class Handover(Value):
    """What is nobody's in an instrument goes to a strategy, or is closed: a command of an operator, for one shard."""

    kind: Literal["handover"] = "handover"
    world: str
    namespace: str
    action_id: str
    """The operator's action."""
    instrument: str
    """Where the book `_unattributed` holds something."""
    strategy_id: str | None
    """Who takes it over, at what it cost; null: it is closed at the market."""
    time: int
    """Event time of the command, milliseconds since the epoch."""
    producer: str
    sequence: int


class Filled(Value):
    """A fill on its way to the strategy's portfolio."""

    kind: Literal["fill"] = "fill"
    world: str
    namespace: str
    fill: Fill
    """What the market gave the order."""
    producer: str
    sequence: int


class Booked(Value):
    """A booking on its way to the strategy's portfolio.

    Risk says it before any order that follows from it, so that no fill of such an order comes earlier.
    """

    kind: Literal["booking"] = "booking"
    world: str
    namespace: str
    booking: Booking
    """What changes the book."""
    producer: str
    sequence: int


class Mark(Value):
    """Last prices of the instruments that a strategy holds on one shard, at most one record a second."""

    kind: Literal["mark"] = "mark"
    world: str
    namespace: str
    strategy_id: str
    """The strategy that holds them."""
    shard: int
    """The shard on which the instruments live."""
    time: int
    """Event time of the prices, milliseconds since the epoch."""
    prices: dict[str, Decimal]
    """Instrument to its last price."""
    producer: str
    """The writer; a mark has no sequence, since the next one replaces it."""


class Snapshot(Value):
    """A strategy's portfolio after a change, amounts in the account's currency."""

    kind: Literal["snapshot"] = "snapshot"
    world: str
    namespace: str
    strategy_id: str
    """The strategy whose book it is."""
    time: int
    """Event time of the change, milliseconds since the epoch."""
    capital: Decimal
    """Money that the strategy started with."""
    cash: Decimal
    """Money now, after all trades and charges."""
    realised: Decimal
    """Profit of what was sold, charges apart."""
    unrealised: Decimal
    """Profit of what is held at the last prices, charges apart."""
    charges: Decimal
    """All charges so far."""
    producer: str
    sequence: int


class Level(Value):
    """An operator's setting, in force until another replaces it: with who, when (milliseconds) and why."""

    kind: Literal["level"] = "level"
    world: str
    scope: str
    """What it is for: a namespace, `all` of them, `strategy:<strategy_id>`, or the `world`."""
    setting: str
    """What is set, as `mode` or `limit:account/max_daily_loss`."""
    value: str
    """Its value, as HALTED."""
    who: str
    """Who set it."""
    at: int
    """Wall time at which it was set, milliseconds since the epoch."""
    reason: str
    """Why, in the words of who set it."""


class ActionKind(StrEnum):
    """What an operator can do to the books of an account."""

    DEPOSIT = "DEPOSIT"
    """Give a strategy money."""
    WITHDRAW = "WITHDRAW"
    """Take free money from a strategy."""
    RESET = "RESET"
    """Begin a strategy's book anew."""
    SPLIT = "SPLIT"
    """Carry out a split of a share."""
    BONUS = "BONUS"
    """Carry out a bonus issue of a share."""
    FLATTEN = "FLATTEN"
    """End all orders, close all positions, and halt."""
    RESUME = "RESUME"
    """Take back the stops that the arm has put itself in."""
    ASSIGN = "ASSIGN"
    """Give a strategy what the book `_unattributed` holds of an instrument."""
    CLOSE = "CLOSE"
    """Close at the market what the book `_unattributed` holds of an instrument."""
    STOP = "STOP"
    """Stop the arm: its trader has found at the broker what its books do not explain."""


class Action(Value):
    """What an operator wants done to the books of an account, once."""

    kind: Literal["action"] = "action"
    world: str
    namespace: str
    action_id: str
    """Its identity: an action that comes twice is done once."""
    what: ActionKind
    """DEPOSIT, WITHDRAW, RESET, SPLIT, BONUS, FLATTEN, RESUME, ASSIGN, CLOSE or STOP."""
    strategy_id: str | None = None
    """The strategy whose book it is for; null for a split or bonus, which is for all that hold the share."""
    amount: Decimal | None = Field(None, ge=0)
    """Money to give or take; for a RESET the new capital."""
    instrument: str | None = None
    """Of a split or bonus: the share. Of an ASSIGN or CLOSE: what is held."""
    ratio: Ratio | None = None
    """Of a split or bonus: new shares for old ones."""
    mode: Mode | None = None
    """Of a STOP: REDUCING or HALTED."""
    price: Decimal | None = Field(None, gt=0)
    """Of a split or bonus: the last price before it, at which a part of a share is paid out."""
    who: str
    """Who wants it."""
    at: int
    """Wall time, milliseconds since the epoch."""
    reason: str
    """Why, in the words of who wants it."""


class Completed(Value):
    """What became of an operator's action."""

    kind: Literal["completed"] = "completed"
    world: str
    namespace: str
    action_id: str
    """The action."""
    done: bool
    """False if it was refused, or could not be finished."""
    detail: str
    """What was done, or why it was refused and what to do."""
    time: int
    """Event time that the account had come to, milliseconds since the epoch."""
    producer: str
    sequence: int


class Stopped(Value):
    """An arm has stopped itself, or a strategy: until an operator resumes it."""

    kind: Literal["stopped"] = "stopped"
    world: str
    namespace: str
    latch: Latch
    """Why, what it stops, and what was seen."""
    producer: str
    sequence: int


class DeadLetter(Value):
    """A record that could not be processed: where it stands, why, and its bytes as base64."""

    kind: Literal["dead-letter"] = "dead-letter"
    world: str
    topic: str
    """Full name of the topic it came from."""
    partition: int
    """Partition it came from."""
    offset: int
    """Offset it has there."""
    reason: str
    """What was wrong with it."""
    key: str | None
    """Its key as text."""
    payload: str
    """Its value as base64: the first 256 KiB of it."""


class Health(Value):
    """What a process says of itself every second, in Redis under `<scope>:health:<instance>`."""

    kind: Literal["health"] = "health"
    world: str
    role: str
    """feed, brain, arm, gateway or kitesim."""
    namespace: str | None
    """The broker account of an arm."""
    instance: int
    """Number of this process among those that share its work."""
    pid: int
    """Its process id."""
    state: str
    """starting, recovering, running, waiting, finished or stopped."""
    ready: bool
    """True if it does its work now."""
    mode: str | None
    """Of an arm, as operators have set it: ACTIVE, REDUCING, HALTED or HALTED_HARD. Nothing is in hand any more that
    was decided under another one."""
    modes_set: dict[str, int] = {}  # noqa: RUF012  pydantic copies defaults
    """Of an arm: wall time at which the levels behind that mode were set, by scope: its namespace, or `all`."""
    detail: str
    """What it is waiting for or doing, for people; empty if all is well."""
    lag: int | None
    """Records on its input topics that it has not processed."""
    events: int
    """Records processed since the process started."""
    last_event_time: int | None
    """Event time of the last record processed, milliseconds since the epoch."""
    reached: dict[str, int] = {}  # noqa: RUF012
    """How far each of its agents has come: event time of the last beat that all its partitions here have said."""
    waiting: dict[str, str] = {}  # noqa: RUF012
    """By agent and partition: the streams whose beat the next record waits for."""
    started_at: int
    """Wall time of its start, milliseconds since the epoch."""
    at: int
    """Wall time of this report, milliseconds since the epoch."""
    url: str | None
    """Address of its pages, if it serves any."""


WIRE_EVENTS: dict[str, tuple[type[Value], ...]] = {
    "signals.raw": (Signal, StageBeat),
    "signals.validated": (Validated, Adjusted, Flatten, Handover, StageBeat),
    "signals.rejected": (Rejected,),
    "broker.commands": (Command, Counted, StageBeat),
    "broker.reports": (OrderReport, StrangerReport, StageBeat),
    "orders.updates": (OrderUpdate, Prices, Silence, DayEnd, StageBeat),
    "orders.filled": (Filled, Booked),
    "marks": (Mark,),
    "portfolio.snapshots": (Snapshot,),
    "control": (Level,),
    "audit": (Action, Completed, Stopped),
    "dlq": (DeadLetter,),
}
"""The events of each topic but market.ticks."""
