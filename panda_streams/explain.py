"""Tells in words why an order was filled as it was: signal, verdict, latency, each look that mattered, each charge."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum

from panda_streams.domain.bookings import Booking
from panda_streams.domain.calendar import trading_date
from panda_streams.domain.charges import Head, segment_of
from panda_streams.domain.instruments import Instrument
from panda_streams.domain.matching import PaperMarket, QueueModel
from panda_streams.domain.orders import Fill, Order, OrderState, Reason, Role
from panda_streams.domain.signals import Side, Signal, Terms
from panda_streams.domain.tariff import Rates, rates_on
from panda_streams.domain.ticks import price_of
from panda_streams.domain.values import Value
from panda_streams.events import OrderUpdate
from panda_streams.rerun import Facts, Look, Rerun, clock

__all__ = ["Explanation", "Line", "Part", "explain"]


class Part(StrEnum):
    """What a line is about."""

    CAUSE = "CAUSE"
    VERDICT = "VERDICT"
    ORDER = "ORDER"
    WAIT = "WAIT"
    """Looks at the market that gave nothing."""
    CHANGE = "CHANGE"
    FILL = "FILL"
    END = "END"
    NOTE = "NOTE"
    """What the day's contract note added."""


class Line(Value):
    """One step of the order's life."""

    part: Part
    time: int | None
    """Event time, milliseconds since the epoch."""
    text: str
    details: tuple[str, ...] = ()


class Explanation(Value):
    """An order's life, and whether computing it again from the ticks gives what the log says."""

    order_id: str
    summary: str
    lines: tuple[Line, ...]
    missing: tuple[str, ...]
    """What cannot be shown, and why."""
    difference: str
    """Where the log and the computation say different things; empty if they nowhere do."""


WORDS: dict[Reason, str] = {
    Reason.CANCELLED_BY_STRATEGY: "its strategy cancelled it",
    Reason.MODIFIED_BY_STRATEGY: "its strategy gave it other prices: it looks at the market anew",
    Reason.TRIGGERED: "its trigger price was traded",
    Reason.ENTRY_FILLED: "its entry was filled further, and it grew with it",
    Reason.OTHER_LEG_FILLED: "the other leg of the bracket was filled",
    Reason.POSITION_CLOSED: "nothing was left that it could close",
    Reason.STOP_LOSS: "the price moved against the position by as much as its protection allows",
    Reason.TRAILING_STOP: "the price came back from its best by as much as the position's protection allows",
    Reason.TAKE_PROFIT: "the price moved with the position by as much as its protection asks for",
    Reason.TIME_EXIT: "the position was held for as long as its protection allows",
    Reason.FLATTENED: "an operator ended all orders",
    Reason.ARM_HALTED: "the arm was halted by the time that its verdict came",
    Reason.BROKER_REFUSED: "the broker refused it",
    Reason.BROKER_CANCELLED: "it was cancelled at the broker, and not at the arm's wish",
    Reason.BROKER_TERMS: "the broker has it with other terms: a change was refused, or was made by hand",
    Reason.BROKER_LIMIT: "the broker's limit for a day was used up",
    Reason.TOO_LATE: "it could not be sent before what it was decided on was too old",
    Reason.NEVER_ARRIVED: "the broker's book, read late enough, did not have it",
    Reason.MADE_WAY: "it made way for another order that closes the position",
    Reason.BOOK_GONE: "the broker's book of its day was gone before it was known to have ended",
    Reason.SQUARED_OFF: "its strategy's intraday position was squared off",
    Reason.DAY_ENDED: "no order may work any longer that day",
    Reason.TTL_ENDED: "the minutes that its strategy gave it were over",
    Reason.IOC_REMAINDER: "it was for one look at the market, and this look gave no more",
    Reason.END_OF_DATA: "the recording or simulation ended",
    Reason.TICKS_GONE: "the ticks after its cause were no longer kept when the arm first saw its shard",
    Reason.CONTRACT_EXPIRED: "the contract expired",
    Reason.CORPORATE_ACTION: "the share was split or a bonus issued",
    Reason.MARKET_CLOSED: "it would have reached the exchange outside of continuous trading",
    Reason.INSTRUMENT_UNKNOWN: "the arm did not know the instrument, or it cannot be traded",
    Reason.CIRCUIT_LIMIT: "its price lies outside of the day's price band",
    Reason.DEAD_LETTERED: "its record could not be processed and lies on the dead-letter topic",
}


def explain(
    facts: Facts,
    again: Rerun | None,
    instrument: Instrument,
    market: PaperMarket,
    note: Booking | None,
    missing: tuple[str, ...],
) -> Explanation:
    """Put an order's life into words.

    `again` is the order run again, None if that could not be done: `missing` then says why. `note` is what the
    contract note of its day posted to its strategy.
    """
    last = facts.last
    summary = f"{last.role} {_wanted(last)} of {last.strategy_id} ({last.product}): {last.state}"
    if last.filled:
        turnover = sum((fill.price * fill.quantity for fill in _fills(facts)), Decimal(0))
        summary += f", {last.filled} of {last.quantity} filled at {_short(turnover / last.filled)} on average"
    lines = [*_decided(facts, instrument), *_life(facts, again, instrument, market)]
    if note is not None:
        heads = ", ".join(f"{head} {_short(amount)}" for head, amount in note.charges.items())
        text = f"{note.reason}: {_short(-note.amount)} more charges for {note.strategy_id}"
        about = "it rounds the charges of all trades of that day, and adds the depository's"
        lines.append(Line(part=Part.NOTE, time=note.time, text=text, details=(heads, about)))
    return Explanation(
        order_id=last.order_id,
        summary=summary,
        lines=tuple(lines),
        missing=missing,
        difference="" if again is None else again.difference,
    )


def _wanted(update: OrderUpdate) -> str:
    at = f" at {update.price:f}" if update.price is not None else ""
    when = f" from {update.trigger:f} on" if update.trigger is not None else ""
    return f"{update.side} {update.quantity} {update.instrument} {update.order_type}{at}{when}"


def _fills(facts: Facts) -> list[Fill]:
    return [update.fill for update in facts.updates if update.fill is not None]


# Why there is an order


def _decided(facts: Facts, instrument: Instrument) -> Iterator[Line]:
    first, validated = facts.first, facts.validated
    if first.role is Role.SETTLEMENT:
        yield Line(part=Part.CAUSE, time=first.time, text="the contract expired: settled without the market")
    elif first.role is Role.SQUARE_OFF:
        text = f"the position under {first.product} must be closed before the session ends"
        yield Line(part=Part.CAUSE, time=first.time, text=text)
    elif first.role is Role.PROTECTION:
        yield Line(part=Part.CAUSE, time=first.time, text=f"the arm protects the position: {_why(first)}")
    elif first.role is Role.FLATTEN:
        yield Line(part=Part.CAUSE, time=first.time, text="an operator closed all positions of the account")
    elif first.parent is not None:
        text = f"the entry {first.parent} was filled: this leg of its bracket closes what was filled"
        yield Line(part=Part.CAUSE, time=first.time, text=text)
    if validated is None or first.parent is not None:
        return
    signal = validated.signal
    yield _said(signal)
    place = next((n for n, one in enumerate(validated.tickets, 1) if one.order_id == first.order_id), None)
    text = f"risk allowed {first.side} {first.quantity}"
    if len(validated.tickets) > 1:
        text += f", order {place} of {len(validated.tickets)} for the signal"
        if instrument.freeze_quantity is not None:
            text += f" (the exchange takes at most {instrument.freeze_quantity} in one)"
    details = []
    for finding in validated.rules:
        seen = f": {finding.seen}" if finding.seen else ""
        details.append(f"{finding.rule} {'passed' if finding.passed else 'BROKEN'}{seen}")
    yield Line(part=Part.VERDICT, time=validated.time, text=text, details=tuple(details))


def _said(signal: Signal) -> Line:
    details = [f"on tick {signal.cause.key} (shard {signal.cause.shard}, offset {signal.cause.offset})"]
    quote = signal.quote
    if quote is not None:
        spread = f", bid {quote.bid:f}, ask {quote.ask:f}" if quote.bid is not None and quote.ask is not None else ""
        age = signal.cause.time - quote.tick.time
        details.append(f"{signal.instrument} stood at {quote.price:f}{spread}, {age} ms before")
    size = f" of size {signal.size:f}" if signal.size != 1 else ""
    text = f"{signal.strategy_id} said {signal.intent} {signal.side} {signal.instrument}{size}{_terms(signal.terms)}"
    return Line(part=Part.CAUSE, time=signal.cause.time, text=text, details=tuple(details))


def _terms(terms: Terms) -> str:
    named = [("limit", terms.price), ("trigger", terms.trigger), ("target", terms.target), ("stop", terms.stop)]
    words = [terms.order_type.value, terms.validity.value]
    words += [f"{name} {price:f}" for name, price in named if price is not None]
    if terms.ttl_minutes is not None:
        words.append(f"{terms.ttl_minutes} minutes")
    return f" ({', '.join(words)})"


# What became of it


def _life(facts: Facts, again: Rerun | None, instrument: Instrument, market: PaperMarket) -> Iterator[Line]:
    first = facts.first
    looks = list(again.looks) if again is not None else []
    if again is not None and not first.state.terminal:
        yield _taken(again.order, market)
    for update in facts.updates:
        if update.fill is not None:
            look = _look_of(update.fill, looks)
            if look is not None:
                empty, looks = looks[: looks.index(look)], looks[looks.index(look) :]
                yield from _waited([one for one in empty if not one.match.trades], instrument, market)
            yield _filled(update.fill, look, instrument, market)
        elif update is not first and not update.state.terminal:
            yield Line(part=Part.CHANGE, time=update.time, text=f"{_why(update)}: now {_wanted(update)}")
    yield from _waited([look for look in looks if not look.match.trades], instrument, market)
    if again is not None and again.passed and not again.looks:
        text = f"it met {again.passed} ticks, and none of them reached its price"
        yield Line(part=Part.WAIT, time=None, text=text)
    last = facts.last
    if not last.state.terminal:
        yield Line(part=Part.END, time=None, text=f"it is working: {last.filled} of {last.quantity} filled")
    elif last.state is not OrderState.FILLED:
        yield Line(part=Part.END, time=last.time, text=f"{last.state}: {_why(last)}")


def _why(update: OrderUpdate) -> str:
    return WORDS[update.reason] if update.reason is not None else update.state.value


def _taken(order: Order, market: PaperMarket) -> Line:
    wait = market.latency(order.order_id)
    drawn = f": {market.latency_ms} ms, and {wait - market.latency_ms} ms drawn from its id"
    details = [f"latency {wait} ms{drawn if market.latency_spread_ms else ''}"]
    if order.expires_at is not None:
        details.append(f"works until {clock(order.expires_at)}")
    text = f"on its way: the market can fill it from {clock(order.live_at)} on, by a tick after its cause"
    return Line(part=Part.ORDER, time=order.cause.time, text=text, details=tuple(details))


def _look_of(fill: Fill, looks: list[Look]) -> Look | None:
    return next((one for one in looks if (one.sight.tick.row, one.sight.tick.time) == (fill.tick.row, fill.time)), None)


def _waited(looks: list[Look], instrument: Instrument, market: PaperMarket) -> Iterator[Line]:
    if looks:
        first, last = looks[0].sight.tick, looks[-1]
        text = f"{len(looks)} looks from {clock(first.time)} to {clock(last.sight.tick.time)} gave nothing"
        if len(looks) == 1:
            text = "one look gave nothing"
        details = (_seen(last, instrument), _nothing(last, instrument, market))
        yield Line(part=Part.WAIT, time=first.time, text=text, details=details)


def _seen(look: Look, instrument: Instrument) -> str:
    """What a tick shows, as a trader reads it."""
    tick, scale = look.sight.tick, instrument.decimals
    words = [f"last {price_of(tick.price, scale):f}"]
    words += [f"{name} {price_of(units, scale):f}" for name, units in _quoted(look) if units is not None]
    if look.sight.depth is not None:
        side = look.sight.depth.asks if look.order.side is Side.BUY else look.sight.depth.bids
        levels = ", ".join(f"{level.quantity} at {price_of(level.price, scale):f}" for level in side) or "nothing"
        words.append(f"{'asks' if look.order.side is Side.BUY else 'bids'} {levels}")
    if look.sight.traded is not None:
        words.append(f"{look.sight.traded} traded since the tick before")
    return f"tick {tick.row} showed: {'; '.join(words)}"


def _quoted(look: Look) -> tuple[tuple[str, int | None], ...]:
    return ("bid", look.sight.tick.bid), ("ask", look.sight.tick.ask)


def _nothing(look: Look, instrument: Instrument, market: PaperMarket) -> str:
    """Why a look gave nothing."""
    order, sight = look.order, look.sight
    best = sight.tick.ask if order.side is Side.BUY else sight.tick.bid
    if order.price is not None and not sight.arriving:
        return f"it rests at {order.price:f}, and is filled {_RESTING[market.queue]}"
    if sight.depth is not None and best is None:
        return "nobody stood on the other side"
    if sight.traded is not None and _share(sight.traded, instrument, market) == 0:
        return f"its share of what traded is {_percent(market.participation)} of {sight.traded}: less than a lot"
    if order.price is not None:
        return f"nothing was on offer at its limit of {order.price:f} or better"
    return "nobody stood on the other side"


_RESTING = {
    QueueModel.THROUGH: "once the market trades beyond that",
    QueueModel.QUEUE: "once the market trades beyond that, or what stood before it there has traded",
    QueueModel.TOUCH: "once the market trades there",
}


def _share(traded: int, instrument: Instrument, market: PaperMarket) -> int:
    return int(market.participation * traded) // instrument.lot * instrument.lot


def _filled(fill: Fill, look: Look | None, instrument: Instrument, market: PaperMarket) -> Line:
    text, details = f"{fill.side} {fill.quantity} at {fill.price:f}", list[str]()
    if look is not None:
        text += f": {_price(fill, look, instrument, market)}"
        details += [_seen(look, instrument), *_amount(fill, look, instrument, market)]
    details += [f"charges {_short(fill.charged)}", *(f"  {line}" for line in _charges(fill, instrument))]
    return Line(part=Part.FILL, time=fill.time, text=text, details=tuple(details))


def _price(fill: Fill, look: Look, instrument: Instrument, market: PaperMarket) -> str:
    """Where a price comes from."""
    order, sight = look.order, look.sight
    buying, last = order.side is Side.BUY, price_of(sight.tick.price, instrument.decimals)
    side = "ask" if buying else "bid"
    if order.price is not None and not sight.arriving:
        if sight.tick.price == int(order.price.scaleb(instrument.decimals)):
            return f"it rested at {order.price:f}, and the market traded there ({market.queue} model)"
        if last < order.price if buying else last > order.price:
            return f"it rested at {order.price:f}, and the market traded through that, at {last:f}"
        return f"it rested at {order.price:f}, and was met by what was on offer there or better"
    if sight.depth is not None and (sight.depth.asks if buying else sight.depth.bids):
        return f"taken from the {side}s of the order book"
    if (sight.tick.ask if buying else sight.tick.bid) is not None:
        return f"the best {side}"
    sign = "+" if buying else "-"
    to = f"to the {instrument.tick_size:f} {'above' if buying else 'below'}"
    return f"the last price {last:f} {sign} {_percent(market.slippage)} of slippage, rounded {to}"


def _amount(fill: Fill, look: Look, instrument: Instrument, market: PaperMarket) -> Iterator[str]:
    """What bounded a quantity, if anything did."""
    given = sum(trade.quantity for trade in look.match.trades if trade.price == fill.price)
    if fill.quantity < given:
        yield f"{given} were to be had, but no more than {fill.quantity} were left of the position"
    elif given < look.order.remaining and look.sight.traded is not None:
        share = _share(look.sight.traded, instrument, market)
        if given == share:
            whole = look.order.remaining
            yield f"{_percent(market.participation)} of what traded is {share}: the rest of {whole} waits"


# Charges


def _charges(fill: Fill, instrument: Instrument) -> Iterator[str]:
    """Each charge of a fill, and how it comes about."""
    how: dict[str, str] = {}
    if fill.charges:
        rates = rates_on(segment_of(instrument, fill.product), trading_date(fill.time))
        how = _settled(rates) if fill.role is Role.SETTLEMENT else _rates(rates, fill)
    for head, amount in fill.charges.items():
        yield f"{head} {_short(amount)}" + (f": {how[head]}" if head in how else "")


def _settled(rates: Rates) -> dict[str, str]:
    return {Head.STT: f"{_percent(rates.tax_exercise)} of the intrinsic value of what is exercised"}


def _rates(rates: Rates, fill: Fill) -> dict[str, str]:
    turnover = f"of {_short(fill.quantity * fill.price)}"
    tax = f"{_percent(rates.tax_buy if fill.side is Side.BUY else rates.tax_sell)} {turnover}"
    brokerage = f"{rates.order_fee:f} an executed order"
    if not rates.order_fee:
        brokerage = f"{_percent(rates.brokerage)} {turnover}, at most {rates.brokerage_cap:f} an order"
    transaction = f"{_percent(rates.transaction)} {turnover}"
    if rates.ipft:
        transaction += f", and {_percent(rates.ipft)} for the investor protection fund"
    return {
        Head.BROKERAGE: brokerage,
        Head.STT: tax,
        Head.CTT: tax,
        Head.TRANSACTION: transaction,
        Head.SEBI: f"{_percent(rates.sebi)} {turnover}",
        Head.STAMP: f"{_percent(rates.stamp)} {turnover}",
        Head.GST: f"{_percent(rates.gst)} of brokerage, transaction charge and SEBI fee",
    }


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"


def _short(amount: Decimal) -> str:
    """An amount to a hundredth of a paisa, without the zeros at its end."""
    return f"{amount.quantize(Decimal('0.0001')).normalize():,f}"
