"""Orders and fills: values shared by risk, execution and portfolio."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.signals import OrderType, Side, Validity, identify
from panda_streams.domain.ticks import TickRef
from panda_streams.domain.values import Value

__all__ = [
    "Amendment",
    "Fill",
    "Order",
    "OrderState",
    "Product",
    "Reason",
    "Role",
    "Ticket",
    "UNATTRIBUTED",
    "order_id",
]


class Product(StrEnum):
    """How a position is held, in the words of Indian brokers; positions of two products never net."""

    MIS = "MIS"
    """Intraday: squared off before the session ends."""
    CNC = "CNC"
    """Delivery of shares, paid in full; nothing is sold that is not held."""
    NRML = "NRML"
    """Derivatives that may be held overnight."""


class Role(StrEnum):
    """What an order is for. Every role but ENTRY only reduces: it never trades more than its strategy's position."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    TARGET = "TARGET"
    """The leg of a bracket that takes the profit."""
    STOP = "STOP"
    """The leg of a bracket that limits the loss."""
    PROTECTION = "PROTECTION"
    """Closes a position for one of the reasons that the strategy's configuration at the account names."""
    SQUARE_OFF = "SQUARE_OFF"
    """Closes an intraday position before the session ends."""
    FLATTEN = "FLATTEN"
    """Closes a position because an operator closes them all."""
    SETTLEMENT = "SETTLEMENT"
    """Closes a position in a derivative at its expiry, without the market."""


class OrderState(StrEnum):
    """State of an order; lifecycle.py has the transitions."""

    INTENT = "INTENT"
    """Decided and durable, not sent."""
    SENDING = "SENDING"
    """May be on its way to the broker."""
    UNKNOWN = "UNKNOWN"
    """Sent, and no answer came: it may or may not be at the broker."""
    TRIGGER_PENDING = "TRIGGER_PENDING"
    """At the exchange, and waits for its trigger price."""
    WORKING = "WORKING"
    """On the market, perhaps filled in part."""
    FILLED = "FILLED"
    """All of it was traded."""
    CANCELLED = "CANCELLED"
    """Taken away before it was done, at the wish of strategy, arm or operator."""
    EXPIRED = "EXPIRED"
    """Its time was over before it was done."""
    REJECTED = "REJECTED"
    """Refused by exchange, broker or arm before it could trade."""
    ABSENT = "ABSENT"
    """Proved never to have reached the broker."""

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset(
    (OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.ABSENT)
)


class Reason(StrEnum):
    """Why an order changed, where the state alone does not say."""

    CANCELLED_BY_STRATEGY = "CANCELLED_BY_STRATEGY"
    """A CANCEL of its strategy acted."""
    MODIFIED_BY_STRATEGY = "MODIFIED_BY_STRATEGY"
    """A MODIFY of its strategy acted: it looks at the market anew."""
    TRIGGERED = "TRIGGERED"
    """Its trigger price was traded."""
    ENTRY_FILLED = "ENTRY_FILLED"
    """A leg of a bracket has grown with its entry."""
    OTHER_LEG_FILLED = "OTHER_LEG_FILLED"
    """A leg of a bracket has shrunk, or ended, with what its other leg was filled."""
    POSITION_CLOSED = "POSITION_CLOSED"
    """Nothing is left that an order which only reduces could close."""
    STOP_LOSS = "STOP_LOSS"
    """The price has moved against the position by as much as its protection allows."""
    TRAILING_STOP = "TRAILING_STOP"
    """The price has come back from its best by as much as the position's protection allows."""
    TAKE_PROFIT = "TAKE_PROFIT"
    """The price has moved with the position by as much as its protection asks for."""
    TIME_EXIT = "TIME_EXIT"
    """The position was held for as long as its protection allows."""
    SQUARED_OFF = "SQUARED_OFF"
    """An intraday entry was still working when intraday positions had to be closed."""
    DAY_ENDED = "DAY_ENDED"
    """No such order may work any longer that day: its market has closed, or intraday positions are squared off."""
    TTL_ENDED = "TTL_ENDED"
    """The minutes that its strategy gave it are over."""
    IOC_REMAINDER = "IOC_REMAINDER"
    """What an order for one look at the market did not get at that look."""
    END_OF_DATA = "END_OF_DATA"
    """The recording or the simulation has ended."""
    TICKS_GONE = "TICKS_GONE"
    """The ticks after its cause were no longer kept when the arm first looked at its shard."""
    ARM_HALTED = "ARM_HALTED"
    """An operator had halted the arm by the time that its verdict came, be it one from before the halt."""
    FLATTENED = "FLATTENED"
    """An operator has ended all orders."""
    CONTRACT_EXPIRED = "CONTRACT_EXPIRED"
    """The future or option has expired."""
    CORPORATE_ACTION = "CORPORATE_ACTION"
    """A split or bonus: the exchange takes all orders on the old share away."""
    MARKET_CLOSED = "MARKET_CLOSED"
    """It would have reached the exchange outside of continuous trading, or as an intraday entry after square-off."""
    INSTRUMENT_UNKNOWN = "INSTRUMENT_UNKNOWN"
    """The arm does not know the instrument, or it cannot be traded."""
    CIRCUIT_LIMIT = "CIRCUIT_LIMIT"
    """Its price lies outside of today's price band."""
    BROKER_REFUSED = "BROKER_REFUSED"
    """The broker has not taken it, or has rejected it; its words are with the update."""
    BROKER_CANCELLED = "BROKER_CANCELLED"
    """It was cancelled at the broker, and not at the arm's wish: by hand, by the exchange, or at the day's end."""
    BROKER_TERMS = "BROKER_TERMS"
    """The broker has it with other terms than were asked for: a change was refused, which the broker's words are about,
    or it was changed by hand."""
    BROKER_LIMIT = "BROKER_LIMIT"
    """The limits toward the broker are used up: sent, it would have been refused."""
    TOO_LATE = "TOO_LATE"
    """An entry that could not be sent in time: what it was decided on is too old."""
    BOOK_GONE = "BOOK_GONE"
    """The broker's book of its day is gone: it works no more, and what it traded is found in what the account holds."""
    MADE_WAY = "MADE_WAY"
    """It made way for another order that closes the position: no more may be at the broker than there is to close."""
    NEVER_ARRIVED = "NEVER_ARRIVED"
    """The broker's book, read late enough, does not have it."""
    DEAD_LETTERED = "DEAD_LETTERED"
    """Its record could not be processed and lies on the dead-letter topic."""


class Ticket(Value):
    """One order as risk allows it: what it is for, how much, and how the position is held."""

    order_id: str
    """The order's identity, derived from signal, role and number."""
    role: Role
    """ENTRY or EXIT."""
    side: Side
    quantity: int
    """Shares, or units of a derivative's underlying: at most the exchange's freeze quantity."""
    product: Product
    """How the position is held."""


class Amendment(Value):
    """A change of a working order that acts at `at`, event time in milliseconds. None leaves a price as it is."""

    at: int
    price: Decimal | None
    trigger: Decimal | None


class Order(Value):
    """An order of one strategy at one broker account."""

    order_id: str
    signal_id: str | None
    """The signal that it came from; None for what the arm decides by itself."""
    strategy_id: str
    instrument: str
    side: Side
    role: Role
    product: Product
    quantity: int
    order_type: OrderType
    validity: Validity
    price: Decimal | None = None
    """Limit of a LIMIT or SL order."""
    trigger: Decimal | None = None
    """Last price at which an SL or SL-M order becomes a LIMIT or MARKET order."""
    cause: TickRef
    """The tick on which it was decided: only later ticks can fill it."""
    live_at: int
    """Event time in milliseconds from which the market may fill it: its cause plus the account's latency."""
    expires_at: int | None = None
    """Event time from which the market no longer fills it; None for what works until it is done."""
    state: OrderState = OrderState.INTENT
    filled: int = 0
    turnover: Decimal = Decimal(0)
    """Sum of price times quantity of its fills."""
    fill_ids: tuple[str, ...] = ()
    target: Decimal | None = None
    """Of an entry: limit of the leg that takes the profit."""
    stop: Decimal | None = None
    """Of an entry: trigger of the leg that limits the loss."""
    parent: str | None = None
    """Of a leg: the entry that it belongs to."""
    looked: bool = False
    """True once it has looked at the market: what crosses it at the first look is taken, afterwards it waits."""
    queue: int | None = None
    """Shares before it at its limit price, where the order book showed them when it arrived."""
    amendments: tuple[Amendment, ...] = ()
    """Changes of its prices that were asked for and have not acted yet, the first one first."""
    cancel_at: int | None = None
    """Event time at which a cancellation that was asked for acts."""
    sent: bool = False
    """Of a real broker: true once it was given to the trader; one that closes a position may have to wait."""
    broker_id: str | None = None
    """The broker's own id of it."""
    withdrawn: Reason | None = None
    """Of a real broker: why it is being taken away, until the broker says that it has ended."""
    modified: int = 0
    """How often a real broker was asked to change it."""
    kept: int = 0
    """How often a real broker has kept it smaller than it was asked for."""
    overnight: bool = False
    """Of a real broker: a stop that rests with the broker itself, and does not end with the day."""
    attempt: int = 1
    """Which try it is: an exit that is proved never to have reached the broker is tried again."""

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def reduces(self) -> bool:
        """True if it may close a position and never open one."""
        return self.role is not Role.ENTRY

    @property
    def signed(self) -> int:
        """1 for a purchase, -1 for a sale."""
        return 1 if self.side is Side.BUY else -1


class Fill(Value):
    """A trade of an order: `price` per share and `charges` in the account's currency, exact decimals."""

    fill_id: str
    """The fill's identity, derived from its order and its number there; of a real broker, from its trade."""
    order_id: str
    """The order that was filled."""
    signal_id: str | None
    """The signal that the order came from; null for what the arm decides by itself."""
    strategy_id: str
    """The strategy in whose book it is."""
    instrument: str
    """The instrument traded."""
    side: Side
    """BUY or SELL."""
    role: Role
    """What the order was for: ENTRY, EXIT, TARGET, STOP, PROTECTION, SQUARE_OFF, FLATTEN or SETTLEMENT."""
    product: Product
    """How the position is held."""
    quantity: int
    """Shares, always positive."""
    price: Decimal
    """Price of one share."""
    margined: bool
    """True for a future: its price is not paid, only its profit when it is closed."""
    charges: dict[str, Decimal]
    """Charges of the whole fill by head, not rounded: the day's contract note posts the rounding."""
    time: int
    """Event time of the fill, milliseconds since the epoch."""
    tick: TickRef
    """The tick that filled it; for a real broker, the last tick seen before the trade."""

    @property
    def charged(self) -> Decimal:
        """All charges of the fill."""
        return sum(self.charges.values(), Decimal(0))


UNATTRIBUTED = "_unattributed"
"""The book of what a broker's account holds beyond those of the strategies."""


def order_id(namespace: str, cause: str, role: Role, leg: int = 1, attempt: int = 1) -> str:
    """Derive an order's id from its cause (a signal, an order, a moment): slices, legs and attempts have their own."""
    return identify("order", namespace, cause, role, leg, attempt)
