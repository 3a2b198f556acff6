"""The market as kitesim sees it: the last state of each instrument, and the candles of its minutes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec

from panda_streams.domain.calendar import trading_date
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.ticks import Depth, Tick, price_of, traded_since

__all__ = ["Candle", "InstrumentState", "Look", "MarketView"]

MINUTE_MS = 60_000
_BAND = Decimal("0.20")
"""Half of the price band where no list tells it: the widest that NSE gives a share."""

Book = Callable[[int], Depth | None]
"""The order book of a row, decoded when somebody wants it."""


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """A minute of an instrument; prices in smallest units. `start` is event time in milliseconds."""

    start: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class InstrumentState(msgspec.Struct, kw_only=True):
    """The last state of an instrument; prices in its smallest units, times in milliseconds."""

    instrument: str
    day: int
    """The Indian date of its last tick, as an ordinal."""
    price: int
    quantity: int = 0
    volume: int | None = None
    bid: int | None = None
    ask: int | None = None
    time: int
    open: int
    high: int
    low: int
    close: int = 0
    """Last price of the trading day before; 0 where none was seen."""
    turnover: int = 0
    """Price times quantity of what was traded today as far as it was seen."""
    traded: int = 0
    start: int
    """Of the minute that goes on."""
    minute: tuple[int, int, int, int]
    """Open, high, low and volume of that minute."""

    @property
    def average(self) -> int:
        """Average price of today's trades."""
        return self.turnover // self.traded if self.traded else self.price

    @property
    def candle(self) -> Candle:
        """The minute that goes on."""
        opened, high, low, volume = self.minute
        return Candle(self.start, opened, high, low, self.price, volume)


class Look(NamedTuple):
    """What a tick adds to what was known."""

    before: int | None
    """The price before it; None if there was none that day."""
    traded: int | None
    """Shares that changed hands since the tick before; None where the source does not say."""


class MarketView:
    """The last states of all instruments. `changed` and `candles` hold what is new since they were last taken."""

    def __init__(self) -> None:
        self.states: dict[str, InstrumentState] = {}
        self._books: dict[str, tuple[Book, int]] = {}
        self.changed: dict[str, None] = {}
        self.candles: list[tuple[str, Candle]] = []

    def restore(self, state: InstrumentState) -> None:
        self.states[state.instrument] = state

    def see(self, tick: Tick, book: Book) -> Look:
        """Take a tick in."""
        name, price, time = tick.instrument, tick.price, tick.time
        state = self.states.get(name)
        self._books[name] = (book, tick.row)
        self.changed[name] = None
        start = time - time % MINUTE_MS
        if state is None or time >= state.start + MINUTE_MS:
            # A new day can begin only with a new minute.
            day = trading_date(time).toordinal()
            if state is None or day != state.day:
                return self._begin_day(state, tick, day, start)
        look = Look(state.price, traded_since(state.volume, tick.volume))
        traded = look.traded or 0
        if start > state.start:
            self.candles.append((name, state.candle))
            state.start, state.minute = start, (price, price, price, traded)
        else:
            opened, high, low, volume = state.minute
            state.minute = (opened, max(high, price), min(low, price), volume + traded)
        state.turnover += traded * price
        state.traded += traded
        state.high, state.low = max(state.high, price), min(state.low, price)
        state.price, state.time = price, time
        state.quantity = tick.quantity if tick.quantity is not None else traded
        state.volume = tick.volume if tick.volume is not None else state.volume
        state.bid, state.ask = tick.bid, tick.ask
        return look

    def _begin_day(self, last: InstrumentState | None, tick: Tick, day: int, start: int) -> Look:
        if last is not None:
            self.candles.append((tick.instrument, last.candle))
        price = tick.price
        self.states[tick.instrument] = InstrumentState(
            instrument=tick.instrument,
            day=day,
            price=price,
            quantity=tick.quantity or 0,
            volume=tick.volume,
            bid=tick.bid,
            ask=tick.ask,
            time=tick.time,
            open=price,
            high=price,
            low=price,
            close=last.price if last is not None else 0,
            start=start,
            minute=(price, price, price, 0),
        )
        return Look(None, traded_since(last.volume if last is not None else None, tick.volume))

    def state(self, instrument_id: str) -> InstrumentState | None:
        return self.states.get(instrument_id)

    def depth(self, instrument_id: str) -> Depth | None:
        """The order book at the last tick; None where the source has none, or after a restart until the next tick."""
        found = self._books.get(instrument_id)
        return found[0](found[1]) if found is not None else None

    def price(self, instrument: Instrument) -> Decimal | None:
        state = self.states.get(instrument.id)
        return None if state is None else price_of(state.price, instrument.decimals)

    def band(self, instrument: Instrument) -> tuple[Decimal, Decimal] | None:
        """The lowest and highest price of an order today: the list's, else a fifth around yesterday's last price or
        today's first one. None for a derivative of which the list says nothing, and before any tick."""
        lower, upper = instrument.lower_circuit, instrument.upper_circuit
        if lower is not None and upper is not None:
            return lower, upper
        state = self.states.get(instrument.id)
        if state is None or instrument.derivative:
            return None
        middle = price_of(state.close or state.open, instrument.decimals)
        return (
            lower if lower is not None else on_tick(middle * (1 - _BAND), instrument, ROUND_CEILING),
            upper if upper is not None else on_tick(middle * (1 + _BAND), instrument, ROUND_FLOOR),
        )


def on_tick(price: Decimal, instrument: Instrument, rounding: str) -> Decimal:
    """A price on a step of the instrument's prices, at least one step above nothing."""
    steps = (price / instrument.tick_size).to_integral_value(rounding)
    return max(steps, Decimal(1)) * instrument.tick_size
